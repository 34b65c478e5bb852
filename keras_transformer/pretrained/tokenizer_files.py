"""What a tokeniser hands on beside a model: its SentencePiece model and its special ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras

from keras_transformer.data.marian import MarianTokenizer
from keras_transformer.data.packages import import_text_package
from keras_transformer.data.special_ids import (
    END_ID,
    PADDING_ID,
    START_ID,
    UNKNOWN_ID,
    SpecialIds,
    special_ids,
)


def check_size(name: str, tokenizer: Any, vocabulary_size: int) -> None:
    """Raises a ValueError if a tokeniser knows more ids than the model has."""
    if tokenizer.vocabulary_size() > vocabulary_size:
        raise ValueError(
            f"`{name}` must not know more ids than the model. Received: "
            f"{tokenizer.vocabulary_size()} ids for a vocabulary of {vocabulary_size}."
        )


def tokenizers_of(tokenizer: Any, model: keras.Model) -> tuple[Any, ...]:
    """The tokenisers that were given: none, one, or those of source and target.

    Args:
        tokenizer: None, a tokeniser or a pair of them.
        model: the model, which must have an id for each of theirs.

    Returns:
        None, one or two tokenisers.

    Raises:
        ValueError: more than two, a pair for a model that is no translator, or more ids than the
            model has.
    """
    pair = tuple(tokenizer) if isinstance(tokenizer, (tuple, list)) else (tokenizer,)
    if pair == (None,):
        return ()
    names = {layer.name: layer for layer in model.layers}
    if len(pair) > 2 or None in pair or (len(pair) == 2 and not {"encoder", "decoder"} <= {*names}):
        raise ValueError(
            "`tokenizer` must be one, or a pair for the source and the target of a translator. "
            f"Received: {len(pair)} for the model {model.name!r}."
        )
    for one, side in zip(pair, ("source", "target"), strict=False):
        for name in ("token_embedding", f"{side}_embedding"):
            if name in names:
                check_size("tokenizer", one, names[name].vocabulary_size)
    if len(pair) == 1 and "target_embedding" in names:
        check_size("tokenizer", pair[0], names["target_embedding"].vocabulary_size)
    return pair


def sentencepiece_of(tokenizer: Any) -> Any:
    """The `SentencePieceProcessor` of a tokeniser whose ids are SentencePiece's own.

    Args:
        tokenizer: as `kt.data.train_tokenizer` makes it, or a `kt.data.SentencePieceTokenizer`.

    Returns:
        A processor without options.

    Raises:
        ValueError: it is of another class, or adds something to its rows.
    """
    proto = getattr(tokenizer, "proto", None)
    if not isinstance(proto, bytes) or isinstance(tokenizer, MarianTokenizer):
        raise ValueError(
            "`tokenizer` must be a SentencePieceTokenizer, as kt.data.train_tokenizer makes it, or "
            f"None. Received: a {type(tokenizer).__name__}."
        )
    for name in ("add_bos", "add_eos", "sequence_length"):
        if getattr(tokenizer, name, None):
            raise ValueError(
                f"`tokenizer` must not add anything by itself. Received: {name}="
                f"{getattr(tokenizer, name)!r}."
            )
    return import_text_package("sentencepiece").SentencePieceProcessor(model_proto=proto)


def choose_special_ids(
    tokenizers: tuple[Any, ...], padding_id: int | None, start_id: int | None, end_id: int | None
) -> SpecialIds:
    """The special ids of the target: those given, or the tokeniser's, or else the library's.

    Args:
        tokenizers: none, one or two.
        padding_id: the model's.
        start_id: the id in front of a text, None if it is not given.
        end_id: the id behind a text, None if it is not given.

    Returns:
        The ids; None for what nothing says.
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
    """The id of each token; ids without a token are left out."""
    tokens = ((tokenizer.id_to_token(i), i) for i in range(tokenizer.vocabulary_size()))
    return {token: index for token, index in tokens if token}


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file as people read it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
