"""Measures the speed of this project against the same model in other systems, what part 2 costs, and how soon both
parts begin to train.

Each system runs in a process of its own, since the thread pools of several in one process disturb each other. It is
started once and warmed up by one round, which compiles; then rounds of all systems alternate, in a new order each time,
while the others wait. Speeds are therefore compared within a round, as ratios. Every system trains the same network
from the same weights on the same binary images, which each prepares by the same NumPy code in the round that is timed;
a bound that differs from the others' stops the benchmark.

    python benchmarks/bench.py                      # everything, about 15 minutes on 2 idle cores
    python benchmarks/bench.py --only training      # one part; the others' results stay

Results go to benchmarks/results/, figures to benchmarks/.
"""

import argparse
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from benchmarks import network  # noqa: E402

CORES = len(os.sched_getaffinity(0))
ENVIRONMENT = {
    "OMP_NUM_THREADS": str(CORES),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",  # so that compilation takes as long as the first time
}
PAUSE = 0.3  # seconds before each round, in which threads of the last system stop spinning
BATCH_SIZES = (100, 200, 500)
SAMPLES = 1000  # of h for each scored image in a round
PRECISIONS = ("float32", "bfloat16")
SQUARES = (2048, 4096)
TOLERANCE = 2.0  # nats per image between a system and the median of all
GMM_STEPS = 500  # gradient steps of a round of part 2
OURS = "this project"
RESULTS = HERE / "results"


class Case(NamedTuple):
    """What one process does: `function` of `benchmarks.peers.module` makes its round, a callable that gives a value."""

    module: str
    function: str
    arguments: dict[str, Any]


# What is compared: a system's module, and its arguments for each precision. Ours are settings of gmvae.Settings.
SYSTEMS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    OURS: ("ours", {"float32": {}}),
    "PyTorch": ("torch_vae", {p: {"precision": p, "compiled": False} for p in PRECISIONS}),
    "PyTorch, torch.compile": ("torch_vae", {p: {"precision": p, "compiled": True} for p in PRECISIONS}),
    "JAX": ("jax_vae", {p: {"precision": p} for p in PRECISIONS}),
    "Keras": ("keras_vae", {p: {"precision": p} for p in PRECISIONS}),
}

# What each script does at its defaults until its training can begin.
STARTS = {
    "gmvae.py": """
import gmvae
import utils
settings = gmvae.Settings()
images = utils.read_images(settings.data)
gmvae.Training(images.train, images.train_labels, settings).compile(0)
""",
    "gmm_vi.py": """
import gmm_vi
settings = gmm_vi.Settings()
points, *_ = gmm_vi.read_data(settings, {})
points = ((points - points.mean(axis=0)) / points.std(axis=0)).astype("float32")
training = gmm_vi.Training(points, settings)
training.train(0)
training.measure(points)
""",
}


def fail(message: str) -> NoReturn:
    """Ends the benchmark."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


# ---------------------------------------------------------------------------------------------------------------------
# Measuring
# ---------------------------------------------------------------------------------------------------------------------


def work(connection: Connection, case: Case, log: str) -> None:
    """The life of a process: builds, then runs rounds, the first by itself, the others when told to, until told to end.
    Sends the seconds and the value of each. Standard error goes to a log."""
    os.dup2(os.open(log, os.O_WRONLY), 2)
    module = importlib.import_module(f"benchmarks.peers.{case.module}")
    task = getattr(module, case.function)(**case.arguments)
    go_on = True
    while go_on:
        began = time.perf_counter()
        value = task()
        connection.send((time.perf_counter() - began, value))
        go_on = connection.recv()


class Worker:
    """A process that runs a case, from start to close."""

    def __init__(self, case: Case) -> None:
        self.case = case
        context = multiprocessing.get_context("spawn")
        self.log = tempfile.NamedTemporaryFile()  # start-up messages, of interest only where it fails
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, case, self.log.name), daemon=True)
        self.process.start()
        theirs.close()
        self.first = self.result()

    def result(self) -> tuple[float, float]:
        """Seconds and value of the round that runs."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            sys.stderr.write(Path(self.log.name).read_text(errors="replace"))
            self.close()
            fail(
                f"{self.case} ended with exit code {self.process.exitcode}; mend what its messages above tell, or free "
                "memory where there are none"
            )

    def round(self) -> tuple[float, float]:
        """Runs a round."""
        with suppress(BrokenPipeError):  # it has stopped by itself, which the result tells
            self.connection.send(True)
        return self.result()

    def close(self) -> None:
        """Ends the process, after the round that it may be in."""
        with suppress(BrokenPipeError):  # it has stopped by itself
            self.connection.send(False)
        self.process.join()
        self.log.close()


