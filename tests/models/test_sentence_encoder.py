"""Sentence encoders against NumPy: pooling of real tokens only, unit length, pairs."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND, outputs_after_reload, randomize, to_numpy, token_ids

V, D = 23, 8
SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": D, "intermediate_dim": 11}
POOLINGS = ("mean", "first", "last", "max")


def make_body(**more):
    return randomize(kt.models.bert(V, max_length=17, **{**SMALL, **more}), stddev=0.4)


def inputs_of(ids):
    """The inputs of a body; a sentence encoder reads the tokens only."""
    return {"token_ids": ids, "segment_ids": np.zeros_like(ids)}


def text(ids):
    return {"token_ids": ids}


def padded_ids():
    """Rows of 7, 3 and 1 tokens."""
    ids = token_ids(3, 7, vocabulary_size=V)
    ids[1, 3:] = ids[2, 1:] = 0
    return ids


def pooled(hidden, real, pooling):
    rows = []
    for row, mask in zip(hidden, real, strict=True):
        tokens = row[mask]
        if pooling in ("first", "last"):
            rows.append(tokens[0 if pooling == "first" else -1])
        else:
            rows.append(tokens.mean(axis=0) if pooling == "mean" else tokens.max(axis=0))
    return np.stack(rows)


@pytest.mark.parametrize("heads", [{"pooler": False}, {}, {"masked_lm": True}], ids=str)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors(pooling, normalize, heads):
    body, ids = make_body(**heads), padded_ids()
    outputs = to_numpy(body(inputs_of(ids)))
    hidden = outputs["output"] if isinstance(outputs, dict) else outputs
    expected = pooled(hidden, ids != 0, pooling)
    if normalize:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    encoder = kt.models.sentence_encoder(body, pooling, normalize)
    np.testing.assert_allclose(to_numpy(encoder(text(ids))), expected, atol=1e-5)
    assert encoder.name == "bert_sentence_encoder"


@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors_of_a_language_model(pooling):
    lm, ids = randomize(kt.models.gpt(V, max_length=17, **SMALL), stddev=0.4), padded_ids()
    hidden = to_numpy(lm.get_layer("decoder")(lm.get_layer("token_embedding")(ids)))
    encoder = kt.models.sentence_encoder(lm, pooling, normalize=False)
    expected = pooled(hidden, ids != 0, pooling)
    np.testing.assert_allclose(to_numpy(encoder(text(ids))), expected, atol=1e-5)


def test_segments():
    body, ids = make_body(), padded_ids()
    plain, paired = (kt.models.sentence_encoder(body, segments=one) for one in (False, True))
    inputs = inputs_of(ids)
    np.testing.assert_allclose(to_numpy(paired(inputs)), to_numpy(plain(text(ids))), atol=1e-6)
    inputs["segment_ids"] += 1
    assert np.abs(to_numpy(paired(inputs)) - to_numpy(plain(text(ids)))).max() > 1e-3


def test_a_projection():
    body, ids = make_body(), padded_ids()
    dense = keras.layers.Dense(3, "tanh")
    encoder = kt.models.sentence_encoder(body, normalize=False, projection=dense, name="other")
    vectors = to_numpy(kt.models.sentence_encoder(body, normalize=False)(text(ids)))
    expected = np.tanh(vectors @ to_numpy(dense.kernel))
    np.testing.assert_allclose(to_numpy(encoder(text(ids))), expected, atol=1e-5)
    assert encoder.name == "other"


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_and_other_rows_cannot_matter(pooling):
    encoder, ids = kt.models.sentence_encoder(make_body(), pooling), padded_ids()
    together = to_numpy(encoder(text(np.pad(ids, ((0, 0), (0, 5))))))
    for row, vector in zip(ids, together, strict=True):
        alone = row[row != 0][None]
        np.testing.assert_allclose(to_numpy(encoder(text(alone)))[0], vector, atol=1e-5)


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_float16"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_rows_without_tokens_and_half_precision(pooling, policy):
    ids = padded_ids()
    ids[1] = 0
    for normalize in (False, True):
        encoder = kt.models.sentence_encoder(make_body(dtype=policy), pooling, normalize)
        output = encoder(text(ids))
        assert keras.backend.standardize_dtype(output.dtype) == "float32"
        vectors = to_numpy(output)
        assert np.isfinite(vectors).all() and (vectors[1] == 0).all()
        if normalize:
            np.testing.assert_allclose(np.linalg.norm(vectors[[0, 2]], axis=1), 1.0, atol=1e-5)


def test_a_body_whose_tokens_are_all_real():
    body, ids = make_body(padding_id=None), padded_ids()
    hidden = to_numpy(body(inputs_of(ids)))["output"]
    vectors = to_numpy(kt.models.sentence_encoder(body, normalize=False)(text(ids)))
    np.testing.assert_allclose(vectors, hidden.mean(axis=1), atol=1e-5)


def test_it_shares_the_weights_of_its_body():
    body, ids = make_body(), padded_ids()
    encoder = kt.models.sentence_encoder(body)
    before = to_numpy(encoder(text(ids)))
    norm = body.get_layer("embedding_norm").gamma
    norm.assign(norm * 2.0 + 1.0)
    assert np.abs(to_numpy(encoder(text(ids))) - before).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_reload_is_identical(backend, tmp_path):
    dense = keras.layers.Dense(3, "tanh")
    model = kt.models.sentence_encoder(make_body(), "max", projection=dense)
    inputs = text(padded_ids())
    actual = outputs_after_reload(model, inputs, tmp_path, backend)
    tolerance = 1e-6 if backend == BACKEND else 1e-5
    np.testing.assert_allclose(actual["output"], to_numpy(model(inputs)), atol=tolerance)


# === Pairs ===


def pairs_of(first, second):
    named = {"first": text(first), "second": text(second)}
    return {f"{side}_{key}": ids for side, one in named.items() for key, ids in one.items()}


@pytest.mark.parametrize("normalize", [False, True])
def test_similarities_of_pairs(normalize, tmp_path):
    encoder = kt.models.sentence_encoder(make_body(), normalize=normalize)
    model = kt.models.sentence_pairs(encoder)
    first, second = padded_ids(), token_ids(3, 5, vocabulary_size=V, seed=1)
    vectors = [to_numpy(encoder(text(ids))) for ids in (first, second)]
    expected = vectors[0] @ vectors[1].T
    inputs = pairs_of(first, second)
    assert set(model.input) == set(inputs)
    np.testing.assert_allclose(to_numpy(model(inputs)), expected, atol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(to_numpy(again(inputs)), expected, atol=1e-5)


@pytest.mark.slow
def test_a_text_without_tokens_does_not_spoil_the_weights():
    """The length of a vector of zeros has no finite gradient."""
    encoder = kt.models.sentence_encoder(make_body(pooler=False))
    model = kt.models.sentence_pairs(encoder)
    model.compile("sgd", kt.training.InBatchNegatives(), jit_compile=BACKEND == "jax")
    first, second = padded_ids(), padded_ids()[::-1].copy()
    first[1] = second[0] = 0
    before = [to_numpy(weight) for weight in encoder.trainable_weights]
    model.fit(pairs_of(first, second), np.arange(3), batch_size=3, verbose=0)
    after = [to_numpy(weight) for weight in encoder.trainable_weights]
    assert all(np.isfinite(array).all() for array in after)
    assert any((one != other).any() for one, other in zip(before, after, strict=True))


@pytest.mark.slow
def test_it_learns_which_texts_belong_together():
    """Texts are three tokens of one of 12 topics, in any order: partners share the topic."""
    generator = np.random.default_rng(0)
    topics = generator.permuted(np.arange(1, 37)).reshape(12, 3)

    def texts(labels):
        return generator.permuted(topics[labels], axis=1).astype("int32")

    labels = generator.integers(0, 12, 512)
    inputs = {"first_token_ids": texts(labels), "second_token_ids": texts(labels)}
    body = kt.models.bert(37, 1, 2, 16, 32, 5, dropout=0.0, num_segments=None, pooler=False)
    encoder = kt.models.sentence_encoder(body)
    model = kt.models.sentence_pairs(encoder)
    model.compile(
        keras.optimizers.Adam(0.003),
        kt.training.InBatchNegatives(0.1, symmetric=True),
        jit_compile=BACKEND == "jax",
    )
    before = model.evaluate(inputs, labels, batch_size=64, verbose=0)
    history = model.fit(inputs, labels, batch_size=64, epochs=12, verbose=0)
    assert history.history["loss"][-1] < 0.3 * before

    # The nearest of all other texts is one of the same topic.
    seen = np.repeat(np.arange(12), 3)
    vectors = encoder.predict({"token_ids": texts(seen)}, verbose=0)
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -2.0)
    assert (seen[similarities.argmax(axis=1)] == seen).mean() > 0.9


# === Errors ===


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "ends"}, "`pooling` must be one of .*mean.* Received: pooling='ends'"),
        ({"normalize": 1}, "`normalize` must be True or False. Received: normalize=1"),
        ({"projection": 7}, "`projection` must be a Keras layer or None. Received: projection=7"),
        ({"body": "bert"}, r"`body` must be a model .* Received: body='bert' with the layers \[\]"),
        ({"body": kt.models.vit(4, 2, 3, **SMALL)}, "`body` must read text. Received: body='vit'"),
        (
            {"body": kt.models.gpt(V, max_length=7, padding_id=None, **SMALL)},
            "without a padding id",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        kt.models.sentence_encoder(**{"body": make_body(), **arguments})


def test_bodies_and_encoders_of_the_wrong_kind():
    body = make_body(pooler=False)
    encoder = kt.models.sentence_encoder(body)
    again = kt.models.sentence_encoder(encoder)  # its own pooling is a head, and left out
    ids = padded_ids()
    np.testing.assert_array_equal(to_numpy(again(text(ids))), to_numpy(encoder(text(ids))))
    with pytest.raises(ValueError, match="`encoder` must be a model from named inputs to vectors"):
        kt.models.sentence_pairs(body)
    with pytest.raises(ValueError, match="`encoder` must be a model .* Received: encoder=None"):
        kt.models.sentence_pairs(None)
