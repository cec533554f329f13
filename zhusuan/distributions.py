"""Distributions: `sample` and `log_prob` over batches, with broadcasting and event axes (`group_ndims`).

A shape reads  samples + batch_shape + value_shape.  `group_ndims` says how many of the last batch axes form one event:
`log_prob` sums over them.  Parameters are float32 or float64; log-probabilities are in nats.

    normal = Normal(tf.zeros([32, 40]), logstd=0.0, group_ndims=1)
    h = normal.sample(8)                                        # [8, 32, 40]
    normal.log_prob(h)                                          # [8, 32]
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import tensorflow as tf

from zhusuan.random import get_generator

__all__ = [
    "Bernoulli",
    "Categorical",
    "Discrete",
    "Distribution",
    "ExpConcrete",
    "Normal",
    "OnehotCategorical",
    "OnehotDiscrete",
]


class Distribution(ABC):
    """What all distributions share: shapes, types, and the sum over event axes.

    Args:
        dtype: type of the samples.
        batch_shape: static shape that the parameters broadcast to.
        value_shape: static shape of one value, `[]` for a scalar.
        is_continuous: whether values are real numbers.
        is_reparameterized: whether gradients flow through a sample into the parameters.
        group_ndims: number of last batch axes that form one event, 0 to the rank of `batch_shape`.

    Raises:
        ValueError: `group_ndims` is out of range.
    """

    def __init__(
        self,
        dtype: tf.DType,
        batch_shape: tf.TensorShape,
        value_shape: tf.TensorShape,
        is_continuous: bool,
        is_reparameterized: bool,
        group_ndims: int,
    ) -> None:
        rank = batch_shape.rank
        if isinstance(group_ndims, bool) or not isinstance(group_ndims, int) or not 0 <= group_ndims <= (rank or 0):
            raise ValueError(
                f"{type(self).__name__}: wanted group_ndims as an integer from 0 to {rank}, the number of batch axes "
                f"of batch_shape {batch_shape}, got {group_ndims!r}"
            )
        self._dtype = dtype
        self._batch_shape = batch_shape
        self._value_shape = value_shape
        self._is_continuous = is_continuous
        self._is_reparameterized = is_reparameterized
        self._group_ndims = group_ndims

    @property
    def dtype(self) -> tf.DType:
        """Type of the samples."""
        return self._dtype

    @property
    def batch_shape(self) -> tf.TensorShape:
        """Shape that the parameters broadcast to, without the value axes."""
        return self._batch_shape

    @property
    def value_shape(self) -> tf.TensorShape:
        """Shape of one value: `[]`, or `[K]` where it is a vector."""
        return self._value_shape

    @property
    def group_ndims(self) -> int:
        """Number of last batch axes that `log_prob` sums over."""
        return self._group_ndims

    @property
    def is_continuous(self) -> bool:
        """Whether values are real numbers."""
        return self._is_continuous

    @property
    def is_reparameterized(self) -> bool:
        """Whether gradients flow through a sample into the parameters."""
        return self._is_reparameterized

    def sample(self, n_samples: int | tf.Tensor | None = None) -> tf.Tensor:
        """Draws from the generator of `zhusuan.random`.

        Args:
            n_samples: number of samples, at least 1; `None` draws one without a sample axis.

        Returns:
            `([n_samples] +) batch_shape + value_shape`, of type `dtype`.

        Raises:
            ValueError: `n_samples` is below 1 or not an integer.
        """
        if n_samples is None:
            return self._sample([])
        self.check_n_samples(n_samples)
        return self._sample([n_samples])

    def check_n_samples(self, n_samples: Any) -> None:
        """Raises ValueError where `n_samples` is neither None nor an integer of at least 1."""
        if n_samples is None:
            return
        static = tf.get_static_value(n_samples) if tf.is_tensor(n_samples) else n_samples
        if static is not None and (isinstance(static, bool) or not isinstance(static, int | np.integer) or static < 1):
            raise ValueError(f"{type(self).__name__}: wanted n_samples as an integer of at least 1, got {n_samples!r}")

    def log_prob(self, given: Any) -> tf.Tensor:
        """Log-density or log-probability, summed over the event axes, in nats.

        Args:
            given: values that broadcast with `batch_shape + value_shape`; extra leading axes stay in front.

        Returns:
            the broadcast batch axes without the last `group_ndims`.

        Raises:
            ValueError: `given` does not broadcast.
        """
        given = tf.convert_to_tensor(given, dtype_hint=self.dtype)
        self.check_given(given)
        log_prob = self._log_prob(given)
        return tf.reduce_sum(log_prob, axis=list(range(-self._group_ndims, 0))) if self._group_ndims else log_prob

    def check_given(self, given: tf.Tensor) -> None:
        """Raises ValueError where `given` does not broadcast with `batch_shape + value_shape`."""
        wanted = self.batch_shape.concatenate(self.value_shape)
        try:
            tf.broadcast_static_shape(given.shape, wanted)
            matches = self.value_shape.rank == 0 or given.shape[-1:].is_compatible_with(self.value_shape)
        except ValueError:
            matches = False
        if not matches:
            raise ValueError(
                f"{type(self).__name__}: wanted a value that broadcasts with batch_shape + value_shape = {wanted}, "
                f"got shape {given.shape}"
            )

    @abstractmethod
    def _sample(self, sample_shape: list) -> tf.Tensor:
        """Samples of shape `sample_shape + batch_shape + value_shape`."""

    @abstractmethod
    def _log_prob(self, given: tf.Tensor) -> tf.Tensor:
        """Log-probabilities over the broadcast batch axes."""


class Normal(Distribution):
    """Normal distribution of scalars.

    Args:
        mean: mean, any shape.
        std: standard deviation, above 0; exactly one of `std` and `logstd` is given.
        logstd: its natural logarithm.
        is_reparameterized: draw mean + std * noise, so that gradients flow (Kingma & Welling 2013, section 2.4);
            False stops them.
        group_ndims: number of last batch axes that form one event.

    Raises:
        ValueError: not exactly one of `std` and `logstd`, a `std` known to be 0 or below, or shapes that do not
            broadcast.
        TypeError: parameters of different float types.
    """

    def __init__(
        self,
        mean: Any,
        *,
        std: Any = None,
        logstd: Any = None,
        is_reparameterized: bool = True,
        group_ndims: int = 0,
    ) -> None:
        if (std is None) == (logstd is None):
            raise ValueError(
                f"Normal: wanted exactly one of std and logstd, got {'neither' if std is None else 'both'}"
            )
        if logstd is None:
            self.mean, self.std = _float_tensors("Normal", mean=mean, std=std)
            known = tf.get_static_value(self.std)
            if known is not None and not np.all(known > 0):
                raise ValueError(f"Normal: wanted std above 0, got {np.min(known)}")
            self.logstd = tf.math.log(self.std)
            batch_shape = _broadcast("Normal", mean=self.mean, std=self.std)
        else:
            self.mean, self.logstd = _float_tensors("Normal", mean=mean, logstd=logstd)
            self.std = tf.exp(self.logstd)
            batch_shape = _broadcast("Normal", mean=self.mean, logstd=self.logstd)
        super().__init__(
            dtype=self.mean.dtype,
            batch_shape=batch_shape,
            value_shape=tf.TensorShape([]),
            is_continuous=True,
            is_reparameterized=is_reparameterized,
            group_ndims=group_ndims,
        )

    def _sample(self, sample_shape: list) -> tf.Tensor:
        batch_shape = tf.broadcast_dynamic_shape(tf.shape(self.mean), tf.shape(self.std))
        noise = get_generator().normal(tf.concat([sample_shape, batch_shape], 0), dtype=self.dtype)
        sample = self.mean + self.std * noise
        return sample if self.is_reparameterized else tf.stop_gradient(sample)

    def _log_prob(self, given: tf.Tensor) -> tf.Tensor:
        standardized = (tf.cast(given, self.dtype) - self.mean) / self.std
        return -0.5 * math.log(2 * math.pi) - self.logstd - 0.5 * tf.square(standardized)


class Bernoulli(Distribution):
    """Bernoulli distribution of 0 or 1.

    Args:
        logits: log-odds log p/(1 - p), any shape.
        dtype: type of the samples.
        group_ndims: number of last batch axes that form one event.

    Raises:
        TypeError: `logits` are not numbers.
    """

    def __init__(self, logits: Any, *, dtype: tf.DType = tf.int32, group_ndims: int = 0) -> None:
        (self.logits,) = _float_tensors("Bernoulli", logits=logits)
        super().__init__(
            dtype=tf.as_dtype(dtype),
            batch_shape=self.logits.shape,
            value_shape=tf.TensorShape([]),
            is_continuous=False,
            is_reparameterized=False,
            group_ndims=group_ndims,
        )

    def _sample(self, sample_shape: list) -> tf.Tensor:
        shape = tf.concat([sample_shape, tf.shape(self.logits)], 0)
        uniform = get_generator().uniform(shape, dtype=self.logits.dtype)  # in [0, 1)
        return tf.cast(uniform < tf.sigmoid(self.logits), self.dtype)

    def _log_prob(self, given: tf.Tensor) -> tf.Tensor:
        given = tf.cast(given, self.logits.dtype)
        shape = tf.broadcast_dynamic_shape(tf.shape(given), tf.shape(self.logits))
        # x log p + (1 - x) log(1 - p) in a form that neither overflows nor cancels; a grey x gives the cross-entropy.
        return -tf.nn.sigmoid_cross_entropy_with_logits(
            labels=tf.broadcast_to(given, shape), logits=tf.broadcast_to(self.logits, shape)
        )


class _Discrete(Distribution):
    """What the two forms of the discrete distribution share. `logits [..., K]` are unnormalised log-probabilities."""

    def __init__(self, logits: Any, dtype: tf.DType, onehot: bool, group_ndims: int) -> None:
        name = type(self).__name__
        (self.logits,) = _float_tensors(name, logits=logits)
        self.n_categories = _n_categories(name, self.logits)
        super().__init__(
            dtype=tf.as_dtype(dtype),
            batch_shape=self.logits.shape[:-1],
            value_shape=self.logits.shape[-1:] if onehot else tf.TensorShape([]),
            is_continuous=False,
            is_reparameterized=False,
            group_ndims=group_ndims,
        )

    def _sample_index(self, sample_shape: list) -> tf.Tensor:
        # Not tf.random.categorical, which under XLA does not obey a seed. One uniform number in (0, 1] for a sample,
        # against the cumulative probabilities, costs less than the K of the Gumbel-max trick. With a number of 0, which
        # one in 2^23 is in float32, the first category would be drawn however improbable it is.
        cumulative = tf.cumsum(tf.nn.softmax(self.logits), axis=-1)
        shape = tf.concat([sample_shape, tf.shape(self.logits)[:-1]], 0)
        uniform = (1 - get_generator().uniform(shape, dtype=self.logits.dtype)) * cumulative[..., -1]
        return tf.reduce_sum(tf.cast(uniform[..., None] > cumulative[..., :-1], tf.int32), axis=-1)


class Categorical(_Discrete):
    """Discrete distribution on 0, ..., K - 1, as an index. `Discrete` is the same class.

    Args:
        logits: unnormalised log-probabilities `[..., K]`.
        dtype: type of the samples.
        group_ndims: number of last batch axes that form one event.

    Raises:
        ValueError: `logits` are a scalar, or K is unknown.
        TypeError: `logits` are not numbers.
    """

    def __init__(self, logits: Any, *, dtype: tf.DType = tf.int32, group_ndims: int = 0) -> None:
        super().__init__(logits, dtype, onehot=False, group_ndims=group_ndims)

    def _sample(self, sample_shape: list) -> tf.Tensor:
        return tf.cast(self._sample_index(sample_shape), self.dtype)

    def _log_prob(self, given: tf.Tensor) -> tf.Tensor:
        chosen = tf.one_hot(tf.cast(given, tf.int64), self.n_categories, on_value=True, off_value=False)
        log_prob = tf.where(chosen, tf.nn.log_softmax(self.logits), tf.zeros([], self.logits.dtype))
        # An index outside 0, ..., K - 1 has probability 0; one_hot alone would call it certain.
        outside = tf.cast(-math.inf, log_prob.dtype)
        return tf.where(tf.reduce_any(chosen, axis=-1), tf.reduce_sum(log_prob, axis=-1), outside)


class OnehotCategorical(_Discrete):
    """Discrete distribution on K categories, as a one-hot vector. `OnehotDiscrete` is the same class.

    Args:
        logits: unnormalised log-probabilities `[..., K]`.
        dtype: type of the samples; float32 spares a cast where they enter a network.
        group_ndims: number of last batch axes that form one event.

    Raises:
        ValueError: `logits` are a scalar, or K is unknown.
        TypeError: `logits` are not numbers.
    """

    def __init__(self, logits: Any, *, dtype: tf.DType = tf.int32, group_ndims: int = 0) -> None:
        super().__init__(logits, dtype, onehot=True, group_ndims=group_ndims)

    def _sample(self, sample_shape: list) -> tf.Tensor:
        return tf.one_hot(self._sample_index(sample_shape), self.n_categories, dtype=self.dtype)

    def _log_prob(self, given: tf.Tensor) -> tf.Tensor:
        log_probs = tf.nn.log_softmax(self.logits)
        # 0 times log 0 is 0 here: a category that cannot occur and did not.
        return tf.reduce_sum(tf.math.multiply_no_nan(log_probs, tf.cast(given, log_probs.dtype)), axis=-1)


class ExpConcrete(Distribution):
    """Relaxed one-hot vectors in logarithms (Maddison, Mnih & Teh 2017, arXiv 1611.00712; Jang, Gu & Poole 2017).

    A sample x is log y for a y on the simplex, so `tf.exp` of it is the relaxed one-hot vector. As the temperature
    falls to 0, y becomes a one-hot vector of `OnehotCategorical` with the same logits. Logarithms keep entries that exp
    would round to 0.

        log p(x) = log (K - 1)! + (K - 1) log t + sum_k (logits_k - t x_k) - K log sum_k exp(logits_k - t x_k)

    is the density with respect to dy / (y_1 ... y_K); that of the Concrete distribution of y is sum_k x_k less.

    Args:
        temperature: t, a scalar above 0.
        logits: unnormalised log-probabilities `[..., K]`.
        is_reparameterized: let gradients flow through a sample; False stops them.
        group_ndims: number of last batch axes that form one event.

    Raises:
        ValueError: `temperature` is known to be 0 or below, or no scalar; `logits` are a scalar, or K is unknown.
        TypeError: parameters of different float types.
    """

    def __init__(self, temperature: Any, logits: Any, *, is_reparameterized: bool = True, group_ndims: int = 0) -> None:
        self.logits, self.temperature = _float_tensors("ExpConcrete", logits=logits, temperature=temperature)
        self.n_categories = _n_categories("ExpConcrete", self.logits)
        known = tf.get_static_value(self.temperature)
        if self.temperature.shape.rank != 0 or (known is not None and not known > 0):
            got = f"shape {self.temperature.shape}" if known is None or np.ndim(known) else f"{known}"
            raise ValueError(f"ExpConcrete: wanted temperature as a scalar above 0, got {got}")
        super().__init__(
            dtype=self.logits.dtype,
            batch_shape=self.logits.shape[:-1],
            value_shape=self.logits.shape[-1:],
            is_continuous=True,
            is_reparameterized=is_reparameterized,
            group_ndims=group_ndims,
        )

    def _sample(self, sample_shape: list) -> tf.Tensor:
        noise = _gumbel(tf.concat([sample_shape, tf.shape(self.logits)], 0), self.dtype)
        sample = tf.nn.log_softmax((self.logits + noise) / self.temperature)
        return sample if self.is_reparameterized else tf.stop_gradient(sample)

    def _log_prob(self, given: tf.Tensor) -> tf.Tensor:
        k = self.n_categories
        logits = self.logits - self.temperature * tf.cast(given, self.dtype)
        constant = math.lgamma(k) + (k - 1) * tf.math.log(self.temperature)
        return constant + tf.reduce_sum(tf.nn.log_softmax(logits), axis=-1)


Discrete = Categorical
OnehotDiscrete = OnehotCategorical


def _n_categories(owner: str, logits: tf.Tensor) -> int:
    """K of logits `[..., K]`."""
    if logits.shape.rank == 0:
        raise ValueError(f"{owner}: wanted logits of shape [..., K], got a scalar")
    if logits.shape[-1] is None:
        raise ValueError(f"{owner}: wanted logits whose last axis has a known size, got shape {logits.shape}")
    return logits.shape[-1]


def _gumbel(shape: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Standard Gumbel noise."""
    uniform = get_generator().uniform(shape, minval=dtype.as_numpy_dtype(_TINY[dtype]), dtype=dtype)
    return -tf.math.log(-tf.math.log(uniform))


