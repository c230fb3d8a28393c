"""The side of Hugging Face transformers in tests/it/hugging_face.rs: `python hugging_face.py PLACE`.

PLACE holds request.json. It names model folders, which are loaded as any user would load them. Token ids of texts, the loss
of each token and greedy tokens are written to reply.json. The first model is saved in PLACE/saved/ in every form that
transformers writes, with a tokenizer, for the Rust side to load. For fine-tuned models the reply has the outputs of their
heads for rows of texts.
"""

import json
import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")

import safetensors.torch
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, OpenAIGPTDoubleHeadsModel, OpenAIGPTModel


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def load(folder):
    """The model in float64, and the names of tensors that are missing, unexpected or mismatched."""
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    misfits = [str(name) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in report[key]]
    return model.double().eval(), [name for name in misfits if name != "lm_head.weight"]


@torch.no_grad()
def token_losses(model, ids):
    """Consecutive windows of n_positions targets, each token but the first predicted once."""
    losses = []
    step = model.config.n_positions
    for start in range(0, len(ids) - 1, step):
        end = min(start + step, len(ids) - 1)
        logits = model(torch.tensor([ids[start:end]])).logits[0]
        targets = torch.tensor(ids[start + 1 : end + 1])
        losses += torch.nn.functional.cross_entropy(logits, targets, reduction="none").tolist()
    return losses


@torch.no_grad()
def greedy(model, prompt, count):
    ids = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=count, pad_token_id=0)
    return ids[0, len(prompt) :].tolist()


def answer(folder, request):
    model, misfits = load(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = encode(tokenizer, request["held_out"])[: request["tokens"] + 1]
    prompts = [ids[start : start + length] for start, length in request["prompts"]]
    texts = [encode(tokenizer, text) for text in request["texts"]]
    return {
        "misfits": misfits,
        "ids": ids,
        "losses": token_losses(model, ids),
        "greedy": [greedy(model, prompt, model.config.n_positions - len(prompt)) for prompt in prompts],
        "texts": texts,
        "decoded": [tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in texts],
    }


def save_forms(folder, place, ids):
    """Saves the model in every form that transformers writes; returns the losses of the model that is loaded from each."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    new = lambda kind=AutoModelForCausalLM: kind.from_pretrained(folder, dtype=torch.float32)
    new().save_pretrained(place / "f32")
    new().half().save_pretrained(place / "f16")
    new().bfloat16().save_pretrained(place / "bf16")
    new().save_pretrained(place / "sharded", max_shard_size="20KB")
    new().half().save_pretrained(place / "sharded-f16", max_shard_size="20KB")
    new(OpenAIGPTModel).save_pretrained(place / "bare")
    new(OpenAIGPTDoubleHeadsModel).save_pretrained(place / "double-heads")
    # As in old folders: the head beside the embedding that it is tied to, and the buffers of the causal mask.
    model = new()
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    positions = model.config.n_positions
    for layer in range(model.config.n_layer):
        tensors[f"transformer.h.{layer}.attn.bias"] = torch.tril(torch.ones(1, 1, positions, positions))
    (place / "head-and-masks").mkdir(parents=True)
    model.config.save_pretrained(place / "head-and-masks")
    safetensors.torch.save_file(tensors, place / "head-and-masks/model.safetensors", {"format": "pt"})
    losses = {}
    for form in sorted(place.iterdir()):
        tokenizer.save_pretrained(form)
        losses[form.name] = token_losses(load(form)[0], ids)
    return losses


def save_tokenizer(folder, place, kind):
    """Loads the vocabulary and merges of a folder's tokenizer.json with transformers' class for them, and saves them."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    place.mkdir(parents=True)
    (place / "vocab.json").write_text(json.dumps(model["vocab"]))
    (place / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in model["merges"]))
    tokenizer = kind.from_pretrained(place)
    tokenizer.save_pretrained(place / "saved")
    return tokenizer


def load_head(folder):
    """A fine-tuned model of the class that config.json names, its tokenizer, and the names of tensors that do not fit."""
    name = AutoConfig.from_pretrained(folder).architectures[0]
    model, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    misfits = [str(name) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in report[key]]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return model.double().eval(), tokenizer, [name for name in misfits if name != "lm_head.weight"]


@torch.no_grad()
def head_logits(model, tokenizer, rows):
    """Logits of the head for each row (one text, two, or a context and its candidates), and the ids of the tokens."""
    options = {"padding": True, "truncation": True, "max_length": model.config.n_positions, "return_tensors": "pt"}
    if isinstance(model, OpenAIGPTDoubleHeadsModel):
        logits, ids = [], []
        for context, candidates in rows:
            encoded = tokenizer([context] * len(candidates), candidates, **options)
            last = encoded["attention_mask"].sum(-1) - 1
            # The class takes no mask for padded candidates. Attention is causal, so padding after a token does not change it.
            output = model(input_ids=encoded["input_ids"][None], mc_token_ids=last[None])
            logits.append(output.mc_logits[0].tolist())
            ids += real_ids(encoded)
        return logits, ids
    encoded = tokenizer(*[list(column) for column in zip(*rows)], **options)
    return model(**encoded).logits.tolist(), real_ids(encoded)


def real_ids(encoded):
    return [row[mask.bool()].tolist() for row, mask in zip(encoded["input_ids"], encoded["attention_mask"])]


def labels(model, logits):
    """The labels of logits as transformers names them; of a score the number, of candidates the index."""
    if isinstance(model, OpenAIGPTDoubleHeadsModel):
        return [max(range(len(row)), key=row.__getitem__) for row in logits]
    if model.config.problem_type == "regression":
        return [row[0] for row in logits]
    return [model.config.id2label[max(range(len(row)), key=row.__getitem__)] for row in logits]


def answer_head(folder, rows, again):
    model, tokenizer, misfits = load_head(folder)
    logits, ids = head_logits(model, tokenizer, rows)
    model.float().save_pretrained(again)
    tokenizer.save_pretrained(again)
    return {"class": type(model).__name__, "misfits": misfits, "logits": logits, "ids": ids, "labels": labels(model, logits)}


def refusal(folder):
    try:
        load(folder)
    except ValueError as error:
        return str(error)


def main():
    place = Path(sys.argv[1])
    request = json.loads((place / "request.json").read_text())
    reply = {"versions": {"transformers": transformers.__version__, "torch": torch.__version__}}
    reply["refusals"] = [refusal(folder) for folder in request["refused"]]
    folders = {name: Path(folder) for name, folder in request.get("folders", {}).items()}
    reply["folders"] = {name: answer(folder, request) for name, folder in folders.items()}
    if folders:
        reply["saved"] = save_forms(folders["bytes"], place / "saved", reply["folders"]["bytes"]["ids"])
    kinds = {"bytes": transformers.GPT2TokenizerFast, "bert": transformers.OpenAIGPTTokenizerFast}
    reply["tokenizers"] = {}
    for name, folder in folders.items():
        tokenizer = save_tokenizer(folder, place / "tokenizers" / name, kinds[name])
        reply["tokenizers"][name] = [encode(tokenizer, text) for text in request["texts"]]
    heads = request.get("heads", {}).items()
    reply["heads"] = {name: answer_head(head["folder"], head["rows"], place / "again" / name) for name, head in heads}
    (place / "reply.json").write_text(json.dumps(reply))


main()
