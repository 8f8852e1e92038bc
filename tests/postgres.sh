#!/usr/bin/env bash
# A PostgreSQL server for the tests, of their own: it lies in a folder that goes away with it.
#   postgres.sh start FOLDER   makes and starts it, and prints its URL; installs PostgreSQL if it is missing
#   postgres.sh standby FOLDER URL   makes and starts a synchronous standby of that one, and prints its URL
#   postgres.sh promote FOLDER   makes a primary of a standby
#   postgres.sh kill FOLDER    ends it with SIGKILL
#   postgres.sh run FOLDER     starts it again where it was
#   postgres.sh stop FOLDER    stops it, and removes the folder
set -euo pipefail

usage() { sed -n '2,8s/^# *//p' "$0" >&2; exit 2; }
[ $# = 2 ] || [ "$1 $#" = 'standby 3' ] || usage
command=$1
folder=$2
primary=${3:-}

# The newest initdb there is, in the PATH or where Debian puts it.
programs() {
    local found
    found=$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1 || true)
    [ -z "$found" ] || dirname "$(readlink -f "$found")"
}

# PostgreSQL refuses to run as root.
as_server() {
    if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

# An authority, a certificate for localhost that it signs, and another authority that did not.
certificates() {
    local name
    for name in authority stranger; do
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=$name" \
            -keyout "$folder/$name.key" -out "$folder/$name.crt"
    done
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
        -keyout "$folder/server.key" -out "$folder/server.csr"
    openssl x509 -req -in "$folder/server.csr" -CA "$folder/authority.crt" -CAkey "$folder/authority.key" \
        -CAcreateserial -days 3650 -extfile <(echo subjectAltName=DNS:localhost) -out "$folder/server.crt"
    chmod 600 "$folder/server.key"
    [ "$(id -u)" != 0 ] || chown postgres "$folder/server.key"
}

start() {
    local bin port
    bin=$(programs)
    if [ -z "$bin" ]; then
        as_root=$([ "$(id -u)" = 0 ] || echo sudo)
        { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql openssl; } >&2
        bin=$(programs)
    fi
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
    [ "$(id -u)" != 0 ] || chown postgres "$folder"
    certificates 2>/dev/null
    as_server "$bin/initdb" --pgdata="$folder/data" --username=postgres --auth=trust --encoding=UTF8 --locale=C >/dev/null
    launch
}

# Starts the server whose data are in the folder, on a port that is free, and prints its URL.
launch() {
    local bin port
    bin=$(programs)
    # A port that is free now may be taken in a moment: then another one is tried.
    for _ in $(seq 20); do
        port=$((20000 + RANDOM % 12000))
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then continue; fi
        if listen_on "$port"; then
            echo "$port" >"$folder/port"
            echo "postgres://postgres@127.0.0.1:$port/postgres?sslmode=disable"
            return
        fi
    done
    cat "$folder/log" >&2
    return 1
}

listen_on() {
    as_server "$(programs)/pg_ctl" --pgdata="$folder/data" --log="$folder/log" --wait --silent start >&2 --options="\
        -c listen_addresses=127.0.0.1 -c port=$1 -c unix_socket_directories='$folder' -c max_connections=500 \
        -c fsync=on -c synchronous_commit=on -c shared_buffers=512MB -c max_wal_size=4GB \
        -c ssl=on -c ssl_cert_file='$folder/server.crt' -c ssl_key_file='$folder/server.key'"
}

# A copy of a primary that follows it, and that the primary waits for with every commit.
standby() {
    local bin
    bin=$(programs)
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
    [ "$(id -u)" != 0 ] || chown postgres "$folder"
    certificates 2>/dev/null
    as_server "$bin/pg_basebackup" --dbname="$primary" --pgdata="$folder/data" --write-recovery-conf --checkpoint=fast >&2
    launch
    as_server psql --quiet "$primary" --command="ALTER SYSTEM SET synchronous_standby_names = '*'" \
        --command="SELECT pg_reload_conf()" >&2
    # From now on commits wait for it: as soon as it is known to the primary.
    until [ "$(as_server psql -AtX "$primary" -c "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")" = 1 ]; do :; done
}

promote() { as_server "$(programs)/pg_ctl" --pgdata="$folder/data" --wait --silent promote >&2; }

# Ends it at once, as a crash would: its processes notice that the first one is gone.
kill_it() { kill -9 "$(head -n 1 "$folder/data/postmaster.pid")"; }

# The processes of the one that was killed may still be about to notice it.
run() {
    for _ in $(seq 50); do
        if listen_on "$(cat "$folder/port")"; then return; fi
        sleep 0.1
    done
    cat "$folder/log" >&2
    return 1
}

stop() {
    as_server "$(programs)/pg_ctl" --pgdata="$folder/data" --wait --silent --mode=immediate stop >&2 || true
    rm -rf "$folder"
}

case $command in
    start) start ;;
    standby) standby ;;
    promote) promote ;;
    kill) kill_it ;;
    run) run ;;
    stop) stop ;;
    *) usage ;;
esac
