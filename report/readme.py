"""Writes the tables of README.md from report/results/: `python report/readme.py`.

`report/results/PART/seed-S.json` is the metrics.json of `python PART.py --seed S`. Each table stands between two marks,
`<!-- PART -->` and `<!-- end -->`; `<!-- variants -->` has part 3's variants. A test fails where one is stale. The
tables of speed, `<!-- bench -->` and `<!-- gmm-cost -->`, are of benchmarks/results/ in the same way.
"""

import json
import os
import re
import sys
from pathlib import Path

import gmvae_figures
import numpy as np

ROOT = Path(__file__).resolve().parent.parent

SEEDS = (0, 1, 2)
ORIGINAL_STEP_MS = 0.48  # of one restart at N = 100, K = 3, as reported for the original


def metrics(part: str) -> list[dict]:
    """A part's metrics for every seed."""
    paths = [ROOT / "report" / "results" / part / f"seed-{seed}.json" for seed in SEEDS]
    runs = [json.loads(path.read_text()) for path in paths]
    for seed, run in zip(SEEDS, runs, strict=True):
        if run["config"]["seed"] != seed:
            raise ValueError(f"{part}: wanted the run of seed {seed}, found seed {run['config']['seed']}")
    return runs


def row(label: str, values: list[str]) -> str:
    """A line of a Markdown table."""
    return f"| {label} | " + " | ".join(values) + " |"


def gmm_table() -> str:
    """Part 2 at its defaults."""
    runs = metrics("gmm")
    lines = [
        row("N = {n}, K = {k}".format(**runs[0]["config"]), [f"seed {seed}" for seed in SEEDS]),
        "|---|" + "---:|" * len(SEEDS),
    ]
    estimate = "NVIL, the best of {restarts} restarts by the bound".format(**runs[0]["config"])
    for name, label in (("truth", "the truth"), ("estimate", estimate), ("em", "the best of 20 EM runs")):
        values = [f"{run['log_likelihood'][name]:.6f}" for run in runs]
        lines.append(row(f"log-likelihood of {label}, nats per point", values))
    lines.append(row("lower bound, nats per point", [f"{run['lower_bound']:.6f}" for run in runs]))
    lines.append(row("KL(q, posterior), nats per point", [f"{run['kl']:.1e}" for run in runs]))
    lines.append(row("adjusted Rand index against the truth", [f"{run['ari']:.3f}" for run in runs]))
    return "\n".join(lines)


def gmvae_table() -> str:
    """Part 3 at its defaults."""
    runs = metrics("gmvae")
    samples = runs[0]["test"]["importance_samples"]
    rows = (
        ("components in use, of 10", lambda run: str(run["components_used"])),
        (f"-log p(x), {samples} importance samples, nats per image", lambda run: f"{run['test']['nll']:.2f}"),
        ("lower bound, nats per image", lambda run: f"{run['test']['elbo']:.2f}"),
        ("accuracy by E_q(h&#124;x) p(z&#124;h), %", lambda run: f"{100 * run['test']['accuracy']:.2f}"),
        ("accuracy by p(z&#124;x), %", lambda run: f"{100 * run['test']['accuracy_model']:.2f}"),
        ("normalised mutual information", lambda run: f"{run['test']['nmi']:.3f}"),
        ("adjusted Rand index", lambda run: f"{run['test']['ari']:.3f}"),
    )
    lines = [row("10,000 test images", [f"seed {seed}" for seed in SEEDS]), "|---|" + "---:|" * len(SEEDS)]
    lines += [row(label, [value(run) for run in runs]) for label, value in rows]
    return "\n".join([*lines, "", about_samples(samples)])


def about_samples(samples: int) -> str:
    """What the command says of -log p(x) where the table has more importance samples: gmvae_inside.py has the
    estimates from both numbers."""
    runs = gmvae_figures.runs("gmvae-inside/default")
    usual = runs[0]["config"]["importance_samples"]
    curves = [run["test"]["convergence"]["ours"] for run in runs]
    estimates = [dict(zip(curve["samples"], curve["log_likelihood"], strict=True)) for curve in curves]
    more = np.mean([estimate[samples] - estimate[usual] for estimate in estimates])
    return (
        f"The command takes {usual} importance samples, and so tells about {more:.2f} nats more of -log p(x). The "
        f"table's {samples} are those of `python report/gmvae_run.py --change importance_samples={samples} -- --seed "
        "s`, which scores longer."
    )


