"""Tokenizers in a `tf.data` pipeline and in a saved model, which only TensorFlow has."""

import keras
import pytest

from keras_transformer import data

TEXTS = ["The cat sat on the mat.", "A dog sat on the log.", "The dog saw the cat."]


@pytest.fixture(scope="module")
def tensorflow():
    return pytest.importorskip("tensorflow")


# Made for each test: setting a random seed empties TensorFlow's cache of kernels, and with it goes
# the model of any SentencePiece tokenizer made before.
@pytest.fixture(params=[False, True], ids=["normalized", "lossless"])
def tokenizer(request):
    lossless = request.param
    return data.train_tokenizer(TEXTS, vocabulary_size=280 if lossless else 24, lossless=lossless)


def test_in_a_dataset(tensorflow, tokenizer):
    dataset = tensorflow.data.Dataset.from_tensor_slices(TEXTS).batch(2).map(tokenizer)
    rows = [row for batch in dataset for row in batch.to_list()]
    assert rows == data.encode(tokenizer, TEXTS)
    assert len(rows) == len(TEXTS) and all(rows)


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow",
    reason="TensorFlow saves only what a TensorFlow-backed layer tracks",
)
def test_in_a_saved_model(tensorflow, tokenizer, tmp_path):
    module = tensorflow.Module()
    module.tokenizer = tokenizer
    module.tokenize = tensorflow.function(
        lambda texts: tokenizer(texts).to_tensor(data.PADDING_ID),
        input_signature=[tensorflow.TensorSpec([None], tensorflow.string)],
    )
    tensorflow.saved_model.save(module, str(tmp_path))
    restored = tensorflow.saved_model.load(str(tmp_path))
    ids = restored.tokenize(tensorflow.constant(TEXTS)).numpy()
    assert data.decode(tokenizer, ids) == TEXTS


def test_decode_takes_a_tensor(tensorflow, tokenizer):
    (row,) = data.encode(tokenizer, TEXTS[:1], end=True)
    assert data.decode(tokenizer, tensorflow.constant([row, row]).numpy()) == [TEXTS[0]] * 2
