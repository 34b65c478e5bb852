"""Drawing of figures with matplotlib, for SVG and PNG files."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_transformer.visualize.matplotlib_trees import draw_tree
from keras_transformer.visualize.token_labels import visible

_MISSING = (
    "Saving a figure as SVG or PNG requires matplotlib: `pip install keras-transformer-layers[viz]`"
    ", or save it as HTML."
)
# Tried in this order for characters that matplotlib's own font does not have.
_FONTS = (
    "DejaVu Sans",
    "IPAexGothic",
    "IPAGothic",
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Hiragino Sans",
    "Yu Gothic",
    "MS Gothic",
    "Noto Sans CJK SC",
    "Noto Sans",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Arial Unicode MS",
)
_MAX_LABELS = 80
_MANY_LINES = 10000
_MANY_CELLS = 64 * 64


def save_drawing(figure: Any, path: Path, dpi: int) -> None:
    """Draws a figure and saves it to a file.

    Args:
        figure: A `kt.visualize.Figure`.
        path: The file, ".svg" or ".png".
        dpi: Dots per inch of a PNG.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise ImportError(_MISSING) from error
    texts = list(_texts([figure.title, figure.notes, figure.data]))
    settings: Any = {
        "font.family": _families(texts),
        "text.parse_math": False,  # a token such as "$x$" is not a formula
        "axes.titlesize": 9,
        "font.size": 8,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # `_families` warns once, for all characters.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        canvas = Canvas(layout="constrained")
        _DRAWERS[figure.view](canvas, figure.data)
        canvas.suptitle(visible(figure.title), fontsize=11)
        if figure.notes:
            canvas.supxlabel("\n".join(map(visible, figure.notes)), fontsize=7)
        canvas.savefig(path, dpi=dpi, bbox_inches="tight")


def _texts(data) -> Iterator[str]:
    if isinstance(data, str):
        yield visible(data)
    elif isinstance(data, dict):
        for value in data.values():
            yield from _texts(value)
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from _texts(value)


def _families(texts):
    """The installed fonts to use; warns about characters that none of them has."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    manager = font_manager.fontManager
    # The manager remembers the fonts of its first use; others may have been installed since.
    known = {font.fname for font in manager.ttflist}
    for path in set(font_manager.findSystemFonts()) - known:
        with contextlib.suppress(OSError, RuntimeError):  # a file that is not a font
            manager.addfont(path)
    installed = {font.name: font.fname for font in manager.ttflist}
    names: list[str] = []
    missing = {ord(sign) for text in texts for sign in text if not sign.isspace()}
    for name in _FONTS:
        if name not in installed or (names and not missing):
            continue
        names.append(name)
        missing -= set(FT2Font(installed[name]).get_charmap())
    if missing:
        signs = "".join(chr(code) for code in sorted(missing)[:10])
        warnings.warn(
            f"No installed font has the characters {signs!r}, which will be drawn as boxes. "
            "Install such a font (for Japanese, for example, Debian's package "
            "fonts-ipafont-gothic) or save the figure as HTML.",
            UserWarning,
            stacklevel=5,
        )
    return names or ["sans-serif"]


# === Views ===


def _draw_matrices(canvas, data):
    matrices = data["matrices"]
    columns = int(np.ceil(np.sqrt(len(matrices))))
    rows = -(-len(matrices) // columns)
    height, width = matrices[0]["values"].shape
    canvas.set_size_inches(
        columns * min(9.0, max(3.2, 0.14 * width + 1.6)),
        rows * min(9.0, max(2.8, 0.14 * height + 1.4)),
    )
    for index, matrix in enumerate(matrices):
        axes = canvas.add_subplot(rows, columns, index + 1)
        _draw_matrix(canvas, axes, matrix)


def _draw_matrix(canvas, axes, matrix):
    values = np.where(np.isfinite(matrix["values"]), matrix["values"], np.nan)
    largest = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    is_signed = matrix.get("signed", False)
    sizes = np.abs(values[np.isfinite(values) & (values != 0.0)])
    is_capped = values.size > _MANY_CELLS and len(sizes) > 0
    if is_capped:  # as the web component does: a few large numbers would leave the others pale
        largest = float(np.percentile(sizes, 99.5))
    colors = {"cmap": "RdBu", "vmin": -largest} if is_signed else {"cmap": "Blues", "vmin": 0.0}
    image = axes.imshow(values, vmax=largest, aspect="auto", interpolation="nearest", **colors)
    _label(axes.xaxis, matrix["columns"], rotation=90)
    _label(axes.yaxis, matrix["rows"])
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(matrix.get("column_name", ""), fontsize=8)
    axes.set_ylabel(matrix.get("row_name", ""), fontsize=8)
    axes.set_title(visible(matrix["title"]) if matrix["title"] else "")
    ends = "neither" if not is_capped else "both" if is_signed else "max"
    canvas.colorbar(image, ax=axes, shrink=0.7, extend=ends)


def _label(axis, labels, **options):
    """Labels an axis with tokens, skipping some if there are too many to be legible."""
    labels = [visible(label) for label in labels]
    step = -(-len(labels) // _MAX_LABELS)
    places = list(range(0, len(labels), step or 1))
    texts = [labels[i] if len(labels[i]) <= 20 else f"{labels[i][:19]}…" for i in places]
    axis.set_ticks(places, texts, fontsize=7, **options)


def _draw_heads(canvas, data):
    from matplotlib.collections import LineCollection

    attention = data["attentions"][0]
    weights = attention["weights"][min(data["layer"], len(attention["weights"]) - 1)]
    rows, columns = attention["rows"], attention["columns"]
    canvas.set_size_inches(6.0, min(60.0, 1.0 + 0.2 * max(len(rows), len(columns))))
    axes = canvas.add_subplot()
    # For a long text, drawing every line would give a single gray cloud.
    faintest = 0.1 if len(rows) * len(columns) > _MANY_LINES else 0.02
    for head, color in zip(weights, _head_colors(len(weights)), strict=True):
        places = np.argwhere(head >= faintest)
        lines = [[(0, i), (1, j)] for i, j in places]
        alphas = np.clip(head[places[:, 0], places[:, 1]], 0.0, 1.0)
        colors = [(*color[:3], alpha) for alpha in alphas]
        axes.add_collection(LineCollection(lines, colors=colors, linewidths=1))
    for place, labels, side in ((0, rows, "right"), (1, columns, "left")):
        for index, label in enumerate(labels):
            shift = -0.02 if place == 0 else 0.02
            axes.text(place + shift, index, visible(label), ha=side, va="center", fontsize=7)
    axes.set_xlim(-0.4, 1.4)
    axes.set_ylim(max(len(rows), len(columns)) - 0.5, -0.5)
    axes.set_axis_off()
    axes.set_title(f"{attention['name']}, layer {data['layer']}")


def _head_colors(count):
    from matplotlib import colormaps

    return [colormaps["tab20" if count > 10 else "tab10"](index % 20) for index in range(count)]


def _draw_model(canvas, data):
    attentions = data["attentions"]
    layers = [(one["name"], i, w) for one in attentions for i, w in enumerate(one["weights"])]
    most = max(len(weights) for _, _, weights in layers)
    canvas.set_size_inches(0.9 * most + 1.2, 0.9 * len(layers) + 0.6)
    grid = canvas.subplots(len(layers), most, squeeze=False)
    for (name, index, weights), line in zip(layers, grid, strict=True):
        for head, axes in enumerate(line):
            axes.set_xticks([])
            axes.set_yticks([])
            if head < len(weights):
                axes.imshow(weights[head], cmap="Blues", vmin=0.0, aspect="auto")
            else:
                axes.set_axis_off()
        line[0].set_ylabel(f"{name.split()[0]}\n{index}", fontsize=6)
    for head, axes in enumerate(grid[0]):
        axes.set_title(f"head {head}", fontsize=6)


def _draw_lens(canvas, data):
    best = data["probabilities"][..., 0]
    layers, length = best.shape
    canvas.set_size_inches(min(60.0, 1.5 + 0.7 * length), 1.0 + 0.28 * layers)
    axes = canvas.add_subplot()
    axes.imshow(best, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto", origin="lower")
    _label(axes.xaxis, data["columns"], rotation=60, ha="left")
    _label(axes.yaxis, data["rows"])
    axes.xaxis.tick_top()
    for i in range(layers):
        for j in range(length):
            color = "white" if best[i, j] > 0.6 else "black"
            text = visible(data["tokens"][i][j][0])[:10]
            axes.text(j, i, text, ha="center", va="center", fontsize=6, color=color)


def _draw_bars(canvas, data):
    groups = data["groups"]
    sizes = [len(group["items"]) for group in groups]
    canvas.set_size_inches(6.0, min(60.0, 0.8 + 0.2 * sum(sizes)))
    grid = canvas.subplots(len(groups), 1, squeeze=False, height_ratios=sizes)[:, 0]
    for group, axes in zip(groups, grid, strict=True):
        values = [item["value"] for item in group["items"]]
        colors = ["#b23a0e" if value < 0 else "#175f9e" for value in values]
        axes.barh(range(len(values)), values, color=colors)
        _label(axes.yaxis, [item["label"] for item in group["items"]])
        axes.invert_yaxis()
        if any(value < 0 for value in values) and "maximum" in group:
            axes.set_xlim(-1.05 * group["maximum"], 1.05 * group["maximum"])
        axes.axvline(0.0, color="gray", linewidth=0.5)
        axes.set_title(group.get("title", ""))


def _draw_picture(canvas, data):
    chosen = data["maps"][data["selected"]]
    canvas.set_size_inches(7.0, 3.6)
    height, width = data["pixels"].shape[:2]
    heat = chosen["values"]
    for index in range(2):
        axes = canvas.add_subplot(1, 2, index + 1)
        axes.imshow(data["pixels"], extent=(0, width, height, 0))
        axes.set_axis_off()
    image = axes.imshow(
        heat, cmap="inferno", alpha=0.65, extent=(0, width, height, 0), interpolation="nearest"
    )
    axes.set_title(chosen["title"])
    canvas.colorbar(image, ax=axes, shrink=0.7)


_DRAWERS = {
    "matrices": _draw_matrices,
    "head_view": _draw_heads,
    "model_view": _draw_model,
    "lens": _draw_lens,
    "bars": _draw_bars,
    "tree": draw_tree,
    "picture": _draw_picture,
}
