#!/usr/bin/env bash
# The Python package, installed and tested in a folder that goes: python.sh SERVER [newest]
# SERVER is the binary, with registryctl beside it. With `newest`: the newest versions of all that it needs, and the examples.
set -euo pipefail
package=$(cd "$(dirname "$0")/../registry-client/python" && pwd)
REGISTRY_SERVER=$(readlink -f "$1")
export REGISTRY_SERVER PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! python3 -m venv "$work/venv"; then
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends python3-venv
    python3 -m venv "$work/venv"
fi
PATH=$work/venv/bin:$PATH
cd "$package"
before=$(find . | sort)

tests=(tests --ignore tests/test_examples.py)
if [ "${2:-}" = newest ]; then
    pip install --quiet . pytest scikit-learn standardwebhooks mypy ruff grpc-stubs types-protobuf
    tests=(tests)
else
    # What is pinned builds it, too.
    pip install --quiet -r tests/requirements.txt
    pip install --quiet --no-build-isolation .
fi
# A build leaves nothing beside the sources.
diff <(echo "$before") <(find . | sort)
ruff check --quiet --no-cache --output-format concise .
mypy --no-error-summary --cache-dir "$work/mypy" -p modelregistry
mypy --no-error-summary --cache-dir "$work/mypy" tests examples
python -m pytest --quiet -p no:cacheprovider --basetemp "$work/pytest" "${tests[@]}"
