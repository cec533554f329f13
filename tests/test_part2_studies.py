"""The studies of part 2 under report/: what they compute, on small problems, and that they can be interrupted."""

import contextlib
import dataclasses
import io
import itertools
import json
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny
from matplotlib.image import imread

sys.path.insert(0, str(tiny.PROJECT / "report"))

import cells
import gmm_choosing_k
import gmm_defaults
import gmm_estimators
import gmm_figures
import gmm_limit
import gmm_problems
import gmm_race
import gmm_real
import gmm_scale
import gmm_starts
import gmm_sweep
import study
from scipy import stats
from scipy.integrate import quad
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import gmm_vi
import utils
from gmm_vi import Parameters

SMALL = {"data_sets": 2, "restarts": 2, "steps": 10}


@pytest.mark.parametrize("cell", [cell for axis in gmm_sweep.AXES.values() for cell in axis])
def test_true_mixtures_are_of_their_cells_kind(cell):
    truth = gmm_sweep.draw_truth(cell, np.random.default_rng(0))
    assert truth.means.shape == truth.stds.shape == (cell.k, 2)
    assert truth.weights.sum() == pytest.approx(1)
    assert truth.weights.max() / truth.weights.min() == pytest.approx(cell.weight_ratio)
    assert np.mean(truth.stds**2) == pytest.approx(1)
    distances = np.linalg.norm(truth.means[:, None] - truth.means, axis=-1)[np.triu_indices(cell.k, 1)]
    assert distances.min() == pytest.approx(cell.separation)
    widths = np.sqrt(truth.stds.prod(axis=1))
    assert widths.max() / widths.min() == pytest.approx(cell.std_ratio)
    np.testing.assert_allclose(truth.stds.max(axis=1) / truth.stds.min(axis=1), cell.anisotropy)


def test_a_cell_is_fitted_as_well_as_by_em():
    settings = dataclasses.replace(gmm_sweep.Settings(), data_sets=3, restarts=5, steps=2000)
    result = gmm_sweep.fit_cell(gmm_sweep.Cell(n=200, separation=6.0), settings)
    assert len(result["data_sets"]) == 3
    for each in result["data_sets"]:
        assert each["log_likelihood"]["estimate"] == pytest.approx(each["log_likelihood"]["em"], abs=1e-3)
        assert each["log_likelihood"]["estimate"] > each["log_likelihood"]["truth"]
        assert 0 <= each["kl"] < 1e-3
        for name in ("weights", "means", "stds"):
            assert each["errors"]["estimate"][name] == pytest.approx(each["errors"]["em"][name], abs=0.02)
        assert each["ari"]["estimate"] > 0.9
        assert len(each["log_likelihood"]["restarts"]) == len(each["degenerate"]["restarts"]) == 5
        differences = np.array(each["log_likelihood"]["restarts"]) - each["log_likelihood"]["estimate"]
        assert np.abs(differences).min() < 1e-5  # single precision
        assert differences.max() < 1e-3
        assert each["em_converged"] is True


def test_a_fit_of_another_k_has_no_errors():
    settings = dataclasses.replace(gmm_sweep.Settings(), **SMALL)
    result = gmm_sweep.fit_cell(gmm_sweep.Cell(n=50, fitted_k=2), settings)
    assert [each["errors"] for each in result["data_sets"]] == [None, None]


@pytest.mark.parametrize(
    ("changed", "same"), [({"n": 60}, True), ({"fitted_k": 2}, True), ({"separation": 2.0}, False)]
)
def test_cells_that_differ_in_n_or_the_fitted_k_alone_have_the_same_truths(changed, same, monkeypatch):
    drawn, draw = [], gmm_vi.draw_data
    monkeypatch.setattr(gmm_vi, "draw_data", lambda truth, n: drawn.append(truth) or draw(truth, n))
    with tiny.eager():
        for cell in (gmm_sweep.Cell(n=30), gmm_sweep.Cell(**{"n": 30, **changed})):
            gmm_sweep.fit_cell(cell, dataclasses.replace(gmm_sweep.Settings(), **SMALL))
    assert len(drawn) == 4
    for first, second in zip(drawn[:2], drawn[2:], strict=True):
        assert np.array_equal(first.means, second.means) == same


def test_errors_are_in_each_true_components_own_standard_deviation():
    truth = gmm_limit.truth(4.0)
    fit = Parameters(truth.weights + [0.01, 0.0, -0.01], truth.means + 0.1 * truth.stds, 1.2 * truth.stds)
    errors = gmm_sweep.own_errors(fit, truth)
    assert errors == pytest.approx({"weights": 0.01 * np.sqrt(2 / 3), "means": 0.1, "stds": 0.2})


