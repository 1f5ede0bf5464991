# SPDX-License-Identifier: MIT OR Apache-2.0
# `make` alone lists the targets.

.DEFAULT_GOAL := help
CARGO ?= cargo
SECONDS ?= 60
COUNT ?= 200
SEED ?= 1
ARGS ?=

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what building needs and this machine lacks (Debian, Ubuntu)
	@scripts/setup

demo: setup ## The whole product in one terminal; ARGS="--package FILE", ARGS="--tamper"
	$(CARGO) build --release --locked -p gatewayd --bins --example demo
	@"$${CARGO_TARGET_DIR:-target}"/release/examples/demo $(ARGS)

test: ## Every test and every documented example, with counts; under a real systemd in a container where this is root
	@scripts/setup tests
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

test-peers: ## Python's can-isotp and udsoncan on buses, doipclient and doip-server over DoIP, from PyPI into the user's cache
	@scripts/test-peers
	@scripts/test-peers-doip

test-report: ## Report pages in headless Chromium: tabs, search, zoom, comparison, keys, contrast; screenshots in target/report
	@scripts/test-report

test-blackout: ## 5,000 blocks of telemetry through a blackhole, killed daemon, killed broker (mosquitto, rumqttd): what was lost
	@scripts/setup tests
	$(CARGO) build --locked -p gatewayd -p gateway-cloud --bins
	$(CARGO) test --locked -p gatewayd --test blackout -- --ignored --nocapture --test-threads 1 five

test-profiler: ## Known causes and a real-time task through the machine's own profiler; wants a quiet machine
	@scripts/setup bpf
	$(CARGO) test --locked -p gatewayd --features bpf --test capture -- --ignored --nocapture --test-threads 1

sweep-crash: ## Campaigns cut at COUNT=200 random points, from SEED on: crashes and power cuts
	GATEWAYD_SWEEP=$(COUNT) GATEWAYD_SWEEP_SEED=$(SEED) $(CARGO) test --release --locked -p gateway-tests --test power -- --nocapture a_sweep

test-pkcs11: ## The engine suite, and the daemon's TLS key in a token, against SoftHSM where softhsm2 is installed
	$(CARGO) test --locked -p crypto-offload --features testing,pkcs11,tls --test conformance --test pkcs11 -- --nocapture
	$(CARGO) test --locked -p gatewayd --test token -- --nocapture

sweep-engines: ## Chunk streams over a coprocessor that fails at COUNT=200 points, from SEED on
	GATEWAYD_SWEEP=$(COUNT) GATEWAYD_SWEEP_SEED=$(SEED) $(CARGO) test --release --locked -p crypto-offload --features testing --test offload -- --nocapture a_sweep

test-nspawn: ## The shipped units and binaries under a real systemd in a container: life, sandbox, a short soak
	@tests/nspawn/run suite

soak-restart: COUNT = 1000
soak-restart: ## COUNT=1000 restarts, kills and aborts of the real service under load; what was lost, how long it was away
	@tests/nspawn/run soak $(COUNT)

sweep-bus: COUNT = 10000
sweep-bus: ## One-ECU programmings with COUNT=10000 seeds from SEED on, random faults on bus and ECU, simulated time
	GATEWAYD_SWEEP=$(COUNT) GATEWAYD_SWEEP_SEED=$(SEED) $(CARGO) test --release --locked -p gateway-tests --test sweep_bus -- --nocapture

bench-canfd: ## ISO-TP: rate of the core, python can-isotp's beside it, share of the wire's limit; eight buses at once
	@GATEWAYD_PEERS_PYTHON="$${GATEWAYD_PEERS_PYTHON:-$${XDG_CACHE_HOME:-$$HOME/.cache}/gatewayd-peers/can/bin/python}" \
		$(CARGO) run --quiet --release --locked -p canfd --example isotp_rate
	@$(CARGO) run --quiet --release --locked -p gateway-tests --example buses

bench-crypto: ## SM4, SM3, SM2, the chunk pipeline and handshakes on one core, as ratios to every peer that is there
	@$(CARGO) run --quiet --release --locked -p crypto-offload --features tls,signing --example rates

bench-offload: ## Whether jobs go to the engine that does them first, at every size
	@$(CARGO) run --quiet --release --locked -p crypto-offload --features testing --example offload

bench-tls: ## TLS 1.3 alone: handshakes and records of the SM suites, against P-256 and AES by ring
	@$(CARGO) run --quiet --release --locked -p crypto-offload --features tls,signing --example rates -- --part tls

bench-ct: ## Whether the time of what touches a secret depends on it
	@$(CARGO) run --quiet --release --locked -p crypto-offload --example constant_time
	@$(CARGO) run --quiet --release --locked -p crypto-offload --example sm2_timing

bench-profiler: ## Profiler: own cost and memory under a busy machine by each back end, heap sampler
	@scripts/setup bpf
	@$(CARGO) run --quiet --release --locked -p gatewayd --features bpf --example profiler_cost

bench-telemetry: ## Telemetry: bytes per sample
	@$(CARGO) run --quiet --release --locked -p telemetry --example size

fuzz: ## Every fuzz target for SECONDS=60 each
	@scripts/fuzz $(SECONDS)

fuzz-smoke: ## Every fuzz target for ten seconds
	@scripts/fuzz 10

check-yocto: ## The Yocto layer against the tree; with OE_CORE= BITBAKE= also against bitbake
	@scripts/check-yocto

check-units: ## The systemd units: verify, exposure score
	@scripts/check-units

deb: setup ## The Debian packages in target/deb; ARCH=arm64 builds them for that processor
	@packaging/deb/build $(ARCH)

test-vm: setup ## The daemon as a service on a virtual vehicle computer with real CAN sockets; ARCH=aarch64
	@tests/vm/run $(ARCH)

vm-shell: setup ## That machine with a campaign waiting, for looking around; ARCH=aarch64
	@tests/vm/run --shell $(ARCH)

test-aarch64: setup ## The libraries' tests, cross-built for aarch64, under user-mode emulation
	@scripts/test-aarch64

ci: ## What CI runs
	@.ci/run

# Every target is a question, none a file.
.PHONY: $(shell awk -F: '/^[a-z0-9-]+:.*## / { print $$1 }' $(MAKEFILE_LIST))
