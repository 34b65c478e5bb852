"""Saliency: how much each input token contributes to one prediction, to first order.

Shape letters: B batch, T length, D hidden, V vocabulary, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_transformer.checks import check, is_integer
from keras_transformer.visualize.figures import Figure
from keras_transformer.visualize.input_gradients import embedding_gradients
from keras_transformer.visualize.subjects import Subject, embedding_sides, make_subject
from keras_transformer.visualize.token_labels import token_texts


def saliency(
    model: Any,
    inputs: Any,
    position: int = -1,
    output_id: int | None = None,
    *,
    tokens: Any = None,
    row: int = 0,
) -> Figure:
    r"""Shows how much each input token contributes to one output: gradient times input.

    The bar of token t is $\sum_d x_{t,d} \, \partial y / \partial x_{t,d}$, where x are the token
    embeddings and y is one logit (of a classifier with probabilities, one probability). Positive
    bars push the output up.

    Args:
        model: A language model, a translator, a BERT with a masked-LM head or a classifier of
            tokens; or a `kt.Translator` or `kt.TextGenerator`.
        inputs: As in `plot_attention`.
        position: Position whose output is explained, not counting padding; from the end if
            negative. Ignored by classifiers. A decoder's position predicts the token after it.
        output_id: The id of the token, or the class, whose output is explained; None for the
            likeliest.
        tokens: As in `plot_attention`.
        row: Which row of the batch.

    Returns:
        A `Figure`; `data["groups"]` holds the bars of source and target as `items`, and
        `data["saliency"]` the numbers, a dict of one array (T,) per side.

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
        of Salient Sentences from Labeled Documents".
    """
    subject = make_subject(model, inputs, tokens, row)
    check(bool(subject.tokens), "embed tokens", "model", subject.model.name)
    sides = embedding_sides(subject)
    check(bool(sides), "embed tokens", "model", subject.model.name)
    logits = _logits(subject.model(subject.inputs, training=False))
    is_sequence = len(logits.shape) == 3
    at = _position(subject, position) if is_sequence else None
    scores = ops.convert_to_numpy(ops.cast(logits[0] if at is None else logits[0, at], "float32"))
    index = _output_id(output_id, scores)

    def output(result):
        chosen = _logits(result)[0]
        return chosen[index] if at is None else chosen[at, index]

    paths = [f"{name}/embedding" for name in sides]
    found = embedding_gradients(subject.model, subject.inputs, paths, output)
    numbers = {}
    for name, values, gradient in found:
        side = sides[name.split("/")[0]].pop(0)
        numbers[side] = (values * gradient).sum(axis=-1)[0, subject.real[side]]
    numbers = {side: numbers[side] for side in ("source", "target") if side in numbers}
    return _figure(subject, numbers, at, index, float(scores[index]))


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


def _figure(subject: Subject, numbers: dict[str, np.ndarray], at, index, score):
    groups: list[dict[str, Any]] = []
    for side, values in numbers.items():
        items = [
            {"label": label, "value": float(value)}
            for label, value in zip(subject.tokens[side], values, strict=True)
        ]
        groups.append({"items": items, "title": f"{side} tokens" if len(numbers) > 1 else ""})
    largest = max(float(np.abs(values).max()) for values in numbers.values())
    for group in groups:
        group["maximum"] = largest or 1.0
    title = f"Gradient times input of {_name(subject, at, index)}, {score:.3f}"
    return Figure(title, "bars", {"groups": groups, "saliency": numbers})


def _name(subject, at, index):
    """Describes the explained output in words."""
    if at is None:
        return f"output {index}"
    side = "target" if _decodes(subject) else "source"
    tokenizer = subject.tokenizers[side]
    (token,) = token_texts([index], tokenizer if hasattr(tokenizer, "id_to_token") else None)
    return f"“{token}” at position {at - subject.real[side].start}"
