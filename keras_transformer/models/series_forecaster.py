"""Encoder-decoder models for time series."""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.checks import check_choice, check_positive
from keras_transformer.layers.decoder import TransformerDecoder
from keras_transformer.layers.decoder_block import DecoderBlock
from keras_transformer.layers.encoder import TransformerEncoder
from keras_transformer.layers.encoder_block import TransformerEncoderBlock
from keras_transformer.layers.positional import PositionalEncoding
from keras_transformer.layers.recurrent_decoder import RecurrentDecoder
from keras_transformer.layers.recurrent_encoder import RecurrentEncoder

KINDS = ("transformer", "simple", "lstm", "gru")


def series_forecaster(
    num_channels: int,
    kind: str = "transformer",
    num_layers: int = 2,
    num_heads: int = 4,
    hidden_dim: int = 64,
    intermediate_dim: int = 256,
    dropout: float = 0.0,
    *,
    attention: str | None = "luong",
    name: str = "series_forecaster",
    dtype: Any = None,
) -> keras.Model:
    """Builds an encoder-decoder model that forecasts a time series.

    A functional model from `past` (B, S, C) and `previous` (B, T, C), both float, to the next
    values (B, T, C). The encoder reads the past. For each future value, the decoder reads the
    previous value and predicts the change. Train it with teacher forcing (`kt.data.series_windows`,
    `kt.data.previous_values`); `kt.decoding.forecast` feeds its own predictions back. Normalize the
    series to about unit scale first. The layers are named `past_embedding`, `encoder`,
    `previous_embedding`, `decoder` and `values`.

    Args:
        num_channels: C, the number of values per time step.
        kind: "transformer", or the cell of a recurrent encoder-decoder: "simple", "lstm", "gru".
        num_layers: Number of blocks, or recurrent layers, on each side.
        num_heads: Number of attention heads of a Transformer.
        hidden_dim: D, the width of the model.
        intermediate_dim: Width of the feed-forward networks of a Transformer.
        dropout: Dropout rate in the encoder and the decoder.
        attention: Attention of a recurrent decoder: "luong", "bahdanau" or None.
        name: Name of the model.
        dtype: Dtype policy of the layers; None for Keras's global policy.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If the kind or the attention is unknown, or a size is not positive.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> model = kt.models.series_forecaster(num_channels=3, hidden_dim=16)
        >>> model({"past": np.ones((2, 7, 3)), "previous": np.ones((2, 5, 3))}).shape
        (2, 5, 3)

    Reference:
        Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks"; Vaswani et al.
        2017, "Attention Is All You Need", section 3.
    """
    check_positive(num_channels=num_channels, hidden_dim=hidden_dim)
    check_choice(KINDS, kind=kind)
    if kind == "transformer":
        blocks: dict[str, Any] = {
            "num_heads": num_heads,
            "intermediate_dim": intermediate_dim,
            "dropout": dropout,
            "normalize_first": True,
            "dtype": dtype,
        }
        encoder: Any = TransformerEncoder(
            num_layers,
            TransformerEncoderBlock(**blocks),
            PositionalEncoding(dtype=dtype, name="positional_encoding"),
            dtype=dtype,
            name="encoder",
        )
        decoder: Any = TransformerDecoder(
            num_layers,
            DecoderBlock(**blocks),
            PositionalEncoding(dtype=dtype, name="positional_encoding"),
            dtype=dtype,
            name="decoder",
        )
    else:
        common: dict[str, Any] = {"hidden_dim": hidden_dim, "cell": kind, "num_layers": num_layers}
        common |= {"dropout": dropout, "dtype": dtype}
        encoder = RecurrentEncoder(name="encoder", **common)
        decoder = RecurrentDecoder(attention=attention, name="decoder", **common)
    past = keras.Input((None, num_channels), name="past")
    previous = keras.Input((None, num_channels), name="previous")

    def dense(units, name, **more):
        return keras.layers.Dense(units, dtype=dtype, name=name, **more)

    encoded = encoder(dense(hidden_dim, "past_embedding")(past))
    decoded = decoder(dense(hidden_dim, "previous_embedding")(previous), encoded)
    # Zeros, so that an untrained model predicts no change, a strong baseline.
    change = dense(num_channels, "values", kernel_initializer="zeros")(decoded)
    values = keras.layers.Add(dtype=dtype, name="next_values")([previous, change])
    return keras.Model({"past": past, "previous": previous}, values, name=name)