def test_an_interrupted_sweep_keeps_its_cells(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(gmm_sweep.AXES, "n", [gmm_sweep.Cell(n=n) for n in (30, 40, 50)])
    calls = []

    def fit(cell, settings):
        calls.append(cell.n)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {"n": cell.n}

    monkeypatch.setattr(gmm_sweep, "fit_cell", fit)
    out = tmp_path / "sweep"
    with pytest.raises(KeyboardInterrupt):
        gmm_sweep.main(["--axis", "n", "--out", str(out)])
    gmm_sweep.main(["--resume", "--out", str(out)])
    gmm_sweep.main(["--resume", "--out", str(out)])
    assert calls == [30, 40, 40, 50]
    metrics = json.loads((out / "metrics.json").read_text())
    assert [(cell["cell"]["n"], cell["n"]) for cell in metrics["cells"]] == [(30, 30), (40, 40), (50, 50)]
    assert "wanted one of n, k, " in tiny.refused(gmm_sweep.main, ["--axis", "x", "--out", tmp_path / "no"], capsys)
    assert not (tmp_path / "no").exists()


def test_every_fit_from_the_same_starts():
    """Far components: all but a restart next to a poor start end at one maximum, and EM from NVIL's end stays there."""
    settings = dataclasses.replace(gmm_starts.Settings(), data_sets=2, restarts=3, steps=1000, em_steps=300)
    cell = gmm_sweep.Cell(n=150, separation=8.0)
    results = gmm_starts.fit_cell(cell, settings)["data_sets"]
    assert len(results) == 2
    for result in results:
        assert set(result) == {*gmm_starts.FITS, "em, starts", "em, ends", "em"}
        best = result["em"]["answer"]
        for name, fit in result.items():
            assert len(fit["restarts"]) == (1 if name == "em" else 3)
            assert fit["answer"] in fit["restarts"]
            assert fit["answer"] == pytest.approx(best, abs=2e-3), name
        for end, further in zip(result["nvil"]["restarts"], result["em, ends"]["restarts"], strict=True):
            assert further > end - 1e-6


def test_the_exact_gradient_is_that_of_the_bound():
    """nvil's cost has it on average."""
    points = np.random.default_rng(0).normal(size=(1, 40, 2)).astype(np.float32)
    training = gmm_starts.ExactTraining(points, gmm_vi.Settings(restarts=2))
    training.posterior.centres.assign_add(0.3 * tf.ones_like(training.posterior.centres))
    bounds = training.measure(training.points)[1]
    assert float(training.cost(training.points)) == pytest.approx(-float(tf.reduce_sum(bounds)), rel=1e-5)


def test_a_degenerate_restart_has_no_likelihood():
    stds = np.ones([3, 2, 2])
    stds[1, 0] = 1e-4
    assert gmm_starts.scored(np.array([1.0, 3.0, 2.0]), stds) == {"answer": 2.0, "restarts": [1.0, None, 2.0]}
    assert gmm_starts.scored(np.array([1.0, 3.0, 2.0]), stds, 1)["answer"] is None
    assert gmm_starts.scored(np.array([1.0, 3.0, 2.0]), stds, 0)["answer"] == 1.0


def test_the_defaults_are_among_what_is_tried():
    default = gmm_vi.Settings()
    for kind in gmm_defaults.WORK:
        assert gmm_defaults.Cell(*kind, default.learning_rate, default.steps, default.batch_size) in gmm_defaults.CELLS


def test_a_step_size_that_is_too_small_is_seen():
    settings = dataclasses.replace(gmm_defaults.Settings(), data_sets=2, restarts=2)
    gaps = []
    for rate in (1e-4, 0.05):
        result = gmm_defaults.fit_cell(gmm_defaults.Cell(60, 4.0, rate, 300, 512), settings)
        assert result["seconds"] > 0
        gaps.append([each["em"] - each["estimate"] for each in result["data_sets"]])
    assert np.min(gaps[0]) > 0.02 + np.max(gaps[1])
    collapsed = np.array([[1.0, 1.0], [1.0, 1e-4]])
    assert cells.sound(-3.0, collapsed) is None
    assert cells.sound(-3.0, np.ones([2, 2])) == -3.0


def test_the_information_of_far_components_is_that_of_each_by_itself():
    """The weights' is the multinomial's, and no two groups of parameters inform on each other."""
    truth = gmm_limit.truth(60.0)
    information = gmm_limit.fisher_information(truth, points_per_axis=1500)
    weights = truth.weights
    expected = np.zeros([14, 14])
    expected[:2, :2] = np.diag(1 / weights[:2]) + 1 / weights[2]
    expected[2:8, 2:8] = np.diag((weights[:, None] / truth.stds**2).ravel())
    expected[8:, 8:] = np.diag((2 * weights[:, None] / truth.stds**2).ravel())
    np.testing.assert_allclose(information, expected, atol=1e-6)


def test_the_information_is_the_curvature_of_the_mean_log_likelihood():
    """Of overlapping components: minus the second differences of E[log p] about the truth, which is its maximum."""
    truth = gmm_limit.truth(2.0)
    axes = [np.linspace(-9, 9, 300)] * 2
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)

    def log_p(theta):
        weights = np.append(theta[:2], 1 - theta[:2].sum())
        parameters = Parameters(weights, theta[2:8].reshape(3, 2), theta[8:].reshape(3, 2))
        return np.logaddexp.reduce(gmm_limit.gmm_vi.exact_log_joint(points, parameters), axis=-1)

    theta, step = gmm_limit.vector(truth), 1e-3
    p = np.exp(log_p(theta)) * (axes[0][1] - axes[0][0]) ** 2
    assert p.sum() == pytest.approx(1, abs=1e-6)
    information = gmm_limit.fisher_information(truth)
    for i, j in [(0, 0), (0, 1), (2, 2), (2, 9), (3, 12), (1, 8), (13, 13)]:
        a, b = step * np.eye(14)[i], step * np.eye(14)[j]
        second = log_p(theta + a + b) - log_p(theta + a - b) - log_p(theta - a + b) + log_p(theta - a - b)
        assert -(p @ second) / (4 * step**2) == pytest.approx(information[i, j], rel=1e-3, abs=1e-4)


