"""Draws the figures of part 2's studies: `python report/gmm_figures.py`.

From report/results/ to plots/gmm-study/, with a README.md there that says of each figure, in a sentence made from the
same results, what it shows. A figure whose results are not there yet is left out.
"""

import functools
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gmm_limit
import gmm_real
import gmm_sweep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from scipy.stats import binomtest

import gmm_vi
import utils

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "report" / "results"
OUT = ROOT / "plots" / "gmm-study"
WIDTH = 6.9  # inches, of a page's text
CLOSE = 1e-3  # nats per point: as good as
NEAR = 0.01  # nats per point, of a race's end
AXIS_WORDS = {  # of the truth
    "k": "number of components",
    "separation": "separation of the means",
    "weight_ratio": "range of the weights",
    "std_ratio": "range of the widths",
    "anisotropy": "anisotropy",
}
LABELS = {
    "n": "points $N$",
    "k": "components $K$",
    "separation": "separation ($\\sigma$)",
    "weight_ratio": "largest / smallest $\\pi$",
    "std_ratio": "widest / narrowest $\\sigma$",
    "anisotropy": "anisotropy",
    "fitted_k": "fitted $K$, the truth is 3",
}
PARAMETERS = {"weights": "$\\pi$", "means": "$\\mu$", "stds": "$\\sigma$"}
FITS = {
    "estimate": {"label": "NVIL", "color": utils.COLOURS[0]},
    "em": {"label": "EM", "color": gmm_vi.EM_COLOUR, "linestyle": ":"},
}
POSTERIORS = (("truth", "true posterior", "0.5", "--"), ("estimate", "NVIL", utils.COLOURS[0], "-"))
Drawn = tuple[Figure, str]


@functools.cache
def read(name: str) -> dict[str, Any]:
    """A study's results."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def band(
    axes: Axes,
    x: Sequence[float],
    values: Sequence[Sequence[float]],
    shade: float = 0.2,
    ends: tuple[float, float] = (0.25, 0.75),
    **style: Any,
) -> None:
    """Median and two quantiles over data sets: a row of values for each x; the shade of many bands is to be lighter."""
    low, middle, high = quantiles(values, ends)
    (line,) = axes.plot(x, middle, **style)
    axes.fill_between(x, low, high, color=line.get_color(), alpha=shade, linewidth=0)


def span(axes: Axes, x: Sequence[float], values: Sequence[Sequence[float]], **style: Any) -> None:
    """Median and range of a row of few values for each x."""
    band(axes, x, values, ends=(0, 1), marker=".", **style)


def quantiles(values: Sequence[Sequence[float]], ends: tuple[float, float] = (0.25, 0.75)) -> np.ndarray:
    """Two quantiles of each row, its quartiles by default, and the median between them, `[3, rows]`."""
    return np.array([np.quantile(row, (ends[0], 0.5, ends[1])) for row in values]).T


def crosses(axes: Axes, x: Sequence[float], values: Sequence[Sequence[float]], **style: Any) -> None:
    """Median and quartiles as crosses with bars."""
    low, middle, high = quantiles(values)
    axes.errorbar(x, middle, yerr=(middle - low, high - middle), fmt="x", markersize=3.5, elinewidth=0.6, **style)


def wilson(counts: Sequence[int], total: int) -> np.ndarray:
    """95 % intervals (Wilson) of shares of a total, %, `[2, counts]`."""
    intervals = [binomtest(count, total).proportion_ci(method="wilson") for count in counts]
    return 100 * np.array([(each.low, each.high) for each in intervals]).T


def shares(axes: Axes, x: Sequence[float], counts: Sequence[int], total: int, **style: Any) -> None:
    """How many of the data sets at each x, %, with 95 % intervals (Wilson)."""
    low, high = wilson(counts, total)
    (line,) = axes.plot(x, 100 * np.divide(counts, total), **style)
    axes.fill_between(x, low, high, color=line.get_color(), alpha=0.12, linewidth=0)


def marked(axes: Axes, x: Sequence[float], values: Sequence[float], clear: Sequence[bool], **style: Any) -> None:
    """Values with marks, filled where they are clear of the noise in them."""
    axes.plot(x, values, marker="o", markersize=3.5, markerfacecolor="white", **style)
    filled = [pair for pair, each in zip(zip(x, values, strict=True), clear, strict=True) if each]
    axes.plot(*zip(*filled, strict=True) if filled else ([], []), "o", markersize=3.5, color=style["color"])


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def on_threads(result: dict[str, Any]) -> str:
    """On how many threads a study ran."""
    threads = result["config"]["threads"]
    return f"{threads} thread" + ("s" if threads > 1 else "")


def sweep(axis: str) -> tuple[list[float], list[list[dict[str, Any]]]]:
    """The values of an axis, and the data sets of each."""
    found = read(f"gmm-sweep/{axis}")["cells"]
    return [cell["cell"][axis] for cell in found], [cell["data_sets"] for cell in found]


def best_known(data_set: dict[str, Any]) -> float:
    """The highest log-likelihood of fits without a degenerate component; NVIL's where all have one."""
    scores, degenerate = data_set["log_likelihood"], data_set["degenerate"]
    sound = [scores[name] for name in ("estimate", "em") if not degenerate[name]]
    return max(sound + sound_restarts(data_set), default=scores["estimate"])


def sound_restarts(data_set: dict[str, Any]) -> list[float]:
    """The log-likelihoods of NVIL's restarts without a degenerate component."""
    pairs = zip(data_set["log_likelihood"]["restarts"], data_set["degenerate"]["restarts"], strict=True)
    return [score for score, degenerate in pairs if not degenerate]


def found(data_set: dict[str, Any]) -> float:
    """How many of NVIL's restarts, %, are without a degenerate component and as good as the best known."""
    good = np.sum(np.array(sound_restarts(data_set)) > best_known(data_set) - CLOSE)
    return 100 * float(good) / len(data_set["log_likelihood"]["restarts"])


def solved(data_set: dict[str, Any], name: str) -> bool:
    """Whether a fit without a degenerate component is as good as the best known."""
    sound = not data_set["degenerate"][name]
    return sound and data_set["log_likelihood"][name] > best_known(data_set) - CLOSE


def median_errors(axis: str, parameter: str, fit: str = "estimate") -> list[float]:
    """The median over data sets of an error, at each value of an axis of the sweep."""
    _, data_sets = sweep(axis)
    return [float(np.median([d["errors"][fit][parameter] for d in row])) for row in data_sets]


def advantage(of: dict[str, Any], fit: str, other: str) -> float:
    """The log-likelihood of a fit less that of another, nats per point."""
    return of["log_likelihood"][fit] - of["log_likelihood"][other]


def n_figure() -> Drawn:
    """Errors, likelihood and clusters against N."""
    n, data_sets = sweep("n")
    figure = Figure(figsize=(WIDTH, 1.75))
    errors, likelihood, rand = figure.subplots(1, 3)
    for i, (name, label) in enumerate(PARAMETERS.items()):
        colour = utils.COLOURS[i]
        band(errors, n, [[d["errors"]["estimate"][name] for d in row] for row in data_sets], color=colour, label=label)
        crosses(errors, n, [[d["errors"]["em"][name] for d in row] for row in data_sets], color=colour)
    errors.plot([], [], color="0.3", linestyle="", marker="x", markersize=4, label="EM")
    errors.plot(n, np.divide(1, np.sqrt(n)), color="0.6", linestyle=":", label="$N^{-1/2}$")
    errors.set(xscale="log", yscale="log", ylabel="RMS error ($\\mu$, $\\sigma$ in own $\\sigma$)")
    errors.legend(loc="upper right", ncols=2, handlelength=1.2, columnspacing=0.8, borderaxespad=0)
    for fit, style in FITS.items():
        band(likelihood, n, [[advantage(d, fit, "truth") for d in row] for row in data_sets], **style)
    likelihood.plot(n, np.divide(14 / 2, n), color="0.6", linestyle=":", label="parameters / $2N$")
    likelihood.set_yscale("symlog", linthresh=1e-4)
    likelihood.axhspan(-1e-4, 1e-4, color="0.93", linewidth=0)
    likelihood.set(xscale="log", ylabel="log-likelihood less the\ntruth's, nats per point")
    likelihood.legend()
    for name, label, colour, line in POSTERIORS:
        values = [[d["ari"][name] for d in row] for row in data_sets]
        band(rand, n, values, color=colour, linestyle=line, label=label)
    rand.set(xscale="log", ylabel="adjusted Rand index")
    rand.legend()
    for axes in (errors, likelihood, rand):
        axes.set_xlabel(LABELS["n"])
    means = median_errors("n", "means")
    slope = np.polyfit(np.log(n[1:]), np.log(means[1:]), 1)[0]
    every = [d for row in data_sets for d in row]
    nvil, em = (sum(solved(d, fit) for d in every) for fit in FITS)
    times = [
        np.median([d["errors"]["estimate"][name] / d["errors"]["em"][name] for d in data_sets[-1]])
        for name in PARAMETERS
    ]
    behind = n[-1] * np.median([advantage(d, "em", "estimate") for d in data_sets[-1]])
    return figure, (
        f"Errors of the means fall as N to the power of {slope:.2f} from N = {n[1]} on: in the median from "
        f"{means[0]:.2f} at N = {n[0]} to {means[-1]:.4f} of their components' standard deviations at {n[-1]:,}. NVIL "
        f"came within 1e-3 nats per point of the best known likelihood on {nvil} of {len(every)} data sets, the best "
        f"EM run on {em}; at N = {n[-1]:,}, where that is no fine measure, the log-likelihood of all points is "
        f"{behind:.1f} nats below EM's, which sees all points at every step, and the errors of weights, means and "
        f"standard deviations are in the median {listed([f'{each:.1f}' for each in times])} times EM's: the noise of "
        "batches. Every N has the same mixtures; in the grey the axis is linear; bands and bars are quartiles over 20 "
        "data sets, from N = 10,000 on the first 5."
    )


