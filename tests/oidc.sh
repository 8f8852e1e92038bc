#!/usr/bin/env bash
# A server that lets callers in by tokens of a certified issuer, npm's oidc-provider, and people who log in there: oidc.sh FOLDER, in which registry-server and
# registryctl are. Needs Node 20 and npm.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=$(readlink -f "$1")
work=$(mktemp -d)
server_id=
trap 'kill $server_id ${provider_PID:-} 2>/dev/null || true; rm -rf "$work"' EXIT

cp "$here/oidc/provider.mjs" "$work"
(cd "$work" && npm install --silent --no-audit --no-fund oidc-provider@9)
coproc provider { exec node "$work/provider.mjs" 2>"$work/provider.log"; }
ask() { echo "$1" >&"${provider[1]}"; read -r said <&"${provider[0]}"; }
read -r issuer <&"${provider[0]}"

: >"$work/address"
cat >"$work/registry.toml" <<EOF
access = "tokens"
bootstrap_token_file = "$work/first"
[[issuer]]
url = "$issuer"
audience = "https://registry.example"
prefix = "services/"
leeway = "1s"
EOF
"$bin/registry-server" --storage-path "$work/store" --listen 127.0.0.1:0 --config "$work/registry.toml" >"$work/address" 2>"$work/log" &
server_id=$!
until grep -q '^listening on ' "$work/address"; do kill -0 $server_id || { cat "$work/log" >&2; exit 1; }; done
export MODEL_REGISTRY_ENDPOINT=http://$(sed -n 's/^listening on //p' "$work/address")
registryctl() { "$bin/registryctl" --wait 0s "$@" 2>&1; }

# What is said to a caller with this token.
called() { MODEL_REGISTRY_TOKEN=$1 registryctl whoami || true; }
expect() {
    grep -q "$1" <<<"$2" || { echo "expected $1: $2" >&2; tail -qn 5 "$work/log" "$work/provider.log" >&2; exit 1; }
    echo "as expected: ${1//\\|/ or }"
}

ask "https://registry.example 600"
good=$said
expect "services/trainer" "$(called "$good")"
expect "$issuer" "$(called "$good")"
ask "https://other.example 600"
expect "for others" "$(called "$said")"
ask "https://registry.example 1"
sleep 3
expect "over\|expired\|ended" "$(called "$said")"
registryctl --token-file "$work/first" create fraud >/dev/null
expect "may not\|is needed" "$(MODEL_REGISTRY_TOKEN=$good registryctl get fraud || true)"
registryctl --token-file "$work/first" grant services/trainer viewer >/dev/null
expect "fraud" "$(MODEL_REGISTRY_TOKEN=$good registryctl get fraud)"

# Somebody logs in by a browser, and is renewed when the token has ended: it ends after 15 seconds, of which the last 10 count as over.
export XDG_CONFIG_HOME=$work/settings
login=$(mktemp -p "$work")
registryctl login --issuer "$issuer" --client-id registryctl --resource "https://registry.example?15" --scope offline_access >"$login" &
until grep -q 'user_code=' "$login"; do kill -0 $! || { cat "$login" >&2; exit 1; }; done
ask "confirm $(grep -o 'http[^ ]*user_code=[A-Z-]*' "$login")"
wait $! || { echo "$said" >&2; cat "$login" >&2; exit 1; }
expect "as services/ana.*is renewed" "$(tr '\n' ' ' <"$login")"
tokens() { grep '"token"' "$XDG_CONFIG_HOME"/model-registry/logins/*; }
before=$(tokens)
sleep 6
expect "services/ana" "$(registryctl whoami)"
[ "$before" != "$(tokens)" ] || { echo "the token was not renewed" >&2; exit 1; }
expect "logged out" "$(registryctl logout)"
expect "registryctl login" "$(registryctl whoami || true)"

ask rotate
ask "https://registry.example 600"
echo "waiting until the server looks for the new key"
for _ in $(seq 75); do
    out=$(called "$said")
    grep -q services/trainer <<<"$out" && break
    expect "key" "$out" >/dev/null
    sleep 1
done
expect "services/trainer" "$out"
# The key of before is gone.
expect "key" "$(called "$good")"
kill $provider_PID
expect "services/trainer" "$(called "$said")"
echo "a certified issuer lets its people in"
