#!/usr/bin/env bash
# Trains a small GPT on made-up stories and shows its loss curve and a sample. Installs what is missing first.
# Arguments of ./run.sh are passed to `wgpt demo`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
cargo build --locked --release
need_adapter --release
exec cargo run --locked --release -- demo "$@"
