"""Bayesian networks: named stochastic nodes, each observed or sampled once.

    with zs.BayesianNet(observed={"x": x}) as model:
        z = zs.OnehotDiscrete("z", logits, n_samples=8, dtype=tf.float32)
        x = zs.Normal("x", tf.matmul(z, means), logstd=0.0, group_ndims=1)
    log_p_z, log_p_x = model.local_log_prob(["z", "x"])

A network is rebuilt, with other observations, by calling the function that builds it again. Trainable variables live
outside it.
"""

import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from zhusuan import distributions

__all__ = [
    "BayesianNet",
    "Bernoulli",
    "Categorical",
    "Discrete",
    "ExpConcrete",
    "Normal",
    "OnehotCategorical",
    "OnehotDiscrete",
    "StochasticTensor",
]

_open_nets = threading.local()


class BayesianNet:
    """A network of stochastic nodes, filled inside its `with` block.

    Args:
        observed: maps names of nodes to their values. A name that no node takes is ignored, so that one dict can serve
            a model and its variational posterior.
    """

    def __init__(self, observed: dict[str, Any] | None = None) -> None:
        self.observed = dict(observed or {})
        self._nodes: dict[str, StochasticTensor] = {}
        self._local_log_probs: dict[str, tf.Tensor] = {}

    def __enter__(self) -> "BayesianNet":
        _open_nets.stack = [*getattr(_open_nets, "stack", []), self]
        return self

    def __exit__(self, *_: object) -> None:
        _open_nets.stack = _open_nets.stack[:-1]

    @classmethod
    def current(cls) -> "BayesianNet":
        """The innermost network whose `with` block is open.

        Raises:
            RuntimeError: none is open.
        """
        stack = getattr(_open_nets, "stack", [])
        if not stack:
            raise RuntimeError(
                "a stochastic node was made outside a network; wanted it inside `with zs.BayesianNet():`"
            )
        return stack[-1]

    def add(self, node: "StochasticTensor") -> None:
        """Registers a node.

        Raises:
            ValueError: its name is taken.
        """
        if node.name in self._nodes:
            raise ValueError(f"node {node.name!r}: this network has a node of that name already; wanted another name")
        self._nodes[node.name] = node

    def __getitem__(self, name: str) -> "StochasticTensor":
        """The node of that name, for an estimator's `latent`.

        Raises:
            KeyError: the network has no node of that name.
        """
        if name not in self._nodes:
            raise KeyError(f"node {name!r}: the network has no node of that name, but {sorted(self._nodes)}")
        return self._nodes[name]

    def outputs(self, names: str | Iterable[str]) -> Any:
        """The values of nodes: one name gives a tensor, a list of names a list.

        Raises:
            KeyError: the network has no node of that name.
        """
        return self._for_each(names, lambda name: self[name].tensor)

    def local_log_prob(self, names: str | Iterable[str]) -> Any:
        """log p(node | parents) in nats: one name gives a tensor, a list of names a list.

        Raises:
            KeyError: the network has no node of that name.
        """
        return self._for_each(names, self._local_log_prob)

    def query(self, names: str | Iterable[str], outputs: bool = False, local_log_prob: bool = False) -> Any:
        """Values and local log-probabilities together, as `(samples, log_q)` for the estimators.

        Returns:
            one name gives a tuple of what was asked for, a list of names a list of such tuples.

        Raises:
            ValueError: neither was asked for.
            KeyError: the network has no node of that name.
        """
        if not (outputs or local_log_prob):
            raise ValueError("query: wanted outputs=True or local_log_prob=True, or both, got neither")

        def ask(name: str) -> tuple:
            values = (self.outputs(name),) if outputs else ()
            return (*values, self.local_log_prob(name)) if local_log_prob else values

        return self._for_each(names, ask)

    def log_joint(self) -> tf.Tensor:
        """Sum of every node's local log-probability, by broadcasting, in nats.

        Raises:
            ValueError: the network has no node.
        """
        if not self._nodes:
            raise ValueError("log_joint: wanted a network with at least one node, got none")
        return sum(self._local_log_prob(name) for name in self._nodes)

    def _local_log_prob(self, name: str) -> tf.Tensor:
        if name not in self._local_log_probs:
            node = self[name]
            log_prob = node.log_prob(node.tensor)
            if tf.is_symbolic_tensor(log_prob) and not tf.is_symbolic_tensor(node.tensor):
                return log_prob  # belongs to the graph being traced, while the network outlives it
            self._local_log_probs[name] = log_prob
        return self._local_log_probs[name]

    @staticmethod
    def _for_each(names: str | Iterable[str], ask: Any) -> Any:
        return ask(names) if isinstance(names, str) else [ask(name) for name in names]


