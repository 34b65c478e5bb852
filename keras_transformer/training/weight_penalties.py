"""Penalties on the weights of a model that is already built."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from keras_transformer.checks import check_at_least
from keras_transformer.training.trainable_layers import needs_compiling


def add_l2(
    model: keras.Model,
    rate: float = 1e-4,
    exclude: Iterable[str] = ("bias", "gamma", "beta", "scale"),
) -> list[str]:
    r"""Adds the sum of the squared weights to the loss: $\text{loss} + \lambda \sum_w w^2$.

    Sets Keras's `regularizer` of each weight, like a layer's `kernel_regularizer` argument. Model
    files do not store it: call this again on a loaded model. Compile the model afterwards. Adam
    divides the penalty's gradient by the magnitude of the whole gradient; to shrink all weights
    evenly, use the weight decay of `DecoupledAdamW`.

    Args:
        model: A built model.
        rate: lambda; 0 removes the penalty.
        exclude: Names of weights without penalty; each must match a weight's whole name, the last
            part of its path.

    Returns:
        The paths of the penalized weights.

    Raises:
        ValueError: if `rate` is negative, `exclude` is a string, or the model has no trainable
            weights.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> len(kt.training.add_l2(lm, 1e-4))
        8

    Reference:
        Krogh and Hertz 1991, "A Simple Weight Decay Can Improve Generalization".
    """
    check_at_least(0, rate=rate)
    if isinstance(exclude, str):
        raise ValueError(f"`exclude` must be a collection of names. Received: exclude={exclude!r}.")
    excluded = set(exclude)
    if not model.trainable_weights:
        raise ValueError(
            "`model` must be built and have trainable weights. "
            f"Received: the model {model.name!r} without trainable weights."
        )
    chosen = [weight for weight in model.trainable_weights if weight.name not in excluded]
    for weight in chosen:
        weight.regularizer = keras.regularizers.L2(rate) if rate else None
    needs_compiling(model)
    return [weight.path for weight in chosen]
