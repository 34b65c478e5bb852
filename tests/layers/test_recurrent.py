"""The recurrent unit against its equations, one position after the other."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.harness import make_decoder, normal, randomize, to_numpy

B, T, D = 3, 7, 5


@pytest.fixture(scope="module")
def layer():
    layer = kt.layers.SSRU()
    layer.build((None, None, D))
    return randomize(layer, stddev=0.7)


def plain(layer, x, real, state=None):
    """The outputs (B, T, D) and the last state, written as in the paper."""
    forget, candidate = layer.forget_dense, layer.candidate_dense
    state = np.zeros((len(x), D)) if state is None else state
    outputs = []
    for t in range(x.shape[1]):
        gate = 1 / (1 + np.exp(-(x[:, t] @ to_numpy(forget.kernel) + to_numpy(forget.bias))))
        new = gate * state + (1 - gate) * (x[:, t] @ to_numpy(candidate.kernel))
        state = np.where(real[:, t, None], new, state)
        outputs.append(np.maximum(state, 0))
    return np.stack(outputs, axis=1), state


REAL = np.array([[True] * 7, [True, False, True, True, False, False, True], [False] * 7])


def test_the_equations(layer):
    x = normal(B, T, D)
    expected, _ = plain(layer, x, np.ones((B, T), bool))
    np.testing.assert_allclose(to_numpy(layer(x)), expected, atol=1e-5)
    expected, _ = plain(layer, x, REAL)
    np.testing.assert_allclose(to_numpy(layer(x, padding_mask=REAL)), expected, atol=1e-5)


@pytest.mark.parametrize("pieces", [(7,), (1, 1, 1, 1, 1, 1, 1), (3, 1, 2, 1)])
def test_a_sequence_in_pieces(layer, pieces):
    x = normal(B, T, D)
    expected, last = plain(layer, x, REAL)
    state, start, outputs = layer.initial_cache(B, T), 0, []
    for length in pieces:
        piece = x[:, start : start + length]
        result = layer(piece, padding_mask=REAL, cache=state, cache_index=start)
        outputs.append(to_numpy(result["output"]))
        state, start = result["cache"], start + length
    np.testing.assert_allclose(np.concatenate(outputs, axis=1), expected, atol=1e-5)
    np.testing.assert_allclose(to_numpy(state), last, atol=1e-5)


@pytest.mark.slow
def test_implicit_mask_and_training():
    """An embedding with a mask in front, in a model that learns to carry a sight to the end."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(6, 8, mask_zero=True)(inputs)
    x = kt.layers.SSRU()(x)
    outputs = keras.layers.Dense(1, activation="sigmoid")(x[:, -1])
    model = keras.Model(inputs, outputs)
    ids = np.random.default_rng(0).integers(1, 6, (256, 6))
    ids[:, 2:] = np.where(np.arange(4) < np.arange(256)[:, None] % 5, ids[:, 2:], 0)
    model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
    has_one = (ids == 1).any(axis=1).astype("float32")[:, None]
    model.fit(ids, has_one, epochs=20, batch_size=32, verbose=0)
    assert model.evaluate(ids, has_one, verbose=0, return_dict=True)["accuracy"] > 0.95
    padded = np.pad(ids, ((0, 0), (0, 3)))
    np.testing.assert_allclose(
        model.predict(padded, verbose=0), model.predict(ids, verbose=0), atol=1e-5
    )


def test_what_a_recurrent_block_refuses():
    with pytest.raises(ValueError, match='`recurrence` must be None or "ssru".*lstm'):
        kt.layers.DecoderBlock(2, 8, recurrence="lstm")
    with pytest.raises(ValueError, match="`recurrence` requires `rotary=False`.*rotary=True"):
        make_decoder(1, 2, 8, recurrence="ssru", rotary=True)
    block = kt.layers.DecoderBlock(2, 8, recurrence="ssru", cross_attention=False)
    with pytest.raises(ValueError, match="`attention_mask` must be None with `recurrence`"):
        block(normal(2, 3, 4), attention_mask=np.ones((3, 3), bool))


def test_a_start_that_is_padding_is_a_token():
    """As the first token of a target in `model.fit`, where only the implicit mask is there."""
    arguments = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 11}
    for recurrence in (None, "ssru"):
        model = kt.models.transformer(
            13, padding_id=12, start_is_padding=True, decoder_recurrence=recurrence, **arguments
        )
        randomize(model, stddev=0.4)
        source, target = np.array([[5, 6, 3]]), np.array([[12, 4, 5, 12, 12]])
        whole = to_numpy(model({"source_ids": source, "target_ids": target}))
        decoder, embedding = model.get_layer("decoder"), model.get_layer("token_embedding")
        encoded = model.get_layer("encoder")(embedding(source))
        real = ops.convert_to_tensor([[True, True, True]])
        decoded = decoder(ops.convert_to_tensor(embedding(target[:, :3])), encoded, real)
        expected = to_numpy(embedding(decoded, reverse=True))
        np.testing.assert_allclose(whole[:, :3], expected, atol=1e-5)
        assert np.abs(whole[:, 0]).max() > 0.1
