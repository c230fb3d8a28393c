# shellcheck shell=bash
# Sourced by run.sh, test.sh and .ci/run. Installs what is missing, and prints the reason for each installation.
# On Debian and its derivatives it uses apt, as root or with sudo. On other systems it prints what to install and continues.

say() { printf '%s\n' "setup: $*" >&2; }

on_debian() { [ "$(uname -s)" = Linux ] && command -v apt-get >/dev/null; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "root is needed, and sudo is not installed; run as root: $*"
        return 1
    fi
}

apt_updated=no

# apt_install WHY PACKAGE...
apt_install() {
    local why=$1
    shift
    if ! on_debian; then
        say "$why; install your system's packages for: $*"
        return 0
    fi
    say "installing $* ($why)"
    if [ "$apt_updated" = no ]; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
        apt_updated=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

links() { printf 'int main(void) { return 0; }\n' | cc -x c - -o /dev/null 2>/dev/null; }

need_linker() {
    case $(uname -s) in
        Linux) links || apt_install "Rust needs a C compiler to link, and none works" gcc libc6-dev ;;
        Darwin) xcode-select -p >/dev/null 2>&1 || say "no C linker; run: xcode-select --install" ;;
    esac
}

# The oldest Rust that Cargo.toml allows.
oldest_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }

cargo_is_new_enough() {
    local have
    have=$(cargo --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ -n "$have" ] && [ "$(printf '%s\n' "$(oldest_rust)" "$have" | sort -V | head -n 1)" = "$(oldest_rust)" ]
}

install_rust() {
    local why=$1
    if ! command -v curl >/dev/null; then
        apt_install "Rust's installer is downloaded with it" curl ca-certificates
    fi
    say "installing Rust with its own installer, https://sh.rustup.rs ($why)"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
        RUSTUP_INIT_SKIP_PATH_CHECK=yes sh -s -- -y -q --profile minimal --default-toolchain stable
    hash -r
}

need_rust() {
    local bin=${CARGO_HOME:-$HOME/.cargo}/bin
    # An earlier call may have installed Rust without this shell's PATH knowing it.
    case ":$PATH:" in
        *":$bin:"*) ;;
        *) PATH=$bin:$PATH ;;
    esac
    export PATH
    if ! command -v cargo >/dev/null; then
        install_rust "cargo is not installed"
    elif ! cargo_is_new_enough; then
        if command -v rustup >/dev/null; then
            say "installing stable Rust (the installed one is older than $(oldest_rust))"
            rustup toolchain install stable --profile minimal
            export RUSTUP_TOOLCHAIN=stable
        else
            install_rust "the installed one is older than $(oldest_rust)"
        fi
    fi
}

# need_component NAME COMMAND...: installs a component of Rust for .ci/run, if COMMAND does not work.
need_component() {
    local name=$1
    shift
    if ! "$@" --version >/dev/null 2>&1; then
        if command -v rustup >/dev/null; then
            say "installing the Rust component $name (.ci/run uses it)"
            rustup component add "$name"
        else
            say "$name is not installed; install your system's package for it"
        fi
    fi
}

# need_target NAME: installs Rust's library for another system. Fails if it cannot.
need_target() {
    command -v rustup >/dev/null && rustup target add "$1"
}

# need_toolchain VERSION: installs a version of Rust beside the default one. Fails if it cannot.
need_toolchain() {
    command -v rustup >/dev/null && { rustup toolchain list | grep "^$1" >/dev/null || rustup toolchain install "$1" --profile minimal; }
}

# need_mpi: for .ci/run: what the feature mpi is built and tested with. Fails if it cannot be installed.
need_mpi() {
    command -v mpicc >/dev/null && command -v mpirun >/dev/null && has_libclang && return 0
    on_debian && apt_install ".ci/run builds the feature mpi with them" libopenmpi-dev openmpi-bin libclang-dev &&
        command -v mpicc >/dev/null
}

# The library and the headers that come with it, not libclang-cpp.
has_libclang() { [ -n "${LIBCLANG_PATH:-}" ] || compgen -G '/usr/lib/llvm-*/lib/libclang.so' >/dev/null; }

# need_shellcheck: for .ci/run.
need_shellcheck() {
    command -v shellcheck >/dev/null || apt_install ".ci/run checks the shell scripts with it" shellcheck
}

has_vulkan() {
    local ldconfig
    if [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]; then
        return 0
    fi
    ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
    # Not `grep -q`, which stops reading at the first match: a program that still writes then fails, and so does the pipe.
    "$ldconfig" -p 2>/dev/null | grep 'libvulkan\.so\.1' >/dev/null || return 1
    compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null ||
        compgen -G '/usr/local/share/vulkan/icd.d/*.json' >/dev/null ||
        compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null
}

install_software_vulkan() {
    apt_install "$1; this driver runs Vulkan on the CPU" mesa-vulkan-drivers libvulkan1
}

# Without a driver's file no adapter can be found. This can be checked before anything is built.
need_vulkan() {
    if [ "$(uname -s)" = Linux ] && ! has_vulkan; then
        install_software_vulkan "no Vulkan driver is installed"
    fi
}

# need_adapter CARGO-OPTION...: installs the CPU driver if `wgpt devices` finds no adapter (exit code 3). A driver may be
# installed on a machine that has no GPU for it, so need_vulkan is not enough.
need_adapter() {
    local status=0
    cargo run --locked --quiet "$@" -- devices >/dev/null 2>&1 || status=$?
    if [ "$status" -eq 3 ] && [ "$(uname -s)" = Linux ]; then
        install_software_vulkan "the program finds no adapter"
    fi
}

need_linker
need_rust
need_vulkan

# python_with PACKAGE...: prints the path of a Python that has these packages, installed in target/python.
python_with() {
    local python=target/python/bin/python3
    if [ ! -x "$python" ]; then
        if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
            apt_install "Python packages are installed in a folder of their own" python3-venv >&2 || return 1
        fi
        python3 -m venv target/python >&2 || return 1
    fi
    "$python" -m pip install --quiet --disable-pip-version-check "$@" >&2 || return 1
    echo "$PWD/$python"
}
