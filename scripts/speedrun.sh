#!/usr/bin/env bash
# scripts/speedrun.sh [--preset P] [--loss L] [--out DIR] TEXT [BINARY]: measures the minutes until a preset reaches a validation
# loss on a text, by default nano and 3.40, for Tiny Shakespeare (input.txt of char-rnn by Karpathy, 1,115,394 bytes).
#
# The run has the preset's settings, but evaluates after every 25 steps and writes no samples. It is stopped at the first
# evaluation that reaches the loss. The time is that of the run's clock, from the evaluation before the first step on, with all
# evaluations. Exit code 1 if the run ends above the loss.
#
# BINARY is the program wgpt; without it target/release/wgpt, else the wgpt on the PATH. WGPT_ADAPTER selects the adapter.
# DIR (by default speedrun-results) gets ADAPTER-PRESET.json, for docs/gpus/speedrun, and the output of the run.
set -euo pipefail
export LC_ALL=C

usage() {
    echo "usage: scripts/speedrun.sh [--preset P] [--loss L] [--out DIR] TEXT [BINARY]" >&2
    exit 2
}

fail() {
    echo "speedrun.sh: $*" >&2
    exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
preset=nano target=3.40 out=speedrun-results text='' wgpt=''
while [ $# -gt 0 ]; do
    case $1 in
    --preset | --loss | --out)
        [ $# -gt 1 ] || usage
        case $1 in
        --preset) preset=$2 ;;
        --loss) target=$2 ;;
        --out) out=$2 ;;
        esac
        shift
        ;;
    -*) usage ;;
    *)
        if [ -z "$text" ]; then
            text=$1
        elif [ -z "$wgpt" ]; then
            wgpt=$1
        else
            usage
        fi
        ;;
    esac
    shift
done
[ -n "$text" ] || usage
case $target in '' | *[!0-9.]*) usage ;; esac
[ -f "$text" ] || fail "$text: not a file"
if [ -z "$wgpt" ]; then
    wgpt=$here/target/release/wgpt
    [ -x "$wgpt" ] || wgpt=$(command -v wgpt) || fail "no program wgpt: build it with \`cargo build --release\`, or name it"
fi
case $wgpt in */*) ;; *) wgpt=./$wgpt ;; esac
[ -x "$wgpt" ] || fail "$wgpt: not a program"

mkdir -p "$out"
work=$(mktemp -d)
run=$work/run
pid=''
# shellcheck disable=SC2329 # called by the trap
clean_up() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# reached: prints step and loss of the first evaluation that reaches the loss.
reached() {
    [ -e "$run/metrics.jsonl" ] || return 0
    awk -v target="$target" '
        /"valid_loss":/ && !found {
            match($0, /"step":[0-9]+/); step = substr($0, RSTART + 7, RLENGTH - 7)
            match($0, /"valid_loss":[0-9.e+-]+/); loss = substr($0, RSTART + 13, RLENGTH - 13)
            if (loss + 0 <= target + 0) { print step, loss; found = 1 }
        }' "$run/metrics.jsonl"
}

"$wgpt" pretrain --preset "$preset" --data "$text" --eval-every 25 --checkpoint-every 1000000000 --sample-every 0 \
    --out "$run" >"$out/run.txt" 2>&1 &
pid=$!
found=''
while [ -z "$found" ] && kill -0 "$pid" 2>/dev/null; do
    sleep 1
    found=$(reached)
done
kill -INT "$pid" 2>/dev/null || true
wait "$pid" || true
pid=''
found=$(reached)
[ -e "$run/metrics.jsonl" ] || fail "the run failed: $(tail -n 1 "$out/run.txt")"
[ -n "$found" ] || fail "the run ended above the loss $target: $(tail -n 4 "$out/run.txt")"
read -r step loss <<<"$found"

# value KEY FILE: the value of a string in a JSON file.
value() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$2" | sed -n 1p; }

adapter=$(value adapter "$run/kernels.json")
driver=$(value driver "$run/kernels.json")
seconds=$(sed -n "s/.*\"step\":$step,\"loss\":.*\"elapsed_s\":\([0-9.e+-]*\).*/\1/p" "$run/metrics.jsonl")
minutes=$(awk -v s="${seconds:-0}" 'BEGIN { printf "%.2f", s / 60 }')
tokens=$(sed -n 's/.*"loss":.*"tokens":\([0-9]*\).*/\1/p' "$run/metrics.jsonl" | awk -v n="$step" 'NR <= n { t += $1 } END { print t + 0 }')
name=$(printf '%s-%s' "$adapter" "$preset" | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9' '-' | sed 's/^-//; s/-$//')
commit=$(git -C "$here" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
sum=$(sha256sum "$text" 2>/dev/null || shasum -a 256 "$text")
file=$out/$name.json
cat >"$file" <<JSON
{
  "format": 1,
  "program": "$("$wgpt" --version)",
  "commit": "$commit",
  "date": "$(date -u +%Y-%m-%dT%H:%M:%SZ)",
  "adapter": "$adapter",
  "driver": "$driver",
  "preset": "$preset",
  "text_sha256": "${sum%% *}",
  "target_loss": $target,
  "valid_loss": $loss,
  "steps": $step,
  "tokens": $tokens,
  "minutes": $minutes
}
JSON
echo "$adapter: $preset reaches the loss $target ($loss) after $step steps and $tokens tokens in $minutes minutes"
echo "$file"
