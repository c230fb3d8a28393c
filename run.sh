#!/usr/bin/env bash
# Trains a small GPT on stories and shows its curve and a sample; installs what is missing first.
# Words after ./run.sh go to `wgpt demo`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/setup.sh
cargo build --release
need_adapter --release
exec cargo run --release -- demo "$@"
