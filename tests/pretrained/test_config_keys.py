"""What becomes of each setting, compared with transformers' own classes: nothing can go stale."""

import dataclasses
import inspect
import json
import re

import pytest
import transformers
from transformers.models.bert import modeling_bert
from transformers.models.distilbert import modeling_distilbert
from transformers.models.gpt2 import modeling_gpt2
from transformers.models.gpt_neo import modeling_gpt_neo
from transformers.models.llama import modeling_llama
from transformers.models.m2m_100 import modeling_m2m_100
from transformers.models.marian import modeling_marian
from transformers.models.mt5 import modeling_mt5
from transformers.models.openai import modeling_openai
from transformers.models.opt import modeling_opt
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen3 import modeling_qwen3
from transformers.models.roberta import modeling_roberta
from transformers.models.t5 import modeling_t5
from transformers.models.vit import modeling_vit
from transformers.models.xlm_roberta import modeling_xlm_roberta

import keras_transformer as kt
from keras_transformer.pretrained import generation
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.config_keys import Keys
from keras_transformer.pretrained.families.registry import FAMILIES

CLASSES = {
    "bert": (transformers.BertConfig, modeling_bert),
    "distilbert": (transformers.DistilBertConfig, modeling_distilbert),
    "gpt2": (transformers.GPT2Config, modeling_gpt2),
    "gpt_neo": (transformers.GPTNeoConfig, modeling_gpt_neo),
    "llama": (transformers.LlamaConfig, modeling_llama),
    "m2m_100": (transformers.M2M100Config, modeling_m2m_100),
    "marian": (transformers.MarianConfig, modeling_marian),
    "mt5": (transformers.MT5Config, modeling_mt5),
    "openai-gpt": (transformers.OpenAIGPTConfig, modeling_openai),
    "opt": (transformers.OPTConfig, modeling_opt),
    "qwen2": (transformers.Qwen2Config, modeling_qwen2),
    "qwen3": (transformers.Qwen3Config, modeling_qwen3),
    "roberta": (transformers.RobertaConfig, modeling_roberta),
    "t5": (transformers.T5Config, modeling_t5),
    "vit": (transformers.ViTConfig, modeling_vit),
    "xlm-roberta": (transformers.XLMRobertaConfig, modeling_xlm_roberta),
}
# Attributes and methods of the class, no settings of a file.
NOT_SETTINGS = {"_attn_implementation", "_is_quantized", "get_text_config", "architectures"}
NEUTRAL = {key: value for key, value in generation.KEYS.fixed.items() if value}


def groups(keys):
    return (set(keys.followed), set(keys.fixed), set(keys.silent))


def test_every_family_is_compared():
    assert set(CLASSES) == set(FAMILIES)


@pytest.mark.parametrize("family", CLASSES)
def test_every_field_is_followed_fixed_or_silent(family):
    keys, (kind, _) = FAMILIES[family].keys, CLASSES[family]
    known = set().union(*groups(keys))
    fields = {*kind().to_dict(), *(f.name for f in dataclasses.fields(kind))} - NOT_SETTINGS
    assert not fields - known, f"settle {sorted(fields - known)}"
    assert {"n_embd", "hidden_size", "d_model", "dim"} & fields


@pytest.mark.parametrize("family", CLASSES)
def test_no_setting_is_in_two_groups(family):
    followed, fixed, silent = groups(FAMILIES[family].keys)
    assert not followed & fixed
    assert not fixed & silent
    assert not followed & silent


@pytest.mark.parametrize("family", CLASSES)
def test_everything_that_the_models_read_is_known(family):
    """Also what is no field: `getattr(config, "head_dim", ...)`."""
    keys, (_, module) = FAMILIES[family].keys, CLASSES[family]
    source = inspect.getsource(module)
    read = set(re.findall(r"\bconfig\.([a-z]\w*)", source))
    read |= set(re.findall(r"(?:get|has)attr\((?:self\.)?config, \"(\w+)\"", source))
    known = set().union(*groups(keys), keys.aliases, NOT_SETTINGS)
    assert not read - known, f"settle {sorted(read - known)}"
    assert len(read) > 8


