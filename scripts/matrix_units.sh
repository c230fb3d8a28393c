#!/usr/bin/env bash
# scripts/matrix_units.sh [--dev]: the tests of products on matrix units and of training in mixed precision
# (tests/it/cooperative.rs) on Mesa 26's software driver, which has cooperative matrices. --dev: with the debug build instead of
# the release build. scripts/drivers.sh says where the driver comes from; without it, the script ends with a reason and exit
# code 0.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skip() {
    echo "skipped: matrix units: $*"
    exit 0
}

[ "$(uname -sm)" = "Linux x86_64" ] || skip "the driver runs on Linux on x86-64 alone"
profile=(--release)
[ "${1:-}" != --dev ] || profile=()
# shellcheck source=scripts/drivers.sh
. scripts/drivers.sh
[ -x "$drivers/run" ] || skip "there is no program $drivers/run"

export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$drivers/run
cargo test --locked "${profile[@]}" --test it cooperative:: -- --nocapture | tee "$target/matrix-units.log"
# The tests skip themselves on a driver without cooperative matrices, which this one has.
if grep 'skipped: ' "$target/matrix-units.log"; then
    echo "FAILED: a test was skipped" >&2
    exit 1
fi
