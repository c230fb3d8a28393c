#!/usr/bin/env bash
# scripts/gpu.sh [--quick] [--out DIR] [--limit SECONDS] [--total SECONDS] [BINARY]: measures a GPU in a few minutes.
#
# BINARY is the program wgpt; without it target/release/wgpt, else the wgpt on the PATH. Cargo is not needed. The parts, in
# the order of their importance, each under a time limit of its own; a part that fails or is stopped does not stop the rest:
#   devices      the adapters and their capabilities
#   step-N-P-B   a training step of nano, mini and gpt1 with batch 64; where that fails, 16, then 4; each in f32 and, where the
#                adapter has matrix units for it, in mixed precision
#   check        every kernel against its f64 oracle, in the variant chosen for the adapter
#   pytorch      the same steps in PyTorch (benches/torch_step.py) in f32, tf32 and bf16, where Python has it with CUDA
#   kernels      each kernel alone, at the sizes of a real step
#   pretraining  nano on generated stories or on the text that WGPT_TEXT names, for about 45 seconds
#   check-all    every kernel in every variant
# With --quick, only the first four. --limit is the longest time of any part, --total that of all parts together.
#
# After each part, DIR (by default $OUT, else gpu-results) has three files: ADAPTER.json, all results in one object, whose
# format is described in docs/gpus/README.md; table.txt, which is also printed at the end; raw.tar.gz, the output of each
# part. Exit code 1 if a part failed. WGPT_ADAPTER selects the adapter, WGPT_PYTHON the Python. Examples:
#   scripts/gpu.sh
#   scripts/gpu.sh --quick --total 240 --out results ./wgpt
set -uo pipefail
export LC_ALL=C

usage() {
    echo "usage: scripts/gpu.sh [--quick] [--out DIR] [--limit SECONDS] [--total SECONDS] [BINARY]" >&2
    exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
quick=no out=${OUT:-gpu-results} limit_of_all=600 total=86400 wgpt=
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=yes ;;
    --out | --limit | --total)
        [ $# -gt 1 ] || usage
        case $1 in
        --out) out=$2 ;;
        --limit) limit_of_all=$2 ;;
        --total) total=$2 ;;
        esac
        shift
        ;;
    -*) usage ;;
    *)
        [ -z "$wgpt" ] || usage
        wgpt=$1
        ;;
    esac
    shift
done
case $limit_of_all$total in *[!0-9]*) usage ;; esac
if [ -z "$wgpt" ]; then
    wgpt=$here/target/release/wgpt
    [ -x "$wgpt" ] || wgpt=$(command -v wgpt) || {
        echo "gpu.sh: no program wgpt: build it with \`cargo build --release\`, or name it" >&2
        exit 2
    }
