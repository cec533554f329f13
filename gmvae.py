"""A Gaussian-mixture variational autoencoder of binary images (part 3 of the assignment).

Model, for each image x of 784 binary pixels, its component z, a one-hot vector of length K = 10, and code h in R^40:

    z     ~ OnehotDiscrete(pi)
    h | z ~ Normal(mu_z, diag(sigma_z^2))
    x | h ~ Bernoulli(f_NN(h))

Inference, by default: q(z, h | x) = q(h | x) p(z | h) with q(h | x) a Normal whose mean and standard deviation are a
network of x. Given h, the image says nothing more about z, so p(z | h) is the best factor there is for z, and summing z
out makes it exact. With z observed as all K one-hot vectors at once, the lower bound costs one pass of the decoder, not
K:

    log p(x) >= E_q(h|x)[ log p(x|h) + log sum_z p(z) p(h|z) - log q(h|x) ]                                        (1)

Of the three designs in report/gmvae_designs.py this has the best bound for the time: q(z | x) q(h | x) lies below it by
E KL(q(z | x) || p(z | h)), and q(z | x) q(h | x, z), a little above it after as many steps, pays for K passes in each.

Learning: `zs.sgvb` on h (Kingma & Welling 2013) for pi, mu, sigma and both networks.

From a random start the components come to mean little: before the code means anything they differ by chance, and the
bound hardly cares which images share one. So the mixture is given a start that needs no labels:

  1. A classifier q(z | x) learns by itself: its clusters are to be certain, evenly filled, and the same for an image
     and a slightly distorted copy (Hu et al. 2017, with affine distortions). Several run as heads of one network; the
     best objective wins.
  2. The model learns (1) while p(z | h) is pulled towards q(z | x) by  - weight * KL(q(z|x) || p(z|h)).
  3. The bound (1) alone, to the end.

The step size stays the same, and what is scored is an average of the model's weights over the last steps, which finds
a better bound in the same time than steps that fall to 0 from the same first one.

`--pure` keeps a classifier, a convolutional one, as the posterior of z: q(z, h | x) = q(z | x) q(h | x). With z summed
out again,

    log p(x) >= (1) - E_q(h|x)[ KL(q(z|x) || p(z|h)) ]                                                             (2)

so the pull is part of the bound, with weight 1, and a regulariser beyond that. It stays to the end, and makes the
model's own p(z | x) nearly as pure as the classifier, of which q(h | x) is told the result. The bound's gradient for
q(z | x) is left out: its regularisers alone train it, before the rest. There are two more of them, since heads that
agree on all copies still join a rare way of writing a digit to the wrong one, and one of the model, since draws from a
component may lie off the codes of its images:

  - In step 1 the network also embeds images on a sphere, where a copy is to be told from all other images of its batch
    (Chen et al. 2020). This keeps what differs within a cluster, and makes near what looks alike.
  - After step 1 a graph joins each image to those of the nearest embeddings and, more weakly, of the nearest pixels,
    which seldom err together. It is cut into K clusters (Ng, Jordan & Weiss 2002), and each image joins the majority
    two steps away. The nearest head learns these on images and on distorted copies, also bent (Lee 2013), by a loss
    in which wrong ones weigh less (Zhang & Sabuncu 2018). q(z | x) is the mean of what it then says of an image and of
    copies, for which all images are distorted alike.
  - In the last two thirds of the model's epochs the images that it generates from a component are to be of that cluster
    for q(z | x), in the manner of Chen et al. (2016).

With `--no-augment` a near neighbour by pixels takes the place of a distorted copy in step 1, and nothing does after
that; so the embeddings know what pixels have to say, and the graph is theirs alone.

`--labels-per-class M` adds labels of M images a class to that: where z is known, q(z | x) in (2) is that z, which makes
it the labelled bound  E_q(h|x)[ log p(x|h) + log p(z) + log p(h|z) - log q(h|x) ],  with the pull's weight on what it
says of z and h;  and  log q(z | x)  joins the refinement's objective (Kingma et al. 2014, equations 6 and 9). Before
that, labels name the graph's clusters, and a labelled image leaves its own for its label's.

The weights of the heads in step 1 are those of Hu et al. on their lambda = 0.1 and mu = 4. The classifier reads grey
images, the rest binary ones: any q(z | x) makes (2) a bound.

    python gmvae.py                        # MNIST, about 6 minutes on 2 cores
    python gmvae.py --pure                 # regularised towards clusters of one class
    python gmvae.py --labels-per-class 10  # with 100 labels
    python gmvae.py --epochs 1             # a quick look, under 2 minutes

Expect all 10 components in use; README.md has the scores.
"""

import functools
import json
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":  # libraries that Ctrl-C meets while they load tell of it at length, or go on
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)

