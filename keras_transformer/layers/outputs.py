"""What the layers return: a tensor, or a dict of `output` and what else was asked for."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


def make_output(output: Any, extras: dict[str, Any]) -> Any:
    """Returns the output alone, or a dict of it and the extras where there are any.

    The output stands first in an ordered dict because Keras hands the implicit mask of a layer's
    input on to the first of its outputs, and takes those of a plain dict in alphabetical order.
    """
    return OrderedDict(output=output, **extras) if extras else output


def take_output(result: Any, extras: dict[str, Any], prefix: str = "") -> Any:
    """Splits a result of `make_output` into its output and, kept in `extras`, all the rest."""
    if not isinstance(result, dict):
        return result
    extras.update({f"{prefix}{key}": value for key, value in result.items() if key != "output"})
    return result["output"]
