"""Draws the figures of part 3's studies: `python report/gmvae_figures.py`.

From report/results/ to plots/gmvae-study/, with a README.md there that says of each figure, in sentences made from the
same results, what it shows. A figure whose results are not there yet is left out; one with fewer seeds than planned is
drawn from those that are there.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import study
from gmm_figures import WIDTH, Drawn, span
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

import gmvae
import utils

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "report" / "results"
PLOTS = ROOT / "plots"
OUT = PLOTS / "gmvae-study"
PICTURED = {  # folders in plots/ of seed 0's figures
    "gmvae-random-start": "random start",
    "gmvae": "default",
    "gmvae-pure": "pure, no labels",
    "gmvae-labels": "100 labels",
}
VARIANTS = {"default": utils.COLOURS[0], "pure": utils.COLOURS[1], "random-start": "0.45"}
INGREDIENTS = {
    "nothing": "as it is",
    "longer": "twice the epochs",
    "one-component": "one component",
    "random-start": "random start",
    "narrow": "250 units a layer",
    "wide": "1000 units a layer",
    "weighted": "weighted bound at the end",
    "last-weights": "last weights, not averages",
    "falling": "falling step size",
    "falling-last-weights": "falling step size, last weights",
}


def runs(name: str) -> list[dict[str, Any]]:
    """The metrics of all seeds of a run that there are."""
    return [json.loads(path.read_text()) for path in sorted((RESULTS / name).glob("seed-*.json"))]


def pairs(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """One run and the other of the same seed, in the order of the seeds that both have."""
    ones, others = ({run["config"]["seed"]: run for run in each} for each in (one, other))
    return [(ones[seed], others[seed]) for seed in sorted(ones.keys() & others.keys())]


def mean_and_range(values: list[float], form: str) -> str:
    """As "86.73 (86.63 to 86.81)"."""
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{np.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


class Ingredient(NamedTuple):
    """Runs of gmvae_likelihood.py with one ingredient changed."""

    label: str
    runs: list[dict[str, Any]]
    products: float  # of matrices, of steps 2 and 3: how many times the default's

    def values(self, score: str) -> list[float]:
        """A score of the test images, "nll" or "elbo", a number a seed."""
        return [run["test"][score] for run in self.runs]


def ingredients() -> dict[str, Ingredient]:
    """The default, "nothing", and what changes in it, those that have runs; nothing without the default's."""
    found = {name: each for name in INGREDIENTS if (each := runs(f"gmvae-likelihood/{name}"))}
    if "nothing" not in found:
        return {}
    base = products(found["nothing"][0]["config"])
    return {
        name: Ingredient(INGREDIENTS[name], each, products(each[0]["config"]) / base) for name, each in found.items()
    }


def pull_epochs(config: dict[str, Any]) -> int:
    """The epochs of step 2, as gmvae.py counts them."""
    return max(1, round(config["pull_share"] * config["epochs"]))


def products(config: dict[str, Any]) -> float:
    """Operations of the matrix products of steps 2 and 3, for each training image: six for each weight, sample and
    epoch, but for the gradient of the encoder's input, which nothing needs."""
    hidden, code = config["hidden_units"], config["code_units"]
    encoder = gmvae.PIXELS * hidden + hidden**2 + 2 * hidden * code
    decoder = code * hidden + hidden**2 + hidden * gmvae.PIXELS
    epochs = pull_epochs(config) + config["epochs"]
    weighted = round(config["weighted_share"] * epochs)
    samples = epochs + weighted * (config["weighted_samples"] - 1)  # of h, over all epochs
    return 6 * (epochs * encoder + samples * decoder) - 2 * epochs * gmvae.PIXELS * hidden


