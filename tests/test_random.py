"""The seed reaches every draw: eagerly, in a graph and under XLA."""

import numpy as np
import pytest
import tensorflow as tf

import zhusuan as zs
from zhusuan.distributions import Bernoulli, Categorical, Normal, OnehotCategorical


@pytest.fixture(autouse=True)
def _restore_generator():
    generator = zs.get_generator()
    yield
    zs.set_generator(generator)


def draw():
    """One sample of every distribution, and of two nodes of a network."""
    with zs.BayesianNet() as net:
        zs.Normal("a", tf.zeros([20]), std=1.0)
        zs.Normal("b", tf.zeros([20]), std=1.0)
    return [
        Normal(tf.zeros([20]), std=1.0).sample(),
        Normal(tf.zeros([20], tf.float64), std=1.0).sample(2),
        Bernoulli(tf.zeros([100])).sample(),
        Categorical(tf.zeros([50, 4])).sample(),
        OnehotCategorical(tf.zeros([50, 4])).sample(),
        *net.outputs(["a", "b"]),
    ]


def same(first, second):
    return [np.array_equal(a, b) for a, b in zip(first, second, strict=True)]


def test_the_seed_repeats_the_draws(mode):
    sample = mode(draw)
    zs.set_seed(1)
    first, second = sample(), sample()
    zs.set_seed(1)
    assert all(same(first, sample()))
    assert all(same(second, sample()))
    assert not any(same(first, second))
    zs.set_seed(2)
    assert not any(same(first, sample()))


def test_the_seed_reaches_functions_traced_before_it(mode):
    sample = mode(draw)
    untouched = sample()
    zs.set_seed(1)
    seeded = sample()
    assert not any(same(untouched, seeded))
    zs.set_seed(1)
    assert all(same(seeded, sample()))
    zs.set_seed(1)
    assert all(same(seeded, mode(draw)())), "traced anew"


def test_nodes_are_drawn_apart(mode):
    first, _, _, _, _, a, b = mode(draw)()
    assert not np.array_equal(a, b)
    assert not np.array_equal(first, a)


def test_tensorflows_global_seed_is_left_alone(mode):
    sample = mode(draw)
    tf.random.set_seed(0)
    expected = tf.random.normal([5])
    tf.random.set_seed(0)
    zs.set_seed(1)
    sample()
    np.testing.assert_array_equal(tf.random.normal([5]), expected)


def test_own_generator(mode):
    generator = tf.random.Generator.from_seed(1)
    zs.set_generator(generator)
    assert zs.get_generator() is generator
    sample = mode(draw)
    first = sample()
    zs.set_generator(tf.random.Generator.from_seed(1))
    assert all(same(first, mode(draw)()))
    zs.set_seed(1)
    assert all(same(first, mode(draw)()))
    zs.set_generator(tf.random.Generator.from_seed(2))
    assert not any(same(first, mode(draw)()))


def test_a_traced_function_keeps_its_generator():
    zs.set_seed(1)
    sample = tf.function(draw, autograph=False)
    first = sample()
    zs.set_seed(1)
    zs.set_generator(tf.random.Generator.from_seed(2))
    assert all(same(first, sample()))


def test_the_checkpoint_restores_the_draws(mode, tmp_path):
    sample = mode(draw)
    sample()
    path = tf.train.Checkpoint(random=zs.get_generator()).write(str(tmp_path / "checkpoint"))
    first, second = sample(), sample()

    tf.train.Checkpoint(random=zs.get_generator()).read(path).assert_consumed()
    assert all(same(first, sample()))
    assert all(same(second, sample()))

    zs.set_generator(tf.random.Generator.from_seed(2, alg="philox"))
    tf.train.Checkpoint(random=zs.get_generator()).read(path).assert_consumed()
    assert all(same(first, mode(draw)())), "a resumed run"


def test_without_a_seed_runs_differ(mode, monkeypatch):
    sample = mode(lambda mean: Normal(mean, std=1.0).sample())
    draws = []
    for size in (20, 21):  # traced anew for each, so that the generator is made while tracing
        monkeypatch.setattr("zhusuan.random._generator", None)  # as in a new process
        draws.append(sample(tf.zeros([size]))[:20])
    assert not np.any(draws[0] == draws[1])
    assert zs.get_generator() is zs.get_generator()


def test_set_generator_refuses_another_type():
    with pytest.raises(TypeError, match="set_generator: wanted a tf.random.Generator, got int"):
        zs.set_generator(0)
