"""Keras's recurrent layers, by the name of their cell."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_choice

_LAYERS = {"simple": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
CELLS = tuple(_LAYERS)


def check_cell(cell: str) -> None:
    """Raises a ValueError unless `cell` is the name of a cell."""
    check_choice(CELLS, cell=cell)


def recurrent_layer(cell: str, units: int, **arguments: Any) -> keras.layers.Layer:
    """Creates a recurrent layer that returns the outputs at all positions.

    Args:
        cell: "simple", "lstm" or "gru".
        units: Width of the state.
        **arguments: Other arguments of the Keras layer, such as `return_state`.

    Returns:
        A `keras.layers.SimpleRNN`, `LSTM` or `GRU`.
    """
    check_cell(cell)
    return _LAYERS[cell](
        units, return_sequences=True, recurrent_initializer=Orthogonal(), **arguments
    )


def num_states(cell: str) -> int:
    """Number of state tensors of a cell; the first one is its output."""
    return 2 if cell == "lstm" else 1


@keras.saving.register_keras_serializable(package="keras_transformer")
class Orthogonal(keras.initializers.Orthogonal):
    """Orthogonal initializer that also works in half precision, where backends lack QR."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Creates an orthogonal matrix in float32 and casts it."""
        return ops.cast(super().__call__(shape, "float32"), dtype or keras.config.floatx())
