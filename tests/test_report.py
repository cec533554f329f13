"""The report: its numbers and tables are those of the results, and its sources hang together."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tiny

sys.path.insert(0, str(tiny.PROJECT / "report"))

import readme
import tables

import gmm_vi

REPORT = tiny.PROJECT / "report"
SOURCE = re.sub(r"(?<!\\)%.*", "", (REPORT / "report.tex").read_text())  # without comments
BODY = SOURCE.partition(r"\begin{document}")[2]


def used(command, text=BODY):
    """What a command's last argument is, wherever the text has it; a list of several is taken apart."""
    found = re.findall(rf"\\{command}\*?(?:\[[^]]*\])*\{{([^}}]*)\}}", text)
    return {name.strip() for each in found for name in each.split(",")}


def test_numbers_and_tables_are_those_of_the_results():
    assert tables.OUT.read_text() == tables.generated(), "stale: make report"


def test_another_result_makes_them_stale(tmp_path, monkeypatch):
    shutil.copytree(REPORT / "results", tmp_path / "report" / "results")
    path = tmp_path / "report" / "results" / "gmvae" / "seed-2.json"
    metrics = json.loads(path.read_text())
    metrics["test"]["nll"] += 0.01
    path.write_text(json.dumps(metrics))
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    assert tables.OUT.read_text() != tables.generated()


@pytest.mark.parametrize(
    "folder",
    sorted({path.parent.relative_to(tables.RESULTS) for path in tables.RESULTS.glob("gmvae-[pl]*/**/seed-*.json")}),
    ids=str,
)
def test_runs_that_are_pooled_have_the_same_settings(folder):
    its_own = {"seed", "out", "threads", "versions"}
    found = [json.loads(path.read_text())["config"] for path in (tables.RESULTS / folder).glob("seed-*.json")]
    settings = [{name: value for name, value in config.items() if name not in its_own} for config in found]
    assert all(each == settings[0] for each in settings)


@pytest.mark.parametrize("changed", [{"seed": 5}, {"no_augment": True}])
def test_figures_of_another_run_are_refused(changed, tmp_path, monkeypatch, capsys):
    for name, folder in tables.study.SHOWN.items():
        (tmp_path / "plots" / folder).mkdir(parents=True)
        shutil.copy(tables.RESULTS / f"{name}.json", tmp_path / "plots" / folder / "metrics.json")
    path = tmp_path / "plots" / "gmvae-pure" / "metrics.json"
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps(metrics | {"config": metrics["config"] | changed}))
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables.gmvae_figures, "PLOTS", tmp_path / "plots")
    error = "error: plots/gmvae-pure: wanted the run of report/results/gmvae-pure/seed-0.json, found another; "
    for main in (tables.main, tables.gmvae_figures.main):
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        assert capsys.readouterr().err.startswith(error)


@pytest.mark.parametrize("kind", ["val", "rows"])
def test_every_number_and_table_is_defined_and_used(kind):
    assert used(kind) == used(f"set{kind}", tables.OUT.read_text())


def test_no_measured_number_is_typed_by_hand():
    mathematics = r"\$[^$]*\$|\\begin\{equation\}.*?\\end\{equation\}"
    text = re.sub(mathematics, "", BODY, flags=re.DOTALL)
    text = re.sub(r"\\(?:begin|plot|renewcommand|hspace|put|setlength)[^\n]*", "", text)  # lengths
    text = re.sub(r"\\citep\{\w+\} &[^\n]*", "", text)  # not measured here, and cited
    assert re.findall(r".*\d\.\d.*", text) == []


def test_every_figure_is_there():
    figures = used("plot")
    assert figures
    for figure in figures:
        assert (tiny.PROJECT / "plots" / figure).is_file(), figure


