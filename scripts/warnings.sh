#!/usr/bin/env bash
# Checks the commands of these pages: scripts that they name exist, and what cargo builds for
# them has no warning. Without a page it checks all of them, those in the sources, and each
# example, bench and test with just its required features: warnings.sh [PAGE...]
set -euo pipefail
cd "$(dirname "$0")/.."

pages=("$@")
[ $# -gt 0 ] || pages=(*.md docs/*.md benches/README.md examples/*.md tests/README.md
    examples/*.rs benches/*.rs benches/*/*.rs tests/*.rs)

for script in $(grep -ohE '\b(bash )?(scripts/[a-z-]+\.(sh|py)|\.ci/[a-z]+)' "${pages[@]}" |
    sed 's/^bash //' | sort -u); do
    [ -f "$script" ] || { echo "no $script" >&2; exit 1; }
done

# Prints lines of `PACKAGE FEATURES TARGET...`; `-` is no feature, `default` the default ones.
commands() {
    grep -ohE 'cargo (run|bench|test) [^`|]+' "${pages[@]}" |
        while read -r command; do
            package=$(grep -oP -- '-p \K[a-z-]+' <<<"$command" || echo signup)
            features=$(grep -oP -- '--features \K[a-z0-9_,-]+' <<<"$command" || true)
            target=$(grep -oE -- '--(example|bench|test) [a-z0-9_]+' <<<"$command" || true)
            if ! grep -q -- --no-default-features <<<"$command"; then
                features=default${features:+,$features}
            fi
            echo "$package ${features:--} $target"
        done
}
targets() {
    cargo metadata --no-deps --format-version 1 | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    for target in package["targets"]:
        features = ",".join(target.get("required-features", [])) or "-"
        if target["kind"][0] in ("example", "bench", "test"):
            print(package["name"], features, "--" + target["kind"][0], target["name"])'
}

while read -r package features targets; do
    echo "$package, features ${features}: ${targets}"
    # shellcheck disable=SC2086
    RUSTFLAGS="-D warnings" cargo check --quiet --package "$package" --no-default-features \
        --features "${features#-}" $targets
done < <({ commands; [ $# -gt 0 ] || targets; } | sort -u |
    awk '{ set = $1 " " $2; line[set] = line[set] " " $3 " " $4 }
        END { for (set in line) print set line[set] }')