# The smallest normal number: a uniform number of 0 would make the Gumbel noise infinite.
_TINY = {tf.float32: 1.1754944e-38, tf.float64: 2.2250738585072014e-308}


def _float_tensors(owner: str, **parameters: Any) -> list[tf.Tensor]:
    """Converts parameters to tensors of one float type. Python numbers and integers take the type of the others."""
    tensors = {name: tf.convert_to_tensor(value) for name, value in parameters.items() if hasattr(value, "dtype")}
    floats = {name: tensor.dtype for name, tensor in tensors.items() if tensor.dtype.is_floating}
    dtype = next(iter(floats.values()), tf.float32)
    if dtype not in _TINY or any(other != dtype for other in floats.values()):
        got = ", ".join(f"{name} {other.name}" for name, other in floats.items())
        raise TypeError(f"{owner}: wanted parameters of one type, float32 or float64, got {got}")
    converted = []
    for name, value in parameters.items():
        try:
            value = tf.convert_to_tensor(value, None if name in tensors else dtype)
            converted.append(value if value.dtype == dtype else tf.cast(value, dtype))
        except (TypeError, ValueError) as error:
            raise TypeError(f"{owner}: wanted {name} as numbers, got {value!r} ({error})") from None
    return converted


def _broadcast(owner: str, **parameters: tf.Tensor) -> tf.TensorShape:
    """The static shape that two parameters broadcast to."""
    (first, a), (second, b) = parameters.items()
    try:
        return tf.broadcast_static_shape(a.shape, b.shape)
    except ValueError:
        raise ValueError(
            f"{owner}: wanted {first} and {second} of shapes that broadcast, got {a.shape} and {b.shape}"
        ) from None
