"""What is hidden, how often, and that whole words are."""

import numpy as np
import pytest

import keras_transformer as kt

V, MASK = 60, 4
IDS = np.random.default_rng(0).integers(5, V, 5000)


def make(ids=IDS, **arguments):
    arguments = {"length": 50, "batch_size": 8, "mask_id": MASK, "vocabulary_size": V, **arguments}
    return kt.data.MaskedLanguageModelBatches(ids, **arguments)


def all_rows(batches):
    inputs, labels = zip(*batches, strict=True)
    return np.concatenate([x["token_ids"] for x in inputs]), np.concatenate(labels)


def test_shares_are_those_of_the_paper():
    hidden, labels = [], []
    batches = make()
    for _ in range(8):
        ids, wanted = all_rows(batches)
        hidden.append(ids)
        labels.append(wanted)
        batches.on_epoch_end()
    hidden, labels = np.concatenate(hidden), np.concatenate(labels)
    chosen = labels > 0
    real = (hidden > 0).sum()
    assert abs(chosen.sum() / real - 0.15) < 0.01
    masked = (hidden == MASK)[chosen].mean()
    kept = (hidden == labels)[chosen].mean()
    assert abs(masked - 0.8) < 0.02 and abs(kept - 0.1 - 0.1 / 55) < 0.02
    replaced = hidden[chosen & (hidden != MASK) & (hidden != labels)]
    assert set(replaced) == set(range(5, V))
    assert not (hidden == MASK)[~chosen].any()


def test_every_token_is_there_once_and_labels_are_the_tokens():
    batches = make(shuffle=False)
    ids, labels = all_rows(batches)
    restored = np.where(labels > 0, labels, ids)
    np.testing.assert_array_equal(restored[restored > 0], IDS)
    inputs, _ = batches[0]
    assert not inputs["segment_ids"].any() and inputs["segment_ids"].dtype == np.int32
    without = make(shuffle=False, segments=False)[0]
    assert set(without[0]) == {"token_ids"}
    np.testing.assert_array_equal(without[0]["token_ids"], inputs["token_ids"])


def test_epochs_hide_other_tokens_but_not_where_they_are_not_shuffled():
    shuffled, fixed = make(), make(shuffle=False)
    for batches, changes in ((shuffled, True), (fixed, False)):
        before = all_rows(batches)[1]
        batches.on_epoch_end()
        assert np.array_equal(before, all_rows(batches)[1]) != changes


def test_whole_words():
    """A word is a token below 20 and all that follow it up to the next of these."""
    starts = np.arange(V) < 20
    ids, labels = all_rows(make(word_starts=starts, shuffle=False, rate=0.3))
    restored = np.where(labels > 0, labels, ids)
    partly = 0
    for row, wanted in zip(restored, labels, strict=True):
        words = np.cumsum(starts[row])[row > 0]
        for word in np.unique(words):
            chosen = (wanted > 0)[: len(words)][words == word]
            assert chosen.all() or not chosen.any()
            partly += len(chosen) > 1 and chosen.all()
    assert partly > 50
    share = (labels > 0).sum() / (restored > 0).sum()
    assert 0.25 < share <= 0.31


def test_what_is_never_masked():
    ids = np.where(np.arange(5000) % 5 == 0, 2, IDS)
    hidden, labels = all_rows(make(ids, rate=0.9))
    assert not (labels == 2).any() and (hidden == 2).sum() == 1000


def test_word_starts_of_tokenizers():
    import keras_hub

    pieces = kt.data.train_tokenizer(["a cat sat", "a dog sat"], vocabulary_size=14)
    starts = kt.data.word_starts(pieces)
    tokens = pieces.get_vocabulary()
    assert [token.startswith("\u2581") for token in tokens] == starts.tolist()
    words = keras_hub.tokenizers.WordPieceTokenizer(["[UNK]", "cat", "##s"], dtype="int32")
    assert kt.data.word_starts(words).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 0}, r"`rate` must be in the range \(0, 1\]. Received: rate=0"),
        ({"mask_id": V}, "`mask_id` must be below `vocabulary_size`. Received: mask_id=60"),
        ({"mask_id": 0}, "`mask_id` must be a positive integer"),
        ({"length": 0}, "`length` must be a positive integer"),
        ({"ids": [5]}, "`token_ids` must be one sequence of at least two ids"),
        ({"ids": [5, V]}, "`token_ids` must contain ids other than padding"),
        ({"word_starts": [True]}, "`word_starts` must be 60 booleans, one per id"),
        ({"segments": None}, "`segments` must be True or False. Received: segments=None"),
        ({"never_masked": range(V)}, "`never_masked` must leave some tokens to mask"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
