#!/usr/bin/env bash
# Runs all tests. Installs what is missing first. Arguments of ./test.sh are passed to `cargo test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# On a machine without a desktop, Mesa's device-select layer prints a warning for every device that is opened.
[ -n "${XDG_RUNTIME_DIR:-}" ] || export NODEVICE_SELECT=1
cargo build --locked
need_adapter --profile dev # the tests use the debug build
exec cargo test --locked "$@"
