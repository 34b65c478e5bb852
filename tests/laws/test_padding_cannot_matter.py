"""Law 3: more padding, other examples and packed neighbours change nothing."""

import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.harness import normal, to_numpy, token_ids
from tests.laws.models import (
    LANGUAGE_MODELS,
    NAMES,
    TRANSLATORS,
    V,
    get_case,
    rotary_decoder,
    rotary_encoder,
)

T, S = 5, 7


def padded(ids, before=0, after=0):
    return np.pad(ids, ((0, 0), (before, after)))


@pytest.mark.parametrize("name", NAMES)
def test_more_padding_changes_nothing(name):
    case = get_case(name)
    target = token_ids(2, T, vocabulary_size=V)
    source = token_ids(2, S, vocabulary_size=V, seed=1)
    expected = to_numpy(case(target, source))
    for more in (1, 4):
        wider = to_numpy(case(padded(target, after=more), padded(source, after=more)))
        np.testing.assert_allclose(wider[:, :T], expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_other_examples_change_nothing(name):
    case = get_case(name)
    target, source = token_ids(1, 3, vocabulary_size=V), token_ids(1, 4, vocabulary_size=V, seed=1)
    expected = to_numpy(case(target, source))
    others = token_ids(2, T, vocabulary_size=V, seed=2), token_ids(2, S, vocabulary_size=V, seed=3)
    together = to_numpy(
        case(
            np.concatenate([padded(target, after=T - 3), others[0]]),
            np.concatenate([padded(source, after=S - 4), others[1]]),
        )
    )
    np.testing.assert_allclose(together[:1, :3], expected, atol=1e-5)


@pytest.mark.parametrize("name", TRANSLATORS)
def test_padding_of_the_source_is_hidden_from_the_decoder(name):
    """What stands at padded source positions must not reach cross-attention either."""
    case = get_case(name)
    parts = kt.decoding.DecodingModel(case.model)
    target = parts.target_embedding(token_ids(2, T, vocabulary_size=V))
    encoded = normal(2, S, parts.encoder.output.shape[-1])
    mask = np.array([[True] * 4 + [False] * 3, [False, True, True, True, True, True, False]])
    before = to_numpy(parts.decoder(target, encoded, encoded_padding_mask=mask))
    encoded[~mask] = 50.0
    after = to_numpy(parts.decoder(target, encoded, encoded_padding_mask=mask))
    np.testing.assert_allclose(after, before, atol=1e-6)
    encoded[0, 3] += 1.0
    assert (
        np.abs(to_numpy(parts.decoder(target, encoded, encoded_padding_mask=mask)) - before).max()
        > 1e-3
    )


@pytest.mark.parametrize("make", [rotary_encoder, rotary_decoder])
def test_padding_on_the_left_with_its_positions(make):
    """Rotary positions see distances alone: moving a sequence to the right changes nothing."""
    stack = make()
    x = normal(2, T, 8)
    wider = np.concatenate([normal(2, 3, 8, seed=1), x], axis=1)
    mask = np.arange(T + 3)[None, :] >= 3
    output = to_numpy(stack(wider, padding_mask=np.repeat(mask, 2, axis=0)))
    np.testing.assert_allclose(output[:, 3:], to_numpy(stack(x)), atol=1e-5)


@pytest.mark.parametrize("positional", [None, "sinusoidal", "learned"])
@pytest.mark.parametrize("make", [rotary_encoder, rotary_decoder])
def test_packed_sequences_do_not_see_each_other(make, positional):
    options = {}
    if positional == "sinusoidal":
        options["positional_encoding"] = kt.layers.PositionalEncoding()
    if positional == "learned":
        options["positional_encoding"] = kt.layers.LearnedPositionalEmbedding(11, "glorot_uniform")
    stack = make(**options)
    first, second, third = normal(1, 3, 8), normal(1, 2, 8, seed=1), normal(1, 4, 8, seed=2)
    padding = normal(1, 2, 8, seed=3)
    packed = np.concatenate([first, second, third, padding], axis=1)
    segments = np.array([[1, 1, 1, 2, 2, 3, 3, 3, 3, 0, 0]])
    positions = np.array([[0, 1, 2, 0, 1, 0, 1, 2, 3, 0, 1]], "int32")
    mask = kt.ops.packing_mask(ops.convert_to_tensor(segments))
    output = to_numpy(stack(packed, attention_mask=mask, positions=positions))
    assert np.isfinite(output).all()
    start = 0
    for part in (first, second, third):
        end = start + part.shape[1]
        np.testing.assert_allclose(output[:, start:end], to_numpy(stack(part)), atol=1e-5)
        start = end


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_packed_sequences_of_a_model_do_not_see_each_other(name):
    case = get_case(name)
    parts = [token_ids(1, length, vocabulary_size=V, seed=length) for length in (3, 2, 4)]
    ids = padded(np.concatenate(parts, axis=1), after=2)
    segments = np.array([[1, 1, 1, 2, 2, 3, 3, 3, 3, 0, 0]], "int32")
    model = kt.models.packed(case.model)
    output = to_numpy(model({"token_ids": ids, "segment_ids": segments}, training=False))
    expected = np.concatenate([to_numpy(case(part)) for part in parts], axis=1)
    assert np.isfinite(output).all()
    np.testing.assert_allclose(output[:, :9], expected, atol=1e-5)


@pytest.mark.parametrize("make", [rotary_encoder, rotary_decoder])
def test_without_the_packing_mask_they_do(make):
    stack = make()
    first, second = normal(1, 3, 8), normal(1, 2, 8, seed=1)
    output = to_numpy(stack(np.concatenate([first, second], axis=1)))
    assert np.abs(output[:, 3:] - to_numpy(stack(second))).max() > 1e-2


def test_the_implicit_mask_of_the_embedding_travels_through_the_model():
    """An explicit mask at each stack gives what the model's own, implicit masks give."""
    case = get_case("transformer")
    parts = kt.decoding.DecodingModel(case.model)
    target = token_ids(2, T, vocabulary_size=V)
    source = token_ids(2, S, vocabulary_size=V, seed=1)
    target[0, 3:], source[1, 2:] = 0, 0
    source_mask, target_mask = (ops.convert_to_tensor(ids != 0) for ids in (source, target))

    def embed(ids):
        # Through NumPy, so that no implicit mask comes along.
        return to_numpy(parts.target_embedding(ids))

    encoded = to_numpy(parts.encoder(embed(source), padding_mask=source_mask))
    hidden = parts.decoder(
        embed(target), encoded, padding_mask=target_mask, encoded_padding_mask=source_mask
    )
    expected = to_numpy(case(target, source))
    np.testing.assert_allclose(to_numpy(parts.logits(hidden)), expected, atol=1e-5)
