"""Keras draws our models; what it needs for that comes with the extra `viz`."""

import tomllib

import keras
import pytest

import keras_transformer as kt
from tests.harness import REPOSITORY

SMALL = {"hidden_dim": 8, "intermediate_dim": 16}
MODELS = {
    "gpt": lambda: kt.models.gpt(20, 1, 2, **SMALL),
    "transformer": lambda: kt.models.transformer(20, num_layers=1, num_heads=2, **SMALL),
    "bert": lambda: kt.models.bert(20, 1, 2, masked_lm=True, **SMALL),
    "vit": lambda: kt.models.vit(8, 4, 3, num_layers=1, num_heads=2, **SMALL),
    "recurrent": lambda: kt.models.recurrent_seq2seq(20, attention="luong", hidden_dim=8),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_is_in_the_drawing(name):
    model = MODELS[name]()
    drawing = keras.utils.model_to_dot(model, show_shapes=True, show_layer_names=True)
    text = drawing.to_string()
    for layer in model.layers:
        assert layer.name in text


def test_what_draws_comes_with_an_extra():
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert any(line.startswith("pydot") for line in extras["optional-dependencies"]["viz"])
