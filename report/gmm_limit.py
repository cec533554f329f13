"""The error of a maximum of the likelihood, and of NVIL, against N, beside the Cramér-Rao bound.

One mixture of K = 3 at several separations of its means; for each N, 100 data sets from it. `zs.nvil` fits them with 3
restarts each. The maximum is the highest that is found: EM takes 100 steps from NVIL's restarts, the truth and five
seedings of k-means++, and where it is then most likely, without a degenerate component, Newton's method in a trust
region goes on, as EM would stop on its way where overlap makes the likelihood flat. The Fisher information of one point
is the integral of score times score over the plane, for 14 parameters: the means, the standard deviations, pi_1 and
pi_2, as pi_3 is 1 less these. Its inverse over N bounds the covariance of unbiased estimates.

    python report/gmm_limit.py --out FOLDER

metrics.json has for each cell the `bound`, the square roots of that diagonal; for each data set

    behind       the log-likelihood of the maximum less that of NVIL's best restart, nats per point; below 0 where EM
                 from that restart ends in a degenerate component
    beyond       the highest log-likelihood that EM reached less the highest from NVIL's restarts and the truth
    gradient     its largest entry at the maximum, nats per point and unit of `theta`
    degenerate   whether the maximum has a degenerate component

and for `estimate`, NVIL's, and `mle`, that maximum:

    rms_error, median_error, bias   for each parameter, over the data sets
    bias_se                         the standard error of the bias
    coverage                        share of data sets whose 95 % interval, from the information at the estimate, holds
                                    the truth; one that cannot be computed holds nothing
    interval                        for these but bias_se, the first three over the bound: a 95 % interval of the median
                                    over the parameters, by the bootstrap over data sets
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cells
import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

import gmm_vi
import utils
from gmm_vi import Parameters
from utils import setting

import tensorflow as tf  # isort: skip
import zhusuan as zs  # isort: skip

SEPARATIONS = (1.5, 2.0, 3.0, 4.0, 6.0)
SIZES = (100, 300, 1000, 3000, 10_000)
NAMES = [*(f"pi_{k}" for k in (1, 2)), *(f"{p}_{k}{d}" for p in ("mu", "sigma") for k in (1, 2, 3) for d in (1, 2))]


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result."""

    seed: int = setting(0, "seed of everything random", 0, 2**31 - 1)
    out: str = setting("report/runs/gmm-limit", "folder for metrics.json")
    data_sets: int = setting(100)
    restarts: int = setting(3)
    seedings: int = setting(5)  # of k-means++
    em_steps: int = setting(100)
    resamples: int = setting(2000)  # of the bootstrap
    steps: int = setting(5000)
    batch_size: int = setting(128)
    large_n: int = setting(10_000)  # from here on
    large_n_batch_size: int = setting(512)


def truth(separation: float) -> Parameters:
    """The mixture: a triangle of equal sides with unequal weights and standard deviations."""
    angles = np.pi / 2 + 2 * np.pi * np.arange(3) / 3
    stds = np.array([[0.7, 1.2], [1.1, 0.8], [1.0, 1.1]])
    stds /= np.sqrt(np.mean(np.square(stds)))
    means = separation / np.sqrt(3) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Parameters(np.array([0.3, 0.25, 0.45]), means, stds)


def vector(parameters: Parameters) -> np.ndarray:
    """The 14 free parameters, in the order of `NAMES`."""
    return np.concatenate([parameters.weights[:-1], parameters.means.ravel(), parameters.stds.ravel()])


def fisher_information(parameters: Parameters, points_per_axis: int = 150) -> np.ndarray:
    """The Fisher information of one point, by the trapezoidal rule over the plane to 9 standard deviations; NaN where a
    component is narrower than three quarters of the grid's spacing, which misses it."""
    low = (parameters.means - 9 * parameters.stds).min(axis=0)
    high = (parameters.means + 9 * parameters.stds).max(axis=0)
    if np.any(parameters.stds < 0.75 * (high - low) / (points_per_axis - 1)):
        return np.full([len(NAMES), len(NAMES)], np.nan)
    axes = [np.linspace(low[d], high[d], points_per_axis) for d in range(2)]
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    log_joint = gmm_vi.exact_log_joint(points, parameters)
    log_p = logsumexp(log_joint, axis=-1)
    q = np.exp(log_joint - log_p[:, None])
    standardized = (points[:, None] - parameters.means) / parameters.stds  # [points, K, 2]
    scores = np.concatenate(
        [
            q[:, :-1] / parameters.weights[:-1] - q[:, -1:] / parameters.weights[-1],
            (q[..., None] * standardized / parameters.stds).reshape(len(points), -1),
            (q[..., None] * (standardized**2 - 1) / parameters.stds).reshape(len(points), -1),
        ],
        axis=1,
    )
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    return (scores * (np.exp(log_p) * cell)[:, None]).T @ scores


