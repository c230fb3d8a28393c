# Sourced by run.sh, test.sh and .ci/run: installs what is missing, and only that, each with a line that says why.
# On Debian and its children by apt, as root or with sudo; elsewhere it says what to install and goes on.

say() { printf '%s\n' "setup: $*" >&2; }

on_debian() { [ "$(uname -s)" = Linux ] && command -v apt-get >/dev/null; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "this needs root, and there is no sudo; as root: $*"
        return 1
    fi
}

apt_updated=no

# apt_install WHY PACKAGE...
apt_install() {
    local why=$1
    shift
    if ! on_debian; then
        say "$why; install what your system has for: $*"
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
        Linux) links || apt_install "Rust links with a C compiler, and there is none that works" gcc libc6-dev ;;
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
        apt_install "Rust's installer is fetched with it" curl ca-certificates
    fi
    say "installing Rust by its own installer from https://sh.rustup.rs ($why)"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
        RUSTUP_INIT_SKIP_PATH_CHECK=yes sh -s -- -y -q --profile minimal --default-toolchain stable
    hash -r
}

need_rust() {
    local bin=${CARGO_HOME:-$HOME/.cargo}/bin
    # A Rust that an earlier call installed, in a shell that has not heard of it yet.
    case ":$PATH:" in
        *":$bin:"*) ;;
        *) PATH=$bin:$PATH ;;
    esac
    export PATH
    if ! command -v cargo >/dev/null; then
        install_rust "there is no cargo"
    elif ! cargo_is_new_enough; then
        if command -v rustup >/dev/null; then
            say "fetching the stable Rust (this one is older than $(oldest_rust))"
            rustup toolchain install stable --profile minimal
            export RUSTUP_TOOLCHAIN=stable
        else
            install_rust "this one is older than $(oldest_rust)"
        fi
    fi
}

# need_component NAME COMMAND...: clippy and rustfmt, for .ci/run.
need_component() {
    local name=$1
    shift
    if ! "$@" --version >/dev/null 2>&1; then
        if command -v rustup >/dev/null; then
            say "adding the Rust component $name (.ci/run calls it)"
            rustup component add "$name"
        else
            say "no $name: install the component of your Rust that has it"
        fi
    fi
}

has_vulkan() {
    local ldconfig
    if [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]; then
        return 0
    fi
    ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
    "$ldconfig" -p 2>/dev/null | grep -q 'libvulkan\.so\.1' || return 1
    compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null ||
        compgen -G '/usr/local/share/vulkan/icd.d/*.json' >/dev/null ||
        compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null
}

install_software_vulkan() {
    apt_install "$1: Vulkan in software, on the CPU" mesa-vulkan-drivers libvulkan1
}

# Without a driver's file no adapter can be found; that is known before anything is built.
need_vulkan() {
    if [ "$(uname -s)" = Linux ] && ! has_vulkan; then
        install_software_vulkan "there is no Vulkan driver"
    fi
}

# need_adapter CARGO-OPTION...: a driver may be there without its GPU, so the program itself is asked. It exits with 3
# when it finds no adapter.
need_adapter() {
    local status=0
    cargo run --quiet "$@" -- devices >/dev/null 2>&1 || status=$?
    if [ "$status" -eq 3 ] && [ "$(uname -s)" = Linux ]; then
        install_software_vulkan "the program finds no adapter"
    fi
}

need_linker
need_rust
need_vulkan
