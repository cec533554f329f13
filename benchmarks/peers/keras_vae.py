"""The autoencoder in Keras on TensorFlow, trained by `fit`. bfloat16 is the policy mixed_bfloat16."""

import os
from collections.abc import Callable

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is loaded

import keras  # isort: skip
import tensorflow as tf  # isort: skip

from benchmarks import network  # isort: skip


def mlp(sizes: tuple[int, ...]) -> keras.Sequential:
    """Dense layers with ReLU between them."""
    inputs, *hidden, outputs = sizes
    layers = [keras.layers.Dense(units, "relu") for units in hidden]
    return keras.Sequential([keras.Input((inputs,)), *layers, keras.layers.Dense(outputs)])


def log_normal(x: tf.Tensor, mean: tf.Tensor, logstd: tf.Tensor) -> tf.Tensor:
    """Log-density of independent normals, summed over the last axis."""
    return -tf.reduce_sum(0.5 * tf.square((x - mean) * tf.exp(-logstd)) + logstd + 0.5 * np.log(2 * np.pi), axis=-1)


class MixtureVAE(keras.Model):
    """The model and its posterior, from the weights of `network.start`."""

    def __init__(self, weights: list[np.ndarray]) -> None:
        super().__init__()
        k, d = network.COMPONENTS, network.DECODER[0]
        self.weight_logits, self.component_means, self.logstds = (
            self.add_weight(shape=shape, dtype="float32", autocast=False) for shape in ((k,), (k, d), (k, d))
        )
        self.encoder, self.decoder = mlp(network.ENCODER), mlp(network.DECODER)
        self.mean_bound = keras.metrics.Mean("bound")
        for variable, weight in zip(self.parts(), weights, strict=True):
            variable.assign(weight)
        self.built = True

    def parts(self) -> list[keras.Variable]:
        """The variables in the order of `network.start`."""
        mixture = [self.weight_logits, self.component_means, self.logstds]
        return mixture + self.encoder.trainable_variables + self.decoder.trainable_variables

    def bound(self, x: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """The mean lower bound of x `[B, 784]`, nats per image, at the h of standard normal noise `[B, D]`."""
        mean, logstd = tf.split(tf.cast(self.encoder(x), tf.float32), 2, axis=-1)
        h = mean + tf.exp(logstd) * noise
        logits = tf.cast(self.decoder(h), tf.float32)
        log_p_x = -tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(x, logits), axis=-1)
        log_p_h = log_normal(h[:, None], tf.convert_to_tensor(self.component_means), tf.convert_to_tensor(self.logstds))
        log_p_h = tf.reduce_logsumexp(tf.nn.log_softmax(self.weight_logits) + log_p_h, axis=-1)
        return tf.reduce_mean(log_p_x + log_p_h - log_normal(h, mean, logstd))

    def train_step(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """A gradient step, as `fit` calls it."""
        with tf.GradientTape() as tape:
            bound = self.bound(tf.cast(x, tf.float32), tf.random.normal([tf.shape(x)[0], network.DECODER[0]]))
            loss = -bound
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        self.mean_bound.update_state(bound)
        return {"bound": self.mean_bound.result()}

    @property
    def metrics(self) -> list[keras.Metric]:
        """Those that `fit` resets at the start of an epoch."""
        return [self.mean_bound]


class Adam(keras.optimizers.Adam):
    """Adam that keeps averages of the weights, which `fit` does not put in place of the weights at the end of a round:
    training goes on."""

    def finalize_variable_values(self, var_list: list[keras.Variable]) -> None:
        """Leaves the weights as they are."""


def training(batch_size: int, precision: str) -> Callable[[], float]:
    """An epoch of training; gives the mean bound."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy({"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision])
    model = MixtureVAE(network.start())
    # XLA, which Keras picks by itself, has slow products of bfloat16 on CPU; oneDNN, without it, has fast ones.
    compiled = "auto" if precision == "float32" else False
    adam = Adam(network.LEARNING_RATE, use_ema=True, ema_momentum=network.DECAY)
    model.compile(adam, steps_per_execution=10, jit_compile=compiled)
    epochs = network.epochs(batch_size)

    def epoch() -> float:
        batches = tf.data.Dataset.from_tensor_slices(next(epochs)).prefetch(tf.data.AUTOTUNE)
        return model.fit(batches, shuffle=False, verbose=0).history["bound"][-1]

    return epoch


def product(n: int, precision: str, compiled: bool) -> Callable[[], float]:
    """The square of an n x n matrix, by oneDNN or XLA; gives the mean of its entries over n."""
    a = tf.cast(network.square(n), precision)
    matmul = tf.function(tf.matmul, jit_compile=compiled)
    return lambda: matmul(a, a)[0].numpy().astype(np.float32).mean().item() / n
