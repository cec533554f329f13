"""What can stop a run: signals, NaN, a full disk, damaged checkpoints, changed data, another run in its folder."""

import fcntl
import itertools
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

import gmm_vi
import gmvae
import utils
from utils import Checkpoints, InputError, RunFolder

import tensorflow as tf  # isort: skip


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(str(tmp_path / "run"), "script")
    folder.unfinished.mkdir(parents=True)
    return folder


def loop(folder, rounds, each=lambda i, value: None, every=0.0, fits=1):
    """A training loop of three fits; `each` is called in every round."""
    folder.unfinished.mkdir(parents=True, exist_ok=True)
    if not (folder.unfinished / "settings.json").exists():
        (folder.unfinished / "settings.json").write_text("{}")
    value, done = tf.Variable(tf.ones([3])), tf.Variable(0)
    seconds = tf.Variable(0.0, dtype=tf.float64)
    checkpoint = tf.train.Checkpoint(value=value, done=done, seconds=seconds)
    checkpoints = Checkpoints(folder, checkpoint, every, "try less", fits)
    checkpoints.restore()
    with checkpoints.training():
        for i in range(int(done), rounds):
            value.assign(1.5 * value + i)
            done.assign(i + 1)
            each(i, value)
            checkpoints.update(f"round {i + 1}", due=i + 1 == rounds)
    return value.numpy()


def saved(folder):
    return sorted(path.name for path in (folder.unfinished / "checkpoints").iterdir())


# Checkpoints


def test_the_last_two_states_are_kept(folder):
    loop(folder, 5)
    assert saved(folder) == ["00000004", "00000005"]
    loop(folder, 7)
    assert saved(folder) == ["00000006", "00000007"]


def test_states_are_saved_when_it_is_time_and_at_the_end(folder, monkeypatch):
    clock = itertools.count(0.0, 4.0)
    monkeypatch.setattr(utils, "time", SimpleNamespace(perf_counter=clock.__next__))
    saves, save = [], Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", lambda self, where: saves.append(where) or save(self, where))
    loop(folder, 8, every=10.0)
    assert saves == ["round 3", "round 6", "round 8"]
    reader = tf.train.load_checkpoint(str(folder.unfinished / "checkpoints" / "00000003" / "state"))
    assert reader.get_tensor("seconds/.ATTRIBUTES/VARIABLE_VALUE") == 8 * 4.0


def flip(content, share):
    place = int(share * (len(content) - 1))
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


FILES = ("state.index", "state.data-00000-of-00001")
DAMAGES = {
    **{f"flip-{share}": lambda content, share=share: flip(content, share) for share in (0.0, 0.3, 0.5, 0.7)},
    **{f"cut-{share}": lambda content, share=share: content[: int(share * len(content))] for share in (0.5, 0.99)},
    "empty": lambda content: b"",
    "foreign": lambda content: b"\x89PNG" * 100,
    "deleted": None,
}


def damage(path, how):
    if how is None:
        path.unlink()
    else:
        path.write_bytes(how(path.read_bytes()))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_left_out_and_the_one_before_it_used(folder, tmp_path, capsys, file, how):
    loop(folder, 4)
    newest = folder.unfinished / "checkpoints" / "00000004"
    damage(newest / file, how)
    unbroken = loop(RunFolder(str(tmp_path / "unbroken"), "script"), 6)
    rounds = []
    np.testing.assert_array_equal(loop(folder, 6, lambda i, value: rounds.append(i)), unbroken)
    assert rounds == [3, 4, 5]
    assert capsys.readouterr().err == f"warning: {newest} is damaged or another run's, and left out\n"
    assert saved(folder) == ["00000006", "00000007"]


@pytest.mark.parametrize(
    "variables",
    [{"value": 3, "done": (), "seconds": (), "more": ()}, {"value": 3}, {"value": 4, "done": (), "seconds": ()}, {}],
    ids=["more", "fewer", "another-shape", "none"],
)
def test_a_foreign_checkpoint_is_left_out(folder, capsys, variables):
    loop(folder, 3)
    newest = folder.unfinished / "checkpoints" / "00000009"
    newest.mkdir()
    types = {"value": tf.float32, "seconds": tf.float64}
    tracked = {name: tf.Variable(tf.ones(shape, types.get(name, tf.int32))) for name, shape in variables.items()}
    tf.train.Checkpoint(**tracked).write(str(newest / "state"))
    shutil.copy(folder.unfinished / "settings.json", newest)
    rounds = []
    loop(folder, 5, lambda i, value: rounds.append(i))
    assert rounds == [3, 4]
    assert capsys.readouterr().err == f"warning: {newest} is damaged or another run's, and left out\n"


