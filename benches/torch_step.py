"""The training steps of `wgpt bench step` in PyTorch: `python benches/torch_step.py PRESET:BATCH...`.

Weights and batch come from the hash of src/cli/bench/fixture.rs, and the step has no dropout and no clipping, so the losses
in f32 must be those of wgpt. Prints one JSON object per line, with the keys of `wgpt bench step --json`: the median time of
a step after which the loss is read, and the mean time of steps between which it is not. Attention is PyTorch's fused
kernel, AdamW the fused one. bf16 is torch.autocast. Exit code 3 if there is no PyTorch for the device.

    python benches/torch_step.py --device cuda --dtypes f32,tf32,bf16 nano:64 gpt1:64
"""

import argparse
import json
import statistics
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(3)

# Layers, width, heads, positions, vocabulary. gpt1 has three tokens more than published, for tasks.
PRESETS = {"nano": (4, 128, 4, 128, 512), "mini": (6, 384, 6, 256, 8192), "gpt1": (12, 768, 12, 512, 40481)}
WARM_UP = 3
MASK_32 = (1 << 32) - 1


def signed(number):
    """The 64-bit word `number` as an int64, which has its own arithmetic modulo 2^64."""
    return number - (1 << 64) if number >> 63 else number


def shifted(words, bits):
    """Words shifted to the right, with zeros from the left."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def splitmix64(words):
    """The output of splitmix64 in each of these states (Steele, Lea & Flood 2014)."""
    words = words + signed(0x9E3779B97F4A7C15)
    words = (words ^ shifted(words, 30)) * signed(0xBF58476D1CE4E5B9)
    words = (words ^ shifted(words, 27)) * signed(0x94D049BB133111EB)
    return words ^ shifted(words, 31)


def states(first, count, device):
    return torch.arange(count, dtype=torch.int64, device=device) + first


def weights(tensor, shape, device):
    """The weight tensor with this number: uniform, mean 0, standard deviation 0.02."""
    count = shape[0] * shape[1]
    unit = shifted(splitmix64(states(tensor << 40, count, device)), 40).double() / (1 << 24)
    return ((unit - 0.5) * 2.0 * 3**0.5 * 0.02).float().view(shape)


def token_ids(count, vocabulary, device):
    """The hash modulo the vocabulary's size, as of an unsigned word."""
    words = splitmix64(states(1 << 62, count, device))
    high, low = shifted(words, 32), words & MASK_32
    return (high % vocabulary * ((1 << 32) % vocabulary) + low % vocabulary) % vocabulary


class Layer(nn.Module):
    """A decoder layer: norms after the additions, as in GPT-1."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.attention, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def matrices(self):
        return [self.attention, self.projection, self.widen, self.narrow]

    def forward(self, x):
        heads = self.attention(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(2)
        x = self.norm_1(x + self.projection(mixed))
        return self.norm_2(x + self.narrow(functional.gelu(self.widen(x), approximate="tanh")))


class Decoder(nn.Module):
    """The model of a preset. The output layer is the token table."""

    def __init__(self, preset, device):
        super().__init__()
        layers, width, heads, self.positions, self.vocabulary = PRESETS[preset]
        with torch.device(device):
            self.tokens, self.places = nn.Embedding(self.vocabulary, width), nn.Embedding(self.positions, width)
            self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        matrices = [matrix for layer in self.layers for matrix in layer.matrices()]
        with torch.no_grad():
            for number, table in enumerate([self.tokens, self.places]):
                table.weight.copy_(weights(number, table.weight.shape, device))
            for number, matrix in enumerate(matrices, start=2):
                # wgpt's matrices are [in, out].
                matrix.weight.copy_(weights(number, (matrix.in_features, matrix.out_features), device).T)
                matrix.bias.zero_()

    def forward(self, ids, targets):
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        logits = functional.linear(x, self.tokens.weight)
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def step_flops(preset, rows):
    """Operations of a step, counted as `wgpt bench step` does, whichever of them a kernel really executes."""
    layers, width, _, positions, vocabulary = PRESETS[preset]
    products = layers * 12 * width * width + vocabulary * width
    return rows * (6.0 * products + 7.0 * layers * (positions + 1) * width)


def measure(preset, batch, dtype, steps, device):
    cuda = device == "cuda"
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    model = Decoder(preset, device)
    rows = batch * model.positions
    ids = token_ids(batch * (model.positions + 1), model.vocabulary, device).view(batch, -1)
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=2.5e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, fused=True
    )

    def step():
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bf16"):
            loss = model(inputs, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    losses, times, first_step_s = [], [], 0.0
    for number in range(WARM_UP + steps):
        start = time.perf_counter()
        losses.append(step().item())
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        if number == 0:
            first_step_s = time.perf_counter() - begin
    seconds = statistics.median(times[WARM_UP:])
    start = time.perf_counter()
    for _ in range(steps):
        step()
    if cuda:
        torch.cuda.synchronize()
    pipelined = (time.perf_counter() - start) / steps
    return {
        "preset": preset,
        "batch": batch,
        "adapter": torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads",
        "program": f"PyTorch {torch.__version__}",
        "dtype": dtype,
        "step_ms": seconds * 1e3,
        "step_ms_pipelined": pipelined * 1e3,
        "tokens_per_second": rows / seconds,
        "gflops": step_flops(preset, rows) / seconds / 1e9,
        "peak_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "loss_first": losses[0],
        "loss_5": losses[5],
        "first_step_s": first_step_s,
    }


def case(text):
    preset, _, batch = text.partition(":")
    if preset not in PRESETS or not batch.isdigit() or int(batch) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected PRESET:BATCH, with a preset of {', '.join(PRESETS)}")
    return preset, int(batch)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", type=case, metavar="PRESET:BATCH")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--dtypes", default="f32,tf32,bf16", help="names of f32, tf32 and bf16, separated by commas")
    parser.add_argument("--steps", type=int, default=10, help="steps that are timed, 3 or more")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("PyTorch has no CUDA device", file=sys.stderr)
        sys.exit(3)
    failed = False
    # The largest model first: it matters most if the time is short.
    for preset, batch in reversed(arguments.cases):
        for dtype in arguments.dtypes.split(","):
            try:
                result = measure(preset, batch, dtype, max(arguments.steps, 3), arguments.device)
                print(json.dumps(result, separators=(",", ":")), flush=True)
            except torch.OutOfMemoryError as error:
                print(f"{preset}:{batch} {dtype}: {error}".splitlines()[0], file=sys.stderr)
                failed = True
            if arguments.device == "cuda":
                torch.cuda.empty_cache()
    sys.exit(failed)


if __name__ == "__main__":
    main()
