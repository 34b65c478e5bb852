"""Settings of rotary positions, against Hugging Face and by hand."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.harness import assert_close, normal, to_numpy

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
OURS = {
    "plain": {},
    "linear": {"scaling": {"kind": "linear", "factor": 4.0}},
    "llama3": {
        "scaling": {
            "kind": "llama3",
            "factor": 8.0,
            "low_frequency_factor": 1.0,
            "high_frequency_factor": 4.0,
            "original_max_length": 32,
        }
    },
}
THEIRS = {
    "plain": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {"rope_type": "llama3", **LLAMA3, "original_max_position_embeddings": 32},
}


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("base", [10000.0, 500000.0])
def test_as_llama_rotates(kind, base):
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig
    from transformers.models.llama import modeling_llama

    config = LlamaConfig(
        hidden_size=64,
        num_attention_heads=2,
        rope_theta=base,
        rope_parameters={"rope_theta": base, **THEIRS[kind]},
        max_position_embeddings=256,
    )
    theirs = modeling_llama.LlamaRotaryEmbedding(config)
    x = normal(1, 200, 2, 32)
    heads = torch.tensor(x).permute(0, 2, 1, 3)
    cosines, sines = theirs(heads, torch.arange(200)[None])
    expected, _ = modeling_llama.apply_rotary_pos_emb(heads, heads, cosines, sines)
    layer = kt.layers.RotaryEmbedding(max_wavelength=base, **OURS[kind])
    assert_close(layer(x), expected.permute(0, 2, 1, 3).numpy(), 1e-4)


def test_a_fraction_of_the_head_is_rotated():
    x = normal(2, 5, 3, 16)
    actual = to_numpy(kt.layers.RotaryEmbedding(fraction=0.25)(x))
    np.testing.assert_allclose(actual[..., 4:], x[..., 4:])
    assert_close(kt.layers.RotaryEmbedding()(x[..., :4]), actual[..., :4], 1e-6)
    with pytest.raises(ValueError, match="`fraction` times `head_dim` must be an even integer"):
        kt.layers.RotaryEmbedding(fraction=0.25)(normal(2, 5, 3, 12))


@pytest.mark.parametrize(
    "rotary",
    [
        {"max_wavelength": 500.0, "fraction": 0.5, **OURS["llama3"]},
        kt.layers.RotaryEmbedding(500.0, 0.5, **OURS["llama3"]),
    ],
    ids=["arguments", "layer"],
)
def test_settings_reach_every_attention_and_a_saved_file(rotary, tmp_path):
    model = kt.models.gpt(20, 2, 2, 16, 24, max_length=None, rotary=rotary)
    ids = {"token_ids": np.array([[4, 5, 6, 7]])}
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, again):
        for block in one.get_layer("decoder").blocks:
            layer = block.self_attention.rotary_embedding
            assert (layer.max_wavelength, layer.fraction) == (500.0, 0.5)
            assert layer.scaling == OURS["llama3"]["scaling"]
    assert_close(again(ids), to_numpy(model(ids)), 1e-6)


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_norms_of_queries_and_keys(norm):
    """Each head's queries and keys are normalized before they are rotated."""
    plain = kt.layers.MultiHeadSelfAttention(2, rotary=True)
    layer = kt.layers.MultiHeadSelfAttention(2, rotary=True, query_key_norm=norm)
    x = normal(2, 5, 16)
    for one in (plain, layer):
        one.build(x.shape)
    for name in ("query", "key", "value", "output"):
        dense = getattr(plain.attention, f"{name}_dense")
        getattr(layer.attention, f"{name}_dense").set_weights(dense.get_weights())
    scores = to_numpy(layer(x, return_attention_scores=True)["attention_scores"])

    def normalized(heads):
        heads = to_numpy(heads)
        if norm == "layer":
            heads = heads - heads.mean(-1, keepdims=True)
        return heads / np.sqrt((heads**2).mean(-1, keepdims=True) + 1e-6)

    rotate = kt.layers.RotaryEmbedding()
    query = to_numpy(rotate(normalized(plain.attention.project_query(x))))
    key = to_numpy(rotate(normalized(plain.attention.project_key_value(x)[0])))
    logits = np.einsum("btnh,bsnh->bnts", query, key) / np.sqrt(8.0)
    expected = to_numpy(ops.softmax(ops.convert_to_tensor(logits), axis=-1))
    assert_close(scores, expected, 1e-5)