def test_a_checkpoint_of_other_settings_is_left_out(folder, tmp_path, capsys):
    """Its variables are the same; its settings.json tells."""
    loop(folder, 3)
    other = RunFolder(str(tmp_path / "other"), "script")
    loop(other, 4)
    newest = folder.unfinished / "checkpoints" / "00000009"
    shutil.copytree(other.unfinished / "checkpoints" / "00000004", newest)
    (newest / "settings.json").write_text('{"seed": 1}')
    rounds = []
    loop(folder, 5, lambda i, value: rounds.append(i))
    assert rounds == [3, 4]
    assert capsys.readouterr().err == f"warning: {newest} is damaged or another run's, and left out\n"


def test_a_checkpoint_that_cannot_be_read_again_is_not_kept(folder, monkeypatch):
    loop(folder, 3)
    before, write = saved(folder), utils.write_checkpoint

    def cut(checkpoint, prefix):
        write(checkpoint, prefix)
        damage(prefix.with_name(FILES[1]), DAMAGES["cut-0.5"])

    monkeypatch.setattr(utils, "write_checkpoint", cut)
    with pytest.raises(OSError, match="the checkpoint just written: "):
        loop(folder, 5)
    assert [name for name in saved(folder) if name != "part"] == before


def test_without_a_good_checkpoint_nothing_is_lost(folder, capsys):
    loop(folder, 3)
    for path in folder.unfinished.glob("checkpoints/*/state.index"):
        path.write_bytes(b"")
    before = tiny.tree(folder.path)
    with pytest.raises(InputError, match="no checkpoint in .* is good; start anew without --resume"):
        loop(folder, 5)
    assert tiny.tree(folder.path) == before
    assert capsys.readouterr().err.count("is damaged or another run's, and left out\n") == 2


def spoil(at, number, fit=slice(None)):
    return lambda i, value: value[fit].assign(value[fit] * number) if i + 1 == at else None


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_state_that_is_not_finite_is_never_saved(folder, number):
    with pytest.raises(InputError) as error:
        loop(folder, 6, spoil(3, number, 1))
    kept = folder.unfinished / "checkpoints" / "00000002"
    assert str(error.value) == (
        f"the state at round 3 is not finite; try less; the last good checkpoint is kept in {kept}"
    )
    rounds = []
    loop(folder, 6, lambda i, value: rounds.append(i))
    assert rounds == [2, 3, 4, 5]


def test_without_a_checkpoint_none_is_promised(folder):
    with pytest.raises(InputError, match="the state at round 1 .*; no checkpoint was saved before"):
        loop(folder, 6, spoil(1, np.nan))


def test_one_fit_that_is_not_finite_does_not_stop_the_others(folder):
    assert np.isfinite(loop(folder, 6, spoil(3, np.nan, 1), fits=3)).tolist() == [True, False, True]
    with pytest.raises(InputError, match="the state at round 8 is not finite"):
        loop(folder, 9, spoil(8, np.nan), fits=3)


# Signals


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.2)  # the thread that notes it


