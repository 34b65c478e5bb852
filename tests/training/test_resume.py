"""Frozen, adapted and penalized weights and accumulated gradients survive an interruption."""

import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from keras_transformer.layers.nested_layers import all_layers
from keras_transformer.training.model_state import describe_state, restore_state
from tests.training.model_kinds import KINDS, V, small_gpt

IDS = np.random.default_rng(3).integers(4, V, 60)


def batches():
    return kt.data.LanguageModelBatches(IDS, length=7, batch_size=4, seed=2)


def compiled(model, optimizer=None, loss=None, **more):
    optimizer = optimizer or kt.training.DecoupledAdamW(0.01, weight_decay=0.1, **more)
    loss = loss or kt.training.MaskedCrossentropy()
    # On TensorFlow a step of such a model takes less time than tracing it.
    eagerly = keras.backend.backend() == "tensorflow"
    model.compile(
        optimizer, loss, run_eagerly=eagerly, jit_compile=keras.backend.backend() == "jax"
    )
    return model


def frozen_in_half_precision():
    model = small_gpt(2, dtype="mixed_float16")  # whose loss is scaled
    kt.training.freeze(model, up_to=1)
    return compiled(model)


def partly_frozen_and_penalized():
    model = small_gpt(2)
    lower, upper = model.get_layer("decoder").blocks
    upper.feed_forward.trainable = False
    # One weight of a layer, and a layer that trains inside of a frozen one.
    upper.self_attention_norm.gamma.trainable = False
    lower.trainable = False
    lower.self_attention_norm.trainable = True
    kt.training.add_l2(model, 0.1)
    return compiled(model, keras.optimizers.SGD(0.1))


def adapted(dtype="mixed_bfloat16", **more):
    model = small_gpt(2, dtype=dtype)
    kt.training.enable_lora(model, rank=2, alpha=3, trainable=("final_norm",))
    return compiled(model, **more)


def chunked():
    model = small_gpt(2)
    kt.training.enable_lora(model, rank=2)
    return compiled(kt.training.ChunkedLossModel(model, chunk_size=5))


MODES = {
    "frozen": frozen_in_half_precision,
    "partly_frozen": partly_frozen_and_penalized,
    "averaged": lambda: adapted(use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3),
    "accumulated": lambda: adapted("bfloat16", gradient_accumulation_steps=2),
    "chunked": chunked,
    "gradual": lambda: compiled(small_gpt(2)),
}


class StopAt(keras.callbacks.Callback):
    def __init__(self, left):
        super().__init__()
        self.left = left

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def fit(model, data, mode, callbacks=(), **more):
    if mode == "gradual":
        callbacks = [kt.training.GradualUnfreezing(first_blocks=1), *callbacks]
    model.fit(data, epochs=2, shuffle=False, verbose=0, callbacks=[*callbacks], **more)


def everything(model):
    """All variables of the model and its optimizer."""
    variables = [*model.weights, *model.optimizer.variables]
    return [np.array(ops.convert_to_numpy(ops.cast(x, "float32"))) for x in variables]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_an_interrupted_training_ends_as_one_that_is_not(tmp_path, mode):
    def start():
        keras.utils.set_random_seed(5)
        return MODES[mode]()

    whole = start()
    initial = everything(whole)
    fit(whole, batches(), mode)
    assert len(batches()) == 3
    model, data = start(), batches()
    save = kt.training.SaveTraining(tmp_path, data, every_batches=1)
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, mode, [save, StopAt(4)])
    del model
    keras.utils.set_random_seed(6)
    data = batches()
    again, epoch = kt.training.load_training(tmp_path, data)
    assert epoch == 1 and int(again.optimizer.iterations) == (2 if mode == "accumulated" else 4)
    save = kt.training.SaveTraining(tmp_path, data)
    fit(again, data, mode, [save], initial_epoch=epoch)
    assert describe_state(again) == describe_state(whole)
    assert int(again.optimizer.iterations) == int(whole.optimizer.iterations)
    expected = everything(whole)
    for one, other in zip(everything(again), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert any(np.abs(x - y).max() > 1e-3 for x, y in zip(initial, expected, strict=False))


@pytest.mark.slow
def test_the_files_of_a_training_are_those_of_its_last_state(tmp_path):
    model, data = adapted("float32"), batches()
    save = kt.training.SaveTraining(tmp_path, data, every_batches=2)
    fit(model, data, "adapted", [save])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["model-2-0.keras", "model-2-0.npz", "training.json"]
    # The model file by itself is a model without adapters, with the same outputs.
    loaded = keras.saving.load_model(tmp_path / "model-2-0.keras", compile=False)
    inputs = {"token_ids": IDS[:14].reshape(2, 7)}
    np.testing.assert_allclose(
        ops.convert_to_numpy(loaded(inputs)), ops.convert_to_numpy(model(inputs)), atol=1e-5
    )
    assert not any("lora" in weight.path for weight in loaded.weights)


@pytest.mark.slow
def test_a_training_of_an_older_version_is_loaded(tmp_path):
    model, data = compiled(small_gpt(2)), batches()
    fit(model, data, "", [kt.training.SaveTraining(tmp_path, data)])
    content = json.loads((tmp_path / "training.json").read_text())
    del content["state"], content["batches"]["steps_left"]
    (tmp_path / "training.json").write_text(json.dumps(content))
    again, epoch = kt.training.load_training(tmp_path, batches())
    assert epoch == 2
    for one, other in zip(everything(again), everything(model), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_of_every_kind_of_model(tmp_path, kind):
    model = KINDS[kind]().model
    every = all_layers(model)
    generator = np.random.default_rng(4)
    for layer in every:
        layer.trainable = bool(generator.random() < 0.7)
    for weight in model.weights:
        weight.trainable = bool(generator.random() < 0.7)
    state = json.loads(json.dumps(describe_state(model)))
    flags = [flag for _, flag, _ in state["weights"]]
    assert 0 < sum(flags) < len(flags) and len(set(state["layers"].values())) == 2
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    restore_state(loaded, state)
    assert describe_state(loaded) == state
    assert [w.trainable for w in loaded.weights] == flags
    assert len(loaded.trainable_weights) == len(model.trainable_weights)


def test_another_model_is_refused():
    state = describe_state(small_gpt(2))
    with pytest.raises(ValueError, match="must contain the training state.*different layers"):
        restore_state(KINDS["vit"]().model, state)
    with pytest.raises(ValueError, match="must contain the training state.*different weights"):
        restore_state(small_gpt(2, max_length=9), state)
