"""The figures of part 2's studies on small made-up results: each draws, and its sentence tells what went in."""

import io
import itertools
import sys

import numpy as np
import pytest
import tiny

sys.path.insert(0, str(tiny.PROJECT / "report"))

import gmm_estimators
import gmm_figures
import gmm_limit

import utils

RESULTS = {}


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
    """The results that the figures read."""
    RESULTS.clear()
    monkeypatch.setattr(gmm_figures, "read", RESULTS.__getitem__)


def drawn(function, *arguments):
    """The sentence of a figure, which draws; where panels stand in one row, each names its x axis."""
    with utils.figure_style():
        figure, sentence = function(*arguments)
        figure.savefig(io.BytesIO(), format="png", dpi=40)
    assert all(axes.get_xlabel() or axes.get_subplotspec().get_gridspec().nrows > 1 for axes in figure.axes)
    return sentence


def data_set(error=0.1, estimate=-4.0, em=-4.0, restarts=(-4.0, -4.5), degenerate=(), converged=True, ari=0.9):
    """A data set of a sweep, the truth at -4.1 nats per point."""
    errors = {"weights": error / 4, "means": error, "stds": error / 2}
    return {
        "log_likelihood": {"truth": -4.1, "estimate": estimate, "em": em, "restarts": list(restarts)},
        "degenerate": {
            "estimate": "estimate" in degenerate,
            "em": "em" in degenerate,
            "restarts": ["restarts" in degenerate] * len(restarts),
        },
        "em_converged": converged,
        "kl": 1e-5,
        "errors": {"estimate": errors, "em": errors},
        "ari": {"estimate": ari, "truth": 0.95},
    }


def sweep(axis, rows):
    """A sweep's results: values of its axis, and the data sets of each."""
    RESULTS[f"gmm-sweep/{axis}"] = {"cells": [{"cell": {axis: value}, "data_sets": row} for value, row in rows.items()]}


def test_the_best_known_likelihood_is_of_no_degenerate_fit():
    assert gmm_figures.best_known(data_set(em=-3.9)) == -3.9
    assert gmm_figures.best_known(data_set(em=-3.9, degenerate=("em",))) == -4.0
    assert gmm_figures.best_known(data_set(restarts=(-3.8, -4.5))) == -3.8
    assert gmm_figures.best_known(data_set(restarts=(-3.8, -4.5), degenerate=("restarts",))) == -4.0
    assert gmm_figures.best_known(data_set(degenerate=("estimate", "em", "restarts"))) == -4.0
    assert gmm_figures.found(data_set()) == 50
    assert gmm_figures.found(data_set(em=-3.99)) == 0
    assert gmm_figures.found(data_set(degenerate=("restarts",))) == 0
    for name in ("estimate", "em"):
        assert gmm_figures.solved(data_set(), name)
        assert not gmm_figures.solved(data_set(degenerate=(name,)), name)
    assert not gmm_figures.solved(data_set(em=-4.002), "em")
    assert gmm_figures.solved(data_set(em=-4.0009), "em")


def test_the_sentence_of_n():
    """Errors of N to the power of -1/2, and one EM run that missed."""
    sweep("n", {n: [data_set(2 / np.sqrt(n)), data_set(2 / np.sqrt(n))] for n in (25, 100, 400)})
    RESULTS["gmm-sweep/n"]["cells"][1]["data_sets"][0]["log_likelihood"]["em"] = -4.1
    RESULTS["gmm-sweep/n"]["cells"][2]["data_sets"] = [data_set(0.1, em=-3.9995)]
    said = drawn(gmm_figures.n_figure)
    assert "From N = 25 to 400 the median error of the means falls from 0.40 to 0.1000" in said
    assert "N to the power of -0.50 from N = 100 on" in said
    assert "best known likelihood on 5 of 5 data sets, the best EM run on 4" in said
    assert "the log-likelihood of all points is 0.2 nats below EM's" in said


