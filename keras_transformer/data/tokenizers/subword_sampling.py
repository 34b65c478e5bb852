"""Subword regularization: randomly sampled segmentations of a text."""

from __future__ import annotations

from typing import Any

from keras_transformer.checks import check_integer, check_share
from keras_transformer.data.tokenizers.marian_tokenizer import MarianTokenizer
from keras_transformer.data.tokenizers.sentence_piece import SentencePieceTokenizer
from keras_transformer.data.tokenizers.text_packages import import_text_package


def sample_rows(tokenizer: Any, texts: list[str], sampling: float, seed: int) -> list[list[int]]:
    """Samples a segmentation of each text from a SentencePiece model.

    Args:
        tokenizer: A SentencePiece tokenizer: keras-hub's, as returned by
            `kt.data.train_tokenizer`, a `kt.data.SentencePieceTokenizer` or a
            `kt.data.MarianTokenizer`.
        texts: N strings.
        sampling: For a unigram model, the exponent of each segmentation's probability; for a
            byte-pair model, the share of merges that are dropped.
        seed: Random seed, a non-negative integer.

    Returns:
        N lists of ids, the same for the same seed.

    Raises:
        ValueError: If `sampling` is not in (0, 1], or the tokenizer is of another kind.
    """
    check_share(sampling=sampling)
    check_integer(0, seed=seed)
    if not isinstance(getattr(tokenizer, "proto", None), bytes):
        raise ValueError(
            "`tokenizer` must be a SentencePiece tokenizer for `sampling`. "
            f"Received: a {type(tokenizer).__name__}."
        )
    if not isinstance(tokenizer, (SentencePieceTokenizer, MarianTokenizer)):
        tokenizer = SentencePieceTokenizer(tokenizer.proto)
    import_text_package("sentencepiece").set_random_generator_seed(seed % 2**32)
    # Not reproducible with several threads: each has its own random state and some of the texts.
    options = {"enable_sampling": True, "alpha": float(sampling), "nbest_size": -1}
    return tokenizer.cut(texts, num_threads=1, **options)
