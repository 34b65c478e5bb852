"""Logit lens: the predictions of each layer's hidden states through the model's output layers.

Shape letters: B batch, T length, D hidden, V vocabulary.
"""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_transformer.checks import check, check_positive
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.visualize.figures import Figure
from keras_transformer.visualize.subjects import Subject, embedding_sides, make_subject
from keras_transformer.visualize.token_labels import token_texts

_OUTPUT = re.compile(r"(encoder|decoder)/block_(\d+)/output")
_PRE_LN = (
    "Each layer's residual stream goes through the model's final norm and output projection, which "
    "were trained only for the last layer."
)
_POST_LN = (
    "The blocks normalize their own outputs (post-LN), which go directly to the output projection; "
    "it was trained only for the last layer."
)


def logit_lens(
    model: Any,
    inputs: Any,
    top: int = 5,
    *,
    tokens: Any = None,
    row: int = 0,
) -> Figure:
    """Shows the tokens that each layer would predict if it were the last one.

    The hidden states before the first block and after each block go through the model's final norm,
    if it has one (pre-LN), and its output projection; those of a masked language model go through
    its whole head. The last row is what the model predicts.

    Args:
        model: A language model, a translator (its decoder is shown) or a BERT with a masked-LM
            head; or a `kt.Translator` or `kt.TextGenerator`.
        inputs: As in `plot_attention`.
        top: How many of the likeliest tokens to keep.
        tokens: As in `plot_attention`; predictions are text with a tokenizer, otherwise ids.
        row: Which row of the batch.

    Returns:
        A `Figure`; its `data` has `ids`, `tokens` and `probabilities`, each by layer, position and
        rank, and `entropies` in nats by layer and position.

    Raises:
        ValueError: If the model has no blocks, or no projection to a vocabulary.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.gpt(
        ...     vocabulary_size=20, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> figure = kt.visualize.logit_lens(model, {"token_ids": [[5, 6, 7]]}, top=3)
        >>> figure.data["probabilities"].shape, figure.data["rows"]
        ((3, 3, 3), ['embedding', 'layer 0', 'layer 1'])

    Reference:
        nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    check_positive(top=top)
    subject = make_subject(model, inputs, tokens, row)
    stack, head = _head(subject.model)
    hidden = _hidden_states(subject, stack)
    side = "source" if stack.name == "encoder" else "target"
    norm = getattr(stack, "final_norm", None)
    logits = [head(x if norm is None or is_last else norm(x)) for x, is_last in hidden]
    real = subject.real[side]
    logits = [ops.convert_to_numpy(ops.cast(one, "float32"))[0, real] for one in logits]
    return Figure(
        "Logit lens",
        "lens",
        _lens_data(np.stack(logits), top, subject.tokens[side], subject.tokenizers[side]),
        [_POST_LN if norm is None else _PRE_LN],
    )


def _lens_data(logits, top, columns, tokenizer):
    """The likeliest tokens of logits (layers, T, V)."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    top = min(top, logits.shape[-1])
    ids = np.argsort(-log_probs, axis=-1, kind="stable")[..., :top]
    texts = tokenizer if hasattr(tokenizer, "id_to_token") else None
    return {
        "rows": ["embedding", *(f"layer {index}" for index in range(len(logits) - 1))],
        "columns": columns,
        "ids": ids.astype("int32"),
        "tokens": [[token_texts(best, texts) for best in layer] for layer in ids],
        "probabilities": np.exp(np.take_along_axis(log_probs, ids, axis=-1)),
        "entropies": -(np.exp(log_probs) * log_probs).sum(axis=-1),
    }


def _head(model: keras.Model):
    """The stack whose layers are shown, and the function that maps its output to logits."""
    layers = {layer.name: layer for layer in model.layers}
    if "decoder" in layers:
        return layers["decoder"], DecodingModel(model).logits
    names = {"encoder", "masked_lm_dense", "masked_lm_norm", "token_embedding"}
    check(names <= layers.keys(), "predict tokens of a vocabulary", "model", model.name)

    def masked_lm(hidden):
        hidden = layers["masked_lm_norm"](layers["masked_lm_dense"](hidden))
        return layers["token_embedding"](hidden, reverse=True)

    return layers["encoder"], masked_lm


def _hidden_states(subject: Subject, stack: keras.layers.Layer):
    """The stack's input, the output of each block but the last, and the stack's own output.

    Returns pairs of a state and whether the final norm has been applied to it.
    """
    trace, _ = subject.run("*output", "*/embedding")
    name = stack.name
    found = [one for one in trace if _OUTPUT.fullmatch(one) and one.startswith(name)]
    check(bool(found), "have Transformer blocks", "model", subject.model.name)
    states = [(trace[one], False) for one in found[:-1]]
    first = _first_state(subject, trace, stack)
    return [(first, False), *states, (trace[f"{name}/output"], True)]


def _first_state(subject, trace, stack):
    """The input of the first block: the embeddings, with positions if there are any."""
    positions = getattr(stack.positional_encoding, "name", None)
    for name in (f"{stack.name}/{positions}/output", "embedding_norm/output"):
        if name in trace:
            return trace[name]
    side = "source" if stack.name == "encoder" else "target"
    calls = embedding_sides(subject).items()
    name, order = next((name, found.index(side)) for name, found in calls if side in found)
    return trace.all(f"{name}/embedding")[order]
