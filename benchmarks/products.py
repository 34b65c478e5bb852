"""The bare matrix products of a training step: a lower bound for every framework."""

from __future__ import annotations

import time

import numpy as np
from compiling import compiled


def products_of_step(
    batch: int, length: int, heads: int, kernels: list[tuple[int, int]], attentions: int
):
    """Returns a function that runs the products of n steps and returns the milliseconds of each.

    Each linear layer has one product in the forward pass and two in the backward pass; each
    attention layer has two and four.

    Args:
        batch: number of sentences.
        length: tokens per sentence.
        heads: number of attention heads.
        kernels: shape of each linear layer; the input width of the first is the model's width.
        attentions: number of attention layers.
    """
    from keras import ops

    rows, width = batch * length, kernels[0][0]
    generator = np.random.default_rng(0)

    def array(*shape):
        return ops.convert_to_tensor(generator.normal(0, 0.05, shape).astype("float32"))

    # Separate arrays for each product, because a compiler computes equal ones only once.
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
