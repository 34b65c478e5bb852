"""Going on exactly where a training was interrupted."""

import json
import pickle
import warnings

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.data.kinds_of_batches import KINDS, ROWS, examples, language_model


class Reader(keras.callbacks.Callback):
    """Keeps what each epoch of `fit` was trained on, in order, and may stop after some batches."""

    def __init__(self, batches, stop_after=None):
        super().__init__()
        self.batches, self.stop_after = batches, stop_after
        self.epochs, self.state = [], None

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append(0)

    def on_train_batch_end(self, batch, logs=None):
        self.epochs[-1] += 1
        self.state = self.batches.state(batch + 1)
        if sum(self.epochs) == self.stop_after:
            self.model.stop_training = True


def new_model(optimizer="sgd"):
    keras.utils.set_random_seed(1)
    lm = kt.models.gpt(50, 1, 2, 8, 16, max_length=7, dropout=0.0)
    if optimizer == "sgd":
        optimizer = keras.optimizers.SGD(0.1)
    else:
        optimizer = keras.optimizers.Adam(0.01)
    lm.compile(optimizer, kt.training.MaskedCrossentropy())
    return lm


def fit(model, batches, epochs, initial_epoch=0, stop_after=None):
    reader = Reader(batches, stop_after)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(
            batches,
            epochs=epochs,
            initial_epoch=initial_epoch,
            shuffle=False,
            verbose=0,
            callbacks=[reader],
        )
    return reader


def weights_of(model):
    return [np.array(keras.ops.convert_to_numpy(w)) for w in model.trainable_weights]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, optimizer):
    whole = new_model(optimizer)
    batches = language_model()
    total = len(batches)
    assert fit(whole, batches, epochs=3).epochs == [total] * 3

    first = new_model(optimizer)
    reader = fit(first, language_model(), epochs=3, stop_after=total + 4)
    first.save(tmp_path / "model.keras")
    (tmp_path / "state.json").write_text(json.dumps(reader.state))

    # Nothing but the files goes on.
    keras.utils.set_random_seed(77)
    again = keras.saving.load_model(tmp_path / "model.keras")
    batches = language_model()
    batches.resume(json.loads((tmp_path / "state.json").read_text()))
    # The rest of the interrupted epoch, and then a whole one.
    assert fit(again, batches, epochs=3, initial_epoch=1).epochs == [total - 4, total]
    for one, other in zip(weights_of(again), weights_of(whole), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_resumed_epoch_and_those_after_it(workers):
    total = len(language_model())
    batches = language_model(workers=workers)
    model = new_model()
    reader = fit(model, batches, epochs=1, stop_after=total - 3)
    again = language_model(workers=workers)
    again.resume(reader.state)
    assert again.state() == reader.state and len(again) == total
    assert fit(model, again, epochs=3).epochs == [3, total, total]
    assert again.epoch == reader.state["epoch"] + 3 and len(again) == total
    # The same objects go on as well, also where the resumed epoch is interrupted once more.
    again.resume(reader.state)
    reader = fit(model, again, epochs=1, stop_after=2)
    assert reader.state["batch"] == total - 1
    again.resume(reader.state)
    assert fit(model, again, epochs=2).epochs == [1, total]


@pytest.mark.slow
def test_an_interrupted_resumed_epoch_leaves_no_short_epochs_behind():
    batches = language_model()
    total = len(batches)
    batches.resume(batches.state(total - 4))
    assert fit(new_model(), batches, epochs=1, stop_after=2).epochs == [2]
    assert fit(new_model(), batches, epochs=2).epochs == [total] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_is_json_and_the_same_in_all_shards(kind):
    batches = KINDS[kind](num_shards=3, shard_index=1)
    other = KINDS[kind](num_shards=3, shard_index=2)
    batches.epoch = other.epoch = 5
    state = batches.state(2)
    assert json.loads(json.dumps(state)) == state == other.state(2)
    assert (state["epoch"], state["batch"]) == (5, 2)
    end = batches.state(len(batches))
    assert (end["epoch"], end["batch"]) == (6, 0)
    fresh = pickle.loads(pickle.dumps(KINDS[kind](num_shards=3, shard_index=2)))
    fresh.resume(state)
    assert fresh.epoch == 5 and examples(fresh) == examples(other)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rest_of_the_epoch_is_what_was_left(kind):
    batches, again = KINDS[kind](), KINDS[kind]()
    expected = [batches[index] for index in range(3, len(batches))]
    again.resume(batches.state(3))
    again.on_epoch_end()  # as `fit` does before its first epoch
    rest = list(again)
    assert len(rest) == len(expected) == len(again)
    assert examples(rest) == examples(expected)
    again.on_epoch_end()
    batches.on_epoch_end()
    assert examples(again) == examples(batches)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("translation", {"corpus": ROWS[::-1]}, "Received: a different corpus"),
        ("translation", {"tokens_per_batch": 80}, "tokens_per_batch=64 in the state, 80 here"),
        ("translation", {"max_length": 20}, "max_length=None in the state, 20 here"),
        ("translation", {"end_id": 1}, "Received: end_id=3 in the state, 1 here\\.$"),
        ("translation", {"max_shapes": 2}, "max_shapes=3"),
        ("language_model", {"corpus": ROWS[1:]}, "a different corpus"),
        ("language_model", {"length": 8}, "length=7 in the state, 8 here"),
        ("language_model", {"seed": 1}, "Received: seed=0 in the state, 1 here\\.$"),
        ("language_model", {"shuffle": False, "num_shards": 2}, "shuffle=True.*; num_shards=1"),
        ("packed", {"corpus": ROWS[1:]}, "a different corpus"),
        ("packed", {"long_sequences": "cut"}, "long_sequences='refuse' in the state, 'cut' here"),
        ("task", {"corpus": ROWS[1:]}, "a different corpus"),
        ("task", {"batch_size": 6}, "batch_size=5 in the state, 6 here"),
        ("task", {"max_shapes": 3}, "max_shapes=2 in the state, 3 here"),
    ],
)
def test_another_corpus_or_setting_is_refused_by_name(kind, changes, message):
    with pytest.raises(ValueError, match=f"`state` must come from the same.*{message}"):
        KINDS[kind](**changes).resume(KINDS[kind]().state(1))


def test_what_is_no_state_is_refused():
    batches = language_model()
    state = batches.state(1)
    with pytest.raises(ValueError, match="batches='LanguageModelBatches' in the state, 'Task"):
        KINDS["task"]().resume(state)
    with pytest.raises(ValueError, match="`state` must be a dict with .*'order'.* Received: None"):
        batches.resume(None)
    with pytest.raises(ValueError, match="`batch` must be an integer >= 0. Received: batch=-1"):
        batches.resume({**state, "batch": -1})
    with pytest.raises(ValueError, match="`batch` in `state` must be below .*batch=1000"):
        batches.resume({**state, "batch": 1000})
    with pytest.raises(ValueError, match="same order of batches. .*version .*Received: order='0'"):
        batches.resume({**state, "order": "0"})
    with pytest.raises(ValueError, match="`batch` must be at most .*batch=1000"):
        batches.state(1000)
    with pytest.raises(ValueError, match="`batch` must be an integer >= 0. Received: batch=-1"):
        batches.state(-1)
