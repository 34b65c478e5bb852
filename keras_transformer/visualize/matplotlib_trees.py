"""Drawing of a beam tree with matplotlib."""

from __future__ import annotations

from typing import Any

from keras_transformer.visualize.token_labels import visible

_COLORS = {"alive": "#3b7dbd", "finished": "#1c7a43", "pruned": "#b0b7c1"}
_WIDTH = 1.25  # inches per step


def draw_tree(canvas: Any, data: dict[str, Any]) -> None:
    """Draws the candidates of each step in a column, best first, and lines to their parents.

    Args:
        canvas: A matplotlib figure.
        data: The data of `kt.visualize.beam_tree`.
    """
    steps = data["steps"]
    rows = max(len(step) for step in steps)
    canvas.set_size_inches(min(80.0, _WIDTH * (len(steps) + 1)), 0.8 + 0.42 * rows)
    axes = canvas.add_subplot()
    best = {tuple(place) for one in data["hypotheses"][:1] for place in one["path"]}
    axes.text(0, 0, "start", ha="center", va="center", fontsize=7, bbox=_box("#3b7dbd", True))
    for step, candidates in enumerate(steps):
        for index, candidate in enumerate(candidates):
            color, is_best = _COLORS[candidate["state"]], (step, index) in best
            parent = candidate["parent"] or 0
            style = "--" if candidate["state"] == "pruned" else "-"
            width = 2.2 if is_best else 0.8
            ends = [step + 0.18, step + 0.82]
            axes.plot(ends, [parent, index], style, color=color, linewidth=width)
            score = candidate["total"] if candidate["score"] is None else candidate["score"]
            text = f"{visible(candidate['token'])[:12]}\n{score:.2f}"
            box = _box(color, candidate["state"] != "pruned", is_best)
            axes.text(step + 1, index, text, ha="center", va="center", fontsize=6, bbox=box)
    axes.set_xlim(-0.5, len(steps) + 0.5)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_axis_off()


def _box(color, is_solid, is_best=False):
    style = {"linestyle": "-" if is_solid else "--", "linewidth": 2 if is_best else 1}
    return {"boxstyle": "round", "facecolor": "white", "edgecolor": color, **style}
