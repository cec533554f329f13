"""Scores against brute force; settings and the command line; the run's folder; figures."""

import dataclasses
import itertools
import json
import os
import re
import shutil
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import tiny
from matplotlib.figure import Figure
from sklearn.metrics import adjusted_rand_score

import utils
from utils import InputError, RunFolder, setting

# Scores


@pytest.mark.parametrize(("n_clusters", "n_classes"), [(1, 1), (3, 3), (5, 5), (4, 2), (2, 4), (6, 3), (3, 6)])
@pytest.mark.parametrize("seed", range(5))
def test_the_adjusted_rand_index_is_that_of_scikit_learn(n_clusters, n_classes, seed):
    rng = np.random.default_rng(seed)
    clusters, classes = rng.integers(n_clusters, size=40), rng.integers(n_classes, size=40)
    clusters[:20] = classes[:20] % n_clusters
    counts = utils.contingency(clusters, classes, n_clusters, n_classes)
    assert utils.adjusted_rand_index(counts) == pytest.approx(adjusted_rand_score(classes, clusters))


@pytest.mark.parametrize("counts", [[[1]], [[5]], [[1, 0], [0, 1]], [[3, 4]]])
def test_the_adjusted_rand_index_of_few_pairs(counts):
    clusters, classes = (np.repeat(labels, np.ravel(counts)) for labels in np.indices(np.shape(counts)).reshape(2, -1))
    assert utils.adjusted_rand_index(np.array(counts)) == pytest.approx(adjusted_rand_score(classes, clusters))


@pytest.mark.parametrize(("n_clusters", "n_classes"), [(1, 1), (3, 3), (5, 5), (4, 2), (2, 4), (6, 3), (3, 6)])
@pytest.mark.parametrize("seed", range(5))
def test_matching_is_the_best_of_all_permutations(n_clusters, n_classes, seed):
    rng = np.random.default_rng(seed)
    clusters, classes = rng.integers(n_clusters, size=40), rng.integers(n_classes, size=40)
    counts = np.array([[np.sum((clusters == i) & (classes == j)) for j in range(n_classes)] for i in range(n_clusters)])
    np.testing.assert_array_equal(utils.contingency(clusters, classes, n_clusters, n_classes), counts)

    if n_clusters <= n_classes:
        totals = [
            sum(counts[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(n_classes), n_clusters)
        ]
    else:
        totals = [
            sum(counts[i, j] for j, i in enumerate(p)) for p in itertools.permutations(range(n_clusters), n_classes)
        ]
    assert utils.cluster_accuracy(clusters, classes, n_clusters, n_classes) == pytest.approx(max(totals) / 40)

    matched = utils.match_clusters(clusters, classes, n_clusters, n_classes)
    used = matched[matched >= 0]
    assert matched.shape == (n_clusters,)
    assert len(used) == len(set(used)) == min(n_clusters, n_classes)
    assert np.sum(matched == -1) == max(0, n_clusters - n_classes)
    assert sum(counts[i, j] for i, j in enumerate(matched) if j >= 0) == max(totals)


def test_a_renaming_of_the_classes_scores_one_and_one_cluster_scores_its_largest_class():
    classes = np.random.default_rng(0).integers(10, size=200)
    renamed = np.random.default_rng(1).permutation(10)[classes]
    everything = np.zeros(200, int)
    scores = utils.cluster_scores(renamed, everything, classes, 10)
    assert set(scores) == {"accuracy", "accuracy_model", "nmi", "ari"}
    assert scores["accuracy"] == 1.0
    assert scores["accuracy_model"] == pytest.approx(np.bincount(classes).max() / 200)
    assert scores["nmi"] == pytest.approx(1.0)
    assert scores["ari"] == pytest.approx(1.0)
    assert all(type(score) is float for score in scores.values())


def test_a_second_cluster_of_a_class_counts_as_wrong():
    # Two clusters of class 0: only one of them may have it.
    assert utils.cluster_accuracy(np.array([0, 0, 1, 2, 2]), np.array([0, 0, 0, 1, 1]), 3, 2) == pytest.approx(0.8)


# Settings and the command line


@dataclasses.dataclass(frozen=True)
class Settings:
    n: int = setting(100, "number of points", at_least=1, at_most=1000)
    step_size: float = setting(0.5, "size of a step, 40 % of it", at_least=0.0)
    data: str | None = setting(None, "file")
    out: str = setting("plots/x", "folder")
    inner: int = setting(7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "--n 0: wanted a number from 1 to 1000"),
        ({"n": 1001}, "--n 1001: wanted a number from 1 to 1000"),
        ({"step_size": -0.1}, "--step-size -0.1: wanted a number at least 0"),
        ({"step_size": float("nan")}, "--step-size nan: wanted a number at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        utils.check_settings(Settings(**changes))


def test_settings_in_range_are_taken():
    for n in (1, 1000):
        utils.check_settings(Settings(n=n, step_size=0.0))


def test_settings_are_printed_in_lines_that_can_be_read(capsys):
    settings = Settings(data="a-b/" * 40 + "c.csv", out="x" * 60)
    utils.print_settings(settings)
    printed = capsys.readouterr().out
    pairs = [f"{name}={value}" for name, value in dataclasses.asdict(settings).items()]
    assert printed.split() == pairs
    assert all(len(line) <= 100 or line in pairs for line in printed.splitlines())
    assert len(printed.splitlines()) == 3  # the first two; the long one; the others


def test_the_command_line_gives_what_was_given_explicitly():
    parse = partial(utils.parse_settings, Settings, "a script")
    assert parse([]) == ({}, False)
    assert parse(["--n", "5", "--step-size", "1e-3", "--resume"]) == ({"n": 5, "step_size": 0.001}, True)
    assert parse(["--data", "a b.csv", "--out", "-"]) == ({"data": "a b.csv", "out": "-"}, False)


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--n", "1.5"], "1.5"),
        (["--n", "many"], "many"),
        (["--n"], "--n"),
        (["--step-size", "x"], "x"),
        (["--ste", "1"], "--ste"),  # no abbreviations: they would change their meaning with a new option
        (["--inner", "8"], "--inner"),
        (["--no-such-option"], "--no-such-option"),
        (["stray"], "stray"),
        (["--resume=yes"], "yes"),
    ],
)
def test_errors_of_the_command_line_have_the_scripts_form(argv, value, capsys):
    last = tiny.refused(lambda argv: utils.parse_settings(Settings, "a script", argv), argv, capsys)
    assert value in last
    assert "--help" in last


