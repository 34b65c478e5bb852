"""Subword tokenizers: training, encoding and decoding.

keras-hub and sentencepiece are imported on first use, so that importing the library costs no more
than importing Keras.
"""

from __future__ import annotations

import io
import numbers
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from keras_transformer.data.rows import integer_rows
from keras_transformer.data.tokenizers.interface import Tokenizer
from keras_transformer.data.tokenizers.special_ids import (
    END_ID,
    PADDING_ID,
    START_ID,
    UNKNOWN_ID,
    special_ids,
)
from keras_transformer.data.tokenizers.subword_sampling import sample_rows
from keras_transformer.data.tokenizers.text_checks import check_texts
from keras_transformer.data.tokenizers.text_packages import import_text_package

if TYPE_CHECKING:
    import keras_hub


def _special_pieces(symbols: Sequence[str]) -> dict[str, Any]:
    """Returns SentencePiece's options for the four reserved ids."""
    options: dict[str, Any] = {}
    reserved = {
        "pad": (PADDING_ID, "<pad>"),
        "unk": (UNKNOWN_ID, "<unk>"),
        "bos": (START_ID, "<s>"),
        "eos": (END_ID, "</s>"),
    }
    for name, (token_id, surface) in reserved.items():
        # A symbol that the user wants as text, such as WikiText's "<unk>", would otherwise
        # collide with the reserved piece of the same name.
        while surface in symbols:
            surface = f"<{surface}>"
        options |= {f"{name}_id": token_id, f"{name}_piece": surface}
    return options


def _check_training_arguments(
    texts: list[str], vocabulary_size: int, model_type: str, lossless: bool, symbols: Sequence[str]
) -> None:
    """Raises a clear ValueError for arguments that SentencePiece would reject."""
    if not any(text.strip() for text in texts):
        raise ValueError(
            "`texts` must hold at least one string that is not blank. "
            f"Received: {len(texts)} strings, all blank."
        )
    if model_type not in ("unigram", "bpe"):
        raise ValueError(
            f'`model_type` must be "unigram" or "bpe". Received: model_type={model_type!r}'
        )
    for index, symbol in enumerate(symbols):
        # SentencePiece writes a space as U+2581 and would never match such a symbol.
        if not isinstance(symbol, str) or not symbol or re.search(r"[\s\u2581]", symbol):
            raise ValueError(
                "`symbols` must hold non-empty strings without whitespace. "
                f"Received: symbols[{index}]={symbol!r}"
            )
    smallest = 5 + len(symbols) + (256 if lossless else 0)
    if not isinstance(vocabulary_size, numbers.Integral) or vocabulary_size < smallest:
        raise ValueError(
            f"`vocabulary_size` must be an integer >= {smallest}, for the reserved ids, symbols, "
            f"bytes and one piece. Received: vocabulary_size={vocabulary_size}"
        )


def _training_error(message: str, vocabulary_size: int) -> ValueError:
    """Translates an error of SentencePiece, which usually concerns the vocabulary size."""
    for pattern, bound in ((r"\d+ vs (\d+)", "at least"), (r"value <= (\d+)", "at most")):
        match = re.search(pattern, message)
        if match:
            return ValueError(
                f"`vocabulary_size` must be {bound} {match[1]} for these texts. "
                f"Received: vocabulary_size={vocabulary_size}"
            )
    return ValueError(f"SentencePiece rejected `texts` or another argument: {message}")


