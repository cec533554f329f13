"""Networks: nodes, observations, queries, the mixture trick, and errors that name the node."""

import operator

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import zhusuan as zs


def normal_net(observed=None, **options):
    """a ~ N(0, 1), b | a ~ N(a, exp(-1)^2), three of each."""
    with zs.BayesianNet(observed=observed) as net:
        a = zs.Normal("a", tf.zeros([3]), std=1.0, **options)
        zs.Normal("b", a, logstd=-1.0)
    return net


def generator_state():
    return zs.get_generator().state.numpy().tolist()


MAKERS = {
    "Normal": lambda **options: zs.Normal("n", tf.zeros([2, 3]), logstd=0.0, **options),
    "Bernoulli": lambda **options: zs.Bernoulli("n", tf.zeros([2, 3]), **options),
    "Categorical": lambda **options: zs.Categorical("n", tf.zeros([2, 3, 4]), **options),
    "OnehotCategorical": lambda **options: zs.OnehotCategorical("n", tf.zeros([2, 3, 4]), **options),
}


@pytest.mark.parametrize("n_samples", [None, 1, 5])
@pytest.mark.parametrize("kind", MAKERS)
def test_a_sampled_node(kind, n_samples):
    with zs.BayesianNet() as net:
        node = MAKERS[kind](n_samples=n_samples, group_ndims=1)
    leading = [] if n_samples is None else [n_samples]
    value_shape = [4] if kind == "OnehotCategorical" else []
    assert isinstance(node, zs.StochasticTensor)
    assert type(node.distribution) is getattr(zs.distributions, kind)
    assert node.name == "n"
    assert not node.is_observed()
    assert node.dtype == node.tensor.dtype == (tf.float32 if kind == "Normal" else tf.int32)
    assert node.shape == node.tensor.shape == [*leading, 2, 3, *value_shape]
    assert net.local_log_prob("n").shape == [*leading, 2]
    np.testing.assert_array_equal(net.local_log_prob("n"), node.distribution.log_prob(node.tensor))


@pytest.mark.parametrize("kind", ["Bernoulli", "Categorical", "OnehotCategorical"])
def test_a_node_of_another_dtype(kind):
    with zs.BayesianNet():
        node = MAKERS[kind](dtype=tf.float32)
    assert node.dtype == node.tensor.dtype == tf.float32


def test_aliases():
    assert zs.Discrete is zs.Categorical
    assert zs.OnehotDiscrete is zs.OnehotCategorical


def test_normal_options():
    with zs.BayesianNet():
        node = zs.Normal("n", tf.zeros([2]), std=2.0, is_reparameterized=False)
    assert not node.distribution.is_reparameterized
    np.testing.assert_array_equal(node.distribution.std, 2)


def test_a_sample_is_drawn_at_first_use_and_kept(mode):
    def build():
        net = normal_net()
        return net.outputs("a"), net.outputs("a"), net.local_log_prob("a"), net.query("a", outputs=True)[0]

    first, again, log_prob, queried = mode(build)()
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, queried)
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(first), rtol=1e-5)


def test_nothing_is_drawn_before_the_first_use():
    before = generator_state()
    with zs.BayesianNet({"seen": 0.0}) as net:
        node = zs.Normal("n", 0.0, std=1.0)
        zs.Normal("seen", 0.0, std=1.0)
    repr(node)
    net.local_log_prob("seen")
    assert generator_state() == before
    net.local_log_prob("n")
    after = generator_state()
    assert after != before
    node + 1
    net.log_joint()
    net.outputs(["n", "seen"])
    assert generator_state() == after