fi
case $wgpt in */*) ;; *) wgpt=./$wgpt ;; esac
[ -x "$wgpt" ] || {
    echo "gpu.sh: $wgpt: not a program" >&2
    exit 2
}
python=${WGPT_PYTHON:-python3}

mkdir -p "$out" || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
raw=$work/raw
mkdir "$raw"

limited=()
for name in timeout gtimeout; do
    if command -v "$name" >/dev/null; then
        limited=("$name")
        # In the foreground, so that Ctrl-C reaches the program.
        ! "$name" --foreground 1 true 2>/dev/null || limited+=(--foreground)
        break
    fi
done
[ ${#limited[@]} -gt 0 ] || echo "gpu.sh: there is no program timeout: parts have no time limits" >&2

# within SECONDS COMMAND...
within() {
    local seconds=$1
    shift
    if [ ${#limited[@]} -gt 0 ]; then
        "${limited[@]}" -k 5 "$seconds" "$@"
    else
        "$@"
    fi
}

# lines_with TEXT FILE
lines_with() {
    local line
    while IFS= read -r line; do
        case $line in *"$1"*) printf '%s\n' "$line" ;; esac
    done <"$2"
}

# The lines of files that are JSON objects, separated by commas. A line without an end is of a program that was stopped.
objects() {
    local file line separator=''
    for file; do
        [ -e "$file" ] || continue
        while IFS= read -r line; do
            case $line in
            '{'*'}')
                printf '%s%s' "$separator" "$line"
                separator=,
                ;;
            esac
        done <"$file"
    done
}

# value KEY JSON: prints the value of the first KEY in a JSON object.
value() {
    local pattern="\"$1\":(\"([^\"]*)\"|[^],}]*)"
    [[ $2 =~ $pattern ]] || return 1
    printf '%s' "${BASH_REMATCH[2]:-${BASH_REMATCH[1]}}"
}

# A text as the inside of a JSON string.
quoted() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    printf '%s' "$text" | tr -d '\000-\037'
}

# thousandths NUMBER: a number as an integer, for the shell's arithmetic.
thousandths() { printf '%.0f' "${1}e3" 2>/dev/null || echo 0; }

# ratio A B: A / B with two digits.
ratio() {
    local a b
    a=$(thousandths "$1")
    b=$(thousandths "$2")
    [ "$b" -gt 0 ] || return 0
    printf '%d.%02d' $((a / b)) $((a * 100 / b % 100))
}

# same A B: whether two losses are equal but for rounding.
same() {
    local a b
    a=$(printf '%.0f' "${1}e5" 2>/dev/null) && b=$(printf '%.0f' "${2}e5" 2>/dev/null) || return 1
    [ $((a - b)) -le 30 ] && [ $((b - a)) -le 30 ]
}

parts=()
failed=0

# part NAME SECONDS COMMAND...: runs a part, records how it ended, and writes the results so far. Returns its exit code.
part() {
    local name=$1 seconds=$2 code=0 begin=$SECONDS error=
    shift 2
    [ "$seconds" -le "$limit_of_all" ] || seconds=$limit_of_all
    [ "$seconds" -le $((total - SECONDS)) ] || seconds=$((total - SECONDS))
    if [ "$seconds" -lt 1 ]; then
        skip "$name" "no time left"
        return 1
    fi
    printf 'gpu.sh: %3d s: %s, at most %d s\n' "$SECONDS" "$name" "$seconds" >&2
    within "$seconds" "$@" >"$raw/$name.out" 2>"$raw/$name.stderr" </dev/null || code=$?
    if [ "$code" -ne 0 ]; then
        error=$(tail -n 1 "$raw/$name.stderr")
        case $code in 124 | 137) error="stopped after $seconds s" ;; esac
        printf 'gpu.sh: %s: exit code %d: %s\n' "$name" "$code" "$error" >&2
    fi
    parts+=("{\"part\":\"$name\",\"exit\":$code,\"seconds\":$((SECONDS - begin)),\"error\":\"$(quoted "$error")\"}")
    save
    return "$code"
}

# skip NAME REASON
skip() {
    printf 'gpu.sh: %s: skipped: %s\n' "$1" "$2" >&2
    parts+=("{\"part\":\"$1\",\"exit\":null,\"seconds\":0,\"error\":\"$(quoted "$2")\"}")
    save
}

# Writes the three files, as soon as the adapter, which names one of them, is known.
save() {
    [ -n "$slug" ] || return 0
    summary >"$work/summary" && mv "$work/summary" "$out/$slug.json"
    table >"$work/table" && mv "$work/table" "$out/table.txt"
    tar -C "$work" -czf "$work/raw.tar.gz" raw 2>/dev/null && mv "$work/raw.tar.gz" "$out/raw.tar.gz"
}

summary() {
    local separator='' one
    printf '{"format":1,"program":"%s","commit":"%s"' "$(quoted "$version")" "$(quoted "$commit")"
    printf ',"date":"%s","system":"%s"' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(quoted "$(uname -sm)")"
    printf ',"adapter":"%s","gpu":"%s"' "$(quoted "$adapter")" "$(quoted "$gpu")"
    printf ',\n"devices":[%s]' "$(objects "$raw/devices.out")"
    printf ',\n"steps":[%s]' "$(objects "$raw"/step-*.out)"
    printf ',\n"pytorch":[%s]' "$(objects "$raw/pytorch.out")"
    printf ',\n"check":[%s]' "$(objects "$raw/check.out")"
    printf ',\n"kernels":[%s]' "$(objects "$raw/kernels.out")"
    printf ',\n"pretraining":[%s]' "$(objects "$raw/pretraining.out")"
    printf ',\n"check_all":[%s]' "$(objects "$raw/check-all.out")"
    printf ',\n"parts":['
    for one in ${parts[@]+"${parts[@]}"}; do
        printf '%s%s' "$separator" "$one"
        separator=,
    done
    printf ']}\n'
}

# rows FILE: the rows of the table for a step, and for PyTorch's same steps.
rows() {
    local line other preset batch precision ms piped gflops first fifth losses dtype other_ms other_piped
    line=$(objects "$1")
    [ -n "$line" ] || return 0
    preset=$(value preset "$line") batch=$(value batch "$line") precision=$(value precision "$line")
    ms=$(value step_ms "$line") piped=$(value step_ms_pipelined "$line") gflops=$(value gflops "$line")
    first=$(value loss_first "$line") fifth=$(value loss_5 "$line")
    case $(value losses_ok "$line") in
    true) losses="as known" ;;
    false) losses=WRONG ;;
    *) losses="not known" ;;
    esac
    local others=()
    if [ -e "$raw/pytorch.out" ]; then
        while IFS= read -r other; do
            [ "$(value preset "$other"):$(value batch "$other")" = "$preset:$batch" ] || continue
            others+=("$other")
            if [ "$(value dtype "$other"):$precision" = f32:f32 ] && [ "$losses" = "not known" ]; then
                losses="not PyTorch's"
                ! same "$first" "$(value loss_first "$other")" || ! same "$fifth" "$(value loss_5 "$other")" ||
                    losses="as PyTorch's"
            fi
        done <"$raw/pytorch.out"
    fi
    printf '| %s | %s | wgpt %s | %.2f | %.2f | %s | %.4f, %.4f: %s | |\n' "$preset" "$batch" "$precision" "$ms" \
        "$piped" "$(ratio "$gflops" 1000)" "$first" "$fifth" "$losses"
    for other in ${others[@]+"${others[@]}"}; do
        dtype=$(value dtype "$other") other_ms=$(value step_ms "$other") other_piped=$(value step_ms_pipelined "$other")
        printf '| %s | %s | PyTorch %s | %.2f | %.2f | %s | %.4f, %.4f | %s, %s |\n' "$preset" "$batch" "$dtype" \
            "$other_ms" "$other_piped" "$(ratio "$(value gflops "$other")" 1000)" "$(value loss_first "$other")" \
            "$(value loss_5 "$other")" "$(ratio "$other_ms" "$ms")" "$(ratio "$other_piped" "$piped")"
    done
}

# checked NAME FILE: a line on the kernels that a check found right and wrong.
checked() {
    local line right=0 wrong=
    [ -s "$2" ] || return 0
    while IFS= read -r line; do
        case $line in
        '{'*'"faults":[]'*'}') right=$((right + 1)) ;;
        '{'*'}') wrong="$wrong $(value kernel "$line")" ;;
        esac
    done <"$2"
    printf '%s: %d kernels correct, wrong:%s\n\n' "$1" "$right" "${wrong:- none}"
}

table() {
    local file line shape device
    printf '# %s\n\n%s, %s, %s. %s\n\n' "$adapter" "$version" "$(date -u +%Y-%m-%d)" "$(uname -sm)" "$gpu"
    printf 'A training step, with the loss read after each step (drained) and without (pipelined); the losses are the\n'
    printf 'first and that after five steps. The last column is the speed of wgpt over that of the row, for both times.\n\n'
    printf '| model | batch | program | ms drained | ms pipelined | TFLOP/s | losses | speed of wgpt |\n'
    printf '| --- | --- | --- | --- | --- | --- | --- | --- |\n'
    for file in "$raw"/step-*.out; do
        rows "$file"
    done
    printf '\n'
    checked check "$raw/check.out"
    checked check-all "$raw/check-all.out"
    if [ -s "$raw/pretraining.out" ]; then
        line=$(lines_with '"valid_loss"' "$raw/pretraining.out" | tail -n 1)
        [ -z "$line" ] || printf 'pretraining: validation loss %.4f after %s steps\n\n' "$(value valid_loss "$line")" \
            "$(value step "$line")"
    fi
    if [ -s "$raw/kernels.out" ]; then
        printf '| kernel | variant | shape | ms | device ms | GFLOP/s | GB/s |\n| --- | --- | --- | --- | --- | --- | --- |\n'
        while IFS= read -r line; do
            case $line in '{'*'}') ;; *) continue ;; esac
            shape=${line#*\"shape\":\{}
            shape=${shape%%\}*}
            device=$(value device_ms "$line")
            printf '| %s | %s | %s | %.3f | %s | %.1f | %.1f |\n' "$(value op "$line")" "$(value variant "$line")" \
                "${shape//\"/}" "$(value ms "$line")" "${device:0:8}" "$(value gflops "$line")" "$(value gbps "$line")"
        done <"$raw/kernels.out"
        printf '\n'
    fi
    printf 'parts:'
    for line in ${parts[@]+"${parts[@]}"}; do
        printf ' %s %s (%s s);' "$(value part "$line")" "$(value exit "$line")" "$(value seconds "$line")"
    done
    printf '\n'
}

# Sets the adapter that wgpt opens, and its kind.
choose_adapter() {
    local line index=0 name wanted
    wanted=$(printf '%s' "${WGPT_ADAPTER:-0}" | tr '[:upper:]' '[:lower:]')
    [ -e "$raw/devices.out" ] || return
    while IFS= read -r line; do
        name=$(value name "$line" | tr '[:upper:]' '[:lower:]')
        if [ "$wanted" = "$index" ] || { [ "$wanted" != 0 ] && [ "${name#*"$wanted"}" != "$name" ]; }; then
            adapter=$(value name "$line") kind=$(value kind "$line")
            return
        fi
        index=$((index + 1))
    done <"$raw/devices.out"
}

# step PRESET STEPS BATCH...: measures a step with the first batch that the device has memory and time for.
step() {
    local preset=$1 steps=$2 batch name code
    shift 2
    for batch; do
        name=step-$order-$preset-$batch code=0
        part "$name" 75 "$wgpt" bench step --preset "$preset" --batch "$batch" --steps "$steps" --profile --json || code=$?
        # Exit code 1 with a result: a wrong loss, which a smaller batch does not cure.
        if [ -n "$(objects "$raw/$name.out")" ]; then
            measured+=("$preset:$batch")
            [ "$code" -eq 0 ] || failed=1
            if grep -q '16x16x16 f16→f32' "$raw/devices.out"; then
                part "$name-mixed" 75 "$wgpt" bench step --preset "$preset" --batch "$batch" --steps "$steps" \
                    --precision mixed --profile --json || failed=1
            fi
            order=$((order + 1))
            return
        fi
    done
    failed=1
}

adapter=unknown kind=discrete slug='' measured=() order=1
version=$(within 10 "$wgpt" --version 2>/dev/null </dev/null) || version="wgpt of unknown version"
commit=$(git -C "$here" rev-parse --short=12 HEAD 2>/dev/null)
gpu=$(within 10 nvidia-smi --format=csv,noheader \
    --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory,power.limit 2>/dev/null | sed -n 1p)

part devices 30 "$wgpt" devices --json || failed=1
choose_adapter
slug=$(printf '%s' "$adapter" | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9' '-')
slug=${slug#-} slug=${slug%-}
save

if [ "$kind" = cpu ]; then
    step nano 3 8
    step mini 3 1
    step gpt1 3 1
else
    # Enough steps for the highest clocks of the small models.
    step nano 300 8
    step nano 100 64 16 4
    step mini 30 64 16 4
    step gpt1 5 64 16 4
fi

part check 120 "$wgpt" check --json || failed=1

torch=${here}/benches/torch_step.py
on=cuda dtypes=f32,tf32,bf16
if [ "$kind" = cpu ]; then
    # Threads that wait by turning take the time of others on a shared machine.
    export OMP_WAIT_POLICY=PASSIVE
    on=cpu dtypes=f32
fi
if [ ${#measured[@]} -eq 0 ]; then
    skip pytorch "there is no step to compare with"
elif [ ! -e "$torch" ] || ! command -v "$python" >/dev/null; then
    skip pytorch "there is no $torch or no $python"
else
    code=0
    part pytorch 180 "$python" "$torch" --device "$on" --dtypes "$dtypes" "${measured[@]}" || code=$?
    # 3: Python has no PyTorch for this device.
    [ "$code" -eq 0 ] || [ "$code" -eq 3 ] || failed=1
fi

if [ "$quick" = no ]; then
    part kernels 240 "$wgpt" bench kernels --json || failed=1

    # As many steps of nano as take 45 seconds.
    ms=1000
    for file in "$raw"/step-*-nano-8.out; do
        ! line=$(objects "$file") || [ -z "$line" ] || ms=$(thousandths "$(value step_ms_pipelined "$line")")
    done
    steps=$((45000000 / (ms > 0 ? ms : 1)))
    [ "$steps" -le 5000 ] || steps=5000
    [ "$steps" -ge 50 ] || steps=50
    run=$work/run
    if [ -n "${WGPT_TEXT:-}" ]; then
        part pretraining 120 "$wgpt" pretrain --data "$WGPT_TEXT" --steps "$steps" --out "$run" || failed=1
    else
        part pretraining 120 "$wgpt" demo --steps "$steps" --out "$run" || failed=1
    fi
    # The last step and every evaluation.
    if [ -e "$run/metrics.jsonl" ]; then
        {
            lines_with '"valid_loss"' "$run/metrics.jsonl"
            lines_with '"loss"' "$run/metrics.jsonl" | tail -n 1
        } >>"$raw/pretraining.out"
        save
    fi

    part check-all 300 "$wgpt" check --all --json || failed=1
fi

cat "$out/table.txt"
printf 'gpu.sh: %d s; results: %s\n' "$SECONDS" "$out/$slug.json" >&2
exit "$failed"
