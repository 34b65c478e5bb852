"""The factories: exact sizes, shared weights, what Keras can do with the models."""

import importlib.util
import shutil

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import normal, to_numpy, token_ids
from tests.laws.models import NAMES, SOURCE_V, V, get_case, make_case

B, T, S = 2, 5, 7


def inputs_of(case):
    target = token_ids(B, T, vocabulary_size=V)
    if not case.is_translator:
        return {"token_ids": target}
    return {"source_ids": token_ids(B, S, vocabulary_size=V, seed=1), "target_ids": target}


# === Sizes ===


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factory", "arguments", "expected"),
    [
        ("transformer_base", {"vocabulary_size": 37000}, 63_082_496),
        ("transformer_base", {"vocabulary_size": 37000, "use_attention_bias": False}, 63_045_632),
        ("transformer_big", {"vocabulary_size": 37000}, 214_245_376),
        ("transformer_big", {"vocabulary_size": 37000, "use_attention_bias": False}, 214_171_648),
        ("gpt1", {}, 116_534_784),
    ],
)
def test_number_of_parameters(factory, arguments, expected):
    # Half precision: the count is the same, the memory is not.
    model = getattr(kt.models, factory)(**arguments, dtype="float16")
    assert model.count_params() == expected
    assert model.name == factory


@pytest.mark.slow
def test_the_rates_of_the_papers():
    small = {"num_layers": 1, "hidden_dim": 16, "intermediate_dim": 16}
    for factory, rate in (("transformer_base", 0.1), ("transformer_big", 0.3)):
        model = getattr(kt.models, factory)(50, **small)
        for stack in ("encoder", "decoder"):
            layer = model.get_layer(stack)
            assert (layer.block.dropout, layer.input_dropout) == (rate, rate)
            assert layer.block.attention_dropout == 0.0
            assert layer.block.layer_norm_epsilon == 1e-6
    decoder = kt.models.gpt1(vocabulary_size=50, max_length=8, **{**small, "num_heads": 2})
    decoder = decoder.get_layer("decoder")
    rates = decoder.block.dropout, decoder.input_dropout, decoder.block.attention_dropout
    assert rates == (0.1, 0.1, 0.1)
    assert decoder.block.layer_norm_epsilon == 1e-5 and not decoder.block.normalize_first


def test_num_decoder_layers():
    model = get_case("transformer_untied_grouped").model
    assert len(model.get_layer("encoder").blocks) == 2
    assert len(model.get_layer("decoder").blocks) == 1


def test_a_decoder_of_its_own_heads_and_width():
    model = get_case("transformer_pre_norm_two_vocabularies").model
    sizes = [
        (block.num_heads, block.intermediate_dim)
        for stack in ("encoder", "decoder")
        for block in model.get_layer(stack).blocks
    ]
    assert sizes == [(2, 11), (2, 11), (4, 13), (4, 13)]
    (cross,) = {block.source_attention.num_heads for block in model.get_layer("decoder").blocks}
    assert cross == 4
    again = type(model).from_config(model.get_config())
    assert again.get_layer("decoder").block.num_heads == 4
    small = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 11}
    for name in ("num_decoder_heads", "decoder_intermediate_dim"):
        with pytest.raises(ValueError, match="must be a positive integer. Received: .*=0"):
            kt.models.transformer(50, **small, **{name: 0})
    with pytest.raises(ValueError, match="`num_heads` must divide .*num_heads=3"):
        kt.models.transformer(50, **small, num_decoder_heads=3)


def test_initial_standard_deviations_of_gpt():
    model = kt.models.gpt(200, num_layers=1, num_heads=2, hidden_dim=64, intermediate_dim=128)
    for weight in model.trainable_weights:
        values = to_numpy(weight.value)
        if weight.path.endswith(("kernel", "embeddings")):
            assert abs(values.std() - 0.02 * 12**0.5) < 0.007, weight.path  # 12 = 768 / 64
        elif weight.path.endswith(("bias", "beta")):
            assert not values.any(), weight.path
        else:
            assert weight.path.endswith("gamma") and (values == 1).all(), weight.path


# === Parts ===


@pytest.mark.slow
def test_parts_are_found_by_name():
    names = {
        "transformer": {"token_embedding", "encoder", "decoder"},
        "transformer_pre_norm_two_vocabularies": {
            "source_embedding",
            "target_embedding",
            "encoder",
            "decoder",
        },
        "transformer_untied_grouped": {
            "source_embedding",
            "target_embedding",
            "encoder",
            "decoder",
            "logits",
        },
        "gpt": {"token_embedding", "decoder"},
        "gpt_pre_norm_grouped": {"token_embedding", "decoder", "logits"},
    }
    for name, expected in names.items():
        model = get_case(name).model
        layers = {x.name for x in model.layers if not isinstance(x, keras.layers.InputLayer)}
        assert layers == expected
        for one in expected:
            assert model.get_layer(one).name == one


def shared_tables(model):
    return [w.path for w in model.trainable_weights if w.path.endswith("embeddings")]


@pytest.mark.slow
def test_one_matrix_for_source_target_and_logits(tmp_path):
    case = make_case("transformer")
    case.model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for model in (case.model, loaded):
        assert len(shared_tables(model)) == 1
        inputs = inputs_of(case)
        before = to_numpy(model(inputs))
        weight = model.get_layer("token_embedding").embeddings
        table = to_numpy(weight.value)
        # An id that is in no input can be reached through the logits alone.
        unused = next(i for i in range(1, V) if not any((i == x).any() for x in inputs.values()))
        changed = table.copy()
        changed[unused] *= 3.0
        weight.assign(changed)
        after = to_numpy(model(inputs))
        np.testing.assert_allclose(after[..., unused], 3 * before[..., unused], rtol=1e-4)
        others = [i for i in range(V) if i != unused]
        np.testing.assert_allclose(after[..., others], before[..., others], atol=1e-5)
        weight.assign(table)


