"""Law 7: the logits and the greedy translations of Hugging Face's Marian."""

import numpy as np
import pytest
import torch
import transformers
from keras import ops

import keras_transformer as kt
from tests.harness import to_numpy, token_ids
from tests.parity.weights import loaded, randomize_torch

V, PAD, EOS = 53, 52, 0
CONFIGURATIONS = {
    "swish": {"activation_function": "swish", "scale_embedding": True},
    "relu_unscaled": {"activation_function": "relu", "scale_embedding": False, "d_model": 12},
}


def randomize_marian(reference, seed=0):
    """Random weights everywhere but in the sinusoids, which are not learned."""
    stacks = (reference.model.encoder, reference.model.decoder)
    positions = stacks[0].embed_positions.weight.detach().clone()
    randomize_torch(reference, seed)
    with torch.no_grad():
        for stack in stacks:
            stack.embed_positions.weight.copy_(positions)
    return reference


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def pair(request, tmp_path_factory):
    options = {"d_model": 16, **CONFIGURATIONS[request.param]}
    config = transformers.MarianConfig(
        vocab_size=V,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=19,
        decoder_ffn_dim=19,
        max_position_embeddings=31,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
        forced_eos_token_id=None,
        **options,
    )
    reference = randomize_marian(transformers.MarianMTModel(config).eval())
    reference.final_logits_bias.copy_(torch.randn(1, V))
    return reference, loaded(reference, tmp_path_factory.mktemp("checkpoint"))


def padded_sources():
    source = token_ids(3, 11, vocabulary_size=PAD)
    source[0, 7:] = source[2, 2:] = PAD
    return source


def test_logits(pair):
    reference, model = pair
    source, target = padded_sources(), token_ids(3, 5, vocabulary_size=PAD, seed=1)
    with torch.no_grad():
        expected = reference(
            input_ids=torch.tensor(source).long(),
            attention_mask=torch.tensor(source != PAD),
            decoder_input_ids=torch.tensor(target).long(),
        ).logits.numpy()
    assert np.abs(reference.final_logits_bias.numpy()).min() > 0
    actual = to_numpy(model({"source_ids": source, "target_ids": target}))
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_logits_after_a_start_token_that_is_padding(pair):
    """Marian starts from its padding id, which is then a token like any other."""
    reference, model = pair
    parts = kt.decoding.DecodingModel(model)
    source, target = padded_sources(), token_ids(3, 5, vocabulary_size=PAD, seed=1)
    target[:, 0] = PAD
    with torch.no_grad():
        expected = reference(
            input_ids=torch.tensor(source).long(),
            attention_mask=torch.tensor(source != PAD),
            decoder_input_ids=torch.tensor(target).long(),
        ).logits.numpy()
    mask = ops.convert_to_tensor(source != PAD)
    encoded = parts.encode(ops.convert_to_tensor(source), mask)
    hidden = parts.decoder(
        parts.target_embedding(ops.convert_to_tensor(target)),
        encoded,
        padding_mask=ops.ones((3, 5), dtype="bool"),
        encoded_padding_mask=mask,
    )
    np.testing.assert_allclose(to_numpy(parts.logits(hidden)), expected, atol=1e-4)
    # As `model.fit` calls it, where only the implicit mask of the embedding is there.
    actual = to_numpy(model({"source_ids": source, "target_ids": target}))
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.slow
def test_greedy_translations(pair):
    reference, model = pair
    source = padded_sources()
    expected = reference.generate(
        torch.tensor(source).long(),
        attention_mask=torch.tensor(source != PAD).long(),
        num_beams=1,
        do_sample=False,
        max_new_tokens=13,
        bad_words_ids=[[PAD]],
    ).numpy()[:, 1:]
    actual = kt.decoding.generate(
        model, source, max_new_tokens=13, start_id=PAD, stop_ids=(EOS,), banned_ids=(PAD,)
    )
    for one, other in zip(actual, expected, strict=True):
        other = [int(token) for token in other if token != PAD]
        assert one[: len(other)].tolist() == other
        assert not one[len(other) :].any()