def test_the_information_is_nan_where_a_component_is_narrower_than_the_grid():
    truth = gmm_limit.truth(2.0)
    stds = truth.stds.copy()
    stds[1, 0] = 0.05
    assert np.all(np.isfinite(gmm_limit.fisher_information(truth._replace(stds=stds), points_per_axis=400)))
    assert np.all(np.isnan(gmm_limit.fisher_information(truth._replace(stds=stds))))
    assert np.all(np.isnan(gmm_limit.standard_errors(truth._replace(stds=stds), 100)))


def test_unbounded_parameters_go_there_and_back():
    truth = gmm_limit.truth(2.0)
    weight_logits, means, logstds = gmm_limit.from_theta(tf.constant(gmm_limit.theta(truth, 1e-6)), 1e-6)
    np.testing.assert_allclose(tf.nn.softmax(weight_logits), truth.weights)
    np.testing.assert_allclose(means, truth.means)
    np.testing.assert_allclose(tf.exp(logstds), truth.stds)


@pytest.mark.parametrize("separation", [1.5, 6.0])
def test_the_maximum_is_one(separation):
    """Above its start and where EM stops; every parameter that moves lowers the likelihood."""
    true = gmm_limit.truth(separation)
    points = cells.draw_points([true], 1000)[0]
    mle, gradient = gmm_limit.maximise(points, true, 1e-6)
    assert gradient < 1e-6
    score = gmm_vi.mean_log_likelihood(points, mle)
    em = gmm_vi.em_parameters(gmm_vi.fit_em(points, gmm_vi.Settings(k=3), true))
    assert score > gmm_vi.mean_log_likelihood(points, true)
    assert score > gmm_vi.mean_log_likelihood(points, em) - 1e-12
    if separation == 6.0:  # where EM gets there
        np.testing.assert_allclose(mle.means, em.means, atol=1e-3)
        np.testing.assert_allclose(mle.stds, em.stds, atol=1e-3)
    for field in ("means", "stds"):
        for i, shift in itertools.product(np.ndindex(3, 2), (-0.01, 0.01)):
            moved = getattr(mle, field).copy()
            moved[i] += shift
            assert gmm_vi.mean_log_likelihood(points, mle._replace(**{field: moved})) < score
    for shift in ([0.01, -0.01, 0.0], [-0.01, 0.0, 0.01]):
        assert gmm_vi.mean_log_likelihood(points, mle._replace(weights=mle.weights + shift)) < score


def test_steps_of_em_are_those_of_scikit_learn():
    points = cells.draw_points([gmm_limit.truth(3.0)], 200)[0]
    starts = [gmm_limit.truth(separation) for separation in (2.0, 3.0)]
    stacked = Parameters(*map(np.stack, zip(*starts, strict=True)))
    *reached, scores = (each.numpy() for each in gmm_limit.climb(tf.constant(points), stacked, 1e-6, tf.constant(7)))
    for r, start in enumerate(starts):
        em = GaussianMixture(
            3,
            covariance_type="diag",
            max_iter=7,
            tol=0,
            weights_init=start.weights,
            means_init=start.means,
            precisions_init=1 / np.square(start.stds),
        )
        with pytest.warns(ConvergenceWarning):
            em.fit(points)
        for ours, theirs in zip(reached, gmm_vi.em_parameters(em), strict=True):
            np.testing.assert_allclose(ours[r], theirs, rtol=1e-8)
        assert scores[r] == pytest.approx(em.score(points), rel=1e-12)


