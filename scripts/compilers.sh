#!/usr/bin/env bash
# scripts/compilers.sh [--dev] [CHIP...] [-- OPTION...]: what the shader compilers of GPUs make of the kernels that wgpt chooses
# for them, on a machine without these GPUs. Without options, compares with the tables of tools/compilers/expected; fails on
# a spill and on a loss of occupancy. Examples:
#   scripts/compilers.sh navi31 ampere -- --table --kernel matmul
#   scripts/compilers.sh -- --write          # rewrites all tables and that of docs/performance.md, after a change of kernels
# --dev: with the debug build instead of the release build.
#
# WGPT_DRIVERS is a folder with the command `gpu CHIP PROGRAM ARGUMENT...`, which runs a program on Mesa's Vulkan driver for a
# chip, over the null device of Mesa's drm-shim: everything compiles, nothing is executed. Without it, the drivers are
# unpacked by the script of the folder `shared` beside this checkout. Without that, there is nothing to run, and the script
# ends with a reason and exit code 0.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}

skip() {
    echo "skipped: compilers of GPUs: $*"
    exit 0
}

profile=release
if [ "${1:-}" = --dev ]; then
    profile=dev
    shift
fi
chips=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    chips+=("$1")
    shift
done
[ "${1:-}" != -- ] || shift
[ ${#chips[@]} -gt 0 ] || chips=(navi31 navi21 gfx1201 ampere m1 adreno740)
[ $# -gt 0 ] || set -- --check

drivers=${WGPT_DRIVERS:-}
if [ -z "$drivers" ]; then
    shared=../shared
    unpack=${shared}/tools/vulkan-drivers.sh
    [ -e "$unpack" ] || skip "WGPT_DRIVERS is not set, and there is no $unpack"
    drivers=$target/vulkan-drivers
    bash "$unpack" "$drivers" >"$target/vulkan-drivers.log" 2>&1 ||
        skip "$unpack could not unpack the drivers, see $target/vulkan-drivers.log"
fi
[ -x "$drivers/gpu" ] || skip "there is no program $drivers/gpu"

cargo build --locked --quiet --profile "$profile" -p compilers
program=$target/${profile/dev/debug}/compilers
status=0
for chip in "${chips[@]}"; do
    # The null device reports each request that it does not know.
    "$drivers/gpu" "$chip" "$program" --chip "$chip" "$@" 2> >(grep -v '^Unknown DRM_IOCTL' >&2) || status=1
done
case " $* " in
    *" --write "*) "$program" --document docs/performance.md || status=1 ;;
esac
exit $status
