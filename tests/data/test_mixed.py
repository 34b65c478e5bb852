"""Mixtures of corpora: their shares, their turns, and what may be mixed."""

import collections

import keras
import numpy as np
import pytest

import keras_transformer as kt


def corpus(label, count, length=3, **arguments):
    """A corpus whose rows and labels tell where they come from."""
    rows = [[label] + [5 + index % 40] * (length - 1) for index in range(count)]
    return kt.data.TaskBatches(rows, [label] * count, **{"batch_size": 2, **arguments})


def turns(mixed):
    return [int(batch[1][0]) for batch in mixed]


def counted(mixed):
    return dict(sorted(collections.Counter(turns(mixed)).items()))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {1: 3, 2: 30, 3: 12}),
        ({"temperature": 1}, {1: 3, 2: 30, 3: 12}),
        ({"weights": [1, 1, 1], "num_batches": 30}, {1: 10, 2: 10, 3: 10}),
        ({"weights": [2, 0.5, 7.5], "num_batches": 103}, {1: 21, 2: 5, 3: 77}),
        ({"temperature": 1e9, "num_batches": 9}, {1: 3, 2: 3, 3: 3}),
        ({"temperature": 2, "num_batches": 103}, {1: 17, 2: 53, 3: 33}),
        ({"weights": [1e-9, 1, 1], "num_batches": 5}, {1: 1, 2: 2, 3: 2}),
    ],
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_shares(arguments, expected, shuffle):
    sizes = {1: 6, 2: 60, 3: 24}
    mixed = kt.data.MixedBatches(
        [corpus(label, count) for label, count in sizes.items()], shuffle=shuffle, **arguments
    )
    for _ in range(2):
        assert counted(mixed) == expected
        mixed.on_epoch_end()
    assert len(mixed) == sum(expected.values())
    assert sum(mixed.shares) == pytest.approx(1)
    if "temperature" in arguments:
        numbers = np.array([3, 30, 12]) ** (1 / arguments["temperature"])
        np.testing.assert_allclose(mixed.shares, numbers / numbers.sum())


def test_turns_are_even_without_shuffling_and_new_each_epoch_with_it():
    parts = [corpus(1, 4), corpus(2, 12)]
    assert turns(kt.data.MixedBatches(parts, shuffle=False)) == [2, 1, 2, 2, 2, 1, 2, 2]
    mixed = kt.data.MixedBatches([corpus(1, 40), corpus(2, 40)], seed=3)
    first = turns(mixed)
    mixed.on_epoch_end()
    assert turns(mixed) != first
    mixed.epoch = 0
    assert turns(mixed) == first
    assert turns(kt.data.MixedBatches([corpus(1, 40), corpus(2, 40)], seed=4)) != first


def test_a_small_corpus_is_repeated_and_a_large_one_is_read_in_new_parts():
    small, large = corpus(1, 6), corpus(2, 40)
    mixed = kt.data.MixedBatches([small, large], weights=[1, 1], num_batches=16)
    seen = collections.defaultdict(list)
    for _ in range(2):
        for inputs, labels in mixed:
            seen[int(labels[0])].append([tuple(row.tolist()) for row in inputs["token_ids"]])
        mixed.on_epoch_end()
    # 8 batches an epoch: each of the 3 batches at least twice.
    rows = collections.Counter(row for batch in seen[1][:8] for row in batch)
    assert len(rows) == 6 and set(rows.values()) <= {2, 3}
    # 8 of 20 batches an epoch, of another order each time.
    assert len({row for batch in seen[2][:8] for row in batch}) == 16
    assert sorted(seen[2][:8]) != sorted(seen[2][8:])


@pytest.mark.slow
def test_fit_reads_corpora_of_different_lengths():
    model = kt.models.sequence_classifier(50, 3, hidden_dim=8, num_layers=1, num_heads=1)
    mixed = kt.data.MixedBatches(
        [corpus(1, 8, length=4, max_shapes=1), corpus(2, 40, length=23, max_shapes=1)],
        weights=[1, 4],
        workers=2,
    )
    model.compile(
        keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    history = model.fit(mixed, epochs=12, verbose=0).history
    assert history["accuracy"][-1] > 0.9
    assert len(mixed) == 24


def test_errors():
    one, other = corpus(1, 6), corpus(2, 6)
    sharded = corpus(1, 6, num_shards=2)
    translation = kt.data.TranslationBatches([[5]] * 4, [[6]] * 4, tokens_per_batch=8)
    mixed = kt.data.MixedBatches
    for arguments, message in (
        (([one],), "`datasets` must contain two or more datasets of `kt.data`"),
        (([one, [1, 2]],), r"`datasets` must contain .* \['TaskBatches', 'list'\]"),
        (([one, one],), "`datasets` must be distinct"),
        (([one, sharded],), "`datasets` must have the same `num_shards`"),
        (([one, translation],), "`datasets` must have items of the same structure"),
        (([one, other], [1, 0]), r"`weights\[1\]` must be a finite number > 0. Received: .*=0"),
        (([one, other], [1]), "`weights` must have as many items as `datasets`"),
        (([one, other], [1, 1], 2.0), "`weights` and `temperature` must not both be given"),
        (([one, other], None, 0.0), "`temperature` must be a finite number > 0"),
        (([one, other], None, None, 1), "`num_batches` must be an integer >= 2"),
    ):
        with pytest.raises(ValueError, match=message):
            mixed(*arguments)
    with pytest.raises(ValueError, match="a different corpus"):
        mixed([corpus(1, 6), corpus(2, 6)]).resume(mixed([corpus(1, 6), corpus(2, 8)]).state(1))
    state = mixed([corpus(1, 6), corpus(2, 6)], [1, 2]).state(1)
    with pytest.raises(ValueError, match="a different corpus"):
        mixed([corpus(1, 6), corpus(2, 6)], [2, 1]).resume(state)
    assert keras.tree.flatten(mixed([corpus(1, 6), corpus(2, 6)])[0])
