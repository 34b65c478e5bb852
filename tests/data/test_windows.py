"""Sliding windows: every token scored once, with the context that the stride promises."""

import numpy as np
import pytest

import keras_transformer as kt


@pytest.mark.parametrize("number", [2, 3, 7, 8, 9, 23, 24, 97])
@pytest.mark.parametrize(("length", "stride"), [(7, 3), (7, 7), (5, 1), (1, 1), (8, None)])
def test_every_token_but_the_first_is_scored_once_after_its_own_context(number, length, stride):
    ids = np.arange(1, number + 1)
    windows = kt.data.SlidingWindows(ids, length, stride, batch_size=3)
    least = length - (windows.stride - 1)
    scored = []
    for index in range(len(windows)):
        inputs, labels = windows[index]
        assert inputs["token_ids"].shape == labels.shape == (3, length)
        for row, label_row in zip(inputs["token_ids"], labels, strict=True):
            for column in np.flatnonzero(label_row):
                scored.append(int(label_row[column]))
                assert row[column] == label_row[column] - 1
                # Ids are their positions: this many tokens stand before the label.
                assert column + 1 >= min(least, label_row[column] - 1)
    assert scored == list(range(2, number + 1))
    assert windows.num_target_tokens == number - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"token_ids": [4]}, "`token_ids` must be one sequence of at least two ids"),
        ({"token_ids": [4, 0, 5]}, "id 0 at index 1"),
        ({"length": 0}, "length=0"),
        ({"stride": 6}, "stride=6, length=5"),
        ({"stride": 0}, "stride=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"vocabulary_size": 6}, "Received: id 6"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        kt.data.SlidingWindows(**{"token_ids": [4, 5, 6, 7], "length": 5, **arguments})
