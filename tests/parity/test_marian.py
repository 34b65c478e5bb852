"""Law 7: the logits and the greedy translations of Hugging Face's Marian."""

import numpy as np
import pytest
import torch
import transformers
from keras import ops

import keras_transformer as kt
from tests.harness import to_numpy, token_ids
from tests.parity.weights import WeightCopier, randomize_torch

V, PAD, EOS = 53, 52, 0
CONFIGURATIONS = {
    "swish": {"activation_function": "swish", "scale_embedding": True},
    "relu_unscaled": {"activation_function": "relu", "scale_embedding": False, "d_model": 12},
}


def copy_attention(copier, attention, name):
    for part, own in zip(("q_proj", "k_proj", "v_proj", "out_proj"), range(4), strict=True):
        own = ("query_dense", "key_dense", "value_dense", "output_dense")[own]
        copier.linear(getattr(attention, own), f"{name}.{part}")


def copy_marian(reference, model):
    tied = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    copier = WeightCopier(reference, model, ignored=(*tied, "embed_positions.weight"))
    embedding = model.get_layer("token_embedding")
    copier.put(embedding.embeddings, copier.take("model.shared.weight"))
    copier.put(embedding.bias, copier.take("final_logits_bias")[0])
    for stack in ("encoder", "decoder"):
        for index, block in enumerate(model.get_layer(stack).blocks):
            name = f"model.{stack}.layers.{index}"
            copy_attention(copier, block.self_attention.attention, f"{name}.self_attn")
            copier.norm(block.self_attention_norm, f"{name}.self_attn_layer_norm")
            if stack == "decoder":
                copy_attention(copier, block.source_attention, f"{name}.encoder_attn")
                copier.norm(block.source_attention_norm, f"{name}.encoder_attn_layer_norm")
            copier.linear(block.feed_forward.intermediate_dense, f"{name}.fc1")
            copier.linear(block.feed_forward.output_dense, f"{name}.fc2")
            copier.norm(block.feed_forward_norm, f"{name}.final_layer_norm")
    copier.finish()


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
def pair(request):
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
    model = kt.models.transformer(
        V,
        num_layers=2,
        num_decoder_layers=3,
        num_heads=4,
        hidden_dim=options["d_model"],
        intermediate_dim=19,
        activation=options["activation_function"],
        layer_norm_epsilon=1e-5,
        position_layout="concatenated",
        scale_embeddings=options["scale_embedding"],
        output_bias=True,
        padding_id=PAD,
    )
    copy_marian(reference, model)
    return reference, model


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
