"""Attention on a GPU: time and peak memory of each implementation, by length."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gpu_device import peak_bytes, seconds_per_run
from gradients import output_and_gradients

SYSTEMS = ("dense", "blockwise", "fused", "flash")
NAMES = {
    "dense": "`dense`",
    "blockwise": "`blockwise`",
    "fused": "`fused`",
    "flash": "`keras.ops`, flash",
}
LENGTHS = (1024, 2048, 4096, 8192, 16_384)
TOKENS = 16_384  # the batch holds as many, whatever the length
HEADS, SIZE = 16, 64
SMOKE_LENGTHS, SMOKE_TOKENS = (32, 64), 64
DESCRIPTION = (
    f"Causal attention with {HEADS} heads of size {SIZE} in bfloat16, forward and backward, on "
    f"{TOKENS:,} tokens per batch. `dense`, `blockwise` and `fused` are the values of "
    "`implementation` in `kt.ops.dot_product_attention`; the last one is "
    "`keras.ops.dot_product_attention(flash_attention=True)`. Memory is the peak in such a step, "
    "minus what was held before (on JAX, what the compiled program allocates)."
)


def tasks(system: str, smoke: bool) -> dict[str, Callable[[], dict]]:
    """A function for each length."""
    lengths, tokens = (SMOKE_LENGTHS, SMOKE_TOKENS) if smoke else (LENGTHS, TOKENS)

    def task(length):
        return lambda: measure(system, length, tokens // length)

    return {str(length): task(length) for length in lengths}


def attention(system: str):
    """The function to measure, of query, key and value (B, T, N, H)."""
    import keras

    import keras_transformer as kt

    if system == "flash":
        return lambda query, key, value: keras.ops.dot_product_attention(
            query, key, value, is_causal=True, flash_attention=True
        )
    return lambda query, key, value: kt.ops.dot_product_attention(
        query, key, value, causal=True, implementation=system
    )


def measure(system: str, length: int, batch: int) -> dict:
    """Milliseconds and bytes of the output and its gradients."""
    generator = np.random.default_rng(0)
    shape = (batch, length, HEADS, SIZE)
    *inputs, upstream = (generator.normal(size=shape).astype("float32") for _ in range(4))
    run, planned = output_and_gradients(attention(system), inputs, upstream, dtype="bfloat16")
    seconds = seconds_per_run(run)
    peak = peak_bytes(run) if planned is None else planned
    return {"milliseconds": 1000 * seconds, "peak": peak}


def table(results: list[dict]) -> str:
    """A row for each length, and two columns for each implementation."""
    lengths = list(dict.fromkeys(one["task"] for one in results if one["task"]))
    found = {(one["system"], one["task"]): one for one in results}
    head = ["length", *(f"{NAMES[system]}, {unit}" for system in SYSTEMS for unit in ("ms", "MB"))]
    rows = [head, ["---"] * len(head)]
    for length in lengths:
        row = [f"{int(length):,}"]
        for system in SYSTEMS:
            row += cells(found.get((system, length)) or found.get((system, "")) or {})
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cells(result: dict) -> list[str]:
    """The time and the memory, or why there are none."""
    if "milliseconds" not in result:
        return [result.get("problem", "not run"), ""]
    peak = result["peak"]
    return [f"{result['milliseconds']:.2f}", "" if peak is None else f"{peak / 1e6:,.0f}"]
