"""Sequences packed into rows."""

import collections
import time

import numpy as np
import pytest

from keras_transformer.data import PackedBatches
from keras_transformer.data.batches.packed_batches import _pack
from tests.data.kinds_of_batches import ROWS


def sequences_of(batches):
    """The sequences of an epoch, after checking every batch."""
    found = []
    for inputs, labels in batches:
        ids, segments = inputs["token_ids"], inputs["segment_ids"]
        assert ids.dtype == segments.dtype == labels.dtype == np.int32
        assert ids.shape == segments.shape == labels.shape
        assert ids.shape == (batches.batch_size, batches.length)
        assert ((ids == 0) == (labels == 0)).all() and ((ids == 0) == (segments == 0)).all()
        for row in range(len(ids)):
            numbers = segments[row][segments[row] > 0]
            # Padding at the end alone; the segments one after the other, from 1.
            assert (segments[row, : len(numbers)] == numbers).all()
            assert sorted(set(numbers)) == list(range(1, max(numbers, default=0) + 1))
            assert (np.diff(numbers) >= 0).all()
            for number in sorted(set(numbers)):
                inside = segments[row] == number
                assert (labels[row, inside][:-1] == ids[row, inside][1:]).all()
                found.append((*ids[row, inside].tolist(), int(labels[row, inside][-1])))
    return found


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("length", "batch_size"), [(13, 1), (17, 3), (50, 1000)])
def test_every_sequence_comes_once(shuffle, length, batch_size):
    batches = PackedBatches(ROWS, length, batch_size, shuffle=shuffle)
    expected = collections.Counter(map(tuple, ROWS))
    number = len(batches)
    for _ in range(3):
        assert collections.Counter(sequences_of(batches)) == expected
        assert len(batches) == number == len(list(batches))
        batches.on_epoch_end()
    assert batches.num_target_tokens == sum(map(len, ROWS)) - len(ROWS)


def test_padding_is_a_few_percent():
    random = np.random.default_rng(5)
    rows = [[5] * length for length in np.clip(random.gamma(2, 40, 3000), 2, 257).astype(int)]
    batches = PackedBatches(rows, length=256, batch_size=8)
    assert batches.padding_fraction < 0.02
    real = sum(np.count_nonzero(labels) for _, labels in batches)
    size = len(batches) * 8 * 256
    assert batches.padding_fraction == pytest.approx(1 - real / size)
    # One sequence a row, as without packing.
    assert 1 - real / (3000 * 256) > 0.6


def test_the_same_rows_as_first_fit_decreasing():
    random = np.random.default_rng(7)
    for _ in range(20):
        row_length = int(random.integers(5, 40))
        lengths = random.integers(1, row_length + 1, random.integers(1, 200))
        bins = []
        for length in sorted(lengths.tolist(), reverse=True):
            for row in bins:
                if sum(row) + length <= row_length:
                    row.append(length)
                    break
            else:
                bins.append([length])
        slots, ends = _pack(lengths, row_length)
        assert [row.tolist() for row in np.split(slots, ends[:-1])] == bins


def test_long_sequences_are_cut_without_losing_a_label():
    long = list(range(1, 24))
    batches = PackedBatches([long, [30, 31]], 5, 2, long_sequences="cut", shuffle=False)
    found = sequences_of(batches)
    pieces = sorted(piece for piece in found if piece[0] < 30)
    assert pieces == [tuple(range(i, min(i + 6, 24))) for i in range(1, 23, 5)]
    assert (30, 31) in found and batches.num_target_tokens == 23


def test_order_depends_on_seed_and_epoch_alone():
    first, again, other = (PackedBatches(ROWS, 17, 3, seed=seed) for seed in (0, 0, 1))
    epoch_0 = sequences_of(first)
    assert epoch_0 == sequences_of(again) != sequences_of(other)
    first.on_epoch_end()
    again.epoch = 1
    assert sequences_of(first) == sequences_of(again) != epoch_0
    # Other neighbours too, not only other rows.
    assert neighbours(epoch=0) != neighbours(epoch=1)


def neighbours(epoch):
    """Which sequences share a row."""
    batches = PackedBatches(ROWS, 17, batch_size=1)
    batches.epoch = epoch
    return {frozenset(sequences_of_row(*batches[index])) for index in range(len(batches))}


def sequences_of_row(inputs, labels):
    segments = inputs["segment_ids"][0]
    numbers = range(1, segments.max() + 1)
    return [tuple(inputs["token_ids"][0, segments == number]) for number in numbers]


@pytest.mark.slow
def test_building_and_reading_are_fast():
    random = np.random.default_rng(1)
    rows = [[7] * length for length in random.integers(2, 513, 100_000)]
    start = time.perf_counter()
    batches = PackedBatches(rows, 512, 16)
    built = time.perf_counter() - start
    start = time.perf_counter()
    assert sum(np.count_nonzero(labels) for _, labels in batches) == batches.num_target_tokens
    assert built < 10 and time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequences": []}, "`sequences` must contain rows .* no rows"),
        (
            {"sequences": [[4, 5], [4]]},
            "`sequences` must contain at least two ids.*one id at index 1",
        ),
        ({"sequences": [[4, 5], [4] * 5]}, "at most `length` . 1 = 4 ids.*5 ids at index 1"),
        ({"sequences": [[4, 0]]}, "`sequences` must .* id 0 at index 0"),
        ({"vocabulary_size": 5}, "`sequences` must .* to 4. Received: id 5 at index 0"),
        ({"length": 0}, "`length` must be a positive integer. Received: length=0"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer. Received: batch_size=0"),
        ({"long_sequences": "drop"}, '"refuse" or "cut". Received: long_sequences=.drop'),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
    ],
)
def test_errors(changes, message):
    arguments = {"sequences": [[4, 5, 6]], "length": 3, "batch_size": 2} | changes
    with pytest.raises(ValueError, match=message):
        PackedBatches(**arguments)