def measure(cases: dict[str, Case], rounds: int) -> dict[str, dict[str, Any]]:
    """Runs rounds of all cases in turn.

    Returns:
        for each case the `seconds` of its rounds, those of its `start` (compilation and a first round), and the
        `value` of the last round.
    """
    order = np.random.default_rng(0)
    with ExitStack() as stack:
        workers = {name: stack.enter_context(closing(Worker(case))) for name, case in cases.items()}
        results = {name: {"seconds": [], "start": worker.first[0]} for name, worker in workers.items()}
        for _ in range(rounds):
            for name in order.permutation(list(workers)).tolist():
                time.sleep(PAUSE)
                seconds, results[name]["value"] = workers[name].round()
                results[name]["seconds"].append(seconds)
    for name, result in results.items():
        print(f"  {name:<36}{np.median(result['seconds']):8.3f} s a round, value {result['value']:.4f}", flush=True)
    return results


def check(results: dict[str, dict[str, Any]], tolerance: float) -> None:
    """Ends the benchmark where a system's value is not that of the others."""
    common = float(np.nanmedian([result["value"] for result in results.values()]))
    for name, result in results.items():
        if not abs(result["value"] - common) <= tolerance:
            fail(
                f"{name} gives {result['value']:.3f}, the systems' median is {common:.3f}; see by tests/test_bench.py "
                "which is another model"
            )


def spread(values: Any) -> dict[str, float]:
    """Median and extremes."""
    return {"median": float(np.median(values)), "min": float(np.min(values)), "max": float(np.max(values))}


def compilation(result: dict[str, Any]) -> float:
    """Seconds of a case's first round beyond those of its median round, at least 0."""
    return max(0.0, result["start"] - float(np.median(result["seconds"])))


def rows(
    results: dict[str, dict[str, Any]],
    precisions: dict[str, str],
    limits: dict[str, np.ndarray],
    units: int,
    flop: float,
) -> dict[str, dict[str, Any]]:
    """A table of systems.

    Args:
        results: those of `measure`, of cases "system, precision".
        precisions: that of each system.
        limits: for each precision the FLOP per second that a product of large matrices reached in each round.
        units: what is done in a round.
        flop: what a unit takes.

    Returns:
        for each system its `precision`; `rate`, in units per second, `share` of the limit and `ratio`, ours over its
        own, both in the same round, as spreads over rounds; and its `compilation`.
    """
    found = {system: results[f"{system}, {precision}"] for system, precision in precisions.items()}
    seconds = {system: np.array(result["seconds"]) for system, result in found.items()}
    return {
        system: {
            "precision": precision,
            "rate": spread(units / seconds[system]),
            "share": spread(units * flop / seconds[system] / limits[precision]),
            "ratio": spread(seconds[system] / seconds[OURS]),
            "compilation": compilation(found[system]),
        }
        for system, precision in precisions.items()
    }


def fastest(results: dict[str, dict[str, Any]], system: str) -> str:
    """The precision in which a system has the least median of seconds."""
    return min(SYSTEMS[system][1], key=lambda precision: np.median(results[f"{system}, {precision}"]["seconds"]))


