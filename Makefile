# make run: the service on port 8000. make test: everything that guards main.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-long lock clean

run: .venv/run.done .env
	@$(BIN)/flask --app wsgi db upgrade >/dev/null
	@echo "authapp listens on http://127.0.0.1:8000, stop it with Ctrl+C."
	@echo "  Mails:     http://127.0.0.1:8000/dev/mailbox"
	@echo "  Health:    http://127.0.0.1:8000/readyz"
	@echo "  Try next:  the walk in README.md, from a second terminal"
	@exec $(BIN)/gunicorn wsgi:app

test: .venv/dev.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

lock: .venv/dev.done
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
		$(UPGRADE) setup.cfg -o requirements.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
		$(UPGRADE) --extra dev -c requirements.txt setup.cfg -o requirements-dev.txt

clean:
	rm -rf .venv .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

.env:
	@printf '%s\n' '# Development settings; every setting is explained in .env.example.' 'APP_ENV=development' > $@

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run.done: requirements.txt | .venv/bin/python
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/dev.done: requirements-dev.txt | .venv/bin/python
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
