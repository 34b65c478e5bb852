"""Memory and time of the loss over a large vocabulary, with full logits and in chunks.

    python benchmarks/chunked_loss.py --write docs/benchmarks.md

Projection, label-smoothed cross-entropy, and the gradients of hidden states and matrix, compiled
the default way on each backend. Memory (Linux) is the peak of the process during the first run,
after compilation, minus what it held before.
"""

from __future__ import annotations

import argparse
import os

import numpy as np
from memory import run_and_measure
from page import machine, shown_options, write_section
from processes import print_result, result_of

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BACKENDS = ("tensorflow", "jax", "torch")
POSITIONS, VOCABULARY_SIZE, HIDDEN, SMOOTHING = 8192, 40_478, 768, 0.1
REPEATS = 3


def arrays(positions: int) -> list:
    """Hidden states (N, D), matrix (V, D) and labels (N,)."""
    generator = np.random.default_rng(0)
    hidden, matrix = (
        generator.normal(0, scale, (rows, HIDDEN)).astype("float32")
        for rows, scale in ((positions, 1.0), (VOCABULARY_SIZE, 0.05))
    )
    return [hidden, matrix, generator.integers(0, VOCABULARY_SIZE, positions).astype("int32")]


def make_loss(implementation: str):
    """A function of hidden states, matrix and labels."""
    from keras import ops

    import keras_transformer as kt
    from keras_transformer.ops.chunked_crossentropy import chunked_crossentropy

    loss = kt.training.MaskedCrossentropy(SMOOTHING, padding_id=None)

    def whole(hidden, matrix, labels):
        return loss(labels[None], ops.matmul(hidden, ops.transpose(matrix))[None])

    def chunked(hidden, matrix, labels):
        weights = ops.ones_like(labels, dtype="float32")
        label_weight, mean_weight = loss.target_weights(VOCABULARY_SIZE)
        sums = chunked_crossentropy(
            *(hidden, matrix, None, labels, weights),
            label_weight=label_weight,
            mean_weight=mean_weight,
        )
        return loss.reduce_sums(sums.loss, ops.sum(weights))

    return {"whole": whole, "chunks": chunked}[implementation]


def compiled(implementation: str, positions: int):
    """A function without arguments that returns the loss and two gradients."""
    import keras

    function = make_loss(implementation)
    hidden, matrix, labels = (keras.ops.convert_to_tensor(x) for x in arrays(positions))
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        program = jax.jit(jax.value_and_grad(function, (0, 1))).lower(hidden, matrix, labels)
        program = program.compile()
        return lambda: jax.tree.leaves(jax.block_until_ready(program(hidden, matrix, labels)))
    if backend == "torch":
        hidden, matrix = hidden.requires_grad_(), matrix.requires_grad_()

        def in_torch():
            hidden.grad = matrix.grad = None
            value = function(hidden, matrix, labels)
            value.backward()
            return [value.detach(), hidden.grad, matrix.grad]

        return in_torch
    import tensorflow as tf

    @tf.function(autograph=False)
    def in_tensorflow(hidden, matrix, labels):
        with tf.GradientTape() as tape:
            tape.watch((hidden, matrix))
            value = function(hidden, matrix, labels)
        gradients = tape.gradient(value, (hidden, matrix))
        return value, *(tf.convert_to_tensor(gradient) for gradient in gradients)

    program = in_tensorflow.get_concrete_function(hidden, matrix, labels)
    return lambda: program(hidden, matrix, labels)


def measure(implementation: str, positions: int) -> dict:
    """Measures one implementation in this process."""
    from keras_transformer.ops.chunked_crossentropy import CHUNK

    small = compiled(implementation, 8)
    small()  # one-time setup of the backend
    run = compiled(implementation, positions)
    result, peak, seconds = run_and_measure(run, REPEATS)
    # Gradients are compared relative to their largest entry.
    points = [np.asarray(tensor).ravel() for tensor in result]
    points = [(x[:: max(1, len(x) // 1000)] / np.abs(x).max()).tolist() for x in points]
    loss = float(np.asarray(result[0]))
    return {"peak": peak, "seconds": seconds, "points": points, "loss": loss, "chunk": CHUNK}


def row(backend: str, whole: dict, chunks: dict) -> str:
    """A table row: both implementations, their ratios and their difference."""
    pairs = zip(whole["points"], chunks["points"], strict=True)
    difference = max(np.abs(np.subtract(*pair)).max() for pair in pairs)
    return (
        f"| {backend} | {whole['peak'] / 1e6:,.0f} | {chunks['peak'] / 1e6:,.0f} "
        f"| 1/{whole['peak'] / chunks['peak']:.1f} | {whole['seconds']:.2f} "
        f"| {chunks['seconds']:.2f} | {chunks['seconds'] / whole['seconds']:.2f} "
        f"| {abs(chunks['loss'] - whole['loss']):.1e} | {difference:.1e} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--positions", type=int, default=POSITIONS)
    parser.add_argument("--write", help="Markdown page to write the section to")
    parser.add_argument("--measure", help="measure this implementation, print JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        print_result(measure(arguments.measure, arguments.positions))
        return
    rows, chunks = [], []
    for backend in BACKENDS:
        print(f"{backend} ...", flush=True)
        options = ("--positions", str(arguments.positions))
        results = [
            result_of(__file__, "--measure", name, *options, KERAS_BACKEND=backend)
            for name in ("whole", "chunks")
        ]
        rows.append(row(backend, *results))
        chunks.append(f"{results[-1]['chunk']} on {backend}")
        print(f"  {rows[-1]}", flush=True)
    table = "\n".join(rows)
    options = shown_options(arguments, positions=POSITIONS)
    body = f"""```bash
python benchmarks/chunked_loss.py{options} --write docs/benchmarks.md
```

{arguments.positions:,} positions of width {HIDDEN}, a vocabulary of {VOCABULARY_SIZE:,}, label
smoothing {SMOOTHING}, float32; loss and gradients. Positions per chunk: {", ".join(chunks)}. MB are
the peak memory of the process, minus what it held before; seconds are medians of {REPEATS}. The
last two columns are the differences of the loss, and of about 1,000 entries of each gradient
relative to its largest entry.

| backend | whole, MB | chunks, MB | memory | whole, s | chunks, s | time | loss | gradients |
|---|---|---|---|---|---|---|---|---|
{table}

{machine()}
"""
    print(body)
    if arguments.write:
        write_section(arguments.write, "Loss over a large vocabulary", body)


if __name__ == "__main__":
    main()
