"""Estimators of the bound's gradient in a race: the bound against time, from the same starts on the same points.

Twenty data sets of K = 3, each fitted from one start; Adam and its step sizes are those of gmm_vi.py. What is measured
is the exact bound of the discrete posterior, whatever the estimator climbs. Time is the number of steps times that of
one, all data sets at once and with all that learns: processor time, the mean over a block of 200 steps and the least of
ten blocks, as others may be at work. Baselines here are learned on the way: the moving mean follows the signal with a
decay of 0.8, as in zs.VarianceNormalization.

    python report/gmm_race.py --out FOLDER

metrics.json has for each cell (estimator, samples) `steps`, `seconds`, and `bound`, nats per standardised point, a row
for each of the steps and a column for each data set. The highest bound that any reached is the goal of its data set.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cells
import gmm_estimators
import numpy as np

import gmm_vi
import utils
from utils import setting

import tensorflow as tf  # isort: skip
import zhusuan as zs  # isort: skip


@dataclass(frozen=True)
class Cell:
    """An estimator, and its samples of z a point."""

    estimator: str
    n_samples: int


TEMPERATURES = (0.1, 0.5)
CELLS = [
    *(Cell(name, 1) for name in ("exact", "score function", "moving mean", "network", "normalised")),
    *(Cell(f"{relaxation}, {t}", 1) for relaxation in ("concrete", "gumbel-softmax") for t in TEMPERATURES),
    Cell("leave-one-out", 2),  # gmm_vi.py's
    *(Cell(name, 5) for name in ("score function", "moving mean", "network", "normalised", "leave-one-out")),
    *(Cell(name, 5) for name in ("vimco", "rws", "concrete, 0.5", "gumbel-softmax, 0.5")),
]


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result."""

    seed: int = setting(0, "seed of everything random", 0, 2**31 - 1)
    out: str = setting("report/runs/gmm-race", "folder for metrics.json")
    n: int = setting(100)
    k: int = setting(3)
    separation: float = setting(3.0)
    data_sets: int = setting(20)
    steps: int = setting(5000)
    measurements: int = setting(60)
    timed_steps: int = setting(200)  # of each of ten blocks


class Racers(gmm_estimators.Replicates):
    """One fit of each data set, whose baselines learn too."""

    def __init__(self, state: list[np.ndarray], points: np.ndarray, n_samples: int) -> None:
        super().__init__(state, points, n_samples)
        self.normalization = zs.VarianceNormalization()
        self.signal_mean = tf.Variable(tf.zeros([len(points), 1]), trainable=False)

    def moving_mean(self) -> tf.Tensor:
        z = self.posterior(self.x, self.n_samples)["z"]
        cost, bound = zs.nvil(self.log_joint, {"x": self.x}, {"z": z}, baseline=self.signal_mean, axis=0)
        self.signal_mean.assign(0.8 * self.signal_mean + 0.2 * tf.reduce_mean(bound, axis=-1, keepdims=True))
        return cost

    def network(self) -> tf.Tensor:
        return self.estimate(zs.nvil, baseline=self.baseline(self.x))

    def normalised(self) -> tf.Tensor:
        return self.estimate(zs.nvil, baseline=self.baseline(self.x), variance_normalization=self.normalization)

    def bounds(self) -> tf.Tensor:
        """Exact, nats per point, of each data set."""
        return -tf.reduce_mean(self.exact(), axis=-1)


def starts(settings: Settings) -> tuple[np.ndarray, list[np.ndarray]]:
    """Standardised points of all data sets `[R, N, 2]`, and the variables of a start on each."""
    fitted = gmm_vi.Settings(k=settings.k, n=settings.n, separation=settings.separation, restarts=1, seed=settings.seed)
    zs.set_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    truths = [gmm_vi.draw_truth(fitted, rng) for _ in range(settings.data_sets)]
    points = cells.standardize(cells.draw_points(truths, settings.n))[0]
    training = gmm_estimators.NetworkTraining(points.astype(np.float32), fitted)
    return points, [variable.numpy()[:, 0] for variable in (training.mixture.unit, *training.learned)]


def race(cell: Cell, settings: Settings) -> dict[str, Any]:
    """One estimator's training."""
    points, state = starts(settings)
    racers = Racers(state, points, cell.n_samples)
    cost = racers.costs(TEMPERATURES)[cell.estimator]
    learned = racers.trainable_variables
    optimizer = utils.cosine_adam(learned, gmm_vi.Settings.learning_rate, settings.steps)

    @tf.function(jit_compile=True, input_signature=[tf.TensorSpec([], tf.int32)])
    def train(steps: tf.Tensor) -> None:
        step = 0
        while step < steps:
            step += 1
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(tf.reduce_mean(cost(), axis=-1))
            optimizer.apply(tape.gradient(total, learned, unconnected_gradients="zero"), learned)

    zs.set_seed(settings.seed)
    train(0)
    steps = gmm_vi.measured_steps(settings.steps, settings.measurements)
    bounds = [racers.bounds().numpy().tolist()]
    for before, after in zip(steps[:-1], steps[1:], strict=True):
        train(after - before)
        bounds.append(racers.bounds().numpy().tolist())
    times = []
    for _ in range(10):
        started = time.process_time()
        train(settings.timed_steps)
        times.append((time.process_time() - started) / settings.timed_steps)
    return {"steps": steps, "seconds": [step * min(times) for step in steps], "bound": bounds}


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmm_race", __doc__, (), argv) as (settings, _, folder, resume):
        cells.run_cells(settings, folder, resume, CELLS, lambda cell: race(cell, settings))


if __name__ == "__main__":
    utils.run_main(main)
