#!/usr/bin/env bash
# The figures of "A large registry" in the operator's manual, for one store and one size:
#   large.sh sled|postgres VERSIONS [OPTION...]
# The options are those of `registryctl bench lists`, such as --rounds and --seconds; settings of the server are taken from the environment,
# such as MODEL_REGISTRY_CACHE=256MiB. What it fills goes away with it; TMPDIR says on which disk that is.
set -euo pipefail
usage() { sed -n '2,5s/^# *//p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
store=$1
versions=$2
shift 2
cd "$(dirname "$0")/.."

work=$(mktemp -d)
# Elsewhere: its server is another user, who may not go through the folder.
database=
server_id=
clean_up() {
    [ -z "$server_id" ] || { kill -TERM "$server_id"; wait "$server_id"; } || true
    [ -z "$database" ] || tests/postgres.sh stop "$database"
    rm -rf "$work"
}
trap clean_up EXIT
case $store in
    sled) url=sled options=(--storage-path "$work/registry") ;;
    postgres)
        database=$(mktemp -d)
        url=$(tests/postgres.sh start "$database")
        options=(--postgres "$url")
        ;;
    *) usage ;;
esac
cargo build --release --workspace --bins --locked --quiet
mkfifo "$work/said"

# Starts the server, and notes when that was.
serve() {
    local said
    began=$(date +%s%N)
    target/release/registry-server --storage-path "$work/registry" --store "$url" --listen 127.0.0.1:0 >"$work/said" 2>>"$work/log" &
    server_id=$!
    read -r said <"$work/said" || { cat "$work/log" >&2; exit 1; }
    export MODEL_REGISTRY_ENDPOINT=http://${said#listening on }
}

# How many seconds ago the server was started.
since() { echo $((($(date +%s%N) - began) / 1000000)) | sed -E 's/^/000/; s/(...)$/.\1/; s/^0+([0-9])/\1/'; }

ctl() { target/release/registryctl "$@"; }

serve
ctl bench fill --versions "$versions"
kill -TERM $server_id
wait $server_id
serve
serving=$(since)
until ctl status --json | grep -q INDEX_STATE_READY; do sleep 0.1; done
echo "on $store: serving after $serving s, the index is ready after $(since) s"
ctl bench lists --server-pid $server_id "${options[@]}" "$@"
ctl bench replay --rounds 1
