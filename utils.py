"""What both scripts need: data, scores, the run's folder, settings and the figures' common look.

Import it before TensorFlow: it loads TensorFlow without the start-up messages that no setting silences.
"""

import argparse
import csv
import dataclasses
import fcntl
import gzip
import hashlib
import json
import math
import os
import platform
import re
import reprlib
import shlex
import shutil
import signal
import sys
import tempfile
import textwrap
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TextIO

import matplotlib
import numpy as np
import scipy
import sklearn
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Sends what C++ code writes to standard error to nowhere."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # silences most; what comes before it is read needs more
with _silent_stderr():
    import tensorflow as tf

    import zhusuan as zs

# ---------------------------------------------------------------------------------------------------------------------
# Settings and the command line
# ---------------------------------------------------------------------------------------------------------------------


class InputError(Exception):
    """Bad input from the user: one line that names the value and the remedy, whatever characters the value has."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


def setting(default: Any, help: str = "", at_least: float | None = None, at_most: float | None = None) -> Any:
    """A field of a dataclass of settings. One with `help` becomes an option of the command line."""
    return dataclasses.field(default=default, metadata={"help": help, "at_least": at_least, "at_most": at_most})


def option(name: str) -> str:
    """The command-line option of a setting: `batch_size` is `--batch-size`."""
    return "--" + name.replace("_", "-")


def check_settings(settings: Any) -> None:
    """Checks every setting against its bounds.

    Raises:
        InputError: one is out of range or not finite.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        low, high = field.metadata["at_least"], field.metadata["at_most"]
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            wanted = f"at least {low}" if high is None else f"from {low} to {high}"
            raise InputError(f"{option(field.name)} {value}: wanted a number {wanted}")


def print_settings(settings: Any) -> None:
    """Prints every setting, in lines of at most 100 characters where no single one is longer."""
    pairs = (f"{name}={value}" for name, value in dataclasses.asdict(settings).items())
    print(textwrap.fill(" ".join(pairs), 100, break_long_words=False, break_on_hyphens=False), flush=True)


class ArgumentParser(argparse.ArgumentParser):
    """argparse whose errors are `InputError`s."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise InputError(f"{message}; see --help")


def parse_settings(settings_type: type, description: str, argv: list[str] | None) -> tuple[dict[str, Any], bool]:
    """Reads the command line.

    Args:
        settings_type: dataclass of settings; its fields with a help text are the options.
        description: the text above the options in `--help`.
        argv: arguments, None for those of the process.

    Returns:
        the settings that were given explicitly, and whether `--resume` was.
    """
    parser = ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    for field in dataclasses.fields(settings_type):
        if not field.metadata["help"]:
            continue
        kind = type(field.default) if field.default is not None else str
        if kind is bool:
            parser.add_argument(
                option(field.name), action="store_true", default=argparse.SUPPRESS, help=field.metadata["help"]
            )
            continue
        default = "" if field.default is None else f" (default: {field.default})"
        metavar = {int: "N", float: "X", str: "PATH"}[kind]
        parser.add_argument(
            option(field.name),
            type=kind,
            metavar=metavar,
            default=argparse.SUPPRESS,
            help=(field.metadata["help"] + default).replace("%", "%%"),
        )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the unfinished run in --out with its own settings; draw the figures again where it is finished",
    )
    given = vars(parser.parse_args(argv))
    return given, given.pop("resume")


def run_main(main: Callable[[], None]) -> None:
    """Runs a script's `main`; bad input ends in one line on standard error and exit code 2, a signal in its code."""
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt as stop:
        sys.exit(128 + (stop.args[0] if stop.args else signal.SIGINT))


@contextmanager
def private_seed(seed: int) -> Iterator[None]:
    """Draws from a seed of its own inside the block, and leaves the caller's draws as if it had not been."""
    generator = zs.get_generator()
    state = tf.identity(generator.state)
    generator.reset_from_seed(seed)
    try:
        yield
    finally:
        generator.reset(state)


def threads() -> int:
    """The number of TensorFlow's threads, which changes the last digits of sums."""
    return int(os.environ.get("TF_NUM_INTRAOP_THREADS") or os.cpu_count() or 1)


