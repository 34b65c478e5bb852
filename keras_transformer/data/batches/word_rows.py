"""Rows of texts split into words, with a tag for each word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_transformer.checks import check_as_many, check_integer
from keras_transformer.data.batches.task_labels import IGNORED
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import encode

NO_WORD = -1
"""Word index of tokens that belong to no word, such as special tokens."""


class TaggedRows(NamedTuple):
    """Rows of words with their tags.

    Attributes:
        rows: N lists of ids.
        labels: N lists of integers, one per id: a word's tag at its first token, -1 elsewhere.
        words: N lists of integers, one per id: the index of each token's word, -1 for special
            tokens.
    """

    rows: list[list[int]]
    labels: list[list[int]]
    words: list[list[int]]


def tagged_rows(
    tokenizer: Any,
    sentences: Sequence[Sequence[str]],
    tags: Sequence[Sequence[int]] | None = None,
    max_length: int = 128,
) -> TaggedRows:
    """Lays out sentences whose words have tags: `[start; words; end]`.

    Each word is split as it would be in the sentence. Its first token is labeled with its tag; the
    other tokens of the word and the special tokens get -1, to which `kt.data.TaskBatches` gives no
    weight.

    Args:
        tokenizer: A tokenizer; start and end ids are left out if it has none.
        sentences: N lists of words, none of them empty.
        tags: N lists of integers >= 0, one per word; None for prediction.
        max_length: Maximum row length; longer sentences are truncated at the end.

    Returns:
        The `TaggedRows`.

    Raises:
        ValueError: If words and tags differ in number, a word is empty or unknown to the
            tokenizer, or `max_length` leaves no room.

    Example:
        >>> import keras_transformer as kt
        >>> tokenizer = kt.data.train_tokenizer(["a cat", "a dog"], vocabulary_size=11)
        >>> found = kt.data.tagged_rows(tokenizer, [["a", "cat"]], [[0, 1]])
        >>> [tag for tag in found.labels[0] if tag >= 0]
        [0, 1]

    Reference:
        Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
        Understanding", section 5.3.
    """
    check_integer(3, max_length=max_length)
    start, end = edge_ids(tokenizer)
    if tags is not None:
        check_as_many(tags=tags, sentences=sentences)
    found = TaggedRows([], [], [])
    for index, words in enumerate(sentences):
        own = [0] * len(words) if tags is None else list(tags[index])
        check_as_many(**{f"tags[{index}]": own, f"sentences[{index}]": words})
        pieces = encode_words(tokenizer, words, f"sentences[{index}]")
        ids, of_word = join_words(pieces)
        labels = []
        for tag, piece in zip(own, pieces, strict=True):
            labels += [tag] + [IGNORED] * (len(piece) - 1)
        room = max_length - len(start) - len(end)
        before, after = [IGNORED] * len(start), [IGNORED] * len(end)  # also NO_WORD: both are -1
        found.rows.append([*start, *ids[:room], *end])
        found.labels.append([*before, *labels[:room], *after])
        found.words.append([*before, *of_word[:room], *after])
    return found


def encode_words(tokenizer: Any, words: Sequence[str], name: str = "words") -> list[list[int]]:
    """Encodes each word as it is encoded within its sentence.

    Args:
        tokenizer: A tokenizer.
        words: The words of a sentence, in order.
        name: Name of the argument in error messages.

    Returns:
        The ids of each word.

    Raises:
        ValueError: If a word has no token.
    """
    if not words:
        return []
    # Byte-level tokenizers include the preceding space in a word's first token, so every word but
    # the first is encoded together with its predecessor, whose ids are then removed.
    pairs = [f"{one} {other}" for one, other in zip(words[:-1], words[1:], strict=True)]
    single = encode(tokenizer, list(words))
    found = single[:1]
    for before, both, after in zip(
        single[:-1], encode(tokenizer, pairs) if pairs else [], single[1:], strict=True
    ):
        is_prefix = both[: len(before)] == before
        found.append(both[len(before) :] if is_prefix else after)
    for word, piece in zip(words, found, strict=True):
        if not piece:
            raise ValueError(
                f"`{name}` must contain words of at least one token. Received: {word!r}."
            )
    return found


def join_words(pieces: list[list[int]]) -> tuple[list[int], list[int]]:
    """Returns the ids of a sentence's words in one list, and the index of each id's word."""
    ids = [token for piece in pieces for token in piece]
    return ids, [index for index, piece in enumerate(pieces) for _ in piece]


def edge_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Returns the start and end ids of a row as lists, empty for ids the tokenizer lacks."""
    ids = special_ids(tokenizer)
    start, end = ([] if one is None else [one] for one in (ids.start, ids.end))
    return start, end
