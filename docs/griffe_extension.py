"""Adapts griffe, which reads the docstrings for the reference, to two of our conventions."""

from __future__ import annotations

import re

import griffe


class HouseStyle(griffe.Extension):
    """Reads `Example:` as a separate section, and `Returns:` as text without a type in front."""

    def on_function(self, *, func: griffe.Function, **kwargs) -> None:
        """Puts the annotated type before the text of `Returns`, where griffe looks for one."""
        _rename_example(func)
        if func.docstring and func.returns is not None:
            func.docstring.value = re.sub(
                r"(?m)^(Returns:\n\s+)",
                lambda match: f"{match[1]}{func.returns}: ",
                func.docstring.value,
            )

    def on_class(self, *, cls: griffe.Class, **kwargs) -> None:
        """Renames the example of a class."""
        _rename_example(cls)


def _rename_example(item):
    if item.docstring:
        item.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", item.docstring.value)
