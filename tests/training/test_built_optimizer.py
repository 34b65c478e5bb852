"""Callbacks that build the optimizer, so that TensorFlow traces the step once."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND

IDS = np.ones((6, 5), "int32")
BATCHES = kt.data.LanguageModelBatches(IDS.ravel(), length=5, batch_size=2)


def make_model():
    model = kt.models.gpt(
        11, num_layers=1, num_heads=1, hidden_dim=2, intermediate_dim=3, max_length=5
    )
    model.compile(keras.optimizers.Adam(), kt.training.MaskedCrossentropy(), jit_compile="auto")
    return model


def times_traced(model, monkeypatch, callbacks):
    traced = []
    step = model.train_step

    def train_step(*arguments):
        traced.append(arguments)
        return step(*arguments)

    monkeypatch.setattr(model, "train_step", train_step)
    model.fit(BATCHES, shuffle=False, verbose=0, callbacks=callbacks)
    return len(traced)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow traces twice")
@pytest.mark.parametrize(
    "make",
    [
        lambda folder: kt.training.StopAfter(minutes=1.0),
        lambda folder: kt.training.TimeBudget(minutes=1.0),
        lambda folder: kt.training.StopOnNonFinite(),
        lambda folder: kt.training.CheckpointAveraging(2),
        lambda folder: kt.training.SaveTraining(folder, BATCHES),
    ],
)
def test_the_step_is_traced_once(make, tmp_path, monkeypatch):
    assert times_traced(make_model(), monkeypatch, [make(tmp_path)]) == 1


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow traces twice")
def test_without_them_it_is_traced_twice(monkeypatch):
    """Once this fails, Keras builds the optimizer itself, and ours need no longer do it."""
    assert times_traced(make_model(), monkeypatch, []) == 2


def test_a_model_without_weights_yet_is_left_alone():
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("adam", "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0, callbacks=[kt.training.StopAfter(1.0)])
    assert model.optimizer.built and model.built


def test_what_is_frozen_later_is_not_trained():
    """`fit` after `freeze` and a new `compile` has an optimizer for the rest only."""
    model = make_model()
    kt.training.freeze(model)
    model.get_layer("decoder").blocks[0].trainable = True
    model.compile(keras.optimizers.SGD(), kt.training.MaskedCrossentropy())
    embeddings = np.array(model.get_layer("token_embedding").get_weights()[0])
    model.fit({"token_ids": IDS}, IDS, verbose=0, callbacks=[kt.training.StopOnNonFinite()])
    np.testing.assert_array_equal(model.get_layer("token_embedding").get_weights()[0], embeddings)