class StochasticTensor:
    """A node of a network: Tensor-like, so it goes into TensorFlow operations and Python operators.

    Its value is the observation where the network's `observed` has its name; otherwise one sample, drawn at first use
    and kept.

    Args:
        name: unique in its network.
        distribution: the node's distribution given its parents.
        n_samples: number of samples on a new leading axis, or None.

    Raises:
        RuntimeError: no network is open.
        ValueError: the name is taken, or the observation does not broadcast with the distribution's shape.
        TypeError: the observation has another kind of numbers than the distribution's `dtype`, or the name is none.
    """

    def __init__(
        self, name: str, distribution: distributions.Distribution, n_samples: int | tf.Tensor | None = None
    ) -> None:
        net = BayesianNet.current()
        if not isinstance(name, str):
            raise TypeError(f"wanted the node's name as its first argument, got {type(name).__name__}")
        self._name = name
        self._distribution = distribution
        self._n_samples = n_samples
        self._is_observed = name in net.observed
        self._tensor = self._observation(net.observed[name]) if self._is_observed else None
        try:
            distribution.check_n_samples(n_samples)
            if self._is_observed:
                distribution.check_given(self._tensor)
        except ValueError as error:
            raise ValueError(f"node {name!r}: {error}") from None
        net.add(self)

    @property
    def name(self) -> str:
        """The node's name in its network."""
        return self._name

    @property
    def distribution(self) -> distributions.Distribution:
        """The node's distribution given its parents."""
        return self._distribution

    @property
    def tensor(self) -> tf.Tensor:
        """The node's value: the observation, or the sample."""
        if self._tensor is None:
            self._tensor = self._distribution.sample(self._n_samples)
        return self._tensor

    @property
    def dtype(self) -> tf.DType:
        """Type of the value."""
        return self._distribution.dtype

    @property
    def shape(self) -> tf.TensorShape:
        """Static shape of the value."""
        return self.tensor.shape

    def is_observed(self) -> bool:
        """Whether the network was given this node's value."""
        return self._is_observed

    def log_prob(self, given: Any) -> tf.Tensor:
        """The distribution's `log_prob`; its errors name the node.

        Raises:
            ValueError: `given` does not broadcast with the distribution's shape.
        """
        try:
            return self._distribution.log_prob(given)
        except ValueError as error:
            raise ValueError(f"node {self._name!r}: {error}") from None

    def _observation(self, value: Any) -> tf.Tensor:
        wanted = self.dtype
        try:
            if value is None:
                raise TypeError("got None")
            if hasattr(value, "dtype") and not isinstance(value, np.ndarray | np.generic):
                tensor = tf.convert_to_tensor(value)
            else:
                array = np.asarray(value)
                # NumPy's own types pass where no value is lost: float64 to float32, integers to floats.
                lossless = wanted.is_floating or not np.issubdtype(array.dtype, np.floating)
                tensor = tf.convert_to_tensor(array.astype(wanted.as_numpy_dtype) if lossless else array)
            if (tensor.dtype.is_integer or tensor.dtype.is_bool) and tensor.dtype != wanted:
                tensor = tf.cast(tensor, wanted)
        except (TypeError, ValueError) as error:
            raise TypeError(f"node {self._name!r}: wanted an observation of {wanted.name} numbers: {error}") from None
        if tensor.dtype != wanted:
            raise TypeError(
                f"node {self._name!r}: wanted an observation of type {wanted.name}, got {tensor.dtype.name}; "
                f"cast it, or give the node dtype=tf.{tensor.dtype.name}"
            )
        return tensor

    def __repr__(self) -> str:
        state = "observed" if self._is_observed else "sampled" if self._tensor is not None else "not yet sampled"
        return f"<StochasticTensor {self._name!r} {type(self._distribution).__name__} {self.dtype.name}, {state}>"

    def __tf_tensor__(self, dtype: tf.DType | None = None, name: str | None = None) -> tf.Tensor:
        return tf.convert_to_tensor(self.tensor, dtype=dtype, name=name)

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.asarray(self.tensor).__array__(*args, **kwargs)

    __array_priority__ = 100  # as tf.Tensor's: an array on the left leaves the operation to the node

    __hash__ = None  # like tf.Tensor: == compares elements


