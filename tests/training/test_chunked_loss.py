"""Training in chunks against training with whole logits: losses, metrics, weights."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND, token_ids

V, D, BATCH, LENGTH = 31, 12, 5, 7
SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": D, "intermediate_dim": 16, "dropout": 0.0}


def make_gpt(**arguments):
    return kt.models.gpt(V, max_length=16, **SIZES, **arguments)


def make_translator(**arguments):
    return kt.models.transformer(V, **SIZES, **arguments)


MODELS = {
    "gpt": make_gpt,
    "new tokens": lambda: kt.models.with_new_tokens(make_gpt(), 6),
    "packed": lambda: kt.models.packed(make_gpt()),
    "translator with a bias": lambda: make_translator(output_bias=True),
    "scaled logits": lambda: make_translator(scale_logits=True),
    "two vocabularies": lambda: make_translator(target_vocabulary_size=V + 6),
    "a matrix and a bias": lambda: make_translator(share_embeddings=False, output_bias=True),
}


def batch_for(model):
    """Inputs, labels and weights of tokens, with padding."""
    ids = token_ids(BATCH, LENGTH + 1, vocabulary_size=V, seed=3)
    ids[1, 3:] = 0
    ids[4, 6:] = 0
    weights = np.linspace(0.5, 1.5, BATCH * LENGTH).reshape(BATCH, LENGTH).astype("float32")
    names = [layer.name for layer in model.layers]
    if "segments" in names:
        segments = np.where(ids[:, :-1] == 0, 0, np.array([1, 1, 1, 2, 2, 2, 2]))
        return {"token_ids": ids[:, :-1], "segment_ids": segments}, ids[:, 1:], weights
    if "encoder" not in names:
        return {"token_ids": ids[:, :-1]}, ids[:, 1:], weights
    source = token_ids(BATCH, 4, vocabulary_size=V, seed=5)
    return {"source_ids": source, "target_ids": ids[:, :-1]}, ids[:, 1:], weights


def compiled(model, jit_compile=None, **arguments):
    if jit_compile is None:
        jit_compile = BACKEND == "jax"
    recipe = kt.training.transformer_recipe(D, learning_rate=0.01, **arguments)
    recipe["optimizer"] = keras.optimizers.SGD(0.5)
    model.compile(**recipe, jit_compile=jit_compile)
    return model


def pair(make):
    """The same model twice, the second one trained in chunks."""
    keras.utils.set_random_seed(7)
    whole = make()
    other = make()
    other.set_weights(whole.get_weights())
    return whole, other


def trained(model, inputs, labels, weights, steps=2):
    history = model.fit(
        inputs, labels, sample_weight=weights, batch_size=BATCH, epochs=steps, verbose=0
    )
    scores = model.evaluate(
        inputs, labels, sample_weight=weights, batch_size=2, verbose=0, return_dict=True
    )
    return {**history.history, **{f"test_{name}": [value] for name, value in scores.items()}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "spread"), [*((name, "all_classes") for name in MODELS), ("gpt", "wrong_classes")]
)
def test_the_same_training(name, spread):
    whole, other = pair(MODELS[name])
    inputs, labels, weights = batch_for(whole)
    trainer = kt.training.ChunkedLossModel(other, chunk_size=8)
    expected = trained(compiled(whole, smoothing_spread=spread), inputs, labels, weights)
    actual = trained(compiled(trainer, smoothing_spread=spread), inputs, labels, weights)
    assert actual.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(actual[key], values, rtol=1e-5, err_msg=key)
    assert expected["loss"][-1] < expected["loss"][0]
    for ours, theirs in zip(other.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_array_equal(
        trainer.predict(inputs, verbose=0), other.predict(inputs, verbose=0)
    )
    assert trainer.predict_on_batch(inputs).shape == (BATCH, LENGTH, labels_of(name))


def labels_of(name):
    return V + 6 if name in ("two vocabularies", "new tokens") else V


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="the others have one way to compile")
def test_the_same_training_under_xla():
    whole, other = pair(make_gpt)
    inputs, labels, weights = batch_for(whole)
    trainer = compiled(kt.training.ChunkedLossModel(other, chunk_size=8), jit_compile=True)
    expected = trained(compiled(whole), inputs, labels, weights)
    actual = trained(trainer, inputs, labels, weights)
    for key, values in expected.items():
        np.testing.assert_allclose(actual[key], values, rtol=1e-5, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_in_half_precision(policy):
    keras.config.set_dtype_policy(policy)
    whole, other = pair(make_gpt)
    inputs, labels, weights = batch_for(whole)
    expected = trained(compiled(whole), inputs, labels, weights)
    actual = trained(
        compiled(kt.training.ChunkedLossModel(other, chunk_size=8)), inputs, labels, weights
    )
    for key in ("loss", "test_loss"):
        np.testing.assert_allclose(actual[key], expected[key], rtol=0.01, err_msg=key)


@pytest.mark.slow
def test_frozen_and_adapted():
    whole, other = pair(make_gpt)
    inputs, labels, weights = batch_for(whole)
    for model in (whole, other):
        keras.utils.set_random_seed(11)
        kt.training.enable_lora(model, rank=2)
        assert not model.get_layer("token_embedding").embeddings.trainable
    expected = trained(compiled(whole), inputs, labels, weights)
    actual = trained(
        compiled(kt.training.ChunkedLossModel(other, chunk_size=8)), inputs, labels, weights
    )
    np.testing.assert_allclose(actual["loss"], expected["loss"], rtol=1e-5)


@pytest.mark.slow
def test_saved_and_loaded(tmp_path):
    model = make_gpt()
    inputs, labels, weights = batch_for(model)
    trainer = compiled(kt.training.ChunkedLossModel(model, chunk_size=3))
    trained(trainer, inputs, labels, weights, steps=1)
    trainer.save(tmp_path / "trainer.keras")
    loaded = keras.saving.load_model(tmp_path / "trainer.keras")
    assert loaded.chunk_size == 3
    before, after = (
        each.evaluate(inputs, labels, verbose=0, return_dict=True) for each in (trainer, loaded)
    )
    assert before == pytest.approx(after, rel=1e-6)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        again.predict(inputs, verbose=0), trainer.predict(inputs, verbose=0), atol=1e-6
    )


def test_a_sum_and_a_penalty_on_weights():
    whole, other = pair(make_gpt)
    inputs, labels, weights = batch_for(whole)
    for model in (whole, other):
        dense = [
            layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dense)
        ]
        dense[0].kernel.regularizer = keras.regularizers.L2(0.1)
    values = []
    for model in (whole, kt.training.ChunkedLossModel(other)):
        loss = kt.training.MaskedCrossentropy(reduction="sum")
        model.compile(keras.optimizers.SGD(0.01), loss, jit_compile=BACKEND == "jax")
        values.append(model.train_on_batch(inputs, labels, weights, return_dict=True)["loss"])
    assert values[1] == pytest.approx(values[0], rel=1e-6)


def test_errors():
    model = make_gpt()
    with pytest.raises(ValueError, match="`chunk_size` must be .*Received: chunk_size=0"):
        kt.training.ChunkedLossModel(model, chunk_size=0)
    bert = kt.models.bert(V, **SIZES)
    with pytest.raises(ValueError, match="`model` must be a language model.*Received: .*encoder"):
        kt.training.ChunkedLossModel(bert)
    trainer = kt.training.ChunkedLossModel(model)
    with pytest.raises(
        ValueError, match="`loss` must be a MaskedCrossentropy .*Received: loss=None"
    ):
        trainer.compile("sgd")
    with pytest.raises(ValueError, match="Received: loss=.*, reduction='none'"):
        trainer.compile("sgd", kt.training.MaskedCrossentropy(reduction="none"))
    loss = kt.training.MaskedCrossentropy()
    with pytest.raises(
        ValueError, match="`metrics` must be MaskedAccuracy or Perplexity.*accuracy"
    ):
        trainer.compile("sgd", loss, metrics=["accuracy"])
    with pytest.raises(
        ValueError, match="perplexity with padding_id=None, the loss with padding_i"
    ):
        trainer.compile("sgd", loss, metrics=[kt.training.Perplexity(padding_id=None)])
    with pytest.raises(ValueError, match="`weighted_metrics` is not supported"):
        trainer.compile("sgd", loss, weighted_metrics=[kt.training.Perplexity()])