def train_tokenizer(
    texts: Iterable[str],
    vocabulary_size: int,
    model_type: str = "unigram",
    lossless: bool = False,
    symbols: Sequence[str] = (),
    character_coverage: float = 1.0,
) -> keras_hub.tokenizers.SentencePieceTokenizer:
    """Trains a SentencePiece tokenizer in memory.

    Id 0 is padding, 1 the unknown piece, 2 the start and 3 the end of a sentence. The same texts
    and arguments give the same vocabulary. By default the text is normalized with NFKC, and every
    kind of space (including U+00A0 and U+202F in French punctuation) becomes one plain space.

    Args:
        texts: Iterable of strings, one sentence or line each.
        vocabulary_size: Number of pieces, including the four reserved ids and the symbols.
        model_type: "unigram" or "bpe".
        lossless: Whether decoding must restore each line exactly: nothing is normalized, and
            characters without a piece are encoded as bytes. Holds for every line without U+2581,
            SentencePiece's symbol for a space.
        symbols: Strings that always become single pieces, such as `"<unk>"` of WikiText-2.
        character_coverage: Fraction of the characters of `texts` that get a piece; the rarest
            others become the unknown piece (or bytes, if lossless). 1.0 suits alphabets; use
            0.9995 for scripts with thousands of characters, such as Chinese.

    Returns:
        A `keras_hub.tokenizers.SentencePieceTokenizer`, callable on strings, in `tf.data` and in a
        saved model. For `tf.data`, set random seeds first: later calls make it lose its model.

    Raises:
        ImportError: If the `text` extra is not installed.
        ValueError: If `texts` is a single string, is blank or holds anything but strings, if an
            argument is out of range, or if the texts cannot give `vocabulary_size` pieces.

    Example:
        >>> import keras_transformer as kt
        >>> texts = ["The cat sat on the mat.", "A dog sat on the log."]
        >>> tokenizer = kt.data.train_tokenizer(texts, vocabulary_size=22)
        >>> kt.data.decode(tokenizer, kt.data.encode(tokenizer, texts, end=True)) == texts
        True

    Reference:
        Kudo and Richardson, "SentencePiece" (2018); Kudo, "Subword Regularization" (2018).
    """
    texts, symbols = check_texts(texts), list(symbols)
    _check_training_arguments(texts, vocabulary_size, model_type, lossless, symbols)
    keras_hub = import_text_package("keras_hub")
    sentencepiece = import_text_package("sentencepiece")
    options = _special_pieces(symbols)
    if lossless:
        options |= {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=vocabulary_size,
            model_type=model_type,
            byte_fallback=lossless,
            user_defined_symbols=symbols,
            character_coverage=character_coverage,
            # SentencePiece silently skips lines above its limit, which WikiText exceeds. A
            # character takes at most four bytes.
            max_sentence_length=max(4096, 4 * max(map(len, texts))),
            # Fixed, because the number of threads affects the result.
            num_threads=4,
            minloglevel=2,
            **options,
        )
    except RuntimeError as error:
        raise _training_error(str(error), vocabulary_size) from error
    return keras_hub.tokenizers.SentencePieceTokenizer(proto=model.getvalue())


def _id_to_add(tokenizer: Any, name: str, value: Any) -> int:
    """Returns the id to add before or after rows."""
    if value == "auto":
        value = special_ids(tokenizer).named[name]
    if value is None:
        raise ValueError(f"`{name}` must be given if `tokenizer` has none. Received: {name}=None")
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
        ValueError: If `texts` is a single string or holds anything but strings, if `max_length`
            leaves no room for a token, if the tokenizer pads its rows or lacks a requested id, or
            if `sampling` is not in (0, 1] or the tokenizer not a SentencePiece tokenizer.

    Example:
        >>> import keras_transformer as kt
        >>> tokenizer = kt.data.train_tokenizer(["a cat", "a dog"], vocabulary_size=11)
        >>> (row,) = kt.data.encode(tokenizer, ["a cat"], start=True, end=True)
        >>> row[0], row[-1]
        (2, 3)

    Reference:
        Kudo 2018, "Subword Regularization"; of merges: Provilkov et al. 2020, "BPE-Dropout".
    """
    texts = check_texts(texts)
    if max_length is not None and max_length <= start + end:
        raise ValueError(
            f"`max_length` must be at least {start + end + 1} with start={start} and end={end}. "
            f"Received: max_length={max_length}"
        )
    sequence_length = getattr(tokenizer, "sequence_length", None)
    if sequence_length:
        # Its rows are padded, and an end after the padding would be ignored.
        raise ValueError(
            "`tokenizer` must not have a `sequence_length`. "
            f"Received: sequence_length={sequence_length}"
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
                f"Received: id {outside} in row {index}"
            )
        if row and start_id == end_id == row[0]:
            row = row[1:]
        if end_id in row:
            row = row[: row.index(end_id)]
        rows.append([token_id for token_id in row if token_id not in dropped])
    return list(tokenizer.detokenize(rows)) if rows else []
