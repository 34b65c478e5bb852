"""A training step on a GPU in mixed bfloat16, compared with other libraries."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from gpu_training_systems import EPOCHS

SYSTEMS = ("ours", "keras_hub", "torch", "hugging_face")
NAMES = {
    "ours": "keras_transformer",
    "keras_hub": "KerasHub's layers",
    "torch": "torch.nn.Transformer",
    "hugging_face": "Hugging Face",
}
SIZES = {
    "transformer_base": {
        "vocabulary_size": 37_000,
        "num_layers": 6,
        "num_heads": 8,
        "hidden_dim": 512,
        "intermediate_dim": 2048,
        "batch": 128,
        "length": 64,
    },
    "gpt1": {
        "vocabulary_size": 40_478,
        "num_layers": 12,
        "num_heads": 12,
        "hidden_dim": 768,
        "intermediate_dim": 3072,
        "batch": 16,
        "length": 512,
    },
}
SMOKE = {
    "vocabulary_size": 97,
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "batch": 3,
    "length": 8,
}
DROPOUT, WARMUP, STEPS = 0.1, 5, 20
SMOKE_STEPS = 2
DESCRIPTION = (
    "A Transformer of the paper's base size (37,000 ids, 128 pairs of 64 and 64 tokens) and a "
    "language model of GPT-1's size (16 rows of 512 tokens), with tied embeddings, dropout "
    f"{DROPOUT}, also on attention weights, cross-entropy and Adam, without padding. Weights are "
    "float32, products bfloat16 (`mixed_bfloat16`, `torch.autocast`). The Keras systems run in "
    "`model.fit` with Keras's default compile settings, the others in a plain loop, not compiled. "
    "All copy each batch from the host and read the loss of each step, as `fit` does for its "
    f"progress bar; the time is the median of {STEPS - 1} steps after {WARMUP} others. Tokens are "
    "those of the target. Model FLOPs are those of the matrix products, forward and backward, with "
    "whole score matrices, the same for all systems. Ratios compare times, so below 1 is faster."
)


def tasks(system: str, smoke: bool) -> dict[str, Callable[[], dict]]:
    """A function for each model."""

    def task(name):
        size = SMOKE if smoke else SIZES[name]
        is_translator = name == "transformer_base"
        return lambda: timings(
            EPOCHS[system](is_translator, size, DROPOUT), size, is_translator, smoke
        )

    return {name: task(name) for name in SIZES}


def timings(epoch, size: dict, is_translator: bool, smoke: bool) -> dict:
    """Times of a system; `epoch(n)` trains on n batches and returns their milliseconds."""
    started = time.perf_counter()
    epoch(SMOKE_STEPS if smoke else WARMUP)
    first = time.perf_counter() - started
    milliseconds = statistics.median(epoch(SMOKE_STEPS if smoke else STEPS))
    return {
        "milliseconds": milliseconds,
        "first": first,
        "tokens_per_second": 1000 * size["batch"] * size["length"] / milliseconds,
        "tflops": training_flops(size, is_translator) / milliseconds / 1e9,
    }


def training_flops(size: dict, is_translator: bool) -> int:
    """Floating-point operations of the matrix products of a training step.

    Two for each multiplication and addition; the backward pass has twice as many as the forward
    pass.
    """
    width, inner, length = size["hidden_dim"], size["intermediate_dim"], size["length"]
    feed_forward, attention = 2 * width * inner, 4 * width**2
    # In each block, of one token: kernels; and of one attention layer: scores and weighted sum.
    kernels, num_attentions = attention + feed_forward, 1
    if is_translator:  # an encoder block, and a decoder block with two attention layers
        kernels, num_attentions = 3 * attention + 2 * feed_forward, 3
    of_block = 2 * kernels + num_attentions * 4 * length * width
    of_logits = 2 * width * size["vocabulary_size"]
    tokens = size["batch"] * length
    return 3 * tokens * (size["num_layers"] * of_block + of_logits)


def table(results: list[dict], peak: float | None) -> str:
    """A row for each model and system; `peak` is that of the GPU in TFLOP/s, if known."""
    columns = ["model", "system", "ms per step", "tokens per second", "model TFLOP/s"]
    columns += ["share of the peak"] if peak else []
    columns += ["/ KerasHub's", "/ torch.nn.Transformer", "/ Hugging Face's", "first steps, s"]
    rows = [columns, ["---"] * len(columns)]
    found = {(one["task"], one["system"]): one for one in results}
    for (task, system), one in sorted(found.items(), key=lambda item: order(*item[0])):
        if "milliseconds" not in one:
            row = [task, NAMES[system], one["problem"]]
            rows.append(row + [""] * (len(columns) - len(row)))
            continue
        rivals = [found.get((task, rival), {}) for rival in SYSTEMS[1:]]
        row = [task, NAMES[system], f"{one['milliseconds']:.1f}"]
        row += [f"{one['tokens_per_second']:,.0f}", f"{one['tflops']:.0f}"]
        row += [f"{one['tflops'] / peak:.0%}"] if peak else []
        row += [ratio(one, rival) for rival in rivals]
        rows.append([*row, f"{one['first']:.1f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def order(task: str, system: str) -> tuple[int, int]:
    """The place of a row in the table; problems of whole systems come last."""
    names = list(SIZES)
    return names.index(task) if task in names else len(names), SYSTEMS.index(system)


def ratio(one: dict, other: dict) -> str:
    """The ratio of two times; nothing for a system and itself, or where one is missing."""
    if one is other or "milliseconds" not in other:
        return ""
    return f"{one['milliseconds'] / other['milliseconds']:.2f}"
