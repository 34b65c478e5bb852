"""Argument checks with a uniform message format.

Each raises a ValueError that names the first argument at fault and the value received. Numbers may
be Python's or NumPy's; True and False do not count as numbers.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from typing import Any


def is_integer(value: Any) -> bool:
    """Whether a value is an integer other than True and False."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a real number other than True and False."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def shortened(value: Any, limit: int = 200) -> str:
    """Returns the `repr` of a value for a message, cut to about `limit` characters.

    Args:
        value: Any value, also one whose `repr` fails or would be huge.
        limit: Maximum number of characters that are kept.

    Returns:
        The text; if it is cut, it ends with the full length.

    Example:
        >>> from keras_transformer.checks import shortened
        >>> shortened([7] * 1000, limit=9)
        '[7, 7, 7,... (3000 characters)'
    """
    if isinstance(value, (str, bytes)) and len(value) > limit:
        return f"{value[:limit]!r}... ({len(value)} characters)"
    try:
        text = repr(value)
    except Exception:  # values nested too deeply, and whatever a foreign `__repr__` raises
        return f"a {type(value).__name__}"
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def check(holds: bool, must: str, name: str, value: Any) -> None:
    """Raises unless a condition holds: "`name` must ... Received: name=value."."""
    if not holds:
        raise ValueError(f"`{name}` must {must}. Received: {name}={shortened(value)}.")


def given(**arguments: Any) -> dict[str, Any]:
    """Returns the arguments other than None, for checks of optional ones."""
    return {name: value for name, value in arguments.items() if value is not None}


def check_integer(minimum: int, /, **arguments: Any) -> None:
    """Checks that arguments are integers of at least `minimum`."""
    must = "be a positive integer" if minimum == 1 else f"be an integer >= {minimum}"
    for name, value in arguments.items():
        check(is_integer(value) and value >= minimum, must, name, value)


def check_positive(**arguments: Any) -> None:
    """Checks that arguments are positive integers."""
    check_integer(1, **arguments)


def check_above(bound: float, /, **arguments: Any) -> None:
    """Checks that arguments are finite numbers above `bound`."""
    for name, value in arguments.items():
        holds = is_number(value) and bound < value < math.inf
        check(holds, f"be a finite number > {bound}", name, value)


def check_at_least(bound: float, /, **arguments: Any) -> None:
    """Checks that arguments are finite numbers of at least `bound`."""
    for name, value in arguments.items():
        holds = is_number(value) and bound <= value < math.inf
        check(holds, f"be a finite number >= {bound}", name, value)


def check_rate(**arguments: Any) -> None:
    """Checks that arguments are numbers in [0, 1)."""
    for name, value in arguments.items():
        check(is_number(value) and 0 <= value < 1, "be in the range [0, 1)", name, value)


def check_share(**arguments: Any) -> None:
    """Checks that arguments are numbers in (0, 1]."""
    for name, value in arguments.items():
        check(is_number(value) and 0 < value <= 1, "be in the range (0, 1]", name, value)


def check_flag(**arguments: Any) -> None:
    """Checks that arguments are True or False."""
    for name, value in arguments.items():
        check(isinstance(value, bool), "be True or False", name, value)


def check_choice(choices: Collection[Any], /, **arguments: Any) -> None:
    """Checks that arguments are among `choices`."""
    for name, value in arguments.items():
        known = any(value is one or (type(value) is type(one) and value == one) for one in choices)
        check(known, f"be one of {tuple(choices)}", name, value)


def check_as_many(**sequences: Any) -> None:
    """Raises a ValueError unless two sequences have the same number of items."""
    (name, items), (other_name, others) = sequences.items()
    if len(items) != len(others):
        raise ValueError(
            f"`{name}` must have as many items as `{other_name}`. "
            f"Received: {len(items)} and {len(others)}."
        )
