"""Variational inference for a mixture of 2-D Gaussians with a discrete latent variable (part 2 of the assignment).

Model, for each of N points x in R^2 with its component z, a one-hot vector of length K:

    z     ~ OnehotDiscrete(pi)
    x | z ~ Normal(mu_z, diag(sigma_z^2))

Inference: a discrete posterior q(z | x) whose logits are one quadratic function of x for each component. Learning: the
lower bound  E_q[log p(x, z) - log q(z | x)] <= log p(x)  rises by stochastic gradients of `zs.nvil` (Mnih & Gregor
2014), which needs no derivative through the discrete z. Two samples of z are drawn for each point, and the learning
signal of each is the other's baseline (Kool, van Hoof & Welling 2019). The family of q contains the true posterior, so
the bound can close, and its maximum over pi, mu, sigma and q is the maximum of the likelihood. Where there are many
more points than a batch holds, the noise of the batches keeps the estimate a little below it: EM on all points, and at
millions of points even the truth, can be more likely.

The likelihood of a mixture has no largest value: a component that shrinks onto one point sends it to infinity. Two
guards: the variances have a floor, 1e-6 of a column's variance (the same as `reg_covar` of the EM that we compare
with), which bounds the likelihood; and a restart with a component below ten times that floor is chosen only where every
restart has one. metrics.json says how many restarts the second guard kept out, and whether the estimate or EM's, which
has no such guard, is degenerate all the same. Neither guard sees a component of a few close points that has not
collapsed: that is a maximum of the likelihood like others, and at small N may be the largest.

    python gmm_vi.py                        # N = 100 points of K = 3 components, about 15 s on 2 cores
    python gmm_vi.py --data points.csv      # your own points

Expect the log-likelihood of the best of 20 EM runs to within 1e-3 nats per point, and a bound that touches it.
"""

import dataclasses
import json
import signal
import sys
import time
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":  # libraries that Ctrl-C meets while they load tell of it at length, or go on
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.special import log_softmax, logsumexp
from sklearn.cluster import kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from tqdm import tqdm

import utils  # before TensorFlow, which it loads without start-up messages
from utils import Checkpoints, InputError, RunFolder, setting

import tensorflow as tf  # isort: skip
import zhusuan as zs  # isort: skip

EM_COLOUR = utils.COLOURS[1]
PICTURED = ("metrics.json", "fit.npz")  # what the figures are drawn from
SAVE_EVERY = 10.0  # seconds
SLICE = 10_000  # points that are drawn or scored at once

# Letters of the shapes: N points, B of them in a batch, K components, R restarts, S samples of z. Where D data sets are
# fitted at once, as the report's studies do, R stands for the two axes D, R, and their points are `[D, 1, N, 2]`.


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result of a run."""

    n: int = setting(100, "number of points to draw from the true mixture", at_least=2, at_most=utils.MOST_POINTS)
    k: int = setting(3, "number of components", at_least=1, at_most=100)
    separation: float = setting(
        5.0, "least distance of two true means, in RMS standard deviations", at_least=0.0, at_most=1000.0
    )
    data: str | None = setting(None, "CSV of two numeric columns to fit instead of drawn points")
    restarts: int = setting(50, "fits from different starts, run together; the best bound wins", 1, 1000)
    steps: int = setting(5000, "gradient steps of each restart", at_least=1, at_most=10**8)
    seed: int = setting(0, "seed of everything random", at_least=0, at_most=2**31 - 1)
    out: str = setting("plots/gmm", "folder for figures and metrics.json")
    batch_size: int = setting(512)
    n_samples: int = setting(2)  # at least 2, as each needs others for its baseline
    learning_rate: float = setting(0.05)
    variance_floor: float = setting(1e-6)  # in variances of a column
    em_starts: int = setting(20)
    em_points: int = setting(100_000)  # at most, drawn from those that there are
    measurements: int = setting(100)
    points_shown: int = setting(2000)  # of the curves and of the picture
    data_sha256: str = setting("")  # found when the run begins


class Parameters(NamedTuple):
    """A mixture's parameters: weights `[K]`, means `[K, 2]` and standard deviations `[K, 2]`."""

    weights: np.ndarray
    means: np.ndarray
    stds: np.ndarray

    def reorder(self, order: np.ndarray) -> "Parameters":
        """The same mixture with its components in another order."""
        return Parameters(*(parameter[order] for parameter in self))

    def in_data_units(self, centre: np.ndarray, scale: np.ndarray) -> "Parameters":
        """The mixture of the data of a mixture of standardised points, (data - centre) / scale."""
        return Parameters(self.weights, centre + scale * self.means, scale * self.stds)

    def standardized(self, centre: np.ndarray, scale: np.ndarray) -> "Parameters":
        """The other way."""
        return Parameters(self.weights, (self.means - centre) / scale, self.stds / scale)


# ---------------------------------------------------------------------------------------------------------------------
# Model
# ---------------------------------------------------------------------------------------------------------------------


