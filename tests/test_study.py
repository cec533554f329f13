"""The study runner, on runs of a few lines."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("study", ROOT / "report" / "study.py")
study = importlib.util.module_from_spec(spec)
spec.loader.exec_module(study)

# Counts to a number in steps of 0.05 s. Saves its count at every step, and what it counted in each of its processes.
COUNT = """
    import json, os, signal, sys, time
    from pathlib import Path

    number, out = int(sys.argv[1]), Path(sys.argv[sys.argv.index("--out") + 1])
    state = out / ".count-unfinished"
    (out / "pids").open("a").write(f"{os.getpid()}\\n")
    if "--resume" in sys.argv and not state.exists():
        sys.exit()
    if "--resume" in sys.argv:
        counted = json.loads((state / "state.json").read_text())
    else:
        assert not state.exists(), "would discard an unfinished run"
        state.mkdir()
        counted = []
    counted.append(0)
    stopped = []
    signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
    while sum(counted) < number and not stopped:
        time.sleep(0.05)
        counted[-1] += 1
        (state / "part").write_text(json.dumps(counted))
        os.replace(state / "part", state / "state.json")
        (state / "settings.json").write_text("{}")
    if stopped:
        sys.exit(130)
    if number == 13:
        sys.exit("error: thirteen")
    metrics = {"sum": sum(counted), "parts": counted, "threads": os.environ["OMP_NUM_THREADS"]}
    (out / "part").write_text(json.dumps(metrics))
    os.replace(out / "part", out / "metrics.json")
    os.replace(state, out / "state")
"""


@pytest.fixture
def count(tmp_path):
    """Makes runs that count to numbers."""
    script = tmp_path / "count.py"
    script.write_text(textwrap.dedent(COUNT))
    return lambda **runs: [study.Run(f"count/{name}", (str(script), str(number))) for name, number in runs.items()]


def results(folder):
    return {path.stem: json.loads(path.read_text()) for path in (folder / "results").rglob("*.json")}


def test_a_study_does_each_run_once(count, tmp_path, capsys):
    runs = count(a=1, b=2, c=3)
    assert study.main(["count/a", "count/b"], runs, tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [
        "count/a finished",
        "count/b finished",
        "2 of 2 runs are finished",
    ]
    first = results(tmp_path)
    assert {name: result["sum"] for name, result in first.items()} == {"a": 1, "b": 2}
    assert study.main(["--jobs", "2"], runs, tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == ["count/c finished", "3 of 3 runs are finished"]
    assert results(tmp_path) == {**first, "c": results(tmp_path)["c"]}
    assert len((tmp_path / "runs/count/a/pids").read_text().split()) == 1
    # Runs at a time share the cores.
    cores = os.cpu_count()
    assert first["a"]["threads"] == str(cores)
    assert results(tmp_path)["c"]["threads"] == str(max(1, cores // 2))


def test_files_of_a_run_that_is_shown_are_copied_to_plots_but_for_weights(count, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "SHOWN", {"count/a": "counted"})
    folder = tmp_path / "report"
    (folder / "runs" / "count" / "a").mkdir(parents=True)
    (folder / "runs" / "count" / "a" / "weights.index").write_text("large")
    assert study.main([], count(a=1, b=1), folder) == 0
    shown = tmp_path / "plots" / "counted"
    assert sorted(path.name for path in shown.iterdir()) == ["metrics.json", "pids"]
    assert (shown / "metrics.json").read_text() == (folder / "results" / "count" / "a.json").read_text()
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["counted"]


def test_runs_that_are_shown_are_runs():
    assert set(study.SHOWN) <= {run.name for run in study.RUNS}


def test_a_finished_run_without_a_result_is_said_not_to_be_run_again(count, tmp_path, capsys):
    runs = count(a=2)
    assert study.main([], runs, tmp_path) == 0
    first, result = results(tmp_path), tmp_path / "results/count/a.json"
    result.unlink()
    capsys.readouterr()
    assert study.main([], runs, tmp_path) == 0
    assert results(tmp_path) == first
    assert capsys.readouterr().out.splitlines()[0] == (
        f"count/a was finished and is not run again; to have it done anew, delete {tmp_path}/runs/count/a and {result}"
    )


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_run_that_fails_leaves_the_others(count, tmp_path, capsys, jobs):
    assert study.main(["--jobs", jobs], count(a=13, b=2, c=1), tmp_path) == 1
    printed = capsys.readouterr().out.splitlines()
    log = tmp_path / "runs/count/a.log"
    assert set(printed[:3]) == {f"count/a failed: see {log}", "count/b finished", "count/c finished"}
    assert printed[3] == "2 of 3 runs are finished"
    assert log.read_text() == "error: thirteen\n"
    assert set(results(tmp_path)) == {"b", "c"}


def test_a_run_without_a_place_fails_alone(count, tmp_path, capsys):
    (tmp_path / "runs/count").mkdir(parents=True)
    (tmp_path / "runs/count/a").write_text("in the way")
    assert study.main([], count(a=1, b=2), tmp_path) == 1
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("count/a failed: [Errno 17] File exists")
    assert others == ["count/b finished", "1 of 2 runs are finished"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["count/x"], "error: count/x: no run's name begins so; the studies are count"),
        (["coun"], "error: coun: no run's name begins so; the studies are count"),
        (["--jobs", "0"], "error: --jobs 0: wanted a number at least 1"),
    ],
)
def test_a_wrong_name_or_number_is_refused(count, tmp_path, capsys, argv, message):
    before = sorted(tmp_path.iterdir())
    assert study.main(argv, count(a=1), tmp_path) == 2
    assert capsys.readouterr().err == message + "\n"
    assert sorted(tmp_path.iterdir()) in (before, [tmp_path / "count.py"])


def start(tmp_path, runs):
    """Starts a study of two jobs in a process of its own."""
    code = f"""
