"""Translation of a whole corpus, for back-translation and distillation."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_transformer.checks import check, check_integer, check_positive
from keras_transformer.data.tokenizers.text_checks import check_texts
from keras_transformer.pipelines.defaults import overridden
from keras_transformer.pipelines.length_batches import in_batches
from keras_transformer.pipelines.translation_file import TranslationFile, fingerprint_of_weights
from keras_transformer.pipelines.translation_search import SearchOptions, SearchRow, translate_rows


def translate_corpus(
    translator: Any,
    texts: Iterable[str],
    file: str | os.PathLike | None = None,
    *,
    num_beams: int = 1,
    sampler: Any = "greedy",
    seed: int = 0,
    batch_size: int = 64,
    chunk_size: int = 2048,
    verbose: int = 1,
    max_new_tokens: int | None = None,
    length_penalty: float | None = None,
    source_language: str | None = None,
    target_language: str | None = None,
) -> list[str]:
    """Translates a corpus, in chunks that are saved as they are completed.

    To train a student on a teacher's output (sequence-level knowledge distillation), translate with
    beams or greedily. For back-translation, use a translator of the reverse direction and let it
    sample, because samples are more varied than the best translations: pass `sampler="random"` or,
    say, `kt.decoding.TopK(10)`.

    With `file`, each chunk is appended to that file. If the same call is interrupted and repeated,
    it continues after the last complete chunk, with the same result. The file is rejected if it
    belongs to other texts, other settings or other weights.

    Args:
        translator: A `kt.Translator`.
        texts: N sentences.
        file: The file to write and resume; None to only return the translations.
        num_beams: Beam size; 1 is greedy decoding, or sampling.
        sampler: A sampler of `kt.decoding.generate`, with one beam.
        seed: Non-negative integer, for random samplers.
        batch_size: Number of sentences to translate together, of similar length within a chunk.
        chunk_size: Number of sentences after which the file is written.
        verbose: 1 shows a progress bar.
        max_new_tokens: As in `kt.Translator.translate`.
        length_penalty: As in `kt.Translator.translate`.
        source_language: As in `kt.Translator.translate`.
        target_language: As in `kt.Translator.translate`.

    Returns:
        List of the N translations, in the order of the texts; one may be an empty string.

    Raises:
        ValueError: If a text is blank or not a string, a number is out of range, a sampler is given
            with beams, a language is missing or unknown, or `file` holds something else.

    Example:
        >>> import keras_transformer as kt
        >>> texts = ["the cat sat on the mat", "the dog sat on the log"]
        >>> tokenizer = kt.data.train_tokenizer(texts, vocabulary_size=20, model_type="bpe")
        >>> model = kt.models.transformer(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> translator = kt.Translator(model, tokenizer)
        >>> len(kt.translate_corpus(translator, texts, sampler="random", verbose=0))
        2

    Reference:
        Kim and Rush 2016, "Sequence-Level Knowledge Distillation", section 3.2; Sennrich, Haddow
        and Birch 2016, "Improving Neural Machine Translation Models with Monolingual Data", section
        3.2; sampling: Edunov et al. 2018, "Understanding Back-Translation at Scale", section 3.
    """
    texts = check_texts(texts, filled=True)
    check_positive(num_beams=num_beams, batch_size=batch_size, chunk_size=chunk_size)
    check_integer(0, seed=seed)
    check(sampler == "greedy" or num_beams == 1, "be 1 with a sampler", "num_beams", num_beams)
    defaults = overridden(
        translator.defaults,
        max_new_tokens=max_new_tokens,
        length_penalty=length_penalty,
        source_language=source_language,
        target_language=target_language,
    )
    saved, translations = None, []
    if file is not None:
        settings = {
            "weights": fingerprint_of_weights(translator.model),
            "shortlist": translator.shortlist is not None,
            "num_beams": num_beams,
            **({} if sampler == "greedy" else _sampling(sampler, seed, batch_size, chunk_size)),
            **defaults._asdict(),
        }
        saved = TranslationFile(file, settings)
        translations = saved.resume(texts)
    progress = keras.utils.Progbar(len(texts), verbose=verbose, unit_name="sentence")
    progress.update(len(translations))
    while (first := len(translations)) < len(texts):
        chunk = texts[first : first + chunk_size]
        rows, prefix = translator.encode_sources(
            chunk, defaults.source_language, defaults.target_language
        )
        options = SearchOptions(defaults, num_beams, counted=len(prefix), sampler=sampler)
        search = _Search(translator, options, (seed, first))
        rows = [SearchRow(row, prefix) for row in rows]
        found = in_batches(rows, batch_size, 0, search, lambda row: len(row.source))
        if saved is not None:
            saved.append(chunk, found)
        translations += found
        progress.update(len(translations))
    return translations


def _sampling(sampler: Any, seed: int, batch_size: int, chunk_size: int) -> dict[str, Any]:
    """Returns what random translations depend on, in JSON's types."""
    described = isinstance(sampler, str) or dataclasses.is_dataclass(sampler)
    name = str(sampler) if described else getattr(sampler, "__qualname__", type(sampler).__name__)
    return {"sampler": name, "seed": seed, "batch_size": batch_size, "chunk_size": chunk_size}


class _Search:
    """Translates the batches of a chunk; random samples differ between batches."""

    def __init__(self, translator, options, place):
        self._translator, self._options = translator, options
        self._seeds = np.random.SeedSequence(place)

    def __call__(self, rows):
        (seeds,) = self._seeds.spawn(1)
        return translate_rows(
            self._translator.model,
            self._translator.target_tokenizer,
            self._translator.shortlist,
            rows,
            self._options._replace(seed=int(seeds.generate_state(1)[0])),
        )
