"""The class token of Vision Transformers.

Shape letters: B batch, T length, D hidden.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.layers.layer import Layer
from keras_transformer.layers.serialization import clone_initializer
from keras_transformer.layers.shape_checks import check_hidden, check_hidden_shape

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class ClassToken(Layer):
    """Prepends a learned vector to a sequence; its final state represents the whole sequence.

    Args:
        embeddings_initializer: Initializer of the (D,) weight.

    Raises:
        ValueError: If the input is not (B, T, D).

    Example:
        >>> import keras, keras_transformer as kt
        >>> kt.layers.ClassToken()(keras.ops.ones((2, 5, 8))).shape
        (2, 6, 8)

    Reference:
        Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words: Transformers for Image Recognition
        at Scale", section 3.1, equation 1.
    """

    def __init__(self, embeddings_initializer: Any = "zeros", **kwargs: Any):
        super().__init__(**kwargs)
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.supports_masking = True

    def build(self, input_shape: tuple) -> None:
        self.embedding = self.add_weight(
            name="embedding",
            shape=(input_shape[-1],),
            initializer=clone_initializer(self.embeddings_initializer),
        )

    def call(self, inputs: Tensor) -> Tensor:
        """Prepends the vector.

        Args:
            inputs: (B, T, D).

        Returns:
            (B, 1 + T, D).
        """
        check_hidden("inputs", inputs)
        # A column of the input gives the shape, since the batch size may be unknown.
        first = ops.zeros_like(inputs[:, :1]) + ops.cast(self.embedding, inputs.dtype)
        return ops.concatenate([first, inputs], axis=1)

    def compute_output_shape(self, inputs_shape: tuple) -> tuple:
        check_hidden_shape("inputs", inputs_shape)
        batch, length, width = inputs_shape
        return batch, None if length is None else 1 + length, width

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> Tensor | None:
        if previous_mask is None:
            return None
        first = ops.ones_like(previous_mask[:, :1])
        return ops.concatenate([first, previous_mask], axis=1)
