"""Each pass over the data takes every batch once, whatever the epochs of `fit` and its workers."""

import json
import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.data.kinds_of_batches import KINDS, ROWS, language_model

N = len(language_model())


def key_of(ids):
    """A number that tells a batch from all others, exact in float32."""
    ids = np.asarray(ids, "int64")
    return int((ids * (np.arange(ids.shape[-1]) % 13 + 1)).sum() + ids[0, 0])


@keras.saving.register_keras_serializable("tests")
class Seen(keras.metrics.Metric):
    """Keeps the keys of all batches, in the order in which they were trained."""

    def __init__(self, name="seen"):
        super().__init__(name=name)
        self.keys = self.add_variable((512,), "zeros", name="keys")
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        here = ops.cast(ops.arange(512), "float32") == self.count.value
        self.keys.assign(ops.where(here, ops.sum(y_pred), self.keys.value))
        self.count.assign_add(1.0)

    def result(self):
        return ops.cast(self.count.value, "float32")

    def reset_state(self):
        pass  # Keras does it at every epoch


class Trainer:
    """Fits a model without weights to speak of, and tells what it was fitted on."""

    def __init__(self, batches, steps_per_execution=1):
        example = batches[0][0]
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in example}
        ids = inputs[next(iter(example))]
        places = ops.cumsum(ops.ones_like(ids), axis=-1) - 1
        keys = ops.sum(ids * (places % 13 + 1), axis=-1)
        is_first = ops.equal(ops.cumsum(ops.ones_like(keys)), 1)
        first = ops.where(is_first, ids[:, 0], 0)
        keys = ops.expand_dims(ops.cast(keys + first, "float32"), -1)
        outputs = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(keys)
        self.model = keras.Model(inputs, outputs)
        self.seen = Seen()
        self.model.compile(
            keras.optimizers.SGD(0.0),
            loss=lambda y_true, y_pred: ops.mean(y_pred),
            metrics=[self.seen],
            steps_per_execution=steps_per_execution,
            jit_compile=False,
        )

    def fit(self, batches, ignore_end=False, **arguments):
        """Returns the keys of what was trained, in order."""
        self.seen.count.assign(0)
        with warnings.catch_warnings():
            if ignore_end:
                warnings.filterwarnings("ignore", "Your input ran out of data")
            arguments = {"shuffle": False, "verbose": 0, **arguments}
            self.model.fit(batches, **arguments)
        return self.new_keys()

    def new_keys(self):
        keys = ops.convert_to_numpy(self.seen.keys).astype(int).tolist()
        return keys[: int(self.seen.count)]


class StopAt(keras.callbacks.Callback):
    """Stops after so many batches, and keeps the state as `SaveTraining` does."""

    def __init__(self, batches, count):
        super().__init__()
        self.batches, self.count, self.done = batches, count, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        if self.done == self.count:
            state = self.batches.state(batch + 1, self.params["steps"])
            self.state = json.loads(json.dumps(state))
            self.model.stop_training = True


def plans(kind, *epochs, **arguments):
    """The keys of whole passes, one after the other."""
    batches, keys = KINDS[kind](**arguments), []
    for epoch in epochs:
        batches.epoch = epoch
        keys += [key_of(next(iter(x.values()))) for x, *_ in batches]
    return keys


