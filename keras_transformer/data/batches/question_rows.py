"""Rows of questions with contexts split into words, and the spans that answer them.

Shape letters: B batch, T length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_transformer.checks import check_as_many, check_integer
from keras_transformer.data.batches.word_rows import NO_WORD, edge_ids, encode_words, join_words
from keras_transformer.data.tokenizers.subwords import encode


class QuestionRows(NamedTuple):
    """Rows of questions and contexts.

    Attributes:
        rows: N lists of ids.
        segment_ids: N lists of integers, one per id: 0 for the question, 1 for the context.
        labels: A dict of `start` and `end`, N positions each; None without spans.
        words: N lists of integers, one per id: the index of each token's word in the context, -1
            for tokens outside the context.
    """

    rows: list[list[int]]
    segment_ids: list[list[int]]
    labels: dict[str, list[int]] | None
    words: list[list[int]]


class Span(NamedTuple):
    """A span of words.

    Attributes:
        start: Index of the first word; -1 for no span.
        end: Index of the last word; -1 for no span.
        probability: The probability of the span.
    """

    start: int
    end: int
    probability: float


def question_rows(
    tokenizer: Any,
    questions: Sequence[str],
    contexts: Sequence[Sequence[str]],
    spans: Sequence[tuple[int, int] | None] | None = None,
    max_length: int = 384,
) -> QuestionRows:
    """Lays out questions with contexts: `[start; question; end; context; end]`.

    Contexts are given as words and spans as word indices, so that an answer can be quoted exactly.

    Args:
        tokenizer: A tokenizer with an end id; a start id is left out if it has none.
        questions: N strings.
        contexts: N lists of words.
        spans: For each question, the indices of its answer's first and last word, or None if the
            context does not answer it; None instead of the list for prediction.
        max_length: Maximum row length; longer contexts are truncated at the end.

    Returns:
        The `QuestionRows`. Spans that are None or were cut off are at position 0.

    Raises:
        ValueError: If the arguments differ in length, a span is outside its context, the tokenizer
            has no end id, or `max_length` leaves no room for the context.

    Example:
        >>> import keras_transformer as kt
        >>> tokenizer = kt.data.train_tokenizer(["who sat ?", "the cat sat"], vocabulary_size=16)
        >>> context = ["the", "cat", "sat"]
        >>> found = kt.data.question_rows(tokenizer, ["who sat ?"], [context], [(0, 1)])
        >>> first, last = found.labels["start"][0], found.labels["end"][0]
        >>> found.words[0][first], found.words[0][last]
        (0, 1)

    Reference:
        Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
        Understanding", sections 4.2 and 4.3.
    """
    start, end = edge_ids(tokenizer)
    if not end:
        raise ValueError("`tokenizer` must have an end id. Received: end_id=None.")
    check_as_many(contexts=contexts, questions=questions)
    if spans is not None:
        check_as_many(spans=spans, questions=questions)
    labels: dict[str, list[int]] | None = None if spans is None else {"start": [], "end": []}
    found = QuestionRows([], [], labels, [])
    encoded = encode(tokenizer, list(questions))
    for index, (question, words) in enumerate(zip(encoded, contexts, strict=True)):
        head = [*start, *question, *end]
        room = max_length - len(head) - len(end)
        if room < 1:
            raise ValueError(
                "`max_length` must leave room for the context. "
                f"Received: max_length={max_length}, a question of {len(question)} tokens."
            )
        pieces = encode_words(tokenizer, words, f"contexts[{index}]")
        ids, of_word = (values[:room] for values in join_words(pieces))
        found.rows.append([*head, *ids, *end])
        found.segment_ids.append([0] * len(head) + [1] * (len(ids) + len(end)))
        found.words.append([NO_WORD] * len(head) + of_word + [NO_WORD] * len(end))
        if spans is not None and labels is not None:
            first, last = _positions(found.words[-1], spans[index], len(words), index)
            labels["start"].append(first)
            labels["end"].append(last)
    return found


def best_spans(
    predictions: Mapping[str, Any], words: Sequence[Sequence[int]], max_words: int = 30
) -> list[Span]:
    """Finds the most probable span of each context.

    A span's probability is the product of those of its start and its end. The span at position 0,
    where `question_rows` puts questions without an answer, competes with all others.

    Args:
        predictions: `start` and `end`, arrays (N, T), as `kt.models.span_extractor` predicts them.
        words: The words of the tokens, `QuestionRows.words`.
        max_words: Maximum length of a span.

    Returns:
        N `Span`s.

    Raises:
        ValueError: If `words` do not match the predictions, or `max_words` is not positive.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> found = {"start": np.array([[0.1, 0.7, 0.2]]), "end": np.array([[0.1, 0.2, 0.7]])}
        >>> span = kt.data.best_spans(found, [[-1, 0, 1]])[0]
        >>> span.start, span.end
        (0, 1)

    Reference:
        Devlin et al. 2019, section 4.2.
    """
    check_integer(1, max_words=max_words)
    starts, ends = (np.asarray(predictions[key], "float64") for key in ("start", "end"))
    if starts.shape != ends.shape or starts.ndim != 2 or len(starts) != len(words):
        raise ValueError(
            "`predictions` must have arrays `start` and `end` of shape (N, T), one row per item of "
            f"`words`. Received: shapes {starts.shape} and {ends.shape}, {len(words)} items."
        )
    return [_best(*row, max_words) for row in zip(starts, ends, words, strict=True)]


def _best(starts, ends, words, max_words) -> Span:
    none = Span(NO_WORD, NO_WORD, float(starts[0] * ends[0]))
    words = np.asarray(words)
    inside = np.flatnonzero(words != NO_WORD)
    if len(inside) == 0:
        return none
    first, last = inside[:, None], inside[None, :]
    allowed = (first <= last) & (words[last] - words[first] < max_words)
    probabilities = np.where(allowed, starts[first] * ends[last], -1.0)
    # The first of equals: the earliest start, then the earliest end.
    row, column = np.unravel_index(np.argmax(probabilities), probabilities.shape)
    best = float(probabilities[row, column])
    if best <= none.probability:
        return none
    return Span(int(words[inside[row]]), int(words[inside[column]]), best)


def _positions(words, span, count, index) -> tuple[int, int]:
    """Returns the positions of the first and last tokens of a span."""
    if span is None:
        return 0, 0
    first, last = span
    if not 0 <= first <= last < count:
        raise ValueError(
            f"`spans` must be pairs of word indices of the context, from 0 to {count - 1}. "
            f"Received: {tuple(span)!r} at index {index}."
        )
    if first not in words or last not in words:
        return 0, 0  # cut off
    return words.index(first), len(words) - 1 - words[::-1].index(last)
