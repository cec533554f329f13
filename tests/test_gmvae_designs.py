"""The study of the posterior's designs: bounds and gaps against quadrature over a code of one unit, and whole runs."""

import dataclasses
import functools
import importlib
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf
import tiny
from scipy import stats
from scipy.special import log_softmax, logsumexp, softmax, xlogy

import gmvae
import utils
import zhusuan as zs

sys.path.insert(0, str(tiny.PROJECT / "report"))

gmvae_designs = importlib.import_module("gmvae_designs")
gmvae_designs_cost = importlib.import_module("gmvae_designs_cost")
study = importlib.import_module("study")

K, B = 3, 4
DESIGNS = tuple(gmvae_designs.DESIGNS)


@dataclass(frozen=True)
class Small(gmvae_designs.Settings):
    k: int = utils.setting(K)
    code_units: int = utils.setting(1)
    hidden_units: int = utils.setting(8)
    importance_samples: int = utils.setting(50)


def images(n):
    return tiny.structured_images(n, 0)[0].reshape(n, 784)


def small_model(design, code_units=1):
    """A model whose components overlap and whose posterior is wrong in every part, but not by far."""
    tf.keras.utils.set_random_seed(0)
    model = gmvae_designs.DESIGNS[design](Small(design=design, code_units=code_units))
    rng = np.random.default_rng(3)
    for variable in (model.weight_logits, model.means, model.logstds):
        variable.assign_add(0.5 * rng.normal(size=variable.shape))
    kernel = model.decoder.layers[-1].kernel
    kernel.assign(0.2 * kernel)
    if design != "summed":
        model.recogniser.layers[-1].bias.assign([0.5, 0.0, -0.5])
    if design == "structured":
        model.first_layer_of_z.assign(rng.normal(size=model.first_layer_of_z.shape))
    return model


@pytest.fixture(params=DESIGNS)
def model(request):
    return small_model(request.param)


# By NumPy, from the weights alone


def network(layers, x):
    for layer in layers:
        x = x @ layer.kernel.numpy().astype(float) + layer.bias.numpy()
        x = np.maximum(x, 0) if layer is not layers[-1] else x
    return x


def log_p_by_numpy(model, x, h):
    """log p(x, z, h) for every z, `[K, ..., B]`, of h `[..., B, D]`."""
    logits = network(model.decoder.layers, h)
    log_x = (x * logits - np.logaddexp(0, logits)).sum(axis=-1)
    parts = zip(
        log_softmax(model.weight_logits.numpy().astype(float)), model.means.numpy(), model.logstds.numpy(), strict=True
    )
    return np.stack([log_x + log_pi + stats.norm.logpdf(h, m, np.exp(s)).sum(axis=-1) for log_pi, m, s in parts])


def moments_by_numpy(model, x):
    """Mean and log standard deviation of q(h | x, z), `[K, B, D]`: the encoder reads the image and z side by side."""
    first, *others = model.encoder.layers
    told = model.first_layer_of_z.numpy() if hasattr(model, "first_layer_of_z") else np.zeros([K, first.units])
    outputs = []
    for z in np.eye(K):
        both = np.concatenate([x, np.tile(z, (len(x), 1))], axis=1) @ np.concatenate([first.kernel.numpy(), told])
        outputs.append(network(others, np.maximum(both + first.bias.numpy(), 0)))
    return np.split(np.array(outputs), 2, axis=-1)


def log_q_by_numpy(model, x, h):
    """log q(z, h | x) for every z, `[K, ..., B]`, of h `[..., B, D]`."""
    means, logstds = moments_by_numpy(model, x)
    log_q_h = np.stack([stats.norm.logpdf(h, m, np.exp(s)).sum(axis=-1) for m, s in zip(means, logstds, strict=True)])
    if not hasattr(model, "recogniser"):
        return log_q_h + log_softmax(log_p_by_numpy(model, np.zeros_like(x), h), axis=0)  # p(z | h) has no x
    log_q_z = log_softmax(network(model.recogniser.layers, x), axis=-1).T  # [K, B]
    return log_q_h + log_q_z.reshape(K, *[1] * (h.ndim - 2), -1)