def likelihood_figure() -> Drawn | None:
    """-log p(x), the bound and components in use with one ingredient changed at a time."""
    found = ingredients()
    if not found:
        return None
    figure = Figure(figsize=(WIDTH, 0.45 + 0.13 * len(found)))
    axes = figure.subplots(1, 3, sharey=True, width_ratios=[2, 2, 1])
    for height, each in enumerate(found.values()):
        used = [run["components_used"] for run in each.runs]
        for ax, values in zip(axes, (each.values("nll"), [-v for v in each.values("elbo")], used), strict=True):
            ax.plot(values, [height] * len(values), "o", color=utils.COLOURS[0], markersize=3, alpha=0.7)
            ax.plot(np.mean(values), height, "|", color="black", markersize=9)
    axes[0].set_yticks(range(len(found)), [each.label for each in found.values()])
    axes[0].invert_yaxis()
    axes[0].set(xlabel="$-\\log p(x)$ (nats per image)")
    axes[1].set(xlabel="negative bound (nats per image)")
    axes[2].set(xlabel="components in use", xlim=(0, 10.5))
    base = found["nothing"]
    config = base.runs[0]["config"]
    told = "; ".join(
        f"{each.label} {np.mean(each.values('nll')) - np.mean(base.values('nll')):+.2f} and "
        f"{np.mean(base.values('elbo')) - np.mean(each.values('elbo')):+.2f}, {each.products:.1f} times the products"
        for each in found.values()
        if each is not base
    )
    nll, cost = (mean_and_range(values, ".2f") for values in (base.values("nll"), [-v for v in base.values("elbo")]))
    return figure, (
        f"Test images. At {config['epochs']} epochs of step 3 the default has {nll} nats of -log p(x) and {cost} of "
        f"negative bound. Each change by itself adds to the two: {told}. The products are those of matrices in steps 2 "
        f"and 3. Dots are seeds, strokes their means. {weighted_told(found)}"
    )


def weighted_told(found: dict[str, Ingredient]) -> str:
    """What the weighted bound gives by log p(x) itself, in words; nothing where gmvae_inside.py has not looked."""
    plain, weighted = (runs(f"gmvae-inside/{name}") for name in ("half", "weighted"))
    if "weighted" not in found or not plain or not weighted:
        return ""
    gain, loss = (
        np.mean(found["nothing"].values(score)) - np.mean(found["weighted"].values(score)) for score in ("nll", "elbo")
    )
    samples = found["nothing"].runs[0]["config"]["importance_samples"]
    shorts = [short_of(each, samples) for each in (plain, weighted)]
    return (
        f"The weighted bound trains q as a proposal for samples, at {loss:.2f} nats of the bound: on "
        f"{plain[0]['test']['images']} test images its {samples} samples leave the estimate {shorts[1]:.2f} nats short "
        f"of log p(x), the default's {shorts[0]:.2f}. So of its gain of {gain:.2f} nats {shorts[0] - shorts[1]:.2f} "
        "are the estimate's, and the rest is the model's."
    )


def reference_gains(plain: list[dict[str, Any]], other: list[dict[str, Any]]) -> np.ndarray:
    """How much greater log p(x) is in other runs of gmvae_inside.py than in plain ones, by its reference: for the seeds
    that both have, of each image, `[seeds, images]`."""
    both = zip(*pairs(plain, other), strict=True)
    base, gained = (np.array([run["test"]["each"]["log_likelihood"] for run in each]) for each in both)
    return gained - base


def standard_error(values: np.ndarray) -> float:
    """Over images, of the mean of values `[seeds, images]` over both."""
    of_images = values.mean(axis=0)
    return float(of_images.std(ddof=1) / np.sqrt(len(of_images)))


def short_of(watched: list[dict[str, Any]], n_samples: int) -> float:
    """How many nats the estimate of log p(x) from so many samples lies below gmvae_inside.py's reference, in the mean
    of runs of it."""
    tests = [run["test"] for run in watched]
    curves = [test["convergence"]["ours"] for test in tests]
    estimates = [curve["log_likelihood"][curve["samples"].index(n_samples)] for curve in curves]
    return float(np.mean([test["log_likelihood"] for test in tests]) - np.mean(estimates))


def inside_runs() -> dict[str, list[dict[str, Any]]]:
    """The runs of gmvae_inside.py of each variant that has some; nothing without the default's."""
    found = {name: each for name in VARIANTS if (each := runs(f"gmvae-inside/{name}"))}
    return found if "default" in found else {}


