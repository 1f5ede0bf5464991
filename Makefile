# SPDX-License-Identifier: MIT OR Apache-2.0
# `make` alone lists the targets.

.DEFAULT_GOAL := help
CARGO ?= cargo
SECONDS ?= 60
COUNT ?= 200
SEED ?= 1
ARGS ?=

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what building needs and this machine lacks (Debian, Ubuntu)
	@scripts/setup

demo: setup ## The whole product in one terminal; ARGS="--package FILE", ARGS="--tamper"
	$(CARGO) build --release --locked -p gatewayd --bins --example demo
	@"$${CARGO_TARGET_DIR:-target}"/release/examples/demo $(ARGS)

test: setup ## Every test and every documented example, with counts
	@scripts/test

fmt: ## Format the sources
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml

lint: ## Formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

doc: ## The documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

deny: ## Licences, banned crates, sources, known vulnerabilities
	$(CARGO) deny check --hide-inclusion-graph bans licenses sources
	@scripts/check-advisories

sweep-crash: ## Campaigns cut at COUNT=200 random points, from SEED on: crashes and power cuts
	GATEWAYD_SWEEP=$(COUNT) GATEWAYD_SWEEP_SEED=$(SEED) $(CARGO) test --release --locked -p gateway-tests --test power -- --nocapture a_sweep

sweep-engines: ## Chunk streams over a coprocessor that fails at COUNT=200 points, from SEED on
	GATEWAYD_SWEEP=$(COUNT) GATEWAYD_SWEEP_SEED=$(SEED) $(CARGO) test --release --locked -p crypto-offload --features testing --test offload -- --nocapture a_sweep

bench-canfd: ## ISO-TP: rate of the core, share of the wire's limit
	@$(CARGO) run --quiet --release --locked -p canfd --example isotp_rate

bench-crypto: ## Chunks: hash, tree and decryption on one core, against the libraries alone
	@$(CARGO) run --quiet --release --locked -p crypto-offload --example rates
	@$(CARGO) run --quiet --release --locked -p crypto-offload --example sm2_rates -- $(ARGS)

bench-offload: ## Whether jobs go to the engine that does them first, at every size
	@$(CARGO) run --quiet --release --locked -p crypto-offload --features testing --example offload

bench-ct: ## Whether the time of what touches a secret depends on it
	@$(CARGO) run --quiet --release --locked -p crypto-offload --example sm2_timing

bench-telemetry: ## Telemetry: bytes per sample
	@$(CARGO) run --quiet --release --locked -p telemetry --example size

fuzz: ## Every fuzz target for SECONDS=60 each
	@scripts/fuzz $(SECONDS)

fuzz-smoke: ## Every fuzz target for ten seconds
	@scripts/fuzz 10

check-yocto: ## The layer against the tree: crates, licences, units
	@scripts/check-yocto

check-units: ## The systemd units: verify, exposure score
	@scripts/check-units

ci: ## What CI runs
	@.ci/run

.PHONY: help setup demo test fmt lint doc deny sweep-crash sweep-engines bench-canfd bench-crypto bench-offload bench-ct \
	bench-telemetry fuzz fuzz-smoke \
	check-yocto check-units ci
