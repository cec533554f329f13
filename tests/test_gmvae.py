"""The mixture VAE: z summed out against a loop over z, scores against a direct computation, runs on tiny images."""

import fcntl
import importlib
import json
import os
import shutil
import struct
import subprocess
import sys
import termios
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny
from scipy import stats
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import map_coordinates
from scipy.special import logsumexp, softmax, xlogy
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from threadpoolctl import threadpool_info, threadpool_limits

import gmm_vi
import gmvae
import utils
import zhusuan as zs
from gmvae import Settings

FIGURES = ("samples", "reconstructions", "confusion", "latent", "curves")
K, D, S, B = 4, 3, 5, 6


def run(*argv, out):
    gmvae.main([*map(str, argv), "--out", str(out)])
    return tiny.read_metrics(out)


def small_settings(**changes):
    return Settings(
        **{"k": K, "code_units": D, "hidden_units": 8, "restarts": 2, "epochs": 1, "batch_size": 10} | changes
    )


@pytest.fixture
def model():
    """A small model whose components differ in every parameter."""
    tf.keras.utils.set_random_seed(0)
    model = gmvae.MixtureVAE(small_settings())
    for variable in (model.weight_logits, model.means, model.logstds):
        variable.assign_add(0.5 * np.random.normal(size=variable.shape))
    return model


def training_on(n, seed=0, **changes):
    """The training of a small model on n tiny images."""
    grey, labels = tiny.structured_images(n, 0)
    return gmvae.Training(grey.reshape(n, 784), labels, small_settings(seed=seed, **changes))


@pytest.fixture
def x():
    return tf.constant(np.random.default_rng(0).integers(0, 2, (B, 784)).astype(np.float32))


def images(n, seed=0):
    """Tiny images as `gmvae` has them, uint8 `[N, 784]`."""
    return tiny.structured_images(n, seed)[0].reshape(n, 784)


# Model and bound


def test_summing_z_out_is_a_sum_over_single_evaluations(model, x):
    h = tf.constant(np.random.default_rng(1).normal(size=(S, B, D)).astype(np.float32))
    by_the_net = []
    for k in range(K):
        z = tf.one_hot(tf.fill([S, B], k), K)
        by_the_net.append(model.generate({"z": z, "h": h, "x": x}, B).log_joint())
    got = model.log_joint({"x": x, "h": h})
    assert got.shape == (S, B)
    np.testing.assert_allclose(got, logsumexp(by_the_net, axis=0), rtol=1e-5)

    logits = model.decode(h).numpy().astype(np.float64)
    log_x = (x * logits - np.logaddexp(0, logits)).numpy().sum(axis=-1)
    log_pi = np.log(softmax(model.weight_logits.numpy()))
    log_h = [stats.norm.logpdf(h, m, np.exp(s)).sum(axis=-1) for m, s in zip(model.means, model.logstds, strict=True)]
    by_scipy = log_pi[:, None, None] + np.array(log_h)
    np.testing.assert_allclose(got, log_x + logsumexp(by_scipy, axis=0), rtol=1e-5)
    np.testing.assert_allclose(np.exp(model.log_p_z(h)), softmax(by_scipy, axis=0), rtol=1e-4, atol=1e-6)


@pytest.fixture
def decoded(model, monkeypatch):
    """The shapes of all h that the model decodes."""
    shapes, decode = [], model.decode
    monkeypatch.setattr(model, "decode", lambda h: shapes.append(h.shape) or decode(h))
    return shapes


def test_the_bound_takes_one_pass_of_the_decoder_not_k(model, x, decoded):
    h = model.infer(x, n_samples=1).outputs("h")
    model.log_joint({"x": x, "h": h})
    assert decoded == [(1, B, D)]


def test_a_draw_of_the_whole_model(model):
    n = 4000
    net = model.generate({}, n)
    z, h, x = net.outputs(["z", "h", "x"])
    assert (z.shape, h.shape, x.shape) == ((n, K), (n, D), (n, 784))
    assert set(np.unique(x)) == {0.0, 1.0}
    for k, weight in enumerate(softmax(model.weight_logits.numpy())):
        own = h.numpy()[z.numpy()[:, k] == 1]
        std = np.exp(model.logstds[k].numpy())
        assert abs(len(own) - n * weight) < 5 * np.sqrt(n * weight * (1 - weight))
        assert np.all(abs(own.mean(axis=0) - model.means[k].numpy()) < 5 * std / np.sqrt(len(own)))


def test_the_bound_and_its_responsibilities_belong_to_one_sample(model, x):
    zs.set_seed(1)
    bound, log_p_z = model.bound(x)
    zs.set_seed(1)
    h, log_q = model.infer(x, n_samples=1).query("h", outputs=True, local_log_prob=True)
    np.testing.assert_allclose(bound, model.log_joint({"x": x, "h": h})[0] - log_q[0], rtol=1e-5)
    np.testing.assert_allclose(log_p_z, np.transpose(model.log_p_z(h)[:, 0]), rtol=1e-5)
    assert bound.shape == (B,)
    assert log_p_z.shape == (B, K)


# Scores


