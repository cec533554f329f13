"""Shared by the tests: a quiet TensorFlow, a fixed seed, and the three ways to run a function."""

import functools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
import tensorflow as tf

import zhusuan as zs

MODES = {
    "eager": lambda function: function,
    "graph": functools.partial(tf.function, autograph=False),
    "xla": functools.partial(tf.function, autograph=False, jit_compile=True),
}


@pytest.fixture(params=MODES)
def mode(request):
    """Wraps a function so that it runs eagerly, in a graph, or compiled by XLA."""
    return MODES[request.param]


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(autouse=True)
def _seed():
    zs.set_seed(0)
