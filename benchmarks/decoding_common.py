"""Shared by the decoding benchmarks: sizes, timing and weights."""

from __future__ import annotations

import statistics
import tempfile
import time

import numpy as np
from compiling import compiled

VOCABULARY_SIZE = 32_000
SIZE = {"num_layers": 6, "hidden_dim": 512, "intermediate_dim": 2048}
REPEATS = 3
THREADS = 2
NAMES = {
    "ours": "keras_transformer",
    "keras_hub": "KerasHub",
    "hugging_face": "Hugging Face",
    "ctranslate2": "CTranslate2",
    "products": "bare products",
}


def timed(function) -> tuple[float, float, np.ndarray]:
    """Seconds of the first call, median seconds of the later ones, and the result."""
    started = time.perf_counter()
    result = function()
    first = time.perf_counter() - started
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return first, statistics.median(times), np.asarray(result)


def weights_of(reference):
    return {name: tensor.numpy() for name, tensor in reference.state_dict().items()}


def loaded(reference):
    """The reference model, loaded with `kt.pretrained.load`."""
    import keras_transformer as kt

    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        return kt.pretrained.load(folder)


def agreement(results, key, other) -> str:
    """The fraction of tokens that equal those of the other system."""
    # KerasHub continues a longer prompt, see `gpt_of_keras_hub`.
    if other not in results or key == other or key[0] == "keras_hub":
        return ""
    if "tokens" not in results[key]:
        return ""
    same = np.mean(np.array(results[key]["tokens"]) == np.array(results[other]["tokens"]))
    return f"{same:.1%}"


def time_products(num_rows, num_square) -> tuple[float, float]:
    """Times the matrix products of one decoder step, without attention or anything else.

    Args:
        num_rows: number of tokens processed at once.
        num_square: number of products with a square matrix in each layer.

    Returns:
        Seconds of the first call, and of one step.
    """
    import keras
    from keras import ops

    import keras_transformer as kt

    generator = np.random.default_rng(0)

    def matrix(*shape):
        return keras.Variable(generator.normal(0, 0.02, shape).astype("float32"))

    hidden, inner = SIZE["hidden_dim"], SIZE["intermediate_dim"]
    shapes = [(hidden, hidden)] * num_square + [(hidden, inner), (inner, hidden)]
    layers = [[matrix(*shape) for shape in shapes] for _ in range(SIZE["num_layers"])]
    table = kt.layers.TokenEmbedding(VOCABULARY_SIZE, hidden)
    table.build()
    x = ops.ones((num_rows, hidden))

    product = ops.matmul
    if keras.backend.backend() == "torch":
        from keras_transformer.ops.few_row_matmul import multiply_few_rows

        # The fastest layout on torch.
        layers = [[ops.transpose(kernel).contiguous() for kernel in layer] for layer in layers]
        product = multiply_few_rows

    def multiply_all(x):
        for *square, wide, narrow in layers:
            for kernel in square:
                x = ops.tanh(product(x, kernel))
            x = ops.tanh(product(product(x, wide), narrow))
        return table(x[:, None], reverse=True)

    run = compiled(multiply_all)
    first, seconds, _ = timed(lambda: [ops.convert_to_numpy(run(x)) for _ in range(20)][-1])
    return first, seconds / 20
