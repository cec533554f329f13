"""The mixture of 2-D Gaussians: model and posterior against SciPy, NVIL's gradient against enumeration, whole runs."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny
from scipy import stats
from scipy.special import logsumexp, softmax
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score

import gmm_vi
import utils
import zhusuan as zs
from gmm_vi import Parameters, Settings

MIXTURE = Parameters(
    np.array([0.2, 0.5, 0.3]),
    np.array([[0.0, 1.0], [-2.0, 0.5], [3.0, -1.0]]),
    np.array([[1.0, 0.3], [0.5, 2.0], [1.5, 0.7]]),
)


def log_joint_by_scipy(points, mixture):
    """log p(x, z = k), `[N, K]`."""
    densities = [stats.norm.logpdf(points, m, s).sum(axis=-1) for m, s in zip(mixture.means, mixture.stds, strict=True)]
    return np.log(mixture.weights) + np.transpose(densities)


def mean_log_likelihood(points, mixture):
    return logsumexp(log_joint_by_scipy(points, mixture), axis=1).mean()


def parameters(metrics, name):
    return Parameters(*(np.array(metrics[name][field]) for field in Parameters._fields))


def run(*argv, out):
    gmm_vi.main([*map(str, argv), "--out", str(out)])
    return tiny.read_metrics(out)


@pytest.fixture
def few_steps(monkeypatch):
    """Runs of a few steps need neither a compiler nor pictures."""
    monkeypatch.setattr(utils, "save_figure", tiny.save_no_figure)
    with tiny.eager():
        yield


# Model and posterior


def test_log_joint_is_scipys_mixture():
    points = np.random.default_rng(0).normal(scale=3, size=(50, 2))
    log_joint = gmm_vi.exact_log_joint(points, MIXTURE)
    np.testing.assert_allclose(log_joint, log_joint_by_scipy(points, MIXTURE), rtol=1e-12)
    density = sum(
        weight * stats.multivariate_normal(mean, np.diag(std**2)).pdf(points)
        for weight, mean, std in zip(*MIXTURE, strict=True)
    )
    np.testing.assert_allclose(logsumexp(log_joint, axis=1), np.log(density), rtol=1e-12)


def test_the_model_takes_restarts_as_an_axis_and_unnormalised_weights():
    points = np.random.default_rng(0).normal(size=(7, 2))
    order = np.array([2, 0, 1])
    both = [MIXTURE, MIXTURE.reorder(order)]
    shifts = np.array([[0.0], [5.0]])  # of the weights' logits: no change of the model
    log_joints = gmm_vi.log_joints(
        tf.constant(points),
        tf.constant(np.log([m.weights for m in both]) + shifts),
        tf.constant([m.means for m in both]),
        tf.constant(np.log([m.stds for m in both])),
    )
    expected = [log_joint_by_scipy(points, m) for m in both]  # [R, N, K]
    np.testing.assert_allclose(tf.transpose(log_joints, [1, 2, 0]), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (1,), (4,)])
def test_one_restart_with_several_samples_is_scored_right(shape):
    """tf.matmul is not to be trusted with these shapes."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(600, 2))
    z = rng.integers(3, size=(2, *shape, 600))
    parameters = (np.log(MIXTURE.weights), MIXTURE.means, np.log(MIXTURE.stds))
    parameters = [np.broadcast_to(p, shape + p.shape).astype(np.float32) for p in parameters]
    observed = {"z": np.eye(3, dtype=np.float32)[z], "x": points.astype(np.float32)}
    got = gmm_vi.mixture(observed, *map(tf.constant, parameters), 600, 2).log_joint()
    expected = np.take_along_axis(np.broadcast_to(log_joint_by_scipy(points, MIXTURE), (*z.shape, 3)), z[..., None], -1)
    np.testing.assert_allclose(got, expected[..., 0], rtol=1e-4, atol=1e-4)


def test_points_are_drawn_from_the_model():
    n = 30_000
    points, classes = gmm_vi.draw_data(MIXTURE, n)
    assert (points.shape, classes.shape) == ((n, 2), (n,))
    for k, (weight, mean, std) in enumerate(zip(*MIXTURE, strict=True)):
        own = points[classes == k]
        assert abs(len(own) - n * weight) < 5 * np.sqrt(n * weight * (1 - weight))
        assert np.all(abs(own.mean(axis=0) - mean) < 5 * std / np.sqrt(len(own)))
        assert np.all(abs(own.var(axis=0) - std**2) < 5 * std**2 * np.sqrt(2 / len(own)))
        assert abs(np.corrcoef(own.T)[0, 1]) < 5 / np.sqrt(len(own))


def test_many_points_are_drawn_and_scored_in_slices(monkeypatch, tmp_path):
    """Every slice is drawn anew, and the scores are those of all points."""
    monkeypatch.setattr(gmm_vi, "SLICE", 40)
    points, classes = gmm_vi.draw_data(MIXTURE, 110)
    assert len(np.unique(points[:, 0])) == 110
    assert set(classes) == {0, 1, 2}
    settings = Settings(n=110, steps=20, restarts=3, em_points=60, out=str(tmp_path))
    folder = utils.RunFolder(str(tmp_path), "gmm_vi")
    folder.start(settings)
    gmm_vi.run(settings, folder, gmm_vi.standardize(points, classes, MIXTURE))
    folder.unlock()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["em_points"] == 60
    estimate = Parameters(**{name: np.array(value) for name, value in metrics["estimate"].items()})
    scores = metrics["log_likelihood"]
    expected = {
        name: np.mean(logsumexp(log_joint_by_scipy(points, mixture), axis=1))
        for name, mixture in (("truth", MIXTURE), ("estimate", estimate))
    }
    assert scores["truth"] == pytest.approx(expected["truth"])
    assert scores["estimate"] == pytest.approx(expected["estimate"], abs=1e-6)
    assert metrics["kl"] == pytest.approx(scores["estimate"] - metrics["lower_bound"], abs=1e-6)
    with np.load(tmp_path / "fit.npz") as saved:
        assert len(saved["points"]) == 110


