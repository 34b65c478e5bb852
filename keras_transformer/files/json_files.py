"""JSON files: objects and lists of plain values, within limits that no real file exceeds."""

from __future__ import annotations

import json
import math
import os
from typing import Any, NoReturn

from keras_transformer.checks import shortened
from keras_transformer.files.regular_files import TEXT_LIMIT, read_bytes

# More levels than real files have, and few enough for `repr` and comparisons, which recurse.
DEPTH_LIMIT = 100
# Python needs quadratic time to convert long numbers; tokenizers write 10^30 for "no limit".
_DIGITS_LIMIT = 40


def read_json(path: str | os.PathLike, kind: type = dict, limit: int = TEXT_LIMIT) -> Any:
    """Reads a JSON file, checked by the rules of `parse_json`.

    Args:
        path: The path of a regular file.
        kind: The type of the outermost value: dict, list, or object for any.
        limit: Maximum number of bytes.

    Returns:
        The content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a readable regular file or breaks a rule; the message names the
            file.

    Example:
        ```python
        config = read_json("model/config.json")
        ```
    """
    return parse_json(read_bytes(path, limit), path, kind)


def parse_json(
    content: bytes | str, path: str | os.PathLike, kind: type = dict, *, constants: bool = False
) -> Any:
    """Parses JSON from an untrusted file.

    It must be UTF-8, at most 100 levels deep, and without repeated keys, lone surrogates, NaN,
    infinities, or integers of more than 40 digits.

    Args:
        content: The text, or its bytes.
        path: The file that it was read from, for messages.
        kind: The type of the outermost value: dict, list, or object for any.
        constants: Whether NaN and infinities are allowed, which Keras writes.

    Returns:
        The content.

    Raises:
        ValueError: If it breaks a rule; the message names the file.

    Example:
        >>> from keras_transformer.files import parse_json
        >>> parse_json('{"layers": [2, 3]}', "config.json")
        {'layers': [2, 3]}
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        value = json.loads(
            text,
            object_pairs_hook=_without_repeats,
            parse_constant=float if constants else _no_constant,
            parse_float=float if constants else _finite,
            parse_int=_integer,
        )
        if "\\ud" in text or "\\uD" in text:  # possibly a lone surrogate, which cannot be encoded
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise _not_json(path, "too many levels") from None
    except ValueError as error:
        raise _not_json(path, str(error)) from error
    _check_depth(value, path)
    if not isinstance(value, kind):
        wanted = "object" if kind is dict else kind.__name__
        raise ValueError(
            f"`{path}` must contain a JSON {wanted}. Received: {type(value).__name__}."
        )
    return value


def _not_json(path, problem):
    problem = problem if len(problem) <= 300 else f"{problem[:300]}..."
    return ValueError(f"`{path}` must be a JSON file. Received: {problem}.")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore
        raise ValueError(f"the key {shortened(repeated)} twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"the number {name}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:_DIGITS_LIMIT]}, which is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > _DIGITS_LIMIT:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _check_depth(value: Any, path: str | os.PathLike) -> None:
    """Raises if containers are nested deeper than `DEPTH_LIMIT`; does not recurse."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEPTH_LIMIT):
        level = [
            child
            for one in level
            for child in (one.values() if isinstance(one, dict) else one)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise _not_json(path, f"more than {DEPTH_LIMIT} levels")
