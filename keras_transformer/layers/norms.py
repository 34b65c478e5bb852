"""The normalization layers of blocks and stacks."""

from __future__ import annotations

from typing import Any

import keras

NORMS = ("layer", "rms")


def make_norm(
    kind: str, epsilon: float, use_bias: bool = True, **arguments: Any
) -> keras.layers.Layer:
    """Creates a normalization layer over the last axis.

    Args:
        kind: "layer" for layer normalization, "rms" for RMS normalization.
        epsilon: Constant added to the variance.
        use_bias: Whether a layer norm has a bias; an RMS norm never has one.
        **arguments: `name` and `dtype` of the layer.

    Returns:
        A Keras layer.

    Reference:
        Ba et al. 2016, "Layer Normalization"; Zhang and Sennrich 2019, "Root Mean Square Layer
        Normalization".
    """
    if kind == "rms":
        norm = keras.layers.RMSNormalization(epsilon=epsilon, **arguments)
        norm.supports_masking = True  # as in LayerNormalization; otherwise Keras warns
        return norm
    return keras.layers.LayerNormalization(epsilon=epsilon, center=use_bias, **arguments)
