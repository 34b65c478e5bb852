"""Autoregressive forecasts of time series.

Shape letters: B batch, S length of the past, T steps, C channels.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_transformer.decoding.prompts import check_count

_PARTS = ("past_embedding", "encoder", "previous_embedding", "decoder", "values")


def forecast(model: keras.Model, past: Any, num_steps: int, batch_size: int = 256) -> np.ndarray:
    """Forecasts series: encodes the past once, then predicts one value per cached step.

    Args:
        model: A `kt.models.series_forecaster`.
        past: Past values (B, S, C), or (S, C) for a single series.
        num_steps: T, the number of values to forecast.
        batch_size: The number of series to forecast together.

    Returns:
        float32 (B, T, C), or (T, C) for a single series.

    Raises:
        ValueError: If the model lacks a layer, `past` has the wrong shape or contains NaN or
            infinity, or a number is not positive.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> model = kt.models.series_forecaster(num_channels=2, hidden_dim=16)
        >>> kt.decoding.forecast(model, np.ones((5, 7, 2)), num_steps=4).shape
        (5, 4, 2)
    """
    check_count("num_steps", num_steps, 1)
    check_count("batch_size", batch_size, 1)
    layers = {layer.name: layer for layer in model.layers}
    if not set(_PARTS) <= set(layers):
        raise ValueError(
            f"`model` must have the layers {_PARTS}. Received: layers {sorted(layers)}."
        )
    parts = [layers[name] for name in _PARTS]
    values = np.asarray(past, "float32")
    channels = parts[-1].units
    if values.ndim not in (2, 3) or values.shape[-1] != channels or not values.size:
        raise ValueError(
            f"`past` must have the shape (batch, length, {channels}) or (length, {channels}). "
            f"Received: shape={values.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError(
            "`past` must contain finite numbers. Received: "
            f"{np.count_nonzero(~np.isfinite(values))} non-finite values."
        )
    rows = values if values.ndim == 3 else values[None]
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    result = np.concatenate([_forecast(parts, batch, num_steps) for batch in batches])
    return result if values.ndim == 3 else result[0]


def _forecast(parts, past, num_steps):
    past_embedding, encoder, previous_embedding, decoder, values = parts
    encoded = encoder(past_embedding(past), training=False)
    cache = decoder.initial_cache(len(past), num_steps, encoded)
    value, found = ops.convert_to_tensor(past[:, -1:]), []
    for step in range(num_steps):
        result = decoder(previous_embedding(value), cache=cache, cache_index=step, training=False)
        cache = result["cache"]
        value = value + ops.cast(values(result["output"]), "float32")
        found.append(ops.convert_to_numpy(value))
    return np.concatenate(found, axis=1)
