"""Hugging Face's GPT-1 (`openai-gpt`) and GPT-2."""

from __future__ import annotations

import keras
import numpy as np

from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.models.gpt_task_heads import multiple_choice
from keras_transformer.models.language_model import gpt
from keras_transformer.pretrained.audit import counts_up
from keras_transformer.pretrained.config import ACTIVATIONS, Config
from keras_transformer.pretrained.config_keys import FIXED, SILENT, Keys
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.mapping import SAME, Rule, joint, linear, norm
from keras_transformer.pretrained.settings import activation_name, block_of, learned_length
from keras_transformer.pretrained.tokenizers.write_tokenizer_json import write_tokenizer_json

# GPT-1's "gelu" is the approximation used in its paper.
_GPT1_ACTIVATIONS = {
    "gelu": "gelu_approximate",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}

_COMMON_NAMES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
_FOLLOWED = {
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "resid_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "attn_pdrop": 0.1,
    "layer_norm_epsilon": 1e-5,
    # For the second head, if there is one.
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "summary_activation": None,
    "summary_proj_to_labels": True,
    "summary_first_dropout": 0.1,
}
_FIXED = {
    **FIXED,
    "is_encoder_decoder": False,
    "summary_last_dropout": 0.0,
    "tie_word_embeddings": True,
}
_GPT1_KEYS = Keys(
    {**_FOLLOWED, "vocab_size": 40478, "n_positions": 512, "afn": "gelu"},
    _FIXED,
    SILENT,
    _COMMON_NAMES,
    ("OpenAIGPTModel", "OpenAIGPTLMHeadModel", "OpenAIGPTDoubleHeadsModel"),
)
_GPT2_KEYS = Keys(
    {
        **_FOLLOWED,
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_inner": None,
        "activation_function": "gelu_new",
    },
    {**_FIXED, "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False},
    # They only affect the order of two factors, and the precision of attention scores.
    SILENT | {"hidden_dropout", "reorder_and_upcast_attn"},
    _COMMON_NAMES,
    ("GPT2Model", "GPT2LMHeadModel", "GPT2DoubleHeadsModel"),
)

# The second head of the models that transformers calls "double heads" models.
_HEAD = "multiple_choice_head.summary.weight"


def _build(
    config: Config, activation: str, intermediate_dim: int, normalize_first: bool
) -> keras.Model:
    if "n_ctx" in config.values:
        config.require_equal("n_ctx", "n_positions")  # the maximum length in old files
    lm = gpt(
        vocabulary_size=config.size("vocab_size"),
        num_layers=config.depth("n_layer"),
        num_heads=config.size("n_head"),
        hidden_dim=config.size("n_embd"),
        intermediate_dim=intermediate_dim,
        max_length=config.size("n_positions"),
        dropout=config.rate("resid_pdrop"),
        attention_dropout=config.rate("attn_pdrop"),
        embedding_dropout=config.rate("embd_pdrop"),
        activation=activation,
        normalize_first=normalize_first,
        layer_norm_epsilon=config.get("layer_norm_epsilon", float),
        padding_id=None,
        name=config.values["model_type"].replace("-", "_"),
    )
    return _double_heads(config, lm) if config.has_tensor(_HEAD) else lm


def _double_heads(config: Config, lm: keras.Model) -> keras.Model:
    config.require(
        summary_type="cls_index",
        summary_use_proj=True,
        summary_proj_to_labels=True,
        summary_activation=None,
    )
    return multiple_choice(
        lm,
        dropout=config.rate("summary_first_dropout"),
        extract_positions=True,
        return_logits=True,
    )


def _build_gpt1(config):
    # Its feed-forward networks always have this width.
    intermediate_dim = 4 * config.size("n_embd")
    return _build(config, config.activation("afn", _GPT1_ACTIVATIONS), intermediate_dim, False)


def _build_gpt2(config):
    intermediate_dim = config.size("n_inner", otherwise=4 * config.size("n_embd"))
    return _build(config, config.activation("activation_function"), intermediate_dim, True)


def _rules(config: Config, tokens: str, positions: str) -> list[Rule]:
    rules = [
        Rule(f"transformer.{tokens}.weight", ("token_embedding/embeddings",)),
        Rule(f"transformer.{positions}.weight", ("decoder/positional_encoding/embeddings",)),
    ]
    for index in range(config.depth("n_layer")):
        source, target = f"transformer.h.{index}", f"decoder/block_{index}"
        attention = f"{target}/self_attention/attention"
        # Conv1D stores (in, out), like a Dense kernel; query, key and value share one matrix.
        rules += [
            Rule(
                f"{source}.attn.c_attn.{name}",
                tuple(f"{attention}/{part}/{own}" for part in ("query", "key", "value")),
                joint(3),
            )
            for name, own in (("weight", "kernel"), ("bias", "bias"))
        ]
        rules += linear(f"{source}.attn.c_proj", f"{attention}/output", SAME)
        rules += norm(f"{source}.ln_1", f"{target}/self_attention_norm")
        rules += linear(f"{source}.mlp.c_fc", f"{target}/feed_forward/intermediate", SAME)
        rules += linear(f"{source}.mlp.c_proj", f"{target}/feed_forward/output", SAME)
        rules += norm(f"{source}.ln_2", f"{target}/feed_forward_norm")
    if config.has_tensor(_HEAD):
        rules += linear("multiple_choice_head.summary", "head")
    return rules


def _rules_gpt1(config):
    return _rules(config, "tokens_embed", "positions_embed")


def _rules_gpt2(config):
    return [*_rules(config, "wte", "wpe"), *norm("transformer.ln_f", "decoder/final_norm")]


def _is_causal(array: np.ndarray, config: Config) -> bool:
    """Returns whether a buffer is the causal mask (1, 1, T, T)."""
    length = config.size("n_positions")
    if array.shape != (1, 1, length, length):
        return False
    return np.array_equal(array.astype("float32"), np.tri(length, dtype=bool)[None, None])


def is_very_low(array: np.ndarray, config: Config) -> bool:
    """Returns whether a buffer is a single score so low that its weight is 0, such as -1e4."""
    return array.size == 1 and float(array.ravel()[0]) <= -1e4


# Buffers in old files.
_COMPUTED = {
    r"transformer\.h\.\d+\.attn\.bias": _is_causal,
    r"transformer\.h\.\d+\.attn\.masked_bias": is_very_low,
}


def _is_gpt(model, names, normalize_first):
    fits = {"token_embedding", "decoder"} <= names and "encoder" not in names
    if not fits:
        return False
    blocks = getattr(model.get_layer("decoder"), "blocks", [None])
    return getattr(blocks[0], "normalize_first", None) == normalize_first


def is_pre_ln_gpt(model: keras.Model, names: set[str]) -> bool:
    """Returns whether a model may be GPT-2 or similar: a pre-LN `kt.models.gpt`."""
    return _is_gpt(model, names, True)


def _describe(model: keras.Model, ids: SpecialIds, values: dict, keys: Keys) -> Config:
    embedding, decoder = model.get_layer("token_embedding"), model.get_layer("decoder")
    block = block_of(decoder)
    return Config(
        "the model",
        {
            "vocab_size": embedding.vocabulary_size,
            "n_positions": learned_length(decoder.positional_encoding, "decoder"),
            "n_embd": embedding.hidden_dim,
            "n_layer": decoder.num_layers,
            "n_head": block.num_heads,
            "resid_pdrop": block.dropout,
            "attn_pdrop": block.attention_dropout,
            "embd_pdrop": decoder.input_dropout,
            "layer_norm_epsilon": block.layer_norm_epsilon,
            "tie_word_embeddings": True,
            "bos_token_id": ids.start,
            "eos_token_id": ids.end,
            "pad_token_id": embedding.padding_id,
            **values,
        },
        keys=keys,
    )


def _describe_gpt1(model, ids):
    values = {
        "model_type": "openai-gpt",
        "architectures": ["OpenAIGPTLMHeadModel"],
        "afn": activation_name(block_of(model.get_layer("decoder")), _GPT1_ACTIVATIONS),
    }
    # Without the feed-forward width, which Hugging Face's GPT-1 does not read: it must be 4 D.
    return _describe(model, ids, values, _GPT1_KEYS)


def _describe_gpt2(model, ids):
    block = block_of(model.get_layer("decoder"))
    values = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_inner": block.intermediate_dim,
        "activation_function": activation_name(block, ACTIVATIONS),
    }
    return _describe(model, ids, values, _GPT2_KEYS)


