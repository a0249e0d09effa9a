#!/usr/bin/env bash
# A private MariaDB in a folder of its own: mariadb.sh start FOLDER PORT [OPTION...],
# crash FOLDER, and position FOLDER OPTION... for where a node of a cluster has crashed.
set -euo pipefail
what=$1 folder=$2

# MariaDB refuses to run as root.
as_mysql() {
    if [ "$(id -u)" = 0 ]; then runuser -u mysql -- "$@"; else "$@"; fi
}

mariadbd=$(command -v mariadbd || echo /usr/sbin/mariadbd)

case $what in
start)
    port=$3
    if [ ! -d "$folder/data" ]; then
        mkdir -p "$folder/data" "$folder/tmp"
        [ "$(id -u)" != 0 ] || chown -R mysql "$folder"
        as_mysql mariadb-install-db --no-defaults --datadir="$folder/data" \
            --tmpdir="$folder/tmp" --skip-test-db \
            --auth-root-authentication-method=normal >/dev/null
    fi
    # Without the machine's own settings.
    as_mysql "$mariadbd" --no-defaults \
        --datadir="$folder/data" --tmpdir="$folder/tmp" \
        --socket="$folder/mysql.sock" --pid-file="$folder/mysql.pid" \
        --log-error="$folder/log.err" --port="$port" --bind-address=127.0.0.1 \
        --max-connections=1000 --innodb-buffer-pool-size=256M "${@:4}" >/dev/null 2>&1 &
    for _ in $(seq 600); do
        if mariadb-admin --no-defaults --socket="$folder/mysql.sock" --user=root ping \
            >/dev/null 2>&1; then
            exit 0
        fi
        sleep 0.1
    done
    tail -n 20 "$folder/log.err" >&2
    exit 1
    ;;
position)
    as_mysql "$mariadbd" --no-defaults --datadir="$folder/data" --tmpdir="$folder/tmp" \
        --pid-file="$folder/recovery.pid" --skip-networking --wsrep-recover "${@:3}" 2>&1 \
        | sed -n 's/.*Recovered position: *//p' | tail -n 1
    ;;
crash)
    [ ! -f "$folder/mysql.pid" ] || kill -9 "$(cat "$folder/mysql.pid")" || true
    rm -f "$folder/mysql.pid"
    ;;
esac
