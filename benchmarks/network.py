"""The work that every system does: the network, its start, its data and its arithmetic. No framework is loaded here."""

import gzip
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ENCODER = (784, 500, 500, 80)  # units of each layer; the last gives mean and log standard deviation of h
DECODER = (40, 500, 500, 784)
COMPONENTS = 10
LEARNING_RATE = 1e-3
DECAY = 0.999  # of the averages of the weights, in a step
TRAINED = 20_000  # images; an epoch of these is a round, one or two seconds
SCORED = 200  # images
DATA = Path(__file__).resolve().parent.parent / "data" / "mnist" / "train-images-idx3-ubyte.gz"


def images(n: int = TRAINED) -> np.ndarray:
    """MNIST's first training images, uint8 `[n, 784]`. `utils.read_images` would load TensorFlow beside each peer."""
    with gzip.open(DATA) as file:
        return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)[:n].copy()


def binarise(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`gmvae.binarise`, which would load TensorFlow."""
    return rng.integers(0, 255, grey.shape, dtype=np.uint8) < grey


def epochs(batch_size: int) -> Iterator[np.ndarray]:
    """The data of one epoch after the other, shuffled and binarised anew, bool `[steps, batch_size, 784]`: the images
    of `gmvae.Training.epoch_data`. An epoch is made when it is asked for, in the round that trains on it."""
    grey = images()
    for epoch in itertools.count():
        rng = np.random.default_rng([0, epoch])
        yield binarise(grey[rng.permutation(TRAINED).reshape(-1, batch_size)], rng)


def binary_images(n: int = SCORED) -> np.ndarray:
    """The first images, binarised once for all systems: 0 and 1, float32 `[n, 784]`."""
    return binarise(images(n), np.random.default_rng(0)).astype(np.float32)


def start(seed: int = 0) -> list[np.ndarray]:
    """The weights that every system starts from, float32: log weights, means and log standard deviations of the
    components, then kernel `[in, out]` and bias of each layer of encoder and decoder. Kernels are Glorot's uniform."""
    rng = np.random.default_rng(seed)
    shape = COMPONENTS, DECODER[0]
    weights = [np.zeros(COMPONENTS), rng.normal(scale=0.5, size=shape), np.full(shape, -0.5)]
    for n_in, n_out in layers():
        limit = np.sqrt(6 / (n_in + n_out))
        weights += [rng.uniform(-limit, limit, (n_in, n_out)), np.zeros(n_out)]
    return [weight.astype(np.float32) for weight in weights]


def layers() -> list[tuple[int, int]]:
    """Inputs and outputs of each layer of encoder and decoder."""
    return [pair for sizes in (ENCODER, DECODER) for pair in zip(sizes, sizes[1:], strict=False)]


def training_flop() -> int:
    """Floating-point operations of the matrix products of a training step, for one image: the product forward, the
    kernel's gradient and the input's gradient of each layer, but for the gradient of the image itself. A multiply-add
    counts two."""
    products = [n_in * n_out for n_in, n_out in layers()]
    return 2 * (3 * sum(products) - products[0])


def scoring_flop(n_samples: int) -> float:
    """The same of scoring, for one sample of h: forward products of the decoder, and of the encoder once an image."""
    encoder, decoder = (sum(n_in * n_out for n_in, n_out in part) for part in (layers()[:3], layers()[3:]))
    return 2 * (decoder + encoder / n_samples)


def square(n: int) -> np.ndarray:
    """The matrix whose square is computed to find the limit, float32 `[n, n]`; its square's mean is n / 4."""
    return np.random.default_rng(0).random((n, n), np.float32)
