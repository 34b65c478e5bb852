"""Alignment of a translation with its source, by cross-attention.

Shape letters: B batch, N heads, T target length, S source length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_transformer.visualize.attention_figures import check_heads, check_layer
from keras_transformer.visualize.attention_scores import attentions_of
from keras_transformer.visualize.figures import Figure
from keras_transformer.visualize.subjects import make_subject


def alignment(
    model: Any,
    inputs: Any,
    *,
    layer: int = -1,
    heads: int | Sequence[int] | None = None,
    tokens: Any = None,
    hide: Sequence[int | str] = (),
    row: int = 0,
) -> Figure:
    """Plots a translation's cross-attention: one row for each generated token.

    Row t is the decoder's attention when it generates token t, averaged over heads of one layer.
    Which layer and heads align words best depends on the model; compare them with `model_view`.

    Args:
        model: A `kt.Translator`, or a translation model.
        inputs: For a `kt.Translator`, a text to translate, or a pair of a text and its translation;
            for a model, its `source_ids` and `target_ids`, the latter with the start token, as in
            training.
        layer: Index of the layer, from the end if negative.
        heads: Which heads to average; None for all.
        tokens: As in `plot_attention`.
        hide: Source positions or tokens to leave out, as in `plot_attention`.
        row: Which row of the batch.

    Returns:
        A `Figure`; `data["matrices"]` holds the matrix, and `data["pairs"]` pairs the position of
        each generated token with the source position that gets most of its attention.

    Raises:
        ValueError: If the model has no cross-attention, or no such layer, head or position.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.transformer(
        ...     vocabulary_size=20, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> inputs = {"source_ids": [[5, 6, 3]], "target_ids": [[2, 8, 9]]}
        >>> figure = kt.visualize.alignment(model, inputs, layer=0, heads=[1])
        >>> figure.data["matrices"][0]["rows"], len(figure.data["pairs"])
        (['8', '9', '…'], 3)

    Reference:
        Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and
        Translate", section 5.2.1.
    """
    attention = attentions_of(make_subject(model, inputs, tokens, row), "cross_attention", hide)[0]
    index = check_layer(layer, attention)
    chosen = check_heads(heads, attention.weights[index])
    weights = attention.weights[index][chosen].mean(axis=0)  # (T, S)
    pairs = attention.row_pairs
    rows = attention.rows if pairs is None else [written for _, written in pairs]
    matrix = {
        "title": "",
        "rows": rows,
        "columns": attention.columns,
        "values": weights,
        "row_name": "writes",
        "column_name": "source",
    }
    best = [[position, int(one)] for position, one in enumerate(weights.argmax(axis=-1))]
    if heads is None:
        of_heads = f"mean of {len(chosen)} heads" if len(chosen) > 1 else "its only head"
    else:
        of_heads = f"head{'s' if len(chosen) > 1 else ''} {', '.join(map(str, chosen))}"
    title = f"Alignment: cross-attention of layer {index}, {of_heads}"
    notes = [attention.note] if attention.note else []
    return Figure(title, "matrices", {"matrices": [matrix], "pairs": best}, notes)
