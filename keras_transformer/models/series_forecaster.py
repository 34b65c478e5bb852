"""Models that forecast time series: step by step, or all steps at once."""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.checks import check_choice, check_positive
from keras_transformer.layers.decoder import TransformerDecoder
from keras_transformer.layers.decoder_block import DecoderBlock
from keras_transformer.layers.encoder import TransformerEncoder
from keras_transformer.layers.encoder_block import TransformerEncoderBlock
from keras_transformer.layers.positional import LearnedPositionalEmbedding, PositionalEncoding
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

    See Also:
        `kt.models.direct_series_forecaster` predicts all steps at once.

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


def direct_series_forecaster(
    num_channels: int,
    past_length: int,
    future_length: int,
    patch_length: int = 4,
    num_layers: int = 1,
    num_heads: int = 4,
    hidden_dim: int = 32,
    intermediate_dim: int = 64,
    dropout: float = 0.0,
    *,
    name: str = "direct_series_forecaster",
    dtype: Any = None,
) -> keras.Model:
    """Builds a Transformer encoder that forecasts all steps of a time series at once.

    A functional model from past values (B, S, C), float, to the next values (B, T, C). The forecast
    is the sum of the last value, a linear map of the past that all channels share, and a correction
    by an encoder that reads the past in patches. Both parts start at zero, so an untrained model
    predicts no change. Unlike `series_forecaster`, it does not feed its errors back, but its two
    lengths are fixed. Train it on `kt.data.series_windows`, and forecast with `model.predict`. The
    layers are named `last`, `linear`, `patch_embedding`, `encoder` and `values`.

    Args:
        num_channels: C, the number of values per time step.
        past_length: S, the number of time steps to read.
        future_length: T, the number of time steps to predict.
        patch_length: Number of time steps per patch; divides `past_length`.
        num_layers: Number of encoder blocks.
        num_heads: Number of attention heads.
        hidden_dim: D, the width of the encoder.
        intermediate_dim: Width of the feed-forward networks.
        dropout: Dropout rate in the encoder and on its output.
        name: Name of the model.
        dtype: Dtype policy of the layers; None for Keras's global policy.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If a number is not positive, or `patch_length` does not divide `past_length`.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> model = kt.models.direct_series_forecaster(3, past_length=8, future_length=5)
        >>> model(np.ones((2, 8, 3))).shape
        (2, 5, 3)

    See Also:
        `kt.models.series_forecaster` predicts one step at a time, for any number of steps.

    Reference:
        Patches: Nie et al. 2023, "A Time Series is Worth 64 Words"; the linear part: Zeng et al.
        2023, "Are Transformers Effective for Time Series Forecasting?".
    """
    check_positive(
        num_channels=num_channels,
        past_length=past_length,
        future_length=future_length,
        patch_length=patch_length,
        hidden_dim=hidden_dim,
    )
    if past_length % patch_length:
        raise ValueError(
            "`patch_length` must divide `past_length`. "
            f"Received: patch_length={patch_length}, past_length={past_length}."
        )
    layers, num_patches = keras.layers, past_length // patch_length
    past = keras.Input((past_length, num_channels), name="past")
    last = layers.Cropping1D((past_length - 1, 0), dtype=dtype, name="last")(past)

    linear = layers.Permute((2, 1), dtype=dtype, name="channels_first")(past)
    linear = layers.Dense(
        future_length, use_bias=False, kernel_initializer="zeros", dtype=dtype, name="linear"
    )(linear)
    linear = layers.Permute((2, 1), dtype=dtype, name="channels_last")(linear)

    patches = layers.Reshape(
        (num_patches, patch_length * num_channels), dtype=dtype, name="patches"
    )(past)
    block = TransformerEncoderBlock(
        num_heads, intermediate_dim, dropout, "gelu", normalize_first=True, dtype=dtype
    )
    positions = LearnedPositionalEmbedding(num_patches, dtype=dtype, name="positional_embedding")
    encoder = TransformerEncoder(num_layers, block, positions, dtype=dtype, name="encoder")
    encoded = encoder(layers.Dense(hidden_dim, dtype=dtype, name="patch_embedding")(patches))
    encoded = layers.Flatten(dtype=dtype, name="encoded_patches")(encoded)
    encoded = layers.Dropout(dropout, dtype=dtype, name="dropout")(encoded)
    correction = layers.Dense(
        future_length * num_channels, kernel_initializer="zeros", dtype=dtype, name="values"
    )(encoded)
    correction = layers.Reshape((future_length, num_channels), dtype=dtype, name="correction")(
        correction
    )
    return keras.Model(
        past, layers.Add(dtype=dtype, name="next_values")([last, linear, correction]), name=name
    )
