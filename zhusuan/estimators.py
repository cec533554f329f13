"""Estimators of variational objectives and of their gradients.

In all of them `log_joint` is a function of a dict `{name: value}` over observed and latent names, `observed` such a
dict, `latent` maps each latent name to `(samples, log_q)` or to the variational network's node, and `axis` is the
sample axis that is averaged. With w = exp(log_joint - log_q), the importance weight of a sample:

    sgvb               E[log w]               gradient by reparameterisation
    nvil               E[log w]               gradient by the score function, any latent
    iwae               E[log mean w]          gradient by reparameterisation
    vimco              E[log mean w]          gradient by the score function, any latent
    rws                log mean w             reweighted wake-sleep, any latent
    is_loglikelihood   log mean w             no gradient meant

All values are in nats.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from zhusuan.bayesian_net import StochasticTensor

__all__ = ["VarianceNormalization", "is_loglikelihood", "iwae", "nvil", "rws", "sgvb", "vimco"]

LogJoint = Callable[[dict[str, Any]], tf.Tensor]
Latent = dict[str, Any]


def sgvb(log_joint: LogJoint, observed: dict[str, Any], latent: Latent, axis: int | None = None) -> tf.Tensor:
    """Evidence lower bound for reparameterised latents (Kingma & Welling 2013, eq. 6).

    Args:
        log_joint: maps `{name: value}` to log p(observed, latent).
        observed: values of the observed names.
        latent: reparameterised latents.
        axis: sample axis to average over; None reduces nothing.

    Returns:
        The lower bound, to maximise, in nats. Its gradient is an unbiased estimate of the bound's.

    Raises:
        TypeError: a latent cannot be reparameterised: no gradient would reach the posterior through its sample.
    """
    log_p, log_q = _evaluate("sgvb", log_joint, observed, latent, axis, reparameterized=True)
    return _mean(log_p - log_q, axis)


def iwae(log_joint: LogJoint, observed: dict[str, Any], latent: Latent, axis: int) -> tf.Tensor:
    """Importance-weighted lower bound for reparameterised latents (Burda et al. 2015, eq. 8).

    Args:
        log_joint: maps `{name: value}` to log p(observed, latent).
        observed: values of the observed names.
        latent: reparameterised latents.
        axis: sample axis, of S samples.

    Returns:
        The S-sample bound, to maximise, in nats.

    Raises:
        TypeError: a latent cannot be reparameterised.
        ValueError: `axis` is None.
    """
    _require_axis("iwae", axis)
    log_p, log_q = _evaluate("iwae", log_joint, observed, latent, axis, reparameterized=True)
    return _log_mean_exp(log_p - log_q, axis)


def is_loglikelihood(log_joint: LogJoint, observed: dict[str, Any], latent: Latent, axis: int) -> tf.Tensor:
    """Importance-sampling estimate of log p(observed), a lower bound in expectation (Burda et al. 2015, eq. 8).

    Args:
        log_joint: maps `{name: value}` to log p(observed, latent).
        observed: values of the observed names.
        latent: latents of any kind.
        axis: sample axis.

    Returns:
        The estimate in nats, without the sample axis.

    Raises:
        ValueError: `axis` is None.
    """
    _require_axis("is_loglikelihood", axis)
    log_p, log_q = _evaluate("is_loglikelihood", log_joint, observed, latent, axis, reparameterized=None)
    return _log_mean_exp(log_p - log_q, axis)


class VarianceNormalization(tf.Module):
    """Moving mean and variance of the learning signal (Mnih & Gregor 2014, section 2.3).

    Args:
        decay: weight of the past in the moving averages, in [0, 1).
        dtype: float type of the signal.

    Attributes:
        mean: moving average of the signal, at first 0.
        variance: moving average of its variance, at first 1.

    Raises:
        ValueError: `decay` is out of range.
    """

    def __init__(self, decay: float = 0.8, dtype: tf.DType = tf.float32) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"VarianceNormalization: wanted decay in [0, 1), got {decay!r}")
        self.decay = decay
        self.mean = tf.Variable(0.0, trainable=False, dtype=dtype)
        self.variance = tf.Variable(1.0, trainable=False, dtype=dtype)

    def __call__(self, signal: tf.Tensor) -> tf.Tensor:
        """Normalises `signal` by the values from before it, never enlarging it, then updates them."""
        if signal.dtype != self.mean.dtype:
            raise TypeError(
                f"VarianceNormalization: its dtype is {self.mean.dtype.name}, the learning signal's "
                f"{signal.dtype.name}; make it with dtype=tf.{signal.dtype.name}"
            )
        normalized = (signal - self.mean) / tf.sqrt(tf.maximum(self.variance, 1.0))
        batch_mean = tf.reduce_mean(signal)
        batch_variance = tf.reduce_mean(tf.square(signal - batch_mean))
        self.mean.assign(self.decay * self.mean + (1 - self.decay) * batch_mean)
        self.variance.assign(self.decay * self.variance + (1 - self.decay) * batch_variance)
        return normalized


def nvil(
    log_joint: LogJoint,
    observed: dict[str, Any],
    latent: Latent,
    baseline: tf.Tensor | None = None,
    variance_normalization: VarianceNormalization | None = None,
    axis: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Neural variational inference and learning: the bound for any latent (Mnih & Gregor 2014, sections 2.2 and 2.3).

    The gradient of the cost is minus an unbiased estimate of the bound's. The baseline, which must not depend on the
    latents, lowers its variance and is fitted to the learning signal log w by half the squared error, a term of the
    cost that reaches the baseline alone. Variance normalisation rescales the posterior's gradient only.

    Args:
        log_joint: maps `{name: value}` to log p(observed, latent).
        observed: values of the observed names.
        latent: latents that are not reparameterised.
        baseline: broadcasts to the learning signal's shape.
        variance_normalization: holds the signal's moving mean and variance.
        axis: sample axis to average over; None reduces nothing.

    Returns:
        `(cost, lower_bound)`: the surrogate cost to minimise and the lower bound, both in nats and of one shape.

    Raises:
        TypeError: a latent is reparameterised: its gradient would be counted twice.
        ValueError: the baseline does not broadcast to the signal's shape, or would enlarge it.
    """
    if not (variance_normalization is None or isinstance(variance_normalization, VarianceNormalization)):
        raise TypeError(
            "nvil: wanted variance_normalization as a zs.VarianceNormalization, "
            f"got {variance_normalization!r}; make one outside the training step and pass it every time"
        )
    log_p, log_q = _evaluate("nvil", log_joint, observed, latent, axis, reparameterized=False)
    log_w = log_p - log_q
    signal = tf.stop_gradient(log_w)
    cost = -log_p
    if baseline is not None:
        baseline = _check_baseline(baseline, signal)
        cost += 0.5 * tf.square(signal - baseline)
        signal -= tf.stop_gradient(baseline)
    if variance_normalization is not None:
        signal = variance_normalization(signal)
    # E[grad log q] = 0, so the term -log_q of log w needs no gradient of its own.
    cost -= signal * log_q
    return _mean(cost, axis), _mean(log_w, axis)


