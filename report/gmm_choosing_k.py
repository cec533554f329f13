"""Choosing the number of components: how often BIC and ICL find the true K = 3, against separation and N.

Data sets as in gmm_sweep.py; `zs.nvil` fits each with every K from 1 to 6. L is the log-likelihood of all N points,
exact, at the best restart by the bound, and q the posterior's probabilities:

    BIC(K) = -2 L + (5K - 1) log N          ICL(K) = BIC(K) + 2 sum_n H[q(z_n | x_n)]

(Schwarz 1978; Biernacki, Celeux & Govaert 2000.) The K of the smallest is chosen.

    python report/gmm_choosing_k.py --out FOLDER

metrics.json has for each cell (separation, N) the seconds, and `bic` and `icl`: a row for each data set, a column for
each K.
"""

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

SEPARATIONS = (1.0, 2.0, 3.0, 4.0, 6.0)
SIZES = (100, 300, 1000)
KS = range(1, 7)


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result."""

    seed: int = setting(0, "seed of everything random", 0, 2**31 - 1)
    out: str = setting("report/runs/gmm-choosing-k", "folder for metrics.json")
    data_sets: int = setting(20)
    restarts: int = setting(10)
    steps: int = setting(3000)
    batch_size: int = setting(128)


def criteria(log_likelihood: float, entropy: float, k: int, n: int) -> tuple[float, float]:
    """BIC and ICL of K components: log-likelihood and entropy are sums over the N points, nats."""
    bic = -2 * log_likelihood + (5 * k - 1) * np.log(n)
    return float(bic), float(bic + 2 * entropy)


def fit_cell(cell: cells.Separated, settings: Settings) -> dict[str, Any]:
    """Draws the data sets of a cell and fits each with every K."""
    rng = np.random.default_rng([settings.seed, int(8 * cell.separation), cell.n])
    zs.set_seed(int(rng.integers(2**31)))
    kind = gmm_sweep.Cell(n=cell.n, separation=cell.separation)
    truths = [gmm_sweep.draw_truth(kind, rng) for _ in range(settings.data_sets)]
    standardized, _, _ = cells.standardize(cells.draw_points(truths, cell.n))
    bic, icl = (np.empty([settings.data_sets, len(KS)]) for _ in range(2))
    seconds = {"compile": 0.0, "nvil": 0.0}
    for i, k in enumerate(KS):
        fitted = gmm_vi.Settings(
            k=k, restarts=settings.restarts, steps=settings.steps, batch_size=settings.batch_size, seed=settings.seed
        )
        training, best, times = cells.fit_data_sets(standardized, fitted)
        for d, points in enumerate(standardized):
            scores = gmm_vi.evaluate(training, (d, int(best[d])), points)
            entropy = cells.entropy(scores["responsibilities"])
            bic[d, i], icl[d, i] = criteria(cell.n * scores["log_likelihood"], entropy, k, cell.n)
        seconds = {name: seconds[name] + value for name, value in times.items()}
    return {"seconds": seconds, "bic": bic.tolist(), "icl": icl.tolist()}


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmm_choosing_k", __doc__, (), argv) as (settings, _, folder, resume):
        grid = [cells.Separated(separation, n) for separation in SEPARATIONS for n in SIZES]
        cells.run_cells(settings, folder, resume, grid, lambda cell: fit_cell(cell, settings))


if __name__ == "__main__":
    utils.run_main(main)
