"""Why NVIL finds better optima than EM where components overlap: the start, or the noise of the gradient?

On the data sets of gmm_sweep.py's axis `separation`, from the same ten starts on each, six fits:

    nvil              gmm_sweep.py's: two samples of z a point, batches
    nvil, all points  two samples of z a point, all points at every step
    exact             the gradient by the sum over z, batches
    exact, all points the gradient by the sum over z, all points: no noise
    em, starts        steps of EM
    em, ends          steps of EM from where `nvil` ended

and beside them `em`, the best of scikit-learn's 20 runs from clusters of k-means.

    python report/gmm_starts.py --out FOLDER

metrics.json has for each separation, for each data set and each fit:

    answer      log-likelihood of the restart that it would choose, nats per standardised point
    restarts    of each restart; both null where a component is degenerate, that is, shrank onto a point or a line
"""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cells
import gmm_limit
import gmm_sweep
import numpy as np

import gmm_vi
import utils
from gmm_vi import Parameters
from utils import setting

import tensorflow as tf  # isort: skip

SEPARATIONS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Settings(gmm_sweep.Settings):
    """Everything that decides the result: the sweep's settings, and the steps of EM."""

    axis: str = setting("separation")
    out: str = setting("report/runs/gmm-starts", "folder for metrics.json")
    em_steps: int = setting(5000)  # flat likelihoods take many


class ExactTraining(gmm_vi.Training):
    """gmm_vi.py's training by the exact gradient of the bound."""

    def cost(self, x: tf.Tensor) -> tf.Tensor:
        log_p = tf.stack(tf.unstack(gmm_vi.log_joints(x, *self.mixture())), axis=-1)  # [D, R, B, K]
        log_q = tf.nn.log_softmax(self.posterior.logits(x))
        return -tf.reduce_sum(tf.reduce_mean(tf.reduce_sum(tf.exp(log_q) * (log_p - log_q), axis=-1), axis=-1))


FITS = {
    "nvil": (gmm_vi.Training, False),
    "nvil, all points": (gmm_vi.Training, True),
    "exact": (ExactTraining, False),
    "exact, all points": (ExactTraining, True),
}


def scored(log_likelihoods: np.ndarray, stds: np.ndarray, best: int | None = None) -> dict[str, Any]:
    """What metrics.json says of a fit.

    Args:
        log_likelihoods: of its restarts `[R]`, nats per point.
        stds: `[R, K, 2]`.
        best: the restart that it would choose, by default the most likely without a degenerate component.
    """
    restarts = [cells.sound(float(score), each) for score, each in zip(log_likelihoods, stds, strict=True)]
    if best is None:
        answer = max((score for score in restarts if score is not None), default=None)
    else:
        answer = restarts[best]
    return {"answer": answer, "restarts": restarts}


def fit_cell(cell: gmm_sweep.Cell, settings: Settings) -> dict[str, Any]:
    """Draws the data sets of a cell and does every fit."""
    _, points, _ = gmm_sweep.draw_data_sets(cell, settings)
    standardized, _, _ = cells.standardize(points)
    results: list[dict[str, Any]] = [{} for _ in points]
    given = gmm_vi.Settings(
        k=cell.fitted_k,
        restarts=settings.restarts,
        steps=settings.steps,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    ends = {}
    for name, (kind, all_points) in FITS.items():
        fitted = dataclasses.replace(given, batch_size=cell.n) if all_points else given
        training, best, _ = cells.fit_data_sets(standardized, fitted, kind)
        log_likelihoods = training.measure(training.points)[0].numpy()
        logits, means, logstds = (each.numpy().astype(float) for each in training.mixture())
        ends[name] = Parameters(tf.nn.softmax(logits).numpy(), means, np.exp(logstds))  # [D, R, K, ...]
        for d, result in enumerate(results):
            result[name] = scored(log_likelihoods[d], ends[name].stds[d], int(best[d]))
    rng = np.random.default_rng([settings.seed, 1])  # of gmm_vi.Training
    for d, (x, result) in enumerate(zip(standardized, results, strict=True)):
        means, stds = gmm_vi.draw_start(x.astype(np.float32), given, rng)
        weights = np.full(means.shape[:-1], 1 / cell.fitted_k)
        starts = Parameters(weights, means.astype(float), np.broadcast_to(stds, means.shape).astype(float))
        ends_of_nvil = Parameters(*(each[d] for each in ends["nvil"]))
        for name, mixtures in (("em, starts", starts), ("em, ends", ends_of_nvil)):
            steps = tf.constant(settings.em_steps)
            *_, stds, scores = gmm_limit.climb(tf.constant(x), mixtures, given.variance_floor, steps)
            result[name] = scored(scores.numpy(), stds.numpy())
        em = gmm_vi.fit_em(x, given)
        result["em"] = scored(np.array([em.score(x)]), gmm_vi.em_parameters(em).stds[None])
    return {"data_sets": results}


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmm_starts", __doc__, (), argv) as (settings, _, folder, resume):
        grid = [gmm_sweep.Cell(separation=separation) for separation in SEPARATIONS]
        cells.run_cells(settings, folder, resume, grid, lambda cell: fit_cell(cell, settings))


if __name__ == "__main__":
    utils.run_main(main)
