"""Log-probabilities of given translations under a translator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transformer.checks import check_as_many
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import encode
from keras_transformer.data.tokenizers.text_checks import check_texts
from keras_transformer.decoding.score import score


def score_translations(
    translator: Any,
    sources: Sequence[str],
    translations: Sequence[str],
    *,
    batch_size: int = 64,
    source_language: str | None = None,
    target_language: str | None = None,
) -> np.ndarray:
    r"""Computes the mean log-probability per token of translations.

    $\frac{1}{T} \sum_{t=1}^T \log P(y_t \mid y_{<t}, x)$ over the T tokens of a translation,
    including the end token. Pairs that do not match have low values, no matter who or what
    translated them: to filter a corpus, score it with a model of the same languages, in either
    direction, and pass the result to `kt.data.filter_pairs`.

    Args:
        translator: A `kt.Translator`.
        sources: N sentences.
        translations: Their N translations; they may be empty.
        batch_size: Number of pairs to score together.
        source_language: As in `kt.Translator.translate`.
        target_language: As in `kt.Translator.translate`.

    Returns:
        float32 (N,), each at most 0.

    Raises:
        ValueError: If the numbers of sources and translations differ, a source is blank, a
            translation is not a string, or a language is missing or unknown.

    Example:
        >>> import keras_transformer as kt
        >>> texts = ["the cat sat on the mat", "the dog sat on the log"]
        >>> tokenizer = kt.data.train_tokenizer(texts, vocabulary_size=20, model_type="bpe")
        >>> model = kt.models.transformer(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> kt.score_translations(kt.Translator(model, tokenizer), texts, texts).shape
        (2,)

    Reference:
        Junczys-Dowmunt 2018, "Dual Conditional Cross-Entropy Filtering of Noisy Parallel Corpora",
        section 3.
    """
    sources = check_texts(sources, "sources", filled=True)
    translations = check_texts(translations, "translations")
    check_as_many(translations=translations, sources=sources)
    rows, prefix = translator.encode_sources(sources, source_language, target_language)
    tokenizer = translator.target_tokenizer
    targets = [[*prefix, *row] for row in encode(tokenizer, translations, end=True)]
    start_id: Any = special_ids(tokenizer).start  # a translator's is never None
    values = score(
        translator.model,
        {"source_ids": rows, "target_ids": targets},
        start_id,
        batch_size=batch_size,
        per_token=True,
    )
    # The languages of a translation are given, not chosen by the model.
    return np.array([row[len(prefix) :].mean(dtype="float64") for row in values], "float32")
