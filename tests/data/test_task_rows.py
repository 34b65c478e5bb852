"""Rows of tasks: the special tokens always stand, and batches have few shapes."""

import functools

import numpy as np
import pytest

import keras_transformer as kt

START, DELIMITER, EXTRACT = 90, 91, 92
SPECIAL = (START, DELIMITER, EXTRACT)


def texts(count, longest=20, seed=0):
    generator = np.random.default_rng(seed)
    return [
        [int(token) for token in generator.integers(1, 90, size=generator.integers(0, longest))]
        for _ in range(count)
    ]


@pytest.mark.parametrize("max_length", [5, 6, 9, 13, 60])
def test_special_tokens_are_never_cut(max_length):
    ones, others = texts(50), texts(50, seed=1)
    for row in kt.data.text_rows(ones, START, EXTRACT, max_length):
        assert row[0] == START and row[-1] == EXTRACT and len(row) <= max_length
        assert not set(row[1:-1]) & set(SPECIAL)
    rows = kt.data.pair_rows(ones, others, *SPECIAL, max_length)
    for row, one, other in zip(rows, ones, others, strict=True):
        assert row[0] == START and row[-1] == EXTRACT and row.count(DELIMITER) == 1
        assert len(row) == min(max_length, len(one) + len(other) + 3)
        place = row.index(DELIMITER)
        left, right = row[1:place], row[place + 1 : -1]
        assert left == one[: len(left)] and right == other[: len(right)]
        if len(left) < len(one):
            assert len(left) >= len(right)
        if len(right) < len(other):
            assert len(right) >= len(left) - 1


def test_layouts():
    assert kt.data.text_rows([[]], START, EXTRACT, 3) == [[START, EXTRACT]]
    assert kt.data.pair_rows([[1, 2]], [[3]], *SPECIAL, 9) == [[90, 1, 2, 91, 3, 92]]
    assert kt.data.similarity_rows([[1, 2]], [[3]], *SPECIAL, 9) == [
        [[90, 1, 2, 91, 3, 92], [90, 3, 91, 1, 2, 92]]
    ]
    assert kt.data.choice_rows([[1], [2]], [[[3], [4]], [[5], []]], *SPECIAL, 9) == [
        [[90, 1, 91, 3, 92], [90, 1, 91, 4, 92]],
        [[90, 2, 91, 5, 92], [90, 2, 91, 92]],
    ]


def test_every_example_once_with_its_label():
    rows = kt.data.text_rows(texts(101), START, EXTRACT, 16)
    batches = kt.data.TaskBatches(rows, range(101), batch_size=8, max_shapes=3)
    shapes, orders = set(), []
    for _ in range(2):
        labels = []
        widths = []
        for index in range(len(batches)):
            inputs, batch_labels = batches[index]
            ids = inputs["token_ids"]
            assert ids.dtype == batch_labels.dtype == np.int32
            shapes.add(ids.shape[1])
            widths.append(ids.shape[1])
            for row, label in zip(ids, batch_labels, strict=True):
                expected = rows[label]
                assert row[: len(expected)].tolist() == expected
                assert not row[len(expected) :].any()
            labels += batch_labels.tolist()
        assert sorted(labels) == list(range(101))
        assert widths[0] != widths[1]  # see Keras on TensorFlow
        orders.append(labels)
        batches.on_epoch_end()
    assert len(shapes) <= 3 and max(shapes) == 16
    assert orders[0] != orders[1]
    assert batches.num_examples == 101


def test_unshuffled_batches_keep_the_order():
    rows = kt.data.choice_rows(texts(7), [texts(3, seed=i) for i in range(7)], *SPECIAL, 20)
    batches = kt.data.TaskBatches(rows, batch_size=4, shuffle=False)
    widest = max(len(row) for example in rows for row in example)
    assert [batches[index][0]["token_ids"].shape for index in range(2)] == [
        (4, 3, widest),
        (3, 3, widest),
    ]
    row = rows[5][2]
    assert batches[1][0]["token_ids"][1, 2, : len(row)].tolist() == row


@pytest.mark.slow
def test_fit_evaluate_and_predict_take_them():
    lm = kt.models.with_new_tokens(kt.models.gpt(90, 1, 2, 8, 16, max_length=32), 3)
    model = kt.models.classifier(lm, 2)
    rows = kt.data.text_rows(texts(24), START, EXTRACT, 20)
    labels = np.arange(24) % 2
    batches = kt.data.TaskBatches(rows, labels, batch_size=8, max_shapes=2)
    recipe = kt.training.gpt1_finetuning_recipe(total_steps=len(batches))
    model.compile(**recipe, jit_compile=False)
    model.fit(batches, verbose=0)
    in_order = kt.data.TaskBatches(rows, labels, batch_size=8, shuffle=False)
    accuracy = model.evaluate(in_order, verbose=0)[1]
    unlabeled = kt.data.TaskBatches(rows, batch_size=8, shuffle=False)
    predicted = model.predict(unlabeled, verbose=0)
    assert predicted.shape == (24, 2)
    assert np.mean(predicted.argmax(-1) == labels) == pytest.approx(accuracy)


