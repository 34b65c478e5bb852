"""Special ids: padding, unknown, start and end."""

from __future__ import annotations

from typing import Any, NamedTuple

PADDING_ID = 0
"""Padding id, 0."""
UNKNOWN_ID = 1
"""Id of the unknown piece, 1."""
START_ID = 2
"""Id of the start of a sentence, 2."""
END_ID = 3
"""Id of the end of a sentence, 3."""


class SpecialIds(NamedTuple):
    """Special ids of a tokenizer; None for those it does not have.

    Attributes:
        padding: Padding id.
        unknown: Id of the unknown token.
        start: Id of the start of a sentence.
        end: Id of the end of a sentence.

    Example:
        >>> import keras_transformer as kt
        >>> kt.data.SpecialIds(padding=0, unknown=1, start=2, end=3).end
        3
    """

    padding: int | None
    unknown: int | None
    start: int | None
    end: int | None

    @property
    def named(self) -> dict[str, int | None]:
        """The ids by attribute and argument name: `padding_id`, `unknown_id` and so on."""
        return {f"{name}_id": value for name, value in self._asdict().items()}


def special_ids(tokenizer: Any) -> SpecialIds:
    """Returns the special ids of a tokenizer.

    Args:
        tokenizer: Any tokenizer. Its attributes `padding_id`, `unknown_id`, `start_id` and `end_id`
            are used, None meaning no such id. Missing attributes, as in keras-hub's tokenizers,
            default to the ids of `kt.data.train_tokenizer`.

    Returns:
        The `SpecialIds`.

    Example:
        >>> import keras_transformer as kt
        >>> tokenizer = kt.data.train_tokenizer(["a cat", "a dog"], vocabulary_size=11)
        >>> kt.data.special_ids(tokenizer)
        SpecialIds(padding=0, unknown=1, start=2, end=3)
    """
    return SpecialIds(
        getattr(tokenizer, "padding_id", PADDING_ID),
        getattr(tokenizer, "unknown_id", UNKNOWN_ID),
        getattr(tokenizer, "start_id", START_ID),
        getattr(tokenizer, "end_id", END_ID),
    )


def check_special_ids(ids: SpecialIds, vocabulary_size: int) -> None:
    """Raises a ValueError for an id outside the vocabulary."""
    for name, value in ids.named.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"`{name}` must be an integer or None. Received: {name}={value!r}.")
        if not 0 <= value < vocabulary_size:
            raise ValueError(
                f"`{name}` must be at least 0 and below the vocabulary size of "
                f"{vocabulary_size}. Received: {name}={value}."
            )
