"""Three designs of the posterior of gmvae.py's model, side by side: one run is one design and one seed.

    summed        q(z, h | x) = q(h | x) p(z | h)        z summed out of the model, gmvae.py's default
    factorised    q(z, h | x) = q(z | x) q(h | x)        z summed in the bound
    structured    q(z, h | x) = q(z | x) q(h | x, z)     z summed in the bound: K passes of encoder and decoder

In the last two, q(z | x) is a network of the binary image, as large as the encoder, and the bound itself trains it:

    log p(x) >= sum_z q(z|x) { E_q(h|x,z)[ log p(x, z, h) - log q(h|x,z) ] - log q(z|x) }                          (1)

z is observed as all K one-hot vectors on an axis of its own, and zs.sgvb takes the expectation over h. The encoder of
the structured design is told z by one more weight for each component and unit of the first layer, at first 0, where it
is the factorised one; the first layer's product with x serves all z.

All designs have the same start without labels, that of gmvae.py: step 1 is its classifier r(z | x), the same in all
designs of a seed; in step 2 the pull is towards r for p(z | h) and, where there is one, for q(z | x); step 3 is the
bound alone. Batches, their order, binarisation, networks of the code, Adam and its step sizes, which fall to 0 here in
place of gmvae.py's averages, are the same as well.

Every bound is loose by KL(q(z,h|x) || p(z,h|x)), which the chain rule takes apart in two orders. With z last,

    KL(q(h|x) || p(h|x))  +  E_q(h|x) KL(q(z|h,x) || p(z|h))       "code" and "component given code",              (2)

and with h last,

    KL(q(z|x) || p(z|x))  +  E_q(z|x) KL(q(h|x,z) || p(h|x,z))     "component" and "code given component".         (3)

The second term of (2) is an average of exact divergences over the samples of h. The rest hangs on the importance
weights w of log p(x) and p(z | x), whose proposal is q(h | x): for the structured design the mixture
sum_z q(z|x) q(h|x,z), stratified over z, each component with its share of the samples, and the whole mixture as the
density of every sample (Owen & Zhou 2000). The estimate of log p(x) is too low on average (Burda et al. 2016), so that
the gap is too small, the less so the more samples are effective, (sum w)^2 / sum w^2.

    python report/gmvae_designs.py --design structured --seed 0 --out FOLDER

takes about 8 minutes on 2 cores, the other two designs about 3. metrics.json has the scores of the test images and the
parts of the gap in nats per image. What a step of each costs is gmvae_designs_cost.py's to measure.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from tqdm import tqdm

import gmvae
import utils
from utils import Images, InputError, RunFolder, setting

import tensorflow as tf  # isort: skip
import zhusuan as zs  # isort: skip

# Letters of the shapes as in gmvae.py: B images in a batch, K components, D code units, S samples of h.


@dataclass(frozen=True)
class Settings(gmvae.Settings):
    """Everything that decides the result: gmvae.py's settings by default, but for a shorter step 3."""

    design: str = setting("summed", "design of the posterior: summed, factorised or structured")
    epochs: int = setting(12, "passes over the images in step 3", 1, 100_000)
    classifier_share: float = setting(0.75)  # as many epochs of step 1 as gmvae.py's
    labels_per_class: int = setting(0)
    pure: bool = setting(False)
    no_augment: bool = setting(False)
    out: str = setting("report/runs/gmvae-designs", "folder for metrics.json")


# ---------------------------------------------------------------------------------------------------------------------
# The designs
# ---------------------------------------------------------------------------------------------------------------------


