#!/usr/bin/env bash
# Fails every write, open for writing, sync, rename, mkdir, truncation and map of pretrain, resume, finetune, predict, eval and
# tokenizer once, with a full disk, an I/O error and an interruption, and checks that nothing is lost (docs/reliability.md).
# Linux with a C compiler. Takes about an hour.
#
# usage: scripts/faults.sh
set -euo pipefail
cd "$(dirname "$0")/.."
WGPT_FAULTS=all exec cargo test --release --test it faults:: -- --nocapture