def plot_solved(axes: Axes, x: Sequence[float], data_sets: Sequence[Sequence[dict[str, Any]]]) -> None:
    """On what share of the data sets each fit is as good as the best known."""
    marks = {"estimate": {"marker": "o", "markersize": 5, "markerfacecolor": "white"}, "em": {"marker": "."}}
    for fit, style in FITS.items():  # EM's dots fit into NVIL's rings
        counts = [sum(solved(d, fit) for d in row) for row in data_sets]
        style = {**style, **marks[fit], "label": f"{style['label']}, data sets"}
        shares(axes, x, counts, len(data_sets[0]), **style)


def truth_figure() -> Drawn:
    """Errors, optima and clusters against K and the true parameters."""
    figure = Figure(figsize=(WIDTH, 3.0))
    grid = figure.subplots(4, len(AXIS_WORDS), sharey="row", sharex="col")
    words = []
    for column, (name, word) in zip(grid.T, AXIS_WORDS.items(), strict=True):
        x, data_sets = sweep(name)
        errors, optima, rand, divergence = column
        for i, (parameter, label) in enumerate(PARAMETERS.items()):
            colour = utils.COLOURS[i]
            ours = [[d["errors"]["estimate"][parameter] for d in row] for row in data_sets]
            band(errors, x, ours, color=colour, label=f"{label}, NVIL")
            crosses(errors, x, [[d["errors"]["em"][parameter] for d in row] for row in data_sets], color=colour)
        errors.errorbar([], [], yerr=[], fmt="x", markersize=3.5, elinewidth=0.6, color="0.3", label="errors of EM")
        errors.set(yscale="log", yticks=(0.01, 0.1, 1))
        plot_solved(optima, x, data_sets)
        singles = [[found(d) for d in row] for row in data_sets]
        band(optima, x, singles, color="0.3", linestyle="-.", label="NVIL, restarts")
        for fit, label, colour, line in POSTERIORS:
            values = [[d["ari"][fit] for d in row] for row in data_sets]
            label = "ARI of NVIL" if fit == "estimate" else "ARI of the true posterior"
            band(rand, x, values, color=colour, linestyle=line, label=label)
        kl = [[max(d["kl"], 1e-9) for d in row] for row in data_sets]
        band(divergence, x, kl, color=utils.COLOURS[4])
        divergence.set(yscale="log", xlabel=LABELS[name])
        if name == "k":
            divergence.set_xticks(x[::2])
        else:
            divergence.set_xscale("log", base=2)
            divergence.set_xticks([value for value in x if np.log2(value).is_integer()])
            divergence.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        every = [d for row in data_sets for d in row]
        nvil, em = (sum(solved(d, fit) for d in every) for fit in FITS)
        words.append(f"{word} {nvil} and {em} of {len(every)}")
    for row, label in zip(
        grid,
        (
            "error, in\nown $\\sigma$",
            "optimum\nfound, %",
            "ARI",
            "KL, nats\nper point",
        ),
        strict=True,
    ):
        row[0].set_ylabel(label)
    grid[1, 0].set_ylim(0, 112)
    of_label = {
        label: handle for axes in grid[:3, 0] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(of_label.values(), of_label.keys(), loc="outside upper center", ncols=5)
    x, data_sets = sweep("separation")
    singles = [np.median([found(d) for d in row]) for row in (data_sets[0], data_sets[-1])]
    # The cells where nothing is changed are the same on every axis.
    distinct = {
        str(cell["cell"]): cell["data_sets"] for name in AXIS_WORDS for cell in read(f"gmm-sweep/{name}")["cells"]
    }
    every = [d for row in distinct.values() for d in row]
    unfinished = sum(not d["em_converged"] for d in every)
    means = {name: median_errors(name, "means") for name in AXIS_WORDS}
    factors = {name: max(errors) / min(errors) for name, errors in means.items()}
    most = max(factors, key=factors.__getitem__)
    rest = max(factor for name, factor in factors.items() if name != most)
    return figure, (
        f"Of what is changed here the {AXIS_WORDS[most]} counts most: along it the median error of the means varies by "
        f"a factor of {factors[most]:.0f}, along no other by more than {rest:.1f}. From a separation of {x[0]} to "
        f"{x[-1]} it goes from {means['separation'][0]:.2f} to {means['separation'][-1]:.3f} of their components' "
        "standard deviations, and the median share of restarts within 1e-3 nats per point of the best known likelihood "
        f"from {singles[0]:.0f} to {singles[1]:.0f} %. Data sets on which the best restart and the best EM run came as "
        f"near: {'; '.join(words)}. What EM missed is NVIL's own best restart. EM is scikit-learn's, with "
        f"{gmm_vi.Settings.em_starts} starts and at most 1,000 iterations, in which its best run did not converge on "
        f"{unfinished} of the {len(every)} distinct data sets. N = 500; only the closest pair of means is at the given "
        "separation; bands and bars are quartiles over 20 data sets, in the second row those of data sets are 95 % "
        "intervals (Wilson)."
    )


STARTS = {  # label, marker
    "nvil": ("NVIL, batches", "o"),
    "nvil, all points": ("NVIL, all points", "s"),
    "exact": ("exact gradient, batches", "v"),
    "exact, all points": ("exact gradient, all points", "^"),
    "em, starts": ("EM from NVIL's starts", "x"),
    "em, ends": ("EM from NVIL's ends", "+"),
    "em": ("EM, 20 runs from k-means", "*"),
}


def start_finds() -> tuple[list[float], dict[str, np.ndarray]]:
    """Separations; and for each fit on which data sets it found the best known likelihood, `[separations, sets]`."""
    cells = read("gmm-starts")["cells"]
    finds: dict[str, list[list[bool]]] = {name: [] for name in STARTS}
    for cell in cells:
        goals = [
            max(score for fit in each.values() for score in fit["restarts"] if score is not None)
            for each in cell["data_sets"]
        ]
        for name, found in finds.items():
            answers = [each[name]["answer"] for each in cell["data_sets"]]
            pairs = zip(answers, goals, strict=True)
            found.append([answer is not None and answer > goal - CLOSE for answer, goal in pairs])
    return [cell["cell"]["separation"] for cell in cells], {name: np.array(found) for name, found in finds.items()}


def sign_test(one: np.ndarray, other: np.ndarray) -> float:
    """How probable a difference as large between two methods would be by chance, of whether each found something in
    the same places: of two sides, 1 where they do not differ."""
    wins, losses = int(np.sum(one & ~other)), int(np.sum(other & ~one))
    return binomtest(wins, wins + losses).pvalue if wins + losses else 1.0


def starts_figure() -> Drawn:
    """How often each fit from the same starts finds the best known likelihood, where components overlap."""
    separations, finds = start_finds()
    n_data_sets = finds["nvil"].shape[1]
    counts = {name: found.sum(axis=1) for name, found in finds.items()}
    figure = Figure(figsize=(WIDTH, 2.4))
    axes = figure.subplots()
    for i, (name, (label, marker)) in enumerate(STARTS.items()):
        share, (low, high) = 100 * np.divide(counts[name], n_data_sets), wilson(counts[name], n_data_sets)
        at = np.arange(len(separations)) + 0.1 * (i - (len(STARTS) - 1) / 2)
        style = {"fmt": marker, "color": utils.COLOURS[i], "elinewidth": 0.8, "label": label}
        axes.errorbar(at, share, yerr=(share - low, high - share), **style)
    axes.set(xlabel=LABELS["separation"], ylabel="best optimum found,\n% of data sets", ylim=(0, 105))
    axes.set_xticks(np.arange(len(separations)), [f"{each:g}" for each in separations])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    total = {name: found.sum() for name, found in counts.items()}
    steps = itertools.pairwise(("em", "em, starts", "exact, all points", "nvil, all points", "nvil"))
    chances = [f"{sign_test(finds[one], finds[other]):.1g}" for one, other in steps]
    each = "; ".join(f"{label} {listed([str(count) for count in counts[name]])}" for name, (label, _) in STARTS.items())
    return figure, (
        f"On the {n_data_sets * len(separations)} data sets of the sweep over the separation with overlapping "
        f"components the best optimum of all fits here was found on {total['em']} by EM's 20 runs from k-means, on "
        f"{total['em, starts']} by EM from NVIL's ten starts, on {total['exact, all points']} by steps along the exact "
        f"gradient from there, on {total['nvil, all points']} by NVIL's on all points and on {total['nvil']} by NVIL's "
        f"on batches (at the least to the greatest separation {listed(list(map(str, counts['nvil'])))}). By sign tests "
        f"a difference as large from one to the next has by chance a probability of {listed(chances)}. Data sets of "
        f"{n_data_sets} at separations {listed([f'{each:g}' for each in separations])} on which each fit came within "
        f"1e-3 nats per point of the highest likelihood of any, without a degenerate component: {each}. N = 500, "
        f"K = 3; EM from given mixtures takes {read('gmm-starts')['config']['em_steps']:,} steps. Bars are 95 % "
        "intervals (Wilson)."
    )


def kind_of_data(cell: dict[str, Any]) -> tuple[int, float]:
    """N and separation of a cell of gmm-defaults."""
    return cell["cell"]["n"], cell["cell"]["separation"]


def default_gaps(cell: dict[str, Any]) -> list[float]:
    """By how much NVIL is less likely than the best known fit of any cell with its data sets, nats over all points, of
    each data set; infinite where it has a degenerate component."""
    same = [each for each in read("gmm-defaults")["cells"] if kind_of_data(each) == kind_of_data(cell)]
    gaps = []
    for d, data_set in enumerate(cell["data_sets"]):
        scores = [each["data_sets"][d][fit] for each in same for fit in ("estimate", "em")]
        best = max(score for score in scores if score is not None)
        gaps.append(np.inf if data_set["estimate"] is None else cell["cell"]["n"] * (best - data_set["estimate"]))
    return gaps


def near_best(cell: dict[str, Any]) -> int:
    """The data sets of a cell of gmm-defaults on which NVIL is near the best known fit."""
    return int(np.sum(np.array(default_gaps(cell)) < CLOSE * cell["cell"]["n"]))


def told_work(cell: dict[str, Any]) -> str:
    """The steps of a cell of gmm-defaults, and the points of its batches where they are not all, in words."""
    of = cell["cell"]
    return f"{of['steps']:,} steps" + (f" of {of['batch_size']:,} points" if of["batch_size"] < of["n"] else "")


def defaults_figure() -> Drawn:
    """The loss of likelihood against step size, steps and batch size, at few and at many points and where components
    overlap."""
    cells = read("gmm-defaults")["cells"]
    kinds = sorted({kind_of_data(cell) for cell in cells})
    figure = Figure(figsize=(WIDTH, 2.5))
    words = []
    for axes, kind in zip(figure.subplots(1, len(kinds)), kinds, strict=True):
        of_kind = [cell for cell in cells if kind_of_data(cell) == kind]
        for i, work in enumerate(dict.fromkeys(map(told_work, of_kind))):
            chosen = [cell for cell in of_kind if told_work(cell) == work]
            rates = [cell["cell"]["learning_rate"] for cell in chosen]
            gaps = [default_gaps(cell) for cell in chosen]
            band(axes, rates, gaps, marker=".", color=utils.COLOURS[i], label=work)
        axes.set(xscale="log", yscale="log", xlabel="first step size", title="N = {:,}, separation {:g}".format(*kind))
        axes.set_xticks(rates, [f"{rate:g}".removeprefix("0") for rate in rates])
        axes.minorticks_off()
        axes.set_ylim(top=100 * axes.get_ylim()[1])  # room for the legend
        axes.legend(loc="upper left")
        words.append(told_default(of_kind))
    figure.axes[0].set_ylabel("log-likelihood below the best\nknown, nats over all points")
    return figure, (
        f"{' '.join(words)} {told_step_sizes(cells)} The data sets are those of the sweeps over N and separation; "
        "where no points are told a batch is all; bands are quartiles over data sets."
    )


def as_cheap_as_default(cell: dict[str, Any]) -> bool:
    """Whether a cell of gmm-defaults has the default's steps and batches."""
    return all(cell["cell"][name] == getattr(gmm_vi.Settings, name) for name in ("steps", "batch_size"))


def told_step_sizes(cells: list[dict[str, Any]]) -> str:
    """On how many of all data sets each step size is near the best, in words."""
    counts = defaultdict(int)
    for cell in filter(as_cheap_as_default, cells):
        counts[cell["cell"]["learning_rate"]] += near_best(cell)
    defaults = list(filter(is_default, cells))
    total = sum(len(cell["data_sets"]) for cell in defaults)
    return (
        f"Of {total} data sets of {len(defaults)} kinds, with as many steps and points as the default takes, first "
        f"step sizes of {listed([f'{rate:g}' for rate in counts])} come within 1e-3 nats per point of the best known "
        f"on {listed(list(map(str, counts.values())))}; the default is {gmm_vi.Settings.learning_rate:g}."
    )


def is_default(cell: dict[str, Any]) -> bool:
    """Whether a cell of gmm-defaults is the default of gmm_vi.py."""
    return as_cheap_as_default(cell) and cell["cell"]["learning_rate"] == gmm_vi.Settings.learning_rate


def told_default(cells: list[dict[str, Any]]) -> str:
    """How far the default is from the best setting at an N and a separation, in words."""
    count = len(cells[0]["data_sets"])

    def loss(cell: dict[str, Any]) -> float:
        return float(np.median(default_gaps(cell)))

    (default,) = filter(is_default, cells)
    as_cheap = list(filter(as_cheap_as_default, cells))
    best, best_as_cheap = (min(of, key=lambda cell: (-near_best(cell), loss(cell))) for of in (cells, as_cheap))
    verdict = "At N = {:,} and a separation of {:g} the default is within 1e-3 nats per point of ".format(
        *kind_of_data(default)
    )
    verdict += f"the best known on {near_best(default)} of {count} data sets, in the median {loss(default):.2g} nats "
    verdict += "below it over all points"
    for kind, other in (("of as many steps and points", best_as_cheap), ("of all tried", best)):
        verdict += f"; the best {kind} "
        if other is default:
            verdict += "is the default"
        else:
            rate = other["cell"]["learning_rate"]
            verdict += f"has a first step size of {rate:g} and {told_work(other)}, "
            verdict += f"{near_best(other)} of {count} and {loss(other):.2g} nats"
    return verdict + f", {best['seconds'] / default['seconds']:.1f} times the training time of the default."


def fitted_k_figure() -> Drawn:
    """A fit with too few or too many components."""
    k, data_sets = sweep("fitted_k")
    figure = Figure(figsize=(WIDTH, 2.1))
    likelihood, optima, rand = figure.subplots(1, 3)
    for fit, style in FITS.items():
        band(likelihood, k, [[advantage(d, fit, "truth") for d in row] for row in data_sets], **style)
    plot_solved(optima, k, data_sets)
    likelihood.axhline(0, color="0.6", linewidth=0.8)
    likelihood.set_yscale("symlog", linthresh=0.01)
    singles = [[found(d) for d in row] for row in data_sets]
    band(optima, k, singles, color="0.3", linestyle="-.", label="NVIL, restarts")
    for fit, label, colour, line in POSTERIORS:
        values = [[d["ari"][fit] for d in row] for row in data_sets]
        band(rand, k, values, color=colour, linestyle=line, label=label)
    for axes, label in (
        (likelihood, "log-likelihood less the truth's,\nnats per point"),
        (optima, "best optimum found, %"),
        (rand, "adjusted Rand index"),
    ):
        axes.set(xlabel=LABELS["fitted_k"], ylabel=label)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=6, ncols=2)  # above the axes
    few, right, many = (np.median([d["ari"]["estimate"] for d in data_sets[i]]) for i in (1, 2, 5))
    gain = np.median([advantage(d, "estimate", "truth") for d in data_sets[5]])
    missed = [(name, sum(not solved(d, name) for d in data_sets[5])) for name in ("estimate", "em")]
    return figure, (
        f"On {len(data_sets[5])} data sets of three components the median adjusted Rand index is {few:.2f} with two "
        f"fitted components, {right:.2f} with three and {many:.2f} with six, whose log-likelihood is "
        f"{1e3 * gain:.0f}e-3 nats per point above the truth's. With six, the fit of NVIL is not the best known on "
        f"{missed[0][1]} data sets and that of 20 EM runs on {missed[1][1]}, degenerate fits among them. "
        "N = 500; bands are quartiles over data sets, of the shares of data sets 95 % intervals (Wilson)."
    )


