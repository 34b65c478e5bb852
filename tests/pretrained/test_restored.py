"""Models that were saved, restored, cloned or named otherwise are handed on like new ones."""

import keras
import numpy as np
import pytest
import torch
import transformers

import keras_transformer as kt
from keras_transformer.pretrained.weight_paths import variables_of
from tests.harness import make_decoder, normal, randomize, to_numpy, token_ids
from tests.pretrained.tokenizers import trained

V = 53
SIZE = {"num_layers": 1, "num_heads": 3, "hidden_dim": 12, "intermediate_dim": 48}
MODELS = {
    "gpt1": lambda **more: kt.models.gpt(V, **SIZE, max_length=13, **more),
    "gpt2": lambda **more: kt.models.gpt(V, **SIZE, max_length=13, normalize_first=True, **more),
    "bert": lambda **more: kt.models.bert(V, **SIZE, max_length=13, masked_lm=True, **more),
    "vit": lambda **more: kt.models.vit((4, 8), (2, 4), 5, **SIZE, **more),
    "marian": lambda **more: kt.models.transformer(V, **SIZE, **more),
    "marian_of_two": lambda **more: kt.models.transformer(V, 59, **SIZE, **more),
}
CLASSES = {
    "gpt1": "OpenAIGPTLMHeadModel",
    "gpt2": "GPT2LMHeadModel",
    "bert": "BertForMaskedLM",
    "vit": "ViTForImageClassification",
    "marian": "MarianMTModel",
    "marian_of_two": "MarianMTModel",
}


def reloaded(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def cloned(model, folder):
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


WAYS = {"reloaded": reloaded, "cloned": cloned}


def inputs_of(name):
    """Of our model, and of transformers'."""
    ids = token_ids(2, 7, vocabulary_size=V)
    tensor = torch.tensor(ids).long()
    if name == "vit":
        images = normal(2, 4, 8, 3)
        return images, {"pixel_values": torch.tensor(images.transpose(0, 3, 1, 2))}
    if name == "bert":
        return {"token_ids": ids, "segment_ids": np.zeros_like(ids)}, {"input_ids": tensor}
    if name.startswith("gpt"):
        return {"token_ids": ids}, {"input_ids": tensor}
    theirs = {"input_ids": tensor, "decoder_input_ids": tensor[:, :5]}
    return {"source_ids": ids, "target_ids": ids[:, :5]}, theirs


def logits_of(model, name):
    result = model(inputs_of(name)[0])
    return to_numpy(result["logits"] if isinstance(result, dict) else result)


def check_logits(folder, name, expected):
    reference = getattr(transformers, CLASSES[name]).from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = reference.eval()(**inputs_of(name)[1]).logits.numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "way"), [*((name, "reloaded") for name in MODELS), ("gpt2", "cloned")]
)
def test_logits_of_transformers(name, way, tmp_path):
    model = randomize(MODELS[name]())
    expected = logits_of(model, name)
    model = WAYS[way](model, tmp_path)
    kt.pretrained.save_huggingface(model, None, tmp_path / "new")
    check_logits(tmp_path / "new", name, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"),
    [("gpt1", "bfloat16"), ("vit", "float16"), ("marian_of_two", "mixed_bfloat16")],
)
def test_half_precision(name, dtype, tmp_path):
    """The same numbers in float32 give the logits of the file."""
    model = reloaded(randomize(MODELS[name](dtype=dtype)), tmp_path)
    kt.pretrained.save_huggingface(model, None, tmp_path / "new")
    exact = MODELS[name]()
    exact.set_weights([to_numpy(weight).astype("float32") for weight in model.weights])
    check_logits(tmp_path / "new", name, logits_of(exact, name))


@pytest.mark.slow
def test_an_epsilon_that_is_too_far_is_seen_in_half_precision(tmp_path):
    model = randomize(MODELS["marian"](dtype="bfloat16", layer_norm_epsilon=0.1))
    with pytest.raises(ValueError, match="`layer_norm_epsilon` must be close to Marian's"):
        kt.pretrained.save_huggingface(model, None, tmp_path / "new")


