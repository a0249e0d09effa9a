#!/usr/bin/env bash
# All tests, with all features: the README's test command. It installs what is
# missing, starts a private PostgreSQL, a PgBouncer, a MariaDB and a Galera cluster on free
# ports, and stops what it has started. Arguments go to nextest, and leave the clients out.
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/setup.sh

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

folder=$(mktemp -d)
chmod 755 "$folder"
postgres_port=$(free_port)
pgbouncer_port=$(free_port)
mariadb_port=$(free_port)
stop() {
    [ ! -f "$folder/pgbouncer.pid" ] || kill "$(cat "$folder/pgbouncer.pid")" || true
    bash scripts/postgres.sh crash "$folder" "$postgres_port" || true
    bash scripts/mariadb.sh crash "$folder/mariadb" || true
    bash scripts/galera.sh crash "$folder/galera" || true
    rm -rf "$folder"
}
trap stop EXIT

# The tests that crash a server have ones of their own, which do sync.
bash scripts/postgres.sh start "$folder" "$postgres_port" "-c fsync=off"
echo '"postgres" ""' >"$folder/users.txt"
cat >"$folder/pgbouncer.ini" <<INI
[databases]
postgres = host=127.0.0.1 port=$postgres_port
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $pgbouncer_port
unix_socket_dir =
auth_type = trust
auth_file = $folder/users.txt
pool_mode = transaction
default_pool_size = 4
max_client_conn = 1000
logfile = $folder/pgbouncer.log
pidfile = $folder/pgbouncer.pid
INI
pgbouncer=(pgbouncer --quiet --daemon "$folder/pgbouncer.ini")
if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "${pgbouncer[@]}"; else "${pgbouncer[@]}"; fi
mkdir "$folder/mariadb" "$folder/galera"
bash scripts/mariadb.sh start "$folder/mariadb" "$mariadb_port" \
    --innodb-flush-log-at-trx-commit=0
bash scripts/galera.sh start "$folder/galera"
export SIGNUP_TEST_GALERA="$folder/galera"
export SIGNUP_TEST_MARIADB="mysql://root@127.0.0.1:$mariadb_port/mysql"
export SIGNUP_TEST_POSTGRES="postgres://postgres@127.0.0.1:$postgres_port/postgres"
export SIGNUP_TEST_PGBOUNCER="postgres://postgres@127.0.0.1:$pgbouncer_port/postgres"

cargo nextest run --all-features --run-ignored all --no-fail-fast "$@"
# nextest runs no examples of the documentation.
cargo test --doc --all-features
# A selection of tests is one of cargo's.
[ $# -gt 0 ] || bash scripts/clients.sh
