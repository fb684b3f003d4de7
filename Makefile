# make demo   the tour: plan, implement and audit, without a key
# make test   the tests
#
# Both make .venv first, from PyPI; git, make and Python 3.11 or newer (with venv) are all they need.

.POSIX:
.SUFFIXES:
.PHONY: demo test lint bench bench-savings docs lock dist clean venv

PYTHON =
JOBS = auto
ARGS =
BIN = .venv/bin

demo: venv
	@PATH="$$PWD/$(BIN):$$PATH" git ai-session demo $(ARGS)
	@printf '\n# It is installed in this checkout alone; for the commands above, first:\n'
	@printf '$$ export PATH="%s:$$PATH"\n' "$$PWD/$(BIN)"

test: venv
	@$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

lint: venv
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# Ratios, printed; see bench/.
bench: venv
	@$(BIN)/python -m bench.run $(ARGS)

bench-savings: venv
	@$(BIN)/python -m bench.savings $(ARGS)

# The man page, docs/cli.md and the completion scripts, from the table of verbs.
docs: venv
	@$(BIN)/python -m gitsess.cli.generated .

# The newest versions that pyproject.toml allows, tried out and pinned.
lock:
	@rm -rf build && mkdir build
	@.ci/venv build/lock $(PYTHON)
	@build/lock/bin/python -m pip install -q -e '.[dev]'
	@{ echo '# The environment of "make test", pinned by "make lock".'; \
	   build/lock/bin/python -m pip freeze -q --exclude-editable; } >build/requirements
	@mv build/requirements requirements-dev.lock
	@rm -rf build

dist: venv
	@$(BIN)/python -m build

clean:
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv: .venv/made

.venv/made: pyproject.toml requirements-dev.lock
	@.ci/venv .venv $(PYTHON)
	@echo 'setting up .venv, once' >&2
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
