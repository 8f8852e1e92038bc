#!/usr/bin/env bash
# A Garage server for the tests, an S3 object store of their own: it lies in a folder that goes away with it.
#   garage.sh start FOLDER   makes and starts it, and prints the URL of a bucket and the variables for it; installs Garage if
#                            it is missing. As TEST_S3 it is for the tests; `export ${TEST_S3#* }` is for programs
#   garage.sh run FOLDER     starts it again where it was
#   garage.sh kill FOLDER    ends it with SIGKILL
#   garage.sh stop FOLDER    stops it, and removes the folder
set -euo pipefail

usage() { sed -n '2,7s/^# *//p' "$0" >&2; exit 2; }
[ $# = 2 ] || usage
command=$1
folder=$2
bucket=tests
export GARAGE_CONFIG_FILE=$folder/garage.toml

random() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

# The port of its S3 interface.
port() { sed -n 's/^api_bind_addr = ".*:\(.*\)"/\1/p' "$GARAGE_CONFIG_FILE"; }

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start() {
    local port
    # Hardly optimized, it is built in half of the time, and fast enough for tests.
    command -v garage >/dev/null ||
        CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
            cargo install --locked --no-default-features --features bundled-libs,sqlite --version 2.5.0 garage >&2
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd) # its configuration has no relative paths
    (umask 077 && printf 'key=GK%s\nsecret=%s\nrpc=%s\n' "$(random 12)" "$(random 32)" "$(random 32)" >"$folder/secrets")
    # A port that is free now may be taken in a moment: then another one is tried.
    for _ in $(seq 20); do
        port=$((20000 + RANDOM % 12000))
        if listens "$port" || listens $((port + 1)); then continue; fi
        configure "$port"
        if run; then
            echo "s3://$bucket AWS_ENDPOINT=http://127.0.0.1:$port AWS_REGION=garage AWS_ACCESS_KEY_ID=$key" \
                "AWS_SECRET_ACCESS_KEY=$secret AWS_ALLOW_HTTP=true"
            return
        fi
    done
    cat "$folder/log" >&2
    return 1
}

configure() {
    cat >"$GARAGE_CONFIG_FILE" <<END
metadata_dir = "$folder/meta"
data_dir = "$folder/data"
db_engine = "sqlite"
replication_factor = 1
metadata_fsync = true
data_fsync = true
rpc_bind_addr = "127.0.0.1:$(($1 + 1))"
[s3_api]
api_bind_addr = "127.0.0.1:$1"
s3_region = "garage"
END
}

# Starts the server whose configuration is in the folder, with a bucket and a key for it.
run() {
    . "$folder/secrets"
    export GARAGE_RPC_SECRET=$rpc
    GARAGE_DEFAULT_BUCKET=$bucket GARAGE_DEFAULT_ACCESS_KEY=$key GARAGE_DEFAULT_SECRET_KEY=$secret \
        garage server --single-node --default-bucket >>"$folder/log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    # It answers once there is a bucket, unless it has ended: somebody else has its port.
    until garage bucket info $bucket >/dev/null 2>&1 && listens "$(port)"; do
        kill -0 "$(cat "$folder/pid")" 2>/dev/null || return 1
    done
}

# Ends it at once, as a crash would, and waits until its port is free.
kill_it() {
    kill -KILL "$(cat "$folder/pid")"
    while listens "$(port)"; do :; done
}

stop() {
    kill_it || true
    rm -rf "$folder"
}

case $command in
    start) start ;;
    run) run || { cat "$folder/log" >&2; exit 1; } ;;
    kill) kill_it ;;
    stop) stop ;;
    *) usage ;;
esac
