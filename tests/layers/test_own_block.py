"""A decoder block of a user's own in our stack: decoding, rematerialization, half precision."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import assert_close, normal, randomize, to_numpy, token_ids
from tests.laws.own_block import ParallelBlock, own_block_translator

SIZE = {"hidden_dim": 8, "num_layers": 2, "num_heads": 2, "intermediate_dim": 11}


def translator(seed=0):
    return randomize(own_block_translator(23, **SIZE), seed, stddev=0.5)


@pytest.mark.slow
def test_beams_are_scored_as_the_model_scores_them(tmp_path):
    model = translator()
    model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    source = token_ids(3, 7, vocabulary_size=23)
    settings = {"start_id": 2, "end_id": 3, "max_length": 6, "length_penalty": 0.0}
    beams = kt.decoding.beam_search(model, source, num_beams=4, num_return=4, **settings)
    assert beams.ids.shape[:2] == (3, 4) and (np.diff(beams.scores, axis=1) <= 0).all()
    for row, hypotheses, scores in zip(source, beams.ids, beams.scores, strict=True):
        targets = [[2, *(int(i) for i in ids if i != 0)] for ids in hypotheses]
        for target, score in zip(targets, scores, strict=True):
            inputs = {"source_ids": row[None], "target_ids": np.array([target[:-1]])}
            logits = to_numpy(model(inputs))[0].astype("float64")
            logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            total = sum(logs[t, token] for t, token in enumerate(target[1:]))
            np.testing.assert_allclose(score, total, atol=1e-3)
    greedy = kt.decoding.generate(model, source, 6, start_id=2, stop_ids=(3,))
    one = kt.decoding.beam_search(model, source, num_beams=1, **settings)
    length = one.ids.shape[-1]
    np.testing.assert_array_equal(one.ids[:, 0], np.array(greedy)[:, :length])


def test_copies_have_weights_seeds_and_names_of_their_own():
    block = kt.layers.DecoderBlock(2, 11, cross_attention=False, dropout=0.5)
    decoder = kt.layers.TransformerDecoder(3, block)
    x = normal(2, 5, 8)
    decoder(x)
    assert not block.built and block not in decoder.blocks
    assert [one.name for one in decoder.blocks] == ["block_0", "block_1", "block_2"]
    assert len({id(weight) for weight in decoder.weights}) == 3 * len(decoder.blocks[0].weights)
    seeds = [to_numpy(v.value).tolist() for v in decoder.variables if "seed" in v.path]
    assert len({tuple(seed) for seed in seeds}) == len(seeds) > 0


def test_rematerialization_and_another_dtype_policy():
    stack = kt.layers.TransformerDecoder(2, ParallelBlock(2, 11), rematerialize=True)
    x, source = normal(2, 5, 8), normal(2, 7, 8)
    expected = to_numpy(stack(x, source))
    assert_close(stack(x, source, training=True), expected, 1e-6)
    half = kt.layers.TransformerDecoder(2, ParallelBlock(2, 11), dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(half(x, source).dtype) == "bfloat16"
    assert {block.compute_dtype for block in half.blocks} == {"bfloat16"}


def test_what_a_block_does_not_take_is_refused():
    stack = kt.layers.TransformerDecoder(2, ParallelBlock(2, 11))
    with pytest.raises(TypeError, match="return_attention_scores"):
        stack(normal(2, 5, 8), normal(2, 7, 8), return_attention_scores=True)
    with pytest.raises(ValueError, match="`block` must be a layer such as .*block='decoder'"):
        kt.layers.TransformerDecoder(2, "decoder")
