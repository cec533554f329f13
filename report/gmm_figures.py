"""Draws the figures of part 2's studies: `python report/gmm_figures.py`.

From report/results/ to plots/gmm-study/, with a README.md there that says of each figure, in a sentence made from the
same results, what it shows. A figure whose results are not there yet is left out.
"""

import functools
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gmm_real
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
LABELS = {
    "n": "points $N$",
    "k": "components $K$",
    "separation": "separation ($\\sigma$)",
    "weight_ratio": "range of $\\pi$",
    "std_ratio": "range of $\\sigma$",
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


def band(axes: Axes, x: Sequence[float], values: Sequence[Sequence[float]], shade: float = 0.2, **style: Any) -> None:
    """Median and quartiles over data sets: a row of values for each x; the shade of many bands is to be lighter."""
    low, middle, high = np.array([np.quantile(row, (0.25, 0.5, 0.75)) for row in values]).T
    (line,) = axes.plot(x, middle, **style)
    axes.fill_between(x, low, high, color=line.get_color(), alpha=shade, linewidth=0)


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


def n_figure() -> Drawn:
    """Errors, likelihood and clusters against N."""
    n, data_sets = sweep("n")
    figure = Figure(figsize=(WIDTH, 2.2))
    errors, likelihood, rand = figure.subplots(1, 3)
    for i, (name, label) in enumerate(PARAMETERS.items()):
        colour = utils.COLOURS[i]
        band(errors, n, [[d["errors"]["estimate"][name] for d in row] for row in data_sets], color=colour, label=label)
        em = [np.median([d["errors"]["em"][name] for d in row]) for row in data_sets]
        errors.plot(n, em, color=colour, linestyle="", marker="x", markersize=4)
    errors.plot([], [], color="0.3", linestyle="", marker="x", markersize=4, label="EM")
    errors.plot(n, np.divide(1, np.sqrt(n)), color="0.6", linestyle=":", label="$N^{-1/2}$")
    errors.set(xscale="log", yscale="log", ylabel="RMS error ($\\mu$, $\\sigma$ in own $\\sigma$)")
    errors.legend(ncols=2, handlelength=1.2, columnspacing=0.8)
    for fit, style in FITS.items():
        gains = [[d["log_likelihood"][fit] - d["log_likelihood"]["truth"] for d in row] for row in data_sets]
        band(likelihood, n, gains, **style)
    likelihood.plot(n, np.divide(14 / 2, n), color="0.6", linestyle=":", label="parameters / $2N$")
    likelihood.set_yscale("symlog", linthresh=1e-4)
    likelihood.set(xscale="log", ylabel="log-likelihood less the truth's,\nnats per point")
    likelihood.legend()
    for name, label, colour, line in POSTERIORS:
        values = [[d["ari"][name] for d in row] for row in data_sets]
        band(rand, n, values, color=colour, linestyle=line, label=label)
    rand.set(xscale="log", ylabel="adjusted Rand index")
    rand.legend()
    for axes in (errors, likelihood, rand):
        axes.set_xlabel(LABELS["n"])
    first, last = (np.median([d["errors"]["estimate"]["means"] for d in row]) for row in (data_sets[0], data_sets[-1]))
    slope = np.polyfit(
        np.log(n[1:]), [np.log(np.median([d["errors"]["estimate"]["means"] for d in row])) for row in data_sets[1:]], 1
    )[0]
    every = [d for row in data_sets for d in row]
    behind = n[-1] * np.median([d["log_likelihood"]["em"] - d["log_likelihood"]["estimate"] for d in data_sets[-1]])
    return figure, (
        f"From N = {n[0]} to {n[-1]:,} the median error of the means falls from {first:.2f} to {last:.4f} of "
        f"their components' standard deviations, as N to the power of {slope:.2f} from N = {n[1]} on. NVIL came "
        f"within 1e-3 nats per point of the best known likelihood on {sum(solved(d, 'estimate') for d in every)} of "
        f"{len(every)} data sets, the best EM run on {sum(solved(d, 'em') for d in every)}; at N = {n[-1]:,}, where "
        f"that is no fine measure, the log-likelihood of all points is {behind:.1f} nats below EM's. The mixtures are "
        "the same for every N; bands are quartiles over 20 data sets, from N = 10,000 on over the first 5."
    )


def truth_figure() -> Drawn:
    """Errors, optima and clusters against K and the true parameters."""
    axes_names = ("k", "separation", "weight_ratio", "std_ratio", "anisotropy")
    figure = Figure(figsize=(WIDTH, 6.2))
    grid = figure.subplots(4, len(axes_names), sharey="row", sharex="col")
    words = []
    for column, name in zip(grid.T, axes_names, strict=True):
        x, data_sets = sweep(name)
        errors, optima, rand, divergence = column
        for i, (parameter, label) in enumerate(PARAMETERS.items()):
            colour = utils.COLOURS[i]
            ours = [[d["errors"]["estimate"][parameter] for d in row] for row in data_sets]
            band(errors, x, ours, color=colour, label=f"{label}, NVIL")
            em = [np.median([d["errors"]["em"][parameter] for d in row]) for row in data_sets]
            errors.plot(x, em, color=colour, linestyle="", marker="x", markersize=3, label=f"{label}, EM")
        errors.set_yscale("log")
        for fit, style in FITS.items():
            share = [100 * np.mean([solved(d, fit) for d in row]) for row in data_sets]
            optima.plot(x, share, marker=".", **style)
        singles = [[found(d) for d in row] for row in data_sets]
        band(optima, x, singles, color="0.5", linestyle="--", label="restarts of NVIL")
        for fit, label, colour, line in POSTERIORS:
            values = [[d["ari"][fit] for d in row] for row in data_sets]
            band(rand, x, values, color=colour, linestyle=line, label=label)
        kl = [[max(d["kl"], 1e-9) for d in row] for row in data_sets]
        band(divergence, x, kl, color=utils.COLOURS[4], label="KL(q || posterior)")
        divergence.set(yscale="log", xlabel=LABELS[name])
        if name != "k":
            divergence.set_xscale("log", base=2)
            divergence.set_xticks([value for value in x if np.log2(value).is_integer()])
            divergence.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        every = [d for row in data_sets for d in row]
        words.append(
            f"{sum(solved(d, 'estimate') for d in every)} and {sum(solved(d, 'em') for d in every)} of {len(every)}"
        )
    for row, label in zip(
        grid,
        (
            "RMS error ($\\mu$, $\\sigma$ in own $\\sigma$)",
            "best optimum found, %",
            "adjusted Rand index",
            "nats per point",
        ),
        strict=True,
    ):
        row[0].set_ylabel(label)
        row[-1].legend(fontsize=5, handlelength=1.2)
    x, data_sets = sweep("separation")
    near, far = data_sets[0], data_sets[-1]
    error = [np.median([d["errors"]["estimate"]["means"] for d in row]) for row in (near, far)]
    singles = [np.mean([found(d) for d in row]) for row in (near, far)]
    every = [d for name in axes_names for row in sweep(name)[1] for d in row]
    unfinished = sum(not d["em_converged"] for d in every)
    listed = "; ".join(f"{name.replace('_', ' ')} {count}" for name, count in zip(axes_names, words, strict=True))
    return figure, (
        f"From a separation of {x[0]} to {x[-1]} the median error of the means goes from {error[0]:.2f} to "
        f"{error[1]:.3f} of their components' standard deviations, and the share of restarts within 1e-3 nats per "
        f"point of the best known likelihood from {singles[0]:.0f} to {singles[1]:.0f} %. Data sets on which the best "
        f"restart and the best EM run came as near: {listed}. EM is scikit-learn's as users have it: 20 starts by "
        f"k-means, at most 1,000 iterations, in which its best run did not converge on {unfinished} of {len(every)} "
        "data sets. N = 500; only the closest pair of means is at the given separation, so that at large K most are "
        "farther apart; bands are quartiles over 20 data sets."
    )


def fitted_k_figure() -> Drawn:
    """A fit with too few or too many components."""
    k, data_sets = sweep("fitted_k")
    figure = Figure(figsize=(WIDTH, 2.1))
    likelihood, optima, rand = figure.subplots(1, 3)
    for fit, style in FITS.items():
        gains = [[d["log_likelihood"][fit] - d["log_likelihood"]["truth"] for d in row] for row in data_sets]
        band(likelihood, k, gains, **style)
        share = [100 * np.mean([solved(d, fit) for d in row]) for row in data_sets]
        optima.plot(k, share, marker=".", **style)
    likelihood.axhline(0, color="0.6", linewidth=0.8)
    likelihood.set_yscale("symlog", linthresh=0.01)
    singles = [[found(d) for d in row] for row in data_sets]
    band(optima, k, singles, color="0.5", linestyle="--", label="restarts of NVIL")
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
    gain = np.median([d["log_likelihood"]["estimate"] - d["log_likelihood"]["truth"] for d in data_sets[5]])
    missed = [(name, sum(not solved(d, name) for d in data_sets[5])) for name in ("estimate", "em")]
    return figure, (
        f"The adjusted Rand index is {few:.2f} with two fitted components, {right:.2f} with three and {many:.2f} with "
        f"six, whose log-likelihood is {1e3 * gain:.0f}e-3 nats per point above the truth's. With six, NVIL missed "
        f"the best known likelihood on {missed[0][1]} of {len(data_sets[5])} data sets and the best of 20 EM runs on "
        f"{missed[1][1]}, degenerate fits among them. N = 500; bands are quartiles over data sets."
    )


def limit_figure() -> Drawn:
    """Error, bias and coverage of the maximum of the likelihood against N, beside the Cramér-Rao bound, and NVIL's."""
    cells = read("gmm-limit")["cells"]
    figure = Figure(figsize=(WIDTH, 4.4))
    (errors, ratios), (biases, coverages) = figure.subplots(2, 2)
    of_gauss = 0.6745  # median of |error| over its standard deviation
    words, followed = [], []
    for i, separation in enumerate(sorted({cell["cell"]["separation"] for cell in cells})):
        chosen = sorted(
            (cell for cell in cells if cell["cell"]["separation"] == separation), key=lambda cell: cell["cell"]["n"]
        )
        n = [cell["cell"]["n"] for cell in chosen]
        bound = np.array([list(cell["bound"].values()) for cell in chosen])
        mle, ours = (
            {name: np.array([list(cell[fit][name].values()) for cell in chosen]) for name in chosen[0][fit]}
            for fit in ("mle", "estimate")
        )
        means = [name.startswith("mu") for name in chosen[0]["bound"]]
        colour = utils.COLOURS[i]
        style, cross = {"color": colour, "marker": "."}, {"color": colour, "linestyle": "", "marker": "x"}
        label = f"{separation:g}"
        errors.plot(n, np.median(mle["median_error"][:, means], axis=1), **style, label=label)
        errors.plot(n, of_gauss * np.median(bound[:, means], axis=1), color=colour, linestyle=":")
        ratio, our_ratio = (fit["median_error"] / (of_gauss * bound) for fit in (mle, ours))
        band(ratios, n, ratio, **style)
        ratios.plot(n, np.median(our_ratio, axis=1), **cross, markersize=4)
        bias, our_bias = (np.abs(fit["bias"]) / bound for fit in (mle, ours))
        band(biases, n, bias, **style)
        biases.plot(n, np.median(our_bias, axis=1), **cross, markersize=4)
        biases.plot(n, np.median(mle["bias_se"] / bound, axis=1), color=colour, linestyle=":")
        band(coverages, n, 100 * mle["coverage"], **style)
        coverages.plot(n, 100 * np.median(ours["coverage"], axis=1), **cross, markersize=4)
        told = [
            f"{np.median(r[-1]):.2f}, {np.median(b[-1]):.2f} and {100 * np.median(c[-1]):.0f} %"
            for r, b, c in ((ratio, bias, mle["coverage"]), (our_ratio, our_bias, ours["coverage"]))
        ]
        words.append(f"separation {label}: {told[0]}, NVIL {told[1]}, {np.median(chosen[-1]['behind']):.0e} nats below")
        near = np.abs(np.median(ratio, axis=1) - 1) < 0.1
        since = n[len(near) - int(np.cumprod(near[::-1]).sum())] if near[-1] else None
        followed.append(f"at {label} " + ("at no N" if since is None else f"from N = {since:,} on"))
    errors.plot([], [], color="0.3", linestyle=":", label="bound")
    errors.set(yscale="log", ylabel="median |error| of $\\mu$, RMS $\\sigma$")
    handles, labels = errors.get_legend_handles_labels()
    figure.legend(handles, labels, title=LABELS["separation"], loc="outside upper center", ncols=len(handles))
    ratios.axhline(1, color="0.6", linewidth=0.8)
    ratios.plot([], [], color="0.3", linestyle="", marker="x", markersize=4, label="NVIL")
    ratios.set(ylabel="median |error| over the bound's")
    ratios.legend()
    biases.plot([], [], color="0.3", linestyle=":", label="standard error")
    biases.set(yscale="log", ylabel="|bias| over the bound")
    biases.legend()
    coverages.axhline(95, color="0.6", linewidth=0.8)
    coverages.set(ylabel="coverage of 95 % intervals, %")
    for axes in (errors, ratios, biases, coverages):
        axes.set(xscale="log", xlabel=LABELS["n"])
    largest, config = max(cell["cell"]["n"] for cell in cells), read("gmm-limit")["config"]
    return figure, (
        "The median error of the maximum of the likelihood is within 10 % of the Cramér-Rao bound's, by separation: "
        f"{', '.join(followed)}. At N = {largest:,}, its error over the bound's, its |bias| over the bound, and the "
        f"coverage of 95 % intervals; the same of NVIL, and how far its log-likelihood per point is below the "
        f"maximum: {'; '.join(words)}. NVIL takes batches of {config['batch_size']} points, of "
        f"{config['large_n_batch_size']} from N = {config['large_n']:,} on. Dots and bands are median and quartiles "
        f"over the 14 parameters, each over {config['data_sets']} data sets."
    )


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


def plot_bias(axes: Axes, x: Sequence[float], of: Sequence[dict[str, Any]], **style: Any) -> None:
    """Biases against x; a hollow mark is the noise."""
    values = [bias_above_noise(each) for each in of]
    axes.plot(x, [value for value, _ in values], marker="o", markersize=3.5, markerfacecolor="white", **style)
    clear = [(at, value) for at, (value, above) in zip(x, values, strict=True) if above]
    axes.plot(*zip(*clear, strict=True) if clear else ([], []), "o", markersize=3.5, color=style["color"])


def sgvb_figure() -> Drawn:
    """What sgvb gives on one-hot samples, and on the two relaxations over temperatures."""
    figure = Figure(figsize=(WIDTH, 4.4))
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    words, own = [], []
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
                values = [bias_above_noise(each) for each in relaxed]
                told = [f"{'' if above else 'below '}{value:.2g}" for value, above in (values[0], values[-1])]
                words.append(f"{moment}, {label} {told[0]} and {told[1]}")
            else:
                values = [bias_above_noise(each, "target_bias") for each in relaxed]
                axes.plot(t, [value for value, _ in values], "x", color=colour, markersize=4)
                own += [above for _, above in values]
        norm, spread = np.median(of["exact"]["norm"]), np.median(np.sqrt(of["network"]["variance"]))
        axes.axhline(norm, color=utils.COLOURS[5], linestyle=":", label="sgvb on one-hot z: bias = exact gradient")
        axes.axhline(spread, color=utils.COLOURS[2], linestyle="-.", label="NVIL, standard deviation")
        axes.set(xscale="log", yscale="log", title=f"{moment}, $K = {k}$")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    cross = Line2D([], [], color="0.3", linestyle="", marker="x", markersize=4)
    figure.legend([*handles, cross], [*labels, "bias from its own target"], loc="outside upper center", ncols=3)
    figure.supxlabel("temperature $t$", fontsize="medium")
    figure.supylabel("gradient of $q$, nats per point", fontsize="medium")
    return figure, (
        "With its refusal by-passed, sgvb has no path from a one-hot sample to q: the mean of its gradient of q is "
        "0, its bias the whole exact gradient. On the Concrete relaxation sgvb climbs the bound of another model, "
        "whose divergence between relaxed posterior and prior depends on their log-odds at any temperature; "
        "Gumbel-softmax takes the discrete log-probabilities of the same sample. Median bias at the least "
        f"and the greatest temperature, K = 3, nats per point: {'; '.join(words)}. From the gradient of its own "
        f"target, exact by quadrature at K = 2, a relaxation's mean is away by more than its noise in {sum(own)} of "
        f"{len(own)} cases. One sample; over 10 data sets, bands are quartiles, a hollow mark is the "
        "noise of 100 draws."
    )


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
            if name in ("vimco", "rws"):
                values = [bias_above_noise(each, "target_bias")[0] for each in of]
                column[1].plot(x, values, "x", color=colour, markersize=4)
        column[0].set(title=moment, yscale="log")
        column[1].set(yscale="log")
        column[2].set(xlabel="samples $S$, at $K = 3$" if versus == "samples" else "components $K$, at $S = 5$")
    for row, label in zip(grid, ("std, nats per point", "bias, nats per point", "cosine to the exact"), strict=True):
        row[0].set_ylabel(label)
    figure.legend(*grid[2, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    if versus == "samples":
        (cell,) = estimator_cells(k=3, n_samples=5, moment="midway")
        variance = {name: np.array(each[part]["variance"]) for name, each in cell["estimators"].items()}
        told = ", ".join(
            f"{name} {np.median(variance['score function'] / variance[name]):.1f}"
            for name in ("moving mean", "network", "leave-one-out", "vimco", "rws")
        )
        shown = (
            "Midway, at 5 samples, the variance of the score function without a baseline, as a multiple of others', is "
            f"in the median: {told}."
        )
    else:
        growth = {}
        for name in ("score function", "network", "leave-one-out"):
            cells = [estimator_cells(k=k, n_samples=5, moment="midway")[0] for k in (2, 10)]
            growth[name] = [np.median(cell["estimators"][name][part]["cosine"]) for cell in cells]
        told = "; ".join(f"{name} {low:.2f} and {high:.2f}" for name, (low, high) in growth.items())
        shown = f"Midway, the median cosine to the exact gradient is at K = 2 and 10: {told}."
    return figure, (
        f"Gradient of the {part}'s parameters, nats per point and unit of each. {shown} Biases are medians of the "
        "distance from the bound's exact gradient, a hollow mark the noise of 100 draws; crosses are from the one "
        "that VIMCO and RWS target. Over 10 data sets, 100 draws each; bands are quartiles."
    )


def cost_figure() -> Drawn:
    """Variance times the time of a gradient, for model and posterior."""
    figure = Figure(figsize=(WIDTH, 2.6))
    panels = figure.subplots(1, 3, sharey=True)
    names = [name for name in ESTIMATORS if name != "exact" and not name.endswith(", 0.1")]
    cells = {moment: estimator_cells(k=3, n_samples=5, moment=moment)[0]["estimators"] for moment in MOMENTS}
    # The work of a gradient is the same at every moment.
    times = {name: min(cell[name]["microseconds"] for cell in cells.values()) for name in names}
    best = {}
    for axes, (moment, cell) in zip(panels, cells.items(), strict=True):
        for i, part in enumerate(("posterior", "model")):
            products = np.array([times[name] * np.array(cell[name][part]["variance"]) for name in names])
            low, middle, high = np.quantile(products, (0.25, 0.5, 0.75), axis=1)
            y = np.arange(len(names)) + 0.15 * (2 * i - 1)
            style = {"fmt": "os"[i], "color": utils.COLOURS[i], "markersize": 4, "elinewidth": 1, "label": part}
            axes.errorbar(middle, y, xerr=(middle - low, high - middle), **style)
            if part == "posterior":
                unbiased = ("score function", "moving mean", "network", "leave-one-out")
                best[moment] = min(unbiased, key=lambda name, of=products: np.median(of[names.index(name)]))
        axes.set(xscale="log", xlabel="variance x microseconds", title=moment)
        axes.grid(axis="x", color="0.9")
    panels[0].set_yticks(np.arange(len(names)), [ESTIMATORS[name][0] for name in names])
    panels[0].invert_yaxis()
    panels[-1].legend()
    told = ", ".join(f"{moment} {ESTIMATORS[name][0]}" for moment, name in best.items())
    listed = ", ".join(f"{name} {value:.0f}" for name, value in times.items())
    return figure, (
        "Variance times the time of a gradient, K = 3 and 5 samples: what an estimator charges for a given "
        f"precision. The least for q among those without bias: {told}. Microseconds of a gradient of 100 points, "
        f"among 1000 at once: {listed}. Medians and quartiles over 10 data sets."
    )


def race_figure() -> Drawn:
    """The bound against time."""
    cells = read("gmm-race")["cells"]
    goal = np.max([np.max(cell["bound"], axis=0) for cell in cells], axis=0)
    figure = Figure(figsize=(WIDTH, 2.8))
    panels = figure.subplots(1, 2, sharey=True)
    words = []
    for axes, n_samples in zip(panels, (1, 5), strict=True):
        for cell in cells:
            name = cell["cell"]["estimator"]
            if cell["cell"]["n_samples"] != n_samples and name != "exact":
                continue
            label, colour, line = ESTIMATORS[name]
            gaps = np.maximum(goal - np.array(cell["bound"]), 1e-6)
            milliseconds = np.array(cell["seconds"]) * 1e3
            band(axes, milliseconds, gaps, shade=0.1, color=colour, linestyle=line, label=label)
            within = np.median(gaps, axis=1) < 0.01
            reached = cell["seconds"][int(np.argmax(within))] if within.any() else None
            words.append(
                f"{label} S={cell['cell']['n_samples']} {'never' if reached is None else f'{1e3 * reached:.0f} ms'}"
            )
        axes.set(xscale="log", yscale="log", xlabel="milliseconds, 20 data sets at once", title=f"$S = {n_samples}$")
        axes.legend(fontsize=6)
    panels[0].set_ylabel("nats per point below the best bound")
    return figure, (
        "Time until the median bound is within 0.01 nats per point of the best that any estimator reached on the "
        f"data set: {'; '.join(dict.fromkeys(words))}. K = 3, N = 100; bands are quartiles over 20 data sets."
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
            intervals = [binomtest(each, count).proportion_ci(method="wilson") for each in right]
            low, high = 100 * np.array([(each.low, each.high) for each in intervals]).T
            axes.plot(x, 100 * np.divide(right, count), marker=".", color=utils.COLOURS[i], label=f"N = {n}")
            axes.fill_between(x, low, high, color=utils.COLOURS[i], alpha=0.2, linewidth=0)
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
    differences = np.sort([p["difference"] for p in problems])
    figure = Figure(figsize=(3.4, 2.2))
    axes = figure.subplots()
    axes.plot(np.arange(1, len(differences) + 1), differences, linestyle="", marker=".", color=utils.COLOURS[0])
    axes.axhline(-CLOSE, color=gmm_vi.EM_COLOUR, linestyle=":", label="1e-3 below EM")
    axes.set_yscale("symlog", linthresh=1e-5)
    axes.set(xlabel="problem, in order", ylabel="log-likelihood less that of\nthe best of 20 EM runs, nats per point")
    axes.legend()
    failed = [p for p in problems if p["difference"] < -CLOSE]
    listed = "; ".join(
        f"K = {p['cell']['k']}, N = {p['cell']['n']}, separation {p['cell']['separation']:.1f}: {p['difference']:.4f}, "
        + why_it_failed(p)
        for p in failed
    )
    seconds = np.median([p["seconds"] for p in problems])
    return figure, (
        f"On {len(problems) - len(failed)} of {len(problems)} random problems in random units the estimate of "
        f"gmm_vi.py at its defaults is within 1e-3 nats per point of the best of 20 EM runs, after {seconds:.0f} s of "
        f"training in the median. Failures: {listed or 'none'}."
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
        gap = metrics["log_likelihood"]["estimate"] - metrics["log_likelihood"]["em"]
        words.append(
            f"{name}: {gap:+.1e} nats per point against EM, adjusted Rand index {metrics['ari']:.2f} against the "
            "classes"
        )
    return figure, f"Real points, K = 3: {'; '.join(words)}. Ellipses are at two standard deviations."


def scale_figure() -> Drawn:
    """Time of a step, memory and likelihood against N."""
    cells = read("gmm-scale")["cells"]
    n = [cell["cell"]["n"] for cell in cells]
    figure = Figure(figsize=(WIDTH, 2.1))
    step, memory, likelihood = figure.subplots(1, 3)
    step.plot(n, [cell["microseconds"] / 1e3 for cell in cells], marker=".")
    step.set(ylabel="step of 50 restarts, ms", ylim=(0, None))
    memory.plot(n, [cell["peak_mib"] for cell in cells], marker=".", label="peak")
    bar = [cell["idle_mib"] + 3 * cell["data_mib"] for cell in cells]
    memory.plot(n, bar, color="0.6", linestyle=":", label="idle and 3 x data")
    memory.set(ylabel="memory, MiB", ylim=(0, None))
    memory.legend()
    gaps = [1e3 * (cell["log_likelihood"]["estimate"] - cell["log_likelihood"]["em"]) for cell in cells]
    likelihood.plot(n, gaps, marker=".")
    likelihood.axhline(-1, color=gmm_vi.EM_COLOUR, linestyle=":", label="1e-3 below EM")
    likelihood.legend()
    likelihood.set(ylabel="log-likelihood less EM's,\n$10^{-3}$ nats per point")
    for axes in (step, memory, likelihood):
        axes.set(xscale="log", xlabel=LABELS["n"])
    last = cells[-1]
    above = last["peak_mib"] - last["idle_mib"]
    million = next(cell for cell in cells if cell["cell"]["n"] == 10**6)
    gap = million["log_likelihood"]["estimate"] - million["log_likelihood"]["em"]
    times = [cell["microseconds"] / 1e3 for cell in cells]
    return figure, (
        f"From N = {n[0]:,} to {n[-1]:,} a step of 50 restarts takes {min(times):.1f} to {max(times):.1f} ms. At "
        f"{n[-1]:,} points, {last['data_mib']:.0f} MiB, the peak memory is {above / last['data_mib']:.2f} times the "
        f"data above that of an idle process, of which what {n[0]:,} points need, compilation above all, is "
        f"{(cells[0]['peak_mib'] - cells[0]['idle_mib']) / last['data_mib']:.2f}; the whole run takes "
        f"{last['seconds'] / 60:.1f} minutes. At a million points the log-likelihood of all is {gap:+.1e} nats per "
        f"point against EM on {million['em_points']:,}."
    )


FIGURES: dict[str, tuple[tuple[str, ...], Callable[[], Drawn]]] = {  # with the results that each needs
    "n": (("gmm-sweep/n",), n_figure),
    "truth": (
        tuple(f"gmm-sweep/{axis}" for axis in ("k", "separation", "weight_ratio", "std_ratio", "anisotropy")),
        truth_figure,
    ),
    "fitted-k": (("gmm-sweep/fitted_k",), fitted_k_figure),
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
    "cost": (("gmm-estimators",), cost_figure),
    "race": (("gmm-race",), race_figure),
    "choosing-k": (("gmm-choosing-k",), choosing_k_figure),
    "problems": (("gmm-problems",), problems_figure),
    "real": (("gmm-real/iris", "gmm-real/wine"), real_figure),
    "scale": (("gmm-scale",), scale_figure),
}


def draw() -> str:
    """Draws every figure whose results are there; returns the text of README.md."""
    lines = ["# Part 2's studies", "", "Written by `report/gmm_figures.py` from `report/results/`."]
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
