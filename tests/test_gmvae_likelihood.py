"""The study of the default's likelihood: the weighted bound against its weights, and whole runs."""

import importlib
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny
from scipy.special import logsumexp

import gmvae
import utils
import zhusuan as zs

sys.path.insert(0, str(tiny.PROJECT / "report"))

likelihood = importlib.import_module("gmvae_likelihood")

SMALL = ["code_units=4", "hidden_units=16", "importance_samples=50", "pull_share=1", "classifier_share=1"]


@pytest.mark.parametrize("samples", [1, 7])
def test_the_bound_is_the_log_of_the_mean_weight(samples):
    tf.keras.utils.set_random_seed(0)
    model = likelihood.MixtureVAE(likelihood.Settings(hidden_units=16))
    model.samples = samples
    x = tf.constant(gmvae.fixed_binary(tiny.structured_images(6, 0)[0].reshape(6, -1)))
    zs.set_seed(1)
    bound, log_p_z = model.bound(x)
    zs.set_seed(1)
    h = model.infer(x, n_samples=samples)["h"]
    log_w = zs.sgvb(model.log_joint, {"x": x}, {"h": h}).numpy().astype(float)
    np.testing.assert_allclose(bound, logsumexp(log_w, axis=0) - np.log(samples), rtol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(log_p_z), axis=-1), 1, rtol=1e-5)
    assert samples == 1 or np.ptp(log_w, axis=0).min() > 0.1, "the samples differ"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs with changed settings; returns the metrics and the training."""
    for name in ("Settings", "Training"):
        monkeypatch.setattr(gmvae, name, getattr(gmvae, name))  # put back after the test
    monkeypatch.setattr(gmvae, "TSNE", tiny.NoMap)
    monkeypatch.setattr(utils, "save_figure", tiny.save_no_figure)
    data = tiny.write_images(tmp_path / "data", 40, 20)
    trained = []
    train = gmvae.Training.train
    monkeypatch.setattr(gmvae.Training, "train", lambda self, folder: trained.append(self) or train(self, folder))

    def run(out, *changes, batch_size=20, argv=()):
        argv = ["--change", *SMALL, *changes, "--", *argv]
        argv += ["--data", data, "--epochs", 2, "--batch-size", batch_size, "--restarts", 1, "--out", tmp_path / out]
        with tiny.eager():
            likelihood.main([str(word) for word in argv])
        return tiny.read_metrics(tmp_path / out), trained[-1]

    return run


def test_with_no_change_the_bound_has_one_sample_and_the_step_size_is_that_of_gmvae(run):
    metrics, training = run("plain")
    assert metrics["config"]["weighted_share"] == 0
    assert training.model.samples == 1
    assert float(training.optimizer.learning_rate) == pytest.approx(gmvae.Settings.learning_rate)


def test_the_last_epochs_have_the_weighted_bound(run, monkeypatch):
    counts = []
    bound = likelihood.MixtureVAE.bound
    monkeypatch.setattr(
        likelihood.MixtureVAE, "bound", lambda self, *given: counts.append(self.samples) or bound(self, *given)
    )
    metrics, training = run("weighted", "weighted_share=0.3", "weighted_samples=3")
    assert training.model_epochs == 4
    assert counts == [1] * 6 + [3] * 2
    assert metrics["config"]["weighted_samples"] == 3


def test_one_component_is_a_plain_autoencoder(run):
    metrics, _ = run("plain", "k=1")
    assert metrics["components_used"] == 1
    assert np.isfinite(metrics["test"]["nll"])
    assert metrics["test"]["nmi"] == pytest.approx(0, abs=1e-6)


def test_a_run_that_is_killed_in_the_weighted_bound_ends_as_if_it_had_not_been(run, tmp_path):
    changes = ("weighted_share=0.5", "weighted_samples=3")
    unbroken, _ = run("unbroken", *changes)
    with tiny.stopped_before_the_last_epoch(likelihood.Training):
        run("out", *changes)
    tiny.check_unfinished(tmp_path / "out")
    resumed, training = run("out", *changes, argv=["--resume"])
    assert training.model.samples == 3
    assert tiny.strip_times(resumed)["test"] == tiny.strip_times(unbroken)["test"]


def test_the_weighted_bound_of_a_factorised_posterior_is_refused(run, capsys):
    with pytest.raises(utils.InputError) as refused:
        run("pure", "weighted_share=0.5", argv=["--pure"])
    assert str(refused.value) == (
        "--change weighted_share=0.5: it is of the default alone; leave out --pure and --labels-per-class"
    )


def test_a_falling_step_size_ends_at_0_with_the_same_averages(run):
    _, plain = run("plain", batch_size=2)
    _, training = run("falling", "falling=true", batch_size=2)
    assert training.optimizer.learning_rate < 1e-6
    assert training.optimizer.use_ema
    assert training.optimizer.ema_momentum == plain.optimizer.ema_momentum == 1 - 1 / 8
