"""Draws benchmarks/speed and benchmarks/gmm_cost from benchmarks/results/: `python benchmarks/figures.py`."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import utils  # noqa: E402

SPREAD = ("median", "min", "max")


def read(part: str) -> dict[str, Any] | None:
    """The results of a part, None where it was not measured."""
    path = HERE / "results" / f"{part}.json"
    return json.loads(path.read_text()) if path.exists() else None


def draw() -> None:
    """Draws each figure whose results are there."""
    training, gmm = map(read, ("training", "gmm"))
    with utils.figure_style():
        if training:
            utils.save_figure(speed_figure(training), HERE, "speed")
        if gmm:
            utils.save_figure(gmm_figure(gmm), HERE, "gmm_cost")


def speed_figure(training: dict[str, Any]) -> Figure:
    """Images per second of every system at every batch size: float32 everywhere, and each at its best."""
    figure = Figure(figsize=(6.9, 2.5))
    for ax, name, title in zip(
        figure.subplots(1, 2, sharex=True, sharey=True),
        ("float32", "best"),
        ("float32 everywhere", "each at its best"),
        strict=True,
    ):
        sizes = training["batch_sizes"]
        for i, (size, measured) in enumerate(sizes.items()):
            rates = [row["rate"] for row in measured[name].values()]
            middle, low, high = (np.array([rate[key] for rate in rates]) / 1e3 for key in ("median", "min", "max"))
            y = np.arange(len(rates)) + 0.22 * (i - (len(sizes) - 1) / 2)
            style = {"fmt": "os^Dv"[i], "markersize": 4, "elinewidth": 1, "label": f"batches of {size}"}
            ax.errorbar(middle, y, xerr=(middle - low, high - middle), **style)
        # That of bfloat16 may lie several times as far to the right; the table has it.
        products = [measured["limit"]["float32"]["median"] for measured in sizes.values()]
        ax.axvline(
            np.median(products) / training["flop_per_image"] / 1e3, color="0.5", ls="--", label="float32's limit"
        )
        ax.set_yticks(np.arange(len(rates)), list(measured[name]))
        ax.set(xlabel="thousand images per second", title=title)
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
    ax.set_xlim(left=0)  # both axes are shared
    ax.invert_yaxis()  # ours on top
    handles, labels = ax.get_legend_handles_labels()
    order = np.argsort([not label.startswith("batches") for label in labels], kind="stable")
    figure.legend([handles[i] for i in order], [labels[i] for i in order], loc="outside upper center", ncols=5)
    return figure


def gmm_figure(gmm: dict[str, Any]) -> Figure:
    """Time of a step and peak memory, each against N, K and the restarts."""
    figure = Figure(figsize=(6.9, 3.6))
    times, memories = figure.subplots(2, 3, sharex="col", sharey="row")
    labels = {"n": "points N", "k": "components K", "restarts": "restarts together"}
    for (axis, label), time, memory in zip(labels.items(), times, memories, strict=True):
        points = gmm["curves"][axis]
        values, restarts = (np.array([point[name] for point in points]) for name in (axis, "restarts"))
        step = {name: 1e6 * np.array([point["seconds_per_step"][name] for point in points]) for name in SPREAD}
        for share, marker, name in ((1, "o", "a step of all restarts"), (restarts, "s", "the same for each restart")):
            middle, low, high = (step[name] / share for name in SPREAD)
            time.errorbar(values, middle, yerr=(middle - low, high - middle), marker=marker, markersize=3, label=name)
        memory.plot(values, [point["peak_memory_mib"] for point in points], "D-", color="0.3", markersize=3)
        time.set(xscale="log", yscale="log")
        memory.set_xlabel(label)
        if axis != "n":
            memory.set_xticks(values, values)
        time.minorticks_off()
        memory.minorticks_off()
    times[0].set(ylabel="microseconds", title=f"batches of at most {gmm['curves']['n'][0]['batch_size']} points")
    memories[0].set_ylabel("peak memory, MiB")
    most = max(point["peak_memory_mib"] for points in gmm["curves"].values() for point in points)
    memories[0].set_ylim(0, 1.1 * most)  # all three are shared
    figure.legend(*times[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


if __name__ == "__main__":
    draw()
