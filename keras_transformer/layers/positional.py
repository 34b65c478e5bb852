"""Positional encodings that are added to embeddings: sinusoidal and learned.

Shape letters: B batch, T length, D hidden.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_above, check_choice, check_integer, check_positive
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.serialization import clone_initializer
from keras_transformer.layers.shape_checks import (
    check_hidden,
    check_hidden_shape,
    check_rows,
    known_length,
)
from keras_transformer.ops.lookup import take_rows
from keras_transformer.recording import report

Tensor = Any

LAYOUTS = ("interleaved", "concatenated", "tensor2tensor")


@keras.saving.register_keras_serializable(package="keras_transformer")
class PositionalEncoding(Layer):
    r"""Sinusoidal positional encoding, added to the input.

    Wavelengths grow from $2\pi$ to `max_wavelength` $\cdot 2\pi$; for $i = 0 .. D/2 - 1$:

    | layout | sines and cosines | frequency $f_i$ | used by |
    |---|---|---|---|
    | "interleaved" | $\sin, \cos, \sin, \cos, \dots$ | $m^{-2i/D}$ | the paper |
    | "concatenated" | all sines, then all cosines | $m^{-2i/D}$ | Hugging Face Marian |
    | "tensor2tensor" | as above | $m^{-i/(D/2-1)}$ | tensor2tensor, OpenNMT, fairseq, Marian |

    Angles are always computed in float32: in bfloat16, encodings would be off by more than 0.1 from
    position 58 on.

    Args:
        layout: "interleaved", "concatenated" or "tensor2tensor".
        max_wavelength: m, above 1.
        first_position: Position of the first token (fairseq starts at `padding_id + 1`).

    Raises:
        ValueError: If `layout` is unknown, `max_wavelength` is 1 or less, the hidden size is odd,
            or the input is not (B, T, D).

    Example:
        >>> import keras, keras_transformer as kt
        >>> layer = kt.layers.PositionalEncoding()
        >>> layer(keras.ops.zeros((2, 5, 8))).shape
        (2, 5, 8)

    See Also:
        `kt.layers.LearnedPositionalEmbedding` learns its positions; `kt.layers.RotaryEmbedding`,
        `kt.layers.RelativePositionBias` and `kt.layers.LinearPositionBias` work inside the
        attention; `kt.visualize.plot_positions` draws them.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.5.
    """

    def __init__(
        self,
        layout: str = "interleaved",
        max_wavelength: float = 10000.0,
        first_position: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_choice(LAYOUTS, layout=layout)
        check_above(1, max_wavelength=max_wavelength)
        check_integer(0, first_position=first_position)
        self.layout = layout
        self.max_wavelength = max_wavelength
        self.first_position = first_position
        self.supports_masking = True

    def build(self, inputs_shape: tuple) -> None:
        check_hidden_shape("inputs", inputs_shape)
        hidden_dim = inputs_shape[-1]
        least = 4 if self.layout == "tensor2tensor" else 2
        if hidden_dim is None or hidden_dim % 2 or hidden_dim < least:
            raise ValueError(
                f"`inputs` must have an even hidden size of at least {least}. "
                f"Received: shape={tuple(inputs_shape)}."
            )

    def compute_output_shape(self, inputs_shape: tuple) -> tuple:
        return inputs_shape

    def call(self, inputs: Tensor, positions: Tensor | None = None) -> Tensor:
        """Adds the encoding.

        Args:
            inputs: (B, T, D).
            positions: Int (T,) or (B, T), the position of each token; by default 0 .. T - 1. Cached
                decoding passes the positions of the new tokens.

        Returns:
            (B, T, D).
        """
        check_hidden("inputs", inputs)
        if positions is None:
            positions = ops.arange(ops.shape(inputs)[1], dtype="int32")
        encoding = self._encode(ops.cast(positions, "float32"), inputs.shape[-1])
        return inputs + report("encoding", ops.cast(encoding, inputs.dtype))

    def _encode(self, positions, hidden_dim):
        half = hidden_dim // 2
        steps = half - 1 if self.layout == "tensor2tensor" else half
        exponents = ops.arange(half, dtype="float32") * (-math.log(self.max_wavelength) / steps)
        angles = (positions[..., None] + float(self.first_position)) * ops.exp(exponents)
        sines, cosines = ops.sin(angles), ops.cos(angles)  # (..., T, D / 2)
        if self.layout != "interleaved":
            return ops.concatenate([sines, cosines], axis=-1)
        pairs = ops.stack([sines, cosines], axis=-1)  # (..., T, D / 2, 2)
        return ops.reshape(pairs, (*ops.shape(positions), hidden_dim))


@keras.saving.register_keras_serializable(package="keras_transformer")
class LearnedPositionalEmbedding(Layer):
    """Learned positional embedding, added to the input.

    Args:
        max_length: Number of positions, the maximum sequence length.
        embeddings_initializer: Initializer of the (max_length, D) weight.

    Raises:
        ValueError: If a sequence is longer than `max_length`, or the input is not (B, T, D).

    Example:
        >>> import keras, keras_transformer as kt
        >>> layer = kt.layers.LearnedPositionalEmbedding(max_length=16)
        >>> layer(keras.ops.zeros((2, 5, 8))).shape
        (2, 5, 8)

    See Also:
        `kt.layers.PositionalEncoding` has no maximum length; `kt.layers.RotaryEmbedding` works
        inside the attention.

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 3.1, equation 2 (W_p).
    """

    def __init__(
        self, max_length: int, embeddings_initializer: Any = "random_normal", **kwargs: Any
    ):
        super().__init__(**kwargs)
        check_positive(max_length=max_length)
        self.max_length = max_length
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.supports_masking = True

    def build(self, inputs_shape: tuple) -> None:
        check_hidden_shape("inputs", inputs_shape)
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.max_length, inputs_shape[-1]),
            initializer=clone_initializer(self.embeddings_initializer),
        )

    def compute_output_shape(self, inputs_shape: tuple) -> tuple:
        return inputs_shape

    def call(self, inputs: Tensor, positions: Tensor | None = None) -> Tensor:
        """Adds the embeddings.

        Args:
            inputs: (B, T, D).
            positions: Int (T,) or (B, T), the position of each token; by default 0 .. T - 1.

        Returns:
            (B, T, D).
        """
        check_hidden("inputs", inputs)
        if positions is None:
            length = known_length(inputs)
            if length is not None and length > self.max_length:
                raise ValueError(
                    "`inputs` must not be longer than `max_length`. "
                    f"Received: length={length}, max_length={self.max_length}."
                )
            positions = ops.arange(ops.shape(inputs)[1], dtype="int32")
        else:
            # More tokens than positions are fine, such as beams that all continue at the same one.
            check_rows("positions", positions, self.max_length)
        encoding = ops.cast(take_rows(self.embeddings, positions), inputs.dtype)
        return inputs + report("encoding", encoding)