def test_errors():
    with pytest.raises(ValueError, match="`max_length` must be an integer >= 3"):
        kt.data.text_rows([[1]], START, EXTRACT, 2)
    with pytest.raises(ValueError, match="`max_length` must be an integer >= 5"):
        kt.data.pair_rows([[1]], [[1]], *SPECIAL, 4)
    with pytest.raises(ValueError, match="`second` must have as many items as `first`"):
        kt.data.similarity_rows([[1]], [], *SPECIAL, 9)
    with pytest.raises(ValueError, match="`candidates` must have as many items as `contexts`"):
        kt.data.choice_rows([[1]], [], *SPECIAL, 9)
    with pytest.raises(ValueError, match=r"same number of candidates.*: numbers of .* \[1, 2\]"):
        kt.data.choice_rows([[1], [2]], [[[1]], [[1], [2]]], *SPECIAL, 9)
    batches = kt.data.TaskBatches
    for rows, message in (
        ([], "`rows` must contain at least one example"),
        ([[]], r"none of them empty. Received: rows=\[\[\]\]"),
        ([[1], []], "`rows` must contain rows of at least one id"),
        ([[-1]], "integers from 0 to .* Received: .* at index 0"),
        ([[1.5]], "`rows` must contain rows"),
        ([3, 4], "`rows` must contain lists"),
        ([[[1]], [[1], [2]]], r"the same number of rows. Received: .* \[1, 2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            batches(rows)
    with pytest.raises(ValueError, match="integers from 0 to 4"):
        batches([[5]], vocabulary_size=5)
    for labels in ([1, 2], [-1], [[[1.0]]], [float("nan")], ["a"]):
        with pytest.raises(ValueError, match="`labels` must be 1 integers >= 0 or finite floats"):
            batches([[1]], labels)
    with pytest.raises(ValueError, match=r"`labels\['end'\]` must be 1 integers"):
        batches([[1]], {"start": [0], "end": [-1]})
    for labels in ([[1, 2]], [[-2]], [[1], [1]]):
        with pytest.raises(ValueError, match="`labels` must"):
            batches([[1]], labels)
    with pytest.raises(ValueError, match="`segment_ids` must have the lengths of `rows`"):
        batches([[1, 2]], segment_ids=[[0]])
    with pytest.raises(ValueError, match="`segment_ids` must contain lists"):
        batches([[1, 2]], segment_ids=[0])
    with pytest.raises(ValueError, match="`padding_id` must be"):
        batches([[1]], padding_id=-1)
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        batches([[1]], batch_size=0)


def test_labels_of_every_kind():
    rows = [[5, 6, 7], [8]]
    make = functools.partial(kt.data.TaskBatches, rows, batch_size=2, shuffle=False)
    _, numbers = make([0.5, 2])[0]
    assert numbers.dtype == "float32" and numbers.tolist() == [0.5, 2.0]
    assert make([[0.5, 2.0], [1.0, 3.0]])[0][1].tolist() == [[0.5, 2.0], [1.0, 3.0]]
    _, labels, weights = make([[1, -1, 0], [2]])[0]
    assert labels.tolist() == [[1, 0, 0], [2, 0, 0]]
    assert weights.tolist() == [[1, 0, 1], [1, 0, 0]]
    _, named = make({"start": [0, 1], "end": [2, 3]})[0]
    assert {key: value.tolist() for key, value in named.items()} == {"start": [0, 1], "end": [2, 3]}


def test_other_padding_and_segments():
    batches = kt.data.TaskBatches(
        [[5, 6, 7], [8]], [0, 1], 2, shuffle=False, padding_id=9, segment_ids=[[0, 0, 1], [1]]
    )
    inputs, _ = batches[0]
    assert inputs["token_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert inputs["segment_ids"].tolist() == [[0, 0, 1], [1, 0, 0]]


def test_shards_weigh_each_token_once():
    rows = [[token, token + 1] for token in range(5, 16)]
    labels = [[-1, token] for token, _ in rows]
    seen = []
    for shard in range(3):
        for _, tags, weights in kt.data.TaskBatches(
            rows, labels, 2, seed=1, num_shards=3, shard_index=shard
        ):
            seen += tags[weights > 0].tolist()
    assert sorted(seen) == list(range(5, 16))