@pytest.fixture
def plain_handlers():
    """Python's own handler of SIGINT, also where pytest runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_loop_after_its_round_with_the_state_saved(folder, plain_handlers, tmp_path, number):
    with pytest.raises(KeyboardInterrupt) as stop:
        loop(folder, 6, lambda i, value: send(number) if i == 2 else None, every=1e9)
    assert stop.value.args == (number,)
    assert saved(folder) == ["00000001"]
    rounds = []
    unbroken = loop(RunFolder(str(tmp_path / "unbroken"), "script"), 6)
    np.testing.assert_array_equal(loop(folder, 6, lambda i, value: rounds.append(i)), unbroken)
    assert rounds == [3, 4, 5]


def test_a_signal_after_the_last_round_is_not_lost(plain_handlers):
    with pytest.raises(KeyboardInterrupt), utils.held_signals() as received:
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]


def test_a_second_signal_stops_at_once(plain_handlers, monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    with pytest.raises(KeyboardInterrupt), utils.held_signals():
        send(signal.SIGINT)
        assert codes == []
        assert "a second time stops at once" in capsys.readouterr().err
        send(signal.SIGINT)
        assert codes == [130]


def test_another_signal_is_none_of_our_business(plain_handlers):
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    with utils.held_signals() as received:
        send(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)
    assert received == []


def test_a_thread_trains_without_a_say_in_signals(folder):
    thread = threading.Thread(target=loop, args=(folder, 3))
    thread.start()
    thread.join()
    assert saved(folder) == ["00000002", "00000003"]


# Both scripts


@dataclass(frozen=True)
class SmallMixture(gmm_vi.Settings):
    measurements: int = utils.setting(4)  # so that some lie several steps apart


@dataclass(frozen=True)
class SmallVAE(gmvae.Settings):
    code_units: int = utils.setting(4)
    hidden_units: int = utils.setting(16)
    classifier_share: float = utils.setting(2.0)
    importance_samples: int = utils.setting(50)


class Script:
    """One of the scripts with the settings of a run of a few steps."""

    def __init__(self, module, step, argv):
        self.module, self.step, self.argv = module, step, [str(word) for word in argv]

    def run(self, *argv, out):
        self.module.main([*map(str, argv), "--out", str(out)])

    def stop(self, out, capsys, *argv):
        """Runs until something stops it; returns the exit code and the last line of standard error."""
        with pytest.raises(SystemExit) as stopped:
            utils.run_main(lambda: self.run(*(argv or self.argv), out=out))
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return stopped.value.code, error.splitlines()[-1]

    def at_step(self, monkeypatch, number, action):
        """Calls an action at the end of a call of compiled steps."""
        owner, name = self.step
        calls, step = itertools.count(1), getattr(owner, name)

        def counted(*args):
            result = step(*args)
            if args[1:] != (0,) and next(calls) == number:  # `train(0)` only compiles
                action()
            return result

        monkeypatch.setattr(owner, name, counted)


@pytest.fixture(params=["gmm_vi", "gmvae"])
def script(request, monkeypatch, tmp_path):
    monkeypatch.setattr(utils, "save_figure", tiny.save_no_figure)
    monkeypatch.setattr(gmm_vi, "Settings", SmallMixture)
    monkeypatch.setattr(gmvae, "Settings", SmallVAE)
    monkeypatch.setattr(gmvae, "TSNE", tiny.NoMap)
    with tiny.eager():
        if request.param == "gmm_vi":
            data = tmp_path / "points.csv"
            data.write_text(
                "".join(f"{x!r},{y!r}\n" for x, y in np.random.default_rng(0).normal(size=(20, 2)).tolist())
            )
            argv = ["--data", data, "--k", 2, "--restarts", 2, "--steps", 12]
            yield Script(gmm_vi, (gmm_vi.Training, "train"), argv)
        else:
            data = tiny.write_images(tmp_path / "data", 40, 10)
            argv = ["--data", data, "--epochs", 1, "--batch-size", 20, "--restarts", 2]
            yield Script(gmvae, (gmvae.Training, "batches"), argv)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The folders of unbroken runs, made when asked for."""
    made = {}

    def unbroken(script):
        if script.module not in made:
            made[script.module] = tmp_path_factory.mktemp("unbroken")
            script.run(*script.argv, out=made[script.module])
        return made[script.module]

    return unbroken


def check_resumes(script, out, unbroken):
    script.run("--resume", out=out)
    tiny.check_equal_runs(out, unbroken(script))
    tiny.check_finished(out)


def resume_line(out):
    return f"stopped; go on with: {shlex.join([sys.executable, sys.argv[0], '--resume', '--out', str(out)])}"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_training_saves_and_tells_how_to_go_on(
    script, unbroken, plain_handlers, tmp_path, monkeypatch, capsys, number, code
):
    out = tmp_path / "the run"
    with monkeypatch.context() as patch:
        script.at_step(patch, 3, lambda: send(number))
        assert script.stop(out, capsys) == (code, resume_line(out))
    tiny.check_unfinished(out)
    check_resumes(script, out, unbroken)


def test_an_interrupt_while_scoring_tells_how_to_go_on(script, unbroken, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(utils, "save_figure", tiny.interrupt)
        assert script.stop(out, capsys) == (130, resume_line(out))
    tiny.check_unfinished(out)
    with monkeypatch.context() as patch:
        script.at_step(patch, 1, tiny.interrupt)  # nothing is trained again
        check_resumes(script, out, unbroken)


def test_an_interrupt_before_the_run_began_promises_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gmm_vi, "read_data", tiny.interrupt)
    with pytest.raises(SystemExit) as stopped:
        utils.run_main(lambda: gmm_vi.main(["--out", str(tmp_path / "out")]))
    assert stopped.value.code == 130
    assert capsys.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", ["gmm_vi.py", "gmvae.py"])
