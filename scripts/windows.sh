#!/usr/bin/env bash
# scripts/windows.sh [--dev] [MODULE...]: builds the Windows program and its integration tests and runs them under Wine: `wgpt
# check` on DX12, a short training run on DX12 and on Vulkan, resuming, paths with blanks and letters beyond ASCII, what is
# printed where DX12 or every adapter is missing, and the modules of tests/it that depend on the system. Takes some minutes,
# most of them Microsoft's compiler FXC. --dev: with the debug build instead of the release build. With MODULE..., only these
# modules of tests/it are run, such as `data:: eval::`.
#
# WGPT_WINE is a folder with the command `windows PROGRAM.exe ARGUMENT...`, which runs a program of its folder `work` under a
# Wine that has Vulkan, vkd3d for DX12, and d3dcompiler_47.dll. Without it, Wine is set up by the script of the folder
# `shared` beside this checkout, as root on Debian. Without that, there is nothing to run, and the script ends with a reason
# and exit code 0. All of it runs in a mount and process namespace of its own: nothing stays mounted or running.
set -Eeuo pipefail
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND" >&2' ERR # a failure that no text explains
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C.UTF-8

skip() {
    echo "skipped: Windows: $*"
    exit 0
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

[ "$(uname -sm)" = "Linux x86_64" ] || skip "Wine runs the x86-64 program on Linux on x86-64 alone"
shared=../shared
setup=${shared}/tools/windows.sh
if [ -z "${WGPT_WINE:-}" ]; then
    [ -e "$setup" ] || skip "WGPT_WINE is not set, and there is no $setup"
    [ "$(id -u)" -eq 0 ] || skip "setting up Wine needs root, for debootstrap and chroot"
fi
if [ -z "${WGPT_WINDOWS_NAMESPACE:-}" ] && [ "$(id -u)" -eq 0 ]; then
    unshare --mount --pid --fork true 2>/dev/null || skip "this machine does not allow namespaces for mounts"
    WGPT_WINDOWS_NAMESPACE=1 exec unshare --mount --pid --fork --kill-child --mount-proc bash "scripts/windows.sh" "$@"
fi

profile=release
if [ "${1:-}" = --dev ]; then
    profile=dev
    shift
fi
# Files and paths. The modules windows, killed and processes depend on moments, for which a loaded machine may be too slow under
# Wine: they run by name.
modules=(outputs:: resume::a_run_is_open)
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"

# shellcheck source=scripts/setup.sh
. scripts/setup.sh
system=x86_64-pc-windows-gnu
linker=x86_64-w64-mingw32-gcc
need_target "$system" || skip "Rust's library for $system could not be installed"
command -v "$linker" >/dev/null || apt_install "programs for Windows are linked with it" gcc-mingw-w64-x86-64 ||
    skip "$linker is not installed; Debian's package is gcc-mingw-w64-x86-64"

wine=${WGPT_WINE:-}
if [ -z "$wine" ]; then
    wine=$target/wine
    bash "$setup" "$wine" >"$target/wine.log" 2>&1 || skip "$setup could not set up Wine, see $target/wine.log"
fi
[ -x "$wine/windows" ] || skip "there is no program $wine/windows"

started=$SECONDS
tests=$(CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=$linker cargo test --locked --quiet --profile "$profile" --target "$system" \
    --test it --no-run --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | grep '/it-[^/]*$')
program=$target/$system/${profile/dev/debug}/wgpt.exe
echo "built in $((SECONDS - started)) s"

# A folder with a blank and letters beyond ASCII, for the program and everything that it reads and writes.
folder="wgpt Prüfung"
work=$wine/work/$folder
rm -rf "$work"
mkdir -p "$work"
cp "$program" "$work/wgpt.exe"
# FXC is part of Windows. Wine's folder `work` has it, and Windows looks beside the program.
cp "$wine/work/d3dcompiler_47.dll" "$work/"
cp "$tests" "$work/it.exe"
rm -f "$wine/root/tmp/.X19-lock" # of a display in another namespace
wgpt() { "$wine/windows" "$folder/wgpt.exe" "$@"; }

# adapter BACKEND: the index of the first adapter of this API, or nothing. The list is read to its end: a program whose reader
# stops early may fail.
adapter() {
    local list
    list=$(wgpt devices --json) || fail "devices --json: exit code $?: $list"
    sed -n "s/.*\"index\":\([0-9]*\).*\"backend\":\"$1\".*/\1/p" <<<"$list" | sed -n 1p
}

dx12=$(adapter dx12)
vulkan=$(adapter vulkan)
[ -n "$dx12" ] || fail "the program finds no DX12 adapter; it finds: $(wgpt devices --json)"
[ -n "$vulkan" ] || fail "the program finds no Vulkan adapter; it finds: $(wgpt devices --json)"

# The integration tests run the program beside them.
system_tests() {
    local started=$SECONDS
    WGPT_ADAPTER=$vulkan "$wine/windows" "$folder/it.exe" --test-threads 2 "$@" >"$work/it.log" 2>&1 ||
        fail "tests under Wine: $(cat "$work/it.log")"
    echo "$(sed -n 's/^test result: ok. \([0-9]* passed\).*/\1/p' "$work/it.log") of tests/it in $((SECONDS - started)) s"
}
if [ $# -gt 0 ]; then
    system_tests "$@"
    exit 0
fi

# DXC is preferred, and an adapter that cannot run what it compiles is there with FXC. An empty library cannot even be loaded.
: >"$work/dxcompiler.dll"
[ "$(adapter dx12)" = "$dx12" ] || fail "with a dxcompiler.dll that cannot be loaded, the DX12 adapter is not found by FXC"
rm "$work/dxcompiler.dll"

status=0
message=$(VK_DRIVER_FILES=/none VK_ICD_FILENAMES=/none wgpt devices 2>&1) || status=$?
[ "$status" -eq 3 ] || fail "devices without an adapter: exit code $status, expected 3: $message"
case $message in
    *apt-get*) fail "without an adapter, the program names packages of Debian on Windows: $message" ;;
    *"Microsoft Basic Render Driver"*) ;;
    *) fail "without an adapter, the program does not say what Windows needs: $message" ;;
