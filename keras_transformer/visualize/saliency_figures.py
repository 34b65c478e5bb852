"""How much each token read contributes to one prediction, to first order.

Shape letters: B batch, T length, D hidden, V vocabulary, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_transformer.checks import check, is_integer
from keras_transformer.visualize.figures import Figure
from keras_transformer.visualize.input_gradients import embedding_gradients
from keras_transformer.visualize.subjects import Subject, make_subject
from keras_transformer.visualize.token_labels import token_texts

_SIDES = {"source_embedding": "source", "target_embedding": "target"}


def saliency(
    model: Any,
    inputs: Any,
    position: int = -1,
    output_id: int | None = None,
    *,
    tokens: Any = None,
    row: int = 0,
) -> Figure:
    r"""Shows how much each token read contributes to one output: gradient times input.

    The bar of token t is $\sum_d x_{t,d} \, \partial y / \partial x_{t,d}$, where x are the token
    embeddings and y is one logit (of a classifier with probabilities, one probability). Positive
    bars push the output up.

    Args:
        model: A language model, a translator, a BERT with a masked-LM head or a classifier of
            tokens; or a `kt.Translator` or `kt.TextGenerator`.
        inputs: As in `plot_attention`.
        position: The position whose output is explained, from the end if negative, without padding;
            ignored by classifiers. A decoder's position reads its token and predicts the next.
        output_id: The id of the token, or the class, whose output is explained; None for the
            likeliest.
        tokens: As in `plot_attention`.
        row: Which row of the batch.

    Returns:
        A `Figure`; `data["groups"]` has the bars of source and target as `items`, and `data` the
        numbers as `saliency`, a dict of arrays (T,) by side.

    Raises:
        ValueError: If the model embeds no tokens, or the position or id is out of range.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.gpt(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> figure = kt.visualize.saliency(
        ...     model, {"token_ids": [[5, 6, 7]]}, tokens=["the", "cat", "sat"])
        >>> [item["label"] for item in figure.data["groups"][0]["items"]]
        ['the', 'cat', 'sat']

    Reference:
        Simonyan et al. 2014, "Deep Inside Convolutional Networks"; Denil et al. 2014, "Extraction
        of Salient Sentences from Labelled Documents".
    """
    subject = make_subject(model, inputs, tokens, row)
    layers = [layer.name for layer in subject.model.layers]
    names = [name for name in ("token_embedding", *_SIDES) if name in layers]
    check(bool(names and subject.tokens), "embed tokens", "model", subject.model.name)
    logits = _logits(subject.model(subject.inputs, training=False))
    is_sequence = len(logits.shape) == 3
    at = _position(subject, position) if is_sequence else None
    scores = ops.convert_to_numpy(ops.cast(logits[0] if at is None else logits[0, at], "float32"))
    index = _output_id(output_id, scores)

    def output(result):
        chosen = _logits(result)[0]
        return chosen[index] if at is None else chosen[at, index]

    paths = [f"{name}/embedding" for name in names]
    found = embedding_gradients(subject.model, subject.inputs, paths, output)
    return _figure(subject, found, at, index, float(scores[index]))


def _logits(output):
    """The logits, or a classifier's output, among the outputs of a model."""
    if not isinstance(output, dict):
        return output
    check("logits" in output, "have the output `logits`", "model", sorted(output))
    return output["logits"]


def _decodes(subject):
    return any(layer.name == "decoder" for layer in subject.model.layers)


def _position(subject, position):
    """The position in the padded row."""
    real = subject.real["target" if _decodes(subject) else "source"]
    count = real.stop - real.start
    holds = is_integer(position) and -count <= position < count
    check(holds, f"be one of the {count} positions", "position", position)
    return real.start + position % count


def _output_id(output_id, scores):
    if output_id is None:
        return int(np.argmax(scores))
    holds = is_integer(output_id) and 0 <= output_id < len(scores)
    check(holds, f"be one of the {len(scores)} outputs", "output_id", output_id)
    return int(output_id)


def _figure(subject: Subject, found, at, index, score):
    groups, numbers = [], {}
    for order, (name, values, gradient) in enumerate(found):
        side = _SIDES.get(name.split("/")[0])
        if side is None:  # one embedding for all: a translator embeds its source first
            is_first = order == 0 and "source_ids" in subject.inputs
            side = "source" if is_first or not _decodes(subject) else "target"
        numbers[side] = (values * gradient).sum(axis=-1)[0, subject.real[side]]
        items = [
            {"label": label, "value": float(value)}
            for label, value in zip(subject.tokens[side], numbers[side], strict=True)
        ]
        title = {"title": f"{side} tokens"} if len(found) > 1 else {}
        groups.append({"items": items, **title})
    sizes = [abs(item["value"]) for group in groups for item in group["items"]]
    for group in groups:
        group["maximum"] = max(sizes, default=0.0) or 1.0
    if at is None:
        name = f"output {index}"
    else:
        side = "target" if _decodes(subject) else "source"
        tokenizer = subject.tokenizers[side]
        text = tokenizer if hasattr(tokenizer, "id_to_token") else None
        name = f"“{token_texts([index], text)[0]}” at position {at - subject.real[side].start}"
    title = f"Gradient times input of {name}, {score:.3f}"
    return Figure(title, "bars", {"groups": groups, "saliency": numbers})
