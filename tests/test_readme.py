import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny

import gmvae
import utils

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def readme():
    spec = importlib.util.spec_from_file_location("readme", ROOT / "report" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_results(readme):
    text = (ROOT / "README.md").read_text()
    assert readme.fill(text) == text


def test_another_result_makes_the_tables_stale(readme, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "report" / "results", tmp_path / "report" / "results")
    result = tmp_path / "report" / "results" / "gmvae" / "seed-2.json"
    metrics = json.loads(result.read_text())
    metrics["test"]["nll"] += 0.01
    result.write_text(json.dumps(metrics))
    if (ROOT / "benchmarks" / "results").exists():
        shutil.copytree(ROOT / "benchmarks" / "results", tmp_path / "benchmarks" / "results")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    text = (ROOT / "README.md").read_text()
    assert readme.fill(text) != text


def test_variants_are_told_by_mean_worst_and_best(readme, tmp_path, monkeypatch):
    monkeypatch.setattr(readme.gmvae_figures, "RESULTS", tmp_path / "report" / "results")
    for name, nlls, error in (("gmvae", (80.0, 81.0, 85.0), None), ("gmvae-labels/10", (90.0,), 0.0125)):
        folder = tmp_path / "report" / "results" / name
        folder.mkdir(parents=True)
        for seed, nll in enumerate(nlls):
            test = {"accuracy": 0.9, "accuracy_model": 0.8, "error": error, "nll": nll, "elbo": -nll}
            test["importance_samples"] = 500 if error else 5000
            purity = {"mean": 0.99, "diversity": [0.5, 0.75]} if error else None
            run = {"test": test, "sample_purity": purity, "components_used": 9 if error else 8 + min(seed, 1)}
            run |= {"config": {"threads": 2 if error or seed == 2 else 1}, "seconds": 600.0 * (1 + seed)}
            (folder / f"seed-{seed}.json").write_text(json.dumps(run))
    table = readme.variants_table()
    assert "| 10,000 test images | `gmvae.py` | `--labels-per-class 10` |" in table
    assert "| runs, a seed each | 3 | 1 |" in table
    assert "| -log p(x), 5,000 importance samples, nats per image | 82.00 (80.00 to 85.00) |  |" in table
    assert "| lower bound, nats per image | -82.00 (-85.00 to -80.00) | -90.00 |" in table
    assert "| error, nothing matched, % |  | 1.25 |" in table
    assert "| purity of samples, % |  | 99.00 |" in table
    assert "| diversity of samples, that of a class being 1 |  | 0.62 |" in table
    assert "| components in use | 8 to 9 | 9 |" in table
    assert "| minutes of training on one core, median | 15 |  |" in table


def test_what_the_command_tells_of_fewer_samples(readme, tmp_path, monkeypatch):
    monkeypatch.setattr(readme.gmvae_figures, "RESULTS", tmp_path / "report" / "results")
    folder = tmp_path / "report" / "results" / "gmvae-inside" / "default"
    folder.mkdir(parents=True)
    for seed, more in enumerate((0.25, 0.5)):
        curve = {"samples": [500, 1000, 5000], "log_likelihood": [-90.0, -89.9, -90.0 + more]}
        run = {"config": {"importance_samples": 500}, "test": {"convergence": {"ours": curve}}}
        (folder / f"seed-{seed}.json").write_text(json.dumps(run))
    told = readme.about_samples(5000)
    assert told.startswith("The command takes 500 importance samples, and so tells about 0.38 nats more of -log p(x).")
    assert "The table's 5000 are those of `python report/gmvae_run.py --change importance_samples=5000 -- --s" in told


def bench_results(folder):
    """Small results of the benchmark's parts, in a project's folder."""
    machine = {"cpu": "a CPU", "cores": 2, "versions": {"numpy": "2"}}
    one = {"median": 1.0, "min": 0.5, "max": 2.0}
    tables = {
        name: {
            "PyTorch": {
                "precision": precision,
                "rate": one,
                "share": {"median": share, "min": 0.1, "max": 0.5},
                "ratio": one,
                "compilation": 1.5,
            }
        }
        for name, precision, share in (("float32", "float32", 0.25), ("best", "bfloat16", 0.12))
    }
    precisions = {"float32": 4e9, "bfloat16": 8e9}
    limits = {name: {"median": rate, "min": rate, "max": rate} for name, rate in precisions.items()}
    peaks = {name: {"case": "JAX, 2 x 2"} for name in precisions}
    point = {
        "n": 100,
        "k": 3,
        "restarts": 50,
        "batch_size": 512,
        "seconds_per_step": one,
        "compilation": 1.0,
        "peak_memory_mib": 1.0,
    }
    parts = {
        "limit": peaks,
        "training": {"images": 2, "flop_per_image": 1, "batch_sizes": {"100": {**tables, "limit": limits}}},
        "sampling": {"images": 2, "samples": 5, "flop_per_sample": 1.0, "float32": tables["float32"]},
        "gmm": {"curves": {"n": [point]}},
        "start": {"seconds": {"gmvae.py": [20.0, 10.0]}},
    }
    results = folder / "benchmarks" / "results"
    results.mkdir(parents=True)
    for name, content in parts.items():
        (results / f"{name}.json").write_text(json.dumps({"machine": machine, "rounds": 7, **content}))
    return results


def test_tables_of_speed_follow_the_results(readme, tmp_path, monkeypatch):
    results = bench_results(tmp_path)
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    first = readme.bench_tables(), readme.gmm_cost()
    assert "| PyTorch | 1 (25 %) | 1.00 (0.50–2.00) | 1.5 |" in first[0]
    assert "| PyTorch | bfloat16: 1 (12 %) | 1.00 (0.50–2.00) | 1.5 |" in first[0]
    assert "4 GFLOP/s in float32 (JAX, 2 x 2), 8 GFLOP/s in bfloat16 (JAX, 2 x 2)" in first[0]
    assert "| `gmvae.py` | 20.0 | 10.0 |" in first[0]
    assert "costs 20.0000 ms against" in first[1]
    for name in ("sampling", "gmm"):
        path = results / f"{name}.json"
        path.write_text(path.read_text().replace('"median": 1.0', '"median": 3.0'))
    assert readme.bench_tables() != first[0]
    assert "costs 60.0000 ms against" in readme.gmm_cost()
    (results / "training.json").unlink()
    assert readme.bench_tables() == "Not measured yet: `make bench`."


def test_results_of_two_machines_are_refused(readme, tmp_path, monkeypatch):
    path = bench_results(tmp_path) / "training.json"
    path.write_text(path.read_text().replace("a CPU", "another CPU"))
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    with pytest.raises(ValueError, match="are of different machines"):
        readme.bench_tables()


def test_an_error_is_one_line_and_leaves_the_readme(readme, tmp_path, monkeypatch, capsys):
    (tmp_path / "README.md").write_text("no marks")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    with pytest.raises(SystemExit) as stopped:
        readme.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: README.md: wanted the marks")
    assert (tmp_path / "README.md").read_text() == "no marks"


def test_a_result_of_another_seed_is_refused(readme, tmp_path, monkeypatch):
    results = tmp_path / "report" / "results" / "gmm"
    results.mkdir(parents=True)
    for seed in (0, 1, 2):
        (results / f"seed-{seed}.json").write_text('{"config": {"seed": 0}}')
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    with pytest.raises(ValueError, match="wanted the run of seed 1, found seed 0"):
        readme.metrics("gmm")


def test_every_file_that_the_readme_names_is_there():
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"\]\(((?!https?:)[^)]+)\)", text):
        assert (ROOT / path).is_file(), path


