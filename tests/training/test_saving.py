"""A training run that is interrupted and resumed ends like one that is not."""

import json

import keras
import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.training import SaveTraining, load_training, saving

V = 31
IDS = np.random.default_rng(2).integers(1, V, 300)


def make_batches(**arguments):
    arguments = {"length": 7, "batch_size": 5, **arguments}
    return kt.data.LanguageModelBatches(IDS, **arguments)


def make_model(optimizer="adam"):
    lm = kt.models.gpt(V, 1, 2, 8, 16, max_length=7, dropout=0.2)
    optimizers = {"adam": keras.optimizers.Adam(0.01), "sgd": keras.optimizers.SGD(0.1)}
    lm.compile(optimizers[optimizer], kt.training.MaskedCrossentropy())
    return lm


class Clock:
    """Replaces the module `time`: every reading is 25 seconds later."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 25.0
        return self.now


class StopAt(keras.callbacks.Callback):
    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        self.model.stop_training = self.left == 0


def fit(model, batches, epochs, callbacks=(), **more):
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=[*callbacks], **more)


def weights_of(model):
    return [np.array(keras.ops.convert_to_numpy(w)) for w in model.trainable_weights]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_an_interrupted_training_ends_as_a_whole_one(tmp_path, optimizer):
    keras.utils.set_random_seed(1)
    whole = make_model(optimizer)
    fit(whole, make_batches(), epochs=3)

    keras.utils.set_random_seed(1)
    batches = make_batches()
    number = len(batches)
    save = SaveTraining(tmp_path, batches)
    fit(make_model(optimizer), batches, epochs=3, callbacks=[save, StopAt(number + 4)])

    # Twice: the rest of the interrupted epoch is interrupted once more.
    keras.utils.set_random_seed(88)
    batches = make_batches()
    model, epoch = load_training(tmp_path, batches)
    assert epoch == 1
    save = SaveTraining(tmp_path, batches)
    fit(model, batches, 3, [save, StopAt(2)], initial_epoch=epoch)

    batches = make_batches()
    model, epoch = load_training(tmp_path, batches)
    assert epoch == 1 and len(list(tmp_path.iterdir())) == 3
    fit(model, batches, 3, [SaveTraining(tmp_path, batches)], initial_epoch=epoch)
    for one, other in zip(weights_of(model), weights_of(whole), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert load_training(tmp_path, make_batches())[1] == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [9, 18]),
        ({"every_batches": 4}, [4, 8, 9, 13, 17, 18]),
        ({"every_steps": 4}, [4, 8, 9, 13, 17, 18]),
        ({"every_steps": 3}, [3, 6, 9, 12, 15, 18]),
        ({"every_minutes": 1.0}, None),
    ],
)
def test_when_it_saves(tmp_path, monkeypatch, arguments, expected):
    batches = make_batches()
    assert len(batches) == 9
    places = []

    class Counting(SaveTraining):
        def _save(self, *arguments):
            super()._save(*arguments)
            content = json.loads((tmp_path / "training.json").read_text())
            assert (tmp_path / content["model"]).is_file()
            place = content["batches"]
            places.append(place["epoch"] * 9 + place["batch"])

    if "every_minutes" in arguments:
        # A reading is 25 seconds after the one before: after two batches it is not yet time.
        monkeypatch.setattr(saving, "time", Clock())
        expected = [3, 6, 9, 12, 15, 18]
    fit(make_model("sgd"), batches, 2, [Counting(tmp_path, batches, **arguments)])
    assert places == expected


def test_errors(tmp_path):
    batches = make_batches()
    with pytest.raises(ValueError, match="`batches` must have the methods.* Received: batches=3"):
        SaveTraining(tmp_path, 3)
    with pytest.raises(ValueError, match="`every_batches` must be .* every_batches=0"):
        SaveTraining(tmp_path, batches, every_batches=0)
    with pytest.raises(ValueError, match="`every_steps` must be .* every_steps=0"):
        SaveTraining(tmp_path, batches, every_steps=0)
    with pytest.raises(ValueError, match="`every_steps` must be given only if .* every_steps=3"):
        SaveTraining(tmp_path, batches, 2, every_steps=3)
    with pytest.raises(ValueError, match="`keep` must be .* keep=0"):
        SaveTraining(tmp_path, batches, keep=0)
    with pytest.raises(ValueError, match="`mode` must be .* mode='best'"):
        SaveTraining(tmp_path, batches, monitor="loss", mode="best")
    with pytest.raises(ValueError, match="`mode` must be .*mode=\"auto\", monitor='val_speed'"):
        SaveTraining(tmp_path, batches, monitor="val_speed")
    with pytest.raises(ValueError, match="`every_minutes` must be .* every_minutes=0"):
        SaveTraining(tmp_path, batches, every_minutes=0)
    with pytest.raises(ValueError, match="`folder` must contain a .*without training.json"):
        load_training(tmp_path, batches)
    fit(make_model("sgd"), batches, 1, [SaveTraining(tmp_path, batches)])
    with pytest.raises(ValueError, match="batch_size=5 in the state, 6 here.*training.json"):
        load_training(tmp_path, make_batches(batch_size=6))
    with pytest.raises(ValueError, match=r"`which` must .*\['last', 'model-1-0'\].*which='best'"):
        load_training(tmp_path, batches, which="best")
