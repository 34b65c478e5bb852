"""One sentence through four small models."""

import base64

import numpy as np
import pytest

import keras_transformer.explorer.comparison as comparison
from keras_transformer.explorer.comparison import Comparison
from keras_transformer.explorer.fields import Fields

WORDS = "the cat sat on the mat"


def decoded(tensor):
    return np.frombuffer(base64.b64decode(tensor["data"]), "<f4").reshape(tensor["shape"])


@pytest.mark.slow
def test_four_models_are_trained_once_and_show_what_they_do(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    make = comparison._make

    def eagerly(kind):
        model = make(kind)
        model.run_eagerly = True  # three steps are faster run than compiled
        return model

    monkeypatch.setattr(comparison, "_make", eagerly)
    lines = list(Comparison(steps=3).lines(Fields({"text": WORDS})))
    shares = [line["progress"] for line in lines[:-1]]
    assert shares == sorted(shares) and shares[-1] == 1.0
    answer = lines[-1]
    assert answer["tokens"] == [*WORDS.split(), "<end>"] and "for 3 steps" in answer["note"]
    assert [model["kind"] for model in answer["models"]] == list(comparison._NAMES)
    for model in answer["models"]:
        assert 0 <= model["accuracy"] <= 1 and set(model["output"]) <= {*WORDS.split(), "?"}
        kinds = {one["what"] for one in model["tensors"]}
        assert (
            kinds
            == {
                "rnn": {"state"},
                "lstm": {"state", "gate"},
                "attention": {"state", "gate", "weights"},
                "transformer": {"weights"},
            }[model["kind"]]
        )
        for one in model["tensors"]:
            values = decoded(one["tensor"])
            assert len(values) == len(one["rows"])
            if one["what"] == "weights":
                assert values.shape[1] == len(one["columns"])
                np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-5)
    # The next server reads the weights from the cache.
    again = list(Comparison(steps=3).lines(Fields({"text": WORDS})))
    assert len(again) == 5 and again[-1] == answer
    path = next(tmp_path.rglob("*rnn-3.npz"))
    path.write_bytes(path.read_bytes()[:100])
    assert len(list(Comparison(steps=3).lines(Fields({"text": WORDS})))) > 5


def test_each_word_has_a_symbol_of_its_own():
    words = [f"word{index}" for index in range(comparison.MOST_WORDS)]
    symbols = comparison._symbols(words * 2)
    assert len(set(symbols.values())) == len(words)
    assert all(3 <= symbol < 23 for symbol in symbols.values())


def test_the_task_is_to_repeat_words_in_reverse_order():
    inputs, labels = comparison._examples(np.random.default_rng(0), 50)
    for source, target, label in zip(*inputs.values(), labels, strict=True):
        words = source[source > 2]
        np.testing.assert_array_equal(label[label > 2], words[::-1])
        np.testing.assert_array_equal(target[1:][target[1:] > 2], words[::-1])
        assert label[len(words)] == source[len(words)] == 2 and target[0] == 1
