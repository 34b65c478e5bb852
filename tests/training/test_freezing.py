"""Frozen weights stay the same bit for bit, and unfrozen ones train with their optimizer state."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND, to_numpy, token_ids

V = 23


def language_model(num_layers=2, **arguments):
    return kt.models.gpt(V, num_layers, 2, 8, 16, max_length=11, dropout=0.0, **arguments)


def batch(num_rows=4):
    return {"token_ids": token_ids(num_rows, 5, vocabulary_size=V)}, np.arange(num_rows) % 2


def snapshot(model):
    return {weight.path: np.array(to_numpy(weight)) for weight in model.weights}


def moved(model, before):
    """The paths of the weights that have changed."""
    after = snapshot(model)
    return {path for path in after if not np.array_equal(after[path], before[path])}


def compile_it(model, **arguments):
    optimizer = kt.training.DecoupledAdamW(1e-2, weight_decay=0.1)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(), **arguments)


def groups(paths):
    """The parts of the model that paths belong to, without random states."""
    parts = {path for path in paths if "seed" not in path}
    return {"/".join(p.split("/")[:2]) if "/block_" in p else p.split("/")[0] for p in parts}


@pytest.mark.parametrize(
    ("up_to", "expected"),
    [
        (None, {"head"}),
        (1, {"head", "decoder/block_1", "decoder"}),
        (0, {"head", "decoder/block_0", "decoder/block_1", "decoder"}),
    ],
)
def test_only_what_is_not_frozen_moves(up_to, expected):
    lm = language_model(normalize_first=True)
    model = kt.models.classifier(lm, 2)
    kt.training.freeze(model, up_to)
    compile_it(model, run_eagerly=True)
    before = snapshot(model)
    inputs, labels = batch()
    model.fit(inputs, labels, verbose=0)
    # "decoder" itself: the norm after its last block.
    assert groups(moved(model, before)) == expected
    assert not any("positional" in path for path in moved(model, before))
    kt.training.unfreeze(model)
    assert len(model.trainable_weights) == len(lm.trainable_weights) + 2


@pytest.mark.parametrize("name", ["transformer", "bert", "vit"])
def test_other_models_freeze(name):
    size = {"num_layers": 3, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    if name == "vit":
        model = kt.models.vit(image_size=8, patch_size=4, num_classes=3, **size)
    else:
        model = getattr(kt.models, name)(V, **size)
    kt.training.freeze(model, 2)
    trained = {weight.path for weight in model.trainable_weights}
    assert all(
        any(part in path for part in ("block_2", "final_norm", "pooler", "classifier"))
        for path in trained
    ), trained
    assert any("block_2" in path for path in trained)
    kt.training.freeze(model)
    assert not any("block" in weight.path for weight in model.trainable_weights)


def test_keras_asks_for_compile_after_it():
    model = kt.models.classifier(language_model(1), 2)
    compile_it(model)
    kt.training.freeze(model)
    inputs, labels = batch()
    with pytest.raises(ValueError, match="compile"):
        model.fit(inputs, labels, verbose=0)


class Watch(keras.callbacks.Callback):
    """Notes in each epoch what moved, and the optimizer's slots."""

    def __init__(self):
        super().__init__()
        self.moved, self.slots, self.iterations = [], [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.before = snapshot(self.model)
        self.at_start = self.read()

    def on_epoch_end(self, epoch, logs=None):
        self.moved.append(groups(moved(self.model, self.before)))
        self.slots.append((self.at_start, self.read()))

    def read(self):
        return {v.path: np.array(to_numpy(v)) for v in self.model.optimizer.variables}


@pytest.mark.slow
def test_gradual_unfreezing_under_fit():
    model = kt.models.classifier(language_model(), 2)
    compile_it(model, jit_compile=BACKEND == "jax")
    watch = Watch()
    inputs, labels = batch(8)
    callbacks = [kt.training.GradualUnfreezing(), watch]
    model.fit(inputs, labels, batch_size=4, epochs=5, verbose=0, callbacks=callbacks)
    head, top, low = {"head"}, {"decoder/block_1"}, {"decoder/block_0"}
    everything = head | top | low | {"token_embedding", "decoder"}
    assert watch.moved == [head, head | top, head | top | low, everything, everything]
    for (_, end), (start, _) in zip(watch.slots[:-1], watch.slots[1:], strict=True):
        # The slots of weights that trained before are kept; those of newly unfrozen ones are zero.
        assert set(end) <= set(start)
        for path, value in end.items():
            np.testing.assert_array_equal(start[path], value, err_msg=path)
        for path in set(start) - set(end):
            assert not start[path].any(), path
    assert len(watch.slots[0][1]) < len(watch.slots[-1][1])
    assert int(to_numpy(model.optimizer.iterations)) == 10


@pytest.mark.slow
def test_gradual_unfreezing_without_a_change_is_plain_training():
    losses = []
    for callbacks in ([], [kt.training.GradualUnfreezing(first_blocks=9)]):
        keras.utils.set_random_seed(3)
        model = kt.models.classifier(language_model(1), 2, dropout=0.0)
        compile_it(model, run_eagerly=True)
        inputs, labels = batch()
        history = model.fit(inputs, labels, epochs=2, verbose=0, callbacks=callbacks)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


def test_errors():
    model = kt.models.classifier(language_model(), 2)
    for wrong in (3, -1, True, 1.5):
        with pytest.raises(ValueError, match="`up_to` must be an integer from 0 to 2"):
            kt.training.freeze(model, wrong)
    with pytest.raises(ValueError, match="`epochs_per_block` must be a positive integer"):
        kt.training.GradualUnfreezing(epochs_per_block=0)
    with pytest.raises(ValueError, match="`first_blocks` must be an integer >= 0"):
        kt.training.GradualUnfreezing(first_blocks=-1)
    headless = language_model(1)
    headless.compile("sgd", kt.training.MaskedCrossentropy(), run_eagerly=True)
    with pytest.raises(ValueError, match="`first_blocks` must be at least 1 .* first_blocks=0"):
        headless.fit(
            batch()[0], np.ones((4, 5)), verbose=0, callbacks=[kt.training.GradualUnfreezing()]
        )
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="`model` must have a layer named `encoder` or `decoder`"):
        kt.training.freeze(plain)
    kt.training.enable_lora(model, 2)
    with pytest.raises(ValueError, match="`model` must have no adapters"):
        kt.training.freeze(model)
    with pytest.raises(ValueError, match="`model` must have no adapters"):
        kt.training.unfreeze(model)
