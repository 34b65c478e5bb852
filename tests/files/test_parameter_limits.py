import threading

import keras
import pytest

import keras_transformer as kt
from keras_transformer.files import parameter_limit

MESSAGE = r"`config.json` must describe a model whose values are in its files. Received: a variable"


def test_a_model_within_the_limit():
    with parameter_limit(0, "config.json"):
        layer = keras.layers.Dense(5)
        layer.build((None, 3))
    assert layer.count_params() == 20


@pytest.mark.parametrize(
    "build",
    [
        lambda: keras.layers.Dense(10**9).build((None, 10**9)),
        lambda: keras.layers.Embedding(10**12, 1).build((None, 3)),
        lambda: kt.models.gpt(7, 1, 1, hidden_dim=10**9, intermediate_dim=11, max_length=13),
        lambda: kt.models.gpt(7, 1, 2, hidden_dim=6, intermediate_dim=10**9, max_length=13),
        lambda: kt.models.gpt(10**9, 1, 2, hidden_dim=6, intermediate_dim=11, max_length=13),
        lambda: kt.models.transformer(7, num_layers=1, num_heads=1, hidden_dim=10**9),
        lambda: kt.models.vit(10**6, 10, 3, num_layers=1, num_heads=1, hidden_dim=6),
    ],
)
def test_a_variable_beyond_the_limit(build):
    with pytest.raises(ValueError, match=f"{MESSAGE} of shape .* in the layer .*hold 1000 values"):
        with parameter_limit(1000, "config.json"):
            build()


def test_variables_count_together():
    with pytest.raises(ValueError, match=MESSAGE):
        with parameter_limit(1000, "config.json"):
            for _ in range(20):
                keras.layers.Dense(300).build((None, 300))


def test_the_limit_ends_with_its_context_and_does_not_reach_other_threads():
    usual = keras.layers.Layer.add_weight
    built, failed = keras.layers.Embedding(1100, 1000), keras.layers.Embedding(1100, 1000)
    with parameter_limit(0, "config.json"):
        thread = threading.Thread(target=built.build, args=((None, 3),))
        thread.start()
        thread.join()
        with parameter_limit(10**6, "inner.json"):
            keras.layers.Embedding(1100, 1000).build((None, 3))
        with pytest.raises(ValueError, match=MESSAGE):
            failed.build((None, 3))
    assert built.built and not failed.built
    assert keras.layers.Layer.add_weight is usual
    keras.layers.Embedding(1100, 1000).build((None, 3))