def cosine_adam(learned: list[tf.Variable], learning_rate: float, steps: int) -> tf.keras.optimizers.Optimizer:
    """Adam whose step size falls to 0 along a cosine (Loshchilov & Hutter 2017)."""
    optimizer = tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(learning_rate, steps))
    optimizer.build(learned)
    return optimizer


def averaging_adam(learned: list[tf.Variable], learning_rate: float, steps: int) -> tf.keras.optimizers.Optimizer:
    """Adam that keeps averages of the weights, in which a step counts e times less than one so many steps later (Polyak
    & Juditsky 1992, with exponential weights); `finalize_variable_values` puts them in the weights' place."""
    optimizer = tf.keras.optimizers.Adam(learning_rate, use_ema=True, ema_momentum=1 - 1 / max(1, steps))
    optimizer.build(learned)
    return optimizer


def config(settings: Any) -> dict[str, Any]:
    """What metrics.json says of how its numbers came to be."""
    return {**dataclasses.asdict(settings), "threads": threads(), "versions": versions()}


def versions() -> dict[str, str]:
    """Versions of everything that has a part in the numbers."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": tf.keras.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "matplotlib": matplotlib.__version__,
    }


# ---------------------------------------------------------------------------------------------------------------------
# The run's folder
# ---------------------------------------------------------------------------------------------------------------------


class RunFolder:
    """A run's folder: a finished run's files lie in it, an unfinished run's state in a hidden folder inside.

    A finished run's files stay until a new run in the same folder has all of its own; these wait in a second hidden
    folder while they are moved into place. Foreign files stay for good.

    Args:
        path: the folder, made by `start`.
        script: the script's name; another script's run is not touched.
    """

    def __init__(self, path: str, script: str) -> None:
        self.path = Path(path)
        self.script = script
        self.unfinished = self.path / f".{script}-unfinished"
        self.finished = self.path / f".{script}-finished"
        self.descriptor: int | None = None  # of the folder, while this process has its lock

    def check_writable(self) -> None:
        """Tries the folder, or the nearest one above it that exists, and leaves nothing behind.

        Raises:
            InputError: it is no folder, cannot be written to, or holds another script's run.
        """
        nearest = self.path
        try:
            while not nearest.exists() and nearest != nearest.parent:
                nearest = nearest.parent
            if not nearest.is_dir():
                raise NotADirectoryError(20, "a file is in the way")
            with tempfile.TemporaryFile(dir=nearest):
                pass
            if (self.path / "settings.json").exists():
                self.stored_settings(self.path / "settings.json")
        except OSError as error:
            raise InputError(
                f"--out {self.path}: cannot write to {nearest} ({error.strerror}); choose another folder"
            ) from None

    def lock(self) -> None:
        """Keeps other runs out of the folder, where there is one, until `unlock` or the end of the process.

        Raises:
            InputError: another run is at work in it.
        """
        if self.descriptor is not None or not self.path.is_dir():
            return
        self.descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"--out {self.path}: another run is at work there; let it end, or choose another folder"
            ) from None
        except OSError:
            pass  # some network file systems have no locks on folders

    def unlock(self) -> None:
        """Lets other runs in again."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def start(self, settings: Any) -> None:
        """Makes the folder and begins a new unfinished run in it."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock()
        self.complete()
        if self.is_unfinished:
            print(f"note: discarding the unfinished run in {self.path}, which --resume would have gone on with")
        shutil.rmtree(self.unfinished, ignore_errors=True)
        self.unfinished.mkdir()
        stored = {"script": self.script, **dataclasses.asdict(settings)}
        write_json(self.unfinished / "settings.json", stored)

    def stored_settings(self, path: Path) -> dict[str, Any]:
        """The settings in a file, if a run of this script wrote it."""
        try:
            stored = json.loads(path.read_text())
            if stored.pop("script") != self.script:
                raise ValueError
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"--out {self.path}: {path} is not of {self.script}.py; choose another folder") from None
        return stored

    def finished_settings(self, *files: str) -> dict[str, Any]:
        """The settings of a finished run that has these files.

        Raises:
            FileNotFoundError: there is none, or it lacks one of them.
            InputError: the run is another script's.
        """
        for name in ("settings.json", *files):
            if not (self.path / name).is_file():
                raise FileNotFoundError(f"{self.path / name} is missing: run {self.script}.py --out {self.path} first")
        return self.stored_settings(self.path / "settings.json")

    def resume(self, settings_type: type, given: dict[str, Any], pictured: tuple[str, ...]) -> Any:
        """The settings of the run in the folder.

        Args:
            settings_type: dataclass of settings.
            given: settings of the command line; they must be the run's.
            pictured: files of a finished run that its figures are drawn from.

        Raises:
            InputError: there is no run, it is another script's, a given setting is not the run's, or a file is missing.
        """
        places = [folder / "settings.json" for folder in (self.finished, self.unfinished, self.path)]
        path = next((path for path in places if path.is_file()), None)
        if path is None:
            raise InputError(f"--resume: {self.path} holds no run of {self.script}.py; start one without --resume")
        try:
            settings = settings_type(**{**self.stored_settings(path), "out": str(self.path)})
        except TypeError:
            raise InputError(f"--resume: {path} is of another version; start anew without --resume") from None
        for name, value in given.items():
            if name != "out" and value != getattr(settings, name):
                raise InputError(
                    f"{option(name)} {value}: the run in {self.path} has {option(name)} {getattr(settings, name)}; "
                    "leave the option out with --resume, or start anew without --resume"
                )
        for name in pictured:
            if not self.is_unfinished and not (self.path / name).is_file():
                raise InputError(f"--resume: {self.path / name} is missing; start anew without --resume")
        return settings

    @property
    def is_unfinished(self) -> bool:
        """Whether a run lies in the folder that `--resume` has work to do on."""
        return (self.unfinished / "settings.json").is_file() or self.finished.is_dir()

    @property
    def resume_command(self) -> str:
        """The command that goes on with the folder's run."""
        return shlex.join([sys.executable, sys.argv[0], "--resume", "--out", str(self.path)])

    @contextmanager
    def finish(self) -> Iterator[Path]:
        """Gives an empty folder for the finished run's files, then moves them into place one by one, each whole."""
        staging = self.unfinished / "finished"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        shutil.copy(self.unfinished / "settings.json", staging)
        yield staging
        os.replace(staging, self.finished)  # from here on the run is finished
        self.complete()

    def complete(self) -> None:
        """Moves a finished run's files into place, also those that a kill kept from it."""
        if self.finished.is_dir():
            shutil.rmtree(self.unfinished, ignore_errors=True)
            for file in sorted(self.finished.iterdir()):
                os.replace(file, self.path / file.name)
            self.finished.rmdir()


