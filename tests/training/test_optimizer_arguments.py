"""Accumulated gradients, clipped gradients, and the schedules that count updates."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND, to_numpy, token_ids

V, D, ROWS, LENGTH, STEPS = 13, 6, 2, 5, 3
SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": D, "intermediate_dim": 7, "dropout": 0.0}


def make_model(**arguments):
    keras.utils.set_random_seed(11)
    return kt.models.transformer(V, **SIZES, **arguments)


def compiled(model, **recipe):
    model.compile(**recipe, jit_compile=BACKEND == "jax")
    return model


def batches(count, padding=()):
    """`count` batches of ROWS rows each, concatenated; the rows in `padding` end early."""
    target = token_ids(count * ROWS, LENGTH + 1, vocabulary_size=V)
    for row in padding:
        target[row, 2:] = 0
    source = token_ids(count * ROWS, 3, vocabulary_size=V, seed=1)
    return {"source_ids": source, "target_ids": target[:, :-1]}, target[:, 1:]


def fit(model, data, batch_size):
    inputs, labels = data
    model.fit(inputs, labels, batch_size=batch_size, shuffle=False, verbose=0)
    return to_numpy([weight.value for weight in model.trainable_weights])


def distance(weights, others):
    return max(np.abs(one - other).max() for one, other in zip(weights, others, strict=True))


OPTIMIZERS = {
    "sgd": lambda **more: keras.optimizers.SGD(0.1, momentum=0.9, **more),
    "adam": lambda **more: keras.optimizers.Adam(0.01, epsilon=1e-4, **more),
    "adamw": lambda **more: kt.training.DecoupledAdamW(0.01, 0.1, epsilon=1e-4, **more),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_accumulated_batches_are_one_large_batch(name):
    """With a separate source embedding, whose gradient is sparse on TensorFlow."""
    loss = kt.training.MaskedCrossentropy()
    results = []
    for steps in (None, STEPS):
        model = make_model(share_embeddings=False)
        start = to_numpy([weight.value for weight in model.trainable_weights])
        optimizer = OPTIMIZERS[name](gradient_accumulation_steps=steps, global_clipnorm=0.3)
        compiled(model, optimizer=optimizer, loss=loss)
        rows = ROWS if steps else ROWS * STEPS
        results.append(fit(model, batches(2 * STEPS), rows))  # two updates
    assert distance(*results) < 2e-6
    assert distance(results[0], start) > 1e-3


RECIPES = {
    "transformer": lambda **more: kt.training.transformer_recipe(D, warmup_steps=4, **more),
    "gpt1": lambda **more: kt.training.gpt1_pretraining_recipe(9, 4, 0.01, **more),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_recipes_accumulate_and_their_schedules_count_updates(name):
    results, rates, updates = [], [], []
    for steps in (None, STEPS):
        recipe = RECIPES[name](gradient_accumulation_steps=steps, clip_norm=0.5)
        # The two ways to compute one sum differ by rounding, which a tiny epsilon would amplify.
        recipe["optimizer"].epsilon = 1e-4
        model = compiled(make_model(), **recipe)
        results.append(fit(model, batches(4 * STEPS), ROWS if steps else ROWS * STEPS))
        rates.append(float(to_numpy(keras.ops.convert_to_tensor(model.optimizer.learning_rate))))
        updates.append(int(to_numpy(keras.ops.convert_to_tensor(model.optimizer.iterations))))
    assert updates == [4, 4]
    assert rates[0] == pytest.approx(rates[1])
    assert distance(*results) < 1e-5


@pytest.mark.slow
def test_nothing_moves_before_the_last_batch_of_an_update():
    model = make_model()
    start = to_numpy([weight.value for weight in model.trainable_weights])
    # Decay, too, waits for the update.
    optimizer = kt.training.DecoupledAdamW(0.1, 0.5, gradient_accumulation_steps=3)
    compiled(model, optimizer=optimizer, loss=kt.training.MaskedCrossentropy())
    assert distance(fit(model, batches(2), ROWS), start) == 0.0
    assert distance(fit(model, batches(1), ROWS), start) > 0.01


@pytest.mark.slow
def test_with_unequal_padding_each_batch_weighs_the_same():
    """An update uses the mean of the batches' means, not the mean over all of its tokens."""
    loss = kt.training.MaskedCrossentropy()
    data = batches(2, padding=(2, 3))

    def step(optimizer, batch_size, sample_weight=None):
        model = compiled(make_model(), optimizer=optimizer, loss=loss)
        inputs, labels = data
        model.fit(
            inputs,
            labels,
            sample_weight=sample_weight,
            batch_size=batch_size,
            shuffle=False,
            verbose=0,
        )
        return to_numpy([weight.value for weight in model.trainable_weights])

    accumulated = step(keras.optimizers.SGD(0.5, gradient_accumulation_steps=2), ROWS)
    whole = step(keras.optimizers.SGD(0.5), 2 * ROWS)
    assert distance(accumulated, whole) > 1e-3
    counts = (data[1] != 0).reshape(2, -1).sum(axis=1)  # tokens of either batch
    weights = np.repeat(1.0 / counts, ROWS).astype("float32")
    assert distance(accumulated, step(keras.optimizers.SGD(0.5), 2 * ROWS, weights)) < 1e-6


