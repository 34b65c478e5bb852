"""Classifiers of sequences: the laws for each kind, what each can see, and that they learn."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.models.sequence_classifier import KINDS
from tests.harness import BACKEND, normal, randomize, to_numpy, token_ids

V, C = 13, 3
SIZES = {"vocabulary_size": V, "num_classes": C, "hidden_dim": 8, "num_heads": 2}
_models = {}


def get_model(kind):
    if kind not in _models:
        _models[kind] = randomize(kt.models.sequence_classifier(**SIZES, kind=kind))
    return _models[kind]


def probabilities(kind, ids):
    return to_numpy(get_model(kind)({"token_ids": ids}))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_other_rows_change_nothing(kind):
    ids = token_ids(2, 5, vocabulary_size=V)
    expected = probabilities(kind, ids)
    np.testing.assert_allclose(expected.sum(axis=1), 1.0, atol=1e-6)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    wider = np.pad(ids, ((0, 0), (0, 4)))
    np.testing.assert_allclose(probabilities(kind, wider), expected, atol=1e-5)
    longer = np.concatenate([wider, token_ids(1, 9, vocabulary_size=V, seed=2)])
    np.testing.assert_allclose(probabilities(kind, longer)[:2], expected, atol=1e-5)
    if kind != "transformer":  # which has absolute positions
        left = np.pad(ids, ((0, 0), (3, 0)))
        np.testing.assert_allclose(probabilities(kind, left), expected, atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_padding_are_finite(kind, policy):
    model = randomize(kt.models.sequence_classifier(**SIZES, kind=kind, dtype=policy))
    ids = token_ids(3, 5, vocabulary_size=V)
    ids[0], ids[1, 2:] = 0, 0
    output = model({"token_ids": ids})
    assert keras.backend.standardize_dtype(output.dtype) == "float32"
    assert np.isfinite(to_numpy(output)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_gives_the_same(kind, tmp_path):
    get_model(kind).save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    ids = token_ids(2, 5, vocabulary_size=V)
    np.testing.assert_array_equal(to_numpy(again({"token_ids": ids})), probabilities(kind, ids))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_which_word_is_there(kind):
    """One of three words among others, at any place in sentences of 4 to 8 words."""
    keras.utils.set_random_seed(1)
    generator = np.random.default_rng(0)
    ids = generator.integers(4, V, (512, 8))
    ids *= np.arange(8) < generator.integers(4, 9, 512)[:, None]
    classes = generator.integers(0, C, 512)
    ids[np.arange(512), generator.integers(0, 4, 512)] = 1 + classes
    model = kt.models.sequence_classifier(
        **{**SIZES, "hidden_dim": 24}, kind=kind, dropout=0.0, intermediate_dim=24
    )
    model.compile(
        keras.optimizers.Adam(0.01),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=BACKEND == "jax",
    )
    model.fit({"token_ids": ids[:448]}, classes[:448], batch_size=32, epochs=10, verbose=0)
    result = model.evaluate({"token_ids": ids[448:]}, classes[448:], verbose=0, return_dict=True)
    assert result["accuracy"] > 0.9


@pytest.mark.parametrize(("num_layers", "kernel_size"), [(1, 3), (3, 3), (2, 5)])
def test_a_convolution_sees_its_receptive_field_and_no_further(num_layers, kernel_size):
    encoder = kt.layers.ConvolutionalEncoder(num_layers, kernel_size, activation="tanh")
    x = normal(2, 23, 4)
    before = to_numpy(encoder(x))
    x[:, 11] += 1.0
    changed = np.abs(to_numpy(encoder(x)) - before).max(axis=(0, 2)) > 0
    reach = (encoder.receptive_field - 1) // 2
    np.testing.assert_array_equal(np.flatnonzero(changed), np.arange(11 - reach, 12 + reach))


POOLED = {
    "mean": lambda row: row.mean(axis=0),
    "max": lambda row: row.max(axis=0),
    "first": lambda row: row[0],
    "last": lambda row: row[-1],
    "ends": lambda row: np.concatenate([row[-1, :2], row[0, 2:]]),
}


@pytest.mark.parametrize("pooling", POOLED)
def test_pooling(pooling):
    x = normal(3, 5, 4)
    real = np.array([[True] * 5, [False, True, True, False, False], [False] * 5])
    layer = kt.layers.SequencePooling(pooling)
    pooled = to_numpy(layer(x, padding_mask=real))
    for row, mask, found in zip(x[:2], real, pooled, strict=False):
        np.testing.assert_allclose(found, POOLED[pooling](row[mask]), atol=1e-6)
    assert not pooled[2].any()
    expected = np.stack([POOLED[pooling](row) for row in x])
    np.testing.assert_allclose(to_numpy(layer(x)), expected, atol=1e-6)


def test_what_it_refuses():
    with pytest.raises(ValueError, match="`kind` must be one of .*bi_lstm.*'mlp'"):
        kt.models.sequence_classifier(V, C, kind="mlp")
    with pytest.raises(ValueError, match="`pooling` must be one of .*mean.*'sum'"):
        kt.models.sequence_classifier(V, C, pooling="sum")
    with pytest.raises(ValueError, match="`kernel_size` must be odd.*=4"):
        kt.models.sequence_classifier(V, C, kind="cnn", kernel_size=4)
    with pytest.raises(ValueError, match="`num_classes` must be a positive integer"):
        kt.models.sequence_classifier(V, 0)
