#!/usr/bin/env bash
# Fine-tunes on five real tasks, from scratch and from a model pretrained on the tasks' texts, three seeds a row:
#   scripts/tasks.sh DATA OUT [ROW…]
# DATA holds the folders sst2, sick, msr-paraphrase, mctest and wikitext-2. A ROW is TASK:START:LM_COEF: the task sst2,
# sst2-words (all rows of SST-2 and a vocabulary of words, from scratch alone), sick-entail, sick-relate, msr or mctest; the
# start scratch or pretrained; the coefficient 0.5 or 0. Without ROWs it runs the rows that docs/results.md reports. The
# results of a row are in OUT/ROW.txt; a row that has this file already is not run again.
set -euo pipefail
shopt -s inherit_errexit

if [ $# -lt 2 ]; then
    sed -n '3s/^# */usage: /p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
data=$(realpath "$1")
out=$2
shift 2
wgpt=${WGPT:-$(dirname "${BASH_SOURCE[0]}")/../target/release/wgpt}
mkdir -p "$out"

# The contexts of mctest have up to 900 tokens.
short=(--vocab-size 2048 --n-positions 256)
long=(--vocab-size 2048 --n-positions 1024 --attention-pattern LMLML --n-layer 5 --n-embd 64)
# Most words of SST-2 are one token. With a coefficient of 0, the size of the vocabulary hardly changes the time.
words=(--vocab-size 8192 --n-positions 128 --n-layer 2 --n-embd 64 --n-head 2 --initializer-range 0.07 --dropout 0.1)

# Writes the texts to pretrain on: the tasks' training texts and the validation part of WikiText-2. The two texts of a pair
# are on consecutive lines, since one helps to predict the other. Most phrases of SST-2 are parts of longer ones: only those
# above 100 characters are taken.
texts() {
    [ ! -e "$out/texts" ] || return 0
    local new="$out/texts.new"
    rm -rf "$new"
    mkdir "$new"
    tail -n +2 "$data/sick/train.tsv" | cut -f2,3 | tr '\t' '\n' >"$new/sick.txt"
    tail -n +2 "$data/msr-paraphrase/train.tsv" | tr -d '\r' | cut -f4,5 | tr '\t' '\n' >"$new/msr.txt"
    tail -n +2 "$data/sst2/train.tsv" | cut -f1 | awk 'length > 100' | LC_ALL=C sort -u >"$new/sst2.txt"
    sed -E 's/^\{"context": "(([^"\\]|\\.)*)".*/\1/; s/\\(.)/\1/g' "$data/mctest/train.jsonl" | uniq >"$new/mctest.txt"
    cp "$data/wikitext-2/valid.txt" "$new/wikitext.txt"
    mv "$new" "$out/texts"
}

# pretrain NAME OPTION…: trains the model OUT/NAME, unless it is complete.
pretrain() {
    local model=$out/$1
    shift
    [ ! -e "$model.done" ] || return 0
    texts
    rm -rf "$model"
    "$wgpt" pretrain --data "$out/texts" --pretokenizer bert --lr 1e-3 --out "$model" "$@"
    touch "$model.done"
}

# first COUNT FILE: writes the first lines of FILE to a file in OUT and prints its path.
first() {
    local file
    file=$out/first-$1-$(basename "$(dirname "$2")").${2##*.}
    head -n "$1" "$2" >"$file"
    printf '%s\n' "$file"
}

# row TASK:START:LM_COEF: fine-tunes and writes OUT/TASK:START:LM_COEF.txt.
row() {
    local task start lm_coef train model=pretrained shape=("${short[@]}") lr=1e-3 warmup=0.1 command
    IFS=: read -r task start lm_coef <<<"$1"
    [ ! -e "$out/$1.txt" ] || return 0
    case $task in
    sst2)
        train=$(first 20001 "$data/sst2/train.tsv")
        command=(classify --train "$train" --valid "$data/sst2/dev.tsv")
        command+=(--text sentence --label label --epochs 1)
        ;;
    sst2-words)
        command=(classify --train "$data/sst2/train.tsv" --valid "$data/sst2/dev.tsv")
        command+=(--text sentence --label label --epochs 2)
        model='' shape=("${words[@]}") lr=2e-3 warmup=0.05
        ;;
    sick-entail)
        command=(entail --train "$data/sick/train.tsv" --valid "$data/sick/dev.tsv")
        command+=(--premise sentence_A --hypothesis sentence_B --label entailment_judgment --epochs 3)
        ;;
    sick-relate)
        command=(similar --train "$data/sick/train.tsv" --valid "$data/sick/dev.tsv")
        command+=(--a sentence_A --b sentence_B --score relatedness_score --epochs 2)
        ;;
    msr)
        command=(similar --train "$data/msr-paraphrase/train.tsv" --valid "$data/msr-paraphrase/val.tsv")
        command+=(--a '#1 String' --b '#2 String' --label Quality --epochs 1 --batch 16)
        ;;
    mctest)
        train=$(first 300 "$data/mctest/train.jsonl")
        command=(choose --train "$train" --valid "$data/mctest/dev.jsonl")
        command+=(--context context --choices choices --label label --epochs 1 --batch 4)
        model=pretrained-long shape=("${long[@]}")
        ;;
    *)
        echo "$1: unknown task \"$task\": must be sst2, sst2-words, sick-entail, sick-relate, msr or mctest" >&2
        return 2
        ;;
    esac
    case $start:$model in
    scratch:*) command+=(--from-scratch --pretokenizer bert "${shape[@]}") ;;
    pretrained:pretrained) pretrain "$model" "${shape[@]}" --steps 3000 ;;
    pretrained:pretrained-long) pretrain "$model" "${shape[@]}" --steps 2000 --batch 2 ;;
    pretrained:)
        echo "$1: no model is pretrained for this task: the start must be scratch" >&2
        return 2
        ;;
    *)
        echo "$1: unknown start \"$start\": must be scratch or pretrained" >&2
        return 2
        ;;
    esac
    [ "$start" = scratch ] || command+=(--model "$out/$model")
    rm -rf "${out:?}/$1"
    command+=(--lm-coef "$lm_coef" --lr "$lr" --warmup "$warmup" --seeds "1,2,3" --out "$out/$1")
    "$wgpt" finetune "${command[@]}" >"$out/$1.new"
    mv "$out/$1.new" "$out/$1.txt"
}

if [ $# -eq 0 ]; then
    for task in sick-entail sick-relate msr sst2 mctest; do
        set -- "$@" "$task:scratch:0.5" "$task:pretrained:0.5" "$task:pretrained:0"
    done
    set -- "$@" sst2-words:scratch:0
fi
for name; do
    row "$name"
    printf '\n%s\n' "$name"
    cat "$out/$name.txt"
done
