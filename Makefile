# make          sets up .venv (once) and runs both parts at their defaults
# make setup    only the environment
# make test     every test, a file at a time on each of up to four cores
# make lint     ruff
# make study    the runs behind the report that have no result yet, and their figures; ONLY="NAMES" for some of them,
#               JOBS=N for N at a time
# make report   report/report.pdf, from report.tex, the figures in plots/ and the results; needs LaTeX
# make readme   the tables of README.md, from the results of the runs
# make bench    speed against peers, in an environment of its own; needs Python 3.11 or later and a C++ compiler
PYTHON ?= python3
VENV := .venv/bin
JOBS := 1

.PHONY: all setup test lint study report latex readme bench
all: setup
	$(VENV)/python gmm_vi.py
	$(VENV)/python gmvae.py

setup: .venv/installed

.venv/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv .venv
	$(VENV)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

test: setup
	$(VENV)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: setup
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .

study: setup
	$(VENV)/python report/study.py $(ONLY) --jobs $(JOBS)
	$(VENV)/python report/gmm_figures.py
	$(VENV)/python report/gmvae_figures.py

report: latex setup
	$(VENV)/python report/tables.py
	@mkdir -p report/build
	@cd report && latexmk -silent -pdf -interaction=nonstopmode -halt-on-error -outdir=build report.tex \
	>build/latexmk.log 2>&1 || { tail -n 5 build/latexmk.log; grep -A 3 '^!' build/report.log; \
	echo "error: report/report.tex does not compile: see report/build/report.log"; exit 2; } >&2
	cp report/build/report.pdf report/report.pdf

latex:
	@command -v latexmk >/dev/null && kpsewhich lmodern.sty microtype.sty natbib.sty >/dev/null || { \
	echo "error: make report needs LaTeX: \
	apt-get install --no-install-recommends texlive-latex-recommended texlive-fonts-recommended lmodern latexmk" >&2; \
	exit 2; }

readme: setup
	$(VENV)/python report/readme.py

bench: .venv-bench/installed
	.venv-bench/bin/python -m pytest tests/test_bench.py
	.venv-bench/bin/python benchmarks/bench.py
	.venv-bench/bin/python report/readme.py

.venv-bench/installed: requirements.txt benchmarks/requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	touch $@
