"""Which states of a training run are kept, and what is restored from each."""

import json

import keras
import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.training import SaveTraining, load_training
from keras_transformer.training.best_metric import check_monitor, is_better
from tests.harness import run_python

V = 31
IDS = np.random.default_rng(2).integers(1, V, 200)


def make_batches():
    return kt.data.LanguageModelBatches(IDS, length=7, batch_size=5)


def make_model(optimizer=None):
    lm = kt.models.gpt(V, 1, 2, 8, 16, max_length=7, dropout=0.2)
    loss = kt.training.MaskedCrossentropy()
    metrics = [kt.training.MaskedAccuracy(), kt.training.Perplexity()]
    lm.compile(optimizer or keras.optimizers.SGD(0.1), loss, metrics=metrics, jit_compile=False)
    return lm


class Scores(keras.callbacks.Callback):
    """Adds a score to the logs, as an evaluation on other data does."""

    def __init__(self, scores):
        super().__init__()
        self.scores = dict(enumerate(scores))

    def on_epoch_end(self, epoch, logs=None):
        if epoch in self.scores:
            logs["val_bleu"] = self.scores[epoch]


class StopAfter(keras.callbacks.Callback):
    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def fit(model, batches, epochs, callbacks, **more):
    arguments = {"shuffle": False, "verbose": 0, "callbacks": callbacks, **more}
    return model.fit(batches, epochs=epochs, **arguments).history


def states(folder):
    return sorted(path.stem for path in folder.glob("*.keras"))


def weights_of(model):
    return [np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights]


def assert_equal(one, other):
    for x, y in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)


@pytest.mark.slow
def test_the_last_states_and_the_best_are_kept(tmp_path):
    model, data = make_model(), make_batches()
    assert len(data) == 6
    save = SaveTraining(tmp_path, data, every_steps=4, keep=3, monitor="val_bleu")
    snapshots = {}

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            snapshots[epoch + 1] = weights_of(self.model)

    scores = Scores([3.0, 8.0, float("nan"), 8.0])
    fit(model, data, 4, [scores, save, Keep()])
    assert states(tmp_path) == ["model-2-0", "model-3-0", "model-3-4", "model-4-0"]
    assert len(list(tmp_path.iterdir())) == 2 * 4 + 1
    for which, epoch in {"best": 2, "last": 4, "model-3-0": 3}.items():
        data = make_batches()
        loaded, initial_epoch = load_training(tmp_path, data, which)
        assert initial_epoch == epoch and data.state()["epoch"] == epoch
        for one, other in zip(weights_of(loaded), snapshots[epoch], strict=True):
            np.testing.assert_array_equal(one, other)
    assert load_training(tmp_path, data, "model-3-4")[1] == 3 and data.state()["batch"] == 4
    # A resumed run knows the best score so far, and keeps the states in the folder.
    loaded, epoch = load_training(tmp_path, data)
    save = SaveTraining(tmp_path, data, keep=2, monitor="val_bleu")
    fit(loaded, data, 5, [Scores([0] * 4 + [7.0]), save], initial_epoch=epoch)
    assert states(tmp_path) == ["model-2-0", "model-4-0", "model-5-0"]
    # A new run does not.
    save = SaveTraining(tmp_path, make_batches(), monitor="val_bleu")
    fit(make_model(), save.batches, 1, [Scores([1.0]), save])
    assert states(tmp_path) == ["model-1-0"]
    assert load_training(tmp_path, make_batches(), "best")[1] == 1


def test_a_metric_that_never_occurs_is_reported(tmp_path):
    data = make_batches()
    save = SaveTraining(tmp_path, data, monitor="val_loss")
    with pytest.warns(UserWarning, match="`monitor` must .*monitor='val_loss', with .*'loss'"):
        fit(make_model(), data, 1, [save])
    assert states(tmp_path) == ["model-1-0"]


def test_better_is_decided_by_the_name():
    for name in ("loss", "val_loss", "val_perplexity", "mse"):
        assert check_monitor(name, "auto") == "min"
    for name in ("val_bleu", "masked_accuracy", "val_chrf"):
        assert check_monitor(name, "auto") == "max"
    assert check_monitor("speed", "max") == "max"
    assert is_better(2.0, None, "min") and is_better(1.0, 2.0, "min")
    assert not is_better(2.0, 2.0, "min") and not is_better(float("nan"), None, "max")
    assert is_better(3.0, 2.0, "max") and not is_better(float("inf"), 2.0, "max")


