"""BERT: its size, its laws, its masked-LM training."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND, outputs_after_reload, randomize, to_numpy, token_ids

V = 23
SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 11}


def make(**more):
    return randomize(kt.models.bert(V, max_length=17, masked_lm=True, **{**SMALL, **more}))


def inputs_of(ids):
    ids = np.asarray(ids, "int32")
    return {"token_ids": ids, "segment_ids": np.arange(ids.shape[1])[None] // 4 + 0 * ids}


def padded(ids, left, right):
    inputs = inputs_of(ids)
    pad = ((0, 0), (left, right))
    return {name: np.pad(value, pad).astype("int32") for name, value in inputs.items()}


@pytest.mark.slow
def test_the_sizes_of_the_paper():
    model = kt.models.bert()
    assert model.count_params() == 109_482_240  # Hugging Face's BertModel of the base size


def without_segments(inputs):
    return {"token_ids": inputs["token_ids"]}


FORMS = {
    "with_segments": (make, lambda inputs: inputs),
    "without_segments": (lambda **more: make(num_segments=None, **more), without_segments),
}
every_form = pytest.mark.parametrize(("make", "form"), FORMS.values(), ids=FORMS)


@every_form
def test_padding_cannot_matter(make, form):
    model, ids = make(), token_ids(3, 5, vocabulary_size=V)
    alone = to_numpy(model(form(padded(ids, 0, 0))))
    wider = to_numpy(model(form(padded(ids, 0, 6))))
    for key, value in alone.items():
        other = wider[key] if key == "pooled_output" else wider[key][:, :5]
        np.testing.assert_allclose(value, other, atol=1e-5)
    assert np.isfinite(wider["logits"]).all()


def test_every_token_and_segment_reaches_every_output():
    model, ids = make(), token_ids(1, 6, vocabulary_size=V, low=5)
    before = to_numpy(model(inputs_of(ids)))["logits"]
    changed = ids.copy()
    changed[0, 5] = 4
    after = to_numpy(model(inputs_of(changed)))["logits"]
    assert (np.abs(after - before).max(-1) > 1e-4).all()
    inputs = inputs_of(ids)
    inputs["segment_ids"] = 1 - inputs["segment_ids"]
    after = to_numpy(model(inputs))["logits"]
    assert (np.abs(after - before).max(-1) > 1e-4).all()


@every_form
@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_bfloat16"])
def test_it_is_finite_in_every_precision(policy, make, form):
    inputs = padded(token_ids(2, 5, vocabulary_size=V), 0, 3)
    inputs["token_ids"][1] = 0
    outputs = to_numpy(make(dtype=policy)(form(inputs)))
    assert all(np.isfinite(value.astype("float32")).all() for value in outputs.values())


def test_without_segments_it_is_a_bert_whose_segments_are_zeros():
    ids = token_ids(3, 5, vocabulary_size=V)
    model, other = make(num_segments=1), make(num_segments=None)
    assert [tensor.name for tensor in other.inputs] == ["token_ids"]
    model.get_layer("segment_embedding").embeddings.assign(np.zeros((1, 8)))
    for layer in other.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    expected = to_numpy(model({"token_ids": ids, "segment_ids": np.zeros_like(ids)}))
    for key, value in to_numpy(other({"token_ids": ids})).items():
        np.testing.assert_allclose(value, expected[key], atol=1e-6)


@pytest.mark.parametrize("pooler", [False, True])
@pytest.mark.parametrize("masked_lm", [False, True])
def test_the_outputs_that_are_asked_for(pooler, masked_lm):
    model = kt.models.bert(V, **SMALL, pooler=pooler, masked_lm=masked_lm)
    outputs = model(inputs_of(token_ids(2, 5, vocabulary_size=V)))
    shapes = {"output": (2, 5, 8)}
    shapes |= {"pooled_output": (2, 8)} if pooler else {}
    shapes |= {"logits": (2, 5, V)} if masked_lm else {}
    if len(shapes) == 1:
        outputs = {"output": outputs}
    assert {key: tuple(value.shape) for key, value in outputs.items()} == shapes


@pytest.mark.slow
@every_form
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_reload_is_identical(backend, make, form, tmp_path):
    model, inputs = make(), form(padded(token_ids(2, 5, vocabulary_size=V), 0, 3))
    actual = outputs_after_reload(model, inputs, tmp_path, backend)
    tolerance = 1e-6 if backend == BACKEND else 1e-5
    for key, value in to_numpy(model(inputs)).items():
        np.testing.assert_allclose(actual[key], value, atol=tolerance)


@pytest.mark.slow
def test_it_learns_to_fill_in_masked_tokens():
    """Sequences that count upwards: a masked token follows from its neighbours on both sides."""
    generator = np.random.default_rng(0)
    ids = (generator.integers(0, 10, (256, 1)) + np.arange(8)) % 10 + 5
    masked = generator.random(ids.shape) < 0.2
    inputs = inputs_of(np.where(masked, 1, ids)) | {"segment_ids": np.zeros(ids.shape, "int32")}
    bert = kt.models.bert(V, **{**SMALL, "hidden_dim": 32}, dropout=0.0, masked_lm=True)
    model = keras.Model(bert.input, bert.output["logits"])
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
        jit_compile=BACKEND == "jax",
    )
    weights = masked.astype("float32")
    model.fit(inputs, ids, sample_weight=weights, epochs=100, batch_size=64, verbose=0)
    predicted = to_numpy(model.predict(inputs, verbose=0)).argmax(-1)
    assert (predicted == ids)[masked].mean() > 0.95


def test_errors():
    with pytest.raises(
        ValueError, match="`num_segments` must be a positive integer. Received: num_.*=0"
    ):
        kt.models.bert(V, **SMALL, num_segments=0)
    with pytest.raises(ValueError, match="must not be longer than `max_length`. .*length=18, .*17"):
        make(num_segments=9)(inputs_of(token_ids(1, 18, vocabulary_size=V)))
