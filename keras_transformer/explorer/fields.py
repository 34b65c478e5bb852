"""Checked access to the fields of the page's requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_transformer.checks import check, is_integer, is_number


class NotThere(LookupError):
    """The requested item does not exist or is no longer kept."""


class Refused(ValueError):
    """A refusal that the page shows in the reader's language.

    Args:
        message: What is wrong, in English.
        code: The key of the page's translated message.
        **values: The values to insert into that message.
    """

    def __init__(self, message: str, code: str, **values: Any):
        super().__init__(message)
        self.code, self.values = code, values


class Fields(Mapping):
    """The fields of a request, each checked where it is read.

    Args:
        fields: The JSON object of the request.

    Raises:
        ValueError: If the request is not an object.

    Example:
        >>> from keras_transformer.explorer.fields import Fields
        >>> Fields({"text": "Hello.", "num_beams": 4}).integer("num_beams", 1, 8)
        4
    """

    def __init__(self, fields: Any):
        if not isinstance(fields, dict):
            raise ValueError("The request must be a JSON object.")
        self.fields = fields

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def __iter__(self):
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def text(self, name: str = "text", optional: bool = False) -> Any:
        """Returns a text that is not blank; None if it is missing and `optional`."""
        value: Any = self.get(name)
        if optional and (value is None or value == ""):
            return None
        check(isinstance(value, str), "be a string", name, value)
        if not value.strip():
            raise Refused(f"`{name}` must not be empty. Received: {name}={value!r}.", "empty")
        return value.encode("utf-8", "replace").decode("utf-8")

    def integer(self, name: str, least: int, most: int, default: int | None = None) -> Any:
        """Returns an integer from `least` to `most`; the default if it is missing or null."""
        value: Any = self.get(name)
        if value is None:
            value = default
        if value is None and name not in self.fields:
            raise ValueError(f"`{name}` must be given. Received: no {name}.")
        holds = is_integer(value) and least <= value <= most
        check(holds, f"be an integer from {least} to {most}", name, value)
        return value

    def number(self, name: str, least: float, most: float) -> Any:
        """Returns a number from `least` to `most`; None if it is missing or null."""
        value = self.get(name)
        if value is not None:
            holds = is_number(value) and least <= value <= most
            check(holds, f"be a number from {least} to {most}", name, value)
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """Returns a string, which must be one of `choices`."""
        value = self.get(name)
        check(value in choices, f"be one of {', '.join(choices)}", name, value)
        return str(value)

    def integers(self, name: str) -> list[int]:
        """Returns a list of integers; an empty one if it is missing or null."""
        value = self.get(name) or []
        holds = isinstance(value, list) and all(is_integer(one) and one >= 0 for one in value)
        check(holds, "be a list of integers >= 0", name, value)
        return value

    def ablate(self) -> dict[str, list[int]]:
        """Returns the heads to switch off, by the path of their attention."""
        value = self.get("ablate") or {}
        check(isinstance(value, dict), "be an object with lists of heads", "ablate", value)
        return {path: Fields(value).integers(path) for path, found in value.items() if found}
