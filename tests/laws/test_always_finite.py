"""Law 5: rows that see nothing give no NaN, in float32, bfloat16 and float16."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import normal, to_numpy, token_ids
from tests.laws.models import NAMES, V, get_case, make_case, rotary_decoder, rotary_encoder

POLICIES = ["float32", "mixed_bfloat16", "mixed_float16", "bfloat16", "float16"]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_finite_with_rows_of_padding(name, policy):
    case = make_case(name, dtype=policy) if policy != "float32" else get_case(name)
    target, source = token_ids(3, 5, vocabulary_size=V), token_ids(3, 7, vocabulary_size=V, seed=1)
    target[0, :2] = target[1, 3:] = 0
    source[0, :3] = source[1, 2:] = 0
    target[2] = source[2] = 0
    logits = case(target, source)
    compute_dtype = keras.dtype_policies.get(policy).compute_dtype
    assert keras.backend.standardize_dtype(logits.dtype) == compute_dtype
    logits = to_numpy(logits)
    assert np.isfinite(logits).all()
    expected = to_numpy(get_case(name)(target, source))
    tolerance = {"float32": 0.0, "bfloat16": 0.15, "float16": 0.02}[compute_dtype]
    if policy.startswith(("mixed", "float32")):
        assert np.abs(logits - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("make", [rotary_encoder, rotary_decoder])
@pytest.mark.parametrize("policy", POLICIES)
def test_stacks_are_finite_where_nothing_is_seen(make, policy):
    stack = make(dtype=policy)
    mask = np.array([[False] * 5, [False, True, False, True, True]])
    assert np.isfinite(to_numpy(stack(normal(2, 5, 8), padding_mask=mask))).all()


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_gives_zeros_where_nothing_is_seen(causal, scores):
    """Before the output projection, which has a bias here that must be all that is left."""
    layer = kt.layers.MultiHeadSelfAttention(2, causal=causal, bias_initializer="ones")
    mask = np.array([[False] * 5, [False, False, True, True, True]])
    output = layer(normal(2, 5, 8), padding_mask=mask, return_attention_scores=scores)
    if scores:
        weights = to_numpy(output["attention_scores"])
        assert not weights[0].any()
        assert not weights[1, :, :2].any() or not causal
        assert not weights[1, :, :, :2].any()
        output = output["output"]
    output = to_numpy(output)
    assert (output[0] == 1).all()
    assert (output[1, :2] == 1).all() == causal


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_training_on_rows_of_padding_stays_finite(policy):
    model = make_case("transformer", dtype=policy, dropout=0.1).model
    target, source = token_ids(3, 5, vocabulary_size=V), token_ids(3, 7, vocabulary_size=V, seed=1)
    target[1, 3:] = source[0, :3] = 0
    target[2] = source[2] = 0
    loss = kt.training.MaskedCrossentropy()
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    model.fit({"source_ids": source, "target_ids": target}, target, batch_size=3, verbose=0)
    for weight in model.trainable_weights:
        assert np.isfinite(to_numpy(weight.value)).all(), weight.path


def test_positions_far_out_are_exact_in_half_precision():
    """In bfloat16 itself, position 1000 would be rounded to 1000 and 1001 to 1000."""
    x = np.zeros((1, 1100, 8), "float32")
    expected = to_numpy(kt.layers.PositionalEncoding()(x))
    for dtype, tolerance in (("bfloat16", 4e-3), ("float16", 5e-4)):
        output = to_numpy(kt.layers.PositionalEncoding(dtype=dtype)(x))
        assert np.abs(output - expected).max() <= tolerance
