"""Law 7: GPT-Neo and OPT of transformers, there and back."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import keras_transformer as kt
from tests.harness import randomize, to_numpy, token_ids
from tests.parity.weights import check_agreement, check_beams, loaded, randomize_torch

V, FILE = 53, "model.safetensors"
NEO_SIZE = {
    "vocab_size": V,
    "max_position_embeddings": 31,
    "hidden_size": 24,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 5,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
NEO = {
    "plain": {},
    "inner": {"intermediate_size": 17, "num_heads": 3},
    "global": {"attention_types": [[["global"], 2]]},
    "local": {"attention_types": [[["local"], 2]], "activation_function": "relu"},
    "three": {"attention_types": [[["local"], 1], [["global"], 2]], "num_layers": 3},
    "epsilon": {"layer_norm_epsilon": 0.1, "window_size": 1},
}
OPT_SIZE = {
    "vocab_size": V,
    "max_position_embeddings": 31,
    "hidden_size": 24,
    "word_embed_proj_dim": 24,
    "ffn_dim": 17,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
OPT = {
    "plain": {},
    "gelu": {"activation_function": "gelu", "num_attention_heads": 3},
    "no_biases": {"enable_bias": False},
    "one_layer": {"num_hidden_layers": 1, "word_embed_proj_dim": None},
    "few_positions": {"max_position_embeddings": 13, "pad_token_id": 7},
    "no_padding": {"pad_token_id": None, "dropout": 0.0},
}
CLASSES = {
    "gpt_neo": (transformers.GPTNeoConfig, transformers.GPTNeoForCausalLM, NEO_SIZE),
    "opt": (transformers.OPTConfig, transformers.OPTForCausalLM, OPT_SIZE),
}
CASES = {
    **{f"gpt_neo-{name}": ("gpt_neo", values) for name, values in NEO.items()},
    **{f"opt-{name}": ("opt", values) for name, values in OPT.items()},
}


def reference_of(family, more):
    config_class, model_class, size = CLASSES[family]
    model = model_class(config_class(**{**size, **more})).eval()
    return randomize_torch(model, seed=len(str(more)))


def logits_of(reference, ids):
    with torch.no_grad():
        return reference(input_ids=torch.tensor(ids).long()).logits.numpy()


@pytest.mark.parametrize("name", CASES)
def test_logits_there_and_back(name, tmp_path):
    family, more = CASES[name]
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


@pytest.mark.slow
@pytest.mark.parametrize("family", CLASSES)
def test_texts(family, tmp_path):
    reference = reference_of(family, {})
    model = loaded(reference, tmp_path)
    prompts = token_ids(3, 7, vocabulary_size=V, low=3, seed=2)
    expected = reference.generate(
        torch.tensor(prompts).long(),
        attention_mask=torch.ones(prompts.shape).long(),
        do_sample=False,
        max_new_tokens=20,
        pad_token_id=0,
        eos_token_id=None,
    ).numpy()
    actual = kt.decoding.generate(model, prompts, max_new_tokens=20)
    np.testing.assert_array_equal(actual, expected)
    check_beams(reference, model, prompts, end_id=2)


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("gpt_neo", {"attention_types": [[["global"], 1]]}, "`attention_types` .* all layers"),
        ("gpt_neo", {"attention_types": [[["sparse"], 2]]}, "`attention_types` .*'sparse'"),
        ("gpt_neo", {"attention_types": 3}, "`attention_types`"),
        ("gpt_neo", {"attention_types": None, "num_layers": 24}, "`attention_layers`"),
        ("gpt_neo", {"attention_layers": ["local", "global"]}, "`attention_layers`"),
        ("gpt_neo", {"window_size": 0}, "`window_size`"),
        ("gpt_neo", {"tie_word_embeddings": False}, "`tie_word_embeddings`"),
        ("gpt_neo", {"num_attention_heads": 3}, "`num_attention_heads` and `num_heads`"),
        ("gpt_neo", {"architectures": ["GPTNeoForSequenceClassification"]}, "`architectures`"),
        ("opt", {"word_embed_proj_dim": 12}, "`word_embed_proj_dim` and `hidden_size`"),
        ("opt", {"do_layer_norm_before": False}, "`do_layer_norm_before`"),
        ("opt", {"_remove_final_layer_norm": True}, "`_remove_final_layer_norm`"),
        ("opt", {"layer_norm_elementwise_affine": False}, "`layer_norm_elementwise_affine`"),
        ("opt", {"layerdrop": 0.1}, "`layerdrop`"),
        ("opt", {"enable_bias": False}, "Left over: .*bias"),
        ("opt", {"max_position_embeddings": 30}, "embed_positions.weight' must have the shape"),
    ],
)
def test_refusals(family, changes, message, tmp_path):
    reference_of(family, {}).save_pretrained(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(tmp_path)


def test_old_masks_of_gpt_neo(tmp_path):
    """Files of years ago hold the masks, of a window in local layers, and a very low score."""
    reference = reference_of("gpt_neo", {})
    reference.save_pretrained(tmp_path)
    tensors, causal = load_file(tmp_path / FILE), torch.ones(31, 31).tril().bool()
    near = causal & ~torch.ones(31, 31).tril(-5).bool()
    for index, mask in enumerate((causal, near)):
        name = f"transformer.h.{index}.attn.attention"
        tensors[f"{name}.bias"] = mask[None, None].clone()
        tensors[f"{name}.masked_bias"] = torch.tensor(-1e9)
    save_file(tensors, tmp_path / FILE)
    ids = token_ids(3, 13, vocabulary_size=V, low=0)
    actual = to_numpy(kt.pretrained.load(tmp_path)({"token_ids": ids}))
    np.testing.assert_allclose(actual, logits_of(reference, ids), atol=1e-4)
    name = "transformer.h.0.attn.attention.bias"
    save_file({**tensors, name: ~tensors[name]}, tmp_path / FILE)
    with pytest.raises(ValueError, match=f"'{name}' must contain the values"):
        kt.pretrained.load(tmp_path)


def test_bare_names_of_opt(tmp_path):
    """The names of the body alone."""
    reference = reference_of("opt", {})
    reference.model.save_pretrained(tmp_path)
    assert any(name.startswith("decoder.") for name in load_file(tmp_path / FILE))
    ids = token_ids(3, 13, vocabulary_size=V, low=0)
    actual = to_numpy(kt.pretrained.load(tmp_path)({"token_ids": ids}))
    np.testing.assert_allclose(actual, logits_of(reference, ids), atol=1e-4)


def own(**more):
    size = {"vocabulary_size": V, "num_layers": 2, "num_heads": 4, "hidden_dim": 24}
    size |= {"intermediate_dim": 19, "max_length": 31, "normalize_first": True}
    return randomize(kt.models.gpt(**{**size, **more}))


NEO_FORM = {"attention_scale": 1.0, "use_attention_bias": False, "use_attention_output_bias": True}


@pytest.mark.parametrize(
    ("more", "family"),
    [
        (NEO_FORM, "gpt_neo"),
        ({**NEO_FORM, "window": (3, None), "padding_id": None}, "gpt_neo"),
        ({**NEO_FORM, "window": 3, "use_attention_output_bias": False}, "gpt_neo"),
        ({"name": "opt", "embedding_dropout": 0.0}, "opt"),
    ],
)
def test_models_of_ours(more, family, tmp_path):
    model = own(**more)
    kt.pretrained.save_huggingface(model, None, tmp_path / "new")
    reference = CLASSES[family][1].from_pretrained(tmp_path / "new").eval()
    ids = token_ids(3, 11, vocabulary_size=V)
    expected = to_numpy(model({"token_ids": ids}))
    np.testing.assert_allclose(logits_of(reference, ids), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({**NEO_FORM, "window": (2, 3)}, "`window` must be the same"),
        ({**NEO_FORM, "num_key_value_heads": 2}, "num_key_value_heads` must be None"),
        ({"name": "opt"}, "`decoder.input_dropout` must be 0.0"),
        ({"name": "opt", "embedding_dropout": 0.0, "layer_norm_epsilon": 1e-6}, "epsilon` must be"),
        ({"name": "opt", "embedding_dropout": 0.0, "share_embeddings": False}, "too many"),
    ],
)
def test_models_that_have_no_such_form(more, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        kt.pretrained.save_huggingface(own(**more), None, tmp_path / "new")
