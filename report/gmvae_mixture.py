"""What a model of gmvae.py makes of an image by itself, where samples that are told q(z | x) cannot favour its answer.

A factorised posterior's q(h | x) is told q(z | x). The scores of gmvae.py estimate p(z | x) from samples of it, and so
may miss what other components have of the image. Here that is estimated once more, on 2,000 test images at equal
distances, from the mixture of q(h | x) and of what it is when told each component in place of q(z | x), as many samples
of each.

    python report/gmvae_mixture.py --model report/runs/gmvae-pure/seed-5 --out FOLDER

The model is that of a finished run with its weights, which are in the run's folder and not in report/results/.
metrics.json has the accuracies by q(z | x) and by both estimates, and how many images change their cluster between the
two. It takes about 15 minutes on one core.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from gmvae_inside import at_equal_distances, weigh_samples
from scipy.special import logsumexp
from tqdm import tqdm

import gmvae
import utils
from utils import InputError, setting

import tensorflow as tf  # isort: skip
import zhusuan as zs  # isort: skip

IMAGES, SAMPLES = 2000, 1000  # test images; samples of h from each part of the mixture


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result."""

    model: str = setting("report/runs/gmvae-pure/seed-0", "folder of a finished run of gmvae.py with --pure or labels")
    seed: int = setting(0, "seed of the samples", 0, 2**31 - 1)
    out: str = setting("report/runs/gmvae-mixture", "folder for metrics.json")


@tf.function(jit_compile=True)
def weigh_mixture(model: gmvae.MixtureVAE, x: tf.Tensor, q_z: tf.Tensor, n_samples: int) -> tf.Tensor:
    """log of the sum of p(z, x, h) / q(h), `[B, K]`, over n_samples samples h of q(h | x), and of each q(h | x) that is
    told a component in place of q(z | x), all as samples of their mixture (Veach & Guibas 1995, the balance
    heuristic)."""
    n, k = q_z.shape
    told = tf.concat([q_z, tf.repeat(tf.eye(k), n, axis=0)], axis=0)
    mean, logstd = (tf.reshape(each, [k + 1, 1, n, -1]) for each in model.encode(tf.tile(x, [k + 1, 1]), told))
    with zs.BayesianNet() as posterior:
        zs.Normal("h", mean[:, 0], logstd=logstd[:, 0], n_samples=n_samples)
    h = tf.reshape(posterior.outputs("h"), [n_samples * (k + 1), n, -1])
    with zs.BayesianNet({"h": h}) as every:
        zs.Normal("h", mean, logstd=logstd, group_ndims=1)
    log_q = tf.reduce_logsumexp(every.local_log_prob("h"), axis=0) - np.log(k + 1).astype(np.float32)
    weighed = weigh_samples(model, x, h, log_q)
    return tf.transpose(tf.reduce_logsumexp(weighed.log_w + weighed.log_p_z, axis=1))


def mixture_log_joint(model: gmvae.MixtureVAE, images: np.ndarray, q_z: np.ndarray, n_samples: int) -> np.ndarray:
    """log p(z, x), `[N, K]`, of uint8 images `[N, 784]` with q(z | x) `[N, K]`, from n_samples samples of each part of
    the mixture."""
    part = min(n_samples, 5)
    assert n_samples % part == 0, "some would be left out"
    log_joint = []
    batches = list(zip(utils.slices(gmvae.fixed_binary(images), 200), utils.slices(q_z, 200), strict=True))
    for x, told in tqdm(batches, unit="batch", desc="weighing", disable=None):
        parts = [weigh_mixture(model, tf.constant(x), tf.constant(told), part) for _ in range(n_samples // part)]
        log_joint.append(logsumexp(parts, axis=0))
    return np.concatenate(log_joint).astype(float) - np.log(n_samples * (q_z.shape[1] + 1))


def compare(
    model: gmvae.MixtureVAE, q_z: np.ndarray, images: np.ndarray, labels: np.ndarray, n_samples: int
) -> dict[str, Any]:
    """Accuracies of the clusters of uint8 images `[N, 784]` with labels `[N]` by q(z | x) `[N, K]`, and by the model
    itself as gmvae.py scores it and by as many samples of the mixture; and the shares of images whose clusters differ
    between the latter two, and between two halves of the mixture's samples, which is noise."""
    k = q_z.shape[1]
    usual = gmvae.score(model, images, q_z, n_samples * (k + 1), "images")
    halves = [mixture_log_joint(model, images, q_z, n_samples // 2) for _ in range(2)]
    by_q, by_model, by_mixture, *by_halves = (
        scores.argmax(axis=-1) for scores in (q_z, usual.p_z, np.logaddexp(*halves), *halves)
    )
    return {
        "images": len(images),
        "samples": n_samples * (k + 1),
        "accuracy": utils.cluster_accuracy(by_q, labels, k, 10),
        "accuracy_model": utils.cluster_accuracy(by_model, labels, k, 10),
        "accuracy_mixture": utils.cluster_accuracy(by_mixture, labels, k, 10),
        "changed": float(np.mean(by_model != by_mixture)),
        "changed_by_noise": float(np.mean(by_halves[0] != by_halves[1])),
    }


def load(folder: str) -> gmvae.TrainedModel:
    """The model of a finished run.

    Raises:
        InputError: there is none, or its q(h | x) is told nothing.
    """
    try:
        trained = gmvae.load(folder)
    except FileNotFoundError as error:
        raise InputError(f"--model {folder}: {error}") from None
    if not trained.settings.factorised:
        raise InputError(f"--model {folder}: wanted a run with --pure or --labels-per-class")
    return trained


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmvae_mixture", __doc__, (), argv) as (settings, _, folder, resume):
        if resume and not folder.is_unfinished:
            return
        trained = load(settings.model)
        images = utils.read_images(trained.settings.data)
        zs.set_seed(settings.seed)
        if not resume:
            folder.start(settings)
        x, labels = (at_equal_distances(each, IMAGES) for each in (images.test, images.test_labels))
        found = compare(trained.model, trained.classifier(x), x, labels, SAMPLES)
        with folder.finish() as staging:
            metrics = {"config": utils.config(settings), "model": dataclasses.asdict(trained.settings), **found}
            utils.write_json(staging / "metrics.json", metrics)
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    utils.run_main(main)
