"""Runs the studies of the report: `make study`, or `python report/study.py`.

A study is a list of runs. A run is a command that writes metrics.json to its `--out` folder and goes on with
`--resume`. Its folder is report/runs/NAME. Once it is finished, its metrics.json is copied to report/results/NAME.json,
which is committed, and while that lies there it is never run again. What Ctrl-C or a kill stops, the next call takes
up. A run that fails leaves the others alone; its last words are in report/runs/NAME.log. The figures of some runs, and
what they are drawn from, are copied to plots/, for README and report.

    make study                              # all of them
    make study ONLY="gmm gmvae/seed-0"      # those whose names begin so
    make study JOBS=2                       # two at a time, each on its share of the cores

The number of threads of a run changes the last digits of its numbers; `config` in its metrics records it. To have a
run done anew, delete its result and its folder.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent


class Run(NamedTuple):
    """A run of a study: its name, and a script of the project with its arguments but `--out` and `--resume`."""

    name: str
    command: tuple[str, ...]


def seeds(n: int, name: str, *command: str) -> list[Run]:
    """The same run with the seeds 0 to n - 1."""
    return [Run(f"{name}/seed-{seed}", (*command, "--seed", str(seed))) for seed in range(n)]


def variants(n: int, name: str, *argv: str, script: str = "gmvae_run", **changes: Any) -> list[Run]:
    """Runs of gmvae.py, or of a study with its command line, with other settings and the seeds 0 to n - 1, which share
    step 1 where it is the same."""
    change = [f"{name}={json.dumps(value)}" for name, value in changes.items()]
    return seeds(n, name, f"report/{script}.py", "--change", *change, "--", *argv)


LABELS = "--labels-per-class"  # a seed also draws which
RANDOM_START = {"pull_weight": 0.0, "classifier_share": 0.0}
RUNS = [
    *seeds(3, "gmm", "gmm_vi.py"),
    *variants(10, "gmvae-pure", "--pure", importance_samples=5000),
    *variants(10, "gmvae-labels/10", LABELS, "10", importance_samples=5000),
    *variants(10, "gmvae", importance_samples=5000),
    *variants(10, "gmvae-pure-no-augment", "--pure", "--no-augment"),
    *variants(3, "gmvae-random-start", **RANDOM_START),
    *(
        run
        for design in ("structured", "summed", "factorised")
        for run in seeds(3, f"gmvae-designs/{design}", "report/gmvae_designs.py", "--design", design)
    ),
    Run("gmvae-designs-cost", ("report/gmvae_designs_cost.py",)),
    *(run for m in ("1", "5", "50", "100") for run in variants(3, f"gmvae-labels/{m}", LABELS, m)),
    *variants(3, "gmvae-labels-no-augment/10", LABELS, "10", "--no-augment"),
    # Labels and the bound, without what needs no labels. Of the model only that of "10" is asked anything; the others'
    # training is short.
    *(
        run
        for m, argv, refinement_share in (
            *((m, ("--epochs", "6"), 3.0) for m in ("1", "5", "50", "100")),
            ("10", (), 0.3),
        )
        for run in variants(
            3,
            f"gmvae-labels-alone/{m}",
            *(LABELS, m, *argv),
            refinement_share=refinement_share,  # as many epochs of the classifier as elsewhere
            convolutional_share=0.0,
            agreement_weight=0.0,
            balance_weight=0.0,
            certainty_weight=0.0,
            cluster_weight=0.0,
            contrast_weight=0.0,
            generation_weight=0.0,
            graph_neighbours=0,
            pull_weight=1.0,
        )
    ),
    # One ingredient of --pure taken out at a time, at half the budget; generation and pull are below.
    *(
        run
        for name, changes in {
            "nothing": {},
            "balance": {"balance_weight": 0.0},
            "certainty": {"certainty_weight": 0.0},
            "agreement": {"agreement_weight": 0.0},
            "contrast": {"contrast_weight": 0.0},
            "graph": {"graph_neighbours": 0},
            "pixels": {"pixel_weight": 0.0},
            "restarts": {"restarts": 1},
            "refinement": {"refinement_share": 0.0},
            "robustness": {"robustness": 0.0},
            "elastic": {"elastic": 0.0},
            "votes": {"voting_copies": 0},
        }.items()
        for run in variants(3, f"gmvae-pure-without/{name}", "--pure", "--epochs", "30", **changes)
    ),
    # Regularisers' weights, at that half of the budget, beside "nothing" above.
    *(
        run
        for name, weights in {"generation": (0.0, 20.0, 200.0), "pull": (1.0, 50.0)}.items()
        for weight in weights
        for run in variants(
            3, f"gmvae-pareto/{name}-{weight:g}", "--pure", "--epochs", "30", **{f"{name}_weight": weight}
        )
    ),
    *variants(3, "gmvae-pareto/neither", "--pure", "--epochs", "30", generation_weight=0.0, pull_weight=1.0),
    *variants(3, "gmvae-one-component", k=1, importance_samples=5000),  # a plain variational autoencoder
    # The default's likelihood: one ingredient changed at a time, at half the budget, and all that helps in a long run.
    *(
        run
        for name, changes in {
            "nothing": {},
            "longer": {"epochs": 60},
            "one-component": {"k": 1},
            "random-start": RANDOM_START,
            "narrow": {"hidden_units": 250},
            "wide": {"hidden_units": 1000},
            "weighted": {"weighted_share": 0.2},
            "last-weights": {"average_steps": 1},
            "falling": {"falling": True},
            "falling-last-weights": {"falling": True, "average_steps": 1},
        }.items()
        for run in variants(3, f"gmvae-likelihood/{name}", script="gmvae_likelihood", **{"epochs": 30, **changes})
    ),
    *variants(
        1,
        "gmvae-long",
        *("--epochs", "200"),
        script="gmvae_likelihood",
        hidden_units=1000,
        weighted_share=0.1,
        importance_samples=5000,
    ),
    *(
        run
        for name, argv, changes in (
            ("default", (), {}),
            ("pure", ("--pure",), {}),
            ("random-start", (), RANDOM_START),
            # What the weighted bound is worth by a better proposal than its own.
            ("half", ("--epochs", "30"), {}),
            ("weighted", ("--epochs", "30"), {"weighted_share": 0.2}),
        )
        for run in variants(3, f"gmvae-inside/{name}", *argv, script="gmvae_inside", **changes)
    ),
    # Of models that gmvae-pure leaves in report/runs/.
    *(
        Run(f"gmvae-mixture/seed-{s}", ("report/gmvae_mixture.py", "--model", f"report/runs/gmvae-pure/seed-{s}"))
        for s in range(5, 10)
    ),
    *(
        Run(f"gmm-sweep/{axis}", ("report/gmm_sweep.py", "--axis", axis))
        for axis in ("n", "k", "separation", "weight_ratio", "std_ratio", "anisotropy", "fitted_k")
    ),
    Run("gmm-starts", ("report/gmm_starts.py",)),
    Run("gmm-defaults", ("report/gmm_defaults.py",)),
    Run("gmm-limit", ("report/gmm_limit.py",)),
    Run("gmm-estimators", ("report/gmm_estimators.py",)),
    Run("gmm-race", ("report/gmm_race.py",)),
    Run("gmm-choosing-k", ("report/gmm_choosing_k.py",)),
    Run("gmm-problems", ("report/gmm_problems.py",)),
    Run("gmm-problems-small-steps", ("report/gmm_problems.py", "--learning-rate", "0.0125")),
    Run("gmm-scale", ("report/gmm_scale.py",)),
    *(Run(f"gmm-real/{name}", ("report/gmm_real.py", "--data", name)) for name in ("iris", "wine")),
]
SHOWN = {  # folders in plots/ of the runs whose figures are copied there
    "gmm/seed-0": "gmm",
    "gmvae/seed-0": "gmvae",
    "gmvae-pure/seed-0": "gmvae-pure",
    "gmvae-labels/10/seed-0": "gmvae-labels",
    "gmvae-random-start/seed-0": "gmvae-random-start",
}


class Study:
    """Runs and their processes.

    Args:
        runs: the runs, in the order in which they start.
        folder: holds `runs/` and `results/`.
        jobs: runs at a time.
    """

    def __init__(self, runs: Sequence[Run], folder: Path, jobs: int) -> None:
        self.runs = runs
        self.folder = folder
        self.jobs = jobs
        self.stopping = threading.Event()
        self.starting = threading.Lock()
        self.processes: dict[Run, subprocess.Popen] = {}

    def result(self, run: Run) -> Path:
        """The file of a finished run's metrics."""
        return self.folder / "results" / f"{run.name}.json"

    def log(self, run: Run) -> Path:
        """The file of what a run prints."""
        return self.folder / "runs" / f"{run.name}.log"

    def execute(self, run: Run) -> tuple[bool, str]:
        """Does a run, or what is left of it, in a process of its own; returns whether it is finished, and how it went
        in words."""
        try:
            out = self.folder / "runs" / run.name
            out.mkdir(parents=True, exist_ok=True)
            with open(self.log(run), "a") as log:
                self.wait_for_another(log)
                was_finished = (out / "metrics.json").is_file() and not any(out.glob(".*finished"))
                code = self.work(run, out, log)
            if code:
                return False, f"failed: see {self.log(run)}"
            if run.name in SHOWN:
                for file in out.iterdir():
                    if file.is_file() and not file.name.startswith("weights"):
                        copy(file, self.folder.parent / "plots" / SHOWN[run.name] / file.name)
            result = self.result(run)
            copy(out / "metrics.json", result)
            if was_finished:
                return True, f"was finished and is not run again; to have it done anew, delete {out} and {result}"
            return True, "finished"
        except OSError as error:
            return False, f"failed: {error}"

    def wait_for_another(self, log: TextIO) -> None:
        """Waits while a run that a killed study left behind still has the log, and keeps others from it: the lock
        belongs to the open file, which the run inherits."""
        while not self.stopping.is_set():
            try:
                return fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.stopping.wait(0.5)

    def work(self, run: Run, out: Path, log: TextIO) -> int:
        """A run's process, from start to end; returns its exit code."""
        resume = ["--resume"] if any(out.rglob("settings.json")) else []
        threads = str(max(1, (os.cpu_count() or 1) // self.jobs))
        variables = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
        with self.starting:
            if self.stopping.is_set():
                return 130
            self.processes[run] = subprocess.Popen(
                [sys.executable, *run.command, "--out", os.path.relpath(out, ROOT), *resume],
                cwd=ROOT,
                env={**os.environ, **dict.fromkeys(variables, threads)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C reaches it through `stop` alone, once
            )
        code = self.processes[run].wait()
        del self.processes[run]
        return code

    def stop(self) -> None:
        """Lets no more runs start, and has those at work save their state and end."""
        with self.starting:
            self.stopping.set()
        for process in list(self.processes.values()):
            process.send_signal(signal.SIGINT)

    def run(self) -> list[Run]:
        """Does all runs that have no result yet; returns those that failed.

        Raises:
            KeyboardInterrupt: stopped by Ctrl-C or SIGTERM.
        """
        waiting = [run for run in self.runs if not self.result(run).is_file()]
        done = len(self.runs) - len(waiting)
        failed = []
        for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job starts with SIGINT ignored
            signal.signal(number, signal.default_int_handler)
        with (
            ThreadPoolExecutor(self.jobs) as pool,
            tqdm(total=len(self.runs), initial=done, unit="run", disable=None) as bar,
        ):
            try:
                futures = {pool.submit(self.execute, run): run for run in waiting}
                for future in as_completed(futures):
                    run, (is_finished, words) = futures[future], future.result()
                    if not is_finished:
                        failed.append(run)
                    bar.write(f"{run.name} {words}")
                    bar.update()
            except KeyboardInterrupt:
                self.stop()
                pool.shutdown(cancel_futures=True)
                raise
        return failed


def copy(file: Path, to: Path) -> None:
    """Copies a file, whole or not at all."""
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(f".{to.name}.part")
    shutil.copy(file, part)
    os.replace(part, to)


def check_shown(plots: Path, results: Path) -> None:
    """The figures of both scripts, which any run of theirs replaces, must be those of the runs that report and README
    tell of, as far as there are both.

    Raises:
        ValueError: they are of another run.
    """
    for name, folder in SHOWN.items():
        paths = plots / folder / "metrics.json", results / f"{name}.json"
        if all(path.is_file() for path in paths):
            shown, told = (json.loads(path.read_text())["config"] | {"out": ""} for path in paths)
            if shown != told:
                raise ValueError(f"plots/{folder}: wanted the run of report/results/{name}.json, found another")


def chosen(runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """The runs of the given names, or of studies of these names; all of them where none is given.

    Raises:
        ValueError: there is no such run.
    """
    for name in names:
        if not any(f"{run.name}/".startswith(f"{name}/") for run in runs):
            known = ", ".join(dict.fromkeys(run.name.split("/")[0] for run in runs))
            raise ValueError(f"{name}: no run's name begins so; the studies are {known}")
    return [run for run in runs if not names or any(f"{run.name}/".startswith(f"{name}/") for name in names)]


def main(argv: list[str] | None = None, runs: Sequence[Run] = RUNS, folder: Path = ROOT / "report") -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="runs, or studies (default: all)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
    given = parser.parse_args(argv)
    try:
        if given.jobs < 1:
            raise ValueError(f"--jobs {given.jobs}: wanted a number at least 1")
        study = Study(chosen(runs, given.names), folder, given.jobs)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        failed = study.run()
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{len(study.runs) - len(failed)} of {len(study.runs)} runs are finished")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