def test_help_shows_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit) as stopped:
        utils.parse_settings(Settings, "What it does.\n\n    an example: 100 %", ["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "What it does.\n\n    an example: 100 %" in shown
    for words in ("--n N", "number of points (default: 100)", "--step-size X", "40 % of it (default: 0.5)", "--resume"):
        assert words in shown
    assert "--inner" not in shown
    assert "None" not in shown


def test_bad_input_and_interruption_end_in_a_line_and_an_exit_code(capsys):
    def bad():
        raise InputError("--n 0: wanted more")

    def stop():
        raise KeyboardInterrupt

    for main, code, words in ((bad, 2, "error: --n 0: wanted more\n"), (stop, 130, "")):
        with pytest.raises(SystemExit) as stopped:
            utils.run_main(main)
        assert stopped.value.code == code
        assert capsys.readouterr().err == words


def test_an_error_is_one_line_whatever_the_value():
    assert str(InputError("--data a\nb\x1b[2J\u2028ü: gone")) == "--data a\\nb\\x1b[2J\\u2028ü: gone"


def test_versions_are_text():
    found = utils.versions()
    assert {"python", "tensorflow", "numpy", "scikit-learn"} <= set(found)
    assert all(re.match(r"\d+\.\d+", version) for version in found.values())


# The run's folder


@pytest.fixture
def folder(tmp_path):
    """A started run's folder, with a foreign file and files of an earlier run."""
    path = tmp_path / "plots" / "run"
    path.mkdir(parents=True)
    (path / "notes.txt").write_text("mine")
    (path / "metrics.json").write_text("old")
    (path / "settings.json").write_text("old")
    folder = RunFolder(str(path), "script")
    folder.start(Settings(n=5, out=str(path)))
    yield folder
    folder.unlock()


def names(folder):
    return sorted(p.name for p in folder.path.iterdir())


def test_a_finished_run_replaces_its_own_files_and_leaves_the_others(folder):
    assert folder.is_unfinished
    with folder.finish() as staging:
        assert (folder.path / "metrics.json").read_text() == "old"  # until all of the new ones are there
        (staging / "metrics.json").write_text("new")
        (staging / "figure.pdf").write_text("new")
    assert names(folder) == ["figure.pdf", "metrics.json", "notes.txt", "settings.json"]
    assert (folder.path / "metrics.json").read_text() == "new"
    assert (folder.path / "notes.txt").read_text() == "mine"
    assert json.loads((folder.path / "settings.json").read_text())["n"] == 5
    assert not folder.is_unfinished


def test_a_run_that_fails_while_it_finishes_touches_nothing_and_can_go_on(folder):
    with pytest.raises(RuntimeError), folder.finish() as staging:
        (staging / "metrics.json").write_text("half")
        raise RuntimeError
    assert (folder.path / "metrics.json").read_text() == "old"
    assert folder.is_unfinished
    with folder.finish() as staging:
        assert [p.name for p in staging.iterdir()] == ["settings.json"]  # nothing of the failed attempt
        (staging / "metrics.json").write_text("new")
    assert (folder.path / "metrics.json").read_text() == "new"


@pytest.mark.parametrize("call", ["os.replace", "os.unlink", "os.rmdir", "os.mkdir"])
def test_a_kill_while_finishing_leaves_what_resuming_completes(folder, monkeypatch, call):
    """Killed before every single change of the folder, one after the other."""

    class Killed(BaseException):
        pass

    name = call.removeprefix("os.")
    change = getattr(os, name)

    def die(last, *args, **kwargs):
        if next(changes) == last:
            raise Killed
        return change(*args, **kwargs)

    def finish():
        with folder.finish() as staging:
            for file in ("metrics.json", "figure.pdf"):
                utils.write_json(staging / file, {"run": 5})

    for last in itertools.count():
        shutil.rmtree(folder.unfinished, ignore_errors=True)
        folder.unfinished.mkdir()
        utils.write_json(folder.unfinished / "settings.json", {"script": "script", "n": 5})
        (folder.unfinished / "checkpoints" / "00000001").mkdir(parents=True)
        (folder.unfinished / "checkpoints" / "00000001" / "state.index").write_text("state")
        for file in ("metrics.json", "figure.pdf", "settings.json"):
            (folder.path / file).write_text("old")
        changes = itertools.count()
        with monkeypatch.context() as patch:
            patch.setattr(os, name, partial(die, last))
            try:
                finish()
                break  # there were no more changes
            except Killed:
                pass
        # What --resume does.
        assert folder.is_unfinished
        assert folder.resume(Settings, {}, ("metrics.json",)).n == 5
        folder.complete()
        if folder.is_unfinished:
            assert (folder.unfinished / "checkpoints" / "00000001" / "state.index").exists()
            assert (folder.path / "metrics.json").read_text() == "old"
            finish()
        assert names(folder) == ["figure.pdf", "metrics.json", "notes.txt", "settings.json"]
        for file in ("metrics.json", "figure.pdf"):
            assert json.loads((folder.path / file).read_text()) == {"run": 5}
        assert json.loads((folder.path / "settings.json").read_text())["n"] == 5
    assert last > 0


def test_a_new_run_starts_anew_and_spares_the_finished_one(folder, capsys):
    (folder.unfinished / "checkpoint").write_text("state")
    folder.start(Settings(n=6))
    expected = f"note: discarding the unfinished run in {folder.path}, which --resume would have gone on with\n"
    assert capsys.readouterr().out == expected
    assert not (folder.unfinished / "checkpoint").exists()
    assert folder.resume(Settings, {}, ()).n == 6
    assert (folder.path / "metrics.json").read_text() == "old"


def test_a_new_run_completes_the_one_that_a_kill_kept_from_its_place(folder, capsys):
    folder.finished.mkdir()
    (folder.finished / "metrics.json").write_text("new")
    folder.start(Settings(n=6))
    assert capsys.readouterr().out == ""
    assert (folder.path / "metrics.json").read_text() == "new"
    assert not folder.finished.exists()
    assert folder.resume(Settings, {}, ()).n == 6


def test_a_foreign_folder_is_left_alone_whatever_its_name(tmp_path):
    """`--out .` in a folder of somebody's texts must not cost them."""
    foreign = tmp_path / "unfinished" / "novel.txt"
    foreign.parent.mkdir()
    foreign.write_text("chapter one")
    folder = RunFolder(str(tmp_path), "script")
    try:
        folder.check_writable()
        folder.start(Settings())
        with folder.finish():
            pass
        folder.unlock()
    except InputError:
        pass  # a refusal spares it, too
    assert foreign.read_text() == "chapter one"


def test_resume_gives_the_runs_settings(folder):
    settings = folder.resume(Settings, {"n": 5, "out": "elsewhere"}, ())
    assert settings == Settings(n=5, out=str(folder.path))
    with folder.finish():
        pass
    assert folder.resume(Settings, {}, ()) == settings


def test_resume_refuses_a_finished_run_without_its_files(folder):
    folder.resume(Settings, {}, ("metrics.json", "fit.npz"))  # an unfinished run has none yet
    with folder.finish() as staging:
        (staging / "metrics.json").write_text("new")
    folder.resume(Settings, {}, ("metrics.json",))
    with pytest.raises(InputError, match="fit.npz is missing; start anew without --resume"):
        folder.resume(Settings, {}, ("metrics.json", "fit.npz"))


def test_resume_refuses_another_setting(folder):
    with pytest.raises(InputError, match=r"--step-size 0.1: the run in .* has --step-size 0.5; leave the option out"):
        folder.resume(Settings, {"step_size": 0.1}, ())


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '"text"', '{"n": 5}', '{"script": "other", "n": 5}'])
def test_resume_refuses_what_is_no_run_of_the_script(folder, content):
    (folder.unfinished / "settings.json").write_text(content)
    with pytest.raises(InputError, match="settings.json is not of script.py; choose another folder"):
        folder.resume(Settings, {}, ())


