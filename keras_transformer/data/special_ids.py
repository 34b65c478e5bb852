"""The ids that stand for no text: padding, unknown, start and end."""

from __future__ import annotations

from typing import Any, NamedTuple

PADDING_ID = 0
"""The id that fills unused positions, 0."""
UNKNOWN_ID = 1
"""The id of what has no piece, 1."""
START_ID = 2
"""The id of the start of a sentence, 2."""
END_ID = 3
"""The id of the end of a sentence, 3."""


class SpecialIds(NamedTuple):
    """The special ids of a tokenizer; None where it has no such id.

    Attributes:
        padding: fills unused positions.
        unknown: stands for what has no piece.
        start: the start of a sentence.
        end: the end of a sentence.

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
        """The ids under the names that a tokenizer's attributes and arguments have."""
        return {f"{name}_id": value for name, value in self._asdict().items()}


def special_ids(tokenizer: Any) -> SpecialIds:
    """Returns the special ids of a tokenizer.

    Args:
        tokenizer: Any tokenizer. Its attributes `padding_id`, `unknown_id`, `start_id` and `end_id`
            count, None for none; where it has no such attribute, as those of keras-hub, the ids
            of `kt.data.train_tokenizer` do.

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
    """Raises a ValueError for an id that is none of the vocabulary's."""
    for name, value in ids.named.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"`{name}` must be an integer or None. Received: {name}={value!r}")
        if not 0 <= value < vocabulary_size:
            raise ValueError(
                f"`{name}` must be at least 0 and below the vocabulary's size of "
                f"{vocabulary_size}. Received: {name}={value}"
            )