def test_the_gradient_reaches_the_parents():
    mean = tf.constant([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(mean)
        with zs.BayesianNet():
            a = zs.Normal("a", mean, std=1.0)
            b = zs.Normal("b", 3 * a, std=1.0)
        loss = tf.reduce_sum(b * 2)
    np.testing.assert_allclose(tape.gradient(loss, mean), [6, 6])


OBSERVATIONS = {
    "list": [1, 0, 1],
    "NumPy float64": np.array([1.0, 0.0, 1.0]),
    "NumPy int64": np.array([1, 0, 1]),
    "NumPy bool": np.array([True, False, True]),
    "tensor": tf.constant([1.0, 0.0, 1.0]),
    "integer tensor": tf.constant([1, 0, 1]),
    "variable": tf.Variable([1.0, 0.0, 1.0]),
    "Keras variable": keras.Variable([1.0, 0.0, 1.0]),
}


@pytest.mark.parametrize("value", OBSERVATIONS.values(), ids=OBSERVATIONS)
def test_an_observation(value):
    with zs.BayesianNet({"a": value, "no node of this net": 0}) as net:
        a = zs.Normal("a", tf.zeros([3]), std=1.0)
        zs.Normal("b", a, std=1.0)
    assert a.is_observed()
    assert a.tensor.dtype == a.dtype == tf.float32
    np.testing.assert_array_equal(net.outputs("a"), [1, 0, 1])
    np.testing.assert_allclose(net.local_log_prob("a"), stats.norm.logpdf([1, 0, 1]), rtol=1e-6)
    np.testing.assert_array_equal(net["b"].distribution.mean, [1, 0, 1])


@pytest.mark.parametrize("value", [[1, 0, 1], np.array([1, 0, 1]), tf.constant([1, 0, 1], tf.int64), np.ones(3, bool)])
def test_an_observation_of_a_discrete_node(value):
    with zs.BayesianNet({"a": value}) as net:
        zs.Bernoulli("a", tf.zeros([3]))
    assert net.outputs("a").dtype == tf.int32


def test_a_node_as_an_observation():
    posterior = normal_net(n_samples=5)
    node = posterior["a"]
    model = normal_net({"a": node})
    np.testing.assert_array_equal(model.outputs("a"), node.tensor)
    assert model.local_log_prob("a").shape == [5, 3]


def test_an_observation_with_extra_axes():
    net = normal_net({"a": np.zeros([5, 1, 3]), "b": np.zeros([4, 3])})
    assert net.local_log_prob("a").shape == [5, 1, 3]
    assert net.local_log_prob("b").shape == [5, 4, 3]


def test_outputs_and_local_log_prob():
    net = normal_net({"b": [1.0, 2.0, 3.0]}, n_samples=4)
    a, b = net.outputs(["a", "b"])
    log_a, log_b = net.local_log_prob(("a", "b"))
    assert isinstance(net.outputs(["a"]), list)
    assert isinstance(net.local_log_prob(["a"]), list)
    for value, shape in [(a, [4, 3]), (b, [3]), (log_a, [4, 3]), (log_b, [4, 3])]:
        assert tf.is_tensor(value)
        assert value.shape == shape
    np.testing.assert_allclose(log_a, stats.norm.logpdf(a), rtol=1e-5)
    np.testing.assert_allclose(log_b, stats.norm.logpdf(b, a, np.exp(-1)), rtol=1e-5)
    np.testing.assert_array_equal(net.outputs("a"), a)
    np.testing.assert_array_equal(net.local_log_prob("b"), log_b)


def test_query():
    net = normal_net(n_samples=4)
    a, log_a = net.query("a", outputs=True, local_log_prob=True)
    np.testing.assert_array_equal(a, net.outputs("a"))
    np.testing.assert_array_equal(log_a, net.local_log_prob("a"))
    pairs = net.query(["b", "a"], outputs=True, local_log_prob=True)
    assert isinstance(pairs, list)
    assert all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs)
    np.testing.assert_array_equal(pairs[0][0], net.outputs("b"))
    np.testing.assert_array_equal(pairs[1][1], log_a)
    assert isinstance(net.query("a", outputs=True), tuple)
    (only,) = net.query("a", local_log_prob=True)
    np.testing.assert_array_equal(only, log_a)
    [(only,)] = net.query(["a"], outputs=True)
    np.testing.assert_array_equal(only, a)


def test_log_joint(mode):
    def build(b):
        net = normal_net({"b": b}, n_samples=4)
        return net.outputs("a"), net.log_joint()

    b = np.float32([1.0, 2.0, 3.0])
    a, log_joint = mode(build)(b)
    assert log_joint.shape == [4, 3]
    np.testing.assert_allclose(log_joint, stats.norm.logpdf(a) + stats.norm.logpdf(b, a, np.exp(-1)), rtol=1e-5)


def test_log_joint_broadcasts():
    with zs.BayesianNet() as net:
        zs.Normal("a", tf.zeros([4, 1, 2]), std=1.0, group_ndims=1)
        zs.Bernoulli("b", tf.zeros([3]))
    assert net.log_joint().shape == [4, 3]


def test_a_network_is_rebuilt_with_other_observations():
    sampled = normal_net()
    a = sampled.outputs("a")
    given_a, given_b = normal_net({"a": a}), normal_net({"a": a, "b": a})
    np.testing.assert_array_equal(given_a.outputs("a"), a)
    assert not np.array_equal(given_a.outputs("b"), sampled.outputs("b"))
    np.testing.assert_array_equal(given_b.outputs("b"), a)
    assert not np.array_equal(normal_net().outputs("a"), a)


def test_the_network_keeps_its_own_observations():
    observed = {"a": [1, 2, 3]}
    with zs.BayesianNet(observed) as net:
        observed.clear()
        zs.Normal("a", tf.zeros([3]), std=1.0)
    np.testing.assert_array_equal(net.outputs("a"), [1, 2, 3])


def test_networks_nest():
    with zs.BayesianNet() as outer:
        zs.Normal("a", 0.0, std=1.0)
        with zs.BayesianNet() as inner:
            zs.Normal("a", 100.0, std=1.0)
        zs.Normal("b", 0.0, std=1.0)
    assert inner.outputs("a") > 50 > outer.outputs("a")
    outer.outputs("b")
    with pytest.raises(KeyError, match="'b'"):
        inner.outputs("b")


def test_an_error_inside_closes_the_network():
    with pytest.raises(ZeroDivisionError), zs.BayesianNet():
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="outside a network"):
        zs.Normal("a", 0.0, std=1.0)


