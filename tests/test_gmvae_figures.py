"""The figures of part 3's studies: what is said of results that are made up."""

import json
import sys

import numpy as np
import pytest
import tiny

import utils

sys.path.insert(0, str(tiny.PROJECT / "report"))

import gmvae_figures  # noqa: E402


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a run's metrics where the figures look for them."""
    monkeypatch.setattr(gmvae_figures, "RESULTS", tmp_path)
    monkeypatch.setattr(gmvae_figures, "PLOTS", tmp_path)
    monkeypatch.setattr(gmvae_figures, "OUT", tmp_path / "plots")
    gmvae_figures.OUT.mkdir()

    def write(name, seed, metrics):
        path = tmp_path / name / f"seed-{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(metrics))

    return write


def scored(nll, elbo, **changes):
    config = {"epochs": 30, "pull_share": 0.25, "weighted_share": 0.0, "weighted_samples": 10}
    config |= {"hidden_units": 500, "code_units": 40, "importance_samples": 5000, **changes}
    return {"config": config, "test": {"nll": nll, "elbo": elbo}, "components_used": 10}


def test_products_are_those_of_the_benchmark():
    """7.28 million an image and epoch at the defaults, of which the benchmark's README tells; twice the epochs take
    twice as many, and S samples of h that many decoders."""
    default = scored(88, -92)["config"]
    one = gmvae_figures.products(default)
    assert one / 38 == pytest.approx(7.28e6)
    assert gmvae_figures.products(default | {"epochs": 60}) / one == 75 / 38
    decoder = 6 * (40 * 500 + 500 * 500 + 500 * 784)
    weighted = gmvae_figures.products(default | {"weighted_share": 0.2, "weighted_samples": 10})
    assert weighted - one == 8 * 9 * decoder


def test_without_results_nothing_is_drawn(write):
    assert "![" not in gmvae_figures.draw()


def test_pictures_are_in_the_order_of_matched_classes(write, tmp_path):
    folder = tmp_path / "gmvae"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"test": {"accuracy": 0.75}, "sample_purity": {"mean": 0.5}}))
    draws = np.zeros([10, 11, 784], np.float32)
    draws[:, :, 0] = np.linspace(0, 1, 10)[:, None]  # the first pixel tells the cluster
    confusion = np.roll(np.diag(np.full(10, 7)), 1, axis=1)  # cluster k holds class k + 1
    np.savez(folder / "pictures.npz", draws=draws, confusion=confusion)
    figure, said = gmvae_figures.pictures_figure()
    assert said.endswith("in %: default (75.0, 50.0).")
    above, below, _ = figure.axes
    shown = above.images[0].get_array()[1::30, 1]
    np.testing.assert_allclose(shown, np.roll(np.linspace(0, 1, 10), 1))
    np.testing.assert_array_equal(below.images[0].get_array(), np.eye(10))


def test_ingredients_are_told_against_the_default(write, tmp_path):
    for seed in range(2):
        write("gmvae-likelihood/nothing", seed, scored(88 + seed, -92 - seed))
        write("gmvae-likelihood/last-weights", seed, scored(88.25 + seed, -93 - seed))
        write("gmvae-likelihood/longer", seed, scored(87.5 + seed, -91.75 - seed, epochs=60))
    said = gmvae_figures.draw()
    assert "88.50 (88.00 to 89.00) nats of -log p(x) and 92.50 (92.00 to 93.00) of negative bound" in said
    assert (
        "adds to the two: twice the epochs -0.50 and -0.25, 2.0 times the products; last weights, not averages +0.25 "
        "and +1.00, 1.0 times the products." in said
    )
    assert "weighted bound" not in said
    write("gmvae-likelihood/weighted", 0, scored(88.0, -93.75, weighted_share=0.2))
    assert "weighted bound trains" not in gmvae_figures.draw(), "gmvae_inside.py has not looked"
    write("gmvae-inside/half", 0, watched(2.0, -93.0))
    write("gmvae-inside/weighted", 0, watched(2.0, -94.0, -89.75))
    assert (
        "trains q as a proposal for samples, at 1.25 nats of the bound: on 200 test images its 5000 samples leave the "
        "estimate 0.25 nats short of log p(x), the default's 0.50. So of its gain of 0.50 nats 0.25 are the estimate's"
    ) in gmvae_figures.draw()
    assert tiny.is_picture(tmp_path / "plots", "likelihood")


def watched(information, bound, log_likelihood=-89.5):
    curve = {"log_likelihood": [-95.0, -90.0], "effective_share": [1.0, 0.5], "samples": [1, 5000]}
    return {
        "config": {"seed": 0},
        "watched_images": 2000,
        "pull_epochs": 1,
        "inside": {
            "rate": [30.0, 25.0, 24.0],
            "assignment": [2.0, 2.1, 2.25],
            "within": [28.0, 22.9, 21.75],
            "information": [0.0, 1.0, information],
            "uncertainty": [0.1, 0.1, 0.09],
            "components": [9.0, 9.5, 9.8],
            "active units": [40.0, 20.0, 19.0],
            "varying units": [40.0, 30.0, 29.0],
        },
        "test": {
            "images": 200,
            "reference_samples": 50_000,
            "bound": bound,
            "best_bound_halfway": log_likelihood - 1.25,
            "best_bound": log_likelihood - 1.0,
            "log_likelihood": log_likelihood,
            "gap": log_likelihood - bound,
            "approximation": 1.0,
            "amortisation": log_likelihood - bound - 1.0,
            "each": {
                "bound": [bound - 1, bound, bound, bound + 1],
                "best_bound": [log_likelihood - 2, log_likelihood - 1, log_likelihood - 2, log_likelihood + 1],
                "log_likelihood": [log_likelihood - 1, log_likelihood, log_likelihood, log_likelihood + 1],
                "effective_samples": [5.0, 100.0, 300.0, 1000.0],
            },
            "convergence": {"ours": curve, "optimised": curve | {"log_likelihood": [-92.0, -89.6]}},
        },
    }


