"""What the studies of part 2 share: fits of many data sets as one compiled program, and runs made of cells."""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from scipy.special import xlogy
from tqdm import tqdm

import gmm_vi
import utils
from gmm_vi import Parameters


@dataclass(frozen=True)
class Separated:
    """A separation of the means, in root-mean-square standard deviations, and the points of a data set."""

    separation: float
    n: int


def draw_points(truths: Sequence[Parameters], n: int) -> np.ndarray:
    """A data set of N points from each of D mixtures, `[D, N, 2]`."""
    return np.stack([gmm_vi.draw_data(truth, n)[0] for truth in truths])


def entropy(q: np.ndarray) -> float:
    """The sum over the points of the entropy of q(z|x) `[N, K]`, nats."""
    return float(-np.sum(xlogy(q, q)))


def standardize(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of D data sets `[D, N, 2]` in standardised units, with the centre and scale of each, `[D, 2]`."""
    centres, scales = points.mean(axis=1), points.std(axis=1)
    return (points - centres[:, None]) / scales[:, None], centres, scales


def sound(score: float, stds: np.ndarray) -> float | None:
    """A log-likelihood, or None where the fit, of standard deviations `[K, 2]`, has a degenerate component."""
    return None if gmm_vi.is_degenerate(stds, gmm_vi.Settings.variance_floor) else score


def fit_data_sets(
    standardized: np.ndarray, settings: gmm_vi.Settings, kind: type[gmm_vi.Training] = gmm_vi.Training
) -> tuple[gmm_vi.Training, np.ndarray, dict[str, float]]:
    """Fits D data sets `[D, N, 2]`, with all their restarts at once, by NVIL or another kind of training.

    Returns:
        the training; the best restart of each data set `[D]`; and the seconds of compilation and of training.
    """
    started = time.perf_counter()
    training = kind(standardized.astype(np.float32), settings)
    training.train(0)
    compiled = time.perf_counter()
    training.train(settings.steps)
    bounds = training.measure(training.points)[1].numpy()
    seconds = {"compile": compiled - started, "nvil": time.perf_counter() - compiled}
    return training, gmm_vi.best_restart(training, bounds)[0], seconds


def run_cells(
    settings: Any, folder: utils.RunFolder, resume: bool, cells: Sequence[Any], function: Callable[[Any], dict]
) -> None:
    """Does every cell and writes metrics.json; a resumed run keeps the cells that it has."""
    if resume and not folder.is_unfinished:
        return
    if not resume:
        folder.start(settings)
    results = []
    for i, cell in enumerate(tqdm(cells, unit="cell", disable=None)):
        path = folder.unfinished / f"cell-{i}.json"
        if not path.exists():
            utils.write_json(path, {"cell": dataclasses.asdict(cell), **function(cell)})
        results.append(json.loads(path.read_text()))
    with folder.finish() as staging:
        utils.write_json(staging / "metrics.json", {"config": utils.config(settings), "cells": results})
