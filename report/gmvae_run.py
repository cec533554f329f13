"""A run of gmvae.py with other values of settings that are no options, and with a step 1 that runs share.

    python report/gmvae_run.py --change importance_samples=5000 pull_weight=1 -- --pure --seed 3 --out FOLDER

What comes after `--`, and what is unknown before it, goes to gmvae.py, which records every setting.

Step 1 of a convolutional classifier, a third of a run's time, knows nothing of labels or of the model. It is left in
report/runs/gmvae-step-1 for other runs of the same seed, with the same gmvae.py, whose settings say the same of it.
Their numbers are those that they would have had, and their seconds count it in.
"""

import argparse
import dataclasses
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import gmvae
import utils

import tensorflow as tf  # isort: skip

SHARED = Path(__file__).resolve().parent / "runs" / "gmvae-step-1"
AFTER_STEP_1 = (  # settings that have no part in it
    *("batch_size", "labels_per_class", "pure", "out", "learning_rate", "average_steps", "refinement_share"),
    *("pull_share", "pull_weight", "graph_neighbours", "refinement_batch_size", "cluster_weight", "pixel_weight"),
    *("robustness", "voting_copies"),
    *("generation_weight", "generation_share", "generated_images", "label_weight", "labelled_batch_size", "elastic"),
    *("importance_samples", "train_importance_samples", "judged_samples"),
)


class Training(gmvae.Training):
    """Training that begins after step 1 where another run left it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, settings: gmvae.Settings) -> None:
        super().__init__(images, labels, settings)
        self.step_1 = tf.train.Checkpoint(
            classifier=self.classifier,
            starts=self.starts,
            done=self.done,
            seconds=self.seconds,
            compile_seconds=self.compile_seconds,
        )
        if settings.factorised and self.shared.is_dir():
            self.step_1.read(str(self.shared / "state")).assert_consumed()

    @property
    def shared(self) -> Path:
        """The folder of this step 1."""
        config: dict[str, Any] = utils.config(self.settings) | {"epochs": self.classifier_epochs}
        said = {name: value for name, value in config.items() if name not in AFTER_STEP_1}
        said["code"] = Path(gmvae.__file__).read_text()
        return SHARED / hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    def begin_refinement(self) -> None:
        """Leaves step 1 to other runs."""
        if not self.shared.is_dir():
            SHARED.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(dir=SHARED, prefix="."))
            utils.write_checkpoint(self.step_1, part / "state")
            try:
                part.rename(self.shared)
            except OSError:  # another run was first
                shutil.rmtree(part)
        super().begin_refinement()


def changed(changes: list[str], base: type) -> type:
    """Settings with other defaults than those of the base, each written name=value.

    Raises:
        InputError: there is no such setting, or it is of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(base)}
    new = []
    for change in changes:
        name, _, text = change.partition("=")
        field = fields.get(name)
        wanted = f"--change {change}: wanted the name of a setting and a value of its type"
        try:
            value = json.loads(text)
        except ValueError:
            raise utils.InputError(wanted) from None
        if field and type(field.default) is float and type(value) is int:
            value = float(value)
        if not field or type(value) is not type(field.default):
            raise utils.InputError(wanted)
        if name.endswith("importance_samples") and value > 10 and value % 10:
            raise utils.InputError(f"--change {change}: wanted at most 10, or a multiple of 10")
        new.append((name, field.type, dataclasses.field(default=value, metadata=field.metadata)))
    return dataclasses.make_dataclass("Settings", new, bases=(base,), frozen=True)


def parse(argv: list[str] | None, description: str, base: type) -> tuple[type, list[str]]:
    """Takes `--change` out of a command line; returns the changed settings and the words that are left.

    Raises:
        InputError: a change is none.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--change", nargs="*", default=[], metavar="NAME=VALUE", help="settings and their values")
    found, rest = parser.parse_known_args(argv)
    return changed(found.change, base), [word for word in rest if word != "--"]


def main(
    argv: list[str] | None = None,
    description: str = __doc__,
    settings: type[gmvae.Settings] | None = None,
    training: type[gmvae.Training] = Training,
) -> None:
    """The command line, with gmvae.py's settings and this study's training, or those of another."""
    gmvae.Training = training
    gmvae.Settings, rest = parse(argv, description, settings or gmvae.Settings)
    gmvae.main(rest)


if __name__ == "__main__":
    utils.run_main(main)