@pytest.mark.parametrize("library", ["numpy", "tensorflow"])
def test_an_interrupt_while_libraries_load_ends_the_script_without_a_word(tmp_path, script, library):
    """One that gets Ctrl-C and then goes on, as some do; it stands in for the real one."""
    (tmp_path / f"{library}.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt:\n    pass\n"
    )
    ran = tiny.command(script, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (ran.returncode, ran.stdout, ran.stderr) == (-signal.SIGINT, "", "")


def test_the_command_that_is_told_goes_on(plain_handlers, tmp_path):
    """In processes of their own, compiled, as for a user; the second takes the command of the first."""
    out = tmp_path / "out"
    words = [sys.executable, str(tiny.PROJECT / "gmm_vi.py"), "--steps", "5000000", "--out", str(out)]
    for _ in range(2):
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert "steps=5000000" in process.stdout.readline()
            time.sleep(2.0)  # training, or still compiling
            process.send_signal(signal.SIGINT)
            error = process.stderr.read()
        assert process.returncode == 130
        assert "Traceback" not in error
        words = shlex.split(error.splitlines()[-1].removeprefix("stopped; go on with: "))
    assert words[1:] == [str(tiny.PROJECT / "gmm_vi.py"), "--resume", "--out", str(out)]
    tiny.check_unfinished(out)


def test_calls_that_take_long_are_of_few_steps(tmp_path, monkeypatch):
    """So that a signal need not wait, however many steps lie between two measurements; the numbers are the same."""
    monkeypatch.setattr(utils, "save_figure", tiny.save_no_figure)
    monkeypatch.setattr(gmm_vi, "Settings", SmallMixture)
    calls, train = [], gmm_vi.Training.train
    monkeypatch.setattr(gmm_vi.Training, "train", lambda self, steps: calls.append(steps) or train(self, steps))
    with tiny.eager():
        for name, seconds, expected in (("quick", 0.0, [0, 1, 1, 2, 1, 4, 3]), ("slow", 1.0, [0] + [1] * 12)):
            clock = SimpleNamespace(perf_counter=itertools.count(0.0, seconds).__next__)
            monkeypatch.setattr(gmm_vi, "time", clock)
            calls.clear()
            gmm_vi.main(["--n", "20", "--k", "2", "--steps", "12", "--restarts", "2", "--out", str(tmp_path / name)])
            assert calls == expected
    tiny.check_equal_runs(tmp_path / "slow", tmp_path / "quick")


@pytest.mark.parametrize("what", ["the bound", "the state"])
def test_numbers_that_are_not_finite_stop_the_run_in_one_line(script, tmp_path, monkeypatch, capsys, what):
    trainings, init = [], script.module.Training.__init__
    monkeypatch.setattr(
        script.module.Training, "__init__", lambda self, *args: trainings.append(self) or init(self, *args)
    )

    def spoil():
        (training,) = trainings
        if script.module is gmm_vi:
            learned, moments = training.mixture.means, training.optimizer.variables[2]
        else:
            learned, moments = training.model.means, training.classifier_optimizer.variables[2]
        variable = learned if what == "the bound" else moments
        variable.assign(np.nan * variable)

    monkeypatch.setattr(script.module, "SAVE_EVERY", 0.0)
    script.at_step(monkeypatch, 4, spoil)
    out = tmp_path / "out"
    code, line = script.stop(out, capsys)
    assert code == 2
    assert line.startswith(f"error: {what} ")
    where = {"gmm_vi": "step 5", "gmvae": "epoch 4"}[script.module.__name__]
    assert f"{where} is not finite; " in line
    assert line.endswith(
        f"the last good checkpoint is kept in {out}/.{script.module.__name__}-unfinished/checkpoints/00000003"
    )
    tiny.check_unfinished(out)


def test_damaged_checkpoints_of_a_run(script, unbroken, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    monkeypatch.setattr(script.module, "SAVE_EVERY", 0.0)
    with monkeypatch.context() as patch:
        script.at_step(patch, 4, tiny.interrupt)
        script.stop(out, capsys)
    older, newest = sorted(out.glob(".*/checkpoints/*"))
    for path in (newest, older):
        for file in FILES:
            damage(path / file, DAMAGES["flip-0.5"])
        if path == newest:
            shutil.copytree(out, tmp_path / "other")
    before = tiny.tree(out)
    code, line = script.stop(out, capsys, "--resume")
    assert code == 2
    assert line.startswith("error: --resume: no checkpoint in ")
    assert tiny.tree(out) == before
    check_resumes(script, tmp_path / "other", unbroken)
    warning = f"warning: {tmp_path}/other/{newest.relative_to(out)} is damaged or another run's, and left out\n"
    assert capsys.readouterr().err.startswith(warning)


# The disk


@contextmanager
def file_sizes_up_to(size):
    """The kernel refuses to let a file grow larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def check_told(script, out, code, line, reason):
    assert code == 2
    assert line.startswith(f"error: --out {out}: ")
    assert reason in line
    assert line.endswith(f"go on with: {shlex.join([sys.executable, sys.argv[0], '--resume', '--out', str(out)])}")


def test_a_checkpoint_that_cannot_be_written_loses_nothing(script, unbroken, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with file_sizes_up_to(1500):
        check_told(script, out, *script.stop(out, capsys), "File too large")
    check_resumes(script, out, unbroken)


def test_results_that_cannot_be_written_lose_nothing(script, unbroken, tmp_path, monkeypatch, capsys):
    """The weights of `gmvae`, the figures' arrays of `gmm_vi`: TensorFlow's own writing and NumPy's."""
    out = tmp_path / "out"
    finish = RunFolder.finish

    @contextmanager
    def on_a_full_disk(folder):
        with finish(folder) as staging, file_sizes_up_to(1500):
            yield staging

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", on_a_full_disk)
        check_told(script, out, *script.stop(out, capsys), "File too large")
    tiny.check_unfinished(out)
    check_resumes(script, out, unbroken)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB; only root can make one."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a file system here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_loses_nothing(script, unbroken, small_disk, capsys):
    ballast, out = small_disk / "ballast", small_disk / "out"
    ballast.write_bytes(bytes(40_000))
    check_told(script, out, *script.stop(out, capsys), "No space left on device")
    ballast.unlink()
    if script.module is gmm_vi:  # the other's files are larger than this disk
        check_resumes(script, out, unbroken)


# Another run, other data


def test_a_second_run_in_the_same_folder_is_refused(script, unbroken, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        script.at_step(patch, 2, tiny.interrupt)
        script.stop(out, capsys)
    first = RunFolder(str(out), script.module.__name__)
    first.lock()
    before = tiny.tree(out)
    for argv in (script.argv, ["--resume"]):
        assert script.stop(out, capsys, *argv) == (
            2,
            f"error: --out {out}: another run is at work there; let it end, or choose another folder",
        )
    assert tiny.tree(out) == before
    first.unlock()
    check_resumes(script, out, unbroken)


def test_a_run_in_a_new_folder_keeps_others_out_until_it_ends(script, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    second = RunFolder(str(out), script.module.__name__)
    seen = []

    def enter():
        with pytest.raises(InputError, match="another run is at work there"):
            second.lock()
        second.unlock()
        seen.append(True)

    script.at_step(monkeypatch, 1, enter)
    script.run(*script.argv, out=out)
    assert seen
    second.lock()
    second.unlock()


def test_a_file_system_without_locks_is_good_enough(tmp_path, monkeypatch):
    def flock(*args):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", flock)
    folder = RunFolder(str(tmp_path), "script")
    folder.lock()
    folder.unlock()


def test_changed_data_are_not_gone_on_with(script, unbroken, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        script.at_step(patch, 2, tiny.interrupt)
        script.stop(out, capsys)
    data = Path(script.argv[1])
    file = data if data.is_file() else data / "train-labels-idx1-ubyte"
    content = file.read_bytes()
    file.write_bytes(content[:-2] + (b"9\n" if data.is_file() else b"\5\5"))
    before = tiny.tree(tmp_path)
    code, line = script.stop(out, capsys, "--resume")
    assert code == 2
    assert line == (
        f"error: --resume: {data} changed since the run in {out} began; put the old data back, or start anew without "
        "--resume"
    )
    assert tiny.tree(tmp_path) == before
    file.write_bytes(content)
    check_resumes(script, out, unbroken)