def test_the_highest_maximum_is_of_the_best_start():
    """Next to one far cluster as two components a seeding finds the better maximum; a degenerate one is left out."""
    true = gmm_limit.truth(8.0)
    points = cells.draw_points([true], 200)[0]
    settings = dataclasses.replace(gmm_limit.Settings(), seedings=3, em_steps=50)
    good, beyond = gmm_limit.highest(points, [true], settings, 1e-6)
    assert beyond == pytest.approx(0, abs=1e-9)
    poor = true._replace(means=true.means[[0, 0, 0]] + [[-0.1, 0.0], [0.1, 0.0], [0.0, 0.1]])
    settings = dataclasses.replace(settings, em_steps=5)
    found, beyond = gmm_limit.highest(points, [poor], settings, 1e-6)
    assert beyond > 0.1
    assert gmm_vi.mean_log_likelihood(points, found) == pytest.approx(
        gmm_vi.mean_log_likelihood(points, good), abs=1e-3
    )
    point = Parameters(true.weights, np.stack([points[0], *true.means[1:]]), np.stack([[1e-5] * 2, *true.stds[1:]]))
    sound, _ = gmm_limit.highest(points, [point, true], settings, 1e-6)
    assert not gmm_vi.is_degenerate(sound.stds, 1e-6)


def test_the_summary_of_errors():
    truth = gmm_limit.truth(4.0)
    shifts = np.array([-0.02, 0.0, 0.05])
    fits = [truth._replace(means=truth.means + shift) for shift in shifts]
    summary = gmm_limit.summary(fits, truth, 1000, 100)
    assert summary["bias"]["mu_11"] == pytest.approx(0.01)
    assert summary["bias_se"]["mu_11"] == pytest.approx(shifts.std(ddof=1) / np.sqrt(3))
    assert summary["rms_error"]["mu_32"] == pytest.approx(np.sqrt(np.mean(shifts**2)))
    assert summary["median_error"]["mu_22"] == pytest.approx(0.02)
    assert summary["rms_error"]["sigma_11"] == pytest.approx(0, abs=1e-12)
    assert summary["coverage"]["pi_1"] == 1
    assert gmm_limit.summary(fits, truth, 10**7, 100)["coverage"]["mu_11"] == pytest.approx(1 / 3)


def test_intervals_over_data_sets_are_as_wide_as_the_spread_over_studies(monkeypatch):
    """Of normal errors at the bound, independent for each parameter, in studies of 100 data sets."""
    truth, bound = gmm_limit.truth(4.0), np.full(14, 0.01)
    monkeypatch.setattr(gmm_limit, "standard_errors", lambda parameters, n: bound)
    rng = np.random.default_rng(0)
    names = ("rms_error", "median_error", "bias", "coverage")
    values, intervals = [], []
    for errors in bound * rng.normal(0.5, 1, size=(60, 100, 14)):
        weights = truth.weights[:2] + errors[:, :2]
        fits = [
            Parameters(np.append(w, 1 - w.sum()), truth.means + e[2:8].reshape(3, 2), truth.stds + e[8:].reshape(3, 2))
            for w, e in zip(weights, errors, strict=True)
        ]
        summary = gmm_limit.summary(fits, truth, 1000, 300)
        over = {name: 1.0 if name == "coverage" else 0.01 for name in names}
        values.append([np.median(np.abs(list(summary[name].values()))) / over[name] for name in names])
        intervals.append([summary["interval"][name] for name in names])
    values, intervals = np.array(values), np.array(intervals)  # [studies, names], [studies, names, 2]
    widths = np.ptp(intervals, axis=-1).mean(axis=0) / (2 * 1.96 * values.std(axis=0))
    np.testing.assert_allclose(widths, 1, atol=0.5)
    middle = np.median(values, axis=0)
    held = np.mean((intervals[..., 0] <= middle) & (middle <= intervals[..., 1]), axis=0)
    assert np.all(held > 0.8), held


def test_a_cell_of_the_limit():
    settings = dataclasses.replace(gmm_limit.Settings(), data_sets=3, restarts=2, steps=1500)
    result = gmm_limit.fit_cell(cells.Separated(separation=6.0, n=300), settings)
    for name, bound in result["bound"].items():
        assert 0.01 < bound < 0.3, name
        assert result["estimate"]["rms_error"][name] < 5 * bound
        assert result["estimate"]["bias"][name] == pytest.approx(result["mle"]["bias"][name], abs=0.02)
    assert all(len(result[name]) == 3 for name in ("behind", "beyond", "gradient", "degenerate"))
    assert all(-1e-9 < each < 1e-3 for each in result["behind"])
    assert all(0 <= each < 1e-6 for each in result["beyond"])
    assert all(each < 1e-6 for each in result["gradient"])
    assert not any(result["degenerate"])
    for low, high in result["mle"]["interval"].values():
        assert low <= high