def test_every_reference_leads_somewhere_and_every_entry_is_cited():
    entries = re.findall(r"@\w+\{(\w+),", (REPORT / "refs.bib").read_text())
    assert len(set(entries)) == len(entries)
    assert used("citep") | used("citet") == set(entries)
    labels = re.findall(r"\\label\{([^}]*)\}", BODY)
    assert len(set(labels)) == len(labels)
    assert used("ref") | used("eqref") <= set(labels)


def test_every_figure_and_table_is_referred_to():
    floats = re.findall(r"\\begin\{(?:figure|table)\}.*?\\end\{(?:figure|table)\}", BODY, flags=re.DOTALL)
    for each in floats:
        assert used("label", each) <= used("ref")
        assert r"\caption{" in each


def test_the_pdf_is_made_of_these_sources():
    pdf = (REPORT / "report.pdf").read_bytes()
    for name in ("report.tex", "generated.tex", "refs.bib"):
        checksum = hashlib.md5((REPORT / name).read_bytes()).hexdigest().upper()
        assert checksum.encode() in pdf, f"{name} is newer: make report"


@pytest.mark.parametrize(
    "value, form, text",
    [
        (12000, "", "12{,}000"),
        (0.05, "", "0.05"),
        (-3.14159, ".2f", r"\ensuremath{-3.14}"),
        (0.5, "+.1f", r"\ensuremath{+0.5}"),
        (1e-6, "", r"\ensuremath{10^{-6}}"),
        (2.11e-06, ".1e", r"\ensuremath{2.1\cdot 10^{-6}}"),
    ],
)
def test_a_number_in_latex(value, form, text):
    assert tables.number(value, form) == text


def test_a_sentence_in_latex():
    sentence = "At N = 10,000, by gmm_vi.py, -1.1e-06 nats on 95 % (KL(q || posterior)); K to the power of -0.48."
    assert tables.latex(sentence) == (
        r"At $N=$~10,000, by \code{gmm\_vi.py}, \ensuremath{-1.1\cdot 10^{-6}} nats on 95 \% ($\KL{q}{p}$); "
        r"$K$ to the power of \ensuremath{-0.48}."
    )
    assert tables.latex("q(z|x) and p(z|h) of -log p(x), log p(x)") == (
        r"$q(z\mid x)$ and $p(z\mid h)$ of $-\log p(x)$, $\log p(x)$"
    )


def test_the_report_tells_what_the_studies_say_less_its_lists(tmp_path, monkeypatch):
    names = (*tables.CAPTIONS, *tables.TOLD)
    said = "It falls by 2. Of each: a 1; b 2; c 3; d 4. Both do; so it is. Bands are quartiles."
    paths = [tmp_path / "gmm.md", tmp_path / "gmvae.md"]
    for path, part in zip(paths, (names[:3], names[3:]), strict=True):
        path.write_text("".join(f"![{name}]({name}.png)\n\n{said}\n\n" for name in part))
    monkeypatch.setattr(tables, "STUDIES", paths)
    told = tables.studies()
    for name in tables.CAPTIONS:
        assert told[f"caption {name}"] == "It falls by 2. Both do; so it is. Bands are quartiles."
    for name in tables.TOLD:
        of_all = "Both do; so it is."
        assert told[f"told {name}"] == (of_all if name == "defaults" else f"It falls by 2. {of_all}")
    assert len(told) == len(names)


def test_standard_errors_of_components_apart_are_those_of_each_alone():
    weights, means, stds = np.array([0.2, 0.3, 0.5]), np.array([[0, 0], [50, 0], [0, 50.0]]), np.full([3, 2], 1.5)
    errors = tables.standard_errors(gmm_vi.Parameters(weights, means, stds), n=400)
    points = 400 * weights[:, None]
    np.testing.assert_allclose(errors[:, :1], np.sqrt(weights * (1 - weights) / 400)[:, None], rtol=1e-4)
    np.testing.assert_allclose(errors[:, 1:3], 1.5 / np.sqrt(points) * np.ones(2), rtol=1e-4)
    np.testing.assert_allclose(errors[:, 3:], 1.5 / np.sqrt(2 * points) * np.ones(2), rtol=1e-4)