OF_GAUSS = 0.6745  # the median of a normal error's size over its standard deviation


def at_the_bound(separation: float, data_sets: int, studies: int = 1000) -> dict[str, np.ndarray]:
    """What many studies of as many data sets would find where errors are normal with the bound's covariance: medians
    over the parameters of error and bias over the bound's, and the worst parameter's RMS error, `[studies]`."""
    covariance = np.linalg.inv(gmm_limit.fisher_information(gmm_limit.truth(separation)))
    errors = np.random.default_rng(0).multivariate_normal(
        np.zeros(len(covariance)), covariance, size=(studies, data_sets), method="cholesky"
    ) / np.sqrt(np.diag(covariance))
    found = {
        "median_error": np.median(np.abs(errors), axis=1) / OF_GAUSS,
        "rms_error": np.sqrt(np.mean(np.square(errors), axis=1)),
        "bias": np.abs(errors.mean(axis=1)),
    }
    medians = {name: np.median(values, axis=-1) for name, values in found.items()}
    return {**medians, "worst": found["rms_error"].max(axis=-1)}


FOLLOWING = 1.1  # RMS error over the bound's


def limit_cells() -> dict[float, dict[int, dict[str, Any]]]:
    """The cells of gmm-limit by separation and N, ascending."""
    found: dict[float, dict[int, dict[str, Any]]] = {}
    for cell in sorted(read("gmm-limit")["cells"], key=lambda cell: (cell["cell"]["separation"], cell["cell"]["n"])):
        found.setdefault(cell["cell"]["separation"], {})[cell["cell"]["n"]] = cell
    return found