@pytest.mark.slow
def test_clipping_clips():
    norms = []
    for clip_norm in (None, 0.05):
        model = make_model(share_embeddings=False)
        start = to_numpy([weight.value for weight in model.trainable_weights])
        recipe = kt.training.transformer_recipe(D, clip_norm=clip_norm)
        optimizer = keras.optimizers.SGD(1.0, global_clipnorm=recipe["optimizer"].global_clipnorm)
        compiled(model, **{**recipe, "optimizer": optimizer})
        moved = fit(model, batches(2), 2 * ROWS)
        pairs = zip(moved, start, strict=True)
        norms.append(float(np.sqrt(sum(((one - other) ** 2).sum() for one, other in pairs))))
    assert norms[0] > 0.1
    assert norms[1] == pytest.approx(0.05, rel=1e-3)


@pytest.mark.slow
def test_loss_scaling_does_not_reach_the_clipping():
    """Gradients are clipped after the scale of float16 has been taken off."""
    norms = []
    for scale in (None, 2.0**12):
        model = make_model(share_embeddings=False)
        start = to_numpy([weight.value for weight in model.trainable_weights])
        optimizer = keras.optimizers.SGD(1.0, global_clipnorm=0.05, gradient_accumulation_steps=2)
        if scale:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, scale)
        compiled(model, optimizer=optimizer, loss=kt.training.MaskedCrossentropy())
        pairs = zip(fit(model, batches(2), ROWS), start, strict=True)
        norms.append(float(np.sqrt(sum(((one - other) ** 2).sum() for one, other in pairs))))
    assert norms == pytest.approx([0.05, 0.05], rel=1e-3)


def test_schedule_counts_updates():
    inner = kt.training.NoamSchedule(8, warmup_steps=3)
    schedule = kt.training.AccumulationSchedule(inner, 4)
    rates = [float(to_numpy(schedule(step))) for step in range(12)]
    expected = [float(to_numpy(inner(step // 4))) for step in range(12)]
    assert rates == expected
    assert len(set(rates)) == 3


def test_schedule_is_saved():
    schedule = kt.training.AccumulationSchedule(kt.training.NoamSchedule(8), 4)
    optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=4)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    assert again.gradient_accumulation_steps == 4


@pytest.mark.parametrize("steps", [None, 1])
def test_one_batch_to_an_update_is_the_plain_recipe(steps):
    optimizer = kt.training.transformer_recipe(8, gradient_accumulation_steps=steps)["optimizer"]
    assert optimizer.gradient_accumulation_steps is None
    assert optimizer.get_config()["learning_rate"]["class_name"] == "NoamSchedule"


def test_recipes_hand_their_arguments_to_the_optimizer():
    more = {"gradient_accumulation_steps": 4, "clip_norm": 0.5}
    for recipe in (
        kt.training.transformer_recipe(8, **more),
        kt.training.gpt1_pretraining_recipe(9, 4, **more),
        kt.training.gpt1_finetuning_recipe(9, **more),
        kt.training.bert_finetuning_recipe(9, **more),
    ):
        optimizer = recipe["optimizer"]
        assert optimizer.gradient_accumulation_steps == 4
        assert optimizer.global_clipnorm == 0.5
        assert optimizer.get_config()["learning_rate"]["class_name"] == "AccumulationSchedule"
    constant = kt.training.transformer_recipe(8, learning_rate=0.1, **more)["optimizer"]
    assert float(to_numpy(keras.ops.convert_to_tensor(constant.learning_rate))) == np.float32(0.1)
    assert (
        kt.training.gpt1_finetuning_recipe(9, clip_norm=None)["optimizer"].global_clipnorm is None
    )


def test_bad_arguments_are_refused():
    for steps in (0, True, 1.5):
        with pytest.raises(ValueError, match=f"`gradient_accumulation_steps` must .*={steps!r}"):
            kt.training.transformer_recipe(8, gradient_accumulation_steps=steps)
    with pytest.raises(
        ValueError, match="`clip_norm` must be a finite number > 0. Received: clip_norm=-1.0"
    ):
        kt.training.gpt1_pretraining_recipe(9, 4, clip_norm=-1.0)
    with pytest.raises(ValueError, match="`schedule` must be a LearningRateSchedule. Rec.*=0.1"):
        kt.training.AccumulationSchedule(0.1, 4)
