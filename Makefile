# Everything a fresh Debian or Ubuntu machine needs, from nothing: `make run` starts the gateway, `make test` tests it.
# Choose the interpreter with PYTHON=/path/to/python3.12, pass options on with ARGS="--http-port 9000".

.DEFAULT_GOAL := help
.PHONY: help install install-test run demo test check bench bench-media clean

BIN := .venv/bin
ARGS ?=
PYTEST_ARGS ?= -n 3 --dist loadgroup
export PYTHON

help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

install: ## Install what running needs
	@.ci/install run

install-test:
	@.ci/install test

run: install ## Start the gateway: make run ARGS="--help"
	@exec $(BIN)/gateway run $(ARGS)

demo: install ## Watch a synthetic caller book an appointment over SIP, drop the line, and be resumed
	@exec $(BIN)/python -m examples.demo $(ARGS)

# The tests run even if the check fails, so that one run tells everything. Those that hold a live browser to its times
# come behind the others, one by one. pytest says 5 where it found none: at least one of the two has to find some.
test: install-test ## Check and test everything
	@failed=0; side_by_side=0; alone=0; \
	$(MAKE) --no-print-directory check || failed=1; \
	$(BIN)/pytest $(PYTEST_ARGS) -m "not alone" $(ARGS) || side_by_side=$$?; \
	$(BIN)/pytest -m alone $(ARGS) || alone=$$?; \
	case "$$side_by_side $$alone" in "0 0"|"0 5"|"5 0") ;; *) failed=1 ;; esac; \
	exit $$failed

check: install-test ## Lint, format, types, and who may import whom
	@failed=0; \
	for tool in "ruff check" "ruff format --check" mypy lint-imports; do \
	    echo "$$tool"; $(BIN)/$$tool || failed=1; \
	done; \
	exit $$failed

bench: install-test ## Measure, and print the figures
	@exec $(BIN)/python -m benchmarks $(ARGS)

bench-media: install-test ## Measure the media plane: 100 to 2000 calls, everybody talking
	@exec $(BIN)/python -m benchmarks.media_calls --explain $(ARGS)

clean: ## Remove what was installed and cached here; recordings and sessions stay
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