def test_the_sentence_of_the_truth():
    for axis in ("k", "separation", "weight_ratio", "std_ratio", "anisotropy"):
        sweep(axis, {value: [data_set(), data_set()] for value in (2, 4)})
    sweep(
        "separation",
        {
            0.5: [data_set(0.8, em=-4.2, restarts=(-4.0, -4.5, -4.5, -4.5)), data_set(0.8, converged=False)],
            8.0: [data_set(0.05, restarts=(-4.0, -4.0))] * 2,
        },
    )
    said = drawn(gmm_figures.truth_figure)
    assert "From a separation of 0.5 to 8.0 the median error of the means goes from 0.80 to 0.050" in said
    assert "likelihood from 38 to 100 %" in said  # the mean of 1 in 4 and 1 in 2
    assert "k 4 and 4 of 4; separation 4 and 3 of 4; weight ratio 4 and 4 of 4" in said
    assert "did not converge on 1 of 20 data sets" in said


def test_the_sentence_of_the_fitted_k():
    rows = {k: [data_set(ari=k / 10), data_set(ari=k / 10)] for k in range(1, 7)}
    rows[6] = [data_set(ari=0.6, degenerate=("em",)), data_set(ari=0.6, estimate=-4.3)]
    sweep("fitted_k", rows)
    said = drawn(gmm_figures.fitted_k_figure)
    assert "index is 0.20 with two fitted components, 0.30 with three and 0.60 with six" in said
    assert "is -50e-3 nats" in said  # the median of 0.1 and -0.2
    assert "NVIL missed the best known likelihood on 1 of 2 data sets and the best of 20 EM runs on 1" in said


def fit_of_limit(bound, error, bias, coverage):
    of_gauss = 0.6745
    values = {"median_error": of_gauss * error * bound, "bias": -bias * bound, "bias_se": 0.1 * bound}
    values |= {"rms_error": error * bound, "coverage": coverage}
    return {name: dict.fromkeys(gmm_limit.NAMES, value) for name, value in values.items()}


def test_the_sentence_of_the_limit():
    """At 4 the maximum follows the bound from N = 300 on, at 1.5 not at the largest N."""
    ratios = {1.5: (1.0, 1.0, 0.7), 4.0: (1.3, 1.05, 1.02)}
    RESULTS["gmm-limit"] = {
        "config": {"batch_size": 64, "large_n": 1000, "large_n_batch_size": 256, "data_sets": 3},
        "cells": [
            {
                "cell": {"separation": separation, "n": n},
                "bound": dict.fromkeys(gmm_limit.NAMES, 1 / np.sqrt(n)),
                "mle": fit_of_limit(1 / np.sqrt(n), ratio, 0.2, 0.95),
                "estimate": fit_of_limit(1 / np.sqrt(n), 1.5, 0.3, 0.8),
                "behind": [1e-4, 2e-4, 9e-4],
            }
            for separation, row in ratios.items()
            for n, ratio in zip((100, 300, 1000), row, strict=True)
        ],
    }
    said = drawn(gmm_figures.limit_figure)
    assert "by separation: at 1.5 at no N, at 4 from N = 300 on." in said
    assert "At N = 1,000" in said
    assert "separation 4: 1.02, 0.20 and 95 %, NVIL 1.50, 0.30 and 80 %, 2e-04 nats below" in said
    assert "separation 1.5: 0.70, 0.20 and 95 %, NVIL" in said
    assert "batches of 64 points, of 256 from N = 1,000 on" in said
    assert said.endswith("each over 3 data sets.")


DRAWS = 100


def gradient(bias=0.0, target_bias=None, variance=1.0, cosine=0.5):
    """Of ten data sets; a bias on top of the noise of the mean of 100 draws."""
    noise = variance / DRAWS
    return {
        "norm": [2.0] * 10,
        "target_norm": [2.0] * 10,
        "bias": [float(np.sqrt(bias**2 + noise))] * 10,
        "target_bias": None if target_bias is None else [float(np.sqrt(target_bias**2 + 0.5 * noise))] * 10,
        "variance": [variance] * 10,
        "cosine": [cosine] * 10,
    }


