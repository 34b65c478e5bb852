"""What a checkpoint says of itself; every unsuitable value is named."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# The names of Hugging Face's activations, and ours. Its "gelu" is exact; GPT-1 reads the word in a
# way of its own.
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
    """The values of a config.json, and the names of the tensors beside it.

    Args:
        path: where it was read, for the messages.
        values: its content.
        tensor_names: the names of all tensors.
    """

    def __init__(self, path: Any, values: dict[str, Any], tensor_names: Iterable[str] = ()):
        self.path = path
        self.values = values
        self.tensor_names = tuple(tensor_names)

    def has_tensor(self, name: str) -> bool:
        """Whether there is a tensor of this name, behind a prefix or not."""
        return any(f".{own}".endswith(f".{name}") for own in self.tensor_names)

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """The value of a key.

        Args:
            key: the key.
            kind: its type: int, float, bool or str.
            default: the value where there is none; None if there must be one.

        Returns:
            The value.

        Raises:
            ValueError: it is missing, or has another type.
        """
        value = self._value(key, default)
        fits = isinstance(value, int | float if kind is float else kind)
        if not fits or (kind in (int, float) and isinstance(value, bool)):
            raise ValueError(
                f"`{key}` in {self.path} must be of type {kind.__name__}. Received: {value!r}."
            )
        return value

    def _value(self, key, default):
        value = self.values.get(key)
        return default if value is None else value

    def token_id(self, key: str, default: int) -> int | None:
        """An id, None where it is null."""
        if key in self.values and self.values[key] is None:
            return None
        return self.get(key, int, default)

    def size(self, key: str, default: int | None = None) -> int:
        """A positive integer."""
        value = self.get(key, int, default)
        if value < 1:
            raise ValueError(f"`{key}` in {self.path} must be at least 1. Received: {value}.")
        return value

    def sides(self, key: str, default: int) -> tuple[int, int]:
        """Two positive integers; one number stands for both."""
        value = self._value(key, default)
        sides = value if isinstance(value, list) else [value, value]
        is_number = [isinstance(side, int) and not isinstance(side, bool) for side in sides]
        if len(sides) != 2 or not all(is_number) or min(sides) < 1:
            raise ValueError(
                f"`{key}` in {self.path} must be a positive integer, or two. Received: {value!r}."
            )
        return sides[0], sides[1]

    def rate(self, key: str, default: float | None = None) -> float:
        """A dropout rate."""
        value = self.get(key, float, default)
        if not 0 <= value < 1:
            raise ValueError(f"`{key}` in {self.path} must be in [0, 1). Received: {value}.")
        return float(value)

    def activation(self, key: str, default: str, names: dict[str, str] = ACTIVATIONS) -> str:
        """The Keras name of an activation."""
        name = self.get(key, str, default)
        if name not in names:
            raise ValueError(
                f"`{key}` in {self.path} must be one of {sorted(names)}. Received: {name!r}."
            )
        return names[name]

    def require(self, **values: Any) -> None:
        """Raises a ValueError unless each key has its value, or is missing."""
        for key, value in values.items():
            if self.values.get(key, value) != value:
                raise ValueError(
                    f"`{key}` in {self.path} must be {value!r}: nothing else is supported. "
                    f"Received: {self.values[key]!r}."
                )

    def require_equal(self, first: str, second: str) -> None:
        """Raises a ValueError unless two keys have the same value."""
        one, other = self.values.get(first), self.values.get(second)
        if one != other:
            raise ValueError(
                f"`{first}` and `{second}` in {self.path} must be equal. "
                f"Received: {first}={one!r}, {second}={other!r}."
            )
