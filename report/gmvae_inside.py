"""What goes on inside gmvae.py's model while it learns, and where its bound is loose at the end.

Before every epoch of steps 2 and 3, of the weights that learn, and at the end, of their averages, on the first training
images, nats per image:

    rate            KL(q(z, h | x) || p(z, h)), the bound's cost of the code
    assignment      KL(q(z | x) || p(z)), the part of it that names the component
    within          the rest, E KL(q(h | x, z) || p(h | z)): what is told within the component
    information     of image and component, where the model itself names it, by E_q(h|x) p(z | h), which by default is
                    q(z | x): the entropy of the mean over images, less the mean of
    uncertainty     the entropy
    components      exp of the entropy of the mean over images, the effective number in use
    active units    of the code: those whose E_q(z|x) KL(q(h_d | x) || p(h_d | z)) is at least 0.01. Over the units
                    these add up to `within` where q(z, h | x) = q(z | x) q(h | x), and else to no less
    varying units   those whose mean has a variance over the images of at least 0.01, which is how Burda et al.
                    (2015, section 5.3) count: these may name the component and tell no more

At the end, on test images at equal distances, the gap log p(x) - bound is split in two (Cremer, Li & Duvenaud 2018):
q(h | x) whose mean and standard deviation Adam has optimised for each image by itself, from the network's, and
q(z | x) with it, leaves the approximation gap; what it gains is the amortisation gap. With E over that q(h | x), the
bound's best q(z | x) is proportional to exp E log p(z | h), where it does not depend on h; by default it is p(z | h)
already. Half as many steps show how far Adam has come. log p(x) itself is estimated from 50,000 samples of the
optimised q(h | x), and beside that from 1 to 5000 other samples of either q(h | x), with their effective number,
(sum w)^2 / sum w^2.

    python report/gmvae_inside.py --change pull_weight=0 -- --seed 0 --out FOLDER

The command line is that of gmvae_run.py, with gmvae_likelihood.py's settings to change. metrics.json has all of it, and
nothing else lies in the folder.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gmvae_likelihood
import gmvae_run
import numpy as np
from scipy.special import logsumexp, xlogy
from tqdm import tqdm

import gmvae
import utils
from utils import Images, RunFolder

import tensorflow as tf  # isort: skip
import zhusuan as zs  # isort: skip

WATCHED, WATCHED_SAMPLES = 2000, 50  # training images, and samples of h for each
SPLIT, SPLIT_STEPS, SPLIT_RATE = 200, 1000, 0.02  # test images; steps of Adam for each, and its first step size
REFERENCE = 50_000  # samples of the optimised q(h | x) that stand for log p(x)
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # of samples for log p(x)
MEASURES = (
    *("rate", "assignment", "within", "information", "uncertainty", "components"),
    *("active units", "varying units"),
)

# Letters of the shapes as in gmvae.py: B images, K components, D code units, S samples of h.


# ---------------------------------------------------------------------------------------------------------------------
# While it learns
# ---------------------------------------------------------------------------------------------------------------------


class Weighed(NamedTuple):
    """Samples h of q(h | x) and what they weigh: log p(x, h) - log q(h | x) and log p(h) - log q(h | x), `[S, B]`, and
    log p(z | h), `[K, S, B]`."""

    log_w: tf.Tensor
    log_w_code: tf.Tensor
    log_p_z: tf.Tensor


def weigh(model: gmvae.MixtureVAE, x: tf.Tensor, mean: tf.Tensor, logstd: tf.Tensor, n_samples: int) -> Weighed:
    """Weighs samples of q(h | x), Normal of the given mean and log standard deviation `[B, D]`."""
    with zs.BayesianNet() as posterior:
        zs.Normal("h", mean, logstd=logstd, n_samples=n_samples, group_ndims=1)
    return weigh_samples(model, x, *posterior.query("h", outputs=True, local_log_prob=True))


def weigh_samples(model: gmvae.MixtureVAE, x: tf.Tensor, h: tf.Tensor, log_q: tf.Tensor) -> Weighed:
    """Weighs samples h `[S, B, D]` by their log density under what they are drawn from, `[S, B]`."""
    net = model.generate({"z": model.every_z, "h": h, "x": x}, x.shape[0])
    log_p_z, log_p_h, log_p_x = net.local_log_prob(["z", "h", "x"])
    log_p_code = tf.reduce_logsumexp(log_p_z + log_p_h, axis=0)
    log_w_code = log_p_code - log_q
    return Weighed(log_p_x + log_w_code, log_w_code, log_p_z + log_p_h - log_p_code)


@tf.function(jit_compile=True)
def weigh_code(
    model: gmvae.MixtureVAE, x: tf.Tensor, mean: tf.Tensor, logstd: tf.Tensor, n_samples: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """What of `Weighed` needs no decoder, which the compiler then leaves out: log p(h) - log q(h | x), `[S, B]`, and
    log p(z | h), `[K, S, B]`."""
    return weigh(model, x, mean, logstd, n_samples)[1:]


def entropy(q: np.ndarray) -> np.ndarray:
    """Of probabilities `[..., K]`, nats."""
    return -np.sum(xlogy(q, q), axis=-1)


def measure(model: gmvae.MixtureVAE, x: np.ndarray, q_z: np.ndarray | None, n_samples: int) -> dict[str, float]:
    """`MEASURES` of binary images `[B, 784]` with the q(z | x) of a factorised posterior, `[B, K]`, or None."""
    mean, logstd = model.encode(tf.constant(x), None if q_z is None else tf.constant(q_z))
    log_w_code, log_p_z = (part.numpy() for part in weigh_code(model, tf.constant(x), mean, logstd, n_samples))
    log_p_z = log_p_z.astype(float)
    rate = -log_w_code.mean(axis=0, dtype=float)
    model_q_z = np.exp(log_p_z).mean(axis=1).T
    if q_z is None:
        q_z = model_q_z
    else:
        q_z = q_z.astype(float)
        rate += np.sum(xlogy(q_z, q_z) - q_z * log_p_z.mean(axis=1).T, axis=-1)
    prior = tf.nn.softmax(model.weight_logits).numpy().astype(float)
    assignment = np.sum(xlogy(q_z, q_z) - q_z * np.log(prior), axis=-1).mean()
    mean, logstd = (part.numpy().astype(float)[:, None] for part in (mean, logstd))  # [B, 1, D]
    means, logstds = (part.numpy().astype(float) for part in (model.means, model.logstds))  # [K, D]
    each = logstds - logstd + (np.exp(2 * logstd) + (mean - means) ** 2) / (2 * np.exp(2 * logstds)) - 0.5
    of_units = np.einsum("bk,bkd->d", q_z, each) / len(x)
    all_images, each_image = entropy(model_q_z.mean(axis=0)), entropy(model_q_z).mean()
    values = (
        *(rate.mean(), assignment, rate.mean() - assignment, all_images - each_image, each_image),
        *(np.exp(all_images), np.sum(of_units >= 0.01), np.sum(mean.var(axis=(0, 1)) >= 0.01)),
    )
    return dict(zip(MEASURES, map(float, values), strict=True))


class Watched(gmvae.Training):
    """Training that is watched, whichever it is."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, settings: gmvae_likelihood.Settings) -> None:
        super().__init__(images, labels, settings)
        self.watched = gmvae.fixed_binary(images[:WATCHED])
        self.inside = tf.Variable(tf.zeros([self.model_epochs + 1, len(MEASURES)]), trainable=False)
        self.checkpoint.inside = self.inside

    def epoch_data(self, epoch: int, q_z: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        """Looks inside before the epoch."""
        self.look(epoch - self.start_epochs, q_z)
        return super().epoch_data(epoch, q_z)

    def look(self, epoch: int, q_z: np.ndarray) -> None:
        """Measures the model after so many epochs of steps 2 and 3, and leaves the training's random numbers alone."""
        told = q_z[: len(self.watched)] if self.settings.factorised else None
        with utils.private_seed(epoch):
            self.inside[epoch].assign(list(measure(self.model, self.watched, told, WATCHED_SAMPLES).values()))


class Training(Watched, gmvae_run.Training):
    """gmvae.py's steps, watched."""


class WeightedTraining(Watched, gmvae_likelihood.Training):
    """Those with the weighted bound in the last epochs, watched."""


# ---------------------------------------------------------------------------------------------------------------------
# At the end
# ---------------------------------------------------------------------------------------------------------------------


def bound_of_each(weighed: Weighed, q_z: tf.Tensor | None) -> tf.Tensor:
    """The bound of each image `[B]`, by samples of h: with q(z | x) = p(z | h) where q_z is None, else with the given
    one, `[B, K]`."""
    bound = tf.reduce_mean(weighed.log_w, axis=0)
    if q_z is None:
        return bound
    mean_log_p_z = tf.transpose(tf.reduce_mean(weighed.log_p_z, axis=1))
    return bound - tf.reduce_sum(q_z * (tf.math.log(q_z + 1e-20) - mean_log_p_z), axis=-1)


def optimal_q_z(weighed: Weighed) -> tf.Tensor:
    """The q(z | x) `[B, K]` of the largest bound where it does not depend on h."""
    return tf.nn.softmax(tf.transpose(tf.reduce_mean(weighed.log_p_z, axis=1)))


def optimise(
    model: gmvae.MixtureVAE, x: tf.Tensor, start: tuple[tf.Tensor, tf.Tensor], factorised: bool, steps: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and log standard deviation of q(h | x), `[B, D]`, that make each image's bound as large as Adam can."""
    mean, logstd = map(tf.Variable, start)
    optimizer = utils.cosine_adam([mean, logstd], SPLIT_RATE, steps)

    @tf.function(jit_compile=True)
    def step() -> None:
        with tf.GradientTape() as tape:
            weighed = weigh(model, x, mean, logstd, 10)
            bound = bound_of_each(weighed, optimal_q_z(weighed) if factorised else None)
            loss = -tf.reduce_sum(bound)
        optimizer.apply(tape.gradient(loss, [mean, logstd]), [mean, logstd])

    for _ in tqdm(range(steps), unit="step", desc="optimising q(h|x)", disable=None):
        step()
    return tf.identity(mean), tf.identity(logstd)


def many_weights(
    model: gmvae.MixtureVAE, x: tf.Tensor, posterior: tuple[tf.Tensor, tf.Tensor], n_samples: int
) -> Weighed:
    """`Weighed` of many samples, in parts; of log p(z | h) only the mean over the samples is kept, `[K, 1, B]`."""
    part = min(n_samples, 50)
    assert n_samples % part == 0, "some would be left out"
    weighed = tf.function(lambda: weigh(model, x, *posterior, part), jit_compile=True)
    parts = [weighed() for _ in tqdm(range(n_samples // part), unit="part", desc="weighing", disable=None)]
    log_p_z = tf.add_n([tf.reduce_mean(each.log_p_z, axis=1, keepdims=True) for each in parts]) / len(parts)
    return Weighed(tf.concat([p.log_w for p in parts], 0), tf.concat([p.log_w_code for p in parts], 0), log_p_z)


def convergence(log_w: np.ndarray, counts: tuple[int, ...]) -> dict[str, list[float]]:
    """The mean estimate of log p(x), nats per image, and the mean share of samples that are effective, from each count
    of samples: over all groups of so many of log w `[S, B]`."""
    found: dict[str, list[float]] = {"samples": list(counts), "log_likelihood": [], "effective_share": []}
    for n in counts:
        groups = log_w[: len(log_w) // n * n].astype(float).reshape(-1, n, log_w.shape[1])
        total = logsumexp(groups, axis=1)
        found["log_likelihood"].append(float(np.mean(total - np.log(n))))
        found["effective_share"].append(float(np.mean(np.exp(2 * total - logsumexp(2 * groups, axis=1)) / n)))
    return found


def at_equal_distances(images: np.ndarray, n: int) -> np.ndarray:
    """n of images `[N, 784]`, or of their labels `[N]`; all where there are fewer. The first test images of MNIST are
    easier than the last."""
    return images[np.linspace(0, len(images) - 1, min(n, len(images))).astype(int)]


def split_gap(
    training: gmvae.Training, images: np.ndarray, steps: int, counts: tuple[int, ...], reference: int
) -> dict[str, Any]:
    """The gap of uint8 images `[B, 784]` in its two parts, in the mean and of each image, with log p(x) from so many
    samples of the optimised q(h | x) as a reference; and how its estimates from fewer converge."""
    model, factorised = training.model, training.settings.factorised
    x = tf.constant(gmvae.fixed_binary(images))
    q_z = tf.constant(training.classifier(images)) if factorised else None
    amortised = model.encode(x, q_z)
    halfway, optimised = (optimise(model, x, amortised, factorised, n) for n in (steps // 2, steps))
    ours, half, best = (many_weights(model, x, each, counts[-1]) for each in (amortised, halfway, optimised))
    log_w = many_weights(model, x, optimised, reference).log_w.numpy().astype(float)
    each = {
        "bound": bound_of_each(ours, q_z).numpy(),
        "best_bound_halfway": bound_of_each(half, optimal_q_z(half) if factorised else None).numpy(),
        "best_bound": bound_of_each(best, optimal_q_z(best) if factorised else None).numpy(),
        "log_likelihood": logsumexp(log_w, axis=0) - np.log(len(log_w)),
        "effective_samples": np.exp(2 * logsumexp(log_w, axis=0) - logsumexp(2 * log_w, axis=0)),  # of the reference
    }
    means = {name: float(values.mean(dtype=float)) for name, values in each.items()}
    return {
        "images": len(images),
        "reference_samples": len(log_w),
        **means,
        "gap": means["log_likelihood"] - means["bound"],
        "approximation": means["log_likelihood"] - means["best_bound"],
        "amortisation": means["best_bound"] - means["bound"],
        "convergence": {
            name: convergence(w.log_w.numpy(), counts) for name, w in (("ours", ours), ("optimised", best))
        },
        "each": {name: values.astype(float).tolist() for name, values in each.items()},
    }


# ---------------------------------------------------------------------------------------------------------------------
# A run
# ---------------------------------------------------------------------------------------------------------------------


def run(settings: gmvae_likelihood.Settings, folder: RunFolder, images: Images) -> dict[str, Any]:
    """Trains, measures and writes metrics.json."""
    training_type = WeightedTraining if settings.weighted_share else Training
    training = training_type(images.train, images.train_labels, settings)
    training.train(folder)
    training.look(training.model_epochs, training.q_z())
    metrics = {
        "config": utils.config(settings),
        "watched_images": len(training.watched),
        "pull_epochs": training.pull_epochs,
        "inside": dict(zip(MEASURES, training.inside.numpy().T.tolist(), strict=True)),
        "bounds": training.bounds.numpy().tolist(),
        "test": split_gap(training, at_equal_distances(images.test, SPLIT), SPLIT_STEPS, COUNTS, REFERENCE),
        "seconds": float(training.seconds),
        "compile_seconds": float(training.compile_seconds),
    }
    with folder.finish() as staging:
        utils.write_json(staging / "metrics.json", metrics)
    return metrics


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    settings_type, rest = gmvae_run.parse(argv, __doc__, gmvae_likelihood.Settings)
    with utils.open_run(settings_type, "gmvae_inside", __doc__, (), rest) as (settings, _, folder, resume):
        if resume and not folder.is_unfinished:
            return
        settings, images = gmvae.begin(settings, utils.read_images(settings.data), folder, resume)
        metrics = run(settings, folder, images)
        print(json.dumps(metrics["test"], indent=2))


if __name__ == "__main__":
    utils.run_main(main)
