#!/usr/bin/env bash
# MLflow's own client and tracking server with this registry: mlflow.sh FOLDER [VERSION...], in which registry-server and registryctl are.
# Without a version, with the newest that can be installed. Needs Python's venv.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=$(readlink -f "$1")
shift
work=$(mktemp -d)
ids=()
trap 'kill "${ids[@]}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true

# A free port, as MLflow's server takes no 0.
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

for version in "${@:-newest}"; do
    at=$work/$version
    mkdir "$at"
    python3 -m venv "$at/venv"
    [ "$version" = newest ] && what=mlflow || what=mlflow==$version
    "$at/venv/bin/pip" install --quiet --disable-pip-version-check "$what" scikit-learn onnx onnxruntime skl2onnx

    : >"$at/address"
    "$bin/registry-server" --storage-path "$at/store" --listen 127.0.0.1:0 --webhook-allow 127.0.0.1 >"$at/address" 2>"$at/registry.log" &
    registry_id=$!
    ids+=($registry_id)
    tracking=http://127.0.0.1:$(port)
    "$at/venv/bin/mlflow" server --host 127.0.0.1 --port "${tracking##*:}" --workers 1 --backend-store-uri "sqlite:///$at/tracking.db" \
        --artifacts-destination "$at/artifacts" >"$at/tracking.log" 2>&1 &
    tracking_id=$!
    ids+=($tracking_id)
    until grep -q '^listening on ' "$at/address"; do kill -0 $registry_id || { cat "$at/registry.log" >&2; exit 1; }; done
    until curl -fsS -o /dev/null "$tracking/health" 2>/dev/null; do kill -0 $tracking_id || { cat "$at/tracking.log" >&2; exit 1; }; sleep 0.2; done
    echo "MLflow $("$at/venv/bin/python" -c 'import mlflow; print(mlflow.__version__)')"
    registry=http://$(sed -n 's/^listening on //p' "$at/address")
    for script in client imported; do
        "$at/venv/bin/python" "$here/mlflow/$script.py" "$registry" "$tracking" "$bin/registryctl" 2>"$at/client.log" ||
            { tail -n 30 "$at/client.log" "$at/registry.log" >&2; exit 1; }
    done
    kill $registry_id $tracking_id
    # Nothing of what the client asked for was the server's fault.
    ! grep -E '"code":"(INTERNAL|UNKNOWN|DATA_LOSS)"|panicked' "$at/registry.log"
done
