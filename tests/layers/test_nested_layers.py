"""What became of the layers inside a layer since they were made is saved with it."""

import copy
import json

import keras
import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.layers.nested_layers import all_layers, inner_layers, states_of
from tests.harness import assert_close, make_decoder, make_encoder, randomize
from tests.layers.cases import CASES, given

B, T, D = 2, 5, 12


def encoder(**arguments):
    return make_encoder(
        3,
        2,
        7,
        positional_encoding=kt.layers.LearnedPositionalEmbedding(11),
        relative_positions="shaw",
        **arguments,
    )


def model_of(layer):
    inputs = keras.Input((None, D))
    return keras.Model(inputs, layer(inputs))


def revived(model, how, folder):
    if how == "keras":
        model.save(folder / "model.keras")
        return keras.saving.load_model(folder / "model.keras")
    if how == "clone":
        other = keras.models.clone_model(model)
    else:
        config = json.loads(json.dumps(model.get_config()))
        other = type(model).from_config(config)
    other.set_weights(model.get_weights())
    return other


WAYS = ("keras", "clone", "config")


@pytest.mark.parametrize("name", CASES)
def test_a_new_layer_has_nothing_to_say_of_its_sublayers(name):
    layer_class, arguments, inputs, *_ = CASES[name]
    brings_a_policy = any(isinstance(value, keras.layers.Layer) for value in arguments.values())
    for policy in (None,) if brings_a_policy else (None, "mixed_bfloat16"):
        layer, tensors = layer_class(**arguments, dtype=policy), given(inputs)
        assert states_of(layer, layer_class) == {}
        layer(tensors[""]) if "" in tensors else layer(**tensors)
        assert states_of(layer, layer_class) == {}
        assert "sublayers" not in layer.get_config()


def test_all_layers_are_found_once():
    model = model_of(encoder())
    paths = [inner.path for inner in inner_layers(model)]
    assert len(paths) == len(set(paths)) == len(all_layers(model)) - 1
    assert any(path.endswith("block_2/self_attention/attention/query") for path in paths)
    found = {id(weight) for layer in all_layers(model) for weight in layer.weights}
    assert found == {id(weight) for weight in model.weights}


def flags(model):
    return {one.path: one.layer.trainable for one in inner_layers(model.get_layer("encoder"))}


def freeze_a_block(stack):
    stack.blocks[1].trainable = False


def freeze_a_kernel_of_attention(stack):
    stack.blocks[0].self_attention.attention.query_dense.trainable = False
    stack.blocks[2].feed_forward.trainable = False


def freeze_all_but_one(stack):
    for block in stack.blocks:
        block.trainable = False
    stack.blocks[2].feed_forward_norm.trainable = True  # which trains, in a frozen block
    stack.blocks[1].trainable = True


def freeze_the_positions(stack):
    stack.positional_encoding.trainable = False


def freeze_the_stack(stack):
    stack.trainable = False


CHANGES = (
    freeze_a_block,
    freeze_a_kernel_of_attention,
    freeze_all_but_one,
    freeze_the_positions,
    freeze_the_stack,
)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_frozen_stays_frozen(change, how, tmp_path):
    model = model_of(encoder(name="encoder"))
    change(model.get_layer("encoder"))
    frozen = {weight.path for weight in model.weights} - {w.path for w in model.trainable_weights}
    assert frozen
    other = revived(model, how, tmp_path)
    assert {w.path for w in other.trainable_weights} == {w.path for w in model.trainable_weights}
    again = revived(other, "config", tmp_path)  # what was saved once more
    assert len(again.trainable_weights) == len(model.trainable_weights)
    # What thaws as a whole, thaws.
    for one in (model, other):
        one.trainable = True
    assert flags(other) == flags(model)


@pytest.mark.parametrize("how", WAYS)
def test_dtype_policy_of_a_sublayer_is_saved(how, tmp_path):
    stack = encoder(name="encoder", dtype="mixed_bfloat16")
    stack.blocks[1].feed_forward.dtype_policy = "float32"
    model = model_of(stack)
    other = revived(model, how, tmp_path).get_layer("encoder")
    assert other.blocks[1].feed_forward.compute_dtype == "float32"
    assert other.blocks[0].feed_forward.compute_dtype == "bfloat16"


def test_config_of_a_layer_that_is_not_built_keeps_what_waits():
    layer = encoder()
    layer.build((None, None, D))
    freeze_a_kernel_of_attention(layer)
    config = layer.get_config()
    twice = kt.layers.TransformerEncoder.from_config(config)
    assert twice.get_config() == config
    twice.build((None, None, D))
    assert not twice.blocks[0].self_attention.attention.query_dense.trainable
    assert twice.blocks[0].self_attention.attention.key_dense.trainable
    assert twice.get_config() == config


# === Layers that two stacks share ===


def translator_with_shared_positions(positions):
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in "st")
    embedding = kt.layers.TokenEmbedding(20, 8)
    encoded = make_encoder(1, 2, 16, positional_encoding=positions, name="encoder")(
        embedding(source)
    )
    decoded = make_decoder(1, 2, 16, positional_encoding=positions, name="decoder")(
        embedding(target), encoded
    )
    return keras.Model({"s": source, "t": target}, embedding(decoded, reverse=True))


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_positions_that_two_stacks_share_are_shared_by_their_copies(how, tmp_path):
    model = translator_with_shared_positions(kt.layers.LearnedPositionalEmbedding(16))
    randomize(model)
    x = {"s": np.array([[5, 6, 3]]), "t": np.array([[2, 7, 8]])}
    first, second = (revived(model, how, tmp_path) for _ in range(2))
    third = revived(first, how, tmp_path)  # a copy of the copy
    tables = set()
    for other in (first, second, third):
        own = [other.get_layer(name).positional_encoding for name in ("encoder", "decoder")]
        assert own[0] is own[1]
        tables.add(id(own[0]))
        assert len(other.weights) == len(model.weights)
        assert_close(other(x), model(x), tolerance=1e-6)
    assert len(tables) == 3
    assert model.get_layer("encoder").positional_encoding not in tables


def test_positions_that_are_not_shared_stay_apart(tmp_path):
    layer = kt.layers.LearnedPositionalEmbedding(16)
    alone = make_encoder(1, 2, 16, positional_encoding=layer, name="encoder")
    config = alone.get_config()
    copies = [kt.layers.TransformerEncoder.from_config(config) for _ in range(2)]
    assert len({id(one.positional_encoding) for one in [alone, *copies]}) == 3
    assert "shared_object_id" not in config["positional_encoding"]


def test_a_copy_of_another_dtype_policy_is_not_shared():
    model = translator_with_shared_positions(kt.layers.LearnedPositionalEmbedding(16))
    encoder, decoder = (model.get_layer(name).get_config() for name in ("encoder", "decoder"))
    half = copy.deepcopy(encoder)
    half["positional_encoding"]["config"]["dtype"] = "mixed_float16"
    other = kt.layers.TransformerEncoder.from_config(half)
    again = kt.layers.TransformerDecoder.from_config(decoder)
    assert again.positional_encoding is not other.positional_encoding
    assert again.get_config() == decoder
