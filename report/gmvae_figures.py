"""Draws the figures of part 3's studies: `python report/gmvae_figures.py`.

From report/results/ to plots/gmvae-study/, with a README.md there that says of each figure, in sentences made from the
same results, what it shows. A figure whose results are not there yet is left out; one with fewer seeds than planned is
drawn from those that are there.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gmm_figures
import numpy as np
from gmm_figures import WIDTH, Drawn, span
from matplotlib.figure import Figure

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


def mean_and_range(values: list[float], form: str) -> str:
    """As "86.73 (86.63 to 86.81)"."""
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{np.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def likelihood_figure() -> Drawn | None:
    """-log p(x) and components in use with one ingredient changed at a time."""
    found = {name: runs(f"gmvae-likelihood/{name}") for name in INGREDIENTS}
    found = {name: each for name, each in found.items() if each}
    if "nothing" not in found:
        return None
    figure = Figure(figsize=(WIDTH, 0.45 + 0.13 * len(found)))
    nll, components = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    for height, each in enumerate(found.values()):
        values = [run["test"]["nll"] for run in each]
        nll.plot(values, [height] * len(each), "o", color=utils.COLOURS[0], markersize=3, alpha=0.7)
        nll.plot(np.mean(values), height, "|", color="black", markersize=9)
        used = [run["components_used"] for run in each]
        components.plot(used, [height] * len(each), "o", color=utils.COLOURS[0], markersize=3, alpha=0.7)
    seconds = {name: np.mean([run["seconds"] for run in each]) for name, each in found.items()}
    nll.set_yticks(range(len(found)), [f"{INGREDIENTS[name]}, {seconds[name]:.0f} s" for name in found])
    nll.invert_yaxis()
    nll.set(xlabel="$-\\log p(x)$ of test images (nats per image)")
    components.set(xlabel="components in use", xlim=(0, 10.5))
    base = np.mean([run["test"]["nll"] for run in found["nothing"]])
    gains = {name: np.mean([run["test"]["nll"] for run in each]) - base for name, each in found.items()}
    config = found["nothing"][0]["config"]
    better = sorted((name for name in gains if gains[name] < 0), key=gains.__getitem__)
    helps = gmm_figures.listed(
        [
            f"{INGREDIENTS[name]} ({-gains[name]:.2f} nats, {seconds[name] / seconds['nothing']:.1f} times the time)"
            for name in better
        ]
    )
    helps = f"These help: {helps}." if better else "No change here helps."
    told = "; ".join(f"{INGREDIENTS[name]} {gain:+.2f}" for name, gain in gains.items() if name != "nothing")
    samples = config["importance_samples"]
    return figure, (
        f"{helps} At {config['epochs']} epochs of step 3 the default is at "
        f"{mean_and_range([run['test']['nll'] for run in found['nothing']], '.2f')} nats per image; each change by "
        f"itself adds to it: {told}. Dots are seeds, strokes their means, beside each its seconds of training on "
        f"{config['threads']} threads. The {samples} importance samples leave the default's estimate "
        f"{short_of(samples):.2f} nats short, at twice these epochs. The weighted bound trains q for such samples: up "
        "to as much of its gain is the estimate's."
    )


def short_of(n_samples: int) -> float:
    """How many nats the default's estimate of log p(x) from so many samples lies below gmvae_inside.py's reference."""
    tests = [run["test"] for run in runs("gmvae-inside/default")]
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
        "uncertainty": "entropy of $q(z\\,|\\,x)$ (nats)",
        "components": "effective components",
        "active units": "active units of the code",
    }
    for ax, (measure, label) in zip(axes, panels.items(), strict=True):
        for variant, each in found.items():
            curves = np.array([run["inside"][measure] for run in each]).T
            span(ax, np.arange(len(curves)), curves, color=VARIANTS[variant], label=variant, markersize=0)
        ax.set(title=label, ylim=0)
        ax.axvline(found["default"][0]["pull_epochs"], color="0.5", linestyle=":", linewidth=0.8)
    for ax in axes[3:]:
        ax.set_xlabel("epochs of steps 2 and 3")
    axes[2].axhline(np.log(10), color="0.7", linewidth=0.8)
    axes[3].legend(loc="upper right")
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
        f"Of these, the {most} model's component tells most of the image, {last[most]['information']:.2f} of the "
        f"{np.log(10):.2f} nats that ten even ones can (grey line). {fall}"
        f"At the end, in the mean over the seeds: {words}. "
        f"On the first {found['default'][0]['watched_images']:,} training images; medians and ranges of seeds "
        f"({seeds}), the last point of averages of the weights. The dotted line ends the default's step 2."
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
            x = curves[0]["samples"]
            ends = np.array([run["test"]["log_likelihood"] for run in each])
            short = ends - np.array([curve["log_likelihood"] for curve in curves]).T
            span(estimate, x, short, color=colour, linestyle=style, markersize=3)
            shares = 100 * np.array([curve["effective_share"] for curve in curves]).T
            span(effective, x, shares, color=colour, linestyle=style, markersize=3)
    parts.set_xticks(range(len(found)), found)
    parts.set(ylabel="$\\log p(x)$ - bound (nats)")
    estimate.set(xlabel="samples of $h$", ylabel="short of $\\log p(x)$ (nats)", xscale="log", yscale="log")
    effective.set(xlabel="samples of $h$", ylabel="effective samples (%)", xscale="log", yscale="log")
    gaps = {
        name: {part: np.mean([run["test"][part] for run in each]) for part in ("approximation", "amortisation")}
        for name, each in found.items()
    }
    words = ", ".join(f"{name} {gap['approximation']:.2f} + {gap['amortisation']:.2f}" for name, gap in gaps.items())
    amortised = gaps["default"]["amortisation"] > gaps["default"]["approximation"]
    larger = "amortisation" if amortised else "approximation"
    test = found["default"][0]["test"]
    most = test["convergence"]["ours"]["samples"][-1]
    slow = max(r["test"]["best_bound"] - r["test"]["best_bound_halfway"] for each in found.values() for r in each)
    purity = purity_here(found)
    return figure, (
        "Dark is what the family costs (approximation), light is amortisation; strokes are seeds, colours the bars'. "
        f"Most of the default's gap is {larger}; in nats: {words}. With the network's q(h|x) (full lines) "
        f"{most:,} samples leave the default's estimate {short_of(most):.2f} nats short of log p(x), which is that of "
        f"{test['reference_samples']:,} samples of q(h|x) optimised for each image (dashed: fewer of these), itself a "
        f"little low; half of Adam's steps lose {slow:.2f} nats at most. On {test['images']} test images, so that the "
        f"light part has in it what the network does not generalise, and for pure what its regularisers cost.{purity}"
    )


def purity_here(found: dict[str, list[dict[str, Any]]]) -> str:
    """What --pure does to log p(x) itself, by gmvae_inside.py's reference, in words."""
    tests = {
        name: {run["config"]["seed"]: np.array(run["test"]["each"]["log_likelihood"]) for run in each}
        for name, each in found.items()
    }
    seeds = tests["default"].keys() & tests.get("pure", {}).keys()
    if not seeds:
        return ""
    gains = np.mean([tests["pure"][seed] - tests["default"][seed] for seed in seeds], axis=0)
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    return (
        f" There the pure model's log p(x) less the default's is {gains.mean():+.2f} nats, with a standard error over "
        f"images of {error:.2f}."
    )


