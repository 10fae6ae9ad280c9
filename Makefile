# make run: the service on port 8000. make test: everything that guards main.
PYTHON ?= python3
PYTHONS ?= python3.12 python3.13
BIN := .venv/bin
PIP_INSTALL := -m pip install -q --disable-pip-version-check --require-hashes

.PHONY: run test audit test-pythons test-long openapi pictures bench bench-probing bench-peers lock clean

run: .venv/run.done .env
	@FLASK_SKIP_DOTENV=1 $(BIN)/flask --app wsgi db upgrade
	@AUTHAPP_GREETING=1 exec $(BIN)/gunicorn wsgi:app

test: .venv/dev.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q -r --ini setup.cfg
	$(BIN)/pytest -n auto --dist worksteal --cov

# Whether a pinned package has a known hole. It asks PyPI and fails where that does not tell, so no test depends on it.
audit: .venv-audit/done
	.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.txt -r requirements-dev.txt

.venv-audit/done:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install -q --disable-pip-version-check 'pip-audit>=2.10'
	@touch $@

# The same tests on the other Pythons, each in an environment of its own.
test-pythons: $(PYTHONS:%=test-%)

# Else make would delete these marks as intermediate, and install everything anew each time.
.PRECIOUS: .venv-python%/dev.done

test-python%: .venv-python%/dev.done
	.venv-python$*/bin/pytest -q -n auto --dist worksteal

# Everything: also faults and floods, clients made by public generators, and a fresh clone's first run, as a newcomer
# would do it.
test-long: test test-pythons
	$(BIN)/pytest -m long
	$(BIN)/pytest -m clients
	.ci/first-run

# The API's document under the default settings, as docs/ has it, for programs and for people.
openapi: .venv/dev.done
	$(BIN)/python -m tests.write_openapi > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json
	$(BIN)/python -m tests.write_api > docs/api.md.new
	mv docs/api.md.new docs/api.md

# The pictures of the documents, by Debian's Chromium.
pictures: .venv/dev.done
	$(BIN)/python -m tests.pictures

# Whether answers tell, by their bytes or their times, who has an account: half an hour, on a quiet machine.
bench-probing: .venv/dev.done
	$(BIN)/python -u -m benchmarks.account_probing $(BENCH)

# The figures of docs/performance.md against their goals, on SQLite and on MariaDB: ten minutes, on a quiet machine.
bench: .venv/dev.done
	$(BIN)/python -u -m benchmarks $(BENCH)

# One part of them for longer; and beside these, peers: authapp and what people would pick instead, which is installed
# from PyPI, fifteen minutes; soak: mixed load, twenty minutes a database.
bench-signed-in bench-login-storm bench-capacity bench-starting bench-growth bench-purge bench-peers bench-soak: .venv/dev.done
	$(BIN)/python -u -m benchmarks.$(subst -,_,$(@:bench-%=%)) $(BENCH)

# UPGRADE=--upgrade takes the newest versions.
lock: .venv/dev.done
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
		$(UPGRADE) setup.cfg -o requirements.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
		$(UPGRADE) --extra dev -c requirements.txt setup.cfg -o requirements-dev.txt

clean:
	rm -rf .venv .venv-* .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

.env:
	@printf '%s\n' '# Development settings; .env.example explains every setting.' 'APP_ENV=development' > $@

.venv/bin/python:
	@command -v $(PYTHON) > /dev/null || { echo "There is no $(PYTHON) here: name one, make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("authapp needs Python 3.11 or newer; name one, for example PYTHON=python3.12." if sys.version_info < (3, 11) else 0)'
	@# Half an environment, as Debian makes it where its python3-venv is missing, would be taken for a whole one.
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/run.done: requirements.txt | .venv/bin/python
	@echo "Installing the pinned packages into .venv; this takes a minute or two."
	$(BIN)/python $(PIP_INSTALL) -r requirements.txt
	@touch $@

.venv/dev.done: requirements-dev.txt | .venv/bin/python
	$(BIN)/python $(PIP_INSTALL) -r requirements-dev.txt
	@touch $@ .venv/run.done

.venv-python%/dev.done: requirements-dev.txt
	python$* -m venv .venv-python$*
	.venv-python$*/bin/python $(PIP_INSTALL) -r requirements-dev.txt
	@touch $@
