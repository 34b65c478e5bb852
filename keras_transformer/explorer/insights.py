"""Logit lens and saliency of a recorded run."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from keras import ops

from keras_transformer.checks import check
from keras_transformer.explorer.fields import Refused
from keras_transformer.explorer.opened_model import OpenedModel
from keras_transformer.explorer.recorded_run import RecordedRun, likeliest
from keras_transformer.visualize.saliency_figures import saliency

_NUM_LENS = 5
_BLOCK = re.compile(r"(encoder|decoder)/block_(\d+)/output")


def lens(opened: OpenedModel, run: RecordedRun) -> dict[str, Any]:
    """Returns the likeliest tokens after each layer of a recorded run, as if it were the last.

    Like `kt.visualize.logit_lens`, but computed from the run's recorded tensors, so that heads that
    were switched off in the run remain off.

    Args:
        opened: The model.
        run: A run of it.

    Returns:
        A dict of `layers`, their names, and `top`, the tokens by layer and position.

    Raises:
        ValueError: If the model has no Transformer blocks, or predicts no tokens.
    """
    stack = "decoder" if opened.parts is not None else "encoder"
    names = [n for n in run.trace if (found := _BLOCK.fullmatch(n)) and found[1] == stack]
    head = _head(opened)
    check(bool(names) and head is not None, "predict tokens layer by layer", "model", opened.kind)
    norm = getattr(opened.layers[stack], "final_norm", None)
    states = [_first_state(run, stack), *(run.trace[name] for name in names[:-1])]
    if norm is not None:
        states = [norm(ops.convert_to_tensor(state)) for state in states]
    states.append(run.trace[f"{stack}/output"])
    logits = [ops.convert_to_numpy(head(ops.convert_to_tensor(state)))[0] for state in states]
    return {
        "layers": ["embedding", *(f"layer {index}" for index in range(len(names)))],
        "top": [likeliest(opened, stack, one, _NUM_LENS) for one in logits],
    }


def _head(opened: OpenedModel) -> Any:
    """The function that maps the output of the last layer to logits; None if there is none."""
    if opened.parts is not None:
        return opened.parts.logits
    if not opened.has_masked_lm:
        return None
    dense, norm = opened.layers["masked_lm_dense"], opened.layers["masked_lm_norm"]
    return lambda hidden: opened.layers["token_embedding"](norm(dense(hidden)), reverse=True)


def _first_state(run: RecordedRun, stack: str) -> np.ndarray:
    """The input of the first block: the embeddings, with positions if the stack adds them."""
    for name in (f"{stack}/positional_encoding/output", "embedding_norm/output"):
        if name in run.trace:
            return run.trace[name]
    return run.embedded[f"{stack}/embedding"][None]


def saliency_of(
    opened: OpenedModel, run: RecordedRun, position: int, token_id: int | None
) -> dict[str, Any]:
    """Returns how much each input token contributes to one logit, see `kt.visualize.saliency`.

    Args:
        opened: The model.
        run: A run of it without switched-off heads.
        position: The position whose logit is explained.
        token_id: The token, or the class, whose logit is explained; None for the likeliest.

    Returns:
        A dict of `scores` and `tokens` of the text, `token`, and for translators `target_scores`
        and `target_tokens` for the tokens that the decoder had read.

    Raises:
        ValueError: If the model reads pictures or heads were switched off.
    """
    if opened.kind == "vision":
        raise ValueError("`saliency` needs a model that reads tokens.")
    if run.ablate:
        raise Refused(
            "`saliency` needs a run in which no heads are switched off.", "needs_all_heads"
        )
    if token_id is None:
        token_id = _likeliest_id(run, position)
    data = saliency(opened.model, run.inputs, position, token_id).data["saliency"]
    answer: dict[str, Any] = {"token": None}
    if run.logits_name is not None:
        stack = "decoder" if opened.parts is not None else "encoder"
        answer["token"] = opened.texts[stack].tokens([token_id])[0]
    if opened.kind == "translator":
        target = opened.texts["decoder"](run.decoder_ids)
        answer |= {"target_scores": data["target"], "target_tokens": target}
    only = "target" if opened.kind == "language_model" else "source"
    ids, stack = (run.encoder_ids, "encoder") if run.encoder_ids else (run.decoder_ids, "decoder")
    return {**answer, "scores": data[only], "tokens": opened.texts[stack](ids)}


def _likeliest_id(run, position):
    result = run.result["logits"] if isinstance(run.result, dict) else run.result
    scores = result[0] if result.ndim == 2 else result[0, position]
    return int(np.argmax(scores))