def by_quadrature(model, x):
    """The bound, log p(x) and every part of the gap, `[B]`, of a model with a code of one unit."""
    grid = np.linspace(-12, 12, 6001)
    h = np.broadcast_to(grid[:, None, None], (len(grid), len(x), 1))
    log_p, log_q = log_p_by_numpy(model, x, h), log_q_by_numpy(model, x, h)  # [K, grid, B]
    integral = functools.partial(np.trapezoid if hasattr(np, "trapezoid") else np.trapz, x=grid, axis=-2)
    q = np.exp(log_q)
    np.testing.assert_allclose(integral(q).sum(axis=0), 1, rtol=1e-6)
    log_evidence = np.log(integral(np.exp(log_p - log_p.max())).sum(axis=0)) + log_p.max()
    log_p_h, log_q_h = logsumexp(log_p, axis=0), logsumexp(log_q, axis=0)
    q_z, p_z = integral(q), integral(np.exp(log_p - log_evidence))
    log_q_h_z, log_p_h_z = log_q - np.log(q_z)[:, None], log_p - log_evidence - np.log(p_z)[:, None]
    return {
        "elbo": integral((q * (log_p - log_q)).sum(axis=0)),
        "log_likelihood": log_evidence,
        "code": integral(np.exp(log_q_h) * (log_q_h - log_p_h + log_evidence)),
        "component_given_code": integral((q * (log_q - log_q_h - log_p + log_p_h)).sum(axis=0)),
        "component": (xlogy(q_z, q_z) - q_z * np.log(p_z)).sum(axis=0),
        "code_given_component": (q_z * integral(np.exp(log_q_h_z) * (log_q_h_z - log_p_h_z))).sum(axis=0),
        "q_z": q_z.T,
        "p_z": p_z.T,
    }


