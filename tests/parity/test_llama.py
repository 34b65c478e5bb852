"""Law 7: Llama, Qwen2 and Qwen3 of transformers, there and back."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import keras_transformer as kt
from tests.harness import randomize, to_numpy, token_ids
from tests.parity.weights import check_agreement, check_beams, loaded, randomize_torch

V = 53
SIZE = {
    "vocab_size": V,
    "hidden_size": 24,
    "intermediate_size": 19,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 31,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 11,
}
LLAMA = {
    "plain": {},
    "tied": {"tie_word_embeddings": True, "num_attention_heads": 3, "num_key_value_heads": 1},
    "all_heads": {"num_key_value_heads": None, "num_hidden_layers": 3},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "head_dim": {"head_dim": 14, "hidden_act": "gelu"},
    "base": {"rope_parameters": {"rope_type": "default", "rope_theta": 777.0}},
    "linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}},
    "llama3": {"rope_parameters": LLAMA3, "rms_norm_eps": 0.1},
}
LOCAL = {"use_sliding_window": True, "sliding_window": 5}
QWEN = {
    "plain": {},
    "tied": {"tie_word_embeddings": True, "num_attention_heads": 4, "num_key_value_heads": 4},
    "local": {**LOCAL, "max_window_layers": 0},
    "upper_local": {**LOCAL, "max_window_layers": 1, "num_hidden_layers": 3},
    "layer_types": {**LOCAL, "layer_types": ["sliding_attention", "full_attention"]},
    "base": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "rms_norm_eps": 0.1},
}
QWEN3 = {**QWEN, "biases": {"attention_bias": True}}
CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
}
CASES = [
    *(("llama", values) for values in LLAMA.values()),
    *(("qwen2", values) for values in QWEN.values()),
    *(("qwen3", {"head_dim": 10, **values}) for values in QWEN3.values()),
]
NAMES = [*(f"llama-{n}" for n in LLAMA), *(f"qwen2-{n}" for n in QWEN)]
NAMES += [f"qwen3-{n}" for n in QWEN3]


def reference_of(family, more):
    config_class, model_class = CLASSES[family]
    torch.manual_seed(0)
    model = model_class(config_class(**{**SIZE, **more}))
    return randomize_torch(model.eval(), seed=len(str(more)))


def logits_of(reference, ids):
    with torch.no_grad():
        return reference(input_ids=torch.tensor(ids).long()).logits.numpy()


@pytest.mark.parametrize(("family", "more"), CASES, ids=NAMES)
def test_logits_there_and_back(family, more, tmp_path):
    """Loaded here, and saved again for transformers: the logits are the same."""
    reference = reference_of(family, more)
    ids = token_ids(3, 13, vocabulary_size=V, low=0)
    model = loaded(reference, tmp_path / "theirs")
    expected = logits_of(reference, ids)
    assert np.abs(expected).max() > 0.5
    check_agreement(family, to_numpy(model({"token_ids": ids})), expected)

    kt.pretrained.save_huggingface(model, None, tmp_path / "ours")
    restored = CLASSES[family][1].from_pretrained(tmp_path / "ours").eval()
    assert restored.config.model_type == family
    np.testing.assert_allclose(logits_of(restored, ids), expected, atol=1e-5)
    own = {name: tensor.numpy() for name, tensor in load_file(tmp_path / "ours" / FILE).items()}
    theirs = load_file(tmp_path / "theirs" / FILE)
    assert own.keys() == theirs.keys()
    assert all((own[name] == theirs[name].numpy()).all() for name in own)


FILE = "model.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("family", CLASSES)
def test_texts(family, tmp_path):
    """Greedy and beam search find those of transformers, beyond the trained length too."""
    more = {"head_dim": 10} if family == "qwen3" else {}
    reference = reference_of(family, {**more, "num_hidden_layers": 1})
    model = loaded(reference, tmp_path)
    prompts = token_ids(3, 7, vocabulary_size=V, low=3, seed=2)
    common = {
        "attention_mask": torch.ones(prompts.shape).long(),
        "max_new_tokens": 30,
        "do_sample": False,
        "pad_token_id": 0,
        "eos_token_id": None,
    }
    expected = reference.generate(torch.tensor(prompts).long(), **common).numpy()
    actual = kt.decoding.generate(model, prompts, max_new_tokens=30)
    np.testing.assert_array_equal(actual, expected)
    check_beams(reference, model, prompts, end_id=2)


def edit(folder, **changes):
    path = folder / "config.json"
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v != "delete"}))


@pytest.mark.parametrize(
    ("own", "older"),
    [
        ({"rope_theta": 777.0}, {"rope_theta": 777.0}),
        (
            {"rope_type": "linear", "rope_theta": 300.0, "factor": 2.0},
            {"rope_theta": 300.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
        ),
        (
            LLAMA3,
            {
                "rope_theta": 500000.0,
                "rope_scaling": {k: v for k, v in LLAMA3.items() if k != "rope_theta"},
            },
        ),
        ({"rope_theta": 10000.0}, {}),
    ],
)
def test_older_files(own, older, tmp_path):
    """`rope_theta` and `rope_scaling`, which transformers reads too; buffers of frequencies."""
    reference = reference_of("llama", {"rope_parameters": {"rope_type": "default", **own}})
    reference.save_pretrained(tmp_path)
    edit(tmp_path, rope_parameters="delete", **older)
    tensors = load_file(tmp_path / FILE)
    if "factor" not in own:
        base, size = own["rope_theta"], 4
        buffer = base ** (-torch.arange(0, size, 2) / size)
        tensors |= {"model.layers.1.self_attn.rotary_emb.inv_freq": buffer}
        save_file(tensors, tmp_path / FILE)
    ids = token_ids(3, 13, vocabulary_size=V, low=0)
    model = kt.pretrained.load(tmp_path)
    np.testing.assert_allclose(
        to_numpy(model({"token_ids": ids})), logits_of(reference, ids), atol=1e-4
    )


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "`rope_type` .*yarn"),
        (
            "llama",
            {"rope_scaling": {"type": "dynamic"}, "rope_parameters": "delete"},
            "`rope_type` .*dynamic",
        ),
        ("llama", {"rope_scaling": {"type": "linear"}}, "`rope_scaling` and `rope_parameters`"),
        ("llama", {"rope_parameters": {"rope_type": "linear"}}, "`factor` of `rope_parameters`"),
        ("llama", {"rope_parameters": {"rope_theta": 0.5}}, "`max_wavelength`"),
        ("llama", {"rope_parameters": {"beta_fast": 3}}, "`rope_parameters` .* only"),
        ("llama", {"rope_parameters": 3}, "`rope_parameters` .* object"),
        ("llama", {"rope_parameters": {**LLAMA3, "low_freq_factor": 9.0}}, "low_frequency_factor"),
        ("llama", {"partial_rotary_factor": 0.5}, "`partial_rotary_factor`"),
        ("llama", {"hidden_act": "mish"}, "`hidden_act`"),
        ("llama", {"num_key_value_heads": 4}, "`num_key_value_heads` must divide"),
        ("llama", {"num_attention_heads": 5, "head_dim": None}, "`num_attention_heads`"),
        ("llama", {"head_dim": 0}, "`head_dim`"),
        ("llama", {"tie_word_embeddings": True}, "'lm_head.weight' must be equal"),
        ("llama", {"attention_bias": True}, "Missing: .*k_proj.bias"),
        ("llama", {"mlp_bias": 1}, "`mlp_bias`"),
        ("llama", {"quantization_config": {"bits": 4}}, "`quantization_config`"),
        ("llama", {"architectures": ["LlamaForSequenceClassification"]}, "`architectures`"),
        ("qwen2", {"layer_types": ["full_attention"]}, "`layer_types`"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 2}, "`use_sliding_window`"),
        ("qwen2", {"layer_types": ["linear_attention"] * 2}, "`layer_types`"),
        (
            "qwen2",
            {**LOCAL, "layer_types": None, "sliding_window": 0, "max_window_layers": 0},
            "`sliding_window`",
        ),
        ("qwen3", {"attention_bias": True}, "Missing: .*k_proj.bias"),
        ("qwen3", {"head_dim": 7}, "head_dim"),
    ],
)
def test_refusals(family, changes, message, tmp_path):
    reference_of(family, {}).save_pretrained(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(tmp_path)


def test_another_buffer_of_frequencies(tmp_path):
    reference_of("llama", {}).save_pretrained(tmp_path)
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    save_file({**load_file(tmp_path / FILE), name: torch.tensor([1.0, 0.5])}, tmp_path / FILE)
    with pytest.raises(ValueError, match=f"'{name}' must contain the values"):
        kt.pretrained.load(tmp_path)


def test_a_body_without_a_head(tmp_path):
    """Its head is the embedding where the two are tied, and missing otherwise."""
    reference = reference_of("llama", {"tie_word_embeddings": True})
    reference.model.save_pretrained(tmp_path)
    ids = token_ids(3, 13, vocabulary_size=V, low=0)
    actual = to_numpy(kt.pretrained.load(tmp_path)({"token_ids": ids}))
    np.testing.assert_allclose(actual, logits_of(reference, ids), atol=1e-4)
    edit(tmp_path, tie_word_embeddings=False)
    with pytest.raises(ValueError, match="Missing: lm_head.weight"):
        kt.pretrained.load(tmp_path)


# === Models of ours ===


def own(**more):
    size = {"vocabulary_size": V, "num_layers": 2, "num_heads": 4, "hidden_dim": 24}
    form = {"normalize_first": True, "norm": "rms", "rotary": True, "gated": True}
    form |= {"activation": "silu", "max_length": None, "dropout": 0.0}
    form |= {"use_attention_bias": False, "use_feed_forward_bias": False}
    return randomize(kt.models.gpt(**{**size, **form, "intermediate_dim": 19, **more}))


@pytest.mark.parametrize(
    ("more", "model_type"),
    [
        ({}, "llama"),
        ({"use_attention_bias": True, "use_feed_forward_bias": True}, "llama"),
        (
            {"share_embeddings": False, "padding_id": None, "rotary": {"max_wavelength": 99.0}},
            "llama",
        ),
        ({"use_attention_bias": True, "use_attention_output_bias": False}, "qwen2"),
        ({"window": (None, 3)}, "qwen2"),
        ({"query_key_norm": "rms", "head_dim": 8, "window": 3}, "qwen3"),
    ],
)
def test_models_of_ours(more, model_type, tmp_path):
    model = own(**more)
    kt.pretrained.save_huggingface(model, None, tmp_path / "new")
    reference = CLASSES[model_type][1].from_pretrained(tmp_path / "new").eval()
    assert reference.config.model_type == model_type
    ids = token_ids(3, 11, vocabulary_size=V)
    expected = to_numpy(model({"token_ids": ids}))
    np.testing.assert_allclose(logits_of(reference, ids), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"gated": False}, "`decoder.block.gated` must be True"),
        ({"normalize_first": False}, "`decoder.block.normalize_first` must be True"),
        ({"rotary": {"fraction": 0.5}, "head_dim": 8}, "`fraction` of `rotary` must be 1"),
        ({"max_length": 13}, "`model` must have the weights of llama"),
        ({"window": (5, 3)}, "`window` must be the same"),
        ({"query_key_norm": "layer"}, "`decoder.block.query_key_norm` must be 'rms'"),
        ({"attention_scale": 1.0}, "`decoder.block.attention_scale` must be None"),
        ({"dropout": 0.1, "attention_dropout": 0.0}, "dropout` must be 0.0"),
    ],
)
def test_models_that_have_no_such_form(more, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        kt.pretrained.save_huggingface(own(**more), None, tmp_path / "new")
