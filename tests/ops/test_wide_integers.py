"""JAX with `jax_enable_x64`, where a plain integer is one of 64 bits: one type of index throughout.

In a separate process, because the switch affects the whole process. It is with the operations,
which choose the types; decoding and layers are called beside them.
"""

import pytest

from tests.harness import run_python

BEGIN = """
import jax, keras, numpy as np
import keras_transformer as kt
from keras import ops
from tests.laws.models import make_case, rotary_decoder
assert jax.config.jax_enable_x64
wide = jax.numpy.asarray
floats = wide(np.random.default_rng(0).normal(size=(2, 5, 8)))
assert floats.dtype == "float64" and wide([1]).dtype == "int64"
"""

DECODING = """
sampler = kt.decoding.RandomSampler(0.7, top_k=5, top_p=0.9, min_p=0.01)
prompts = [[5, 6, 0, 7], [8]]
for name in ("gpt_linear_bias_banded", "transformer_relative_keys_gated"):
    case = make_case(name)
    usual = kt.decoding.generate(case.model, prompts, 3, return_log_probs=True)
    assert usual.ids.dtype == "int32" and usual.log_probs.dtype == "float32"
    again = kt.decoding.generate(case.model, wide([[5, 6, 0, 7], [8, 0, 0, 0]]), 3)
    np.testing.assert_array_equal(again, usual.ids)
    streamed = list(kt.decoding.stream(case.model, prompts, max_new_tokens=3, tokens_per_call=1))
    assert len(streamed) == 3
    options = dict(seed=3, sampler=sampler, repetition_penalty=1.2, no_repeat_ngram_size=2)
    options |= dict(min_new_tokens=2, stop_ids=[3], num_return=2, candidate_ids=[3, 5, 6, 7])
    assert kt.decoding.generate(case.model, prompts, 3, **options).shape[:2] == (2, 2)
    one = kt.decoding.beam_search(case.model, prompts, num_beams=1, max_length=3)
    new = usual.ids[0] if case.is_translator else usual.ids[0, 4:]
    end = [*new, 3].index(3)
    assert one.ids[0, 0, :end].tolist() == new[:end].tolist()
    kt.decoding.beam_search(
        case.model, prompts, num_beams=2, max_length=3, num_return=2, no_repeat_ngram_size=2,
        min_length=1, return_alignments=case.is_translator)
model = kt.models.recurrent_seq2seq(20, hidden_dim=8, attention="luong")
kt.decoding.generate(model, prompts, 3)
model = kt.models.series_forecaster(num_channels=2, hidden_dim=8, num_heads=2)
assert kt.decoding.forecast(model, np.ones((3, 7, 2)), 2).dtype == "float32"
"""

LAYERS = """
decoder = rotary_decoder(relative_positions="t5", rotary=False, window=4)
full = decoder(floats)
assert full.dtype == "float32"
for index in (3, np.int64(3), wide(3), wide(3, "int32")):
    cache = decoder(floats[:, :3], cache=decoder.initial_cache(2, 6), cache_index=0)["cache"]
    step = decoder(floats[:, 3:], cache=cache, cache_index=index)["output"]
    np.testing.assert_allclose(step, full[:, 3:], atol=1e-5)
positions = ops.arange(5)
for layer in (kt.layers.PositionalEncoding(), kt.layers.LearnedPositionalEmbedding(9)):
    assert layer(floats, positions).dtype == "float32"
query = ops.reshape(floats, (2, 5, 2, 4))
for layer in (kt.layers.RelativePositionBias(), kt.layers.RelativePositionKeys(),
              kt.layers.LinearPositionBias(), kt.layers.RotaryEmbedding()):
    assert layer(query, positions).dtype == layer(query).dtype == "float32"
kt.models.packed(make_case("gpt").model)(
    {"token_ids": np.array([[5, 6, 7]]), "segment_ids": np.array([[1, 1, 2]])})
"""

OPS = """
for dtype in ("float32", "float64"):
    for length in (5, 1100):
        query = wide(np.random.default_rng(1).normal(size=(1, length, 2, 4)), dtype)
        bias = ops.zeros((1, 2, length, length), dtype)
        def attend(query, **options):
            return kt.ops.dot_product_attention(query, query, query, causal=True, **options)
        expected = attend(query, implementation="dense")
        assert expected.dtype == dtype
        for name in ("auto", "fused", "blockwise"):
            np.testing.assert_allclose(attend(query, implementation=name), expected, atol=1e-5)
        windowed = attend(query, implementation="dense", window=3)
        actual = attend(query, implementation="blockwise", window=3)
        np.testing.assert_allclose(actual, windowed, atol=1e-5)
        loss = lambda query, name: attend(query, implementation=name, bias=bias).sum()
        one, other = (jax.grad(loss)(query, name) for name in ("dense", "blockwise"))
        np.testing.assert_allclose(one, other, atol=1e-4)
new = ops.ones((1, 2, 1, 1))
cache = kt.ops.update_cache(kt.ops.init_cache(1, 4, 1, 1, positioned=True), new, new, wide(1))
assert cache.positions.dtype == "int32" and cache.positions[0, 0, :, 0].tolist() == [0, 1, 2, 0]
assert kt.ops.reorder_cache({"key": wide([[1], [2]])}, wide([1, 1]))["key"].tolist() == [[2], [2]]
assert kt.ops.causal_mask(1, 4, wide(2)).tolist() == [[True, True, True, False]]
assert kt.ops.window_mask(positions, positions, 2).sum() == 13
assert kt.ops.packing_mask(wide([[1, 1, 2, 0]])).sum() == 5
logits = wide([[0.5, 0.1, 0.4]])
assert kt.decoding.greedy(logits).dtype == kt.decoding.draw(logits, wide([0.2])).dtype == "int32"
history = wide([[1, 2, 1]])
assert kt.decoding.used_ids(history, 3).tolist() == [[False, True, True]]
banned = kt.decoding.ban_repeated_ngrams(logits, history, wide(3), 2)
assert banned.dtype == "float64" and (banned < -1e29).tolist() == [[False, False, True]]
for keep, value in ((kt.decoding.keep_top_p, 0.3), (kt.decoding.keep_top_k, 1),
                    (kt.decoding.keep_min_p, 1.0)):
    assert (keep(logits, value) > -1e29).tolist() == [[True, False, False]], keep
"""


@pytest.mark.slow
@pytest.mark.parametrize("part", ["decoding", "layers and operations"])
def test_everything_runs_with_wide_integers(part, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    code = {"decoding": DECODING, "layers and operations": LAYERS + OPS}[part]
    run_python(BEGIN + code + "print('done')", backend="jax")
