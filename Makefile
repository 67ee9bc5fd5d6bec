# The table of contents.
PYTHON ?= python3
PORT ?= 8000
STATE ?= .state
SIZE ?= default
ENV ?= dev
RUN := .venv/bin/python
# Where a branch that no test takes is a fault of the tests, and the share that must be taken.
HEART := */vireo/recommender/*,*/vireo/projection.py,*/vireo/identity.py,*/vireo/viewers/*
FLOOR := 97

.PHONY: help setup local test coverage of-parts of-wholes check lock bench mutants openapi layers arm64-proof synth deploy teardown clean
help:     ## what there is
	@grep -E '^[a-z0-9-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 13
setup: .venv/ready  ## the virtual environment with everything pinned, and the CDK's command
	-@$(RUN) scripts/cdk.py --version > /dev/null
local: .venv/ready  ## data, training, API and documentation on 127.0.0.1:$(PORT)
	@$(RUN) scripts/local.py --port $(PORT) --state $(STATE) --size $(SIZE)
test: .venv/ready  ## every test
	@$(RUN) -m pytest
coverage: .venv/ready  ## every test; which branches those of parts take, and the floor for the heart of it
	@mkdir -p build && $(MAKE) --no-print-directory --jobs=2 --output-sync=target of-parts of-wholes
of-parts: .venv/ready
	@$(RUN) -m coverage run -m pytest tests/unit tests/contract
	@$(RUN) -m coverage report
	@$(RUN) -m coverage report --include='$(HEART)' --fail-under=$(FLOOR)
of-wholes: .venv/ready
	@$(RUN) -m pytest tests/infra tests/e2e
check: .venv/ready  ## format, lint, types
	@$(RUN) -m ruff format --check . && $(RUN) -m ruff check . && $(RUN) -m mypy && $(RUN) scripts/openapi.py --check
bench: .venv/ready  ## speed, as ratios to the bare kernels of the same run
	@$(RUN) -m tests.bench.bench
mutants: .venv/ready  ## whether tests notice: 400 small changes, each tried; goes on where it was; takes hours
	@$(RUN) -m tests.mutants.run
lock: .venv/ready  ## every lock anew, of requirements.txt and package.json files; versions stay where they fit
	@$(RUN) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock' requirements.txt --output-file requirements.lock
	@$(RUN) scripts/build_layers.py --lock && $(RUN) scripts/node_package.py --lock
openapi: .venv/ready  ## write docs/openapi.json from the routes
	@$(RUN) scripts/openapi.py
layers: .venv/ready  ## the Lambda layers for ARM64 into build/, twice, compared byte for byte
	@$(RUN) scripts/build_layers.py --twice
arm64-proof: .venv/ready layers  ## the built layers answer under emulation as this machine does
	@$(RUN) -m tests.arm64.proof
synth: .venv/ready  ## the templates of ENV=$(ENV), in build/cloud
	@CDK_OUTDIR=build/cloud/$(ENV) CDK_CONTEXT_JSON='{"environment": "$(ENV)", "packages": "sources"}' $(RUN) app.py
deploy: .venv/ready  ## ENV=$(ENV) into the AWS account of the current credentials
	@PYTHON=$(RUN) scripts/deploy.sh $(ENV)
teardown: .venv/ready  ## take ENV=$(ENV) down; asks first, and keeps data
	@PYTHON=$(RUN) scripts/teardown.sh $(ENV)
clean:    ## forget the environment, the state and what was built
	rm -rf .venv build $(STATE)

# vireo.pth puts our source roots on the path: two as the Lambda layer and the function's folder do,
# and the root, from which scripts import the stacks and one another.
# Bytecode is made of what is imported, when it is, which halves the time.
.venv/ready: requirements.lock
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes --requirement requirements.lock
	printf '%s\n' '$(CURDIR)/layers/core/python' '$(CURDIR)/lambdas' '$(CURDIR)' > "$$($(RUN) -c 'import site; print(site.getsitepackages()[0])')/vireo.pth"
	@touch $@
