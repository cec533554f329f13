"""Estimators of the bound's gradient side by side: bias, variance and direction, on the same points and samples.

On each of ten data sets the algorithm of gmm_vi.py, but with NVIL's own baseline, a network of x that learns on the way
(Mnih & Gregor 2014, section 2.3), gives parameters at its start (step 20), midway (250) and at the end (5000). At each,
every estimator draws 100 gradients: with all data sets 1000 fits that one compiled program holds. In a cell all begin
with the same random numbers, so that those of one-hot samples see the same ones. They are compared, for the model's and
the posterior's parameters apart, with two gradients that are exact: of the bound, by the sum over z; and of what the
estimator targets, by the sum over all counts of its samples' components, or for a relaxation of two or three components
by quadrature. What a step of each takes in time gmm_race.py measures, as only there do baselines learn.

    exact              the sum over z, no sample
    score function     zs.nvil without a baseline
    moving mean        zs.nvil, the baseline the signal's mean
    network            zs.nvil, the baseline a network of x, as it is at that moment
    normalised         the same, with the signal's variance normalised
    leave-one-out      zs.nvil, each sample's baseline the mean of the others' signals: gmm_vi.py's
    vimco, rws         zs.vimco and zs.rws, which target other objectives
    sgvb, one-hot      zs.sgvb on the one-hot sample, its refusal by-passed
    concrete, t        zs.sgvb on zs.ExpConcrete of temperature t, for z and for its relaxed prior
    gumbel-softmax, t  the same sample as if it were one-hot, in the discrete log p(z) and log q(z|x)

    python report/gmm_estimators.py --out FOLDER

metrics.json has for each cell (K, samples, moment) and each estimator, for `model` and `posterior`, lists with an entry
for each data set:

    norm, target_norm   of the bound's exact gradient and of the target's
    exact_bias          norm of the target's gradient less the bound's, without noise
    bias                norm of the mean of the drawn gradients less the bound's
    target_bias         the same from the target's: the noise alone where the estimator hits what it targets
    variance            sum of the variances of the gradient's entries; its hundredth is the noise in a squared bias
    cosine              mean cosine of the angle to the bound's gradient
    target_cosine       the same to the target's; 0 where that is 0, as sgvb's on one-hot samples for q

A target is not exact, and what is said of it null, for relaxations at K > 3, where quadrature would take too long.
"""

import functools
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cells
import numpy as np
from scipy.special import gammaln, logsumexp

import gmm_vi
import utils
from utils import setting

import tensorflow as tf  # isort: skip
import zhusuan as zs  # isort: skip

# Shares of the steps. At step 0 q is the true posterior of the mixture that it starts with, and its gradient is 0.
MOMENTS = {"start": 0.004, "midway": 0.05, "end": 1.0}
KS, SAMPLES = (2, 3, 5, 10), (1, 2, 5, 10, 20)
TEMPERATURES = (0.1, 0.2, 0.5, 1.0, 2.0)
UNBIASED = ("exact", "score function", "moving mean", "network", "leave-one-out")  # target the bound


@dataclass(frozen=True)
class Cell:
    """Components, samples of z a point, and the moment of the run."""

    k: int
    n_samples: int
    moment: str


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result."""

    seed: int = setting(0, "seed of everything random", 0, 2**31 - 1)
    out: str = setting("report/runs/gmm-estimators", "folder for metrics.json")
    n: int = setting(100)
    separation: float = setting(3.0)
    steps: int = setting(5000)
    data_sets: int = setting(10)
    restarts: int = setting(10)
    draws: int = setting(100)  # for each data set


class Baseline(tf.Module):
    """A small network of x for each fit that predicts NVIL's learning signal, and so lowers its variance."""

    UNITS = 16

    def __init__(self, fits: tuple[int, ...], rng: np.random.Generator) -> None:
        super().__init__()
        self.hidden_weights = tf.Variable(rng.normal(size=(*fits, 2, self.UNITS)).astype(np.float32))
        self.hidden_biases = tf.Variable(tf.zeros([*fits, 1, self.UNITS]))
        self.weights = tf.Variable(tf.zeros([*fits, self.UNITS, 1]))
        # log p(x) of a standard normal in 2-D is -2.8 on average.
        self.biases = tf.Variable(tf.fill([*fits, 1, 1], -2.8))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        hidden = tf.tanh(tf.matmul(x, self.hidden_weights) + self.hidden_biases)  # [R, B, units]
        return tf.squeeze(tf.matmul(hidden, self.weights) + self.biases, axis=-1)  # [R, B]