@pytest.mark.slow
def test_the_logs_of_a_resumed_epoch_are_those_of_the_whole_epoch(tmp_path):
    def start():
        keras.utils.set_random_seed(3)
        return make_model()

    whole, data = start(), make_batches()
    expected = fit(whole, data, 2, [SaveTraining(tmp_path / "whole", data)])
    model, data = start(), make_batches()
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, 2, [SaveTraining(tmp_path, data, every_steps=2), StopAfter(11)])
    keras.utils.set_random_seed(9)
    data = make_batches()
    model, epoch = load_training(tmp_path, data)
    assert epoch == 1 and data.state()["batch"] == 4
    found = fit(model, data, 2, [SaveTraining(tmp_path, data)], initial_epoch=epoch)
    assert_equal(model, whole)
    assert set(found) == {"loss", "masked_accuracy", "perplexity"}
    for name, (value,) in found.items():
        assert value == pytest.approx(expected[name][1], abs=1e-6), name


@pytest.mark.slow
def test_no_state_with_nan_replaces_a_good_one(tmp_path):
    model, data = make_model(), make_batches()

    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                weight = self.model.trainable_weights[0]
                weight.assign(np.full(weight.shape, np.nan, "float32"))

    save = SaveTraining(tmp_path, data, every_steps=1)
    words = "did not save the state in epoch 1, and training continues: the variable 'token_embed"
    with pytest.warns(RuntimeWarning, match=words) as found:
        fit(model, data, 1, [Break(), save])
    assert [w.category for w in found].count(RuntimeWarning) == 1
    assert states(tmp_path) == ["model-0-3"]
    loaded, _ = load_training(tmp_path, data)
    assert all(np.isfinite(weight).all() for weight in weights_of(loaded))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_training_goes_on_on_another_backend(tmp_path, backend):
    # On torch, Keras's own Adam is of a class that only torch has.
    model, data = make_model(keras.optimizers.Adam(0.01)), make_batches()
    fit(model, data, 1, [SaveTraining(tmp_path, data)])
    np.savez(tmp_path / "expected.npz", *weights_of(model))
    code = f"""
import sys, keras, numpy as np, keras_transformer as kt
ids = np.random.default_rng(2).integers(1, {V}, 200)
data = kt.data.LanguageModelBatches(ids, length=7, batch_size=5)
model, epoch = kt.training.load_training(sys.argv[1], data)
expected = np.load(sys.argv[1] + "/expected.npz")
for name, weight in zip(expected.files, model.weights, strict=True):
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), expected[name])
optimizer = model.optimizer
assert type(optimizer) is type(keras.optimizers.Adam()) and int(optimizer.iterations) == 6
velocities = [v for v in optimizer.variables if "velocity" in v.path]
assert velocities and all(np.abs(keras.ops.convert_to_numpy(v)).max() > 0 for v in velocities)
model.fit(data, epochs=2, initial_epoch=epoch, shuffle=False, verbose=0)
print(int(optimizer.iterations))
"""
    assert run_python(code, tmp_path, backend=backend).split()[-1] == "12"


def test_foreign_files_stay(tmp_path):
    for name in ("model-final.keras", "model-1-0-old.npz", "notes.txt"):
        (tmp_path / name).write_text("mine")
    data = make_batches()
    fit(make_model(), data, 1, [SaveTraining(tmp_path, data)])
    assert {"model-final.keras", "model-1-0-old.npz", "notes.txt"} < {
        path.name for path in tmp_path.iterdir()
    }


def test_the_index_is_plain_json(tmp_path):
    data = make_batches()
    fit(make_model(), data, 1, [SaveTraining(tmp_path, data, monitor="loss")])
    content = json.loads((tmp_path / "training.json").read_text())
    assert content["format"] == 2 and content["model"] == content["best"]["model"]
    assert content["others"] == [] and content["initial_epoch"] == 1
