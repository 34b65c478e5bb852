"""Translation of documents, sentence by sentence, with their layout preserved."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from keras_transformer.checks import check, check_positive, given
from keras_transformer.data.tokenizers.text_checks import check_text, check_texts
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.pipelines.sentences import split_sentences, split_to_fit

# What may precede the text of a line: bullets, numbers, check boxes, headings and quotes.
_MARK = r"[-*+•‣▪◦·–—]|\d{1,3}[.)]|[A-Za-z]\)|\[[ xX]\]|\#{1,6}|>+"
_LAYOUT = re.compile(rf"\s*(?:(?:{_MARK})\s+)*")
_CLOSING = "\"'”’»…"
_ONE_EACH = ("num_return", "return_scores", "target_prefix")


class Part(NamedTuple):
    """A part of a document.

    Attributes:
        text: A sentence, or text that is kept unchanged.
        is_sentence: Whether to translate it.
        gap: The whitespace before the next sentence of the same line; None if there is none.
    """

    text: str
    is_sentence: bool = False
    gap: str | None = None


def translate_document(
    translator: Any,
    text: str | Sequence[str],
    batch_size: int = 64,
    verbose: int = 0,
    *,
    sentence_language: str | None = None,
    max_sentence_length: int | None = None,
    **options: Any,
) -> Any:
    r"""Translates documents sentence by sentence.

    Each line is a paragraph or a list item. Its sentences are translated; line breaks, blank lines,
    indentation, bullets, list numbers and the marks of Markdown headings and quotes are kept. All
    sentences of all documents are translated together, in batches of similar length. A sentence
    that is too long for the model is split between clauses, or else between words.

    Args:
        translator: The translator.
        text: A document, or a list of documents.
        batch_size: Number of sentences to translate together.
        verbose: 1 shows a progress bar.
        sentence_language: The language whose rules split texts into sentences, as an ISO 639-1 code
            such as "de". None for the source language of a multilingual model, otherwise English.
            The English rules recognize the full stops of all scripts, but only English
            abbreviations.
        max_sentence_length: Maximum length of a sentence, in subwords with the end token; longer
            ones are split. None for the model's number of positions, if it is limited. Small
            models lose track in sentences far longer than those that they were trained on.
        **options: Other options of `translate`, such as `num_beams` and the languages, except
            `num_return`, `return_scores` and `target_prefix`.

    Returns:
        The translated document, or a list of documents.

    Raises:
        ValueError: If a document is not a string, a word is longer than a sentence may be, or an
            option is invalid or not supported.
        ImportError: If the `text` extra is not installed.

    Example:
        >>> import keras_transformer as kt
        >>> texts = ["the cat sat on the mat", "the dog sat on the log"]
        >>> tokenizer = kt.data.train_tokenizer(texts, vocabulary_size=20, model_type="bpe")
        >>> model = kt.models.transformer(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> translator = kt.Translator(model, tokenizer)
        >>> document = "the cat sat. the dog sat.\n\n  * the mat"
        >>> translated = translator.translate_document(document, max_new_tokens=3)
        >>> [line[:4] for line in translated.split("\n")][1:]
        ['', '  * ']
    """
    is_one = isinstance(text, str)
    check(is_one or isinstance(text, Sequence), "be a string or a list of strings", "text", text)
    documents = [check_text(text)] if isinstance(text, str) else check_texts(text, "text")
    check_positive(**given(max_sentence_length=max_sentence_length))
    for name in _ONE_EACH:
        if name in options:
            raise ValueError(
                f"`{name}` must not be given, because a document is translated as a whole. "
                f"Received: {name}={options[name]!r}."
            )
    language = sentence_language or _source_language(translator, options)
    layouts = [list(_parts(document, language)) for document in documents]
    layouts = _fitted(translator, layouts, max_sentence_length, options)
    sentences = [part.text for layout in layouts for part in layout if part.is_sentence]
    translations: Iterator[str] = iter(())
    if sentences:
        options |= {"batch_size": batch_size, "verbose": verbose}
        translations = iter(translator.translate(sentences, **options))
    results = ["".join(_texts(layout, translations)) for layout in layouts]
    return results[0] if is_one else results


def _source_language(translator, options):
    given_one = options.get("source_language")
    return translator.defaults.source_language if given_one is None else given_one


def _parts(document: str, language: str | None) -> Iterator[Part]:
    for line in document.splitlines(keepends=True):
        start = _LAYOUT.match(line).end()  # type: ignore[union-attr]
        end = max(start, len(line.rstrip()))
        yield Part(line[:start])
        yield from _sentences(split_sentences(line[start:end], language) if end > start else [])
        yield Part(line[end:])


def _sentences(pieces: Sequence[str]) -> Iterator[Part]:
    """Yields the sentences of a line as parts, with the whitespace that follows each as its gap."""
    for index, piece in enumerate(pieces):
        text = piece.rstrip()
        is_last = index == len(pieces) - 1
        # Numbers and lines of dashes are the same in every language.
        is_sentence = any(character.isalpha() for character in text)
        yield Part(text, is_sentence, None if is_last else piece[len(text) :])


def _fitted(translator, layouts, max_length, options):
    """Returns the layouts, with sentences of more than `max_length` ids split."""
    positions = DecodingModel(translator.model).source_max_length
    limit = min(given(one=max_length, other=positions).values(), default=None)
    if limit is None:
        return layouts
    names = ("source_language", "target_language")
    languages = {name: options[name] for name in names if name in options}

    def lengths(sentences):
        rows, _ = translator.encode_sources(sentences, **languages)
        return [len(row) for row in rows]

    def fits(sentence):
        return lengths([sentence])[0] <= limit

    # Most sentences fit, and tokenizers are fast on many texts at once.
    sentences = [part.text for layout in layouts for part in layout if part.is_sentence]
    known = zip(sentences, lengths(sentences) if sentences else (), strict=True)
    too_long = {sentence for sentence, length in known if length > limit}

    def fitted(part):
        is_long = part.is_sentence and part.text in too_long
        return _fit(part, fits, limit) if is_long else [part]

    return [[one for part in layout for one in fitted(part)] for layout in layouts]


def _fit(part, fits, limit):
    """Returns the parts of a sentence that is too long."""
    pieces = split_to_fit(part.text, fits)
    if pieces is None:
        raise ValueError(
            "`text` must not contain words longer than the maximum length of a sentence, the "
            "smaller of `max_sentence_length` and the model's positions. "
            f"Received: {part.text!r:.80} with a word of more than {limit} ids."
        )
    *parts, last = _sentences(pieces)
    return [*parts, last._replace(gap=part.gap)]


def _texts(layout: Sequence[Part], translations: Iterator[str]) -> Iterator[str]:
    for part in layout:
        text = next(translations) if part.is_sentence else part.text
        yield text
        if part.gap in ("", " "):
            yield "" if _ends_without_space(text) else " "
        elif part.gap is not None:
            yield part.gap


def _ends_without_space(text: str) -> bool:
    """Returns whether no space follows a sentence, as in Chinese and Japanese."""
    last = text.rstrip(_CLOSING)[-1:]
    is_wide = bool(last) and unicodedata.east_asian_width(last) in "WF"
    return is_wide and not unicodedata.name(last, "").startswith("HANGUL")