def _delegate(operator: str) -> None:
    def apply(self: StochasticTensor, *args: Any) -> Any:
        return getattr(self.tensor, operator)(*args)

    apply.__name__ = operator
    setattr(StochasticTensor, operator, apply)


for _operator in [*tf.Tensor.OVERLOADABLE_OPERATORS, "__iter__", "__len__", "__bool__", "__float__", "__int__"]:
    _delegate(_operator)


def Normal(
    name: str,
    mean: Any,
    *,
    std: Any = None,
    logstd: Any = None,
    n_samples: int | tf.Tensor | None = None,
    is_reparameterized: bool = True,
    group_ndims: int = 0,
) -> StochasticTensor:
    """A node with `distributions.Normal`; the arguments are its, `n_samples` adds a leading sample axis."""
    return _node(
        name,
        distributions.Normal,
        n_samples,
        mean,
        std=std,
        logstd=logstd,
        is_reparameterized=is_reparameterized,
        group_ndims=group_ndims,
    )


def Bernoulli(
    name: str,
    logits: Any,
    *,
    n_samples: int | tf.Tensor | None = None,
    dtype: tf.DType = tf.int32,
    group_ndims: int = 0,
) -> StochasticTensor:
    """A node with `distributions.Bernoulli`; the arguments are its, `n_samples` adds a leading sample axis."""
    return _node(name, distributions.Bernoulli, n_samples, logits, dtype=dtype, group_ndims=group_ndims)


def Categorical(
    name: str,
    logits: Any,
    *,
    n_samples: int | tf.Tensor | None = None,
    dtype: tf.DType = tf.int32,
    group_ndims: int = 0,
) -> StochasticTensor:
    """A node with `distributions.Categorical`; the arguments are its, `n_samples` adds a leading sample axis."""
    return _node(name, distributions.Categorical, n_samples, logits, dtype=dtype, group_ndims=group_ndims)


def OnehotCategorical(
    name: str,
    logits: Any,
    *,
    n_samples: int | tf.Tensor | None = None,
    dtype: tf.DType = tf.int32,
    group_ndims: int = 0,
) -> StochasticTensor:
    """A node with `distributions.OnehotCategorical`; the arguments are its, `n_samples` adds a leading sample axis."""
    return _node(name, distributions.OnehotCategorical, n_samples, logits, dtype=dtype, group_ndims=group_ndims)


def ExpConcrete(
    name: str,
    temperature: Any,
    logits: Any,
    *,
    n_samples: int | tf.Tensor | None = None,
    is_reparameterized: bool = True,
    group_ndims: int = 0,
) -> StochasticTensor:
    """A node with `distributions.ExpConcrete`; the arguments are its, `n_samples` adds a leading sample axis."""
    return _node(
        name,
        distributions.ExpConcrete,
        n_samples,
        temperature,
        logits,
        is_reparameterized=is_reparameterized,
        group_ndims=group_ndims,
    )


Discrete = Categorical
OnehotDiscrete = OnehotCategorical


def _node(name: str, distribution: type, n_samples: Any, *args: Any, **kwargs: Any) -> StochasticTensor:
    try:
        made = distribution(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise type(error)(f"node {name!r}: {error}") from None
    return StochasticTensor(name, made, n_samples)