@pytest.fixture
def estimators():
    """Cells of the estimators: variances fall by a name's place in the list, relaxations have a bias."""
    pairs = [*((k, 5) for k in (2, 3, 5, 10)), (3, 1), (3, 2), (2, 1)]
    relaxed = [f"{name}, {t}" for name in ("concrete", "gumbel-softmax") for t in gmm_estimators.TEMPERATURES]
    names = ["score function", "moving mean", "network", "normalised", "leave-one-out", "vimco", "rws"]
    made = []
    for (k, n_samples), moment in itertools.product(pairs, gmm_figures.MOMENTS):
        of = {"exact": {"microseconds": 1.0, **dict.fromkeys(("model", "posterior"), gradient(variance=0.0))}}
        for i, name in enumerate(names):
            entry = gradient(target_bias=0.0, variance=0.5**i, cosine=1 / k)
            of[name] = {"microseconds": 10.0 + i, "model": entry, "posterior": entry}
        for name in relaxed:
            t = float(name.split(", ")[1])
            entry = gradient(bias=t if name.startswith("gumbel") else 30.0, target_bias=0.0 if k == 2 else None)
            of[name] = {"microseconds": 50.0, "model": entry, "posterior": entry}
        made.append({"cell": {"k": k, "n_samples": n_samples, "moment": moment}, "estimators": of})
    RESULTS["gmm-estimators"] = {"config": {"draws": DRAWS}, "cells": made}


def test_the_sentence_of_sgvb(estimators):
    said = drawn(gmm_figures.sgvb_figure)
    assert "start, Concrete 30 and 30; start, Gumbel-softmax 0.1 and 2; midway" in said
    assert "away by more than its noise in 0 of 30 cases" in said


def test_the_sentence_of_sgvb_where_a_relaxation_misses_its_target(estimators):
    for cell in RESULTS["gmm-estimators"]["cells"]:
        if cell["cell"] == {"k": 2, "n_samples": 1, "moment": "midway"}:
            cell["estimators"]["concrete, 0.2"]["posterior"] = gradient(bias=30.0, target_bias=1.0)
    assert "away by more than its noise in 1 of 30 cases" in drawn(gmm_figures.sgvb_figure)


@pytest.mark.parametrize("part", ["model", "posterior"])
def test_the_sentences_of_the_estimators(estimators, part):
    said = drawn(gmm_figures.estimators_figure, "samples", part)
    assert f"Gradient of the {part}'s parameters" in said
    assert "moving mean 2.0, network 4.0, leave-one-out 16.0, vimco 32.0, rws 64.0." in said
    said = drawn(gmm_figures.estimators_figure, "k", part)
    assert "score function 0.50 and 0.10; network 0.50 and 0.10; leave-one-out 0.50 and 0.10." in said


def test_the_sentence_of_the_cost(estimators):
    """Microseconds are of the fastest moment; leave-one-out is the cheapest of those without bias."""
    slow = {"k": 3, "n_samples": 5, "moment": "midway"}
    (cell,) = (cell for cell in RESULTS["gmm-estimators"]["cells"] if cell["cell"] == slow)
    cell["estimators"]["network"]["microseconds"] = 99.0
    said = drawn(gmm_figures.cost_figure)
    assert "start leave-one-out, midway leave-one-out, end leave-one-out." in said
    assert "score function 10, moving mean 11, network 12," in said


def test_the_sentence_of_the_race():
    seconds = [0.0, 0.001, 0.01, 0.1]
    bounds = {("exact", 1): [-3, -2.5, -2, -2], ("network", 1): [-3, -2.9, -2.5, -2.001], ("rws", 5): [-3.0] * 4}
    RESULTS["gmm-race"] = {
        "cells": [
            {
                "cell": {"estimator": name, "n_samples": n_samples},
                "seconds": seconds,
                "bound": [[value, value] for value in bound],
            }
            for (name, n_samples), bound in bounds.items()
        ]
    }
    said = drawn(gmm_figures.race_figure)
    assert "exact S=1 10 ms; NVIL, network S=1 100 ms; RWS S=5 never." in said


