"""The autoencoder in JAX with optax. bfloat16 is that of the matrix products' operands, forward and backward."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.scipy.stats import norm

from benchmarks import network

CHUNK = 10  # samples of h that are scored at once
Weights = list[Array]  # as of `network.start`


@jax.custom_vjp
def matmul_bfloat16(a: Array, b: Array) -> Array:
    """The product of bfloat16 matrices `[..., B, I]` and `[I, O]` in float32. Its derivative would multiply in float32,
    so it has its own."""
    return jnp.matmul(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)


def _forward(a: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    return matmul_bfloat16(a, b), (a, b)


def _backward(operands: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    a, b = operands
    return matmul_bfloat16(gradient, b.T), matmul_bfloat16(a.T, gradient)


matmul_bfloat16.defvjp(_forward, _backward)
MATMUL = {"float32": jnp.matmul, "bfloat16": matmul_bfloat16}


def mlp(weights: Weights, x: Array, precision: str) -> Array:
    """Dense layers with ReLU between them."""
    for i in range(0, len(weights), 2):
        kernel, bias = weights[i : i + 2]
        x = MATMUL[precision](x, kernel) + bias
        if i + 2 < len(weights):
            x = jax.nn.relu(x)
    return x


def infer(weights: Weights, x: Array, precision: str) -> tuple[Array, Array]:
    """Mean and standard deviation of q(h | x), `[B, D]`, of x `[B, 784]`."""
    mean, logstd = jnp.split(mlp(weights[3:9], x, precision), 2, -1)
    return mean, jnp.exp(logstd)


def log_p_x(weights: Weights, x: Array, h: Array, precision: str) -> Array:
    """log p(x | h), `[..., B]`, of x `[B, 784]` and h `[..., B, D]`."""
    return -optax.sigmoid_binary_cross_entropy(mlp(weights[9:], h, precision), x).sum(-1)


def log_p_zh(weights: Weights, h: Array) -> Array:
    """log p(z, h) for every z, `[..., B, K]`."""
    weight_logits, means, logstds = weights[:3]
    return jax.nn.log_softmax(weight_logits) + norm.logpdf(h[..., None, :], means, jnp.exp(logstds)).sum(-1)


def bound(weights: Weights, x: Array, noise: Array, precision: str) -> Array:
    """The mean lower bound of x `[B, 784]`, nats per image, at the h of standard normal noise `[B, D]`."""
    mean, std = infer(weights, x, precision)
    h = mean + std * noise
    log_p_h = jax.nn.logsumexp(log_p_zh(weights, h), -1)
    return (log_p_x(weights, x, h, precision) + log_p_h - norm.logpdf(h, mean, std).sum(-1)).mean()


def training(batch_size: int, precision: str) -> Callable[[], float]:
    """An epoch of training; gives the mean bound."""
    weights = jax.device_put(network.start())
    adam = optax.adam(network.LEARNING_RATE)
    epochs = network.epochs(batch_size)

    @partial(jax.jit, donate_argnums=0)
    def train(state: Any, batches: Array) -> tuple[Any, Array]:
        def step(state: Any, batch: Array) -> tuple[Any, Array]:
            weights, moments, averages, key = state
            key, now = jax.random.split(key)
            noise = jax.random.normal(now, (batch_size, network.DECODER[0]))
            value, gradient = jax.value_and_grad(bound)(weights, batch.astype(jnp.float32), noise, precision)
            updates, moments = adam.update(jax.tree.map(jnp.negative, gradient), moments)
            weights = optax.apply_updates(weights, updates)
            averages = optax.incremental_update(weights, averages, 1 - network.DECAY)
            return (weights, moments, averages, key), value

        state, bounds = lax.scan(step, state, batches)
        return state, bounds.mean()

    state = weights, adam.init(weights), jax.tree.map(jnp.copy, weights), jax.random.key(0)

    def epoch() -> float:
        nonlocal state
        state, value = train(state, jnp.asarray(next(epochs)))
        return value.item()

    return epoch


def scoring(n_samples: int, precision: str) -> Callable[[], float]:
    """Scores of images from n_samples samples of q(h | x) each; gives the mean log-likelihood, nats per image."""
    weights, x = jax.device_put((network.start(), network.binary_images()))
    key = jax.random.key(0)

    @jax.jit
    def importance_sample(weights: Weights, x: Array, key: Array) -> tuple[Array, ...]:
        mean, std = infer(weights, x, precision)

        def sample(key: Array) -> tuple[Array, Array]:
            h = mean + std * jax.random.normal(key, (CHUNK, *mean.shape))
            joint = log_p_zh(weights, h)
            log_p_h = jax.nn.logsumexp(joint, -1)
            log_w = log_p_x(weights, x, h, precision) + log_p_h - norm.logpdf(h, mean, std).sum(-1)
            return log_w, joint - log_p_h[..., None]

        log_w, log_p_z = lax.map(sample, jax.random.split(key, n_samples // CHUNK))  # [chunks, CHUNK, B, ...]
        log_w_sum = jax.nn.logsumexp(log_w, (0, 1))
        p_z = jnp.exp(jax.nn.logsumexp(log_w[..., None] + log_p_z, (0, 1)) - log_w_sum[..., None])
        return log_w.mean((0, 1)), log_w_sum - jnp.log(n_samples), jnp.exp(log_p_z).mean((0, 1)), p_z

    def scores() -> float:
        nonlocal key
        key, now = jax.random.split(key)
        return jax.device_get(importance_sample(weights, x, now))[1].mean().item()

    return scores


def product(n: int, precision: str) -> Callable[[], float]:
    """The square of an n x n matrix; gives the mean of its entries over n."""
    a = jnp.asarray(network.square(n), precision)
    matmul = jax.jit(partial(jnp.matmul, preferred_element_type=jnp.float32))
    return lambda: np.asarray(matmul(a, a))[0].mean().item() / n
