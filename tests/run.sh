#!/usr/bin/env bash
# Everything that has to be true before a change lands. Installs what it needs on a fresh machine with Rust, and changes no
# file of the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
# It is built once: what would make a second build faster takes as much of the disk as all the rest.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}

step() { printf '\n== %s\n' "$*"; }

step tools
rustup component add rustfmt clippy >/dev/null 2>&1 || { cargo fmt --version && cargo clippy --version; }
# The tests look at the server's system calls, put proxies in front of it, call it with curl, set its clock, and watch it with Prometheus.
missing=$(PATH=$PATH:/usr/sbin; for tool in curl strace nginx haproxy faketime prometheus; do command -v $tool >/dev/null || echo $tool; done)
# Go's own packages verify what the registry signs.
[ -d /usr/share/gocode/src/golang.org/x/mod/sumdb ] && command -v go >/dev/null || missing="$missing golang-go golang-golang-x-mod-dev"
# MLflow's own client has an environment of its own.
python3 -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    # Not to be started: the tests run their own.
    $as_root apt-get update -qq && $as_root env RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing
fi
cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest
# It runs for a second: to optimize it takes longer than it saves.
cargo deny --version >/dev/null 2>&1 || CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug cargo-deny

step formatting
cargo fmt --all --check

step "files of more than 450 lines"
long=$(git ls-files '*.rs' | xargs wc -l | awk '$2 != "total" && $1 > 450')
[ -z "$long" ] || { echo "$long"; exit 1; }

step lints
cargo clippy --workspace --all-targets --locked -- -D warnings
# The client as other services link it: as it comes, and with everything.
cargo clippy -p registry-client --locked -- -D warnings
cargo clippy -p registry-client --all-features --locked -- -D warnings
# With traces, which the server is built without unless that is asked for.
cargo clippy -p registry-server --features otlp --all-targets --locked -- -D warnings
# As it is installed: not with the features that the other crates ask for.
cargo clippy -p registryctl --locked -- -D warnings

step "the contract"
tests/proto.sh

step documentation
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

step "licenses and sources of dependencies"
cargo deny --log-level error --config .deny.toml check licenses bans sources

step "tests, on the embedded store and on a PostgreSQL and a Garage of their own"
postgres=$(mktemp -d)
garage=$(mktemp -d)
trap 'tests/postgres.sh stop "$postgres"; tests/garage.sh stop "$garage"' EXIT
TEST_POSTGRES=$(tests/postgres.sh start "$postgres")
TEST_S3=$(tests/garage.sh start "$garage")
export TEST_POSTGRES TEST_S3
cargo build --workspace --bins --locked
cargo nextest run --workspace --locked
# The same cases again, with the servers on PostgreSQL and Garage, but for those that choose their stores themselves or are about what
# stands before any store. What follows the URL are the variables to use it with.
same='archive|certificates|chaos|complaints|objects|owners|proxies|servers|standby|sweeps'
env ${TEST_S3#* } TEST_STORE=postgres cargo nextest run --workspace --locked \
    -E "package(registry-tests) - (binary(faults) & test(/^($same)::/))"
cargo test --workspace --doc --locked

step "MLflow's own client, the newest and an older one"
tests/mlflow.sh target/debug newest 3.12.0

step "traces"
# Last: a server with them takes the place of the one without. With the features that all the rest is built with, only that is built anew.
cargo nextest run --workspace --features registry-server/otlp --test traces --locked
