"""Batches of sentence pairs and of blocks of text."""

import collections
import itertools
import os
import pathlib
import pickle
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_transformer.data import LanguageModelBatches, TranslationBatches
from keras_transformer.data.batches.buckets import Bucket, make_buckets, most_different, round_up

ROOT = pathlib.Path(__file__).parents[2]


def make_pairs(number=400, seed=0, size=50, longest=24):
    random = np.random.RandomState(seed)
    source_lengths = random.randint(1, longest, number)
    target_lengths = np.clip(source_lengths + random.randint(-4, 5, number), 1, longest)
    source = [random.randint(4, size, length).tolist() for length in source_lengths]
    return source, [random.randint(4, size, length).tolist() for length in target_lengths]


def pairs_of(batches):
    """The pairs of one epoch, as the two lists were given, after checking every batch."""
    pairs = []
    for inputs, labels in batches:
        source, target = inputs["source_ids"], inputs["target_ids"]
        assert source.dtype == target.dtype == labels.dtype == np.int32
        assert (*source.shape, target.shape[1]) in batches.shapes
        assert labels.shape == target.shape
        assert (source != 0).any(axis=1).sum() > 0
        for source_row, target_row, label_row in zip(source, target, labels, strict=True):
            source_row = np.trim_zeros(source_row, "b").tolist()
            target_row = np.trim_zeros(target_row, "b").tolist()
            label_row = np.trim_zeros(label_row, "b").tolist()
            if not source_row:
                assert not target_row and not label_row
                continue
            assert source_row[-1] == label_row[-1] == 3
            assert target_row[0] == 2 and target_row[1:] == label_row[:-1]
            pairs.append((tuple(source_row[:-1]), tuple(label_row[:-1])))
    return pairs


def as_tuples(source, target):
    return list(zip(map(tuple, source), map(tuple, target), strict=True))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("max_shapes", [1, 3, 16])
def test_every_pair_comes_once(shuffle, max_shapes):
    source, target = make_pairs()
    batches = TranslationBatches(
        source, target, tokens_per_batch=100, max_shapes=max_shapes, shuffle=shuffle
    )
    expected = collections.Counter(as_tuples(source, target))
    length = len(batches)
    for _ in range(3):
        assert collections.Counter(pairs_of(batches)) == expected
        assert len(batches) == length
        batches.on_epoch_end()
    assert 1 <= len(batches.shapes) <= max_shapes
    assert len(set(batches.shapes)) == len(batches.shapes)
    assert all(max(b * s, b * t) <= 100 for b, s, t in batches.shapes)


def test_counts_agree_with_the_batches():
    source, target = make_pairs()
    batches = TranslationBatches(source, target, tokens_per_batch=100)
    labels = positions = real = 0
    for inputs, batch_labels in batches:
        labels += np.count_nonzero(batch_labels)
        for ids in inputs.values():
            positions += ids.size
            real += np.count_nonzero(ids)
    assert batches.num_target_tokens == labels == sum(map(len, target)) + len(target)
    assert batches.padding_fraction == pytest.approx(1 - real / positions)
    one_shape = TranslationBatches(source, target, tokens_per_batch=100, max_shapes=1)
    assert batches.padding_fraction < 0.15 < 0.35 < one_shape.padding_fraction


def test_widths_fit_the_longest_row():
    batches = TranslationBatches([[5] * 50, [6]], [[7] * 36, [8]], tokens_per_batch=51)
    assert max(s for _, s, _ in batches.shapes) == 51
    assert max(t for _, _, t in batches.shapes) == 37


def test_a_small_set_makes_no_batch_of_padding():
    batches = TranslationBatches([[5, 6]] * 5, [[7, 8]] * 5, tokens_per_batch=4096)
    assert batches.shapes == [(5, 3, 3)] and batches.padding_fraction == 0.0