@pytest.mark.parametrize(("k", "n_samples"), [(2, 1), (2, 3), (3, 3)])
def test_estimators_hit_their_targets(k, n_samples, monkeypatch):
    """Within three standard errors of what each targets; sgvb on a one-hot sample tells the posterior nothing."""
    monkeypatch.setattr(gmm_estimators, "TEMPERATURES", (0.1, 2.0))
    settings = dataclasses.replace(gmm_estimators.Settings(), n=12, steps=100, data_sets=2, restarts=2, draws=1000)
    with tiny.without_xla():
        results = gmm_estimators.measure(gmm_estimators.Cell(k, n_samples, "midway"), settings)["estimators"]
    of = {
        (name, part): {key: None if value is None else np.array(value) for key, value in each[part].items()}
        for name, each in results.items()
        for part in ("model", "posterior")
    }
    noise = {key: np.sqrt(values["variance"] / settings.draws) for key, values in of.items()}
    assert np.all(of["exact", "model"]["bias"] < 1e-4)
    assert np.all(of["exact", "posterior"]["variance"] < 1e-6)
    np.testing.assert_allclose(of["exact", "posterior"]["cosine"], 1, atol=1e-4)
    unbiased = ["score function", "moving mean", "network", "normalised", "rws", "sgvb, one-hot"]
    unbiased += [name for name in results if name.startswith(("concrete", "gumbel-softmax"))]
    if n_samples > 1:
        unbiased += ["leave-one-out", "vimco"]
    for name in unbiased:
        for part in ("model", "posterior"):
            assert np.all(of[name, part]["target_bias"] < 3 * noise[name, part] + 1e-6), (name, part)
    q = of["sgvb, one-hot", "posterior"]
    np.testing.assert_array_equal(q["exact_bias"], q["norm"])
    np.testing.assert_array_less(abs(q["bias"] - q["norm"]), 4 * noise["sgvb, one-hot", "posterior"])
    # A baseline takes variance away; a low temperature adds it and takes bias away.
    assert np.all(of["moving mean", "posterior"]["variance"] < of["score function", "posterior"]["variance"])
    if n_samples == 1:
        low, high = (of[f"gumbel-softmax, {t}", "model"] for t in (0.1, 2.0))
        assert np.all(low["variance"] > high["variance"])
        assert np.all(low["exact_bias"] < high["exact_bias"])
    t = 0.1 if n_samples == 1 else 0.5
    biases = [of[f"{name}, {t}", "posterior"]["exact_bias"] for name in ("concrete", "gumbel-softmax")]
    assert np.all(biases[0] > biases[1])


def test_what_is_said_of_drawn_gradients():
    """Two draws on one data set, of mean (1, 1), about a target of (1, 0) and a gradient of (0, 1) of the bound."""
    drawn, exact, target = np.array([[[2.0, 0.0], [0.0, 2.0]]]), np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])
    said = gmm_estimators.compare(drawn, exact, target)
    assert said["exact_bias"] == pytest.approx([np.sqrt(2)])
    assert said["bias"] == said["target_bias"] == said["norm"] == said["target_norm"] == [1.0]
    assert said["cosine"] == said["target_cosine"] == [0.5]
    assert said["variance"] == [4.0]
    assert gmm_estimators.compare(drawn, exact, 0 * target)["target_cosine"] == [0.0]
    assert {name for name, value in gmm_estimators.compare(drawn, exact, None).items() if value is None} == {
        "target_norm",
        "exact_bias",
        "target_bias",
        "target_cosine",
    }


def test_estimators_see_the_same_samples(monkeypatch):
    """With one sample a baseline cannot change the gradient of the model, which has none in it."""
    monkeypatch.setattr(gmm_estimators, "TEMPERATURES", ())
    settings = dataclasses.replace(gmm_estimators.Settings(), n=12, steps=20, data_sets=2, restarts=2, draws=5)
    with tiny.eager():
        results = gmm_estimators.measure(gmm_estimators.Cell(2, 1, "end"), settings)["estimators"]
    plain = results["score function"]["model"]
    assert all(variance > 0 for variance in plain["variance"])
    for name in ("moving mean", "network", "normalised"):
        for statistic in ("bias", "variance", "cosine"):
            assert results[name]["model"][statistic] == pytest.approx(plain[statistic], rel=1e-3), name


