#!/usr/bin/env bash
# Runs the tests with all features: the README's test command. It installs what is missing,
# starts a private PostgreSQL, PgBouncer, MariaDB and Galera cluster on free ports, and stops
# what it started.
#
#   test.sh             all tests, the examples of the documentation, and the clients
#   test.sh NAME...     the tests with one of these words in their names
#
# Proofs that take minutes run a few rounds, or only in `.ci/release`. SIGNUP_TEST_FULL=1
# runs all of them, with all rounds.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/steps.sh

# Tests that build further packages, or lose more than one node: parts of `.ci/release`.
slow=(trees:: a_node_that_stops a_node_that_is_cut_off)

step setup
bash scripts/setup.sh

step build
# The clients' packages arrive meanwhile.
installing=""
[ $# -gt 0 ] || { bash scripts/clients.sh install >/dev/null & installing=$!; }
# Both builds select the same packages, so that they share their dependencies.
packages=(--package signup --package signup-examples --all-features)
units=(--lib --test suite)
endpoint=(--test endpoint)
cargo build "${packages[@]}" --example axum --example actix --example hyper \
    --example policies --example breached --example login
export SIGNUP_TEST_EXAMPLES=built
cargo test --no-run "${packages[@]}" "${units[@]}" "${endpoint[@]}"

step servers
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Databases in memory are faster, where there is enough of it.
if [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 4194304 ] 2>/dev/null; then
    export TMPDIR=/dev/shm
fi
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

# The tests that crash a server have ones of their own, which do sync. The defaults of the
# servers are unusual, because stores must not rely on them.
bash scripts/postgres.sh start "$folder" "$postgres_port" \
    "-c fsync=off -c timezone=America/New_York"
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
bash scripts/galera.sh start "$folder/galera" &
bash scripts/mariadb.sh start "$folder/mariadb" "$mariadb_port" \
    --innodb-flush-log-at-trx-commit=0 \
    --lc-messages=de_DE --autocommit=0 --default-time-zone=-05:00
wait $!
export SIGNUP_TEST_GALERA="$folder/galera"
export SIGNUP_TEST_MARIADB="mysql://root@127.0.0.1:$mariadb_port/mysql"
export SIGNUP_TEST_POSTGRES="postgres://postgres@127.0.0.1:$postgres_port/postgres"
export SIGNUP_TEST_PGBOUNCER="postgres://postgres@127.0.0.1:$pgbouncer_port/postgres"

step tests
# Some tests panic thousands of times: resolving each backtrace would take most of their time.
export RUST_BACKTRACE=0
# Many tests wait for a server, so there are more of them than cores.
threads=(--test-threads "$((2 * $(nproc)))")
skipped=()
if [ -z "${SIGNUP_TEST_FULL:-}" ]; then
    for name in "${slow[@]}"; do skipped+=(--skip "$name"); done
fi
log=$folder/log
failed=0
# A process for each test where that can be had. The endpoint's cases share one: they are many,
# short, independent, and have a deadline.
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run "${packages[@]}" "${units[@]}" --no-fail-fast --no-tests pass \
        --run-ignored all "${threads[@]}" -- "${skipped[@]}" "$@" 2>&1 | tee "$log" || failed=1
else
    cargo test "${packages[@]}" "${units[@]}" --no-fail-fast -- --include-ignored \
        "${threads[@]}" "${skipped[@]}" "$@" 2>&1 | tee "$log" || failed=1
fi
# Its harness takes one name.
for name in "${@:-}"; do
    cargo test "${packages[@]}" "${endpoint[@]}" -- --include-ignored \
        --test-threads "$((4 * $(nproc)))" \
        ${name:+"$name"} 2>&1 | tee -a "$log" || failed=1
done
if [ $failed = 1 ]; then
    steps
    # Once more, because a log may be cut in the middle: what failed, and how.
    sed -n '/^failures:$/,/^test result:/p' "$log" | tail -n 100
    grep -E '^test .* FAILED$|^ +(FAIL|ABORT|TIMEOUT|SIG[A-Z]+) \[' "$log" | sort -u || true
    echo "tests failed: see above" >&2
    exit 1
fi

# The examples of the documentation, and the clients, are no selection of tests.
if [ $# = 0 ]; then
    step "examples of the documentation"
    cargo test --doc --all-features 2>&1 | tee -a "$log"
    step clients
    wait "$installing"
    bash scripts/clients.sh | tee -a "$log"
fi

steps
# The closing lines of nextest, of each of cargo's binaries, and of pytest.
passed=$(grep -E '^(test result:| +Summary|=+ )' "$log" | grep -oE '[0-9]+ passed' |
    awk '{ sum += $1 } END { print sum + 0 }')
echo "$passed passed, 0 failed"
[ "$passed" -gt 0 ]