@contextmanager
def open_run(
    settings_type: type,
    script: str,
    description: str,
    pictured: tuple[str, ...],
    argv: list[str] | None,
    default_out: Callable[[dict[str, Any]], str] | None = None,
) -> Iterator[tuple[Any, dict[str, Any], RunFolder, bool]]:
    """Reads the command line and checks it, for the block that does the run; makes and changes nothing, but for the
    moves of a finished run that a kill left undone. No other run enters the folder before the block ends.

    Args:
        settings_type: dataclass of settings, with an `out`.
        script: the script's name.
        description: the text above the options in `--help`.
        pictured: files of a finished run that its figures are drawn from.
        argv: arguments, None for those of the process.
        default_out: the folder for given settings without `out`, where it is not always the default.

    Returns:
        the settings, those given explicitly, the run's folder, and whether to resume.

    Raises:
        InputError: a setting is out of range, the folder cannot be written to, or holds nothing to resume, or another
            run; or a file cannot be written in the block.
    """
    given, resume = parse_settings(settings_type, description, argv)
    out = given["out"] if "out" in given else default_out(given) if default_out else settings_type.out
    folder = RunFolder(out, script)
    folder.check_writable()
    try:
        folder.lock()
        settings = folder.resume(settings_type, given, pictured) if resume else settings_type(**{"out": out, **given})
        check_settings(settings)
        if resume:
            folder.complete()
        yield settings, given, folder, resume
    except BrokenPipeError:  # no file
        raise
    except OSError as error:
        remedy = f"mend that and go on with: {folder.resume_command}" if folder.is_unfinished else "mend that"
        raise InputError(f"--out {folder.path}: {error.strerror or error}; {remedy}") from None
    except KeyboardInterrupt:
        if folder.is_unfinished:
            print(f"\nstopped; go on with: {folder.resume_command}", file=sys.stderr)
        raise
    finally:
        folder.unlock()


