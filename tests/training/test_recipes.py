"""Tests of the papers' training settings."""

import keras
import numpy as np
import pytest

from keras_transformer.training import (
    DecoupledAdamW,
    MaskedAccuracy,
    MaskedCrossentropy,
    NoamSchedule,
    Perplexity,
    bert_finetuning_recipe,
    gpt1_finetuning_recipe,
    gpt1_pretraining_recipe,
    transformer_recipe,
)


def test_transformer_recipe_is_the_papers():
    recipe = transformer_recipe(hidden_dim=512)
    assert set(recipe) == {"optimizer", "loss", "metrics"}
    optimizer = recipe["optimizer"]
    assert isinstance(optimizer, keras.optimizers.Adam)
    config = optimizer.get_config()
    expected = {"beta_1": 0.9, "beta_2": 0.98, "epsilon": 1e-9, "weight_decay": None}
    clipping = {"clipnorm": None, "clipvalue": None, "global_clipnorm": None}
    assert {**expected, **clipping}.items() <= config.items()
    assert config["learning_rate"]["config"] == NoamSchedule(512, 4000, 1.0).get_config()
    assert recipe["loss"].get_config() == MaskedCrossentropy(0.1, "all_classes").get_config()
    assert [type(metric) for metric in recipe["metrics"]] == [MaskedAccuracy, Perplexity]


def test_transformer_recipe_passes_its_arguments_on():
    recipe = transformer_recipe(
        8, 30, label_smoothing=0.2, scale=2.0, smoothing_spread="wrong_classes", padding_id=5
    )
    schedule = recipe["optimizer"].get_config()["learning_rate"]["config"]
    assert schedule == NoamSchedule(8, 30, 2.0).get_config()
    assert recipe["loss"].get_config() == MaskedCrossentropy(0.2, "wrong_classes", 5).get_config()
    assert [metric.padding_id for metric in recipe["metrics"]] == [5, 5]


def test_learning_rate_replaces_the_schedule():
    constant = transformer_recipe(8, learning_rate=0.25)["optimizer"]
    assert float(keras.ops.convert_to_numpy(constant.learning_rate)) == 0.25
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.5)
    config = transformer_recipe(8, learning_rate=schedule)["optimizer"].get_config()
    assert config["learning_rate"]["class_name"] == "ExponentialDecay"


def test_gpt1_recipe_is_the_papers():
    recipe = gpt1_pretraining_recipe(total_steps=10_000)
    assert set(recipe) == {"optimizer", "loss", "metrics"}
    optimizer = recipe["optimizer"]
    assert type(optimizer) is DecoupledAdamW
    config = optimizer.get_config()
    expected = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01}
    assert expected.items() <= config.items()
    assert set(config["exclude"]) >= {"bias", "gamma", "beta"}
    schedule = {"peak_learning_rate": 2.5e-4, "warmup_steps": 2000, "total_steps": 10_000}
    assert config["learning_rate"]["config"] == {**schedule, "final_learning_rate": 0.0}
    assert recipe["loss"].get_config() == MaskedCrossentropy().get_config()


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`total_steps` must be larger than `warmup_steps`"):
        gpt1_pretraining_recipe(total_steps=2000)
    with pytest.raises(ValueError, match="`hidden_dim` must be"):
        transformer_recipe(hidden_dim=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        lambda: transformer_recipe(16, warmup_steps=20),
        lambda: gpt1_pretraining_recipe(60, 10, peak_learning_rate=0.05),
    ],
)
def test_fit_then_reload_and_go_on(tmp_path, recipe):
    keras.utils.set_random_seed(5)
    layers = [keras.layers.Embedding(11, 16), keras.layers.Dense(11)]
    model = keras.Sequential([keras.Input((None,), dtype="int32"), *layers])
    model.compile(**recipe())
    tokens = np.random.default_rng(1).integers(1, 11, size=(6, 7)).astype("int32")
    history = model.fit(tokens, tokens, batch_size=3, epochs=25, verbose=0).history
    assert history["masked_accuracy"][-1] > 0.9
    assert history["perplexity"][-1] < 0.5 * history["perplexity"][0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    results = [m.evaluate(tokens, tokens, verbose=0, return_dict=True) for m in (model, again)]
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    updates = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    assert int(keras.ops.convert_to_numpy(again.optimizer.iterations)) == updates == 50
    again.fit(tokens, tokens, verbose=0)


def test_gpt1_finetuning_is_the_papers():
    recipe = gpt1_finetuning_recipe(total_steps=1000)
    optimizer = recipe["optimizer"]
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.9, 0.999, 1e-8)
    assert optimizer.weight_decay == 0.01 and optimizer.global_clipnorm == 1.0
    schedule = optimizer.get_config()["learning_rate"]["config"]
    assert schedule["peak_learning_rate"] == 6.25e-5
    assert (schedule["warmup_steps"], schedule["total_steps"]) == (2, 1000)
    bert = bert_finetuning_recipe(total_steps=1000)["optimizer"].get_config()
    schedule = bert["learning_rate"]["config"]
    assert schedule["peak_learning_rate"] == 5e-5
    assert (schedule["warmup_steps"], schedule["total_steps"]) == (100, 1000)
    assert (bert["beta_2"], bert["epsilon"], bert["weight_decay"]) == (0.999, 1e-8, 0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warmup_fraction": 1.0}, r"`warmup_fraction` must be in the range \[0, 1\)"),
        ({"clip_norm": 0.0}, "`clip_norm` must be a finite number > 0. Received: clip_norm=0.0"),
        ({"weight_decay": -1.0}, "`weight_decay` must be a finite number >= 0"),
    ],
)
def test_gpt1_finetuning_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        gpt1_finetuning_recipe(total_steps=10, **arguments)
