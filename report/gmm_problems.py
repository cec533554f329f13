"""Fifty random problems by the algorithm and the defaults of gmm_vi.py, or with another first step size, each against
the best of 20 EM runs.

A problem is a mixture of 2 to 5 components, their means at least 2.5 to 8 root-mean-square standard deviations apart,
and 100 to 1000 points from it in units and at an offset of their own. All of it is drawn from the problem's number.

    python report/gmm_problems.py --out FOLDER

metrics.json has for each problem its numbers and:

    difference      log-likelihood of the estimate less EM's, nats per point
    em_gain         what EM from the estimate adds to its log-likelihood, nats per point: whether it is a maximum
    found           share of restarts at EM's log-likelihood less 1e-3 nats per point or above it
    kl              KL(q(z|x) || p(z|x)), nats per point
    degenerate      estimate, em: whether a component shrank onto a point or a line
    seconds         of training
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cells
import numpy as np

import gmm_vi
import utils
from utils import setting

import zhusuan as zs  # isort: skip

PROBLEMS = 50


@dataclass(frozen=True)
class Cell:
    """A problem: its number decides all of it."""

    number: int
    k: int
    n: int
    separation: float
    scale: tuple[float, float]
    offset: tuple[float, float]


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result."""

    learning_rate: float = setting(gmm_vi.Settings.learning_rate, "first step size", 0.0)
    out: str = setting("report/runs/gmm-problems", "folder for metrics.json")


def draw_problem(number: int) -> Cell:
    """The problem of a number."""
    rng = np.random.default_rng([2017, number])
    scale = 10 ** rng.uniform(-6, 6, 2)
    offset = scale * rng.normal(scale=100, size=2)
    return Cell(
        number=number,
        k=int(rng.integers(2, 6)),
        n=int(rng.integers(100, 1001)),
        separation=float(rng.uniform(2.5, 8)),
        scale=tuple(scale.tolist()),
        offset=tuple(offset.tolist()),
    )


def solve(problem: Cell, learning_rate: float) -> dict[str, Any]:
    """Fits a problem's points and compares."""
    settings = gmm_vi.Settings(
        k=problem.k, n=problem.n, separation=problem.separation, seed=problem.number, learning_rate=learning_rate
    )
    zs.set_seed(settings.seed)
    truth = gmm_vi.draw_truth(settings, np.random.default_rng([settings.seed, 0]))
    points = gmm_vi.draw_data(truth, settings.n)[0] * problem.scale + problem.offset
    standardized = cells.standardize(points[None])[0]
    training, best, seconds = cells.fit_data_sets(standardized, settings)
    scores = gmm_vi.evaluate(training, (0, int(best[0])), standardized[0])
    em = gmm_vi.fit_em(standardized[0], settings)
    em_score = float(em.score(standardized[0]))
    from_estimate = gmm_vi.fit_em(standardized[0], settings, scores["parameters"])
    log_likelihoods = training.measure(training.points)[0].numpy()
    fits = {"estimate": scores["parameters"], "em": gmm_vi.em_parameters(em)}
    return {
        "difference": scores["log_likelihood"] - em_score,
        "em_gain": float(from_estimate.score(standardized[0])) - scores["log_likelihood"],
        "found": float(np.mean(log_likelihoods[0] > em_score - 1e-3)),
        "kl": scores["kl"],
        "degenerate": {name: bool(gmm_vi.is_degenerate(f.stds, settings.variance_floor)) for name, f in fits.items()},
        "seconds": seconds["nvil"],
    }


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmm_problems", __doc__, (), argv) as (settings, _, folder, resume):
        problems = [draw_problem(i) for i in range(PROBLEMS)]
        cells.run_cells(settings, folder, resume, problems, partial(solve, learning_rate=settings.learning_rate))


if __name__ == "__main__":
    utils.run_main(main)
