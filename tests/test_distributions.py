"""log_prob against SciPy, samples against log_prob, gradients, extremes and refusals."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import zhusuan as zs
from zhusuan import distributions
from zhusuan.distributions import (
    Bernoulli,
    Categorical,
    Discrete,
    ExpConcrete,
    Normal,
    OnehotCategorical,
    OnehotDiscrete,
)

K = 4
RTOL = {"float32": 2e-5, "float64": 1e-12}
N_DRAWS = 20_000
N_SE = 5  # tolerance of statistical tests, in standard errors


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def groups(*cases):
    """Each case, a tuple of shapes of which the last is the batch shape, with every possible group_ndims."""
    return [(*shapes, group) for *shapes, batch in cases for group in range(len(batch) + 1)]


def check_log_prob(got, reference, group_ndims, dtype):
    axes = tuple(range(-group_ndims, 0))
    assert got.dtype == dtype
    np.testing.assert_allclose(got, reference.sum(axes), rtol=RTOL[dtype], atol=RTOL[dtype])
    assert got.shape == reference.sum(axes).shape


NORMAL_SHAPES = groups(
    # mean, std, given, batch
    ((), (), (), ()),
    ((), (), (5,), ()),
    ((3,), (3,), (3,), (3,)),
    ((3,), (), (), (3,)),
    ((), (3,), (2, 1), (3,)),
    ((3, 1), (4,), (3, 4), (3, 4)),
    ((3, 1), (4,), (4,), (3, 4)),
    ((2, 3), (2, 3), (6, 5, 2, 3), (2, 3)),
    ((2, 3), (1, 3), (6, 1, 3), (2, 3)),
)


@pytest.mark.parametrize("parameter", ["std", "logstd"])
@pytest.mark.parametrize(("mean", "std", "given", "group_ndims"), NORMAL_SHAPES)
def test_normal_log_prob(mean, std, given, group_ndims, parameter, dtype):
    mean, logstd, given = random(*mean), 0.5 * random(*std, seed=1), random(*given, seed=2)
    std = np.exp(logstd)
    scale = {parameter: tf.constant({"std": std, "logstd": logstd}[parameter], dtype)}
    normal = Normal(tf.constant(mean, dtype), **scale, group_ndims=group_ndims)
    reference = np.asarray(stats.norm.logpdf(given, mean, std))
    check_log_prob(normal.log_prob(tf.constant(given, dtype)), reference, group_ndims, dtype)


BERNOULLI_SHAPES = groups(
    # logits, given, batch
    ((), (), ()),
    ((), (5,), ()),
    ((3,), (), (3,)),
    ((3,), (2, 1), (3,)),
    ((2, 3), (2, 3), (2, 3)),
    ((2, 3), (6, 5, 2, 3), (2, 3)),
    ((2, 1, 3), (4, 1), (2, 1, 3)),
)


@pytest.mark.parametrize("given_dtype", ["int32", "float32", "bool"])
@pytest.mark.parametrize(("logits", "given", "group_ndims"), BERNOULLI_SHAPES)
def test_bernoulli_log_prob(logits, given, group_ndims, given_dtype, dtype):
    logits, given = 2 * random(*logits), (random(*given, seed=1) > 0).astype(int)
    bernoulli = Bernoulli(tf.constant(logits, dtype), group_ndims=group_ndims)
    reference = np.asarray(stats.bernoulli.logpmf(given, special.expit(logits)))
    check_log_prob(bernoulli.log_prob(tf.constant(given.astype(given_dtype))), reference, group_ndims, dtype)


@pytest.mark.parametrize("given_dtype", ["int32", "int64", "float32"])
@pytest.mark.parametrize("make", [Categorical, OnehotCategorical])
@pytest.mark.parametrize(("batch", "given", "group_ndims"), BERNOULLI_SHAPES)
def test_discrete_log_prob(make, batch, given, group_ndims, given_dtype, dtype):
    logits = 2 * random(*batch, K)
    onehot = np.eye(K)[np.random.default_rng(1).integers(K, size=given)]
    distribution = make(tf.constant(logits, dtype), group_ndims=group_ndims)
    given = (onehot if make is OnehotCategorical else onehot.argmax(-1)).astype(given_dtype)
    reference = np.asarray(stats.multinomial.logpmf(onehot, 1, special.softmax(logits, -1)))
    check_log_prob(distribution.log_prob(tf.constant(given)), reference, group_ndims, dtype)


def test_log_prob_of_python_and_numpy_values():
    np.testing.assert_allclose(Normal(0, std=2).log_prob(1), stats.norm.logpdf(1, 0, 2), rtol=1e-6)
    np.testing.assert_allclose(Normal(np.zeros(2), std=2).log_prob([1, 2]), stats.norm.logpdf([1, 2], 0, 2), rtol=1e-12)
    np.testing.assert_allclose(Bernoulli(0.0).log_prob(True), np.log(0.5), rtol=1e-6)
    np.testing.assert_allclose(Categorical([0, 0, 0]).log_prob(np.int64(2)), -np.log(3), rtol=1e-6)


# The parameters' shape and float type, then options.
DISTRIBUTIONS = {
    "Normal": lambda batch, of, **options: Normal(tf.zeros(batch, of), logstd=tf.zeros(batch, of), **options),
    "Bernoulli": lambda batch, of, **options: Bernoulli(tf.zeros(batch, of), **options),
    "Categorical": lambda batch, of, **options: Categorical(tf.zeros([*batch, K], of), **options),
    "OnehotCategorical": lambda batch, of, **options: OnehotCategorical(tf.zeros([*batch, K], of), **options),
    "ExpConcrete": lambda batch, of, **options: ExpConcrete(0.5, tf.zeros([*batch, K], of), **options),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_properties(name, dtype):
    distribution = DISTRIBUTIONS[name]([2, 3], dtype, group_ndims=1)
    is_continuous = name in ("Normal", "ExpConcrete")
    assert distribution.is_continuous is is_continuous
    assert distribution.is_reparameterized is is_continuous
    assert distribution.dtype == (dtype if is_continuous else tf.int32)
    assert distribution.batch_shape == [2, 3]
    assert distribution.value_shape == ([K] if name in ("OnehotCategorical", "ExpConcrete") else [])
    assert distribution.group_ndims == 1


def test_normal_properties():
    normal = Normal(tf.zeros([3, 1]), std=tf.fill([4], 2.0), is_reparameterized=False)
    assert normal.batch_shape == [3, 4]
    assert not normal.is_reparameterized
    np.testing.assert_allclose(normal.logstd, np.full(4, np.log(2)), rtol=1e-6)
    np.testing.assert_allclose(Normal(0.0, logstd=np.log(2)).std, 2, rtol=1e-6)


def test_aliases():
    assert Discrete is Categorical
    assert OnehotDiscrete is OnehotCategorical


@pytest.mark.parametrize("n_samples", [None, 1, 5, "tensor"])
@pytest.mark.parametrize("batch", [(), (2, 3)])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_sample_shape_and_dtype(name, batch, n_samples, dtype):
    distribution = DISTRIBUTIONS[name](batch, dtype)
    leading = {None: (), "tensor": (7,)}.get(n_samples, (n_samples,))
    sample = distribution.sample(tf.constant(7) if n_samples == "tensor" else n_samples)
    assert sample.shape == (*leading, *batch, *distribution.value_shape)
    assert sample.dtype == distribution.dtype


@pytest.mark.parametrize("sample_dtype", [tf.float32, tf.float64, tf.int64])
@pytest.mark.parametrize("name", ["Bernoulli", "Categorical", "OnehotCategorical"])
def test_sample_in_another_dtype(name, sample_dtype):
    distribution = DISTRIBUTIONS[name]([2, 3], "float32", dtype=sample_dtype)
    sample = distribution.sample(5)
    assert distribution.dtype == sample.dtype == sample_dtype
    assert distribution.log_prob(sample).dtype == tf.float32


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_static_shapes_with_an_unknown_batch(name):
    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 3, K])])
    def trace(zeros):
        make = getattr(zs.distributions, name)
        parameters = {"Normal": zeros[..., 0], "Bernoulli": zeros[..., 0]}.get(name, zeros)
        distribution = {
            "Normal": lambda: make(parameters, logstd=0.0),
            "ExpConcrete": lambda: make(0.5, parameters),
        }.get(name, lambda: make(parameters))()
        sample = distribution.sample(5)
        assert sample.shape.as_list() == [5, None, 3, *distribution.value_shape]
        assert distribution.log_prob(sample).shape.as_list() == [5, None, 3]
        return sample, distribution.sample(tf.shape(zeros)[0])

    sample, as_many = trace(tf.zeros([2, 3, K]))
    assert sample.shape[:3] == [5, 2, 3]
    assert as_many.shape[:3] == [2, 2, 3]


def test_normal_moments(mode, dtype):
    mean, std = np.array([-3.0, 0.0, 40.0]), np.array([0.1, 1.0, 7.0])
    normal = Normal(tf.constant(mean, dtype), std=tf.constant(std, dtype))

    def draw():
        sample = normal.sample(N_DRAWS)
        return sample, normal.log_prob(sample)

    sample, log_prob = (np.asarray(value, np.float64) for value in mode(draw)())
    standardized = (sample - mean) / std
    # E[z^k] of a standard normal z, and the variance of z^k, for k = 1 to 4.
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        error = (standardized**power).mean(0) - moment
        assert np.all(abs(error) < N_SE * np.sqrt(variance / N_DRAWS)), power
    entropy = 0.5 * np.log(2 * np.pi * np.e) + np.log(std)
    assert np.all(abs(-log_prob.mean(0) - entropy) < N_SE * np.sqrt(0.5 / N_DRAWS))
    correlations = np.corrcoef(standardized.T)[np.triu_indices(3, 1)]
    assert np.all(abs(correlations) < N_SE / np.sqrt(N_DRAWS))


@pytest.mark.parametrize("name", ["Bernoulli", "Categorical", "OnehotCategorical"])
def test_frequencies(name, mode, dtype):
    # Two batch entries of the same logits: their joint frequencies show that they are drawn apart.
    logits = tf.constant([0.7] * 2 if name == "Bernoulli" else [[2.0, -1.0, 0.0, 0.5]] * 2, dtype)
    distribution = getattr(zs.distributions, name)(logits)
    values = {"Bernoulli": np.arange(2), "Categorical": np.arange(K), "OnehotCategorical": np.eye(K, dtype=int)}[name]
    p = np.exp(distribution.log_prob(values[:, None]).numpy().astype(float))[:, 0]
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-6)

    sample = mode(lambda: distribution.sample(N_DRAWS))().numpy()
    index = sample.argmax(-1) if name == "OnehotCategorical" else sample
    if name == "OnehotCategorical":
        assert np.array_equal(sample, np.eye(K)[index])
    joint = np.zeros([len(p), len(p)])
    np.add.at(joint, tuple(index.T), 1 / N_DRAWS)
    for got, expected in [(joint.sum(0), p), (joint.sum(1), p), (joint, np.outer(p, p))]:
        assert np.all(abs(got - expected) < N_SE * np.sqrt(expected * (1 - expected) / N_DRAWS))


@pytest.mark.parametrize("parameter", ["std", "logstd"])
def test_gradients_flow_through_reparameterized_samples(parameter, mode, dtype):
    mean, scale = tf.constant([1.0, -2.0], dtype), tf.constant([0.5, 1.5], dtype)

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch([mean, scale])
            normal = Normal(mean, **{parameter: scale})
            sample = normal.sample(3)
        return *tape.gradient(sample, [mean, scale]), (sample - mean) / normal.std, normal.std

    d_mean, d_scale, noise, std = mode(gradients)()
    np.testing.assert_array_equal(d_mean, [3, 3])
    d_std = tf.reduce_sum(noise, 0)
    np.testing.assert_allclose(d_scale, d_std if parameter == "std" else d_std * std, rtol=1e-4)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_no_gradient_flows_through_other_samples(name, dtype):
    parameters = tf.ones([2, K], dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(parameters)
        if name == "Normal":
            distribution = Normal(parameters, std=tf.exp(parameters), is_reparameterized=False)
        elif name == "ExpConcrete":
            distribution = ExpConcrete(0.5, parameters, is_reparameterized=False)
        else:
            distribution = getattr(zs.distributions, name)(parameters, dtype=dtype)
        sample = distribution.sample(3)
        log_prob = distribution.log_prob(sample)
    assert tape.gradient(sample, parameters) is None
    assert np.any(tape.gradient(log_prob, parameters) != 0)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("group_ndims", [0, 1])
def test_exp_concrete_of_two_is_logistic(temperature, group_ndims, dtype):
    """The difference of the two logarithms is logistic, and d(difference) is dy / (y_1 y_2)."""
    logits, difference = random(5, 2), 2 * random(3, 5, seed=1)
    given = special.log_softmax(np.stack([difference, np.zeros_like(difference)], axis=-1), axis=-1)
    concrete = ExpConcrete(temperature, tf.constant(logits, dtype), group_ndims=group_ndims)
    reference = stats.logistic.logpdf(difference, (logits[:, 0] - logits[:, 1]) / temperature, 1 / temperature)
    check_log_prob(concrete.log_prob(tf.constant(given, dtype)), reference, group_ndims, dtype)


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_exp_concrete_is_a_density(temperature):
    """Its integral over the simplex of three, in the coordinates log y_1 / y_3 and log y_2 / y_3, whose differentials
    are dy / (y_1 y_2 y_3)."""
    grid = np.linspace(-40, 40, 801)
    x = special.log_softmax(np.stack([*np.meshgrid(grid, grid), np.zeros([801, 801])], axis=-1), axis=-1)
    density = np.exp(ExpConcrete(temperature, tf.constant([0.3, -0.5, 1.0], tf.float64)).log_prob(x))
    assert density.sum() * (grid[1] - grid[0]) ** 2 == pytest.approx(1, abs=1e-6)


def test_exp_concrete_samples(mode, dtype):
    """Samples lie on the simplex; their largest entries have the categories' frequencies at every temperature; and
    scores have mean zero, which ties them to the density."""
    logits = tf.constant([2.0, -1.0, 0.0, 0.5], dtype)
    p = special.softmax(logits)
    for temperature in (0.1, 0.5, 2.0):

        def draw(temperature=temperature):
            with tf.GradientTape() as tape:
                spread = tf.zeros([N_DRAWS, K], dtype) + logits
                tape.watch(spread)
                concrete = ExpConcrete(temperature, spread, is_reparameterized=False)
                sample = concrete.sample()
                log_prob = concrete.log_prob(sample)
            return sample, tape.gradient(log_prob, spread)

        sample, scores = (value.numpy().astype(float) for value in mode(draw)())
        np.testing.assert_allclose(np.exp(sample).sum(-1), 1, rtol=1e-4)
        frequencies = np.bincount(sample.argmax(-1), minlength=K) / N_DRAWS
        assert np.all(abs(frequencies - p) < N_SE * np.sqrt(p * (1 - p) / N_DRAWS))
        assert np.all(abs(scores.mean(0)) < N_SE * scores.std(0) / np.sqrt(N_DRAWS))


def test_exp_concrete_at_low_temperature_is_one_hot_and_finite(dtype):
    logits = tf.constant([[100.0, -100.0, 0.0], [-100.0, -100.0, 100.0]], dtype)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        concrete = ExpConcrete(0.01, logits)
        sample = concrete.sample(50)
        log_prob = concrete.log_prob(sample)
    np.testing.assert_allclose(tf.exp(sample), np.broadcast_to([[1, 0, 0], [0, 0, 1]], [50, 2, 3]), atol=1e-6)
    assert np.isfinite(log_prob).all()
    assert np.isfinite(tape.gradient(log_prob, logits)).all()


def test_gradients_flow_through_relaxed_samples(mode, dtype):
    """x = log_softmax((logits + noise) / temperature): a change of the logits moves x by its Jacobian."""
    logits = tf.constant([0.3, -0.5, 1.0], dtype)

    def gradient():
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(logits)
            x = ExpConcrete(0.5, logits).sample()
        return x, tape.jacobian(x, logits, experimental_use_pfor=False)

    x, jacobian = mode(gradient)()
    expected = (np.eye(3) - np.exp(x)) / 0.5
    np.testing.assert_allclose(jacobian, expected, rtol=1e-4, atol=1e-5)


def value_and_gradient(log_prob, parameters):
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        value = log_prob(parameters)
    return value, tape.gradient(value, parameters)


def test_bernoulli_at_extreme_logits(mode, dtype):
    logits = np.array([100.0, 100.0, -100.0, -100.0])
    x = np.array([1, 0, 1, 0])
    value, gradient = mode(value_and_gradient)(lambda logits: Bernoulli(logits).log_prob(x), tf.constant(logits, dtype))
    np.testing.assert_allclose(value, special.log_expit((2 * x - 1) * logits), rtol=RTOL[dtype], atol=1e-40)
    np.testing.assert_allclose(gradient, x - special.expit(logits), rtol=RTOL[dtype], atol=1e-40)


@pytest.mark.parametrize("x", [0, 1])
def test_bernoulli_near_certainty(x, dtype):
    # log p(1) at logit 15 is -3e-7: the difference of two numbers near 15 has no digit of it in float32.
    logits = (2 * x - 1) * np.array([5.0, 10.0, 15.0, 20.0, 30.0])
    value, gradient = value_and_gradient(lambda logits: Bernoulli(logits).log_prob(x), tf.constant(logits, dtype))
    np.testing.assert_allclose(value, special.log_expit((2 * x - 1) * logits), rtol=RTOL[dtype])
    np.testing.assert_allclose(gradient, (2 * x - 1) * special.expit(-abs(logits)), rtol=RTOL[dtype])


@pytest.mark.parametrize("make", [Categorical, OnehotCategorical])
def test_discrete_at_extreme_logits(make, mode, dtype):
    logits = np.array([[100.0, -100.0, 0.0], [-100.0, -100.0, -100.0], [100.0, 100.0, -100.0]])
    given = np.arange(3)[:, None] * np.ones(3, int)  # [3, 3]: every category of every row
    values = np.eye(3, dtype=int)[given] if make is OnehotCategorical else given

    value, gradient = mode(value_and_gradient)(
        lambda logits: make(tf.broadcast_to(logits, [3, 3, 3])).log_prob(values),
        tf.constant(np.broadcast_to(logits, [3, 3, 3]), dtype),
    )
    np.testing.assert_allclose(value, special.log_softmax(logits, -1)[range(3), given], rtol=RTOL[dtype], atol=1e-40)
    expected = np.eye(3)[given] - special.softmax(logits, -1)
    np.testing.assert_allclose(gradient, expected, rtol=RTOL[dtype], atol=RTOL[dtype])


def test_samples_at_extreme_logits(dtype):
    assert np.all(Bernoulli(tf.constant([100.0, -100.0], dtype)).sample(100) == [1, 0])
    logits = tf.constant([[100.0, -100.0, 0.0], [-100.0, -100.0, 100.0]], dtype)
    assert np.all(Categorical(logits).sample(100) == [0, 2])
    assert np.all(OnehotCategorical(logits).sample(100) == [[1, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize("number", [0.0, 0.5, 1 - 2**-23])
def test_no_number_draws_a_category_of_next_to_no_probability(number, dtype, monkeypatch):
    class Generator:
        def uniform(self, shape, dtype):
            return tf.fill(shape, tf.cast(number, dtype))

    monkeypatch.setattr(distributions, "get_generator", Generator)
    middle = Categorical(tf.constant([-80.0, 0.0, -80.0], dtype))
    assert np.all(middle.sample(3) == 1)
    first, last = (Categorical(tf.constant(logits, dtype)) for logits in ([0.0, -80.0, -np.inf], [-np.inf, -80.0, 0.0]))
    assert np.all(first.sample(3) == 0)
    assert np.all(last.sample(3) == 2)
    even = Categorical(tf.zeros(4, dtype)).sample(1)
    assert even[0] == {0.0: 3, 0.5: 1, 1 - 2**-23: 0}[number]


@pytest.mark.parametrize("make", [Categorical, OnehotCategorical])
def test_an_impossible_category(make, mode, dtype):
    given = 1 if make is Categorical else [0, 1, 0]
    value, gradient = mode(value_and_gradient)(
        lambda logits: make(logits).log_prob(given), tf.constant([-np.inf, 0.0, 0.0], dtype)
    )
    np.testing.assert_allclose(value, np.log(0.5), rtol=RTOL[dtype])
    np.testing.assert_allclose(gradient, [0, 0.5, -0.5], rtol=RTOL[dtype])


@pytest.mark.parametrize(
    "given",
    [-1, 3, 2**31 - 1, tf.constant(2**32, tf.int64), tf.constant(3.0)],
    ids=["-1", "K", "int32", "int64", "float"],
)
def test_categorical_out_of_range(given, mode, dtype):
    value, gradient = mode(value_and_gradient)(
        lambda logits: Categorical(logits).log_prob(tf.fill([2], given)), tf.constant([[0.0, 1.0, 2.0]] * 2, dtype)
    )
    assert np.all(np.isneginf(value))
    np.testing.assert_array_equal(gradient, np.zeros([2, 3]))


REFUSALS = {
    "std and logstd": (lambda: Normal(0.0, std=1.0, logstd=0.0), ValueError, "Normal: .*one of std and logstd.*both"),
    "no std": (lambda: Normal(0.0), ValueError, "Normal: wanted exactly one of std and logstd, got neither"),
    "mean and std": (
        lambda: Normal(tf.zeros([2]), std=tf.ones([3])),
        ValueError,
        r"Normal: wanted mean and std of shapes that broadcast, got \(2,\) and \(3,\)",
    ),
    "mean and logstd": (
        lambda: Normal(tf.zeros([2]), logstd=tf.ones([3])),
        ValueError,
        r"Normal: wanted mean and logstd of shapes that broadcast, got \(2,\) and \(3,\)",
    ),
    "mixed precision": (
        lambda: Normal(tf.zeros([2]), std=tf.ones([2], tf.float64)),
        TypeError,
        "Normal: wanted parameters of one type.*got mean float32, std float64",
    ),
    "half precision": (
        lambda: Bernoulli(tf.zeros([2], tf.float16)),
        TypeError,
        "Bernoulli: wanted parameters of one type, float32 or float64, got logits float16",
    ),
    "text": (lambda: Bernoulli("yes"), TypeError, "Bernoulli: wanted logits as numbers, got 'yes'"),
    "None": (lambda: Categorical(None), TypeError, "Categorical: wanted logits as numbers, got None"),
    "scalar logits": (lambda: Categorical(1.0), ValueError, r"Categorical: wanted logits of shape \[..., K\].*scalar"),
    "scalar onehot logits": (lambda: OnehotCategorical(1.0), ValueError, "OnehotCategorical: .*got a scalar"),
    "group_ndims above the rank": (
        lambda: Bernoulli(tf.zeros([2]), group_ndims=2),
        ValueError,
        r"Bernoulli: wanted group_ndims as an integer from 0 to 1, .* batch_shape \(2,\), got 2",
    ),
    "group_ndims above the rank of a onehot": (
        lambda: OnehotCategorical(tf.zeros([2, 3]), group_ndims=2),
        ValueError,
        r"OnehotCategorical: wanted group_ndims .* batch_shape \(2,\), got 2",
    ),
    "group_ndims below 0": (lambda: Normal([0.0], std=1.0, group_ndims=-1), ValueError, "group_ndims .* got -1"),
    "group_ndims no integer": (lambda: Normal([0.0], std=1.0, group_ndims=1.0), ValueError, "group_ndims .* got 1.0"),
    "group_ndims a bool": (lambda: Normal([0.0], std=1.0, group_ndims=True), ValueError, "group_ndims .* got True"),
    "given": (
        lambda: Normal(tf.zeros([2]), std=1.0).log_prob(tf.zeros([3])),
        ValueError,
        r"Normal: wanted a value that broadcasts with batch_shape \+ value_shape = \(2,\), got shape \(3,\)",
    ),
    "given of Bernoulli": (lambda: Bernoulli(tf.zeros([2])).log_prob([0, 1, 0]), ValueError, r"Bernoulli: .*\(3,\)"),
    "given of Categorical": (
        lambda: Categorical(tf.zeros([2, 3])).log_prob([0, 1, 0]),
        ValueError,
        r"Categorical: .*= \(2,\), got shape \(3,\)",
    ),
    "given without the value axis": (
        lambda: OnehotCategorical(tf.zeros([3])).log_prob(1),
        ValueError,
        r"OnehotCategorical: .*= \(3,\), got shape \(\)",
    ),
    "given with another value axis": (
        lambda: OnehotCategorical(tf.zeros([3])).log_prob([1]),
        ValueError,
        r"OnehotCategorical: .*= \(3,\), got shape \(1,\)",
    ),
    **{
        f"n_samples {n!r}": (
            lambda n=n: Normal(0.0, std=1.0).sample(n),
            ValueError,
            "Normal: wanted n_samples as an integer of at least 1, got",
        )
        for n in [0, -1, 2.5, True, "two", [2], 2.0]
    },
    **{
        f"temperature {t!r}": (
            lambda t=t: ExpConcrete(t, [0.0, 1.0]),
            ValueError,
            f"ExpConcrete: wanted temperature as a scalar above 0, got {got}",
        )
        for t, got in [(0.0, "0.0"), (-1.0, "-1.0"), ([1.0, 2.0], r"shape \(2,\)")]
    },
    "logits of ExpConcrete": (
        lambda: ExpConcrete(1.0, 0.0),
        ValueError,
        r"ExpConcrete: wanted logits of shape \[..., K\], got a scalar",
    ),
    "n_samples tensor": (
        lambda: Normal(0.0, std=1.0).sample(tf.constant(0)),
        ValueError,
        "Normal: wanted n_samples as an integer of at least 1",
    ),
}


@pytest.mark.parametrize(("call", "error", "match"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_logits_of_unknown_size_are_refused():
    @tf.function(autograph=False, input_signature=[tf.TensorSpec([2, None])])
    def trace(logits):
        with pytest.raises(
            ValueError, match=r"Categorical: wanted logits whose last axis has a known size.*\(2, None\)"
        ):
            Categorical(logits)
        return logits

    trace(tf.zeros([2, 3]))