def test_order_depends_on_seed_and_epoch_alone():
    source, target = make_pairs()
    arguments = {"source_ids": source, "target_ids": target, "tokens_per_batch": 100}
    first, again = TranslationBatches(**arguments), TranslationBatches(**arguments)
    other = TranslationBatches(**arguments, seed=1)
    still = TranslationBatches(**arguments, shuffle=False)
    epoch_0 = pairs_of(first)
    assert epoch_0 == pairs_of(again) != pairs_of(other)
    first.on_epoch_end()
    epoch_1 = pairs_of(first)
    assert epoch_1 != epoch_0
    again.epoch = 1
    assert pairs_of(again) == epoch_1 and again.epoch == first.epoch == 1
    unshuffled = pairs_of(still)
    still.on_epoch_end()
    assert pairs_of(still) == unshuffled


@pytest.mark.slow
def test_order_is_the_same_in_other_processes():
    code = (
        "from tests.data.test_batching import *;"
        "b = TranslationBatches(*make_pairs(), tokens_per_batch=100); b.on_epoch_end();"
        "print(pairs_of(b))"
    )
    outputs = set()
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "KERAS_BACKEND": "jax"}
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT
        )
        assert result.returncode == 0, result.stderr
        outputs.add(result.stdout)
    batches = TranslationBatches(*make_pairs(), tokens_per_batch=100)
    batches.on_epoch_end()
    assert outputs == {f"{pairs_of(batches)}\n"}


def test_max_length_skips_and_counts():
    source, target = [[5], [5] * 9, [6]], [[7], [8], [9] * 10]
    batches = TranslationBatches(source, target, max_length=10)
    assert sorted(pairs_of(batches)) == sorted(as_tuples(source, target)[:2])
    assert batches.num_skipped == 1
    assert TranslationBatches(source, target).num_skipped == 0


def test_other_start_and_end():
    batches = TranslationBatches([[5]], [[7]], start_id=0, end_id=9)
    inputs, labels = batches[0]
    assert inputs["source_ids"].tolist() == [[5, 9]]
    assert inputs["target_ids"].tolist() == [[0, 7]] and labels.tolist() == [[7, 9]]


def test_ids_as_marian_has_them():
    """The end is 0, and the last id of the vocabulary is padding and start."""
    batches = TranslationBatches(
        [[5, 6], [7]], [[8], [1, 2]], start_id=9, end_id=0, padding_id=9, shuffle=False
    )
    ((inputs, labels),) = [batches[index] for index in range(len(batches))]
    rows = sorted(
        zip(
            *(x.tolist() for x in (inputs["source_ids"], inputs["target_ids"], labels)), strict=True
        )
    )
    assert [row for row in rows if set(row[0]) != {9}] == [
        ([5, 6, 0], [9, 8, 9], [8, 0, 9]),
        ([7, 0, 9], [9, 1, 2], [1, 2, 0]),
    ]
    assert all(set(target) | set(label) == {9} for source, target, label in rows if source[0] == 9)


