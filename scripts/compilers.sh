#!/usr/bin/env bash
# scripts/compilers.sh [--dev] [CHIP...] [-- OPTION...]: what the shader compilers of GPUs make of the kernels that wgpt chooses
# for them, on a machine without these GPUs. Without options, compares with the tables of tools/compilers/expected; fails on
# a spill and on a loss of occupancy. Examples:
#   scripts/compilers.sh navi31 ampere -- --table --kernel matmul
#   scripts/compilers.sh -- --write          # rewrites all tables and that of docs/performance.md, after a change of kernels
# --dev: with the debug build instead of the release build.
#
# scripts/drivers.sh says where the drivers come from; without them, the script ends with a reason and exit code 0.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
what="compilers of GPUs"
# shellcheck source=scripts/tool.sh
. scripts/tool.sh
chips=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    chips+=("$1")
    shift
done
[ "${1:-}" != -- ] || shift
[ ${#chips[@]} -gt 0 ] || chips=(navi31 navi21 gfx1201 ampere m1 adreno740)
[ $# -gt 0 ] || set -- --check

# shellcheck source=scripts/drivers.sh
. scripts/drivers.sh
[ -x "$drivers/gpu" ] || skip "there is no program $drivers/gpu"

build compilers
status=0
for chip in "${chips[@]}"; do
    # The null device reports each request that it does not know.
    "$drivers/gpu" "$chip" "$program" --chip "$chip" "$@" 2> >(grep -v '^Unknown DRM_IOCTL' >&2) || status=1
done
case " $* " in
    *" --write "*) "$program" --document docs/performance.md || status=1 ;;
esac
exit $status