@pytest.fixture(scope="module")
def trainer():
    return Trainer(language_model())


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_goes_on_over_epochs_of_few_steps(kind):
    batches = KINDS[kind]()
    total = len(batches)
    own = Trainer(batches)
    expected = plans(kind, 0, 1)
    assert len(set(expected[:total])) == total
    assert own.fit(batches, epochs=total // 3 + 1, steps_per_epoch=3, ignore_end=True) == (
        expected[:total] if total % 3 else expected[: total + 3]
    )


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("steps", [1, 2, N // 2, N - 1, N, N + 5, None])
def test_every_number_of_steps(trainer, steps, workers):
    batches = language_model(workers=workers)
    # An epoch ends with the pass.
    per_pass = 1 if steps is None else -(-N // steps)
    seen = trainer.fit(batches, epochs=2 * per_pass, steps_per_epoch=steps, ignore_end=True)
    assert seen == plans("language_model", 0, 1)
    assert (batches.epoch, batches.state()["batch"], len(batches)) == (2, 0, N)


def test_where_the_steps_divide_the_pass_keras_has_nothing_to_warn_of(trainer):
    batches = language_model(batch_size=4)
    total = len(batches)
    steps = next(number for number in range(2, total) if total % number == 0)
    seen = trainer.fit(batches, epochs=2 * total // steps, steps_per_epoch=steps)
    assert seen == plans("language_model", 0, 1, batch_size=4)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch takes one step at a time")
@pytest.mark.parametrize("steps", [None, 4])
def test_several_steps_per_execution(steps):
    own, batches = Trainer(language_model(), steps_per_execution=2), language_model()
    epochs = 2 * (1 if steps is None else -(-N // steps))
    # Keras makes whole executions of an epoch's steps; a pass may end within one.
    seen = own.fit(batches, epochs=epochs, steps_per_epoch=steps, ignore_end=True)
    assert seen == plans("language_model", 0, 1)
    # With as many steps as do not divide: 3 make two executions, four batches.
    seen = own.fit(batches, epochs=2, steps_per_epoch=3, ignore_end=True)
    assert seen == plans("language_model", 2)[:8]


def test_each_fit_begins_a_pass(trainer):
    batches = language_model()
    assert trainer.fit(batches, epochs=2, steps_per_epoch=2) == plans("language_model", 0)[:4]
    # Not the first batches of the same pass again and again.
    assert trainer.fit(batches, epochs=1, steps_per_epoch=3) == plans("language_model", 1)[:3]
    assert trainer.fit(batches, initial_epoch=4, epochs=5) == plans("language_model", 2)
    stop = StopAt(batches, 2)
    assert trainer.fit(batches, callbacks=[stop]) == plans("language_model", 3)[:2]
    assert trainer.fit(batches) == plans("language_model", 4)


def test_loops_of_ones_own_move_on_with_on_epoch_end():
    batches = language_model()
    for epoch in range(3):
        keys = [key_of(batches[i][0]["token_ids"]) for i in range(batches.num_batches)]
        assert keys == plans("language_model", epoch)
        batches.on_epoch_end()


class Evaluations(keras.callbacks.Callback):
    def __init__(self, seen):
        super().__init__()
        self.seen, self.starts = seen, []

    def on_test_begin(self, logs=None):
        self.starts.append(int(self.seen.count))

    def on_test_end(self, logs=None):
        self.starts.append(int(self.seen.count))


@pytest.mark.parametrize("workers", [1, 2])
def test_validation_on_a_few_steps_takes_the_same_ones(trainer, workers):
    batches, validation = language_model(seed=1), language_model(seed=2, workers=workers)
    note = Evaluations(trainer.seen)
    seen = trainer.fit(
        batches,
        epochs=3,
        steps_per_epoch=4,
        validation_data=validation,
        validation_steps=2,
        callbacks=[note],
    )
    places = np.array(note.starts).reshape(3, 2)
    evaluated = [seen[first:end] for first, end in places]
    assert evaluated == [plans("language_model", 0, seed=2)[:2]] * 3
    trained = [seen[end - 6 : end - 2] for _, end in places]
    assert sum(trained, []) == plans("language_model", 0, seed=1)[:12]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("steps", [2, 3, None])
def test_a_training_stopped_anywhere_goes_on_exactly(trainer, steps, workers):
    def batches():
        return language_model(batch_size=16, workers=workers)

    total = len(batches())
    epochs = 2 if steps is None else -(-total // steps) + 1
    arguments = {"epochs": epochs, "steps_per_epoch": steps, "ignore_end": True}
    whole = trainer.fit(batches(), **arguments)
    assert len(whole) > total
    for count in range(1, len(whole), 1 if workers == 1 else 4):
        first, again = batches(), batches()
        stop = StopAt(first, count)
        seen = trainer.fit(first, callbacks=[stop], **arguments)
        again.resume(stop.state)
        initial = stop.epoch + (0 in (stop.state["batch"], stop.state["steps_left"]))
        seen += trainer.fit(again, initial_epoch=initial, **arguments)
        assert seen == whole, count


def test_no_warning_where_the_interrupted_epoch_ends_as_planned(trainer):
    batches = language_model()
    stop = StopAt(batches, 6)
    trainer.fit(batches, epochs=3, steps_per_epoch=4, callbacks=[stop])
    assert stop.state["steps_left"] == 2
    again = language_model()
    again.resume(stop.state)
    before = list(warnings.filters)
    seen = trainer.fit(again, initial_epoch=1, epochs=3, steps_per_epoch=4)
    assert seen == plans("language_model", 0)[6:12]
    assert warnings.filters == before


def test_predict_takes_no_notice_of_what_is_to_be_resumed(trainer):
    batches = language_model()
    batches.resume(batches.state(N - 2))
    assert len(trainer.model.predict(batches, verbose=0)) == N * 5
    assert trainer.fit(batches) == plans("language_model", 0)[N - 2 :]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_workers_make_the_same_batches_in_the_same_order(kind):
    alone, several = KINDS[kind](), KINDS[kind](workers=2, max_queue_size=3)
    assert several.workers == 2 and alone.workers == 1
    # The first fit of a model: Keras takes a batch to build it.
    assert Trainer(several).fit(several, epochs=3) == Trainer(alone).fit(alone, epochs=3)


def test_workers_with_an_order_of_keras(trainer):
    seen = trainer.fit(language_model(workers=2), shuffle=True, epochs=2)
    assert sorted(seen[:N]) == sorted(plans("language_model", 0))
    assert sorted(seen[N:]) == sorted(plans("language_model", 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:DeprecationWarning")
def test_processes_make_the_same_batches_in_the_same_order(trainer):
    batches = language_model(workers=2, use_multiprocessing=True)
    seen = trainer.fit(batches, epochs=4, steps_per_epoch=N // 2 + 1, ignore_end=True)
    assert seen == plans("language_model", 0, 1)
    batches._begin_reading()  # ends the processes


@pytest.mark.parametrize("workers", [1, 2])
def test_sliding_windows_are_evaluated_once_each(workers):
    ids = [token_id for row in ROWS for token_id in row]
    windows = kt.data.SlidingWindows(ids, length=16, batch_size=4, workers=workers)
    own = Trainer(windows)
    expected = [key_of(inputs["token_ids"]) for inputs, _ in windows]
    for times in (1, 2):
        own.model.evaluate(windows, verbose=0)
        assert own.new_keys() == times * expected


def test_an_error_of_a_worker_reaches_the_reader():
    class Broken(kt.data.LanguageModelBatches):
        def _make_batch(self, index):
            if index == 2:
                raise RuntimeError("no third batch")
            return super()._make_batch(index)

    batches = Broken(list(range(1, 50)), length=3, batch_size=2, workers=2)
    batches[0], batches[1]
    with pytest.raises(RuntimeError, match="no third batch"):
        batches[2]