def fixed_fit(k):
    """A fit of K components, 2 or 3, to three points, with an undecided and two decided q of the first two."""
    state = [
        np.ones([1, 1, 1], np.float32),
        np.log([[[0.8, 1.2], [0.5, 1.0], [1.1, 0.7]]]).astype(np.float32),
        np.array([[[-1.0, 0.0], [1.0, 0.5], [0.5, -1.0]]], np.float32),
        np.array([[0.3, -0.2, 0.1]], np.float32),
        np.array([[[-1.5, 0.2], [0.8, 0.0], [0.0, -0.6]]], np.float32),
        np.zeros([1, 3, 2], np.float32),
        np.array([[0.1, 0.0, -0.3]], np.float32),
    ]
    network = gmm_estimators.Baseline((1,), np.random.default_rng(0))
    state = [state[0], *(each[:, :k] for each in state[1:]), *(v.numpy() for v in network.trainable_variables)]
    return gmm_estimators.Replicates(state, np.array([[[-0.3, 0.1], [1.4, 0.5], [-2.5, 0.3]]]), 1)


def by_quadrature(fit, relaxation, temperature):
    """Minus the expectation of a relaxation's bound `[N]`."""
    bound = getattr(fit, f"{relaxation}_bound")
    parts = gmm_estimators.quadrature(fit.mixture.means.shape[1], temperature)
    return sum(fit.by_quadrature(bound, temperature, *part)[0].numpy().astype(float) for part in parts)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("relaxation", ["concrete", "gumbel_softmax"])