esac

# text: numbers in words that a small model can learn from, without a data set.
for i in $(seq 2000); do
    echo "The number $((i * 7919 % 1000)) comes before the number $((i * 7919 % 1000 + 1))."
done >"$work/ein Text.txt"

train() { # train ADAPTER RUN STEPS
    wgpt pretrain --adapter "$1" --data "$folder/ein Text.txt" --out "$folder/$2" --steps "$3" --schedule constant \
        --warmup 2 --checkpoint-every 2 >"$work/$2.log" 2>&1 || fail "training of $2: $(tail -n 3 "$work/$2.log")"
}

# losses RUN: the losses of its steps, one per line.
losses() { sed -n 's/.*"loss":\([^,}]*\).*/\1/p' "$work/$1/metrics.jsonl"; }

started=$SECONDS
train "$dx12" "Lauf dx12" 4
echo "4 steps on DX12 in $((SECONDS - started)) s"
train "$vulkan" "Lauf vulkan" 4
paste <(losses "Lauf dx12") <(losses "Lauf vulkan") | awk '
    { d = $1 - $2; if (d < 0) d = -d; if (d > worst) worst = d; n++ }
    END { printf "%d losses differ by at most %.1e between DX12 and Vulkan\n", n, worst; exit !(n >= 4 && worst <= 1e-6) }' ||
    fail "losses on DX12 and on Vulkan differ: $(losses "Lauf dx12" | paste -sd ' ') and $(losses "Lauf vulkan" | paste -sd ' ')"

# The same run as if it had been stopped after two steps.
cp -r "$work/Lauf dx12" "$work/Lauf in Teilen"
rm -r "$work/Lauf in Teilen/checkpoints/step-000004"
echo step-000002 >"$work/Lauf in Teilen/latest"
wgpt pretrain --adapter "$dx12" --resume "$folder/Lauf in Teilen" >"$work/resume.log" 2>&1 ||
    fail "resuming: $(tail -n 3 "$work/resume.log")"
cmp "$work/Lauf dx12/checkpoints/step-000004/model.safetensors" \
    "$work/Lauf in Teilen/checkpoints/step-000004/model.safetensors" || fail "a resumed run has other weights"
echo "a run that was resumed after 2 steps has the bits of one of 4"

system_tests "${modules[@]}"

started=$SECONDS
wgpt check --adapter "$dx12" --runs 2
echo "checked in $((SECONDS - started)) s"
