#!/usr/bin/env bash
# Documents the crate as docs.rs does, without warnings, and compares its public API with
# tests/public-api/baseline.txt. UPDATE_DOCS=1 renews the baseline.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
# rustdoc's JSON is unstable. One run serves both purposes: its lints do not depend on the form.
RUSTDOC="$PWD/scripts/docsrs.sh" RUSTDOCFLAGS="--cfg docsrs -D warnings" \
    cargo rustdoc --lib --all-features -- -Zunstable-options --output-format json
listed=$(mktemp)
trap 'rm -f "$listed"' EXIT
cargo run --quiet --locked --manifest-path tests/public-api/Cargo.toml \
    --target-dir "$target/public-api" -- "$target/doc/signup.json" >"$listed"
grep -q '^pub struct signup::SignupService<' "$listed"

baseline=tests/public-api/baseline.txt
[ -z "${UPDATE_DOCS:-}" ] || cp "$listed" "$baseline"
if ! diff "$baseline" "$listed"; then
    echo "The public API has changed. If that is meant, note it in CHANGELOG.md: a removal" >&2
    echo "breaks hosts, see RELEASING.md. Then run UPDATE_DOCS=1 bash scripts/public-api.sh" >&2
    exit 1
fi
