"""Figures of attention: a grid of heads, lines between tokens, and all heads at a glance.

Attention weights show where a head reads from. By themselves they do not explain an output, which
also depends on the values read, the residual stream and later layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_transformer.checks import check, is_integer
from keras_transformer.visualize.attention_scores import Attention, attentions_of
from keras_transformer.visualize.figures import Figure
from keras_transformer.visualize.subjects import make_subject


def plot_attention(
    model: Any,
    inputs: Any,
    layer: int = -1,
    *,
    heads: int | Sequence[int] | None = None,
    kind: str | None = None,
    tokens: Any = None,
    hide: Sequence[int | str] = (),
    row: int = 0,
) -> Figure:
    """Plots the attention weights of a layer's heads as matrices with tokens on both axes.

    Rows are queries and sum to 1. A row of a decoder is labeled "reads → writes", since it reads
    one token and predicts the next. Attention weights show where a head reads from; they do not
    explain an output, which also depends on the values read and on later layers.

    Args:
        model: Any model of `kt.models`; or a `kt.Translator` or `kt.TextGenerator`.
        inputs: The model's inputs; for a translator, a text or a pair of source and target; for a
            text generator, a text.
        layer: Index of the layer, from the end if negative.
        heads: Which heads; None for all.
        kind: "encoder_self_attention", "decoder_self_attention" or "cross_attention"; None for the
            last that the model has.
        tokens: The texts of the tokens, or a tokenizer; a dict of "source" and "target" where they
            differ; None for the ids.
        hide: Positions (from the end if negative) or tokens to leave out as keys, for example a
            first token that attracts most of the weight. The remaining weights are renormalized,
            and a note in the figure says so.
        row: Which row of the batch.

    Returns:
        A `Figure`; its `data["matrices"]` has one entry per head, with `values` (T, S).

    Raises:
        ValueError: If the model has no such attention, layer, head or position.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.gpt(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> figure = kt.visualize.plot_attention(
        ...     model, {"token_ids": [[5, 6, 7]]}, tokens=["the", "cat", "sat"])
        >>> figure.data["matrices"][0]["rows"]
        ['the → cat', 'cat → sat', 'sat → …']
    """
    attention = attentions_of(make_subject(model, inputs, tokens, row), kind, hide)[-1]
    index = check_layer(layer, attention)
    weights = attention.weights[index]
    matrices = [
        {"title": f"head {head}", "values": weights[head], **attention.axes}
        for head in check_heads(heads, weights)
    ]
    title = f"{attention.name}, layer {index}".capitalize()
    return Figure(title, "matrices", {"matrices": matrices}, _notes(attention))


def head_view(
    model: Any,
    inputs: Any,
    layer: int = 0,
    *,
    kind: str | None = None,
    tokens: Any = None,
    hide: Sequence[int | str] = (),
    row: int = 0,
) -> Figure:
    """Shows attention as lines between two columns of tokens, one color per head.

    The figure has controls for the kind and the layer; pointing at a token shows only its lines.

    Args:
        model: As in `plot_attention`.
        inputs: As in `plot_attention`.
        layer: Index of the layer to show first, from the end if negative.
        kind: As in `plot_attention`; None for all kinds.
        tokens: As in `plot_attention`.
        hide: As in `plot_attention`.
        row: Which row of the batch.

    Returns:
        A `Figure`; its `data["attentions"]` has one entry per kind, with `weights`, a list of one
        array (N, T, S) per layer.

    Raises:
        ValueError: If the model has no such attention, layer or position.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.gpt(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> figure = kt.visualize.head_view(model, {"token_ids": [[5, 6, 7]]})
        >>> figure.data["attentions"][0]["weights"][0].shape
        (2, 3, 3)
    """
    found = attentions_of(make_subject(model, inputs, tokens, row), kind, hide)
    data = {
        "attentions": [attention.as_data() for attention in found],
        "layer": check_layer(layer, found[0]),
    }
    return Figure("Head view", "head_view", data, _notes(*found))


def model_view(
    model: Any,
    inputs: Any,
    *,
    kind: str | None = None,
    tokens: Any = None,
    hide: Sequence[int | str] = (),
    row: int = 0,
) -> Figure:
    """Shows all layers and heads as thumbnails of their attention, the selected one at full size.

    Args:
        model: As in `plot_attention`.
        inputs: As in `plot_attention`.
        kind: As in `plot_attention`; None for all kinds.
        tokens: As in `plot_attention`.
        hide: As in `plot_attention`.
        row: Which row of the batch.

    Returns:
        A `Figure` with the same data as `head_view`.

    Raises:
        ValueError: If the model has no such attention or position.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.gpt(
        ...     vocabulary_size=20, num_layers=3, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> figure = kt.visualize.model_view(model, {"token_ids": [[5, 6, 7]]})
        >>> len(figure.data["attentions"][0]["weights"])
        3
    """
    found = attentions_of(make_subject(model, inputs, tokens, row), kind, hide)
    data = {"attentions": [attention.as_data() for attention in found]}
    return Figure("Model view", "model_view", data, _notes(*found))


def check_layer(layer: int, attention: Attention) -> int:
    """Returns the index of a layer, counted from the start."""
    count = len(attention.weights)
    holds = is_integer(layer) and -count <= layer < count
    check(holds, f"be one of the {count} layers", "layer", layer)
    return layer % count


def check_heads(heads: int | Sequence[int] | None, weights: Any) -> list[int]:
    """Returns the indices of heads as a list; weights are (N, T, S)."""
    if heads is None:
        return list(range(len(weights)))
    heads = [heads] if is_integer(heads) else list(heads)  # type: ignore[arg-type, list-item]
    check(bool(heads), "contain a head", "heads", heads)
    for head in heads:
        holds = is_integer(head) and 0 <= head < len(weights)
        check(holds, f"contain heads from 0 to {len(weights) - 1}", "heads", head)
    return heads


def _notes(*attentions):
    return [attention.note for attention in attentions if attention.note]