def test_a_network_built_eagerly_works_in_a_function_and_after_it():
    net = normal_net({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]})
    expected = normal_net(net.observed).log_joint()
    np.testing.assert_array_equal(tf.function(net.log_joint, autograph=False)(), expected)
    np.testing.assert_array_equal(tf.function(net.log_joint, autograph=False)(), expected)
    np.testing.assert_array_equal(net.log_joint(), expected)


# A node is Tensor-like.

FLOATS = np.float32([[1.5, -2.0, 3.0], [0.5, 2.5, 1.0]])
BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "le", "gt", "ge", "eq", "ne"]


def observed_node(value):
    value = tf.constant(value)
    with zs.BayesianNet({"n": value}):
        if value.dtype == tf.bool:
            return zs.Bernoulli("n", tf.zeros(value.shape), dtype=tf.bool)
        return zs.Normal("n", tf.zeros(value.shape), std=1.0)


def check_tensor(got, expected):
    assert tf.is_tensor(got)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(
    "other",
    [2.0, tf.constant([2.0, 1.0, 3.0]), tf.Variable([2.0, 1.0, 3.0]), np.float32([2, 1, 3]), np.float32(2)],
    ids=["scalar", "tensor", "variable", "array", "NumPy scalar"],
)
def test_binary_operators(name, other):
    apply, node, value = getattr(operator, name), observed_node(FLOATS), tf.constant(FLOATS)
    plain = tf.convert_to_tensor(other)
    check_tensor(apply(node, other), apply(value, plain))
    check_tensor(apply(other, node), apply(plain, value))
    check_tensor(apply(node, node), apply(value, value))


@pytest.mark.parametrize("other", [tf.ones([3, 2]), np.ones([3, 2], np.float32)], ids=["tensor", "array"])
def test_matmul_operator(other):
    node = observed_node(FLOATS)
    check_tensor(node @ other, tf.matmul(FLOATS, other))
    check_tensor(other @ node, tf.matmul(other, FLOATS))


@pytest.mark.parametrize("name", ["and_", "or_", "xor"])
@pytest.mark.parametrize("other", [True, tf.constant([True, False])], ids=["scalar", "tensor"])
def test_logical_operators(name, other):
    apply, value = getattr(operator, name), [True, True]
    node, plain = observed_node(value), tf.convert_to_tensor(other)
    check_tensor(apply(node, other), apply(tf.constant(value), plain))
    check_tensor(apply(other, node), apply(plain, tf.constant(value)))


@pytest.mark.parametrize("name", ["neg", "abs"])
def test_unary_operators(name):
    check_tensor(getattr(operator, name)(observed_node(FLOATS)), getattr(operator, name)(tf.constant(FLOATS)))


def test_invert():
    check_tensor(~observed_node([True, False]), tf.constant([False, True]))


