"""How gmm_vi.py bears many points: time of a step, memory and likelihood from N = 1000 to 10 million.

Each N is a run of gmm_vi.py at its defaults but N, in a process of its own, whose peak memory the operating system
tells. An idle process has imported the script and fitted nothing.

    python report/gmm_scale.py --out FOLDER

metrics.json has for each N:

    microseconds        of a gradient step of all restarts
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
    """The number of points."""

    n: int


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result."""

    seed: int = setting(0, "seed of everything random", 0, 2**31 - 1)
    out: str = setting("report/runs/gmm-scale", "folder for metrics.json")
    steps: int = setting(gmm_vi.Settings.steps)


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


def measure(cell: Cell, settings: Settings) -> dict[str, Any]:
    """One run of gmm_vi.py, and an idle process."""
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        options = {"--n": cell.n, "--steps": settings.steps, "--seed": settings.seed, "--out": out}
        peak = peak_memory("gmm_vi.py", *(str(each) for pair in options.items() for each in pair))
        seconds = time.perf_counter() - started
        metrics = json.loads(Path(out, "metrics.json").read_text())
    return {
        "microseconds": 1e6 * metrics["seconds"] / settings.steps,
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
        cells.run_cells(settings, folder, resume, [Cell(n) for n in SIZES], lambda cell: measure(cell, settings))


if __name__ == "__main__":
    utils.run_main(main)