def test_resume_refuses_a_run_of_another_version(folder):
    (folder.unfinished / "settings.json").write_text('{"script": "script", "n": 5, "heads": 3}')
    with pytest.raises(InputError, match="settings.json is of another version; start anew without --resume"):
        folder.resume(Settings, {}, ())


def test_another_scripts_run_is_no_place_for_a_new_one(folder):
    with folder.finish():
        pass
    folder.check_writable()
    with pytest.raises(InputError, match="settings.json is not of other.py; choose another folder"):
        RunFolder(str(folder.path), "other").check_writable()


def test_resume_refuses_an_empty_a_missing_and_a_foreign_path(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(InputError, match=f"--resume: {path} holds no run of script.py; start one without"):
            RunFolder(str(path), "script").resume(Settings, {}, ())


@pytest.mark.parametrize("out", ["", "new", "new/deeper/still", "file/below"])
def test_the_check_for_writing_leaves_nothing_behind(tmp_path, out):
    (tmp_path / "file").write_text("content")
    before = tiny.tree(tmp_path)
    folder = RunFolder(str(tmp_path / out), "script")
    if out.startswith("file"):
        with pytest.raises(InputError, match="a file is in the way"):
            folder.check_writable()
    else:
        folder.check_writable()
    assert tiny.tree(tmp_path) == before


@pytest.mark.parametrize("out", ["/proc/run", "/proc/self/status/run", "/sys/run", "x" * 300, "link/run"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("/proc")
    with pytest.raises(InputError, match=rf"--out {out}: .*; choose another folder"):
        RunFolder(out, "script").check_writable()


def test_json_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    utils.write_json(path, {"a": [1.5, None, "x"]})
    assert json.loads(path.read_text()) == {"a": [1.5, None, "x"]}
    with pytest.raises(ValueError, match="JSON"):
        utils.write_json(path, {"a": float("nan")})  # JSON has no NaN, and other readers refuse it
    with pytest.raises(TypeError):
        utils.write_json(path, {"a": object()})

    def full_disk(self, text, *args, **kwargs):
        with open(self, "w") as file:
            file.write(text[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space left"):
        utils.write_json(path, {"b": 1})
    assert json.loads(path.read_text()) == {"a": [1.5, None, "x"]}


# Figures


def line():
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    return figure


def test_a_figure_is_written_as_pdf_and_png(tmp_path):
    with utils.figure_style():
        utils.save_figure(line(), tmp_path, "line")
    assert sorted(os.listdir(tmp_path)) == ["line.pdf", "line.png"]
    assert tiny.is_picture(tmp_path, "line")


def test_a_figure_that_fails_leaves_the_old_one(tmp_path):
    (tmp_path / "line.pdf").write_text("old")

    class Broken(Figure):
        def savefig(self, path, **kwargs):
            Path(path).write_text("half")
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        utils.save_figure(Broken(), tmp_path, "line")
    assert (tmp_path / "line.pdf").read_text() == "old"


def test_the_same_figure_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        utils.save_figure(line(), tmp_path, name)
    for kind in ("pdf", "png"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_the_style_ends_with_its_block():
    before = {name: matplotlib.rcParams[name] for name in ("font.size", "savefig.dpi", "axes.prop_cycle")}
    with utils.figure_style():
        assert matplotlib.rcParams["font.size"] == 8
    assert {name: matplotlib.rcParams[name] for name in before} == before


@pytest.mark.parametrize("n", [1, 10, 20, 30])
def test_colours_are_distinct(n):
    colours = utils.colours(n)
    assert colours.shape == (n, 3)
    assert np.all((colours >= 0) & (colours <= 1))
    assert len(np.unique(colours.round(3), axis=0)) == n
