"""Encoding texts as rows of token ids, and decoding them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras_transformer.data.rows import integer_rows
from keras_transformer.data.tokenizers.interface import Tokenizer
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subword_sampling import sample_rows
from keras_transformer.data.tokenizers.text_checks import check_texts


def _id_to_add(tokenizer: Any, name: str, value: Any) -> int:
    """Returns the id to add before or after rows."""
    if value == "auto":
        value = special_ids(tokenizer).named[name]
    if value is None:
        raise ValueError(f"`{name}` must be given if `tokenizer` has none. Received: {name}=None.")
    return int(value)


def encode(
    tokenizer: Tokenizer,
    texts: Iterable[str],
    start: bool = False,
    end: bool = False,
    max_length: int | None = None,
    start_id: int | str = "auto",
    end_id: int | str = "auto",
    sampling: float | None = None,
    seed: int = 0,
) -> list[list[int]]:
    """Converts strings to lists of token ids.

    With `sampling`, each text is split into subwords at random: a model that sees the same
    sentence in different pieces every epoch learns what the pieces contain (subword
    regularization). The ids still decode to the same text. Train on several samples, and encode
    texts for inference or evaluation without sampling.

    Args:
        tokenizer: A tokenizer of `kt.data`, or one of keras-hub without `sequence_length`.
        texts: Iterable of N strings.
        start: Whether each row starts with `start_id`.
        end: Whether each row ends with `end_id`, even if it is truncated.
        max_length: Maximum row length in tokens, start and end included; longer rows are
            truncated. None for no limit.
        start_id: Id of the start of a sentence; "auto" for the tokenizer's.
        end_id: Id of the end of a sentence; "auto" for the tokenizer's.
        sampling: None for the best segmentation. For a unigram model, the exponent of a
            segmentation's probability: 0.1 is very random, 1 follows the model. For a byte-pair
            model, the share of merges that are dropped.
        seed: Seed of the sampling, a non-negative integer.

    Returns:
        N lists of Python integers.

    Raises:
        ValueError: If `texts` is a single string, or one is not a string of valid Unicode (the
            message names it), if `max_length` leaves no room for a token, if the tokenizer pads its
            rows or lacks a requested id, or if `sampling` is not in (0, 1] or the tokenizer not a
            SentencePiece tokenizer.

    Example:
        >>> import keras_transformer as kt
        >>> tokenizer = kt.data.train_tokenizer(["a cat", "a dog"], vocabulary_size=11)
        >>> (row,) = kt.data.encode(tokenizer, ["a cat"], start=True, end=True)
        >>> row[0], row[-1]
        (2, 3)

    See Also:
        `kt.data.decode` is the inverse; `kt.data.special_ids` lists the ids that can be added.

    Reference:
        Kudo 2018, "Subword Regularization"; Provilkov et al. 2020, "BPE-Dropout" (for merges).
    """
    texts = check_texts(texts)
    if max_length is not None and max_length <= start + end:
        raise ValueError(
            f"`max_length` must be at least {start + end + 1} with start={start} and end={end}. "
            f"Received: max_length={max_length}."
        )
    sequence_length = getattr(tokenizer, "sequence_length", None)
    if sequence_length:
        # Its rows are padded, and an end after the padding would be ignored.
        raise ValueError(
            "`tokenizer` must not have a `sequence_length`. "
            f"Received: sequence_length={sequence_length}."
        )
    before = [_id_to_add(tokenizer, "start_id", start_id)] if start else []
    after = [_id_to_add(tokenizer, "end_id", end_id)] if end else []
    if sampling is not None:
        rows = sample_rows(tokenizer, texts, sampling, seed)
    else:
        # One call for all texts: SentencePiece spreads a batch over the cores.
        rows = tokenizer(texts) if texts else []
    if hasattr(rows, "to_list"):
        rows = rows.to_list()
    kept = None if max_length is None else max_length - len(before) - len(after)
    return [before + list(row)[:kept] + after for row in rows]


def decode(
    tokenizer: Tokenizer,
    ids: Any,
    start_id: int | str | None = "auto",
    end_id: int | str | None = "auto",
    padding_id: int | str | None = "auto",
) -> list[str]:
    """Converts rows of token ids back to strings.

    Each row is cut at its first `end_id`; padding and start ids are dropped. If start and end are
    the same id, as in GPT-2, a row that starts with it is cut at the next one.

    Args:
        tokenizer: A tokenizer of `kt.data`, or one of keras-hub with `detokenize`.
        ids: Integers of shape (N, T), as an array, a tensor or a list of lists of any lengths.
        start_id: Id to drop, or None if the vocabulary has none; "auto" for the tokenizer's.
        end_id: Id at which a row ends, or None; "auto" for the tokenizer's.
        padding_id: Id to drop, or None; "auto" for the tokenizer's.

    Returns:
        N strings.

    Raises:
        ValueError: If `ids` are not integers in two dimensions, or one is outside the vocabulary.

    Example:
        >>> import keras_transformer as kt
        >>> tokenizer = kt.data.train_tokenizer(["a cat", "a dog"], vocabulary_size=11)
        >>> (row,) = kt.data.encode(tokenizer, ["a cat"], start=True, end=True)
        >>> kt.data.decode(tokenizer, [row + [0, 0, 0]])
        ['a cat']
    """
    size = tokenizer.vocabulary_size()
    own = special_ids(tokenizer)
    start_id = own.start if start_id == "auto" else start_id
    end_id = own.end if end_id == "auto" else end_id
    padding_id = own.padding if padding_id == "auto" else padding_id
    dropped = {start_id, padding_id}
    rows = []
    for index, row in enumerate(integer_rows(ids)):
        if row and not 0 <= min(row) <= max(row) < size:
            outside = next(token_id for token_id in row if not 0 <= token_id < size)
            raise ValueError(
                f"`ids` must be at least 0 and below the vocabulary size of {size}. "
                f"Received: id {outside} in row {index}."
            )
        if row and start_id == end_id == row[0]:
            row = row[1:]
        if end_id in row:
            row = row[: row.index(end_id)]
        rows.append([token_id for token_id in row if token_id not in dropped])
    return list(tokenizer.detokenize(rows)) if rows else []