class NetworkTraining(gmm_vi.Training):
    """gmm_vi.py's training, where the baseline is a network that learns too."""

    def __init__(self, points: np.ndarray, settings: gmm_vi.Settings) -> None:
        super().__init__(points, settings)
        self.network = Baseline(self.mixture.means.shape[:-2], np.random.default_rng([settings.seed, 3]))
        self.learned += self.network.trainable_variables
        self.optimizer = utils.cosine_adam(self.learned, settings.learning_rate, settings.steps)

    def cost(self, x: tf.Tensor) -> tf.Tensor:
        s = self.settings.n_samples
        parameters = self.mixture()

        def log_joint(values: dict[str, tf.Tensor]) -> tf.Tensor:
            return gmm_vi.mixture(values, *parameters, x.shape[-2], s).log_joint()

        z = self.posterior(x, s)["z"]
        cost, _ = zs.nvil(log_joint, {"x": x}, {"z": z}, baseline=self.network(x), axis=0)
        return tf.reduce_sum(tf.reduce_mean(cost, axis=-1))


class SettledNormalization(zs.VarianceNormalization):
    """Normalises by given moments of each fit's signal, `[R, 1]`: those that averages reach at fixed parameters."""

    def __init__(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        super().__init__()
        self.mean, self.variance = mean, variance

    def __call__(self, signal: tf.Tensor) -> tf.Tensor:
        return (signal - self.mean) / tf.sqrt(tf.maximum(self.variance, 1.0))


class Replicates(tf.Module):
    """R fits, each with variables, and so a gradient, of its own.

    Args:
        state: the units of length, and the variables of mixtures, posteriors and baselines, with a leading axis of R.
        points: standardised points of each `[R, N, 2]`.
        n_samples: samples of z a point.
    """

    def __init__(self, state: list[np.ndarray], points: np.ndarray, n_samples: int) -> None:
        super().__init__()
        unit, *values = state
        means = values[1]
        self.x = tf.constant(points, tf.float32)
        self.n_samples = n_samples
        self.mixture = gmm_vi.Mixture(means, unit, gmm_vi.Settings.variance_floor)
        self.posterior = gmm_vi.Posterior(means, unit)
        self.baseline = Baseline((len(points),), np.random.default_rng(0))
        self.learned = {"model": self.mixture.trainable_variables, "posterior": self.posterior.trainable_variables}
        variables = [*self.learned["model"], *self.learned["posterior"], *self.baseline.trainable_variables]
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        log_p, log_q = self.every()
        signal = log_p - log_q - self.baseline(self.x)[..., None]
        mean = tf.reduce_mean(tf.reduce_sum(tf.exp(log_q) * signal, axis=-1), axis=-1)[:, None]
        deviations = tf.square(signal - mean[..., None])
        variance = tf.reduce_mean(tf.reduce_sum(tf.exp(log_q) * deviations, axis=-1), axis=-1)[:, None]
        self.normalization = SettledNormalization(mean, variance)

    def log_joint(self, values: dict[str, tf.Tensor]) -> tf.Tensor:
        """log p(x, z), `[S, R, N]`."""
        return gmm_vi.mixture(values, *self.mixture(), self.x.shape[-2], self.n_samples).log_joint()

    def estimate(self, estimator: Callable[..., tf.Tensor], **options: Any) -> zs.StochasticTensor:
        """An estimator's cost on samples of the posterior, `[R, N]`."""
        posterior = self.posterior(self.x, self.n_samples)
        return estimator(self.log_joint, {"x": self.x}, {"z": posterior["z"]}, axis=0, **options)[0]

    def signal(self, z: zs.StochasticTensor) -> tf.Tensor:
        """log p(x, z) - log q(z | x) of a sample, `[S, R, N]`, without a gradient."""
        return tf.stop_gradient(self.log_joint({"x": self.x, "z": z}) - z.distribution.log_prob(z))

    def every(self) -> tuple[tf.Tensor, tf.Tensor]:
        """log p(x, z) and log q(z | x) for every z, `[R, N, K]`."""
        log_p = gmm_vi.log_joints(self.x, *self.mixture())
        return tf.transpose(log_p, [1, 2, 0]), tf.nn.log_softmax(self.posterior.logits(self.x))

    # The costs to minimise, `[R, N]`, of which the gradient is taken.

    def costs(self, temperatures: Sequence[float]) -> dict[str, Callable[[], tf.Tensor]]:
        """All of them that there are for this number of samples, by name."""
        several = {"leave-one-out": self.leave_one_out, "vimco": self.vimco} if self.n_samples > 1 else {}
        relaxed = {
            f"{name}, {t}": functools.partial(cost, t)
            for t in temperatures
            for name, cost in (("concrete", self.concrete), ("gumbel-softmax", self.gumbel_softmax))
        }
        return {
            "exact": self.exact,
            "score function": self.score_function,
            "moving mean": self.moving_mean,
            "network": self.network,
            "normalised": self.normalised,
            "rws": self.rws,
            "sgvb, one-hot": self.sgvb_onehot,
            **several,
            **relaxed,
        }

    def exact(self) -> tf.Tensor:
        """By the sum over z."""
        log_p, log_q = self.every()
        return -tf.reduce_sum(tf.exp(log_q) * (log_p - log_q), axis=-1)

    def score_function(self) -> tf.Tensor:
        return self.estimate(zs.nvil)

    def moving_mean(self) -> tf.Tensor:
        """With what a moving mean of the signal goes to where the parameters stand still: the bound."""
        return self.estimate(zs.nvil, baseline=tf.stop_gradient(-tf.reduce_mean(self.exact(), -1, True)))

    def network(self) -> tf.Tensor:
        return self.estimate(zs.nvil, baseline=tf.stop_gradient(self.baseline(self.x)))

    def normalised(self) -> tf.Tensor:
        baseline = tf.stop_gradient(self.baseline(self.x))
        return self.estimate(zs.nvil, baseline=baseline, variance_normalization=self.normalization)

    def leave_one_out(self) -> tf.Tensor:
        z = self.posterior(self.x, self.n_samples)["z"]
        others = gmm_vi.mean_of_others(self.signal(z))
        return zs.nvil(self.log_joint, {"x": self.x}, {"z": z}, baseline=others, axis=0)[0]

    def vimco(self) -> tf.Tensor:
        return self.estimate(zs.vimco)

    def rws(self) -> tf.Tensor:
        return self.estimate(zs.rws)

    def sgvb_onehot(self) -> tf.Tensor:
        """A pair of tensors says nothing of where it is from, so that it is not refused."""
        z = self.posterior(self.x, self.n_samples)["z"]
        return -zs.sgvb(self.log_joint, {"x": self.x}, {"z": (z.tensor, z.distribution.log_prob(z))}, axis=0)

    def concrete(self, temperature: float) -> tf.Tensor:
        """With a relaxed prior (Maddison et al. 2017, section 3.3): one-hot z and its logits become ExpConcrete's."""
        return -tf.reduce_mean(self.concrete_bound(temperature, self.relaxed(temperature)), axis=0)

    def gumbel_softmax(self, temperature: float) -> tf.Tensor:
        """With the discrete distributions' log-probabilities of the relaxed sample (Jang, Gu & Poole 2017)."""
        return -tf.reduce_mean(self.gumbel_softmax_bound(temperature, self.relaxed(temperature)), axis=0)

    def relaxed(self, temperature: float) -> tf.Tensor:
        """Logarithms of relaxed one-hot samples `[S, R, N, K]`, with their path to q."""
        with zs.BayesianNet():
            log_z = zs.ExpConcrete("log_z", temperature, self.posterior.logits(self.x), n_samples=self.n_samples)
        return log_z.tensor

    def concrete_bound(self, temperature: float, log_z: tf.Tensor) -> tf.Tensor:
        """log p(x, z) - log q(z | x) of relaxed samples, `[S, R, N]`, of the relaxed prior and posterior."""
        weight_logits, means, logstds = self.mixture()
        log_q = zs.distributions.ExpConcrete(temperature, self.posterior.logits(self.x)).log_prob(log_z)

        def log_joint(values: dict[str, tf.Tensor]) -> tf.Tensor:
            with zs.BayesianNet(values) as model:
                logits = tf.repeat(weight_logits[..., None, :], self.x.shape[-2], axis=-2)
                z = tf.exp(zs.ExpConcrete("log_z", temperature, logits))
                logstd = gmm_vi.of_component(z, logstds)
                zs.Normal("x", gmm_vi.of_component(z, means), logstd=logstd, group_ndims=1)
            return model.log_joint()

        return zs.sgvb(log_joint, {"x": self.x}, {"log_z": (log_z, log_q)})

    def gumbel_softmax_bound(self, temperature: float, log_z: tf.Tensor) -> tf.Tensor:
        """The same, of the discrete prior and posterior."""
        z = tf.exp(log_z)
        log_q = tf.reduce_sum(z * tf.nn.log_softmax(self.posterior.logits(self.x)), axis=-1)
        return zs.sgvb(self.log_joint, {"x": self.x}, {"z": (z, log_q)})

    # What the relaxations target.

    def by_quadrature(
        self,
        bound: Callable[[float, tf.Tensor], tf.Tensor],
        temperature: float,
        differences: tf.Tensor,
        weights: tf.Tensor,
    ) -> tf.Tensor:
        """Minus the expectation of a relaxation's bound, or a term of it: its sum over nodes of `quadrature`."""
        noise = differences[:, None, None]  # [Q, 1, 1, K]
        log_z = tf.nn.log_softmax((self.posterior.logits(self.x) + noise) / temperature)
        return -tf.tensordot(weights, bound(temperature, log_z), 1)

    # What vimco and rws target, by the sum over all counts of the samples' components.

    def counts(self) -> tuple[tf.Tensor, tf.Tensor]:
        """All counts of S samples in K components `[C, K]`, and their logarithmic multinomial coefficients `[C]`."""
        k, s = self.mixture.means.shape[1], self.n_samples
        bars = np.array(list(itertools.combinations(range(s + k - 1), k - 1)), int).reshape(-1, k - 1)
        edges = np.hstack([np.full([len(bars), 1], -1), bars, np.full([len(bars), 1], s + k - 1)])
        counts = np.diff(edges, axis=1) - 1
        coefficients = gammaln(s + 1) - gammaln(counts + 1).sum(axis=1)
        return tf.constant(counts, tf.float32), tf.constant(coefficients, tf.float32)

    def vimco_target(self) -> tf.Tensor:
        """- E[log mean w]."""
        log_p, log_q = self.every()
        counts, coefficients = self.counts()
        probability = tf.exp(coefficients + tf.einsum("ck,rnk->rnc", counts, log_q))
        log_w = tf.math.log(counts) + (log_p - log_q)[..., None, :]  # [R, N, C, K]
        return -tf.reduce_sum(probability * (tf.reduce_logsumexp(log_w, -1) - np.log(self.n_samples)), axis=-1)

    def rws_target(self) -> tf.Tensor:
        """- E[sum of normalised weights times (log p + log q)], expectation and weights held constant."""
        log_p, log_q = self.every()
        counts, coefficients = self.counts()
        probability = tf.exp(coefficients + tf.einsum("ck,rnk->rnc", counts, log_q))
        weights = tf.nn.softmax(tf.math.log(counts) + (log_p - log_q)[..., None, :])
        mean_weights = tf.stop_gradient(tf.einsum("rnc,rnck->rnk", probability, weights))
        return -tf.reduce_sum(mean_weights * (log_p + log_q), axis=-1)


def quadrature(k: int, temperature: float, at_once: int = 2000) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Nodes for the expectation over the noise of a relaxed sample, in parts of `at_once`: differences of K Gumbel
    numbers from the last `[at_once, K]`, which is all that the sample depends on, and weights `[at_once]`.

    The differences have the density (K - 1)! exp(-sum u) / (1 + sum exp(-u))^K. It and the sample are analytic, so that
    the trapezoidal rule converges exponentially; nodes where the density is below 2e-9 are left out.
    """
    spacing, most = min(temperature, 0.25), 20.0
    axis = np.arange(-most, most + spacing / 2, spacing)
    u = np.stack(np.meshgrid(*[axis] * (k - 1)), axis=-1).reshape(-1, k - 1)
    u = np.hstack([u, np.zeros([len(u), 1])])
    log_density = gammaln(k) - u.sum(axis=1) - k * logsumexp(-u, axis=1)
    kept = log_density > -most
    nodes, weights = u[kept], spacing ** (k - 1) * np.exp(log_density[kept])
    missing = -len(nodes) % at_once  # so that one compiled program does all parts
    nodes, weights = np.pad(nodes, ((0, missing), (0, 0))), np.pad(weights, (0, missing))
    parts = (np.split(each.astype(np.float32), len(nodes) // at_once) for each in (nodes, weights))
    return [(tf.constant(u), tf.constant(w)) for u, w in zip(*parts, strict=True)]


def gradients(
    replicates: Replicates, cost: Callable[..., tf.Tensor], parts: Sequence[tuple[tf.Tensor, ...]] = ((),)
) -> dict[str, np.ndarray]:
    """The gradients of minus the cost, the mean over the points, for `model` and `posterior` `[R, parameters]`; where
    the cost is a sum, each term is given by arguments of its own, all of the same shapes."""

    @tf.function(jit_compile=True)
    def compiled(*arguments: tf.Tensor) -> dict[str, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.reduce_mean(cost(*arguments), axis=-1))
        return tape.gradient(total, replicates.learned, unconnected_gradients="zero")

    terms = [
        {part: np.concatenate([v.numpy().reshape(len(v), -1) for v in each], axis=1) for part, each in found.items()}
        for found in (compiled(*arguments) for arguments in parts)
    ]
    return {part: -sum(term[part] for term in terms) for part in terms[0]}


def compare(drawn: np.ndarray, exact: np.ndarray, target: np.ndarray | None) -> dict[str, list[float] | None]:
    """What metrics.json says of gradients `[D, draws, parameters]` on D data sets: see above.

    Args:
        drawn: an estimator's gradients.
        exact: of the bound `[D, parameters]`.
        target: of what the estimator targets, or None.
    """
    drawn = drawn.astype(np.float64)
    mean = drawn.mean(axis=1)

    def norm(gradient: np.ndarray) -> list[float]:
        return np.linalg.norm(gradient, axis=-1).tolist()

    def mean_cosine(gradient: np.ndarray) -> list[float]:
        products = np.linalg.norm(drawn, axis=-1) * np.linalg.norm(gradient, axis=-1)[:, None]
        return np.mean(np.einsum("dsp,dp->ds", drawn, gradient) / np.maximum(products, 1e-30), axis=1).tolist()

    of_target = dict.fromkeys(("target_norm", "exact_bias", "target_bias", "target_cosine"))
    if target is not None:
        values = norm(target), norm(target - exact), norm(mean - target), mean_cosine(target)
        of_target = dict(zip(of_target, values, strict=True))
    return {
        "norm": norm(exact),
        "bias": norm(mean - exact),
        "variance": drawn.var(axis=1, ddof=1).sum(axis=-1).tolist(),
        "cosine": mean_cosine(exact),
        **of_target,
    }


@functools.cache
def trajectory(k: int, settings: Settings) -> tuple[np.ndarray, dict[str, list[np.ndarray]]]:
    """Standardised points `[D, N, 2]` of random mixtures, and the best restarts' variables at each moment of a run."""
    given = gmm_vi.Settings(
        k=k,
        n=settings.n,
        separation=settings.separation,
        restarts=settings.restarts,
        steps=settings.steps,
        seed=settings.seed,
    )
    zs.set_seed(settings.seed)
    rng = np.random.default_rng([settings.seed, k])
    truths = [gmm_vi.draw_truth(given, rng) for _ in range(settings.data_sets)]
    points, _, _ = cells.standardize(cells.draw_points(truths, settings.n))
    training = NetworkTraining(points.astype(np.float32), given)
    states, done = {}, 0
    for moment, share in MOMENTS.items():
        steps = round(share * settings.steps) - done
        training.train(steps)
        done += steps
        states[moment] = [variable.numpy() for variable in (training.mixture.unit, *training.learned)]
    best, _ = gmm_vi.best_restart(training, training.measure(training.points)[1].numpy())
    chosen = np.arange(settings.data_sets), best
    return points, {moment: [value[chosen] for value in state] for moment, state in states.items()}


def measure(cell: Cell, settings: Settings) -> dict[str, Any]:
    """All estimators in a cell."""
    points, states = trajectory(cell.k, settings)
    state, draws = states[cell.moment], settings.draws
    single = Replicates(state, points, cell.n_samples)
    exact = gradients(single, single.exact)
    temperatures = TEMPERATURES if cell.n_samples == 1 else (0.5,)
    targets = dict.fromkeys(UNBIASED, exact)
    scale = np.sqrt(np.maximum(single.normalization.variance.numpy(), 1.0))
    targets["normalised"] = exact | {"posterior": exact["posterior"] / scale}
    targets["sgvb, one-hot"] = exact | {"posterior": np.zeros_like(exact["posterior"])}  # the mean of a score
    targets |= {"vimco": gradients(single, single.vimco_target), "rws": gradients(single, single.rws_target)}
    if cell.k <= 3:
        bounds = {"concrete": single.concrete_bound, "gumbel-softmax": single.gumbel_softmax_bound}
        for (name, bound), t in itertools.product(bounds.items(), temperatures):
            cost = functools.partial(single.by_quadrature, bound, t)
            targets[f"{name}, {t}"] = gradients(single, cost, quadrature(cell.k, t))
    many = Replicates(
        [np.repeat(value, draws, axis=0) for value in state], np.repeat(points, draws, axis=0), cell.n_samples
    )
    results = {}
    for name, cost in many.costs(temperatures).items():
        zs.set_seed(settings.seed + 1)  # the same samples for all, and others than drew the points
        target = targets.get(name)
        results[name] = {
            part: compare(values.reshape(settings.data_sets, draws, -1), exact[part], target[part] if target else None)
            for part, values in gradients(many, cost).items()
        }
    return {"estimators": results}


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmm_estimators", __doc__, (), argv) as (settings, _, folder, resume):
        pairs = dict.fromkeys([*((k, 5) for k in KS), *((3, s) for s in SAMPLES), (2, 1)])
        grid = [Cell(k, n_samples, moment) for k, n_samples in pairs for moment in MOMENTS]
        cells.run_cells(settings, folder, resume, grid, lambda cell: measure(cell, settings))


if __name__ == "__main__":
    utils.run_main(main)
