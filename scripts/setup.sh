#!/usr/bin/env bash
# Installs what headend needs to be built, run and tested on Debian 12 (and relatives with GStreamer 1.22): GStreamer, and with
# `--test` the real clients that the tests use. Does nothing where everything is there. Says what it does. Rust is yours to install, and
# Node.js for the tests and for changed pages; it says so where they are missing.
#
#   scripts/setup.sh          what building and running needs
#   scripts/setup.sh --demo   also what the demonstration needs (ffmpeg)
#   scripts/setup.sh --pages  what building the pages needs (npm packages, nothing else)
#   scripts/setup.sh --test   also what the tests need (Chromium, mpv, VLC, nginx …)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }

packages=(
  gcc libc6-dev make pkg-config curl ca-certificates
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
  gstreamer1.0-plugins-ugly gstreamer1.0-libav
)
case "${1:-}" in
  "") ;;
  --demo) packages+=(ffmpeg) ;;
  --pages) packages=() ;;
  --test) packages+=(ffmpeg gstreamer1.0-tools chromium mpv vlc-bin vlc-plugin-base nginx openssl jq obs-studio xvfb) ;;
  *) say "unknown option $1"; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || { say "this system has no apt-get; install by hand: ${missing[*]}"; exit 1; }
  sudo=""
  if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || { say "run this as root, or install sudo; it wants to install ${missing[*]}"; exit 1; }
  fi
  say "installing ${missing[*]}"
  $sudo apt-get update -qq
  # RUNLEVEL=1: installed services (nginx) are not started.
  $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

command -v cargo >/dev/null || { say "Rust is missing: install it from https://rustup.rs, then run this again"; exit 1; }
if [ "${1:-}" = --test ] && ! cargo nextest --version >/dev/null 2>&1; then
  say "installing cargo-nextest"
  cargo install --locked cargo-nextest >/dev/null
fi

# The pages: hls.js and the bundler, from the lock file.
npm_install() { # DIR
  if [ ! -e "$1/node_modules/.package-lock.json" ] || [ "$1/package-lock.json" -nt "$1/node_modules/.package-lock.json" ]; then
    say "installing the npm packages of $1"
    (cd "$1" && npm ci --no-audit --no-fund --silent && touch node_modules/.package-lock.json)
  fi
}
if [ "${1:-}" = --test ] || [ "${1:-}" = --pages ]; then
  command -v npm >/dev/null || { say "Node.js (20 or later) with npm is missing: install it, then run this again"; exit 1; }
  node=$(node --version 2>/dev/null || true)
  node=${node#v}
  if [ "${node%%.*}" -lt 20 ] 2>/dev/null; then say "Node.js is $node, but 20 or later is needed"; exit 1; fi
  npm_install static
  if [ "$1" = --test ]; then npm_install tests/e2e; fi
fi
say "everything is there"
