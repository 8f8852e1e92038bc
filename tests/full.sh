#!/usr/bin/env bash
# What takes long, or measures, and so is no part of tests/run.sh, which comes first: it installs what the tests need.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

step() { printf '\n== %s\n' "$*"; }

work=$(mktemp -d)
# As root, PostgreSQL runs as somebody else.
chmod 755 "$work"
trap 'tests/postgres.sh stop "$work/postgres"; tests/garage.sh stop "$work/garage"; rm -rf "$work"' EXIT
TEST_POSTGRES=$(tests/postgres.sh start "$work/postgres")
TEST_S3=$(tests/garage.sh start "$work/garage")
export TEST_POSTGRES TEST_S3

step "what is held for those who read nothing and for dead receivers of webhooks, and a server that is stopped in a sweep"
cargo build --release --workspace --bins --locked
cargo nextest run --release --locked -p registry-tests --run-ignored only --no-capture -E 'test(held::) | test(sweeps::) | test(webhooks::)'

step "everything that can happen in three sweeps"
cargo nextest run --release --locked -p registry-server --run-ignored only --no-capture -E 'test(in_three_sweeps)'

step "a client and its servers, in thousands of simulated outages"
cargo nextest run --release --locked -p registry-client --run-ignored only --no-capture -E 'test(many_runs_of_everything)'

step "commits beside a transaction that is held open"
postgres=$(mktemp -d)
trap 'tests/postgres.sh stop "$postgres"' EXIT
TEST_POSTGRES=$(tests/postgres.sh start "$postgres") \
    cargo nextest run --release --locked -p registry-tests --run-ignored only --no-capture -E 'test(open_transaction::)'
tests/postgres.sh stop "$postgres"
trap - EXIT

step "a certified issuer of OpenID Connect"
tests/oidc.sh target/release

step "the OpenAPI document, before tools of others"
tests/openapi.sh target/release

step "beside MLflow's own server"
tests/mlflow/speed.sh target/release

step "clients of other languages"
tests/languages/run.sh target/release/registry-server

step "the Python package, with the oldest that it is tested with, and with the newest of all that it needs and its examples"
tests/python.sh target/release/registry-server
tests/python.sh target/release/registry-server newest

step "conditions, held against another implementation of CEL"
python3 -m venv "$work/cel"
"$work/cel/bin/pip" install --quiet --disable-pip-version-check -r tests/data/cel/requirements.txt
"$work/cel/bin/python" tests/data/cel/generate.py | diff tests/data/cel/cases.json -

step "what odd requests leave, read with the limits that everybody has"
stores=$work/stores
mkdir "$stores"
FUZZ_CASES=${FUZZ_CASES:-2000} FUZZ_STORES=$stores cargo nextest run --locked -p registry-server -E 'test(no_request_breaks_the_server)'
tests/languages/read.sh target/release/registry-server "$stores"

step "random changes under kills, held against a model"
TEST_RANDOM_STEPS=${TEST_RANDOM_STEPS:-200000} cargo test --locked -p registry-tests --test faults random_changes -- --nocapture

step "200 kills under load, with the tail of the log torn"
TEST_KILLS=${TEST_KILLS:-200} cargo test --release --locked -p registry-tests --test faults kill:: -- --nocapture

step "20 restarts of one server under everything that uses it"
TEST_RESTARTS=${TEST_RESTARTS:-20} cargo test --release --locked -p registry-tests --test faults restarts:: -- --nocapture

step "a service that scores on while the registry was killed for a minute"
TEST_OUTAGE=${TEST_OUTAGE:-60} cargo nextest run --release --workspace --locked --no-capture -E 'test(it_scores_on_while_the_registry_was_killed)'

step "100 times everything that may happen to consumers of a subscription, and to the receivers of webhooks"
TEST_CONSUMPTIONS=${TEST_CONSUMPTIONS:-100} TEST_DELIVERIES=${TEST_DELIVERIES:-100} \
    cargo nextest run --release --workspace --locked --no-capture -E 'binary(faults) & (test(subscriptions::) | test(deliveries::))'

step "three servers, and everything that was ever done to them, ten times"
for _ in $(seq 10); do
    TEST_CHAOS_SECONDS=${TEST_CHAOS_SECONDS:-60} cargo test --release --locked -p registry-tests --test faults chaos:: -- --nocapture
done
