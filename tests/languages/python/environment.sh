# Python with gRPC, and the stubs of the contract, in a folder: python_environment FOLDER PROTO makes python/ and stubs/ there.
python_environment() {
    local as_root
    if ! python3 -m venv "$1/python"; then
        as_root=$([ "$(id -u)" = 0 ] || echo sudo)
        { $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends python3-venv; } >&2
        python3 -m venv "$1/python"
    fi
    "$1/python/bin/pip" install --quiet --disable-pip-version-check grpcio grpcio-tools grpcio-status
    mkdir "$1/stubs"
    "$1/python/bin/python" -m grpc_tools.protoc -I "$2" --python_out="$1/stubs" --grpc_python_out="$1/stubs" \
        "$2"/modelregistry/v1/*.proto
}
