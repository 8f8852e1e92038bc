#!/usr/bin/env bash
# Lints the contract, and checks that it breaks nobody who uses the last release. PROTO_AGAINST names another commit to compare
# with. Changes no file of the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."

version=1.75.0
tools=$PWD/target/buf-$version
if [ ! -x "$tools/bin/buf" ]; then
    echo "installing buf $version"
    mkdir -p "$tools/bin"
    if command -v npm >/dev/null; then
        npm install --silent --no-audit --no-fund --prefix "$tools" "@bufbuild/buf@$version"
        ln -sf ../node_modules/.bin/buf "$tools/bin/buf"
    else
        python3 -m venv "$tools"
        "$tools/bin/pip" install --quiet --disable-pip-version-check "buf-bin==$version"
    fi
fi
buf() { "$tools/bin/buf" "$@"; }

echo "lint"
buf lint proto
echo "formatting"
buf format proto --diff --exit-code --exclude-path proto/modelregistry/store

against=${PROTO_AGAINST:-$(git describe --tags --abbrev=0 2>/dev/null || true)}
if [ -z "$against" ]; then
    echo "no release yet that the contract could break"
else
    echo "breaking changes since $against"
    before=$(mktemp -d)
    trap 'rm -rf "$before"' EXIT
    git archive "$against" proto | tar -x -C "$before"
    buf breaking proto --against "$before/proto"
fi