def snippet(word):
    """Runs the README's piece of Python that has a word; returns its names."""
    pieces = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    (piece,) = (piece for piece in pieces if word in piece)
    names = {}
    exec(piece, names)
    return names


def test_the_piece_on_part_2_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = snippet("gmm_vi.load")
    assert names["points"].shape == (1000, 2)
    assert names["fit"].parameters.means.shape == (3, 2)


def test_the_piece_on_part_3_runs(monkeypatch):
    """On a few images and a model that has learned nothing: weights are not in the repository."""
    model = gmvae.TrainedModel(gmvae.MixtureVAE(gmvae.Settings()), gmvae.Classifier(gmvae.Settings()), gmvae.Settings())
    images = tiny.structured_images(5, 0)[0].reshape(5, 784)
    monkeypatch.setattr(gmvae, "load", {"plots/gmvae": model}.__getitem__)
    monkeypatch.setattr(utils, "read_images", {"data/mnist": utils.Images(images, None, images, None)}.__getitem__)
    assert snippet("gmvae.load")["model"] is model


def test_the_piece_on_zhusuan_runs_and_its_densities_are_right():
    names = snippet("import zhusuan")
    assert names["log_p_z"].shape == names["log_p_x"].shape == (8, 100)
    np.testing.assert_allclose(names["log_p_z"], -np.log(3), rtol=1e-5)
    distances = names["points"] - names["z"].tensor @ names["means"]
    expected = np.sum(-0.5 * np.square(distances) - 0.5 * np.log(2 * np.pi), axis=-1)
    np.testing.assert_allclose(names["log_p_x"], expected, rtol=1e-4, atol=1e-4)
