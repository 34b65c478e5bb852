"""Decoding with a cache, a piece of the sequence at a time."""

import numpy as np
from keras import ops

import keras_transformer as kt
from tests.harness import to_numpy


def run_in_pieces(decode, cache, pieces):
    """Feeds pieces of a sequence one after the other; `decode(start, end, cache)`."""
    outputs, start = [], 0
    for length in pieces:
        result = decode(start, start + length, cache)
        assert sorted(result) == ["cache", "output"]
        outputs.append(to_numpy(result["output"]))
        cache, start = result["cache"], start + length
    return np.concatenate(outputs, axis=1)


def cached_logits(case, target, source, pieces, spare_slots=0):
    """The logits (B, T, V) of a model of the laws; padding of the source is 0."""
    parts = kt.decoding.DecodingModel(case.model)
    batch, slots = len(target), target.shape[1] + spare_slots
    common, encoded = {}, ()
    if case.is_translator:
        real = ops.convert_to_tensor(source != 0)
        common["encoded_padding_mask"] = real
        encoded = parts.encode(source, real), real

    def decode(start, end, cache):
        return parts.decode(
            ops.convert_to_tensor(target[:, start:end]),
            cache=cache,
            cache_index=start,
            padding_mask=ops.convert_to_tensor(np.ones((batch, slots), bool)),
            **common,
        )

    cache = parts.decoder.initial_cache(batch, slots, *encoded)
    return to_numpy(parts.logits(ops.convert_to_tensor(run_in_pieces(decode, cache, pieces))))
