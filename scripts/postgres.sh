#!/usr/bin/env bash
# A private PostgreSQL in a folder of its own: postgres.sh start FOLDER PORT [OPTIONS],
# crash FOLDER PORT, standby FOLDER PORT PRIMARY_PORT PRIMARY_FOLDER for a synchronous copy of
# another, and promote FOLDER PORT to put it in the other's place.
set -euo pipefail
what=$1 folder=$2 port=$3
bin=$(pg_config --bindir)

# PostgreSQL refuses to run as root.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

case $what in
start)
    if [ ! -d "$folder/data" ]; then
        [ "$(id -u)" != 0 ] || chown postgres "$folder"
        as_postgres "$bin/initdb" --pgdata="$folder/data" --username=postgres --auth=trust \
            --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null
    fi
    as_postgres "$bin/pg_ctl" --pgdata="$folder/data" --log="$folder/log" --wait --silent start \
        -o "-p $port -k $folder -c listen_addresses=127.0.0.1 -c max_connections=1000 ${4:-}"
    ;;
standby)
    [ "$(id -u)" != 0 ] || chown postgres "$folder"
    as_postgres "$bin/pg_basebackup" --pgdata="$folder/data" --host=127.0.0.1 --port="$4" \
        --username=postgres --checkpoint=fast --write-recovery-conf --no-sync
    bash "$0" start "$folder" "$port"
    # From now on a commit is one when the copy has it.
    as_postgres "$bin/psql" --host=127.0.0.1 --port="$4" --username=postgres --quiet \
        --command="ALTER SYSTEM SET synchronous_standby_names = '*'"
    as_postgres "$bin/pg_ctl" --pgdata="$5/data" --silent reload
    ;;
promote)
    as_postgres "$bin/pg_ctl" --pgdata="$folder/data" --wait --silent promote
    ;;
crash)
    as_postgres "$bin/pg_ctl" --pgdata="$folder/data" --mode=immediate --silent stop || true
    ;;
esac
