#!/usr/bin/env bash
# Fuzzes the targets of fuzz/ (or those that are named) after their seeds: each for so many
# seconds, the first argument. With 0 it only replays what was saved.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=$1
shift
target=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
# As cargo-fuzz instruments, but for sanitizers: there is no unsafe code, and they need a
# nightly compiler. With --target, what runs while it builds is left alone.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
cargo build --quiet --locked --release --manifest-path fuzz/Cargo.toml \
    --target "$host" --target-dir "$target"

[ $# -gt 0 ] || set -- $(ls fuzz/fuzz_targets | sed 's/\.rs$//')
# What is found goes there, and only what is kept by hand into the repository.
found=${SIGNUP_FUZZ_FOUND:-$(mktemp -d)}
fuzz() {
    local name=$1 limit=(-runs=0)
    mkdir -p "$found/$name" "$found/seeds/$name"
    python3 fuzz/seeds.py "$name" "$found/seeds/$name"
    [ "$seconds" = 0 ] || limit=("-max_total_time=$seconds" -max_len=4096)
    if ! "$target/$host/release/$name" "${limit[@]}" -timeout=10 -rss_limit_mb=2048 \
        -verbosity=0 -print_final_stats=1 "-artifact_prefix=$found/$name-" \
        "$found/$name" "$found/seeds/$name" $(ls -d "fuzz/corpus/$name" 2>/dev/null) \
        >"$found/$name.log" 2>&1; then
        grep -vE '^(INFO|WARNING)' "$found/$name.log"
        return 1
    fi
    echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$found/$name.log") inputs"
}
export -f fuzz
export seconds target host found
# As many at a time as there are cores.
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'fuzz {}'
