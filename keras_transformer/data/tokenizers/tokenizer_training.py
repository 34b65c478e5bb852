"""Training of subword tokenizers.

keras-hub and sentencepiece are imported on first use, so that importing the library costs no more
than importing Keras.
"""

from __future__ import annotations

import io
import numbers
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from keras_transformer.data.tokenizers.special_ids import END_ID, PADDING_ID, START_ID, UNKNOWN_ID
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
            "`texts` must contain at least one string that is not blank. "
            f"Received: {len(texts)} strings, all blank."
        )
    if model_type not in ("unigram", "bpe"):
        raise ValueError(
            f'`model_type` must be "unigram" or "bpe". Received: model_type={model_type!r}.'
        )
    for index, symbol in enumerate(symbols):
        # SentencePiece writes a space as U+2581 and would never match such a symbol.
        if not isinstance(symbol, str) or not symbol or re.search(r"[\s\u2581]", symbol):
            raise ValueError(
                "`symbols` must contain non-empty strings without whitespace. "
                f"Received: symbols[{index}]={symbol!r}."
            )
    smallest = 5 + len(symbols) + (256 if lossless else 0)
    if not isinstance(vocabulary_size, numbers.Integral) or vocabulary_size < smallest:
        raise ValueError(
            f"`vocabulary_size` must be an integer >= {smallest}, for the reserved ids, symbols, "
            f"bytes and one piece. Received: vocabulary_size={vocabulary_size}."
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
    kind of space (including U+00A0 and U+202F in French punctuation) becomes one plain space. So do
    the zero-width space and non-joiner and the marks of direction (U+200B, U+200C, U+200E, U+200F);
    control characters are dropped. Decoding restores text that is normalized in this way.

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

    See Also:
        `kt.data.encode` and `kt.data.decode` use it; `kt.data.save_tokenizer` saves it;
        `kt.pretrained.load_tokenizer` loads that of a checkpoint.

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
