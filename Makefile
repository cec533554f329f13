# make          sets up .venv (once) and runs both parts at their defaults
# make setup    only the environment
# make test     every test
# make lint     ruff
# make study    the runs behind the report that have no result yet; ONLY="NAMES" for some, JOBS=N for N at a time
# make readme   the tables of README.md, from the results of the runs
PYTHON ?= python3
VENV := .venv/bin

JOBS := 1

.PHONY: all setup test lint study readme
all: setup
	$(VENV)/python gmm_vi.py
	$(VENV)/python gmvae.py

setup: .venv/installed

.venv/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv .venv
	$(VENV)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

test: setup
	$(VENV)/python -m pytest

lint: setup
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .

study: setup
	$(VENV)/python report/study.py $(ONLY) --jobs $(JOBS)

readme: setup
	$(VENV)/python report/readme.py