def generation_values(config: Config, ids: SpecialIds) -> dict:
    """Returns the content of generation_config.json for a language model."""
    values, padding_id = token_ids(config, ids), config.values["pad_token_id"]
    return values if padding_id is None else {**values, "bad_words_ids": [[padding_id]]}


def token_ids(config: Config, ids: SpecialIds) -> dict:
    """Returns the special tokens of a language model as generation_config.json names them."""
    values = {key: config.values[f"{key}_token_id"] for key in ("bos", "eos", "pad")}
    return {f"{key}_token_id": value for key, value in values.items() if value is not None}


def _family(model_type, build, rules, keys, tokens, computed, describe, normalize_first):
    return Family(
        model_type,
        build,
        rules,
        keys,
        copies=lambda config: {"lm_head.weight": f"transformer.{tokens}.weight"},
        computed=computed,
        recognizes=lambda model, names: _is_gpt(model, names, normalize_first),
        describe=describe,
        prefix="transformer.",
        # In transformers, GPTs have no padding id: attention masks mark the padding.
        adapted=("padding_id",),
        generation=generation_values,
        write_tokenizer=write_tokenizer_json,
    )


GPT1 = _family(
    "openai-gpt",
    _build_gpt1,
    _rules_gpt1,
    _GPT1_KEYS,
    "tokens_embed",
    {**_COMPUTED, r"transformer\.position_ids": counts_up},
    _describe_gpt1,
    False,
)
GPT2 = _family("gpt2", _build_gpt2, _rules_gpt2, _GPT2_KEYS, "wte", _COMPUTED, _describe_gpt2, True)
