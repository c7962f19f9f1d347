#!/usr/bin/env bash
# The figures of docs/performance.md, on real sockets and real processes: about nine minutes on two cores.
# `make bench` builds what this runs. The table goes to the terminal and to target/bench.md.
#
#   scripts/bench.sh              everything
#   scripts/bench.sh whep floor   only these (floor whep latency segment beside http picture micro)
set -euo pipefail
cd "$(dirname "$0")/.."

# The product, built as users build it. `cargo bench` builds one too, but with the features that the tests' dependencies turn on
# (tokio's movable clock, for one), and leaves that in target/release: hence the copy.
cargo build --release --bin headend --quiet
target=$(realpath "${CARGO_TARGET_DIR:-target}")
cp "$target/release/headend" "$target/headend-to-bench"
export HEADEND=$target/headend-to-bench

missing=()
for tool in ffmpeg wrk nginx node; do command -v "$tool" >/dev/null || missing+=("$tool"); done
[ ${#missing[@]} = 0 ] || echo "bench: without ${missing[*]} some scenarios are left out (apt-get install ffmpeg wrk nginx-light nodejs)" >&2

report=$target/bench.md
revision=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain --untracked-files=no 2>/dev/null)" ] || revision="$revision with changes"
{
  echo "# headend $revision, $(date -u +%Y-%m-%d)"
  echo
  echo "$(lscpu | sed -n 's/^Model name: *//p' | head -1), $(nproc) cores, Linux $(uname -r), load before: $(cut -d' ' -f1-3 /proc/loadavg)"
} | tee "$report"

failed=0
run() { # NAME ARGUMENTS…
  printf '\n`cargo bench --bench load -- %s`\n\n' "$*" | tee -a "$report"
  cargo bench --quiet --bench load -- "$@" | tee -a "$report" || { failed=1; echo "bench: $1 failed" | tee -a "$report" >&2; }
}

for scenario in ${*:-floor whep latency segment beside http picture micro}; do
  case $scenario in
    segment) run segment; run segment --record ;;
    micro) printf '\n`cargo bench --bench micro`\n\n' | tee -a "$report"; cargo bench --quiet --bench micro -- --max-time 1 | sed 's/^/    /' | tee -a "$report" ;;
    http) if command -v wrk >/dev/null && command -v nginx >/dev/null; then run http; fi ;;
    picture) if [ -d tests/e2e/node_modules ]; then run picture; else echo "bench: picture needs npm ci in tests/e2e" >&2; fi ;;
    *) run "$scenario" ;;
  esac
done
echo "bench: the table is in $report"
exit $failed
