"""The autoencoder in PyTorch, eager or by torch.compile. bfloat16 is torch.autocast's."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks import network

CHUNK = 50  # samples of h that are scored at once


def mlp(sizes: tuple[int, ...], weights: list[np.ndarray]) -> nn.Sequential:
    """Dense layers with ReLU between them, from kernels `[in, out]` and biases."""
    model = nn.Sequential()
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        model.extend([nn.Linear(n_in, n_out), nn.ReLU()])
    model = model[:-1]
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(weight.T))
    return model


class MixtureVAE(nn.Module):
    """The model and its posterior, from the weights of `network.start`."""

    def __init__(self, weights: list[np.ndarray]) -> None:
        super().__init__()
        self.weight_logits, self.means, self.logstds = (nn.Parameter(torch.tensor(weight)) for weight in weights[:3])
        self.encoder = mlp(network.ENCODER, weights[3:9])
        self.decoder = mlp(network.DECODER, weights[9:])

    def infer(self, x: Tensor) -> Normal:
        """q(h | x) of x `[B, 784]`."""
        mean, logstd = self.encoder(x).float().chunk(2, -1)
        return Normal(mean, logstd.exp(), validate_args=False)

    def log_p_x(self, x: Tensor, h: Tensor) -> Tensor:
        """log p(x | h), `[..., B]`, of x `[B, 784]` and h `[..., B, D]`."""
        logits = self.decoder(h).float()
        return -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)

    def log_p_zh(self, h: Tensor) -> Tensor:
        """log p(z, h) for every z, `[..., B, K]`."""
        components = Normal(self.means, self.logstds.exp(), validate_args=False)
        return self.weight_logits.log_softmax(-1) + components.log_prob(h[..., None, :]).sum(-1)

    def bound(self, x: Tensor, noise: Tensor) -> Tensor:
        """The mean lower bound of x `[B, 784]`, nats per image, at the h of standard normal noise `[B, D]`."""
        q = self.infer(x)
        h = q.mean + q.stddev * noise
        return (self.log_p_x(x, h) + self.log_p_zh(h).logsumexp(-1) - q.log_prob(h).sum(-1)).mean()


def autocast(precision: str) -> torch.autocast:
    """Matrix products in bfloat16, where that is the precision."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")


def training(batch_size: int, precision: str, compiled: bool) -> Callable[[], float]:
    """An epoch of training; gives the mean bound."""
    torch.manual_seed(0)
    model = MixtureVAE(network.start())
    optimizer = torch.optim.Adam(model.parameters(), network.LEARNING_RATE, fused=True)
    averages = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(network.DECAY))
    epochs = network.epochs(batch_size)

    def loss(batch: Tensor) -> Tensor:
        noise = torch.randn(batch_size, network.DECODER[0])
        with autocast(precision):
            return -model.bound(batch.float(), noise)

    if compiled:
        loss = torch.compile(loss)

    def epoch() -> float:
        total = torch.zeros([])
        batches = torch.from_numpy(next(epochs))
        for batch in batches:
            optimizer.zero_grad()
            value = loss(batch)
            value.backward()
            optimizer.step()
            averages.update_parameters(model)
            total -= value.detach()
        return total.item() / len(batches)

    return epoch


def scoring(n_samples: int, precision: str, compiled: bool) -> Callable[[], float]:
    """Scores of images from n_samples samples of q(h | x) each; gives the mean log-likelihood, nats per image."""
    torch.manual_seed(0)
    model = MixtureVAE(network.start())
    x = torch.from_numpy(network.binary_images())

    def weights(q: Normal) -> tuple[Tensor, Tensor]:
        h = q.sample((CHUNK,))
        log_p_zh = model.log_p_zh(h)
        log_p_h = log_p_zh.logsumexp(-1)
        return model.log_p_x(x, h) + log_p_h - q.log_prob(h).sum(-1), log_p_zh - log_p_h[..., None]

    if compiled:
        weights = torch.compile(weights)

    @torch.inference_mode()
    def scores() -> float:
        with autocast(precision):
            q = model.infer(x)
            chunks = [weights(q) for _ in range(n_samples // CHUNK)]
        log_w, log_p_z = (torch.cat(parts) for parts in zip(*chunks, strict=True))  # [S, B], [S, B, K]
        log_w_sum = log_w.logsumexp(0)
        elbo, log_likelihood = log_w.mean(0), log_w_sum - np.log(n_samples)
        q_z, p_z = log_p_z.exp().mean(0), ((log_w[..., None] + log_p_z).logsumexp(0) - log_w_sum[..., None]).exp()
        return [score.numpy() for score in (elbo, log_likelihood, q_z, p_z)][1].mean().item()

    return scores


def product(n: int, precision: str) -> Callable[[], float]:
    """The square of an n x n matrix; gives the mean of its entries over n."""
    a = torch.from_numpy(network.square(n)).to(getattr(torch, precision))
    return lambda: (a @ a)[0].float().mean().item() / n
