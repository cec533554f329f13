import importlib.util
import json
import re
from pathlib import Path

import pytest

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
    results = tmp_path / "report" / "results"
    results.mkdir(parents=True)
    for path in (ROOT / "report" / "results").glob("*.json"):
        metrics = json.loads(path.read_text())
        if path.name == "gmvae-seed-2.json":
            metrics["test"]["nll"] += 0.01
        (results / path.name).write_text(json.dumps(metrics))
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    text = (ROOT / "README.md").read_text()
    assert readme.fill(text) != text


def test_a_result_of_another_seed_is_refused(readme, tmp_path, monkeypatch):
    results = tmp_path / "report" / "results"
    results.mkdir(parents=True)
    for seed in (0, 1, 2):
        (results / f"gmm-seed-{seed}.json").write_text('{"config": {"seed": 0}}')
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    with pytest.raises(ValueError, match="wanted the run of seed 1, found seed 0"):
        readme.metrics("gmm")


def test_every_file_that_the_readme_names_is_there():
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"\]\(((?!https?:)[^)]+)\)", text):
        assert (ROOT / path).is_file(), path
