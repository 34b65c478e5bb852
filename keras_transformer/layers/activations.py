"""Activations by name: Keras's, and the tanh approximation of GELU."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_transformer")
def gelu_approximate(x: Any) -> Any:
    r"""The tanh approximation of GELU, as in GPT-1 and GPT-2 ("gelu" is the exact function).

    $\frac{x}{2} \left(1 + \tanh\left(\sqrt{2 / \pi}\,(x + 0.044715\, x^3)\right)\right)$

    Args:
        x: A float tensor of any shape.

    Returns:
        A tensor of the same shape.

    Example:
        >>> import keras, keras_transformer as kt
        >>> round(float(kt.layers.gelu_approximate(keras.ops.convert_to_tensor(1.0))), 4)
        0.8412

    Reference:
        Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", section 2.
    """
    return ops.gelu(x, approximate=True)


def get_activation(identifier: Any) -> Any:
    """Like `keras.activations.get`, but also knows "gelu_approximate"."""
    if identifier == "gelu_approximate":
        return gelu_approximate
    return keras.activations.get(identifier)
