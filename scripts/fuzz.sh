#!/bin/sh
# Random changes of every kind of file that is read (tests/it/fuzz.rs): a million cases for each format, or as many as the
# first argument says. The second argument selects formats by their test's name.
set -eu
cd "$(dirname "$0")/.."
# Files in memory: some formats are read from a file that is written and synced for each case.
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
WGPT_FUZZ_CASES=${1:-1000000} cargo test --release --test it "fuzz::${2:-}" -- --nocapture