def test_without_latex_make_says_what_to_install(tmp_path):
    """The line is the first of two; the other is make's own."""
    make = shutil.which("make")
    environment = {"PATH": str(tmp_path)}
    result = subprocess.run([make, "report"], cwd=tiny.PROJECT, env=environment, capture_output=True, text=True)
    lines = result.stderr.splitlines()
    assert result.returncode == 2
    assert lines[0].startswith("error: make report needs LaTeX: apt-get install ")
    assert "latexmk" in lines[0]
    assert len(lines) == 2


def design_runs(folder, **shifts):
    """Results of two seeds of each design, whose bounds and times are shifted by design."""
    for design in tables.DESIGNS:
        path = folder / "report" / "results" / "gmvae-designs" / design
        path.mkdir(parents=True)
        for seed in range(2):
            elbo = -90.0 - seed + shifts.get(design, 0.0)
            test = {
                "importance_samples": 500,
                "elbo": elbo,
                "nll": 86.0,
                "accuracy": 0.9,
                "accuracy_model": 0.8,
                "effective_samples": 9.0,
            }
            parts = {"total": -elbo - 86.0, "code": 3.0, "component_given_code": 0.5, "component": 1.0}
            test["gap"] = {**parts, "code_given_component": parts["total"] - 1.0}
            config = {"design": design, "epochs": 8, "pull_share": 0.25, "batch_size": 600}
            run = {"config": config, "test": test, "components_used": 10 - seed}
            (path / f"seed-{seed}.json").write_text(json.dumps(run))


def test_the_table_of_designs_copes_without_results_and_tells_what_they_say(tmp_path, monkeypatch):
    defaults = readme.metrics("gmvae")[:1]
    defaults[0]["test"] |= {"elbo": -89.0, "nll": 85.0, "importance_samples": 500}
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr(tables.gmvae_figures, "RESULTS", tmp_path / "report" / "results")
    told, lines = tables.gmvae_designs(defaults)
    assert told == {"designs told": "The runs are not finished.", "designs samples": "500"}
    assert lines[2] == r"lower bound, nats per image &  &  &  & \ensuremath{-89.00} (0.00) \\"

    design_runs(tmp_path, structured=1.0, factorised=-0.25)
    assert tables.gmvae_designs(defaults)[0]["designs told"] == "The runs are not finished.", "no cost yet"
    defaults[0]["config"] |= {"epochs": 60, "pull_share": 0.25, "batch_size": 600}
    for cost, verdict in ((80.0, "time is better spent on more steps"), (70.0, "neither is ahead")):
        costs = {"summed": [9.0, 10.0, 99.0], "factorised": [7.0], "structured": [cost]}
        path = tmp_path / "report" / "results" / "gmvae-designs-cost.json"
        path.write_text(json.dumps({"milliseconds_per_step": costs}))
        told, lines = tables.gmvae_designs(defaults)
        assert verdict in told["designs told"]
    order = r"The order is (c), (a), (b) by the bound, (a), (b), (c) by $\log p(x)$ and (a), (b), (c) by accuracy of "
    assert told["designs told"].startswith(order)
    assert "; the first is ahead of the second in 2, 0 and 0 of 2 seeds. Against" in told["designs told"]
    assert "and their bound is 0.50 nats higher: " in told["designs told"]
    assert lines[2].startswith(
        r"lower bound, nats per image & \ensuremath{-90.50} (1.00) & \ensuremath{-90.75} (1.00) & "
    )
    assert lines[3].endswith(r" & 85.00 (0.00) \\")
    defaults[0]["test"] |= {"elbo": -91.0, "importance_samples": 5000}
    assert tables.gmvae_designs(defaults)[1][3].endswith(r" &  \\"), "of more samples it is another estimate"
    assert "the finer posterior is worth its time" in tables.gmvae_designs(defaults)[0]["designs told"]
    (tmp_path / "report" / "results" / "gmvae-designs" / "summed" / "seed-1.json").unlink()
    assert tables.gmvae_designs(defaults)[0]["designs told"] == "The runs are not finished."


