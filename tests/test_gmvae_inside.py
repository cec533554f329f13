"""The study of what goes on inside the model: closed forms, quadrature over a code of one unit, and whole runs."""

import importlib
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf
import tiny
from scipy import stats
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp, softmax

import gmvae
import utils
import zhusuan as zs

sys.path.insert(0, str(tiny.PROJECT / "report"))

inside = importlib.import_module("gmvae_inside")

K, B = 3, 4


@dataclass(frozen=True)
class Small(gmvae.Settings):
    k: int = utils.setting(K)
    code_units: int = utils.setting(1)
    hidden_units: int = utils.setting(8)


def small_model(**changes):
    """A model whose components overlap, and binary images with some q(z | x) `[B, K]`."""
    tf.keras.utils.set_random_seed(0)
    zs.set_seed(0)
    model = gmvae.MixtureVAE(Small(**changes))
    rng = np.random.default_rng(3)
    for variable in (model.weight_logits, model.means, model.logstds):
        variable.assign_add(0.5 * rng.normal(size=variable.shape))
    q_z = softmax(rng.normal(size=(B, K)), axis=-1).astype(np.float32)
    return model, gmvae.fixed_binary(tiny.structured_images(B, 0)[0].reshape(B, -1)), q_z


def test_the_rate_is_that_in_closed_form():
    """Sum of q(z|x) KL(q(h|x) || p(h|z)), of two Normals, and of KL(q(z|x) || p(z))."""
    model, x, q_z = small_model(pure=True, code_units=5)
    n = 20_000
    mean, logstd = (part.numpy().astype(float)[:, None] for part in model.encode(x, q_z))
    means, logstds = model.means.numpy(), model.logstds.numpy()
    each = logstds - logstd + (np.exp(2 * logstd) + (mean - means) ** 2) / (2 * np.exp(2 * logstds)) - 0.5
    within = np.sum(q_z * each.sum(axis=-1), axis=-1).mean()
    log_pi = log_softmax(model.weight_logits.numpy())
    assignment = np.sum(q_z * (np.log(q_z) - log_pi), axis=-1).mean()
    found = inside.measure(model, x, q_z, n)
    assert found["assignment"] == pytest.approx(assignment, rel=1e-5)
    error = np.sqrt(5 / B / n) * (np.exp(logstd) * np.abs(mean[:, None] - means) / np.exp(2 * logstds)).max()
    assert found["within"] == pytest.approx(within, abs=5 * max(error, np.sqrt(5 / B / n)))
    assert found["rate"] == pytest.approx(found["within"] + found["assignment"])


def test_information_uncertainty_and_components_of_known_clusters():
    """They are the model's own, whatever it is told: all that enters of q(z|x) is where it puts the code."""
    model, x, _ = small_model(pure=True)
    model.weight_logits.assign(tf.zeros_like(model.weight_logits))
    model.means.assign(10.0 * np.arange(K, dtype=np.float32)[:, None])
    model.logstds.assign(tf.zeros_like(model.logstds))
    model.encode = lambda x, q_z: (q_z @ model.means, tf.fill([12, 1], -3.0))
    x = np.tile(x[:1], (12, 1))
    certain = np.eye(K, dtype=np.float32)[np.arange(12) % K]
    found = inside.measure(model, x, certain, 2)
    assert found["uncertainty"] == pytest.approx(0, abs=1e-6)
    assert found["information"] == pytest.approx(np.log(K))
    assert found["components"] == pytest.approx(K)
    one = inside.measure(model, x, np.tile(certain[:1], (12, 1)), 2)
    assert one["information"] == pytest.approx(0, abs=1e-6)
    assert one["components"] == pytest.approx(1)
    model.means.assign(tf.zeros_like(model.means))  # where the model cannot tell, however certain q(z|x) is
    found = inside.measure(model, x, certain, 2)
    assert found["uncertainty"] == pytest.approx(np.log(K))
    assert found["information"] == pytest.approx(0, abs=1e-6)
    assert found["components"] == pytest.approx(K)


def test_by_default_q_z_is_the_mean_of_p_z_given_h():
    model, x, _ = small_model()
    found = inside.measure(model, x, None, 20_000)
    q_z = gmvae.score(model, (255 * x).astype(np.uint8), None, 20_000, "x").q_z.astype(float)
    assert found["uncertainty"] == pytest.approx(-np.sum(q_z * np.log(q_z), axis=-1).mean(), abs=5e-3)
    assert found["components"] == pytest.approx(np.exp(-np.sum(q_z.mean(0) * np.log(q_z.mean(0)))), abs=5e-3)


