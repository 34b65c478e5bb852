"""Shards: workers that train together see every example once, in steps of one shape."""

import collections

import numpy as np
import pytest

from tests.data.kinds_of_batches import KINDS, examples, shapes


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("num_shards", [1, 2, 3, 7, 103])
@pytest.mark.parametrize("kind", KINDS)
def test_every_example_comes_to_one_shard_once(kind, num_shards, shuffle):
    whole = KINDS[kind](shuffle=shuffle)
    shards = [
        KINDS[kind](shuffle=shuffle, num_shards=num_shards, shard_index=index)
        for index in range(num_shards)
    ]
    for _ in range(2):
        expected = collections.Counter(examples(whole))
        assert sum((collections.Counter(examples(x)) for x in shards), collections.Counter()) == (
            expected
        )
        assert len({len(shard) for shard in shards}) == 1
        assert all(len(list(shard)) == len(shard) for shard in shards)
        # The shapes are in step: every worker runs the same program at the same time.
        assert all(shapes(shard) == shapes(shards[0]) for shard in shards)
        for batches in (whole, *shards):
            batches.on_epoch_end()


@pytest.mark.parametrize("kind", KINDS)
def test_shards_add_few_batches(kind):
    whole, shard = KINDS[kind](), KINDS[kind](num_shards=3, shard_index=2)
    assert len(shard) <= -(-len(whole) // 3) + 3
    # The last step is spread: no shard has two examples less than another.
    rows = [len(examples(KINDS[kind](num_shards=3, shard_index=i))) for i in range(3)]
    assert max(rows) - min(rows) <= 3


@pytest.mark.parametrize("kind", ["translation", "language_model", "packed"])
def test_counts_are_of_all_shards_together(kind):
    whole = KINDS[kind](shuffle=False)
    shards = [KINDS[kind](shuffle=False, num_shards=3, shard_index=i) for i in range(3)]
    positions = real = labels = 0
    for shard in shards:
        for inputs, batch_labels in shard:
            positions += sum(x.size for x in inputs.values())
            real += sum(np.count_nonzero(x) for x in inputs.values())
            labels += np.count_nonzero(batch_labels)
    assert {shard.num_target_tokens for shard in shards} == {whole.num_target_tokens} == {labels}
    for shard in shards:
        assert shard.padding_fraction == pytest.approx(1 - real / positions)


def test_repeated_examples_weigh_nothing():
    shards = [KINDS["task"](num_shards=7, shard_index=index) for index in range(7)]
    weights = np.concatenate([w for shard in shards for *_, w in shard])
    assert weights.dtype == np.float32 and set(weights) == {0.0, 1.0}
    assert weights.sum() == shards[0].num_examples == 101
    assert all(inputs["token_ids"].any(axis=-1).all() for shard in shards for inputs, *_ in shard)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_shards": 0}, "`num_shards` must be a positive integer. Received: num_shards=0"),
        ({"shard_index": -1}, "`shard_index` must be an integer >= 0. Received: shard_index=-1"),
        (
            {"num_shards": 2, "shard_index": 2},
            "`shard_index` must be less than `num_shards`. Received: shard_index=2, num_shards=2",
        ),
    ],
)
def test_errors(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        KINDS[kind](**changes)
