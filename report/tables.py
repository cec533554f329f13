"""Writes report/generated.tex, every number and table of the report: `python report/tables.py`.

report.tex has no measured number of its own. It says

    \\val{NAME}     a number or a sentence
    \\rows{NAME}    the body of a table

and generated.tex says what they stand for, from report/results/ and, for the sentences about studies, from the
README.md in plots/gmm-study/ and plots/gmvae-study/, which gmm_figures.py and gmvae_figures.py write from the same
results. A test fails where one is stale.
"""

import inspect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gmm_choosing_k
import gmm_figures
import gmm_limit
import gmm_real
import gmm_sweep
import gmvae_figures
import numpy as np
import readme
import study

import gmm_vi
import gmvae
import utils
import zhusuan as zs

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "report" / "results"
STUDIES = [ROOT / "plots" / name / "README.md" for name in ("gmm-study", "gmvae-study")]
OUT = ROOT / "report" / "generated.tex"
# Figures of the studies that the report shows.
CAPTIONS = ("sgvb", "race", "n", "truth", "pictures", "inside", "gap", "pareto")
TOLD = ("starts", "defaults", "fitted-k", "problems", "scale")  # those of which it only tells
SETTINGS = {  # that the report tells, of the runs at the defaults
    "gmm": ("n", "k", "separation", "restarts", "steps", "batch_size", "learning_rate", "variance_floor", "em_starts"),
    "gmvae": (
        *("epochs", "batch_size", "hidden_units", "learning_rate", "average_steps"),
        *("restarts", "classifier_batch_size", "balance_weight", "certainty_weight", "pull_weight"),
        *("rotation", "scaling", "shear", "shift", "start_mean_std", "start_logstd", "convolutional_learning_rate"),
    ),
}


# ---------------------------------------------------------------------------------------------------------------------
# LaTeX
# ---------------------------------------------------------------------------------------------------------------------


def typeset(number: str) -> str:
    """A printed number as LaTeX, in text and mathematics alike: 12{,}000, a true minus, powers of ten."""
    mantissa, _, exponent = number.replace(",", "{,}").rstrip(".").partition("e")
    if exponent:
        mantissa = "" if mantissa == "1" else mantissa + r"\cdot "
        return rf"\ensuremath{{{mantissa}10^{{{int(exponent)}}}}}"
    return rf"\ensuremath{{{mantissa}}}" if mantissa[0] in "+-" else mantissa


def number(value: float, form: str = "") -> str:
    """A number in a format, by default a whole one with commas and another as short as it goes."""
    return typeset(format(value, form or (",d" if isinstance(value, int) else "g")))


def latex(sentence: str) -> str:
    """A sentence of the studies' README.md, with its symbols and numbers as mathematics."""
    sentence = re.sub(r"[%&_#]", r"\\\g<0>", sentence)
    sentence = re.sub(r"\b(sgvb|\w+\\_\w+\.py)\b", r"\\code{\1}", sentence)
    sentence = re.sub(r"\b([NKSt]) ?= ?(?=\d)", r"$\1=$~", sentence)
    sentence = re.sub(r"(?<![$\w])([NKSqz])(?![$\w])", r"$\1$", sentence)
    signed_or_power = r"(?<![\w.,-])([+-]?\d+(\.\d+)?e[+-]?\d+|[+-]\d+(\.\d+)?)"
    sentence = re.sub(signed_or_power, lambda match: typeset(match[0]), sentence)
    sentence = re.sub(r"(-?)log p\(x\)", r"$\1\\log p(x)$", sentence)
    sentence = re.sub(r"\$?([pq])\$?\(\$?(\w)\$?\|\$?(\w)\$?\)", r"$\1(\2\\mid \3)$", sentence)
    sentence = sentence.replace(" ± ", r"\,$\pm$\,")
    return sentence.replace("KL($q$ || posterior)", r"$\KL{q}{p}$")


def row(*cells: str) -> str:
    """A line of a table."""
    return " & ".join(cells) + r" \\"


# ---------------------------------------------------------------------------------------------------------------------
# Part 2
# ---------------------------------------------------------------------------------------------------------------------

PARAMETERS = (r"\pi_{}", r"\mu_{{{}1}}", r"\mu_{{{}2}}", r"\sigma_{{{}1}}", r"\sigma_{{{}2}}")  # of a component


def by_component(mixture: gmm_vi.Parameters) -> np.ndarray:
    """The parameters in the order of `PARAMETERS`, `[K, 5]`."""
    return np.concatenate([mixture.weights[:, None], mixture.means, mixture.stds], axis=1)


def standard_errors(mixture: gmm_vi.Parameters, n: int) -> np.ndarray:
    """From the Fisher information of n points, in the order of `PARAMETERS`, `[K, 5]`."""
    k = len(mixture.weights)
    covariance = np.linalg.inv(gmm_limit.fisher_information(mixture)) / n
    last_weight = covariance[: k - 1, : k - 1].sum()  # 1 less the others
    weights, means, stds = np.split(np.diag(covariance), [k - 1, 3 * k - 1])
    variances = [np.append(weights, last_weight)[:, None], means.reshape(k, 2), stds.reshape(k, 2)]
    return np.sqrt(np.concatenate(variances, axis=1))


