"""What both scripts need: data, scores, the run's folder, settings and the figures' common look.

Import it before TensorFlow: it loads TensorFlow without the start-up messages that no setting silences.
"""

import argparse
import csv
import dataclasses
import gzip
import json
import os
import platform
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

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
    """Bad input from the user: one line that names the value and the remedy."""


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


class ArgumentParser(argparse.ArgumentParser):
    """argparse with the scripts' form of an error: a last line that begins with `error:`, exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"error: {message}; see --help", file=sys.stderr)
        sys.exit(2)


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
    """Runs a script's `main`; bad input ends in one line on standard error and exit code 2."""
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("\ninterrupted: the same command with --resume goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


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

    A finished run's files stay until a new run in the same folder has all of its own; foreign files stay for good.

    Args:
        path: the folder, made by `start`.
        script: the script's name; another script's run is not touched.
    """

    def __init__(self, path: str, script: str) -> None:
        self.path = Path(path)
        self.script = script
        self.unfinished = self.path / f".{script}-unfinished"

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

    def start(self, settings: Any) -> None:
        """Makes the folder and begins a new unfinished run in it."""
        shutil.rmtree(self.unfinished, ignore_errors=True)
        self.unfinished.mkdir(parents=True)
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

    def resume(self, settings_type: type, given: dict[str, Any], pictured: tuple[str, ...]) -> Any:
        """The settings of the run in the folder.

        Args:
            settings_type: dataclass of settings.
            given: settings of the command line; they must be the run's.
            pictured: files of a finished run that its figures are drawn from.

        Raises:
            InputError: there is no run, it is another script's, a given setting is not the run's, or a file is missing.
        """
        path = (self.unfinished if self.is_unfinished else self.path) / "settings.json"
        if not path.is_file():
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
        """Whether an unfinished run lies in the folder."""
        return (self.unfinished / "settings.json").is_file()

    @contextmanager
    def finish(self) -> Iterator[Path]:
        """Gives an empty folder for the finished run's files, then moves them into place one by one, each whole."""
        staging = self.unfinished / "finished"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        shutil.copy(self.unfinished / "settings.json", staging)
        yield staging
        for file in sorted(staging.iterdir()):
            os.replace(file, self.path / file.name)
        shutil.rmtree(self.unfinished)


def open_run(
    settings_type: type, script: str, description: str, pictured: tuple[str, ...], argv: list[str] | None
) -> tuple[Any, dict[str, Any], RunFolder, bool]:
    """Reads the command line and checks it; makes and changes nothing.

    Args:
        settings_type: dataclass of settings, with an `out`.
        script: the script's name.
        description: the text above the options in `--help`.
        pictured: files of a finished run that its figures are drawn from.
        argv: arguments, None for those of the process.

    Returns:
        the settings, those given explicitly, the run's folder, and whether to resume.

    Raises:
        InputError: a setting is out of range, the folder cannot be written to, or holds nothing to resume.
    """
    given, resume = parse_settings(settings_type, description, argv)
    folder = RunFolder(given.get("out", settings_type.out), script)
    folder.check_writable()
    settings = folder.resume(settings_type, given, pictured) if resume else settings_type(**given)
    check_settings(settings)
    return settings, given, folder, resume


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON, whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    os.replace(temporary, path)


# ---------------------------------------------------------------------------------------------------------------------
# Data
# ---------------------------------------------------------------------------------------------------------------------


def read_points(path: str) -> np.ndarray:
    """Reads a CSV of two numeric columns, with or without a header line.

    Returns:
        float64 `[N, 2]`.

    Raises:
        InputError: the file is missing, empty, ragged or not numeric, holds NaN or infinity, has not two columns, or a
            column is constant or out of range.
    """
    where = f"--data {path}"
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = enumerate(csv.reader(file), 1)
            rows = [(number, row) for number, row in lines if len(row) > 1 or "".join(row).strip()]  # no blank lines
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); give a CSV file of two columns") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{where}: is no text in CSV form ({error}); give a CSV file of two columns") from None
    if rows and not any(_is_number(field) for field in rows[0][1]):
        rows = rows[1:]
    if not rows:
        raise InputError(f"{where}: holds no points; give a CSV file of two numeric columns")
    for number, row in rows:
        if len(row) != 2:
            raise InputError(f"{where}: line {number} has {len(row)} columns; wanted two, separated by a comma")
    try:
        points = np.array([row for _, row in rows], dtype=np.float64)
    except ValueError:
        number, field = next((n, field) for n, row in rows for field in row if not _is_number(field))
        raise InputError(f"{where}: line {number} has {field.strip()!r}; wanted a number") from None
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        number, row = rows[int(np.argmin(finite))]
        raise InputError(f"{where}: line {number} has {','.join(row)}; wanted finite numbers, drop or repair the line")
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
        if images.shape[1:] != (28, 28):
            raise InputError(f"{where} images are {images.shape[1]} x {images.shape[2]} pixels; wanted 28 x 28")
        if len(images) == 0:
            raise InputError(f"{where} has no images; wanted at least one")
        if len(images) != len(label):
            raise InputError(f"{where} has {len(images)} images but {len(label)} labels; wanted as many of both")
        if label.max() > 9:
            raise InputError(f"{where} has a label {label.max()}; wanted labels from 0 to 9")
    return Images(train.reshape(-1, 784), labels[0], test.reshape(-1, 784), labels[1])


def _read_idx(folder: str, name: str, n_axes: int) -> np.ndarray:
    """One IDX file of unsigned bytes: magic number 0x08 and the number of axes, the sizes, the bytes."""
    path = next((p for p in (Path(folder, name + ".gz"), Path(folder, name)) if os.path.isfile(p)), None)
    if path is None:
        raise InputError(f"--data {folder}: {name}[.gz] is missing; wanted a folder with the four files of MNIST")
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"--data {path}: is corrupt or truncated ({error}); get the file again") from None
    header = 4 + 4 * n_axes
    if len(content) < header or content[:4] != bytes([0, 0, 8, n_axes]):
        raise InputError(
            f"--data {path}: begins with {content[:4].hex() or 'nothing'}; wanted 0000080{n_axes}, the magic number of "
            f"an IDX file of bytes with {n_axes} axes"
        )
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4))
    wanted = int(np.prod(shape, dtype=object))
    if len(content) - header != wanted:
        raise InputError(
            f"--data {path}: holds {len(content) - header} bytes after its header; its sizes {shape} want {wanted}, "
            "get the file again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


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
