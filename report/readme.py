"""Writes the tables of README.md from report/results/: `python report/readme.py`.

`report/results/PART-seed-S.json` is the metrics.json of `python PART.py --seed S`. Each table stands between two marks,
`<!-- PART -->` and `<!-- end -->`. A test fails where one is stale.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (0, 1, 2)


def metrics(part: str) -> list[dict]:
    """A part's metrics for every seed."""
    paths = [ROOT / "report" / "results" / f"{part}-seed-{seed}.json" for seed in SEEDS]
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


def fill(text: str) -> str:
    """The README with every table made anew."""
    for name, table in (("gmm", gmm_table), ("gmvae", gmvae_table)):
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
