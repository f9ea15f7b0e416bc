# The two commands are `make run` and `make test`; `make help` lists all.
# Where rustup puts cargo, for a shell that was opened before it did.
export PATH := $(PATH):$(HOME)/.cargo/bin
export CARGO_TARGET_DIR ?= $(HOME)/.cache/triggerfish/target

.PHONY: help run test bench lint fmt setup
help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'
setup: ## install what is missing
	@scripts/setup.sh
run: ## the whole way: hub, MQTT broker, simulated sensors, alerts (RUN_ONCE=1 ends after ten)
	@scripts/setup.sh run
	@scripts/run.sh
test: setup ## lints and every test, on the real services
	@scripts/test.sh
bench: setup ## the figures, on a release build: BENCH=fires,warm for some of them
	cargo bench --bench figures
lint: ## formatting and clippy
	cargo fmt --check
	cargo clippy --workspace --all-targets --features failpoints -- -D warnings
fmt: ## format everything
	cargo fmt
