"""Law 7: a checkpoint that Hugging Face saved gives Hugging Face's logits after `load`."""

import numpy as np
import pytest
import torch
import transformers

import keras_transformer as kt
from tests.harness import to_numpy, token_ids
from tests.parity.test_marian import randomize_marian
from tests.parity.weights import randomize_torch

V = 53
GPT_SIZE = {"vocab_size": V, "n_positions": 31, "n_embd": 24, "n_layer": 2, "n_head": 4}
GPT1 = {
    "plain": {},
    "relu": {"afn": "relu", "n_layer": 3},
    "swish": {"afn": "swish", "n_head": 3},
    "one_layer": {"n_layer": 1, "n_embd": 20, "n_head": 5},
    "epsilon": {"layer_norm_epsilon": 0.1, "n_positions": 17},
}
GPT2 = {
    "plain": {},
    "inner": {"n_inner": 37},
    "relu": {"activation_function": "relu", "n_layer": 3},
    "gelu": {"activation_function": "gelu", "n_head": 3},
    "epsilon": {"layer_norm_epsilon": 0.1, "n_positions": 17},
}
MARIAN = {
    "opus": {"activation_function": "swish", "scale_embedding": True},
    "relu": {"activation_function": "relu", "d_model": 12},
    "gelu": {"activation_function": "gelu", "encoder_layers": 3},
    "deep_decoder": {"decoder_layers": 3, "encoder_layers": 1, "scale_embedding": True},
    "two_vocabularies": {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 61},
    "two_of_one_size": {"share_encoder_decoder_embeddings": False},
}


def marian_reference(more):
    config = transformers.MarianConfig(
        **{
            "vocab_size": V,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 19,
            "decoder_ffn_dim": 19,
            "d_model": 16,
            "max_position_embeddings": 31,
            "pad_token_id": V - 1,
            "decoder_start_token_id": V - 1,
            "eos_token_id": 0,
            "forced_eos_token_id": None,
            **more,
        }
    )
    reference = randomize_marian(transformers.MarianMTModel(config).eval(), seed=len(str(more)))
    reference.final_logits_bias.copy_(torch.randn(reference.final_logits_bias.shape))
    return reference


def check_gpt(reference, folder):
    reference.save_pretrained(folder)
    ids = token_ids(3, 11, vocabulary_size=V, low=0)
    with torch.no_grad():
        expected = reference(input_ids=torch.tensor(ids).long()).logits.numpy()
    model = kt.pretrained.load(folder)
    np.testing.assert_allclose(to_numpy(model({"token_ids": ids})), expected, atol=1e-4)
    return model


@pytest.mark.parametrize("name", GPT1)
def test_gpt1(name, tmp_path):
    config = transformers.OpenAIGPTConfig(**{**GPT_SIZE, **GPT1[name]})
    check_gpt(randomize_torch(transformers.OpenAIGPTLMHeadModel(config).eval()), tmp_path)


@pytest.mark.parametrize("name", GPT2)
def test_gpt2(name, tmp_path):
    config = transformers.GPT2Config(
        **{**GPT_SIZE, "bos_token_id": 0, "eos_token_id": 0, **GPT2[name]}
    )
    check_gpt(randomize_torch(transformers.GPT2LMHeadModel(config).eval()), tmp_path)


@pytest.mark.parametrize("name", MARIAN)
def test_marian(name, tmp_path):
    reference = marian_reference(MARIAN[name])
    reference.save_pretrained(tmp_path)
    target_size = reference.final_logits_bias.shape[1]
    source = token_ids(3, 11, vocabulary_size=V - 1)
    source[0, 7:] = source[2, 2:] = V - 1
    target = token_ids(3, 5, vocabulary_size=V - 1, seed=1)  # no padding, which we would mask
    with torch.no_grad():
        expected = reference(
            input_ids=torch.tensor(source).long(),
            attention_mask=torch.tensor(source != V - 1),
            decoder_input_ids=torch.tensor(target).long(),
        ).logits.numpy()
    model = kt.pretrained.load(tmp_path)
    actual = to_numpy(model({"source_ids": source, "target_ids": target}))
    assert actual.shape == (3, 5, target_size)
    np.testing.assert_allclose(actual, expected, atol=1e-4)
