#!/usr/bin/env bash
# Every test; installs what is missing first. Words after ./test.sh go to `cargo test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/setup.sh
cargo build
need_adapter # of the debug build, which the tests use
exec cargo test "$@"