def test_two_vocabularies_have_two_tables_and_an_untied_model_a_third_matrix():
    two = get_case("transformer_pre_norm_two_vocabularies").model
    assert len(shared_tables(two)) == 2
    assert two.get_layer("source_embedding").embeddings.shape == (SOURCE_V, 8)
    assert two.get_layer("target_embedding").embeddings.shape == (V, 8)
    untied = get_case("transformer_untied_grouped").model
    assert untied.get_layer("logits").kernel.shape == (8, V)
    assert untied.get_layer("logits").bias.shape == (V,)


def test_embeddings_are_scaled_and_logits_are_not():
    model = get_case("transformer").model
    embedding = model.get_layer("token_embedding")
    table = to_numpy(embedding.embeddings.value)
    ids = token_ids(B, T, vocabulary_size=V)
    np.testing.assert_allclose(to_numpy(embedding(ids)), np.sqrt(8) * table[ids], rtol=1e-5)
    hidden = to_numpy(embedding(ids))
    np.testing.assert_allclose(
        to_numpy(embedding(hidden, reverse=True)), hidden @ table.T, atol=1e-5
    )


def test_scaled_logits():
    model = get_case("transformer_t5").model
    embedding = model.get_layer("token_embedding")
    table, hidden = to_numpy(embedding.embeddings.value), normal(B, T, 8)
    np.testing.assert_allclose(
        to_numpy(embedding(hidden, reverse=True)), hidden @ table.T / np.sqrt(8), atol=1e-5
    )


@pytest.mark.parametrize("target", [None, V])
def test_logits_with_a_matrix_to_themselves(target):
    small = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 5}
    model = kt.models.transformer(V, target, tie_logits=False, output_bias=True, **small)
    layers = {layer.name: layer for layer in model.layers}
    own = {"token_embedding"} if target is None else {"source_embedding", "target_embedding"}
    assert {*own, "logits"} <= {*layers}
    assert layers["logits"].kernel.shape == (8, V)
    assert layers["logits"].bias.shape == (V,)
    assert all(layers[name].bias is None for name in own)
    for more in ({"tie_logits": False}, {"share_embeddings": False}):
        message = "`scale_logits` must be False unless the output projection is tied.*Received: s"
        with pytest.raises(ValueError, match=message):
            kt.models.transformer(V, target, scale_logits=True, **more, **small)


# === What Keras does with models ===


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_config_round_trip(name):
    model = get_case(name).model
    twin = keras.Model.from_config(model.get_config())
    assert twin.get_config() == model.get_config()
    assert twin.name == model.name
    twin.set_weights(model.get_weights())
    inputs = inputs_of(get_case(name))
    np.testing.assert_array_equal(to_numpy(twin(inputs)), to_numpy(model(inputs)))
    clone = keras.models.clone_model(model)
    assert [w.shape for w in clone.weights] == [w.shape for w in model.weights]


def test_summary_counts_and_names():
    lines = []
    model = get_case("transformer").model
    model.summary(print_fn=lambda line, **_: lines.append(line))
    text = "\n".join(lines)
    for expected in ("token_embedding", "encoder", "decoder", f"{model.count_params():,}"):
        assert expected in text


def test_plot_model(tmp_path):
    model = get_case("transformer").model
    if importlib.util.find_spec("pydot") and shutil.which("dot"):
        keras.utils.plot_model(model, tmp_path / "model.png", show_layer_names=True)
        assert (tmp_path / "model.png").stat().st_size > 1000
    else:
        with pytest.raises(ImportError, match="pydot|graphviz"):
            keras.utils.plot_model(model, tmp_path / "model.png")


@pytest.mark.parametrize("name", NAMES)
def test_open_axes_and_dtypes(name):
    model = get_case(name).model
    size = V
    assert tuple(model.output.shape) == (None, None, size)
    for tensor in model.inputs:
        assert tuple(tensor.shape) == (None, None)
        assert keras.backend.standardize_dtype(tensor.dtype) == "int32"


def test_predict_gives_what_the_call_gives():
    case = get_case("transformer")
    inputs = inputs_of(case)
    predicted = case.model.predict(inputs, verbose=0)
    np.testing.assert_allclose(predicted, to_numpy(case.model(inputs)), atol=1e-5)


# === Errors ===


@pytest.mark.parametrize("factory", ["transformer", "gpt"])
@pytest.mark.parametrize("name", ["vocabulary_size", "num_layers", "hidden_dim"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True])
def test_sizes_must_be_positive_integers(factory, name, value):
    arguments = {"vocabulary_size": 11, "num_layers": 1, "num_heads": 1, "hidden_dim": 4}
    with pytest.raises(ValueError, match=f"`{name}` must be a positive integer. Received: {name}="):
        getattr(kt.models, factory)(**{**arguments, name: value})


@pytest.mark.parametrize("factory", ["transformer", "gpt"])
def test_heads_must_divide_the_width(factory):
    message = "`num_heads` must divide `hidden_dim`. Received: num_heads=3, hidden_dim=8"
    with pytest.raises(ValueError, match=message):
        getattr(kt.models, factory)(11, num_layers=1, num_heads=3, hidden_dim=8)


def test_unknown_position_layout():
    with pytest.raises(ValueError, match="`layout` must be one of .*Received: layout='spiral'"):
        kt.models.transformer(11, num_layers=1, position_layout="spiral")


def test_a_sequence_longer_than_the_positions():
    message = "must not be longer than `max_length`. Received: length=38, max_length=37"
    with pytest.raises(ValueError, match=message):
        get_case("gpt").model({"token_ids": np.ones((1, 38), "int32")})
