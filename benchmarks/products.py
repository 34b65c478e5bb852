"""The matrix products of a training step, and nothing else: what no framework can do without."""

from __future__ import annotations

import time

import numpy as np
from compiling import compiled


def products_of_step(
    batch: int, length: int, heads: int, kernels: list[tuple[int, int]], attentions: int
):
    """Makes a function that runs the products of so many steps, and returns milliseconds of each.

    Every product of a linear layer, and both of its gradient; of each attention the two of the
    forward pass and the four of the backward one.

    Args:
        batch: sentences.
        length: tokens of each.
        heads: of each attention.
        kernels: the shape of each linear layer; the width of the first's inputs is the model's.
        attentions: how many there are.
    """
    from keras import ops

    rows, width = batch * length, kernels[0][0]
    generator = np.random.default_rng(0)

    def array(*shape):
        return ops.convert_to_tensor(generator.normal(0, 0.05, shape).astype("float32"))

    # Arrays of their own for each product: a compiler computes equal ones once.
    layers = [(array(rows, i), array(i, o), array(rows, o)) for i, o in kernels]
    split, square = (batch, heads, length, width // heads), (batch, heads, length, length)
    attended = [(array(*split), array(*split), array(*square)) for _ in range(3 * attentions)]

    def multiply(layers, attended):
        products = []
        for inputs, kernel, outputs in layers:
            products += [
                ops.matmul(inputs, kernel),
                ops.matmul(outputs, ops.transpose(kernel)),
                ops.matmul(ops.transpose(inputs), outputs),
            ]
        for query, key, scores in attended:
            products += [
                ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))),
                ops.matmul(scores, query),
            ]
        return products

    run = compiled(multiply, xla=False)

    def steps(number):
        times = []
        for _ in range(number):
            started = time.perf_counter()
            ops.convert_to_numpy(run(layers, attended)[-1])
            times.append(1000 * (time.perf_counter() - started))
        return times

    return steps