def mixture(
    observed: dict[str, Any],
    weight_logits: tf.Tensor,
    means: tf.Tensor,
    logstds: tf.Tensor,
    n: int,
    n_samples: int | None = None,
) -> zs.BayesianNet:
    """The generative model. Leading axes of the parameters, such as restarts, are batch axes.

    Args:
        observed: values of z `[..., N, K]` or x `[..., N, 2]`; what is not observed is drawn.
        weight_logits: log pi `[..., K]`, unnormalised.
        means: mu `[..., K, 2]`.
        logstds: log sigma `[..., K, 2]`.
        n: number of points N.
        n_samples: number of samples of z on a new leading axis.
    """
    with zs.BayesianNet(observed) as model:
        logits = tf.repeat(weight_logits[..., None, :], n, axis=-2)  # [..., N, K]
        z = zs.OnehotDiscrete("z", logits, n_samples=n_samples, dtype=weight_logits.dtype)
        zs.Normal("x", of_component(z, means), logstd=of_component(z, logstds), group_ndims=1)
    return model


def of_component(z: tf.Tensor, parameters: tf.Tensor) -> tf.Tensor:
    """z `[..., N, K]` times parameters `[..., K, 2]`: for one-hot z the parameters of its component, `[..., N, 2]`."""
    # Not tf.matmul: with oneDNN (TensorFlow 2.21) that of [2, 1, 100, 3] and [1, 3, 2], several samples of one restart,
    # is wrong or a crash.
    return tf.reduce_sum(z[..., None] * parameters[..., None, :, :], axis=-2)


def log_joints(x: tf.Tensor, weight_logits: tf.Tensor, means: tf.Tensor, logstds: tf.Tensor) -> tf.Tensor:
    """log p(x, z) for every z, `[K, ..., N]`: z is observed as all K one-hot vectors at once. For measuring only."""
    k = weight_logits.shape[-1]
    every_z = tf.reshape(tf.eye(k, dtype=x.dtype), [k] + [1] * weight_logits.shape.rank + [k])
    return mixture({"z": every_z, "x": x}, weight_logits, means, logstds, x.shape[-2]).log_joint()


