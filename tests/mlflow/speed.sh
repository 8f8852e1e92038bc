#!/usr/bin/env bash
# How many requests a second the registry and MLflow's own server answer at 64 connections, to the same client, in turns: speed.sh FOLDER, in
# which registry-server is. Needs wrk and Python's venv. MLflow's server runs as it comes, with a database in a file.
set -euo pipefail
bin=$(readlink -f "$1")
work=$(mktemp -d)
ids=()
trap 'kill "${ids[@]}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check mlflow
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$work/venv/bin/mlflow" server --host 127.0.0.1 --port "$port" --backend-store-uri "sqlite:///$work/mlflow.db" >"$work/mlflow.log" 2>&1 &
ids+=($!)
: >"$work/address"
"$bin/registry-server" --storage-path "$work/store" --listen 127.0.0.1:0 >"$work/address" 2>"$work/log" &
ids+=($!)
until curl -fsS -o /dev/null "http://127.0.0.1:$port/health" 2>/dev/null; do kill -0 "${ids[0]}"; sleep 0.2; done
until grep -q '^listening on ' "$work/address"; do kill -0 "${ids[1]}"; sleep 0.1; done
declare -A at=([mlflow]=http://127.0.0.1:$port [ours]=http://$(sed -n 's/^listening on //p' "$work/address"))

post() { curl -fsS -o /dev/null -H 'content-type: application/json' -d "$3" "${at[$1]}/api/2.0/mlflow/$2"; }
for who in mlflow ours; do
    post $who registered-models/create '{"name": "fraud"}'
    for _ in 1 2 3; do post $who model-versions/create '{"name": "fraud", "source": "s3://bucket/model"}'; done
    post $who registered-models/alias '{"name": "fraud", "alias": "champion", "version": "2"}'
done
cat >"$work/alias.lua" <<'LUA'
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
local sent = 0
request = function()
    sent = sent + 1
    return wrk.format(nil, nil, nil, '{"name": "fraud", "alias": "champion", "version": "' .. sent % 3 + 1 .. '"}')
end
LUA
measure() {
    local what=$1 path=$2 who
    shift 2
    for who in mlflow ours; do
        wrk -t1 -c64 -d10s "$@" "${at[$who]}/api/2.0/mlflow/$path" |
            awk -v what="$what" -v who=$who '/Requests.sec/ {print what, who, $2 "/s"} /Non-2xx|timeout/'
    done
}
for _ in 1 2; do
    measure "a version" "model-versions/get?name=fraud&version=2"
    measure "the version of an alias" "registered-models/alias?name=fraud&alias=champion"
    measure "a search" "registered-models/search?filter=name%3D'fraud'"
    measure "an alias set" registered-models/alias -s "$work/alias.lua"
done
