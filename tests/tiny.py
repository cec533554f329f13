"""What the tests of both scripts share: tiny data in MNIST's format, refused commands, interrupted runs."""

import contextlib
import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import gmvae
import utils

PROJECT = Path(utils.__file__).parent
MNIST_FILES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
CHATTER = ("tensorflow", "oneDNN", "cuda", "XLA", "WARNING", "I0000", "E0000", "Traceback")


# Data


def idx(array):
    """The bytes of an IDX file."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def structured_images(n, seed):
    """Grey images `[n, 28, 28]` of a bar whose height and width say the class, and the classes `[n]`."""
    rng = np.random.default_rng(seed)
    classes = np.arange(n) % 10
    images = np.zeros((n, 28, 28))
    for image, label in zip(images, classes, strict=True):
        top, left = 2 + 5 * (label // 2) + rng.integers(0, 2), 3 + rng.integers(0, 2)
        image[top : top + 4, left : left + (8 if label % 2 else 20)] = 255
    return np.clip(images + rng.integers(-40, 40, images.shape) * (images > 0), 0, 255).astype(np.uint8), classes


def write_images(folder, n_train=400, n_test=60, compress=False, shuffle_labels=False):
    """Writes a data set in MNIST's format and returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (part, n) in enumerate((("train", n_train), ("t10k", n_test))):
        images, labels = structured_images(n, seed)
        if shuffle_labels:
            labels = np.random.default_rng(seed).permutation(labels)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            write_file(folder, f"{part}-{kind}-ubyte", idx(array), compress)
    return folder


def write_file(folder, name, content, compress=False):
    Path(folder, name + ".gz" * compress).write_bytes(gzip.compress(content) if compress else content)


# Commands


def tree(folder):
    """Every file below a folder with its content and time of change, and every folder."""
    paths = sorted(Path(folder).rglob("*"))
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) if p.is_file() else None for p in paths}


def refused(main, argv, capsys):
    """Runs a command that must be refused; returns the one line that says why."""
    with pytest.raises(SystemExit) as stopped:
        utils.run_main(lambda: main([str(argument) for argument in argv]))
    captured = capsys.readouterr()
    assert stopped.value.code == 2
    assert captured.out == ""
    assert "Traceback" not in captured.err
    last = captured.err.splitlines()[-1]
    assert last.startswith("error: ")
    return last


def command(script, *argv, cwd, **options):
    """Runs a script in a process of its own."""
    words = [sys.executable, str(PROJECT / script), *map(str, argv)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=300, **options)


# Runs


def strip_times(metrics):
    """Metrics without times and the name of the folder."""
    kept = {k: v for k, v in metrics.items() if k not in ("seconds", "compile_seconds", "images_per_second")}
    return {**kept, "config": {k: v for k, v in metrics["config"].items() if k not in ("out", "data")}}


def read_metrics(folder):
    return json.loads(Path(folder, "metrics.json").read_text())


class NoMap:
    """Stands in for t-SNE, which takes longer than all the rest of a tiny run."""

    def __init__(self, **kwargs):
        pass

    def fit_transform(self, codes):
        return np.random.default_rng(0).uniform(size=(len(codes), 2))


def check_equal_runs(got, expected):
    """Two finished runs have the same numbers, but for their times."""
    assert strip_times(read_metrics(got)) == strip_times(read_metrics(expected))
    names = {path.name for path in expected.iterdir()}
    assert {path.name for path in got.iterdir()} == names
    for name in names:
        if name.endswith(".npz"):
            with np.load(got / name) as ours, np.load(expected / name) as theirs:
                assert set(ours) == set(theirs)
                for key in ours:
                    np.testing.assert_array_equal(ours[key], theirs[key], err_msg=f"{name}: {key}")
        elif name == "weights.index":
            ours, theirs = (tf.train.load_checkpoint(str(folder / "weights")) for folder in (got, expected))
            for key, shape in theirs.get_variable_to_shape_map().items():
                if shape:  # a scalar string has the names of layers, which count the models of the process
                    np.testing.assert_array_equal(ours.get_tensor(key), theirs.get_tensor(key), err_msg=key)


def check_unfinished(folder):
    """Nothing but one hidden folder lies in the folder of an interrupted run."""
    (inside,) = folder.iterdir()
    assert inside.is_dir()
    assert inside.name.startswith(".")


def check_finished(folder):
    """Nothing hidden, half written or unfinished lies in the folder of a finished run."""
    assert not [p for p in folder.iterdir() if p.is_dir() or p.name.startswith(".")]


@contextlib.contextmanager
def eager():
    """Runs tf.functions step by step: far quicker than compiling them, where a run has only a few steps."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@contextlib.contextmanager
def without_xla():
    """Functions that are compiled inside are graphs without XLA: a fifth of the time, where few calls follow."""
    function = tf.function
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf, "function", lambda *given, jit_compile=None, **options: function(*given, **options))
        yield


@contextlib.contextmanager
def stopped_before_the_last_epoch(training):
    """A run inside, of this class of part 3's training, saves after every epoch and is stopped before the last."""
    epoch_data = training.epoch_data

    def stop(self, epoch, q_z):
        if epoch == self.n_epochs - 1:
            raise KeyboardInterrupt
        return epoch_data(self, epoch, q_z)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gmvae, "SAVE_EVERY", 0.0)
        patch.setattr(training, "epoch_data", stop)
        with pytest.raises(KeyboardInterrupt):
            yield


def save_no_figure(figure, folder, name):
    """Stands in for `utils.save_figure` where the pictures are not the subject."""


def interrupt(*args, **kwargs):
    """Ctrl-C."""
    raise KeyboardInterrupt


def is_picture(folder, name):
    """Whether a figure lies in a folder as PDF and as PNG."""
    begins = {"pdf": b"%PDF-", "png": b"\x89PNG"}
    return all(Path(folder, f"{name}.{kind}").read_bytes().startswith(start) for kind, start in begins.items())