class Mixture(tf.Module):
    """The learned parameters of R mixtures of standardised points.

    Args:
        means: where they start `[R, K, 2]`.
        stds: the standard deviation of all components at the start `[R, 1, 1]`. Means are learned in units of it, so
            that a step of Adam is as long as the components ask for, however small they are among the points.
        variance_floor: is added to every variance.
    """

    def __init__(self, means: np.ndarray, stds: np.ndarray, variance_floor: float) -> None:
        super().__init__()
        self.unit = tf.constant(stds)
        self.weight_logits = tf.Variable(tf.zeros(means.shape[:-1]))  # [R, K]
        self.means = tf.Variable(means / stds)  # [R, K, 2]
        self.log_scales = tf.Variable(np.broadcast_to(np.log(stds), means.shape))
        self.variance_floor = variance_floor

    def __call__(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Weight logits `[R, K]`, means `[R, K, 2]` and log standard deviations `[R, K, 2]`."""
        variances = self.variance_floor + tf.exp(2 * self.log_scales)
        return tf.identity(self.weight_logits), self.unit * self.means, 0.5 * tf.math.log(variances)


def draw_truth(settings: Settings, rng: np.random.Generator) -> Parameters:
    """A random mixture: unequal weights, unequal sigma of root mean square 1, the closest means `separation` apart."""
    weights = rng.dirichlet(np.full(settings.k, 5.0))
    stds = np.exp(rng.uniform(np.log(0.6), np.log(1.5), (settings.k, 2)))
    stds /= np.sqrt(np.mean(np.square(stds)))
    return Parameters(weights, draw_means(settings.k, settings.separation, rng), stds)


def draw_means(k: int, separation: float, rng: np.random.Generator) -> np.ndarray:
    """Random means `[K, 2]`, the closest two `separation` apart; a single one at 0."""
    means = rng.normal(size=(k, 2))
    distances = np.linalg.norm(means[:, None] - means, axis=-1)[np.triu_indices(k, 1)]
    return means * (separation / distances.min(initial=np.inf))


def draw_data(truth: Parameters, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws N points from the generative model: x `[N, 2]` and the component of each, uint8 `[N]`."""
    points, classes = np.empty([n, 2]), np.empty(n, np.uint8)
    for x, z in zip(utils.slices(points, SLICE), utils.slices(classes, SLICE), strict=True):
        model = mixture({}, tf.math.log(truth.weights), tf.constant(truth.means), tf.math.log(truth.stds), len(x))
        z[:] = tf.argmax(model["z"], axis=-1)
        x[:] = model["x"]
    return points, classes


# ---------------------------------------------------------------------------------------------------------------------
# Variational posterior
# ---------------------------------------------------------------------------------------------------------------------


class Posterior(tf.Module):
    """q(z | x): a softmax of quadratic functions of x, amortised over the points.

    By Bayes' rule log p(z = k | x) is, up to a constant in k,

        log pi_k - sum_d log sigma_kd - sum_d (x_d - mu_kd)^2 / (2 sigma_kd^2).

    The logits here are  a_k - sum_d ((x_d - c_kd) / s_kd)^2 / 2  with free a, c, s, which is that function at
    c = mu, s = sigma, a_k = log pi_k - sum_d log sigma_kd. So the family contains the true posterior of every mixture
    of the model. Centres and log scales, rather than coefficients of x and x^2, keep one learning rate right for wide
    and narrow components alike. It starts as that of the mixture that starts from the same means and stds.
    """

    def __init__(self, means: np.ndarray, stds: np.ndarray) -> None:
        super().__init__()
        self.unit = tf.constant(stds)
        self.offsets = tf.Variable(tf.zeros(means.shape[:-1]))  # [R, K]
        self.centres = tf.Variable(means / stds)  # [R, K, 2]
        self.log_scales = tf.Variable(np.broadcast_to(np.log(stds), means.shape))

    def logits(self, x: tf.Tensor, restart: Any = ...) -> tf.Tensor:
        """Unnormalised log q(z | x), `[R, B, K]`, of x `[B, 2]`, or of one restart, `[B, K]`."""
        variables = (self.offsets, self.unit * self.centres, self.log_scales)
        offsets, centres, log_scales = (tf.cast(v[restart], x.dtype) for v in variables)
        inverse_scales = tf.exp(-log_scales)
        standardized = (x[..., None, :] - centres[..., None, :, :]) * inverse_scales[..., None, :, :]  # [R, B, K, 2]
        return offsets[..., None, :] - 0.5 * tf.reduce_sum(tf.square(standardized), axis=-1)

    def __call__(self, x: tf.Tensor, n_samples: int) -> zs.BayesianNet:
        with zs.BayesianNet() as posterior:
            zs.OnehotDiscrete("z", self.logits(x), n_samples=n_samples, dtype=tf.float32)  # [S, R, B, K]
        return posterior


# ---------------------------------------------------------------------------------------------------------------------
# Objective and training
# ---------------------------------------------------------------------------------------------------------------------


def draw_start(points: np.ndarray, settings: Settings, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Where each restart starts: means `[R, K, 2]`, the seeds of k-means++ on at most 10,000 points, and one standard
    deviation for all components `[R, 1, 1]`, the root-mean-square distance of a point to the nearest of them."""
    sample = points if len(points) <= 10_000 else points[rng.choice(len(points), 10_000, replace=False)]
    seeds = rng.integers(2**31, size=settings.restarts)
    means = np.stack([kmeans_plusplus(sample, settings.k, random_state=int(seed))[0] for seed in seeds])
    variances = np.array([np.square(cdist(sample, each).min(axis=1)).mean() / 2 for each in means], points.dtype)
    return means, np.sqrt(np.maximum(variances, settings.variance_floor))[:, None, None]


def mean_of_others(signal: tf.Tensor) -> tf.Tensor:
    """For each of S >= 2 samples the mean of the others' learning signals `[S, ...]`: a baseline without parameters.
    The samples are independent, so that it adds no bias (Kool, van Hoof & Welling 2019)."""
    return (tf.reduce_sum(signal, axis=0) - signal) / (signal.shape[0] - 1)


class Training(tf.Module):
    """R fits of one data set, or of each of several, tensor axes of one compiled program. All that it changes is a
    variable, so that a checkpoint holds the whole state.

    Args:
        points: standardised points `[N, 2]`, or those of D data sets `[D, N, 2]`, float32.
        settings: the run's settings.
    """

    def __init__(self, points: np.ndarray, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        rng = np.random.default_rng([settings.seed, 1])
        if points.ndim == 2:
            self.points = tf.constant(points)
            means, stds = draw_start(points, settings, rng)
        else:
            self.points = tf.constant(points[:, None])
            means, stds = map(np.stack, zip(*(draw_start(each, settings, rng) for each in points), strict=True))
        self.mixture = Mixture(means, stds, settings.variance_floor)
        self.posterior = Posterior(means, stds)
        self.learned = self.mixture.trainable_variables + self.posterior.trainable_variables
        self.optimizer = utils.cosine_adam(self.learned, settings.learning_rate, settings.steps)

    def cost(self, x: tf.Tensor) -> tf.Tensor:
        """NVIL's surrogate cost of x `[B, 2]`, nats per point, summed over the restarts, which share no variable."""
        s = self.settings.n_samples
        parameters = self.mixture()

        def log_joint(values: dict[str, tf.Tensor]) -> tf.Tensor:
            return mixture(values, *parameters, x.shape[-2], s).log_joint()  # [S, R, B]

        z = self.posterior(x, s)["z"]
        signal = tf.stop_gradient(log_joint({"x": x, "z": z}) - z.log_prob(z))
        cost, _ = zs.nvil(log_joint, {"x": x}, {"z": z}, baseline=mean_of_others(signal), axis=0)  # [R, B]
        return tf.reduce_sum(tf.reduce_mean(cost, axis=-1))

    @tf.function(jit_compile=True, input_signature=[tf.TensorSpec([], tf.int32)])
    def train(self, steps: tf.Tensor) -> None:
        """Takes gradient steps, each on all points or on a random batch of them."""
        n, batch_size = self.points.shape[-2], self.settings.batch_size
        step = 0
        while step < steps:  # XLA would compile a loop over tf.range anew for every number of steps
            step += 1
            x = self.points
            if n > batch_size:
                x = tf.gather(x, zs.get_generator().uniform([batch_size], maxval=n, dtype=tf.int32), axis=-2)
            with tf.GradientTape() as tape:
                cost = self.cost(x)
            self.optimizer.apply(tape.gradient(cost, self.learned), self.learned)

    @tf.function(jit_compile=True)
    def measure(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Exact mean log-likelihood and lower bound of x `[B, 2]` for every restart, `[R]`, in its float type."""
        log_joint = log_joints(x, *(tf.cast(p, x.dtype) for p in self.mixture()))  # [K, R, B]
        log_q = tf.stack(tf.unstack(tf.nn.log_softmax(self.posterior.logits(x)), axis=-1))
        log_likelihood = tf.reduce_logsumexp(log_joint, axis=0)
        bound = tf.reduce_sum(tf.exp(log_q) * (log_joint - log_q), axis=0)
        return tf.reduce_mean(log_likelihood, axis=-1), tf.reduce_mean(bound, axis=-1)


def measured_steps(steps: int, measurements: int) -> list[int]:
    """Where the curves are measured: at steps from 0 on that lie ever farther apart, as they change fast at first."""
    return [0, *np.unique(np.geomspace(1, steps, measurements).round().astype(int)).tolist()]


def fit(
    training: Training, shown: np.ndarray, settings: Settings, folder: RunFolder
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Trains all restarts, from the folder's checkpoint where it has one.

    Args:
        training: the restarts at their starts.
        shown: the standardised points that the curves are measured on.
        settings: the run's settings.
        folder: holds the checkpoints.

    Returns:
        the curves: steps `[T]`, log-likelihoods and bounds `[T, R]` in nats per point; and the seconds of training and,
        apart from it, of compilation.

    Raises:
        InputError: every restart, its bound or its state, became NaN or infinite; or no checkpoint is good.
    """
    shown = tf.constant(shown.astype(np.float32))
    ends = measured_steps(settings.steps, settings.measurements)
    curve = tf.Variable(tf.zeros([settings.restarts, 2, len(ends)]), trainable=False)
    done = tf.Variable(0, trainable=False)
    checkpoint = tf.train.Checkpoint(
        mixture=training.mixture,
        posterior=training.posterior,
        optimizer=training.optimizer,
        random=zs.get_generator(),
        curve=curve,
        done=done,
        seconds=tf.Variable(0.0, trainable=False, dtype=tf.float64),
        compile_seconds=tf.Variable(0.0, trainable=False, dtype=tf.float64),
    )
    remedy = "look for far outliers in the points"
    checkpoints = Checkpoints(folder, checkpoint, SAVE_EVERY, remedy, fits=settings.restarts)
    checkpoints.restore()
    started = time.perf_counter()
    training.train(0)  # compiles it
    start = training.measure(shown)
    checkpoint.compile_seconds.assign_add(time.perf_counter() - started)
    if done == 0:
        curve[:, :, 0].assign(tf.stack(start, axis=1))
    with (
        tqdm(total=settings.steps, initial=int(done), unit="step", disable=None) as bar,
        checkpoints.training(),
    ):
        most = 1  # steps of one call, which grow to take about a second, as nothing can stop or save in between
        while done < settings.steps:
            i = int(np.searchsorted(ends, int(done), "right"))  # of the measurement ahead
            steps, started = min(most, ends[i] - int(done)), time.perf_counter()
            training.train(steps)
            log_likelihoods, bounds = training.measure(shown)
            if steps == most and time.perf_counter() - started < 0.5:
                most *= 2
            done.assign_add(steps)
            if not np.isfinite(bounds).any():
                raise checkpoints.not_finite(f"the bound of every restart at step {int(done)}")
            curve[:, :, i].assign(tf.stack([log_likelihoods, bounds], axis=1))
            bar.update(steps)
            bar.set_postfix_str(f"bound {np.nanmax(bounds):.4f} nats per standardised point")
            checkpoints.update(f"step {int(done)}", due=int(done) == settings.steps)
    log_likelihoods, bounds = curve.numpy().transpose(1, 2, 0)
    curves = {"steps": np.array(ends), "log_likelihood": log_likelihoods, "bound": bounds}
    times = {name: float(getattr(checkpoint, name)) for name in ("seconds", "compile_seconds")}
    return curves, times


# ---------------------------------------------------------------------------------------------------------------------
# Evaluation
# ---------------------------------------------------------------------------------------------------------------------


def exact_log_joint(points: np.ndarray, mixture_parameters: Parameters) -> np.ndarray:
    """log p(x, z = k) of points `[N, 2]` under known parameters, `[N, K]`, in nats, in float64."""
    weights, means, stds = (tf.constant(p, tf.float64) for p in mixture_parameters)
    return tf.transpose(log_joints(tf.constant(points), tf.math.log(weights), means, tf.math.log(stds))).numpy()


def mean_log_likelihood(points: np.ndarray, mixture_parameters: Parameters) -> float:
    """log p(x) of points `[N, 2]` under known parameters, nats per point."""
    return float(np.mean(logsumexp(exact_log_joint(points, mixture_parameters), axis=-1)))


def is_degenerate(stds: np.ndarray, variance_floor: float) -> np.ndarray:
    """Whether a component has shrunk onto a point or a line: stds `[..., K, 2]` of standardised points."""
    return np.square(stds).min(axis=(-2, -1)) < 10 * variance_floor


def choose_restart(training: Training) -> tuple[int, int]:
    """The restart of the best lower bound, and how many the guard against degenerate components kept out."""
    slices = utils.slices(training.points, SLICE // 5)
    bounds = sum(len(x) * training.measure(tf.cast(x, tf.float64))[1].numpy() for x in slices)
    restart, kept_out = best_restart(training, bounds)
    return int(restart), int(kept_out)


def best_restart(training: Training, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of bounds `[R]`, or `[D, R]` for each of several data sets."""
    bounds = np.where(np.isfinite(bounds), bounds, -np.inf)
    degenerate = is_degenerate(np.exp(training.mixture()[2].numpy()), training.settings.variance_floor)
    kept_out = degenerate & ~degenerate.all(axis=-1, keepdims=True)
    return np.where(kept_out, -np.inf, bounds).argmax(axis=-1), kept_out.sum(axis=-1)


def fit_em(points: np.ndarray, settings: Settings, start: Parameters | None = None) -> GaussianMixture:
    """EM of scikit-learn on standardised points: the best of several runs, or one run from a given start."""
    given = {}
    if start is not None:
        given = {
            "weights_init": start.weights,
            "means_init": start.means,
            "precisions_init": 1 / np.square(start.stds),
        }
    em = GaussianMixture(
        settings.k,
        covariance_type="diag",
        n_init=1 if given else settings.em_starts,
        tol=1e-8,
        reg_covar=settings.variance_floor,
        max_iter=1000,
        random_state=settings.seed,
        **given,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `em_converged` says it
        return em.fit(points)


def em_parameters(em: GaussianMixture) -> Parameters:
    """The mixture that EM found."""
    return Parameters(em.weights_, em.means_, np.sqrt(em.covariances_))


def match(parameters: Parameters, reference: Parameters | None, scale: np.ndarray) -> np.ndarray:
    """The order that puts each component next to the reference's nearest, one to one, in 2-Wasserstein distance of
    columns divided by `scale`; without a reference the order of falling weight."""
    if reference is None:
        return np.argsort(-parameters.weights)
    ours, theirs = (np.concatenate([p.means / scale, p.stds / scale], axis=1) for p in (parameters, reference))
    _, order = linear_sum_assignment(np.square(theirs[:, None] - ours).sum(axis=-1))
    return order


def rms_differences(parameters: Parameters, reference: Parameters) -> list[float]:
    """Root-mean-square differences over the components, in the data's units: of the weights; of the means' first and
    second column, which may have different units; and of the standard deviations'."""
    pairs = zip(parameters, reference, strict=True)
    return np.hstack([np.sqrt(np.mean(np.square(ours - theirs), axis=0)) for ours, theirs in pairs]).tolist()


def evaluate(training: Training, restart: int | tuple[int, int], points: np.ndarray) -> dict[str, Any]:
    """Exact scores of one restart, of one data set where there are several, on all points, in standardised units.

    Returns:
        `parameters`; `log_likelihood`, `lower_bound` and `kl`, nats per point; `responsibilities` q(z | x) `[N, K]`.
    """
    weight_logits, means, logstds = (p[restart].numpy().astype(np.float64) for p in training.mixture())
    parameters = Parameters(np.exp(weight_logits - logsumexp(weight_logits)), means, np.exp(logstds))
    joint = exact_log_joint(points, parameters)
    log_q = log_softmax(training.posterior.logits(tf.constant(points), restart).numpy(), axis=-1)
    log_p = logsumexp(joint, axis=-1)
    q = np.exp(log_q)
    return {
        "parameters": parameters,
        "log_likelihood": float(np.mean(log_p)),
        "lower_bound": float(np.mean(np.sum(q * (joint - log_q), axis=-1))),
        "kl": float(np.mean(np.sum(q * (log_q - joint + log_p[:, None]), axis=-1))),
        "responsibilities": q,
    }


# ---------------------------------------------------------------------------------------------------------------------
# A run
# ---------------------------------------------------------------------------------------------------------------------


class Data(NamedTuple):
    """Points to fit. They are what is trained on and scored; those in the data's units need not be kept, so that ten
    million of them take little memory.

    Attributes:
        points: standardised `[N, 2]`, float32, 6e-8 from the data's (points - centre) / scale.
        centre: `[2]`.
        scale: `[2]`.
        classes: the component of each point `[N]`, or None.
        truth: the true mixture in the data's units, or None.
    """

    points: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    classes: np.ndarray | None
    truth: Parameters | None


def standardize(points: np.ndarray, classes: np.ndarray | None, truth: Parameters | None) -> Data:
    """Points `[N, 2]` in any units, with their components and their mixture, ready to fit."""
    centre, scale = points.mean(axis=0), points.std(axis=0)
    standardized = np.empty(points.shape, np.float32)
    for x, y in zip(utils.slices(points, SLICE), utils.slices(standardized, SLICE), strict=True):
        y[:] = (x - centre) / scale
    return Data(standardized, centre, scale, classes, truth)


def run(settings: Settings, folder: RunFolder, data: Data) -> None:
    """Fits the points, compares with EM and the truth, and writes the run's files."""
    points, centre, scale, classes, truth = data
    n, k = len(points), settings.k
    log_volume = float(np.log(scale).sum())  # nats between densities of standardised points and of the data
    rng = np.random.default_rng([settings.seed, 2])
    shown = rng.choice(points, min(n, settings.points_shown), replace=False).astype(np.float64)
    training = Training(points, settings)
    curves, times = fit(training, shown, settings, folder)
    restart, kept_out = choose_restart(training)
    # EM, our peer, and EM from our estimate: what it still gains tells whether that is a maximum, as finely as
    # `converged` asks, which the noise of batches is below.
    sample = points if n <= settings.em_points else rng.choice(points, settings.em_points, replace=False)
    sample = sample.astype(np.float64)
    em_fit = fit_em(sample, settings)
    em = em_parameters(em_fit)
    scores = evaluate(training, restart, shown)
    parameters, responsibilities = scores["parameters"], scores["responsibilities"]
    gain = fit_em(sample, settings, parameters).score(sample) - mean_log_likelihood(sample, parameters)
    estimate, em_estimate = (p.in_data_units(centre, scale) for p in (parameters, em))

    # Of all points, in slices: a few bytes a point, however many there are.
    means: dict[str, float] = defaultdict(float)
    counts = np.zeros([k, 0 if classes is None else int(classes.max()) + 1], int)
    for i, x in enumerate(utils.slices(points, SLICE)):
        x = x.astype(np.float64)
        part = evaluate(training, restart, x)
        part["em"] = mean_log_likelihood(x, em)
        part["truth"] = 0.0 if truth is None else mean_log_likelihood(x, truth.standardized(centre, scale))
        for name in ("log_likelihood", "lower_bound", "kl", "em", "truth"):
            means[name] += len(x) / n * part[name]
        if classes is not None:
            clusters = part["responsibilities"].argmax(axis=-1)
            counts += utils.contingency(clusters, classes[i * SLICE :][: len(x)], *counts.shape)

    order = match(estimate, truth, scale)
    estimate = estimate.reorder(order)
    em_estimate = em_estimate.reorder(match(em_estimate, truth, scale))
    log_likelihoods = {
        "truth": None if truth is None else means["truth"] - log_volume,
        "estimate": means["log_likelihood"] - log_volume,
        "em": means["em"] - log_volume,
    }
    metrics = {
        "config": utils.config(settings),
        "truth": _lists(truth),
        "estimate": _lists(estimate),
        "em": _lists(em_estimate),
        "em_points": len(sample),
        "em_converged": bool(em_fit.converged_),
        "log_likelihood": log_likelihoods,
        "lower_bound": means["lower_bound"] - log_volume,
        "kl": means["kl"],
        "ari": None if classes is None else utils.adjusted_rand_index(counts),
        "converged": bool(means["kl"] < 1e-3 and gain < 1e-3),
        "em_gain_from_estimate": gain,
        "degenerate": {
            "estimate": bool(is_degenerate(parameters.stds, settings.variance_floor)),
            "em": bool(is_degenerate(em.stds, settings.variance_floor)),
        },
        "restart": restart,
        "restarts_set_aside": kept_out,
        **times,
    }
    with folder.finish() as staging:
        np.savez(
            staging / "fit.npz",
            points=centre + scale * shown,
            responsibilities=responsibilities[:, order],
            steps=curves["steps"],
            log_likelihood=curves["log_likelihood"] - log_volume,
            bound=curves["bound"] - log_volume,
            em_level=mean_log_likelihood(shown, em) - log_volume,
        )
        utils.write_json(staging / "metrics.json", metrics)
        draw_figures(staging, staging)
    print(table(metrics))
    if not metrics["converged"]:
        print("warning: not converged; try more --steps", file=sys.stderr)
    for name in (name for name, found in metrics["degenerate"].items() if found):
        print(f"warning: {name} has a component that shrank onto a point or a line; try a smaller --k", file=sys.stderr)


def _lists(parameters: Parameters | None) -> dict[str, list] | None:
    return None if parameters is None else {k: v.tolist() for k, v in parameters._asdict().items()}


def digits(value: float, std: float) -> str:
    """A mean with the digits that its standard deviation leaves meaningful."""
    decimals = 3 - int(np.floor(np.log10(std)))
    if 0 <= decimals <= 9:
        return f"{value:.{decimals}f}"
    leading = int(np.floor(np.log10(abs(value)))) if value else -decimals
    return f"{value:.{np.clip(leading + decimals, 0, 16)}e}"


def table(metrics: dict[str, Any]) -> str:
    """The run's result in numbers."""
    names = [name for name in ("truth", "estimate", "em") if metrics[name]]
    mixtures = {name: Parameters(*map(np.array, metrics[name].values())) for name in names}
    estimate, em = mixtures["estimate"], mixtures["em"]
    em_beside = em.reorder(match(em, estimate, estimate.stds.mean(axis=0)))
    pairs = {"estimate and em": (estimate, em_beside)}
    if metrics["truth"] is None:  # both are ordered by weight there, which may differ in nearly equal ones
        mixtures["em"] = em_beside
    else:
        pairs |= {f"{name} and truth": (mixtures[name], mixtures["truth"]) for name in ("estimate", "em")}
    lines = [f"{'component':<10}{'':<10}{'weight':>8}{'mean':>28}{'standard deviation':>26}"]
    for k in range(len(estimate.weights)):
        for i, (name, p) in enumerate(mixtures.items()):
            mean = "".join(f" {digits(value, std):>13}" for value, std in zip(p.means[k], p.stds[k], strict=True))
            std = "".join(f"{value:>13.4g}" for value in p.stds[k])
            lines.append(f"{'' if i else k + 1:<10}{name:<10}{p.weights[k]:>8.4f}{mean}{std}")
    lines.append("\nroot-mean-square difference over the components")
    for pair, both in pairs.items():
        weight, x, y, std_x, std_y = rms_differences(*both)
        lines.append(f"  {pair:<18}{weight:>8.2g} {x:>13.4g} {y:>13.4g}{std_x:>13.4g}{std_y:>13.4g}")
    lines.append("\nnats per point")
    for name, value in metrics["log_likelihood"].items():
        if value is not None:
            lines.append(f"  log-likelihood, {name:<12}{value:>12.6f}")
    lines.append(f"  lower bound{'':<17}{metrics['lower_bound']:>12.6f}")
    lines.append(f"  KL(q || posterior){'':<10}{metrics['kl']:>12.6f}")
    if metrics["ari"] is not None:
        lines.append(f"\nadjusted Rand index{'':<11}{metrics['ari']:>12.4f}")
    lines.append(f"seconds of training{'':<11}{metrics['seconds']:>12.1f}")
    lines.append(f"seconds of compilation{'':<8}{metrics['compile_seconds']:>12.1f}")
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------------------
# Figures
# ---------------------------------------------------------------------------------------------------------------------


def draw_figures(run: Path, out: Path) -> None:
    """Draws the figures from the files of a run's folder alone."""
    metrics = json.loads((run / "metrics.json").read_text())
    with np.load(run / "fit.npz") as fit_file, utils.figure_style():
        utils.save_figure(clusters_figure(metrics, fit_file), out, "clusters")
        utils.save_figure(convergence_figure(metrics, fit_file), out, "convergence")


def clusters_figure(metrics: dict[str, Any], fit_file: Any) -> Figure:
    """The points in the colours of q(z | x), mixed where q is undecided, with the ellipses of all mixtures."""
    figure = Figure(figsize=(3.4, 3.2))
    axes = figure.subplots()
    points, q = fit_file["points"], fit_file["responsibilities"]
    colours = np.clip(q @ utils.colours(q.shape[1]), 0, 1)
    for k in range(q.shape[1]):
        # A marker of its own for each component: colours are lost in grey.
        chosen = q.argmax(axis=1) == k
        axes.scatter(*points[chosen].T, c=colours[chosen], s=11, linewidths=0, marker="os^Dv<>pP*"[k % 10])
    styles = {
        "truth": {
            "color": "0.5",
            "linestyle": "--",
            "linewidth": 1.0,
            "marker": "o",
            "markersize": 3,
            "label": "truth",
        },
        "estimate": {"color": "black", "linewidth": 2.2, "marker": "+", "markersize": 8, "label": "NVIL"},
        "em": {"color": EM_COLOUR, "linestyle": ":", "linewidth": 1.2, "marker": "x", "markersize": 4, "label": "EM"},
    }
    shown = [(metrics[name], style) for name, style in styles.items() if metrics[name]]
    for mixture_parameters, style in shown:
        outline = {key: style[key] for key in ("color", "linestyle", "linewidth") if key in style}
        for mean, std in zip(mixture_parameters["means"], mixture_parameters["stds"], strict=True):
            axes.add_patch(Ellipse(mean, 4 * std[0], 4 * std[1], fill=False, **outline))
        axes.plot(*np.transpose(mixture_parameters["means"]), **{**style, "linestyle": ""})
    figure.legend(handles=[Line2D([], [], **style) for _, style in shown], loc="outside upper center", ncols=3)
    axes.set(xlabel="$x_1$", ylabel="$x_2$", title=f"{len(points)} points; ellipses at two standard deviations")
    return figure


def convergence_figure(metrics: dict[str, Any], fit_file: Any) -> Figure:
    """The lower bound of every restart and the log-likelihood of the best against steps, with EM's level."""
    figure = Figure(figsize=(3.4, 2.7))
    axes = figure.subplots()
    steps, best, bounds = fit_file["steps"], metrics["restart"], fit_file["bound"]
    em_level = float(fit_file["em_level"])
    others = axes.plot(steps, bounds, color="0.8", linewidth=0.4)
    (likelihood,) = axes.plot(steps, fit_file["log_likelihood"][:, best], color=utils.COLOURS[2], linewidth=2.4)
    (bound,) = axes.plot(steps, bounds[:, best], color=utils.COLOURS[0])
    em = axes.axhline(em_level, color=EM_COLOUR, linestyle=":", linewidth=1.6)
    figure.legend(
        [likelihood, em, bound, others[0]],
        ["log-likelihood, best restart", "log-likelihood, EM", "bound, best restart", "bound, other restarts"],
        loc="outside upper center",
        ncols=2,
    )
    # From the best restart's start up; other restarts may dip below.
    low = bounds[0, best]
    axes.set_ylim(low, em_level + 0.1 * (em_level - low))
    axes.set(xlabel="gradient steps", ylabel="nats per point", xscale="symlog", xlim=(0, steps[-1]))
    return figure


# ---------------------------------------------------------------------------------------------------------------------
# Use from Python, and the command line
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """A run's estimate, in the data's units.

    Attributes:
        parameters: weights `[K]`, means `[K, 2]`, standard deviations `[K, 2]`.
    """

    parameters: Parameters

    def responsibilities(self, points: np.ndarray) -> np.ndarray:
        """p(z = k | x) of points `[N, 2]`, `[N, K]`.

        Raises:
            ValueError: the points have another shape, or are not finite.
        """
        points = np.asarray(points, np.float64)
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"wanted points of shape [N, 2], got {list(points.shape)}")
        if not np.isfinite(points).all():
            raise ValueError(f"wanted finite points, got {points[~np.isfinite(points).all(axis=1)][0].tolist()}")
        return np.exp(log_softmax(exact_log_joint(points, self.parameters), axis=-1))

    def classify(self, points: np.ndarray) -> np.ndarray:
        """The most probable component of points `[N, 2]`, `[N]`."""
        return self.responsibilities(points).argmax(axis=-1)

    def sample(self, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Draws N points `[N, 2]` and the component of each `[N]`."""
        with utils.private_seed(seed):
            return draw_data(self.parameters, n)


def load(folder: str) -> Fit:
    """The estimate of a finished run, from its folder.

    Raises:
        FileNotFoundError: no finished run lies there.
        InputError: another script's does.
    """
    RunFolder(folder, "gmm_vi").finished_settings("metrics.json")
    estimate = json.loads(Path(folder, "metrics.json").read_text())["estimate"]
    return Fit(Parameters(**{name: np.array(value) for name, value in estimate.items()}))


def read_data(settings: Settings, given: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None, Parameters | None]:
    """The points `[N, 2]`, and where they are drawn their components and the true mixture."""
    if settings.data is None:
        if settings.n < settings.k:
            raise InputError(f"--n {settings.n}: wanted at least as many points as components, --k {settings.k}")
        truth = draw_truth(settings, np.random.default_rng([settings.seed, 0]))
        return *draw_data(truth, settings.n), truth
    refuse_drawing(given)
    points = utils.read_points(settings.data)
    if len(points) < settings.k:
        raise InputError(
            f"--data {settings.data}: has {len(points)} points for --k {settings.k}; wanted at least as many"
        )
    return points, None, None


def refuse_drawing(given: dict[str, Any]) -> None:
    """Settings of drawn points are not for given ones.

    Raises:
        InputError: one was given.
    """
    for name in ("n", "separation"):
        if name in given:
            raise InputError(f"{utils.option(name)} {given[name]}: is for drawn points; leave it out with --data")


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmm_vi", __doc__, PICTURED, argv) as (settings, given, folder, resume):
        if resume and not folder.is_unfinished:
            draw_figures(folder.path, folder.path)
            print(table(json.loads((folder.path / "metrics.json").read_text())))
            return
        zs.set_seed(settings.seed)
        points, classes, truth = read_data(settings, given)
        settings = utils.with_checksum(dataclasses.replace(settings, n=len(points)), resume, points)
        if not resume:
            folder.start(settings)
        utils.print_settings(settings)
        data = standardize(points, classes, truth)
        del points  # 16 bytes each
        run(settings, folder, data)
        print(f"figures and metrics.json in {folder.path}")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupt)
    utils.run_main(main)
