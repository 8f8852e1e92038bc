#!/usr/bin/env bash
# The examples in other languages against a server, which is restarted amid each of them: run.sh SERVER [LANGUAGE...]
# SERVER is the binary. Installs what they need: Python's and Node's packages in a folder that goes, C++'s from Debian.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
proto=$here/../../proto
server=$(readlink -f "$1")
shift
languages=("$@")
[ ${#languages[@]} -gt 0 ] || languages=(python node cpp)
work=$(mktemp -d)
server_id=
trap 'kill $server_id 2>/dev/null || true; rm -rf "$work"' EXIT
. "$here/python/environment.sh"

apt() {
    local as_root
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >&2
}

# Starts the server, at the address where it was if it was.
serve() {
    : >"$work/address"
    "$server" --storage-path "$work/store" --listen "${address:-127.0.0.1:0}" >"$work/address" 2>>"$work/log" &
    server_id=$!
    until grep -q '^listening on ' "$work/address"; do kill -0 $server_id || { cat "$work/log" >&2; exit 1; }; done
    address=$(sed -n 's/^listening on //p' "$work/address")
}

# Runs an example, and restarts the server when it says so.
example() {
    local line
    coproc example_process { "$@" "$address"; }
    local id=$example_process_PID in=${example_process[1]} out=${example_process[0]}
    while read -r line <&"$out"; do
        echo "$line"
        if [ "$line" = restart ]; then
            kill -TERM $server_id
            wait $server_id
            serve
            echo restarted >&"$in"
        fi
    done
    wait "$id"
}

python() {
    python_environment "$work" "$proto"
    PYTHONPATH=$work/stubs example "$work/python/bin/python" "$here/python/example.py"
}

node() {
    command -v npm >/dev/null || apt nodejs npm
    npm install --silent --no-fund --no-audit --prefix "$work/node" @grpc/grpc-js @grpc/proto-loader
    NODE_PATH=$work/node/node_modules example "$(type -P node)" "$here/node/example.js"
}

cpp() {
    dpkg -s libgrpc++-dev libprotobuf-dev protobuf-compiler-grpc libssl-dev >/dev/null 2>&1 || apt g++ pkg-config libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libssl-dev
    mkdir "$work/cpp"
    protoc -I "$proto" --cpp_out="$work/cpp" --grpc_out="$work/cpp" --plugin=protoc-gen-grpc="$(type -P grpc_cpp_plugin)" \
        "$proto"/modelregistry/v1/*.proto "$proto"/google/api/*.proto
    (
        cd "$work/cpp"
        cp "$here/cpp/example.cc" .
        find . -name '*.cc' -print0 | xargs -0 -P "$(nproc)" -I FILE g++ -std=c++17 -O0 -I. -c FILE -o FILE.o
        g++ -o example $(find . -name '*.o') $(pkg-config --libs grpc++ protobuf) -lcrypto
    )
    example "$work/cpp/example" "$here/service_config.json"
}

serve
for language in "${languages[@]}"; do
    echo "-- $language"
    $language
done
