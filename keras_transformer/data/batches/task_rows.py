"""Layout of a task's texts as rows of token ids, with special tokens and truncation."""

from __future__ import annotations

from collections.abc import Sequence

from keras_transformer.checks import check_as_many, check_integer

Rows = list[list[int]]


def text_rows(
    texts: Sequence[Sequence[int]], start_id: int, extract_id: int, max_length: int
) -> Rows:
    """Lays out single texts for classification: `[start; text; extract]`.

    Args:
        texts: N lists of ids, as returned by `encode` without start and end.
        start_id: Id of the start token.
        extract_id: Id of the token whose hidden state the head reads.
        max_length: Maximum row length; longer texts are truncated at the end, special tokens kept.

    Returns:
        N lists of ids.

    Raises:
        ValueError: If `max_length` leaves no room for a token of the text.

    Example:
        >>> import keras_transformer as kt
        >>> kt.data.text_rows([[5, 6, 7, 8]], start_id=20, extract_id=21, max_length=5)
        [[20, 5, 6, 7, 21]]

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 3.3.
    """
    check_integer(3, max_length=max_length)
    return [[start_id, *list(text)[: max_length - 2], extract_id] for text in texts]


def pair_rows(
    first: Sequence[Sequence[int]],
    second: Sequence[Sequence[int]],
    start_id: int,
    delimiter_id: int,
    extract_id: int,
    max_length: int,
) -> Rows:
    """Lays out pairs of texts: `[start; first; delimiter; second; extract]`.

    For example premise and hypothesis, for `kt.models.entailment`.

    Args:
        first: N lists of ids.
        second: N lists of ids.
        start_id: Id of the start token.
        delimiter_id: Id of the token between the two texts.
        extract_id: Id of the token whose hidden state the head reads.
        max_length: Maximum row length. If a row is longer, its longer text is truncated at the end
            down to the length of the other, then both equally; special tokens are kept.

    Returns:
        N lists of ids.

    Raises:
        ValueError: If `first` and `second` differ in length, or `max_length` leaves no room.

    Example:
        >>> import keras_transformer as kt
        >>> kt.data.pair_rows([[5, 6, 7, 8]], [[9]], 20, 21, 22, max_length=6)
        [[20, 5, 6, 21, 9, 22]]

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 3.3, "Textual entailment".
    """
    check_integer(5, max_length=max_length)
    check_as_many(second=second, first=first)
    rows = []
    for one, other in zip(first, second, strict=True):
        kept, kept_other = _share(len(one), len(other), max_length - 3)
        rows.append(
            [start_id, *list(one)[:kept], delimiter_id, *list(other)[:kept_other], extract_id]
        )
    return rows


def similarity_rows(
    first: Sequence[Sequence[int]],
    second: Sequence[Sequence[int]],
    start_id: int,
    delimiter_id: int,
    extract_id: int,
    max_length: int,
) -> list[Rows]:
    """Lays out pairs of texts in both orders, for `kt.models.similarity`.

    Args:
        first: N lists of ids.
        second: N lists of ids.
        start_id: Id of the start token.
        delimiter_id: Id of the token between the two texts.
        extract_id: Id of the token whose hidden state the head reads.
        max_length: Maximum row length, as in `pair_rows`.

    Returns:
        N lists of 2 rows.

    Raises:
        ValueError: As in `pair_rows`.

    Example:
        >>> import keras_transformer as kt
        >>> kt.data.similarity_rows([[5, 6]], [[7]], 20, 21, 22, max_length=8)
        [[[20, 5, 6, 21, 7, 22], [20, 7, 21, 5, 6, 22]]]

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 3.3, "Similarity".
    """
    special = (start_id, delimiter_id, extract_id, max_length)
    forth, back = pair_rows(first, second, *special), pair_rows(second, first, *special)
    return [[one, other] for one, other in zip(forth, back, strict=True)]


def choice_rows(
    contexts: Sequence[Sequence[int]],
    candidates: Sequence[Sequence[Sequence[int]]],
    start_id: int,
    delimiter_id: int,
    extract_id: int,
    max_length: int,
) -> list[Rows]:
    """Lays out each context with each of its candidates, for `kt.models.multiple_choice`.

    Args:
        contexts: N lists of ids.
        candidates: N lists of K lists of ids, with the same K for all.
        start_id: Id of the start token.
        delimiter_id: Id of the token between context and candidate.
        extract_id: Id of the token whose hidden state the head reads.
        max_length: Maximum row length, as in `pair_rows`.

    Returns:
        N lists of K rows `[start; context; delimiter; candidate; extract]`.

    Raises:
        ValueError: If `contexts` and `candidates` differ in length, the number of candidates
            varies or is 0, or `max_length` leaves no room.

    Example:
        >>> import keras_transformer as kt
        >>> kt.data.choice_rows([[5, 6]], [[[7], [8]]], 20, 21, 22, max_length=8)
        [[[20, 5, 6, 21, 7, 22], [20, 5, 6, 21, 8, 22]]]

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 3.3, "Question Answering and Commonsense Reasoning".
    """
    check_as_many(candidates=candidates, contexts=contexts)
    counts = sorted({len(each) for each in candidates})
    if len(counts) > 1 or counts == [0]:
        raise ValueError(
            "`candidates` must contain the same number of candidates, at least one, for all "
            "contexts. "
            f"Received: numbers of candidates {counts}."
        )
    return [
        pair_rows([context] * len(each), each, start_id, delimiter_id, extract_id, max_length)
        for context, each in zip(contexts, candidates, strict=True)
    ]


def _share(length: int, other: int, room: int) -> tuple[int, int]:
    """Returns how many tokens of each of two texts fit into `room` together."""
    kept = min(length, max(room - other, room - room // 2))
    return kept, min(other, room - kept)
