#!/usr/bin/env bash
# Reads stores with Python, in which another program has left all kinds of things: read.sh SERVER FOLDER
# FOLDER has a storage path in each of its folders.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
server=$(readlink -f "$1")
work=$(mktemp -d)
server_id=
trap 'kill $server_id 2>/dev/null || true; rm -rf "$work"' EXIT
. "$here/python/environment.sh"
python_environment "$work" "$here/../../proto"

for store in "$2"/*/; do
    : >"$work/address"
    "$server" --storage-path "$store" --listen 127.0.0.1:0 >"$work/address" 2>>"$work/log" &
    server_id=$!
    until grep -q '^listening on ' "$work/address"; do kill -0 $server_id || { cat "$work/log" >&2; exit 1; }; done
    PYTHONPATH=$work/stubs "$work/python/bin/python" "$here/python/reader.py" "$(sed -n 's/^listening on //p' "$work/address")"
    kill -TERM $server_id
    wait $server_id
done
