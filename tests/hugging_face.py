"""Hugging Face's side of tests/hugging_face.rs: `python hugging_face.py PLACE`.

PLACE holds request.json. The folders of models that it names are loaded as any user would load them, and what they give
is written to reply.json: ids of texts, the loss of each token, greedy tokens. Of the first model every form that
transformers writes is saved in PLACE/saved/, with a tokenizer, for the Rust side to load.
"""

import json
import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")

import safetensors.torch
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, OpenAIGPTDoubleHeadsModel, OpenAIGPTModel


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def load(folder):
    """The model in float64, and the names of tensors that were missing or had no place."""
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
    """Every form in which transformers writes the model, and its losses after a round trip through each."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    new = lambda kind=AutoModelForCausalLM: kind.from_pretrained(folder, dtype=torch.float32)
    new().save_pretrained(place / "f32")
    new().half().save_pretrained(place / "f16")
    new().bfloat16().save_pretrained(place / "bf16")
    new().save_pretrained(place / "sharded", max_shard_size="20KB")
    new().half().save_pretrained(place / "sharded-f16", max_shard_size="20KB")
    new(OpenAIGPTModel).save_pretrained(place / "bare")
    new(OpenAIGPTDoubleHeadsModel).save_pretrained(place / "double-heads")
    # As old folders have it: the head beside the table that it is tied to, and the buffers of the causal mask.
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
    """The vocabulary and merges of a folder's tokenizer.json by way of transformers' own class for them."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    place.mkdir(parents=True)
    (place / "vocab.json").write_text(json.dumps(model["vocab"]))
    (place / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in model["merges"]))
    tokenizer = kind.from_pretrained(place)
    tokenizer.save_pretrained(place / "saved")
    return tokenizer


def main():
    place = Path(sys.argv[1])
    request = json.loads((place / "request.json").read_text())
    folders = {name: Path(folder) for name, folder in request["folders"].items()}
    reply = {"versions": {"transformers": transformers.__version__, "torch": torch.__version__}}
    reply["folders"] = {name: answer(folder, request) for name, folder in folders.items()}
    reply["saved"] = save_forms(folders["bytes"], place / "saved", reply["folders"]["bytes"]["ids"])
    kinds = {"bytes": transformers.GPT2TokenizerFast, "bert": transformers.OpenAIGPTTokenizerFast}
    reply["tokenizers"] = {}
    for name, kind in kinds.items():
        tokenizer = save_tokenizer(folders[name], place / "tokenizers" / name, kind)
        reply["tokenizers"][name] = [encode(tokenizer, text) for text in request["texts"]]
    try:
        load(request["refused"])
        reply["refusal"] = None
    except ValueError as error:
        reply["refusal"] = str(error)
    (place / "reply.json").write_text(json.dumps(reply))


main()
