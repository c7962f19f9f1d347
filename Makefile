# The commands a person runs are the commands CI runs.
.PHONY: demo test check advisories bench fmt pages build fuzz simulate
.DEFAULT_GOAL := build

## demo: install what is missing, build, start headend with a test picture; Ctrl-C ends everything
# The crates come while the packages are installed.
demo:
	@cargo fetch --locked --quiet & scripts/setup.sh --demo && wait
	@scripts/pages.sh
	cargo build --profile demo --bin headend
	HEADEND_BIN=$${CARGO_TARGET_DIR:-target}/demo/headend scripts/demo.sh

## test: install what is missing and run every test
test: setup-test pages
	cargo build --bin headend
	cargo nextest run --no-fail-fast
	cargo test --doc
	cd static && npm test --silent

## simulate: a million lives of the whole server in virtual time (SIMULATION_SEEDS, SIMULATION_FIRST)
simulate: setup-test pages
	SIMULATION_SEEDS=$${SIMULATION_SEEDS:-1000000} cargo test --release --lib simulation::many_lives -- --nocapture

## check: formatting, lints, pages, licenses and sources of dependencies
check: setup-test pages
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	scripts/deny.sh bans licenses sources

## advisories: known holes of dependencies; needs the network
advisories:
	scripts/deny.sh advisories

## bench: the figures of docs/performance.md, on real sockets and real processes
bench: setup-test pages
	cargo build --release
	cargo build --release --benches
	scripts/bench.sh

fmt:
	cargo fmt

build: setup pages
	cargo build --release

pages:
	@scripts/pages.sh

.PHONY: setup setup-test
setup:
	@scripts/setup.sh
setup-test:
	@scripts/setup.sh --test

