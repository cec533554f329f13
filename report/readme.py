"""Writes the tables of README.md from report/results/: `python report/readme.py`.

`report/results/PART/seed-S.json` is the metrics.json of `python PART.py --seed S`. Each table stands between two marks,
`<!-- PART -->` and `<!-- end -->`. A test fails where one is stale. The tables of speed, `<!-- bench -->` and
`<!-- gmm-cost -->`, are of benchmarks/results/ in the same way.
"""

import json
import re
import sys
from pathlib import Path

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
    return "\n".join(lines + [row(label, [value(run) for run in runs]) for label, value in rows])


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
        raise ValueError(f"benchmarks/results: {', '.join(parts)} are of different machines; run make bench")
    return results


def ratio(spread: dict) -> str:
    """A ratio's median with its range."""
    return "{median:.2f} ({min:.2f}–{max:.2f})".format(**spread)


def bench_tables() -> str:
    """Speed of training and of scoring, against peers."""
    results = measured("limit", "training", "sampling")
    if results is None:
        return "Not measured yet: `make bench`."
    limit, training, sampling = results
    machine = limit["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    sizes = training["batch_sizes"]
    rates = {name: limit[name]["flop_per_second"] for name in ("float32", "bfloat16")}
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores; {versions}. Median (range) of {training['rounds']} rounds of "
        f"{training['images']:,} images. An image takes {training['flop_per_image'] / 1e6:.2f} MFLOP of matrix "
        f"products. The fastest product of large matrices that a system here reaches is {rates['float32'] / 1e9:.0f} "
        f"GFLOP/s in float32 ({limit['float32']['case']}) and {rates['bfloat16'] / 1e9:.0f} in bfloat16 "
        f"({limit['bfloat16']['case']}): the limit below is that of float32.",
        "",
        "![images per second](benchmarks/speed.png)",
    ]
    for table, title in (("float32", "float32 everywhere"), ("best", "each at its best")):
        lines += [
            "",
            row(f"Training, {title}", [f"batches of {size}: images/s (of the limit) | ours/theirs" for size in sizes]),
            "|---|" + "---:|---:|" * len(sizes),
        ]
        for system in sizes[next(iter(sizes))][table]:
            cells = []
            for measures in sizes.values():
                of = measures[table][system]
                rate = of["rate"]["median"]
                precision = f"{of['case'].rpartition(', ')[2]}: " if table == "best" else ""
                share = rate * training["flop_per_image"] / rates["float32"]
                cells.append(f"{precision}{rate:,.0f} ({100 * share:.0f} %) | {ratio(of['ratio'])}")
            lines.append(row(system, cells))
    label = f"Scoring, float32: {sampling['images']} images, {sampling['samples']:,} samples of h each"
    lines += ["", row(label, ["samples/s (of the limit)", "ours/theirs"]), "|---|---:|---:|"]
    for system, of in sampling["float32"].items():
        share = of["rate"]["median"] * sampling["flop_per_sample"] / rates["float32"]
        lines.append(row(system, [f"{of['rate']['median']:,.0f} ({100 * share:.0f} %)", ratio(of["ratio"])]))
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
            f"memory of training above an idle process goes from {default['peak_memory_mib']:,.0f} to "
            f"{most['peak_memory_mib']:,.0f} MiB; a step takes at most {most['batch_size']} points.",
            "",
            "![time of a step and memory](benchmarks/gmm_cost.png)",
        ]
    )


TABLES = {"gmm": gmm_table, "gmvae": gmvae_table, "bench": bench_tables, "gmm-cost": gmm_cost}


def fill(text: str) -> str:
    """The README with every table made anew."""
    for name, table in TABLES.items():
        marked = re.compile(rf"(<!-- {name} -->\n)[^<]*(<!-- end -->)")
        if not marked.search(text):
            raise ValueError(f"README.md: wanted the marks <!-- {name} --> and <!-- end -->")
        text = marked.sub(lambda match, table=table: match[1] + table() + "\n" + match[2], text)
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    filled = fill(readme.read_text())
    sys.stdout.write("README.md is up to date\n" if filled == readme.read_text() else "README.md: tables written\n")
    readme.write_text(filled)
