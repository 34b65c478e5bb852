"""Law 7: the logits and the greedy texts of Hugging Face's GPT-1."""

import numpy as np
import pytest
import torch
import transformers

import keras_transformer as kt
from tests.harness import to_numpy, token_ids
from tests.parity.weights import loaded, randomize_torch

V, POSITIONS = 61, 37
CONFIGURATIONS = {
    "wide": {"n_layer": 1, "n_head": 2, "n_embd": 22},
    "deep": {"n_layer": 3, "n_head": 3, "n_embd": 12, "layer_norm_epsilon": 1e-3},
    "swish": {"n_layer": 2, "n_head": 4, "n_embd": 8, "afn": "swish"},
}


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def pair(request, tmp_path_factory):
    options = CONFIGURATIONS[request.param]
    config = transformers.OpenAIGPTConfig(vocab_size=V, n_positions=POSITIONS, **options)
    reference = randomize_torch(transformers.OpenAIGPTLMHeadModel(config).eval())
    return reference, loaded(reference, tmp_path_factory.mktemp("checkpoint"))


def test_logits(pair):
    reference, model = pair
    ids = token_ids(3, POSITIONS, vocabulary_size=V, low=0)
    with torch.no_grad():
        expected = reference(torch.tensor(ids).long()).logits.numpy()
    np.testing.assert_allclose(to_numpy(model({"token_ids": ids})), expected, atol=1e-4)


@pytest.mark.slow
def test_greedy_texts(pair):
    reference, model = pair
    prompts = token_ids(3, 7, vocabulary_size=V, low=0, seed=2)
    expected = reference.generate(
        torch.tensor(prompts).long(),
        attention_mask=torch.ones(prompts.shape).long(),
        do_sample=False,
        max_new_tokens=20,
        pad_token_id=0,
        eos_token_id=None,
    ).numpy()
    np.testing.assert_array_equal(kt.decoding.generate(model, prompts, max_new_tokens=20), expected)
    alone = kt.decoding.generate(model, prompts[1:2].tolist(), max_new_tokens=20)
    np.testing.assert_array_equal(alone, expected[1:2])
