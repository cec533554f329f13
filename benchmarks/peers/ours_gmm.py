"""This project's mixture by variational inference, trained as `gmm_vi.py` does, for what it costs."""

import resource
from collections.abc import Callable

import numpy as np

import gmm_vi

import tensorflow as tf  # isort: skip


def training(n: int, k: int, restarts: int, steps: int) -> Callable[[], float]:
    """A round of gradient steps on n points; gives the peak memory so far above the idle process, in MiB."""
    idle = peak_memory()
    points = np.random.default_rng(0).standard_normal((n, 2), np.float32)
    trained = gmm_vi.Training(points, gmm_vi.Settings(n=n, k=k, restarts=restarts))

    def step() -> float:
        trained.train(tf.constant(steps))
        trained.mixture.weight_logits.numpy()  # waits for the steps
        return peak_memory() - idle

    return step


def peak_memory() -> float:
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