def variant_runs(folder, name, *errors, nll=86.0):
    """Results of a run a seed, with these shares of errors, each a nat less likely than the last."""
    (folder / name).mkdir(parents=True)
    for seed, error in enumerate(errors):
        test = {"accuracy": 1 - error, "accuracy_model": 0.9, "error": error, "nll": nll + seed}
        test["elbo"] = -test["nll"] - 3
        config = {"seed": seed, "epochs": 30, "importance_samples": 500, "threads": 1}
        run = {"config": config, "test": test, "sample_purity": {"mean": 0.99}, "seconds": nll}
        (folder / name / f"seed-{seed}.json").write_text(json.dumps(run))


def test_the_ablation_has_what_has_run_and_the_greatest_loss_first(tmp_path, monkeypatch):
    monkeypatch.setattr(tables.gmvae_figures, "RESULTS", tmp_path)
    none = {"ablation told": "", "ablation epochs": "", "ablation samples": ""}, []
    variant_runs(tmp_path, "gmvae-pure-without/nothing", 0.02, 0.01)
    variant_runs(tmp_path, "gmvae-pareto/generation-0", 0.05)
    assert tables.gmvae_ablation() == none, "a whole, and what another study has too"
    (tmp_path / "gmvae-pure-without" / "nothing").rename(tmp_path / "aside")
    variant_runs(tmp_path, "gmvae-pure-without/elastic", 0.03)
    assert tables.gmvae_ablation() == none, "a part alone"
    (tmp_path / "aside").rename(tmp_path / "gmvae-pure-without" / "nothing")
    variant_runs(tmp_path, "gmvae-pure-without/graph", 0.1, 0.2)
    told, lines = tables.gmvae_ablation()
    assert lines == [
        r"nothing & 2 & 98.50 (98.00--99.00) & 90.00 (90.00--90.00) & 99.00 (99.00--99.00) & 86.50 (86.00--87.00) \\",
        r"the graph: heads' own clusters & 2 & 85.00 (80.00--90.00) & 90.00 (90.00--90.00) & 99.00 (99.00--99.00) & "
        r"86.50 (86.00--87.00) \\",
        r"generated images \eqref{generation} & 1 & 95.00 & 90.00 & 99.00 & 86.00 \\",
        r"elastic distortions & 1 & 97.00 & 90.00 & 99.00 & 86.00 \\",
    ]
    assert (told["ablation epochs"], told["ablation samples"]) == ("30", "500")
    assert told["ablation told"] == (
        r"\ensuremath{-13.50} (the graph: heads' own clusters) to \ensuremath{-1.50} (elastic distortions)"
    )


def watched_run(folder, name, estimates, each=(-90.5, -90.0)):
    """A result of gmvae_inside.py with these estimates of log p(x), which is -90, by samples."""
    (folder / "gmvae-inside" / name).mkdir(parents=True)
    curve = {"samples": list(estimates), "log_likelihood": list(estimates.values())}
    each = {"log_likelihood": list(each)}
    test = {"images": 2, "log_likelihood": -90.0, "convergence": {"ours": curve}, "each": each}
    (folder / "gmvae-inside" / name / "seed-0.json").write_text(json.dumps({"config": {"seed": 0}, "test": test}))


