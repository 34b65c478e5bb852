"""Memory and time of a training step with and without rematerialization.

    python benchmarks/rematerialization.py --write docs/benchmarks.md

Training steps of a language model on long sequences, with dropout, compiled except on torch. Memory
(Linux) is the peak of the process during the first step on a long sequence, minus what it held
before, including weights and optimizer; on JAX and TensorFlow it includes compilation.
"""

from __future__ import annotations

import argparse
import os

from memory import run_and_measure
from page import machine, write_section
from processes import print_result, result_of

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BACKENDS = ("tensorflow", "jax", "torch")
VOCABULARY, HEADS, HIDDEN, INTERMEDIATE = 256, 4, 256, 1024
REPEATS = 3


def make_model(rematerialize: bool, layers: int, length: int):
    """A compiled language model and a batch with one row."""
    import keras
    import numpy as np

    import keras_transformer as kt

    keras.utils.set_random_seed(1)
    lm = kt.models.gpt(
        VOCABULARY, layers, HEADS, HIDDEN, INTERMEDIATE, length, rematerialize=rematerialize
    )
    recipe = kt.training.gpt1_pretraining_recipe(total_steps=1000, warmup_steps=1)
    # TensorFlow takes minutes to compile these layers with XLA, without saving memory.
    lm.compile(**recipe, jit_compile=keras.backend.backend() == "jax")
    ids = np.random.default_rng(0).integers(1, VOCABULARY, (1, length + 1))
    return lm, ids[:, :-1], ids[:, 1:]


def measure(rematerialize: bool, layers: int, length: int) -> dict:
    """Measures training in this process."""
    model, inputs, labels = make_model(rematerialize, layers, length)
    # Creates Adam's moments and does the one-time setup of the backend.
    model.train_on_batch(inputs[:, :16], labels[:, :16])
    loss, peak, seconds = run_and_measure(lambda: model.train_on_batch(inputs, labels)[0], REPEATS)
    return {"peak": peak, "seconds": seconds, "loss": float(loss)}


def row(backend: str, plain: dict, again: dict) -> str:
    """A table row: both variants, their ratios, and the difference of their losses."""
    return (
        f"| {backend} | {plain['peak'] / 1e6:,.0f} | {again['peak'] / 1e6:,.0f} "
        f"| 1/{plain['peak'] / again['peak']:.1f} | {plain['seconds']:.2f} "
        f"| {again['seconds']:.2f} | {again['seconds'] / plain['seconds']:.2f} "
        f"| {abs(plain['loss'] - again['loss']):.1e} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--write", help="Markdown page to write the section to")
    parser.add_argument("--measure", choices=("plain", "again"), help="measure one, print JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        again = arguments.measure == "again"
        print_result(measure(again, arguments.layers, arguments.length))
        return
    options = ("--layers", str(arguments.layers), "--length", str(arguments.length))
    rows = []
    for backend in BACKENDS:
        print(f"{backend} ...", flush=True)
        results = [
            result_of(__file__, "--measure", name, *options, KERAS_BACKEND=backend)
            for name in ("plain", "again")
        ]
        rows.append(row(backend, *results))
        print(f"  {rows[-1]}", flush=True)
    table = "\n".join(rows)
    body = f"""```bash
python benchmarks/rematerialization.py --write docs/benchmarks.md
```

A training step of a GPT with {arguments.layers} layers of width {HIDDEN} on one sequence of
{arguments.length:,} tokens, dropout 0.1, float32, without and with `rematerialize=True`. MB are the
peak memory of the process during the first such step, including compilation, minus what it held
before; seconds are medians of {REPEATS} more steps. The last column is the difference of the losses
after {REPEATS + 2} steps.

| backend | plain, MB | rematerialized, MB | memory | plain, s | rematerialized, s | time | loss |
|---|---|---|---|---|---|---|---|
{table}

{machine()}
"""
    print(body)
    if arguments.write:
        write_section(arguments.write, "Rematerialization", body)


if __name__ == "__main__":
    main()