def inside_figure() -> Drawn | None:
    """The parts of the rate, information, components and active units while the model learns."""
    found = inside_runs()
    if not found:
        return None
    figure = Figure(figsize=(WIDTH, 2.0))
    axes = figure.subplots(2, 3, sharex=True).ravel()
    panels = {
        "within": "KL within the component (nats)",
        "assignment": "KL of the assignment (nats)",
        "information": "information of $x$ and $z$ (nats)",
        "uncertainty": "entropy of $z$ given $x$ (nats)",
        "components": "effective components",
        "active units": "active units of the code",
    }
    for ax, (measure, label) in zip(axes, panels.items(), strict=True):
        for variant, each in found.items():
            curves = np.array([run["inside"][measure] for run in each]).T
            span(ax, np.arange(len(curves)), curves, color=VARIANTS[variant], label=variant, markersize=0)
        # Before the first epoch some lie far from all the rest.
        shown = np.concatenate([run["inside"][measure][1:] for each in found.values() for run in each])
        margin = 0.06 * np.ptp(shown)
        ax.set(title=label, ylim=(shown.min() - margin, shown.max() + margin))
        ax.axvline(found["default"][0]["pull_epochs"], color="0.5", linestyle=":", linewidth=0.8)
    for ax in axes[3:]:
        ax.set_xlabel("epochs of steps 2 and 3")
    axes[2].axhline(np.log(10), color="0.7", linewidth=0.8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(found))
    last = {
        name: {measure: np.mean([run["inside"][measure][-1] for run in each]) for measure in each[0]["inside"]}
        for name, each in found.items()
    }
    words = "; ".join(
        f"{name}: {end['rate']:.1f} nats of rate, of which {end['assignment']:.2f} name the component; "
        f"{end['information']:.2f} nats of information; {end['components']:.1f} effective components; "
        f"{end['active units']:.0f} active and {end['varying units']:.0f} varying units"
        for name, end in last.items()
    )
    started = found.get("random-start", [])
    fewest = [min(run["inside"]["components"][1:]) for run in started]
    fall = (
        f"From a random start the effective components fall to {mean_and_range(fewest, '.1f')} before they rise to "
        f"{mean_and_range([run['inside']['components'][-1] for run in started], '.1f')}. "
        if started
        else ""
    )
    most = max(last, key=lambda name: last[name]["information"])
    seeds = ", ".join(f"{name} {len(each)}" for name, each in found.items())
    return figure, (
        f"Of these, the {most} model's component tells the most about the image, {last[most]['information']:.2f} of "
        f"the {np.log(10):.2f} nats that ten even ones can (grey line). {fall}"
        f"At the end, in the mean over the seeds: {words}. Information, entropy and effective components are of "
        "E p(z|h) over q(h|x), what the model makes of the image, not of the pure model's fixed classifier. "
        f"On the first {found['default'][0]['watched_images']:,} training images; medians and ranges of seeds "
        f"({seeds}), the last point of averages of the weights. What is before the first epoch lies in part beyond the "
        "axes. The dotted line ends the default's step 2."
    )


def gap_figure() -> Drawn | None:
    """The gap's two parts, and the estimate of log p(x) against the number of samples."""
    found = inside_runs()
    if not found:
        return None
    figure = Figure(figsize=(WIDTH, 1.5))
    parts, estimate, effective = figure.subplots(1, 3)
    for position, (variant, each) in enumerate(found.items()):
        approximation, amortisation = (
            [run["test"][part] for run in each] for part in ("approximation", "amortisation")
        )
        colour = VARIANTS[variant]
        parts.bar(position, np.mean(approximation), color=colour)
        parts.bar(position, np.mean(amortisation), bottom=np.mean(approximation), color=colour, alpha=0.45)
        gaps = [run["test"]["gap"] for run in each]
        parts.plot([position] * len(gaps), gaps, "_", color="black", markersize=8)
        for style, proposal in (("-", "ours"), ("--", "optimised")):
            curves = [run["test"]["convergence"][proposal] for run in each]
            # The reference is itself of optimised samples: as many of these reach it whether it is right or not.
            most = np.inf if proposal == "ours" else each[0]["test"]["reference_samples"] / 50
            x = np.array(curves[0]["samples"])
            told = x <= most
            ends = np.array([run["test"]["log_likelihood"] for run in each])
            short = ends - np.array([curve["log_likelihood"] for curve in curves]).T
            span(estimate, x[told], short[told], color=colour, linestyle=style, markersize=3)
            shares = 100 * np.array([curve["effective_share"] for curve in curves]).T
            span(effective, x[told], shares[told], color=colour, linestyle=style, markersize=3)
    parts.set_xticks(range(len(found)), found)
    parts.set(ylabel="$\\log p(x)$ - bound (nats)")
    estimate.set(xlabel="samples of $h$", ylabel="short of $\\log p(x)$ (nats)", xscale="log", yscale="log")
    effective.set(xlabel="samples of $h$", ylabel="effective samples (%)", xscale="log", yscale="log")
    gaps = {name: gap_parts(each) for name, each in found.items()}
    words = ", ".join(
        f"{name} {' + '.join(f'{np.mean(part):.2f} ± {standard_error(part):.2f}' for part in each)}"
        for name, each in gaps.items()
    )
    test = found["default"][0]["test"]
    most = test["convergence"]["ours"]["samples"][-1]
    short = short_of(found["default"], most)
    of_images = np.concatenate([run["test"]["each"]["effective_samples"] for run in found["default"]])
    slow = max(run["test"]["best_bound"] - run["test"]["best_bound_halfway"] for each in found.values() for run in each)
    return figure, (
        "Dark is what the family costs (approximation), light is amortisation; strokes are seeds, colours the bars'. "
        f"In nats, with standard errors over images: {words}. With the network's q(h|x) (full lines) {most:,} samples "
        f"leave the default's estimate at least {short:.2f} nats short of log p(x), which is that of "
        f"{test['reference_samples']:,} samples of q(h|x) optimised for each image (dashed: fewer of these), of which "
        f"by default in the median {np.median(of_images):.0f} are effective and for "
        f"{100 * np.mean(of_images < 10):.0f} % of the images fewer than 10, so that it too is low; half of Adam's "
        f"steps lose {slow:.2f} nats at most. {test['images']} test images: the light part has in it what the network "
        "does not generalise, and for pure what its regularisers cost."
    )


