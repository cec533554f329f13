"""This project's autoencoder, through the functions that `gmvae.py` trains and scores with."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

import gmvae
from benchmarks import network

import tensorflow as tf  # isort: skip
import zhusuan as zs  # isort: skip


def start(model: gmvae.MixtureVAE) -> gmvae.MixtureVAE:
    """The model from the weights of `network.start`."""
    for variable, weight in zip(model.learned, network.start(), strict=True):
        variable.assign(weight)
    return model


def training(batch_size: int, **settings: Any) -> Callable[[], float]:
    """An epoch of training on the bound alone; gives the mean bound.

    Args:
        batch_size: images in a gradient step.
        settings: those of `gmvae.Settings` that decide speed.
    """
    zs.set_seed(0)
    given = gmvae.Settings(batch_size=batch_size, learning_rate=network.LEARNING_RATE, **settings)
    trained = gmvae.Training(network.images(), np.zeros(network.TRAINED, np.uint8), given)
    start(trained.model)
    r = np.full([trained.n, network.COMPONENTS], 1 / network.COMPONENTS, np.float32)
    epochs = itertools.count()

    def epoch() -> float:
        images, targets = trained.epoch_data(next(epochs), r)
        bound, _ = trained.epoch(images, targets, tf.constant(0.0), tf.constant(len(images)))
        return float(bound)

    return epoch


def scoring(n_samples: int, **settings: Any) -> Callable[[], float]:
    """Scores of images from n_samples samples of q(h | x) each; gives the mean log-likelihood, nats per image."""
    zs.set_seed(0)
    model = start(gmvae.MixtureVAE(gmvae.Settings(**settings)))
    images = (255 * network.binary_images()).astype(np.uint8)  # the bytes 0 and 255 are binarised to 0 and 1
    return lambda: gmvae.score(model, images, None, n_samples, "images").log_likelihood.mean().item()