def test_the_limit_is_told_at_the_least_and_the_greatest_n(monkeypatch):
    def cell(error, coverage):
        names = ("a", "b", "c")
        mle = {
            "rms_error": dict(zip(names, (error, 0.0, 99.0), strict=True)),
            "coverage": dict.fromkeys(names, coverage),
        }
        mle["interval"] = {"rms_error": [1.0, 1.05 if coverage > 0.9 else 1.2], "coverage": [0.9, 0.96]}
        return {"mle": mle, "bound": dict.fromkeys(names, 2.0)}

    cells = {1.5: {1000: cell(2.1, 0.9), 100: cell(3.0, 0.4)}, 4.0: {100: cell(2.5, 0.8), 1000: cell(2.0, 0.95)}}
    monkeypatch.setattr(tables.gmm_figures, "limit_cells", lambda: cells)
    assert tables.limit() == {
        "limit separations": "1.5 and 4",
        "limit follows": "nowhere at a separation of 1.5 and from $N=$~1,000 on at a separation of 4",
        "limit first n": "100",
        "limit first ratios": "1.50 and 1.25",
        "limit first coverage": "40 and 80",
        "limit last n": "1{,}000",
        "limit last ratios": "1.05 and 1.00",
        "limit last coverage": "90 and 95",
    }


def test_what_the_proposal_hides_is_told_of_the_runs_that_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(tables.gmvae_figures, "RESULTS", tmp_path)
    assert {name: value for name, value in tables.mixture().items() if value} == {"mixture runs": "0"}
    (tmp_path / "gmvae-mixture").mkdir()
    for seed, accuracy in ((5, 0.99), (6, 0.985)):
        run = {"accuracy": accuracy, "accuracy_model": 0.98, "accuracy_mixture": 0.975, "changed": 0.0125}
        run |= {"changed_by_noise": 0.005, "images": 2000, "samples": 550}
        (tmp_path / "gmvae-mixture" / f"seed-{seed}.json").write_text(json.dumps(run))
    assert tables.mixture() == {
        "mixture accuracy": "98.75",
        "mixture accuracy_model": "98.00",
        "mixture accuracy_mixture": "97.50",
        "mixture changed": "1.25",
        "mixture changed_by_noise": "0.50",
        "mixture images": "2{,}000",
        "mixture samples": "550",
        "mixture gap": "1.25 (1.00--1.50)",
        "mixture runs": "2",
    }


def test_ingredients_have_what_they_add(tmp_path, monkeypatch):
    monkeypatch.setattr(tables.gmvae_figures, "RESULTS", tmp_path)
    config = {"epochs": 30, "pull_share": 0.25, "weighted_share": 0.0, "weighted_samples": 10}
    config |= {"hidden_units": 500, "code_units": 40, "importance_samples": 500}
    for name, changes, nlls, used in (
        ("nothing", {}, (88.0, 89.0), (10, 10)),
        ("longer", {"epochs": 60}, (87.25,), (9,)),
        ("one-component", {}, (92.0,), (1,)),
        ("random-start", {}, (90.75,), (9,)),
        ("weighted", {"weighted_share": 0.2}, (87.0, 87.0), (8, 10)),
    ):
        (tmp_path / "gmvae-likelihood" / name).mkdir(parents=True)
        for seed, (nll, components) in enumerate(zip(nlls, used, strict=True)):
            run = {"config": config | changes, "test": {"nll": nll, "elbo": -nll - 3}, "components_used": components}
            (tmp_path / "gmvae-likelihood" / name / f"seed-{seed}.json").write_text(json.dumps(run))
    watched_run(tmp_path, "half", {500: -91.0})
    watched_run(tmp_path, "weighted", {500: -90.25}, each=(-90.0, -90.0))
    told, lines = tables.gmvae_likelihood()
    assert lines == [
        r"as it is & 1.0 & 88.50 (88.00--89.00) &  & 91.50 (91.00--92.00) &  & 10 \\",
        r"twice the epochs & 2.0 & 87.25 & \ensuremath{-1.25} & 90.25 & \ensuremath{-1.25} & 9 \\",
        r"one component & 1.0 & 92.00 & \ensuremath{+3.50} & 95.00 & \ensuremath{+3.50} & 1 \\",
        r"random start & 1.0 & 90.75 & \ensuremath{+2.25} & 93.75 & \ensuremath{+2.25} & 9 \\",
        r"weighted bound at the end & 2.0 & 87.00 (87.00--87.00) & \ensuremath{-1.50} & 90.00 (90.00--90.00) & "
        r"\ensuremath{-1.50} & 8--10 \\",
    ]
    assert (told["mixture worth"], told["random start has"]) == ("3.50", "1.25")
    assert (told["likelihood epochs"], told["likelihood samples"], told["likelihood weighted"]) == ("30", "500", "20")
    assert told["mixture worth, bound"] == "3.50"
    assert "the estimate 0.25 nats short of $\\log p(x)$, the default's 1.00" in told["likelihood weighted told"]
    assert "0.75 are the estimate's, and the rest" in told["likelihood weighted told"]