def follows_bound(cell: dict[str, Any], fit: str) -> bool:
    """Whether a fit's RMS error is within a tenth of the bound by the upper end of its interval, and the interval of
    its coverage reaches 95 %."""
    intervals = cell[fit]["interval"]
    return intervals["rms_error"][1] < FOLLOWING and intervals["coverage"][1] > 0.95 - 1e-9


def limit_follows(fit: str) -> str:
    """From which N on a fit follows the bound, at which separations."""
    of_words: dict[str, list[str]] = {}
    for separation, of_n in limit_cells().items():
        words = from_which(list(of_n), [follows_bound(cell, fit) for cell in of_n.values()])
        of_words.setdefault(words, []).append(f"{separation:g}")
    return listed([f"{words} at a separation of {listed(separations)}" for words, separations in of_words.items()])


def limit_figure() -> Drawn:
    """Error, bias and coverage of a maximum of the likelihood against N, beside the Cramér-Rao bound, and NVIL's."""
    separations, config = limit_cells(), read("gmm-limit")["config"]
    cells = [cell for of_n in separations.values() for cell in of_n.values()]
    n = sorted({cell["cell"]["n"] for cell in cells})
    figure = Figure(figsize=(WIDTH, 2.0))
    medians, squares, biases, coverages = figure.subplots(1, 4)
    ratios = {"median_error": medians, "rms_error": squares}
    chance = [at_the_bound(separation, config["data_sets"]) for separation in separations]
    names = (*ratios, "worst")
    limits = {name: np.quantile(np.concatenate([each[name] for each in chance]), (0.025, 0.975)) for name in names}
    by_chance = {name: f"{low:.2f} to {high:.2f}" for name, (low, high) in limits.items()}
    for name, axes in ratios.items():
        axes.axhspan(*limits[name], color="0.85", linewidth=0, label="at the bound, 95 %")
    told: dict[str, list[str]] = {name: [] for name in ("first", *ratios, "worst", "ours", "coverage", "biased")}
    behind = 0.0
    for (separation, chosen), alone, colour in zip(separations.items(), chance, utils.COLOURS, strict=False):
        bound = np.array([list(chosen[each]["bound"].values()) for each in n])
        mle, ours = (
            {
                name: np.array([list(chosen[each][fit][name].values()) for each in n])
                for name in ("rms_error", "median_error", "bias", "bias_se", "coverage")
            }
            for fit in ("mle", "estimate")
        )
        intervals = {
            name: np.array([chosen[each]["mle"]["interval"][name] for each in n]).T for name in (*ratios, "bias")
        }
        apart = f"{separation:g} $\\sigma$" if told["first"] else f"separation {separation:g} $\\sigma$"
        style = {"color": colour, "marker": ".", "label": apart}
        shade = {"color": colour, "alpha": 0.15, "linewidth": 0}
        cross = {"color": colour, "linestyle": "", "marker": "x", "markersize": 4}
        for name, axes in ratios.items():
            scale = OF_GAUSS if name == "median_error" else 1
            ratio = np.median(mle[name] / (scale * bound), axis=1)
            axes.plot(n, ratio, **style)
            axes.fill_between(n, *intervals[name] / scale, **shade)
            axes.plot(n, np.median(ours[name] / (scale * bound), axis=1), **cross)
            told[name].append(f"{ratio[-1]:.2f}")
            if name == "rms_error":
                told["first"].append(f"{ratio[0]:.2f}")
                worst = np.max(mle[name] / bound, axis=1)
                axes.plot(n, worst, color=colour, linestyle=":")
                told["worst"].append(f"{worst[-1]:.2f}")
                ratio = np.median(ours[name] / bound, axis=1)
                told["ours"].append(f"{ratio.max():.2f} (N = {n[ratio.argmax()]:,})")
        behind = max(behind, np.median(chosen[n[-1]]["behind"]))
        # In standard errors, how far the median of unbiased parameters comes by chance.
        noise = np.quantile(alone["bias"], 0.975) * np.sqrt(config["data_sets"])
        for fit, line in ((mle, {"color": colour}), (ours, None)):
            bias = np.median(np.abs(fit["bias"]) / bound, axis=1)
            clear = bias > noise * np.median(fit["bias_se"] / bound, axis=1)
            if line:
                marked(biases, n, bias, clear, **line)
                low, high = np.where(clear, intervals["bias"], np.nan)
                biases.fill_between(n, low, high, **shade)
                told["biased"] += [f"{separation:g}"] * bool(clear[-1])
            else:
                biases.plot(n, bias, **cross)
        coverages.plot(n, 100 * np.median(mle["coverage"], axis=1), **style)
        coverages.fill_between(
            n, *100 * np.array([chosen[each]["mle"]["interval"]["coverage"] for each in n]).T, **shade
        )
        coverages.plot(n, 100 * np.median(ours["coverage"], axis=1), **cross)
        told["coverage"].append(f"{100 * np.median(mle['coverage'][-1]):.0f}")
    squares.axhline(FOLLOWING, color="0.6", linewidth=0.8)
    squares.plot([], [], color="0.3", linestyle="", marker="x", markersize=4, label="NVIL")
    squares.plot([], [], color="0.3", linestyle=":", label="worst parameter")
    handles, labels = squares.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(handles), handlelength=1.6, columnspacing=1.2)
    medians.set(title="median |error| / bound's")
    squares.set(yscale="log", title="RMS error / bound", yticks=(1, 1.5, 2, 3, 5))
    biases.set(yscale="log", title="|bias| / bound", yticks=(0.05, 0.1, 0.2, 0.4))
    for axes in (squares, biases):
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    coverages.axhline(95, color="0.6", linewidth=0.8)
    coverages.set(title="95 % intervals' coverage, %")
    for axes in (medians, squares, biases, coverages):
        axes.set(xscale="log", xlabel=LABELS["n"])
    first, last = (f"N = {each:,}" for each in (n[0], n[-1]))
    biased = f"at {listed(told['biased'])}" if told["biased"] else "nowhere"
    beyond = {each: sum(np.sum(np.array(c["beyond"]) > CLOSE) for c in cells if c["cell"]["n"] == each) for each in n}
    degenerate = sum(sum(cell["degenerate"]) for cell in cells)
    below = sum(np.sum(np.array(cell["behind"]) < -1e-9) for cell in cells)
    return figure, (
        f"An estimate follows the bound where the 95 % interval of its RMS error ends below {FOLLOWING:g} of the bound "
        "and that of the coverage of its 95 % intervals reaches 95 %: the maximum of the likelihood "
        f"{limit_follows('mle')}, NVIL {limit_follows('estimate')}. At separations "
        f"{listed([f'{each:g}' for each in separations])} the maximum's RMS error over the bound is "
        f"{listed(told['first'])} at {first} and {listed(told['rms_error'])} at {last}, that of the worst parameter "
        f"there {listed(told['worst'])}, the median |error| over the bound's {listed(told['median_error'])}; NVIL's "
        f"RMS error is at its worst N {listed(told['ours'])}; were errors normal with the bound's covariance, 95 % of "
        f"such studies would find {by_chance['rms_error']} and {by_chance['median_error']}, the grey bands, and for "
        f"the worst parameter {by_chance['worst']}. At {last} the bias is above its noise {biased}, 95 % intervals "
        f"hold the truth on {listed(told['coverage'])} % of data sets, and NVIL's log-likelihood is in the median at "
        f"most {behind:.0e} nats per point below the maximum's, the highest found without a degenerate component: from "
        "seedings of k-means++ EM came more than 1e-3 nats per point above all that it reached from NVIL's restarts "
        f"and the truth on {listed([str(count) for count in beyond.values()])} of "
        f"{config['data_sets'] * len(separations)} data sets at N = {listed([f'{each:,}' for each in beyond])}. Of "
        f"{config['data_sets'] * len(cells)} maxima {degenerate} degenerated, and {below} are below NVIL's own fit, as "
        f"EM from there degenerates. NVIL takes batches of {config['batch_size']} points, of "
        f"{config['large_n_batch_size']} from N = {config['large_n']:,} on. All but the worst are medians over the 14 "
        f"parameters, each over {config['data_sets']} data sets. Coloured bands are 95 % intervals over data sets, by "
        "the bootstrap; in the grey ones are 95 % of studies of errors that are normal with the bound's covariance; a "
        "hollow mark is a bias that chance explains."
    )


