"""Language models on packed sequences."""

from __future__ import annotations

import keras

from keras_transformer.models.new_tokens import language_model_parts
from keras_transformer.models.packed_segments import PackedSegments


def packed(lm: keras.Model, *, name: str = "packed") -> keras.Model:
    """Wraps a language model for training on packed rows, which hold several sequences each.

    A functional model from `token_ids` and `segment_ids`, both int32 (B, T), to logits (B, T, V).
    `segment_ids` numbers the sequences of each row, with 0 for padding, see
    `kt.data.PackedBatches`. Tokens attend only within their own sequence, and positions start at 0
    in each, so the logits are the same as for separate sequences. A row may be longer than the
    model's `max_length`, a sequence may not.

    The model shares its layers with `lm`, so training it also trains `lm`. Use `lm` to generate and
    to export.

    Args:
        lm: A language model from `kt.models.gpt` or `kt.pretrained.load`.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If `lm` is not a language model, or its decoder does not use causal attention.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> model = kt.models.packed(lm)
        >>> model.compile(**kt.training.gpt1_pretraining_recipe(total_steps=10, warmup_steps=1))
        >>> batches = kt.data.PackedBatches([[4, 5, 6], [7, 8]], length=4, batch_size=1)
        >>> history = model.fit(batches, verbose=0)
        >>> lm({"token_ids": np.array([[4, 5]])}).shape
        (1, 2, 100)

    Reference:
        Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination", section 3.2.
    """
    parts = language_model_parts(lm)
    for block in parts.decoder.blocks:
        recurrence, causal = getattr(block, "recurrence", None), getattr(block, "causal", True)
        if recurrence is not None or not causal:
            raise ValueError(
                "`lm` must have a decoder with causal attention: a recurrent unit would carry its "
                "state from one sequence to the next. "
                f"Received: recurrence={recurrence!r}, causal={causal}."
            )
    token_ids = keras.Input(shape=(None,), dtype="int32", name="token_ids")
    segment_ids = keras.Input(shape=(None,), dtype="int32", name="segment_ids")
    segments = PackedSegments(dtype="int32", name="segments")(segment_ids)
    # Segment 0 marks the padding, since some models have no padding id.
    logits = parts.logits(parts.decoder(parts.embedding(token_ids), **segments))
    return keras.Model({"token_ids": token_ids, "segment_ids": segment_ids}, logits, name=name)
