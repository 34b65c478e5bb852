"""Law 1: prefill and steps over a cache give the logits of the whole pass."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.harness import assert_close, make_decoder, normal, randomize, to_numpy, token_ids
from tests.laws.models import NAMES, V, get_case, rotary_decoder
from tests.laws.pieces import cached_logits, run_in_pieces

B, T, S = 2, 5, 7
SPLITS = [(1, 4), (2, 3), (3, 2), (4, 1), (5,), (1, 1, 1, 1, 1), (2, 1, 2)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spare_slots", [0, 3])
def test_cached_logits_are_those_of_the_full_pass(name, spare_slots):
    case = get_case(name)
    target = token_ids(B, T, vocabulary_size=V)
    source = token_ids(B, S, vocabulary_size=V, seed=1)
    source[1, 5:] = 0
    expected = to_numpy(case(target, source))
    for pieces in SPLITS:
        assert_close(cached_logits(case, target, source, pieces, spare_slots), expected, 1e-5)


@pytest.mark.parametrize("options", [{}, {"normalize_first": False}, {"causal": False}])
def test_rotary_stack_with_a_cache(options):
    decoder = rotary_decoder(**options)
    x = normal(B, T, 8)
    expected = to_numpy(decoder(x))

    def decode(start, end, cache):
        return decoder(x[:, start:end], cache=cache, cache_index=start)

    for pieces in [(5,)] if options.get("causal") is False else SPLITS:
        actual = run_in_pieces(decode, decoder.initial_cache(B, T + 2), pieces)
        assert_close(actual, expected, 1e-5)


def test_rotary_stack_with_a_source_and_padding_on_the_left():
    decoder = rotary_decoder(cross_attention=True)
    x, encoded = normal(B, T, 8), normal(B, S, 8, seed=1)
    real = np.array([[True] * 5, [False, False, True, True, True]])
    positions = np.maximum(np.cumsum(real, axis=1) - 1, 0).astype("int32")
    expected = to_numpy(decoder(x, encoded, padding_mask=real, positions=positions))

    def decode(start, end, cache):
        return decoder(
            x[:, start:end],
            cache=cache,
            cache_index=start,
            positions=positions[:, start:end],
            padding_mask=real,
        )

    for pieces in [(3, 2), (1, 1, 1, 1, 1)]:
        actual = run_in_pieces(decode, decoder.initial_cache(B, T, encoded), pieces)
        assert_close(actual, expected, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 0.05), ("bfloat16", 0.1)]
)
def test_every_step_after_prompts_of_all_lengths(dtype, tolerance):
    """Grouped heads. In bfloat16 (8 bits) a layer norm's output, about 3, is known to 0.008."""
    decoder = make_decoder(
        2, 4, 11, cross_attention=False, num_key_value_heads=2, normalize_first=True, dtype=dtype
    )
    decoder.build((None, None, 8))
    randomize(decoder, stddev=0.4)
    x = ops.cast(normal(B, 20, 8), decoder.compute_dtype)
    expected = to_numpy(ops.cast(decoder(x), "float32"))
    for length in range(1, 18):
        cache = decoder.initial_cache(B, 20)
        result = decoder(x[:, :length], cache=cache, cache_index=0)
        assert_close(ops.cast(result["output"], "float32"), expected[:, :length], tolerance)
        for index in range(length, 20):
            step = x[:, index : index + 1]
            result = decoder(step, cache=result["cache"], cache_index=index)
            actual = ops.cast(result["output"], "float32")
            assert_close(actual, expected[:, index : index + 1], tolerance)


def test_cache_index_may_be_a_tensor():
    decoder = rotary_decoder()
    x = normal(B, T, 8)

    def decode(start, end, cache):
        index = ops.convert_to_tensor(start, dtype="int32")
        return decoder(x[:, start:end], cache=cache, cache_index=index)

    actual = run_in_pieces(decode, decoder.initial_cache(B, T + 1), (2, 1, 2))
    assert_close(actual, to_numpy(decoder(x)), 1e-5)


def test_scores_of_a_step_are_those_of_the_full_pass():
    decoder = rotary_decoder(cross_attention=True)
    x, encoded = normal(B, T, 8), normal(B, S, 8, seed=1)
    full = decoder(x, encoded, return_attention_scores=True)
    cache = decoder(x[:, :4], cache=decoder.initial_cache(B, T, encoded))["cache"]
    step = decoder(x[:, 4:], cache=cache, cache_index=4, return_attention_scores=True)
    assert sorted(full) == ["attention_scores", "cross_attention_scores", "output"]
    assert sorted(step) == ["attention_scores", "cache", "cross_attention_scores", "output"]
    for name in ("attention_scores", "cross_attention_scores"):
        assert len(step[name]) == 2
        for one, whole in zip(step[name], full[name], strict=True):
            assert_close(one, to_numpy(whole)[:, :, 4:], 1e-5)


def test_keys_of_the_source_are_computed_once():
    decoder = rotary_decoder(cross_attention=True)
    cache = decoder.initial_cache(B, T, normal(B, S, 8, seed=1))
    result = decoder(normal(B, 2, 8), cache=cache, cache_index=0)
    before = keras.tree.flatten(cache.cross_attention)
    after = keras.tree.flatten(result["cache"].cross_attention)
    assert len(before) == 4 and all(a is b for a, b in zip(before, after, strict=True))


def test_a_cached_call_leaves_its_cache_alone():
    decoder = rotary_decoder()
    x = normal(B, T, 8)
    cache = decoder(x[:, :3], cache=decoder.initial_cache(B, T), cache_index=0)["cache"]
    before = [to_numpy(leaf).copy() for leaf in keras.tree.flatten(cache)]
    first = to_numpy(decoder(x[:, 3:4], cache=cache, cache_index=3)["output"])
    decoder(10.0 * x[:, 4:5], cache=cache, cache_index=3)
    again = to_numpy(decoder(x[:, 3:4], cache=cache, cache_index=3)["output"])
    np.testing.assert_array_equal(first, again)
    for leaf, old in zip(keras.tree.flatten(cache), before, strict=True):
        np.testing.assert_array_equal(to_numpy(leaf), old)