def test_gains_are_of_the_seeds_that_both_have():
    plain, other = ([watched(2.0, -93.0, log_p) for log_p in each] for each in ((-90.0, -91.0, -92.0), (-89.0, -88.0)))
    for seed, run in enumerate(plain):
        run["config"] = {"seed": seed}
    other[0]["config"], other[1]["config"] = {"seed": 2}, {"seed": 1}
    gains = gmvae_figures.reference_gains(plain, other)
    np.testing.assert_array_equal(gains, [[3.0] * 4, [3.0] * 4])
    assert gmvae_figures.standard_error(gains) == 0
    assert gmvae_figures.standard_error(np.array([[0.0, 2.0], [2.0, 4.0]])) == pytest.approx(1)


def test_the_inside_and_the_gap_are_told_of_each_variant(write, tmp_path):
    write("gmvae-inside/default", 0, watched(2.0, -93.0))
    write("gmvae-inside/random-start", 0, watched(0.75, -91.0))
    write("gmvae-inside/pure", 0, watched(1.5, -94.0, -90.0))
    said = gmvae_figures.draw()
    assert "Of these, the default model's component tells the most about the image, 2.00 of the 2.30 nats" in said
    assert "random-start: 24.0 nats of rate, of which 2.25 name the component; 0.75 nats of information" in said
    assert "From a random start the effective components fall to 9.5 before they rise to 9.8." in said
    assert (
        "In nats, with standard errors over images: default 1.00 ± 0.41 + 2.50 ± 0.41, pure 1.00 ± 0.41 + 3.00 ± 0.41, "
        "random-start 1.00 ± 0.41 + 0.50 ± 0.41. With" in said
    )
    assert (
        "5,000 samples leave the default's estimate at least 0.50 nats short of log p(x), which is that of 50,000"
        in said
    )
    assert "of which by default in the median 200 are effective and for 25 % of the images fewer than 10" in said
    assert "half of Adam's steps lose 0.25 nats at most" in said
    assert "19 active and 29 varying units" in said
    assert "medians and ranges of seeds (default 1, pure 1, random-start 1)" in said
    for name in ("inside", "gap"):
        assert tiny.is_picture(tmp_path / "plots", name)


def test_the_weights_are_told_from_least_to_greatest(write, tmp_path, monkeypatch):
    def weighted(generation, pull, nll, purity, elbo=-92.0):
        config = {"generation_weight": generation, "pull_weight": pull, "importance_samples": 500}
        test = {"nll": nll, "elbo": elbo, "accuracy_model": 0.98}
        return {"config": config, "test": test, "sample_purity": {"mean": purity}}

    write("gmvae-pure-without/nothing", 0, weighted(60.0, 10.0, 87.0, 0.99))
    write("gmvae-pareto/generation-200", 0, weighted(200.0, 10.0, 88.0, 0.995))
    assert gmvae_figures.pareto_figure() is None, "no default to compare with"
    write("gmvae-likelihood/nothing", 0, weighted(60.0, 10.0, 86.5, 0.8))
    assert gmvae_figures.pareto_figure() is None, "one weight of the pull"
    write("gmvae-pareto/generation-0", 0, weighted(0.0, 10.0, 86.5, 0.9))
    write("gmvae-pareto/generation-0", 1, weighted(0.0, 10.0, 86.0, 0.92))
    write("gmvae-pareto/pull-1", 0, weighted(60.0, 1.0, 86.75, 0.98))
    monkeypatch.setitem(gmvae_figures.FIGURES, "likelihood", lambda: None)
    said = gmvae_figures.draw()
    assert (
        "From weight 0 to 200 of generated images -log p(x) changes by +1.75 nats, the error of p(z|x) by +0.00 points "
        "and impure samples by -8.50. From weight 1 to 10 of the pull -log p(x) changes by +0.25 nats" in said
    )
    assert "faint dots seeds (1 to 2 of each). But for the default p(z|x) is by samples of a q(h|x)" in said
    assert "500 importance samples, whose -log p(x) is 5.5 below" in said
    assert "by default and up to 5.8 with the weights here" in said
    figure, _ = gmvae_figures.pareto_figure()
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["weight of generated images", "weight of the pull", "default"]
    write("gmvae-pareto/neither", 0, weighted(0.0, 1.0, 86.4, 0.85))
    figure, _ = gmvae_figures.pareto_figure()
    for ax, score in zip(figure.axes, (2.0, 15.0), strict=True):
        (line,) = [each for each in ax.lines if each.get_label() == "pull 1, no generated images"]
        np.testing.assert_allclose(line.get_xydata(), [[86.4, score]])
    assert tiny.is_picture(tmp_path / "plots", "pareto")


def test_the_figures_are_those_of_the_results():
    """Every picture that the results of the project make lies in plots/, and what is said of each is up to date. `make
    report` sees to it that the project holds the figures of its results."""
    try:
        gmvae_figures.study.check_shown(gmvae_figures.PLOTS, gmvae_figures.RESULTS)
    except ValueError as error:
        pytest.skip(f"a run of yours has its figures there: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "save_figure", tiny.save_no_figure)
        said = gmvae_figures.draw()
    written = gmvae_figures.OUT / "README.md"
    assert written.is_file() or "![" not in said
    assert not written.is_file() or written.read_text() == said
    for name in gmvae_figures.FIGURES:
        assert f"![{name}]" not in said or tiny.is_picture(gmvae_figures.OUT, name)
