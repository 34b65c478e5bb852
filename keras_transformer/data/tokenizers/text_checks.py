"""Validation of texts, with the same messages for all functions that take them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def check_texts(texts: Any, name: str = "texts", *, filled: bool = False) -> list[str]:
    """Returns texts as a list, or raises a ValueError that names the first invalid one.

    Args:
        texts: An iterable of strings.
        name: The name of the argument, for errors.
        filled: Whether there must be at least one text, and none may be blank.

    Returns:
        The texts.

    Raises:
        ValueError: If `texts` is a single string or not iterable, or a text is not a string,
            contains a lone surrogate, which no encoding can represent, or is blank with `filled`.
    """
    if isinstance(texts, (str, bytes)):
        # Iterating over one string would silently yield single characters.
        raise ValueError(
            f"`{name}` must be an iterable of strings, not one string. "
            f"Received: {name}={texts!r:.80}."
        )
    if not isinstance(texts, Iterable):
        raise ValueError(f"`{name}` must be an iterable of strings. Received: {name}={texts!r}.")
    texts = list(texts)
    if filled and not texts:
        raise ValueError(f"`{name}` must contain at least one text. Received: an empty list.")
    for index, text in enumerate(texts):
        if problem := _problem(text, filled):
            must, received = problem
            raise ValueError(f"`{name}` must contain {must}. Received: {name}[{index}]{received}.")
    return texts


def check_text(text: Any, name: str = "text", *, filled: bool = False) -> str:
    """Returns a text, or raises a ValueError if it is invalid, as in `check_texts`."""
    if problem := _problem(text, filled):
        must, received = problem
        raise ValueError(f"`{name}` must contain {must}. Received: {name}{received}.")
    return text


def _problem(text: Any, filled: bool) -> tuple[str, str] | None:
    """Returns what a text must be and what was received, or None if it is valid."""
    if not isinstance(text, str):
        return ("non-blank strings" if filled else "strings"), f"={text!r:.80}"
    if filled and (not text or text.isspace()):
        return "non-blank strings", f"={text!r:.80}"
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        surrogate = text[error.start]
        return "valid Unicode", f" with the lone surrogate {surrogate!r} at index {error.start}"
    return None