def holds_from(holds: Sequence[bool]) -> int:
    """From which index on something holds to the end; the length where it does not hold there."""
    return len(holds) - int(np.cumprod(holds[::-1]).sum())


def from_which(n: Sequence[int], holds: Sequence[bool]) -> str:
    """From which N on something holds, in words."""
    since = holds_from(holds)
    return "nowhere" if since == len(n) else "from the first" if since == 0 else f"from N = {n[since]:,} on"


ESTIMATORS = {  # label, colour, line
    "score function": ("score function", utils.COLOURS[5], "-"),
    "moving mean": ("NVIL, moving mean", utils.COLOURS[1], "-"),
    "network": ("NVIL, network", utils.COLOURS[0], "-"),
    "normalised": ("NVIL, normalised", utils.COLOURS[4], "--"),
    "leave-one-out": ("leave-one-out", utils.COLOURS[2], "-"),
    "vimco": ("VIMCO", utils.COLOURS[3], "-"),
    "rws": ("RWS", utils.COLOURS[9], "-"),
    "concrete, 0.5": ("Concrete, t = 0.5", utils.COLOURS[7], ":"),
    "concrete, 0.1": ("Concrete, t = 0.1", "0.6", ":"),
    "gumbel-softmax, 0.5": ("Gumbel-softmax, t = 0.5", utils.COLOURS[6], ":"),
    "gumbel-softmax, 0.1": ("Gumbel-softmax, t = 0.1", utils.COLOURS[8], ":"),
    "exact": ("exact", "0.4", "-."),
}
MOMENTS = ("start", "midway", "end")


def estimator_cells(**wanted: Any) -> list[dict[str, Any]]:
    """The cells of gmm-estimators with the given K, samples or moment."""
    cells = read("gmm-estimators")["cells"]
    return [cell for cell in cells if all(cell["cell"][name] == value for name, value in wanted.items())]


def bias_above_noise(of: dict[str, Any], name: str = "bias") -> tuple[float, bool]:
    """The median of a bias over data sets, its square less what the noise of finitely many draws adds, and whether that
    is above 0 on nine of ten data sets or more (by chance 1 % of the time). Where it is not, the noise itself."""
    noise = np.array(of["variance"]) / read("gmm-estimators")["config"]["draws"]
    squares = np.square(of[name]) - noise
    above = np.mean(squares > 0) >= 0.9
    return float(np.sqrt(np.median(squares if above else noise))), bool(above)


def is_exact(of: dict[str, Any]) -> bool:
    """Whether a bias is known exactly on all data sets, and is not 0."""
    return of["exact_bias"] is not None and bool(np.all(of["exact_bias"]))


def bias(of: dict[str, Any]) -> tuple[float, bool]:
    """The median bias over data sets, exact where it is known and not 0, else that of the draws or their noise; and
    whether it is no noise."""
    if is_exact(of):
        return float(np.median(of["exact_bias"])), True
    return bias_above_noise(of)


def told_bias(of: dict[str, Any]) -> str:
    """A median bias in words."""
    value, above = bias(of)
    return f"{'' if above else 'below '}{value:.2g}"


def plot_bias(axes: Axes, x: Sequence[float], of: Sequence[dict[str, Any]], **style: Any) -> None:
    """Exact biases against x with their quartiles. Where there are none, a mark for what the draws say: filled where it
    is above their noise, hollow for the noise."""
    values, above = zip(*map(bias, of), strict=True)
    known = [is_exact(each) for each in of]
    axes.plot(x, values, **style)
    rest = [(at, value, clear) for at, value, clear, each in zip(x, values, above, known, strict=True) if not each]
    if rest:
        marked(axes, *zip(*rest, strict=True), color=style["color"], linestyle="")
    low, _, high = quantiles([each["exact_bias"] if exact else [np.nan] for each, exact in zip(of, known, strict=True)])
    axes.fill_between(x, low, high, color=style["color"], alpha=0.1, linewidth=0)


