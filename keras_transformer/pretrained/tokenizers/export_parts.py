"""Helpers for exporting the tokenizer of a model: its SentencePiece model and its special ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras

from keras_transformer.data.tokenizers.marian_tokenizer import MarianTokenizer
from keras_transformer.data.tokenizers.special_ids import (
    END_ID,
    PADDING_ID,
    START_ID,
    UNKNOWN_ID,
    SpecialIds,
    special_ids,
)
from keras_transformer.data.tokenizers.text_packages import import_text_package


def check_size(name: str, tokenizer: Any, vocabulary_size: int) -> None:
    """Raises a ValueError if a tokenizer has more ids than the model."""
    if tokenizer.vocabulary_size() > vocabulary_size:
        raise ValueError(
            f"`{name}` must not have more ids than the model. Received: "
            f"{tokenizer.vocabulary_size()} ids for a vocabulary of {vocabulary_size}."
        )


def tokenizers_of(tokenizer: Any, model: keras.Model) -> tuple[Any, ...]:
    """Returns the given tokenizers as a tuple: none, one, or those of source and target.

    Args:
        tokenizer: None, a tokenizer or a pair of them.
        model: The model; it must have at least as many ids as each tokenizer.

    Returns:
        Zero, one or two tokenizers.

    Raises:
        ValueError: If there are more than two tokenizers, there are two and the model is not a
            translator, or one has more ids than the model.
    """
    pair = tuple(tokenizer) if isinstance(tokenizer, (tuple, list)) else (tokenizer,)
    if pair == (None,):
        return ()
    names = {layer.name: layer for layer in model.layers}
    if len(pair) > 2 or None in pair or (len(pair) == 2 and not {"encoder", "decoder"} <= {*names}):
        raise ValueError(
            "`tokenizer` must be one tokenizer, or a pair for the source and the target of a "
            f"translator. Received: {len(pair)} for the model {model.name!r}."
        )
    for one, side in zip(pair, ("source", "target"), strict=False):
        for name in ("token_embedding", f"{side}_embedding"):
            if name in names:
                check_size("tokenizer", one, names[name].vocabulary_size)
    if len(pair) == 1 and "target_embedding" in names:
        check_size("tokenizer", pair[0], names["target_embedding"].vocabulary_size)
    return pair


def sentencepiece_of(tokenizer: Any) -> Any:
    """Returns the `SentencePieceProcessor` of a tokenizer with SentencePiece's own ids.

    Args:
        tokenizer: The result of `kt.data.train_tokenizer`, or a `kt.data.SentencePieceTokenizer`.

    Returns:
        A processor without options.

    Raises:
        ValueError: If it is of another class, or adds ids or padding itself.
    """
    proto = getattr(tokenizer, "proto", None)
    if not isinstance(proto, bytes) or isinstance(tokenizer, MarianTokenizer):
        raise ValueError(
            "`tokenizer` must be a SentencePieceTokenizer, as returned by kt.data.train_tokenizer, "
            f"or None. Received: a {type(tokenizer).__name__}."
        )
    for name in ("add_bos", "add_eos", "sequence_length"):
        if getattr(tokenizer, name, None):
            raise ValueError(
                f"`tokenizer` must not add ids or padding itself. Received: {name}="
                f"{getattr(tokenizer, name)!r}."
            )
    return import_text_package("sentencepiece").SentencePieceProcessor(model_proto=proto)


def choose_special_ids(
    tokenizers: tuple[Any, ...], padding_id: int | None, start_id: int | None, end_id: int | None
) -> SpecialIds:
    """Chooses the special ids of the target: those given, else the tokenizer's, else `kt.data`'s.

    Args:
        tokenizers: Zero, one or two tokenizers.
        padding_id: The model's padding id.
        start_id: Id before a text, None if not given.
        end_id: Id after a text, None if not given.

    Returns:
        The ids; None for those that are unknown.
    """
    if tokenizers:
        own = special_ids(tokenizers[-1])
    elif padding_id == PADDING_ID:  # the ids of kt.data
        own = SpecialIds(PADDING_ID, UNKNOWN_ID, START_ID, END_ID)
    else:
        own = SpecialIds(padding_id, None, None, None)
    given = {"start": start_id, "end": end_id}
    return own._replace(**{name: token for name, token in given.items() if token is not None})


def tokens_of(tokenizer: Any) -> dict[str, int]:
    """Returns the id of each token; ids without a token are left out."""
    tokens = ((tokenizer.id_to_token(i), i) for i in range(tokenizer.vocabulary_size()))
    return {token: index for token, index in tokens if token}


def write_json(path: Path, content: Any) -> None:
    """Writes an indented JSON file."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
