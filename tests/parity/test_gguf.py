"""Law 7: GGUF files with the order of rows of llama.cpp give the logits of transformers."""

import numpy as np
import pytest
import torch

import keras_transformer as kt
from tests.harness import to_numpy, token_ids
from tests.parity.test_llama import LLAMA3, logits_of, reference_of
from tests.parity.weights import check_agreement
from tests.pretrained.gguf_files import dequantized, write_gguf

V = 53
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
CASES = {
    "llama": ("llama", {}, {}),
    "tied": ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 6}, {}),
    "biases": ("llama", {"attention_bias": True, "mlp_bias": True}, {}),
    "head_dim": ("llama", {"head_dim": 14}, {}),
    "base": ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 777.0}}, {}),
    "linear": (
        "llama",
        {"rope_parameters": LINEAR},
        {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
    ),
    "older_linear": ("llama", {"rope_parameters": LINEAR}, {"llama.rope.scale_linear": 4.0}),
    "few_settings": (
        "llama",
        {"num_key_value_heads": 6},
        dict.fromkeys(
            [
                "llama.attention.head_count_kv",
                "llama.attention.key_length",
                "llama.attention.value_length",
                "llama.rope.freq_base",
                "llama.rope.dimension_count",
                "llama.vocab_size",
            ]
        ),
    ),
    "no_experts": ("llama", {}, {"llama.expert_count": 0}),
    "qwen2": ("qwen2", {}, {}),
    "qwen3": ("qwen3", {"head_dim": 10}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_logits(name, tmp_path):
    family, more, settings = CASES[name]
    reference = reference_of(family, more)
    path = write_gguf(tmp_path / "model.gguf", reference, **settings)
    ids = token_ids(3, 13, vocabulary_size=V, low=0)
    expected = logits_of(reference, ids)
    for source in (path, tmp_path) if name == "llama" else (path,):
        actual = to_numpy(kt.pretrained.load(source)({"token_ids": ids}))
        check_agreement("gguf", actual, expected)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_quantized_tensors(kind, tmp_path):
    """The same logits as of a model with the weights that the file stands for."""
    sizes = {"hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 1}
    reference = reference_of("llama", {**sizes, "num_attention_heads": 4})
    path = write_gguf(tmp_path / "model.gguf", reference, kind)
    with torch.no_grad():
        for tensor in reference.parameters():
            if tensor.ndim == 2:
                tensor.copy_(torch.tensor(dequantized(tensor.numpy(), kind)))
    ids = token_ids(3, 13, vocabulary_size=V, low=0)
    actual = to_numpy(kt.pretrained.load(path)({"token_ids": ids}))
    np.testing.assert_allclose(actual, logits_of(reference, ids), atol=1e-4)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_divisors_of_llama_3(factor, tmp_path):
    """The scaling of Llama 3.1 and 3.2 is a tensor of divisors."""
    scaling = {**LLAMA3, "factor": factor, "original_max_position_embeddings": 8192}
    reference = reference_of("llama", {"head_dim": 16, "rope_parameters": scaling})
    plain = 500000.0 ** (-np.arange(0, 16, 2) / 16)
    divisors = (plain / reference.model.rotary_emb.inv_freq.numpy()).astype("float32")
    assert divisors.max() > factor - 0.1
    tensors = {"rope_freqs.weight": divisors}
    path = write_gguf(tmp_path / "model.gguf", reference, tensors=tensors)
    ids = token_ids(3, 13, vocabulary_size=V, low=0)
    model = kt.pretrained.load(path)
    np.testing.assert_allclose(
        to_numpy(model({"token_ids": ids})), logits_of(reference, ids), atol=1e-4
    )
    scaling = model.get_layer("decoder").blocks[0].rotary.scaling
    assert scaling["kind"] == "llama3" and scaling["factor"] == factor
    other = {"rope_freqs.weight": divisors + 0.1}
    path = write_gguf(tmp_path / "other.gguf", reference, tensors=other)
    with pytest.raises(ValueError, match="'rope_freqs.weight' in .* must contain the divisors"):
        kt.pretrained.load(path)
