"""Ids outside the vocabulary in `fit` give an error that names them, or a loss of NaN."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND, torch_on_a_gpu
from tests.laws.models import make_case

V = 23
# Eager and compiled programs look rows up in different ways.
COMPILED = [True, False] if BACKEND == "tensorflow" else ["auto"]


def losses(model, inputs, labels, jit_compile):
    model.compile("sgd", kt.training.MaskedCrossentropy(), jit_compile=jit_compile)
    return model.fit(inputs, labels, epochs=1, batch_size=3, verbose=0).history["loss"]


@pytest.mark.slow
@pytest.mark.skipif(torch_on_a_gpu(), reason="a wrong index ends all work on the GPU")
@pytest.mark.parametrize("jit_compile", COMPILED)
@pytest.mark.parametrize("wrong", [-1, V])
@pytest.mark.parametrize("name", ["source_ids", "target_ids"])
def test_they_do_not_pass_in_silence(name, wrong, jit_compile):
    model = make_case("transformer").model
    ids = np.random.default_rng(1).integers(4, V, (3, 5))
    inputs = {"source_ids": ids, "target_ids": ids.copy()}
    assert np.isfinite(losses(model, inputs, ids, jit_compile)).all()
    inputs[name] = ids.copy()
    inputs[name][1, 2] = wrong
    try:
        found = losses(model, inputs, ids, jit_compile)
    except Exception as error:
        # TensorFlow's and torch's own errors.
        assert "range" in str(error) or "indices" in str(error), error
    else:
        assert BACKEND != "torch" and np.isnan(found).all()


@pytest.mark.parametrize(
    ("ids", "received"),
    [
        ([5, 6, 23], "id 23 at index 2"),
        ([5, -1, 6], "id -1 at index 1"),
        ([5, 6, 2**40], "id 1099511627776 at index 2"),
        ([5, 5.7, 6], "5.7 at index 1, dtype=float64"),
        ([5, 2**70, 6], "1180591620717411303424 at index 1, dtype=object"),
        ([5.0, 6.0], "5.0 at index 0, dtype=float64"),
    ],
)
def test_batches_that_know_the_vocabulary_name_them(ids, received):
    rows = [[token_id] for token_id in ids]
    message = f"must contain .*Received: {received}"
    with pytest.raises(ValueError, match=f"`token_ids` {message}"):
        kt.data.LanguageModelBatches(ids, length=2, batch_size=1, vocabulary_size=V)
    with pytest.raises(ValueError, match=f"`target_ids` {message}"):
        kt.data.TranslationBatches([[5]] * len(rows), rows, target_vocabulary_size=V)
    with pytest.raises(ValueError, match=f"`sequences` {message}"):
        kt.data.PackedBatches(rows, length=4, batch_size=1, vocabulary_size=V)


def test_a_looked_up_row_is_unchanged():
    layer = kt.layers.TokenEmbedding(V, 4, scale=False)
    layer.build()
    table = keras.ops.convert_to_numpy(layer.embeddings)
    ids = np.array([[0, 5], [22, 1]])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(ids)), table[ids])
