"""A convolutional encoder.

Shape letters: B batch, T length, D hidden.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_positive, check_rate
from keras_transformer.layers.activations import get_activation
from keras_transformer.layers.dropout_layer import Dropout
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.shape_checks import check_hidden
from keras_transformer.ops.masks import real_tokens

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class ConvolutionalEncoder(Layer):
    r"""Convolutional encoder: a stack of layers $x = x + \text{Dropout}(f(\text{conv}(x)))$.

    Each convolution covers `kernel_size` neighboring positions, so an output depends on exactly
    `receptive_field` positions of the input. Padding tokens are set to zero before each
    convolution, like the positions beyond the ends of the sequence.

    Args:
        num_layers: Number of convolutions.
        kernel_size: Number of positions that a convolution covers, centered on its output; odd.
        dropout: Dropout rate on the output of each convolution, before the residual is added.
        activation: f, a Keras activation or "gelu_approximate".

    Raises:
        ValueError: If an argument is out of range, or `kernel_size` is even.

    Example:
        >>> import keras, keras_transformer as kt
        >>> encoder = kt.layers.ConvolutionalEncoder(num_layers=3, kernel_size=5)
        >>> tuple(encoder(keras.ops.ones((2, 7, 8))).shape), encoder.receptive_field
        ((2, 7, 8), 13)

    Reference:
        Kim 2014, "Convolutional Neural Networks for Sentence Classification"; Gehring et al. 2017,
        "Convolutional Sequence to Sequence Learning", section 3.2.
    """

    def __init__(
        self,
        num_layers: int,
        kernel_size: int = 3,
        dropout: float = 0.0,
        activation: Any = "relu",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(num_layers=num_layers, kernel_size=kernel_size)
        check_rate(dropout=dropout)
        if kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd. Received: kernel_size={kernel_size}.")
        self.num_layers = num_layers
        self.kernel_size = kernel_size
        self.dropout = dropout
        self.activation = get_activation(activation)
        self.supports_masking = True
        self.dropout_layer = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    @property
    def receptive_field(self) -> int:
        """Number of input positions that an output depends on, including its own."""
        return 1 + self.num_layers * (self.kernel_size - 1)

    def build(self, inputs_shape: tuple) -> None:
        self.convolutions = [
            keras.layers.Conv1D(
                inputs_shape[-1],
                self.kernel_size,
                padding="same",
                data_format="channels_last",
                activation=self.activation,
                dtype=self.dtype_policy,
                name=f"convolution_{index}",
            )
            for index in range(self.num_layers)
        ]
        for convolution in self.convolutions:
            convolution.build((None, None, inputs_shape[-1]))

    def compute_output_shape(self, inputs_shape: tuple) -> tuple:
        return inputs_shape

    def call(
        self,
        inputs: Tensor,
        padding_mask: Tensor | None = None,
        training: bool | None = None,
        mask: Tensor | None = None,
        inputs_mask: Tensor | None = None,
    ) -> Tensor:
        """Runs the stack.

        Args:
            inputs: (B, T, D).
            padding_mask: Boolean (B, T), True for real tokens.
            training: Whether dropout is active.
            mask: Implicit Keras mask of `inputs`, passed by Keras.
            inputs_mask: Same as `mask`.

        Returns:
            (B, T, D), with zeros at padding.
        """
        check_hidden("inputs", inputs)
        real = real_tokens(padding_mask, mask, inputs_mask)
        x = _zero_padding(inputs, real)
        for convolution in self.convolutions:
            y = self.dropout_layer(convolution(x), training=training)
            x = _zero_padding(x + y, real)
        return x


def _zero_padding(x, real):
    return x if real is None else ops.where(real[:, :, None], x, ops.zeros((), dtype=x.dtype))
