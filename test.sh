#!/usr/bin/env bash
# Every test; installs what is missing first. Words after ./test.sh go to `cargo test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/setup.sh
# Mesa's device-select layer complains once for every device of a machine without a desktop.
[ -n "${XDG_RUNTIME_DIR:-}" ] || export NODEVICE_SELECT=1
cargo build
need_adapter # of the debug build, which the tests use
exec cargo test "$@"
