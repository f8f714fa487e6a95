# Two commands do everything: `make quickstart` and `make test`. Each sets up .venv first if it is not there.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= quickstart
SEED ?= 0

.PHONY: quickstart test test-slow check lock clean

quickstart: .venv/installed
	HF_HUB_OFFLINE=1 PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/quickstart.sh $(OUT) $(SEED)

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q

test-slow: .venv/installed
	$(BIN)/pytest -q -m slow

check: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

.venv/installed: pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock -e .
	touch $@

lock:
	$(BIN)/uv export --format requirements-txt --no-hashes --no-annotate --no-header --no-emit-project --all-groups --quiet --output-file requirements.lock
	rm -f uv.lock
	sed -i '1i # Versions that the tests ran with; names and versions only. `make lock` writes it anew.' requirements.lock

clean:
	rm -rf .venv $(OUT)
