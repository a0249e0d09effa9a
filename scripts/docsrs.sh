#!/usr/bin/env bash
# rustdoc as docs.rs runs it, with what is not stable: for cargo's RUSTDOC. Only rustdoc is
# told so. A compiler that is would build all dependencies once more.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"
