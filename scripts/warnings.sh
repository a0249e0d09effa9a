#!/usr/bin/env bash
# Checks that nothing that is built by hand has a warning: each command that the
# documentation names, and each example, bench and test with just the features that
# it requires.
set -euo pipefail
cd "$(dirname "$0")/.."

# Each line is a set of features, `-` for none, and what is built with it.
commands() {
    grep -ohE 'cargo (run|bench|test) [^`|]+' README.md docs/*.md examples/*.md examples/*.rs benches/*.rs benches/*/*.rs |
        while read -r command; do
            features=$(grep -oP -- '--features \K[a-z0-9_,-]+' <<<"$command" || echo -)
            target=$(grep -oE -- '--(example|bench|test) [a-z0-9_]+' <<<"$command" || true)
            echo "$features $target"
        done
}
targets() {
    cargo metadata --no-deps --format-version 1 | python3 -c '
import json, sys
for target in json.load(sys.stdin)["packages"][0]["targets"]:
    features = ",".join(target.get("required-features", [])) or "-"
    if target["kind"][0] in ("example", "bench", "test"):
        print(features, "--" + target["kind"][0], target["name"])'
}

while read -r features targets; do
    echo "features ${features}: ${targets}"
    # shellcheck disable=SC2086
    RUSTFLAGS="-D warnings" cargo check --quiet --features "${features#-}" $targets
done < <({ commands; targets; } | sort -u |
    awk '{ line[$1] = line[$1] " " $2 " " $3 } END { for (set in line) print set line[set] }')
