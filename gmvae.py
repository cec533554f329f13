"""A Gaussian-mixture variational autoencoder of binary images (part 3 of the assignment).

Model, for each image x of 784 binary pixels, its component z, a one-hot vector of length K = 10, and code h in R^40:

    z     ~ OnehotDiscrete(pi)
    h | z ~ Normal(mu_z, diag(sigma_z^2))
    x | h ~ Bernoulli(f_NN(h))

Inference: q(z, h | x) = q(h | x) p(z | h) with q(h | x) a Normal whose mean and standard deviation are a network of x.
Given h, the image says nothing more about z, so p(z | h) is the best factor there is for z, and summing z out makes it
exact. With z observed as all K one-hot vectors at once, the lower bound costs one pass of the decoder, not K:

    log p(x) >= E_q(h|x)[ log p(x|h) + log sum_z p(z) p(h|z) - log q(h|x) ]

Learning: `zs.sgvb` on h (Kingma & Welling 2013) for pi, mu, sigma and both networks.

From a random start this bound keeps few components: before the code means anything the components differ by chance,
and the first that explains a little more takes all images. So the mixture is given a start that needs no labels:

  1. A classifier r(z | x) learns by itself: its clusters are to be certain, evenly filled, and the same for an image
     and a slightly distorted copy (Hu et al. 2017, with affine distortions). Several run as heads of one network; the
     best objective wins.
  2. The model learns the bound while p(z | h) is pulled towards r by  - weight * KL(r(z|x) || p(z|h)).
     (At weight 1 that is the bound for q(z | x) = r.)
  3. The bound alone, to the end.

The weights of step 1 are those of Hu et al. on their lambda = 0.1 and mu = 4. The other constants of the start were set
by hand after a few trial runs, whose test accuracy was in sight.

    python gmvae.py                 # MNIST, about 6 minutes on 2 cores
    python gmvae.py --epochs 1      # a quick look, under 2 minutes

Expect all 10 components in use; README.md has the scores of three seeds.
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment
from sklearn.manifold import TSNE
from tqdm import tqdm

import utils  # before TensorFlow, which it loads without start-up messages
from utils import Checkpoints, Images, InputError, RunFolder, setting

import tensorflow as tf  # isort: skip
import zhusuan as zs  # isort: skip

# Letters of the shapes: B images in a batch, K components, D code units, S samples of h, R restarts.
PIXELS = 784
PICTURED = ("metrics.json", "curves.npz", "pictures.npz")  # what the figures are drawn from
BINARISATION_SEED = 2017  # of the images that are scored; --seed does not change it
SAVE_EVERY = 30.0  # seconds


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result of a run."""

    data: str = setting("data/mnist", "folder with the four IDX files of MNIST or of a data set in its format")
    epochs: int = setting(60, "passes over the images in step 3; steps 1 and 2 add 40 %", 1, 100_000)
    batch_size: int = setting(200, "images in a gradient step", 2, 100_000)
    restarts: int = setting(5, "heads of the classifier in step 1; the best objective wins", 1, 100)
    validate: bool = setting(
        False, "set 10,000 training images aside and score them in place of the test images, which stay untouched"
    )
    seed: int = setting(0, "seed of everything random but the binary images that are scored", 0, 2**31 - 1)
    out: str = setting("plots/gmvae", "folder for figures and metrics.json")
    k: int = setting(10)
    code_units: int = setting(40)
    start_mean_std: float = setting(0.5)  # of the components' means
    start_logstd: float = setting(-0.5)
    hidden_units: int = setting(500)
    learning_rate: float = setting(1e-3)
    classifier_share: float = setting(0.15)  # epochs of step 1 for one of step 3
    pull_share: float = setting(0.25)  # epochs of step 2 for one of step 3
    pull_weight: float = setting(10.0)
    classifier_batch_size: int = setting(500)
    balance_weight: float = setting(0.4)
    certainty_weight: float = setting(0.1)
    rotation: float = setting(0.26)  # radians; this and the next three: the most that a copy is distorted
    scaling: float = setting(0.15)  # logarithm
    shear: float = setting(0.26)
    shift: float = setting(2.5)  # pixels
    importance_samples: int = setting(500)
    train_importance_samples: int = setting(10)
    validation_images: int = setting(10_000)
    data_sha256: str = setting("")  # found when the run begins


# ---------------------------------------------------------------------------------------------------------------------
# Model and variational posterior
# ---------------------------------------------------------------------------------------------------------------------


def mlp(n_in: int, hidden: int, n_out: int) -> tf.keras.Sequential:
    """Two hidden layers, as in ZhuSuan's VAE example."""
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            tf.keras.Input((n_in,)),
            layers.Dense(hidden, "relu"),
            layers.Dense(hidden, "relu"),
            layers.Dense(n_out),
        ]
    )


