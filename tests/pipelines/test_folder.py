"""A pipeline's folder holds the model as it computes, whatever training has made of it."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from keras_transformer.layers.nested_layers import all_layers
from keras_transformer.training.model_state import describe_state

TEXTS = ["the cat sat on the mat", "the dog sat on the log"]
V = 20
IDS = np.random.default_rng(0).integers(4, V, (2, 5)).astype("int32")


@pytest.fixture(scope="module")
def tokenizer():
    return kt.data.train_tokenizer(TEXTS, vocabulary_size=V, model_type="bpe")


def language_model(dtype):
    return kt.models.gpt(V, 1, 2, hidden_dim=8, intermediate_dim=12, max_length=9, dtype=dtype)


def translator(dtype):
    return kt.models.transformer(
        V, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=12, dtype=dtype
    )


def recurrent(dtype):
    return kt.models.recurrent_seq2seq(V, cell="gru", hidden_dim=8, dtype=dtype)


KINDS = {
    "language_model": (language_model, kt.TextGenerator),
    "translator": (translator, kt.Translator),
    "recurrent": (recurrent, kt.Translator),
}


def adapt(model):
    # All dense layers that there are: those of recurrent models have other names.
    for path in kt.training.enable_lora(model, rank=2, alpha=5, targets=("*",)):
        layer = kt.training.lora.dense_layers(model)[path]
        layer.lora_kernel_b.assign(0.1 * np.ones(layer.lora_kernel_b.shape))


def freeze_some(model):
    for layer in all_layers(model)[3::3]:
        layer.trainable = False


def give_optimizer(model):
    model.compile(keras.optimizers.Adam(0.01), kt.training.MaskedCrossentropy(), jit_compile=False)
    model.optimizer.build(model.trainable_variables)


def logits(model):
    outputs = model(dict.fromkeys([tensor.name for tensor in model.inputs], IDS))
    return np.array(ops.convert_to_numpy(ops.cast(outputs, "float32")))


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("change", [adapt, freeze_some, give_optimizer])
@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_gives_the_same_outputs(tmp_path, tokenizer, kind, change, dtype):
    build, pipeline = KINDS[kind]
    model = build(dtype)
    before = logits(model)
    change(model)
    state, expected = describe_state(model), logits(model)
    assert (change is adapt) == (np.abs(expected - before).max() > 0.01)
    compiled, optimizer = model.compiled, getattr(model, "optimizer", None)
    pipeline(model, tokenizer).save(tmp_path / "saved")
    # The model in memory is as it was, its adapters and its optimizer too.
    assert describe_state(model) == state and model.compiled == compiled
    assert model.optimizer is optimizer
    np.testing.assert_array_equal(logits(model), expected)
    loaded = pipeline.load(tmp_path / "saved").model
    assert not loaded.compiled and getattr(loaded, "optimizer", None) is None
    assert not any("lora" in weight.path for weight in loaded.weights)
    # In half precision W' is rounded once more than W + A B.
    tolerance = 1e-5 if dtype is None else 0.03
    np.testing.assert_allclose(logits(loaded), expected, atol=tolerance)


def test_an_error_leaves_the_model_compiled(tmp_path, tokenizer, monkeypatch):
    model = language_model(None)
    give_optimizer(model)
    optimizer = model.optimizer

    def fail(*arguments, **keywords):
        raise OSError("no space left")

    monkeypatch.setattr(type(model), "save", fail)
    with pytest.raises(OSError, match="no space left"):
        kt.TextGenerator(model, tokenizer).save(tmp_path / "saved")
    assert model.compiled and model.optimizer is optimizer


@pytest.mark.slow
def test_an_adapted_pipeline_is_exported_as_it_translates(tmp_path, tokenizer):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("a SavedModel is TensorFlow's")
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
    model = translator(None)
    adapt(model)
    pipeline = kt.Translator(model, tokenizer)
    pipeline.export(tmp_path / "served", max_new_tokens=4)
    module = tf.saved_model.load(str(tmp_path / "served"))
    served = module.translate(TEXTS)["translations"]
    expected = pipeline.translate(TEXTS, num_beams=1, max_new_tokens=4)
    assert [text.decode() for text in served.numpy()] == expected