def test_a_unit_is_active_where_it_tells_a_hundredth_of_a_nat():
    """Units of q(h|x) with the prior's standard deviation, whose means square to twice their divergence."""
    model, x, _ = small_model(code_units=3)
    model.means.assign(tf.zeros_like(model.means))
    model.logstds.assign(tf.zeros_like(model.logstds))
    last = model.encoder.layers[-1]
    kernel = np.zeros(last.kernel.shape, np.float32)
    last.bias.assign(np.zeros(last.bias.shape))  # standard deviations of 1
    features = model.encoder.layers[1](model.encoder.layers[0](x)).numpy()
    size = np.sqrt(np.mean(features**2, axis=0))
    unit = size.argmax()
    for code, nats in enumerate((0.0, 0.009, 0.011)):
        kernel[unit, code] = np.sqrt(2 * nats) / size[unit]
    last.kernel.assign(kernel)
    assert inside.measure(model, x, None, 2)["active units"] == 1


def test_a_unit_that_only_names_the_component_is_not_active():
    model, x, _ = small_model(pure=True)
    certain = np.eye(K, dtype=np.float32)[np.arange(B) % K]
    last = model.encoder.layers[-1]
    last.kernel.assign(tf.zeros_like(last.kernel))
    last.bias.assign([0.3, -0.2])
    model.logstds.assign(tf.fill([K, 1], -0.2))
    model.means.assign(tf.fill([K, 1], 0.3))
    assert inside.measure(model, x, certain, 2)["active units"] == 0
    model.means.assign([[0.3], [0.3], [0.9]])
    assert inside.measure(model, x, certain, 2)["active units"] == 1


def test_a_unit_varies_where_its_means_do():
    """As Burda et al. count, whatever the prior: means of variance 0.009 and 0.011."""
    model, x, _ = small_model(code_units=2)
    last = model.encoder.layers[-1]
    features = model.encoder.layers[1](model.encoder.layers[0](x)).numpy()
    deviation = features.std(axis=0)
    unit = deviation.argmax()
    kernel = np.zeros(last.kernel.shape, np.float32)
    kernel[unit, :2] = np.sqrt([0.009, 0.011]) / deviation[unit]
    last.kernel.assign(kernel)
    assert inside.measure(model, x, None, 2)["varying units"] == 1


def test_the_images_that_are_split_are_from_all_over():
    images = np.arange(10)[:, None]
    assert inside.at_equal_distances(images, 4).ravel().tolist() == [0, 3, 6, 9]
    assert inside.at_equal_distances(images, 20).ravel().tolist() == list(range(10))


def by_quadrature(model, x, factorised):
    """log p(x) of each image `[B]`, and the bound of its best Normal q(h | x)."""
    h = np.linspace(-12, 12, 4001)
    logits = model.decode(tf.constant(h[:, None].astype(np.float32))).numpy().astype(float)
    log_x = (x[:, None] * logits - np.logaddexp(0, logits)).sum(axis=-1)  # [B, H]
    parts = zip(log_softmax(model.weight_logits.numpy()), model.means.numpy(), model.logstds.numpy(), strict=True)
    joint = np.stack([log_pi + stats.norm.logpdf(h, m, np.exp(s)) for log_pi, m, s in parts])  # [K, H]
    log_h = logsumexp(joint, axis=0)
    width = h[1] - h[0]
    log_likelihood = logsumexp(log_x + log_h, axis=-1) + np.log(width)

    def loss(posterior, log_x):
        q = stats.norm.pdf(h, posterior[0], np.exp(posterior[1])) * width
        entropy = posterior[1] + 0.5 * np.log(2 * np.pi * np.e)
        log_prior = logsumexp((joint - log_h) @ q) + log_h @ q if factorised else log_h @ q
        return -(log_x @ q + log_prior + entropy)

    starts = [(m, s) for m in (-3, -1, 0, 1, 3) for s in (-2.0, -1.0, 0.0)]
    best = [max(-minimize(loss, start, (row,), "Nelder-Mead").fun for start in starts) for row in log_x]
    return log_likelihood, np.array(best)