def test_the_sentence_of_choosing_k():
    """BIC at N = 300 is right on 3 of 4 data sets, ICL takes K = 2 on 2."""
    right, two = [9, 8, 1, 2, 3, 4], [9, 1, 8, 7, 6, 5]
    RESULTS["gmm-choosing-k"] = {
        "cells": [
            {"cell": {"separation": s, "n": n}, "bic": [right] * 3 + [two], "icl": [right] * 2 + [two] * 2}
            for s in (1.0, 3.0)
            for n in (100, 300)
        ]
    }
    said = drawn(gmm_figures.choosing_k_figure)
    assert "Of 4 data sets at a separation of 3" in said
    assert "BIC at N = 300 3, and K = 2 on 1" in said
    assert "ICL at N = 100 2, and K = 2 on 2" in said


def problem(difference=-1e-6, em_gain=0.0, found=0.5, em=False):
    cell = {"k": 3, "n": 120, "separation": 2.6}
    degenerate = {"estimate": False, "em": em}
    scores = {"difference": difference, "em_gain": em_gain, "found": found, "kl": 1e-6, "seconds": 14.0}
    return {"cell": cell, "degenerate": degenerate, **scores}


def test_the_sentence_of_the_problems():
    """It lists the failures, and why each did."""
    RESULTS["gmm-problems"] = {"cells": [problem(), problem(0.2), problem(-9e-4)]}
    said = drawn(gmm_figures.problems_figure)
    assert "On 3 of 3 random problems" in said
    assert "after 14 s" in said
    assert said.endswith("Failures: none.")
    RESULTS["gmm-problems"]["cells"] += [
        problem(-0.5, em=True),
        problem(-0.01, em_gain=0.009),
        problem(-0.02, found=0.0),
        problem(-0.03, found=0.04),
    ]
    said = drawn(gmm_figures.problems_figure)
    assert "On 3 of 7 random problems" in said
    for why in (
        "K = 3, N = 120, separation 2.6: -0.5000, EM has a degenerate component",
        "-0.0100, not converged: EM from there gains 0.0090",
        "-0.0200, another optimum; no restart reached EM's",
        "-0.0300, another optimum; 4 % of the restarts reached EM's, and had no better bound",
    ):
        assert why in said


def test_the_sentence_of_real_points():
    centres = {"iris": [[1.5, 0.25], [4.3, 1.3], [5.5, 2.0]], "wine": [[0.8, 7.0], [2.0, 3.0], [3.0, 5.5]]}
    for name, means in centres.items():
        mixture = {"weights": [0.3, 0.3, 0.4], "means": means, "stds": [[0.3, 0.3]] * 3}
        RESULTS[f"gmm-real/{name}"] = {
            "estimate": mixture,
            "em": mixture,
            "log_likelihood": {"estimate": -2.001, "em": -2.0},
            "ari": 0.75,
        }
    said = drawn(gmm_figures.real_figure)
    assert "iris: -1.0e-03 nats per point against EM, adjusted Rand index 0.75 against the classes; wine:" in said


def test_the_sentence_of_the_scale():
    RESULTS["gmm-scale"] = {
        "cells": [
            {
                "cell": {"n": n},
                "microseconds": microseconds,
                "seconds": 120.0,
                "peak_mib": peak,
                "idle_mib": 500.0,
                "data_mib": 16 * n / 2**20,
                "em_points": 100_000,
                "log_likelihood": {"truth": -4.0, "estimate": -4.0, "em": -4.0002},
            }
            for n, microseconds, peak in ((1000, 1500.0, 700.0), (10**6, 1700.0, 720.0), (10**7, 1600.0, 881.47))
        ]
    }
    said = drawn(gmm_figures.scale_figure)
    assert "From N = 1,000 to 10,000,000 a step of 50 restarts takes 1.5 to 1.7 ms." in said
    assert "153 MiB, the peak memory is 2.50 times the data above that of an idle process" in said
    assert "compilation above all, is 1.31; the whole run takes 2.0 minutes" in said
    assert "is +2.0e-04 nats per point against EM on 100,000" in said