def sgvb_figure() -> Drawn:
    """What sgvb gives on one-hot samples, and on the two relaxations over temperatures."""
    figure = Figure(figsize=(WIDTH, 2.15))
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    words, own, refused, one_hot_means = [], [], [], []
    for (row, k), (column, moment) in itertools.product(enumerate((3, 2)), enumerate(MOMENTS)):
        axes = grid[row, column]
        (cell,) = estimator_cells(k=k, n_samples=1, moment=moment)
        of = {name: each["posterior"] for name, each in cell["estimators"].items()}
        for relaxation, colour in (("concrete", utils.COLOURS[0]), ("gumbel-softmax", utils.COLOURS[6])):
            t = sorted(float(name.split(", ")[1]) for name in of if name.startswith(relaxation))
            relaxed = [of[f"{relaxation}, {each}"] for each in t]
            label = relaxation.capitalize()
            plot_bias(axes, t, relaxed, color=colour, label=f"{label}, bias")
            spreads = [np.sqrt(each["variance"]) for each in relaxed]
            band(axes, t, spreads, color=colour, linestyle="--", label=f"{label}, standard deviation")
            if k == 3:
                words.append(f"{moment}, {label} {told_bias(relaxed[0])} and {told_bias(relaxed[-1])}")
            values = [bias_above_noise(each, "target_bias") for each in relaxed]
            axes.plot(t, [value for value, _ in values], "x", color=colour, markersize=4)
            own += [above for _, above in values]
        one_hot, norm = of["sgvb, one-hot"], np.median(of["exact"]["norm"])
        style = {"color": utils.COLOURS[5], "linestyle": ":", "label": "sgvb on one-hot z, bias"}
        plot_bias(axes, (t[0], t[-1]), (one_hot, one_hot), **style)
        axes.axhline(norm, color="0.7", linewidth=0.8, zorder=0, label="norm of the exact gradient")
        one_hot_means.append(bias_above_noise(one_hot, "target_bias")[1])
        if k == 3:
            refused.append(f"{moment} {told_bias(one_hot)}")
        spread = np.median(np.sqrt(of["network"]["variance"]))
        axes.axhline(spread, color=utils.COLOURS[2], linestyle="-.", label="NVIL, standard deviation")
        axes.set(xscale="log", yscale="log", yticks=(1e-2, 1, 1e2))
        grid[0, column].set_title(moment)
        grid[row, 0].set_ylabel(f"$K = {k}$")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    cross = Line2D([], [], color="0.3", linestyle="", marker="x", markersize=4)
    handles, labels = [*handles, cross], [*labels, "bias from its own target"]
    figure.legend(handles, labels, loc="outside upper center", ncols=4, handlelength=1.6, columnspacing=1)
    for axes in grid[1]:
        axes.set_xlabel("temperature $t$")
    figure.supylabel("gradient of $q$, nats per point", fontsize="medium")
    return figure, (
        "sgvb on a one-hot sample, its refusal by-passed, tells q nothing: the mean of its draws is away from 0 by "
        f"more than its noise in {sum(one_hot_means)} of {len(one_hot_means)} cases, and its bias is the bound's whole "
        f"gradient. Exact bias at K = 3, nats per point: sgvb {', '.join(refused)}; relaxations at the least and the "
        f"greatest temperature: {'; '.join(words)}. From the gradient of its own target, exact by quadrature, a "
        f"relaxation's mean is away by more than its noise in {sum(own)} of {len(own)} cases. One sample; medians over "
        "10 data sets, bands are quartiles, NVIL has its network as baseline; a cross is how far the mean of 100 draws "
        "lies from the gradient of its own target, or the noise of that mean."
    )


def signal_to_noise(name: str) -> float:
    """The norm of an estimator's target's gradient for q over the standard deviation, midway at K = 3 and 5 samples."""
    (cell,) = estimator_cells(k=3, n_samples=5, moment="midway")
    of = cell["estimators"][name]["posterior"]
    return float(np.median(np.array(of["target_norm"]) / np.sqrt(of["variance"])))


def estimators_figure(versus: str, part: str) -> Drawn:
    """Spread, bias and direction of the gradient of model or posterior against the number of samples or K."""
    fixed, varied = ({"k": 3}, "n_samples") if versus == "samples" else ({"n_samples": 5}, "k")
    figure = Figure(figsize=(WIDTH, 4.9))
    grid = figure.subplots(3, 3, sharex=True, sharey="row")
    for column, moment in zip(grid.T, MOMENTS, strict=True):
        chosen = sorted(estimator_cells(**fixed, moment=moment), key=lambda cell: cell["cell"][varied])
        for name, (label, colour, line) in ESTIMATORS.items():
            having = [cell for cell in chosen if name in cell["estimators"]]
            if name == "exact" or len(having) < 2:
                continue
            x = [cell["cell"][varied] for cell in having]
            of = [cell["estimators"][name][part] for cell in having]
            style = {"color": colour, "linestyle": line, "label": label}
            band(column[0], x, [np.sqrt(each["variance"]) for each in of], shade=0.08, **style)
            plot_bias(column[1], x, of, **style)
            band(column[2], x, [each["cosine"] for each in of], shade=0.08, **style)
        column[0].set(title=moment, yscale="log", xticks=sorted({cell["cell"][varied] for cell in chosen}))
        column[1].set(yscale="log")
        column[2].set(xlabel="samples $S$, at $K = 3$" if versus == "samples" else "components $K$, at $S = 5$")
    for row, label in zip(grid, ("std, nats per point", "bias, nats per point", "cosine to the exact"), strict=True):
        row[0].set_ylabel(label)
    handles, labels = grid[2, 0].get_legend_handles_labels()
    style = {"color": "0.3", "linestyle": "", "marker": "o", "markersize": 3.5}
    handles += [Line2D([], [], markerfacecolor=face, **style) for face in ("0.3", "white")]
    figure.legend(handles, [*labels, "bias of the draws", "their noise"], loc="outside upper center", ncols=4)
    with_target = [
        each[part]
        for cell in estimator_cells(**fixed)
        for name, each in cell["estimators"].items()
        if name != "exact" and each[part]["target_bias"] is not None
    ]
    missed = sum(bias_above_noise(each, "target_bias")[1] for each in with_target)
    if versus == "samples":
        (cell,) = estimator_cells(k=3, n_samples=5, moment="midway")
        variance = {name: np.array(each[part]["variance"]) for name, each in cell["estimators"].items()}
        told = ", ".join(
            f"{ESTIMATORS[name][0]} {np.median(variance['score function'] / variance[name]):.1f}"
            for name in ("moving mean", "network", "leave-one-out", "vimco", "rws")
        )
        shown = (
            "Midway, at 5 samples, the variance of the score function without a baseline, as a multiple of others', is "
            f"in the median: {told}."
        )
        if part == "posterior":
            clear = "; ".join(
                f"{ESTIMATORS[name][0]} {signal_to_noise(name):.2g}" for name in ("leave-one-out", "vimco", "rws")
            )
            shown += f" The norm of the exact gradient of what it targets over the standard deviation: {clear}."
    else:
        growth = {}
        for name in ("score function", "network", "leave-one-out"):
            cells = [estimator_cells(k=k, n_samples=5, moment="midway")[0] for k in (2, 10)]
            growth[name] = [np.median(cell["estimators"][name][part]["cosine"]) for cell in cells]
        told = "; ".join(f"{ESTIMATORS[name][0]} {low:.2f} and {high:.2f}" for name, (low, high) in growth.items())
        shown = f"Midway, the median cosine to the bound's exact gradient is at K = 2 and 10: {told}."
    if part == "model":
        same = [("score function", "moving mean", "network", "normalised", "leave-one-out"), ("vimco", "rws")]
        apart = max(
            np.max(np.ptp([np.sqrt(of[name][part]["variance"]) for name in names if name in of], axis=0))
            for of in (cell["estimators"] for cell in estimator_cells(**fixed))
            for names in same
        )
        shown += (
            " Baselines and normalisation do not touch this gradient, and VIMCO weights samples as RWS does: on the "
            "same samples the curves of score function, NVIL and leave-one-out are one, those of VIMCO and RWS "
            f"another; the largest difference of standard deviations within either is {apart:.1g}."
        )
    return figure, (
        f"{shown} Gradient of the {part}'s parameters, nats per point and unit of each. A bias is the distance of the "
        "exact gradient of what an estimator targets from the bound's; where that is 0 by derivation, and for "
        "relaxations at K = 5 and 10, whose targets have no exact gradient here, a mark is what 100 draws say, hollow "
        "where that is only their noise. The mean of the draws is away from its own exact target by more than its "
        f"noise in {missed} of {len(with_target)} cases. Medians over 10 data sets; bands are quartiles."
    )


def step_microseconds(estimator: str, n_samples: int) -> float:
    """What a step of the race takes for one fit, with all that learns."""
    wanted = {"estimator": estimator, "n_samples": n_samples}
    (cell,) = (cell for cell in read("gmm-race")["cells"] if cell["cell"] == wanted)
    return 1e6 * cell["seconds"][-1] / cell["steps"][-1] / len(cell["bound"][0])