import sys
from pathlib import Path
import study
runs = [study.Run(*run) for run in {[tuple(run) for run in runs]!r}]
sys.exit(study.main(["--jobs", "2"], runs, Path({str(tmp_path)!r})))
"""
    words = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "report")}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition):
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited 20 s")


def counted(tmp_path, name):
    try:
        return sum(json.loads((tmp_path / f"runs/count/{name}/.count-unfinished/state.json").read_text()))
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_study_saves_its_runs_and_goes_on(count, tmp_path, number):
    runs = count(a=40, b=40, c=1)
    process = start(tmp_path, runs)
    wait_until(lambda: counted(tmp_path, "a") > 2 and counted(tmp_path, "b") > 2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors == "stopped; the same command goes on from here\n"
    assert results(tmp_path) == {}
    assert not (tmp_path / "runs/count/c").exists()
    assert study.main(["--jobs", "2"], runs, tmp_path) == 0
    assert {name: result["sum"] for name, result in results(tmp_path).items()} == {"a": 40, "b": 40, "c": 1}
    for name in "ab":
        assert len(results(tmp_path)[name]["parts"]) == 2


def test_a_killed_study_goes_on_with_its_runs_where_they_are(count, tmp_path):
    """Killed over and over, with the runs or without: each run ends as if nothing had been."""
    runs = count(a=60, b=60, c=2)
    for kill_runs in (False, True, False):
        process = start(tmp_path, runs)
        began = counted(tmp_path, "a")
        wait_until(lambda: counted(tmp_path, "a") > began + 2)  # noqa: B023
        process.kill()
        process.communicate()
        if kill_runs:
            for pids in tmp_path.glob("runs/count/*/pids"):
                for pid in map(int, pids.read_text().split()):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
    assert study.main(["--jobs", "2"], runs, tmp_path) == 0
    assert {name: result["sum"] for name, result in results(tmp_path).items()} == {"a": 60, "b": 60, "c": 2}
