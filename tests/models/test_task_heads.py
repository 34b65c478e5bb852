"""Task heads on language models: what they read, what they add to the loss, what they share."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import outputs_after_reload, randomize, to_numpy, token_ids

V, START, DELIMITER, EXTRACT = 50, 50, 51, 52


def language_model(**arguments):
    size = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    size |= {"max_length": 23, "dropout": 0.0, "initializer_stddev": 0.1}
    lm = kt.models.gpt(V, **{**size, **arguments})
    return kt.models.with_new_tokens(lm, 3)


def rows(lengths, width=13, seed=0):
    """[start; text; extract] of these lengths, and padding."""
    ids = token_ids(len(lengths), width, vocabulary_size=V, seed=seed)
    for row, length in zip(ids, lengths, strict=True):
        row[0], row[length + 1] = START, EXTRACT
        row[length + 2 :] = 0
    return ids


def examples(name):
    """Inputs that the head of a name reads, B = 5."""
    if name in ("classifier", "entailment"):
        return rows([2, 3, 5, 7, 11])
    several = 2 if name == "similarity" else 3
    return np.stack([rows([2, 3, 5, 7, 11], seed=seed) for seed in range(several)], axis=1)


def make(name, lm=None, **arguments):
    lm = language_model() if lm is None else lm
    arguments = {"dropout": 0.0, **arguments}
    if name == "classifier":
        arguments = {"num_classes": 7, **arguments}
    return getattr(kt.models, name)(lm, **arguments)


NAMES = ["classifier", "entailment", "similarity", "multiple_choice"]


def loss_of_fit(model, ids, labels):
    """What `fit` reports for one batch, the weights left alone."""
    # One step is faster run than compiled.
    loss = keras.losses.SparseCategoricalCrossentropy()
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    history = model.fit({"token_ids": ids}, labels, batch_size=len(ids), verbose=0)
    return history.history["loss"][0]


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_from_the_state_at_the_extract_token(name):
    lm = language_model()
    model = randomize(make(name, lm))
    ids = examples(name)
    flat = ids.reshape(-1, ids.shape[-1])
    embedding, decoder = lm.get_layer("token_embedding"), lm.get_layer("decoder")
    hidden = to_numpy(decoder(embedding(flat)))
    state = hidden[np.arange(len(flat)), np.argmax(flat == EXTRACT, axis=1)]
    kernel, bias = model.get_layer("head").get_weights()
    if name == "similarity":
        state = state.reshape(5, 2, -1).sum(axis=1)
    logits = state @ kernel + bias
    if name == "multiple_choice":
        logits = logits.reshape(5, 3)
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    predicted = model.predict({"token_ids": ids}, verbose=0)
    np.testing.assert_allclose(predicted, expected, atol=1e-5)


@pytest.mark.parametrize("padding_id", [0, None])
@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_neither_outputs_nor_loss(name, padding_id):
    model = randomize(make(name, language_model(padding_id=padding_id)))
    ids, labels = examples(name), np.array([0, 1, 1, 0, 1])
    more = [(0, 0)] * (ids.ndim - 1) + [(0, 4)]
    wider = np.pad(ids, more)
    np.testing.assert_allclose(
        to_numpy(model({"token_ids": wider})), to_numpy(model({"token_ids": ids})), atol=1e-5
    )
    if name == "similarity":
        expected = loss_of_fit(model, ids, labels)
        np.testing.assert_allclose(loss_of_fit(model, wider, labels), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["classifier", "multiple_choice"])
def test_auxiliary_loss_is_the_mean_of_each_rows_mean(name):
    lm = language_model()
    ids, labels = examples(name), np.array([0, 1, 2, 0, 1])
    plain, half = make(name, lm, lm_weight=0.0), make(name, lm)
    randomize(half)
    plain.get_layer("head").set_weights(half.get_layer("head").get_weights())
    flat = ids.reshape(-1, ids.shape[-1])
    logits = to_numpy(lm({"token_ids": flat})).astype("float64")
    likelihoods = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    means = []
    for row, likelihood in zip(flat, likelihoods, strict=True):
        last = list(row).index(EXTRACT)
        means.append(-np.mean([likelihood[t, row[t + 1]] for t in range(last)]))
    task = loss_of_fit(plain, ids, labels)
    np.testing.assert_allclose(loss_of_fit(half, ids, labels), task + np.mean(means) / 2, rtol=1e-5)
    evaluated = half.evaluate({"token_ids": ids}, labels, batch_size=5, verbose=0)
    np.testing.assert_allclose(evaluated, task, rtol=1e-5)


@pytest.mark.slow
def test_the_auxiliary_loss_trains_the_language_model():
    lm = language_model()
    model = make("classifier", lm, num_classes=2)
    model.get_layer("head").trainable = False
    ids = rows([11] * 16, seed=3)
    ids[:, 2:12] = ids[:, 1:2]  # each text repeats one token
    model.compile(keras.optimizers.Adam(2e-2), None, jit_compile=False)
    model.fit({"token_ids": ids}, batch_size=16, epochs=30, verbose=0)
    logits = to_numpy(lm({"token_ids": ids}))
    assert (logits[:, 1:10].argmax(axis=-1) == ids[:, 2:11]).mean() > 0.9


def test_heads_share_the_weights_of_the_language_model():
    lm = language_model()
    models = [make(name, lm) for name in NAMES]
    for model in models:
        for part in ("token_embedding", "decoder"):
            assert model.get_layer(part) is lm.get_layer(part)
        own = {id(weight) for weight in model.trainable_weights}
        assert own - {id(weight) for weight in lm.trainable_weights} == {
            id(weight) for weight in model.get_layer("head").weights
        }


def test_similarity_does_not_see_the_order():
    model = randomize(make("similarity"))
    ids = examples("similarity")
    np.testing.assert_allclose(
        to_numpy(model({"token_ids": ids[:, ::-1]})), to_numpy(model({"token_ids": ids})), atol=1e-6
    )


def test_any_number_of_candidates_in_any_order():
    model = randomize(make("multiple_choice"))
    ids = examples("multiple_choice")
    three = to_numpy(model({"token_ids": ids}))
    assert three.shape == (5, 3)
    np.testing.assert_allclose(three.sum(axis=-1), 1.0, atol=1e-5)
    moved = to_numpy(model({"token_ids": ids[:, [2, 0, 1]]}))
    np.testing.assert_allclose(moved, three[:, [2, 0, 1]], atol=1e-5)
    two = to_numpy(model({"token_ids": ids[:, :2]}))
    np.testing.assert_allclose(two, three[:, :2] / three[:, :2].sum(1, keepdims=True), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classifier", "multiple_choice"])
def test_reload(name, tmp_path):
    model = randomize(make(name))
    ids = examples(name)
    labels = np.array([0, 1, 1, 0, 1])
    expected = loss_of_fit(model, ids, labels)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        to_numpy(loaded({"token_ids": ids})), to_numpy(model({"token_ids": ids}))
    )
    np.testing.assert_allclose(loss_of_fit(loaded, ids, labels), expected, rtol=1e-6)
    assert loaded.count_params() == model.count_params()


@pytest.mark.slow
def test_reload_in_a_fresh_process(tmp_path):
    model = randomize(make("multiple_choice"))
    ids = examples("multiple_choice")
    found = outputs_after_reload(model, {"token_ids": ids}, tmp_path, keras.backend.backend())
    np.testing.assert_allclose(found["output"], to_numpy(model({"token_ids": ids})), atol=1e-6)


@pytest.mark.slow
def test_a_classifier_learns_from_plain_fit():
    model = make("classifier", num_classes=2)
    ids = rows(list(np.random.default_rng(0).integers(3, 12, size=128)))
    labels = np.arange(128) % 2
    ids = np.where((ids > 0) & (ids < V), 7 + labels[:, None], ids)  # every word tells
    recipe = kt.training.gpt1_finetuning_recipe(total_steps=8 * 4, peak_learning_rate=1e-2)
    model.compile(**recipe)
    model.fit({"token_ids": ids}, labels, batch_size=32, epochs=8, verbose=0)
    assert model.evaluate({"token_ids": ids}, labels, verbose=0)[1] > 0.95


def test_half_precision_is_finite_and_close():
    ids = examples("classifier")
    expected = randomize(make("classifier"))
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = randomize(make("classifier"))
    output = model({"token_ids": ids})
    assert keras.backend.standardize_dtype(output.dtype) == "float32"
    np.testing.assert_allclose(to_numpy(output), to_numpy(expected({"token_ids": ids})), atol=0.1)
    assert np.isfinite(loss_of_fit(model, ids, np.zeros(5, "int32")))


def test_a_row_of_nothing_but_padding_is_finite():
    model = randomize(make("classifier"))
    ids = np.concatenate([examples("classifier"), np.zeros((1, 13), "int32")])
    assert np.isfinite(to_numpy(model({"token_ids": ids}))).all()
    assert np.isfinite(loss_of_fit(model, ids, np.zeros(6, "int32")))


def test_new_tokens_leave_the_old_logits():
    lm = randomize(kt.models.gpt(V, 1, 2, 256, 32, dropout=0.0, padding_id=None))
    more = kt.models.with_new_tokens(lm, 37)
    ids = token_ids(2, 5, vocabulary_size=V)
    logits = to_numpy(more({"token_ids": ids}))
    assert logits.shape == (2, 5, V + 37)
    np.testing.assert_allclose(logits[..., :V], to_numpy(lm({"token_ids": ids})), atol=1e-5)
    embedding = more.get_layer("token_embedding")
    new = to_numpy(embedding.embeddings)[V:]
    assert 0.033 < new.std() < 0.036 and abs(new.mean()) < 0.001
    assert len(np.unique(new)) > 0.99 * new.size
    assert embedding.padding_id is None
    assert kt.decoding.generate(more, ids, max_new_tokens=2).shape == (2, 7)


def test_errors():
    lm = language_model()
    with pytest.raises(ValueError, match="`num_classes` must be a positive integer"):
        kt.models.classifier(lm, 0)
    with pytest.raises(
        ValueError, match="`lm_weight` must be a finite number >= 0. Received: lm_weight=-1"
    ):
        kt.models.classifier(lm, 2, lm_weight=-1)
    with pytest.raises(ValueError, match=r"`dropout` must be in the range \[0, 1\)"):
        kt.models.similarity(lm, dropout=1.0)
    with pytest.raises(ValueError, match="`extract_id` must be an id .* Received: extract_id=53"):
        kt.models.multiple_choice(lm, extract_id=53)
    with pytest.raises(ValueError, match="`extract_id` must not be the padding id"):
        kt.models.entailment(lm, extract_id=0)
    with pytest.raises(ValueError, match="`num_tokens` must be a positive integer"):
        kt.models.with_new_tokens(lm, 0)
    translator = kt.models.transformer(V, None, 1, 2, 8, 8)
    with pytest.raises(ValueError, match="`lm` must be a language model"):
        kt.models.similarity(translator, 2)