def checksum(*data: np.ndarray) -> str:
    """The SHA-256 of arrays, one after the other."""
    return hashlib.sha256(b"".join(hashlib.sha256(array).digest() for array in data)).hexdigest()


def with_checksum(settings: Any, resume: bool, *data: np.ndarray) -> Any:
    """The settings of a run with the SHA-256 of its data in `data_sha256`.

    Raises:
        InputError: the run is resumed and began with other data.
    """
    found = checksum(*data)
    if resume and found != settings.data_sha256:
        raise InputError(
            f"--resume: {settings.data or 'the drawn points'} changed since the run in {settings.out} began; "
            "put the old data back, or start anew without --resume"
        )
    return dataclasses.replace(settings, data_sha256=found)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes text, whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text)
    os.replace(temporary, path)


@contextmanager
def file_errors(what: str = "") -> Iterator[None]:
    """Raises TensorFlow's errors of files, such as a full disk or damaged bytes, as OSError."""
    try:
        yield
    except (tf.errors.OpError, IndexError) as error:
        message = getattr(error, "message", str(error))
        raise OSError(what + re.sub(r"\{\{.*?\}\} | \[Op:.*", "", message)) from None


def write_checkpoint(checkpoint: tf.train.Checkpoint, prefix: Path) -> None:
    """Writes a checkpoint.

    Raises:
        OSError: the disk is full, for example.
    """
    with file_errors():
        checkpoint.write(str(prefix))


# ---------------------------------------------------------------------------------------------------------------------
# Training that can be stopped
# ---------------------------------------------------------------------------------------------------------------------


class Checkpoints:
    """The state of a training loop in the run's folder: the last two saved, each a folder with a number for its name.

    Args:
        folder: the run's folder.
        checkpoint: tracks the whole state, with a float variable `seconds`, the time of training.
        every: seconds between two saves.
        remedy: what to try where the state is not finite.
        fits: number of independent fits along the first axis of every float variable but scalars. The state is finite
            while one fit is.
    """

    def __init__(
        self, folder: RunFolder, checkpoint: tf.train.Checkpoint, every: float, remedy: str, fits: int = 1
    ) -> None:
        self.folder = folder.unfinished / "checkpoints"
        self.settings = folder.unfinished / "settings.json"
        self.checkpoint = checkpoint
        self.every = every
        self.remedy = remedy
        self.fits = fits
        self.newest: Path | None = None  # that is good

    def restore(self) -> None:
        """Restores the newest good checkpoint, if there are any checkpoints.

        Raises:
            InputError: there are checkpoints, none of them good.
        """
        found = self.saved()
        for path in reversed(found):
            try:
                if (path / "settings.json").read_bytes() != self.settings.read_bytes():
                    raise ValueError("another run's")
                # A foreign one would be told at length but for `expect_partial`.
                self.checkpoint.read(str(path / "state")).expect_partial().assert_consumed()
            except Exception:  # of many types: damaged bytes give IndexError, too
                print(f"warning: {path} is damaged or another run's, and left out", file=sys.stderr)
            else:
                self.newest = path
                return
        if found:
            raise InputError(f"--resume: no checkpoint in {self.folder} is good; start anew without --resume")

    def saved(self) -> list[Path]:
        """The checkpoints, good or not, from old to new."""
        return sorted(self.folder.glob("[0-9]" * 8))

    @contextmanager
    def training(self) -> Iterator[None]:
        """Around the loop: starts its clock and holds signals back for `update`."""
        with held_signals() as self.signals:
            self.started = time.perf_counter()
            yield

    def update(self, where: str, due: bool) -> None:
        """After each round of the loop: saves where it is time to, where it is due and at a signal.

        Raises:
            InputError: the state is not finite.
            OSError: it cannot be written.
            KeyboardInterrupt: a signal came, and the state is saved.
        """
        now = time.perf_counter()
        if now - self.started >= self.every or due or self.signals:
            self.checkpoint.seconds.assign_add(now - self.started)
            self.started = now
            self.save(where)
            if self.signals:
                raise KeyboardInterrupt(self.signals[0])

    def not_finite(self, what: str) -> InputError:
        """The error that stops the run where numbers are NaN or infinite."""
        kept = f"the last good checkpoint is kept in {self.newest}" if self.newest else "no checkpoint was saved before"
        return InputError(f"{what} is not finite; {self.remedy}; {kept}")

    def save(self, where: str) -> None:
        """Saves the state whole and finite, or not at all."""
        temporary = self.folder / "part"
        shutil.rmtree(temporary, ignore_errors=True)
        write_checkpoint(self.checkpoint, temporary / "state")
        shutil.copy(self.settings, temporary)
        finite = np.ones(self.fits, bool)
        # What was written is read again: that tells its numbers and that it can be.
        with file_errors("the checkpoint just written: "):
            reader = tf.train.load_checkpoint(str(temporary / "state"))
            for name in reader.get_variable_to_dtype_map():
                values = np.asarray(reader.get_tensor(name))
                if values.dtype.kind == "f":
                    finite &= np.isfinite(values).reshape(self.fits if values.ndim else 1, -1).all(axis=1)
        if not finite.any():
            raise self.not_finite(f"the state at {where}")
        number = 1 + max((int(path.name) for path in self.saved()), default=0)
        path = self.folder / f"{number:08}"
        os.replace(temporary, path)
        for other in self.folder.iterdir():
            if other not in (path, self.newest):
                shutil.rmtree(other)
        self.newest = path