def test_chunked_importance_sampling_is_a_direct_computation_with_the_same_noise(model, x):
    chunks, chunk = 3, 4
    with tiny.eager():  # compiled, the same seed gives other noise
        zs.set_seed(2)
        sampled = [t.numpy() for t in gmvae.importance_sample(model, x, None, chunks, chunk)]
    elbo, log_likelihood, q_z, p_z, mean_log_p_z = sampled
    zs.set_seed(2)
    log_w, log_p_z = [], []
    for _ in range(chunks):
        h, log_q = model.infer(x, n_samples=chunk).query("h", outputs=True, local_log_prob=True)
        log_w.append(model.log_joint({"x": x, "h": h}) - log_q)
        log_p_z.append(model.log_p_z(h))
    log_w, log_p_z = np.concatenate(log_w), np.concatenate(log_p_z, axis=1)  # [S, B] and [K, S, B]
    np.testing.assert_allclose(elbo, log_w.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(log_likelihood, logsumexp(log_w, axis=0) - np.log(chunks * chunk), rtol=1e-5)
    np.testing.assert_allclose(q_z, np.exp(log_p_z).mean(axis=1).T, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(mean_log_p_z, log_p_z.mean(axis=1).T, rtol=1e-4)
    weights = softmax(log_w, axis=0)
    np.testing.assert_allclose(p_z, (weights * np.exp(log_p_z)).sum(axis=1).T, rtol=1e-3, atol=1e-6)
    for probabilities in (q_z, p_z):
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-3)  # float32, of logs of hundreds of nats
    assert np.all(elbo < log_likelihood)


@pytest.mark.parametrize("n_samples", [7, 100])
def test_as_many_samples_are_taken_as_are_reported(model, monkeypatch, n_samples):
    taken = []

    def importance_sample(model, x, q_z, n_chunks, chunk):
        taken.append((n_chunks * chunk, len(x)))
        return [tf.zeros(shape) for shape in ([len(x)], [len(x)], *[[len(x), K]] * 3)]

    monkeypatch.setattr(gmvae, "importance_sample", importance_sample)
    scores = gmvae.score(model, images(450), None, n_samples, "images")
    assert {n for n, _ in taken} == {n_samples}
    assert sum(n for _, n in taken) == 450
    assert [len(column) for column in scores] == [450] * 4


def test_scores_estimate_bound_and_log_likelihood(model):
    """Compiled against eager, within standard errors. The code is narrowed so that importance weights behave."""
    n = 2000
    pixels = images(B)
    x = tf.constant(gmvae.fixed_binary(pixels))
    model.decoder.layers[-1].kernel.assign(0.1 * model.decoder.layers[-1].kernel)
    scores = gmvae.score(model, pixels, None, n, "images")
    h, log_q = model.infer(x, n_samples=n).query("h", outputs=True, local_log_prob=True)
    log_w = (model.log_joint({"x": x, "h": h}) - log_q).numpy().astype(np.float64)  # [S, B]
    assert np.all(abs(log_w.mean(axis=0) - scores.elbo) < 5 * log_w.std(axis=0) * np.sqrt(2 / n))
    w = np.exp(log_w - log_w.max(axis=0))
    relative_error = w.std(axis=0) / w.mean(axis=0) * np.sqrt(2 / n)
    assert relative_error.max() < 0.2
    expected = zs.is_loglikelihood(model.log_joint, {"x": x}, {"h": (h, log_q)}, axis=0)
    assert np.all(abs(scores.log_likelihood - expected) < 5 * relative_error)


def test_scored_images_are_binarised_by_a_seed_of_their_own():
    grey = np.full((200, 784), 51, np.uint8)
    grey[:, 0], grey[:, 1] = 0, 255
    zs.set_seed(1)
    np.random.seed(1)
    binary = gmvae.fixed_binary(grey)
    assert binary.dtype == np.float32
    assert set(np.unique(binary)) == {0.0, 1.0}
    assert np.all(binary[:, 0] == 0)
    assert np.all(binary[:, 1] == 1)
    rest = binary[:, 2:]
    assert abs(rest.mean() - 0.2) < 5 * np.sqrt(0.16 / rest.size)
    zs.set_seed(2)
    np.random.seed(2)
    np.testing.assert_array_equal(gmvae.fixed_binary(grey), binary)


# Training


def test_binary_images_have_the_probabilities_of_their_bytes():
    n = 200_000
    grey = np.repeat(np.array([[0, 1, 128, 254, 255]], np.uint8), n, axis=0)
    share = gmvae.binarise(grey, np.random.default_rng(0)).mean(axis=0)
    assert share[0] == 0
    assert share[4] == 1
    p = np.array([1, 128, 254]) / 255
    assert np.all(abs(share[1:4] - p) < 5 * np.sqrt(p * (1 - p) / n))


def test_distorted_images_stay_images_and_differ():
    grey = images(50)
    distorted = gmvae.distort(grey, small_settings(), np.random.default_rng(0)).numpy()
    assert distorted.shape == grey.shape
    assert distorted.dtype == np.uint8
    assert np.all(np.abs(distorted / 255 - grey / 255).max(axis=1) > 0.1)
    assert len(np.unique(distorted, axis=0)) == 50
    # Light is neither made nor lost, but for scale and what leaves the picture.
    np.testing.assert_allclose(distorted.sum() / grey.sum(), 1, atol=0.15)


class Fixed:
    """A generator whose numbers are known: for angle, width, height, shear, right and down."""

    def __init__(self, *rows):
        self.rows = np.array(rows)[:, None]

    def uniform(self, low, high, shape):
        return np.broadcast_to(self.rows, shape)


def test_no_noise_is_no_distortion():
    grey = images(5)
    distorted = gmvae.distort(grey, small_settings(), Fixed(0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    np.testing.assert_allclose(distorted, grey, atol=1)


@pytest.mark.parametrize(("right", "down"), [(0.0, 0.0), (0.8, 0.0), (0.0, 0.8)])
def test_distortions_leave_the_centre_in_place_but_for_the_shift(right, down):
    """The direction of a shift is of no account."""
    shift = small_settings().shift
    row, column = np.indices((28, 28))
    blob = 255 * np.exp(-(((row - 13.5) / 3) ** 2) - ((column - 13.5) / 2) ** 2)
    blob = blob.round().astype(np.uint8).reshape(1, 784)

    def centre(image):
        image = np.reshape(image, (28, 28)).astype(float)
        return np.array([(row * image).sum(), (column * image).sum()]) / image.sum()

    turned = gmvae.distort(blob, small_settings(), Fixed(0.9, -0.8, 0.7, 0.6, 0.0, 0.0)).numpy()
    np.testing.assert_allclose(centre(turned), 13.5, atol=0.1)
    assert np.abs(turned.astype(float) - blob).max() > 25
    shifted = gmvae.distort(blob, small_settings(), Fixed(0.0, 0.0, 0.0, 0.0, right, down))
    np.testing.assert_allclose(np.abs(centre(shifted) - 13.5), [shift * down, shift * right], atol=0.1)


@pytest.mark.parametrize(("pull", "variant"), [(0.0, {}), (2.0, {}), (2.0, {"pure": True})])
def test_a_step_of_the_bound_changes_every_variable_of_the_model_alone(pull, variant):
    tf.keras.utils.set_random_seed(0)
    training = training_on(20, **variant)
    learned = training.model.learned
    assert {id(v) for v in learned} == {id(v) for v in training.model.trainable_variables} | {
        id(v) for part in (training.model.encoder, training.model.decoder) for v in part.trainable_variables
    }
    others = training.classifier.network.weights
    before, others_before = [v.numpy() for v in learned], [v.numpy() for v in others]
    r = tf.nn.softmax(np.random.default_rng(0).normal(size=(20, K)).astype(np.float32))
    with tiny.eager():
        epoch = training.program(training.n_epochs - 1)
        bound, shares = epoch(images(20)[None] > 100, r[None], tf.constant(pull), tf.constant(1))
    for variable, value in zip(learned, before, strict=True):
        assert np.abs(variable - value).max() > 0, variable.name
    for variable, value in zip(others, others_before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert np.isfinite(bound)
    assert tf.reduce_sum(shares).numpy() == pytest.approx(1, abs=1e-5)


def recorded(training):
    """The gradients that training gives its optimizer from now on, a list a step, of which none is taken."""
    found = []

    class Recorder:
        def apply(self, gradients, variables):
            found.append([np.array(each) for each in gradients])

    training.optimizer = Recorder()
    return found


def test_the_pull_adds_its_weight_times_the_divergence_from_the_start():
    """The gradient with a pull less the gradient without is that of  - weight * mean KL(r || p(z | h))."""
    tf.keras.utils.set_random_seed(0)
    x = images(10) > 100
    training = training_on(10)
    r = softmax(np.random.default_rng(0).normal(size=(10, K)), axis=1).astype(np.float32)
    gradients = recorded(training)
    with tiny.eager():
        for pull in (0.0, 1.0, 3.0):
            zs.set_seed(0)
            training.epoch(x[None], r[None], tf.constant(pull), tf.constant(1))
        zs.set_seed(0)  # the same noise of h
        with tf.GradientTape() as tape:
            _, log_p_z = training.model.bound(tf.constant(x.astype(np.float32)))
            loss = -tf.reduce_mean(tf.reduce_sum(r * log_p_z, axis=-1))
    expected = tape.gradient(loss, training.model.learned[:3])
    for none, once, thrice, exact in zip(*(each[:3] for each in gradients), expected, strict=True):
        np.testing.assert_allclose(once - none, exact, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(thrice - none, 3 * exact, rtol=1e-3, atol=3e-5)


def test_recognition_is_of_the_images_that_every_component_generates():
    """Against the mean over components of q(z | x) at images drawn anew from the same noise; in the last epochs the
    gradient of the loss is that of  - weight * it  more."""
    tf.keras.utils.set_random_seed(0)
    training = training_on(10, pure=True, generated_images=2, generation_weight=3.0)
    model, classifier = training.model, training.classifier
    for variable in model.decoder.trainable_variables:  # components generate images that differ
        variable.assign(2 * np.random.default_rng(0).normal(size=variable.shape))
    classifier.head.assign(1)
    z = np.repeat(np.arange(K), 2)
    zs.set_seed(0)
    found = training.recognition()
    zs.set_seed(0)
    noise = gmvae.draw_codes(model, z).numpy() - model.means.numpy()[z]
    assert np.abs(noise).min() > 0
    grey = tf.sigmoid(model.decoder(model.means.numpy()[z] + noise))
    q = softmax(classifier.network(grey).numpy()[:, K : 2 * K], axis=1)
    assert np.ptp(q, axis=0).max() > 1e-3
    assert float(found) == pytest.approx(q[np.arange(len(z)), z].mean(), rel=1e-4)

    gradients = recorded(training)
    x, r = images(10)[None] > 100, np.full([1, 10, K], 1 / K, np.float32)
    for epoch in (training.first_generating - 1, training.first_generating):
        zs.set_seed(0)
        if epoch < training.first_generating:
            training.recognition()  # draws first in an epoch that has it
        with tiny.eager():
            training.program(epoch)(x, r, tf.constant(1.0), tf.constant(1))
    zs.set_seed(0)
    with tf.GradientTape() as tape:
        loss = -3 * training.recognition()
    expected = tape.gradient(loss, model.learned)
    assert np.abs(expected[1]).max() > 1e-3
    for without, with_it, exact in zip(*gradients, expected, strict=True):
        np.testing.assert_allclose(with_it - without, 0 if exact is None else exact, rtol=1e-2, atol=2e-4)


@pytest.mark.parametrize(
    ("changes", "n_generating"),
    [({}, 0), ({"pure": True}, 3), ({"labels_per_class": 1}, 3), ({"pure": True, "generation_weight": 0.0}, 0)],
)
def test_images_are_generated_in_the_last_share_of_the_epochs(changes, n_generating):
    training = training_on(20, epochs=8, pull_share=0.25, generation_share=0.33, **changes)
    generating = [training.program(epoch) is not training.epoch for epoch in range(training.n_epochs)]
    assert generating == [False] * (training.n_epochs - n_generating) + [True] * n_generating


@pytest.mark.parametrize("variant", [{}, {"pure": True}, {"labels_per_class": 1}])
def test_a_step_of_the_classifier_changes_every_variable_of_it_alone(variant):
    tf.keras.utils.set_random_seed(0)
    training = training_on(40, k=10, **variant)
    learned = training.classifier.learned
    model_before, before = [v.numpy() for v in training.model.learned], [v.numpy() for v in learned]
    with tiny.eager():
        objectives = training.classifier_epoch(*map(tf.constant, training.classifier_epoch_data(0)), tf.constant(1))
        between = [v.numpy() for v in learned]
        training.begin_refinement()
        data = map(tf.constant, training.refinement_epoch_data(0))
        assert np.isfinite(training.refinement_epoch(*data, tf.constant(1)))
    assert objectives.shape == (2,)
    assert np.isfinite(objectives).all()
    for variable, value, later in zip(learned, before, between, strict=True):
        assert np.abs(later - value).max() > 0, variable.name
        assert np.abs(variable - later).max() > 0, variable.name
    for variable, value in zip(training.model.learned, model_before, strict=True):
        np.testing.assert_array_equal(variable, value)


class Table:
    """Stands in for a classifier's network: the first pixel of an image is its row of logits."""

    def __init__(self, logits):
        self.logits = tf.constant(logits, tf.float32)

    def __call__(self, grey, training):
        rows = tf.cast(tf.round(255 * grey[:, 0]), tf.int32)
        return tf.gather(tf.reshape(self.logits, [len(self.logits), -1]), rows)


def rows_of(*numbers):
    return tf.constant(np.array(numbers)[:, None] * np.ones((1, 784)), tf.uint8)


def test_the_classifiers_objectives_by_hand():
    """Two heads; against sums over images and clusters, with SciPy's entropies."""
    weights = {"balance_weight": 0.7, "certainty_weight": 0.2, "agreement_weight": 0.9}
    settings = small_settings(**weights, label_weight=3.0, cluster_weight=0.5, robustness=0.6)
    classifier = gmvae.Classifier(settings)
    logits = np.random.default_rng(0).normal(size=(7, 2, K))
    classifier.network = Table(logits)
    q = softmax(logits, axis=-1)
    labels = np.array([2, 0])
    total, plain = classifier.objective(rows_of(0, 1, 2), rows_of(3, 4, 4))
    balance = stats.entropy(q[:3].mean(axis=0), axis=-1)
    uncertainty = stats.entropy(q[:3], axis=-1).mean(axis=0)
    disagreement = -np.sum(q[:3] * np.log(q[[3, 4, 4]]), axis=-1).mean(axis=0)
    weighted = 0.7 * balance - 0.2 * uncertainty - 0.9 * disagreement
    np.testing.assert_allclose(total, weighted.sum(), rtol=1e-4)
    np.testing.assert_allclose(plain, balance - uncertainty - disagreement, rtol=1e-4)

    classifier.head.assign(1)
    batch = rows_of(0, 1, 2), tf.constant([3, 3, 1]), rows_of(5, 6), tf.constant(labels, tf.int32)
    given = q[[0, 1, 2], 1, [3, 3, 1]]
    clusters_alone = 0.5 * ((1 - given**0.6) / 0.6).mean()
    error = -np.log(q[[5, 6], 1, labels]).mean()
    np.testing.assert_allclose(classifier.loss(*batch), clusters_alone + 3 * error, rtol=1e-4)
    none = batch[2][:0], batch[3][:0]
    np.testing.assert_allclose(classifier.loss(*batch[:2], *none), clusters_alone, rtol=1e-4)
    classifier.settings = small_settings(**weights, label_weight=3.0, cluster_weight=0.5, robustness=0.0)
    np.testing.assert_allclose(classifier.loss(*batch[:2], *none), -0.5 * np.log(given).mean(), rtol=1e-4)
    np.testing.assert_allclose(classifier(rows_of(4, 2).numpy()), q[[4, 2], 1], rtol=1e-4)


def test_an_embedding_picks_its_partner_among_all_others():
    settings = small_settings(pure=True, embedding_units=4, temperature=0.3, contrast_weight=0.6)
    classifier = gmvae.Classifier(settings)
    outputs = np.random.default_rng(0).normal(size=(6, 2 * K + 4))
    classifier.network = Table(outputs)
    embeddings = outputs[:, 2 * K :] / np.linalg.norm(outputs[:, 2 * K :], axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.embed(rows_of(*range(6)).numpy()), embeddings, rtol=1e-5)
    expected = 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        similarities = embeddings[others] @ embeddings[i] / 0.3
        expected += similarities[others.index((i + 3) % 6)] - logsumexp(similarities)
    np.testing.assert_allclose(classifier.contrast(tf.constant(embeddings, tf.float32)), expected / 6, rtol=1e-5)
    images, partners = rows_of(0, 1, 2), rows_of(3, 4, 5)
    total = classifier.objective(images, partners)[0]
    classifier.settings = small_settings(pure=True, embedding_units=4, contrast_weight=0.0)
    without = classifier.objective(images, partners)[0]
    np.testing.assert_allclose(total - without, 0.6 * expected / 6, rtol=1e-4)


def test_labels_choose_the_head_and_name_its_clusters():
    """One head of three tells the classes apart, under other numbers."""
    tf.keras.utils.set_random_seed(0)
    classifier = gmvae.Classifier(small_settings(k=10, restarts=3, labels_per_class=3))
    grey, labels = tiny.structured_images(30, 0)
    grey, order = grey.reshape(30, 784), np.random.default_rng(0).permutation(10)
    kernel, bias = classifier.network.layers[-1].weights
    features = tf.keras.Sequential(classifier.network.layers[:-1])(grey / 255.0).numpy()
    solved = np.linalg.lstsq(features, 50 * np.eye(10)[order[labels]], rcond=None)[0]
    value = kernel.numpy()
    value[:, 10:20] = solved
    kernel.assign(value)
    np.testing.assert_array_equal(
        classifier.log_probs(grey, training=False).numpy()[:, 1].argmax(axis=-1), order[labels]
    )
    others = classifier.log_probs(grey, training=False).numpy()[:, [0, 2]]
    embeddings = classifier.embed(grey)
    classifier.name_clusters(grey, labels)
    assert int(classifier.head) == 1
    np.testing.assert_array_equal(classifier(grey).argmax(axis=-1), labels)
    np.testing.assert_allclose(classifier.log_probs(grey, training=False).numpy()[:, [0, 2]], others, rtol=1e-5)
    np.testing.assert_array_equal(classifier.embed(grey), embeddings)


@pytest.mark.parametrize(
    ("changes", "n_copies"), [({"pure": True}, 3), ({"pure": True, "no_augment": True}, 0), ({}, 0)]
)
def test_copies_have_a_vote_where_they_are_allowed(changes, n_copies):
    """The mean over the image and copies that do not hang on the images' company."""
    tf.keras.utils.set_random_seed(0)
    settings = small_settings(voting_copies=3, **changes)
    classifier = gmvae.Classifier(settings)
    grey = images(12)
    rng = np.random.default_rng(settings.seed)
    every = [grey, *(gmvae.distort(grey, settings, rng, alike=True) for _ in range(n_copies))]
    votes = [classifier.classify(each).numpy() for each in every]
    assert n_copies == 0 or np.ptp(votes, axis=0).max() > 1e-4
    found = classifier(grey)
    np.testing.assert_allclose(found, np.mean(votes, axis=0), rtol=1e-4)
    np.testing.assert_allclose(classifier(grey[5:6]), found[5:6], rtol=1e-4)


def test_images_are_distorted_alike_or_each_in_its_own_way():
    one = np.repeat(images(1), 4, axis=0)
    alike, apart = (
        gmvae.distort(one, small_settings(), np.random.default_rng(0), alike=alike).numpy() for alike in (True, False)
    )
    assert (alike == alike[0]).all()
    assert not np.array_equal(alike[0], one[0])
    assert all(not np.array_equal(apart[0], other) for other in apart[1:])


def test_the_refinement_learns_each_images_own_cluster():
    training = training_on(40, refinement_batch_size=10, no_augment=True)
    training.targets.assign(np.arange(40))
    images, clusters, *_ = training.refinement_epoch_data(0)
    assert images.shape == (4, 10, 784)
    assert set(clusters.flat) == set(range(40))
    np.testing.assert_array_equal(images, training.images[clusters])


def test_the_refinement_distorts_every_other_image():
    training = training_on(40, refinement_batch_size=10)
    training.targets.assign(np.arange(40))
    images, clusters, *_ = training.refinement_epoch_data(0)
    changed = (images != training.images[clusters]).any(axis=-1)
    np.testing.assert_array_equal(changed, np.tile([True, False], (4, 5)))


def test_bending_is_interpolation_at_moved_places():
    """Against SciPy's splines and interpolation; 0 beyond the edge."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (3, 784)).astype(np.uint8)
    knots = 2 * rng.normal(size=(3, 2, 5, 5)).astype(np.float32)
    got = gmvae.warp(grey, knots).numpy().reshape(3, 28, 28)
    row, column = np.indices((28, 28))
    places = np.linspace(0, 27, 5)
    for image, shifts, result in zip(grey.reshape(3, 28, 28), knots, got, strict=True):
        right, below = (RectBivariateSpline(places, places, shift)(np.arange(28), np.arange(28)) for shift in shifts)
        # In a frame of zeros, since SciPy would cut the last half pixel.
        moved = [row + below + 2, column + right + 2]
        expected = map_coordinates(np.pad(image.astype(float), 2), moved, order=1, mode="constant")
        np.testing.assert_allclose(result, expected, atol=0.6)
    bent = gmvae.bend(grey, small_settings(elastic=0.0), rng)
    np.testing.assert_array_equal(bent, grey)
    assert len(np.unique(gmvae.bend(grey[[0, 0]], small_settings(), rng), axis=0)) == 2


def test_near_neighbours_are_the_nearest_others():
    rng = np.random.default_rng(0)
    grey = np.zeros((30, 784), np.uint8)
    grey[:, :40] = rng.integers(0, 256, (30, 40))  # 50 principal components leave nothing out
    distances = np.square(grey[:, None].astype(float) - grey).sum(axis=-1)
    np.testing.assert_array_equal(gmvae.near_neighbours(grey, 3), distances.argsort(axis=1)[:, 1:4])
    np.testing.assert_array_equal(gmvae.near_neighbours(grey[:1], 3), [[0]])


def test_the_neighbour_graph_by_hand():
    codes = np.random.default_rng(0).normal(size=(12, 3))
    distances = np.linalg.norm(codes[:, None] - codes, axis=-1)
    ranks = distances.argsort(axis=1).argsort(axis=1)  # of an end itself: 0
    scale = np.sort(distances, axis=1)[:, 3]  # the middle one of the ranks 1 to 4, the later of two
    weights = np.exp(-(distances**2) / (scale[:, None] * scale))
    near = (ranks > 0) & (ranks <= 4)
    np.testing.assert_allclose(gmvae.neighbour_graph(codes, 4).toarray(), np.where(near | near.T, weights, 0))
    assert np.isfinite(gmvae.neighbour_graph(np.zeros((5, 3)), 2).toarray()).all()


def test_cuts_follow_the_neighbours_where_distances_mislead():
    """Rings around one another."""
    rng = np.random.default_rng(0)
    rings, angle = np.repeat(np.arange(3), 300), rng.uniform(0, 2 * np.pi, 900)
    radius = 1 + rings + 0.05 * rng.normal(size=900)
    codes = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    q = gmvae.cut(gmvae.neighbour_graph(codes, 10), small_settings(k=3))
    np.testing.assert_allclose(q.sum(axis=1), 1)
    assert adjusted_rand_score(rings, q.argmax(axis=1)) == 1
    # Two steps from a node, by hand: beside a node of another cluster it is the less certain.
    graph = gmvae.neighbour_graph(np.array([[0.0], [1], [2], [3], [10], [11], [12], [13], [6.5]]), 2)
    q = gmvae.cut(graph, small_settings(k=2))
    walk = graph.toarray() / graph.toarray().sum(axis=1, keepdims=True)
    members = np.eye(2)[q.argmax(axis=1)]
    np.testing.assert_allclose(q, walk @ walk @ members, rtol=1e-9)
    duplicates = np.concatenate([np.repeat(rng.normal(size=(3, 2)), 40, axis=0), [[9.0, 9.0]]])
    assert np.isfinite(gmvae.cut(gmvae.neighbour_graph(duplicates, 15), small_settings(k=3))).all()
    for n in (2, 3, 8):  # fewer points than clusters or eigenvectors
        q = gmvae.cut(gmvae.neighbour_graph(codes[:n], 10), small_settings(k=3))
        np.testing.assert_allclose(q.sum(axis=1), 1)


def test_of_all_cuts_the_most_balanced_and_certain_is_taken(monkeypatch):
    codes = np.repeat([0.0, 10.0, 20.0], 6)[:, None] + np.tile(np.arange(6), 3)[:, None]
    right, found = np.repeat([0, 1, 2], 6), []

    class Stub:
        def __init__(self, *_, **__):
            pass

        def fit_predict(self, rows):
            found.append(rows.shape[1])
            return right if rows.shape[1] == 4 else np.roll(right, 2)

    monkeypatch.setattr(gmvae, "KMeans", Stub)
    q = gmvae.cut(gmvae.neighbour_graph(codes, 3), small_settings(k=3))
    assert found == [3, 4, 5, 6]
    np.testing.assert_array_equal(q.argmax(axis=1), right)


def test_the_refinement_begins_with_the_graphs_clusters_named_by_labels():
    grey, labels = tiny.structured_images(200, 0)
    settings = small_settings(k=10, labels_per_class=2, refinement_share=1.0)
    training = gmvae.Training(grey.reshape(-1, 784), labels, settings)
    rng = np.random.default_rng(0)
    training.classifier.embed = lambda images: np.eye(10)[labels] + 0.01 * rng.normal(size=(200, 10))
    training.begin_refinement()
    targets = training.targets.numpy()
    np.testing.assert_array_equal(targets, labels)
    log_q = training.classifier.log_probs(training.images, False).numpy()[:, int(training.classifier.head)]
    np.testing.assert_array_equal(gmvae.best_order(log_q, labels)[0], np.arange(10))  # the head has the same names
    # One labelled image whose class is not that of its cluster.
    training.labels[0] = (training.labels[0] + 1) % 10
    training.begin_refinement()
    expected = labels.astype(int)
    expected[training.labelled[0]] = training.labels[0]
    np.testing.assert_array_equal(training.targets.numpy(), expected)
    # Without a graph the best head's own clusters.
    training = gmvae.Training(training.images, labels, small_settings(k=10, pure=True, graph_neighbours=0))
    own = training.classifier(training.images).argmax(axis=1)
    training.begin_refinement()
    np.testing.assert_array_equal(training.targets.numpy(), own)


def test_the_graph_joins_neighbours_by_embedding_and_by_pixels():
    grey, labels = tiny.structured_images(200, 0)
    rng = np.random.default_rng(0)
    others = rng.permutation(labels)
    for weight, alone, expected, unlike in (
        (0.0, False, others, labels),
        (100.0, False, labels, others),
        (100.0, True, others, labels),  # without distorted copies, by embedding alone
    ):
        settings = small_settings(k=10, pure=True, pixel_weight=weight, no_augment=alone)
        training = gmvae.Training(grey.reshape(-1, 784), labels, settings)
        training.classifier.embed = lambda images: np.eye(10)[others] + 0.01 * rng.normal(size=(200, 10))
        training.begin_refinement()
        targets = training.targets.numpy()
        assert adjusted_rand_score(expected, targets) > 0.6
        assert adjusted_rand_score(unlike, targets) < 0.1


def test_without_augmentation_a_partner_is_a_near_neighbour_and_no_image_is_distorted(monkeypatch):
    monkeypatch.setattr(gmvae, "distort", None)
    training = training_on(40, no_augment=True, labels_per_class=2, k=10, classifier_batch_size=20)
    known = {image.tobytes(): i for i, image in enumerate(training.images)}
    images, partners = training.classifier_epoch_data(0)
    for image, partner in zip(images.reshape(-1, 784), partners.reshape(-1, 784), strict=True):
        assert known[partner.tobytes()] in training.neighbours[known[image.tobytes()]]
    training.begin_refinement()
    images, _, labelled, labels = training.refinement_epoch_data(0)
    assert {x.tobytes() for x in images.reshape(-1, 784)} <= set(known)
    assert labelled.shape == (1, 20, 784)
    np.testing.assert_array_equal(labels.flat, [known[x.tobytes()] % 10 for x in labelled.reshape(-1, 784)])


def test_as_many_images_are_labelled_of_each_class_as_asked_for():
    labels = np.random.default_rng(0).integers(0, 10, 500)
    labelled = gmvae.draw_labelled(labels, small_settings(labels_per_class=7))
    assert len(np.unique(labelled)) == 70
    np.testing.assert_array_equal(np.bincount(labels[labelled]), 7)
    other = gmvae.draw_labelled(labels, small_settings(labels_per_class=7, seed=1))
    assert set(other) != set(labelled)
    assert len(gmvae.draw_labelled(labels, small_settings())) == 0


def test_a_labelled_image_has_its_label_as_the_posterior_of_z():
    training = training_on(40, labels_per_class=2, k=10)
    q_z = training.q_z()
    np.testing.assert_array_equal(q_z[training.labelled], np.eye(10)[training.labels])
    others = np.setdiff1d(np.arange(40), training.labelled)
    np.testing.assert_allclose(q_z[others], training.classifier(training.images[others]), rtol=1e-4, atol=1e-6)


def test_the_factorised_bound_sums_z_out_of_the_assignments_bound():
    """sum_z q(z|x) [log p(x, z, h) - log q(z|x)] - log q(h|x), averaged over h, image by image; with a label as q(z|x)
    it is the labelled bound."""
    tf.keras.utils.set_random_seed(0)
    model = gmvae.MixtureVAE(small_settings(pure=True))
    model.means.assign_add(np.random.default_rng(0).normal(size=(K, D)))
    grey, n = images(B), 40
    x = tf.constant(gmvae.fixed_binary(grey))
    q_z = softmax(np.random.default_rng(1).normal(size=(B, K)), axis=-1).astype(np.float32)
    q_z[0] = np.eye(K)[2]
    with tiny.eager():
        zs.set_seed(3)
        scores = gmvae.score(model, grey, q_z, 40, "images")
        zs.set_seed(3)
        h, log_q = zip(
            *(model.infer(x, q_z, n_samples=10).query("h", outputs=True, local_log_prob=True) for _ in range(4)),
            strict=True,
        )
    h, log_q = tf.concat(h, 0), np.concatenate(log_q)
    every = np.stack(
        [model.generate({"z": tf.one_hot([z] * B, K)[None], "h": h, "x": x}, B).log_joint() for z in range(K)]
    )  # [K, S, B]
    q = q_z.T[:, None]
    expected = (np.sum(q * every - xlogy(q, q), axis=0) - log_q).mean(axis=0)
    np.testing.assert_allclose(scores.elbo, expected, rtol=1e-4)
    np.testing.assert_allclose(scores.elbo[0], (every[2] - log_q).mean(axis=0)[0], rtol=1e-4)
    np.testing.assert_array_equal(scores.q_z, q_z)
    assert n == len(h)


def test_the_code_is_told_the_posterior_of_z_where_that_is_a_network_of_its_own():
    model = gmvae.MixtureVAE(small_settings(pure=True))
    x = tf.zeros([1, 784])
    means = [model.encode(x, tf.one_hot([z], K))[0].numpy() for z in range(2)]
    assert np.abs(means[0] - means[1]).max() > 0.01
    bound = gmvae.MixtureVAE(small_settings()).encoder.input_shape, model.encoder.input_shape
    assert bound == ((None, 784), (None, 784 + K))


def test_an_epoch_sees_each_image_at_most_once_in_an_order_of_its_own():
    training = training_on(25, seed=1)
    first, again, second = (training.batches(epoch, 10)[0] for epoch in (0, 0, 1))
    assert first.shape == (2, 10)
    assert len(np.unique(first)) == first.size
    assert set(first.flat) <= set(range(25))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, training_on(25, seed=2).batches(0, 10)[0])


def test_an_epochs_data_belong_together_and_are_drawn_anew_each_epoch():
    grey = images(40)
    training = training_on(40, classifier_batch_size=20)
    r = np.eye(40, dtype=np.float32)  # each row says which image it belongs to
    drawn = []
    for epoch in (0, 0, 1):
        x, rows = (part.numpy() for part in training.epoch_data(epoch, r))
        order = rows.argmax(axis=-1)
        assert x.shape == (4, 10, 784)
        assert sorted(order.flat) == list(range(40))
        assert not x[grey[order] == 0].any()
        assert x[grey[order] == 255].all()
        drawn.append(x[np.argsort(order.flat) // 10, np.argsort(order.flat) % 10])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    originals, distorted = training.classifier_epoch_data(0)
    assert originals.shape == distorted.shape == (2, 20, 784)
    # A copy has its light about where its image has it.
    columns = np.arange(784) % 28
    weights = [(part * columns).sum(-1) / part.sum(-1) for part in (originals, distorted)]
    assert np.corrcoef(weights[0].flat, weights[1].flat)[0, 1] > 0.5


def test_compilation_changes_nothing():
    training = training_on(60, labels_per_class=1)

    def variables():
        found = [training.model.learned, training.classifier.network.variables, training.optimizer.variables]
        found += [training.classifier_optimizer.variables, training.refinement_optimizer.variables]
        return [v.numpy() for v in tf.nest.flatten(found)]

    state = variables()
    noise = zs.get_generator().state.numpy()
    seconds = []
    for epoch in (0, training.classifier_epochs, training.start_epochs):
        training.compile(epoch)
        seconds.append(float(training.compile_seconds))
    assert 0 < seconds[0] < seconds[1] < seconds[2] == -training.seconds.numpy()
    for before, after in zip(state, variables(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(noise, zs.get_generator().state)


def test_the_model_ends_with_averages_of_its_weights(tmp_path):
    """Where a step counts half as much as the next, the last of S has weight 1/2, and the first 2^(1 - S)."""
    training = training_on(40, epochs=8, average_steps=2, learning_rate=0.01)
    seen = []
    apply = training.optimizer.apply

    def recorded(*given):
        apply(*given)
        seen.append(training.model.means.numpy())

    training.optimizer.apply = recorded
    folder = utils.RunFolder(tmp_path / "run", "gmvae")
    folder.start(training.settings)
    with tiny.eager():
        training.train(folder)
    assert len(seen) == 40
    weights = 0.5 ** np.arange(40, 0, -1)
    weights[0] *= 2
    np.testing.assert_allclose(training.model.means, np.tensordot(weights, seen, 1), rtol=1e-5, atol=1e-6)
    assert np.abs(training.model.means.numpy() - seen[-1]).max() > 1e-3


@pytest.mark.parametrize(("n", "steps"), [(10, 1), (400, 8), (2000, 30)])
def test_the_averages_are_over_at_most_a_tenth_of_all_steps(n, steps):
    assert training_on(n, average_steps=30).optimizer.ema_momentum == 1 - 1 / steps


# Whole runs


ARGUMENTS = ["--epochs", 8, "--batch-size", 50, "--restarts", 2, "--seed", 0]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """The folder of a finished run, made where a foreign file lay."""
    out = tmp_path_factory.mktemp("runs") / "gmvae"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    zs.set_seed(12345)  # what came before must not matter
    np.random.seed(12345)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gmvae, "TSNE", tiny.NoMap)
        run("--data", data, *ARGUMENTS, out=out)
    return out


def clusters(folder):
    with np.load(folder / "clusters.npz") as found:
        return found["train"], found["test"]


def test_metrics_and_clusters_are_as_the_design_says(finished, data):
    metrics, (train, test) = tiny.read_metrics(finished), clusters(finished)
    found = utils.read_images(str(data))
    assert (train.shape, test.shape) == ((400,), (60,))
    assert train.dtype.kind == test.dtype.kind == "u"
    assert max(train.max(), test.max()) < 10

    assert {"elbo", "nll", "importance_samples", "accuracy", "accuracy_model", "nmi", "ari"} <= set(metrics["test"])
    assert {"accuracy", "accuracy_model", "nmi", "ari"} <= set(metrics["train"])
    assert metrics["test"]["importance_samples"] >= 500
    assert metrics["test"]["elbo"] < -metrics["test"]["nll"] < 0
    for part, assigned, labels in (("train", train, found.train_labels), ("test", test, found.test_labels)):
        scores = metrics[part]
        assert scores["accuracy"] == pytest.approx(utils.cluster_accuracy(assigned, labels, 10, 10))
        assert scores["nmi"] == pytest.approx(normalized_mutual_info_score(labels, assigned))
        assert scores["ari"] == pytest.approx(adjusted_rand_score(labels, assigned))
        assert 0 < scores["accuracy_model"] <= 1
    assert metrics["components_used"] == np.sum(np.bincount(train, minlength=10) >= 0.02 * 400)
    assert metrics["sample_purity"] is None
    assert set(Settings.__dataclass_fields__) | {"versions"} <= set(metrics["config"])
    assert metrics["seconds"] > 0
    assert metrics["compile_seconds"] > 0
    with np.load(finished / "curves.npz") as curves:
        epochs = len(curves["starts"]) + len(curves["bounds"])
    # No image is counted that was not seen.
    assert 0 < metrics["images_per_second"] * metrics["seconds"] <= 400 * epochs * (1 + 1e-6)


def test_training_raises_the_bound(finished):
    with np.load(finished / "curves.npz") as curves:
        assert curves["bounds"][-1] > curves["bounds"][0] + 50
        np.testing.assert_allclose(curves["shares"].sum(axis=1), 1, rtol=1e-4)


def test_a_run_leaves_its_files_and_the_foreign_one(finished):
    names = {p.name for p in finished.iterdir()}
    assert {"metrics.json", "settings.json", "clusters.npz", "notes.txt"} <= names
    tiny.check_finished(finished)
    assert (finished / "notes.txt").read_text() == "mine"
    for figure in FIGURES:
        assert tiny.is_picture(finished, figure)


def test_the_command_gives_the_same_numbers_and_shows_its_progress(finished, data, tmp_path):
    """In a process of its own, with standard error on a terminal, as for a user."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 25, 100, 0, 0))
    shown = []

    def read():
        try:
            while chunk := os.read(ours, 4096):
                shown.append(chunk)
        except OSError:  # the other end is closed
            pass

    words = [sys.executable, str(tiny.PROJECT / "gmvae.py"), "--data", str(data), *map(str, ARGUMENTS)]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    reader = threading.Thread(target=read)
    reader.start()
    printed = process.stdout.read()
    process.stdout.close()
    assert process.wait(timeout=300) == 0
    reader.join()
    os.close(ours)

    progress = b"".join(shown).decode()
    assert "step 1, objective" in progress
    assert "step 3, bound" in progress
    assert "nats per image" in progress
    assert "<" in progress  # time that went by < time left
    for word in tiny.CHATTER:
        assert word not in progress
        assert word not in printed

    out = tmp_path / Settings.out
    assert [p.name for p in tmp_path.iterdir()] == ["plots"]
    assert tiny.strip_times(tiny.read_metrics(out)) == tiny.strip_times(tiny.read_metrics(finished))
    for got, expected in zip(clusters(out), clusters(finished), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert all(tiny.is_picture(out, figure) for figure in FIGURES)
    test = tiny.read_metrics(out)["test"]
    for value in (f"{100 * test['accuracy']:.2f}", f"{test['elbo']:.2f}", f"{test['nll']:.2f}", "500 samples"):
        assert value in printed


# Figures


def test_the_map_of_codes_is_drawn_by_one_thread(model, monkeypatch):
    threads = []

    class Map(tiny.NoMap):
        def fit_transform(self, codes):
            threads.extend(pool["num_threads"] for pool in threadpool_info())
            return super().fit_transform(codes)

    monkeypatch.setattr(gmvae, "TSNE", Map)
    with threadpool_limits(2):
        clusters = np.zeros(B, int)
        found = utils.Images(images(B), clusters, images(B), clusters)
        shown = gmvae.pictures(model, found, None, clusters, small_settings())
    assert set(threads) == {1}
    assert shown["codes_2d"].shape == (B, 2)


def test_the_latent_figure_keeps_a_component_far_from_all_images_inside(tmp_path):
    """A component that no image uses can lie anywhere on the map."""
    rng = np.random.default_rng(0)
    shown = {
        "codes_2d": rng.normal(size=(50, 2)),
        "means_2d": rng.normal(size=(10, 2)) + np.eye(10)[:, [9]] * 300,
        "clusters": np.arange(50) % 9,
        "classes": np.arange(50) % 9,
        "confusion": np.diag([9] * 9 + [0]),
    }
    with utils.figure_style():
        figure = gmvae.latent_figure(shown)
        utils.save_figure(figure, tmp_path, "latent")  # no warning of a collapsed layout
    for ax in figure.axes:
        box = ax.get_window_extent()
        for text in ax.texts:
            assert box.contains(*ax.transData.transform(text.get_position()))


# Runs of a few steps, without a compiler


@dataclass(frozen=True)
class LongStart(Settings):
    classifier_share: float = utils.setting(3.0)  # a short run with several epochs of step 1


def quick(monkeypatch):
    monkeypatch.setattr(gmvae, "Settings", LongStart)
    monkeypatch.setattr(utils, "save_figure", tiny.save_no_figure)
    monkeypatch.setattr(gmvae, "TSNE", tiny.NoMap)


@pytest.fixture
def few_steps(monkeypatch):
    quick(monkeypatch)
    with tiny.eager():
        yield


SHORT = ["--epochs", 1, "--batch-size", 40, "--restarts", 2, "--seed", 3]


@pytest.fixture(scope="module")
def small_data(tmp_path_factory):
    return tiny.write_images(tmp_path_factory.mktemp("data"), 80, 20)


@pytest.fixture(scope="module")
def unbroken(small_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch, tiny.eager():
        quick(patch)
        run("--data", small_data, *SHORT, out=out)
    return out


def test_labels_enter_nothing_but_the_scores(unbroken, few_steps, tmp_path):
    data = tiny.write_images(tmp_path / "data", 80, 20, shuffle_labels=True)
    metrics = run("--data", data, *SHORT, out=tmp_path / "out")
    for got, expected in zip(clusters(tmp_path / "out"), clusters(unbroken), strict=True):
        np.testing.assert_array_equal(got, expected)
    right = tiny.read_metrics(unbroken)
    assert metrics["test"]["elbo"] == right["test"]["elbo"]
    assert metrics["test"]["nll"] == right["test"]["nll"]
    assert metrics["train"]["ari"] != right["train"]["ari"]


@pytest.mark.parametrize("variant", [["--pure"], ["--pure", "--no-augment"]])
def test_labels_enter_nothing_but_the_scores_of_pure_clusters(small_data, few_steps, tmp_path, variant):
    shuffled = tiny.write_images(tmp_path / "shuffled", 80, 20, shuffle_labels=True)
    runs = [tmp_path / "right", tmp_path / "wrong"]
    for data, out in zip((small_data, shuffled), runs, strict=True):
        metrics = run("--data", data, *SHORT, *variant, out=out)
    assert metrics["test"]["error"] is None
    for right, wrong in zip(*map(clusters, runs), strict=True):
        np.testing.assert_array_equal(right, wrong)
    trained = gmvae.load(runs[0])
    test = utils.read_images(str(small_data)).test
    np.testing.assert_array_equal(trained.classify(test), clusters(runs[0])[1])


def test_labels_that_are_asked_for_enter(small_data, few_steps, tmp_path):
    """A cluster is the class of its labels: with all of them known, even a few steps learn something."""
    metrics = run("--data", small_data, *SHORT, "--labels-per-class", 8, "--no-augment", out=tmp_path / "right")
    shuffled = tiny.write_images(tmp_path / "shuffled", 80, 20, shuffle_labels=True)
    run("--data", shuffled, *SHORT, "--labels-per-class", 8, "--no-augment", out=tmp_path / "wrong")
    test_labels = utils.read_images(str(small_data)).test_labels
    assert metrics["test"]["error"] == np.mean(clusters(tmp_path / "right")[1] != test_labels) < 0.5
    assert not np.array_equal(clusters(tmp_path / "right")[1], clusters(tmp_path / "wrong")[1])


@pytest.mark.parametrize(
    ("argv", "folder"), [([], "gmvae"), (["--pure"], "gmvae-pure"), (["--labels-per-class", "3"], "gmvae-labels")]
)
def test_each_variant_has_a_folder_of_its_own(tmp_path, monkeypatch, argv, folder):
    monkeypatch.chdir(tmp_path)
    with utils.open_run(Settings, "gmvae", "", (), argv, gmvae.default_out) as (settings, _, run_folder, _):
        assert settings.out == str(run_folder.path) == f"plots/{folder}"
    with utils.open_run(Settings, "gmvae", "", (), [*argv, "--out", "mine"], gmvae.default_out) as (settings, *_):
        assert settings.out == "mine"


def test_the_judge_that_is_kept_errs_on_as_many_binary_images_as_it_says():
    found = utils.read_images(str(tiny.PROJECT / "data" / "mnist"))
    judge, error = gmvae.load_judge(found)
    assert judge.settings.robustness == 0, "its clusters are labels, which are right"
    errors = judge((255 * gmvae.fixed_binary(found.test)).astype(np.uint8)).argmax(axis=-1) != found.test_labels
    assert errors.mean() == pytest.approx(error, abs=2e-4)  # another processor may round an image over the edge


def test_samples_are_judged_by_a_classifier_of_the_same_data_alone(small_data, tmp_path, monkeypatch):
    """Components that draw white and black images, judged by a table: the first pixel decides."""
    found = utils.read_images(str(small_data))
    monkeypatch.setattr(gmvae, "JUDGE", tmp_path)
    assert gmvae.load_judge(found) is None
    kept = gmvae.Classifier(gmvae.JUDGE_SETTINGS)
    utils.write_checkpoint(tf.train.Checkpoint(classifier=kept), tmp_path / "weights")
    utils.write_json(tmp_path / "judge.json", {"data_sha256": utils.checksum(*found), "test_error": 0.25})
    judge, error = gmvae.load_judge(found)
    np.testing.assert_array_equal(judge(found.test), kept(found.test))
    assert error == 0.25
    assert gmvae.load_judge(found._replace(test=found.test[:-1], test_labels=found.test_labels[:-1])) is None

    model = gmvae.MixtureVAE(small_settings(k=2))
    model.means.assign([[5.0] * D, [-5.0] * D])
    logits = np.zeros((256, 1, 10))
    logits[0, 0, 3] = logits[255, 0, 7] = 1
    judge.network, judge.shape = Table(logits), [-1, 1, 10]
    # White for the first component, and for a quarter of the draws of the second.
    model.decode = lambda h: tf.where(h[:, :1] > 0, 50.0, -np.log(3.0)) * tf.ones([1, 784])
    scores = gmvae.sample_purity(model, (judge, error), found, 2000)
    assert scores["per_cluster"][0] == 1
    assert scores["per_cluster"][1] == pytest.approx(0.75, abs=5 * np.sqrt(0.25 * 0.75 / 2000))
    assert scores["mean"] == pytest.approx(np.mean(scores["per_cluster"]))
    assert scores["classifier_error"] == error
    assert scores["diversity"] == [0, 0]
    assert gmvae.sample_purity(model, None, found, 10) is None


def test_diversity_is_against_the_images_of_the_clusters_class():
    """Draws are black or white, so that two differ in all pixels half of the time; of the class so do all pairs of
    halves, of the others none."""
    model = gmvae.MixtureVAE(small_settings(k=1))
    model.means.assign([[0.0] * D])
    model.decode = lambda h: tf.where(h[:, :1] > 0, 50.0, -50.0) * tf.ones([1, 784])
    train = np.repeat([0, 255, 7, 7], 10)[:, None] * np.ones([1, 784], int)
    found = utils.Images(train.astype(np.uint8), np.repeat([3, 3, 4, 4], 10), None, None)
    judge = gmvae.Classifier(gmvae.JUDGE_SETTINGS)
    logits = np.zeros((256, 1, 10))
    logits[:, 0, 3] = 1
    judge.network, judge.shape = Table(logits), [-1, 1, 10]
    scores = gmvae.sample_purity(model, (judge, 0.0), found, 2000)
    assert scores["per_cluster"] == [1.0]
    assert scores["diversity"][0] == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(1000))


@pytest.mark.parametrize("damaged", ["judge.json", "weights.index"])
def test_a_damaged_judge_is_refused(damaged, small_data, tmp_path, monkeypatch, capsys):
    found = utils.read_images(str(small_data))
    judge = tmp_path / "judge"
    judge.mkdir()
    monkeypatch.setattr(gmvae, "JUDGE", judge)
    kept = gmvae.Classifier(gmvae.JUDGE_SETTINGS)
    utils.write_checkpoint(tf.train.Checkpoint(classifier=kept), judge / "weights")
    utils.write_json(judge / "judge.json", {"data_sha256": utils.checksum(*found), "test_error": 0.25})
    (judge / damaged).write_text("{")
    error = tiny.refused(gmvae.main, ["--data", small_data, *SHORT, "--out", tmp_path / "out"], capsys)
    assert error.startswith(f"error: {judge}: the classifier that judges samples is damaged; git checkout data/judge")
    assert not (tmp_path / "out").exists()


@dataclass(frozen=True)
class LongRefinement(Settings):
    refinement_share: float = utils.setting(2.0)  # a short run with two epochs of it
    voting_copies: int = utils.setting(1)
    importance_samples: int = utils.setting(10)


def test_a_run_that_is_stopped_before_or_in_the_refinement_ends_in_the_same_numbers(
    small_data, few_steps, tmp_path, monkeypatch
):
    """The clusters that the refinement learns, and the head that has their names, are found once."""
    monkeypatch.setattr(gmvae, "Settings", LongRefinement)
    argv = ["--data", small_data, *SHORT, "--labels-per-class", 2]
    run(*argv, out=tmp_path / "unbroken")
    for name, call in (("begin_refinement", 1), ("refinement_epoch_data", 2)):
        calls, method = [], getattr(gmvae.Training, name)

        def stop(*args, calls=calls, method=method, call=call):
            calls.append(args)
            if len(calls) == call:
                raise KeyboardInterrupt
            return method(*args)

        with monkeypatch.context() as patch:
            patch.setattr(gmvae, "SAVE_EVERY", 0.0)
            patch.setattr(gmvae.Training, name, stop)
            with pytest.raises(KeyboardInterrupt):
                run(*argv, out=tmp_path / name)
        tiny.check_unfinished(tmp_path / name)
        with monkeypatch.context() as patch:
            if call == 2:
                patch.setattr(gmvae.Training, "begin_refinement", None)
            run("--resume", out=tmp_path / name)
        tiny.check_equal_runs(tmp_path / name, tmp_path / "unbroken")


def test_a_loss_that_is_not_finite_stops_the_run(small_data, few_steps, tmp_path, monkeypatch):
    monkeypatch.setattr(gmvae.Training, "refinement_epoch", lambda *_: tf.constant(np.nan))
    with pytest.raises(utils.InputError, match="^the loss in epoch 2 is not finite; start anew with a larger"):
        run("--data", small_data, *SHORT, "--pure", out=tmp_path / "out")


def test_the_spread_is_the_mean_distance_of_pairs():
    assert gmvae.spread(np.array([[0.0, 0.0], [1.0, 1.0], [9.0, 9.0], [3.0, 4.0], [1.0, 2.0]])) == (5 + 1) / 2


def test_gzipped_files_and_the_same_seed_give_the_same_run_and_another_seed_another(unbroken, few_steps, tmp_path):
    data = tiny.write_images(tmp_path / "data", 80, 20, compress=True)
    run("--data", data, *SHORT, out=tmp_path / "out")
    tiny.check_equal_runs(tmp_path / "out", unbroken)
    other = run("--data", data, *SHORT[:-1], 4, out=tmp_path / "out")
    assert other["test"]["elbo"] != tiny.read_metrics(unbroken)["test"]["elbo"]


def test_validation_scores_training_images_and_leaves_the_test_images_untouched(few_steps, tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class FewSetAside(gmvae.Settings):
        validation_images: int = utils.setting(30)

    monkeypatch.setattr(gmvae, "Settings", FewSetAside)
    data = tiny.write_images(tmp_path / "data", 80, 20)
    other = tiny.write_images(tmp_path / "other", 80, 10, shuffle_labels=False)
    first, second = (
        run("--data", folder, *SHORT, "--validate", out=tmp_path / "out" / folder.name) for folder in (data, other)
    )
    assert first["test"] == second["test"]
    train, test = clusters(tmp_path / "out" / "data")
    assert (len(train), len(test)) == (50, 30)
    images = utils.read_images(str(data))
    aside = utils.set_aside(images, 30)
    np.testing.assert_array_equal(np.concatenate([aside.train, aside.test]), images.train)
    np.testing.assert_array_equal(np.concatenate([aside.train_labels, aside.test_labels]), images.train_labels)
    assert first["test"]["accuracy"] == utils.cluster_accuracy(test, aside.test_labels, 10, 10)


def test_a_handful_of_images_is_enough(few_steps, tmp_path):
    data = tiny.write_images(tmp_path / "data", 3, 1)
    metrics = run("--data", data, "--epochs", 1, "--batch-size", 2, "--restarts", 1, out=tmp_path / "out")
    assert metrics["test"]["accuracy"] == 1.0


def test_resuming_a_finished_run_trains_nothing_and_draws_the_figures_again(finished, tmp_path, monkeypatch, capsys):
    out = tmp_path / "moved"  # a run's folder can be moved
    shutil.copytree(finished, out)
    for figure in FIGURES:
        (out / f"{figure}.pdf").unlink()
        (out / f"{figure}.png").write_text("spoilt")
    before = {name: value for name, value in tiny.tree(out).items() if Path(name).suffix not in (".pdf", ".png")}
    monkeypatch.setattr(gmvae, "Training", None)
    monkeypatch.setattr(gmvae, "MixtureVAE", None)
    metrics = run("--resume", *ARGUMENTS, out=out)
    assert all(tiny.is_picture(out, figure) for figure in FIGURES)
    after = tiny.tree(out)
    assert {name: after[name] for name in before} == before
    assert {Path(name).name for name in after} == {p.name for p in finished.iterdir()}
    assert f"{metrics['test']['elbo']:.2f}" in capsys.readouterr().out


def test_a_finished_run_without_a_share_of_errors_in_its_file_is_drawn_again(finished, tmp_path, capsys):
    out = tmp_path / "older"
    shutil.copytree(finished, out)
    metrics = json.loads((out / "metrics.json").read_text())
    del metrics["test"]["error"]
    (out / "metrics.json").write_text(json.dumps(metrics))
    gmvae.main(["--resume", "--out", str(out)])
    assert "error" not in capsys.readouterr().out


def test_resuming_what_cannot_be_resumed_is_refused(finished, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    for out in (empty, tmp_path / "none"):
        assert "holds no run" in tiny.refused(gmvae.main, ["--resume", "--out", out], capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty"]
    changed = tiny.refused(gmvae.main, ["--resume", "--epochs", 7, "--out", finished], capsys)
    assert "--epochs 7" in changed
    assert "--epochs 8" in changed
    damaged = tmp_path / "damaged"
    shutil.copytree(finished, damaged)
    (damaged / "metrics.json").unlink()
    assert str(damaged) in tiny.refused(gmvae.main, ["--resume", "--out", damaged], capsys)


def test_the_other_scripts_run_is_neither_resumed_nor_replaced(finished, capsys):
    before = tiny.tree(finished)
    for argv in (["--resume"], []):
        last = tiny.refused(gmm_vi.main, [*argv, "--out", finished], capsys)
        assert "is not of gmm_vi.py; choose another folder" in last
    assert tiny.tree(finished) == before


# Use from Python


def test_a_loaded_run_classifies_as_the_run_did(finished, data):
    trained = gmvae.load(finished)
    x = gmvae.fixed_binary(utils.read_images(str(data)).test)  # the very images that the run scored
    h = trained.model.infer(tf.constant(x), n_samples=500).outputs("h")
    samples = np.exp(trained.model.log_p_z(h)).transpose(2, 0, 1)  # [N, K, S]
    p_z = samples.mean(axis=-1)
    ranked = np.take_along_axis(samples, p_z.argsort(axis=1)[:, ::-1, None], axis=1)
    lead = ranked[:, :1] - ranked[:, 1:]  # the run drew other noise: five standard errors of a difference of two means
    clear = (lead.mean(axis=-1) > 5 * lead.std(axis=-1) * np.sqrt(2 / 500)).all(axis=1)
    assert clear.sum() >= 10
    np.testing.assert_array_equal(p_z.argmax(axis=1)[clear], clusters(finished)[1][clear])

    binary = (255 * x).astype(np.uint8)
    responsibilities = trained.responsibilities(binary)
    assert responsibilities.shape == (60, 10)
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(responsibilities, p_z, atol=0.35)  # five standard errors of 50 samples
    np.testing.assert_array_equal(trained.classify(binary), responsibilities.argmax(axis=1))
    np.testing.assert_array_equal(trained.classify(binary / 255), responsibilities.argmax(axis=1))
    np.testing.assert_array_equal(trained.classify(binary == 255), responsibilities.argmax(axis=1))
    with np.load(finished / "pictures.npz") as pictures:
        means = tf.sigmoid(trained.model.decode(trained.model.means))
        np.testing.assert_allclose(means, pictures["means"], atol=1e-5)


def test_an_images_cluster_does_not_hang_on_its_company(finished):
    trained = gmvae.load(finished)
    together = trained.responsibilities(images(20))
    np.testing.assert_allclose(trained.responsibilities(images(20)[5:8]), together[5:8], rtol=1e-3, atol=1e-5)


def test_a_loaded_run_samples(finished):
    trained = gmvae.load(finished)
    drawn = trained.sample([0, 3, 3, 9], seed=1)
    assert drawn.shape == (4, 784)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert not np.array_equal(drawn[1], drawn[2])
    np.testing.assert_array_equal(drawn, trained.sample(np.array([0, 3, 3, 9]), seed=1))
    assert not np.array_equal(drawn, trained.sample([0, 3, 3, 9], seed=2))


@pytest.mark.parametrize("wrong", [[10], [-1], [[0, 1]], [0.5]])
def test_sampling_from_a_cluster_that_is_none_is_refused(finished, wrong):
    """tf.one_hot would take them for a cluster at the origin without width."""
    with pytest.raises(ValueError, match="cluster"):
        gmvae.load(finished).sample(wrong)


@pytest.mark.parametrize("shape", [(784,), (2, 28, 28), (2, 783), (0, 783)])
def test_images_of_another_shape_are_refused(finished, shape):
    with pytest.raises(ValueError, match=r"wanted images of shape \[N, 784\]"):
        gmvae.load(finished).classify(np.zeros(shape))


@pytest.mark.parametrize("images", [np.full((1, 784), 200), np.full((1, 784), -0.1), np.full((1, 784), np.nan)])
def test_images_out_of_range_are_refused(finished, images):
    """Integers up to 255 that are no bytes would all turn white."""
    with pytest.raises(ValueError, match="wanted bytes, or numbers from 0 to 1"):
        gmvae.load(finished).classify(images)


def test_no_images_have_no_clusters(finished):
    assert gmvae.load(finished).classify(np.zeros((0, 784), np.uint8)).shape == (0,)


def test_using_a_run_leaves_the_callers_random_numbers_alone(finished):
    trained = gmvae.load(finished)
    zs.set_seed(3)
    expected = zs.get_generator().normal([5]).numpy()
    zs.set_seed(3)
    trained.sample([0])
    trained.classify(images(2))
    np.testing.assert_array_equal(zs.get_generator().normal([5]), expected)


def test_loading_what_is_no_run_is_refused(tmp_path):
    for name in ("settings.json", "weights.index"):
        with pytest.raises(FileNotFoundError, match=f"{name} is missing: run gmvae.py --out {tmp_path} first"):
            gmvae.load(tmp_path)
        (tmp_path / name).write_text('{"script": "gmm_vi"}')
    with pytest.raises(utils.InputError, match="settings.json is not of gmvae.py; choose another folder"):
        gmvae.load(tmp_path)


# Bad input


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--epochs", "0"], ["--epochs 0"]),
        (["--epochs", "-3"], ["--epochs -3"]),
        (["--epochs", "1.5"], ["--epochs", "1.5"]),
        (["--epochs", "10000000"], ["--epochs 10000000"]),
        (["--batch-size", "1"], ["--batch-size 1"]),
        (["--batch-size", "0"], ["--batch-size 0"]),
        (["--batch-size", "81"], ["--batch-size 81", "at most 80"]),
        (["--batch-size", "1000000000"], ["--batch-size 1000000000"]),
        (["--restarts", "0"], ["--restarts 0"]),
        (["--restarts", "100000"], ["--restarts 100000"]),
        (["--seed", "-1"], ["--seed -1"]),
        (["--seed", "2147483648"], ["--seed 2147483648"]),
        (["--seed", "x"], ["--seed", "'x'"]),
        (["--steps", "3"], ["--steps"]),
        (["--labels-per-class", "-1"], ["--labels-per-class -1"]),
        (["--labels-per-class", "9", "--batch-size", "50"], ["--labels-per-class 9", "class 0 has 8"]),
        (["--labels-per-class", "2", "--pure", "--batch-size", "50"], ["--pure", "--labels-per-class 2"]),
        (["--data", "{tmp}/none"], ["{tmp}/none", "missing"]),
        (["--data", "{tmp}/data/train-labels-idx1-ubyte"], ["missing", "four files"]),
        (["--data", "{tmp}/incomplete"], ["t10k-labels-idx1-ubyte[.gz] is missing"]),
        (["--data", "{tmp}/corrupt"], ["train-images-idx3-ubyte", "begins with ffffffff"]),
        (["--data", "{tmp}/truncated"], ["t10k-images-idx3-ubyte", "get the file again"]),
        (["--data", "{tmp}/mixed"], ["80 images but 20 labels"]),
        (["--validate"], ["--validate", "more than 10000", "got 80"]),
        (["--out", "{tmp}/notes.txt"], ["notes.txt", "another folder"]),
        (["--out", "{tmp}/notes.txt/run"], ["notes.txt/run", "another folder"]),
        (["--out", "/proc/run"], ["/proc/run", "another folder"]),
    ],
    ids=lambda value: " ".join(value).replace("{tmp}", "") if value[0].startswith("--") else "",
)
def test_bad_input_is_refused(small_data, tmp_path, capsys, monkeypatch, argv, words):
    for name in ("data", "incomplete", "corrupt", "truncated", "mixed"):
        shutil.copytree(small_data, tmp_path / name)
    (tmp_path / "incomplete" / "t10k-labels-idx1-ubyte").unlink()
    (tmp_path / "corrupt" / "train-images-idx3-ubyte").write_bytes(b"\xff" * 1000)
    truncated = tmp_path / "truncated" / "t10k-images-idx3-ubyte"
    truncated.write_bytes(truncated.read_bytes()[:5000])
    shutil.copy(tmp_path / "data" / "t10k-labels-idx1-ubyte", tmp_path / "mixed" / "train-labels-idx1-ubyte")
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)  # where the default folder would be made
    before = tiny.tree(tmp_path)
    argv = [word.format(tmp=tmp_path) for word in argv]
    last = tiny.refused(gmvae.main, ["--data", "data", *argv], capsys)
    for word in words:
        assert word.format(tmp=tmp_path) in last
    assert tiny.tree(tmp_path) == before


def test_bad_input_leaves_a_finished_run_alone(finished, data, capsys):
    before = tiny.tree(finished)
    for wrong in (["--epochs", 0], ["--data", finished / "none"], ["--batch-size", 401, "--data", data]):
        tiny.refused(gmvae.main, ["--out", finished, *wrong], capsys)
    assert tiny.tree(finished) == before


def test_bad_input_ends_the_command_with_one_last_line(tmp_path):
    """The default --data is the project's, which another working folder does not have."""
    ran = tiny.command("gmvae.py", "--data", "none", cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith("error: --data none: ")
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_shows_defaults_and_units(capsys):
    with pytest.raises(SystemExit) as stopped:
        gmvae.main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for option in ("data", "epochs", "batch-size", "restarts", "seed", "out", "resume"):
        assert f"--{option}" in shown
    assert f"(default: {Settings.epochs})" in " ".join(shown.split())


# The study's runs with other settings


@pytest.fixture
def gmvae_run(monkeypatch):
    monkeypatch.syspath_prepend(tiny.PROJECT / "report")
    for changed in ("Settings", "Training"):
        monkeypatch.setattr(gmvae, changed, getattr(gmvae, changed))  # put back after the test
    return importlib.import_module("gmvae_run")


def test_a_study_runs_with_other_settings(gmvae_run, small_data, few_steps, tmp_path):
    argv = ["--change", "importance_samples=70", "pull_weight=0.0", "--"]
    argv += ["--data", small_data, *SHORT, "--out", tmp_path / "run"]
    gmvae_run.main([str(word) for word in argv])
    config = tiny.read_metrics(tmp_path / "run")["config"]
    assert (config["importance_samples"], config["pull_weight"], config["seed"]) == (70, 0.0, 3)
    assert config["classifier_share"] == LongStart.classifier_share
    gmvae_run.main([*argv[:4], "--resume", "--out", str(tmp_path / "run")])


def test_runs_share_step_1(gmvae_run, small_data, few_steps, tmp_path, monkeypatch):
    """One that finds it there does none of it and ends as if it had; those of another do their own."""
    monkeypatch.setattr(gmvae_run, "SHARED", tmp_path / "shared")
    epochs, data_of = [], gmvae.Training.classifier_epoch_data
    monkeypatch.setattr(
        gmvae.Training, "classifier_epoch_data", lambda self, epoch: epochs.append(epoch) or data_of(self, epoch)
    )

    def done(out, *argv):
        epochs.clear()
        gmvae_run.main(["--data", str(small_data), *map(str, SHORT), *argv, "--out", str(tmp_path / out)])
        return len(epochs), clusters(tmp_path / out), tiny.read_metrics(tmp_path / out)

    labels = ("--labels-per-class", "2")
    alone, own, of_own = done("alone", *labels)
    shutil.rmtree(tmp_path / "shared")
    assert done("pure", "--pure")[0] == alone > 0
    n, shared, of_shared = done("labels", *labels)
    assert n == 0
    for got, expected in zip(shared, own, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert of_shared["test"] == of_own["test"]
    assert of_shared["seconds"] > 0
    assert done("other", "--change", "contrast_weight=0.0", "--", "--pure")[0] > 0
    assert done("default")[0] > 0
    assert len(list((tmp_path / "shared").iterdir())) == 2


@pytest.mark.parametrize(
    "change",
    [
        *("nothing=3", "k", "k=many", "k=[1]", "k=true", "epochs=2.9", "pull_weight=", 'pure="false"'),
        "importance_samples=505",
    ],
)
def test_a_setting_that_is_none_is_refused(gmvae_run, tmp_path, capsys, change):
    assert f"--change {change}" in tiny.refused(gmvae_run.main, ["--change", change, "--", "--out", tmp_path], capsys)


def test_the_curves_show_the_head_that_was_chosen():
    """With --pure that need not be the one of the best objective."""
    curves = {
        "starts": np.array([[1.0, 1.5, 1.2], [2.0, 2.2, 2.1]]),
        "head": np.array(2),
        "bounds": np.array([-150.0, -100.0, -90.0]),
        "shares": np.full([3, 4], 0.25),
        "pull_epochs": np.array(1),
    }
    lines = gmvae.curves_figure(curves).axes[0].lines
    assert [line.get_color() == utils.COLOURS[0] for line in lines] == [False, False, True]
