"""Runs that are killed at random moments, again and again, end in the files of an unbroken one, bit for bit."""

import multiprocessing
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny
from tqdm import tqdm

import gmm_vi
import gmvae
import utils

KILLS = 10  # of each script, at least; more where chance leaves training alone


@dataclass(frozen=True)
class Small(gmvae.Settings):
    code_units: int = utils.setting(4)
    hidden_units: int = utils.setting(16)
    classifier_share: float = utils.setting(1.0)  # three epochs of step 1
    importance_samples: int = utils.setting(50)


def live(main, argv):
    """A child's life: a run of a few steps without a compiler and without pictures, which saves after each step."""
    gmm_vi.SAVE_EVERY = gmvae.SAVE_EVERY = 0.0
    gmvae.Settings, gmvae.TSNE = Small, tiny.NoMap
    utils.save_figure = tiny.save_no_figure
    tqdm.set_lock(threading.RLock())  # the default one outlives a killed process
    sys.stdout = sys.stderr = open(os.devnull, "w")
    with tiny.eager():
        main([str(argument) for argument in argv])


@pytest.fixture(scope="module")
def begin():
    """Begins a life, in a process that is forked from one which has TensorFlow loaded and not yet used it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tiny.PROJECT), str(Path(__file__).parent)]))
        for library in ("OPENBLAS", "OMP"):  # a process of one thread forks cleanly
            patch.setenv(f"{library}_NUM_THREADS", "1")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["test_killed"])

        def begin(*life):
            process = context.Process(target=live, args=life)
            process.start()
            return process

        yield begin


def phase(folder):
    """How far a killed run had come."""
    if not folder.is_unfinished:
        return "before it began"
    if folder.finished.exists() or (folder.unfinished / "finished").exists():
        return "finishing"
    return "trained in part" if any(folder.unfinished.glob("checkpoints/0*")) else "before the first checkpoint"


@pytest.mark.parametrize("script", ["gmm_vi", "gmvae"])
def test_killed_runs_end_as_an_unbroken_one(begin, tmp_path, script):
    if script == "gmm_vi":
        main, argv = gmm_vi.main, ["--n", 30, "--k", 2, "--restarts", 2, "--steps", 15]
    else:
        data = tiny.write_images(tmp_path / "data", 40, 10)
        main, argv = gmvae.main, ["--data", data, "--epochs", 3, "--batch-size", 20, "--restarts", 2]
    begin = partial(begin, main)
    unbroken = tmp_path / "unbroken"
    for _ in range(2):  # the first one loads what every later one has
        born = time.perf_counter()
        process = begin([*argv, "--out", unbroken])
        process.join()
        life = time.perf_counter() - born
        assert process.exitcode == 0

    rng = np.random.default_rng(0)
    moments = list(life * rng.permutation(np.arange(KILLS) + rng.uniform(size=KILLS)) / KILLS)
    phases, runs = Counter(), 0
    while True:
        if not moments and phases["trained in part"] < 3 and phases.total() < 4 * KILLS:
            moments = [life * rng.uniform()]
        folder = utils.RunFolder(str(tmp_path / f"run-{runs}"), script)
        process = begin([*(["--resume"] if folder.is_unfinished else argv), "--out", folder.path])
        process.join(moments[-1] if moments else 300)
        if process.exitcode is None:
            process.kill()
            process.join()
            assert moments, "a run hangs"
            phases[phase(folder)] += 1
            moments.pop()
        else:
            assert process.exitcode == 0
            tiny.check_equal_runs(folder.path, unbroken)
            tiny.check_finished(folder.path)
            runs += 1
            if not moments:
                break
            moments[-1] *= 0.9  # came too late
    print(f"{life:.2f} s a life; {runs} ends; killed {dict(phases)}")
    assert phases.total() >= KILLS
    assert phases["trained in part"] >= 3
    assert len(phases) >= 2