def test_numpy_on_the_left_keeps_the_gradient():
    mean = tf.constant([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(mean)
        with zs.BayesianNet():
            node = zs.Normal("n", mean, std=1.0)
        product = np.float32([3, 4]) * node
    np.testing.assert_allclose(tape.gradient(product, mean), [3, 4])


@pytest.mark.parametrize(
    "index",
    [0, -1, slice(1), (slice(None), 1), (Ellipsis, None), (0, 2), tf.constant([[True] * 3, [False] * 3])],
    ids=str,
)
def test_slicing(index):
    check_tensor(observed_node(FLOATS)[index], tf.constant(FLOATS)[index])


def test_python_protocols():
    node = observed_node(FLOATS)
    assert len(node) == 2
    np.testing.assert_array_equal(list(node), FLOATS)
    assert float(observed_node(1.5)) == 1.5
    assert int(observed_node(1.5)) == 1
    assert observed_node(True)
    assert not observed_node(False)
    with pytest.raises(TypeError, match="unhashable"):
        hash(node)
    assert repr(node) == "<StochasticTensor 'n' Normal float32, observed>"


def test_numpy():
    node = observed_node(FLOATS)
    np.testing.assert_array_equal(np.asarray(node), FLOATS)
    assert np.asarray(node).dtype == np.float32
    assert np.array(node, dtype=np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.exp(node), np.exp(FLOATS))


TF_OPERATIONS = {
    "reduce_sum": tf.reduce_sum,
    "exp": tf.exp,
    "cast": lambda n: tf.cast(n, tf.int32),
    "matmul": lambda n: tf.matmul(n, n, transpose_b=True),
    "concat": lambda n: tf.concat([n, n], 0),
    "stack": lambda n: tf.stack([n, n]),
    "einsum": lambda n: tf.einsum("ij,kj->ik", n, n),
    "where": lambda n: tf.where(n > 0, n, 0.0),
    "reshape": lambda n: tf.reshape(n, [-1]),
    "shape": tf.shape,
    "identity": tf.identity,
    "map_structure": lambda n: tf.nest.map_structure(tf.square, {"n": n})["n"],
    "Keras operation": keras.ops.sigmoid,
    "argument of a tf.function": lambda n: tf.function(tf.square, autograph=False)(n),
    "result of a tf.function": lambda n: tf.function(lambda: n, autograph=False)(),
}


@pytest.mark.parametrize("operation", TF_OPERATIONS.values(), ids=TF_OPERATIONS)
def test_tensorflow_operations(operation):
    check_tensor(operation(observed_node(FLOATS)), operation(tf.constant(FLOATS)))


def test_convert_to_tensor():
    node = observed_node(FLOATS)
    check_tensor(tf.convert_to_tensor(node), tf.constant(FLOATS))
    variable = tf.Variable(tf.zeros([2, 3]))
    variable.assign(node)
    np.testing.assert_array_equal(variable, FLOATS)
    with pytest.raises(ValueError, match="float32"):
        tf.convert_to_tensor(node, tf.int32)


def test_keras_layers(mode):
    layers = keras.Sequential([keras.layers.Dense(4, "relu"), keras.layers.Dense(2)])
    layers.build([None, None, 3])

    def build():
        with zs.BayesianNet():
            node = zs.Normal("n", tf.zeros([5, 3]), std=1.0, n_samples=2)
        return layers(node), layers(node.tensor), keras.layers.Concatenate()([node, node])

    from_node, from_tensor, concatenated = mode(build)()
    assert from_node.shape == [2, 5, 2]
    np.testing.assert_array_equal(from_node, from_tensor)
    assert concatenated.shape == [2, 5, 6]


# The mixture trick.


def test_a_mixture_is_summed_out_over_all_its_components(mode, dtype):
    """z ~ Discrete(pi); h | z ~ N(mean_z, std_z^2); x | h ~ Bernoulli: z is observed as all K one-hot vectors."""
    n_components, n_data, n_dims, n_pixels = 4, 5, 2, 3
    rng = np.random.default_rng(0)
    logits, weights = rng.normal(size=n_components), rng.normal(size=[n_dims, n_pixels])
    mean, logstd = rng.normal(size=[2, n_components, n_dims])
    h, x = rng.normal(size=[n_data, n_dims]), rng.integers(2, size=[n_data, n_pixels])

    def build(h, x):
        every_z = tf.eye(n_components, dtype=dtype)[:, None]  # [K, 1, K]
        with zs.BayesianNet(observed={"z": every_z, "h": h, "x": x}) as net:
            z = zs.OnehotDiscrete("z", tf.constant(logits, dtype), dtype=dtype)
            h = zs.Normal("h", z @ tf.constant(mean, dtype), logstd=z @ tf.constant(logstd, dtype), group_ndims=1)
            zs.Bernoulli("x", h @ tf.constant(weights, dtype), group_ndims=1)
        return *net.local_log_prob(["z", "h", "x"]), net.log_joint()

    log_z, log_h, log_x, log_joint = mode(build)(tf.constant(h, dtype), tf.constant(x))
    assert log_z.shape == [n_components, 1]
    assert log_h.shape == [n_components, n_data]
    assert log_x.shape == [n_data]
    assert log_joint.shape == [n_components, n_data]

    log_pi = special.log_softmax(logits)[:, None]
    components = stats.norm.logpdf(h, mean[:, None], np.exp(logstd)[:, None]).sum(-1)
    pixels = stats.bernoulli.logpmf(x, special.expit(h @ weights)).sum(-1)
    tolerance = {"rtol": 1e-5 if dtype == "float32" else 1e-12}
    np.testing.assert_allclose(
        tf.reduce_logsumexp(log_z + log_h, 0), special.logsumexp(log_pi + components, 0), **tolerance
    )
    np.testing.assert_allclose(
        tf.reduce_logsumexp(log_joint, 0), special.logsumexp(log_pi + components, 0) + pixels, **tolerance
    )
    np.testing.assert_allclose(tf.nn.softmax(log_joint, 0), special.softmax(log_pi + components, 0), **tolerance)


# Errors.


def observing(value, **options):
    with zs.BayesianNet({"n": value}):
        zs.Bernoulli("n", tf.zeros([2]), **options)


def observing_normal(value):
    with zs.BayesianNet({"n": value}) as net:
        zs.Normal("n", tf.zeros([2]), std=1.0)
    return net


def in_a_net(make):
    with zs.BayesianNet():
        make()


def twice():
    with zs.BayesianNet():
        zs.Normal("n", 0.0, std=1.0)
        zs.Bernoulli("n", 0.0)


REFUSALS = {
    "outside a network": (
        lambda: zs.Normal("n", 0.0, std=1.0),
        RuntimeError,
        "made outside a network; wanted it inside `with zs.BayesianNet",
    ),
    "two nodes of a name": (twice, ValueError, "node 'n': this network has a node of that name already"),
    "outputs": (lambda: normal_net().outputs("c"), KeyError, r"node 'c': .*no node of that name, but \['a', 'b'\]"),
    "local_log_prob": (lambda: normal_net().local_log_prob(["a", "c"]), KeyError, "node 'c'"),
    "query": (lambda: normal_net().query("c", outputs=True), KeyError, "node 'c'"),
    "query for nothing": (lambda: normal_net().query("a"), ValueError, "wanted outputs=True or local_log_prob=True"),
    "log_joint of nothing": (lambda: zs.BayesianNet().log_joint(), ValueError, "at least one node, got none"),
    "parameters": (lambda: in_a_net(lambda: zs.Normal("n", 0.0)), ValueError, "node 'n': Normal: .*got neither"),
    "parameter shapes": (
        lambda: in_a_net(lambda: zs.Normal("n", tf.zeros([2]), std=tf.ones([3]))),
        ValueError,
        r"node 'n': Normal: .*\(2,\) and \(3,\)",
    ),
    "parameter types": (
        lambda: in_a_net(lambda: zs.Bernoulli("n", "yes")),
        TypeError,
        "node 'n': Bernoulli: wanted logits as numbers, got 'yes'",
    ),
    "group_ndims": (
        lambda: in_a_net(lambda: zs.Categorical("n", [0.0, 0.0], group_ndims=1)),
        ValueError,
        "node 'n': Categorical: wanted group_ndims",
    ),
    "n_samples": (
        lambda: in_a_net(lambda: zs.Bernoulli("n", 0.0, n_samples=0)),
        ValueError,
        "node 'n': Bernoulli: wanted n_samples as an integer of at least 1, got 0",
    ),
    "real numbers for a discrete node": (
        lambda: observing([0.5, 0.5]),
        TypeError,
        "node 'n': wanted an observation of type int32, got float64",
    ),
    "a tensor of real numbers for a discrete node": (
        lambda: observing(tf.constant([0.0, 1.0])),
        TypeError,
        r"node 'n': wanted an observation of type int32, got float32; cast it, or .*dtype=tf.float32",
    ),
    "a tensor of another precision": (
        lambda: observing_normal(tf.zeros([2], tf.float64)),
        TypeError,
        "node 'n': wanted an observation of type float32, got float64",
    ),
    "text": (lambda: observing_normal("yes"), TypeError, "node 'n': wanted an observation of float32 numbers"),
    "None": (lambda: observing_normal(None), TypeError, "node 'n': wanted an observation of float32 numbers"),
    "None for a discrete node": (
        lambda: observing(None),
        TypeError,
        "node 'n': wanted an observation of int32 numbers",
    ),
    "observed shape": (
        lambda: observing_normal(tf.zeros([5, 3])),
        ValueError,
        r"node 'n': .*batch_shape \+ value_shape = \(2,\), got shape \(5, 3\)",
    ),
    "log_prob": (
        lambda: observing_normal([0.0, 0.0])["n"].log_prob(tf.zeros([3])),
        ValueError,
        r"node 'n': Normal: .*got shape \(3,\)",
    ),
}


@pytest.mark.parametrize(("call", "error", "match"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(call, error, match):
    with pytest.raises(error, match=match):
        call()
