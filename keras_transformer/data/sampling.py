"""Sub-word regularisation: the same text in other pieces each time."""

from __future__ import annotations

from typing import Any

from keras_transformer.data.marian import MarianTokenizer
from keras_transformer.data.packages import import_text_package
from keras_transformer.data.rows import check_integer, check_share
from keras_transformer.data.sentence_piece import SentencePieceTokenizer


def sample_rows(tokenizer: Any, texts: list[str], sampling: float, seed: int) -> list[list[int]]:
    """Cuts texts at random, as likely as SentencePiece's model finds each cut.

    Args:
        tokenizer: One of SentencePiece: keras-hub's, as `kt.data.train_tokenizer` makes it, a
            `kt.data.SentencePieceTokenizer` or a `kt.data.MarianTokenizer`.
        texts: N strings.
        sampling: Of a unigram model, the exponent on the probability of each cut; of a byte-pair
            model, the share of the merges that are left out.
        seed: Of the random numbers.

    Returns:
        N lists of ids, the same ones for the same seed.

    Raises:
        ValueError: If `sampling` is not in (0, 1], or the tokenizer is of another kind.
    """
    check_share("sampling", sampling)
    check_integer("seed", seed, 0)
    if not isinstance(getattr(tokenizer, "proto", None), bytes):
        raise ValueError(
            "`tokenizer` must be one of SentencePiece for `sampling`. "
            f"Received: a {type(tokenizer).__name__}"
        )
    if not isinstance(tokenizer, (SentencePieceTokenizer, MarianTokenizer)):
        tokenizer = SentencePieceTokenizer(tokenizer.proto)
    import_text_package("sentencepiece").set_random_generator_seed(seed % 2**32)
    # Of several threads, each would have random numbers of its own, and an unknown share of texts.
    options = {"enable_sampling": True, "alpha": float(sampling), "nbest_size": -1}
    return tokenizer.cut(texts, num_threads=1, **options)
