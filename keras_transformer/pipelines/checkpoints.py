"""What pipelines are made of, from folders in the Hugging Face form."""

from __future__ import annotations

import os
from typing import Any

import keras

from keras_transformer.pipelines.defaults import DecodingDefaults
from keras_transformer.pretrained.generation import read_generation
from keras_transformer.pretrained.load import find_folder, load
from keras_transformer.pretrained.tokenizers import load_tokenizer


def open_translator(folder: str | os.PathLike) -> tuple[keras.Model, Any, Any, DecodingDefaults]:
    """Opens a translation checkpoint.

    Args:
        folder: a folder, or a name on the Hugging Face hub.

    Returns:
        The model, the source's and the target's tokeniser, and how the checkpoint wants to be
        decoded.

    Raises:
        ValueError: it is no translation model, or cannot be loaded.
    """
    path = find_folder(folder)
    model = load(path)
    if "encoder" not in _stacks(model) or "decoder" not in _stacks(model):
        raise _other_model("translation model", folder, model)
    source, target = load_tokenizer(path), load_tokenizer(path, target=True)
    settings = read_generation(path)
    defaults = DecodingDefaults(
        # Padding is what a translation starts from; it must never come again.
        banned_ids=tuple(dict.fromkeys((target.padding_id, *settings.banned_ids))),
        max_new_tokens=settings.max_new_tokens,
        length_penalty=settings.length_penalty,
        length_normalization="length",
        early_stopping=settings.early_stopping,
    )
    return model, source, target, defaults


def open_language_model(folder: str | os.PathLike) -> tuple[keras.Model, Any, tuple[int, ...]]:
    """Opens a language model's checkpoint.

    Args:
        folder: a folder, or a name on the Hugging Face hub.

    Returns:
        The model, its tokeniser, and the ids that the checkpoint bans.

    Raises:
        ValueError: it is no language model, or cannot be loaded.
    """
    path = find_folder(folder)
    model = load(path)
    if "encoder" in _stacks(model) or "decoder" not in _stacks(model):
        raise _other_model("language model", folder, model)
    return model, load_tokenizer(path), read_generation(path).banned_ids


def _stacks(model):
    return {layer.name for layer in model.layers}


def _other_model(wanted, folder, model):
    return ValueError(
        f"`folder` must hold a {wanted}. "
        f"Received: folder={os.fspath(folder)!r}, which holds a {model.name}."
    )