@contextmanager
def held_signals() -> Iterator[list[int]]:
    """Inside the block SIGINT and SIGTERM are only put in the list, for a loop to stop where its state is whole; at the
    end of the block they raise KeyboardInterrupt. A second one ends the process at once.

    A thread of its own sees them, as Python's handlers wait for the end of a compiled call.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # has no say in signals
        yield received
        return
    stopping = (signal.SIGINT, signal.SIGTERM)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen() -> None:
        while number := os.read(reader, 1):
            if number[0] in stopping and received:
                os._exit(128 + number[0])
            elif number[0] in stopping:
                received.append(number[0])
                print("\nstopping as soon as the state is saved; a second time stops at once", file=sys.stderr)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    wakeup = signal.set_wakeup_fd(writer)
    handlers = [signal.signal(number, lambda *_: None) for number in stopping]
    try:
        yield received
    finally:
        for number, handler in zip(stopping, handlers, strict=True):
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(writer)
        listener.join()
        os.close(reader)
    if received:
        raise KeyboardInterrupt(received[0])


# ---------------------------------------------------------------------------------------------------------------------
# Data
# ---------------------------------------------------------------------------------------------------------------------


LONGEST_LINE = 10_000  # of a CSV file, in characters
MOST_POINTS = 10**7
MOST_IMAGES = 10**6


def read_points(path: str) -> np.ndarray:
    """Reads a CSV of two numeric columns, with or without a header line.

    Returns:
        float64 `[N, 2]`.

    Raises:
        InputError: the file is missing, empty, ragged or not numeric, holds NaN or infinity, has not two columns, or a
            column is constant or out of range.
    """
    where = f"--data {path}"
    points = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(_lines(file))
            rows = (row for row in reader if len(row) > 1 or "".join(row).strip())  # no blank lines
            for i, row in enumerate(rows):
                if len(points) == MOST_POINTS:
                    raise InputError(f"{where}: holds more than {MOST_POINTS} points; give a sample of them")
                if i > 0 or len(row) != 2 or any(map(_is_number, row)):  # no header
                    points.append(_point(row, f"{where}: line {reader.line_num}"))
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); give a CSV file of two columns") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{where}: is no text in CSV form ({error}); give a CSV file of two columns") from None
    if not points:
        raise InputError(f"{where}: holds no points; give a CSV file of two numeric columns")
    points = np.array(points)
    for column in range(2):
        values = points[:, column]
        largest = np.abs(values).max()
        if largest > 1e150 or 0 < np.ptp(values) < 1e-150:  # its square leaves the range of float64
            raise InputError(f"{where}: column {column + 1} has values near {largest:g}; give it in another unit")
        # Below this spread the column's digits are rounding.
        if np.ptp(values) <= 1e-12 * largest:
            raise InputError(
                f"{where}: column {column + 1} is constant at {values[0]:g} but for rounding; wanted two varying ones"
            )
    return points


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a file, none of them so long that it fills the memory."""
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise csv.Error(f"a line of more than {LONGEST_LINE} characters")
        yield line


