"""The corpora of fine-tuning: their sizes, and that no part knows another."""

import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.datasets.splits import split_groups, words


def keys(texts):
    return {" ".join(words(text)) for text in texts}


def assert_apart(parts):
    for index, part in enumerate(parts):
        for other in parts[index + 1 :]:
            assert not part & other


def test_movie_reviews():
    parts = kt.datasets.movie_reviews.load_data()
    assert [len(part.texts) for part in parts] == [8070, 1000, 1000]
    assert sum(map(sum, (part.labels for part in parts))) == 4995
    assert {label for part in parts for label in part.labels} == {0, 1}
    assert_apart([keys(part.texts) for part in parts])
    assert sum(len(keys(part.texts)) for part in parts) == 10070
    by_text = dict(zip(parts[0].texts, parts[0].labels, strict=True))
    assert by_text["Effective but too tepid biopic"] == 0
    other = kt.datasets.movie_reviews.load_data(num_validation=10, num_test=20, seed=1)
    assert [len(part.texts) for part in other] == [10040, 10, 20]
    assert other[2].texts != parts[2].texts[:20]


@pytest.mark.slow
def test_movie_dialog():
    parts = kt.datasets.movie_dialog.load_data()
    assert sum(len(part.contexts) for part in parts) == 63_740
    assert all(1000 <= len(part.contexts) <= 1010 for part in parts[1:])
    assert_apart([keys(part.contexts) for part in parts])
    answers = {}
    for part in parts:
        for context, each, label in zip(*part, strict=True):
            assert len(keys(each)) == 4
            answers.setdefault(" ".join(words(context)), set()).add(" ".join(words(each[label])))
    test = parts[2]
    for context, each, label in zip(*test, strict=True):
        wrong = keys(each[:label] + each[label + 1 :])
        assert not wrong & answers[" ".join(words(context))]
    counts = np.bincount(test.labels)
    assert len(counts) == 4 and counts.min() > 200
    again = kt.datasets.movie_dialog.load_data()
    assert again[2] == test


@pytest.mark.slow
def test_paraphrases():
    parts = kt.datasets.paraphrases.load_data()
    assert_apart([keys(part.first) | keys(part.second) for part in parts])
    everything, _, _ = kt.datasets.tatoeba.load_data("fra", num_validation=0, num_test=0)
    translations = {}
    for source, target in zip(*everything, strict=True):
        translations.setdefault(source, set()).add(target)
    for part in parts:
        assert len(part.labels) > 900 and 2 * sum(part.labels) == len(part.labels)
        for one, other, label in zip(*part, strict=True):
            assert keys([one]) != keys([other])
            assert bool(translations[one] & translations[other]) is bool(label)
    # Nor does their order tell: one comes before the other in the alphabet as often as not.
    test = parts[2]
    before = np.array([one < other for one, other in zip(test.first, test.second, strict=True)])
    labels = np.array(test.labels)
    assert abs(before[labels == 1].mean() - before[labels == 0].mean()) < 0.1


def test_groups_stay_together():
    groups = list("aabbbcddddeeffg")
    parts = split_groups(groups, 3, 3, seed=2)
    assert sorted(index for part in parts for index in part) == list(range(15))
    assert_apart([{groups[index] for index in part} for part in parts])
    assert len(parts[1]) >= 3 and len(parts[2]) >= 3
    assert parts == split_groups(groups, 3, 3, seed=2) != split_groups(groups, 3, 3, seed=3)


def test_errors():
    with pytest.raises(
        ValueError, match="`num_test` must be an integer >= 0. Received: num_test=-1"
    ):
        kt.datasets.movie_reviews.load_data(num_test=-1)
    with pytest.raises(ValueError, match="`num_validation` . `num_test` must leave some"):
        kt.datasets.movie_reviews.load_data(num_test=20_000)
    with pytest.raises(ValueError, match="`num_candidates` must be an integer >= 2"):
        kt.datasets.movie_dialog.load_data(num_candidates=1)


def test_licenses_are_named():
    for module in (kt.datasets.movie_reviews, kt.datasets.movie_dialog, kt.datasets.paraphrases):
        assert module.LICENSE and module.ATTRIBUTION
        assert "License:" in module.load_data.__doc__ and "Attribution:" in module.load_data.__doc__
    assert "Hutto" in kt.datasets.movie_reviews.ATTRIBUTION
    assert "tatoeba.org" in kt.datasets.paraphrases.ATTRIBUTION
