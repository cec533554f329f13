"""The variational autoencoder of the original ZhuSuan's tutorial, with Keras layers, on tiny binary data."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

import zhusuan as zs

N_DATA, X_DIM, Z_DIM = 60, 12, 2


@pytest.fixture
def x():
    """Three binary prototypes with a tenth of their pixels flipped."""
    rng = np.random.default_rng(0)
    prototypes = rng.integers(2, size=[3, X_DIM])
    flipped = rng.random([N_DATA, X_DIM]) < 0.1
    return tf.constant(prototypes[rng.integers(3, size=N_DATA)] ^ flipped, tf.int32)


class VAE:
    """z ~ N(0, I); x | z ~ Bernoulli(decoder(z)); q(z | x) = N(mean(x), std(x)^2)."""

    def __init__(self):
        self.decoder = keras.Sequential([keras.layers.Dense(20, "relu"), keras.layers.Dense(X_DIM)])
        self.encoder = keras.Sequential([keras.layers.Dense(20, "relu"), keras.layers.Dense(2 * Z_DIM)])
        self.decoder.build([None, None, Z_DIM])
        self.encoder.build([None, X_DIM])
        self.trainable_variables = self.decoder.trainable_variables + self.encoder.trainable_variables

    def model(self, observed, n, n_particles):
        with zs.BayesianNet(observed=observed) as model:
            z = zs.Normal("z", tf.zeros([n, Z_DIM]), std=1.0, n_samples=n_particles, group_ndims=1)
            zs.Bernoulli("x", self.decoder(z), group_ndims=1)
        return model

    def q_net(self, x, n_particles):
        with zs.BayesianNet() as variational:
            z_mean, z_logstd = tf.split(self.encoder(tf.cast(x, tf.float32)), 2, -1)
            zs.Normal("z", z_mean, logstd=z_logstd, n_samples=n_particles, group_ndims=1)
        return variational

    def estimate(self, estimator, x, n_particles):
        def log_joint(observed):
            log_p_z, log_p_x = self.model(observed, len(x), n_particles).local_log_prob(["z", "x"])
            return log_p_z + log_p_x

        variational = self.q_net(x, n_particles)
        qz_samples, log_qz = variational.query("z", outputs=True, local_log_prob=True)
        return estimator(log_joint, observed={"x": x}, latent={"z": [qz_samples, log_qz]}, axis=0)


def train(x, n_steps, seed=0):
    keras.utils.set_random_seed(0)  # the initial weights
    zs.set_seed(seed)
    vae = VAE()
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(vae.trainable_variables)

    @tf.function(jit_compile=True)
    def step(x):
        with tf.GradientTape() as tape:
            lower_bound = tf.reduce_mean(vae.estimate(zs.sgvb, x, n_particles=2))
            cost = -lower_bound
        gradients = tape.gradient(cost, vae.trainable_variables)
        optimizer.apply(gradients, vae.trainable_variables)
        return lower_bound

    return vae, np.array([step(x) for _ in range(n_steps)])


def test_the_vae_learns_and_the_likelihood_is_above_the_bound(x):
    vae, curve = train(x, 200)
    assert np.all(np.isfinite(curve))
    assert curve[:5].mean() < -0.9 * X_DIM * np.log(2)
    assert curve[-20:].mean() > curve[:5].mean() + 2

    lower_bound = vae.estimate(zs.sgvb, x, n_particles=500)
    log_likelihood = vae.estimate(zs.is_loglikelihood, x, n_particles=500)
    assert lower_bound.shape == log_likelihood.shape == [N_DATA]
    gap = np.subtract(log_likelihood, lower_bound)
    assert gap.mean() > -5 * gap.std() / np.sqrt(N_DATA)
    # Independent pixels of the right frequencies are the best that a model without z can do.
    p = x.numpy().mean(0)
    assert np.mean(log_likelihood) > (p * np.log(p) + (1 - p) * np.log(1 - p)).sum()


def test_the_same_seed_trains_the_same_model_and_another_does_not(x):
    with tiny.eager():
        (_, first), (_, second), (_, other) = (train(x, 3, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert np.all(first != other)


def test_images_are_generated_from_the_prior():
    images = VAE().model({}, n=3, n_particles=4).outputs("x")
    assert images.shape == [4, 3, X_DIM]
    assert images.dtype == tf.int32
    assert set(np.unique(images)) <= {0, 1}