def cost_figure() -> Drawn:
    """Variance times the time of a step, for model and posterior."""
    figure = Figure(figsize=(WIDTH, 2.6))
    panels = figure.subplots(1, 3, sharey=True)
    names = [name for name in ESTIMATORS if name != "exact" and not name.endswith(", 0.1")]
    cells = {moment: estimator_cells(k=3, n_samples=5, moment=moment)[0]["estimators"] for moment in MOMENTS}
    times = {name: step_microseconds(name, 5) for name in names}
    best = {}
    for axes, (moment, cell) in zip(panels, cells.items(), strict=True):
        for i, part in enumerate(("posterior", "model")):
            products = np.array([times[name] * np.array(cell[name][part]["variance"]) for name in names])
            low, middle, high = quantiles(products)
            y = np.arange(len(names)) + 0.15 * (2 * i - 1)
            style = {"fmt": "os"[i], "color": utils.COLOURS[i], "markersize": 4, "elinewidth": 1, "label": part}
            axes.errorbar(middle, y, xerr=(middle - low, high - middle), **style)
            if part == "posterior":
                unbiased = ("score function", "moving mean", "network", "leave-one-out")
                best[moment] = min(unbiased, key=lambda name, of=products: np.median(of[names.index(name)]))
        axes.set(xscale="log", xlabel="variance x time,\n(nats per point)$^2$ \u00b5s", title=moment)
        axes.grid(axis="x", color="0.9")
    panels[0].set_yticks(np.arange(len(names)), [ESTIMATORS[name][0] for name in names])
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    told = ", ".join(f"{moment} {ESTIMATORS[name][0]}" for moment, name in best.items())
    each = "; ".join(f"{ESTIMATORS[name][0]} {value:.0f}" for name, value in times.items())
    return figure, (
        f"For a given precision of q's gradient the cheapest estimator without bias is: {told}. Variance of the "
        "gradient times the processor time of a whole step of the race, in which baselines learn and Adam moves, K = 3 "
        "and 5 samples. Microseconds of a step of one fit to 100 points, among 20 at once on "
        f"{on_threads(read('gmm-race'))}: {each}. Medians and quartiles over 10 data sets."
    )


