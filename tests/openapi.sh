#!/usr/bin/env bash
# The OpenAPI document before other people's tools: linted (@redocly/cli), validated (openapi-spec-validator), and held against a running
# server with generated requests (schemathesis): no answer of 5xx, and none that the document does not have: openapi.sh FOLDER, in which
# registry-server is. Needs Node 20, npm and Python's venv.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=$(readlink -f "$1")
work=$(mktemp -d)
server_id=
trap 'kill $server_id 2>/dev/null || true; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet openapi-spec-validator==0.9.0 schemathesis==4.32.5
(cd "$work" && npm install --silent --no-audit --no-fund @redocly/cli@2.77.0)

document=$here/../registry-server/docs/openapi.json
"$work/node_modules/.bin/redocly" lint "$document"
"$work/venv/bin/openapi-spec-validator" "$document"

: >"$work/address"
"$bin/registry-server" --storage-path "$work/store" --listen 127.0.0.1:0 >"$work/address" 2>"$work/log" &
server_id=$!
until grep -q '^listening on ' "$work/address"; do kill -0 $server_id || { cat "$work/log" >&2; exit 1; }; done
server=http://$(sed -n 's/^listening on //p' "$work/address")
models=$server/v1/namespaces/default/models
curl -fsS -o /dev/null -X POST "$models?modelId=fraud"
curl -fsS -o /dev/null -X POST "$models/fraud/versions"
# What does not end by itself is left out.
(cd "$work" && venv/bin/schemathesis run "$server/openapi.json" --url "$server" --workers 2 --max-examples 20 \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --exclude-path-regex ':watch|:subscribe|:backup')
kill -0 $server_id
! grep panicked "$work/log"