VARIANTS = {  # of part 3, by the folder of their results
    "gmvae-random-start": "random start",
    "gmvae": "`gmvae.py`",
    "gmvae-pure": "`--pure`",
    "gmvae-pure-no-augment": "`--pure --no-augment`",
    "gmvae-labels/10": "`--labels-per-class 10`",
}


def variants() -> tuple[list[str], dict[str, list[str]]]:
    """The variants of part 3 that have runs; and by name of a score, for each of them, its mean over the runs that
    there are, and worst to best where there are several. Shares are in %."""
    every = {name: gmvae_figures.runs(name) for name in VARIANTS}
    names = [name for name, each in every.items() if each]
    runs = [every[name] for name in names]

    def spread(values: list[float | None]) -> str:
        if None in values:
            return ""
        mean = f"{sum(values) / len(values):.2f}"
        return mean if len(values) == 1 else f"{mean} ({min(values):.2f} to {max(values):.2f})"

    def whole(values: list[int], form: str = "") -> str:
        return " to ".join(format(value, form) for value in sorted({min(values), max(values)}))

    found = {"runs": [str(len(each)) for each in runs]}
    samples = [[run["test"]["importance_samples"] for run in each] for each in runs]
    found["samples"] = [whole(each, ",") for each in samples]
    for name, key, scale in (
        *(("accuracy", "accuracy", 100), ("accuracy_model", "accuracy_model", 100), ("error", "error", 100)),
        *(("nll", "nll", 1), ("elbo", "elbo", 1), ("cost", "elbo", -1)),
    ):
        values = [[run["test"].get(key) for run in each] for each in runs]
        found[name] = [spread([None if value is None else scale * value for value in each]) for each in values]
    most = max(max(each) for each in samples)  # with fewer, -log p(x) is higher by that alone
    found["nll"] = [cell if min(each) == most else "" for cell, each in zip(found["nll"], samples, strict=True)]
    for name, key, scale in (("purity", "mean", 100), ("diversity", "diversity", 1)):
        judged = [[run["sample_purity"] for run in each] for each in runs]  # None without a judge
        found[name] = [spread([value and scale * np.mean(value[key]) for value in each]) for each in judged]
    found["components"] = [whole([run["components_used"] for run in each]) for each in runs]
    seconds = [[run["seconds"] for run in each if run["config"]["threads"] == 1] for each in runs]
    found["minutes"] = [f"{np.median(each) / 60:.0f}" if each else "" for each in seconds]
    return names, found


def most_samples(found: dict[str, list[str]]) -> str:
    """The number of importance samples behind every -log p(x) that `variants` found."""
    return next(samples for samples, nll in zip(found["samples"], found["nll"], strict=True) if nll)


def variants_table() -> str:
    """Part 3's variants."""
    names, found = variants()
    lines = [row("10,000 test images", [VARIANTS[name] for name in names]), "|---|" + "---:|" * len(names)]
    labels = {
        "runs": "runs, a seed each",
        "accuracy": "accuracy by q(z&#124;x), matched one to one, %",
        "accuracy_model": "accuracy by the model's own p(z&#124;x), %",
        "error": "error, nothing matched, %",
        "nll": f"-log p(x), {most_samples(found)} importance samples, nats per image",
        "elbo": "lower bound, nats per image",
        "purity": "purity of samples, %",
        "diversity": "diversity of samples, that of a class being 1",
        "components": "components in use",
        "minutes": "minutes of training on one core, median",
    }
    return "\n".join(lines + [row(label, found[name]) for name, label in labels.items()])


def measured(*parts: str) -> list[dict] | None:
    """The benchmark's results of some parts; None where one was not measured.

    Raises:
        ValueError: they are not of one machine.
    """
    paths = [ROOT / "benchmarks" / "results" / f"{part}.json" for part in parts]
    if not all(path.exists() for path in paths):
        return None
    results = [json.loads(path.read_text()) for path in paths]
    if any(result["machine"] != results[0]["machine"] for result in results):
        raise ValueError(f"benchmarks/results: {', '.join(parts)} are of different machines")
    return results


def ratio(spread: dict) -> str:
    """A ratio's median with its range."""
    return "{median:.2f} ({min:.2f}–{max:.2f})".format(**spread)


def rate(of: dict) -> str:
    """A system's median rate, and its share of the limit."""
    return f"{of['rate']['median']:,.0f} ({100 * of['share']['median']:.0f} %)"


