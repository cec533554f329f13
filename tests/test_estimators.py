"""Every estimator's gradient against what it targets: by hand, by exact enumeration, and by Monte Carlo."""

import itertools
import re

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import zhusuan as zs

ESTIMATORS = ["sgvb", "nvil", "iwae", "vimco", "rws", "is_loglikelihood"]
K = 3
N_REPLICATES = 20_000
N_SE = 5  # tolerance of Monte Carlo tests, in standard errors
EXACT = {"rtol": 1e-10, "atol": 1e-12}
ROUNDING = {"float32": {"rtol": 1e-4, "atol": 1e-5}, "float64": EXACT}


def cost_and_bound(result):
    """A cost to minimise and a bound, of the estimators that return both and of those that return a bound."""
    return result if isinstance(result, tuple) else (-result, result)


def gradients(function, params):
    """Gradients of the sum of `function(params)`, by name."""
    with tf.GradientTape() as tape:
        tape.watch(params)
        value = function(params)
    return tape.gradient(value, params, unconnected_gradients="zero")


def check_gradients(got, expected, **tolerance):
    assert got.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], err_msg=name, **tolerance)


# By hand: values and gradients with respect to log p and log q, from a naive loop over the samples.


def by_hand(estimator, log_p, log_q, baseline=None, normalization=None):
    """cost, bound, d sum(cost)/d log_p and d sum(cost)/d log_q for samples on axis 0, of shape [S, B]."""
    log_w = log_p - log_q
    n_samples = len(log_w)
    if estimator in ("sgvb", "nvil"):
        bound = log_w.mean(0)
        if estimator == "sgvb":
            return -bound, bound, np.full_like(log_w, -1 / n_samples), np.full_like(log_w, 1 / n_samples)
        centred = log_w - (0 if baseline is None else baseline)
        signal = centred
        if normalization:
            mean, variance = normalization
            signal = (centred - mean) / max(1, np.sqrt(variance))
        fit = 0 if baseline is None else 0.5 * centred**2
        cost = (-log_p + fit - signal * log_q).mean(0)
        return cost, bound, np.full_like(log_w, -1 / n_samples), -signal / n_samples

    bound = np.array([special.logsumexp(column) for column in log_w.T]) - np.log(n_samples)
    weights = np.exp(log_w - np.log(n_samples) - bound)
    if estimator in ("iwae", "is_loglikelihood"):
        return -bound, bound, -weights, weights
    if estimator == "rws":
        return -(weights * (log_p + log_q)).sum(0), bound, -weights, -weights

    # vimco: each sample's signal is the bound less the bound with that sample's log w replaced by the others' mean.
    signal = np.empty_like(log_w)
    for b in range(log_w.shape[1]):
        for s in range(n_samples):
            others = np.delete(log_w[:, b], s)
            signal[s, b] = bound[b] - special.logsumexp([*others, others.mean()]) + np.log(n_samples)
    return -(signal * log_q).sum(0) - bound, bound, -weights, weights - signal


def evaluate(estimator, log_p, log_q, axis, **options):
    """The estimator on given log-probabilities, with two latents that share log q; its gradients as `by_hand`."""
    # Floats that carry no gradient: the estimators see log p and log q only.
    samples = tf.zeros_like(log_q)
    with tf.GradientTape() as tape:
        tape.watch([log_p, log_q])
        latent = {"z": (samples, 0.25 * log_q), "h": (samples, 0.75 * log_q)}
        result = getattr(zs, estimator)(lambda _: log_p, {}, latent, axis=axis, **options)
        cost, bound = cost_and_bound(result)
    return cost, bound, *tape.gradient(cost, [log_p, log_q])


LOG_WEIGHTS = {
    "moderate": None,
    "+-100": np.array([[100.0, -100.0, 100.0, -100.0], [-100.0, -100.0, 100.0, 100.0], [0.0, -100.0, 100.0, -100.0]]),
}


