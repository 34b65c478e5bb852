"""Where the sequences of a packed row stand, and what they may see.

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
    """Reads the numbers of packed sequences: positions from 0 in each, and the masks."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        # Numbers of segments must not be rounded to half precision on the way here.
        self.autocast = False

    def call(self, segment_ids: Tensor) -> dict[str, Tensor]:
        """Reads the numbers.

        Args:
            segment_ids: int (B, T), the number of the sequence that a position belongs to, 0 for
                padding.

        Returns:
            A dict of `positions`, int32 (B, T), `padding_mask`, boolean (B, T), and
            `attention_mask`, boolean (B, T, T), True within a sequence.
        """
        segment_ids = ops.cast(segment_ids, "int32")
        attention_mask = packing_mask(segment_ids)
        length = ops.shape(segment_ids)[1]
        # A token's position is how many of its own sequence come before it; padding has position 0.
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
