#!/usr/bin/env bash
# Clients in other languages, and a browser, against the example servers, which
# have been built: clients.sh [pytest's arguments]
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/setup.sh
work=$(realpath -m "${CARGO_TARGET_DIR:-target}/clients")
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
export SIGNUP_NODE_MODULES="$work/node_modules" PYTHONDONTWRITEBYTECODE=1
"$work/venv/bin/python" -m pytest -p no:cacheprovider "${@:-tests/clients}"
