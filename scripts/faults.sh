#!/usr/bin/env bash
# Fails every write, open for writing, sync, rename, mkdir, removal, truncation and map of pretrain, finetune, their --resume,
# predict, eval, tokenizer and import once, with a full disk, an I/O error and an interruption; every lock with ENOLCK; every read
# with an I/O error. Checks that nothing is lost (docs/reliability.md). Linux with a C compiler. Takes an hour or more of CPU time,
# and prints the number of failures for each command and error. With an argument, only the commands that contain it.
#
# usage: scripts/faults.sh [PART OF A COMMAND]      e.g. scripts/faults.sh "--resume tuned"
set -euo pipefail
cd "$(dirname "$0")/.."
WGPT_FAULTS=${1:-all} exec cargo test --release --test it faults:: -- --nocapture