def pareto_figure() -> Drawn | None:
    """Accuracy of the model and purity of its samples against -log p(x) over the regularisers' weights."""
    found = {}
    for name, key in (("generation", "generation_weight"), ("pull", "pull_weight")):
        folders = sorted(path.name for path in (RESULTS / "gmvae-pareto").glob(f"{name}-*"))
        every = [run for folder in folders for run in runs(f"gmvae-pareto/{folder}")]
        every += runs("gmvae-pure-without/nothing")
        weights = sorted({run["config"][key] for run in every})
        found[key] = {weight: [run for run in every if run["config"][key] == weight] for weight in weights}
    default = [run["test"]["nll"] for run in runs("gmvae-likelihood/nothing")]  # of the same budget
    if not default or any(len(each) < 2 for each in found.values()):
        return None
    figure = Figure(figsize=(WIDTH, 1.7))
    accuracy, purity = figure.subplots(1, 2)
    scores = {
        "nll": lambda run: run["test"]["nll"],
        "accuracy": lambda run: 100 * run["test"]["accuracy_model"],
        "purity": lambda run: 100 * run["sample_purity"]["mean"],
    }
    words = {"generation_weight": "of generated images", "pull_weight": "of the pull"}
    told = []
    # Both weights' numbers stand at the point that they share, one below and one above.
    offsets = {"generation_weight": {"xytext": (3, -7)}, "pull_weight": {"xytext": (-3, 3), "ha": "right"}}
    for (key, groups), colour in zip(found.items(), utils.COLOURS, strict=False):
        values = {name: [[score(run) for run in each] for each in groups.values()] for name, score in scores.items()}
        means = {name: [np.mean(each) for each in rows] for name, rows in values.items()}
        dots = {name: list(itertools.chain(*rows)) for name, rows in values.items()}
        for ax, score in ((accuracy, "accuracy"), (purity, "purity")):
            ax.plot(means["nll"], means[score], ".-", color=colour, label=f"weight {words[key]}")
            ax.plot(dots["nll"], dots[score], ".", color=colour, alpha=0.35, markersize=3)
            for *at, weight in zip(means["nll"], means[score], groups, strict=True):
                ax.annotate(f"{weight:g}", at, textcoords="offset points", fontsize=6, color=colour, **offsets[key])
        ends = {name: f"from {row[0]:.2f} to {row[-1]:.2f}" for name, row in means.items()}
        told.append(
            f"From weight {min(groups):g} to {max(groups):g} {words[key]} the samples' purity goes {ends['purity']} %, "
            f"accuracy by p(z|x) {ends['accuracy']} % and -log p(x) {ends['nll']} nats."
        )
    accuracy.set(ylabel="accuracy, $p(z\\,|\\,x)$ (%)")
    purity.set(ylabel="purity of samples (%)")
    accuracy.legend()
    for ax in (accuracy, purity):
        ax.margins(y=0.12)  # room for the numbers
        ax.axvline(np.mean(default), color="0.5", linestyle=":", linewidth=0.8)
        ax.set_xlabel("$-\\log p(x)$ of test images (nats per image)")
    return figure, " ".join([*told, "Numbers are weights, faint dots seeds, the dotted line is the default."])


def pictures_figure() -> Drawn | None:
    """Draws from each component, and classes against clusters, of each variant's seed 0."""
    folders = {name: PLOTS / name for name in PICTURED}
    folders = {name: folder for name, folder in folders.items() if (folder / "pictures.npz").exists()}
    if "gmvae" not in folders:
        return None
    figure = Figure(figsize=(WIDTH, 3.0))
    axes = figure.subplots(2, len(folders), squeeze=False, height_ratios=[0.95, 1])
    told = []
    for (name, folder), (draws, confusion) in zip(folders.items(), axes.T, strict=True):
        metrics = json.loads((folder / "metrics.json").read_text())
        with np.load(folder / "pictures.npz") as shown:
            order = gmvae.clusters_by_class(shown["confusion"])
            images, counts = shown["draws"][order], shown["confusion"][order]
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
    OUT.mkdir(parents=True, exist_ok=True)
    text = draw()
    utils.write_text(OUT / "README.md", text)
    print(f"{text.count('![')} figures of {len(FIGURES)} in {OUT}")


if __name__ == "__main__":
    main()
