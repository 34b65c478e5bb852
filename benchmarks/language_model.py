"""A small character-level language model compared with a plain PyTorch GPT, as in nanoGPT on a CPU.

    python benchmarks/language_model.py --write docs/benchmarks.md

4 layers, 4 heads, width 128, windows of 64 characters, 12 per batch, 2,000 steps, no dropout,
pre-LN, one matrix for embedding and logits, AdamW with the same learning rates for all. The text is
WikiText-2; all systems see the same windows, redrawn for each seed; the loss is computed on the
whole validation text. Each run uses a separate process, one at a time; its seconds are training
time, including compilation but not validation.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time

import numpy as np
from page import machine, shown_options, write_section
from processes import print_result, result_of
from products import products_of_step

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIZE = {"num_layers": 4, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 512}
CONTEXT, BATCH, STEPS = 64, 12, 2000
PARTS = 10  # of a training, timed separately
PRODUCTS_STEPS = 50  # per part, for the bare products
WARMUP, PEAK, LEAST = 100, 1e-3, 1e-4
STDDEV = 0.02  # nanoGPT's initial standard deviation, at any width
BETAS, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.99), 0.1, 1.0
VALIDATION_BATCH = 256
BACKENDS = ("tensorflow", "jax", "torch")
FEWER, SOONER_ON = 1500, "jax"  # steps and backend of a shorter training of our model
NAMES = {
    "torch": "plain PyTorch",
    "torch_scaled": "plain PyTorch, width-scaled initialization",
    "ours": "keras_transformer",
    "sooner": f"keras_transformer, {FEWER:,} steps",
    "products": "bare products",
}
TITLE = "A language model in nanoGPT's setting"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--backends", nargs="+", default=list(BACKENDS), help="backends to run ours on"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of runs of each system")
    parser.add_argument("--title", default=TITLE, help="title of the section")
    parser.add_argument("--write", help="Markdown page to write the section to")
    parser.add_argument("--measure", help="run one system with one seed, print JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        system, seed = arguments.measure.split(",")
        print_result(measure(system, int(seed)))
        return
    runs = [("torch", "torch"), ("torch_scaled", "torch")]
    for backend in arguments.backends:
        sooner = ["sooner"] if backend == SOONER_ON else []
        runs += [(system, backend) for system in ("ours", *sooner, "products")]
    results: dict = {run: [] for run in runs}
    for seed in range(arguments.seeds):
        for system, backend in runs:
            result = result_of(__file__, "--measure", f"{system},{seed}", KERAS_BACKEND=backend)
            print(f"{NAMES[system]} on {backend}, seed {seed}: {result}", flush=True)
            results[system, backend].append(result)
    body = section(results, arguments)
    print(body)
    if arguments.write:
        write_section(arguments.write, arguments.title, body)


def section(results: dict, arguments: argparse.Namespace) -> str:
    """The section with the table: means over the seeds; ratios of times within a seed."""
    rows = []
    plain = results["torch", "torch"]
    for (system, backend), found in results.items():
        losses = [result["loss"] for result in found if "loss" in result]
        pairs = list(zip(found, plain, strict=True))
        cells = [f"{NAMES[system]}, {backend}"]
        if losses:
            cells += [
                f"{found[0]['parameters']:,}",
                f"{statistics.mean(losses):.4f}",
                f"{statistics.stdev(losses) if losses[1:] else 0.0:.4f}",
                f"{statistics.mean(result['seconds'] for result in found):.1f}",
                f"{statistics.median(a['seconds'] / b['seconds'] for a, b in pairs):.2f}",
            ]
        else:  # bare products train nothing
            cells += [""] * 5
        cells.append(f"{statistics.median(a['step'] / b['step'] for a, b in pairs):.2f}")
        cells.insert(5, f"{min(result['step'] for result in found):.1f}")
        rows.append("| " + " | ".join(cells) + " |")
    columns = (
        "system",
        "parameters",
        "validation loss",
        "spread over seeds",
        "seconds of training",
        "best ms per step",
        "seconds / plain PyTorch's",
        "best step / plain PyTorch's",
    )
    head = "| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|\n"
    options = shown_options(arguments, backends=list(BACKENDS), seeds=3, title=TITLE)
    return f"""```bash
python benchmarks/language_model.py{options} --write docs/benchmarks.md
```