# ---------------------------------------------------------------------------------------------------------------------
# The parts
# ---------------------------------------------------------------------------------------------------------------------


def products(precision: str) -> dict[str, Case]:
    """Products of large square matrices in each of the systems' libraries, by the n of each, "library, n x n"."""
    libraries = {
        "TensorFlow, oneDNN": ("keras_vae", {"compiled": False}),
        "TensorFlow, XLA": ("keras_vae", {"compiled": True}),
        "PyTorch": ("torch_vae", {}),
        "JAX": ("jax_vae", {}),
    }
    return {
        f"{library}, {n} x {n}": Case(module, "product", {"n": n, "precision": precision, **arguments})
        for library, (module, arguments) in libraries.items()
        for n in SQUARES
    }


def product_rates(name: str, result: dict[str, Any]) -> np.ndarray:
    """FLOP per second of the rounds of one of `products`."""
    return 2 * int(name.rpartition(" ")[2]) ** 3 / np.array(result["seconds"])


def limit(rounds: int) -> dict[str, Any]:
    """The fastest product of large square matrices that any of the systems reaches, in FLOP per second. Its rounds join
    those of training and scoring, whose limit it is."""
    measured: dict[str, Any] = {}
    for precision in PRECISIONS:
        results = {}
        for n in SQUARES:  # what is compared is one product
            cases = {name: case for name, case in products(precision).items() if case.arguments["n"] == n}
            of_size = measure(cases, rounds)
            check(of_size, 0.01)
            results.update(of_size)
        rates = {name: spread(product_rates(name, result)) for name, result in results.items()}
        measured[precision] = {"case": max(rates, key=lambda name: rates[name]["median"]), "rates": rates}
    return measured