import numpy as np
from matplotlib.figure import Figure
from scipy.interpolate import make_interp_spline
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import eigsh
from scipy.special import xlogy
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits
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
JUDGE = Path(__file__).resolve().parent / "data" / "judge"  # judges samples; report/judge.py trained it


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result of a run."""

    data: str = setting("data/mnist", "folder with the four IDX files of MNIST or of a data set in its format")
    epochs: int = setting(60, "passes over the images in step 3; the steps before add to them", 1, 100_000)
    batch_size: int = setting(200, "images in a gradient step", 2, 100_000)
    labels_per_class: int = setting(
        0, "training images of each class whose labels are used, on top of what --pure does; 0 for none", 0, 1000
    )
    pure: bool = setting(False, "regularisers for clusters of one class each, without labels")
    no_augment: bool = setting(False, "forbid distorted images: an image's near neighbours take the place of copies")
    restarts: int = setting(
        5,
        "heads of the classifier in step 1; the best objective wins, with --pure that nearest to the graph's clusters",
        1,
        100,
    )
    validate: bool = setting(
        False, "set 10,000 training images aside and score them in place of the test images, which stay untouched"
    )
    seed: int = setting(0, "seed of everything random but the binary images that are scored", 0, 2**31 - 1)
    out: str = setting("plots/gmvae", "folder for figures and metrics.json; its default ends in -pure or -labels there")
    k: int = setting(10)
    code_units: int = setting(40)
    start_mean_std: float = setting(0.5)  # of the components' means
    start_logstd: float = setting(-0.5)
    hidden_units: int = setting(500)
    learning_rate: float = setting(1e-3)
    average_steps: int = setting(1000)  # of steps 2 and 3, over which the weights are averaged; at most a tenth of all
    classifier_share: float = setting(0.15)  # epochs of step 1 for one of step 3
    convolutional_share: float = setting(0.3)  # the same with a convolutional classifier
    refinement_share: float = setting(0.3)  # of the refinement
    pull_share: float = setting(0.25)  # of step 2
    pull_weight: float = setting(10.0)
    classifier_batch_size: int = setting(500)
    convolutional_learning_rate: float = setting(2e-3)  # of a convolutional classifier
    padding: str = setting("valid")  # of its convolutions
    last_filters: int = setting(128)  # of its third one
    agreement_weight: float = setting(1.0)
    balance_weight: float = setting(0.4)
    certainty_weight: float = setting(0.1)
    contrast_weight: float = setting(4.0)
    embedding_units: int = setting(64)
    temperature: float = setting(0.2)
    graph_neighbours: int = setting(10)  # of an image; 0 lets the heads' own clusters be refined
    pixel_weight: float = setting(0.5)  # of neighbours by pixels in the graph, those by embeddings having 1
    refinement_batch_size: int = setting(250)
    cluster_weight: float = setting(1.0)  # in the refinement
    robustness: float = setting(0.7)  # to wrong clusters, of its loss; 0 makes that the cross-entropy
    voting_copies: int = setting(8)  # distorted copies of an image that have a vote in q(z|x) after that
    generation_weight: float = setting(60.0)  # in the last epochs of steps 2 and 3
    generation_share: float = setting(0.67)  # of the epochs of steps 2 and 3, the last
    generated_images: int = setting(10)  # of each component in a gradient step
    label_weight: float = setting(1.0)
    labelled_batch_size: int = setting(100)
    neighbours: int = setting(5)  # that take the place of copies
    rotation: float = setting(0.26)  # radians; this and the next three: the most that a copy is distorted
    scaling: float = setting(0.15)  # logarithm
    shear: float = setting(0.26)
    shift: float = setting(2.5)  # pixels
    elastic: float = setting(1.0)  # standard deviation of a knot's shift, pixels; in the refinement
    importance_samples: int = setting(500)
    train_importance_samples: int = setting(10)
    judged_samples: int = setting(1000)  # of each cluster
    validation_images: int = setting(10_000)
    data_sha256: str = setting("")  # found when the run begins

    @property
    def variant(self) -> str:
        """What the run is an instance of: default, labels or pure."""
        return "labels" if self.labels_per_class else "pure" if self.pure else "default"

    @property
    def factorised(self) -> bool:
        """Whether the posterior is q(z | x) q(h | x), not p(z | h) q(h | x)."""
        return self.variant != "default"


JUDGE_SETTINGS = Settings(  # a network of one head
    pure=True, restarts=1, embedding_units=0, robustness=0.0, voting_copies=0, padding="same", last_filters=64
)


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
        self.encoder = mlp(PIXELS + k * settings.factorised, settings.hidden_units, 2 * d)
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

    def encode(self, x: tf.Tensor, q_z: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and log standard deviation of q(h | x), `[B, D]`, of images `[B, 784]`; with a factorised posterior the
        network is also told q(z | x), `[B, K]`, so that the code can lie where its component is."""
        return tf.split(self.encoder(x if q_z is None else tf.concat([x, q_z], axis=-1)), 2, axis=-1)

    def infer(self, x: tf.Tensor, q_z: tf.Tensor | None = None, n_samples: int | None = None) -> zs.BayesianNet:
        """The variational posterior q(h | x); by default q(z | h) is the model's own p(z | h)."""
        mean, logstd = self.encode(x, q_z)
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

    def bound(self, x: tf.Tensor, q_z: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """The lower bound (1), nats per image `[B]`, and log p(z | h) of the same sample h, `[B, K]`."""
        h = self.infer(x, q_z, n_samples=1)["h"]
        bound = zs.sgvb(self.log_joint, {"x": x}, {"h": h}, axis=0)
        return bound, tf.transpose(self.log_p_z(h)[:, 0])


# ---------------------------------------------------------------------------------------------------------------------
# The start: a classifier that needs no labels
# ---------------------------------------------------------------------------------------------------------------------


class Classifier(tf.Module):
    """q(z | x) of R heads on one network of grey images: two hidden layers where it only gives the model a start, which
    is quick, and a convolutional network, which also embeds the images on a sphere, where it is the posterior of z.

    Attributes:
        head: the head that was chosen.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        layers = tf.keras.layers
        normalised = (layers.BatchNormalization, layers.ReLU)
        self.shape = [-1, settings.restarts, settings.k]
        self.settings = settings
        self.network = tf.keras.Sequential([tf.keras.Input((PIXELS,))])
        if settings.factorised:
            self.network.add(layers.Reshape((28, 28, 1)))
            for filters, size, pool in ((16, 5, True), (32, 3, True), (settings.last_filters, 3, False)):
                self.network.add(layers.Conv2D(filters, size, padding=settings.padding, use_bias=False))
                # Pooled first: what follows is monotone, and has a quarter of the work.
                for layer in (layers.MaxPool2D, *normalised) if pool else normalised:
                    self.network.add(layer())
            self.network.add(layers.Flatten())
            hidden = (128,)
        else:
            hidden = (settings.hidden_units, settings.hidden_units)
        for units in hidden:
            for layer in (layers.Dense(units, use_bias=False), *(layer() for layer in normalised)):
                self.network.add(layer)
        self.network.add(layers.Dense(settings.restarts * settings.k + settings.embedding_units * settings.factorised))
        self.learned = self.network.trainable_variables
        self.head = tf.Variable(0, trainable=False)

    def outputs(self, images: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """log q(z | x), `[B, R, K]`, and embeddings of length 1, `[B, E]`, E may be 0, of images `[B, 784]`: bytes, or
        float32 from 0 to 1."""
        outputs = self.network(tf.image.convert_image_dtype(images, tf.float32), training=training)
        n_logits = self.shape[1] * self.shape[2]
        log_q = tf.nn.log_softmax(tf.reshape(outputs[:, :n_logits], self.shape))
        return log_q, tf.math.l2_normalize(outputs[:, n_logits:], axis=-1)

    def log_probs(self, images: tf.Tensor, training: bool) -> tf.Tensor:
        """log q(z | x), `[B, R, K]`, of images `[B, 784]`."""
        return self.outputs(images, training)[0]

    def chosen(self, images: tf.Tensor, training: bool) -> tf.Tensor:
        """log q(z | x) of the chosen head, `[B, K]`, of images `[B, 784]`."""
        return tf.gather(self.log_probs(images, training), self.head, axis=1)

    def log_prob(self, images: tf.Tensor, clusters: tf.Tensor, training: bool) -> tf.Tensor:
        """log q(z | x) of the chosen head, `[B]`, of given clusters `[B]` of images `[B, 784]`."""
        return tf.gather(self.chosen(images, training), clusters, axis=1, batch_dims=1)

    @tf.function(reduce_retracing=True)
    def classify(self, images: tf.Tensor) -> tf.Tensor:
        """The chosen head's probabilities, `[B, K]`, of uint8 images `[B, 784]`."""
        return tf.exp(self.chosen(images, training=False))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """q(z | x), `[N, K]`, of uint8 images `[N, 784]`, however many: the chosen head's, and with a convolutional
        network the mean of it over the image and copies, where these are allowed. All images are distorted alike, so
        that the copies are a part of q and not random."""
        settings = self.settings
        n_copies = settings.voting_copies if settings.factorised and not settings.no_augment else 0

        def vote(part: np.ndarray) -> np.ndarray:
            rng = np.random.default_rng(settings.seed)
            copies = (distort(part, settings, rng, alike=True) for _ in range(n_copies))
            return np.mean([self.classify(each) for each in (part, *copies)], axis=0)

        return np.concatenate([vote(part) for part in utils.slices(images, 5000)])

    def embed(self, images: np.ndarray) -> np.ndarray:
        """The embeddings `[N, E]` of uint8 images `[N, 784]`, however many."""
        return np.concatenate([self.outputs(part, training=False)[1] for part in utils.slices(images, 5000)])

    def objective(self, images: tf.Tensor, partners: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Regularised information maximisation with partners of the images (Hu et al. 2017, section 2).

        Args:
            images: uint8 `[B, 784]`.
            partners: distorted copies or neighbours of them, uint8 `[B, 784]`.

        Returns:
            the weighted objective of all heads and of the embedding, to maximise; and the plain one of each head, by
            which heads are compared, `[R]`, in nats: mutual information of image and cluster less the cross-entropy
            from image to partner.
        """
        log_q, embeddings = self.outputs(tf.concat([images, partners], 0), training=True)
        log_q, log_q_partner = tf.split(log_q, 2)
        q = tf.exp(log_q)
        share = tf.reduce_mean(q, axis=0)
        balance = -tf.reduce_sum(share * tf.math.log(share + 1e-8), axis=-1)
        uncertainty = -tf.reduce_mean(tf.reduce_sum(q * log_q, axis=-1), axis=0)
        # The partner follows the image, not the other way round.
        disagreement = -tf.reduce_mean(tf.reduce_sum(tf.stop_gradient(q) * log_q_partner, axis=-1), axis=0)
        weights = self.settings
        weighted = weights.balance_weight * balance - weights.certainty_weight * uncertainty
        total = tf.reduce_sum(weighted - weights.agreement_weight * disagreement)
        if weights.factorised:
            total += weights.contrast_weight * self.contrast(embeddings)
        return total, balance - uncertainty - disagreement

    def contrast(self, embeddings: tf.Tensor) -> tf.Tensor:
        """The mean log probability of picking an image's partner among all others of the batch by the similarity of
        their embeddings `[2B, E]`, images then partners (Chen et al. 2020, equation 1)."""
        n = len(embeddings)
        similarity = tf.matmul(embeddings, embeddings, transpose_b=True) / self.settings.temperature
        log_p = tf.nn.log_softmax(tf.linalg.set_diag(similarity, tf.fill([n], -np.float32(np.inf))))
        return tf.reduce_mean(tf.gather(log_p, (tf.range(n) + n // 2) % n, batch_dims=1))

    def loss(self, images: tf.Tensor, clusters: tf.Tensor, labelled: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """The weighted sum of the chosen head's losses on images with given clusters `[B]`, which may be wrong, and on
        labelled ones, `[L]`, L may be 0: means of the generalised cross-entropy  (1 - q^r) / r  of Zhang & Sabuncu
        (2018, equation 6), r the robustness, which gives less weight to what the head finds unlikely; and of the
        cross-entropy, its limit at r = 0."""
        log_q = self.log_prob(tf.concat([images, labelled], 0), tf.concat([clusters, labels], 0), training=True)
        log_q, log_q_labelled = tf.split(log_q, [len(images), len(labelled)])
        weights, r = self.settings, self.settings.robustness
        error = -tf.reduce_sum(log_q_labelled) / max(1, len(labelled))
        losses = -tf.math.expm1(r * log_q) / r if r else -log_q
        return weights.label_weight * error + weights.cluster_weight * tf.reduce_mean(losses)

    def name_clusters(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Chooses the head and the order of its clusters that make labels `[N]` of uint8 images `[N, 784]` most
        probable: cluster k is class k from here on."""
        log_q = np.concatenate([self.log_probs(part, training=False) for part in utils.slices(images, 5000)])
        found = [best_order(log_q[:, head], labels) for head in range(log_q.shape[1])]
        head = int(np.argmax([score for _, score in found]))
        self.head.assign(head)
        k = log_q.shape[2]
        columns = slice(head * k, (head + 1) * k)
        for variable in self.network.layers[-1].weights:
            value = variable.numpy()
            value[..., columns] = value[..., columns][..., found[head][0]]
            variable.assign(value)


def best_order(log_q: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """The order of the clusters that makes labels `[N]` most probable under log q `[N, K]`, and their log
    probability."""
    k = log_q.shape[1]
    scores = np.stack([log_q[labels == label].sum(axis=0) for label in range(k)])  # [class, cluster]
    classes, order = linear_sum_assignment(scores, maximize=True)
    return order, float(scores[classes, order].sum())


def distort(images: np.ndarray, settings: Settings, rng: np.random.Generator, alike: bool = False) -> tf.Tensor:
    """Random affine distortions of uint8 images `[B, 784]`, up to the settings' rotation, scaling, shear and shift: one
    for each image, or the same for all."""
    n = 1 if alike else len(images)
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
        images=images.reshape(-1, 28, 28, 1),
        transforms=transforms.astype(np.float32),
        output_shape=[28, 28],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.reshape(distorted, [-1, PIXELS])


def bend(images: np.ndarray, settings: Settings, rng: np.random.Generator) -> np.ndarray:
    """Random elastic distortions of uint8 images `[B, 784]`: each pixel comes from where the cubic spline through
    random shifts of 5 x 5 knots says."""
    knots = settings.elastic * rng.normal(size=(len(images), 2, 5, 5)).astype(np.float32)
    parts = zip(utils.slices(images, 5000), utils.slices(knots, 5000), strict=True)
    return np.concatenate([warp(*part).numpy() for part in parts])


@tf.function(jit_compile=True)
def warp(images: tf.Tensor, knots: tf.Tensor) -> tf.Tensor:
    """Shifts the pixels of uint8 images `[B, 784]` by the spline through knots `[B, 2, 5, 5]`, which say from how many
    pixels to the right and below each comes, by bilinear interpolation; beyond the edge is 0."""
    spline = make_interp_spline(np.linspace(0, 27, 5), np.eye(5))(np.arange(28)).astype(np.float32)
    right, below = tf.unstack(spline @ knots @ spline.T, axis=1)  # [B, 28, 28]
    # In a picture with an empty line before the first row and column and two after the last.
    x = tf.clip_by_value(tf.range(1.0, 29.0) + right, 0.0, 29.0)
    y = tf.clip_by_value(tf.range(1.0, 29.0)[:, None] + below, 0.0, 29.0)
    framed = tf.pad(tf.reshape(tf.cast(images, tf.float32), [-1, 28, 28]), [[0, 0], [1, 2], [1, 2]])
    left, top = tf.cast(x, tf.int32), tf.cast(y, tf.int32)
    x, y = x - tf.cast(left, tf.float32), y - tf.cast(top, tf.float32)
    pixels, corner = tf.reshape(framed, [-1, 31 * 31]), 31 * top + left

    def neighbour(offset: int) -> tf.Tensor:
        return tf.reshape(tf.gather(pixels, tf.reshape(corner + offset, [-1, PIXELS]), batch_dims=1), tf.shape(x))

    above = neighbour(0) * (1 - x) + neighbour(1) * x
    beneath = neighbour(31) * (1 - x) + neighbour(32) * x
    return tf.cast(tf.reshape(tf.round(above * (1 - y) + beneath * y), [-1, PIXELS]), tf.uint8)


def principal_components(images: np.ndarray) -> np.ndarray:
    """The first 50 principal components `[N, 50]`, or as many as there are, of uint8 images `[N, 784]`."""
    grey = images.astype(np.float32) / 255.0
    return PCA(min(50, *grey.shape), svd_solver="covariance_eigh").fit_transform(grey)


def near_neighbours(images: np.ndarray, n: int) -> np.ndarray:
    """The indices `[N, n]` of the nearest images of each of uint8 images `[N, 784]`, in their principal components;
    with itself where there are no others."""
    return np.zeros([1, 1], int) if len(images) == 1 else nearest(principal_components(images), n)[1]


def nearest(codes: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and indices `[N, n]` of the nearest other codes of each of codes `[N, D]`, n < N or as many as are."""
    found = NearestNeighbors(n_neighbors=min(n + 1, len(codes)), algorithm="brute").fit(codes)
    near = [found.kneighbors(part) for part in utils.slices(codes, 5000)]
    distances, indices = (np.concatenate(parts)[:, 1:] for parts in zip(*near, strict=True))
    return distances, indices


def neighbour_graph(codes: np.ndarray, n: int) -> csr_array:
    """The weights `[N, N]` of the edges between codes `[N, D]` and their n nearest, symmetric; a distance is measured
    by those to the middle one of the neighbours of both ends (Zelnik-Manor & Perona 2004)."""
    distances, indices = nearest(codes, n)
    scale = np.maximum(distances[:, distances.shape[1] // 2], 1e-6)
    weights = np.maximum(np.exp(-(distances**2) / (scale[:, None] * scale[indices])), 1e-12)  # no node is cut off
    rows = np.repeat(np.arange(len(codes)), indices.shape[1])
    graph = csr_array((weights.ravel(), (rows, indices.ravel())), shape=(len(codes), len(codes)))
    return graph.maximum(graph.T)


def cut(graph: csr_array, settings: Settings) -> np.ndarray:
    """How a graph's nodes belong to K clusters of spectral clustering (Ng, Jordan & Weiss 2002), with as many
    eigenvectors as make the best clusters: evenly filled, and that of a node certain from that of a neighbour, at the
    ratio of the settings' weights of balance and certainty.

    Returns:
        the share of each cluster among the neighbours of a node's neighbours `[N, K]`.
    """
    n, k = graph.shape[0], settings.k
    root = diags_array(1 / np.sqrt(graph.sum(axis=1)))
    n_vectors = min(2 * k, n - 1)
    start = np.random.default_rng(settings.seed).normal(size=n)
    values, vectors = eigsh(root @ graph @ root, n_vectors, which="LA", ncv=min(6 * k, n), v0=start)
    vectors = vectors[:, np.argsort(-values)]

    def clusters(m: int) -> np.ndarray:
        rows = vectors[:, :m] / np.linalg.norm(vectors[:, :m], axis=1, keepdims=True)
        with warnings.catch_warnings(), threadpool_limits(1):  # more threads would wait for each other
            warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer distinct rows than clusters
            return np.eye(k)[KMeans(min(k, n), n_init=5, random_state=settings.seed).fit_predict(rows)]

    def score(members: np.ndarray) -> float:
        joint = members.T @ (graph @ members)
        joint /= joint.sum()
        share = joint.sum(axis=0)
        balance, uncertainty = -xlogy(share, share).sum(), xlogy(share, share).sum() - xlogy(joint, joint).sum()
        return settings.balance_weight * balance - settings.certainty_weight * uncertainty

    best = max(map(clusters, range(min(k, n_vectors), n_vectors + 1)), key=score)
    walk = diags_array(1 / graph.sum(axis=1)) @ graph
    return walk @ (walk @ best)


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------


def binarise(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Binary images, bool, of uint8 ones: a uniform byte from 0 to 254 is below a byte with probability byte / 255."""
    return rng.integers(0, 255, images.shape, dtype=np.uint8) < images


class Training:
    """The steps, with everything that they change.

    Args:
        images: uint8 `[N, 784]`.
        labels: of the images, `[N]`; only those that the settings ask for are looked at.
        settings: the run's settings.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, settings: Settings) -> None:
        self.settings = settings
        self.images = images
        self.n = len(images)
        self.labelled = draw_labelled(labels, settings)
        self.labels = labels[self.labelled].astype(np.int32)
        self.classifier_batch_size = min(settings.classifier_batch_size, self.n)
        self.refinement_batch_size = min(settings.refinement_batch_size, self.n)
        share = settings.convolutional_share if settings.factorised else settings.classifier_share
        self.classifier_epochs = max(1, round(share * settings.epochs))
        self.refinement_epochs = settings.factorised * int(np.ceil(settings.refinement_share * settings.epochs))
        self.start_epochs = self.classifier_epochs + self.refinement_epochs
        self.pull_epochs = max(1, round(settings.pull_share * settings.epochs))
        self.model_epochs = self.pull_epochs + settings.epochs
        self.n_epochs = self.start_epochs + self.model_epochs
        generates = settings.factorised and settings.generation_weight > 0
        self.first_generating = self.n_epochs - generates * round(settings.generation_share * self.model_epochs)
        self.model = MixtureVAE(settings)
        self.classifier = Classifier(settings)
        steps = self.model_epochs * (self.n // settings.batch_size)
        average_steps = min(settings.average_steps, steps // 10)
        self.optimizer = utils.averaging_adam(self.model.learned, settings.learning_rate, average_steps)
        rate = settings.convolutional_learning_rate if settings.factorised else settings.learning_rate
        steps = self.classifier_epochs * (self.n // self.classifier_batch_size)
        self.classifier_optimizer = utils.cosine_adam(self.classifier.learned, rate, steps)
        steps = max(1, self.refinement_epochs) * (self.n // self.refinement_batch_size)
        self.refinement_optimizer = utils.cosine_adam(self.classifier.learned, rate / 2, steps)
        # XLA's convolutions take several times as long as TensorFlow's own.
        self.classifier_epoch = tf.function(self.classifier_epoch, jit_compile=not settings.factorised)
        if settings.factorised:
            self.generating_epoch = tf.function(functools.partial(self.epoch, generating=True))
        self.epoch = tf.function(self.epoch, jit_compile=True)
        self.done = tf.Variable(0, trainable=False)
        self.seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        self.compile_seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        # One row for each epoch that is done.
        self.starts = tf.Variable(tf.zeros([self.classifier_epochs, settings.restarts]), trainable=False)
        self.bounds = tf.Variable(tf.zeros([self.model_epochs]), trainable=False)
        self.shares = tf.Variable(tf.zeros([self.model_epochs, settings.k]), trainable=False)
        self.targets = tf.Variable(tf.zeros([self.n], tf.int32), trainable=False)  # clusters that the refinement learns
        self.checkpoint = tf.train.Checkpoint(
            model=self.model,
            classifier=self.classifier,
            optimizer=self.optimizer,
            classifier_optimizer=self.classifier_optimizer,
            refinement_optimizer=self.refinement_optimizer,
            random=zs.get_generator(),
            done=self.done,
            seconds=self.seconds,
            compile_seconds=self.compile_seconds,
            starts=self.starts,
            bounds=self.bounds,
            shares=self.shares,
            targets=self.targets,
        )

    def batches(self, epoch: int, size: int) -> tuple[np.ndarray, np.random.Generator]:
        """The indices of an epoch's batches, `[steps, size]`, and the generator of what else is random in its images.
        They depend on seed and epoch alone."""
        rng = np.random.default_rng([self.settings.seed, epoch])
        order = rng.permutation(self.n).astype(np.int32)
        return order[: self.n // size * size].reshape(-1, size), rng

    def labelled_batches(self, steps: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """For each step labelled images, varied, uint8 `[steps, L, 784]`, and their labels `[steps, L]`."""
        size = min(len(self.labelled), self.settings.labelled_batch_size)
        drawn = np.stack([rng.permutation(len(self.labelled))[:size] for _ in range(steps)])
        return self.varied(self.images[self.labelled][drawn], rng), self.labels[drawn]

    def varied(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Distorted copies of images `[..., 784]`, or the images where these are forbidden."""
        if self.settings.no_augment or not images.size:
            return images
        distorted = distort(images.reshape(-1, PIXELS), self.settings, rng).numpy()
        return bend(distorted, self.settings, rng).reshape(images.shape)

    def classifier_epoch_data(self, epoch: int) -> tuple[np.ndarray, ...]:
        """The images of an epoch of step 1 and their partners, uint8 `[steps, B, 784]`."""
        batches, rng = self.batches(epoch, self.classifier_batch_size)
        images = self.images[batches]
        if self.settings.no_augment:
            column = rng.integers(self.neighbours.shape[1], size=batches.shape)
            partners = self.images[self.neighbours[batches, column]]
        else:
            partners = distort(images.reshape(-1, PIXELS), self.settings, rng).numpy().reshape(images.shape)
        return images, partners

    @functools.cached_property
    def neighbours(self) -> np.ndarray:
        """The near neighbours of each image, `[N, n]`."""
        return near_neighbours(self.images, self.settings.neighbours)

    def begin_refinement(self) -> None:
        """Finds the clusters that the refinement learns, named by the labels where there are any, and for a labelled
        image its label; gives their names to the classifier's."""
        if self.settings.graph_neighbours and self.refinement_epochs:
            n = self.settings.graph_neighbours
            graph = neighbour_graph(self.classifier.embed(self.images), n)
            if not self.settings.no_augment:  # whose embeddings have learned from neighbours by pixels
                graph += self.settings.pixel_weight * neighbour_graph(principal_components(self.images), n)
            q = cut(graph, self.settings)
        else:
            q = self.classifier(self.images)
        if len(self.labelled):
            q = q[:, best_order(np.log(q[self.labelled] + 1e-8), self.labels)[0]]
        clusters = q.argmax(axis=-1)
        clusters[self.labelled] = self.labels
        self.classifier.name_clusters(self.images, clusters)
        self.targets.assign(clusters.astype(np.int32))

    def refinement_epoch_data(self, epoch: int) -> tuple[np.ndarray, ...]:
        """Images of an epoch of the refinement, every other one distorted, uint8 `[steps, B, 784]`, and their clusters
        `[steps, B]`; labelled ones and labels."""
        batches, rng = self.batches(epoch, self.refinement_batch_size)
        images = self.images[batches]
        images[:, ::2] = self.varied(images[:, ::2], rng)
        return images, self.targets.numpy()[batches], *self.labelled_batches(len(batches), rng)

    def epoch_data(self, epoch: int, q_z: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        """The images of an epoch of steps 2 and 3, binarised anew, bool `[steps, B, 784]`, and their rows of q(z|x)."""
        batches, rng = self.batches(epoch, self.settings.batch_size)
        return tf.constant(binarise(self.images[batches], rng)), tf.constant(q_z[batches])

    # Each epoch is one compiled program. Its number of steps is an argument: 0 steps compile it and change nothing. XLA
    # would compile a loop over tf.range anew for every number.

    def classifier_epoch(self, images: tf.Tensor, partners: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        """Step 1: an epoch of the classifier, whose heads share the network's gradient; the mean objective `[R]`."""
        step, total = 0, tf.zeros([self.settings.restarts])
        while step < steps:
            with tf.GradientTape() as tape:
                objective, plain = self.classifier.objective(images[step], partners[step])
                loss = -objective
            self.classifier_optimizer.apply(tape.gradient(loss, self.classifier.learned), self.classifier.learned)
            total += plain
            step += 1
        return total / tf.cast(steps, tf.float32)

    @tf.function
    def refinement_epoch(
        self, images: tf.Tensor, clusters: tf.Tensor, labelled: tf.Tensor, labels: tf.Tensor, steps: tf.Tensor
    ) -> tf.Tensor:
        """An epoch of the refinement: the chosen head learns the clusters; the mean loss."""
        step, total = 0, tf.zeros([])
        while step < steps:
            with tf.GradientTape() as tape:
                loss = self.classifier.loss(images[step], clusters[step], labelled[step], labels[step])
            # Other heads get no gradient of their own.
            gradients = tape.gradient(loss, self.classifier.learned)
            self.refinement_optimizer.apply(gradients, self.classifier.learned)
            total += loss
            step += 1
        return total / tf.cast(steps, tf.float32)

    def epoch(
        self, images: tf.Tensor, q_z: tf.Tensor, pull: tf.Tensor, steps: tf.Tensor, generating: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Steps 2 and 3: an epoch of the model, whose p(z | h) is pulled with weight `pull` towards q(z | x); and where
        `generating`, whose images are to be of their component's cluster.

        Returns:
            the mean bound, (1) or with a factorised posterior (2), nats per image; and the components' mean shares of
            the images `[K]`.
        """
        step, total, shares = 0, tf.zeros([]), tf.zeros([self.settings.k])
        # Two programs of XLA's, with the convolutions beside the first, where an epoch is not one as a whole.
        bound_gradients = tf.function(self.bound_gradients, jit_compile=True)
        update = tf.function(self.update, jit_compile=True)
        while step < steps:
            # First, so that both gradients can be computed at once: their noise is drawn in this order.
            more = self.recognition_gradients() if generating else [None] * len(self.model.learned)
            gradients, bound, share = bound_gradients(images[step], q_z[step], pull)
            update(gradients, more)
            total += bound
            shares += share
            step += 1
        return total / tf.cast(steps, tf.float32), shares / tf.cast(steps, tf.float32)

    def bound_gradients(self, x: tf.Tensor, q_z: tf.Tensor, pull: tf.Tensor) -> tuple[list, tf.Tensor, tf.Tensor]:
        """The gradients of the loss of a batch, bool `[B, 784]`; the mean bound; and the components' mean shares."""
        with tf.GradientTape() as tape:
            bound, log_p_z = self.model.bound(tf.cast(x, tf.float32), q_z if self.settings.factorised else None)
            kl = tf.reduce_sum(q_z * (tf.math.log(q_z + 1e-20) - log_p_z), axis=-1)
            loss = -tf.reduce_mean(bound - pull * kl)
        bound = tf.reduce_mean(bound - kl if self.settings.factorised else bound)
        return tape.gradient(loss, self.model.learned), bound, tf.reduce_mean(tf.exp(log_p_z), axis=0)

    def recognition_gradients(self) -> list[tf.Tensor | None]:
        """The gradients of the loss of generated images; None for what has no part in generating."""
        with tf.GradientTape() as tape:
            loss = -self.settings.generation_weight * self.recognition()
        return tape.gradient(loss, self.model.learned)

    def update(self, gradients: list[tf.Tensor], more: list[tf.Tensor | None]) -> None:
        """A step of Adam's along the sums of two losses' gradients."""
        sums = [one if other is None else one + other for one, other in zip(gradients, more, strict=True)]
        self.optimizer.apply(sums, self.model.learned)

    def recognition(self) -> tf.Tensor:
        """The mean q(z | x) of images x, as probabilities of pixels, that the model generates from every z. Only the
        model learns from it, and q is the network's own answer, without copies. Its logarithm would give, with the
        entropy of z, a lower bound of the mutual information of both (Chen et al. 2016, equation 4); but a few draws
        far off would rule its gradient."""
        z = tf.repeat(tf.range(self.settings.k), self.settings.generated_images)
        x = tf.sigmoid(self.model.decode(draw_codes(self.model, z)))
        return tf.reduce_mean(tf.exp(self.classifier.log_prob(x, z, training=False)))

    def compile(self, epoch: int) -> None:
        """Compiles the program of an epoch by taking no step of it. Its time counts apart from that of training, but
        for the two of XLA in an epoch that generates images, a few seconds, which its first step compiles."""
        started = time.perf_counter()
        if epoch < self.start_epochs:
            first = epoch < self.classifier_epochs
            size = self.classifier_batch_size if first else self.refinement_batch_size
            images = tf.zeros([self.n // size, size, PIXELS], tf.uint8)
            if first:
                self.classifier_epoch(images, images, tf.constant(0))
            else:
                clusters = tf.zeros(images.shape[:2], tf.int32)
                n_labelled = min(len(self.labelled), self.settings.labelled_batch_size)
                self.refinement_epoch(
                    images, clusters, images[:, :n_labelled], clusters[:, :n_labelled], tf.constant(0)
                )
        else:
            images = tf.zeros([self.n // self.settings.batch_size, self.settings.batch_size, PIXELS], tf.bool)
            q_z = tf.zeros([*images.shape[:2], self.settings.k])
            self.program(epoch)(images, q_z, tf.constant(0.0), tf.constant(0))
        elapsed = time.perf_counter() - started
        self.compile_seconds.assign_add(elapsed)
        self.seconds.assign_sub(elapsed)

    def program(self, epoch: int) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
        """What does an epoch of steps 2 and 3."""
        return self.generating_epoch if epoch >= self.first_generating else self.epoch

    @functools.cached_property
    def classified(self) -> np.ndarray:
        """The classifier's q(z | x) of the training images `[N, K]`, once it has learned."""
        return self.classifier(self.images)

    def q_z(self) -> np.ndarray:
        """q(z | x) of the training images `[N, K]`: the classifier's, and for a labelled image its label."""
        q_z = self.classified.copy()
        q_z[self.labelled] = np.eye(self.settings.k)[self.labels]
        return q_z

    def train(self, folder: RunFolder) -> None:
        """Trains to the end, from the folder's checkpoint where it has one, and leaves averages in place of the model's
        last weights.

        Raises:
            InputError: the bound or the state became NaN or infinite, or no checkpoint is good.
        """
        settings = self.settings
        remedy = "start anew with a larger --batch-size"
        checkpoints = Checkpoints(folder, self.checkpoint, SAVE_EVERY, remedy)
        checkpoints.restore()
        q_z = None
        with (
            tqdm(total=self.n_epochs, initial=int(self.done), unit="epoch", disable=None) as bar,
            checkpoints.training(),
        ):
            first = int(self.done)
            for epoch in range(first, self.n_epochs):
                if epoch == self.classifier_epochs and settings.factorised:
                    bar.set_postfix_str("cutting the graph")
                    self.begin_refinement()
                if epoch in (first, self.classifier_epochs, self.start_epochs, self.first_generating):
                    self.compile(epoch)
                if epoch < self.classifier_epochs:
                    data = self.classifier_epoch_data(epoch)
                    objectives = self.classifier_epoch(*map(tf.constant, data), tf.constant(len(data[0])))
                    if not np.isfinite(objectives).all():
                        raise checkpoints.not_finite(f"the objective in epoch {epoch + 1}")
                    self.starts[epoch].assign(objectives)
                    self.classifier.head.assign(tf.argmax(objectives, output_type=tf.int32))
                    shown = f"step 1, objective {np.max(objectives):.3f} nats per image"
                elif epoch < self.start_epochs:
                    data = self.refinement_epoch_data(epoch)
                    loss = self.refinement_epoch(*map(tf.constant, data), tf.constant(len(data[0])))
                    if not np.isfinite(loss):
                        raise checkpoints.not_finite(f"the loss in epoch {epoch + 1}")
                    shown = f"refinement, loss {loss:.3f}"
                else:
                    if q_z is None:
                        q_z = self.q_z()
                    i = epoch - self.start_epochs
                    pulled = settings.factorised or i < self.pull_epochs
                    pull = settings.pull_weight if pulled else 0.0
                    data = self.epoch_data(epoch, q_z)
                    bound, shares = self.program(epoch)(*data, tf.constant(pull), tf.constant(len(data[0])))
                    if not np.isfinite(bound):
                        raise checkpoints.not_finite(f"the bound in epoch {epoch + 1}")
                    self.bounds[i].assign(bound)
                    self.shares[i].assign(shares)
                    shown = f"step {2 if pulled else 3}, bound {bound:.2f} nats per image"
                self.done.assign(epoch + 1)
                bar.update()
                bar.set_postfix_str(shown)
                due = epoch + 1 in (self.classifier_epochs, self.n_epochs)
                checkpoints.update(f"the end of epoch {epoch + 1}", due)
        self.optimizer.finalize_variable_values(self.model.learned)


def draw_labelled(labels: np.ndarray, settings: Settings) -> np.ndarray:
    """The indices of the images whose labels are used: `labels_per_class` of each class that has labels, at random.

    Raises:
        InputError: a class has fewer images.
    """
    m = settings.labels_per_class
    if not m:
        return np.zeros(0, int)
    rng = np.random.default_rng([settings.seed, 2**31])
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    if min(map(len, members)) < m:
        label = int(np.argmin([len(each) for each in members]))
        raise InputError(
            f"--labels-per-class {m}: class {np.unique(labels)[label]} has {len(members[label])} training images; "
            "wanted at most as many"
        )
    return np.concatenate([rng.choice(each, m, replace=False) for each in members])


# ---------------------------------------------------------------------------------------------------------------------
# Evaluation
# ---------------------------------------------------------------------------------------------------------------------


def fixed_binary(images: np.ndarray) -> np.ndarray:
    """The binary images that are scored, float32, by a seed of their own."""
    return binarise(images, np.random.default_rng(BINARISATION_SEED)).astype(np.float32)


class Scores(NamedTuple):
    """What importance sampling says of N images: `elbo` and `log_likelihood` in nats, and the probabilities of z under
    q(z|x) and under the model's own p(z|x), both `[N, K]`."""

    elbo: np.ndarray
    log_likelihood: np.ndarray
    q_z: np.ndarray
    p_z: np.ndarray

    def factorised(self, q_z: np.ndarray, mean_log_p_z: np.ndarray) -> "Scores":
        """The scores of the posterior q(z|x) q(h|x): the bound (2), with q(z|x) `[N, K]` and E_q(h|x) log p(z|h)."""
        kl = np.sum(xlogy(q_z, q_z) - q_z * mean_log_p_z, axis=-1)
        return self._replace(elbo=self.elbo - kl, q_z=q_z)


@tf.function(jit_compile=True)
def importance_sample(
    model: MixtureVAE, x: tf.Tensor, q_z: tf.Tensor | None, n_chunks: int, chunk: int
) -> tuple[tf.Tensor, ...]:
    """`Scores` of images `[B, 784]` from n_chunks * chunk samples of q(h | x), a chunk in memory at a time, with
    E_q(h|x) p(z|h) as q(z|x); and E_q(h|x) log p(z|h), `[B, K]`."""
    n, k = x.shape[0], model.weight_logits.shape[0]
    elbo, mean_p_z, mean_log_p_z = tf.zeros([n]), tf.zeros([k, n]), tf.zeros([k, n])
    log_w_sum, log_w_z_sum = tf.fill([n], -np.inf), tf.fill([k, n], -np.inf)
    for _ in tf.range(n_chunks):
        h = model.infer(x, q_z, n_samples=chunk)["h"]
        log_p_z = model.log_p_z(h)  # [K, S, B]
        log_w = zs.sgvb(model.log_joint, {"x": x}, {"h": h})  # [S, B]: axis=None averages nothing
        elbo += tf.reduce_mean(log_w, axis=0) / n_chunks
        mean_p_z += tf.reduce_mean(tf.exp(log_p_z), axis=1) / n_chunks
        mean_log_p_z += tf.reduce_mean(log_p_z, axis=1) / n_chunks
        log_w_sum = log_add(log_w_sum, tf.reduce_logsumexp(log_w, axis=0))
        log_w_z_sum = log_add(log_w_z_sum, tf.reduce_logsumexp(log_w + log_p_z, axis=1))
    log_likelihood = log_w_sum - np.log(n_chunks * chunk).astype(np.float32)
    p_z = tf.exp(log_w_z_sum - log_w_sum)
    return elbo, log_likelihood, tf.transpose(mean_p_z), tf.transpose(p_z), tf.transpose(mean_log_p_z)


def log_add(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """log(exp(a) + exp(b))."""
    return tf.reduce_logsumexp(tf.stack([a, b]), axis=0)


def score(model: MixtureVAE, images: np.ndarray, q_z: np.ndarray | None, n_samples: int, name: str) -> Scores:
    """`Scores` of uint8 images `[N, 784]`, binarised by their fixed seed, from n_samples samples each; with the q(z|x)
    of a factorised posterior, `[N, K]`, or None."""
    x, chunk = fixed_binary(images), min(n_samples, 10)
    assert n_samples % chunk == 0, "a part of a chunk would be dropped"
    with tqdm(total=len(x), unit="image", desc=f"scoring {name}", disable=None) as bar:
        results = []
        for start in range(0, len(x), 200):
            part, q = (None if rows is None else tf.constant(rows[start : start + 200]) for rows in (x, q_z))
            sampled = importance_sample(model, part, q, n_samples // chunk, chunk)
            results.append([r.numpy() for r in sampled])
            bar.update(len(part))
    *columns, mean_log_p_z = (np.concatenate(column) for column in zip(*results, strict=True))
    scores = Scores(*columns)
    return scores if q_z is None else scores.factorised(q_z, mean_log_p_z)


def load_judge(images: Images) -> tuple[Classifier, float] | None:
    """The classifier of binary images that judges samples, and its share of errors on the test images; None where it
    was trained on other data, or not at all.

    Raises:
        InputError: its files are damaged.
    """
    record = JUDGE / "judge.json"
    if not record.is_file():
        return None
    try:
        found = json.loads(record.read_text())
        if found["data_sha256"] != utils.checksum(*images):
            return None
        judge = Classifier(JUDGE_SETTINGS)
        with utils.file_errors():
            tf.train.Checkpoint(classifier=judge).read(str(JUDGE / "weights")).assert_existing_objects_matched()
        return judge, found["test_error"]
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise InputError(
            f"{JUDGE}: the classifier that judges samples is damaged; git checkout data/judge restores it, and without "
            "the folder samples are not judged"
        ) from error


def sample_purity(
    model: MixtureVAE, judge: tuple[Classifier, float] | None, images: Images, n_samples: int
) -> dict[str, Any] | None:
    """How pure and how diverse n_samples binary images from each cluster are.

    Returns:
        `per_cluster`, the share that the judge takes for the class that it finds most often in the cluster, and their
        `mean`; `diversity`, for each cluster the mean distance of two draws of pixel probabilities over that of two
        training images of that class; and the judge's own share of errors. None without a judge.
    """
    if judge is None:
        return None
    classifier, error = judge
    purities, diversities = [], []
    for k in range(model.means.shape[0]):
        draws = model.generate({"h": draw_codes(model, np.full(n_samples, k))}, n_samples)
        found = classifier(255 * draws.outputs("x").numpy().astype(np.uint8)).argmax(axis=-1)
        counts = np.bincount(found)
        purities.append(counts.max() / n_samples)
        probabilities = tf.sigmoid(draws["x"].distribution.logits).numpy()
        real = images.train[images.train_labels == counts.argmax()] / 255.0
        diversities.append(spread(probabilities) / spread(real))
    return {
        "mean": float(np.mean(purities)),
        "per_cluster": [float(purity) for purity in purities],
        "diversity": [float(diversity) for diversity in diversities],
        "classifier_error": error,
    }


def spread(images: np.ndarray) -> float:
    """The mean distance of two images `[N, 784]`, one from each half."""
    half = len(images) // 2
    return float(np.linalg.norm(images[:half] - images[-half:], axis=-1).mean())


# ---------------------------------------------------------------------------------------------------------------------
# A run
# ---------------------------------------------------------------------------------------------------------------------


def run(
    settings: Settings, folder: RunFolder, images: Images, judge: tuple[Classifier, float] | None
) -> dict[str, Any]:
    """Trains, scores and writes the run's files; returns the metrics. Labels enter the scores alone, but for those that
    are asked for. The test images are those set aside with --validate, and `test` in the metrics is of these."""
    training = Training(images.train, images.train_labels, settings)
    training.train(folder)
    model, k = training.model, settings.k
    train_q_z, test_q_z = (
        (training.classified, training.classifier(images.test)) if settings.factorised else (None, None)
    )
    train = score(model, images.train, train_q_z, settings.train_importance_samples, "training images")
    test = score(model, images.test, test_q_z, settings.importance_samples, f"{scored(settings.validate)} images")
    train_clusters, test_clusters = train.q_z.argmax(axis=-1), test.q_z.argmax(axis=-1)
    seconds = float(training.seconds)
    phases = (
        (training.classifier_epochs, training.classifier_batch_size),
        (training.refinement_epochs, training.refinement_batch_size),
        (training.model_epochs, settings.batch_size),
    )
    seen = sum(epochs * (len(images.train) // size * size) for epochs, size in phases)
    metrics = {
        "config": utils.config(settings),
        "test": {
            "elbo": float(test.elbo.mean(dtype=np.float64)),
            "nll": -float(test.log_likelihood.mean(dtype=np.float64)),
            "importance_samples": settings.importance_samples,
            **utils.cluster_scores(test_clusters, test.p_z.argmax(axis=-1), images.test_labels, k),
            # With labels a cluster is a class, and nothing is matched.
            "error": float(np.mean(test_clusters != images.test_labels)) if settings.labels_per_class else None,
        },
        "train": {
            "importance_samples": settings.train_importance_samples,
            **utils.cluster_scores(train_clusters, train.p_z.argmax(axis=-1), images.train_labels, k),
        },
        "components_used": components_used(train_clusters),
        "sample_purity": sample_purity(model, judge, images, settings.judged_samples),
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
            head=training.classifier.head.numpy(),
            bounds=training.bounds.numpy(),
            shares=training.shares.numpy(),
            pull_epochs=training.model_epochs if settings.factorised else training.pull_epochs,
        )
        np.savez_compressed(staging / "pictures.npz", **pictures(model, images, test_q_z, test_clusters, settings))
        utils.write_checkpoint(trained_parts(model, training.classifier, settings), staging / "weights")
        utils.write_json(staging / "metrics.json", metrics)
        draw_figures(staging, staging)
    return metrics


def components_used(clusters: np.ndarray) -> int:
    """How many clusters hold at least 2 % of the images, by the cluster of each, `[N]`."""
    return int(np.sum(np.bincount(clusters) >= 0.02 * len(clusters)))


def trained_parts(model: MixtureVAE, classifier: Classifier, settings: Settings) -> tf.train.Checkpoint:
    """What a finished run keeps: the model, and the classifier where it is the posterior of z."""
    return tf.train.Checkpoint(model=model, **({"classifier": classifier} if settings.factorised else {}))


def scored(validate: bool) -> str:
    """The name of the images that are scored."""
    return "validation" if validate else "test"


def pictures(
    model: MixtureVAE, images: Images, q_z: np.ndarray | None, test_clusters: np.ndarray, settings: Settings
) -> dict[str, np.ndarray]:
    """What the figures show of a model, as arrays."""
    k, n_draws, n_rebuilt, n_mapped = settings.k, 11, 12, 1000
    # x | h shown as its probabilities: at each component's mean, then at draws of h from it.
    means = tf.sigmoid(model.decode(model.means))
    draws = tf.sigmoid(model.decode(draw_codes(model, np.repeat(np.arange(k), n_draws))))
    x = tf.constant(fixed_binary(images.test[:n_mapped]))
    codes = model.encode(x, None if q_z is None else q_z[:n_mapped])[0].numpy()  # means of q(h | x)
    # One map for codes and component means, as t-SNE has no map for later points.
    together = np.concatenate([codes, model.means.numpy()])
    perplexity = min(30.0, (len(together) - 1) / 3)
    tsne = TSNE(init="pca", perplexity=perplexity, max_iter=500, random_state=settings.seed)
    with threadpool_limits(1):  # of so few points threads mostly wait for each other, ten times as long on busy cores
        mapped = tsne.fit_transform(together)
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


def draw_codes(model: MixtureVAE, clusters: np.ndarray | tf.Tensor) -> tf.Tensor:
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


def class_shares(counts: np.ndarray) -> np.ndarray:
    """Each class's share of each cluster, of counts `[K, C]`; an empty cluster's are 0."""
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def confusion_figure(shown: Any, metrics: dict[str, Any]) -> Figure:
    """How many test images of each class lie in each cluster, the clusters in the order of their matched classes."""
    order = clusters_by_class(shown["confusion"])
    counts = shown["confusion"][order]
    figure = Figure(figsize=(3.4, 3.0))
    axes = figure.subplots()
    shares = class_shares(counts)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
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
    chosen = int(curves["head"])
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
        classifier: q(z | x), which is used where the posterior is factorised.
        settings: the run's settings.
    """

    def __init__(self, model: MixtureVAE, classifier: Classifier, settings: Settings) -> None:
        self.model = model
        self.classifier = classifier
        self.settings = settings

    def responsibilities(self, images: np.ndarray) -> np.ndarray:
        """q(z|x) `[N, K]` of images `[N, 784]`, bytes or numbers from 0 to 1. Where that is E_q(h|x) p(z|h), all images
        share the noise that makes them binary and the noise of 50 samples of h, so that an image's result does not hang
        on its company.

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
        if not len(images):
            return np.zeros([0, self.settings.k], np.float32)
        if self.settings.factorised:
            return self.classifier(images)
        rng = np.random.default_rng(BINARISATION_SEED)
        x = (rng.integers(0, 255, PIXELS, dtype=np.uint8) < images).astype(np.float32)
        noise = tf.constant(rng.normal(size=(50, 1, self.settings.code_units)).astype(np.float32))
        return np.concatenate([mean_p_z(self.model, tf.constant(part), noise) for part in utils.slices(x, 500)])

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
    mean, logstd = model.encode(x)
    return tf.transpose(tf.reduce_mean(tf.exp(model.log_p_z(mean + tf.exp(logstd) * noise)), axis=1))


def load(folder: str) -> TrainedModel:
    """The model of a finished run, from its folder.

    Raises:
        FileNotFoundError: no finished run with its weights lies there.
        InputError: another script's does.
    """
    settings = Settings(**RunFolder(folder, "gmvae").finished_settings("weights.index"))
    model, classifier = MixtureVAE(settings), Classifier(settings)
    kept = trained_parts(model, classifier, settings)
    kept.read(str(Path(folder, "weights"))).assert_existing_objects_matched()
    return TrainedModel(model, classifier, settings)


def begin(settings: Settings, images: Images, folder: RunFolder, resume: bool) -> tuple[Settings, Images]:
    """Sets the seeds and, but for one that is resumed, makes the run's folder.

    Returns:
        the settings with the images' checksum; and the images to train on and to score, with --validate none of the
        test images.

    Raises:
        InputError: a batch is larger than all training images, a class has too few of them, or the run began with
            others.
    """
    if settings.validate:
        images = utils.set_aside(images, settings.validation_images)
    if settings.batch_size > len(images.train):
        raise InputError(f"--batch-size {settings.batch_size}: wanted at most {len(images.train)}, the training images")
    draw_labelled(images.train_labels, settings)
    settings = utils.with_checksum(settings, resume, *images)
    tf.keras.utils.set_random_seed(settings.seed)
    zs.set_seed(settings.seed)
    if not resume:
        folder.start(settings)
    return settings, images


def table(metrics: dict[str, Any]) -> str:
    """The run's result in numbers."""
    test, train = metrics["test"], metrics["train"]
    lines = [f"{'':<34}{scored(metrics['config']['validate']):>10}{'training':>10}"]
    for name, label in (
        ("accuracy", "accuracy, q(z|x)            [%]"),
        ("accuracy_model", "accuracy, p(z|x)            [%]"),
    ):
        lines.append(f"{label:<34}{100 * test[name]:>10.2f}{100 * train[name]:>10.2f}")
    if test.get("error") is not None:  # none in an older run's file
        lines.append(f"{'error, q(z|x)               [%]':<34}{100 * test['error']:>10.2f}")
    lines.append(f"{'normalised mutual information':<34}{test['nmi']:>10.4f}{train['nmi']:>10.4f}")
    lines.append(f"{'adjusted Rand index':<34}{test['ari']:>10.4f}{train['ari']:>10.4f}")
    lines.append(f"{'lower bound                [nats]':<34}{test['elbo']:>10.2f}")
    lines.append(f"{'-log p(x)                  [nats]':<34}{test['nll']:>10.2f}")
    lines.append(f"(importance sampling, {test['importance_samples']} samples an image)")
    if metrics["sample_purity"]:
        judged = metrics["sample_purity"]
        lines.append(f"{'purity of samples           [%]':<34}{100 * judged['mean']:>10.2f}")
        lines.append(f"{'  of the worst cluster      [%]':<34}{100 * min(judged['per_cluster']):>10.2f}")
        lines.append(f"{'diversity of samples':<34}{np.mean(judged['diversity']):>10.2f}")
        lines.append(
            f"(judged by a classifier that errs on {100 * judged['classifier_error']:.2f} % of test images; the"
        )
        lines.append("diversity of a class's own images is 1)")
    lines.append(f"components in use: {metrics['components_used']} of {metrics['config']['k']}")
    lines.append(
        f"{metrics['images_per_second']:.0f} training images per second, {metrics['seconds']:.0f} s of training after "
        f"{metrics['compile_seconds']:.0f} s of compilation"
    )
    return "\n".join(lines)


def default_out(given: dict[str, Any]) -> str:
    """The folder of a run with these settings: each variant has its own."""
    variant = Settings(**given).variant
    return Settings.out if variant == "default" else f"{Settings.out}-{variant}"


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmvae", __doc__, PICTURED, argv, default_out) as (settings, _, folder, resume):
        if resume and not folder.is_unfinished:
            draw_figures(folder.path, folder.path)
            print(table(json.loads((folder.path / "metrics.json").read_text())))
            return
        if settings.pure and settings.labels_per_class:
            raise InputError(f"--pure: has no labels; leave it or --labels-per-class {settings.labels_per_class} out")
        images = utils.read_images(settings.data)
        judge = load_judge(images)
        settings, images = begin(settings, images, folder, resume)
        utils.print_settings(settings)
        print(table(run(settings, folder, images, judge)))
        print(f"figures and metrics.json in {folder.path}")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupt)
    utils.run_main(main)
