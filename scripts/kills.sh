#!/usr/bin/env bash
# Kills pretraining and fine-tuning (tests/it/kills.rs): at random times, at any call that changes a file, within checkpoints,
# at renamings and in evaluations. After each kill nothing that was saved may be lost, and the ends must have the bits of
# unbroken runs. Linux with a C compiler. Prints the number of kills of each kind.
#
# usage: scripts/kills.sh [KILLS [SEED]]     1000 kills and seed 1 by default
set -euo pipefail
cd "$(dirname "$0")/.."
export WGPT_KILLS=${1:-1000} WGPT_KILLS_SEED=${2:-1}
exec cargo test --release --test it kills:: -- --nocapture