@pytest.mark.parametrize("log_weights", LOG_WEIGHTS.values(), ids=LOG_WEIGHTS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_value_and_gradient_by_hand(estimator, log_weights, mode, dtype):
    rng = np.random.default_rng(0)
    log_q = -rng.exponential(size=[3, 4])
    log_p = log_q + (rng.normal(size=[3, 4]) if log_weights is None else log_weights)
    got = mode(lambda p, q: evaluate(estimator, p, q, axis=0))(tf.constant(log_p, dtype), tf.constant(log_q, dtype))
    for value, expected in zip(got, by_hand(estimator, log_p, log_q), strict=True):
        assert value.dtype == dtype
        assert np.all(np.isfinite(value))
        np.testing.assert_allclose(value, expected, **ROUNDING[dtype])


@pytest.mark.parametrize("axis", [1, 2, -1, -2, -3])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_sample_axis(estimator, axis):
    log_p, log_q = np.random.default_rng(1).normal(size=[2, 4, 3, 2])
    got = evaluate(estimator, tf.constant(log_p), tf.constant(log_q), axis)
    front = np.moveaxis(log_p, axis, 0), np.moveaxis(log_q, axis, 0)
    cost, bound, d_log_p, d_log_q = by_hand(estimator, *(values.reshape(len(values), -1) for values in front))
    rest = front[0].shape[1:]
    for value, expected in zip(got[:2], (cost, bound), strict=True):
        assert value.shape == rest
        np.testing.assert_allclose(value, expected.reshape(rest), **EXACT)
    for value, expected in zip(got[2:], (d_log_p, d_log_q), strict=True):
        np.testing.assert_allclose(value, np.moveaxis(expected.reshape(front[0].shape), 0, axis), **EXACT)


@pytest.mark.parametrize("estimator", ["sgvb", "nvil"])
def test_no_axis_reduces_nothing(estimator):
    log_p, log_q = np.random.default_rng(1).normal(size=[2, 3, 4])
    cost, bound, *_ = evaluate(estimator, tf.constant(log_p), tf.constant(log_q), axis=None)
    assert cost.shape == bound.shape == [3, 4]
    np.testing.assert_allclose(bound, log_p - log_q, **EXACT)
    np.testing.assert_allclose(tf.reduce_mean(cost, 0), by_hand(estimator, log_p, log_q)[0], **EXACT)


@pytest.mark.parametrize("shape", [(), (4,), (1, 4), (3, 1), (3, 4)], ids=str)
def test_nvil_baseline_by_hand(shape, mode):
    log_p, log_q = np.random.default_rng(2).normal(size=[2, 3, 4])
    baseline = np.random.default_rng(3).normal(size=shape)

    def surrogate(log_p, log_q, baseline):
        with tf.GradientTape() as tape:
            tape.watch(baseline)
            result = evaluate("nvil", log_p, log_q, 0, baseline=baseline)
        return *result, tape.gradient(result[0], baseline)

    *got, d_baseline = mode(surrogate)(*map(tf.constant, (log_p, log_q, baseline)))
    for value, expected in zip(got, by_hand("nvil", log_p, log_q, baseline=baseline), strict=True):
        np.testing.assert_allclose(value, expected, **EXACT)
    error = (baseline - (log_p - log_q)) / 3
    axes = tuple(range(2 - len(shape))) + tuple(2 - len(shape) + i for i, n in enumerate(shape) if n == 1)
    np.testing.assert_allclose(d_baseline, error.sum(axes).reshape(shape), **EXACT)


def test_log_joint_receives_observed_and_latent_values():
    received = {}

    def log_joint(values):
        received.update(values)
        return tf.zeros([4])

    zs.nvil(
        log_joint, {"x": 1.0}, {"z": (tf.ones([4, 2], tf.int32), tf.zeros([4])), "h": (tf.ones([4]), tf.zeros([4]))}
    )
    assert received.keys() == {"x", "z", "h"}
    assert received["x"] == 1.0
    assert received["z"].dtype == tf.int32
    assert tf.is_tensor(received["h"])


# By enumeration: a mixture of K Gaussians, z ~ Discrete(softmax(p_logits)), x | z ~ N(means_z, 1), with a posterior
# q(z | x_b) = softmax(q_logits_b) of its own for each datum.

X = np.array([0.3, -1.2])


def mixture_params():
    """The posterior's for each datum; the model's are the same for all, a data axis of 1."""
    rng = np.random.default_rng(0)
    return {
        "q_logits": tf.constant(rng.normal(size=[len(X), K])),
        "p_logits": tf.constant(rng.normal(size=[1, K])),
        "means": tf.constant(2 * rng.normal(size=[1, K])),
    }


def mixture_log_joint(params):
    def log_joint(values):
        with zs.BayesianNet(observed=values) as model:
            z = zs.OnehotDiscrete("z", params["p_logits"], dtype=tf.float64)
            zs.Normal("x", tf.reduce_sum(z * params["means"], -1), std=1.0)
        return model.log_joint()

    return log_joint


def mixture_posterior(params, observed=None, n_samples=None):
    with zs.BayesianNet(observed=observed) as posterior:
        node = zs.OnehotDiscrete("z", params["q_logits"], dtype=tf.float64, n_samples=n_samples)
    return posterior, node


def log_tables(params):
    """log p(x, z = k) and log q(z = k | x), [K, B] both, without zhusuan."""
    log_likelihood = -0.5 * ((X[:, None] - params["means"]) ** 2 + np.log(2 * np.pi))
    log_p = tf.nn.log_softmax(params["p_logits"]) + log_likelihood
    return tf.transpose(log_p), tf.transpose(tf.nn.log_softmax(params["q_logits"]))


def joint_samples(n_samples):
    """All K^S joint samples of S indices, [S, K^S]."""
    return np.array(list(itertools.product(range(K), repeat=n_samples))).T


def enumerate_samples(estimator, params, n_samples, **options):
    """Cost and bound of every joint sample, and its probability held constant, [K^S, B] all."""
    z = np.eye(K)[joint_samples(n_samples)][:, :, None]  # [S, K^S, 1, K]
    posterior, node = mixture_posterior(params, observed={"z": z})
    result = getattr(zs, estimator)(mixture_log_joint(params), {"x": X}, {"z": node}, axis=0, **options)
    log_q = tf.stop_gradient(posterior.local_log_prob("z"))
    return *cost_and_bound(result), tf.exp(tf.reduce_sum(log_q, 0))


def expected_gradients(estimator, params, n_samples, baseline=None, **options):
    """Gradients of the surrogate cost, each joint sample's weighted by its probability held constant."""

    def expected_cost(params):
        if baseline is not None:
            options["baseline"] = baseline(params)
        cost, _, probability = enumerate_samples(estimator, params, n_samples, **options)
        return probability * cost

    return gradients(expected_cost, params)


def exact_bound(params, n_samples):
    """E[log mean w] over all joint samples, [B]; the probabilities carry gradients too."""
    log_p, log_q = log_tables(params)
    index = joint_samples(n_samples)
    probability = tf.exp(tf.reduce_sum(tf.gather(log_q, index), 0))  # [K^S, B]
    log_w = tf.gather(log_p - log_q, index)  # [S, K^S, B]
    return tf.reduce_sum(probability * (tf.reduce_logsumexp(log_w, 0) - np.log(n_samples)), 0)


def gradient_of_minus_the_bound(params, n_samples=1):
    return gradients(lambda params: -exact_bound(params, n_samples), params)


def rws_expectation(params, n_samples):
    """E[-sum_s (w_s / sum w) grad(log p_s + log q_s)] in a loop over data and joint samples."""
    log_p, log_q = (table.numpy() for table in log_tables(params))
    q_logits, p_logits, means = (params[name].numpy() for name in ("q_logits", "p_logits", "means"))
    total = {name: np.zeros(value.shape) for name, value in params.items()}
    for b, x in enumerate(X):
        for ks in itertools.product(range(K), repeat=n_samples):
            probability = np.exp(sum(log_q[k, b] for k in ks))
            weights = special.softmax([log_p[k, b] - log_q[k, b] for k in ks])
            for k, weight in zip(ks, weights, strict=True):
                step = -probability * weight
                total["q_logits"][b] += step * (np.eye(K)[k] - special.softmax(q_logits[b]))
                total["p_logits"][0] += step * (np.eye(K)[k] - special.softmax(p_logits[0]))
                total["means"][0, k] += step * (x - means[0, k])
    return total


BASELINES = {
    "constant": lambda params: params["b"][0],
    "of x": lambda params: params["b"] * X,
}


@pytest.mark.parametrize("n_samples", [1, 2, 3])
def test_nvil_is_the_gradient_of_the_bound(n_samples):
    params = mixture_params()
    check_gradients(expected_gradients("nvil", params, n_samples), gradient_of_minus_the_bound(params), **EXACT)


@pytest.mark.parametrize("n_samples", [1, 2])
@pytest.mark.parametrize("baseline", BASELINES.values(), ids=BASELINES)
def test_the_baseline_is_fitted_and_reaches_nothing_else(baseline, n_samples):
    params = mixture_params()
    log_p, log_q = log_tables(params)

    def half_squared_error(b):
        return 0.5 * tf.exp(log_q) * (log_p - log_q - baseline(b)) ** 2

    b = {"b": tf.constant([0.7, -2.0], tf.float64)}
    expected = gradient_of_minus_the_bound(params) | gradients(half_squared_error, b)
    check_gradients(expected_gradients("nvil", params | b, n_samples, baseline), expected, **EXACT)


def test_the_bound_and_the_expected_cost_of_nvil():
    params = mixture_params()
    options = {"baseline": tf.constant(3.0, tf.float64)}
    _, bound, probability = enumerate_samples("nvil", params, 2, **options)
    np.testing.assert_allclose(tf.reduce_sum(probability * bound, 0), exact_bound(params, 1), **EXACT)


@pytest.mark.parametrize("n_samples", [2, 3])
def test_vimco_is_the_gradient_of_the_bound_of_its_samples(n_samples):
    params = mixture_params()
    expected = gradient_of_minus_the_bound(params, n_samples)
    check_gradients(expected_gradients("vimco", params, n_samples), expected, **EXACT)
    _, bound, probability = enumerate_samples("vimco", params, n_samples)
    np.testing.assert_allclose(tf.reduce_sum(probability * bound, 0), exact_bound(params, n_samples), **EXACT)


@pytest.mark.parametrize("n_samples", [1, 2, 3])
def test_rws_is_its_expectation(n_samples):
    params = mixture_params()
    check_gradients(expected_gradients("rws", params, n_samples), rws_expectation(params, n_samples), **EXACT)


@pytest.mark.parametrize("n_samples", [1, 2, 3])
@pytest.mark.parametrize("estimator", ["rws", "is_loglikelihood"])
def test_importance_sampling_is_unbiased_in_the_likelihood(estimator, n_samples):
    params = mixture_params()
    _, log_likelihood, probability = enumerate_samples(estimator, params, n_samples)
    evidence = stats.norm.pdf(X[:, None], params["means"]) @ special.softmax(params["p_logits"][0])
    np.testing.assert_allclose(tf.reduce_sum(probability * tf.exp(log_likelihood), 0), evidence, **EXACT)
    expected = tf.reduce_sum(probability * log_likelihood, 0)
    np.testing.assert_allclose(expected, exact_bound(params, n_samples), **EXACT)
    assert np.all(expected < np.log(evidence))


def test_under_the_exact_posterior_every_bound_is_the_evidence():
    params = mixture_params()
    params["q_logits"] = tf.transpose(log_tables(params)[0])
    evidence = tf.reduce_logsumexp(params["q_logits"], -1)
    for estimator in ("nvil", "vimco", "rws", "is_loglikelihood"):
        _, bound, _ = enumerate_samples(estimator, params, 2)
        np.testing.assert_allclose(bound, tf.broadcast_to(evidence, bound.shape), **EXACT)


# Variance normalisation.


def variance_normalization(mean, variance, **options):
    made = zs.VarianceNormalization(dtype=tf.float64, **options)
    made.mean.assign(mean)
    made.variance.assign(variance)
    return made


@pytest.mark.parametrize(("variance", "divisor"), [(6.25, 2.5), (0.25, 1.0)])
@pytest.mark.parametrize("baseline", [None, *BASELINES.values()], ids=["no baseline", *BASELINES])
def test_variance_normalization_rescales_the_posteriors_gradient_only(baseline, variance, divisor):
    params = mixture_params() | ({} if baseline is None else {"b": tf.constant([0.7, -2.0], tf.float64)})
    expected = expected_gradients("nvil", params, 1, baseline)
    expected["q_logits"] /= divisor
    got = expected_gradients("nvil", params, 1, baseline, variance_normalization=variance_normalization(-1.5, variance))
    check_gradients(got, expected, **EXACT)


def test_variance_normalization_uses_the_values_from_before_the_batch(mode, dtype):
    decay, mean, variance = 0.7, 0.0, 1.0
    normalization = zs.VarianceNormalization(decay, dtype=tf.as_dtype(dtype))

    @mode
    def step(log_p, log_q, baseline):
        return evaluate("nvil", log_p, log_q, 0, baseline=baseline, variance_normalization=normalization)

    for seed in range(4):
        log_p, log_q = 5 * np.random.default_rng(seed).normal(size=[2, 3, 4])
        baseline = 0.5 * seed
        got = step(*(tf.constant(value, dtype) for value in (log_p, log_q, baseline)))
        expected = by_hand("nvil", log_p, log_q, baseline, normalization=(mean, variance))
        for value, wanted in zip(got, expected, strict=True):
            np.testing.assert_allclose(value, wanted, **ROUNDING[dtype])

        signal = log_p - log_q - baseline
        mean = decay * mean + (1 - decay) * signal.mean()
        variance = decay * variance + (1 - decay) * signal.var()
        np.testing.assert_allclose(normalization.mean, mean, **ROUNDING[dtype])
        np.testing.assert_allclose(normalization.variance, variance, **ROUNDING[dtype])
    assert variance > 1


def test_variance_normalization_is_checkpointed_and_not_trained(tmp_path):
    trained = variance_normalization(3.0, 4.0, decay=0.9)
    assert isinstance(trained, tf.Module)
    assert trained.decay == 0.9
    assert trained.trainable_variables == ()
    path = tf.train.Checkpoint(normalization=trained).write(str(tmp_path / "checkpoint"))
    restored = zs.VarianceNormalization(dtype=tf.float64)
    assert (restored.mean.numpy(), restored.variance.numpy()) == (0.0, 1.0)
    tf.train.Checkpoint(normalization=restored).read(path).assert_consumed()
    assert (restored.mean.numpy(), restored.variance.numpy()) == (3.0, 4.0)


# By quadrature and closed form: h ~ N(0, 1), x | h ~ N(w h, 1), with a posterior q(h | x_b) = N(mean_b, std_b^2).


def gaussian_params():
    return {
        "mean": tf.constant([0.8, -0.1], tf.float64),
        "logstd": tf.constant([-0.4, 0.3], tf.float64),
        "w": tf.constant([1.7], tf.float64),
    }


def gaussian_log_joint(params):
    def log_joint(values):
        with zs.BayesianNet(observed=values) as model:
            h = zs.Normal("h", tf.zeros_like(params["mean"]), std=1.0)
            zs.Normal("x", params["w"] * h, std=1.0)
        return model.log_joint()

    return log_joint


def gaussian_pair(params, noise):
    h = params["mean"] + tf.exp(params["logstd"]) * noise
    return h, zs.distributions.Normal(params["mean"], logstd=params["logstd"]).log_prob(h)


def quadrature(n_samples, n_points):
    """Points [S, n^S, 1] and weights [n^S, 1] of Gauss-Hermite quadrature over S standard normals."""
    points, weights = np.polynomial.hermite_e.hermegauss(n_points)
    grid = np.array(list(itertools.product(points, repeat=n_samples))).T
    products = np.prod(list(itertools.product(weights / np.sqrt(2 * np.pi), repeat=n_samples)), -1)
    return grid[..., None], products[:, None]


def gaussian_bound():
    """The bound of each datum in closed form, and its gradients."""
    mean, logstd, w = (value.numpy() for value in gaussian_params().values())
    variance = np.exp(2 * logstd)
    likelihood = -0.5 * (np.log(2 * np.pi) + (X - w * mean) ** 2 + w**2 * variance)
    bound = likelihood - 0.5 * (mean**2 + variance - 1) + logstd
    return bound, {
        "mean": w * (X - w * mean) - mean,
        "logstd": 1 - variance * (1 + w**2),
        "w": ((X - w * mean) * mean - w * variance).sum(keepdims=True),
    }


def iwae_bound(noise):
    """The bound of noise [S, ..., B], and the gradients of each of its elements."""
    mean, logstd, w = (value.numpy() for value in gaussian_params().values())
    h = mean + np.exp(logstd) * noise
    log_w = -0.5 * (h**2 + (x_error := X - w * h) ** 2 + np.log(2 * np.pi) - noise**2) + logstd
    weights = special.softmax(log_w, 0)
    d_h = w * x_error - h
    return special.logsumexp(log_w, 0) - np.log(len(noise)), {
        "mean": (weights * d_h).sum(0),
        "logstd": (weights * (d_h * np.exp(logstd) * noise + 1)).sum(0),
        "w": (weights * x_error * h).sum(0),
    }


def test_sgvb_is_the_gradient_of_the_bound():
    params, (noise, weights) = gaussian_params(), quadrature(1, 20)
    expected_bound, expected = gaussian_bound()

    def bound(params):
        latent = {"h": gaussian_pair(params, noise[0])}
        return weights * zs.sgvb(gaussian_log_joint(params), {"x": X}, latent)

    np.testing.assert_allclose(tf.reduce_sum(bound(params), 0), expected_bound, **EXACT)
    check_gradients(gradients(bound, params), expected, **EXACT)


def test_nvil_on_continuous_latents_is_the_gradient_of_the_bound():
    params, (noise, weights) = gaussian_params(), quadrature(1, 20)
    h, _ = gaussian_pair(params, noise[0])

    def minus_cost(params):
        log_q = zs.distributions.Normal(params["mean"], logstd=params["logstd"]).log_prob(h)
        return -weights * zs.nvil(gaussian_log_joint(params), {"x": X}, {"h": (h, log_q)})[0]

    check_gradients(gradients(minus_cost, params), gaussian_bound()[1], **EXACT)


@pytest.mark.parametrize("n_samples", [1, 2, 5])
def test_iwae_on_fixed_noise(n_samples):
    params = gaussian_params()
    noise = np.random.default_rng(0).normal(size=[n_samples, len(X)])
    expected_bound, expected = iwae_bound(noise)
    expected["w"] = expected["w"].sum(keepdims=True)

    def bound(params):
        return zs.iwae(gaussian_log_joint(params), {"x": X}, {"h": gaussian_pair(params, noise)}, axis=0)

    np.testing.assert_allclose(bound(params), expected_bound, **EXACT)
    check_gradients(gradients(bound, params), expected, **EXACT)


@pytest.mark.parametrize("estimator", ["sgvb", "iwae", "is_loglikelihood"])
def test_under_the_exact_gaussian_posterior_every_bound_is_the_evidence(estimator):
    params = gaussian_params()
    variance = 1 / (1 + params["w"] ** 2)
    params |= {"mean": variance * params["w"] * X, "logstd": 0.5 * tf.math.log(variance)}
    latent = {"h": gaussian_pair(params, np.random.default_rng(0).normal(size=[4, len(X)]))}
    bound = getattr(zs, estimator)(gaussian_log_joint(params), {"x": X}, latent, axis=0)
    np.testing.assert_allclose(bound, stats.norm.logpdf(X, 0, np.sqrt(1 + params["w"] ** 2)), **EXACT)


# By Monte Carlo: replicates on a leading axis, each with parameters of its own and so with a gradient of its own.


def check_mean_gradient(cost, params, expected, mode):
    """Each component within N_SE standard errors, and some so far from 0 that a wrong sign would show."""
    replicas = {name: tf.tile(value[None], [N_REPLICATES] + [1] * value.shape.rank) for name, value in params.items()}
    for name, values in mode(lambda replicas: gradients(cost, replicas))(replicas).items():
        standard_error = np.std(values, 0) / np.sqrt(N_REPLICATES)
        assert np.all(abs(np.mean(values, 0) - expected[name]) < N_SE * standard_error), name
        assert np.any(abs(expected[name]) > 2 * N_SE * standard_error), name


DISCRETE_MONTE_CARLO = {
    "nvil": ("nvil", 1, {}, 1.0),
    "nvil-3-samples": ("nvil", 3, {}, 1.0),
    "nvil-baseline": ("nvil", 1, {"baseline": -2.0}, 1.0),
    "nvil-variance-normalization": ("nvil", 1, {"baseline": -2.0}, 6.25),
    "vimco": ("vimco", 3, {}, 1.0),
    "rws": ("rws", 3, {}, 1.0),
}


@pytest.mark.parametrize(
    ("estimator", "n_samples", "options", "variance"), DISCRETE_MONTE_CARLO.values(), ids=DISCRETE_MONTE_CARLO
)
def test_monte_carlo_on_a_discrete_latent(estimator, n_samples, options, variance, mode):
    params = mixture_params()
    if estimator == "rws":
        expected = rws_expectation(params, n_samples)
    else:
        expected = gradient_of_minus_the_bound(params, n_samples if estimator == "vimco" else 1)
    expected["q_logits"] /= np.sqrt(variance)
    if variance != 1:
        options = options | {"variance_normalization": variance_normalization(-1.0, variance)}

    def cost(params):
        _, node = mixture_posterior(params, n_samples=n_samples)
        return getattr(zs, estimator)(mixture_log_joint(params), {"x": X}, {"z": node}, axis=0, **options)[0]

    check_mean_gradient(cost, params, expected, mode)


@pytest.mark.parametrize(("estimator", "n_samples"), [("sgvb", 1), ("sgvb", 3), ("iwae", 2)])
def test_monte_carlo_on_a_gaussian_latent(estimator, n_samples, mode):
    if estimator == "sgvb":
        _, expected = gaussian_bound()
    else:
        noise, weights = quadrature(n_samples, 60)
        expected = {name: (weights * gradient).sum(0) for name, gradient in iwae_bound(noise)[1].items()}
        expected["w"] = expected["w"].sum(keepdims=True)

    def bound(params):
        with zs.BayesianNet():
            node = zs.Normal("h", params["mean"], logstd=params["logstd"], n_samples=n_samples)
        return getattr(zs, estimator)(gaussian_log_joint(params), {"x": X}, {"h": node}, axis=0)

    check_mean_gradient(bound, gaussian_params(), expected, mode)


def test_monte_carlo_likelihood(mode):
    params = mixture_params()
    replicated = {"q_logits": tf.tile(params["q_logits"][None], [N_REPLICATES, 1, 1])}

    def log_likelihood():
        _, node = mixture_posterior(replicated, n_samples=3)
        return zs.is_loglikelihood(mixture_log_joint(params), {"x": X}, {"z": node}, axis=0)

    likelihood = np.exp(mode(log_likelihood)())
    error = likelihood.mean(0) - np.exp(tf.reduce_logsumexp(log_tables(params)[0], 0))
    assert np.all(abs(error) < N_SE * likelihood.std(0) / np.sqrt(N_REPLICATES))


# Latents: nodes and pairs, and refusals.


def latent(kind, **options):
    """A node of 3 samples for each of 2 data, and its pair."""
    with zs.BayesianNet() as posterior:
        if kind == "Normal":
            node = zs.Normal("z", tf.zeros([2]), std=1.0, n_samples=3, **options)
        else:
            node = getattr(zs, kind)("z", tf.zeros([2, K]), n_samples=3, **options)
    return node, posterior.query("z", outputs=True, local_log_prob=True)


SCORE_FUNCTION_LATENTS = [
    ("Normal", {"is_reparameterized": False}),
    ("Categorical", {}),
    ("OnehotCategorical", {}),
    ("OnehotCategorical", {"dtype": tf.float32}),
]


def log_joint(values):
    z = tf.cast(values["z"], tf.float32)
    return -(z**2 if z.shape.rank == 2 else tf.reduce_sum(z**2, -1))  # [S, B]


def run(estimator, latent, axis=0, **options):
    return getattr(zs, estimator)(log_joint, {}, {"z": latent}, axis=axis, **options)


@pytest.mark.parametrize(
    ("estimator", "kind", "options"),
    [(estimator, "Normal", {}) for estimator in ("sgvb", "iwae", "is_loglikelihood")]
    + [(estimator, *z) for estimator in ("nvil", "vimco", "rws", "is_loglikelihood") for z in SCORE_FUNCTION_LATENTS],
)
def test_a_node_is_the_same_as_its_pair(estimator, kind, options):
    from_node, from_pair = (cost_and_bound(run(estimator, z)) for z in latent(kind, **options))
    np.testing.assert_array_equal(from_node, from_pair)


@pytest.mark.parametrize(("kind", "options"), SCORE_FUNCTION_LATENTS)
@pytest.mark.parametrize("estimator", ["sgvb", "iwae"])
def test_latents_without_reparameterization_are_refused(estimator, kind, options):
    node, (sample, log_q) = latent(kind, **options)
    message = f"{estimator}: latent 'z': wanted a reparameterised sample, got a {node.dtype.name} "
    for refused in (node, (node, log_q)):
        with pytest.raises(TypeError, match=f"{message}{kind} without gradient; use zs.nvil, zs.vimco or zs.rws"):
            run(estimator, refused)
    if sample.dtype.is_integer:
        with pytest.raises(TypeError, match=f"{message}tensor"):
            run(estimator, (sample, log_q))
    else:
        run(estimator, (sample, log_q))


@pytest.mark.parametrize("estimator", ["nvil", "vimco", "rws"])
def test_reparameterized_latents_are_refused(estimator):
    node, (sample, log_q) = latent("Normal")
    message = "latent 'z': wanted a sample that is not reparameterised, .*counted twice; .*is_reparameterized=False"
    for refused in (node, (node, log_q)):
        with pytest.raises(TypeError, match=f"{estimator}: {message}"):
            run(estimator, refused)
    run(estimator, (sample, log_q))


Z = tf.zeros([3, 2]), tf.zeros([3, 2])
MORE_REFUSALS = {
    **{
        f"{e} without an axis": (lambda e=e: run(e, Z, axis=None), ValueError, f"{e}: wanted the sample axis.*None")
        for e in ("iwae", "vimco", "rws", "is_loglikelihood")
    },
    **{
        f"{e} with another axis": (lambda e=e: run(e, Z, axis=5), ValueError, rf"{e}: .*axis 5.*\(3, 2\)")
        for e in ESTIMATORS
    },
    **{
        f"{e} without latents": (
            lambda e=e: getattr(zs, e)(log_joint, {}, {}, axis=0),
            ValueError,
            f"{e}: wanted at least one latent, got none",
        )
        for e in ESTIMATORS
    },
    "vimco with 1 sample": (
        lambda: run("vimco", (Z[0][:1], Z[1][:1])),
        ValueError,
        r"vimco: wanted at least 2 samples on axis 0, got 1 \(learning signal of shape \(1, 2\)\)",
    ),
    "a sample alone": (lambda: run("rws", Z[0]), TypeError, r"rws: latent 'z': wanted a pair \(samples, log_q\)"),
    "two samples alone": (lambda: run("nvil", Z[0][:2]), TypeError, "nvil: latent 'z': wanted a pair"),
    "a distribution": (
        lambda: run("sgvb", zs.distributions.Normal(0.0, std=1.0)),
        TypeError,
        "sgvb: latent 'z': wanted a pair",
    ),
    "a baseline of another precision": (
        lambda: run("nvil", Z, baseline=tf.zeros([2], tf.float64)),
        TypeError,
        "nvil: .*baseline.*float32.*float64",
    ),
    "normalization of another precision": (
        lambda: run("nvil", Z, variance_normalization=zs.VarianceNormalization(dtype=tf.float64)),
        TypeError,
        "VarianceNormalization: .*float64.*float32",
    ),
    "normalization as in ZhuSuan 0.3": (
        lambda: run("nvil", Z, variance_normalization=True),
        TypeError,
        "nvil: wanted variance_normalization as a zs.VarianceNormalization, got True",
    ),
    "decay": (lambda: zs.VarianceNormalization(1.0), ValueError, r"VarianceNormalization: wanted decay in \[0, 1\)"),
    "negative decay": (lambda: zs.VarianceNormalization(-0.1), ValueError, "VarianceNormalization: .*got -0.1"),
}


@pytest.mark.parametrize(("call", "error", "match"), MORE_REFUSALS.values(), ids=MORE_REFUSALS)
def test_refusals(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize(
    ("shape", "signal"),
    [((3,), (3, 2)), ((2, 1), (3, 2)), ((4, 3, 2), (3, 2)), ((1, 3, 2), (3, 2)), ((3, 2), (3, 1)), ((2,), ())],
)
def test_baselines_that_do_not_fit_are_refused(shape, signal):
    message = f"nvil: wanted a baseline that broadcasts to the learning signal's shape {signal}, got shape {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        zs.nvil(lambda _: tf.zeros(signal), {}, {"z": (tf.zeros(signal), tf.zeros(signal))}, baseline=tf.zeros(shape))