def bench_tables() -> str:
    """Speed of training and of scoring, against peers, and the time until our training begins."""
    results = measured("limit", "training", "sampling", "start")
    if results is None:
        return "Not measured yet: `make bench`."
    limit, training, sampling, start = results
    machine = limit["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    sizes = training["batch_sizes"]
    products = {
        name: f"{np.median([of['limit'][name]['median'] for of in sizes.values()]) / 1e9:.0f} GFLOP/s in {name} "
        f"({limit[name]['case']})"
        for name in ("float32", "bfloat16")
    }
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores; {versions}. Median (range) of {training['rounds']} rounds of "
        f"{training['images']:,} images, all of one process. An image takes {training['flop_per_image'] / 1e6:.2f} "
        "MFLOP of matrix products. The limit is the fastest product of large matrices that a system here reaches, of "
        f"the row's precision and in the same round: in the median {products['float32']}, {products['bfloat16']}. "
        "Start is what the first round takes beyond the median of the others, at least 0: "
        "compilation above all, but not imports.",
        "",
        "A run starts training after its imports, reading its data, building and compiling:",
        "",
        row("Until training, s", ["first run", "second run"]),
        "|---|---:|---:|",
        *(row(f"`{script}`", [f"{s[0]:.1f}", f"{s[-1]:.1f}"]) for script, s in start["seconds"].items()),
        "",
        "![images per second](benchmarks/speed.png)",
    ]
    for table, title in (("float32", "float32 everywhere"), ("best", "each at its best")):
        lines += [
            "",
            row(
                f"Training, {title}",
                [f"batches of {size}: images/s (of the limit) | ours/theirs | start, s" for size in sizes],
            ),
            "|---|" + "---:|---:|---:|" * len(sizes),
        ]
        for system in sizes[next(iter(sizes))][table]:
            cells = []
            for measures in sizes.values():
                of = measures[table][system]
                shown = f"{of['precision']}: " if table == "best" else ""
                cells.append(f"{shown}{rate(of)} | {ratio(of['ratio'])} | {of['compilation']:.1f}")
            lines.append(row(system, cells))
    label = f"Scoring, float32: {sampling['images']} images, {sampling['samples']:,} samples of h each"
    lines += ["", row(label, ["samples/s (of the limit)", "ours/theirs", "start, s"]), "|---|---:|---:|---:|"]
    for system, of in sampling["float32"].items():
        cells = [rate(of), ratio(of["ratio"]), f"{of['compilation']:.1f}"]
        lines.append(row(system, cells))
    return "\n".join(lines)


def gmm_cost() -> str:
    """What a gradient step of part 2 costs."""
    results = measured("gmm")
    if results is None:
        return "Not measured yet: `make bench`."
    curves = results[0]["curves"]
    default, most = curves["n"][0], curves["n"][-1]
    seconds = default["seconds_per_step"]["median"] / default["restarts"]
    return "\n".join(
        [
            f"At N = {default['n']}, K = {default['k']}, {default['restarts']} restarts together, a step of one "
            f"restart costs {1e3 * seconds:.4f} ms against the original's reported {ORIGINAL_STEP_MS} ms. Compilation "
            f"takes {default['compilation']:.1f} s at the start. From N = {default['n']} to {most['n']:,} the peak "
            f"memory above that of the process before compilation goes from {default['peak_memory_mib']:,.0f} to "
            f"{most['peak_memory_mib']:,.0f} MiB, which at small N is mostly the compiler's, not the data's; a step "
            f"takes at most {most['batch_size']} points.",
            "",
            "![time of a step and memory](benchmarks/gmm_cost.png)",
        ]
    )


TABLES = {
    "gmm": gmm_table,
    "gmvae": gmvae_table,
    "variants": variants_table,
    "bench": bench_tables,
    "gmm-cost": gmm_cost,
}


def fill(text: str) -> str:
    """The README with every table made anew."""
    for name, table in TABLES.items():
        marked = re.compile(rf"(<!-- {name} -->\n)[^<]*(<!-- end -->)")
        if not marked.search(text):
            raise ValueError(f"README.md: wanted the marks <!-- {name} --> and <!-- end -->")
        text = marked.sub(lambda match, table=table: match[1] + table() + "\n" + match[2], text)
    return text


def main() -> None:
    """Writes README.md, whole or not at all."""
    readme = ROOT / "README.md"
    temporary = readme.with_name(".README.md.part")
    try:
        text = readme.read_text()
        filled = fill(text)
        temporary.write_text(filled)
        os.replace(temporary, readme)
    except (ValueError, OSError) as error:
        print(f"error: {error}; make study and make bench write the results", file=sys.stderr)
        sys.exit(2)
    print("README.md is up to date" if filled == text else "README.md: tables written")


if __name__ == "__main__":
    main()
