"""Adding new tokens to tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_transformer.checks import check, check_integer
from keras_transformer.data.tokenizers.hugging_face import HuggingFaceTokenizer
from keras_transformer.data.tokenizers.interface import Tokenizer
from keras_transformer.data.tokenizers.marian_tokenizer import MarianTokenizer
from keras_transformer.data.tokenizers.sentence_piece import SentencePieceTokenizer
from keras_transformer.data.tokenizers.text_packages import (
    SPACE,
    import_text_package,
    sentencepiece_proto,
)


def with_new_tokens(
    tokenizer: Tokenizer, tokens: Sequence[str], first_id: int | None = None
) -> Any:
    """Extends the vocabulary of a tokenizer, for example by names or by the tags of a task.

    Wherever a new token occurs in a text, it is one id; the ids of other texts stay the same. The
    model gets the same ids from `kt.models.with_new_tokens`.

    Args:
        tokenizer: A tokenizer of `kt.data`, including those of `kt.data.train_tokenizer` and
            `kt.pretrained.load_tokenizer`.
        tokens: The new tokens. They are also found inside words.
        first_id: Id of the first of them; None for the tokenizer's vocabulary size. Give the
            model's vocabulary size if that is larger.

    Returns:
        A tokenizer of the same class.

    Raises:
        ValueError: If a token is blank, given twice or in the vocabulary, `first_id` is too low, or
            the tokenizer is of another class.

    Example:
        >>> import keras_transformer as kt
        >>> tokenizer = kt.data.train_tokenizer(["a cat", "a dog"], vocabulary_size=11)
        >>> more = kt.data.with_new_tokens(tokenizer, ["Zyrtec"])
        >>> more.vocabulary_size(), more(["a Zyrtec"])[0][-1]
        (12, 11)

    Reference:
        Kudo and Richardson 2018, "SentencePiece", section 3.3 (user-defined symbols).
    """
    size = tokenizer.vocabulary_size()
    first_id = size if first_id is None else first_id
    check_integer(size, first_id=first_id)
    tokens = _checked(tokenizer, tokens)
    if isinstance(tokenizer, MarianTokenizer):
        ids = {token.replace(" ", SPACE): first_id + i for i, token in enumerate(tokens)}
        vocabulary = {**tokenizer.vocabulary, **ids}
        return MarianTokenizer(
            _longer_proto(tokenizer.proto, tokens), vocabulary, **_config(tokenizer)
        )
    if isinstance(tokenizer, SentencePieceTokenizer):
        return SentencePieceTokenizer(
            _longer_proto(tokenizer.proto, tokens, first_id), **_config(tokenizer)
        )
    if isinstance(tokenizer, HuggingFaceTokenizer):
        content = _longer_json(tokenizer.content, tokens, first_id)
        return HuggingFaceTokenizer(content, **_config(tokenizer))
    return _of_keras_hub(tokenizer, tokens, first_id)


def _of_keras_hub(tokenizer: Any, tokens: list[str], first_id: int) -> Any:
    proto = getattr(tokenizer, "proto", None)
    if not isinstance(proto, bytes) or type(tokenizer).__name__ != "SentencePieceTokenizer":
        raise ValueError(
            "`tokenizer` must be a SentencePiece, Marian or Hugging Face tokenizer of kt.data. "
            f"Received: a {type(tokenizer).__name__}."
        )
    names = ("sequence_length", "add_bos", "add_eos")
    options = {name: getattr(tokenizer, name) for name in names}
    options["dtype"] = tokenizer.compute_dtype
    return type(tokenizer)(proto=_longer_proto(proto, tokens, first_id), **options)


def _checked(tokenizer: Any, tokens: Sequence[str]) -> list[str]:
    listed = isinstance(tokens, Sequence) and not isinstance(tokens, str) and bool(tokens)
    check(listed, "be a list of strings", "tokens", tokens)
    known = set()
    for index, token in enumerate(tokens):
        valid = isinstance(token, str) and bool(token.strip()) and SPACE not in token
        check(valid, "be a string with visible characters", f"tokens[{index}]", token)
        if token in known or _is_token(tokenizer, token):
            raise ValueError(
                "`tokens` must be new and distinct. "
                f"Received: tokens[{index}]={token!r}, which already exists."
            )
        known.add(token)
    return list(tokens)


def _is_token(tokenizer, token):
    token_id = tokenizer.token_to_id(token)
    return token_id is not None and tokenizer.id_to_token(token_id) == token


def _config(tokenizer):
    config = tokenizer.get_config()
    del config["vocabulary_size"]
    return config


def _longer_proto(proto: bytes, tokens: Sequence[str], first_id: int | None = None) -> bytes:
    """Returns a SentencePiece model with more pieces, the first of them with the given id."""
    model = sentencepiece_proto(proto)
    piece_type = type(model).SentencePiece
    for index in range(len(model.pieces), len(model.pieces) if first_id is None else first_id):
        # Fill up the ids that no text contains, such as a padding id that only the model has.
        model.pieces.add(piece=f"<unused {index}>", score=0.0, type=piece_type.UNUSED)
    for token in tokens:
        text = token.replace(" ", SPACE)
        model.pieces.add(piece=text, score=0.0, type=piece_type.USER_DEFINED)
    return model.SerializeToString()


def _longer_json(content: str, tokens: Sequence[str], first_id: int) -> str:
    """Returns a tokenizer.json with more tokens, the first of them with the given id."""
    package = import_text_package("tokenizers")
    inner = package.Tokenizer.from_str(content)
    size = max(inner.get_vocab().values(), default=-1) + 1
    unused = [f"<|unused {index}|>" for index in range(size, first_id)]
    inner.add_tokens([package.AddedToken(token, special=True) for token in unused])
    inner.add_tokens([package.AddedToken(token, normalized=False) for token in tokens])
    return inner.to_str()