def _point(row: list[str], where: str) -> list[float]:
    """The two numbers of a line."""
    line = ",".join(row)
    if re.search("[;\t]", line):
        raise InputError(
            f"{where} has {reprlib.repr(line)}; wanted two columns separated by a comma, with a point in numbers: "
            "replace the commas by points, then ';' or tabs by commas"
        )
    if len(row) != 2:
        raise InputError(f"{where} has {len(row)} columns; wanted two, separated by a comma")
    for field in row:
        if not _is_number(field) or "_" in field:  # Python alone reads 1_000 as a number
            raise InputError(f"{where} has {reprlib.repr(field.strip())}; wanted a number")
    point = [float(field) for field in row]
    if not all(map(math.isfinite, point)):
        raise InputError(f"{where} has {reprlib.repr(line)}; wanted finite numbers, drop or repair the line")
    return point


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def slices(rows: Any, size: int) -> Iterator[Any]:
    """Slices of at most `size` rows, which keep an evaluation's memory bounded."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


class Images(NamedTuple):
    """Images of a data set in MNIST's format: uint8 `[N, 784]` and labels uint8 `[N]`, for training and testing."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def read_images(folder: str) -> Images:
    """Reads the four IDX files of MNIST, or of any data set in its format, gzipped or not.

    Raises:
        InputError: a file is missing, corrupt or truncated, or the four do not fit together.
    """
    train, test = _read_idx(folder, "train-images-idx3-ubyte", 3), _read_idx(folder, "t10k-images-idx3-ubyte", 3)
    labels = [_read_idx(folder, f"{part}-labels-idx1-ubyte", 1) for part in ("train", "t10k")]
    for name, images, label in zip(("train", "t10k"), (train, test), labels, strict=True):
        where = f"--data {folder}: {name}"
        if len(images) == 0:
            raise InputError(f"{where} has no images; wanted at least one")
        if len(images) != len(label):
            raise InputError(f"{where} has {len(images)} images but {len(label)} labels; wanted as many of both")
        if label.max() > 9:
            raise InputError(f"{where} has a label {label.max()}; wanted labels from 0 to 9")
    return Images(train.reshape(-1, 784), labels[0], test.reshape(-1, 784), labels[1])


def set_aside(images: Images, n: int) -> Images:
    """The same data with the last n training images, and their labels, in the place of the test images.

    Raises:
        InputError: there are not more training images than these.
    """
    if len(images.train) <= n:
        raise InputError(f"--validate: wanted more than {n} training images, got {len(images.train)}; leave it out")
    return Images(images.train[:-n], images.train_labels[:-n], images.train[-n:], images.train_labels[-n:])