@pytest.mark.slow
def test_half_precision_as_the_global_policy(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = randomize(MODELS["marian"]())
    kt.pretrained.save_huggingface(model, None, tmp_path / "new")
    keras.config.set_dtype_policy("float32")
    exact = MODELS["marian"]()
    exact.set_weights([to_numpy(weight).astype("float32") for weight in model.weights])
    check_logits(tmp_path / "new", "marian", logits_of(exact, "marian"))


def gpt_of(positions):
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    embedding = kt.layers.TokenEmbedding(
        V, 12, scale=False, padding_id=None, name="token_embedding"
    )
    decoder = make_decoder(
        1,
        3,
        48,
        cross_attention=False,
        layer_norm_epsilon=1e-5,
        activation="gelu_approximate",
        positional_encoding=positions,
        name="decoder",
    )
    return keras.Model({"token_ids": ids}, embedding(decoder(embedding(ids)), reverse=True))


@pytest.mark.slow
@pytest.mark.parametrize("way", [None, "reloaded"])
def test_a_layer_of_ones_own_name(way, tmp_path):
    model = randomize(gpt_of(kt.layers.LearnedPositionalEmbedding(13, name="where")))
    expected = logits_of(model, "gpt1")
    model = model if way is None else WAYS[way](model, tmp_path)
    kt.pretrained.save_huggingface(model, None, tmp_path / "new")
    check_logits(tmp_path / "new", "gpt1", expected)


WIDER = {
    "gpt2": lambda **more: kt.models.gpt(72, **SIZE, max_length=13, normalize_first=True, **more),
    "marian": lambda **more: kt.models.transformer(72, **SIZE, **more),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDER)
def test_ctranslate2_gets_the_same_file(name, tmp_path):
    tokenizer = trained(72)
    make = WIDER[name]
    model = randomize(make())
    files = []
    for way in (None, *WAYS):
        one = model if way is None else WAYS[way](model, tmp_path)
        kt.pretrained.save_ctranslate2(one, tokenizer, tmp_path / str(way))
        files.append((tmp_path / str(way) / "model.bin").read_bytes())
    assert len(set(files)) == 1
    half = make(dtype="bfloat16")
    half.set_weights(model.get_weights())
    exact = make()
    exact.set_weights([to_numpy(weight).astype("float32") for weight in half.weights])
    for folder, one in (("half", reloaded(half, tmp_path)), ("exact", exact)):
        kt.pretrained.save_ctranslate2(one, tokenizer, tmp_path / folder)
    contents = [(tmp_path / folder / "model.bin").read_bytes() for folder in ("half", "exact")]
    assert contents[0] == contents[1] != files[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_paths_say_where_a_weight_is(name, tmp_path):
    model = MODELS[name]()
    paths = variables_of(model)
    assert {*paths} == {w.path for w in model.weights if "seed_generator" not in w.path}
    for way in WAYS.values():
        again = variables_of(way(model, tmp_path))
        assert {path: tuple(w.shape) for path, w in again.items()} == {
            path: tuple(w.shape) for path, w in paths.items()
        }


def test_two_weights_of_one_path():
    inputs = keras.Input((3,))

    class Twins(keras.layers.Layer):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.pair = [keras.layers.Dense(3, name="same") for _ in range(2)]

        def call(self, inputs):
            return self.pair[1](self.pair[0](inputs))

    model = keras.Model(inputs, Twins(name="twins")(inputs))
    with pytest.raises(ValueError, match="distinct layer names. .*'twins/same/kernel'"):
        variables_of(model)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize")
@pytest.mark.parametrize("write", [kt.pretrained.save_huggingface, kt.pretrained.save_ctranslate2])
@pytest.mark.parametrize("name", WIDER)
def test_integers_in_place_of_weights_are_refused(name, write, tmp_path):
    model = WIDER[name]()
    model.quantize("int8")
    with pytest.raises(ValueError, match="before `quantize`. Received: the layer '.*int8_from"):
        write(model, trained(72), tmp_path / "new")
    assert not (tmp_path / "new").exists()
