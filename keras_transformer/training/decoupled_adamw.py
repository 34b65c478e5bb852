"""AdamW whose exclusions from weight decay are saved with the model."""

import re
from collections.abc import Iterable
from typing import Any

import keras

from keras_transformer.checks import check_at_least


@keras.saving.register_keras_serializable(package="keras_transformer")
class DecoupledAdamW(keras.optimizers.AdamW):
    """AdamW that excludes biases and layer-norm gains from weight decay, also after reloading.

    ``w <- w - learning_rate * (m / (sqrt(v) + epsilon) + weight_decay * w)``

    without the last term for variables whose name is in ``exclude``. `keras.optimizers.AdamW` has
    `exclude_from_weight_decay` for this, which matches any part of a name and is not saved with
    the model.

    Args:
        learning_rate: A float or a schedule.
        weight_decay: Decay per step, multiplied by the learning rate; not negative.
        exclude: Names of variables without weight decay. Each must match a variable's whole name,
            the last part of its path: "bias" for "query/bias". Layer names do not count.
        **kwargs: Other arguments of `keras.optimizers.AdamW`, such as ``beta_2``, ``epsilon`` or
            ``global_clipnorm``.

    Raises:
        ValueError: if ``weight_decay`` is None or negative, or ``exclude`` is a string.

    Example:
        >>> import keras_transformer as kt
        >>> optimizer = kt.training.DecoupledAdamW(
        ...     1e-3, weight_decay=0.01, exclude=("bias", "gamma", "beta"))
        >>> optimizer.get_config()["exclude"]
        ['bias', 'gamma', 'beta']

    Reference:
        Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2; Radford et
        al. 2018, "Improving Language Understanding by Generative Pre-Training", section 4.1.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.01,
        exclude: Iterable[str] = ("bias", "gamma", "beta", "scale"),
        **kwargs: Any,
    ) -> None:
        check_at_least(0, weight_decay=weight_decay)
        if isinstance(exclude, str):
            raise ValueError(
                f"`exclude` must be a collection of names. Received: exclude={exclude!r}."
            )
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **kwargs)
        self.exclude = tuple(exclude)
        # Keras searches the variable's name on JAX and torch, but "path/name:0" on TensorFlow,
        # where a bare "beta" would match a layer of that name.
        patterns = [rf"(^|/){re.escape(name)}(:\d+)?$" for name in self.exclude]
        self.exclude_from_weight_decay(var_names=patterns)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "exclude": list(self.exclude)}