def test_rows_may_be_arrays_and_the_dataset_pickles():
    source, target = make_pairs(30)
    arrays = [np.array(row) for row in source], [np.array(row) for row in target]
    batches = pickle.loads(pickle.dumps(TranslationBatches(*arrays, workers=2)))
    assert batches.workers == 2
    assert collections.Counter(pairs_of(batches)) == collections.Counter(as_tuples(source, target))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_ids": [[4]]}, "must have the same length. Received: 2 and 1 rows"),
        ({"source_ids": [], "target_ids": []}, "`source_ids` must contain rows .* no rows"),
        ({"source_ids": [[4], []]}, "`source_ids` must contain rows .* empty row at index 1"),
        ({"target_ids": [[], [4]]}, "`target_ids` must contain rows .* empty row at index 0"),
        ({"source_ids": [[4, 5, 0], [4]]}, "`source_ids` must .* id 0 at index 0"),
        ({"target_ids": [[4, 5], [4, -7]]}, "`target_ids` must .* id -7 at index 1"),
        ({"source_ids": [[4, 5], [9]], "source_vocabulary_size": 9}, "to 8. .* id 9 at index 1"),
        ({"target_vocabulary_size": 4}, "`target_ids` must .* id 6 at index 0"),
        ({"source_ids": [[4.5], [4]]}, "`source_ids` must contain integers.*float64"),
        ({"source_ids": [4, 5]}, r"`source_ids` must be a list of lists .* Received: \[4, 5\]"),
        ({"tokens_per_batch": 2}, "`tokens_per_batch` must be at least 3.*tokens_per_batch=2"),
        ({"tokens_per_batch": 0}, "`tokens_per_batch` must be a positive integer"),
        ({"max_shapes": 0}, "`max_shapes` must be a positive integer. Received: max_shapes=0"),
        ({"max_length": 1}, "`max_length` must be an integer >= 2"),
        ({"max_length": 2, "source_ids": [[4, 4]] * 2}, "`max_length` must be at least 3"),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
        ({"end_id": -1}, "`end_id` must be an integer >= 0"),
        ({"end_id": 0}, "`end_id` must differ from `padding_id`.*end_id=0, padding_id=0"),
        ({"padding_id": 7}, "`target_ids` must .* than padding .7.* id 7 at index 1"),
    ],
)
def test_translation_errors(changes, message):
    arguments = {"source_ids": [[4, 5], [4]], "target_ids": [[6], [7]]} | changes
    with pytest.raises(ValueError, match=message):
        TranslationBatches(**arguments)


def test_round_up():
    lengths = np.arange(1, 400)
    rounded = round_up(lengths)
    assert (rounded >= lengths).all() and (rounded <= np.maximum(lengths, 1.125 * lengths)).all()
    assert rounded[-1] == 399 and len(np.unique(rounded)) < 60


