"""What N, K and the truth do to variational inference: one sweep of many fits, in cells along an axis.

A cell has 20 data sets, 5 where N is 10,000 or more, each drawn from a random mixture of the cell's kind. `zs.nvil`
fits all of them and their restarts as one compiled program. EM is scikit-learn's, from 20 starts, 3 where N is 10,000
or more. All cells but those of the axis `n` have N = 500; each axis changes one thing. Cells that differ in N or in the
fitted K alone have the same true mixtures.

    python report/gmm_sweep.py --axis separation --out FOLDER

metrics.json has for each cell its settings, the seconds of NVIL and of EM, and a list with an entry for each data set:

    log_likelihood   truth, estimate, em: nats per point, in the data's units; restarts: of each of NVIL's
    degenerate       estimate, em, restarts: whether a component shrank onto a point or a line
    em_converged     whether EM's best run did within its 1,000 iterations
    kl               KL(q(z|x) || p(z|x)), nats per point
    errors           estimate, em: root-mean-square errors after matching, of means and stds in the true component's
                     own standard deviations; null where the fitted K is not the true one
    ari              adjusted Rand index of q's most probable components, and of the true posterior's
"""

import dataclasses
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cells
import numpy as np
from scipy.special import logsumexp
from sklearn.metrics import adjusted_rand_score

import gmm_vi
import utils
from gmm_vi import Parameters
from utils import setting

import zhusuan as zs  # isort: skip


@dataclass(frozen=True)
class Cell:
    """A kind of mixture, and what is fitted to its points.

    Attributes:
        n: points of a data set.
        k: true components.
        fitted_k: components of the fit.
        separation: least distance of two true means, in root-mean-square standard deviations.
        weight_ratio: the largest weight over the smallest; they fall geometrically.
        std_ratio: the widest component's sigma over the narrowest's; they fall geometrically.
        anisotropy: a component's larger standard deviation over its smaller one; which axis has it is random.
    """

    n: int = 500
    k: int = 3
    fitted_k: int = 3
    separation: float = 4.0
    weight_ratio: float = 1.0
    std_ratio: float = 1.0
    anisotropy: float = 1.0


AXES = {
    "n": [Cell(n=n) for n in (30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)],
    "k": [Cell(k=k, fitted_k=k) for k in range(2, 11)],
    "separation": [Cell(separation=s) for s in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)],
    "weight_ratio": [Cell(weight_ratio=r) for r in (1.0, 2.0, 4.0, 8.0, 16.0)],
    "std_ratio": [Cell(std_ratio=r) for r in (1.0, 2.0, 4.0, 8.0)],
    "anisotropy": [Cell(anisotropy=r) for r in (1.0, 2.0, 4.0, 8.0)],
    "fitted_k": [Cell(fitted_k=k) for k in (1, 2, 3, 4, 5, 6)],
}


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result of a sweep."""

    axis: str = setting("n", f"what is swept: {', '.join(AXES)}")
    seed: int = setting(0, "seed of everything random", 0, 2**31 - 1)
    out: str = setting("report/runs/gmm-sweep", "folder for metrics.json")
    data_sets: int = setting(20)
    large_n: int = setting(10_000)  # from here on
    large_n_data_sets: int = setting(5)
    large_n_em_starts: int = setting(3)
    restarts: int = setting(10)
    steps: int = setting(5000)
    batch_size: int = setting(128)
    large_n_batch_size: int = setting(512)


def draw_truth(cell: Cell, rng: np.random.Generator) -> Parameters:
    """A random mixture of the cell's kind, of root-mean-square standard deviation 1."""
    weights = rng.permutation(np.geomspace(1, cell.weight_ratio, cell.k))
    widths = rng.permutation(np.geomspace(1, cell.std_ratio, cell.k))
    shapes = np.array([np.sqrt(cell.anisotropy), 1 / np.sqrt(cell.anisotropy)])
    stds = widths[:, None] * np.stack([rng.permutation(shapes) for _ in range(cell.k)])
    stds /= np.sqrt(np.mean(np.square(stds)))
    return Parameters(weights / weights.sum(), gmm_vi.draw_means(cell.k, cell.separation, rng), stds)


def draw_data_sets(cell: Cell, settings: Settings) -> tuple[list[Parameters], np.ndarray, np.ndarray]:
    """The D true mixtures of a cell, points of each `[D, N, 2]` and their components `[D, N]`."""
    n_data_sets = settings.large_n_data_sets if cell.n >= settings.large_n else settings.data_sets
    kind = dataclasses.replace(cell, n=0, fitted_k=0)
    rng = np.random.default_rng([settings.seed, *map(int, 8 * np.array(dataclasses.astuple(kind)))])
    truths = [draw_truth(cell, rng) for _ in range(settings.data_sets)][:n_data_sets]
    zs.set_seed(settings.seed + cell.n)
    points, classes = map(np.stack, zip(*(gmm_vi.draw_data(truth, cell.n) for truth in truths), strict=True))
    return truths, points, classes


