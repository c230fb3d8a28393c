# shellcheck shell=bash
# Sourced by scripts/compilers.sh and scripts/matrix_units.sh, which define `skip REASON`, in the root of the checkout. Sets
# `drivers` to the folder of Mesa's Vulkan drivers: `run PROGRAM ARGUMENT...` runs a program on Mesa's software driver,
# `gpu CHIP PROGRAM ARGUMENT...` on the driver of a GPU over the null device of Mesa's drm-shim, where everything compiles and
# nothing is executed.
#
# It is the folder that WGPT_DRIVERS names. Without it, the drivers are unpacked by the script of the folder `shared` beside this
# checkout. Without that, there is nothing to run.
target=${CARGO_TARGET_DIR:-target}
drivers=${WGPT_DRIVERS:-}
if [ -z "$drivers" ]; then
    shared=../shared
    unpack=${shared}/tools/vulkan-drivers.sh
    [ -e "$unpack" ] || skip "WGPT_DRIVERS is not set, and there is no $unpack"
    drivers=$target/vulkan-drivers
    bash "$unpack" "$drivers" >"$target/vulkan-drivers.log" 2>&1 ||
        skip "$unpack could not unpack the drivers, see $target/vulkan-drivers.log"
fi
drivers=$(cd "$drivers" && pwd)