def test_buckets_hold_every_pair_once_and_fill_their_batches():
    random = np.random.RandomState(1)
    source = random.gamma(4, 4, 5000).astype("int64") + 1
    target = random.gamma(4, 5, 5000).astype("int64") + 1
    buckets = make_buckets(source, target, tokens_per_batch=512, max_shapes=7)
    rows = np.concatenate([bucket.rows for bucket in buckets])
    assert sorted(rows) == list(range(5000)) and len(buckets) <= 7
    for batch_size, source_width, target_width, rows in buckets:
        assert source[rows].max() <= source_width and target[rows].max() <= target_width
        assert batch_size * max(source_width, target_width) <= 512
        # No batch is left mostly empty.
        assert -len(rows) % batch_size < -(-len(rows) // batch_size)


def test_most_different_finds_a_pair_wherever_there_is_one():
    for widths in itertools.combinations(itertools.product((3, 5, 7), (2, 11)), 3):
        buckets = [Bucket(1, *width, np.array([0])) for width in widths]
        first, second = most_different(buckets)
        for axis in (0, 1):
            if len({width[axis] for width in widths}) > 1:
                assert widths[first][axis] != widths[second][axis]
    assert most_different(buckets[:1]) == ()


def tiny_translator(size):
    source = keras.Input((None,), dtype="int32", name="source_ids")
    target = keras.Input((None,), dtype="int32", name="target_ids")
    summary = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(size, 8)(source))
    hidden = keras.layers.Embedding(size, 8)(target) + keras.ops.expand_dims(summary, 1)
    outputs = keras.layers.Dense(size)(hidden)
    return keras.Model({"source_ids": source, "target_ids": target}, outputs)


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [False, True])
def test_fit_takes_every_shape(shuffle):
    # The first two batches in order share a width, from which Keras would take it as fixed.
    source = [[5] * 3] * 40 + [[5] * 8] * 40 + [[5] * 8] * 40
    target = [[6] * 4] * 80 + [[6] * 9] * 40
    batches = TranslationBatches(source, target, tokens_per_batch=40, shuffle=shuffle)
    assert len(batches.shapes) == 3
    model = tiny_translator(10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
    model.compile("adam", loss)
    history = model.fit(batches, epochs=2, verbose=0, shuffle=shuffle).history["loss"]
    assert history[1] < history[0]
    # What Keras reads to build the model is no epoch.
    assert batches.epoch == 2


@pytest.mark.slow
def test_building_and_reading_are_fast():
    source, target = make_pairs(130_000)
    start = time.perf_counter()
    batches = TranslationBatches(source, target)
    built = time.perf_counter() - start
    start = time.perf_counter()
    assert sum(np.count_nonzero(labels) for _, labels in batches) == batches.num_target_tokens
    # Five times what an idle machine needs, and less than a training step's worth each.
    assert built < 3 and time.perf_counter() - start < 3


def labels_of(batches):
    """Counts the (token, label) pairs of an epoch, after checking every batch."""
    seen = []
    for inputs, labels in batches:
        ids = inputs["token_ids"]
        assert ids.dtype == labels.dtype == np.int32
        assert ids.shape == labels.shape == (batches.batch_size, batches.length)
        assert ((ids == 0) == (labels == 0)).all() and (labels != 0).any()
        real = ids != 0
        # Padding only at the end of a row, and each token the label of the one before.
        assert (real[:, :-1] >= real[:, 1:]).all()
        assert (labels[:, :-1] == ids[:, 1:])[real[:, 1:]].all()
        seen += zip(ids[real].tolist(), labels[real].tolist(), strict=True)
    return seen


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("length", [1, 2, 7, 50])
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("number", [2, 3, 29, 30])
def test_every_token_is_predicted_once(shuffle, length, batch_size, number):
    batches = LanguageModelBatches(np.arange(1, number + 1), length, batch_size, shuffle)
    expected = [(token, token + 1) for token in range(1, number)]
    num_batches = len(batches)
    for _ in range(12):
        assert sorted(labels_of(batches)) == expected
        assert len(batches) == num_batches == len(list(batches))
        batches.on_epoch_end()
    assert batches.num_target_tokens == number - 1


def test_unshuffled_blocks_follow_each_other():
    batches = LanguageModelBatches(list(range(1, 13)), length=4, batch_size=2, shuffle=False)
    (first, labels), (second, _) = batches
    assert first["token_ids"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert labels.tolist() == [[2, 3, 4, 5], [6, 7, 8, 9]]
    assert second["token_ids"].tolist() == [[9, 10, 11, 0], [0, 0, 0, 0]]
    assert batches.padding_fraction == pytest.approx(5 / 16)


def test_blocks_begin_elsewhere_in_every_epoch():
    arguments = {"token_ids": np.arange(1, 500), "length": 31, "batch_size": 4}
    batches, again = LanguageModelBatches(**arguments), LanguageModelBatches(**arguments)
    starts = []
    for epoch in range(4):
        again.epoch = epoch
        assert labels_of(again) == labels_of(batches)
        starts.append(frozenset(ids[0] for x, _ in batches for ids in x["token_ids"]))
        batches.on_epoch_end()
    assert len(set(starts)) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_ids": [4]}, r"at least two ids. Received: shape=\(1,\)"),
        ({"token_ids": [[4, 5]]}, r"one sequence .* Received: shape=\(1, 2\)"),
        ({"token_ids": [4, 5, 0]}, "`token_ids` must .* id 0 at index 2"),
        ({"vocabulary_size": 5}, "`token_ids` must .* to 4. Received: id 5 at index 1"),
        ({"token_ids": [4.0, 5.0]}, "`token_ids` must contain integers"),
        ({"length": 0}, "`length` must be a positive integer. Received: length=0"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer. Received: batch_size=0"),
        ({"batch_size": 2.5}, "`batch_size` must be a positive integer"),
    ],
)
def test_language_model_errors(changes, message):
    arguments = {"token_ids": [4, 5, 6], "length": 2, "batch_size": 2} | changes
    with pytest.raises(ValueError, match=message):
        LanguageModelBatches(**arguments)
