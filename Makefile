# Everything a newcomer types. Needs Python 3.11 or later with venv; `make test` brings the rest.
PYTHON ?= python3
PORT ?= 8080
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

ROUNDS ?= 3
SECONDS ?= 8

.PHONY: demo test test-slow bench reach snippet check audit wheel sbom release lowest lock clean help

demo: .venv/run  ## the whole product, with a demo shop and a stand-in Klaviyo
	@$(BIN)/checkout-proxy demo --port $(PORT)

test: .venv/dev browser-and-nginx  ## all fast tests, in some eight minutes
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not slow"

test-slow: .venv/dev browser-and-nginx  ## the tests that take minutes each: soaks, sweeps, whole machines lost
	$(BIN)/python -m pytest -m slow --timeout 3600

bench: .venv/dev  ## how fast it is beside others; ROUNDS=1 SECONDS=2 for a quick look
	$(BIN)/python -m pytest tests/bench/test_hot_functions.py -p no:randomly -q \
		--benchmark-enable --benchmark-sort=name --benchmark-columns=min,median,stddev,ops
	$(BIN)/python -m tests.bench --rounds $(ROUNDS) --seconds $(SECONDS)

reach: .venv/dev browser-and-nginx  ## the snippet's figures against their gates, in five to ten minutes
	$(BIN)/python -m pytest tests/browser/test_reach.py tests/test_package.py -q -s -p no:randomly

snippet: .venv/dev  ## build static/dist from static/src
	$(BIN)/npm --prefix static ci --no-audit --no-fund
	PATH="$(abspath $(BIN)):$$PATH" npm --prefix static run --silent build

check: .venv/dev  ## lint, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: .venv/dev  ## ask whether a weakness is known of what is locked
	$(BIN)/python .ci/audit.py

wheel: .venv/dev  ## build the wheel and try it alone, in an environment of its own
	rm -rf build/wheel dist
	$(BIN)/uv build --quiet --wheel --out-dir dist
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/pip install --quiet dist/*.whl
	cd build && wheel/bin/python ../.ci/try_wheel.py

sbom: wheel  ## write down what the wheel is delivered with, beside it (CycloneDX)
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/checkout-proxy.cdx.json build/wheel/bin/python
	build/wheel/bin/python .ci/check_sbom.py dist/checkout-proxy.cdx.json

release: audit sbom  ## all that a release consists of, in dist/, with its checksums
	$(BIN)/uv build --quiet --sdist --out-dir dist
	cd dist && sha256sum *.whl *.tar.gz *.cdx.json > SHA256SUMS

lowest: wheel  ## try the wheel with the oldest dependencies that it admits
	$(PYTHON) -m venv --clear build/lowest
	$(BIN)/uv pip install --quiet --python build/lowest/bin/python --resolution lowest-direct dist/*.whl
	cd build && lowest/bin/python ../.ci/try_wheel.py

lock: .venv/dev  ## resolve the development environment anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" --group dev pyproject.toml -o requirements-dev.txt

clean:  ## remove what was installed and built
	rm -rf .venv build dist

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile

.PHONY: browser-and-nginx
browser-and-nginx:
	.ci/install-browser-and-nginx

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; make PYTHON=python3.12 names another."; exit 1; }
	@$(PYTHON) -m venv .venv || \
		{ rm -rf .venv; echo "venv is missing: sudo apt install python3-venv"; exit 1; }

.venv/run: .venv/bin/python pyproject.toml
	@echo "Installing what it needs; this takes half a minute to a minute."
	@$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/dev: .venv/bin/python pyproject.toml requirements-dev.txt
	@echo "Installing the development environment; this takes a minute or two."
	@$(BIN)/pip install --quiet --require-hashes --requirement requirements-dev.txt
	@$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@ .venv/run
