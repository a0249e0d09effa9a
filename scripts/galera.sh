#!/usr/bin/env bash
# A private Galera cluster of three MariaDBs on free ports, in a folder of its own:
# galera.sh start FOLDER, rejoin FOLDER NODE, crash FOLDER. `FOLDER/ports` has a line for
# each node: the ports of SQL, of the group, and of both transfers of state.
set -euo pipefail
what=$1 folder=$2
cd "$(dirname "$0")"

provider=$(find /usr/lib* -name libgalera_smm.so 2>/dev/null | head -n 1)
replication=(--wsrep-on=ON --wsrep-provider="$provider" --binlog-format=ROW
    --innodb-autoinc-lock-mode=2)

port() { sed -n "$1p" "$folder/ports" | cut -d ' ' -f "$2"; }

# Starts a node that joins these others, or none, and waits until it has caught up.
start() {
    local node=$1 joins=$2 group ist
    group=127.0.0.1:$(port "$node" 2) ist=127.0.0.1:$(port "$node" 3)
    bash mariadb.sh start "$folder/$node" "$(port "$node" 1)" "${@:3}" \
        --innodb-buffer-pool-size=64M --innodb-log-file-size=32M \
        --innodb-flush-log-at-trx-commit=0 "${replication[@]}" --wsrep-cluster-name=signup \
        --wsrep-node-name="$node" --wsrep-node-address="$group" \
        --wsrep-cluster-address="gcomm://$joins" --wsrep-sst-method=rsync \
        --wsrep-sst-receive-address="127.0.0.1:$(port "$node" 4)" \
        --wsrep-provider-options="gmcast.listen_addr=tcp://$group;ist.recv_addr=$ist;gcache.size=64M;\
evs.keepalive_period=PT0.3S;evs.inactive_check_period=PT0.3S;evs.suspect_timeout=PT1S;\
evs.inactive_timeout=PT2S;evs.install_timeout=PT2S;pc.announce_timeout=PT1S;gmcast.time_wait=PT1S;\
gmcast.peer_timeout=PT1S"
    for _ in $(seq 600); do
        if mariadb --no-defaults --socket="$folder/$node/mysql.sock" --user=root --batch \
            -e "SHOW STATUS LIKE 'wsrep_local_state_comment'" 2>/dev/null | grep -q Synced; then
            return
        fi
        sleep 0.1
    done
    tail -n 20 "$folder/$node/log.err" >&2
    exit 1
}

# The places of all nodes but one.
others() {
    for other in 1 2 3; do
        [ "$other" = "$1" ] || echo "127.0.0.1:$(port "$other" 2)"
    done | paste -sd ,
}

case $what in
start)
    python3 - >"$folder/ports" <<'PYTHON'
import socket
taken = [socket.socket() for _ in range(12)]
for one in taken:
    one.bind(("127.0.0.1", 0))
ports = [str(one.getsockname()[1]) for one in taken]
for node in range(3):
    print(" ".join(ports[node * 4 : node * 4 + 4]))
PYTHON
    start 1 ""
    for node in 2 3; do start "$node" "$(others "$node")"; done
    ;;
rejoin)
    position=$(bash mariadb.sh position "$folder/$3" "${replication[@]}" \
        --wsrep-cluster-address=gcomm://)
    start "$3" "$(others "$3")" ${position:+--wsrep-start-position="$position"}
    ;;
crash)
    for node in 1 2 3; do bash mariadb.sh crash "$folder/$node"; done
    ;;
esac
