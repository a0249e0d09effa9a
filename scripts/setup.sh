#!/usr/bin/env bash
# Installs the servers and tools that the tests need and this machine lacks, and the named
# packages, as root with apt: setup.sh [PACKAGE...]
set -euo pipefail

missing=()
[ -x "$(pg_config --bindir 2>/dev/null)/initdb" ] || missing+=(postgresql libpq-dev)
[ -x "$(command -v mariadbd || echo /usr/sbin/mariadbd)" ] || missing+=(mariadb-server)
[ -n "$(find /usr/lib* -name libgalera_smm.so 2>/dev/null)" ] || missing+=(galera-4)
# State transfers between the nodes of a cluster.
for tool in rsync lsof socat; do command -v $tool >/dev/null || missing+=($tool); done
command -v pgbouncer >/dev/null || missing+=(pgbouncer)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v curl >/dev/null || missing+=(curl)
command -v python3 >/dev/null || missing+=(python3)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
/usr/bin/python3 -c 'import aiosmtpd' 2>/dev/null || missing+=(python3-aiosmtpd)
command -v c++ >/dev/null || missing+=(g++)
command -v npm >/dev/null || missing+=(nodejs npm)
# A browser, and a font for it.
command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
pkg-config --exists openssl 2>/dev/null || missing+=(libssl-dev pkg-config)
for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "missing: ${missing[*]}; install them, or run this as root" >&2
    exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
