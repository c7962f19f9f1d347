#!/usr/bin/env bash
# Builds the pages (static/dist) where their sources have changed since; static/dist is part of the repository, so that building headend
# needs no Node.js. Says nothing where there is nothing to do.
set -euo pipefail
cd "$(dirname "$0")/../static"

# What the pages are made of, by content: a clone has no useful times of change.
sources() { find . \( -name node_modules -o -path ./dist -o -path ./test \) -prune -o -type f -print | LC_ALL=C sort; }
now=$(sources | tr '\n' '\0' | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
[ "$(cat dist/sources.sha256 2>/dev/null || true)" != "$now" ] || exit 0
../scripts/setup.sh --pages
npm run --silent build
printf '%s\n' "$now" >dist/sources.sha256
