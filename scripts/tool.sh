# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by scripts/compilers.sh and scripts/hlsl.sh, which set `what`, in the root of the checkout: takes the option --dev from
# their arguments, and defines `skip REASON` and `build NAME`, which sets `program`.
target=${CARGO_TARGET_DIR:-target}
profile=release
if [ "${1:-}" = --dev ]; then
    profile=dev
    shift
fi

# skip REASON: ends the script with a reason and exit code 0.
skip() {
    echo "skipped: $what: $*"
    exit 0
}

# build NAME: builds the program of tools/NAME and sets `program` to its path.
build() {
    cargo build --locked --quiet --profile "$profile" -p "$1"
    program=$target/${profile/dev/debug}/$1
}
