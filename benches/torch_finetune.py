"""A fine-tuning run of wgpt, repeated in PyTorch: `python benches/torch_finetune.py RUN [--steps N]`.

RUN is a run folder of `wgpt finetune classify|entail` with TSV files. This program reads its config.toml, of which it
supports the values in EXPECTED, and starts from its checkpoint of step 0: the class of transformers for that checkpoint,
AdamW, examples padded to the longest of the batch, L3 = L2 + λ·L1. It prints one line per optimizer step, as in
metrics.jsonl, and at the end the examples per second. The order of the examples differs from wgpt's. Therefore the losses
are equal only if one batch holds all examples and classifier_dropout is 0.
"""

import argparse
import csv
import json
import math
import os
import time
import tomllib
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")

import torch
import transformers
from transformers import AutoTokenizer, OpenAIGPTForSequenceClassification


# Settings of which this program supports one value.
EXPECTED = {"schedule": "linear", "optimizer": "adamw", "accumulate": 1, "layer_lr_decay": 1.0, "unfreeze": False, "patience": 0}


def read(settings, model, tokenizer):
    """Returns ids and label of every example."""
    columns = [settings[name] for name in ("text", "premise", "hypothesis") if name in settings]
    with open(settings["train"], encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    options = {"truncation": True, "max_length": model.config.n_positions}
    ids = tokenizer(*[[row[column] for row in rows] for column in columns], **options)["input_ids"]
    return [(torch.tensor(row_ids), model.config.label2id[row[settings["label"]]]) for row_ids, row in zip(ids, rows)]


def losses(model, rows, lm_coef):
    """Returns L2 and L1 of a batch: means over its examples and over its targets without padding. L1 is 0 if λ is 0."""
    last = torch.tensor([len(ids) - 1 for ids, _ in rows])
    ids = torch.nn.utils.rnn.pad_sequence([ids for ids, _ in rows], True, model.config.pad_token_id)
    targets = torch.nn.utils.rnn.pad_sequence([ids[1:] for ids, _ in rows], True, -100)
    hidden = model.transformer(ids).last_hidden_state
    pooled = hidden[torch.arange(len(rows)), last]
    pooled = torch.nn.functional.dropout(pooled, model.config.summary_first_dropout, model.training)
    task = torch.nn.functional.cross_entropy(model.score(pooled), torch.tensor([label for _, label in rows]))
    if lm_coef == 0:
        return task, torch.zeros(())
    logits = hidden[:, :-1] @ model.transformer.tokens_embed.weight.T
    return task, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


def learning_rate(settings, warmup, steps, done):
    """Returns the learning rate of a step: linear warm-up, then linear to 0."""
    if done < warmup:
        return settings["lr"] * (done + 1) / warmup
    return settings["lr"] * (1 - (done - warmup) / max(1, steps - warmup))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=0, help="optimizer steps; 0: the whole run")
    arguments = parser.parse_args()
    settings = tomllib.loads((arguments.run / "config.toml").read_text())
    for key, value in EXPECTED.items():
        if settings.get(key, value) != value:
            raise SystemExit(f"{arguments.run}: {key} = {settings[key]!r}: only {value!r} is supported")
    torch.manual_seed(settings["seed"])
    folder = arguments.run / "checkpoints/step-000000"
    model, tokenizer = OpenAIGPTForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = read(settings, model, tokenizer)
    size = settings["batch"]
    steps = settings["epochs"] * math.ceil(len(rows) / size)
    warmup = settings["warmup"] if settings["warmup"] >= 1 else math.ceil(settings["warmup"] * steps)
    tensors = list(model.parameters())
    decay = [{"params": [x for x in tensors if (x.dim() > 1) == is_matrix]} for is_matrix in (True, False)]
    decay[0]["weight_decay"], decay[1]["weight_decay"] = settings["weight_decay"], 0.0
    options = {"betas": (settings["beta1"], settings["beta2"]), "eps": settings["eps"]}
    optimizer = torch.optim.AdamW(decay, lr=settings["lr"], **options)
    generator = torch.Generator().manual_seed(settings["seed"])
    model.train()
    done, examples, begin = 0, 0, time.perf_counter()
    for _ in range(settings["epochs"]):
        order = torch.randperm(len(rows), generator=generator).tolist()
        for start in range(0, len(rows), size):
            batch = [rows[index] for index in order[start : start + size]]
            task, lm = losses(model, batch, settings["lm_coef"])
            (task + settings["lm_coef"] * lm).backward()
            if settings["clip"] > 0:
                torch.nn.utils.clip_grad_norm_(tensors, settings["clip"])
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, warmup, steps, done)
            optimizer.step()
            optimizer.zero_grad()
            done, examples = done + 1, examples + len(batch)
            print(json.dumps({"step": done, "task_loss": task.item(), "lm_loss": lm.item()}))
            if done == arguments.steps:
                break
        if done == arguments.steps:
            break
    seconds = time.perf_counter() - begin
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads"
    print(f"{examples / seconds:.1f} examples per second ({examples} in {seconds:.1f} s; {versions})")


main()