def vimco(log_joint: LogJoint, observed: dict[str, Any], latent: Latent, axis: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The S-sample bound for any latent (Mnih & Rezende 2016).

    Each sample's learning signal is the bound less the bound with that sample's weight replaced by the geometric mean
    of the others: a baseline that needs no parameters. The gradient of the cost is minus an unbiased estimate of the
    gradient of the S-sample bound.

    Args:
        log_joint: maps `{name: value}` to log p(observed, latent).
        observed: values of the observed names.
        latent: latents that are not reparameterised.
        axis: sample axis, of S >= 2 samples.

    Returns:
        `(cost, bound)`, without the sample axis, in nats.

    Raises:
        TypeError: a latent is reparameterised.
        ValueError: `axis` is None, or fewer than 2 samples lie on it.
    """
    _require_axis("vimco", axis)
    log_p, log_q = _evaluate("vimco", log_joint, observed, latent, axis, reparameterized=False)
    log_w = log_p - log_q
    n_samples = log_w.shape[axis] if log_w.shape.rank is not None else None
    if n_samples is not None and n_samples < 2:
        raise ValueError(
            f"vimco: wanted at least 2 samples on axis {axis}, got {n_samples} (learning signal of shape {log_w.shape})"
        )
    bound = _log_mean_exp(log_w, axis)
    signal = tf.stop_gradient(tf.expand_dims(bound, axis) - _leave_one_out(log_w, axis))
    cost = -tf.reduce_sum(signal * log_q, axis) - bound
    return cost, bound


def rws(log_joint: LogJoint, observed: dict[str, Any], latent: Latent, axis: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Reweighted wake-sleep: wake-phase steps for model and posterior (Bornschein & Bengio 2015).

    Self-normalised importance weights carry the gradients of log p and log q. For finitely many samples both are
    biased: a step towards log p(observed), and of q towards the posterior, not the gradient of a bound.

    Args:
        log_joint: maps `{name: value}` to log p(observed, latent).
        observed: values of the observed names.
        latent: latents that are not reparameterised.
        axis: sample axis.

    Returns:
        `(cost, log_likelihood)`: the surrogate cost to minimise and the importance-sampling estimate of
        log p(observed), without the sample axis, in nats.

    Raises:
        TypeError: a latent is reparameterised.
        ValueError: `axis` is None.
    """
    _require_axis("rws", axis)
    log_p, log_q = _evaluate("rws", log_joint, observed, latent, axis, reparameterized=False)
    log_w = log_p - log_q
    weights = tf.stop_gradient(tf.nn.softmax(log_w, axis=axis))
    return -tf.reduce_sum(weights * (log_p + log_q), axis), _log_mean_exp(log_w, axis)


def _evaluate(
    estimator: str,
    log_joint: LogJoint,
    observed: dict[str, Any],
    latent: Latent,
    axis: int | None,
    reparameterized: bool | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """log p(observed, latent) and the sum of log q, after refusing latents that this estimator gets wrong."""
    if not latent:
        raise ValueError(f"{estimator}: wanted at least one latent, got none")
    if not latent.keys().isdisjoint(observed):
        raise ValueError(
            f"{estimator}: wanted each name once, got {sorted(latent.keys() & observed)} observed and latent"
        )
    samples, log_qs = {}, []
    for name, value in latent.items():
        if isinstance(value, StochasticTensor):
            sample, log_q = value, value.log_prob(value.tensor)
        else:
            if not (isinstance(value, tuple | list) and len(value) == 2):
                raise TypeError(
                    f"{estimator}: latent {name!r}: wanted a pair (samples, log_q) or a node, got {value!r}"
                )
            sample, log_q = value
        _check_latent(estimator, name, sample, reparameterized)
        samples[name] = tf.convert_to_tensor(sample)
        log_qs.append(tf.convert_to_tensor(log_q))
    log_p, log_q = tf.convert_to_tensor(log_joint({**observed, **samples})), sum(log_qs[1:], log_qs[0])
    if log_p.dtype != log_q.dtype:
        raise TypeError(f"{estimator}: wanted log_joint of log_q's type {log_q.dtype.name}, got {log_p.dtype.name}")
    try:
        shape = tf.broadcast_static_shape(log_p.shape, log_q.shape)
    except ValueError:
        raise ValueError(
            f"{estimator}: wanted log_joint to broadcast with log_q of shape {log_q.shape}, got shape {log_p.shape}"
        ) from None
    if axis is not None and shape.rank is not None and not -shape.rank <= axis < shape.rank:
        raise ValueError(f"{estimator}: wanted a sample axis of the learning signal, got axis {axis} of shape {shape}")
    return log_p, log_q


def _check_latent(estimator: str, name: str, sample: Any, reparameterized: bool | None) -> None:
    # A bare pair of float tensors says nothing about its origin and is taken as it is.
    is_node = isinstance(sample, StochasticTensor)
    if reparameterized is True:
        dtype = tf.convert_to_tensor(sample).dtype
        if not dtype.is_floating or (is_node and not sample.distribution.is_reparameterized):
            kind = type(sample.distribution).__name__ if is_node else "tensor"
            raise TypeError(
                f"{estimator}: latent {name!r}: wanted a reparameterised sample, got a {dtype.name} {kind} without "
                "gradient; use zs.nvil, zs.vimco or zs.rws, or sum it out of log_joint"
            )
    elif reparameterized is False and is_node and sample.distribution.is_reparameterized:
        raise TypeError(
            f"{estimator}: latent {name!r}: wanted a sample that is not reparameterised, got one whose gradient would "
            "be counted twice; give its node is_reparameterized=False, or use zs.sgvb"
        )


def _check_baseline(baseline: Any, signal: tf.Tensor) -> tf.Tensor:
    baseline = tf.convert_to_tensor(baseline, dtype_hint=signal.dtype)
    if baseline.dtype != signal.dtype:
        raise TypeError(f"nvil: wanted a baseline of type {signal.dtype.name}, got {baseline.dtype.name}")
    try:
        fits = tf.broadcast_static_shape(baseline.shape, signal.shape).is_compatible_with(signal.shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"nvil: wanted a baseline that broadcasts to the learning signal's shape {signal.shape}, "
            f"got shape {baseline.shape}"
        )
    return baseline


def _require_axis(estimator: str, axis: int | None) -> None:
    if axis is None:
        raise ValueError(f"{estimator}: wanted the sample axis as axis=, got None")


def _mean(values: tf.Tensor, axis: int | None) -> tf.Tensor:
    return values if axis is None else tf.reduce_mean(values, axis)


def _log_mean_exp(values: tf.Tensor, axis: int) -> tf.Tensor:
    count = tf.cast(tf.shape(values)[axis], values.dtype)
    return tf.reduce_logsumexp(values, axis) - tf.math.log(count)


def _leave_one_out(log_w: tf.Tensor, axis: int) -> tf.Tensor:
    """log mean w with each sample's own log w in turn replaced by the mean of the others; the shape stays."""
    log_w = tf.experimental.numpy.moveaxis(log_w, axis, 0)
    n_samples = tf.shape(log_w)[0]
    others = (tf.reduce_sum(log_w, 0) - log_w) / tf.cast(n_samples - 1, log_w.dtype)
    itself = tf.eye(n_samples, dtype=tf.bool)
    for _ in log_w.shape[1:]:
        itself = itself[..., None]
    replaced = tf.where(itself, others[:, None], log_w[None])  # [S, S, ...]: row i has the i-th value replaced
    return tf.experimental.numpy.moveaxis(_log_mean_exp(replaced, 1), 0, axis)
