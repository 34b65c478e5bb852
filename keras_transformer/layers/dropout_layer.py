"""The dropout layer."""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.ops.dropout import dropout

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class Dropout(keras.layers.Dropout):
    """Keras's dropout layer, with cheaper random masks (`keras_transformer.ops.dropout`)."""

    def call(self, inputs: Tensor, training: bool | None = False) -> Tensor:
        """Drops entries during training.

        Args:
            inputs: Float tensor of any shape.
            training: Whether dropout is active.

        Returns:
            A tensor of the same shape.
        """
        if not training or self.rate == 0.0 or self.rate == 1.0 or self.noise_shape is not None:
            return super().call(inputs, training=training)
        return dropout(inputs, self.rate, self.seed_generator)
