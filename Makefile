# The commands a person runs are the commands CI runs.
.PHONY: demo test check bench fmt pages build fuzz simulate
.DEFAULT_GOAL := build

PAGES := static/dist/app.stamp
PAGE_SOURCES := $(shell find static -path static/node_modules -prune -o -path static/dist -prune -o -type f -print)

## demo: install what is missing, build, start headend with a test picture; Ctrl-C ends everything
demo: setup-demo $(PAGES)
	cargo build --profile demo --bin headend
	HEADEND_BIN=$${CARGO_TARGET_DIR:-target}/demo/headend scripts/demo.sh

## test: install what is missing and run every test
test: setup-test $(PAGES)
	cargo build --bin headend
	cargo nextest run --no-fail-fast
	cargo test --doc
	cd static && npm test --silent

## simulate: a million lives of the whole server in virtual time (SIMULATION_SEEDS, SIMULATION_FIRST)
simulate: setup-test $(PAGES)
	SIMULATION_SEEDS=$${SIMULATION_SEEDS:-1000000} cargo test --release --lib simulation::many_lives -- --nocapture

## check: formatting, lints, pages
check: setup-test $(PAGES)
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

## bench: the figures of docs/performance.md, on real sockets and real processes
bench: setup-test $(PAGES)
	cargo build --release
	cargo build --release --benches
	scripts/bench.sh

fmt:
	cargo fmt

build: setup $(PAGES)
	cargo build --release

pages: $(PAGES)

$(PAGES): $(PAGE_SOURCES)
	@scripts/setup.sh >/dev/null
	cd static && npm run --silent build
	@touch $@

.PHONY: setup setup-demo setup-test
setup:
	@scripts/setup.sh
setup-demo:
	@scripts/setup.sh --demo
setup-test:
	@scripts/setup.sh --test

