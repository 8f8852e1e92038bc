#!/usr/bin/env bash
# What takes long, or measures, and so is no part of tests/run.sh, which comes first: it installs what the tests need.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

step() { printf '\n== %s\n' "$*"; }

step "what is held for those who read nothing"
cargo build --release --workspace --bins --locked
cargo nextest run --release --locked -p registry-tests --run-ignored only --no-capture -E 'test(held::)'

step "clients of other languages"
tests/languages/run.sh target/release/registry-server
