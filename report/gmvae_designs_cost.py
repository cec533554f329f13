"""What a gradient step of each design of the posterior costs: all in one process, rounds interleaved.

    python report/gmvae_designs_cost.py --out FOLDER

metrics.json has the milliseconds of a step of step 3 for each design of gmvae_designs.py, one number for each round of
20 steps. It takes about a minute.
"""

import json
import time
from dataclasses import dataclass, replace

import gmvae_designs

import gmvae
import utils
from utils import setting

import tensorflow as tf  # isort: skip

ROUNDS, STEPS = 15, 20


@dataclass(frozen=True)
class Settings(gmvae_designs.Settings):
    """Everything that decides the result."""

    design: str = setting("")  # all of them
    out: str = setting("report/runs/gmvae-designs-cost", "folder for metrics.json")


def measure(settings: Settings, images: utils.Images) -> dict[str, list[float]]:
    """The milliseconds of a step, for each design one number a round."""
    trainings = {
        design: gmvae_designs.Training(images.train, images.train_labels, replace(settings, design=design))
        for design in gmvae_designs.DESIGNS
    }
    first = trainings["summed"]
    x, r = first.epoch_data(0, first.classifier(images.train))
    x, r = x[:STEPS], r[:STEPS]
    for training in trainings.values():
        training.epoch(x, r, tf.constant(0.0), tf.constant(0))  # compiles
    milliseconds: dict[str, list[float]] = {design: [] for design in trainings}
    for _ in range(ROUNDS):
        for design, training in trainings.items():
            started = time.perf_counter()
            training.epoch(x, r, tf.constant(0.0), tf.constant(len(x)))[0].numpy()
            milliseconds[design].append(1000 * (time.perf_counter() - started) / len(x))
    return milliseconds


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmvae_designs_cost", __doc__, (), argv) as (settings, _, folder, resume):
        if resume and not folder.is_unfinished:
            return
        settings, images = gmvae.begin(settings, utils.read_images(settings.data), folder, resume)
        milliseconds = measure(settings, images)
        with folder.finish() as staging:
            metrics = {"config": utils.config(settings), "milliseconds_per_step": milliseconds}
            utils.write_json(staging / "metrics.json", metrics)
        print(json.dumps(milliseconds, indent=2))


if __name__ == "__main__":
    utils.run_main(main)
