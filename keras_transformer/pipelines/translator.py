"""Translation of text.

Shape letters: T target length, S source length.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_transformer.checks import check_flag, check_positive
from keras_transformer.data.tokenizers.subwords import encode
from keras_transformer.data.tokenizers.text_checks import check_texts
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.lexical_shortlist import LexicalShortlist
from keras_transformer.decoding.padded_rows import check_rows
from keras_transformer.files import naming_file
from keras_transformer.pipelines.defaults import DecodingDefaults, check_defaults, overridden
from keras_transformer.pipelines.documents import translate_document
from keras_transformer.pipelines.export import export_translator
from keras_transformer.pipelines.folder import check_tokenizer
from keras_transformer.pipelines.from_pretrained import open_translator
from keras_transformer.pipelines.languages import check_languages, language_ids
from keras_transformer.pipelines.length_batches import in_batches
from keras_transformer.pipelines.target_prefixes import encode_target_prefixes
from keras_transformer.pipelines.terminology import check_beams_for_terms, find_terms
from keras_transformer.pipelines.translation_search import (
    SearchOptions,
    SearchRow,
    translate_rows,
)
from keras_transformer.pipelines.translator_folder import read_translator, save_translator

_TARGET_IDS = ("start_id", "end_id")


class Translator:
    """A translation model with the tokenizers of its two languages.

    Args:
        model: A translation model, such as one from `kt.models.transformer`.
        source_tokenizer: A tokenizer from `kt.data.train_tokenizer`, or any other that implements
            `kt.data.Tokenizer`. Its `end_id` ends a source; the target tokenizer's `start_id` and
            `end_id` delimit a translation.
        target_tokenizer: The tokenizer of the target language; None if it is the same.
        defaults: Default decoding options, used unless overridden in `translate`, and the default
            languages of a multilingual model; None for those of `kt.DecodingDefaults`.
        shortlist: A lexical shortlist that limits the candidate ids of each sentence; None to
            decode over the whole vocabulary.

    Raises:
        ValueError: if the model has no encoder, a tokenizer has more ids than the model or lacks
            the ids that start and end a text, or a default is out of range or names an unknown
            language.

    Example:
        >>> import keras_transformer as kt
        >>> texts = ["the cat sat on the mat", "the dog sat on the log"]
        >>> tokenizer = kt.data.train_tokenizer(texts, vocabulary_size=20, model_type="bpe")
        >>> model = kt.models.transformer(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> len(kt.Translator(model, tokenizer).translate(["the cat", "the dog"]))
        2

    See Also:
        `kt.TextGenerator` for language models; `kt.translate_corpus` for many sentences;
        `kt.decoding.beam_search` for ids.
    """

    def __init__(
        self,
        model: keras.Model,
        source_tokenizer: Any,
        target_tokenizer: Any = None,
        *,
        defaults: DecodingDefaults | None = None,
        shortlist: LexicalShortlist | None = None,
    ):
        parts = DecodingModel(model)
        if not parts.is_translator:
            raise ValueError(
                "`model` must have a layer named `encoder`. "
                f"Received: a model without one, named {model.name!r}."
            )
        self.model = model
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer or source_tokenizer
        for name, tokenizer, embedding, needed in (
            ("source_tokenizer", self.source_tokenizer, parts.source_embedding, ("end_id",)),
            ("target_tokenizer", self.target_tokenizer, parts.target_embedding, _TARGET_IDS),
        ):
            check_tokenizer(name, tokenizer, embedding.vocabulary_size, needed)
        defaults = DecodingDefaults() if defaults is None else defaults
        self.defaults = check_defaults(defaults, parts.vocabulary_size)
        check_languages(self.source_tokenizer, self.target_tokenizer, defaults)
        self.shortlist = shortlist

    def translate(
        self,
        texts: str | Sequence[str],
        max_new_tokens: int | None = None,
        batch_size: int = 64,
        verbose: int = 0,
        *,
        num_beams: int = 1,
        length_penalty: float | None = None,
        num_return: int | None = None,
        length_normalization: str | None = None,
        early_stopping: bool | None = None,
        min_new_tokens: int | None = None,
        no_repeat_ngram_size: int | None = None,
        target_prefix: str | Sequence[str] | None = None,
        terminology: Mapping[str, str | Sequence[str]] | None = None,
        return_scores: bool = False,
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> Any:
        """Translates sentences.

        A multilingual model requires the languages, as codes of its tokenizer
        (`translator.source_tokenizer.languages`), such as "fr" for M2M100 or "fra_Latn" for NLLB.

        Args:
            texts: A list of sentences, or a single sentence.
            max_new_tokens: Maximum number of subwords in a translation; None for the translator's
                default, usually 50 more than the longest source of the batch, as in the paper.
            batch_size: Number of sentences to translate together. They are sorted by length first
                and returned in the order given.
            verbose: 1 shows a progress bar.
            num_beams: Beam size; 1 is greedy decoding.
            length_penalty: The alpha of the beam search, see `kt.decoding.beam_search`; None for
                the translator's default.
            num_return: Number of best translations to return per sentence, at most `num_beams`;
                None for only the best, as a string.
            length_normalization: "gnmt" or "length", the form of the length penalty; None for the
                translator's default.
            early_stopping: Whether beam search stops once `num_beams` hypotheses are finished; None
                for the translator's default.
            min_new_tokens: Minimum number of subwords before the end of a translation; None for
                the translator's default.
            no_repeat_ngram_size: Forbids repeated n-grams of this many subwords, the prefix
                included; 0 for no limit, None for the translator's default.
            target_prefix: Text with which each translation starts, or a list with one for each
                sentence ("" for none). It is part of the translations, but does not count in
                `max_new_tokens`, `min_new_tokens` or the scores. A translation may continue the
                last word of its prefix.
            terminology: The translations that terms must have: a dict from each term to a
                translation, or to a list of alternatives such as inflected forms. A term matches
                only whole words; case is ignored unless the term has capital letters. The
                translation then contains one of the alternatives, possibly with an ending. Requires
                at least 2 beams; use more beams than the terms of a sentence have subwords.
            return_scores: Whether to return a `Translation`, with its score, for each sentence.
            source_language: The language of the texts; None for the translator's default.
            target_language: The language to translate to; None for the translator's default.

        Returns:
            A list of translations, or one translation for a single sentence. A translation is a
            string; a `Translation` with `return_scores`; or a list of them, best first, with
            `num_return`.

        Raises:
            ValueError: if there are no texts, or one is blank, not a string, not valid Unicode or
                too long for the model (the message names it); if there are more beams than ids or
                more translations than beams; if a prefix has characters that the tokenizer lacks,
                or does not fit the model's positions; if a translation in the terminology is blank,
                cannot be represented by the target tokenizer or does not fit; if an option is out
                of range; if a language is missing or unknown, or given although the model is not
                multilingual.

        Reference:
            Vaswani et al. 2017, "Attention Is All You Need", section 6.1 (the length limit).
        """
        single = isinstance(texts, str)
        texts = check_texts([texts] if isinstance(texts, str) else texts, filled=True)
        check_flag(return_scores=return_scores)
        check_positive(batch_size=batch_size)
        defaults = overridden(
            self.defaults,
            max_new_tokens=max_new_tokens,
            length_penalty=length_penalty,
            length_normalization=length_normalization,
            early_stopping=early_stopping,
            min_new_tokens=min_new_tokens,
            no_repeat_ngram_size=no_repeat_ngram_size,
            source_language=source_language,
            target_language=target_language,
        )
        check_defaults(defaults, DecodingModel(self.model).vocabulary_size)
        if terminology is not None:
            check_beams_for_terms(num_beams)
        sources, language = self._encode(texts, defaults)
        self._check_sources(sources)
        prefixes = encode_target_prefixes(self.target_tokenizer, target_prefix, len(texts))
        terms = find_terms(texts, terminology, self.target_tokenizer)
        rows = [
            SearchRow(source, [*language, *prefix], found)
            for source, prefix, found in zip(sources, prefixes, terms, strict=True)
        ]
        options = SearchOptions(defaults, num_beams, num_return, return_scores, len(language))

        def search(batch):
            return translate_rows(self.model, self.target_tokenizer, self.shortlist, batch, options)

        results = in_batches(rows, batch_size, verbose, search, lambda row: len(row.source))
        return results[0] if single else results

    def encode_sources(
        self,
        texts: Sequence[str],
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> tuple[list[list[int]], list[int]]:
        """Converts texts to the ids that the model reads, including end and language tokens.

        Args:
            texts: N sentences.
            source_language: As in `translate`.
            target_language: As in `translate`.

        Returns:
            N rows of ids for `source_ids`, and the ids with which each translation starts: the
            token of the target language, or none.

        Raises:
            ValueError: if a language is missing or unknown, as in `translate`.
        """
        languages = {"source_language": source_language, "target_language": target_language}
        return self._encode(texts, overridden(self.defaults, **languages))

    def _encode(self, texts, options):
        languages = language_ids(self.source_tokenizer, self.target_tokenizer, options)
        rows = encode(self.source_tokenizer, texts, end=True)
        return languages.sources(rows), list(languages.prefix)

    def _check_sources(self, rows):
        """Raises a ValueError that names the text if one is too long or has no tokens."""
        parts = DecodingModel(self.model)
        embedding, most = parts.source_embedding, parts.source_max_length
        sizes = (embedding.vocabulary_size, embedding.padding_id, most)
        check_rows("texts", rows, *sizes, row_name="texts[{}]")

    translate_document = translate_document

    save = save_translator

    export = export_translator

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Translator:
        """Loads a folder written by `save`, on any backend.

        Args:
            folder: The folder.

        Returns:
            A `Translator`.

        Raises:
            ValueError: if a file is missing, invalid or damaged; the message names it.
        """
        with naming_file(folder):
            return cls._of(read_translator(folder))

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike) -> Translator:
        """Loads a translation model in Hugging Face format, or one of Firefox Translations.

        The models supported in Hugging Face format are Marian, M2M100 (also NLLB and SMaLL-100), T5
        (also MADLAD-400) and mT5.

        The model is loaded by `kt.pretrained.load`, the tokenizers by
        `kt.pretrained.load_tokenizer`. The translator's defaults are those of the checkpoint: its
        banned ids (always including padding), length limits, length penalty (with "length"
        normalization) and repetition settings. Any other generation setting that would change a
        translation raises an error. The number of beams is an argument of `translate`. The default
        languages of a multilingual model are those that the checkpoint names (`src_lang`,
        `tgt_lang`, `forced_bos_token_id`), if any. A Firefox Translations model uses its lexical
        shortlist if the folder has one.

        Args:
            folder: A folder, or a name on the Hugging Face hub, as in `kt.pretrained.load`.

        Returns:
            A `Translator`.

        Raises:
            ValueError: as in `kt.pretrained.load`, or if the checkpoint is not a translation model.
            ImportError: if a package required by a file is not installed.

        Example:
            ```python
            translator = kt.Translator.from_pretrained("Helsinki-NLP/opus-mt-en-fr")
            translator.translate(["The cat sat on the mat."], num_beams=4)
            translator = kt.Translator.from_pretrained("facebook/nllb-200-distilled-600M")
            translator.translate(["Hi."], source_language="eng_Latn", target_language="fra_Latn")
            ```
        """
        with naming_file(folder):
            return cls._of(open_translator(folder))

    @classmethod
    def _of(cls, opened):
        model, source, target, defaults, path, shortlist = opened
        with naming_file(path):
            return cls(model, source, target, defaults=defaults, shortlist=shortlist)
