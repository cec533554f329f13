"""This project's mixture by variational inference, trained as `gmm_vi.py` does, for what it costs."""

import resource
from collections.abc import Callable
from typing import Any

import numpy as np

import gmm_vi

import tensorflow as tf  # isort: skip


def training(steps: int, **settings: Any) -> Callable[[], float]:
    """A round of gradient steps; gives the peak memory so far above the idle process, in MiB.

    Args:
        steps: gradient steps of a round.
        settings: those of `gmm_vi.Settings`, n among them.
    """
    idle = peak_memory()
    points = np.random.default_rng(0).standard_normal((settings["n"], 2), np.float32)
    trained = gmm_vi.Training(points, gmm_vi.Settings(**settings))

    def step() -> float:
        trained.train(tf.constant(steps))
        trained.mixture.weight_logits.numpy()  # waits for the steps
        return peak_memory() - idle

    return step


def peak_memory() -> float:
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