Characters of WikiText-2, {SIZE["num_layers"]} layers, {SIZE["num_heads"]} heads, width
{SIZE["hidden_dim"]}, windows of {CONTEXT} characters, {BATCH} per batch, {STEPS:,} steps without
dropout. AdamW with {WARMUP} warmup steps to {PEAK:g} and cosine decay to {LEAST:g}, weight decay
{WEIGHT_DECAY}, gradients clipped to a norm of {CLIP_NORM:g}. All systems see the same windows in
the same order. The loss, in nats per character, is computed on the whole validation text: its mean
and standard deviation over {arguments.seeds} seeds. Our model has biases; the plain GPT has none.
The plain GPT is initialized with a standard deviation of {STDDEV}, as in nanoGPT; ours with
{our_stddev():.3f}, scaled by its width. TensorFlow runs without XLA. Seconds are means and include
tracing the first step. The best step is the average over the fastest tenth of a training, because
this machine sometimes runs both TensorFlow threads on one core for minutes. Ratios of times are
medians over the seeds; below 1 is faster. Bare products are the matrix products of such a step,
forward and backward, and nothing else.

{head}{chr(10).join(rows)}

{machine()}
"""


def measure(system: str, seed: int) -> dict:
    """Trains one system; returns its validation loss and its times."""
    vocabulary_size, train, validation = texts()
    if system == "products":
        return {"step": products_step(vocabulary_size)}
    steps = FEWER if system == "sooner" else STEPS
    starts = np.random.default_rng(seed).integers(0, len(train) - CONTEXT, steps * BATCH)
    windows = train[starts[:, None] + np.arange(CONTEXT + 1)]
    held_out = validation[: len(validation) // CONTEXT * CONTEXT + 1]
    inputs = held_out[:-1].reshape(-1, CONTEXT)
    labels = held_out[1:].reshape(-1, CONTEXT)
    if system in ("ours", "sooner"):
        result = train_ours(vocabulary_size, seed, windows, inputs, labels)
    else:
        stddev = our_stddev() if system == "torch_scaled" else STDDEV
        result = train_torch(vocabulary_size, seed, windows, inputs, labels, stddev)
    parameters, seconds, loss = result
    step = 1000 * min(seconds) * PARTS / steps
    return {"parameters": parameters, "seconds": sum(seconds), "step": step, "loss": loss}


def texts() -> tuple[int, np.ndarray, np.ndarray]:
    """Both texts as character ids; 0 is padding, and characters not in the first are dropped."""
    import keras_transformer as kt

    train, validation, _ = kt.datasets.wikitext2.load_data()
    train, validation = ("\n".join(text.lines) for text in (train, validation))
    numbers = {character: index for index, character in enumerate(sorted(set(train)), start=1)}

    def encode(text):
        return np.array([numbers[each] for each in text if each in numbers], "int32")

    return len(numbers) + 1, encode(train), encode(validation)


def train_ours(vocabulary_size, seed, windows, inputs, labels) -> tuple[int, list[float], float]:
    """Plain `compile` and `fit`."""
    import keras

    import keras_transformer as kt

    keras.utils.set_random_seed(seed)
    model = kt.models.gpt(
        vocabulary_size, **SIZE, max_length=CONTEXT, dropout=0.0, normalize_first=True
    )
    optimizer = kt.training.DecoupledAdamW(
        learning_rate(len(windows) // BATCH),
        weight_decay=WEIGHT_DECAY,
        beta_1=BETAS[0],
        beta_2=BETAS[1],
        epsilon=1e-8,
        global_clipnorm=CLIP_NORM,
    )
    # On a CPU, TensorFlow is faster without XLA.
    without_xla = keras.backend.backend() == "tensorflow"
    model.compile(
        optimizer,
        kt.training.MaskedCrossentropy(),
        jit_compile=False if without_xla else "auto",
    )
    # Otherwise TensorFlow traces the first step twice, once to create the optimizer's variables.
    optimizer.build(model.trainable_variables)
    seconds = []
    for part in np.split(windows, PARTS):
        started = time.perf_counter()
        model.fit(part[:, :-1], part[:, 1:], batch_size=BATCH, shuffle=False, verbose=0)
        seconds.append(time.perf_counter() - started)
    loss = model.evaluate(inputs, labels, batch_size=VALIDATION_BATCH, verbose=0)
    return model.count_params(), seconds, float(loss)


def train_torch(
    vocabulary_size, seed, windows, inputs, labels, stddev
) -> tuple[int, list[float], float]:
    """Trains the plain GPT in a plain loop."""
    import torch
    from torch.nn import functional

    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = plain_gpt(vocabulary_size, stddev).to(device)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ],
        PEAK,
        BETAS,
        fused=True,
    )

    def loss_of(rows, next_ids, reduction="mean"):
        return functional.cross_entropy(
            model(rows.to(device)).flatten(0, 1), next_ids.to(device).flatten(), reduction=reduction
        )

    schedule = learning_rate(STEPS)
    rates = [float(schedule(step)) for step in range(STEPS)]
    marks = [time.perf_counter()]
    batches = torch.from_numpy(windows).long().split(BATCH)
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        loss = loss_of(batch[:, :-1], batch[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        if (step + 1) % (STEPS // PARTS) == 0:
            loss.item()
            marks.append(time.perf_counter())
    seconds = np.diff(marks).tolist()
    with torch.no_grad():
        pairs = (torch.from_numpy(ids).long().split(VALIDATION_BATCH) for ids in (inputs, labels))
        total = sum(loss_of(*pair, "sum").item() for pair in zip(*pairs, strict=True))
    return sum(p.numel() for p in parameters), seconds, total / labels.size


def products_step(vocabulary_size) -> float:
    """Milliseconds of the bare products of a step."""
    width, inner = SIZE["hidden_dim"], SIZE["intermediate_dim"]
    kernels = ([(width, width)] * 4 + [(width, inner), (inner, width)]) * SIZE["num_layers"]
    kernels.append((width, vocabulary_size))
    run = products_of_step(BATCH, CONTEXT, SIZE["num_heads"], kernels, SIZE["num_layers"])
    run(1)  # compiles
    return min(statistics.mean(run(PRODUCTS_STEPS)) for _ in range(PARTS))


def our_stddev() -> float:
    """The initial standard deviation of `kt.models.gpt` at this width."""
    from keras_transformer.models.initializers import initial_stddev

    return initial_stddev(None, SIZE["hidden_dim"])


def learning_rate(steps):
    """The learning-rate schedule of all systems."""
    import keras_transformer as kt

    return kt.training.WarmupCosineSchedule(PEAK, WARMUP, steps, LEAST)


def plain_gpt(vocabulary_size, stddev):
    """GPT-2's architecture without biases, in plain PyTorch modules."""
    from torch import nn
    from torch.nn import functional

    width, heads, inner = SIZE["hidden_dim"], SIZE["num_heads"], SIZE["intermediate_dim"]

    def linear(inputs, outputs, stddev=stddev):
        layer = nn.Linear(inputs, outputs, bias=False)
        nn.init.normal_(layer.weight, std=stddev)
        return layer

    # The outputs of the residual branches start smaller, as in GPT-2.
    narrow = stddev / math.sqrt(2 * SIZE["num_layers"])

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention_norm = nn.LayerNorm(width, bias=False)
            self.query_key_value = linear(width, 3 * width)
            self.attention_output = linear(width, width, narrow)
            self.feed_forward_norm = nn.LayerNorm(width, bias=False)
            self.feed_forward = nn.Sequential(
                linear(width, inner), nn.GELU(), linear(inner, width, narrow)
            )

        def forward(self, x):
            rows, length, _ = x.shape
            split = (rows, length, 3, heads, width // heads)
            parts = self.query_key_value(self.attention_norm(x)).view(split)
            query, key, value = parts.permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self.attention_output(mixed.transpose(1, 2).reshape(x.shape))
            return x + self.feed_forward(self.feed_forward_norm(x))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocabulary_size, width)
            self.positions = nn.Embedding(CONTEXT, width)
            for table in (self.tokens, self.positions):
                nn.init.normal_(table.weight, std=stddev)
            self.blocks = nn.Sequential(*(Block() for _ in range(SIZE["num_layers"])))
            self.norm = nn.LayerNorm(width, bias=False)

        def forward(self, ids):
            x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
            return functional.linear(self.norm(self.blocks(x)), self.tokens.weight)

    return GPT()


if __name__ == "__main__":
    main()
