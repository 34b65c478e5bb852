"""Training stops when the loss is no longer finite, and a warning says where that began."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.training import NonFinite, StopOnNonFinite
from keras_transformer.training.finite_weights import first_not_finite, first_not_finite_of
from keras_transformer.training.weight_gradients import weight_gradients
from tests.harness import to_numpy

V = 31
IDS = np.random.default_rng(2).integers(1, V, 200)


def make_batches(ids=IDS, **arguments):
    return kt.data.LanguageModelBatches(ids, length=7, batch_size=5, **arguments)


def make_model(optimizer=None, chunked=False, dropout=0.1):
    lm = kt.models.gpt(V, 2, 2, 8, 16, max_length=7, dropout=dropout)
    lm = kt.training.ChunkedLossModel(lm, chunk_size=8) if chunked else lm
    optimizer = optimizer or keras.optimizers.SGD(0.1)
    loss = kt.training.MaskedCrossentropy()
    lm.compile(optimizer, loss, jit_compile=keras.backend.backend() == "jax")
    return lm


def fit(model, data, callbacks, epochs=2, **more):
    arguments = {"shuffle": False, "verbose": 0, "callbacks": callbacks, **more}
    model.fit(data, epochs=epochs, **arguments)


class Break(keras.callbacks.Callback):
    """Makes the last feed-forward network overflow in one batch, counted from 1."""

    def __init__(self, batch):
        super().__init__()
        self.left = batch

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            for weight in self.model.trainable_weights:
                if "block_1/feed_forward" in weight.path and weight.path.endswith("kernel"):
                    weight.assign(np.full(weight.shape, 1e30, "float32"))


def messages(found):
    """Our warnings; on torch, NumPy has some as well."""
    return [str(one.message) for one in found if one.category is RuntimeWarning]


@pytest.mark.slow
@pytest.mark.parametrize("chunked", [False, True])
def test_it_finds_the_layer_and_the_gradient(chunked):
    model, data = make_model(chunked=chunked), make_batches()
    assert len(data) == 6
    stop = StopOnNonFinite(data)
    with pytest.warns(RuntimeWarning, match="Training stopped with the loss (nan|inf)") as found:
        fit(model, data, [Break(9), stop])
    assert stop.found.epoch == 1 and stop.found.batch == 2 and stop.found.step == 9
    assert stop.found.place == {"epoch": 1, "batch": 2}
    assert "decoder/block_1" in stop.found.layer, stop.found
    assert stop.found.weight is not None
    (message,) = messages(found)
    assert "after batch 2 of epoch 1 (both from 0), update 9" in message
    assert "It is batch 2 of pass 1 over the data" in message
    assert repr(stop.found.layer) in message and repr(stop.found.weight) in message
    # The weights are those from before the step.
    assert all(np.isfinite(to_numpy(weight)).all() for weight in model.weights)


@pytest.mark.slow
def test_a_batch_within_a_pass_is_found():
    """With `steps_per_epoch`, a pass over the data spans several epochs of Keras."""
    model, data = make_model(), make_batches()
    stop = StopOnNonFinite(data)
    with pytest.warns(RuntimeWarning, match="batch 3 of pass 1 over the data"):
        fit(model, data, [Break(10), stop], epochs=9, steps_per_epoch=2)
    assert (stop.found.epoch, stop.found.batch) == (4, 1) and stop.found.layer is not None


class WrongLabel(keras.utils.PyDataset):
    """A user's own batches, with a label outside the vocabulary in the third one."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        ids = np.random.default_rng(index).integers(1, V, (2, 8)).astype("int32")
        labels = ids[:, 1:].copy()
        labels[1, 3] = V + 4 if index == 2 else 1
        return {"token_ids": ids[:, :-1]}, labels


@pytest.mark.slow
def test_a_label_outside_the_vocabulary_is_named():
    if keras.backend.backend() == "torch":
        pytest.skip("there the loss itself refuses it")
    model, data = make_model(), WrongLabel()
    stop = StopOnNonFinite(data)
    words = rf"Computed again, .*`y_true` must contain ids .*id {V + 4} at \[1, 3\]"
    with pytest.warns(RuntimeWarning, match=words):
        fit(model, data, [stop], epochs=1)
    assert stop.found.batch == 2 and stop.found.place is None