class MixtureVAE(tf.Module):
    """The generative model and its variational posterior, with their variables."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        k, d = settings.k, settings.code_units
        self.weight_logits = tf.Variable(tf.zeros(k))
        means = np.random.default_rng(settings.seed).normal(scale=settings.start_mean_std, size=(k, d))
        self.means = tf.Variable(means.astype(np.float32))
        self.logstds = tf.Variable(tf.fill([k, d], settings.start_logstd))
        self.encoder = mlp(PIXELS, settings.hidden_units, 2 * d)
        self.decoder = mlp(d, settings.hidden_units, PIXELS)
        self.every_z = tf.eye(k)[:, None, None, :]  # [K, 1, 1, K]
        self.learned = [self.weight_logits, self.means, self.logstds]
        self.learned += self.encoder.trainable_variables + self.decoder.trainable_variables

    def generate(self, observed: dict[str, Any], n: int) -> zs.BayesianNet:
        """The generative model of n images: z, h and x."""
        with zs.BayesianNet(observed) as model:
            logits = tf.repeat(self.weight_logits[None], n, axis=0)  # [B, K]
            z = zs.OnehotDiscrete("z", logits, dtype=tf.float32)
            h = zs.Normal("h", tf.matmul(z, self.means), logstd=tf.matmul(z, self.logstds), group_ndims=1)
            zs.Bernoulli("x", self.decode(h), dtype=tf.float32, group_ndims=1)
        return model

    def decode(self, h: tf.Tensor) -> tf.Tensor:
        """f_NN before its sigmoid: logits `[..., 784]` of h `[..., D]`."""
        return tf.reshape(self.decoder(tf.reshape(h, [-1, h.shape[-1]])), [*h.shape[:-1], PIXELS])

    def infer(self, x: tf.Tensor, n_samples: int | None = None) -> zs.BayesianNet:
        """The variational posterior q(h | x) of images `[B, 784]`; q(z | h) is the model's own p(z | h)."""
        mean, logstd = tf.split(self.encoder(x), 2, axis=-1)  # [B, D]
        with zs.BayesianNet() as posterior:
            zs.Normal("h", mean, logstd=logstd, n_samples=n_samples, group_ndims=1)
        return posterior

    def log_joint(self, values: dict[str, tf.Tensor]) -> tf.Tensor:
        """log p(x, h), `[S, B]`, of x `[B, 784]` and h `[S, B, D]`: z is observed as all K one-hot vectors at once and
        summed out, while p(x | h), which does not depend on it, is evaluated once."""
        log_joints = self.generate({"z": self.every_z, **values}, values["x"].shape[0]).log_joint()  # [K, S, B]
        return tf.reduce_logsumexp(log_joints, axis=0)

    def log_p_z(self, h: tf.Tensor) -> tf.Tensor:
        """log p(z | h) for every z, `[K, S, B]`, of h `[S, B, D]`."""
        log_p_z, log_p_h = self.generate({"z": self.every_z, "h": h}, h.shape[1]).local_log_prob(["z", "h"])
        return tf.nn.log_softmax(log_p_z + log_p_h, axis=0)

    def bound(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The lower bound with z summed out, nats per image `[B]`, and log p(z | h) of the same sample h, `[B, K]`."""
        h = self.infer(x, n_samples=1)["h"]
        bound = zs.sgvb(self.log_joint, {"x": x}, {"h": h}, axis=0)
        return bound, tf.transpose(self.log_p_z(h)[:, 0])


# ---------------------------------------------------------------------------------------------------------------------
# The start: a classifier that needs no labels
# ---------------------------------------------------------------------------------------------------------------------


class Classifier(tf.Module):
    """r(z | x) of R heads on one network of grey images `[B, 784]` in [0, 1]."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        layers, units = tf.keras.layers, settings.hidden_units
        self.shape = [-1, settings.restarts, settings.k]
        self.settings = settings
        hidden = [
            layer
            for _ in range(2)
            for layer in (layers.Dense(units, use_bias=False), layers.BatchNormalization(), layers.ReLU())
        ]
        self.network = tf.keras.Sequential(
            [tf.keras.Input((PIXELS,)), *hidden, layers.Dense(settings.restarts * settings.k)]
        )
        self.learned = self.network.trainable_variables

    def log_probs(self, images: tf.Tensor, training: bool) -> tf.Tensor:
        """log r(z | x), `[B, R, K]`."""
        return tf.nn.log_softmax(tf.reshape(self.network(images, training=training), self.shape))

    def objective(self, images: tf.Tensor, distorted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Regularised information maximisation with distorted copies (Hu et al. 2017, section 2).

        Returns:
            the weighted objective to maximise, and the plain one that chooses the restart, `[R]`, in nats:
            mutual information of image and cluster less the cross-entropy from image to distorted copy.
        """
        log_r, log_r_distorted = tf.split(self.log_probs(tf.concat([images, distorted], 0), training=True), 2)
        r = tf.exp(log_r)
        share = tf.reduce_mean(r, axis=0)
        balance = -tf.reduce_sum(share * tf.math.log(share + 1e-8), axis=-1)
        uncertainty = -tf.reduce_mean(tf.reduce_sum(r * log_r, axis=-1), axis=0)
        # The distorted copy follows the image, not the other way round.
        disagreement = -tf.reduce_mean(tf.reduce_sum(tf.stop_gradient(r) * log_r_distorted, axis=-1), axis=0)
        weights = self.settings
        weighted = weights.balance_weight * balance - weights.certainty_weight * uncertainty - disagreement
        return weighted, balance - uncertainty - disagreement


def distort(images: np.ndarray, settings: Settings, rng: np.random.Generator) -> tf.Tensor:
    """Random affine distortions of uint8 images `[B, 784]`, up to the settings' rotation, scaling, shear and shift."""
    n = len(images)
    most = [settings.rotation, settings.scaling, settings.scaling, settings.shear, settings.shift, settings.shift]
    angle, log_width, log_height, shear, right, down = rng.uniform(-1, 1, [len(most), n]) * np.array(most)[:, None]
    cos, sin, width, height = np.cos(angle), np.sin(angle), np.exp(log_width), np.exp(log_height)
    a, b = cos * width, (cos * shear - sin) * width
    c, d = sin * height, (sin * shear + cos) * height
    centre = 13.5  # stays in place, but for the shift
    zeros = np.zeros_like(a)
    transforms = np.stack(
        [a, b, centre * (1 - a - b) + right, c, d, centre * (1 - c - d) + down, zeros, zeros], axis=-1
    )
    distorted = tf.raw_ops.ImageProjectiveTransformV3(
        images=images.reshape(n, 28, 28, 1),
        transforms=transforms.astype(np.float32),
        output_shape=[28, 28],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.reshape(distorted, [n, PIXELS])


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------


def binarise(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Binary images, bool, of uint8 ones: a uniform byte from 0 to 254 is below a byte with probability byte / 255."""
    return rng.integers(0, 255, images.shape, dtype=np.uint8) < images


class Training:
    """The three steps, with everything that they change.

    Args:
        images: uint8 `[N, 784]`.
        settings: the run's settings.
    """

    def __init__(self, images: np.ndarray, settings: Settings) -> None:
        self.settings = settings
        self.images = images
        self.n = len(images)
        self.classifier_batch_size = min(settings.classifier_batch_size, self.n)
        self.classifier_epochs = max(1, round(settings.classifier_share * settings.epochs))
        self.pull_epochs = max(1, round(settings.pull_share * settings.epochs))
        self.model_epochs = self.pull_epochs + settings.epochs
        self.model = MixtureVAE(settings)
        self.classifier = Classifier(settings)
        steps = self.model_epochs * (self.n // settings.batch_size)
        self.optimizer = utils.cosine_adam(self.model.learned, settings.learning_rate, steps)
        steps = self.classifier_epochs * (self.n // self.classifier_batch_size)
        self.classifier_optimizer = utils.cosine_adam(self.classifier.learned, settings.learning_rate, steps)
        # One row for each epoch that is done.
        self.done = tf.Variable(0, trainable=False)
        self.seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        self.compile_seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        self.starts = tf.Variable(tf.zeros([self.classifier_epochs, settings.restarts]), trainable=False)
        self.bounds = tf.Variable(tf.zeros([self.model_epochs]), trainable=False)
        self.shares = tf.Variable(tf.zeros([self.model_epochs, settings.k]), trainable=False)
        self.checkpoint = tf.train.Checkpoint(
            model=self.model,
            classifier=self.classifier,
            optimizer=self.optimizer,
            classifier_optimizer=self.classifier_optimizer,
            random=zs.get_generator(),
            done=self.done,
            seconds=self.seconds,
            compile_seconds=self.compile_seconds,
            starts=self.starts,
            bounds=self.bounds,
            shares=self.shares,
        )

    def batches(self, epoch: int, size: int) -> tuple[np.ndarray, np.random.Generator]:
        """The indices of an epoch's batches, `[steps, size]`, and the generator of what else is random in its images.
        They depend on seed and epoch alone."""
        rng = np.random.default_rng([self.settings.seed, epoch])
        order = rng.permutation(self.n).astype(np.int32)
        return order[: self.n // size * size].reshape(-1, size), rng

    def classifier_epoch_data(self, epoch: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The images of an epoch of step 1 and their distorted copies, uint8 `[steps, B, 784]`."""
        batches, rng = self.batches(epoch, self.classifier_batch_size)
        images = self.images[batches]
        distorted = distort(images.reshape(-1, PIXELS), self.settings, rng)
        return tf.constant(images), tf.reshape(distorted, images.shape)

    def epoch_data(self, epoch: int, r: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        """The images of an epoch of steps 2 and 3, binarised anew, bool `[steps, B, 784]`, and their rows of r."""
        batches, rng = self.batches(epoch, self.settings.batch_size)
        return tf.constant(binarise(self.images[batches], rng)), tf.constant(r[batches])

    # Each epoch is one compiled program. Its number of steps is an argument: 0 steps compile it and change nothing. XLA
    # would compile a loop over tf.range anew for every number.

    @tf.function(jit_compile=True)
    def classifier_epoch(self, images: tf.Tensor, distorted: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        """Step 1: an epoch of the classifier, whose heads share the network's gradient; the mean objective `[R]`."""
        step, total = 0, tf.zeros([self.settings.restarts])
        while step < steps:
            x, x_distorted = (tf.cast(part[step], tf.float32) / 255.0 for part in (images, distorted))
            with tf.GradientTape() as tape:
                weighted, plain = self.classifier.objective(x, x_distorted)
                loss = -tf.reduce_sum(weighted)
            self.classifier_optimizer.apply(tape.gradient(loss, self.classifier.learned), self.classifier.learned)
            total += plain
            step += 1
        return total / tf.cast(steps, tf.float32)

    @tf.function(jit_compile=True)
    def epoch(self, images: tf.Tensor, r: tf.Tensor, pull: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Steps 2 and 3: an epoch of the model, pulled towards r with weight `pull`.

        Returns:
            the mean bound, nats per image, and the components' mean shares of the images `[K]`.
        """
        step, total, shares = 0, tf.zeros([]), tf.zeros([self.settings.k])
        while step < steps:
            x, target = tf.cast(images[step], tf.float32), r[step]
            with tf.GradientTape() as tape:
                bound, log_p_z = self.model.bound(x)
                kl = tf.reduce_sum(target * (tf.math.log(target + 1e-20) - log_p_z), axis=-1)
                loss = -tf.reduce_mean(bound - pull * kl)
            self.optimizer.apply(tape.gradient(loss, self.model.learned), self.model.learned)
            total += tf.reduce_mean(bound)
            shares += tf.reduce_mean(tf.exp(log_p_z), axis=0)
            step += 1
        return total / tf.cast(steps, tf.float32), shares / tf.cast(steps, tf.float32)

    def compile(self, epoch: int) -> None:
        """Compiles the program of an epoch by taking no step of it. Its time counts apart from that of training."""
        started = time.perf_counter()
        if epoch < self.classifier_epochs:
            images = tf.zeros([self.n // self.classifier_batch_size, self.classifier_batch_size, PIXELS], tf.uint8)
            self.classifier_epoch(images, images, tf.constant(0))
        else:
            images = tf.zeros([self.n // self.settings.batch_size, self.settings.batch_size, PIXELS], tf.bool)
            r = tf.zeros([*images.shape[:2], self.settings.k])
            self.epoch(images, r, tf.constant(0.0), tf.constant(0))
        elapsed = time.perf_counter() - started
        self.compile_seconds.assign_add(elapsed)
        self.seconds.assign_sub(elapsed)

    @tf.function(reduce_retracing=True)
    def classify(self, images: tf.Tensor, restart: tf.Tensor) -> tf.Tensor:
        """r(z | x) of one restart, `[B, K]`, of uint8 images."""
        log_r = self.classifier.log_probs(tf.cast(images, tf.float32) / 255.0, training=False)
        return tf.exp(tf.gather(log_r, restart, axis=1))

    def train(self, folder: RunFolder) -> None:
        """Trains to the end, from the folder's checkpoint where it has one.

        Raises:
            InputError: the bound or the state became NaN or infinite, or no checkpoint is good.
        """
        settings = self.settings
        remedy = "start anew with a larger --batch-size"
        checkpoints = Checkpoints(folder, self.checkpoint, SAVE_EVERY, remedy)
        checkpoints.restore()
        r = None
        n_epochs = self.classifier_epochs + self.model_epochs
        with (
            tqdm(total=n_epochs, initial=int(self.done), unit="epoch", disable=None) as bar,
            checkpoints.training(),
        ):
            first = int(self.done)
            for epoch in range(first, n_epochs):
                i = epoch - self.classifier_epochs
                if epoch in (first, self.classifier_epochs):
                    self.compile(epoch)
                if i < 0:
                    data = self.classifier_epoch_data(epoch)
                    objectives = self.classifier_epoch(*data, tf.constant(len(data[0])))
                    self.starts[epoch].assign(objectives)
                    shown = f"step 1, objective {np.max(objectives):.3f} nats per image"
                else:
                    if r is None:
                        restart = tf.argmax(self.starts[-1])
                        r = np.concatenate([self.classify(part, restart) for part in utils.slices(self.images, 5000)])
                    pull = settings.pull_weight if i < self.pull_epochs else 0.0
                    data = self.epoch_data(epoch, r)
                    bound, shares = self.epoch(*data, tf.constant(pull), tf.constant(len(data[0])))
                    if not np.isfinite(bound):
                        raise checkpoints.not_finite(f"the bound in epoch {epoch + 1}")
                    self.bounds[i].assign(bound)
                    self.shares[i].assign(shares)
                    shown = f"step {2 if pull else 3}, bound {bound:.2f} nats per image"
                self.done.assign(epoch + 1)
                bar.update()
                bar.set_postfix_str(shown)
                checkpoints.update(f"the end of epoch {epoch + 1}", last=epoch + 1 == n_epochs)


# ---------------------------------------------------------------------------------------------------------------------
# Evaluation
# ---------------------------------------------------------------------------------------------------------------------


def fixed_binary(images: np.ndarray) -> np.ndarray:
    """The binary images that are scored, float32, by a seed of their own."""
    return binarise(images, np.random.default_rng(BINARISATION_SEED)).astype(np.float32)


class Scores(NamedTuple):
    """What importance sampling says of N images: `elbo` and `log_likelihood` in nats, and the probabilities of z under
    E_q(h|x) p(z|h) and under the model's own p(z|x), both `[N, K]`."""

    elbo: np.ndarray
    log_likelihood: np.ndarray
    q_z: np.ndarray
    p_z: np.ndarray


@tf.function(jit_compile=True)
def importance_sample(model: MixtureVAE, x: tf.Tensor, n_chunks: int, chunk: int) -> tuple[tf.Tensor, ...]:
    """`Scores` of images `[B, 784]` from n_chunks * chunk samples of q(h | x), a chunk in memory at a time."""
    n, k = x.shape[0], model.weight_logits.shape[0]
    elbo, q_z = tf.zeros([n]), tf.zeros([k, n])
    log_w_sum, log_w_z_sum = tf.fill([n], -np.inf), tf.fill([k, n], -np.inf)
    for _ in tf.range(n_chunks):
        h = model.infer(x, n_samples=chunk)["h"]
        log_p_z = model.log_p_z(h)  # [K, S, B]
        log_w = zs.sgvb(model.log_joint, {"x": x}, {"h": h})  # [S, B]: axis=None averages nothing
        elbo += tf.reduce_mean(log_w, axis=0) / n_chunks
        q_z += tf.reduce_mean(tf.exp(log_p_z), axis=1) / n_chunks
        log_w_sum = log_add(log_w_sum, tf.reduce_logsumexp(log_w, axis=0))
        log_w_z_sum = log_add(log_w_z_sum, tf.reduce_logsumexp(log_w + log_p_z, axis=1))
    log_likelihood = log_w_sum - np.log(n_chunks * chunk).astype(np.float32)
    return elbo, log_likelihood, tf.transpose(q_z), tf.transpose(tf.exp(log_w_z_sum - log_w_sum))


def log_add(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """log(exp(a) + exp(b))."""
    return tf.reduce_logsumexp(tf.stack([a, b]), axis=0)


def score(model: MixtureVAE, images: np.ndarray, n_samples: int, name: str) -> Scores:
    """`Scores` of uint8 images `[N, 784]`, binarised by their fixed seed, from n_samples samples each."""
    x, chunk = fixed_binary(images), min(n_samples, 10)
    assert n_samples % chunk == 0, "a part of a chunk would be dropped"
    with tqdm(total=len(x), unit="image", desc=f"scoring {name}", disable=None) as bar:
        results = []
        for part in utils.slices(x, 200):
            results.append([r.numpy() for r in importance_sample(model, tf.constant(part), n_samples // chunk, chunk)])
            bar.update(len(part))
    return Scores(*(np.concatenate(columns) for columns in zip(*results, strict=True)))


# ---------------------------------------------------------------------------------------------------------------------
# A run
# ---------------------------------------------------------------------------------------------------------------------


def run(settings: Settings, folder: RunFolder, images: Images) -> dict[str, Any]:
    """Trains, scores and writes the run's files; returns the metrics. Labels enter the scores alone. The test images
    are those set aside with --validate, and `test` in the metrics is of these."""
    training = Training(images.train, settings)
    training.train(folder)
    model, k = training.model, settings.k
    train = score(model, images.train, settings.train_importance_samples, "training images")
    test = score(model, images.test, settings.importance_samples, f"{scored(settings.validate)} images")
    train_clusters, test_clusters = train.q_z.argmax(axis=-1), test.q_z.argmax(axis=-1)
    seconds = float(training.seconds)
    n, batch_size = len(images.train), training.classifier_batch_size
    seen = training.classifier_epochs * (n // batch_size * batch_size)
    seen += training.model_epochs * (n // settings.batch_size * settings.batch_size)
    metrics = {
        "config": utils.config(settings),
        "test": {
            "elbo": float(test.elbo.mean(dtype=np.float64)),
            "nll": -float(test.log_likelihood.mean(dtype=np.float64)),
            "importance_samples": settings.importance_samples,
            **utils.cluster_scores(test_clusters, test.p_z.argmax(axis=-1), images.test_labels, k),
        },
        "train": {
            "importance_samples": settings.train_importance_samples,
            **utils.cluster_scores(train_clusters, train.p_z.argmax(axis=-1), images.train_labels, k),
        },
        "components_used": int(np.sum(np.bincount(train_clusters, minlength=k) >= 0.02 * len(train_clusters))),
        "sample_purity": None,
        "images_per_second": seen / seconds,
        "seconds": seconds,
        "compile_seconds": float(training.compile_seconds),
    }
    with folder.finish() as staging:
        np.savez_compressed(
            staging / "clusters.npz", train=train_clusters.astype(np.uint8), test=test_clusters.astype(np.uint8)
        )
        np.savez(
            staging / "curves.npz",
            starts=training.starts.numpy(),
            bounds=training.bounds.numpy(),
            shares=training.shares.numpy(),
            pull_epochs=training.pull_epochs,
        )
        np.savez_compressed(staging / "pictures.npz", **pictures(model, images, test_clusters, settings))
        utils.write_checkpoint(tf.train.Checkpoint(model=model), staging / "weights")
        utils.write_json(staging / "metrics.json", metrics)
        draw_figures(staging, staging)
    return metrics


def scored(validate: bool) -> str:
    """The name of the images that are scored."""
    return "validation" if validate else "test"


def pictures(model: MixtureVAE, images: Images, test_clusters: np.ndarray, settings: Settings) -> dict[str, np.ndarray]:
    """What the figures show of a model, as arrays."""
    k, n_draws, n_rebuilt, n_mapped = settings.k, 11, 12, 1000
    # x | h shown as its probabilities: at each component's mean, then at draws of h from it.
    means = tf.sigmoid(model.decode(model.means))
    draws = tf.sigmoid(model.decode(draw_codes(model, np.repeat(np.arange(k), n_draws))))
    x = tf.constant(fixed_binary(images.test[:n_mapped]))
    codes = tf.split(model.encoder(x), 2, axis=-1)[0].numpy()  # means of q(h | x)
    # One map for codes and component means, as t-SNE has no map for later points.
    together = np.concatenate([codes, model.means.numpy()])
    perplexity = min(30.0, (len(together) - 1) / 3)
    mapped = TSNE(init="pca", perplexity=perplexity, max_iter=500, random_state=settings.seed).fit_transform(together)
    return {
        "means": means.numpy(),
        "draws": draws.numpy().reshape(k, n_draws, PIXELS),
        "weights": tf.nn.softmax(model.weight_logits).numpy(),
        "originals": x[:n_rebuilt].numpy(),
        "rebuilt": tf.sigmoid(model.decode(codes[:n_rebuilt])).numpy(),
        "codes_2d": mapped[: len(codes)],
        "means_2d": mapped[len(codes) :],
        "clusters": test_clusters[: len(codes)],
        "classes": images.test_labels[: len(codes)],
        "confusion": utils.contingency(test_clusters, images.test_labels, k, 10),
    }


def draw_codes(model: MixtureVAE, clusters: np.ndarray) -> tf.Tensor:
    """Draws a code h from the component of each of the clusters, `[N, D]`."""
    z = tf.one_hot(clusters, model.means.shape[0])
    return model.generate({"z": z}, len(clusters)).outputs("h")


# ---------------------------------------------------------------------------------------------------------------------
# Figures
# ---------------------------------------------------------------------------------------------------------------------


def draw_figures(run_folder: Path, out: Path) -> None:
    """Draws the figures from the files of a run's folder alone."""
    metrics = json.loads((run_folder / "metrics.json").read_text())
    with (
        np.load(run_folder / "pictures.npz") as shown,
        np.load(run_folder / "curves.npz") as curves,
        utils.figure_style(),
    ):
        utils.save_figure(samples_figure(shown), out, "samples")
        utils.save_figure(reconstructions_figure(shown, metrics), out, "reconstructions")
        utils.save_figure(confusion_figure(shown, metrics), out, "confusion")
        utils.save_figure(latent_figure(shown), out, "latent")
        utils.save_figure(curves_figure(curves), out, "curves")


def tiles(images: np.ndarray) -> np.ndarray:
    """Images `[rows, columns, 784]` as one picture, with a grey line between them."""
    rows, columns, _ = images.shape
    framed = np.pad(images.reshape(rows, columns, 28, 28), [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=0.35)
    return framed.transpose(0, 2, 1, 3).reshape(rows * 30, columns * 30)


def samples_figure(shown: Any) -> Figure:
    """A row for each component: its mean, then draws."""
    figure = Figure(figsize=(3.4, 3.1))
    axes = figure.subplots(1, 2, width_ratios=[1, shown["draws"].shape[1]])
    titles = ("mean", "draws of h, as pixel probabilities")
    for ax, images, title in zip(axes, (shown["means"][:, None], shown["draws"]), titles, strict=True):
        ax.imshow(tiles(images), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[], title=title)
        ax.spines[:].set_visible(False)
    labels = [f"{k}   $\\pi$ = {weight:.3f}" for k, weight in enumerate(shown["weights"])]
    axes[0].set_yticks(15 + 30 * np.arange(len(labels)), labels)
    axes[0].tick_params(length=0)
    return figure


def reconstructions_figure(shown: Any, metrics: dict[str, Any]) -> Figure:
    """Binary images that are scored above the decoder's probabilities at the mean of q(h | x)."""
    figure = Figure(figsize=(3.4, 0.75))
    axes = figure.subplots()
    axes.imshow(tiles(np.stack([shown["originals"], shown["rebuilt"]])), cmap="gray_r", vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([15, 45], [f"{scored(metrics['config']['validate'])} image", "rebuilt"])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def clusters_by_class(counts: np.ndarray) -> np.ndarray:
    """The clusters `[K]` in the order of their matched classes, for display; unmatched ones last."""
    clusters, classes = linear_sum_assignment(counts, maximize=True)
    matched = clusters[np.argsort(classes)]
    return np.concatenate([matched, np.setdiff1d(np.arange(len(counts)), matched)])


def confusion_figure(shown: Any, metrics: dict[str, Any]) -> Figure:
    """How many test images of each class lie in each cluster, the clusters in the order of their matched classes."""
    counts = shown["confusion"]
    order = clusters_by_class(counts)
    figure = Figure(figsize=(3.4, 3.0))
    axes = figure.subplots()
    shares = counts[order] / np.maximum(counts[order].sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts[order]):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, count, ha="center", va="center", fontsize=5.5, color=colour)
    axes.set_xticks(np.arange(counts.shape[1]))
    axes.set_yticks(np.arange(len(counts)), order)
    accuracy = 100 * metrics["test"]["accuracy"]
    images = f"{scored(metrics['config']['validate'])} images"
    axes.set(xlabel="class", ylabel="cluster", title=f"{images}; matched one to one: {accuracy:.2f} %")
    figure.colorbar(picture, label="share of the cluster", shrink=0.8)
    return figure


def latent_figure(shown: Any) -> Figure:
    """A t-SNE map of the means of q(h | x) of test images, coloured by cluster and by class, with component means. A
    cluster has the colour of its matched class."""
    figure = Figure(figsize=(6.9, 3.3))
    order = clusters_by_class(shown["confusion"])
    by_cluster, by_class = figure.subplots(1, 2)
    for ax, groups, numbers in (
        (by_cluster, shown["clusters"], order),
        (by_class, shown["classes"], np.arange(10)),
    ):
        for number, colour in zip(numbers, utils.colours(len(numbers)), strict=True):
            members = shown["codes_2d"][groups == number]
            ax.scatter(*members.T, s=3, linewidths=0, color=colour)
            if ax is by_class and len(members):
                utils.outlined_text(ax, *np.median(members, axis=0), number)
        ax.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
    by_cluster.update_datalim(shown["means_2d"])  # text alone would not widen the axes
    by_cluster.autoscale_view()
    for number, mean in enumerate(shown["means_2d"]):
        utils.outlined_text(by_cluster, *mean, number)
    by_cluster.set_title("by cluster; a number stands at its component's mean $\\mu_z$")
    by_class.set_title("by class; a number stands at the class's median")
    return figure


def curves_figure(curves: Any) -> Figure:
    """The start's objective, the bound and the components' shares over the epochs."""
    figure = Figure(figsize=(6.9, 2.1))
    start, bound, shares = figure.subplots(1, 3)
    chosen = int(curves["starts"][-1].argmax())
    epochs = np.arange(1, 1 + len(curves["starts"]))
    for restart, objectives in enumerate(curves["starts"].T):
        colour = utils.COLOURS[0] if restart == chosen else "0.75"
        start.plot(epochs, objectives, ".-", color=colour, zorder=restart == chosen, label=restart)
    start.set(xlabel="epochs of step 1", ylabel="nats per image", title="objective of each head (chosen: blue)")
    epochs = np.arange(1, 1 + len(curves["bounds"]))
    bound.plot(epochs, curves["bounds"])
    bound.set(xlabel="epochs of steps 2 and 3", ylabel="nats per image", title="lower bound (first epochs below)")
    bound.set_ylim(bottom=np.quantile(curves["bounds"], 0.05) - 5)
    colours = utils.colours(curves["shares"].shape[1])
    for share, colour in zip(curves["shares"].T, colours, strict=True):
        shares.plot(epochs, share, color=colour)
    # The components' numbers, in the order of the curves' ends.
    for rank, k in enumerate(np.argsort(curves["shares"][-1])):
        height = (rank + 0.5) / len(colours)
        shares.text(1.03, height, k, transform=shares.transAxes, color=colours[k], fontweight="bold", va="center")
    shares.set(
        xlabel="epochs of steps 2 and 3", ylabel="mean of $p(z\\,|\\,h)$", title="components' shares, in order", ylim=0
    )
    for ax in (bound, shares):
        ax.axvline(int(curves["pull_epochs"]) + 0.5, color="0.5", linestyle=":", linewidth=0.8)
    return figure


# ---------------------------------------------------------------------------------------------------------------------
# Use from Python, and the command line
# ---------------------------------------------------------------------------------------------------------------------


class TrainedModel:
    """A finished run's model.

    Attributes:
        model: the networks and the mixture.
        settings: the run's settings.
    """

    def __init__(self, model: MixtureVAE, settings: Settings) -> None:
        self.model = model
        self.settings = settings

    def responsibilities(self, images: np.ndarray) -> np.ndarray:
        """E_q(h|x) p(z|h) `[N, K]` of images `[N, 784]`, bytes or numbers from 0 to 1. All images share the noise that
        makes them binary and the noise of 50 samples of h, so that an image's result does not hang on its company.

        Raises:
            ValueError: the images have another shape or range.
        """
        images = np.asarray(images)
        if images.ndim != 2 or images.shape[1] != PIXELS:
            raise ValueError(f"wanted images of shape [N, {PIXELS}], got {list(images.shape)}")
        if images.dtype != np.uint8:
            if images.size and not (images.min() >= 0 and images.max() <= 1):
                raise ValueError(f"wanted bytes, or numbers from 0 to 1, got {images.min()} to {images.max()}")
            images = np.round(255 * images).astype(np.uint8)
        rng = np.random.default_rng(BINARISATION_SEED)
        x = (rng.integers(0, 255, PIXELS, dtype=np.uint8) < images).astype(np.float32)
        noise = tf.constant(rng.normal(size=(50, 1, self.settings.code_units)).astype(np.float32))
        parts = [mean_p_z(self.model, tf.constant(part), noise) for part in utils.slices(x, 500)]
        return np.concatenate(parts) if parts else np.zeros([0, self.settings.k], np.float32)

    def classify(self, images: np.ndarray) -> np.ndarray:
        """The most probable cluster of images `[N, 784]`, `[N]`."""
        return self.responsibilities(images).argmax(axis=-1)

    def sample(self, clusters: np.ndarray, seed: int = 0) -> np.ndarray:
        """Draws an image from each of the clusters: the pixels' probabilities `[N, 784]`.

        Raises:
            ValueError: there is no such cluster.
        """
        clusters = np.asarray(clusters)
        if clusters.ndim != 1 or not np.isin(clusters, np.arange(self.settings.k)).all():
            raise ValueError(f"wanted a list of clusters from 0 to {self.settings.k - 1}, got {clusters.tolist()}")
        with utils.private_seed(seed):
            return tf.sigmoid(self.model.decode(draw_codes(self.model, clusters))).numpy()


@tf.function(jit_compile=True)
def mean_p_z(model: MixtureVAE, x: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """E_q(h|x) p(z|h) of binary images `[B, 784]`, `[B, K]`, over the samples of h that noise `[S, 1, D]` gives."""
    mean, logstd = tf.split(model.encoder(x), 2, axis=-1)
    return tf.transpose(tf.reduce_mean(tf.exp(model.log_p_z(mean + tf.exp(logstd) * noise)), axis=1))


def load(folder: str) -> TrainedModel:
    """The model of a finished run, from its folder.

    Raises:
        FileNotFoundError: no finished run with its weights lies there.
    """
    for name in ("settings.json", "weights.index"):
        if not Path(folder, name).is_file():
            raise FileNotFoundError(f"{Path(folder, name)} is missing: run gmvae.py --out {folder} first")
    settings = Settings(**RunFolder(folder, "gmvae").stored_settings(Path(folder, "settings.json")))
    model = MixtureVAE(settings)
    tf.train.Checkpoint(model=model).read(str(Path(folder, "weights"))).assert_existing_objects_matched()
    return TrainedModel(model, settings)


def table(metrics: dict[str, Any]) -> str:
    """The run's result in numbers."""
    test, train = metrics["test"], metrics["train"]
    lines = [f"{'':<34}{scored(metrics['config']['validate']):>10}{'training':>10}"]
    for name, label in (
        ("accuracy", "accuracy, E_q(h|x) p(z|h)   [%]"),
        ("accuracy_model", "accuracy, p(z|x)            [%]"),
    ):
        lines.append(f"{label:<34}{100 * test[name]:>10.2f}{100 * train[name]:>10.2f}")
    lines.append(f"{'normalised mutual information':<34}{test['nmi']:>10.4f}{train['nmi']:>10.4f}")
    lines.append(f"{'adjusted Rand index':<34}{test['ari']:>10.4f}{train['ari']:>10.4f}")
    lines.append(f"{'lower bound                [nats]':<34}{test['elbo']:>10.2f}")
    lines.append(f"{'-log p(x)                  [nats]':<34}{test['nll']:>10.2f}")
    lines.append(f"(importance sampling, {test['importance_samples']} samples an image)")
    lines.append(f"components in use: {metrics['components_used']} of {metrics['config']['k']}")
    lines.append(
        f"{metrics['images_per_second']:.0f} training images per second, {metrics['seconds']:.0f} s of training after "
        f"{metrics['compile_seconds']:.0f} s of compilation"
    )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmvae", __doc__, PICTURED, argv) as (settings, _, folder, resume):
        if resume and not folder.is_unfinished:
            draw_figures(folder.path, folder.path)
            print(table(json.loads((folder.path / "metrics.json").read_text())))
            return
        images = utils.read_images(settings.data)
        if settings.validate:
            images = utils.set_aside(images, settings.validation_images)
        if settings.batch_size > len(images.train):
            raise InputError(
                f"--batch-size {settings.batch_size}: wanted at most {len(images.train)}, the training images"
            )
        settings = utils.with_checksum(settings, resume, *images)
        tf.keras.utils.set_random_seed(settings.seed)
        zs.set_seed(settings.seed)
        if not resume:
            folder.start(settings)
        print(" ".join(f"{name}={value}" for name, value in dataclasses.asdict(settings).items()), flush=True)
        print(table(run(settings, folder, images)))
        print(f"figures and metrics.json in {folder.path}")


if __name__ == "__main__":
    utils.run_main(main)
