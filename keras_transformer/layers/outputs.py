"""Return values of layers: a tensor, or a dict of `output` and any extras requested."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


def make_output(output: Any, extras: dict[str, Any]) -> Any:
    """Returns the output, or a dict of the output and the extras if there are any.

    `output` comes first in an ordered dict: Keras assigns a layer's implicit mask to its first
    output, and sorts the keys of a plain dict alphabetically.
    """
    return OrderedDict(output=output, **extras) if extras else output


def take_output(result: Any, extras: dict[str, Any], prefix: str = "") -> Any:
    """Returns the output of a `make_output` result, and adds everything else to `extras`."""
    if not isinstance(result, dict):
        return result
    extras.update({f"{prefix}{key}": value for key, value in result.items() if key != "output"})
    return result["output"]