@pytest.mark.parametrize("code_units", [1, 3])
@pytest.mark.parametrize("design", DESIGNS)
def test_the_bound_is_that_of_its_samples_by_numpy(design, code_units):
    model = small_model(design, code_units)
    x = gmvae.fixed_binary(images(B))
    zs.set_seed(1)
    bound, log_probs = model.bound(tf.constant(x))
    zs.set_seed(1)
    if design == "summed":
        h = np.broadcast_to(model.infer(x, n_samples=1).outputs("h"), (K, B, code_units)).astype(float)
    else:
        h = np.broadcast_to(model.posterior(tf.constant(x), {}).outputs("h")[:, 0], (K, B, code_units)).astype(float)
    log_p, log_q = log_p_by_numpy(model, x, h), log_q_by_numpy(model, x, h)  # [K of z, K of h, B]
    log_p_z = log_softmax(log_p, axis=0)
    if design == "summed":
        expected = [logsumexp(log_p[:, 0], axis=0) - logsumexp(log_q[:, 0], axis=0), log_p_z[:, 0].T]
    else:
        log_q_z = log_softmax(network(model.recogniser.layers, x), axis=-1).T
        of_own_z = np.stack([log_p[z, z] - log_q[z, z] for z in range(K)])
        expected = [np.sum(np.exp(log_q_z) * of_own_z, axis=0), np.sum(np.exp(log_q_z) * log_p_z, axis=1).T, log_q_z.T]
    assert len(log_probs) == len(expected) - 1
    for got, wanted in zip([bound, *log_probs], expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_bound_likelihood_and_the_parts_of_the_gap_are_those_of_quadrature(model):
    """Within standard errors of twenty scorings; the two ways to take the gap apart have one sum."""
    grey = images(B)
    scorings = [gmvae_designs.score(model, grey, 500, "images") for _ in range(20)]
    exact = by_quadrature(model, gmvae.fixed_binary(grey).astype(float))
    gap = exact["log_likelihood"] - exact["elbo"]
    np.testing.assert_allclose(exact["code"] + exact["component_given_code"], gap, atol=1e-5)
    np.testing.assert_allclose(exact["component"] + exact["code_given_component"], gap, atol=1e-5)
    assert np.all(scorings[0].effective_samples > 20), "the weights must behave"

    def check(name, values, wanted):
        values = np.array(values, float)
        noise = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        assert np.all(np.abs(values.mean(axis=0) - wanted) < 5 * noise + 2e-3), name

    for name in ("elbo", "log_likelihood", "q_z"):
        check(name, [getattr(each, name) for each in scorings], exact[name])
    check("p_z", [np.exp(each.log_p_z) for each in scorings], exact["p_z"])
    for name in ("code", "component_given_code", "component", "code_given_component"):
        check(name, [each.gap()[name] for each in scorings], exact[name].mean())
        assert exact[name].mean() > 0.02 or (name, type(model)) == ("component_given_code", gmvae_designs.Summed)
    parts = scorings[0].gap()
    assert parts["total"] == pytest.approx(parts["code"] + parts["component_given_code"], abs=1e-4)
    assert parts["total"] == pytest.approx(parts["component"] + parts["code_given_component"], abs=1e-4)


def test_bounds_are_ordered_as_theory_orders_them():
    """With the same q(h | x), (a) is above (b) by KL(q(z|x) || p(z|h)); with an encoder that is not told z, (c) is (b);
    and p(z | h) in the place of q(z | h, x) never lowers a bound."""
    scores, models = {}, {design: small_model(design) for design in DESIGNS}
    untold = models["structured"]
    untold.first_layer_of_z.assign(tf.zeros_like(untold.first_layer_of_z))
    for model in models.values():
        for ours, theirs in zip(model.learned, untold.learned, strict=False):
            ours.assign(theirs)
    models["told"] = small_model("structured")
    with tiny.eager():
        for name, model in models.items():
            zs.set_seed(7)
            scores[name] = gmvae_designs.score(model, images(20), 20, "images")
    for a, b in zip(scores["factorised"], scores["structured"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert np.all(scores["summed"].elbo > scores["factorised"].elbo + 1e-3)
    np.testing.assert_allclose(scores["summed"].elbo, scores["factorised"].mean_log_w, rtol=1e-2)  # other noise
    assert np.all(scores["told"].mean_log_w > scores["told"].elbo)


@pytest.mark.parametrize("design", ["factorised", "structured"])
def test_the_bounds_gradient_reaches_the_posterior_of_z(design):
    """For the logits of q(z | x) it is that of the sum over z; for what the encoder is told of z, not zero."""
    model = small_model(design)
    x = tf.constant(gmvae.fixed_binary(images(B)))
    zs.set_seed(1)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model.bound(x)[0])
    gradients = tape.gradient(total, model.learned)
    assert all(gradient is not None and np.abs(gradient).max() > 0 for gradient in gradients)
    zs.set_seed(1)
    h = np.broadcast_to(model.posterior(x, {}).outputs("h")[:, 0], (K, B, 1)).astype(float)
    log_p, log_q = log_p_by_numpy(model, x.numpy(), h), log_q_by_numpy(model, x.numpy(), h)
    of_own_z = np.stack([log_p[z, z] - log_q[z, z] for z in range(K)])
    q_z = softmax(network(model.recogniser.layers, x.numpy()), axis=-1).T
    expected = (q_z * (of_own_z - np.sum(q_z * of_own_z, axis=0))).sum(axis=1)
    bias = next(i for i, v in enumerate(model.learned) if v is model.recogniser.layers[-1].bias)
    np.testing.assert_allclose(gradients[bias], expected, rtol=1e-3, atol=1e-3)


def test_a_mixture_gives_each_component_its_share_of_the_samples():
    model = small_model("structured")
    x = tf.constant(gmvae.fixed_binary(images(B)))
    means = np.array([-100.0, 0.0, 100.0], np.float32).reshape(K, 1, 1, 1) + np.zeros((K, 1, B, 1), np.float32)
    model.encode_every = lambda x: (tf.constant(means), tf.zeros_like(means))
    n = 200
    strata = np.random.default_rng(0).uniform(size=(n, B)) + np.arange(n)[:, None]
    h, log_q, q_z = model.propose(x, tf.constant((strata / n).astype(np.float32)))
    found = np.round(h.numpy()[..., 0] / 100).astype(int) + 1  # [S, B]
    counts = np.stack([(found == z).sum(axis=0) for z in range(K)])
    assert np.all(np.abs(counts - n * q_z) <= 2)
    np.testing.assert_array_equal(log_q.numpy().argmax(axis=0), found)
    # Rounding may leave the sum of q(z | x) below a number near 1.
    model.propose(x, tf.ones([1, B]))


def test_the_numbers_that_draw_components_are_uniform_one_in_each_stratum(monkeypatch):
    model, drawn = small_model("structured"), []
    propose = model.propose
    monkeypatch.setattr(model, "propose", lambda x, u: drawn.append(u.numpy()) or propose(x, u))
    with tiny.eager():
        gmvae_designs.score(model, images(50), 20, "images")
    u = 20 * np.concatenate(drawn)  # [S, B]
    np.testing.assert_array_equal(np.floor(u), np.arange(20)[:, None] + np.zeros([1, 50]))
    assert stats.kstest(np.ravel(u % 1), "uniform").pvalue > 1e-6


# Training


def training_on(n, design, **changes):
    grey, labels = tiny.structured_images(n, 0)
    settings = Small(design=design, **{"epochs": 1, "batch_size": 10, "restarts": 2, "code_units": 4} | changes)
    tf.keras.utils.set_random_seed(0)
    return gmvae_designs.Training(grey.reshape(n, 784), labels, settings)


@pytest.mark.parametrize("design", DESIGNS)
def test_the_pull_is_on_every_statement_on_z(design):
    """By gradient ascent, a step with the pull less one without it is its weight times the gradient of E[log p(z|h)]
    and log q(z|x) at r; the bound that is told is without it."""
    told, learned, pull = [], [], 0.3
    with tiny.eager():
        for weight in (0.0, pull):
            training = training_on(30, design)
            training.optimizer = tf.keras.optimizers.SGD(1.0)
            training.optimizer.build(training.model.learned)
            r = softmax(np.random.default_rng(0).normal(size=(30, K)), axis=-1).astype(np.float32)
            x, r = training.epoch_data(0, r)
            zs.set_seed(0)
            with tf.GradientTape() as tape:
                log_probs = training.model.bound(tf.cast(x[0], tf.float32))[1]
                total = tf.reduce_mean(tf.reduce_sum(r[0] * sum(log_probs), axis=-1))
            gradients = [0.0 if each is None else each for each in tape.gradient(total, training.model.learned)]
            zs.set_seed(0)
            told.append(float(training.epoch(x, r, tf.constant(weight), tf.constant(1))[0]))
            learned.append([v.numpy() for v in training.model.learned])
    assert len(log_probs) == (1 if design == "summed" else 2)
    assert told[0] == told[1]
    for without, pulled, gradient in zip(*learned, gradients, strict=True):
        np.testing.assert_allclose(pulled - without, pull * gradient, rtol=1e-2, atol=1e-4)
    for variable in (training.model.weight_logits, *([] if design == "summed" else training.model.recogniser.weights)):
        i = next(i for i, each in enumerate(training.model.learned) if each is variable)
        assert np.abs(gradients[i]).max() > 1e-2


def test_all_designs_of_a_seed_start_from_the_same_classifier_and_networks():
    trainings = [training_on(30, design) for design in DESIGNS]
    for other in trainings[1:]:
        for network in ("encoder", "decoder"):
            pairs = zip(*(getattr(each.model, network).variables for each in (trainings[0], other)), strict=True)
            assert all(np.array_equal(*pair) for pair in pairs)
        pairs = zip(*(each.classifier.network.variables for each in (trainings[0], other)), strict=True)
        assert all(np.array_equal(*pair) for pair in pairs)
        assert [v.shape for v in other.model.learned[:3]] == [v.shape for v in trainings[0].model.learned[:3]]
        assert other.n_epochs == trainings[0].n_epochs


# Whole runs


SHORT = ["--epochs", 1, "--batch-size", 20, "--restarts", 2]


@pytest.fixture
def data(tmp_path):
    return tiny.write_images(tmp_path / "data", 40, 20)


def run(*argv):
    gmvae_designs.main([str(word) for word in argv])


@pytest.mark.parametrize("design", DESIGNS)
def test_an_interrupted_run_ends_in_the_same_numbers(design, data, tmp_path, monkeypatch):
    monkeypatch.setattr(gmvae_designs, "Settings", Small)
    argv = ["--data", data, *SHORT, "--design", design]
    with tiny.eager():
        run(*argv, "--out", tmp_path / "unbroken")
        done, batches = [], gmvae.Training.batches

        def stop(self, epoch, size):
            done.append(epoch)
            if len(done) == 3:
                raise KeyboardInterrupt
            return batches(self, epoch, size)

        with monkeypatch.context() as patch:
            patch.setattr(gmvae, "SAVE_EVERY", 0.0)
            patch.setattr(gmvae.Training, "batches", stop)
            with pytest.raises(KeyboardInterrupt):
                run(*argv, "--out", tmp_path / "out")
        tiny.check_unfinished(tmp_path / "out")
        first = []
        monkeypatch.setattr(gmvae.Training, "batches", lambda *given: first.append(given[1]) or batches(*given))
        run("--resume", "--out", tmp_path / "out")
    assert first[0] == done[-1], "the epochs before are not done again"
    ours, theirs = (tiny.strip_times(tiny.read_metrics(tmp_path / name)) for name in ("out", "unbroken"))
    assert ours == theirs
    run("--resume", "--out", tmp_path / "out")  # nothing is left to do

    assert {"elbo", "nll", "gap", "accuracy", "accuracy_model"} <= set(ours["test"])
    assert ours["config"]["design"] == design
    assert 1 <= ours["components_used"] <= K
    gap = ours["test"]["gap"]
    assert gap["total"] == pytest.approx(-ours["test"]["nll"] - ours["test"]["elbo"], abs=1e-3)
    assert design != "summed" or gap["component_given_code"] == pytest.approx(0, abs=1e-3)


def test_the_cost_of_a_step_is_measured_for_every_design(data, tmp_path, monkeypatch):
    monkeypatch.setattr(gmvae_designs_cost, "ROUNDS", 3)
    argv = ["--data", data, "--batch-size", 20, "--out", tmp_path / "out"]
    with tiny.eager():
        gmvae_designs_cost.main([str(word) for word in argv])
    measured = tiny.read_metrics(tmp_path / "out")["milliseconds_per_step"]
    assert set(measured) == set(DESIGNS)
    assert all(len(rounds) == 3 and min(rounds) > 0 for rounds in measured.values())
    gmvae_designs_cost.main(["--resume", "--out", str(tmp_path / "out")])  # nothing is left to do


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--design", "guessed"], "--design guessed: wanted one of summed, factorised, structured"),
        (["--batch-size", 41], "--batch-size 41: wanted at most 40, the training images"),
        (["--pure"], "unrecognized arguments: --pure; see --help"),
        (["--epochs", 0], "--epochs 0: wanted a number from 1 to 100000"),
    ],
)
def test_bad_input_is_refused(argv, said, data, tmp_path, capsys):
    argv = ["--data", data, *argv, "--out", tmp_path / "no"]
    assert said in tiny.refused(gmvae_designs.main, argv, capsys)
    assert not (tmp_path / "no").exists()


def test_the_study_has_every_design_with_three_seeds():
    runs = {run.name: run.command for run in study.RUNS if run.name.startswith("gmvae-designs/")}
    assert set(runs) == {f"gmvae-designs/{design}/seed-{seed}" for design in DESIGNS for seed in range(3)}
    for name, command in runs.items():
        _, design, seed = name.split("/")
        assert command == ("report/gmvae_designs.py", "--design", design, "--seed", seed[-1])


def test_the_common_budget_is_that_of_gmvae_but_for_its_length():
    ours, theirs = dataclasses.asdict(gmvae_designs.Settings()), dataclasses.asdict(gmvae.Settings())
    differing = {name for name in theirs if ours[name] != theirs[name]}
    assert differing == {"epochs", "classifier_share", "out"}
    assert ours["classifier_share"] * ours["epochs"] == pytest.approx(theirs["classifier_share"] * theirs["epochs"])
