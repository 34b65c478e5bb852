"""The recurrent encoder.

Shape letters: B batch, S length, D width of the input, H units, E width of the output: H, or 2 H
with both directions.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.checks import check_flag, check_positive, check_rate
from keras_transformer.layers.dropout_layer import Dropout
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.recurrent_cells import check_cell, recurrent_layer
from keras_transformer.layers.shape_checks import check_hidden
from keras_transformer.ops.masks import real_tokens

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class RecurrentEncoder(Layer):
    r"""Recurrent encoder, $h_s = \text{cell}(x_s, h_{s-1})$, in one or both directions.

    The outputs of two directions are concatenated,
    $\bar h_s = [\overrightarrow h_s; \overleftarrow h_s]$. The final state is at the last position
    or, with two directions, at both ends: pool it with `SequencePooling("last")` or
    `SequencePooling("ends")`. Padding leaves the states unchanged.

    Args:
        hidden_dim: H, the units of each direction.
        cell: "simple" (Elman network), "lstm" or "gru".
        num_layers: Number of stacked layers.
        bidirectional: Whether to also read the sequence backward.
        dropout: Dropout rate on the input of each layer.

    Raises:
        ValueError: If the cell is unknown, or an argument is out of range.

    Example:
        >>> import keras, keras_transformer as kt
        >>> encoder = kt.layers.RecurrentEncoder(hidden_dim=16, cell="gru", bidirectional=True)
        >>> encoder(keras.ops.ones((2, 5, 8))).shape
        (2, 5, 32)

    Reference:
        Schuster and Paliwal 1997, "Bidirectional Recurrent Neural Networks"; Hochreiter and
        Schmidhuber 1997, "Long Short-Term Memory"; Cho et al. 2014, "Learning Phrase
        Representations using RNN Encoder-Decoder", section 2.3.
    """

    def __init__(
        self,
        hidden_dim: int,
        cell: str = "lstm",
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(hidden_dim=hidden_dim, num_layers=num_layers)
        check_cell(cell)
        check_flag(bidirectional=bidirectional)
        check_rate(dropout=dropout)
        self.hidden_dim = hidden_dim
        self.cell = cell
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.supports_masking = True
        self.dropout_layer = Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.recurrences = [self._make_recurrence(index) for index in range(num_layers)]

    def _make_recurrence(self, index):
        common = {"dtype": self.dtype_policy}
        if not self.bidirectional:
            return recurrent_layer(self.cell, self.hidden_dim, name=f"layer_{index}", **common)
        layer = recurrent_layer(self.cell, self.hidden_dim, name=self.cell, **common)
        return keras.layers.Bidirectional(layer, name=f"layer_{index}", **common)

    @property
    def output_dim(self) -> int:
        """E, the width of the output."""
        return self.hidden_dim * (2 if self.bidirectional else 1)

    def build(self, inputs_shape: tuple) -> None:
        width = inputs_shape[-1]
        for layer in self.recurrences:
            layer.build((None, None, width))
            width = self.output_dim

    def call(
        self,
        inputs: Tensor,
        padding_mask: Tensor | None = None,
        training: bool | None = None,
        mask: Tensor | None = None,
        inputs_mask: Tensor | None = None,
    ) -> Tensor:
        """Encodes a sequence.

        Args:
            inputs: (B, S, D).
            padding_mask: Boolean (B, S), True for real tokens.
            training: Whether dropout is active.
            mask: Implicit Keras mask of `inputs`, passed by Keras.
            inputs_mask: Same as `mask`.

        Returns:
            (B, S, E).
        """
        check_hidden("inputs", inputs)
        real = real_tokens(padding_mask, mask, inputs_mask)
        x = inputs
        for layer in self.recurrences:
            x = layer(self.dropout_layer(x, training=training), mask=real)
        return x

    def compute_output_shape(self, inputs_shape: tuple) -> tuple:
        return (*inputs_shape[:-1], self.output_dim)

    def compute_output_spec(self, inputs: Any, *_: Any, **__: Any) -> Any:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), self.compute_dtype)