def measure_beside_limit(
    cases: dict[str, Case], precisions: tuple[str, ...], rounds: int
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Rounds of all cases and of the fastest product of each precision.

    Returns:
        the cases' results, checked against each other, and the FLOP per second of each precision's product by round.
    """
    path = RESULTS / "limit.json"
    if not path.exists():
        fail(f"there is no {path}; measure with --only limit first")
    found = json.loads(path.read_text())
    names = {precision: found[precision]["case"] for precision in precisions}
    limits = {f"limit, {precision}": products(precision)[name] for precision, name in names.items()}
    results = measure({**cases, **limits}, rounds)
    rates = {precision: product_rates(name, results.pop(f"limit, {precision}")) for precision, name in names.items()}
    check(results, TOLERANCE)
    return results, rates


def training(rounds: int) -> dict[str, Any]:
    """Images per second of every system at each batch size."""
    measured = {}
    flop = network.training_flop()
    for batch_size in BATCH_SIZES:
        print(f"  batch size {batch_size}")
        cases = {
            f"{system}, {precision}": Case(module, "training", {"batch_size": batch_size, **arguments})
            for system, (module, precisions) in SYSTEMS.items()
            for precision, arguments in precisions.items()
        }
        results, limits = measure_beside_limit(cases, PRECISIONS, rounds)
        best = {system: fastest(results, system) for system in SYSTEMS}
        measured[str(batch_size)] = {
            "float32": rows(results, dict.fromkeys(SYSTEMS, "float32"), limits, network.TRAINED, flop),
            "best": rows(results, best, limits, network.TRAINED, flop),
            "limit": {precision: spread(rates) for precision, rates in limits.items()},
            "cases": results,
        }
    return {"images": network.TRAINED, "flop_per_image": flop, "batch_sizes": measured}


def sampling(rounds: int) -> dict[str, Any]:
    """Samples of h per second in scoring by importance sampling, in float32 alone: scores are not to be rough."""
    # Keras has no scoring of its own: it would be TensorFlow's, as ours is.
    systems = dict.fromkeys((system for system in SYSTEMS if system != "Keras"), "float32")
    cases = {
        f"{system}, {precision}": Case(
            SYSTEMS[system][0], "scoring", {"n_samples": SAMPLES, **SYSTEMS[system][1][precision]}
        )
        for system, precision in systems.items()
    }
    results, limits = measure_beside_limit(cases, ("float32",), rounds)
    flop = network.scoring_flop(SAMPLES)
    table = rows(results, systems, limits, network.SCORED * SAMPLES, flop)
    return {
        "images": network.SCORED,
        "samples": SAMPLES,
        "flop_per_sample": flop,
        "float32": table,
        "limit": {precision: spread(rates) for precision, rates in limits.items()},
        "cases": results,
    }


def gmm(rounds: int) -> dict[str, Any]:
    """Seconds of a gradient step of part 2, compilation and peak memory, along each of N, K and the restarts."""

    @cache  # the curves meet in one point
    def cost(**settings: int) -> dict[str, Any]:
        case = Case("ours_gmm", "training", {**settings, "steps": GMM_STEPS})
        (result,) = measure({"n = {n}, k = {k}, restarts = {restarts}".format(**settings): case}, rounds).values()
        return {
            **settings,
            "seconds_per_step": spread(np.array(result["seconds"]) / GMM_STEPS),
            "compilation": compilation(result),
            "peak_memory_mib": result["value"],
        }

    common = {"n": 100, "k": 3, "restarts": 50, "batch_size": 512}
    curves = {
        "n": [10**exponent for exponent in range(2, 8)],
        "k": [2, 3, 5, 10, 20],
        "restarts": [1, 3, 10, 50, 200],
    }
    measured = {axis: [cost(**{**common, axis: value}) for value in values] for axis, values in curves.items()}
    return {"steps": GMM_STEPS, "curves": measured}


def start(rounds: int) -> dict[str, Any]:
    """Seconds of processes, one after the other, that end where a script at its defaults begins to train."""
    seconds: dict[str, list[float]] = {script: [] for script in STARTS}
    for script, code in STARTS.items():
        for _ in range(rounds):
            began = time.perf_counter()
            if subprocess.run([sys.executable, "-c", code], cwd=HERE.parent).returncode:
                fail(f"{script} does not start; mend what its messages above tell")
            seconds[script].append(time.perf_counter() - began)
        print(f"  {script:<36}" + ", ".join(f"{s:.3f}" for s in seconds[script]) + " s", flush=True)
    return {"seconds": seconds}


PARTS: dict[str, tuple[Callable[[int], dict[str, Any]], int]] = {
    "limit": (limit, 3),
    "training": (training, 5),
    "sampling": (sampling, 5),
    "gmm": (gmm, 5),
    "start": (start, 2),
}


def machine() -> dict[str, Any]:
    """What was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ("tensorflow", "keras", "torch", "jax", "optax", "numpy")
    return {
        "cpu": (models or [platform.processor()])[0],
        "cores": CORES,
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON, whole or not at all: `utils.write_json`, which would load TensorFlow."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    os.replace(temporary, path)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.error = lambda message: fail(f"{message}; see --help")
    parser.add_argument("--only", choices=PARTS, help="measure one part")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of every system (default: 2 to 5)")
    arguments = parser.parse_args(argv)
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error(f"--rounds {arguments.rounds}: wanted at least 1")
    os.environ.update(ENVIRONMENT)
    try:
        for name in [arguments.only] if arguments.only else PARTS:
            print(name, flush=True)
            part, rounds = PARTS[name]
            content = {"machine": machine(), "rounds": arguments.rounds or rounds, **part(arguments.rounds or rounds)}
            write_json(RESULTS / f"{name}.json", content)
        from benchmarks import figures  # only now, as it loads TensorFlow, whose threads are not to sit beside a system

        figures.draw()
    except ImportError as error:
        fail(f"{error.name} is not installed; use make bench")
    except OSError as error:
        fail(f"{error}; make room or give the right to write there")


if __name__ == "__main__":
    main()