def test_one_component_is_told_against_the_default_at_the_full_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(tables.gmvae_figures, "RESULTS", tmp_path)
    told, lines = tables.gmvae_plain()
    assert lines == []
    assert set(told.values()) == {""}
    variant_runs(tmp_path, "gmvae", 0.1, 0.1)
    variant_runs(tmp_path, "gmvae-one-component", 0.9, 0.9, nll=87.0)
    told, lines = tables.gmvae_plain()
    assert lines == [r"one component, a plain VAE, runs: 2 & 87.50 (87.00 to 88.00) \\"]
    assert (told["plain worse"], told["plain worse, bound"]) == ("1.00", "1.00")


def test_the_parts_of_the_gap_are_told_in_pairs(monkeypatch):
    def run(seed, log_likelihood, best, bound):
        each = {"log_likelihood": log_likelihood, "best_bound": best, "bound": bound}
        return {"config": {"seed": seed}, "test": {"each": each}}

    default = [run(0, [-90.0, -92.0], [-91.0, -93.0], [-95.0, -96.0]), run(1, [0, 0], [0, 0], [0, 0])]
    pure = [run(0, [-90.0, -92.0], [-91.5, -92.5], [-95.5, -97.5])]
    other = [run(0, [-90.0, -92.0], [-91.0, -94.0], [-95.0, -97.0]), run(1, [0, -1], [0, 0], [0, 0])]
    monkeypatch.setattr(
        tables.gmvae_figures,
        "inside_runs",
        lambda: {"default": default, "pure": pure, "random-start": other},
    )
    assert tables.gap_told() == {
        "gap pure approximation": r"\ensuremath{+0.00}",
        "gap pure amortisation": r"\ensuremath{+1.00}",
        "gap random-start approximation": r"\ensuremath{+0.00} (\ensuremath{-0.50} to \ensuremath{+0.50})",
        "gap random-start amortisation": r"\ensuremath{+0.00} (\ensuremath{+0.00} to \ensuremath{+0.00})",
    }


