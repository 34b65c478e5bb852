"""Figures of positional encodings: their vectors, and the similarity of positions.

Shape letters: T positions, D hidden.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_transformer.checks import check, check_integer, given
from keras_transformer.visualize.figures import Figure
from keras_transformer.visualize.trace import record

_DEFAULT_LENGTH = 64


def plot_positions(
    model: keras.layers.Layer, length: int | None = None, *, hidden_dim: int | None = None
) -> Figure:
    """Plots the positional encoding, and the cosine similarity of every two positions.

    Args:
        model: A model with absolute positions, learned or sinusoidal; or one such layer.
        length: T, the number of positions; None for 64, or for all positions of a learned table
            that has fewer.
        hidden_dim: D, for a layer that has not been built.

    Returns:
        A `Figure`; `data["matrices"]` has the table (T, D) and the similarity (T, T).

    Raises:
        ValueError: If the model adds no positions to its input, as with rotary and relative
            positions, or has fewer than `length`.

    Example:
        >>> import keras_transformer as kt
        >>> figure = kt.visualize.plot_positions(
        ...     kt.layers.PositionalEncoding(), length=10, hidden_dim=16)
        >>> [matrix["values"].shape for matrix in figure.data["matrices"]]
        [(10, 16), (10, 10)]

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.5.
    """
    check_integer(1, **given(length=length, hidden_dim=hidden_dim))
    layer = _position_layer(model)
    most = getattr(layer, "max_length", None)
    if length is None:
        length = min(_DEFAULT_LENGTH, most or _DEFAULT_LENGTH)
    check(most is None or length <= most, f"be at most {most}", "length", length)
    width = hidden_dim or _width(model, layer)
    check(width is not None, "be given for a layer that is not built", "hidden_dim", hidden_dim)
    with record(layer, "encoding") as trace:
        layer(ops.zeros((1, length, width)))
    table = trace["encoding"].reshape(-1, length, width)[0].astype("float32")
    sizes = np.linalg.norm(table, axis=-1, keepdims=True)
    unit = np.divide(table, sizes, where=sizes > 0, out=np.zeros_like(table))
    positions = [str(index) for index in range(length)]
    common = {"rows": positions, "row_name": "position", "signed": True}
    matrices = [
        {
            "title": "encoding",
            "values": table,
            "columns": [str(index) for index in range(width)],
            "column_name": "dimension",
            **common,
        },
        {
            "title": "cosine similarity",
            "values": unit @ unit.T,
            "columns": positions,
            "column_name": "position",
            **common,
        },
    ]
    return Figure(f"Positions: {type(layer).__name__}", "matrices", {"matrices": matrices})


def _position_layer(model):
    """The layer that adds positions: the decoder's if there is one, otherwise the encoder's."""
    layers = {layer.name: layer for layer in getattr(model, "layers", ())}
    stacks = [layers.get("decoder"), layers.get("encoder")]
    own = getattr(model, "positional_encoding", None)
    found = [layers.get("positional_encoding"), own]
    found += [getattr(stack, "positional_encoding", None) for stack in stacks]
    if not layers and own is None:
        found = [model]
    layer = next((one for one in found if one is not None), None)
    adds = isinstance(layer, keras.layers.Layer) and type(layer).__name__ in (
        "PositionalEncoding",
        "LearnedPositionalEmbedding",
    )
    check(adds, "add positions to its input", "model", getattr(model, "name", model))
    return layer


def _width(model, layer):
    table = getattr(layer, "embeddings", None)
    if table is not None:
        return table.shape[-1]
    for one in getattr(model, "layers", ()):
        if hasattr(one, "hidden_dim"):
            return one.hidden_dim
    return None
