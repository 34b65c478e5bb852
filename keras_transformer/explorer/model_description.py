"""The description of a model, which the page reads before it runs the model."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

import keras

from keras_transformer.explorer.opened_model import LONGEST, OpenedModel
from keras_transformer.explorer.pictures import example_picture, picture_names, picture_shape
from keras_transformer.explorer.recorded_run import RecordedRun, run_picture, run_text

MAX_BEAMS = 8
MAX_NEW_TOKENS = 200
_PROMPTS = ("The cat sat on the", "Once upon a time", "In the beginning", "The meaning of life is")
_SENTENCES = ("The cat sat on the mat.", "I am very tired.", "Where is the train station?")
_MASKED = ("The cat {} on the mat.", "Paris is the capital of {}.", "She opened the {} and left.")


def probe(opened: OpenedModel) -> RecordedRun:
    """Runs a model on its first example, which also warms it up."""
    if opened.kind == "vision":
        return run_picture(opened, example_picture(opened, 0))
    example = examples(opened)[0]
    text = example["source"] if isinstance(example, dict) else example
    return run_text(opened, text)


def describe_model(opened: OpenedModel, run: RecordedRun) -> dict[str, Any]:
    """Describes a model.

    Args:
        opened: The model.
        run: Any run of it.

    Returns:
        The answer to `GET /api/model`.
    """
    stacks = [name for name in ("encoder", "decoder") if name in opened.layers]
    recurrent = [name for name in stacks if _unit(run, name) != "attention"]
    limits = [opened.limit(name) or LONGEST for name in stacks]
    return {
        "kind": opened.kind,
        "title": opened.title,
        "attribution": opened.attribution,
        "backend": keras.backend.backend(),
        "recurrent": bool(recurrent),
        "vocabulary_size": opened.vocabulary_size,
        "max_length": None if opened.kind == "vision" else min(*limits, LONGEST),
        "stacks": [_stack(opened, run, name) for name in stacks],
        "sampling": _sampling(opened),
        "translation": _translation(opened),
        "masked_lm": opened.has_masked_lm,
        "mask_token": opened.mask_token,
        "classes": None if opened.classes is None else list(opened.classes),
        "examples": examples(opened),
        "image": picture_shape(opened),
        "attentions": attentions(run),
        "tensor_names": list(run.trace),
    }


def examples(opened: OpenedModel) -> list[Any]:
    """Returns the texts, or names of pictures, to try."""
    if opened.kind == "vision":
        return picture_names(opened)
    if opened.kind == "translator":
        return [{"source": text, "target": None} for text in opened.examples or _SENTENCES]
    if opened.has_masked_lm:
        return [text.format(opened.mask_token) for text in _MASKED]
    usual = _PROMPTS if opened.kind == "language_model" else _SENTENCES
    return list(opened.examples or usual)


def attentions(run: RecordedRun) -> list[dict[str, Any]]:
    """Describes every attention of a run, in the order of the forward path."""
    found, layers = [], dict.fromkeys(("encoder/self", "decoder/self", "decoder/cross"), 0)
    for name in run.trace.find("*/weights"):
        path = name.removesuffix("/weights")
        stack = path.split("/")[0]
        kind = "self" if path.endswith("self_attention") else "cross"
        layer = layers[f"{stack}/{kind}"]
        layers[f"{stack}/{kind}"] += 1
        heads = run.trace[name].shape[1]
        found.append({"path": path, "stack": stack, "layer": layer, "kind": kind, "heads": heads})
    return found


def _stack(opened, run, name):
    layer = opened.layers[name]
    block = getattr(layer, "blocks", [None])[0]
    first: Any = next((one for one in attentions(run) if one["stack"] == name), None)
    cross = any(one["stack"] == name and one["kind"] == "cross" for one in attentions(run))
    heads = getattr(block, "num_heads", None) or (first["heads"] if first else 0)
    return {
        "name": name,
        "layers": getattr(layer, "num_layers", 1),
        "heads": heads,
        "key_value_heads": getattr(block, "num_key_value_heads", None) or heads,
        "hidden_dim": run.trace[f"{name}/output"].shape[-1],
        "unit": _unit(run, name),
        "cross_attention": cross,
    }


def _unit(run, stack):
    names = [name for name in run.trace if name.startswith(f"{stack}/")]
    if _any(names, "*/self_attention/weights"):
        return "attention"
    if _any(names, f"{stack}/block_*/forget_gate") or _any(names, f"{stack}/block_*/*/forget_gate"):
        return "ssru"
    return "recurrent" if _any(names, "*/state") else "attention"


def _any(names: Iterable[str], pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _sampling(opened):
    if opened.kind != "language_model":
        return None
    usual = opened.pipeline.defaults.sampling or {}
    return {
        "temperature": [0.1, 10],
        "top_k_max": opened.vocabulary_size,
        "max_new_tokens": MAX_NEW_TOKENS,
        "temperature_default": usual.get("temperature", 1.0),
        **{name: usual.get(name) for name in ("top_k", "top_p", "min_p")},
    }


def _translation(opened):
    if opened.kind != "translator":
        return None
    defaults = opened.pipeline.defaults
    return {
        "num_beams_max": min(MAX_BEAMS, opened.vocabulary_size),
        "length_penalty": [0, 2],
        "length_penalty_default": defaults.length_penalty,
        "length_normalization": defaults.length_normalization,
    }
