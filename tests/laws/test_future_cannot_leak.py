"""Law 2: changing token t changes no output before t."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import normal, to_numpy, token_ids
from tests.laws.models import NAMES, TRANSLATORS, V, get_case, rotary_decoder

B, T, S = 2, 5, 7


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("padding", [None, "left", "right"])
def test_a_changed_token_changes_nothing_before_it(name, padding):
    case = get_case(name)
    target = token_ids(B, T, vocabulary_size=V)
    source = token_ids(B, S, vocabulary_size=V, seed=1)
    if padding == "left":
        target[:, :2] = 0
    if padding == "right":
        target[:, 4:] = 0
    before = to_numpy(case(target, source))
    for t in range(T):
        changed = target.copy()
        changed[:, t] = 1 + target[:, t] % (V - 1)
        after = to_numpy(case(changed, source))
        np.testing.assert_allclose(after[:, :t], before[:, :t], atol=1e-6)
        assert np.abs(after[:, t] - before[:, t]).max() > 1e-3


@pytest.mark.parametrize("cross_attention", [False, True])
def test_rotary_stack(cross_attention):
    decoder = rotary_decoder(cross_attention=cross_attention)
    x = normal(B, T, 8)
    encoded = {"encoded": normal(B, S, 8, seed=1)} if cross_attention else {}
    before = to_numpy(decoder(x, **encoded))
    for t in range(T):
        changed = x.copy()
        changed[:, t] += normal(B, 8, seed=2)  # a constant would vanish in the layer norm
        after = to_numpy(decoder(changed, **encoded))
        np.testing.assert_allclose(after[:, :t], before[:, :t], atol=1e-6)
        assert np.abs(after[:, t:] - before[:, t:]).max(axis=-1).min() > 1e-4


def test_the_future_is_seen_without_the_causal_mask():
    """The test above would be worth nothing if nothing could leak at all."""
    decoder = rotary_decoder(causal=False)
    x = normal(B, T, 8)
    before = to_numpy(decoder(x))
    x[:, T - 1] += normal(B, 8, seed=2)
    assert np.abs(to_numpy(decoder(x)) - before)[:, 0].max() > 1e-3


@pytest.mark.parametrize("scores", [False, True])
def test_an_attention_mask_stands_beside_the_causal_mask(scores):
    layer = kt.layers.MultiHeadSelfAttention(num_heads=2, causal=True)
    x, everything = normal(B, T, 8), np.ones((T, T), bool)
    plain = layer(x, return_attention_scores=scores)
    masked = layer(x, attention_mask=everything, return_attention_scores=scores)
    if scores:
        weights = to_numpy(masked["attention_scores"])
        assert (np.triu(weights, 1) == 0).all() and (np.diagonal(weights, 0, 2, 3) > 0).all()
        plain, masked = plain["output"], masked["output"]
    np.testing.assert_allclose(to_numpy(plain), to_numpy(masked), atol=1e-6)


@pytest.mark.parametrize("name", TRANSLATORS)
def test_the_encoder_does_not_read_the_target(name):
    case = get_case(name)
    parts = kt.decoding.DecodingModel(case.model)
    source = token_ids(B, S, vocabulary_size=V, seed=1)
    seen = []
    for seed in (0, 1):
        both = keras.Model(case.model.inputs, parts.encoder.output)
        target = token_ids(B, T, vocabulary_size=V, seed=seed)
        seen.append(to_numpy(both({"source_ids": source, "target_ids": target})))
    np.testing.assert_array_equal(*seen)


def test_every_target_token_reads_the_whole_source():
    case = get_case("transformer")
    target = token_ids(B, T, vocabulary_size=V)
    source = token_ids(B, S, vocabulary_size=V, seed=1)
    before = to_numpy(case(target, source))
    for s in range(S):
        changed = source.copy()
        changed[:, s] = 1 + source[:, s] % (V - 1)
        assert np.abs(to_numpy(case(target, changed)) - before).max(axis=(0, 2)).min() > 1e-5