@pytest.mark.slow
def test_without_copies_or_batches():
    model, data = make_model(), make_batches()
    stop = StopOnNonFinite(data, keep_weights=False)
    with pytest.warns(RuntimeWarning, match="The variable '.*' is not finite after this step"):
        fit(model, data, [Break(2), stop])
    assert stop.found.batch == 1
    stop = StopOnNonFinite(keep_weights=False)
    with pytest.warns(RuntimeWarning, match="with the loss nan after batch 0 of epoch 0"):
        fit(model, data, [stop])
    assert stop.found.place is None and stop.found.layer is None


class InfiniteRate(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if batch == 3:
            self.model.optimizer.learning_rate = float("inf")


@pytest.mark.slow
def test_weights_that_a_step_makes_infinite_are_found_before_the_loss_is():
    model, data = make_model(), make_batches()
    stop = StopOnNonFinite(data)
    words = "with the loss [0-9.]+ after batch 3 .* The variable '.*' is not finite after this step"
    with pytest.warns(RuntimeWarning, match=words):
        fit(model, data, [InfiniteRate(), stop])
    assert stop.found.batch == 3 and np.isfinite(stop.found.loss)
    assert stop.found.layer is None and stop.found.weight is None
    assert all(np.isfinite(to_numpy(weight)).all() for weight in model.weights)


@pytest.mark.slow
def test_no_state_is_saved_after_it(tmp_path):
    model, data = make_model(keras.optimizers.Adam(0.01)), make_batches()
    save = kt.training.SaveTraining(tmp_path, data, every_steps=1)
    with pytest.warns(RuntimeWarning) as found:
        fit(model, data, [Break(4), StopOnNonFinite(data), save])
    assert len(messages(found)) == 2 and "did not save the state" in messages(found)[1]
    again = make_batches()
    loaded, _ = kt.training.load_training(tmp_path, again)
    assert again.state()["batch"] == 3 and first_not_finite(loaded) is None


@pytest.mark.slow
def test_a_finite_training_is_left_alone():
    data = make_batches()
    keras.utils.set_random_seed(3)
    model = make_model()
    fit(model, data, [])
    keras.utils.set_random_seed(3)
    other, stop = make_model(), StopOnNonFinite(data)
    fit(other, make_batches(), [stop])
    assert stop.found is None
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("chunked", [False, True])
def test_gradients_are_those_of_finite_differences(chunked):
    model = make_model(chunked=chunked, dropout=0.0)
    inputs, labels = make_batches()[0]
    gradients = weight_gradients(model, inputs, labels)
    weight, gradient = next(
        (weight, to_numpy(one))
        for weight, one in zip(model.trainable_variables, gradients, strict=True)
        if "logits" not in weight.path and weight.shape[-1:] == (16,) and len(weight.shape) == 2
    )
    place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)

    def loss(shift):
        values = to_numpy(weight).copy()
        values[place] += shift
        before = to_numpy(weight).copy()
        weight.assign(values)
        result = model.compute_loss(inputs, labels, model(inputs, training=False))
        weight.assign(before)
        return float(to_numpy(result))

    slope = (loss(0.02) - loss(-0.02)) / 0.04
    assert gradient[place] == pytest.approx(slope, rel=0.02)


def test_errors_and_the_index_of_the_first():
    with pytest.raises(ValueError, match="`batches` must be a dataset .* batches=3"):
        StopOnNonFinite(3)
    with pytest.raises(ValueError, match="`keep_weights` must be True or False.*keep_weights=1"):
        StopOnNonFinite(keep_weights=1)
    tensors = [keras.ops.ones(3), keras.ops.ones((2, 2)) / 0.0, keras.ops.ones(1) * np.nan]
    assert first_not_finite_of(tensors) == 1 and first_not_finite_of(tensors[:1]) is None
    assert first_not_finite_of([]) is None
    assert NonFinite(1.0, 2, 3, 4)._fields[-1] == "problem"
