"""Law 4, reload is identical, of models that have been quantized or frozen in part."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.layers.nested_layers import all_layers
from tests.harness import BACKEND, assert_close, normal, randomize, to_numpy, token_ids

IDS = token_ids(2, 7, vocabulary_size=50, low=4)
PAIR = {"source_ids": IDS, "target_ids": IDS}
SMALL = {"hidden_dim": 16, "intermediate_dim": 32}
MODELS = {
    "gpt": (lambda: kt.models.gpt(50, 2, 2, max_length=16, **SMALL), {"token_ids": IDS}),
    "transformer": (lambda: kt.models.transformer(50, num_layers=1, num_heads=2, **SMALL), PAIR),
    "bert": (
        lambda: kt.models.bert(50, 1, 2, max_length=16, masked_lm=True, **SMALL),
        {"token_ids": IDS, "segment_ids": np.zeros_like(IDS)},
    ),
    "vit": (
        lambda: kt.models.vit(8, 4, 3, num_layers=1, num_heads=2, **SMALL),
        normal(2, 8, 8, 3),
    ),
    "luong": (
        lambda: kt.models.recurrent_seq2seq(50, cell="gru", attention="luong", hidden_dim=16),
        PAIR,
    ),
    "bahdanau": (
        lambda: kt.models.recurrent_seq2seq(50, cell="lstm", attention="bahdanau", hidden_dim=16),
        PAIR,
    ),
    "classifier": (
        lambda: kt.models.sequence_classifier(50, 3, kind="cnn", hidden_dim=16),
        {"token_ids": IDS},
    ),
    "ssru": (
        lambda: kt.models.transformer(
            50, num_layers=1, num_heads=2, decoder_recurrence="ssru", **SMALL
        ),
        PAIR,
    ),
}


def numbers(outputs):
    """All that a model gives, as one row."""
    return np.concatenate([leaf.ravel() for leaf in keras.tree.flatten(to_numpy(outputs))])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize")
# JAX compiles each operation on integers anew: two models show it there.
@pytest.mark.parametrize("name", ["gpt", "luong"] if BACKEND == "jax" else MODELS)
def test_quantized_model_gives_the_same_after_loading(name, tmp_path):
    make, inputs = MODELS[name]
    model = make()
    randomize(model, stddev=0.1)
    before = numbers(model(inputs))
    model.quantize("int8")
    expected = numbers(model(inputs))
    assert not np.array_equal(expected, before)
    assert np.abs(expected - before).max() < 0.5 * np.abs(before).max()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(numbers(loaded(inputs)), expected, tolerance=1e-6)
    modes = [[layer.quantization_mode for layer in all_layers(m)] for m in (model, loaded)]
    assert modes[0].count("int8") == modes[1].count("int8") > 0
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert_close(numbers(clone(inputs)), expected, tolerance=1e-6)


@pytest.mark.slow
def test_frozen_blocks_of_a_loaded_model_do_not_move(tmp_path):
    model = kt.models.gpt(20, 3, 2, hidden_dim=8, intermediate_dim=16, max_length=16)
    kt.training.freeze(model, up_to=2)
    model.compile("adam", kt.training.MaskedCrossentropy())
    ids = token_ids(4, 7, vocabulary_size=20)
    model.fit({"token_ids": ids}, ids, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(loaded.trainable_weights) == len(model.trainable_weights)
    lowest = loaded.get_layer("decoder").blocks[0]
    before = [w.copy() for w in lowest.get_weights()]
    top = loaded.get_layer("decoder").blocks[2].get_weights()[0].copy()
    loaded.fit({"token_ids": ids}, ids, verbose=0)
    for one, other in zip(lowest.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(loaded.get_layer("decoder").blocks[2].get_weights()[0], top)