class Summed(gmvae.MixtureVAE):
    """q(h | x) p(z | h)."""

    def bound(self, x: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The bound of binary images `[B, 784]`, nats `[B]`, and the logs of all that says how probable z is: p(z | h),
        of which the mean over the posterior, and q(z | x) where there is one; `[B, K]` each."""
        bound, log_p_z = super().bound(x)
        return bound, [log_p_z]

    def propose(self, x: tf.Tensor, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Samples of q(h | x) for binary images `[B, 784]`.

        Args:
            x: the images.
            u: uniform numbers `[S, B]`, by which a mixture draws its component.

        Returns:
            h `[S, B, D]`; log q(z, h | x) for every z, `[K, S, B]`; and q(z | x), `[K, B]`.
        """
        h, log_q_h = self.infer(x, n_samples=u.shape[0]).query("h", outputs=True, local_log_prob=True)
        log_p_z = self.log_p_z(h)
        return h, log_q_h + log_p_z, tf.reduce_mean(tf.exp(log_p_z), axis=1)


class Factorised(Summed):
    """q(z | x) q(h | x)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.recogniser = gmvae.mlp(gmvae.PIXELS, settings.hidden_units, settings.k)
        self.learned += self.recogniser.trainable_variables

    def encode_every(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and log standard deviation of q(h | x, z) for every z, `[K, 1, B, D]`; a K of 1 is the same for all."""
        mean, logstd = self.encode(x)
        return mean[None, None], logstd[None, None]

    def posterior(self, x: tf.Tensor, observed: dict[str, tf.Tensor]) -> zs.BayesianNet:
        """z and h given binary images `[B, 784]`, with z observed as every one-hot vector."""
        mean, logstd = self.encode_every(x)
        with zs.BayesianNet({"z": self.every_z, **observed}) as posterior:
            zs.OnehotDiscrete("z", self.recogniser(x), dtype=tf.float32)
            zs.Normal("h", mean, logstd=logstd, group_ndims=1)
        return posterior

    def bound(self, x: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        posterior = self.posterior(x, {})
        log_q_z = posterior.local_log_prob("z")[:, 0]  # [K, B]
        h = posterior["h"]  # [K, 1, B, D], its K as in `encode_every`

        def log_joint(values: dict[str, tf.Tensor]) -> tf.Tensor:
            return self.generate(values, x.shape[0]).log_joint()

        bounds = zs.sgvb(log_joint, {"x": x, "z": self.every_z}, {"h": h}, axis=1)  # [K, B]
        q_z = tf.exp(log_q_z)
        bound = tf.reduce_sum(q_z * (bounds - log_q_z), axis=0)
        # The codes' K is a sample axis here, and the sum over it the posterior's mean.
        log_p_z = tf.reduce_sum(q_z * self.log_p_z(h.tensor[:, 0]), axis=1)
        return bound, [tf.transpose(log_p_z), tf.transpose(log_q_z)]

    def propose(self, x: tf.Tensor, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        q_z = tf.exp(tf.nn.log_softmax(self.recogniser(x)))  # [B, K]
        z = tf.reduce_sum(tf.cast(u[:, :, None] > tf.cumsum(q_z, axis=-1)[:, :-1], tf.int32), axis=-1)
        # [B, K, D]: for images, not for their samples, the encoder runs.
        mean, logstd = (tf.transpose(each[:, 0], [1, 0, 2]) for each in self.encode_every(x))
        z = tf.minimum(z, mean.shape[1] - 1)
        chosen = tf.one_hot(z, mean.shape[1])
        with zs.BayesianNet() as proposal:
            zs.Normal(
                "h",
                tf.einsum("sbk,bkd->sbd", chosen, mean),
                logstd=tf.einsum("sbk,bkd->sbd", chosen, logstd),
                group_ndims=1,
            )
        h = proposal.outputs("h")
        return h, self.posterior(x, {"h": h}).log_joint(), tf.transpose(q_z)


class Structured(Factorised):
    """q(z | x) q(h | x, z)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.first_layer_of_z = tf.Variable(tf.zeros([settings.k, settings.hidden_units]))
        self.learned.append(self.first_layer_of_z)

    def encode_every(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        first, *others = self.encoder.layers
        units = tf.matmul(x, first.kernel) + first.bias + self.first_layer_of_z[:, None]  # [K, B, hidden units]
        units = tf.reshape(first.activation(units), [-1, first.units])
        for layer in others:
            units = layer(units)
        outputs = tf.reshape(units, [-1, 1, x.shape[0], units.shape[-1]])
        return tf.split(outputs, 2, axis=-1)


DESIGNS = {"summed": Summed, "factorised": Factorised, "structured": Structured}


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------


class Training(gmvae.Training):
    """gmvae.py's steps with a model of another design."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, settings: Settings) -> None:
        super().__init__(images, labels, settings)
        self.model = DESIGNS[settings.design](settings)
        steps = self.model_epochs * (self.n // settings.batch_size)
        self.optimizer = utils.cosine_adam(self.model.learned, settings.learning_rate, steps)
        self.checkpoint.model, self.checkpoint.optimizer = self.model, self.optimizer

    def epoch(self, images: tf.Tensor, r: tf.Tensor, pull: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Steps 2 and 3: an epoch of the model, with weight `pull` on KL(r(z|x) || .) of p(z | h) and of q(z | x).

        Returns:
            the mean bound, nats per image; and the mean of p(z | h), `[K]`.
        """
        step, total, shares = 0, tf.zeros([]), tf.zeros([self.settings.k])
        while step < steps:
            x, target = tf.cast(images[step], tf.float32), r[step]
            with tf.GradientTape() as tape:
                bound, log_probs = self.model.bound(x)
                kl = sum(tf.reduce_sum(target * (tf.math.log(target + 1e-20) - each), axis=-1) for each in log_probs)
                loss = -tf.reduce_mean(bound - pull * kl)
            self.optimizer.apply(tape.gradient(loss, self.model.learned), self.model.learned)
            total += tf.reduce_mean(bound)
            shares += tf.reduce_mean(tf.exp(log_probs[0]), axis=0)
            step += 1
        return total / tf.cast(steps, tf.float32), shares / tf.cast(steps, tf.float32)


# ---------------------------------------------------------------------------------------------------------------------
# Evaluation
# ---------------------------------------------------------------------------------------------------------------------


class Scores(NamedTuple):
    """What the samples of h say of N images. In nats `[N]`: the bound; that with p(z | h) in place of q(z | h, x), the
    mean log importance weight; and log p(x). Then the effective number of samples `[N]`; q(z | x) and log p(z | x),
    `[N, K]`."""

    elbo: np.ndarray
    mean_log_w: np.ndarray
    log_likelihood: np.ndarray
    effective_samples: np.ndarray
    q_z: np.ndarray
    log_p_z: np.ndarray

    def gap(self) -> dict[str, float]:
        """The mean gap of the bound and its parts (2) and (3)."""
        gap = self.log_likelihood - self.elbo
        q_z = np.maximum(self.q_z, np.finfo(np.float32).tiny)  # 0 log 0 = 0
        component = np.sum(self.q_z * (np.log(q_z) - self.log_p_z), axis=-1)
        parts = {
            "total": gap,
            "code": self.log_likelihood - self.mean_log_w,
            "component_given_code": self.mean_log_w - self.elbo,
            "component": component,
            "code_given_component": gap - component,
        }
        return {name: float(part.mean(dtype=np.float64)) for name, part in parts.items()}


@tf.function(jit_compile=True)
def sample_scores(model: Summed, x: tf.Tensor, n_chunks: int, chunk: int) -> tuple[tf.Tensor, ...]:
    """`Scores` of binary images `[B, 784]` from n_chunks * chunk samples of q(h | x), a chunk in memory at a time."""
    n, k, total = x.shape[0], model.weight_logits.shape[0], n_chunks * chunk
    elbo, mean_log_w, q_z = tf.zeros([n]), tf.zeros([n]), tf.zeros([k, n])
    log_w_sum, log_w2_sum, log_w_z_sum = tf.fill([n], -np.inf), tf.fill([n], -np.inf), tf.fill([k, n], -np.inf)
    for i in tf.range(n_chunks):
        strata = tf.cast(i * chunk + tf.range(chunk), tf.float32)[:, None]
        u = (strata + zs.get_generator().uniform([chunk, n])) / total
        h, log_q, q_z_here = model.propose(x, u)
        log_p = model.generate({"z": model.every_z, "h": h, "x": x}, n).log_joint()  # [K, S, B]
        log_w = tf.reduce_logsumexp(log_p, axis=0) - tf.reduce_logsumexp(log_q, axis=0)
        log_p_z, log_q_z = tf.nn.log_softmax(log_p, axis=0), tf.nn.log_softmax(log_q, axis=0)
        kl = tf.reduce_sum(tf.exp(log_q_z) * (log_q_z - log_p_z), axis=0)
        elbo += tf.reduce_mean(log_w - kl, axis=0) / n_chunks
        mean_log_w += tf.reduce_mean(log_w, axis=0) / n_chunks
        q_z += q_z_here / n_chunks
        log_w_sum = gmvae.log_add(log_w_sum, tf.reduce_logsumexp(log_w, axis=0))
        log_w2_sum = gmvae.log_add(log_w2_sum, tf.reduce_logsumexp(2 * log_w, axis=0))
        log_w_z_sum = gmvae.log_add(log_w_z_sum, tf.reduce_logsumexp(log_w + log_p_z, axis=1))
    log_likelihood = log_w_sum - np.log(total).astype(np.float32)
    effective = tf.exp(2 * log_w_sum - log_w2_sum)
    return elbo, mean_log_w, log_likelihood, effective, tf.transpose(q_z), tf.transpose(log_w_z_sum - log_w_sum)


def score(model: Summed, images: np.ndarray, n_samples: int, name: str) -> Scores:
    """`Scores` of uint8 images `[N, 784]`, binarised by their fixed seed, from n_samples samples each."""
    x, chunk = gmvae.fixed_binary(images), min(n_samples, 10)
    assert n_samples % chunk == 0, "a part of a chunk would be dropped"
    parts = tqdm(list(utils.slices(x, 200)), unit="batch", desc=f"scoring {name}", disable=None)
    sampled = [sample_scores(model, tf.constant(part), n_samples // chunk, chunk) for part in parts]
    return Scores(*(np.concatenate(column) for column in zip(*sampled, strict=True)))


# ---------------------------------------------------------------------------------------------------------------------
# A run
# ---------------------------------------------------------------------------------------------------------------------


def run(settings: Settings, folder: RunFolder, images: Images) -> dict[str, Any]:
    """Trains, scores and writes metrics.json; labels enter the scores alone."""
    training = Training(images.train, images.train_labels, settings)
    training.train(folder)
    k = settings.k
    train = score(training.model, images.train, settings.train_importance_samples, "training images")
    test = score(training.model, images.test, settings.importance_samples, f"{gmvae.scored(settings.validate)} images")
    clusters, clusters_model = test.q_z.argmax(axis=-1), test.log_p_z.argmax(axis=-1)
    metrics = {
        "config": utils.config(settings),
        "test": {
            "elbo": float(test.elbo.mean(dtype=np.float64)),
            "nll": -float(test.log_likelihood.mean(dtype=np.float64)),
            "gap": test.gap(),
            "importance_samples": settings.importance_samples,
            "effective_samples": float(np.median(test.effective_samples)),
            **utils.cluster_scores(clusters, clusters_model, images.test_labels, k),
        },
        "components_used": gmvae.components_used(train.q_z.argmax(axis=-1)),
        "bounds": training.bounds.numpy().tolist(),
        "seconds": float(training.seconds),
        "compile_seconds": float(training.compile_seconds),
    }
    with folder.finish() as staging:
        utils.write_json(staging / "metrics.json", metrics)
    return metrics


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    with utils.open_run(Settings, "gmvae_designs", __doc__, (), argv) as (settings, _, folder, resume):
        if resume and not folder.is_unfinished:
            return
        if settings.design not in DESIGNS:
            raise InputError(f"--design {settings.design}: wanted one of {', '.join(DESIGNS)}")
        settings, images = gmvae.begin(settings, utils.read_images(settings.data), folder, resume)
        metrics = run(settings, folder, images)
        print(json.dumps(metrics["test"], indent=2))


if __name__ == "__main__":
    utils.run_main(main)