def test_points_and_mixtures_are_standardised_and_go_back(monkeypatch):
    monkeypatch.setattr(gmm_vi, "SLICE", 40)
    points = gmm_vi.draw_data(MIXTURE, 110)[0] * [1e-3, 1e3] + [5.0, -7e6]
    data = gmm_vi.standardize(points, None, None)
    assert data.points.dtype == np.float32
    np.testing.assert_allclose(data.points.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(data.points.std(axis=0), 1, rtol=1e-6)
    back = data.centre + data.scale * data.points.astype(np.float64)
    assert np.all(abs(back - points) < 1e-6 * data.scale)
    inside = MIXTURE.standardized(data.centre, data.scale)
    log_volume = np.log(data.scale).sum()
    assert mean_log_likelihood((points - data.centre) / data.scale, inside) - log_volume == pytest.approx(
        mean_log_likelihood(points, MIXTURE)
    )
    for ours, theirs in zip(inside.in_data_units(data.centre, data.scale), MIXTURE, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_components_start_as_wide_as_the_points_about_them():
    """And so however small the clusters are among the points."""
    rng = np.random.default_rng(0)
    centres = np.array([[-1.0, -1.0], [1.0, -1.0], [0.0, 1.5]])
    points = (centres[rng.integers(3, size=600)] + 0.01 * rng.normal(size=(600, 2))).astype(np.float32)
    means, stds = gmm_vi.draw_start(points, Settings(restarts=4), np.random.default_rng(0))
    assert (means.shape, stds.shape) == ((4, 3, 2), (4, 1, 1))
    for mean, std in zip(means, stds[:, 0, 0], strict=True):
        nearest = np.linalg.norm(points[:, None] - mean, axis=-1).min(axis=1)
        assert std == pytest.approx(np.sqrt(np.mean(nearest**2) / 2), rel=1e-4)
    mixture = gmm_vi.Mixture(means, stds, 1e-6)
    _, started, logstds = mixture()
    np.testing.assert_allclose(started, means, rtol=1e-5)
    np.testing.assert_allclose(tf.exp(logstds), np.broadcast_to(stds, means.shape), rtol=1e-2)
    same = np.zeros([5, 2], np.float32)
    assert gmm_vi.draw_start(same, Settings(restarts=1), rng)[1] == pytest.approx(1e-3)  # the floor's


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_true_mixture_is_as_its_docstring_says(k):
    for seed in range(20):
        truth = gmm_vi.draw_truth(Settings(k=k, separation=4.0), np.random.default_rng(seed))
        assert truth.weights.sum() == pytest.approx(1)
        assert np.all(truth.weights > 0)
        assert np.mean(truth.stds**2) == pytest.approx(1)
        distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(truth.means, 2)]
        assert min(distances, default=4.0) == pytest.approx(4.0)


def random_training(n=6, seed=0, **settings):
    """Training with variables away from any optimum and from each other."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 2)).astype(np.float32)
    training = gmm_vi.Training(points, Settings(**{"k": 3, "restarts": 2, "n": n, "steps": 100} | settings))
    for variable in training.learned:
        variable.assign_add(0.5 * rng.normal(size=variable.shape).astype(np.float32))
    return training, points


def test_the_posteriors_family_contains_the_true_posterior():
    training, points = random_training()
    weight_logits, means, logstds = (p.numpy() for p in training.mixture())
    posterior = training.posterior
    posterior.centres.assign(means / posterior.unit)
    posterior.log_scales.assign(logstds)
    posterior.offsets.assign(weight_logits - logstds.sum(axis=-1))
    q = tf.nn.softmax(posterior.logits(tf.constant(points))).numpy()
    for r in range(2):
        mixture = Parameters(softmax(weight_logits[r]), means[r], np.exp(logstds[r]))
        np.testing.assert_allclose(q[r], softmax(log_joint_by_scipy(points, mixture), axis=1), rtol=1e-4, atol=1e-6)
    # With the true posterior the bound touches the log-likelihood.
    log_likelihood, bound = training.measure(tf.constant(points))
    np.testing.assert_allclose(bound, log_likelihood, rtol=1e-5)


def test_the_measured_bound_and_log_likelihood_are_exact():
    training, points = random_training()
    log_likelihood, bound = training.measure(tf.constant(points))
    weight_logits, means, logstds = (p.numpy().astype(np.float64) for p in training.mixture())
    q = tf.nn.softmax(training.posterior.logits(tf.constant(points))).numpy().astype(np.float64)
    for r in range(2):
        joint = log_joint_by_scipy(points, Parameters(softmax(weight_logits[r]), means[r], np.exp(logstds[r])))
        assert log_likelihood[r].numpy() == pytest.approx(logsumexp(joint, axis=1).mean(), rel=1e-5)
        assert bound[r].numpy() == pytest.approx((q[r] * (joint - np.log(q[r]))).sum(axis=1).mean(), rel=1e-5)
        assert bound[r] < log_likelihood[r]


# The training gradient


def log_weights(training, x):
    """log p(x, z = k) - log q(z = k | x) by hand, `[R, B, K]`, and log q."""
    weight_logits, means, logstds = training.mixture()
    standardized = (x[:, None] - means[:, None]) / tf.exp(logstds)[:, None]  # [R, B, K, 2]
    log_x = -0.5 * tf.square(standardized) - logstds[:, None] - 0.5 * np.log(2 * np.pi)
    log_p = tf.nn.log_softmax(weight_logits)[:, None] + tf.reduce_sum(log_x, axis=-1)
    log_q = tf.nn.log_softmax(training.posterior.logits(x))
    return log_p - log_q, log_q


def test_nvils_gradient_is_that_of_the_bound(monkeypatch):
    """Each pair of samples of z in turn, its surrogate gradient weighted by the pair's probability under q: the sum is
    the gradient of the exact bound, without Monte Carlo noise."""
    training, points = random_training(n=5)
    k = 3
    got = [np.zeros(v.shape) for v in training.learned]
    for x in points[:, None]:  # one point at a time, so that each has its own weights
        _, log_q = log_weights(training, tf.constant(x))
        for pair in itertools.product(range(k), repeat=2):
            cost_gradients = gradients_of_the_cost(training, x, pair, monkeypatch)
            probability = tf.exp(log_q[:, 0, pair[0]] + log_q[:, 0, pair[1]]).numpy()  # [R]
            for total, gradient in zip(got, cost_gradients, strict=True):
                # Restarts share no variable.
                total += probability.reshape([-1] + [1] * (total.ndim - 1)) * gradient.numpy() / len(points)

    with tf.GradientTape() as tape:
        log_w, log_q = log_weights(training, tf.constant(points))
        bound = tf.reduce_sum(tf.exp(log_q) * log_w, axis=-1)  # [R, B]
        cost = -tf.reduce_sum(tf.reduce_mean(bound, axis=-1))
    expected = tape.gradient(cost, training.learned)
    assert len(got) == len(expected) == 3 + 3
    for variable, ours, exact in zip(training.learned, got, expected, strict=True):
        assert np.abs(exact).max() > 1e-3, "the test says nothing at a stationary point"
        np.testing.assert_allclose(ours, exact, rtol=1e-4, atol=2e-5, err_msg=str(variable.shape))


def gradients_of_the_cost(training, x, samples, monkeypatch):
    """Where the samples of z at every point are these components."""
    onehot = zs.distributions.OnehotCategorical

    def draw(self, shape):
        z = tf.one_hot(samples, 3, dtype=self.dtype)
        return tf.broadcast_to(z[:, None, None], [*shape, *self.batch_shape, 3])

    with monkeypatch.context() as patch:
        patch.setattr(onehot, "_sample", draw)
        with tf.GradientTape() as tape:
            cost = training.cost(tf.constant(x))
    return tape.gradient(cost, training.learned)


def test_equal_samples_tell_q_nothing(monkeypatch):
    """Each is the other's baseline; the model learns from both."""
    training, points = random_training(n=5)
    for pair, silent in (((1, 1), True), ((1, 2), False)):
        gradients = gradients_of_the_cost(training, points, pair, monkeypatch)
        of_model, of_q = gradients[:3], gradients[3:]
        assert all(np.abs(gradient).max() > 1e-3 for gradient in of_model)
        assert all(np.all(gradient.numpy() == 0) == silent for gradient in of_q)


def test_a_samples_baseline_is_the_mean_of_the_others():
    signal = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    others = gmm_vi.mean_of_others(tf.constant(signal)).numpy()
    for s in range(3):
        np.testing.assert_allclose(others[s], np.delete(signal, s, axis=0).mean(axis=0), rtol=1e-5, atol=1e-6)


def test_restarts_do_not_influence_each_other():
    training, _ = random_training(n=20, restarts=3)
    state = [*training.learned, *training.optimizer.variables]
    before = [v.numpy() for v in state]

    def train(disturbance):
        for variable, value in zip(state, before, strict=True):
            variable.assign(value)
        for variable in training.learned:
            variable[0].assign(variable[0] + disturbance)
        zs.set_seed(0)
        training.train(tf.constant(10))
        return [v.numpy() for v in training.learned]

    for undisturbed, disturbed, start in zip(train(0.0), train(0.3), before, strict=False):
        np.testing.assert_array_equal(undisturbed[1:], disturbed[1:])
        assert not np.allclose(undisturbed[0], disturbed[0], atol=0.01)
        assert not np.allclose(undisturbed[1:], start[1:])


# Several data sets


def test_several_data_sets_are_fitted_as_each_by_itself(few_steps):
    """On one tensor axis, restarts of a data set share its points; the exact gradient of each is its own."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2, 40, 2)).astype(np.float32) * [[[1.0, 2.0]], [[3.0, 0.5]]]
    points = points.astype(np.float32)
    settings = Settings(k=3, restarts=4, steps=10)
    together = gmm_vi.Training(points, settings)
    assert together.mixture.means.shape == (2, 4, 3, 2)
    log_likelihoods, bounds = together.measure(together.points)
    assert bounds.shape == (2, 4)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(together.measure(together.points)[1])
    gradients = tape.gradient(total, [together.mixture.means, together.posterior.centres])
    for d in range(2):
        alone = gmm_vi.Training(points[d], settings)
        alone.mixture.unit = alone.posterior.unit = together.mixture.unit[d]
        for ours, theirs in zip(alone.learned, together.learned, strict=True):
            ours.assign(theirs[d])
        with tf.GradientTape() as tape:
            measured = alone.measure(alone.points)
            total = tf.reduce_sum(measured[1])
        np.testing.assert_allclose(measured[0], log_likelihoods[d], rtol=1e-5)
        np.testing.assert_allclose(measured[1], bounds[d], rtol=1e-5)
        for ours, theirs in zip(
            tape.gradient(total, [alone.mixture.means, alone.posterior.centres]), gradients, strict=True
        ):
            np.testing.assert_allclose(ours, theirs[d], rtol=1e-4, atol=1e-6)
        scores = gmm_vi.evaluate(together, (d, 1), points[d].astype(float))
        assert scores["lower_bound"] == pytest.approx(float(bounds[d, 1]), rel=1e-5)
    before = [v.numpy() for v in together.learned]
    together.train(tf.constant(20))
    after = together.measure(together.points)[1]
    assert np.all(after.numpy().max(axis=1) > bounds.numpy().max(axis=1))
    for variable, value in zip(together.learned, before, strict=True):
        changed = np.abs(variable.numpy() - value).reshape(2, 4, -1).max(axis=-1)
        assert changed.min() > 0, variable.name


def test_the_best_restart_of_each_data_set_is_no_degenerate_one():
    training = gmm_vi.Training(
        np.random.default_rng(0).normal(size=(2, 30, 2)).astype(np.float32), Settings(k=2, restarts=3)
    )
    scales = np.zeros([2, 3, 2, 2], np.float32)
    scales[0, 2, 1, 0] = scales[1, :, 0, 1] = -20.0  # one restart of the first data set, all of the second
    training.mixture.log_scales.assign(scales)
    best, kept_out = gmm_vi.best_restart(training, np.array([[1.0, np.nan, 3.0], [1.0, 2.0, 0.0]]))
    np.testing.assert_array_equal(best, [0, 1])
    np.testing.assert_array_equal(kept_out, [1, 0])


# The guard against degenerate components


def set_restart(training, restart, std, mean):
    """Lets a restart's components be equal, but for the first's mean and standard deviation."""
    mixture = training.mixture
    means, log_scales = np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32)
    means[0], log_scales[0] = mean, np.log(std)
    mixture.weight_logits[restart].assign(tf.zeros(3))
    means /= mixture.unit[restart]
    mixture.means[restart].assign(means)
    mixture.log_scales[restart].assign(log_scales)
    training.posterior.centres[restart].assign(means)
    training.posterior.log_scales[restart].assign(log_scales)
    training.posterior.offsets[restart].assign(-log_scales.sum(axis=-1))


@pytest.mark.parametrize(
    ("stds", "chosen", "set_aside"),
    [
        ([1e-4, 0.8, 1.1], 1, 1),  # a collapsed component has the best bound, and is not chosen
        ([1e-4, 1.1, 1e-4], 1, 2),
        ([1.1, 0.8, 0.7], None, 0),  # without one, the best bound
    ],
)
def test_a_degenerate_restart_is_chosen_only_where_every_one_is(few_steps, stds, chosen, set_aside):
    training, points = random_training(n=30, restarts=3)
    for restart, std in enumerate(stds):
        set_restart(training, restart, std, points[0])
    _, bounds = training.measure(tf.constant(points))
    if chosen is not None:
        assert int(tf.argmax(bounds)) != chosen
    expected = int(tf.argmax(bounds)) if chosen is None else chosen
    assert gmm_vi.choose_restart(training) == (expected, set_aside)


def test_where_every_restart_is_degenerate_the_best_bound_is_chosen(few_steps):
    training, points = random_training(n=30, restarts=3)
    for restart, std in enumerate([1e-5, 1e-4, 1e-4]):
        set_restart(training, restart, std, points[restart])
    _, bounds = training.measure(tf.constant(points))
    assert gmm_vi.choose_restart(training) == (int(tf.argmax(bounds)), 0)  # none was kept out


def test_the_floor_holds_and_keeps_the_bound_finite(few_steps):
    training, points = random_training(n=30, restarts=3)
    for restart, std in enumerate([1e-30, 1e-3, 1.0]):
        set_restart(training, restart, std, points[0])
    floor = training.settings.variance_floor
    variances = np.exp(2 * training.mixture()[2].numpy())[:, 0]
    np.testing.assert_allclose(variances, np.array([[floor], [1e-6 + floor], [1 + floor]]) * [1, 1], rtol=1e-4)
    training.posterior.log_scales.assign(training.mixture()[2])
    assert all(np.isfinite(measured).all() for measured in training.measure(tf.constant(points)))


def test_the_choice_does_not_hang_on_the_order_of_the_points(few_steps):
    """A user's file may be sorted, so that its first points are all of one component."""
    training, _ = random_training(restarts=2)
    set_restart(training, 0, 1.0, [0.0, 0.0])
    set_restart(training, 1, 1.0, [20.0, 0.0])
    points = np.random.default_rng(0).normal(size=(60_000, 2))
    points[30_000:, 0] += 20
    training.points = tf.constant(points, tf.float32)
    assert gmm_vi.choose_restart(training)[0] == 1


def write_csv(path, points, header=""):
    lines = [header] * bool(header) + [f"{x!r},{y!r}" for x, y in np.asarray(points).tolist()]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_repeated_point_does_not_catch_the_chosen_restart(tmp_path, capsys):
    rng = np.random.default_rng(3)
    clusters = [rng.normal(size=(40, 2)) + [side, 0] for side in (6, -6)]
    points = np.concatenate([*clusters, np.tile([[0.0, 10.0]], (20, 1))])
    csv = write_csv(tmp_path / "points.csv", points)
    metrics = run("--data", csv, "--k", 2, "--restarts", 20, "--steps", 3000, out=tmp_path / "out")
    assert 0 < metrics["restarts_set_aside"] < 20
    assert np.all(np.array(metrics["estimate"]["stds"]) > 0.05 * points.std(axis=0))
    # It has its price: EM, which has no guard, takes the degenerate one.
    assert metrics["log_likelihood"]["em"] > metrics["log_likelihood"]["estimate"] + 0.5
    assert metrics["degenerate"] == {"estimate": False, "em": True}
    assert "warning: em has a component that shrank" in capsys.readouterr().err


# The printed table


@pytest.mark.parametrize("mean", [0.0, 1.5, -1000.0, 1e8])  # in standard deviations
@pytest.mark.parametrize("std", [1e-12, 1e-2, 1.0, 1e2, 1e12])
def test_the_table_shows_means_to_the_digits_that_matter(mean, std):
    printed = gmm_vi.digits(mean * std, std)
    assert abs(float(printed) - mean * std) <= 0.01 * std
    assert len(printed) < 14 or mean == 1e8


def test_the_table_tells_differences_of_each_column_by_itself():
    """Columns may have different units. EM's components, as they stand, lie next to others of the estimate."""
    estimate = MIXTURE._replace(means=MIXTURE.means + [[0.0, 3.0], [0.0, 3.0], [0.0, 3.0]])
    em = estimate._replace(weights=estimate.weights + [0.01, -0.01, 0.0], stds=estimate.stds + [2e-5, 0.0])
    mixtures = {"truth": MIXTURE, "estimate": estimate, "em": em.reorder([2, 0, 1])}
    metrics = {name: {field: value.tolist() for field, value in m._asdict().items()} for name, m in mixtures.items()}
    metrics |= {
        "log_likelihood": {},
        "ari": None,
        **dict.fromkeys(("lower_bound", "kl", "seconds", "compile_seconds"), 0.0),
    }
    lines = [" ".join(line.split()) for line in gmm_vi.table(metrics).splitlines()]
    assert "estimate and em 0.0082 0 0 2e-05 0" in lines
    assert "estimate and truth 0 0 3 0 0" in lines
    lines = gmm_vi.table({**metrics, "truth": None}).splitlines()
    assert not any("truth" in line for line in lines)


# Whole runs


ARGUMENTS = ["--n", 100, "--k", 3, "--steps", 2000, "--restarts", 6, "--seed", 0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a short but converged run, made where a foreign file lay."""
    out = tmp_path_factory.mktemp("runs") / "gmm"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    zs.set_seed(12345)  # what came before must not matter
    run(*ARGUMENTS, out=out)
    return out


def check_metrics(metrics, k, drawn):
    """The contract of metrics.json."""
    for name in ("truth", "estimate", "em"):
        if name == "truth" and not drawn:
            assert metrics[name] is None
            continue
        mixture = parameters(metrics, name)
        assert (mixture.weights.shape, mixture.means.shape, mixture.stds.shape) == ((k,), (k, 2), (k, 2))
        assert mixture.weights.sum() == pytest.approx(1, abs=1e-6)
        assert np.all(mixture.stds > 0)
    assert set(metrics["log_likelihood"]) == {"truth", "estimate", "em"}
    assert (metrics["log_likelihood"]["truth"] is not None) == (metrics["ari"] is not None) == drawn
    gap = metrics["log_likelihood"]["estimate"] - metrics["lower_bound"]
    assert gap == pytest.approx(metrics["kl"], abs=1e-6)
    assert gap >= -1e-9
    assert metrics["converged"] in (True, False)
    assert metrics["seconds"] > 0
    assert metrics["compile_seconds"] > 0
    assert set(Settings.__dataclass_fields__) | {"versions"} <= set(metrics["config"])


def test_metrics_are_as_the_design_says(finished):
    metrics = tiny.read_metrics(finished)
    check_metrics(metrics, 3, drawn=True)
    assert metrics["config"]["seed"] == 0
    assert metrics["ari"] > 0.9
    assert metrics["converged"]
    assert metrics["kl"] < 1e-3
    # Matched to the truth: each component is next to its own.
    scaled = [np.array(metrics[name]["means"]) for name in ("truth", "estimate", "em")]
    distances = np.linalg.norm(scaled[0][:, None] - scaled[1], axis=-1)
    assert distances.argmin(axis=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(scaled[1], scaled[2], atol=0.05)


def test_a_short_run_reaches_em(finished):
    log_likelihood = tiny.read_metrics(finished)["log_likelihood"]
    assert log_likelihood["estimate"] == pytest.approx(log_likelihood["em"], abs=1e-3)
    assert log_likelihood["estimate"] > log_likelihood["truth"]  # of 100 points a fit is more likely than the truth


def test_a_run_leaves_its_files_and_the_foreign_one(finished):
    names = {p.name for p in finished.iterdir()}
    assert {"metrics.json", "settings.json", "notes.txt"} <= names
    tiny.check_finished(finished)
    assert (finished / "notes.txt").read_text() == "mine"
    for figure in ("clusters", "convergence"):
        assert tiny.is_picture(finished, figure)


def test_the_command_gives_the_same_numbers_and_a_table_and_no_chatter(finished, tmp_path):
    ran = tiny.command("gmm_vi.py", *ARGUMENTS, cwd=tmp_path)  # into the default folder, below where it is called
    assert ran.returncode == 0
    assert ran.stderr == ""
    assert [p.name for p in tmp_path.iterdir()] == ["plots"]
    metrics = tiny.read_metrics(tmp_path / Settings.out)
    assert tiny.strip_times(metrics) == tiny.strip_times(tiny.read_metrics(finished))
    for words in ("truth", "estimate", "em", "lower bound", "KL", "Rand", str(metrics["lower_bound"])[:6]):
        assert words in ran.stdout


def test_a_csv_in_any_units_and_far_away_is_fitted_as_well_as_by_em(tmp_path):
    truth = gmm_vi.draw_truth(Settings(k=3), np.random.default_rng(5))
    zs.set_seed(5)
    points = gmm_vi.draw_data(truth, 100)[0]
    points = (points + 1000 * points.std(axis=0)) * [1e-2, 1e2]
    csv = write_csv(tmp_path / "points.csv", points, header="width,weight")
    metrics = run("--data", csv, "--steps", 2000, "--restarts", 6, out=tmp_path / "out")
    check_metrics(metrics, 3, drawn=False)
    log_likelihood = metrics["log_likelihood"]
    assert log_likelihood["estimate"] == pytest.approx(log_likelihood["em"], abs=1e-3)
    # Both in the units of the file, by another route.
    for name in ("estimate", "em"):
        mixture = parameters(metrics, name)
        assert log_likelihood[name] == pytest.approx(mean_log_likelihood(points, mixture), abs=1e-6)
        assert np.all(np.diff(mixture.weights) < 0)  # by weight, as there is no truth
    assert mean_log_likelihood(points, parameters(metrics, "estimate")) > log_likelihood["em"] - 1e-3


def test_two_columns_of_iris_are_fitted(few_steps, tmp_path):
    points = load_iris().data[:, [0, 2]]
    csv = write_csv(tmp_path / "iris.csv", points, header="sepal length (cm),petal length (cm)")
    metrics = run("--data", csv, "--steps", 30, "--restarts", 4, out=tmp_path / "out")
    check_metrics(metrics, 3, drawn=False)
    assert abs(metrics["log_likelihood"]["estimate"] - metrics["log_likelihood"]["em"]) < 0.5
    assert len(set(gmm_vi.load(tmp_path / "out").classify(points))) == 3


def test_another_seed_is_another_run_and_minibatches_train(few_steps, tmp_path):
    n = Settings.batch_size + 50
    arguments = ("--n", n, "--k", 2, "--restarts", 3, "--steps", 15)
    first = run(*arguments, "--seed", 1, out=tmp_path / "a")
    check_metrics(first, 2, drawn=True)
    again = run(*arguments, "--seed", 1, out=tmp_path / "b")
    assert tiny.strip_times(first) == tiny.strip_times(again)
    other = run(*arguments, "--seed", 2, out=tmp_path / "c")
    assert first["truth"] != other["truth"]
    assert first["log_likelihood"] != other["log_likelihood"]
    curves = np.load(tmp_path / "a" / "fit.npz")
    assert np.all(curves["bound"][-1] > curves["bound"][0])


def test_the_seed_decides_the_fit_of_a_csv_too(few_steps, tmp_path):
    csv = write_csv(tmp_path / "points.csv", np.random.default_rng(0).normal(size=(30, 2)))
    bounds = {
        run("--data", csv, "--restarts", 2, "--steps", 5, "--seed", seed, out=tmp_path / "out")["lower_bound"]
        for seed in (0, 1)
    }
    assert len(bounds) == 2


def test_the_points_of_the_figures_are_drawn_from_the_whole_file(few_steps, tmp_path):
    points = np.random.default_rng(0).normal(size=(6000, 2))
    points[3000:, 0] += 20
    csv = write_csv(tmp_path / "sorted.csv", points)
    run("--data", csv, "--k", 2, "--restarts", 1, "--steps", 2, out=tmp_path / "out")
    with np.load(tmp_path / "out" / "fit.npz") as shown:
        assert abs(np.mean(shown["points"][:, 0] > 10) - 0.5) < 0.1


def test_one_component_and_more_points_than_em_takes(tmp_path):
    """One component's maximum is known; EM works on a recorded subsample, the scores take all points."""
    points = np.random.default_rng(0).normal([3.0, -2.0], [0.1, 5.0], size=(100_500, 2))
    csv = write_csv(tmp_path / "points.csv", points)
    metrics = run("--data", csv, "--k", 1, "--restarts", 2, "--steps", 400, out=tmp_path / "out")
    check_metrics(metrics, 1, drawn=False)
    assert metrics["kl"] == pytest.approx(0, abs=1e-9)
    assert metrics["em_points"] == 100_000
    estimate, em = parameters(metrics, "estimate"), parameters(metrics, "em")
    for mixture in (estimate, em):
        np.testing.assert_allclose(mixture.means[0], points.mean(axis=0), atol=0.05 * points.std(axis=0).max())
    for name, mixture in (("estimate", estimate), ("em", em)):
        assert metrics["log_likelihood"][name] == pytest.approx(mean_log_likelihood(points, mixture), abs=1e-6)
    best = mean_log_likelihood(points, Parameters(np.ones(1), points.mean(axis=0)[None], points.std(axis=0)[None]))
    assert metrics["log_likelihood"]["estimate"] == pytest.approx(best, abs=5e-3)  # minibatches: not to the end


@pytest.mark.parametrize(
    "rows",
    [
        [[0, 0], [1, 1], [2, 0]],  # as many points as components
        [[0, 0]] * 5 + [[1, 1]] * 5,  # fewer distinct ones
        [[0, 0]] * 50 + [[1, 1e6], [1e6, 1]],  # outliers
    ],
    ids=["three-points", "two-distinct", "outliers"],
)
def test_odd_points_are_fitted_without_a_warning(few_steps, tmp_path, rows):
    csv = write_csv(tmp_path / "points.csv", np.array(rows, float))
    metrics = run("--data", csv, "--restarts", 2, "--steps", 5, out=tmp_path / "out")
    check_metrics(metrics, 3, drawn=False)


def test_the_fewest_points_are_fitted(few_steps, tmp_path):
    check_metrics(run("--n", 2, "--k", 1, "--restarts", 1, "--steps", 5, out=tmp_path / "out"), 1, drawn=True)


@pytest.mark.parametrize("scale", [1e-140, 1e140])
def test_absurd_units_are_fitted(few_steps, tmp_path, scale):
    csv = write_csv(tmp_path / "points.csv", scale * np.random.default_rng(0).normal(size=(20, 2)))
    check_metrics(run("--data", csv, "--restarts", 1, "--steps", 5, out=tmp_path / "out"), 3, drawn=False)


# Use from Python


def test_a_loaded_run_classifies_and_samples(finished):
    metrics, fit = tiny.read_metrics(finished), gmm_vi.load(finished)
    estimate = parameters(metrics, "estimate")
    points, classes = fit.sample(20_000, seed=1)
    np.testing.assert_array_equal(points, fit.sample(20_000, seed=1)[0])
    assert not np.array_equal(points, fit.sample(20_000, seed=2)[0])
    for k in range(3):
        own, std = points[classes == k], estimate.stds[k]
        assert abs(len(own) / 20_000 - estimate.weights[k]) < 5 * np.sqrt(0.25 / 20_000)
        assert np.all(abs(own.mean(axis=0) - estimate.means[k]) < 5 * std / np.sqrt(len(own)))
    responsibilities = fit.responsibilities(points[:50])
    expected = softmax(log_joint_by_scipy(points[:50], estimate), axis=1)
    np.testing.assert_allclose(responsibilities, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(fit.classify(points[:50]), expected.argmax(axis=1))
    assert fit.classify([[0, 0], [1, 1]]).shape == (2,)  # lists of integers, too
    assert adjusted_rand_score(classes, fit.classify(points)) > 0.9


def test_using_a_run_leaves_the_callers_random_numbers_alone(finished):
    zs.set_seed(3)
    expected = zs.get_generator().normal([5]).numpy()
    zs.set_seed(3)
    gmm_vi.load(finished).sample(10)
    np.testing.assert_array_equal(zs.get_generator().normal([5]), expected)


def test_loading_what_is_no_run_is_refused(tmp_path):
    for name in ("settings.json", "metrics.json"):
        with pytest.raises(FileNotFoundError, match=f"{name} is missing: run gmm_vi.py --out {tmp_path} first"):
            gmm_vi.load(tmp_path)
        (tmp_path / name).write_text('{"script": "gmvae"}')
    with pytest.raises(utils.InputError, match="settings.json is not of gmm_vi.py; choose another folder"):
        gmm_vi.load(tmp_path)


def test_points_that_are_not_finite_are_not_classified(finished):
    with pytest.raises(ValueError, match=r"wanted finite points, got \[nan, 1.0\]"):
        gmm_vi.load(finished).classify([[0.0, 1.0], [np.nan, 1.0]])


# Resuming


def test_resuming_a_finished_run_trains_nothing_and_draws_the_figures_again(finished, tmp_path, monkeypatch, capsys):
    out = tmp_path / "moved"  # a run's folder can be moved
    shutil.copytree(finished, out)
    (out / "clusters.pdf").unlink()
    (out / "convergence.png").write_text("spoilt")
    before = {name: value for name, value in tiny.tree(out).items() if Path(name).suffix not in (".pdf", ".png")}
    monkeypatch.setattr(gmm_vi, "Training", None)
    metrics = run("--resume", *ARGUMENTS, out=out)
    assert all(tiny.is_picture(out, name) for name in ("clusters", "convergence"))
    after = tiny.tree(out)
    assert {name: after[name] for name in before} == before
    assert {Path(name).name for name in after} == {p.name for p in finished.iterdir()}
    assert str(metrics["lower_bound"])[:6] in capsys.readouterr().out


def test_resuming_what_cannot_be_resumed_is_refused(finished, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    for out in (empty, tmp_path / "none"):
        assert "holds no run" in tiny.refused(gmm_vi.main, ["--resume", "--out", out], capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty"]
    changed = tiny.refused(gmm_vi.main, ["--resume", "--steps", 7, "--out", finished], capsys)
    assert "--steps 7" in changed
    assert "2000" in changed
    damaged = tmp_path / "damaged"
    shutil.copytree(finished, damaged)
    (damaged / "metrics.json").unlink()
    assert str(damaged) in tiny.refused(gmm_vi.main, ["--resume", "--out", damaged], capsys)


# Bad input


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--n", "2"], ["--n 2", "--k 3"]),
        (["--n", "0"], ["--n 0", "wanted a number"]),
        (["--n", "1", "--k", "1"], ["--n 1"]),  # has no spread
        (["--n", "-5"], ["--n -5"]),
        (["--n", "1e3"], ["--n", "1e3"]),
        (["--n", "100000000000"], ["--n 100000000000"]),
        (["--k", "0"], ["--k 0"]),
        (["--k", "1000000"], ["--k 1000000"]),
        (["--k", "three"], ["--k", "three"]),
        (["--separation", "-1"], ["--separation -1"]),
        (["--separation", "nan"], ["--separation nan"]),
        (["--separation", "inf"], ["--separation inf"]),
        (["--restarts", "0"], ["--restarts 0"]),
        (["--steps", "0"], ["--steps 0"]),
        (["--seed", "-1"], ["--seed -1"]),
        (["--seed", "4294967296"], ["--seed 4294967296"]),
        (["--epochs", "3"], ["--epochs"]),
        (["--data", "{tmp}/none.csv"], ["none.csv", "No such file"]),
        (["--data", "{tmp}"], ["directory"]),
        (["--data", "{tmp}/empty.csv"], ["empty.csv", "no points"]),
        (["--data", "{tmp}/few.csv"], ["few.csv", "2 points", "--k 3"]),
        (["--data", "{tmp}/ragged.csv"], ["ragged.csv", "line 2"]),
        (["--data", "{tmp}/words.csv"], ["words.csv", "line 2", "'abc'"]),
        (["--data", "{tmp}/nan.csv"], ["nan.csv", "line 3", "finite"]),
        (["--data", "{tmp}/inf.csv"], ["inf.csv", "line 1", "finite"]),
        (["--data", "{tmp}/one.csv"], ["one.csv", "1 column", "two"]),
        (["--data", "{tmp}/three.csv"], ["three.csv", "3 columns", "two"]),
        (["--data", "{tmp}/constant.csv"], ["constant.csv", "column 2 is constant"]),
        (["--data", "{tmp}/huge.csv"], ["huge.csv", "column 1", "unit"]),
        (["--data", "{tmp}/good.csv", "--n", "50"], ["--n 50", "--data"]),
        (["--data", "{tmp}/good.csv", "--separation", "2"], ["--separation 2", "--data"]),
        (["--data", "{tmp}/good.csv", "--k", "9"], ["8 points", "--k 9"]),
        (["--out", "{tmp}/good.csv/run"], ["good.csv/run", "another folder"]),
        (["--out", "{tmp}/good.csv"], ["good.csv", "another folder"]),
        (["--out", "/proc/run"], ["/proc/run", "another folder"]),
    ],
    ids=lambda value: " ".join(value).replace("{tmp}", "") if "--" in value[0] else "",
)
def test_bad_input_is_refused(tmp_path, capsys, monkeypatch, argv, words):
    files = {
        "empty": "",
        "few": "1,2\n3,4\n",
        "ragged": "1,2\n3\n5,6\n7,8\n",
        "words": "1,2\n3,abc\n5,6\n",
        "nan": "x,y\n1,2\nnan,4\n5,6\n",
        "inf": "1,inf\n3,4\n5,6\n",
        "one": "1\n2\n3\n",
        "three": "1,2,3\n4,5,6\n7,8,9\n",
        "constant": "1,2\n3,2\n5,2\n",
        "huge": "1e200,2\n3,4\n5,6\n",
        "good": "".join(f"{i},{i * i}\n" for i in range(8)),
    }
    for name, content in files.items():
        (tmp_path / f"{name}.csv").write_text(content)
    monkeypatch.chdir(tmp_path)  # where the default folder would be made
    before = tiny.tree(tmp_path)
    last = tiny.refused(gmm_vi.main, [word.format(tmp=tmp_path) for word in argv], capsys)
    for word in words:
        assert word in last
    assert tiny.tree(tmp_path) == before


def test_bad_input_leaves_a_finished_run_alone(finished, capsys):
    before = tiny.tree(finished)
    tiny.refused(gmm_vi.main, ["--out", finished, "--k", 0], capsys)
    tiny.refused(gmm_vi.main, ["--out", finished, "--data", finished / "none.csv"], capsys)
    assert tiny.tree(finished) == before


def test_bad_input_ends_the_command_with_one_last_line(tmp_path):
    ran = tiny.command("gmm_vi.py", "--data", "none.csv", cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith("error: --data none.csv: ")
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_shows_defaults_and_units(capsys):
    with pytest.raises(SystemExit) as stopped:
        gmm_vi.main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for option in ("n", "k", "separation", "data", "restarts", "steps", "seed", "out", "resume"):
        assert f"--{option}" in shown
    assert f"(default: {Settings.steps})" in " ".join(shown.split())