@pytest.mark.parametrize("pure", [False, True])
def test_the_gap_is_split_as_by_quadrature(pure):
    model, x, q_z = small_model(pure=pure)
    kernel = model.decoder.layers[-1].kernel
    kernel.assign(0.5 * kernel)

    class Trained:
        settings = Small(pure=pure)

        @staticmethod
        def classifier(images):
            return q_z

    Trained.model = model
    found = inside.split_gap(Trained, (255 * x).astype(np.uint8), 800, (1, 10, 4000), 4000)
    log_likelihood, best = by_quadrature(model, x, pure)
    each = {name: np.array(values) for name, values in found["each"].items()}
    errors = 1 / np.sqrt(each["effective_samples"])
    assert np.all(np.abs(each["log_likelihood"] - log_likelihood) < 5 * errors)
    assert found["log_likelihood"] == pytest.approx(log_likelihood.mean(), abs=5 * np.linalg.norm(errors) / B)
    assert found["best_bound"] == pytest.approx(best.mean(), abs=0.03)
    assert (log_likelihood - best).mean() > (0.05 if pure else 0.0), "there is something to find"
    assert found["approximation"] == found["log_likelihood"] - found["best_bound"]
    assert found["gap"] == pytest.approx(found["approximation"] + found["amortisation"])
    assert found["amortisation"] > 1
    assert found["best_bound_halfway"] == pytest.approx(found["best_bound"], abs=0.02)
    assert 0 < found["effective_samples"] <= found["reference_samples"] == 4000
    for name, values in each.items():
        assert values.mean() == pytest.approx(found[name])
    for curve in found["convergence"].values():
        assert np.all(np.diff(curve["log_likelihood"]) > 0)
    assert found["convergence"]["optimised"]["log_likelihood"][0] > found["convergence"]["ours"]["log_likelihood"][0]


def test_convergence_is_the_mean_over_all_groups():
    log_w = np.random.default_rng(0).normal(size=(11, 2))
    found = inside.convergence(log_w, (1, 5))
    groups = [log_w[:5], log_w[5:10]]
    estimates = [np.log(np.mean(np.exp(group), axis=0)) for group in groups]
    effective = [np.exp(group).sum(axis=0) ** 2 / (np.exp(group) ** 2).sum(axis=0) for group in groups]
    assert found["samples"] == [1, 5]
    np.testing.assert_allclose(found["log_likelihood"], [log_w.mean(), np.mean(estimates)])
    np.testing.assert_allclose(found["effective_share"], [1, np.mean(effective) / 5])


@pytest.mark.parametrize("change, variant", [([], []), ([], ["--pure"]), (["weighted_share=0.5"], [])])
def test_an_interrupted_run_ends_in_the_same_numbers(change, variant, tmp_path, monkeypatch):
    monkeypatch.setattr(inside, "SPLIT_STEPS", 3)
    monkeypatch.setattr(inside, "COUNTS", (1, 5, 50))
    monkeypatch.setattr(inside, "REFERENCE", 100)
    monkeypatch.setattr(inside.gmvae_run, "SHARED", tmp_path / "shared")
    weighted, bound, samples = inside.gmvae_likelihood.MixtureVAE, inside.gmvae_likelihood.MixtureVAE.bound, set()
    monkeypatch.setattr(weighted, "bound", lambda self, *given: samples.add(self.samples) or bound(self, *given))
    data = tiny.write_images(tmp_path / "data", 40, 20)
    changes = ["hidden_units=16", "code_units=3", "classifier_share=1", "pull_share=1", *change]
    argv = ["--change", *changes, "--", *variant]
    argv += ["--data", data, "--epochs", 1, "--batch-size", 20, "--restarts", 1]

    def run(*argv):
        inside.main([str(word) for word in argv])

    with tiny.eager():
        run(*argv, "--out", tmp_path / "unbroken")
        with tiny.stopped_before_the_last_epoch(inside.WeightedTraining if change else inside.Training):
            run(*argv, "--out", tmp_path / "out")
        tiny.check_unfinished(tmp_path / "out")
        run("--resume", "--out", tmp_path / "out")
    ours, theirs = (tiny.strip_times(tiny.read_metrics(tmp_path / name)) for name in ("out", "unbroken"))
    assert ours == theirs
    assert set(ours["inside"]) == set(inside.MEASURES)
    assert all(len(curve) == 3 for curve in ours["inside"].values())
    assert len(ours["bounds"]) == 2
    assert samples == ({1, 10} if change else set())
    run("--resume", "--out", tmp_path / "out")  # nothing is left to do
