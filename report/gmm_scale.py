"""How gmm_vi.py bears many points: time of a step, memory and likelihood from N = 1000 to 10 million.

For each N three data sets, each a run of gmm_vi.py at its defaults but N and the seed, in a process of its own, whose
peak memory the operating system tells. An idle process has imported the script and fitted nothing. A step is timed
apart, on as many points of a standard normal: processor time, as others may be at work, the mean over a block of 50
steps and the least of 20 blocks; on one thread that is what the step takes.

    python report/gmm_scale.py --out FOLDER

metrics.json has for each N and seed:

    microseconds        of a gradient step of all restarts, of one processor
    seconds             of the whole process, with EM on its subsample, scores and figures
    peak_mib, idle_mib  peak memory of the process, and of an idle one
    data_mib            16 bytes a point
    em_points           that EM saw
    log_likelihood      truth, estimate, em: nats per point, over all points
    kl                  KL(q(z|x) || p(z|x)), nats per point
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cells
import numpy as np

import gmm_vi
import utils
from utils import setting

ROOT = Path(__file__).resolve().parent.parent
STARTER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
SIZES = (1000, 10_000, 100_000, 1_000_000, 10_000_000)


@dataclass(frozen=True)
class Cell:
    """The number of points, and the seed of the data set and the run."""

    n: int
    seed: int


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result."""

    seed: int = setting(0, "seed of the first data set", 0, 2**31 - 1)
    out: str = setting("report/runs/gmm-scale", "folder for metrics.json")
    data_sets: int = setting(3)
    steps: int = setting(gmm_vi.Settings.steps)
    block: int = setting(50)  # steps
    blocks: int = setting(20)


def peak_memory(*arguments: str) -> float:
    """The peak memory of a Python process with these arguments, MiB.

    Raises:
        RuntimeError: it failed.
    """
    # A process begins with the peak of the one that starts it, so that a small one stands between.
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER, sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: failed with status {process.returncode}")
    return int(printed) / 1024


def step_seconds(n: int, settings: Settings) -> float:
    """Processor time of a gradient step on N points, seconds."""
    points = np.random.default_rng(settings.seed).normal(size=(n, 2)).astype(np.float32)
    training = gmm_vi.Training(points, gmm_vi.Settings(n=n, seed=settings.seed))
    training.train(0)
    times = []
    for _ in range(settings.blocks):
        started = time.process_time()
        training.train(settings.block)
        times.append(time.process_time() - started)
    return min(times) / settings.block


def measure(cell: Cell, settings: Settings) -> dict[str, Any]:
    """One run of gmm_vi.py, an idle process, and the time of a step."""
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        options = {"--n": cell.n, "--steps": settings.steps, "--seed": cell.seed, "--out": out}
        peak = peak_memory("gmm_vi.py", *(str(each) for pair in options.items() for each in pair))
        seconds = time.perf_counter() - started
        metrics = json.loads(Path(out, "metrics.json").read_text())
    return {
        "microseconds": 1e6 * step_seconds(cell.n, settings),
        "seconds": seconds,
        "peak_mib": peak,
        "idle_mib": peak_memory("-c", "import gmm_vi"),
        "data_mib": 16 * cell.n / 2**20,
        "em_points": metrics["em_points"],
        "log_likelihood": metrics["log_likelihood"],
        "kl": metrics["kl"],
    }


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmm_scale", __doc__, (), argv) as (settings, _, folder, resume):
        grid = [Cell(n, settings.seed + i) for i in range(settings.data_sets) for n in SIZES]
        cells.run_cells(settings, folder, resume, grid, lambda cell: measure(cell, settings))


if __name__ == "__main__":
    utils.run_main(main)
