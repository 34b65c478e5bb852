"""Pooling of a sequence into one vector.

Shape letters: B batch, T length, D hidden.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_choice
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.shape_checks import check_hidden, check_hidden_shape
from keras_transformer.ops.masks import real_tokens

Tensor = Any

POOLINGS = ("mean", "max", "first", "last", "ends")


@keras.saving.register_keras_serializable(package="keras_transformer")
class SequencePooling(Layer):
    """Pools the real positions of a sequence into one vector: (B, T, D) to (B, D).

    Args:
        pooling: "mean" or "max" of each feature over the real positions; the "first" or "last" real
            position; or "ends", the first half of the features from the last position and the
            second half from the first, the final states of a bidirectional network.

    Raises:
        ValueError: If `pooling` is unknown.

    Example:
        >>> import keras, keras_transformer as kt
        >>> pooling = kt.layers.SequencePooling("last")
        >>> x = keras.ops.reshape(keras.ops.arange(3.0), (1, 3, 1))
        >>> mask = keras.ops.convert_to_tensor([[True, True, False]])
        >>> float(pooling(x, padding_mask=mask)[0, 0])
        1.0

    Reference:
        "max": Kim 2014, "Convolutional Neural Networks for Sentence Classification", section 2;
        "ends": Schuster and Paliwal 1997, "Bidirectional Recurrent Neural Networks".
    """

    def __init__(self, pooling: str = "mean", **kwargs: Any):
        super().__init__(**kwargs)
        check_choice(POOLINGS, pooling=pooling)
        self.pooling = pooling
        self.supports_masking = True

    def call(
        self,
        inputs: Tensor,
        padding_mask: Tensor | None = None,
        mask: Tensor | None = None,
        inputs_mask: Tensor | None = None,
    ) -> Tensor:
        """Pools the sequence.

        Args:
            inputs: (B, T, D).
            padding_mask: Boolean (B, T), True for real tokens.
            mask: Implicit Keras mask of `inputs`, passed by Keras.
            inputs_mask: Same as `mask`.

        Returns:
            (B, D), with zeros for rows without real positions.
        """
        check_hidden("inputs", inputs)
        real = real_tokens(padding_mask, mask, inputs_mask)
        if real is None:
            return self._of_all(inputs)
        zero = ops.zeros((), dtype=inputs.dtype)
        column = real[:, :, None]
        if self.pooling == "mean":
            # Padding may hold any values, including NaN: it must not enter the sum.
            total = ops.sum(ops.cast(ops.where(column, inputs, zero), "float32"), axis=1)
            count = ops.sum(ops.cast(column, "float32"), axis=1)
            return ops.cast(total / ops.maximum(count, 1.0), inputs.dtype)
        if self.pooling == "max":
            lowest = ops.cast(-6e4, inputs.dtype)  # finite in every dtype
            pooled = ops.max(ops.where(column, inputs, lowest), axis=1)
            return ops.where(ops.any(real, axis=1)[:, None], pooled, zero)
        return self._of_one(inputs, real)

    def _of_all(self, inputs):
        if self.pooling == "mean":
            return ops.mean(inputs, axis=1)
        if self.pooling == "max":
            return ops.max(inputs, axis=1)
        if self.pooling == "ends":
            half = inputs.shape[-1] // 2
            return ops.concatenate([inputs[:, -1, :half], inputs[:, 0, half:]], axis=-1)
        return inputs[:, 0 if self.pooling == "first" else -1]

    def _of_one(self, inputs, real):
        """The first or last real position; zeros if there is none."""
        # At the first real position, the count of real positions so far is 1.
        count = ops.cumsum(ops.cast(real, "int32"), axis=1)
        is_first = ops.logical_and(real, ops.equal(count, 1))
        is_last = ops.logical_and(real, ops.equal(count, count[:, -1:]))
        chosen = (is_first if self.pooling == "first" else is_last)[:, :, None]
        if self.pooling == "ends":
            is_forward = ops.arange(inputs.shape[-1]) < inputs.shape[-1] // 2
            chosen = ops.where(is_forward, chosen, is_first[:, :, None])
        return ops.sum(ops.where(chosen, inputs, ops.zeros((), dtype=inputs.dtype)), axis=1)

    def compute_output_shape(self, inputs_shape: tuple) -> tuple:
        check_hidden_shape("inputs", inputs_shape)
        return inputs_shape[0], inputs_shape[2]

    def compute_output_spec(self, inputs: Any, *_: Any, **__: Any) -> Any:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), inputs.dtype)

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> None:
        return None
