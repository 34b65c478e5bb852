"""Language models over packed rows: each sequence as if it were alone."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import make_decoder, outputs_after_reload, randomize, to_numpy

V = 23
SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 11, "dropout": 0.0}
random = np.random.default_rng(11)
SEQUENCES = [random.integers(1, V, length).tolist() for length in (6, 3, 2, 9, 5, 4, 7, 2, 8)]


MODELS = {
    "gpt1": lambda **more: kt.models.gpt(V, max_length=17, **SIZE, **more),
    "gpt2": lambda **more: kt.models.gpt(
        V, max_length=17, normalize_first=True, padding_id=None, **SIZE, **more
    ),
    "grouped": lambda **more: kt.models.gpt(
        V, max_length=17, num_key_value_heads=1, **SIZE, **more
    ),
    "rotary": lambda **more: kt.models.gpt(
        V, max_length=None, rotary=True, normalize_first=True, **SIZE, **more
    ),
    "relative_in_a_window": lambda **more: kt.models.gpt(
        V, max_length=None, relative_positions="t5", window=(3, None), **SIZE, **more
    ),
}


def make(name, **more):
    return randomize(MODELS[name](**more), stddev=0.4)


def batch(length=13, batch_size=5):
    batches = kt.data.PackedBatches(SEQUENCES, length, batch_size, shuffle=False)
    assert len(batches) == 1
    return batches[0]


def one_a_row():
    """The same sequences, padded."""
    rows = np.zeros((len(SEQUENCES), 9), "int32")
    for row, sequence in zip(rows, SEQUENCES, strict=True):
        row[: len(sequence)] = sequence
    return {"token_ids": np.where(rows[:, 1:] > 0, rows[:, :-1], 0)}, rows[:, 1:]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_each_sequence_alone(name):
    lm = make(name)
    inputs, _ = batch()
    logits = to_numpy(kt.models.packed(lm)(inputs, training=False))
    assert np.isfinite(logits).all()  # in rows of padding too
    assert not inputs["segment_ids"][-1].any()
    for row, segments in enumerate(inputs["segment_ids"]):
        for number in range(1, segments.max() + 1):
            inside = segments == number
            alone = lm({"token_ids": inputs["token_ids"][row, inside][None]}, training=False)
            np.testing.assert_allclose(logits[row, inside], to_numpy(alone)[0], atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_finite(policy):
    lm = randomize(kt.models.gpt(V, max_length=17, dtype=policy, **SIZE), stddev=0.4)
    assert np.isfinite(to_numpy(kt.models.packed(lm)(batch()[0]))).all()


def test_a_change_stays_within_its_sequence():
    model = kt.models.packed(make("gpt1"))
    inputs, _ = batch()
    before = to_numpy(model(inputs, training=False))
    segments = inputs["segment_ids"]
    place = int(np.argmax(segments[1] == 2))  # the first token of a second sequence
    inputs["token_ids"][1, place] = 1 + inputs["token_ids"][1, place] % (V - 1)
    changed = np.abs(to_numpy(model(inputs, training=False)) - before).max(axis=-1) > 1e-5
    expected = np.zeros_like(changed)
    expected[1] = segments[1] == 2
    np.testing.assert_array_equal(changed, expected)


def loss_and_weights(model, inputs, labels):
    model.compile(keras.optimizers.SGD(0.1), kt.training.MaskedCrossentropy(), run_eagerly=True)
    history = model.fit(inputs, labels, batch_size=len(labels), verbose=0)
    weights = [np.array(keras.ops.convert_to_numpy(w)) for w in model.trainable_weights]
    return history.history["loss"][0], weights


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt1", "gpt2", "rotary"])
def test_a_training_step_is_that_of_the_sequences_one_a_row(name):
    expected, weights = loss_and_weights(make(name), *one_a_row())
    lm = make(name)
    loss, _ = loss_and_weights(kt.models.packed(lm), *batch())
    assert loss == pytest.approx(expected, abs=1e-5)
    # The layers are those of the language model.
    for one, other in zip(lm.trainable_weights, weights, strict=True):
        np.testing.assert_allclose(to_numpy(one), other, atol=1e-5)


@pytest.mark.slow
def test_fit_takes_packed_batches_and_trains_the_language_model():
    lm = make("gpt1")
    model = kt.models.packed(lm)
    batches = kt.data.PackedBatches(SEQUENCES, length=13, batch_size=2)
    model.compile(keras.optimizers.Adam(0.01), kt.training.MaskedCrossentropy())
    before = to_numpy(lm(one_a_row()[0]))
    history = model.fit(batches, epochs=4, verbose=0, shuffle=False).history["loss"]
    assert history[-1] < history[0]
    assert np.abs(to_numpy(lm(one_a_row()[0])) - before).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "rotary"])
def test_saved_and_loaded_in_a_fresh_process(name, tmp_path):
    model = kt.models.packed(make(name))
    inputs, _ = batch()
    outputs = outputs_after_reload(model, inputs, tmp_path, keras.backend.backend())
    np.testing.assert_allclose(outputs["output"], to_numpy(model(inputs)), atol=1e-6)


def test_errors():
    with pytest.raises(ValueError, match="`lm` must be a language model with the layers"):
        kt.models.packed(kt.models.transformer(V, **SIZE))
    for arguments, message in [
        ({"recurrence": "ssru"}, "Received: recurrence='ssru', causal=True"),
        ({"causal": False}, "Received: recurrence=None, causal=False"),
    ]:
        embedding = kt.layers.TokenEmbedding(V, 8, name="token_embedding")
        decoder = make_decoder(1, 2, 11, cross_attention=False, name="decoder", **arguments)
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        logits = embedding(decoder(embedding(token_ids)), reverse=True)
        with pytest.raises(ValueError, match=f"`lm` must have a decoder with causal.*{message}"):
            kt.models.packed(keras.Model({"token_ids": token_ids}, logits))


def test_a_row_may_be_longer_than_the_models_positions_but_not_a_sequence():
    lm = make("gpt1")  # 17 positions
    model = kt.models.packed(lm)
    inputs, _ = batch(length=19)
    logits = to_numpy(model(inputs, training=False))
    inside = inputs["segment_ids"][0] == inputs["segment_ids"][0].max()
    alone = lm({"token_ids": inputs["token_ids"][0, inside][None]}, training=False)
    np.testing.assert_allclose(logits[0, inside], to_numpy(alone)[0], atol=1e-5)
    one = {"token_ids": np.full((1, 18), 5), "segment_ids": np.ones((1, 18), "int32")}
    # Each backend words it in its own way; none returns numbers.
    with pytest.raises(Exception, match=r"range|size 17|\[0, 17\)"):
        model(one, training=False)