def _read_idx(folder: str, name: str, n_axes: int) -> np.ndarray:
    """One IDX file of unsigned bytes: magic number 0x08 and the number of axes, the sizes, the bytes. Reads no more
    than the sizes want and one byte, whatever a gzip file unfolds to."""
    path = next((p for p in (Path(folder, name + ".gz"), Path(folder, name)) if os.path.isfile(p)), None)
    if path is None:
        raise InputError(f"--data {folder}: {name}[.gz] is missing; wanted a folder with the four files of MNIST")
    content = bytearray()
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            header = file.read(4 + 4 * n_axes)
            if len(header) < 4 + 4 * n_axes or header[:4] != bytes([0, 0, 8, n_axes]):
                raise InputError(
                    f"--data {path}: begins with {header[:4].hex() or 'nothing'}; wanted 0000080{n_axes}, the magic "
                    f"number of an IDX file of bytes with {n_axes} axes"
                )
            shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(4, len(header), 4))
            if shape[1:] not in ((), (28, 28)):
                raise InputError(f"--data {path}: images are {shape[1]} x {shape[2]} pixels; wanted 28 x 28")
            if shape[0] > MOST_IMAGES:
                raise InputError(f"--data {path}: its header says {shape[0]} images; wanted at most {MOST_IMAGES}")
            wanted = math.prod(shape)
            # In parts, as one call would make room for all that a corrupt header wants.
            while part := file.read(min(wanted + 1 - len(content), 2**20)):
                content += part
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"--data {path}: is corrupt or truncated ({error}); get the file again") from None
    if len(content) != wanted:
        found = "more" if len(content) > wanted else len(content)
        raise InputError(
            f"--data {path}: its sizes {shape} want {wanted} bytes after the header, it holds {found}; get the file "
            "again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


# ---------------------------------------------------------------------------------------------------------------------
# Scores
# ---------------------------------------------------------------------------------------------------------------------


def match_clusters(clusters: np.ndarray, classes: np.ndarray, n_clusters: int, n_classes: int) -> np.ndarray:
    """The best one-to-one matching of clusters to classes (the Hungarian method).

    Returns:
        int `[n_clusters]`: each cluster's class, -1 where there are more clusters than classes.
    """
    counts = contingency(clusters, classes, n_clusters, n_classes)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    matched = np.full(n_clusters, -1)
    matched[rows] = columns
    return matched


def contingency(clusters: np.ndarray, classes: np.ndarray, n_clusters: int, n_classes: int) -> np.ndarray:
    """Counts of every pair of cluster and class, `[n_clusters, n_classes]`."""
    counts = np.zeros((n_clusters, n_classes), int)
    np.add.at(counts, (clusters, classes), 1)
    return counts


def adjusted_rand_index(counts: np.ndarray) -> float:
    """Of two clusterings (Hubert & Arabie 1985, eq. 5) from their `contingency`, int `[K, K']`. That of scikit-learn
    needs the labels of all points at once, and 40 bytes more for each."""

    def pairs(count: np.ndarray) -> int:
        return sum(int(c) * (int(c) - 1) // 2 for c in count.flat)

    both, ours, theirs = pairs(counts), pairs(counts.sum(axis=1)), pairs(counts.sum(axis=0))
    expected = ours * theirs / max(1, pairs(counts.sum(keepdims=True)))
    most = (ours + theirs) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def cluster_accuracy(clusters: np.ndarray, classes: np.ndarray, n_clusters: int, n_classes: int) -> float:
    """Share of points whose cluster's matched class is their own."""
    matched = match_clusters(clusters, classes, n_clusters, n_classes)
    return float(np.mean(matched[clusters] == classes))


def cluster_scores(
    clusters: np.ndarray, clusters_model: np.ndarray, classes: np.ndarray, n_clusters: int
) -> dict[str, float]:
    """Accuracy of both clusterings; normalised mutual information and adjusted Rand index of the first."""
    n_classes = 10
    return {
        "accuracy": cluster_accuracy(clusters, classes, n_clusters, n_classes),
        "accuracy_model": cluster_accuracy(clusters_model, classes, n_clusters, n_classes),
        "nmi": float(normalized_mutual_info_score(classes, clusters)),
        "ari": float(adjusted_rand_score(classes, clusters)),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Figures
# ---------------------------------------------------------------------------------------------------------------------

# Okabe and Ito's colours, which colour-blind readers tell apart, and two of Tol's to make ten.
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#661100",
    "#000000",
    "#882255",
    "#999933",
)


def colours(n: int) -> np.ndarray:
    """RGB of n colours, `[n, 3]`; beyond ten they come again, paler."""
    base = np.array([matplotlib.colors.to_rgb(colour) for colour in COLOURS])
    rounds = np.arange(n) // len(base)
    return 1 - (1 - base[np.arange(n) % len(base)]) * 0.6 ** rounds[:, None]


@contextmanager
def figure_style() -> Iterator[None]:
    """The common look: one column of a paper is 3.4 inches wide, the text 8 points."""
    style = {
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "legend.fontsize": 7,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
        "legend.frameon": False,
        "lines.linewidth": 1.2,
        "pdf.fonttype": 42,
        "savefig.bbox": "tight",
        "savefig.dpi": 200,
        "figure.constrained_layout.use": True,
    }
    with matplotlib.rc_context(style):
        yield


def outlined_text(axes: Axes, x: float, y: float, text: Any) -> None:
    """Bold text that can be read on any ground."""
    outline = [patheffects.withStroke(linewidth=2, foreground="white")]
    axes.text(x, y, text, ha="center", va="center", fontweight="bold", path_effects=outline)


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Writes a figure as PDF and PNG, each whole or not at all."""
    for suffix, metadata in (("pdf", {"CreationDate": None}), ("png", {})):
        temporary = folder / f".{name}.part.{suffix}"
        figure.savefig(temporary, metadata=metadata)
        os.replace(temporary, folder / f"{name}.{suffix}")