@pytest.mark.parametrize("family", CLASSES)
def test_defaults_are_those_of_transformers(family):
    keys, (kind, _) = FAMILIES[family].keys, CLASSES[family]
    fields = {field.name: field for field in dataclasses.fields(kind)}
    defaults = {key: fields[key].default for key in keys.followed if key in fields}
    assert {key: keys.followed[key] for key in defaults} == defaults
    # What must have one value has it where nothing is said.
    fixed = {key: fields[key].default for key in keys.fixed if key in fields}
    assert {key: keys.fixed[key] for key in fixed} == fixed
    read_otherwise = {"num_labels", "head_dim", "rope_theta", "rope_scaling", "attention_layers"}
    # T5's class takes the first one itself, and makes the others of what it is given.
    read_otherwise |= {"tie_word_embeddings", "dense_act_fn", "is_gated_act"}
    read_otherwise |= {"scale_decoder_outputs", "decoder_start_token_id"}
    assert set(keys.followed) - set(fields) <= read_otherwise
    assert keys.followed.get("num_labels", 2) == kind().num_labels


@pytest.mark.parametrize("family", CLASSES)
def test_common_names_are_those_of_transformers(family):
    keys, (kind, _) = FAMILIES[family].keys, CLASSES[family]
    assert keys.aliases == kind.attribute_map
    assert set(keys.aliases.values()) <= set(keys.followed)  # `silent` is read under its own name


@pytest.mark.parametrize("family", CLASSES)
def test_architectures_exist(family):
    for name in FAMILIES[family].keys.architectures:
        assert getattr(transformers, name).config_class is CLASSES[family][0]


def test_two_names_that_differ():
    keys = Keys({"n_head": 12}, aliases={"num_attention_heads": "n_head"})
    for values in ({"n_head": 3}, {"num_attention_heads": 3}):
        assert Config("a file", values, keys=keys).size("n_head") == 3
    both = {"n_head": 3, "num_attention_heads": 3}
    assert Config("a file", both, keys=keys).size("n_head") == 3
    message = "`num_attention_heads` and `n_head` in a file must be equal, .*=4, n_head=3"
    with pytest.raises(ValueError, match=message):
        Config("a file", {**both, "num_attention_heads": 4}, keys=keys)


def test_what_nobody_knows_says_nothing(tmp_path):
    """Neither here nor in transformers, which keeps it as an attribute that nothing reads."""
    config = transformers.GPT2Config(vocab_size=11, n_positions=7, n_embd=6, n_layer=1, n_head=3)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    before = [w.numpy() for w in _weights(tmp_path)]
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "red", "n_special": 3}))
    after = [w.numpy() for w in _weights(tmp_path)]
    assert all((one == other).all() for one, other in zip(before, after, strict=True))
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path)
    assert theirs.config.colour == "red"


def _weights(folder):
    model = kt.pretrained.load(folder)
    return [w.value.detach().cpu() if hasattr(w.value, "detach") else w for w in model.weights]


# === Generation ===


def test_every_field_of_the_generation_config_is_settled():
    followed, fixed, silent = groups(generation.KEYS)
    assert not followed & fixed
    assert not (followed | fixed) & silent
    fields = set(transformers.GenerationConfig().__dict__)
    assert not fields - followed - fixed - silent
    # Of older versions.
    assert followed | fixed | silent <= fields | {"forced_decoder_ids"}


def test_neutral_values_are_the_defaults_of_transformers():
    defaults = transformers.GenerationConfig._get_default_generation_params()
    known = {**generation.KEYS.followed, **generation.KEYS.fixed}
    for key in known.keys() & defaults.keys() - {"max_length"}:
        assert (known[key] or None) == (defaults[key] or None), key
    assert NEUTRAL["num_beam_groups"] == 1
