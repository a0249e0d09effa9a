#!/usr/bin/env bash
# Runs clients in other languages, and a browser, against the example servers:
#
#   clients.sh [pytest's arguments]
#   clients.sh install               installs what they need, and runs none
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/setup.sh
[ -n "${SIGNUP_TEST_EXAMPLES:-}" ] || [ "${1:-}" = install ] ||
    cargo build --package signup-examples --features full --example axum --example actix
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR
work=$CARGO_TARGET_DIR/clients
mkdir -p "$work"

# What is installed already is left alone.
if ! cmp -s tests/clients/requirements.txt "$work/requirements.txt"; then
    python3 -m venv --clear "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
    cp tests/clients/requirements.txt "$work/"
fi
if ! cmp -s tests/clients/package-lock.json "$work/node_modules/.installed"; then
    cp tests/clients/package.json tests/clients/package-lock.json "$work/"
    npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --loglevel=error
    cp tests/clients/package-lock.json "$work/node_modules/.installed"
fi
[ "${1:-}" != install ] || exit 0
export SIGNUP_NODE_MODULES="$work/node_modules" PYTHONDONTWRITEBYTECODE=1

# Some tools write files where they run: next to the build, not into the repository.
arguments=()
for argument in "${@:-tests/clients}"; do
    [ ! -e "$argument" ] || argument=$(realpath "$argument")
    arguments+=("$argument")
done
cd "$work"
"$work/venv/bin/python" -m pytest -p no:cacheprovider --numprocesses auto --durations=5 "${arguments[@]}"