def standard_errors(parameters: Parameters, n: int) -> np.ndarray:
    """Of unbiased estimates from n points, at best: NaN where the information cannot be inverted."""
    try:
        variances = np.diag(np.linalg.inv(fisher_information(parameters))) / n
    except np.linalg.LinAlgError:
        variances = np.full(len(NAMES), np.nan)
    return np.sqrt(np.where(variances > 0, variances, np.nan))


def theta(parameters: Parameters, variance_floor: float) -> np.ndarray:
    """The 14 free parameters without bounds, as `gmm_vi.Mixture` has them: log pi_k - log pi_3, mu and log scales."""
    logits = np.log(parameters.weights[:-1] / parameters.weights[-1])
    log_scales = 0.5 * np.log(np.maximum(np.square(parameters.stds) - variance_floor, 1e-30))
    return np.concatenate([logits, parameters.means.ravel(), log_scales.ravel()])


def from_theta(theta: tf.Tensor, variance_floor: float) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Weight logits `[3]`, means `[3, 2]` and log standard deviations `[3, 2]`."""
    weight_logits = tf.concat([theta[:2], tf.zeros_like(theta[:1])], axis=0)
    logstds = 0.5 * tf.math.log(variance_floor + tf.exp(2 * theta[8:]))
    return weight_logits, tf.reshape(theta[2:8], [3, 2]), tf.reshape(logstds, [3, 2])


@tf.function(jit_compile=True)
def climb(points: tf.Tensor, starts: Parameters, variance_floor: float, steps: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Steps of EM from R mixtures (arrays with a leading axis of R) on standardised points `[N, 2]`.

    Returns:
        weights `[R, K]`, means and standard deviations `[R, K, 2]`; and mean log-likelihoods `[R]`, nats per point.
    """
    weights, means, stds = (tf.convert_to_tensor(each) for each in starts)
    for _ in tf.range(steps):
        q = tf.nn.softmax(
            gmm_vi.log_joints(points, tf.math.log(weights), means, tf.math.log(stds)), axis=0
        )  # [K, R, N]
        totals = tf.transpose(tf.reduce_sum(q, axis=-1)) + 1e-12  # [R, K]; a component may have lost all points
        weights = totals / tf.reduce_sum(totals, axis=-1, keepdims=True)
        means, squares = (tf.einsum("krn,nd->rkd", q, x) / totals[..., None] for x in (points, tf.square(points)))
        stds = tf.sqrt(tf.maximum(squares - tf.square(means), 0.0) + variance_floor)
    log_joints = gmm_vi.log_joints(points, tf.math.log(weights), means, tf.math.log(stds))
    return weights, means, stds, tf.reduce_mean(tf.reduce_logsumexp(log_joints, axis=0), axis=-1)