def gmm_fit(run: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """The parameters of part 2's run with seed 0, and what the text says of them."""
    truth, estimate, em = (
        gmm_vi.Parameters(**{name: np.array(values) for name, values in run[fit].items()})
        for fit in ("truth", "estimate", "em")
    )
    errors = standard_errors(estimate, run["config"]["n"])
    truth, estimate, em = map(by_component, (truth, estimate, em))
    scaled = (estimate - truth) / errors
    lines = []
    for k, parameter in np.ndindex(estimate.shape):
        values = [number(each[k, parameter], ".3f") for each in (truth, estimate, errors, em)]
        name = PARAMETERS[parameter].format(k + 1)
        lines.append(row(f"${name}$", *values, number(scaled[k, parameter], "+.2f")))
        if parameter == estimate.shape[1] - 1 and k < len(estimate) - 1:
            lines.append(r"\midrule")
    return {
        "gmm parameters": number(estimate.size),
        "gmm inside": number(int(np.sum(np.abs(scaled) < 1.96))),
        "gmm from em": number(np.max(np.abs(estimate - em) / errors), ".1g"),
    }, lines


def gmm_seeds(runs: list[dict[str, Any]]) -> tuple[dict[str, str], list[str]]:
    """Part 2's runs in nats per point."""
    likelihoods = [run["log_likelihood"] for run in runs]
    lines = [
        *(
            row(label, *(number(each[name], ".6f") for each in likelihoods))
            for name, label in (
                ("truth", "log-likelihood, truth"),
                ("estimate", "log-likelihood, NVIL"),
                ("em", "log-likelihood, EM"),
            )
        ),
        row("lower bound", *(number(run["lower_bound"], ".6f") for run in runs)),
        row(r"$\KL{q}{p}$", *(number(run["kl"], ".1e") for run in runs)),
        row("adjusted Rand index", *(number(run["ari"], ".3f") for run in runs)),
    ]
    return {
        "gmm behind em": number(max(abs(each["estimate"] - each["em"]) for each in likelihoods), ".0e"),
        "gmm kl": number(max(run["kl"] for run in runs), ".0e"),
        "gmm set aside": number(sum(run["restarts_set_aside"] for run in runs)),
        "gmm threads": gmm_figures.on_threads(runs[0]),
        "gmm seconds": number(np.median([run["seconds"] for run in runs]), ".0f"),
    }, lines


def estimators() -> tuple[dict[str, str], list[str]]:
    """The estimators of the gradient at K = 3 and S = 5, and sgvb on one-hot samples, S = 1."""
    cells = {
        moment: gmm_figures.estimator_cells(k=3, n_samples=5, moment=moment)[0]["estimators"]
        for moment in gmm_figures.MOMENTS
    }

    def two_digits(ratios: np.ndarray) -> float:
        return float(format(np.median(ratios), ".2g"))

    def deviation(of: dict[str, Any]) -> str:
        return number(np.median(np.sqrt(of["variance"])), "#.2g")

    lines = []
    for name, (label, *_) in gmm_figures.ESTIMATORS.items():
        if name not in cells["midway"] or name == "exact":
            continue
        each = {moment: cell[name] for moment, cell in cells.items()}
        bias, above = gmm_figures.bias(each["midway"]["posterior"])
        lines.append(
            row(
                label.replace("t = 0.5", r"$t=\tfrac12$"),
                *(deviation(of["posterior"]) for of in each.values()),
                ("" if above else "$<$ ") + number(bias, "#.2g"),
                number(np.median(each["midway"]["posterior"]["cosine"]), ".2f"),
                deviation(each["midway"]["model"]),
                number(gmm_figures.step_microseconds(name, 5), ".0f"),
            )
        )
    norms = [np.median(cell["exact"]["posterior"]["norm"]) for cell in cells.values()]
    model_norm = np.median(cells["midway"]["exact"]["model"]["norm"])
    microseconds = number(gmm_figures.step_microseconds("exact", 1), ".0f")
    sizes = [number(norm, "#.2g") for norm in norms]
    lines += [
        r"\midrule",
        row("exact: the gradient's norm", *sizes, "", "", number(model_norm, "#.2g"), microseconds),
    ]
    (start,) = gmm_figures.estimator_cells(k=3, n_samples=1, moment="start")
    one_hot = {part: start["estimators"]["sgvb, one-hot"][part] for part in ("posterior", "model")}
    noise, above = gmm_figures.bias_above_noise(one_hot["posterior"], "target_bias")
    if above:
        raise ValueError("gmm-estimators: sgvb's draws for q are not zero on average, as report.tex says")
    decay = inspect.signature(zs.VarianceNormalization).parameters["decay"].default
    plain, leave_one_out = (
        np.array(cells["midway"][name]["posterior"]["variance"]) for name in ("score function", "leave-one-out")
    )
    return {
        "loo midway": number(two_digits(plain / leave_one_out), ",g"),
        "sgvb norm": number(np.median(one_hot["posterior"]["norm"]), ".2g"),
        "sgvb draws": number(gmm_figures.read("gmm-estimators")["config"]["draws"]),
        "sgvb noise": number(noise, ".2g"),
        "nvil decay": number(decay),
        "nvil rest": number(1 - decay, ".2g"),
        "sgvb model bias": latex(gmm_figures.told_bias(one_hot["model"])),
        **{
            f"{name} clear": number(gmm_figures.signal_to_noise(name), ".2g")
            for name in ("leave-one-out", "vimco", "rws")
        },
    }, lines


def truth() -> dict[str, str]:
    """Part 2's sweeps over the truth: what the text says of each axis, from its first value to its last."""

    def change(values: list[float], form: str) -> str:
        return f"{number(values[0], form)} to {number(values[-1], form)}"

    told = {}
    for axis in ("k", "weight_ratio", "std_ratio", "anisotropy"):
        x, data_sets = gmm_figures.sweep(axis)
        errors = gmm_figures.median_errors(axis, "means")
        told |= {
            f"{axis} last": number(x[-1], "g"),
            f"{axis} error": change(errors, ".3f"),
        }
        if axis in ("k", "weight_ratio"):
            told[f"{axis} ari"] = change([np.median([d["ari"]["truth"] for d in row]) for row in data_sets], ".2f")
            told[f"{axis} factor"] = number(errors[-1] / errors[0], ".2f")
        if axis == "k":
            told["k found"] = change([np.median([gmm_figures.found(d) for d in row]) for row in data_sets], ".0f")
            told["k seen"] = number(np.sqrt(x[-1] / x[0]), ".2f")
        if axis == "weight_ratio":
            weights = np.geomspace(1, x[-1], gmm_sweep.Cell.k)
            told["weight_ratio seen"] = number(np.sqrt(np.mean(weights.mean() / weights)), ".2f")
    for fit, name in (("estimate", "overlap errors"), ("em", "overlap em errors")):
        errors = [gmm_figures.median_errors("separation", parameter, fit)[0] for parameter in gmm_figures.PARAMETERS]
        told[name] = gmm_figures.listed([number(error, ".2f") for error in errors])
    return told


def choosing_k() -> tuple[dict[str, str], list[str]]:
    """On how many data sets BIC and ICL chose the true K = 3."""
    cells = gmm_figures.read("gmm-choosing-k")["cells"]
    lines, values = [], {}
    for criterion in ("bic", "icl"):
        right = {
            (cell["cell"]["n"], cell["cell"]["separation"]): int(np.sum(np.argmin(cell[criterion], axis=1) == 2))
            for cell in cells
        }
        for n in gmm_choosing_k.SIZES:
            counts = [right[n, separation] for separation in gmm_choosing_k.SEPARATIONS]
            lines.append(row(criterion.upper(), number(n), *map(number, counts)))
        lines.append(r"\midrule")
        values[f"{criterion} right"] = number(sum(right.values()))
    values["choices"] = number(sum(len(cell["bic"]) for cell in cells))
    values["choices each"] = number(len(cells[0]["bic"]))
    return values, lines[:-1]


def real() -> dict[str, str]:
    """NVIL and EM on real points."""
    values = {}
    for name in gmm_real.DATA:
        run = json.loads((RESULTS / "gmm-real" / f"{name}.json").read_text())
        gap = run["log_likelihood"]["estimate"] - run["log_likelihood"]["em"]
        values |= {
            f"{name} n": number(run["config"]["n"]),
            f"{name} gap": number(gap, ".0e"),
            f"{name} ari": number(run["ari"], ".2f"),
        }
    return values


def studies() -> dict[str, str]:
    """What the README.md beside the studies' figures say of these, less their lists: for captions, and less what is of
    the drawing for the text.

    Raises:
        ValueError: they say nothing of one of them.
    """
    text = "".join(path.read_text() for path in STUDIES)
    paragraphs = dict(re.findall(r"!\[(.+)\]\(.+\)\n\n(.+)\n", text))
    missing = [name for name in (*CAPTIONS, *TOLD) if name not in paragraphs]
    if missing:
        raise ValueError(f"{' '.join(map(str, STUDIES))}: wanted a paragraph on {', '.join(missing)}")
    drawing = re.compile(r"\b(bands|bars|marks?|ellipses|dots)\b", re.IGNORECASE)
    values = {}
    for name in (*CAPTIONS, *TOLD):
        sentences = [each for each in re.split(r"(?<=\.) (?=[A-Z])", paragraphs[name]) if not is_list(each)]
        if name in TOLD:
            sentences = [each for each in sentences if not drawing.search(each)]
        if name == "defaults":
            sentences = sentences[-1:]  # of all data sets
        if name == "scale":
            sentences = [each for each in sentences if "memory" not in each]
        kind = "told" if name in TOLD else "caption"
        values[f"{kind} {name}"] = latex(" ".join(sentences))
    return values


def is_list(sentence: str) -> bool:
    """Whether a sentence lists more than a caption can hold."""
    return sentence.count(";") >= 3 or len(re.findall(r"\d[\d.,]*", sentence)) > 20


# ---------------------------------------------------------------------------------------------------------------------
# Part 3, and all together
# ---------------------------------------------------------------------------------------------------------------------


def limit() -> dict[str, str]:
    """How far the maximum of the likelihood is from the Cramer-Rao bound at the least and the greatest N, a number for
    each separation: medians over the parameters."""
    separations = gmm_figures.limit_cells()
    found = {
        "limit separations": gmm_figures.listed([number(each) for each in separations]),
        "limit follows": latex(gmm_figures.limit_follows("mle")),
    }
    for name, choose in (("first", min), ("last", max)):
        n = choose(next(iter(separations.values())))
        mles = [(of_n[n]["mle"], of_n[n]["bound"]) for of_n in separations.values()]
        ratios = [np.median([mle["rms_error"][each] / bound[each] for each in bound]) for mle, bound in mles]
        coverages = [100 * np.median(list(mle["coverage"].values())) for mle, _ in mles]
        found |= {
            f"limit {name} n": number(n),
            f"limit {name} ratios": gmm_figures.listed([number(ratio, ".2f") for ratio in ratios]),
            f"limit {name} coverage": gmm_figures.listed([number(coverage, ".0f") for coverage in coverages]),
        }
    return found


def gmvae_defaults() -> dict[str, str]:
    """What part 3's runs at the defaults say of the test images, least to greatest."""
    tests = [run["test"] for run in gmvae_figures.runs("gmvae")]

    def spread(values: list[float], form: str) -> str:
        return f"{number(min(values), form)} to {number(max(values), form)}"

    return {
        "gmvae gap": spread([-test["elbo"] - test["nll"] for test in tests], ".1f"),
        "gmvae nll": spread([test["nll"] for test in tests], ".2f"),
        "gmvae accuracy": spread([100 * test["accuracy"] for test in tests], ".1f"),
    }


def epochs() -> dict[str, str]:
    """How many epochs the parts of a run take, by default and with --pure."""
    default, pure = (gmvae_figures.runs(name)[0]["config"] for name in ("gmvae", "gmvae-pure"))
    pull = gmvae_figures.pull_epochs(default)
    found = {
        "step 1": max(1, round(default["classifier_share"] * default["epochs"])),
        "step 2": pull,
        "pure step 1": max(1, round(pure["convolutional_share"] * pure["epochs"])),
        "self-training": int(np.ceil(pure["refinement_share"] * pure["epochs"])),
        "pure model": pull + pure["epochs"],
    }
    return {f"epochs {name}": number(value) for name, value in found.items()}


def random_start() -> dict[str, str]:
    """What part 3 loses by a random start in gmvae_likelihood.py."""
    without, default = (gmvae_figures.runs(f"gmvae-likelihood/{name}") for name in ("random-start", "nothing"))
    used = sorted({run["components_used"] for run in without})

    def percent(runs: list[dict[str, Any]]) -> str:
        accuracies = [100 * run["test"]["accuracy"] for run in runs]
        return f"{number(min(accuracies), '.0f')} to {number(max(accuracies), '.0f')}"

    def loss(runs: list[dict[str, Any]]) -> str:
        return number(np.mean([run["test"]["nll"] for run in runs]) - base, ".2f")

    base = np.mean([run["test"]["nll"] for run in default])
    return {
        "random start epochs": number(default[0]["config"]["epochs"]),
        "random start loses": loss(without),
        "random start components": " or ".join(map(number, used)),
        "random start accuracy": percent(without),
        "random start default": percent(default),
    }


def gmvae_likelihood() -> tuple[dict[str, str], list[str]]:
    """The default with one ingredient changed at a time, in gmvae_likelihood.py."""
    found = gmvae_figures.ingredients()
    base = found["nothing"]
    lines = []
    for name, each in found.items():
        cells = []
        for score, sign in (("nll", 1), ("elbo", -1)):
            change = sign * (np.mean(each.values(score)) - np.mean(base.values(score)))
            cells += [compact([sign * value for value in each.values(score)])]
            cells += ["" if name == "nothing" else number(change, "+.2f")]
        used = [run["components_used"] for run in each.runs]
        used_told = "--".join(map(number, sorted({min(used), max(used)})))
        lines.append(row(each.label, number(each.products, ".1f"), *cells, used_told))
    config = base.runs[0]["config"]
    worse = {name: np.mean(found[name].values("nll")) for name in ("one-component", "random-start")}
    return {
        "mixture worth": number(worse["one-component"] - np.mean(base.values("nll")), ".2f"),
        "mixture worth, bound": number(
            np.mean(base.values("elbo")) - np.mean(found["one-component"].values("elbo")), ".2f"
        ),
        "random start has": number(worse["one-component"] - worse["random-start"], ".2f"),
        "likelihood epochs": number(config["epochs"]),
        "likelihood samples": number(config["importance_samples"]),
        "likelihood weighted": number(100 * found["weighted"].runs[0]["config"]["weighted_share"]),
        "likelihood weighted told": latex(gmvae_figures.weighted_told(found)),
    }, lines


def gmvae_plain() -> tuple[dict[str, str], list[str]]:
    """The same networks with one component, a plain variational autoencoder, at the full budget."""
    found, default = (gmvae_figures.runs(name) for name in ("gmvae-one-component", "gmvae"))
    if not found:
        return dict.fromkeys(("plain nll", "plain runs", "plain worse", "plain worse, bound"), ""), []
    nll, elbo = (
        [np.mean([run["test"][score] for run in runs]) for runs in (found, default)] for score in ("nll", "elbo")
    )
    told = gmvae_figures.mean_and_range([run["test"]["nll"] for run in found], ".2f")
    return {
        "plain nll": told,
        "plain runs": number(len(found)),
        "plain worse": number(nll[0] - nll[1], ".2f"),
        "plain worse, bound": number(elbo[1] - elbo[0], ".2f"),
    }, [row(f"one component, a plain VAE, runs: {len(found)}", told)]


def changes_told(changes: np.ndarray) -> str:
    """As "+0.18 (+0.07 to +0.27)", in LaTeX."""
    mean, least, greatest = (number(value, "+.2f") for value in (np.mean(changes), min(changes), max(changes)))
    return f"{mean} ({least} to {greatest})" if len(changes) > 1 else mean


def with_error(mean: float, error: float) -> str:
    """As "0.23 +- 0.05", in LaTeX; without the error where it is not known."""
    return number(mean, ".2f") if np.isnan(error) else rf"${mean:.2f}\pm{error:.2f}$"


def gap_told() -> dict[str, str]:
    """How the parts of the gap of the pure model and of a random start differ from the default's: mean, and least to
    greatest of the seeds that both have."""
    found = gmvae_figures.inside_runs()
    told = {}
    for variant in ("pure", "random-start"):
        both = zip(*gmvae_figures.pairs(found[variant], found["default"]), strict=True)
        ours, default = map(gmvae_figures.gap_parts, both)
        for part, one, other in zip(("approximation", "amortisation"), ours, default, strict=True):
            told[f"gap {variant} {part}"] = changes_told((one - other).mean(axis=1))
    return told


def inside() -> dict[str, str]:
    """Where the default, the pure model and that of a random start end, in this order, by measure."""
    ends = [
        {measure: np.mean([run["inside"][measure][-1] for run in runs]) for measure in runs[0]["inside"]}
        for runs in map(gmvae_figures.inside_runs().get, gmvae_figures.VARIANTS)
    ]
    forms = {"rate": ".1f", "assignment": ".2f", "components": ".1f", "active units": ".0f", "varying units": ".0f"}
    return {
        f"inside {measure}": gmm_figures.listed([number(end[measure], form) for end in ends])
        for measure, form in forms.items()
    }


def mixture() -> dict[str, str]:
    """The pure model's p(z | x) by samples of which some were not told q(z | x), in the mean of the runs that there
    are."""
    found = gmvae_figures.runs("gmvae-mixture")
    shares = ("accuracy", "accuracy_model", "accuracy_mixture", "changed", "changed_by_noise")
    forms = {name: (100, ".2f") for name in shares} | {name: (1, ",.0f") for name in ("images", "samples")}
    values = {
        name: number(np.mean([scale * run[name] for run in found]), form) if found else ""
        for name, (scale, form) in forms.items()
    }
    behind = [100 * (run["accuracy"] - run["accuracy_mixture"]) for run in found]
    values["gap"] = compact(behind) if found else ""
    values["runs"] = number(len(found))
    return {f"mixture {name}": value for name, value in values.items()}


def gmvae_long() -> dict[str, str]:
    """The long run of gmvae_likelihood.py."""
    (run,) = gmvae_figures.runs("gmvae-long")
    config, test = run["config"], run["test"]
    return {
        "long nll": number(test["nll"], ".2f"),
        "long bound": number(test["elbo"], ".2f"),
        "long accuracy": number(100 * test["accuracy"], ".1f"),
        "long components": number(run["components_used"]),
        "long epochs": number(config["epochs"]),
        "long samples": number(config["importance_samples"]),
        "long units": number(config["hidden_units"]),
        "long share": number(100 * config["weighted_share"]),
        "long weighted": number(config["weighted_samples"]),
        "long minutes": number((run["seconds"] + run["compile_seconds"]) / 60, ".0f"),
    }


VARIANTS = {  # of part 3, as readme.py names them
    "gmvae-random-start": "random start",
    "gmvae": "default",
    "gmvae-pure": r"\code{-{}-pure}",
    "gmvae-pure-no-augment": r"\code{-{}-no-augment}",
    "gmvae-labels/10": "100 labels",
}


def gmvae_variants() -> tuple[dict[str, str], list[str]]:
    """Part 3 from a random start, by default, with regularisers for pure clusters, and with 100 labels."""
    variants, found = readme.variants()
    labels = {
        "runs": "runs, a seed each",
        "accuracy": r"accuracy, $q(z\mid x)$, \%",
        "accuracy_model": r"accuracy, $p(z\mid x)$, \%",
        "error": r"error, not matched, \%",
        "nll": rf"$-\log p(x)$, {typeset(readme.most_samples(found))} samples",
        "cost": "negative lower bound",
        "purity": r"purity of samples, \%",
        "diversity": "diversity of samples",
        "components": "components in use",
        "minutes": "minutes of training on one core",
    }
    lines = [row("", *(VARIANTS[name] for name in variants)), r"\midrule"]
    lines += [row(label, *(value.replace(" to ", "--") for value in found[name])) for name, label in labels.items()]
    scores = ("runs", "accuracy", "nll")
    wanted = {
        "gmvae": scores,
        "gmvae-pure": (*scores, "accuracy_model"),
        "gmvae-pure-no-augment": ("runs", "accuracy"),
        "gmvae-labels/10": ("runs", "error"),
    }
    cells = {
        f"variant {variant} {name}": typeset(found[name][variants.index(variant)])
        for variant, names in wanted.items()
        for name in names
    }
    judged = json.loads((gmvae.JUDGE / "judge.json").read_text())
    cells |= {
        "variant samples": typeset(readme.most_samples(found)),
        "judge error": f"{100 * judged['test_error']:.2f}",
    }
    return gmvae_settings("gmvae-pure") | cells, lines


ABLATION = {  # what a run of --pure leaves out
    "nothing": "nothing",
    "balance": r"balance, $\lambda_1=0$",
    "certainty": r"certainty, $\lambda_2=0$",
    "agreement": "agreement of heads with copies",
    "contrast": r"contrast \eqref{contrast}",
    "graph": "the graph: heads' own clusters",
    "pixels": "neighbours by pixels",
    "restarts": "all heads but one",
    "refinement": "self-training, and the graph with it",
    "robustness": "the robust loss: cross-entropy",
    "elastic": "elastic distortions",
    "votes": "votes of copies",
    "generation": r"generated images \eqref{generation}",
    "pull": r"the pull beyond the bound, $\lambda=1$",
}


def compact(values: list[float]) -> str:
    """Mean and range, as in a cell of a table; nothing where there are no values."""
    return gmvae_figures.mean_and_range(values, ".2f").replace(" to ", "--") if values else ""


def scores_of(runs: list[dict[str, Any]]) -> list[str]:
    """Cells of a table: accuracies by q(z|x) and p(z|x) and purity of samples in %, and -log p(x)."""
    return [
        compact([100 * run["test"]["accuracy"] for run in runs]),
        compact([100 * run["test"]["accuracy_model"] for run in runs]),
        compact([100 * run["sample_purity"]["mean"] for run in runs]),
        compact([run["test"]["nll"] for run in runs]),
    ]


def gmvae_ablation() -> tuple[dict[str, str], list[str]]:
    """--pure without one ingredient at a time, those that have runs; nothing where the whole has none, or nothing
    else has."""
    pareto = {"generation": "gmvae-pareto/generation-0", "pull": "gmvae-pareto/pull-1"}
    found = {name: gmvae_figures.runs(pareto.get(name, f"gmvae-pure-without/{name}")) for name in ABLATION}
    whole = found["nothing"]
    if not whole or not any(found[name] for name in ABLATION if name != "nothing" and name not in pareto):
        return dict.fromkeys(("ablation told", "ablation epochs", "ablation samples"), ""), []
    accuracies = {name: [100 * run["test"]["accuracy"] for run in each] for name, each in found.items() if each}
    lost = {name: np.mean(accuracies["nothing"]) - np.mean(each) for name, each in accuracies.items()}
    order = sorted((name for name in lost if name != "nothing"), key=lambda name: -lost[name])
    lines = [row(ABLATION[name], number(len(found[name])), *scores_of(found[name])) for name in ["nothing", *order]]
    told = [f"{number(-lost[name], '+.2f')} ({ABLATION[name]})" for name in order]
    return {
        "ablation told": " to ".join(told[:: max(1, len(told) - 1)]),
        "ablation epochs": number(whole[0]["config"]["epochs"]),
        "ablation samples": number(whole[0]["config"]["importance_samples"]),
    }, lines


def purity_costs() -> dict[str, str]:
    """What --pure costs in likelihood against the default with the same epochs: by itself, seed by seed, and at half
    the budget with all weights, without the generation term, with the pull of a plain bound, and with neither. And how
    many nats more the importance samples leave its estimate short of gmvae_inside.py's log p(x) than the default's.
    With standard errors over seeds, and over images where log p(x) is that of gmvae_inside.py."""

    def told(costs: list[float]) -> str:
        return with_error(np.mean(costs), error(costs))

    def error(costs: list[float]) -> float:
        return float(np.std(costs, ddof=1) / np.sqrt(len(costs))) if len(costs) > 1 else np.nan

    def short(n_samples: int) -> list[float]:
        return [
            gmvae_figures.short_of([pure], n_samples) - gmvae_figures.short_of([plain], n_samples)
            for pure, plain in gmvae_figures.pairs(inside["pure"], inside["default"])
        ]

    inside = gmvae_figures.inside_runs()
    whole = gmvae_figures.pairs(*map(gmvae_figures.runs, ("gmvae-pure", "gmvae")))
    costs = [pure["test"]["nll"] - plain["test"]["nll"] for pure, plain in whole]
    (samples,), (few,) = (
        {run["config"]["importance_samples"] for run in gmvae_figures.runs(name)}
        for name in ("gmvae-pure", "gmvae-pure-without/nothing")
    )
    times = [
        pure["seconds"] / plain["seconds"]
        for pure, plain in whole
        if pure["config"]["threads"] == plain["config"]["threads"]
    ]
    shorts = short(samples)
    by_reference = gmvae_figures.reference_gains(inside["pure"], inside["default"])
    values = {
        "purity cost": told(costs),
        "purity cost, bound": told([plain["test"]["elbo"] - pure["test"]["elbo"] for pure, plain in whole]),
        "purity seeds": number(len(whole)),
        "purity times": number(np.median(times), ".1f"),
        "purity samples": number(samples),
        "purity samples, half": number(few),
        "purity short": told(shorts),
        "purity short, half": told(short(few)),
        "purity left": with_error(np.mean(costs) - np.mean(shorts), np.hypot(error(costs), error(shorts))),
        "purity cost, reference": with_error(by_reference.mean(), gmvae_figures.standard_error(by_reference)),
        "purity images": number(inside["pure"][0]["test"]["images"]),
    }
    plain = gmvae_figures.runs("gmvae-likelihood/nothing")
    for name, folder in {
        "half": "gmvae-pure-without/nothing",
        "no generation": "gmvae-pareto/generation-0",
        "no pull": "gmvae-pareto/pull-1",
        "neither": "gmvae-pareto/neither",
    }.items():
        runs = gmvae_figures.runs(folder)
        for of, score, sign in (("", "nll", 1), (", bound", "elbo", -1)):
            cost = [sign * np.mean([run["test"][score] for run in each]) for each in (runs, plain)] if runs else []
            values[f"purity cost, {name}{of}"] = number(cost[0] - cost[1], ".2f") if runs else ""
    neither = gmvae_figures.runs("gmvae-pareto/neither")
    of_p, purity = scores_of(neither)[1:3] if neither else ("", "")
    return values | {"purity neither": purity, "purity neither, p": of_p}


def gmvae_labels() -> tuple[dict[str, str], list[str]]:
    """Labels of so many images a class: the error with all images, with these alone, without distorted copies, of what
    has runs. Nothing where one number of labels alone has."""

    def errors(name: str) -> list[float]:
        return [100 * run["test"]["error"] for run in gmvae_figures.runs(name)]

    pure = gmvae_figures.runs("gmvae-pure")
    unlabelled = [100 * (1 - run["test"]["accuracy"]) for run in pure]
    lines = [row("0, matched", number(len(pure)), compact(unlabelled), "", scores_of(pure)[2])]
    for m in (1, 5, 10, 50, 100):
        runs = gmvae_figures.runs(f"gmvae-labels/{m}")
        if runs:
            with_all, alone = errors(f"gmvae-labels/{m}"), errors(f"gmvae-labels-alone/{m}")
            lines.append(row(number(m), number(len(runs)), compact(with_all), compact(alone), scores_of(runs)[2]))
    runs = gmvae_figures.runs("gmvae-labels-no-augment/10")
    if runs:
        without = compact(errors("gmvae-labels-no-augment/10"))
        lines.append(row("10, no copies", number(len(runs)), without, "", scores_of(runs)[2]))
    changes = [
        100 * (run["test"]["accuracy"] - 1 + labelled["test"]["error"])
        for run, labelled in gmvae_figures.pairs(pure, gmvae_figures.runs("gmvae-labels/10"))
    ]
    told = {"labels change": number(np.mean(changes), "+.2f"), "labels pairs": number(len(changes))}
    alone = gmvae_figures.runs("gmvae-labels-alone/10")
    names = ("error", "accuracy by p", "purity", "runs")
    scores = (
        [compact(errors("gmvae-labels-alone/10")), *scores_of(alone)[1:3], number(len(alone))] if alone else [""] * 4
    )
    told |= {f"labels alone {name}": score for name, score in zip(names, scores, strict=True)}
    return told, lines if len(lines) > 3 else []


TRAINING_IMAGES = 60_000
DESIGNS = {  # of part 3's posterior, as report/gmvae_designs.py names them
    "summed": r"(a) $q(h|x)\,p(z|h)$",
    "factorised": r"(b) $q(z|x)\,q(h|x)$",
    "structured": r"(c) $q(z|x)\,q(h|x,z)$",
}


def gmvae_designs(defaults: list[dict[str, Any]]) -> tuple[dict[str, str], list[str]]:
    """The designs of part 3's posterior at one budget, over the runs that there are, and beside them the runs of
    gmvae.py at its defaults, whose design is the first and whose gap is that of the code."""
    runs = {design: gmvae_figures.runs(f"gmvae-designs/{design}") for design in DESIGNS}
    costs = step_costs()

    samples = next(run for each in (*runs.values(), defaults) for run in each)["test"]["importance_samples"]

    def comparable(run: dict[str, Any]) -> bool:
        return run["test"]["importance_samples"] == samples

    def gap(run: dict[str, Any], part: str) -> float | None:
        if not comparable(run):
            return None
        alone = -run["test"]["elbo"] - run["test"]["nll"]  # what gmvae.py's own runs tell of it
        return run["test"].get("gap", {"total": alone, "code": alone, "component_given_code": 0.0}).get(part)

    rows = (
        ("epochs of step 3", "", lambda run: run["config"]["epochs"]),
        ("lower bound, nats per image", ".2f", lambda run: run["test"]["elbo"]),
        (r"$-\log p(x)$, nats per image", ".2f", lambda run: run["test"]["nll"] if comparable(run) else None),
        ("effective samples, median image", ".1f", lambda run: run["test"].get("effective_samples")),
        (r"gap by \eqref{gap}: $\KL{q(h|x)}{p(h|x)}$", ".2f", lambda run: gap(run, "code")),
        (r"\quad $+\E\KL{q(z|h,x)}{p(z|h)}$", ".2f", lambda run: gap(run, "component_given_code")),
        (r"gap by \eqref{gap-c}: $\KL{q(z|x)}{p(z|x)}$", ".2f", lambda run: gap(run, "component")),
        (r"\quad $+\E\KL{q(h|x,z)}{p(h|x,z)}$", ".2f", lambda run: gap(run, "code_given_component")),
        (r"accuracy by $q(z|x)$, \%", ".2f", lambda run: 100 * run["test"]["accuracy"]),
        (r"accuracy by $p(z|x)$, \%", ".2f", lambda run: 100 * run["test"]["accuracy_model"]),
        ("steps 2 and 3, seconds", ".0f", lambda run: model_seconds(run, costs)),
    )

    def cell(values: list[float | None], form: str) -> str:
        """Mean, and greatest less least where these are not whole numbers that agree."""
        if not values or None in values:
            return ""
        if not form and len(set(values)) == 1:
            return number(values[0])
        form = form or ".1f"
        return f"{number(float(np.mean(values)), form)} ({number(max(values) - min(values), form)})"

    columns = [*runs.values(), defaults]
    lines = [row("runs, a seed each", *(number(len(each)) if each else "" for each in columns))]
    lines += [
        row(label, *(cell([value(run) for run in each], form) for each in columns)) for label, form, value in rows
    ]
    told = "The runs are not finished."
    if len({len(each) for each in runs.values()}) == 1 and runs["summed"] and costs:
        shares = [
            100
            * np.mean([gap(run, "code_given_component") for run in each])
            / np.mean([gap(run, "total") for run in each])
            for each in runs.values()
        ]
        share = f"{number(min(shares), '.0f')} to {number(max(shares), '.0f')}"
        within = (
            rf"Of the gap, {share}\,\% is the code's given the component, which a Gaussian for each component, (c), "
            "hardly changes."
        )
        told = " ".join([ranked(runs), at_equal_time(runs["structured"], defaults, costs), within])
    return {"designs told": told, "designs samples": number(samples)}, lines


def step_costs() -> dict[str, float]:
    """The median milliseconds of a step by design, where they were measured."""
    path = readme.ROOT / "report" / "results" / "gmvae-designs-cost.json"
    measured = json.loads(path.read_text())["milliseconds_per_step"] if path.is_file() else {}
    return {design: float(np.median(rounds)) for design, rounds in measured.items()}


def design_of(run: dict[str, Any]) -> str:
    """The design of a run, of gmvae.py or of the study."""
    return run["config"].get("design", "summed")


def model_seconds(run: dict[str, Any], costs: dict[str, float]) -> float | None:
    """What a run's steps 2 and 3 take at these costs of a step. The runs themselves were made beside other work."""
    config = run["config"]
    epochs = gmvae_figures.pull_epochs(config) + config["epochs"]
    cost = costs.get(design_of(run))
    return None if cost is None else epochs * (TRAINING_IMAGES // config["batch_size"]) * cost / 1000


def ranked(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Which design is best by bound, likelihood and accuracy, and in how many seeds it beats the next."""
    orders, ahead = [], []
    for label, value in (
        ("the bound", lambda run: run["test"]["elbo"]),
        (r"$\log p(x)$", lambda run: -run["test"]["nll"]),
        (r"accuracy of $q(z\mid x)$", lambda run: run["test"]["accuracy"]),
    ):
        values = {design: [value(run) for run in each] for design, each in runs.items()}
        order = sorted(values, key=lambda design: -np.mean(values[design]))
        orders.append(f"{', '.join(DESIGNS[design][:3] for design in order)} by {label}")
        pairs = zip(values[order[0]], values[order[1]], strict=True)
        ahead.append(number(sum(first > second for first, second in pairs)))
    seeds = number(len(runs["summed"]))
    return (
        f"The order is {gmm_figures.listed(orders)}; the first is ahead of the second in {gmm_figures.listed(ahead)} "
        f"of {seeds} seeds."
    )


def at_equal_time(structured: list[dict[str, Any]], defaults: list[dict[str, Any]], costs: dict[str, float]) -> str:
    """What the time of the structured design buys with the design that gmvae.py has."""

    def less(value: Callable[[dict[str, Any]], float]) -> float:
        return float(np.mean([value(run) for run in defaults]) - np.mean([value(run) for run in structured]))

    elbo = less(lambda run: run["test"]["elbo"])  # unlike log p(x), no higher for more importance samples
    seconds = less(lambda run: model_seconds(run, costs))

    def difference(value: float, form: str, unit: str, more: str, less: str) -> str:
        return f"{number(abs(value), form)} {unit} {more if value > 0 else less}"

    verdict = "neither is ahead in everything"
    if elbo > 0 and seconds <= 0:
        verdict = "time is better spent on more steps of (a) than on a finer posterior"
    elif elbo < 0 and seconds >= 0:
        verdict = "the finer posterior is worth its time"
    return (
        rf"Against the runs of (c), steps 2 and 3 of \code{{gmvae.py}} take "
        f"{difference(seconds, '.0f', 'seconds', 'more', 'less')}, and their bound is "
        f"{difference(elbo, '.2f', 'nats', 'higher', 'lower')}: {verdict}."
    )


def gmvae_settings(part: str) -> dict[str, str]:
    """What the report tells of the settings of `--pure`."""
    config = json.loads((readme.ROOT / "report" / "results" / part / "seed-0.json").read_text())["config"]
    names = (
        *("elastic", "pull_weight", "contrast_weight", "temperature", "embedding_units", "last_filters"),
        *("graph_neighbours", "pixel_weight", "generation_weight", "generated_images", "judged_samples"),
        *("robustness", "voting_copies", "labelled_batch_size"),
    )
    values = {name: number(config[name]) for name in names}
    values["balance"] = number(config["balance_weight"] / config["certainty_weight"])
    values["generation_share"] = number(100 * config["generation_share"])
    return {f"pure {name}": value for name, value in values.items()}


def machine(runs: list[dict[str, Any]]) -> dict[str, str]:
    """What the runs ran on."""
    versions = runs[0]["config"]["versions"]
    found = readme.measured("limit")
    about = found[0]["machine"] if found else {"cores": 0}
    return {
        "cores": number(about["cores"]),
        **{name: versions[name] for name in ("python", "tensorflow", "scikit-learn")},
    }


def generated() -> str:
    """The text of generated.tex."""
    runs = {part: readme.metrics(part) for part in SETTINGS}
    values = {
        f"{part} {name}": number(runs[part][0]["config"][name]) for part, names in SETTINGS.items() for name in names
    }
    rows = {}
    for name, (more, lines) in {
        "gmm fit": gmm_fit(runs["gmm"][0]),
        "gmm seeds": gmm_seeds(runs["gmm"]),
        "estimators": estimators(),
        "choosing k": choosing_k(),
        "gmvae variants": gmvae_variants(),
        "gmvae ablation": gmvae_ablation(),
        "gmvae labels": gmvae_labels(),
        "gmvae designs": gmvae_designs(runs["gmvae"]),
        "gmvae likelihood": gmvae_likelihood(),
        "gmvae plain": gmvae_plain(),
    }.items():
        values.update(more)
        rows[name] = "\n".join(lines)
    values |= truth() | limit() | gmvae_defaults() | random_start() | gmvae_long() | purity_costs() | studies() | real()
    values |= inside() | gap_told() | mixture() | epochs() | machine(runs["gmvae"])
    text = ["% Written by report/tables.py from report/results/. Do not edit."]
    text += [rf"\setval{{{name}}}{{{value}}}" for name, value in values.items()]
    text += [f"\\setrows{{{name}}}{{%\n{body}}}" for name, body in rows.items()]
    return "\n".join(text) + "\n"


def main() -> None:
    """Writes generated.tex, whole or not at all."""
    try:
        study.check_shown(ROOT / "plots", RESULTS)
        utils.write_text(OUT, generated())
    except (ValueError, OSError) as error:
        print(f"error: {error}; make study writes results, and git checkout plots restores figures", file=sys.stderr)
        sys.exit(2)
    print(f"{OUT.relative_to(ROOT)} is up to date")


if __name__ == "__main__":
    main()