def test_what_purity_costs_is_told_of_pairs_with_the_same_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(tables.gmvae_figures, "RESULTS", tmp_path)
    variant_runs(tmp_path, "gmvae", 0.1, 0.1)
    variant_runs(tmp_path, "gmvae-pure", 0.0, 0.0, 0.0, nll=86.5)
    default = tmp_path / "gmvae" / "seed-1.json"
    default.write_text(
        default.read_text().replace('"nll": 87.0', '"nll": 88.0').replace('"threads": 1', '"threads": 2')
    )
    variant_runs(tmp_path, "gmvae-likelihood/nothing", 0.1)
    for name, nll in (("pure-without/nothing", 87.0), ("pareto/generation-0", 86.25), ("pareto/pull-1", 85.75)):
        variant_runs(tmp_path, f"gmvae-{name}", 0.0, 0.0, nll=nll)
    watched_run(tmp_path, "default", {500: -91.0, 5000: -90.5})
    watched_run(tmp_path, "pure", {500: -91.75, 5000: -90.625})
    for path in (tmp_path / "gmvae-pure").iterdir():
        path.write_text(path.read_text().replace('"importance_samples": 500', '"importance_samples": 5000'))
    told = tables.purity_costs()
    assert told == {
        "purity cost": r"$0.00\pm0.50$",
        "purity cost, bound": r"$0.50\pm0.00$",
        "purity seeds": "2",
        "purity times": "1.0",  # 86.5 / 86, of the seeds whose runs had as many threads
        "purity samples": "5{,}000",
        "purity samples, half": "500",
        "purity short": "0.12",
        "purity short, half": "0.75",
        "purity left": r"\ensuremath{-0.12}",  # of one seed
        "purity cost, reference": r"$0.00\pm0.00$",
        "purity images": "2",
        "purity cost, half": "1.50",
        "purity cost, half, bound": "1.50",
        "purity cost, no generation": "0.75",
        "purity cost, no generation, bound": "0.75",
        "purity cost, no pull": "0.25",
        "purity cost, no pull, bound": "0.25",
        **dict.fromkeys(("purity cost, neither", "purity cost, neither, bound", "purity neither"), ""),
        "purity neither, p": "",
    }
    variant_runs(tmp_path, "gmvae-pareto/neither", 0.0, nll=86.125)
    neither = {"purity cost, neither": "0.12", "purity neither": "99.00", "purity neither, p": "90.00"}
    assert neither.items() <= tables.purity_costs().items()


def test_the_table_of_labels_has_what_has_run(tmp_path, monkeypatch):
    monkeypatch.setattr(tables.gmvae_figures, "RESULTS", tmp_path)
    variant_runs(tmp_path, "gmvae-pure", 0.0125)
    variant_runs(tmp_path, "gmvae-labels/10", 0.01, 0.02)
    told, lines = tables.gmvae_labels()
    assert lines == [], "one number of labels is no table"
    assert told["labels change"] == r"\ensuremath{-0.25}"  # of seed 0, which both have
    assert told["labels pairs"] == "1"
    assert told["labels alone error"] == told["labels alone runs"] == ""
    variant_runs(tmp_path, "gmvae-labels/100", 0.005)
    variant_runs(tmp_path, "gmvae-labels-alone/100", 0.04)
    variant_runs(tmp_path, "gmvae-labels-alone/10", 0.125, nll=88.0)
    variant_runs(tmp_path, "gmvae-labels-no-augment/10", 0.03)
    assert tables.gmvae_labels()[1] == [
        r"0, matched & 1 & 1.25 &  & 99.00 \\",
        r"10 & 2 & 1.50 (1.00--2.00) & 12.50 & 99.00 (99.00--99.00) \\",
        r"100 & 1 & 0.50 & 4.00 & 99.00 \\",
        r"10, no copies & 1 & 3.00 &  & 99.00 \\",
    ]
    alone = {"error": "12.50", "accuracy by p": "90.00", "purity": "99.00", "runs": "1"}
    told = tables.gmvae_labels()[0]
    assert {name: told[f"labels alone {name}"] for name in alone} == alone


@pytest.mark.parametrize("code", [0, 12])
def test_latex_is_heard_only_where_it_fails(tmp_path, code):
    """With stand-ins for the programs that make calls."""
    shutil.copy(tiny.PROJECT / "Makefile", tmp_path)
    (tmp_path / "report").mkdir()
    latexmk = (
        f"echo chatter; echo '! Undefined control sequence.' >build/report.log; touch build/report.pdf; exit {code}"
    )
    for name, line in {"latexmk": latexmk, "kpsewhich": "", "python": ""}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = ["make", "-o", "setup", "report", f"VENV={tmp_path}"]
    result = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "chatter" not in result.stdout
    assert (tmp_path / "report" / "report.pdf").exists() == (code == 0)
    if code:
        assert result.returncode == 2
        *said, last, _ = result.stderr.splitlines()  # the last of all is make's own
        assert said == ["chatter", "! Undefined control sequence."]
        assert last == "error: report/report.tex does not compile: see report/build/report.log"
    else:
        assert (result.returncode, result.stderr) == (0, "")
