"""Filters and tags of translated corpora."""

import numpy as np
import pytest

import keras_transformer as kt

SOURCES = ["a cat", "a dog", "a cat", "no", "a cat", " ", "Paris", "a bird"]
TARGETS = ["un chat", "un chien", "un chat", "non non non non", "le chat", "x", "Paris", ""]
NUMBERED = list(zip(SOURCES, TARGETS, strict=True))


def left(**options):
    """The indices of the pairs that are left; equal pairs count as the first."""
    pairs = zip(*kt.data.filter_pairs(SOURCES, TARGETS, **options), strict=True)
    return [NUMBERED.index(pair) for pair in pairs]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 3, 4, 6]),
        ({"deduplicate": False}, [0, 1, 0, 3, 4, 6]),
        ({"drop_copies": True}, [0, 1, 3, 4]),
        # 7 : 5, 8 : 5, 15 : 2, 7 : 5, 5 : 5 characters
        ({"max_length_ratio": 1.6}, [0, 1, 4, 6]),
        ({"max_length_ratio": 1.59}, [0, 4, 6]),
        ({"max_length_ratio": 1}, [6]),
    ],
)
def test_what_is_left(options, expected):
    assert left(**options) == expected


def test_scores():
    scores = [-1.0, -5.0, -1.0, -2.0, -4.0, 0.0, -3.0, 0.0]
    assert left(scores=scores, min_score=-3.0) == [0, 3, 6]
    # Shares are of those that pass the other filters: five here, without the best two.
    assert left(scores=scores, keep=0.4) == [0, 3]
    assert left(scores=np.array(scores, "float32"), keep=0.6) == [0, 3, 6]
    assert left(scores=scores, keep=1.0) == [0, 1, 3, 4, 6]
    assert left(scores=np.zeros(8), keep=0.4) == [0, 1]
    assert left(scores=scores, keep=0.5, max_length_ratio=1.6) == [0, 6]


def test_equal_pairs_are_the_same_pair_and_others_are_not():
    sources, targets = ["a", "a", "b", "a"], ["x", "y", "x", "x"]
    assert kt.data.filter_pairs(sources, targets) == (["a", "a", "b"], ["x", "y", "x"])


def test_what_is_dropped_is_counted():
    options = {"max_length": 9, "max_length_ratio": 2, "drop_copies": True, "return_counts": True}
    scores = [0.0, -1.0, 0.0, 0.0, -2.0, 0.0, 0.0, 0.0]
    sources, targets, counts = kt.data.filter_pairs(
        SOURCES, TARGETS, scores=scores, min_score=-1.5, keep=0.5, **options
    )
    assert (sources, targets) == (["a cat"], ["un chat"])
    # Blank: 5 and 7, too long: 3, a duplicate: 2, a copy: 6, a low score: 4, the worse of two: 1.
    assert counts == {
        "blank": 2,
        "max_length": 1,
        "max_length_ratio": 0,
        "deduplicate": 1,
        "drop_copies": 1,
        "min_score": 1,
        "keep": 1,
    }
    assert sum(counts.values()) + len(sources) == len(SOURCES)
    *left, counts = kt.data.filter_pairs(SOURCES, TARGETS, return_counts=True)
    assert tuple(left) == kt.data.filter_pairs(SOURCES, TARGETS)
    assert counts["blank"] == 2 and sum(counts.values()) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 0}, "`max_length` must be a positive integer"),
        ({"return_counts": 1}, "`return_counts` must be True or False"),
        ({"max_length_ratio": 0.9}, "`max_length_ratio` must be a finite number >= 1"),
        ({"keep": 0.0, "scores": [0] * 8}, r"`keep` must be in the range \(0, 1\]"),
        ({"keep": 0.5}, "`keep` must be None without `scores`. Received: keep=0.5"),
        ({"min_score": -1}, "`min_score` must be None without `scores`"),
        ({"scores": [1.0, 2.0]}, "`scores` must have as many items as `sources`.*2 and 8"),
        ({"scores": [0] * 7 + [np.nan]}, r"`scores` must be finite. Received: scores\[7\]=nan"),
    ],
)
def test_messages(options, message):
    with pytest.raises(ValueError, match=message):
        left(**options)


def test_rejects_what_are_no_pairs():
    with pytest.raises(ValueError, match="`targets` must have as many items as `sources`"):
        kt.data.filter_pairs(["a"], [])
    with pytest.raises(ValueError, match=r"`targets` must contain strings.*targets\[0\]=None"):
        kt.data.filter_pairs(["a"], [None])


def test_a_tag_is_one_token_in_front():
    texts = ["the cat sat on the mat", "the dog sat on the log"]
    tokenizer = kt.data.train_tokenizer(texts, 24, model_type="bpe", symbols=["<BT>"])
    tagged = kt.data.add_tag(tokenizer, texts)
    assert tagged == [f"<BT> {text}" for text in texts]
    tag = tokenizer.token_to_id("<BT>")
    for row, plain in zip(tokenizer(tagged), tokenizer(texts), strict=True):
        assert list(row).count(tag) == 1 and tag not in list(plain)
        assert list(row)[-len(plain) :] == list(plain)
    with pytest.raises(ValueError, match="`tag` must be a token of `tokenizer`.*tag='<NOISE>'"):
        kt.data.add_tag(tokenizer, texts, "<NOISE>")
    with pytest.raises(ValueError, match="`texts` must be an iterable of strings"):
        kt.data.add_tag(tokenizer, "the cat")
