"""Language models over rows that hold several sequences."""

from __future__ import annotations

import keras

from keras_transformer.layers.packing import PackedSegments
from keras_transformer.models.new_tokens import language_model_parts


def packed(lm: keras.Model, *, name: str = "packed") -> keras.Model:
    """Makes a language model read rows of several sequences that do not see each other.

    A functional model with the inputs `token_ids` and `segment_ids`, both (B, T), int32, and logits
    (B, T, V) as output. `segment_ids` numbers the sequences of each row, 0 is padding, as
    `kt.data.PackedBatches` makes them. A token sees itself and what came before it in its own
    sequence, whose positions begin at 0: its logits are those of the sequence alone.

    The layers are those of `lm`, not copies: training this model trains that one, which is what to
    generate with and to hand on.

    Args:
        lm: a language model as `kt.models.gpt` or `kt.pretrained.load` make it.
        name: name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: `lm` is no language model, or its decoder has no causal attention to keep apart;
            when called, rows longer than the positions of `lm`.

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
                "`lm` must have a decoder with causal attention: a recurrent unit would carry one "
                f"sequence into the next. Received: recurrence={recurrence!r}, causal={causal}."
            )
    token_ids = keras.Input(shape=(None,), dtype="int32", name="token_ids")
    segment_ids = keras.Input(shape=(None,), dtype="int32", name="segment_ids")
    segments = PackedSegments(dtype="int32", name="segments")(segment_ids)
    # The segments say what is padding: in some models 0 is a token like others.
    logits = parts.logits(parts.decoder(parts.embedding(token_ids), **segments))
    return keras.Model({"token_ids": token_ids, "segment_ids": segment_ids}, logits, name=name)
