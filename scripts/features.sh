#!/usr/bin/env bash
# Checks the crate with each of these features alone, `none` for no feature, or with each of
# all its features, without warnings: features.sh [FEATURE...]
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="${RUSTFLAGS:--D warnings}"

if [ $# = 0 ]; then
    set -- none $(cargo metadata --no-deps --format-version 1 | python3 -c '
import json, sys
(package,) = [p for p in json.load(sys.stdin)["packages"] if p["name"] == "signup"]
print(*sorted(package["features"].keys() - {"default"}))')
fi
for feature in "$@"; do
    echo "$feature"
    cargo check --quiet --package signup --features "${feature#none}"
done
