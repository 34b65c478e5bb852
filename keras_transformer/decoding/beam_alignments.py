"""The cross-attention of the results of a beam search.

Shape letters: B batch, T length of the longest hypothesis, S source length.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_transformer.decoding.compilation import run_compiled
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.programs import Programs
from keras_transformer.decoding.prompts import Inputs


def align(
    programs: Programs, inputs: Inputs, ids: np.ndarray, lengths: np.ndarray, start_id: int
) -> np.ndarray:
    """Computes the cross-attention of each hypothesis's tokens.

    Args:
        programs: The programs of the search.
        inputs: The sources.
        ids: int (B, num_return, T), the hypotheses.
        lengths: int (B, num_return), their lengths.
        start_id: The first decoder token.

    Returns:
        float32 (B, num_return, T, S).
    """
    batch, count, length = ids.shape
    rows = ids.reshape(-1, length)
    real = np.arange(length) < lengths.reshape(-1, 1)
    parts = DecodingModel(programs.model)
    # The token at t was predicted from the one at t - 1.
    read = np.concatenate([np.full_like(rows[:, :1], start_id), rows[:, :-1]], axis=1)
    may_see = real & (True if parts.padding_id is None else read != parts.padding_id)
    if parts.start_is_padding:
        may_see[:, 0] = True
    tensors = {
        "source_ids": inputs.tensors["source_ids"],
        "source_mask": inputs.tensors["source_mask"],
        "target_ids": read,
        "target_mask": may_see,
    }
    scores = ops.convert_to_numpy(run_compiled(programs, _cross_attention, tensors))
    longest = inputs.longest_source
    scores = np.where(real[:, :, None], scores, 0.0)[..., :longest]
    return scores.reshape(batch, count, length, longest).astype("float32")


def _cross_attention(model, settings, state, source_ids, source_mask, target_ids, target_mask):
    """Returns the last block's cross-attention, averaged over heads, (B * num_return, T, S)."""
    parts, count = DecodingModel(model), settings.num_return
    result = parts.decode(
        target_ids,
        encoded=ops.repeat(parts.encode(source_ids, source_mask), count, axis=0),
        padding_mask=target_mask,
        encoded_padding_mask=ops.repeat(source_mask, count, axis=0),
        return_attention_scores=True,
    )
    return ops.mean(result["cross_attention_scores"][-1], axis=1)
