"""The settings of a checkpoint; errors name every unsupported value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras_transformer.checks import shortened
from keras_transformer.pretrained.config_keys import Keys

# Hugging Face's names of activations, mapped to ours. "gelu" is exact, except in GPT-1.
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_approximate",
    "gelu_pytorch_tanh": "gelu_approximate",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


class Config:
    """The settings of a config.json, and the names of the checkpoint's tensors.

    A setting may have its own name or the common one (`num_attention_heads` for `n_head`);
    missing settings take the architecture's defaults.

    Args:
        path: Where the file was read, for error messages.
        values: Content of the file.
        tensor_names: Names of all tensors.
        keys: How the keys are handled.
        num_tensors: Number of tensors in the checkpoint, which limits the number of layers; None
            for no limit.

    Raises:
        ValueError: If two names of one setting have different values, or a setting or a kind of
            model is not supported.
    """

    def __init__(
        self,
        path: Any,
        values: dict[str, Any],
        tensor_names: Iterable[str] = (),
        keys: Keys = Keys(),  # noqa: B008  # immutable
        num_tensors: int | None = None,
    ):
        self.path = path
        self._num_tensors = num_tensors
        self.keys = keys
        self.values = self._by_own_names(values)
        self.tensor_names = tuple(tensor_names)
        self.require(**keys.fixed)
        self._check_architectures()

    def _by_own_names(self, values):
        own = dict(values)
        for alias, key in self.keys.aliases.items():
            if alias in values:
                value = own.pop(alias)
                if own.setdefault(key, value) != value:
                    raise ValueError(
                        f"`{alias}` and `{key}` in {self.path} must be equal, because both name "
                        f"the same setting. Received: {alias}={shortened(value)}, "
                        f"{key}={shortened(own[key])}."
                    )
        return own

    def _check_architectures(self):
        known, named = self.keys.architectures, self.values.get("architectures") or []
        if known and (not isinstance(named, list) or not set(map(str, named)) <= {*known}):
            raise ValueError(
                f"`architectures` in {self.path} must be a list of names from {known}. "
                f"Received: {shortened(named)}."
            )

    def has_tensor(self, name: str) -> bool:
        """Returns whether the checkpoint has a tensor of this name, with or without a prefix."""
        return any(f".{own}".endswith(f".{name}") for own in self.tensor_names)

    def get(self, key: str, kind: type) -> Any:
        """Returns the value of a key, or the architecture's default.

        Args:
            key: The key.
            kind: Its type: int, float, bool, str or list.

        Returns:
            The value.

        Raises:
            ValueError: If it is missing without a default, or has another type.
        """
        value = self._value(key)
        fits = isinstance(value, int | float if kind is float else kind)
        if not fits or (kind in (int, float) and isinstance(value, bool)):
            raise ValueError(
                f"`{key}` in {self.path} must be of type {kind.__name__}. "
                f"Received: {shortened(value)}."
            )
        return value

    def _value(self, key):
        return self.values.get(key, self.keys.followed.get(key))

    def token_id(self, key: str) -> int | None:
        """Returns a token id, or None if it is null."""
        return None if self._value(key) is None else self.get(key, int)

    def size(self, key: str, otherwise: int | None = None) -> int:
        """Returns a positive integer, or `otherwise` if it is null."""
        if otherwise is not None and self._value(key) is None:
            return otherwise
        value = self.get(key, int)
        if value < 1:
            raise ValueError(f"`{key}` in {self.path} must be at least 1. Received: {value}.")
        return value

    def depth(self, key: str, otherwise: int | None = None) -> int:
        """Returns a number of layers, like `size`, but refuses more layers than there are tensors.

        A billion layers would fill the memory before their missing weights are noticed.
        """
        value = self.size(key, otherwise)
        if self._num_tensors is not None and value > max(1, self._num_tensors):
            raise ValueError(
                f"`{key}` in {self.path} must be at most {self._num_tensors}, the number of "
                f"tensors. Received: {value}."
            )
        return value

    def sides(self, key: str) -> tuple[int, int]:
        """Returns two positive integers; a single one is used for both."""
        value = self._value(key)
        sides = value if isinstance(value, list) else [value, value]
        is_number = [isinstance(side, int) and not isinstance(side, bool) for side in sides]
        if len(sides) != 2 or not all(is_number) or min(sides) < 1:
            raise ValueError(
                f"`{key}` in {self.path} must be one or two positive integers. "
                f"Received: {shortened(value)}."
            )
        return sides[0], sides[1]

    def rate(self, key: str) -> float:
        """Returns a dropout rate."""
        value = self.get(key, float)
        if not 0 <= value < 1:
            raise ValueError(f"`{key}` in {self.path} must be in [0, 1). Received: {value}.")
        return float(value)

    def activation(self, key: str, names: dict[str, str] = ACTIVATIONS) -> str:
        """Returns the Keras name of an activation."""
        name = self.get(key, str)
        if name not in names:
            raise ValueError(
                f"`{key}` in {self.path} must be one of {sorted(names)}. "
                f"Received: {shortened(name)}."
            )
        return names[name]

    def require(self, **values: Any) -> None:
        """Raises a ValueError unless each key has the given value or is missing."""
        for key, value in values.items():
            received = self.values.get(key, value)
            if received != value and (received or value):
                raise ValueError(
                    f"`{key}` in {self.path} must be {value!r}, the only supported value. "
                    f"Received: {shortened(received)}."
                )

    def require_equal(self, first: str, second: str) -> None:
        """Raises a ValueError unless two keys have the same value."""
        one, other = self._value(first), self._value(second)
        if one != other:
            raise ValueError(
                f"`{first}` and `{second}` in {self.path} must be equal. "
                f"Received: {first}={shortened(one)}, {second}={shortened(other)}."
            )
