#!/usr/bin/env bash
# All tests, with all features: the README's test command.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo nextest --version >/dev/null 2>&1; then
    cargo install --locked cargo-nextest
fi

cargo nextest run --all-features --run-ignored all "$@"
# nextest runs no examples of the documentation.
cargo test --doc --all-features
