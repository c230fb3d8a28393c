#!/usr/bin/env bash
# scripts/hlsl.sh [--dev] [OPTION...]: compiles the HLSL of every kernel that DX12 can have by Microsoft's compiler DXC, without
# Windows and without a GPU; exit code 1 if DXC refuses one. Options are those of tools/hlsl: --table prints the time of each
# variant, --kernel WORD selects kernels. --dev: with the debug build instead of the release build.
#
# WGPT_DXC is the compiler, libdxcompiler.so or dxcompiler.dll. Without it, pip downloads the package compushady from PyPI,
# which contains one. Without that, there is nothing to run, and the script ends with a reason and exit code 0.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
what="HLSL by DXC"
# shellcheck source=scripts/tool.sh
. scripts/tool.sh

dxc=${WGPT_DXC:-}
if [ -z "$dxc" ]; then
    [ "$(uname -s)" = Linux ] || skip "WGPT_DXC is not set, and the library of PyPI is looked for on Linux alone"
    folder=$target/dxc
    package=compushady==0.17.5
    library=libdxcompiler_$(uname -m).so.3.7
    dxc=$folder/$library
    if [ ! -e "$dxc" ]; then
        python3 -m pip --version >/dev/null 2>&1 ||
            skip "WGPT_DXC is not set, and there is no pip for Python 3 to download $package"
        mkdir -p "$folder"
        # The source package, which contains the libraries of all systems. It is not built.
        python3 -m pip download --quiet --no-deps --no-binary :all: -d "$folder" "$package" >"$folder/log" 2>&1 ||
            skip "pip could not download $package: $(tail -n 1 "$folder/log")"
        tar -xzf "$folder"/compushady-*.tar.gz -C "$folder" --strip-components=3 --wildcards "*/$library" ||
            skip "$package has no $library"
        rm -f "$folder"/compushady-*.tar.gz
    fi
fi

build hlsl
# DXC itself crashes now and then while several threads compile. A shader that it cannot compile fails every time.
for attempt in 1 2 3; do
    status=0
    "$program" --dxc "$dxc" "$@" || status=$?
    [ "$status" -gt 128 ] || exit "$status"
    echo "DXC crashed with signal $((status - 128)), attempt $attempt of 3" >&2
done
exit "$status"
