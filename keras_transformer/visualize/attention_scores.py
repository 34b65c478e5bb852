"""The attention weights of a model, by kind, layer and head.

Shape letters: B batch, T query length, S key length, N heads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_transformer.checks import check, check_choice
from keras_transformer.visualize.subjects import Subject, as_batch, make_subject
from keras_transformer.visualize.token_labels import (
    hidden_positions,
    token_texts,
    visible,
    without_positions,
)
from keras_transformer.visualize.trace import Trace, record

NAMES = {
    "encoder_self_attention": "encoder self-attention",
    "decoder_self_attention": "decoder self-attention",
    "cross_attention": "cross-attention",
}
_KINDS = {
    "encoder/self_attention": "encoder_self_attention",
    "decoder/self_attention": "decoder_self_attention",
    "decoder/cross_attention": "cross_attention",
    "decoder/attention": "cross_attention",  # of recurrent decoders
    # The names that Keras gives to attention layers in custom blocks.
    "encoder/multi_head_self_attention": "encoder_self_attention",
    "decoder/multi_head_self_attention": "decoder_self_attention",
    "decoder/multi_head_attention": "cross_attention",
}
_NUMBERS = re.compile(r"/block_\d+(?=/)|_\d+$")


def attention_scores(model: Any, inputs: Any) -> dict[str, list[np.ndarray]]:
    """Computes the attention weights of every layer and head.

    Args:
        model: Any model of `kt.models`; or a `kt.Translator` or `kt.TextGenerator`.
        inputs: The model's inputs; rows of ids may be lists of different lengths. For a
            translator, a text or a pair of source and target; for a text generator, a text.

    Returns:
        A dict from each kind of attention in the model, "encoder_self_attention",
        "decoder_self_attention" and "cross_attention", to a list of one array (B, N, T, S) per
        layer. Recurrent decoders have a single layer and head. Other attention layers are listed
        under their path.

    Raises:
        ValueError: If the model has no attention.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.transformer(
        ...     vocabulary_size=20, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> inputs = {"source_ids": [[5, 6, 7]], "target_ids": [[2, 8]]}
        >>> scores = kt.visualize.attention_scores(model, inputs)
        >>> len(scores["cross_attention"]), scores["cross_attention"][0].shape
        (2, (1, 2, 2, 3))

    See Also:
        `kt.visualize.plot_attention`, `kt.visualize.head_view` and `kt.visualize.model_view` draw
        them; `kt.visualize.record` records every other tensor.
    """
    if hasattr(model, "layers"):
        with record(model, "*weights") as trace:
            model(as_batch(model, inputs), training=False)
    else:
        trace, _ = make_subject(model, inputs).run("*weights")
    return scores_of(trace)


def scores_of(trace: Trace) -> dict[str, list[np.ndarray]]:
    """Returns the attention weights of a recording, see `attention_scores`."""
    found: dict[str, list[np.ndarray]] = {}
    for name in trace.find("*/weights"):
        path = _NUMBERS.sub("", name.removesuffix("/weights"))
        found.setdefault(_KINDS.get(path, path), []).append(trace[name])
    check(bool(found), "call an attention layer", "model", sorted(trace)[:3])
    return found


class Attention(NamedTuple):
    """The attention of one kind in one example, with the labels of its axes.

    Attributes:
        kind: A key of `attention_scores`.
        name: The kind in words.
        rows: Labels of the queries.
        columns: Labels of the keys.
        weights: For each layer, (N, T, S).
        row_pairs: For decoders, the tokens that each row reads and writes.
        note: What was hidden; empty if nothing was.
    """

    kind: str
    name: str
    rows: list[str]
    columns: list[str]
    weights: list[np.ndarray]
    row_pairs: list[tuple[str, str]] | None = None
    note: str = ""

    def as_data(self) -> dict[str, Any]:
        """The data of the attention views."""
        return {"name": self.name, **self.axes, "weights": self.weights}

    @property
    def axes(self) -> dict[str, Any]:
        """The labels of both axes, for views of matrices and of attention."""
        pairs = {} if self.row_pairs is None else {"row_pairs": self.row_pairs}
        return {
            "rows": self.rows,
            **pairs,
            "columns": self.columns,
            "row_name": "from" if self.row_pairs is None else "reads → writes",
            "column_name": "source" if self.kind == "cross_attention" else "to",
        }


def attentions_of(
    subject: Subject, kind: str | None = None, hide: Sequence[int | str] = ()
) -> list[Attention]:
    """Computes the attentions of an example, of one kind or of all, without padding.

    Args:
        subject: The example.
        kind: A key of `attention_scores`; None for all.
        hide: Keys to leave out, by position or token; the rest is renormalized.

    Returns:
        A list in the order of the model.
    """
    trace, output = subject.run("*weights")
    scores = scores_of(trace)
    if kind is not None:
        check_choice(tuple(scores), kind=kind)
        scores = {kind: scores[kind]}
    found = [_attention(subject, one, arrays, output) for one, arrays in scores.items()]
    tokens = {token for one in found for token in one.columns}
    for one in [hide] if isinstance(hide, (str, int)) else hide:
        check(
            not isinstance(one, str) or one in tokens, "contain tokens of the example", "hide", one
        )
    return [_without(attention, hide) for attention in found] if hide else found


def _attention(subject, kind, arrays, output):
    sides = {
        "encoder_self_attention": ("source", "source"),
        "decoder_self_attention": ("target", "target"),
        "cross_attention": ("target", "source"),
    }.get(kind, ("source", "source"))
    cut, labels = [], []
    for side, length in zip(sides, arrays[0].shape[2:], strict=True):
        fits = side in subject.ids and len(subject.ids[side]) == length
        cut.append(subject.real[side] if fits else slice(None))
        labels.append(subject.tokens[side] if fits else _positions(subject.model, length))
    rows, pairs = labels[0], None
    if sides[0] == "target" and len(rows) == len(subject.tokens.get("target", ())):
        pairs = list(zip(rows, written(subject, output), strict=True))
        rows = [f"{visible(one)} → {visible(other)}" for one, other in pairs]
    weights = [array[0][:, cut[0], cut[1]] for array in arrays]
    return Attention(kind, NAMES.get(kind, kind), rows, labels[1], weights, pairs)


def written(subject: Subject, output: Any) -> list[str]:
    """The tokens that a decoder's rows write: row t reads token t and predicts the next one."""
    tokens = subject.tokens["target"]
    last, tokenizer = "…", subject.tokenizers["target"]
    logits = output["logits"] if isinstance(output, dict) and "logits" in output else output
    if hasattr(tokenizer, "id_to_token") and len(getattr(logits, "shape", ())) == 3:
        at = subject.real["target"].stop - 1
        (last,) = token_texts([int(ops.argmax(logits[0, at]))], tokenizer)
    return [*tokens[1:], last]


def _positions(model, length):
    """Labels of positions without ids: for a ViT, the class token and the patches."""
    layers = {layer.name: layer for layer in model.layers}
    if "class_token" in layers and "patch_embedding" in layers:
        _, rows, columns, _ = layers["patch_embedding"].output.shape
        if 1 + rows * columns == length:
            return ["class", *(f"{i},{j}" for i in range(rows) for j in range(columns))]
    return [str(index) for index in range(length)]


def _without(attention, hide):
    hide = [hide] if isinstance(hide, (str, int)) else list(hide)
    hidden = hidden_positions(hide, attention.columns)
    if not hidden:
        return attention
    names = ", ".join(f"{attention.columns[index]} ({index})" for index in hidden)
    return attention._replace(
        columns=[label for i, label in enumerate(attention.columns) if i not in hidden],
        weights=[without_positions(array, hidden) for array in attention.weights],
        note=f"Hidden in the {attention.name}, and the rest renormalized: {names}.",
    )