def fit_cell(cell: Cell, settings: Settings) -> dict[str, Any]:
    """Draws the data sets of a cell, fits and scores them."""
    large = cell.n >= settings.large_n
    truths, points, classes = draw_data_sets(cell, settings)
    standardized, centres, scales = cells.standardize(points)
    fitted = gmm_vi.Settings(
        k=cell.fitted_k,
        restarts=settings.restarts,
        steps=settings.steps,
        batch_size=settings.large_n_batch_size if large else settings.batch_size,
        em_starts=settings.large_n_em_starts if large else gmm_vi.Settings.em_starts,
        seed=settings.seed,
    )

    training, best, seconds = cells.fit_data_sets(standardized, fitted)
    log_likelihoods = training.measure(training.points)[0].numpy() - np.log(scales).sum(axis=-1, keepdims=True)
    degenerate = gmm_vi.is_degenerate(np.exp(training.mixture()[2].numpy()), fitted.variance_floor)  # both [D, R]
    started = time.perf_counter()
    ems = [gmm_vi.fit_em(each, fitted) for each in standardized]
    seconds["em"] = time.perf_counter() - started

    results = []
    for d, truth in enumerate(truths):
        scores = gmm_vi.evaluate(training, (d, int(best[d])), standardized[d])
        result = score(truth, scores, gmm_vi.em_parameters(ems[d]), points[d], centres[d], scales[d], classes[d])
        result["log_likelihood"]["restarts"] = log_likelihoods[d].tolist()
        result["degenerate"]["restarts"] = degenerate[d].tolist()
        results.append({**result, "em_converged": bool(ems[d].converged_)})
    return {"seconds": seconds, "data_sets": results}


def own_errors(fit: Parameters, truth: Parameters) -> dict[str, float]:
    """Root-mean-square errors of the weights, and of means and standard deviations in each true component's own."""
    differences = {
        "weights": fit.weights - truth.weights,
        "means": (fit.means - truth.means) / truth.stds,
        "stds": (fit.stds - truth.stds) / truth.stds,
    }
    return {name: float(np.sqrt(np.mean(np.square(difference)))) for name, difference in differences.items()}


def score(
    truth: Parameters,
    estimate: dict[str, Any],
    em: Parameters,
    points: np.ndarray,
    centre: np.ndarray,
    scale: np.ndarray,
    classes: np.ndarray,
) -> dict[str, Any]:
    """What metrics.json says of a data set, see above, but of single restarts and of EM's convergence.

    Args:
        truth: the true mixture.
        estimate: NVIL's scores in standardised units, as `gmm_vi.evaluate` gives them.
        em: EM's fit in standardised units.
        points: the points `[N, 2]`.
        centre: their means `[2]`.
        scale: their standard deviations `[2]`.
        classes: the true component of each point `[N]`.
    """
    fits = {"estimate": estimate["parameters"], "em": em}
    degenerate = {
        name: bool(gmm_vi.is_degenerate(fit.stds, gmm_vi.Settings.variance_floor)) for name, fit in fits.items()
    }
    fits = {name: fit.in_data_units(centre, scale) for name, fit in fits.items()}
    errors = None
    if len(truth.weights) == len(em.weights):
        errors = {name: own_errors(fit.reorder(gmm_vi.match(fit, truth, scale)), truth) for name, fit in fits.items()}
    log_joints = {name: gmm_vi.exact_log_joint(points, fit) for name, fit in {"truth": truth, **fits}.items()}
    q = estimate["responsibilities"]
    return {
        "log_likelihood": {name: float(np.mean(logsumexp(each, axis=-1))) for name, each in log_joints.items()},
        "kl": estimate["kl"],
        "errors": errors,
        "ari": {
            "estimate": float(adjusted_rand_score(classes, q.argmax(axis=-1))),
            "truth": float(adjusted_rand_score(classes, log_joints["truth"].argmax(axis=-1))),
        },
        "degenerate": degenerate,
    }


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmm_sweep", __doc__, (), argv) as (settings, _, folder, resume):
        if settings.axis not in AXES:
            raise utils.InputError(f"--axis {settings.axis}: wanted one of {', '.join(AXES)}")
        cells.run_cells(settings, folder, resume, AXES[settings.axis], lambda cell: fit_cell(cell, settings))


if __name__ == "__main__":
    utils.run_main(main)
