import importlib
import itertools
import json
from contextlib import closing

import numpy as np
import pytest
import tensorflow as tf
import tiny

import gmvae
from benchmarks import bench, network
from benchmarks.peers import keras_vae, ours

RNG = np.random.default_rng(0)
X = RNG.integers(0, 2, (6, 784)).astype(np.float32)
NOISE = RNG.normal(size=(6, 40)).astype(np.float32)


def test_flop_of_training_by_hand():
    forward = 784 * 500 + 500 * 500 + 500 * 80 + 40 * 500 + 500 * 500 + 500 * 784
    assert network.training_flop() == 2 * (forward + forward + forward - 784 * 500) == 7_280_000
    assert network.scoring_flop(1) == 2 * forward


def test_every_system_trains_on_the_same_binary_images():
    trained = gmvae.Training(network.images(), np.zeros(network.TRAINED, np.uint8), gmvae.Settings(batch_size=500))
    r = np.zeros([trained.n, network.COMPONENTS], np.float32)
    for epoch, images in enumerate(itertools.islice(network.epochs(500), 2)):
        np.testing.assert_array_equal(images, trained.epoch_data(epoch, r)[0])


def results(**seconds):
    return {name: {"seconds": values, "start": 5.0, "value": 0.0} for name, values in seconds.items()}


