"""Beam search against Hugging Face's, on random tiny Marian models."""

import functools

import numpy as np
import pytest
import torch
import transformers

import keras_transformer as kt
from tests.harness import token_ids
from tests.parity.test_marian import randomize_marian
from tests.parity.weights import loaded

V, PAD, EOS = 31, 30, 0
MAX_LENGTH = 12


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """One model on either side, which get new weights for each seed: nothing compiles twice."""
    config = transformers.MarianConfig(
        vocab_size=V,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=19,
        decoder_ffn_dim=19,
        max_position_embeddings=31,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
        forced_eos_token_id=None,
        activation_function="swish",
    )
    reference = transformers.MarianMTModel(config).eval()
    folder = tmp_path_factory.mktemp("checkpoint")
    model = loaded(reference, folder)

    @functools.cache
    def weights(seed):
        return loaded(reference, folder).get_weights()

    def reload(seed):
        randomize_marian(reference, seed)
        bias = torch.randn(1, V, generator=torch.Generator().manual_seed(seed))
        reference.final_logits_bias.copy_(0.3 * bias)
        reference.final_logits_bias[0, EOS] += 2.0  # the end comes soon in some, late in others
        model.set_weights(weights(seed))
        return reference, model

    return reload


def sources(seed):
    source = token_ids(3, 7, vocabulary_size=PAD, seed=seed)
    source[0, 4:] = source[2, 2:] = PAD
    return source


def theirs(reference, source, **options):
    return reference.generate(
        torch.tensor(source).long(),
        attention_mask=torch.tensor(source != PAD).long(),
        max_new_tokens=MAX_LENGTH,
        bad_words_ids=[[PAD]],
        do_sample=False,
        **options,
    )


def ours(model, source, **options):
    return kt.decoding.beam_search(
        model,
        source,
        start_id=PAD,
        end_id=EOS,
        max_length=MAX_LENGTH,
        banned_ids=(PAD,),
        length_normalization="length",
        **options,
    )


def same_ids(ids, expected):
    """Whether two rows are equal, but for what follows the end. Returns the length."""
    expected = expected[expected != PAD]
    assert ids[: len(expected)].tolist() == expected.tolist()
    assert not ids[len(expected) :].any()
    return len(expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_beams", "early_stopping", "penalty"),
    [
        (2, "never", 1.0),
        (2, True, 0.6),
        (4, "never", 0.0),
        (4, True, 1.0),
        (6, "never", 0.4),
        (6, True, 0.6),
    ],
)
def test_the_same_hypotheses_and_scores(pair, num_beams, early_stopping, penalty):
    lengths = set()
    for seed in range(20):
        reference, model = pair(seed)
        source = sources(seed)
        expected = theirs(
            reference,
            source,
            num_beams=num_beams,
            num_return_sequences=num_beams,
            early_stopping=early_stopping,
            length_penalty=penalty,
            return_dict_in_generate=True,
            output_scores=True,
        )
        actual = ours(
            model,
            source,
            num_beams=num_beams,
            num_return=num_beams,
            early_stopping=early_stopping is True,
            length_penalty=penalty,
        )
        scores = expected.sequences_scores.numpy().reshape(3, num_beams)
        np.testing.assert_allclose(actual.scores, scores, atol=1e-4)
        rows = actual.ids.reshape(3 * num_beams, -1)
        for ids, row in zip(rows, expected.sequences.numpy()[:, 1:], strict=True):
            lengths.add(same_ids(ids, row))
    assert len(lengths) > 3


@pytest.mark.slow
def test_one_beam_is_their_greedy_search(pair):
    lengths = set()
    for seed in range(20):
        reference, model = pair(seed)
        source = sources(seed)
        expected = theirs(reference, source, num_beams=1).numpy()[:, 1:]
        for ids, row in zip(ours(model, source, num_beams=1).ids[:, 0], expected, strict=True):
            lengths.add(same_ids(ids, row))
    assert len(lengths) > 1


@pytest.mark.slow
def test_scores_in_which_the_impossible_does_not_count(pair):
    """Padding is likely, and banned; so are the end at first, and what would repeat two tokens."""
    for seed in range(4):
        reference, model = pair(seed)
        reference.final_logits_bias[0, PAD] = 4.0
        bias = reference.final_logits_bias[0].numpy()
        model.get_layer("token_embedding").bias.assign(bias)
        source, limits = sources(seed), {"num_beams": 3, "no_repeat_ngram_size": 2}
        result = theirs(
            reference,
            source,
            **limits,
            num_return_sequences=3,
            early_stopping="never",
            min_new_tokens=4,
            renormalize_logits=True,
            return_dict_in_generate=True,
            output_scores=True,
        )
        limits |= {"min_length": 4, "length_penalty": 1.0, "num_return": 3}
        actual = ours(model, source, **limits, renormalize=True)
        scores = result.sequences_scores.numpy().reshape(3, 3)
        np.testing.assert_allclose(actual.scores, scores, atol=1e-4)
        rows = actual.ids.reshape(9, -1)
        for ids, row in zip(rows, result.sequences.numpy()[:, 1:], strict=True):
            assert same_ids(ids, row) >= 4
        assert (ours(model, source, **limits).scores < actual.scores - 0.1).any()
