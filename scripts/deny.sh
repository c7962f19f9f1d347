#!/usr/bin/env bash
# Licenses, sources and versions of dependencies (deny.toml), by cargo-deny: the one on the PATH, or one that is built here, once.
#
#   scripts/deny.sh bans licenses sources
#   scripts/deny.sh advisories             # needs the network
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
if ! command -v cargo-deny >/dev/null; then
  tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools")
  # Not optimised: it runs for some seconds, and builds for minutes.
  [ -x "$tools/bin/cargo-deny" ] || CARGO_TARGET_DIR="$tools/build" cargo install --quiet --locked --debug --no-track --root "$tools" "cargo-deny@$version"
  rm -rf "$tools/build"
  PATH=$tools/bin:$PATH
fi
exec cargo-deny --log-level error check "$@"
