"""What the decoding benchmarks share: sizes, the clock, the weights."""

from __future__ import annotations

import statistics
import time

import numpy as np

VOCABULARY_SIZE = 32_000
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


def agreement(results, key, other) -> str:
    """How many of the tokens are those of the other system."""
    # KerasHub continues a longer prompt here, see `gpt_of_keras_hub`.
    if other not in results or key == other or key[0] == "keras_hub":
        return ""
    if "tokens" not in results[key]:
        return ""
    same = np.mean(np.array(results[key]["tokens"]) == np.array(results[other]["tokens"]))
    return f"{same:.1%}"
