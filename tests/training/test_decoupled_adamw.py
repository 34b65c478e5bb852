"""Tests of AdamW that excludes some variables from weight decay."""

import keras
import numpy as np
import pytest

from keras_transformer.training import DecoupledAdamW, NoamSchedule


def small_model():
    # Layers with misleading names: only a variable's own name counts.
    return keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(7, 3, name="beta"),
            keras.layers.LayerNormalization(name="layer_norm"),
            keras.layers.Dense(2, name="bias_gamma"),
        ],
        name="gamma",
    )


def decays(model):
    """Returns each weight's factor over one step whose gradient is zero."""
    model.set_weights([np.ones(weight.shape) for weight in model.weights])
    model.train_on_batch(np.ones((1, 5), "int32"), np.zeros((1, 5, 2)))
    return {
        f"{layer.name}/{weight.name}": float(keras.ops.convert_to_numpy(weight).flat[0])
        for layer in model.layers
        for weight in layer.weights
    }


@keras.saving.register_keras_serializable(package="keras_transformer_tests")
def no_loss(y_true, y_pred):
    return 0.0 * keras.ops.mean(y_pred, axis=-1)


def compiled(optimizer):
    model = small_model()
    model.compile(optimizer=optimizer, loss=no_loss, jit_compile=keras.backend.backend() == "jax")
    return model


DECAYED = {"beta/embeddings": 0.95, "bias_gamma/kernel": 0.95}
KEPT = {"layer_norm/gamma": 1.0, "layer_norm/beta": 1.0, "bias_gamma/bias": 1.0}


def test_decays_weights_but_not_biases_and_gains():
    model = compiled(DecoupledAdamW(0.1, weight_decay=0.5))
    assert decays(model) == pytest.approx({**DECAYED, **KEPT})


def test_still_excludes_after_reloading(tmp_path):
    model = compiled(DecoupledAdamW(0.1, weight_decay=0.5, exclude=("kernel", "gamma")))
    expected = {
        "beta/embeddings": 0.95,
        "bias_gamma/kernel": 1.0,
        "layer_norm/gamma": 1.0,
        "layer_norm/beta": 0.95,
        "bias_gamma/bias": 0.95,
    }
    assert decays(model) == pytest.approx(expected)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is DecoupledAdamW
    assert decays(again) == pytest.approx(expected)


def test_only_whole_names_match():
    model = compiled(DecoupledAdamW(0.1, weight_decay=0.5, exclude=("bia", "kern.l", "amma")))
    assert list(decays(model).values()) == pytest.approx([0.95] * 5)


def test_exclude_nothing():
    model = compiled(DecoupledAdamW(0.1, weight_decay=0.5, exclude=()))
    assert list(decays(model).values()) == pytest.approx([0.95] * 5)


def test_inside_a_loss_scale_optimizer():
    inner = DecoupledAdamW(0.1, weight_decay=0.5)
    model = compiled(keras.optimizers.LossScaleOptimizer(inner))
    assert decays(model) == pytest.approx({**DECAYED, **KEPT})


def test_serialization():
    optimizer = DecoupledAdamW(
        NoamSchedule(8), 0.02, exclude=["bias"], beta_2=0.98, global_clipnorm=1.0, name="mine"
    )
    config = keras.optimizers.serialize(optimizer)
    assert config["registered_name"] == "keras_transformer>DecoupledAdamW"
    again = keras.optimizers.deserialize(config)
    assert again.get_config() == optimizer.get_config()
    assert again.exclude == ("bias",)
    assert again.get_config()["weight_decay"] == 0.02


def test_messages():
    with pytest.raises(ValueError, match="`exclude` must be a collection .* exclude='bias'"):
        DecoupledAdamW(exclude="bias")
    for weight_decay in (None, -0.1):
        with pytest.raises(ValueError, match=f"`weight_decay` must be .*={weight_decay}"):
            DecoupledAdamW(weight_decay=weight_decay)
