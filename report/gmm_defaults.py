"""Step size, number of steps and batch size behind the defaults of gmm_vi.py, at few points and at many, and where
components overlap.

On data sets of gmm_sweep.py, 20 of N = 100 and 5 of N = 100,000 of its axis `n` and the 20 of a separation of 1 with
N = 500, NVIL from the same starts with every step size, and with steps and batches of the default and of a quarter or
four times as much work.

    python report/gmm_defaults.py --out FOLDER

metrics.json has for each cell (N, separation, learning rate, steps, batch size) the seconds of training, and for each
data set the log-likelihoods, nats per standardised point, of

    estimate    NVIL's restart of the best bound; null where it has a degenerate component
    em          the best EM run, from 20 starts, 3 at the larger N; null likewise
"""

import functools
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cells
import gmm_sweep
import numpy as np

import gmm_vi
import utils
from utils import setting

import zhusuan as zs  # isort: skip


@dataclass(frozen=True)
class Cell:
    """What is tried: points of a data set and separation of its components, and Adam's first step size, steps, and
    points of a batch."""

    n: int
    separation: float
    learning_rate: float
    steps: int
    batch_size: int


LEARNING_RATES = (0.0125, 0.025, 0.05, 0.1, 0.2)
WORK = {  # steps and batch size at each N and separation; below N = 512 a batch is all points
    (100, 4.0): ((1250, 512), (5000, 512), (20_000, 512)),
    (500, 1.0): ((1250, 512), (5000, 512), (20_000, 512)),
    (100_000, 4.0): ((5000, 512), (5000, 2048), (20_000, 512)),
}
CELLS = [Cell(*kind, rate, *work) for kind in WORK for rate, work in itertools.product(LEARNING_RATES, WORK[kind])]


@dataclass(frozen=True)
class Settings(gmm_sweep.Settings):
    """Everything that decides the result."""

    axis: str = setting("n")
    out: str = setting("report/runs/gmm-defaults", "folder for metrics.json")
    restarts: int = setting(5)


@functools.cache
def data_sets(n: int, separation: float, settings: Settings) -> tuple[np.ndarray, list[float | None]]:
    """Standardised points of the sweep's data sets `[D, N, 2]`, and EM's log-likelihood on each."""
    _, points, _ = gmm_sweep.draw_data_sets(gmm_sweep.Cell(n=n, separation=separation), settings)
    standardized, _, _ = cells.standardize(points)
    large = n >= settings.large_n
    given = gmm_vi.Settings(em_starts=settings.large_n_em_starts if large else gmm_vi.Settings.em_starts)
    ems = [(gmm_vi.fit_em(x, given), x) for x in standardized]
    return standardized, [cells.sound(em.score(x), gmm_vi.em_parameters(em).stds) for em, x in ems]


def fit_cell(cell: Cell, settings: Settings) -> dict[str, Any]:
    """Fits the data sets with what is tried."""
    standardized, ems = data_sets(cell.n, cell.separation, settings)
    zs.set_seed(settings.seed + 1)
    fitted = gmm_vi.Settings(
        restarts=settings.restarts,
        steps=cell.steps,
        batch_size=cell.batch_size,
        learning_rate=cell.learning_rate,
        seed=settings.seed,
    )
    training, best, seconds = cells.fit_data_sets(standardized, fitted)
    results = []
    for d, (x, em) in enumerate(zip(standardized, ems, strict=True)):
        scores = gmm_vi.evaluate(training, (d, int(best[d])), x)
        results.append({"estimate": cells.sound(scores["log_likelihood"], scores["parameters"].stds), "em": em})
    return {"seconds": seconds["nvil"], "data_sets": results}


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmm_defaults", __doc__, (), argv) as (settings, _, folder, resume):
        cells.run_cells(settings, folder, resume, CELLS, lambda cell: fit_cell(cell, settings))


if __name__ == "__main__":
    utils.run_main(main)
