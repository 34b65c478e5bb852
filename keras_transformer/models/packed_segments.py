"""Positions and masks of packed sequences.

Shape letters: B batch, T length.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.layers.layer import Layer
from keras_transformer.ops.masks import causal_mask, packing_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class PackedSegments(Layer):
    """Computes positions and masks of packed sequences from their segment ids."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        # Segment ids must not be rounded to half precision.
        self.autocast = False

    def call(self, segment_ids: Tensor) -> dict[str, Tensor]:
        """Computes positions and masks.

        Args:
            segment_ids: Int (B, T), the number of the sequence that each position belongs to; 0 for
                padding.

        Returns:
            A dict of `positions`, int32 (B, T), counted from 0 in each sequence; `padding_mask`,
            boolean (B, T); and `attention_mask`, boolean (B, T, T), True within a sequence.
        """
        segment_ids = ops.cast(segment_ids, "int32")
        attention_mask = packing_mask(segment_ids)
        length = ops.shape(segment_ids)[1]
        # A token's position is the number of earlier tokens in its sequence; padding gets 0.
        seen = ops.logical_and(attention_mask, causal_mask(length, length))
        positions = ops.cast(ops.sum(ops.cast(seen, "int32"), axis=-1), "int32") - 1
        return {
            "positions": ops.maximum(positions, 0),
            "padding_mask": ops.not_equal(segment_ids, 0),
            "attention_mask": attention_mask,
        }

    def compute_output_spec(self, segment_ids: Any) -> dict[str, Any]:
        shape = tuple(segment_ids.shape)
        return {
            "positions": keras.KerasTensor(shape, "int32"),
            "padding_mask": keras.KerasTensor(shape, "bool"),
            "attention_mask": keras.KerasTensor((*shape, shape[1]), "bool"),
        }
