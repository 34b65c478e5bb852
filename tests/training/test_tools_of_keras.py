"""Keras's other tools for training: averaged weights, Muon, TensorBoard, KerasTuner."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.harness import BACKEND, token_ids

V = 23
IDS = token_ids(6, 8, vocabulary_size=V, low=1)
INPUTS, LABELS = {"token_ids": IDS[:, :-1]}, IDS[:, 1:]
SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(5)


def language_model(**more):
    return kt.models.gpt(V, max_length=7, dropout=0.0, **{**SIZES, **more})


def weights_of(model):
    return [np.array(ops.convert_to_numpy(weight)) for weight in model.trainable_weights]


def assert_equal(ones, others, tolerance=1e-5):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance, rtol=tolerance)


def averages(start, steps, momentum):
    """The weights after each step of plain SGD, and their moving average."""
    model = language_model()
    model.set_weights(start)
    model.compile(keras.optimizers.SGD(0.5), kt.training.MaskedCrossentropy())
    average = None
    for _ in range(steps):
        model.train_on_batch(INPUTS, LABELS)
        weights = weights_of(model)
        average = (
            weights
            if average is None
            else [
                momentum * old + (1 - momentum) * new
                for old, new in zip(average, weights, strict=True)
            ]
        )
    return weights, average


@pytest.mark.slow
def test_averaged_weights_are_evaluated_saved_and_kept(tmp_path):
    model = language_model()
    start = model.get_weights()
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.7)
    model.compile(optimizer, kt.training.MaskedCrossentropy())
    best = tmp_path / "{epoch}.weights.h5"
    history = model.fit(
        INPUTS,
        LABELS,
        batch_size=6,
        epochs=3,
        validation_data=(INPUTS, LABELS),
        callbacks=[
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            keras.callbacks.ModelCheckpoint(best, save_weights_only=True),
        ],
        verbose=0,
    ).history
    for epoch in (1, 2, 3):
        last, average = averages(start, epoch, 0.7)
        if epoch > 1:
            assert max(np.abs(x - y).max() for x, y in zip(last, average, strict=True)) > 1e-3
        other = language_model()
        other.load_weights(tmp_path / f"{epoch}.weights.h5")
        other.compile(loss=kt.training.MaskedCrossentropy())
        assert_equal(weights_of(other), average)
        loss = other.evaluate(INPUTS, LABELS, verbose=0)
        assert history["val_loss"][epoch - 1] == pytest.approx(loss, rel=1e-4)
    assert_equal(weights_of(model), average)


@pytest.mark.parametrize("freeze", [False, True])
def test_averages_of_a_partly_frozen_or_adapted_model(freeze):
    model = language_model(num_layers=2)
    if freeze:
        kt.training.freeze(model, up_to=1)
    else:
        kt.training.enable_lora(model, rank=2)
    fixed = [weight for weight in model.weights if not weight.trainable]
    before = [np.array(ops.convert_to_numpy(weight)) for weight in fixed]
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.7)
    model.compile(optimizer, kt.training.MaskedCrossentropy())
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    model.fit(INPUTS, LABELS, epochs=2, callbacks=[swap], verbose=0)
    assert_equal([np.array(ops.convert_to_numpy(weight)) for weight in fixed], before, 0.0)
    assert np.isfinite(model.evaluate(INPUTS, LABELS, verbose=0))


MUON = {
    "gpt": (language_model, []),
    "untied gpt": (lambda: language_model(share_embeddings=False), ["logits"]),
}


@pytest.mark.parametrize("name", MUON)
def test_muon_turns_kernels_and_leaves_embeddings_and_logits_to_adam(name):
    build, heads = MUON[name]
    model = build()
    before = weights_of(model)
    rate = 0.01
    model.compile(
        keras.optimizers.Muon(
            rate,
            exclude_layers=heads,
            weight_decay=0.0,
            adam_weight_decay=0.0,
            epsilon=1e-12,
            rms_rate=None,
        ),
        kt.training.MaskedCrossentropy(),
    )
    losses = [float(model.train_on_batch(INPUTS, LABELS))]
    kinds = {"muon": 0, "adam": 0}
    for weight, old, new in zip(model.trainable_weights, before, weights_of(model), strict=True):
        change = (new - old) / rate
        if "embedding" in weight.path or len(weight.shape) != 2 or weight.path.startswith("logits"):
            kinds["adam"] += 1
            if weight.path.endswith("key/bias"):
                continue  # softmax is invariant to it: its gradient is only rounding error
            # Adam's first step has the rate's size wherever there is a gradient.
            moved = np.abs(change)[np.abs(change) > 1e-2]
            np.testing.assert_allclose(moved, 1.0, atol=0.05)
        else:
            kinds["muon"] += 1
            # Newton and Schulz's iteration takes the singular values near 1, except tiny ones.
            singular = np.linalg.svd(change, compute_uv=False)
            assert np.median(singular) > 0.5 * singular[0]
            assert np.median(np.abs(np.abs(change) - 1.0)) > 0.3  # unlike Adam's
    assert kinds["muon"] == 6 and kinds["adam"] > 6
    losses += [float(model.train_on_batch(INPUTS, LABELS)) for _ in range(20)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.slow
def test_tensorboard_records_losses_and_weights(tmp_path):
    pytest.importorskip("tensorflow")  # Keras's callback writes with it, whatever the backend
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    model = language_model()
    model.compile(**kt.training.gpt1_finetuning_recipe(total_steps=4))
    board = keras.callbacks.TensorBoard(tmp_path, histogram_freq=1, write_graph=True)
    history = model.fit(
        INPUTS, LABELS, epochs=2, validation_data=(INPUTS, LABELS), callbacks=[board], verbose=0
    ).history
    for part, prefix in (("train", ""), ("validation", "val_")):
        events = EventAccumulator(str(tmp_path / part))
        events.Reload()
        values = [float(make_ndarray(event.tensor_proto)) for event in events.Tensors("epoch_loss")]
        assert values == pytest.approx(history[f"{prefix}loss"])
        if part == "train":
            kernels = [tag for tag in events.Tags()["tensors"] if "kernel" in tag]
            assert len(kernels) == 6


@pytest.mark.slow
# It stores the optimizer's state too, but restores only the weights.
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_keras_tuner_finds_and_restores_the_best_model(tmp_path):
    import keras_tuner

    def build(choices):
        model = kt.models.gpt(
            V,
            num_layers=1,
            num_heads=choices.Choice("num_heads", [1, 2]),
            hidden_dim=choices.Choice("hidden_dim", [8, 16]),
            intermediate_dim=16,
            max_length=7,
            dropout=0.0,
        )
        optimizer = keras.optimizers.Adam(choices.Choice("rate", [1e-6, 1e-2]))
        loss = kt.training.MaskedCrossentropy()
        model.compile(optimizer, loss, jit_compile=BACKEND == "jax")
        return model

    tuner = keras_tuner.RandomSearch(
        build, "val_loss", max_trials=3, seed=3, directory=tmp_path, project_name="search"
    )
    data = (INPUTS, LABELS)
    tuner.search(*data, validation_data=data, epochs=3, batch_size=3, verbose=0)
    trials = tuner.oracle.get_best_trials(3)
    scores = [trial.score for trial in trials]
    assert len(trials) == 3 and scores == sorted(scores) and scores[0] < scores[-1]
    best = tuner.get_best_models(1)[0]
    assert best.evaluate(*data, verbose=0) == pytest.approx(scores[0], rel=1e-4)
