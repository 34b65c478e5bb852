"""Figures that are displayed in notebooks and saved as HTML, SVG or PNG."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_transformer.checks import check_choice
from keras_transformer.visualize.standalone import WEB, standalone_page
from keras_transformer.visualize.wire import encode_data

_ENTRY = "figure_page.js"
_HEIGHTS = {"bars": 420, "picture": 560}
_FORMATS = (".html", ".svg", ".png")


class Figure:
    """Figure that is interactive in notebooks and can be saved as HTML, SVG or PNG.

    Jupyter, VS Code and Colab display a figure that is the last value of a cell. Its page makes no
    requests, since it contains all of its scripts, styles and numbers.

    Args:
        title: The title.
        view: How the data are shown: "matrices", "head_view", "model_view", "lens", "bars", "tree"
            or "picture".
        data: What the view shows: nested dicts and lists of numbers, strings and NumPy arrays.
        notes: Sentences below the figure.

    Attributes:
        data: The data, for your own plots.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> values = np.array([[0.2, 0.8], [0.5, 0.5]])
        >>> matrix = {"title": "", "rows": ["a", "b"], "columns": ["c", "d"], "values": values}
        >>> figure = kt.visualize.Figure("Weights", "matrices", {"matrices": [matrix]})
        >>> figure
        <Figure 'Weights'>
        >>> figure.html().startswith("<!DOCTYPE html>")
        True
    """

    def __init__(self, title: str, view: str, data: dict[str, Any], notes: Sequence[str] = ()):
        check_choice(VIEWS, view=view)
        self.title = title
        self.view = view
        self.data = data
        self.notes = list(notes)

    def __repr__(self) -> str:
        return f"<Figure {self.title!r}>"

    def html(self) -> str:
        """Returns the page as text."""
        names = ("title", "view", "notes")
        data = {name: getattr(self, name) for name in names} | {"data": encode_data(self.data)}
        return standalone_page(
            self.title,
            sorted(WEB.glob("*.js")),
            [WEB / "base.css", WEB / "figure_page.css"],
            _ENTRY,
            data,
        )

    def _repr_html_(self) -> str:
        # In an iframe, since notebooks differ in which scripts they run, and to keep styles apart.
        height = _HEIGHTS.get(self.view, 700)
        return (
            f'<iframe sandbox="allow-scripts" title="{html.escape(self.title)}" '
            f'srcdoc="{html.escape(self.html())}" width="100%" height="{height}" '
            'style="border: 0; resize: vertical; overflow: auto"></iframe>'
        )

    def save(self, path: str | os.PathLike, dpi: int = 150) -> None:
        """Writes the figure to a file.

        Args:
            path: A name that ends in ".html" (interactive), ".svg" or ".png" (drawn by matplotlib).
            dpi: Dots per inch of a PNG.

        Raises:
            ValueError: If the name has another ending.
            ImportError: If matplotlib is needed and not installed.
        """
        path = Path(path)
        if path.suffix.lower() not in _FORMATS:
            raise ValueError(
                f"`path` must end in one of {_FORMATS}. Received: path={os.fspath(path)!r}."
            )
        if path.suffix.lower() == ".html":
            path.write_text(self.html(), encoding="utf-8")
            return
        from keras_transformer.visualize.matplotlib_figures import save_drawing

        save_drawing(self, path, dpi)


VIEWS = ("matrices", "head_view", "model_view", "lens", "bars", "tree", "picture")
