"""What leaves Keras: SavedModels and ONNX files give the outputs of the model."""

import json

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND, normal, randomize, run_python, to_numpy, token_ids
from tests.pipelines.test_graph_tokenizers import marian
from tests.pretrained.tokenizers import trained

V = 53
SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 19}
TEXTS = ["the cat sat on the mat", "a dog", "", "what is said is seen in the hills, so it is"]
# Warnings of the exporters themselves, which are not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


def padded_ids(*shape, seed=0):
    ids = token_ids(*shape, vocabulary_size=V, seed=seed)
    ids[0, shape[1] // 2 :] = 0
    return ids


def case(name, **more):
    """A model, and inputs of another batch size and length than any it has seen."""
    ids = padded_ids(3, 11)
    make, inputs = {
        "transformer": (
            lambda: kt.models.transformer(V, **SIZE, **more),
            {"source_ids": ids, "target_ids": padded_ids(3, 5, seed=1)},
        ),
        "gpt": (lambda: kt.models.gpt(V, max_length=31, **SIZE, **more), {"token_ids": ids}),
        "bert": (
            lambda: kt.models.bert(V, max_length=31, **SIZE, **more),
            {"token_ids": ids, "segment_ids": ids % 2},
        ),
        "vit": (lambda: kt.models.vit((8, 12), (2, 4), 7, **SIZE, **more), normal(3, 8, 12, 3)),
    }[name]
    return randomize(make()), inputs


def check(actual, expected):
    expected = expected if isinstance(expected, dict) else {"": expected}
    actual = actual if isinstance(actual, dict) else {"": actual}
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(np.asarray(actual[key]), value, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "torch", reason="Keras goes through torch_xla there")
@pytest.mark.parametrize("name", ["transformer", "bert"] if BACKEND != "jax" else ["gpt"])
def test_saved_model(name, tmp_path):
    import tensorflow as tf

    model, inputs = case(name)
    model.export(tmp_path / "new", format="tf_saved_model", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "new"))
    check(served.serve(inputs), to_numpy(model(inputs)))


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="see docs/export.md")
@pytest.mark.parametrize("name", ["transformer", "vit"])
def test_onnx(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    exact = {"activation": "gelu_approximate"} if name == "vit" else {}
    model, inputs = case(name, **exact)
    model(inputs)  # Keras exports what has been called
    path = str(tmp_path / "model.onnx")
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    if not isinstance(inputs, dict):
        inputs = {session.get_inputs()[0].name: inputs}
    received = session.run(None, {i.name: inputs[i.name] for i in session.get_inputs()})
    expected = to_numpy(model(inputs if name != "vit" else next(iter(inputs.values()))))
    expected = list(expected.values()) if isinstance(expected, dict) else [expected]
    assert len(received) == len(expected)
    shapes = {array.shape: array for array in received}
    for array in expected:
        np.testing.assert_allclose(shapes[array.shape], array, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "torch", reason="the others can do more")
def test_onnx_of_torch_for_one_shape(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, inputs = case("transformer")
    signature = {
        name: keras.InputSpec(shape=array.shape, dtype="int32", name=name)
        for name, array in inputs.items()
    }
    path = str(tmp_path / "model.onnx")
    model.export(path, format="onnx", verbose=False, input_signature=[signature])
    session = onnxruntime.InferenceSession(path)
    (received,) = session.run(None, {i.name: inputs[i.name] for i in session.get_inputs()})
    np.testing.assert_allclose(received, to_numpy(model(inputs)), atol=1e-4)


# === Strings in, strings out ===


def a_translator(two=False, tokenizers=None, **more):
    source, target = tokenizers or (trained(), trained(110, "bpe") if two else None)
    model = kt.models.transformer(120, 110 if two else None, **SIZE, **more)
    return kt.Translator(randomize(model, seed=3), source, target)


OPEN = """
import json, sys
import tensorflow as tf
import tensorflow_text
module, texts = tf.saved_model.load({folder!r}), {texts!r}
many = module.translate(tf.constant(texts))["translations"]
one = module.signatures["serving_default"](texts=tf.constant(texts[:1]))["translations"]
loaded = [name for name in ("keras_transformer", "keras_hub") if name in sys.modules]
print("result", json.dumps([[t.decode() for t in x.numpy()] for x in (many, one)] + [loaded]))
"""


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="a SavedModel is TensorFlow's")
@pytest.mark.parametrize("kind", ["sentencepiece", "marian"])
def test_a_translator_of_strings_in_a_fresh_process(kind, tmp_path):
    """With two tokenizers, of which neither is taken for the other."""
    tokenizers = (marian(), marian(target=True)) if kind == "marian" else None
    more = {"start_is_padding": True, "padding_id": 119} if kind == "marian" else {}
    translator = a_translator(two=True, tokenizers=tokenizers, normalize_first=True, **more)
    options = {"num_beams": 4, "length_penalty": 1.0, "max_new_tokens": 9}
    translator.export(tmp_path / "new", **options)
    printed = run_python(OPEN.format(folder=str(tmp_path / "new"), texts=TEXTS))
    many, one, loaded = json.loads(printed.split("result")[-1])
    real = [text for text in TEXTS if text]
    expected = translator.translate(real, **options)
    assert [many[TEXTS.index(text)] for text in real] == expected
    assert any(expected)
    assert one == expected[:1]
    assert loaded == []


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="a SavedModel is TensorFlow's")
@pytest.mark.parametrize("num_beams", [1, 3])
def test_an_export_follows_the_defaults_of_its_translator(num_beams, tmp_path):
    """Bans, length penalty and limits: in greedy decoding, each text has its own limit."""
    import tensorflow as tf

    translator = a_translator()
    usual = translator.translate(TEXTS[:2])
    ids = kt.data.encode(translator.target_tokenizer, usual)
    translator.defaults = kt.DecodingDefaults(
        banned_ids=(ids[0][0], ids[1][1], 0, 1, 2),
        max_length_factor=0.7,
        length_penalty=2.0,
        length_normalization="length",
        min_new_tokens=2,
        no_repeat_ngram_size=2,
        renormalize=True,
    )
    translator.export(tmp_path / "new", num_beams=num_beams)
    module = tf.saved_model.load(str(tmp_path / "new"))
    texts = [text for text in TEXTS if text]
    exported = module.translate(tf.constant(texts))["translations"]
    expected = translator.translate(texts, num_beams=num_beams)
    assert [text.decode() for text in exported.numpy()] == expected
    assert expected[:2] != usual
    assert module.translate(tf.constant([], tf.string))["translations"].shape == (0,)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="it works there")
def test_other_backends_say_where_it_works(tmp_path):
    message = f"`export` requires the TensorFlow backend. Received: backend='{BACKEND}'"
    with pytest.raises(ValueError, match=message):
        a_translator().export(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="refused as a whole elsewhere")
def test_what_cannot_be_exported(tmp_path):
    translator = a_translator()
    with pytest.raises(ValueError, match="`num_beams` must be"):
        translator.export(tmp_path / "new", num_beams=0)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match="`folder` must be new or empty"):
        translator.export(tmp_path / "full", max_new_tokens=3)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["note.txt"]
    import keras_hub

    words = keras_hub.tokenizers.WordPieceTokenizer(["[UNK]", "a", "b"], dtype="int32")
    with pytest.raises(ValueError, match="must be a SentencePieceTokenizer"):
        kt.Translator(translator.model, words).export(tmp_path / "new")
    assert keras.backend.backend() == "tensorflow"
