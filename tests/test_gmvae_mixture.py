"""The study of what a model makes of an image by samples that are not told the answer: quadrature, and a whole run."""

import importlib
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny
from scipy import stats
from scipy.special import log_softmax, logsumexp, softmax
from test_gmvae_inside import B, K, small_model

import gmvae
import utils

sys.path.insert(0, str(tiny.PROJECT / "report"))

mixture = importlib.import_module("gmvae_mixture")


def test_the_mixture_finds_what_q_was_not_told():
    """p(x) and p(z|x) against quadrature; and samples that were told the wrong component miss it."""
    model, x, _ = small_model(pure=True)
    model.means.assign([[-3.0], [0.0], [3.0]])
    model.logstds.assign(tf.fill([K, 1], -1.0))
    model.encode = lambda x, q_z: (q_z @ model.means, tf.fill([len(x), 1], -0.5))
    kernel = model.decoder.layers[-1].kernel
    kernel.assign(0.1 * kernel)
    images = (255 * x).astype(np.uint8)
    told = np.eye(K, dtype=np.float32)[np.ones(B, int)]
    found = mixture.mixture_log_joint(model, images, told, 10_000)
    h = np.linspace(-12, 12, 4001)
    logits = model.decode(tf.constant(h[:, None].astype(np.float32))).numpy().astype(float)
    log_x = (x[:, None] * logits - np.logaddexp(0, logits)).sum(axis=-1)  # [B, H]
    parts = zip(log_softmax(model.weight_logits.numpy()), model.means.numpy(), model.logstds.numpy(), strict=True)
    joint = np.stack([log_pi + stats.norm.logpdf(h, m, np.exp(s)) for log_pi, m, s in parts])  # [K, H]
    log_joint = logsumexp(log_x[:, None] + joint, axis=-1) + np.log(h[1] - h[0])  # [B, K]
    np.testing.assert_allclose(logsumexp(found, axis=-1), logsumexp(log_joint, axis=-1), atol=0.015)  # 5 errors
    p_z = softmax(log_joint, axis=-1)
    np.testing.assert_allclose(softmax(found, axis=-1), p_z, atol=0.008)  # the same
    assert p_z.max() < 0.99, "more than one component has something of an image"

    found = mixture.compare(model, told, images, np.arange(B), 100)
    assert (found["images"], found["samples"]) == (B, 400)
    assert found["changed"] == np.mean(p_z.argmax(axis=-1) != 1) > found["changed_by_noise"] == 0
    assert found["accuracy"] == found["accuracy_mixture"] == 1 / B, "one cluster has all images"


def test_a_finished_run_is_measured_and_others_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mixture, "IMAGES", 10)
    monkeypatch.setattr(mixture, "SAMPLES", 10)
    data = tiny.write_images(tmp_path / "data", 40, 20)
    common = ["--data", data, "--epochs", 1, "--batch-size", 20, "--restarts", 1]

    def run(main, *argv):
        main([str(word) for word in argv])

    with tiny.eager():
        run(gmvae.main, *common, "--pure", "--out", tmp_path / "pure")
        run(gmvae.main, *common, "--out", tmp_path / "default")
        for name in ("one", "other"):
            run(mixture.main, "--model", tmp_path / "pure", "--out", tmp_path / name)
        run(mixture.main, "--resume", "--out", tmp_path / "one")  # nothing is left to do
        with pytest.raises(utils.InputError, match=r"--model .*: wanted a run with --pure or --labels-per-class"):
            run(mixture.main, "--model", tmp_path / "default", "--out", tmp_path / "refused")
        with pytest.raises(utils.InputError, match=r"--model .*none: .* is missing: run gmvae.py --out .*none first"):
            run(mixture.main, "--model", tmp_path / "none", "--out", tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    ours, theirs = (tiny.read_metrics(tmp_path / name) for name in ("one", "other"))
    assert ours["config"].pop("out") != theirs["config"].pop("out")
    assert ours == theirs
    assert ours["model"]["pure"]
    assert (ours["images"], ours["samples"]) == (10, 110)
    assert 0 < ours["accuracy_mixture"] <= 1
