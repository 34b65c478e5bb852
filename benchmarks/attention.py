"""Memory and time of dense and blockwise attention over long sequences.

    python benchmarks/attention.py --write docs/benchmarks.md

Output and gradients of query, key and value, compiled the default way on each backend. Memory
(Linux) is the peak of the process during the first run, after compilation, minus what it held
before.
"""

from __future__ import annotations

import argparse
import os

import numpy as np
from compiling import compiled as compile_function
from gradients import output_and_gradients
from memory import run_and_measure
from page import machine, write_section
from processes import print_result, result_of

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BACKENDS = ("tensorflow", "jax")
KINDS = {
    "": {},
    "causal": {"causal": True},
    "causal, dropout 0.1": {"causal": True, "dropout": 0.1, "seed": 1},
    "causal, window 256": {"causal": True, "window": 256},
}
BATCH, HEADS, SIZE = 1, 4, 64
BLOCK = 512
REPEATS = 3


def arrays(length: int) -> list:
    """Query, key and value (B, T, N, H), and the gradient of the output."""
    generator = np.random.default_rng(0)
    shape = (BATCH, length, HEADS, SIZE)
    return [generator.normal(size=shape).astype("float32") for _ in range(4)]


def bare_products(length: int):
    """The seven matrix products of both passes, block by block, and nothing else."""
    import keras
    from keras import ops

    def multiply(query, key, value, upstream):
        query, key, value, upstream = (
            ops.transpose(x, (0, 2, 1, 3)) for x in (query, key, value, upstream)
        )
        outputs, queries, keys, values = [], [], 0.0, 0.0
        for start in range(0, length, BLOCK):
            rows = query[:, :, start : start + BLOCK]
            arriving = upstream[:, :, start : start + BLOCK]
            scores = ops.einsum("bnth,bnsh->bnts", rows, key)
            outputs.append(ops.einsum("bnts,bnsh->bnth", scores, value))
            # With different rows, because a compiler would compute equal products only once.
            again = ops.einsum("bnth,bnsh->bnts", arriving, key)
            weights = ops.einsum("bnth,bnsh->bnts", arriving, value)
            values = values + ops.einsum("bnts,bnth->bnsh", again, arriving)
            keys = keys + ops.einsum("bnts,bnth->bnsh", weights, rows)
            queries.append(ops.einsum("bnts,bnsh->bnth", weights, key))
        return ops.concatenate(outputs, 2), ops.concatenate(queries, 2), keys, values

    inputs = [ops.convert_to_tensor(array) for array in arrays(length)]
    run = compile_function(multiply, xla=False)
    if keras.backend.backend() == "jax":
        import jax

        return lambda: jax.block_until_ready(run(*inputs))
    return lambda: run(*inputs)


def compiled(implementation: str, kind: str, length: int):
    """A function without arguments that returns the output and three gradients."""
    import keras

    import keras_transformer as kt

    def attend(query, key, value):
        return kt.ops.dot_product_attention(
            query, key, value, implementation=implementation, **KINDS[kind]
        )

    *inputs, upstream = arrays(length)
    run, _ = output_and_gradients(attend, inputs, upstream)
    if keras.backend.backend() == "jax":
        import jax

        return lambda: jax.block_until_ready(run())
    return run


def measure(implementation: str, kind: str, length: int) -> dict:
    """Measures one implementation in this process."""
    small = compiled("dense" if implementation == "products" else implementation, kind, 64)
    small()  # one-time setup of the backend
    if implementation == "products":
        run = bare_products(length)
        run()
    else:
        run = compiled(implementation, kind, length)
    result, peak, seconds = run_and_measure(run, REPEATS)
    points = [np.asarray(tensor).ravel()[:: length // 8].tolist() for tensor in result]
    return {"peak": peak, "seconds": seconds, "points": points}


def row(backend: str, kind: str, dense: dict, blocks: dict) -> str:
    """A table row: both implementations, their ratios and their difference."""
    if "dropout" in kind:
        difference = ""  # they drop different weights
    else:
        pairs = zip(dense["points"], blocks["points"], strict=True)
        difference = f"{max(np.abs(np.subtract(*pair)).max() for pair in pairs):.1e}"
    return (
        f"| {backend} | {kind} | {dense['peak'] / 1e6:,.0f} | {blocks['peak'] / 1e6:,.0f} "
        f"| 1/{dense['peak'] / blocks['peak']:.1f} | {dense['seconds']:.2f} "
        f"| {blocks['seconds']:.2f} | {blocks['seconds'] / dense['seconds']:.2f} | {difference} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=8192)
    parser.add_argument("--write", help="Markdown page to write the section to")
    parser.add_argument(
        "--measure", nargs=2, help="measure this implementation and kind, print JSON"
    )
    arguments = parser.parse_args()
    if arguments.measure:
        print_result(measure(*arguments.measure, arguments.length))
        return
    rows, floors = [], []
    for backend in BACKENDS:
        for kind in KINDS:
            print(f"{kind or 'plain'} on {backend} ...", flush=True)
            options = ("--length", str(arguments.length))
            results = [
                result_of(__file__, "--measure", name, kind, *options, KERAS_BACKEND=backend)
                for name in ("dense", "blockwise")
            ]
            rows.append(row(backend, kind, *results))
            print(f"  {rows[-1]}", flush=True)
            if not kind:
                products = result_of(
                    __file__, "--measure", "products", kind, *options, KERAS_BACKEND=backend
                )
                share = products["seconds"] / results[0]["seconds"]
                floors.append(f"{share:.2f} on {backend}")
                print(f"  products alone: {share:.2f}", flush=True)
    table = "\n".join(rows)
    body = f"""```bash
python benchmarks/attention.py --write docs/benchmarks.md
```

{arguments.length:,} queries and keys, {HEADS} heads of size {SIZE}, float32, forward and backward,
TensorFlow without XLA. MB are the peak memory of the process, minus what it held before; seconds
are medians of {REPEATS}. The last column is the largest difference among 8 in {arguments.length:,}
entries of the output and the gradients (blank for dropout, because the two drop different weights).
Blockwise attention does not store weights: the backward pass recomputes scores and exponentials,
which takes seven products instead of six. In return, a causal mask or dropout costs it less. With a
window, it computes only the blocks that the window covers.

| backend | | dense, MB | blocks, MB | memory | dense, s | blocks, s | time | difference |
|---|---|---|---|---|---|---|---|---|
{table}

The time of the seven products of the first row, computed in the same blocks and with nothing
between them, is a lower bound for blockwise attention. Relative to the dense time, it is
{" and ".join(floors)}.

{machine()}
"""
    print(body)
    if arguments.write:
        write_section(arguments.write, "Attention over long sequences", body)


if __name__ == "__main__":
    main()