# Not compiled: XLA would do so anew for every theta.
@tf.function
def cost(points: tf.Tensor, theta: tf.Tensor, variance_floor: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Minus the mean log-likelihood of points `[N, 2]`, nats per point, and its gradient `[14]`."""
    with tf.GradientTape() as tape:
        tape.watch(theta)
        log_joints = gmm_vi.log_joints(points, *from_theta(theta, variance_floor))
        value = -tf.reduce_mean(tf.reduce_logsumexp(log_joints, axis=0))
    return value, tape.gradient(value, theta)


@tf.function
def hessian(points: tf.Tensor, theta: tf.Tensor, variance_floor: float) -> tf.Tensor:
    """Of the same `[14, 14]`."""
    with tf.GradientTape() as tape:
        tape.watch(theta)
        _, gradient = cost(points, theta, variance_floor)
    return tape.jacobian(gradient, theta)


def maximise(points: np.ndarray, start: Parameters, variance_floor: float) -> tuple[Parameters, float]:
    """The local maximum of the likelihood of standardised points `[N, 2]` uphill from a start, under the variances'
    floor; and the gradient's largest entry there."""
    x = tf.constant(points)
    found = minimize(
        lambda theta: [value.numpy() for value in cost(x, tf.constant(theta), variance_floor)],
        theta(start, variance_floor),
        jac=True,
        hess=lambda theta: hessian(x, tf.constant(theta), variance_floor).numpy(),
        method="trust-exact",
        options={"gtol": 1e-8},
    )
    logits, means, logstds = (p.numpy() for p in from_theta(tf.constant(found.x), variance_floor))
    return Parameters(np.exp(logits - logsumexp(logits)), means, np.exp(logstds)), float(np.abs(found.jac).max())


def fit_cell(cell: cells.Separated, settings: Settings) -> dict[str, Any]:
    """Draws the data sets of a cell, fits them, and compares the errors with the bound."""
    true = truth(cell.separation)
    zs.set_seed(settings.seed)
    points = cells.draw_points([true] * settings.data_sets, cell.n)
    standardized, centres, scales = cells.standardize(points)
    fitted = gmm_vi.Settings(
        k=3,
        restarts=settings.restarts,
        steps=settings.steps,
        batch_size=settings.batch_size if cell.n < settings.large_n else settings.large_n_batch_size,
        seed=settings.seed,
    )
    training, best, seconds = cells.fit_data_sets(standardized, fitted)
    fits: dict[str, list[Parameters]] = {"estimate": [], "mle": []}
    found: dict[str, list] = {"behind": [], "beyond": [], "gradient": [], "degenerate": []}
    started = time.perf_counter()
    for d, (centre, scale) in enumerate(zip(centres, scales, strict=True)):
        x = standardized[d]
        restarts = [gmm_vi.evaluate(training, (d, r), x) for r in range(settings.restarts)]
        estimate = restarts[best[d]]
        known = [*(each["parameters"] for each in restarts), true.standardized(centre, scale)]
        start, beyond = highest(x, known, settings, fitted.variance_floor)
        mle, gradient = maximise(x, start, fitted.variance_floor)
        found["behind"].append(gmm_vi.mean_log_likelihood(x, mle) - estimate["log_likelihood"])
        found["beyond"].append(beyond)
        found["gradient"].append(gradient)
        found["degenerate"].append(bool(gmm_vi.is_degenerate(mle.stds, fitted.variance_floor)))
        for name, fit in (("estimate", estimate["parameters"]), ("mle", mle)):
            fit = fit.in_data_units(centre, scale)
            fits[name].append(fit.reorder(gmm_vi.match(fit, true, scale)))
    return {
        "seconds": {**seconds, "mle": time.perf_counter() - started},
        **found,
        "bound": dict(zip(NAMES, standard_errors(true, cell.n).tolist(), strict=True)),
        **{name: summary(each, true, cell.n, settings.resamples) for name, each in fits.items()},
    }


def highest(
    points: np.ndarray, known: list[Parameters], settings: Settings, variance_floor: float
) -> tuple[Parameters, float]:
    """The most likely mixture without a degenerate component, if there is one, that steps of EM reach on standardised
    points `[N, 2]` from known mixtures and from seedings of k-means++; and how much more likely it is than the best of
    those from the known, nats per point."""
    seeding = gmm_vi.Settings(k=3, restarts=settings.seedings, seed=settings.seed)
    means, stds = gmm_vi.draw_start(points, seeding, np.random.default_rng(settings.seed))
    seeded = [
        Parameters(np.full(3, 1 / 3), mean, np.broadcast_to(std, [3, 2])) for mean, std in zip(means, stds, strict=True)
    ]
    starts = Parameters(*map(np.stack, zip(*known, *seeded, strict=True)))
    steps = tf.constant(settings.em_steps)
    *reached, scores = (each.numpy() for each in climb(tf.constant(points), starts, variance_floor, steps))
    scores = np.where(gmm_vi.is_degenerate(reached[2], variance_floor), scores.min(), scores)
    best = scores.argmax()
    return Parameters(*(each[best] for each in reached)), float(scores[best] - scores[: len(known)].max())


def statistics(errors: np.ndarray, inside: np.ndarray) -> dict[str, np.ndarray]:
    """Of errors, and of whether an interval held the truth, `[..., D, 14]`: over D data sets, `[..., 14]`."""
    return {
        "rms_error": np.sqrt(np.mean(np.square(errors), axis=-2)),
        "median_error": np.median(np.abs(errors), axis=-2),
        "bias": errors.mean(axis=-2),
        "coverage": inside.mean(axis=-2),
    }


def summary(fits: list[Parameters], true: Parameters, n: int, resamples: int) -> dict[str, dict[str, Any]]:
    """Errors of fits to many data sets of n points, and coverage of their intervals, for each parameter; and intervals
    of their medians over the parameters."""
    errors = np.stack([vector(fit) for fit in fits]) - vector(true)
    inside = np.abs(errors) < 1.96 * np.stack([standard_errors(fit, n) for fit in fits])  # NaN holds nothing
    drawn = np.random.default_rng(0).integers(len(fits), size=(resamples, len(fits)))
    of_bound = errors / standard_errors(true, n)
    once, again = (
        {name: np.median(np.abs(values), axis=-1) for name, values in statistics(*each).items()}
        for each in ((of_bound, inside), (of_bound[drawn], inside[drawn]))
    )
    intervals = {name: np.quantile(values, (0.025, 0.975)) for name, values in again.items()}
    intervals["bias"] += once["bias"] - again["bias"].mean()  # resampling adds to the noise, and so to |bias|
    intervals = {name: each.tolist() for name, each in intervals.items()}
    found = statistics(errors, inside) | {"bias_se": errors.std(axis=0, ddof=1) / np.sqrt(len(errors))}
    return {
        **{name: dict(zip(NAMES, values.tolist(), strict=True)) for name, values in found.items()},
        "interval": intervals,
    }


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmm_limit", __doc__, (), argv) as (settings, _, folder, resume):
        grid = [cells.Separated(separation, n) for separation in SEPARATIONS for n in SIZES]
        cells.run_cells(settings, folder, resume, grid, lambda cell: fit_cell(cell, settings))


if __name__ == "__main__":
    utils.run_main(main)