def gap_parts(watched: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """The approximation and the amortisation gap in runs of gmvae_inside.py, `[seeds, images]` each."""
    log_likelihood, best, bound = (
        np.array([run["test"]["each"][name] for run in watched]) for name in ("log_likelihood", "best_bound", "bound")
    )
    return log_likelihood - best, best - bound


def pareto_figure() -> Drawn | None:
    """Errors of the model's clusters and impure samples against -log p(x) over the regularisers' weights."""
    found = {}
    for name, key in (("generation", "generation_weight"), ("pull", "pull_weight")):
        folders = sorted(path.name for path in (RESULTS / "gmvae-pareto").glob(f"{name}-*"))
        every = [run for folder in folders for run in runs(f"gmvae-pareto/{folder}")]
        every += runs("gmvae-pure-without/nothing")
        weights = sorted({run["config"][key] for run in every})
        found[key] = {weight: [run for run in every if run["config"][key] == weight] for weight in weights}
    plain = runs("gmvae-likelihood/nothing")  # the default at the same budget
    if not plain or any(len(each) < 2 for each in found.values()):
        return None
    figure = Figure(figsize=(WIDTH, 1.6))
    accuracy, purity = figure.subplots(1, 2)
    scores = {
        "nll": lambda run: run["test"]["nll"],
        "error": lambda run: 100 * (1 - run["test"]["accuracy_model"]),
        "impurity": lambda run: 100 * (1 - run["sample_purity"]["mean"]),
    }
    panels = ((accuracy, "error"), (purity, "impurity"))
    words = {"generation_weight": "of generated images", "pull_weight": "of the pull"}
    told = []
    # Both weights' numbers stand at the point that they share, one below and one above.
    offsets = {"generation_weight": {"xytext": (-2, -7), "ha": "right"}, "pull_weight": {"xytext": (2, 3)}}
    outline = [patheffects.withStroke(linewidth=1.5, foreground="white")]
    for (key, groups), colour in zip(found.items(), utils.COLOURS, strict=False):
        values = {name: [[score(run) for run in each] for each in groups.values()] for name, score in scores.items()}
        means = {name: [np.mean(each) for each in rows] for name, rows in values.items()}
        dots = {name: list(itertools.chain(*rows)) for name, rows in values.items()}
        for ax, score in panels:
            ax.plot(means["nll"], means[score], ".-", color=colour, label=f"weight {words[key]}")
            ax.plot(dots["nll"], dots[score], ".", color=colour, alpha=0.35, markersize=3)
            for *at, weight in zip(means["nll"], means[score], groups, strict=True):
                look = {"fontsize": 6, "color": colour, "path_effects": outline}
                ax.annotate(f"{weight:g}", at, textcoords="offset points", **look, **offsets[key])
        changes = [f"{row[-1] - row[0]:+.2f}" for row in means.values()]
        told.append(
            f"From weight {min(groups):g} to {max(groups):g} {words[key]} -log p(x) changes by {changes[0]} nats, the "
            f"error of p(z|x) by {changes[1]} points and impure samples by {changes[2]}."
        )
    others = {"pull 1, no generated images": ("s", runs("gmvae-pareto/neither")), "default": ("*", plain)}
    for label, (marker, each) in others.items():
        if each:
            nll, *ends = (np.mean([score(run) for run in each]) for score in scores.values())
            for (ax, _), end in zip(panels, ends, strict=True):
                ax.plot(nll, end, marker, color="black", markersize=5, label=label)
    accuracy.set(ylabel="error of $p(z\\,|\\,x)$ (%)")
    purity.set(ylabel="impure samples (%)")
    accuracy.legend()
    for ax in (accuracy, purity):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("")
        ax.margins(y=0.12)  # room for the numbers
        ax.set_xlabel("$-\\log p(x)$ of test images (nats per image)")
    count = " to ".join(map(str, sorted({len(each) for groups in found.values() for each in groups.values()})))
    below = [
        np.mean([-run["test"]["elbo"] - run["test"]["nll"] for run in each])
        for each in (plain, *found["generation_weight"].values(), *found["pull_weight"].values())
    ]
    told.append(
        f"The lines cross at the weights that --pure has. Numbers are weights, faint dots seeds ({count} of each). But "
        "for the default p(z|x) is by samples of a q(h|x) that is told q(z|x). "
        f"{plain[0]['config']['importance_samples']} importance samples, whose -log p(x) is {below[0]:.1f} below the "
        f"negative bound by default and up to {max(below):.1f} with the weights here, so that some of the slope may be "
        "the estimate's."
    )
    return figure, " ".join(told)


def pictures_figure() -> Drawn | None:
    """Draws from each component, and classes against clusters, of each variant's seed 0."""
    folders = {name: PLOTS / name for name in PICTURED}
    folders = {name: folder for name, folder in folders.items() if (folder / "pictures.npz").exists()}
    if "gmvae" not in folders:
        return None
    figure = Figure(figsize=(WIDTH, 3.1))
    axes = figure.subplots(2, len(folders), squeeze=False, height_ratios=[2, 1])
    told = []
    for (name, folder), (draws, confusion) in zip(folders.items(), axes.T, strict=True):
        metrics = json.loads((folder / "metrics.json").read_text())
        with np.load(folder / "pictures.npz") as shown:
            order = gmvae.clusters_by_class(shown["confusion"])
            images, counts = shown["draws"][order][:, :7], shown["confusion"][order]
        draws.imshow(gmvae.tiles(images), cmap="gray_r", vmin=0, vmax=1, aspect="auto")
        draws.set(xticks=[], yticks=[], title=PICTURED[name])
        draws.spines[:].set_visible(False)
        picture = confusion.imshow(gmvae.class_shares(counts), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        confusion.set(xticks=range(counts.shape[1]), yticks=[], xlabel="class")
        purity = metrics["sample_purity"]["mean"]
        told.append(f"{PICTURED[name]} ({100 * metrics['test']['accuracy']:.1f}, {100 * purity:.1f})")
    axes[0, 0].set_ylabel("draws")
    axes[1, 0].set_ylabel("test images")
    figure.colorbar(picture, ax=axes[1], label="share of cluster", pad=0.01)
    return figure, (
        "A row for each cluster, in the order of the matched classes. In brackets the accuracy by q(z|x) and the "
        f"purity of draws, in %: {', '.join(told)}."
    )


FIGURES = {
    "pictures": pictures_figure,
    "likelihood": likelihood_figure,
    "inside": inside_figure,
    "gap": gap_figure,
    "pareto": pareto_figure,
}


def draw() -> str:
    """Draws every figure whose results are there; returns the text of README.md."""
    lines = ["# Part 3's studies", "", "Written by `report/gmvae_figures.py` from `report/results/`."]
    for name, function in FIGURES.items():
        with utils.figure_style():
            drawn = function()
            if drawn:
                utils.save_figure(drawn[0], OUT, name)
                lines += ["", f"![{name}]({name}.png)", "", drawn[1]]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the figures and the README.md beside them."""
    try:
        study.check_shown(PLOTS, RESULTS)
    except ValueError as error:
        print(f"error: {error}; git checkout plots restores figures", file=sys.stderr)
        sys.exit(2)
    OUT.mkdir(parents=True, exist_ok=True)
    text = draw()
    utils.write_text(OUT / "README.md", text)
    print(f"{text.count('![')} figures of {len(FIGURES)} in {OUT}")


if __name__ == "__main__":
    main()