def test_the_quadrature_of_a_relaxation_is_its_expectation(relaxation, temperature):
    """Against SciPy's adaptive quadrature over the share y of the first component, by the density of Maddison et al."""
    fit = fixed_fit(2)
    got = by_quadrature(fit, relaxation, temperature)
    logits = fit.posterior.logits(fit.x)[0].numpy().astype(float)
    weights, means, logstds = (p[0].numpy().astype(float) for p in fit.mixture())
    log_pi = weights - logsumexp(weights)

    def log_density(y, log_alpha):  # of log y, the measure being dy / (y_1 y_2)
        return (
            np.log(temperature)
            + np.sum(log_alpha - temperature * np.log(y))
            - 2 * logsumexp(log_alpha - temperature * np.log(y))
        )

    def integrand(log_odds, point, log_q):
        y = np.array([1 / (1 + np.exp(-log_odds)), 1 / (1 + np.exp(log_odds))])
        log_x = stats.norm.logpdf(point, y @ means, np.exp(y @ logstds)).sum()
        density = np.exp(log_density(y, log_q))
        if relaxation == "concrete":
            return density * (log_x + log_density(y, log_pi) - log_density(y, log_q))
        return density * (log_x + y @ (log_pi - (log_q - logsumexp(log_q))))

    for n, point in enumerate(fit.x[0].numpy().astype(float)):
        # d log-odds is dy / (y_1 y_2).
        limit = 40 / temperature
        middle = (logits[n, 0] - logits[n, 1]) / temperature
        value, _ = quad(integrand, -limit, limit, (point, logits[n]), points=[-3, 0, 3, middle], limit=500)
        assert -got[n] == pytest.approx(value, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("relaxation", ["concrete", "gumbel_softmax"])
def test_the_quadrature_of_three_components(relaxation, temperature):
    """Within four standard errors of the mean over samples."""
    fit = fixed_fit(3)
    gumbel = np.random.default_rng(0).gumbel(size=(200_000, 1, 1, 3)).astype(np.float32)
    log_z = tf.nn.log_softmax((fit.posterior.logits(fit.x) + gumbel) / temperature)
    drawn = -getattr(fit, f"{relaxation}_bound")(temperature, log_z)[:, 0].numpy().astype(float)
    noise = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert np.all(abs(by_quadrature(fit, relaxation, temperature) - drawn.mean(axis=0)) < 4 * noise)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_the_quadrature_of_three_components_is_that_of_two_where_the_third_never_has_a_share(temperature):
    """Of Gumbel-softmax: in a Concrete density even such a component counts."""
    two, three = fixed_fit(2), fixed_fit(3)
    for offsets in (three.mixture.weight_logits, three.posterior.offsets):
        offsets.assign(offsets - [0.0, 0.0, 300.0])
    expected = by_quadrature(two, "gumbel_softmax", temperature)
    np.testing.assert_allclose(by_quadrature(three, "gumbel_softmax", temperature), expected, rtol=1e-5)


@pytest.mark.parametrize("k", [2, 3])
def test_nodes_and_weights_of_the_quadrature(k):
    """The differences of standard Gumbel numbers have a mean of 0, variances of pi^2 / 3 and correlations of 1/2."""
    parts = gmm_estimators.quadrature(k, 1.0)
    nodes, weights = (np.concatenate([part[i].numpy() for part in parts]).astype(float) for i in (0, 1))
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(nodes[:, -1], 0)
    np.testing.assert_allclose(weights @ nodes, 0, atol=1e-5)
    expected = np.pi**2 / 3 * (0.5 + 0.5 * np.eye(k - 1))
    np.testing.assert_allclose((nodes[:, :-1] * weights[:, None]).T @ nodes[:, :-1], expected, rtol=1e-5)


def test_a_bias_is_told_from_the_noise_in_it(monkeypatch):
    monkeypatch.setattr(gmm_figures, "read", lambda name: {"config": {"draws": 100}})
    rng = np.random.default_rng(0)
    for true, above in ((0.0, False), (1.0, True)):
        draws = true + 3 * rng.normal(size=(20, 100))  # a noise of 0.3 in each mean
        of = {"bias": abs(draws.mean(axis=1)).tolist(), "variance": draws.var(axis=1, ddof=1).tolist()}
        value, clear = gmm_figures.bias_above_noise(of)
        assert clear == above
        assert value == pytest.approx(true if above else 0.3, abs=0.15)


def test_counts_are_all_and_their_probabilities_sum_to_one():
    # In the order of tf.Module, of the variables' names.
    shapes = [*((3, 2), (3, 2), (3,)) * 2, (1, 1), (1, 16), (2, 16), (16, 1)]
    state = [np.ones([1, 1, 1], np.float32), *(np.zeros([1, *shape], np.float32) for shape in shapes)]
    replicates = gmm_estimators.Replicates(state, np.zeros([1, 4, 2]), 5)
    counts, coefficients = (value.numpy() for value in replicates.counts())
    assert counts.shape == (21, 3)
    assert len(np.unique(counts, axis=0)) == 21
    assert np.all(counts.sum(axis=1) == 5)
    assert np.exp(coefficients - 5 * np.log(3)).sum() == pytest.approx(1, rel=1e-5)


def test_the_study_has_every_axis():
    axes = [run.command[2] for run in study.RUNS if run.name.startswith("gmm-sweep/")]
    assert axes == list(gmm_sweep.AXES)


def test_standardised_points_go_back_to_the_datas_units():
    points = np.random.default_rng(0).normal(size=(2, 30, 2)) * [3.0, 0.1] + [5.0, -7.0]
    standardized, centres, scales = cells.standardize(points)
    np.testing.assert_allclose(standardized.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(standardized.std(axis=1), 1)
    fit = Parameters(np.ones(1), standardized[1, :1], np.ones([1, 2]))
    back = fit.in_data_units(centres[1], scales[1])
    np.testing.assert_allclose(back.means[0], points[1, 0])
    np.testing.assert_allclose(back.stds[0], scales[1])


def test_bic_is_that_of_scikit_learn_and_icl_adds_twice_the_entropy():
    points = np.random.default_rng(0).normal(size=(80, 2))
    em = GaussianMixture(3, covariance_type="diag", random_state=0).fit(points)
    bic, icl = gmm_choosing_k.criteria(80 * em.score(points), 1.5, 3, 80)
    assert bic == pytest.approx(em.bic(points))
    assert icl == pytest.approx(bic + 3)


def test_the_true_number_of_far_components_is_chosen(monkeypatch):
    monkeypatch.setattr(gmm_choosing_k, "KS", range(2, 5))
    settings = dataclasses.replace(gmm_choosing_k.Settings(), data_sets=2, restarts=5, steps=1000)
    result = gmm_choosing_k.fit_cell(cells.Separated(separation=8.0, n=200), settings)
    for criterion in ("bic", "icl"):
        np.testing.assert_array_equal(np.argmin(result[criterion], axis=1), [1, 1])  # 3 of 2, 3, 4
    assert np.all(np.array(result["icl"]) >= np.array(result["bic"]))


@pytest.mark.parametrize("cell", gmm_race.CELLS)
def test_every_estimator_climbs_in_the_race(cell):
    """One of them compiled, whose moving averages are a state."""
    settings = dataclasses.replace(gmm_race.Settings(), data_sets=3, steps=120, measurements=4, timed_steps=2)
    compiled = cell == gmm_race.Cell("normalised", 5)
    with contextlib.nullcontext() if compiled else tiny.without_xla():
        result = gmm_race.race(cell, settings)
    bounds = np.array(result["bound"])
    assert result["steps"][0] == 0
    assert result["steps"][-1] == 120
    assert bounds.shape == (len(result["steps"]), 3)
    assert np.all(np.diff(result["seconds"]) > 0)
    # The relaxation climbs another bound.
    assert cell.estimator.startswith("concrete") or np.all(bounds[-1] > bounds[0] + 0.05)


def test_racers_start_alike():
    points, state = gmm_race.starts(gmm_race.Settings())
    assert points.shape == (20, 100, 2)
    racers = gmm_race.Racers(state, points, 2)
    np.testing.assert_allclose(racers.mixture()[1] / racers.mixture.unit, state[2])
    weights, (means, stds) = np.full(3, 1 / 3), (state[2] * state[0], np.exp(state[1]))
    for d in (0, 7):  # q starts as the posterior, so that the bound touches
        start = Parameters(weights, means[d], stds[d])
        assert float(racers.bounds()[d]) == pytest.approx(gmm_vi.mean_log_likelihood(points[d], start), abs=1e-4)


def test_random_problems_are_as_promised():
    problems = [gmm_problems.draw_problem(i) for i in range(gmm_problems.PROBLEMS)]
    assert problems == [gmm_problems.draw_problem(i) for i in range(50)]
    assert {problem.k for problem in problems} == {2, 3, 4, 5}
    assert all(100 <= problem.n <= 1000 and problem.separation >= 2.5 for problem in problems)
    scales = np.array([problem.scale for problem in problems])
    assert scales.min() < 1e-4
    assert scales.max() > 1e4


def test_a_random_problem_is_solved(monkeypatch):
    monkeypatch.setattr(gmm_vi.Settings, "__init__", shorter(gmm_vi.Settings.__init__, restarts=10, steps=2000))
    problem = dataclasses.replace(gmm_problems.draw_problem(1), k=2, n=150, separation=6.0)
    result = gmm_problems.solve(problem, learning_rate=gmm_vi.Settings.learning_rate)
    assert abs(result["difference"]) < 1e-3
    assert 0 <= result["kl"] < 1e-3
    assert abs(result["em_gain"]) < 1e-3
    assert result["found"] > 0.5
    assert result["degenerate"] == {"estimate": False, "em": False}


def shorter(init, **settings):
    return lambda self, **given: init(self, **{**settings, **given})


@pytest.mark.parametrize(("name", "n", "first"), [("iris", 150, [1.4, 0.2]), ("wine", 178, [3.06, 5.64])])
def test_real_points(name, n, first, tmp_path, monkeypatch):
    points, classes = gmm_real.read(name)
    assert points.shape == (n, 2)
    np.testing.assert_allclose(points[0], first)
    assert set(classes) == {0, 1, 2}
    arguments = ["--data", name, "--steps", "50", "--restarts", "3", "--out", str(tmp_path / "real")]
    monkeypatch.setattr(utils, "save_figure", tiny.save_no_figure)
    with tiny.eager():
        gmm_real.main(arguments)
        gmm_real.main(["--resume", "--out", str(tmp_path / "real")])
    metrics = json.loads((tmp_path / "real" / "metrics.json").read_text())
    assert metrics["config"]["n"] == n
    assert -1 < metrics["ari"] < 1
    assert metrics["truth"] is None


def test_other_real_points_are_refused(tmp_path, capsys):
    said = tiny.refused(gmm_real.main, ["--data", "roses", "--out", tmp_path / "no"], capsys)
    assert "--data roses: wanted one of iris, wine" in said
    said = tiny.refused(gmm_real.main, ["--out", tmp_path / "no"], capsys)
    assert "--data is missing: wanted one of iris, wine" in said
    for option in ("--n", "--separation"):
        said = tiny.refused(gmm_real.main, ["--data", "iris", option, "7", "--out", tmp_path / "no"], capsys)
        assert f"{option} 7" in said
        assert "is for drawn points" in said


def test_the_peak_memory_of_a_process():
    little, much = (gmm_scale.peak_memory("-c", f"b'x' * {size}") for size in (1, 200 * 2**20))
    assert much - little == pytest.approx(200, abs=20)
    with pytest.raises(RuntimeError, match="failed with status"):
        gmm_scale.peak_memory("-c", "raise SystemExit(3)")


def test_a_run_of_the_scale():
    settings = dataclasses.replace(gmm_scale.Settings(), steps=20, block=2, blocks=3)
    result = gmm_scale.measure(gmm_scale.Cell(100, seed=3), settings)
    assert result["peak_mib"] > result["idle_mib"] > 100
    assert result["microseconds"] > 0
    assert result["em_points"] == 100


def save_picture(figure, folder, name):
    """The PNG alone, whose layout begins from that of the PDF before it."""
    figure.savefig(io.BytesIO(), format="pdf")
    figure.savefig(folder / f"{name}.png")


def test_figures_say_and_show_what_the_results_say(tmp_path, monkeypatch):
    """The sentences and pictures are those of the results; a figure without its results is left out."""
    monkeypatch.setattr(utils, "save_figure", save_picture)
    written = gmm_figures.OUT
    monkeypatch.setattr(gmm_figures, "OUT", tmp_path)
    assert (written / "README.md").read_text() == gmm_figures.draw()
    for name in gmm_figures.FIGURES:
        assert (written / f"{name}.pdf").is_file()
        before, now = (imread(folder / f"{name}.png") for folder in (written, tmp_path))
        assert before.shape == now.shape, name
        assert np.mean(np.abs(before - now) > 0.1) < 1e-4, name  # other processors round pixels otherwise
    monkeypatch.setattr(gmm_figures, "RESULTS", tmp_path)
    assert "![" not in gmm_figures.draw()