def test_rates_shares_and_ratios_are_paired_by_round():
    found = results(**{f"{bench.OURS}, a": [1.0, 2.0, 4.0], "other, b": [2.0, 2.0, 2.0]})
    limits = {"a": np.array([16.0, 16.0, 16.0]), "b": np.array([8.0, 16.0, 32.0])}
    table = bench.rows(found, {bench.OURS: "a", "other": "b"}, limits, 8, 2.0)
    assert table[bench.OURS]["rate"] == {"median": 4.0, "min": 2.0, "max": 8.0}
    assert table[bench.OURS]["share"] == {"median": 0.5, "min": 0.25, "max": 1.0}
    assert table[bench.OURS]["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert table["other"]["share"] == {"median": 0.5, "min": 0.25, "max": 1.0}
    assert table["other"]["ratio"] == {"median": 1.0, "min": 0.5, "max": 2.0}  # ours over the other's, in images/s
    assert table["other"]["compilation"] == 3.0
    assert bench.compilation({"start": 1.0, "seconds": [2.0]}) == 0.0


def test_a_system_at_its_best_has_the_least_median():
    found = results(**{"JAX, float32": [1.0, 9.0, 9.0], "JAX, bfloat16": [2.0, 2.0, 2.0]})
    assert bench.fastest(found, "JAX") == "bfloat16"


def test_the_limit_joins_the_rounds(tmp_path, monkeypatch, capsys):
    product = bench.Case("keras_vae", "product", {"n": 2, "precision": "float32", "compiled": False})
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    with pytest.raises(SystemExit) as stopped:
        bench.measure_beside_limit({}, ("float32",), 1)
    assert last_error(capsys, stopped).endswith("measure with --only limit first")
    monkeypatch.setattr(bench, "SQUARES", (2,))
    (tmp_path / "limit.json").write_text(json.dumps({"float32": {"case": "TensorFlow, oneDNN, 2 x 2"}}))
    measured, limits = bench.measure_beside_limit({"a": product}, ("float32",), 3)
    assert list(measured) == ["a"] and len(measured["a"]["seconds"]) == 3
    assert limits["float32"].shape == (3,)
    seconds = 2 * 2**3 / limits["float32"]
    assert (seconds < 1).all(), "a product of 16 operations takes no second"
    np.testing.assert_allclose(bench.product_rates("X, 10 x 10", {"seconds": [2.0, 4.0]}), [1000.0, 500.0])


def last_error(capsys, stopped):
    """The last line, of a benchmark that ended in an error."""
    assert stopped.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_a_system_that_does_other_work_stops_the_benchmark(capsys):
    measured = results(a=[1.0], b=[1.0], c=[1.0])
    bench.check(measured, 2.0)
    for wrong in (2.5, float("nan")):
        measured["c"]["value"] = wrong
        with pytest.raises(SystemExit) as stopped:
            bench.check(measured, 2.0)
        assert "c gives" in last_error(capsys, stopped)


def test_a_worker_that_dies_ends_in_an_error(capfd):
    with pytest.raises(SystemExit) as stopped:
        bench.Worker(bench.Case("missing", "training", {}))
    assert "ended with exit code 1" in last_error(capfd, stopped)


def test_a_worker_that_is_killed_between_rounds_ends_in_an_error(capfd):
    worker = bench.Worker(bench.Case("keras_vae", "product", {"n": 2, "precision": "float32", "compiled": False}))
    worker.process.kill()
    worker.process.join()
    with closing(worker), pytest.raises(SystemExit) as stopped:
        worker.round()
    assert "ended with exit code -9" in last_error(capfd, stopped)


@pytest.mark.parametrize("argv", [["--only", "nothing"], ["--rounds", "0"], ["surplus"]])
def test_bad_usage(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        bench.main(argv)
    assert last_error(capsys, stopped).endswith("; see --help")


def test_start_tells_seconds_and_failure(monkeypatch, capsys):
    monkeypatch.setattr(bench, "STARTS", {"a.py": "import time; time.sleep(0.2)"})
    assert all(0.2 < seconds < 20 for seconds in bench.start(2)["seconds"]["a.py"])
    monkeypatch.setattr(bench, "STARTS", {"a.py": "1 / 0"})
    with pytest.raises(SystemExit) as stopped:
        bench.start(2)
    assert "a.py does not start" in last_error(capsys, stopped)


def test_a_result_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results" / "part.json"
    bench.write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        bench.write_json(path, {"a": float("nan")})
    assert [file.name for file in path.parent.iterdir()] == ["part.json"]
    assert json.loads(path.read_text()) == {"a": 1}


def bound_of_ours(monkeypatch):
    class Given:
        """A generator whose normal draws are the given noise."""

        def normal(self, shape, dtype):
            return tf.reshape(tf.constant(NOISE, dtype), shape)

    monkeypatch.setattr("zhusuan.distributions.get_generator", Given)
    model = ours.start(gmvae.MixtureVAE(gmvae.Settings()))
    return tf.reduce_mean(model.bound(tf.constant(X))[0]).numpy()


def bound_of(module):
    peer = importlib.import_module(f"benchmarks.peers.{module}")
    if module == "jax_vae":
        return np.asarray(peer.bound(network.start(), X, NOISE, "float32"))
    if module == "torch_vae":
        torch = importlib.import_module("torch")
        return peer.MixtureVAE(network.start()).bound(torch.tensor(X), torch.tensor(NOISE)).detach().numpy()
    return keras_vae.MixtureVAE(network.start()).bound(tf.constant(X), tf.constant(NOISE)).numpy()


@pytest.mark.parametrize("module", ["keras_vae", "torch_vae", "jax_vae"])
def test_a_peer_is_the_same_model(module, monkeypatch):
    for needed in {"torch_vae": ["torch"], "jax_vae": ["jax", "optax"]}.get(module, []):
        pytest.importorskip(needed)
    np.testing.assert_allclose(bound_of(module), bound_of_ours(monkeypatch), rtol=1e-5)


@pytest.fixture
def few_images(monkeypatch):
    grey = network.images(200)
    monkeypatch.setattr(network, "images", lambda n=None: grey[:n])
    monkeypatch.setattr(network, "TRAINED", len(grey))


def trained(train):
    """Whether rounds go on from each other's weights."""
    bounds = [train() for _ in range(5)]
    assert bounds[0] == pytest.approx(-784 * np.log(2), rel=0.05), "the network starts at even odds"
    return bounds[-1] > bounds[0] + 50


def test_rounds_of_ours_train_and_score(few_images):
    with tiny.eager():
        assert trained(ours.training(100))
        log_likelihood = ours.scoring(10)()
    assert log_likelihood == pytest.approx(-784 * np.log(2), rel=0.05)


@pytest.mark.parametrize("module", ["keras_vae", "torch_vae", "jax_vae"])
def test_rounds_of_a_peer_train(module, few_images):
    for needed in {"torch_vae": ["torch"], "jax_vae": ["jax", "optax"]}.get(module, []):
        pytest.importorskip(needed)
    peer = importlib.import_module(f"benchmarks.peers.{module}")
    assert trained(peer.training(100, "float32", **({"compiled": False} if module == "torch_vae" else {})))