def race_figure() -> Drawn:
    """The bound against time."""
    cells = read("gmm-race")["cells"]
    goal = np.max([np.max(cell["bound"], axis=0) for cell in cells], axis=0)
    figure = Figure(figsize=(WIDTH, 2.1))
    single, several = figure.subplots(1, 2, sharey=True)
    words: dict[int, list[str]] = {}
    others: dict[int, list[str]] = {}
    sampled = []
    for cell in cells:
        name, n_samples = cell["cell"]["estimator"], cell["cell"]["n_samples"]
        label, colour, line = ESTIMATORS[name]
        gaps = np.maximum(goal - np.array(cell["bound"]), 1e-6)
        milliseconds = np.array(cell["seconds"]) * 1e3
        style = {"shade": 0.1, "color": colour, "linestyle": line, "label": label}
        if n_samples == 2:
            style |= {"linestyle": "--", "label": f"{label}, $S = 2$"}
        for axes in (single, several) if name == "exact" else (single,) if n_samples == 1 else (several,):
            band(axes, milliseconds, gaps, **style)
        within = np.median(gaps, axis=1) < NEAR
        since = holds_from(within)
        told = "never" if since == len(within) else f"in {milliseconds[since]:.0f} ms"
        words.setdefault(n_samples, []).append(f"{label} {told}")
        if since < len(within):
            if name != "exact":
                sampled.append((milliseconds[since], f"{label}, S = {n_samples}"))
            others.setdefault(n_samples, []).append(f"{label} {np.sum(gaps[-1] > NEAR)}")
    for axes, title in ((single, "$S = 1$"), (several, "$S = 5$, and gmm_vi.py's $S = 2$")):
        axes.set(xscale="log", yscale="log", xlabel="processor time, ms; 20 data sets at once", title=title)
    of_label = {
        label: handle
        for axes in (single, several)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(of_label.values(), of_label.keys(), loc="outside upper center", ncols=5)
    single.set_ylabel("nats per point below\nthe best bound")
    each, elsewhere = (
        "; ".join(f"with S = {n_samples}: {'; '.join(told)}" for n_samples, told in of.items())
        for of in (words, others)
    )
    (fastest, first), (slowest, last) = min(sampled), max(sampled)
    return figure, (
        f"Of the estimators that sample z and bring the median bound to stay within {NEAR} nats per point of the best "
        f"that any reached on the data set, the fastest is {first}, in {fastest:.0f} ms of processor time, the slowest "
        f"{last}, in {slowest:.0f}. How long each takes: {each}. On how many of the {len(goal)} data sets those that "
        f"came near ended farther off, in another optimum: {elsewhere}. K = 3, N = 100, "
        f"{on_threads(read('gmm-race'))}; bands are quartiles over the data sets."
    )


def choosing_k_figure() -> Drawn:
    """How often BIC and ICL find the true K."""
    cells = read("gmm-choosing-k")["cells"]
    figure = Figure(figsize=(WIDTH, 2.3))
    panels = figure.subplots(1, 2, sharey=True)
    sizes = sorted({cell["cell"]["n"] for cell in cells})
    words = []
    for axes, criterion in zip(panels, ("bic", "icl"), strict=True):
        for i, n in enumerate(sizes):
            chosen = [cell for cell in cells if cell["cell"]["n"] == n]
            x = [cell["cell"]["separation"] for cell in chosen]
            picked = [np.argmin(cell[criterion], axis=1) + 1 for cell in chosen]
            count = len(picked[0])
            right = [int(np.sum(k == 3)) for k in picked]
            shares(axes, x, right, count, marker=".", color=utils.COLOURS[i], label=f"N = {n}")
            at = x.index(3.0)
            words.append(f"{criterion.upper()} at N = {n} {right[at]}, and K = 2 on {int(np.sum(picked[at] == 2))}")
        axes.set(xlabel=LABELS["separation"], title=criterion.upper())
    panels[0].set_ylabel("true K = 3 chosen, % of data sets")
    panels[1].legend()
    return figure, (
        f"Of {count} data sets at a separation of 3 each criterion chose the true K = 3, among 1 to 6, on: "
        f"{'; '.join(words)}. Bands are 95 % intervals (Wilson)."
    )


def why_it_failed(problem: dict[str, Any]) -> str:
    """Why a random problem's estimate is less likely than EM's."""
    if problem["degenerate"]["em"]:
        return "EM has a degenerate component"
    if problem["em_gain"] > CLOSE:
        return f"not converged: EM from there gains {problem['em_gain']:.4f}"
    if problem["found"] == 0:
        return "another optimum; no restart reached EM's"
    return f"another optimum; {100 * problem['found']:.0f} % of the restarts reached EM's, and had no better bound"


def problems_figure() -> Drawn:
    """Fifty random problems at the defaults."""
    problems = read("gmm-problems")["cells"]
    small_steps = read("gmm-problems-small-steps")
    differences = np.sort([p["difference"] for p in problems])
    figure = Figure(figsize=(3.4, 2.2))
    axes = figure.subplots()
    axes.plot(np.arange(1, len(differences) + 1), differences, linestyle="", marker=".", color=utils.COLOURS[0])
    axes.axhline(-CLOSE, color=gmm_vi.EM_COLOUR, linestyle=":", label="1e-3 below EM")
    axes.set_yscale("symlog", linthresh=1e-5)
    axes.set(xlabel="problem, in order", ylabel="log-likelihood less that of\nthe best of 20 EM runs, nats per point")
    axes.legend()
    failed = [p for p in problems if p["difference"] < -CLOSE]
    why = "; ".join(
        f"K = {p['cell']['k']}, N = {p['cell']['n']}, separation {p['cell']['separation']:.1f}: {p['difference']:.4f}, "
        + why_it_failed(p)
        for p in failed
    )
    seconds = np.median([p["seconds"] for p in problems])
    failures = f" Failures: {why}." if failed else ""
    near = sum(p["difference"] >= -CLOSE for p in small_steps["cells"])
    pairs = zip(problems, small_steps["cells"], strict=True)
    gain = np.median([(other["difference"] - p["difference"]) * p["cell"]["n"] for p, other in pairs])
    return figure, (
        f"On {len(problems) - len(failed)} of {len(problems)} random problems in random units the estimate of "
        f"gmm_vi.py at its defaults is within 1e-3 nats per point of the best of 20 EM runs, after {seconds:.0f} s of "
        f"training in the median, on {on_threads(read('gmm-problems'))}.{failures} With a first step "
        f"size of {small_steps['config']['learning_rate']} it is {near}, the log-likelihood over all points being in "
        f"the median {abs(gain):.1g} nats {'higher' if gain >= 0 else 'lower'}."
    )


def real_figure() -> Drawn:
    """Iris and wine, coloured by q, with the ellipses of both fits."""
    figure = Figure(figsize=(WIDTH, 3.1))
    words = []
    for axes, name in zip(figure.subplots(1, 2), gmm_real.DATA, strict=True):
        metrics = read(f"gmm-real/{name}")
        points, _ = gmm_real.read(name)
        fits = {
            fit: gmm_vi.Parameters(**{key: np.array(value) for key, value in metrics[fit].items()})
            for fit in ("estimate", "em")
        }
        q = gmm_vi.Fit(fits["estimate"]).responsibilities(points)
        axes.scatter(*points.T, c=np.clip(q @ utils.colours(q.shape[1]), 0, 1), s=9, linewidths=0)
        for fit, style in (
            ("estimate", {"color": "black", "linewidth": 1.8, "label": "NVIL"}),
            ("em", {"color": gmm_vi.EM_COLOUR, "linestyle": ":", "linewidth": 1.4, "label": "EM"}),
        ):
            for mean, std in zip(fits[fit].means, fits[fit].stds, strict=True):
                axes.add_patch(Ellipse(mean, 4 * std[0], 4 * std[1], fill=False, **style))
                style = {key: value for key, value in style.items() if key != "label"}
        columns = [column.replace("_", " ") for column in gmm_real.DATA[name][1]]
        axes.set(xlabel=columns[0], ylabel=columns[1], title=f"{name}, {len(points)} points")
        axes.legend()
        words.append(
            f"{name}: {advantage(metrics, 'estimate', 'em'):+.1e} nats per point against EM, adjusted Rand index "
            f"{metrics['ari']:.2f} against the classes"
        )
    return figure, f"Real points, K = 3: {'; '.join(words)}. Ellipses are at two standard deviations."


def scale_figure() -> Drawn:
    """Time of a step, memory and likelihood against N."""
    results = read("gmm-scale")["cells"]
    n = sorted({cell["cell"]["n"] for cell in results})
    cells = {each: [cell for cell in results if cell["cell"]["n"] == each] for each in n}
    figure = Figure(figsize=(WIDTH, 2.3))
    step, memory, likelihood = figure.subplots(1, 3)
    times = [[cell["microseconds"] / 1e3 for cell in row] for row in cells.values()]
    span(step, n, times, color=utils.COLOURS[0])
    step.set(ylabel="step of 50 restarts, ms", ylim=(0, 1.1 * np.max(times)))
    span(
        memory, n, [[cell["peak_mib"] for cell in row] for row in cells.values()], color=utils.COLOURS[0], label="peak"
    )
    bar = [min(cell["idle_mib"] for cell in row) + 3 * row[0]["data_mib"] for row in cells.values()]
    memory.plot(n, bar, color="0.6", linestyle=":", label="idle and 3 x data")
    memory.set(ylabel="memory, MiB", ylim=(0, None))
    for fit, style in (
        ("estimate", {"color": utils.COLOURS[0], "label": "NVIL"}),
        ("truth", {"color": "0.5", "linestyle": "--", "label": "truth"}),
    ):
        gaps = [[1e3 * advantage(cell, fit, "em") for cell in row] for row in cells.values()]
        span(likelihood, n, gaps, **style)
    likelihood.axhline(-1, color=gmm_vi.EM_COLOUR, linestyle=":", label="1e-3 below EM")
    pairs = zip(memory.get_legend_handles_labels(), likelihood.get_legend_handles_labels(), strict=True)
    figure.legend(*(first + second for first, second in pairs), loc="outside upper center", ncols=5)
    likelihood.set(ylabel="log-likelihood less EM's,\n$10^{-3}$ nats per point", ylim=(-1.2, 0.4))
    for axes in (step, memory, likelihood):
        axes.set(xscale="log", xlabel=LABELS["n"])
    last, million = cells[n[-1]], cells[10**6]
    data = last[0]["data_mib"]
    above = [cell["peak_mib"] - cell["idle_mib"] for cell in last]
    compilation = min(cell["peak_mib"] - cell["idle_mib"] for cell in cells[n[0]])
    gaps = [advantage(cell, "estimate", "em") for cell in million]
    losses = {each: [-advantage(cell, "estimate", "truth") for cell in row] for each, row in cells.items()}
    behind = {each: max(loss) for each, loss in losses.items() if max(loss) > 0}
    truth = (
        f"At N = {listed([f'{each:,}' for each in behind])} the noise of batches of {gmm_vi.Settings.batch_size} "
        "leaves the estimate less likely than the truth, by as much as "
        f"{listed([f'{each * loss:.0f}' for each, loss in behind.items()])} nats over all points. "
    )
    return figure, (
        f"From N = {n[0]:,} to {n[-1]:,} a step of 50 restarts takes {np.min(times):.1f} to {np.max(times):.1f} ms of "
        f"processor time. At {n[-1]:,} points, {data:.0f} MiB, the peak memory is at most {max(above) / data:.2f} "
        f"times the data above that of an idle process, of which {n[0]:,} points need {compilation / data:.2f} too, "
        f"for compilation above all; a run takes at most {max(cell['seconds'] for cell in last) / 60:.1f} minutes, "
        "beside other work. At a million points the "
        f"log-likelihood of all is at least {min(gaps):+.1e} nats per point against EM on "
        f"{million[0]['em_points']:,}. {truth if behind else ''}Dots are medians and ranges of {len(last)} data sets "
        f"for each N, on {on_threads(read('gmm-scale'))}."
    )


FIGURES: dict[str, tuple[tuple[str, ...], Callable[[], Drawn]]] = {  # with the results that each needs
    "n": (("gmm-sweep/n",), n_figure),
    "truth": (tuple(f"gmm-sweep/{axis}" for axis in AXIS_WORDS), truth_figure),
    "fitted-k": (("gmm-sweep/fitted_k",), fitted_k_figure),
    "starts": (("gmm-starts",), starts_figure),
    "defaults": (("gmm-defaults",), defaults_figure),
    "limit": (("gmm-limit",), limit_figure),
    "sgvb": (("gmm-estimators",), sgvb_figure),
    **{
        f"estimators-{versus}-{part}": (
            ("gmm-estimators",),
            lambda versus=versus, part=part: estimators_figure(versus, part),
        )
        for versus in ("samples", "k")
        for part in ("posterior", "model")
    },
    "cost": (("gmm-estimators", "gmm-race"), cost_figure),
    "race": (("gmm-race",), race_figure),
    "choosing-k": (("gmm-choosing-k",), choosing_k_figure),
    "problems": (("gmm-problems", "gmm-problems-small-steps"), problems_figure),
    "real": (("gmm-real/iris", "gmm-real/wine"), real_figure),
    "scale": (("gmm-scale",), scale_figure),
}


def sweep_times() -> str:
    """What the sweeps took."""
    runs = [read(f"gmm-sweep/{axis}") for axis in gmm_sweep.AXES]
    minutes = {
        part: sum(cell["seconds"][part] for run in runs for cell in run["cells"]) / 60
        for part in ("nvil", "compile", "em")
    }
    ends = [0.0, 0.0]
    for run in runs:  # as study.py gives them to two jobs
        first = int(np.argmin(ends))
        ends[first] += sum(cell["seconds"][part] for cell in run["cells"] for part in ("nvil", "compile")) / 60
    return (
        f"NVIL's part of the sweeps, `gmm-sweep`, took {minutes['nvil']:.0f} minutes of training and "
        f"{minutes['compile']:.0f} of compilation, EM's {minutes['em']:.0f}, each run on {on_threads(runs[0])}. Given "
        f"out in this order to 2 cores, as `make study ONLY=gmm-sweep JOBS=2` does, the runs without EM's part end "
        f"after {max(ends):.0f} minutes."
    )


def draw() -> str:
    """Draws every figure whose results are there; returns the text of README.md."""
    lines = ["# Part 2's studies", "", "Written by `report/gmm_figures.py` from `report/results/`."]
    if all((RESULTS / "gmm-sweep" / f"{axis}.json").is_file() for axis in gmm_sweep.AXES):
        lines += ["", sweep_times()]
    for name, (needed, function) in FIGURES.items():
        if all((RESULTS / f"{result}.json").is_file() for result in needed):
            with utils.figure_style():
                figure, sentence = function()
                utils.save_figure(figure, OUT, name)
            lines += ["", f"![{name}]({name}.png)", "", sentence]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the figures and the README.md beside them."""
    OUT.mkdir(parents=True, exist_ok=True)
    text = draw()
    utils.write_text(OUT / "README.md", text)
    print(f"{text.count('![')} figures of {len(FIGURES)} in {OUT}")


if __name__ == "__main__":
    main()
