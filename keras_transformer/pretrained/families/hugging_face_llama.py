"""The Llama type of language model: Llama (also SmolLM2 and TinyLlama), Qwen2 and Qwen3."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.models.language_model import gpt
from keras_transformer.pretrained.config import ACTIVATIONS, Config
from keras_transformer.pretrained.config_keys import FIXED, SILENT, Keys
from keras_transformer.pretrained.families.attention_windows import window_values, windows_of
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.families.hugging_face_gpt import token_ids
from keras_transformer.pretrained.families.rotary_settings import (
    rotary_arguments,
    rotary_parameters,
)
from keras_transformer.pretrained.mapping import TRANSPOSED, Rule, rms_norm
from keras_transformer.pretrained.settings import activation_name
from keras_transformer.pretrained.tokenizers.write_tokenizer_json import write_tokenizer_json

_FOLLOWED = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "attention_dropout": 0.0,
    "tie_word_embeddings": False,
    # Only read as the default length of a rotary scaling.
    "max_position_embeddings": 2048,
    "rope_parameters": None,
    # Older files have these two instead of `rope_parameters`.
    "rope_theta": None,
    "rope_scaling": None,
}
_FIXED = {**FIXED, "is_encoder_decoder": False, "partial_rotary_factor": 1.0}
_LLAMA_KEYS = Keys(
    {**_FOLLOWED, "vocab_size": 32000, "attention_bias": False, "mlp_bias": False},
    _FIXED,
    # It only splits matrix products.
    SILENT | {"pretraining_tp"},
    {},
    ("LlamaModel", "LlamaForCausalLM"),
)
_QWEN_FOLLOWED = {
    **_FOLLOWED,
    "vocab_size": 151936,
    "intermediate_size": 22016,
    "max_position_embeddings": 32768,
    "num_key_value_heads": 32,
    # The attention windows of the layers.
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "layer_types": None,
}
_QWEN2_KEYS = Keys(_QWEN_FOLLOWED, _FIXED, SILENT, {}, ("Qwen2Model", "Qwen2ForCausalLM"))
_QWEN3_KEYS = Keys(
    {**_QWEN_FOLLOWED, "head_dim": 128, "attention_bias": False},
    _FIXED,
    SILENT,
    {},
    ("Qwen3Model", "Qwen3ForCausalLM"),
)


# === From files ===


def _biases(config: Config) -> tuple[bool, bool, bool]:
    """Returns whether query, key and value, the output, and the feed-forward layers have biases."""
    if config.values["model_type"] == "qwen2":
        return True, False, False
    attention = config.get("attention_bias", bool)
    is_llama = config.values["model_type"] == "llama"
    return attention, attention, is_llama and config.get("mlp_bias", bool)


def _has_head_norms(config: Config) -> bool:
    return config.values["model_type"] == "qwen3"


def _head_dim(config: Config) -> int:
    hidden_dim, num_heads = config.size("hidden_size"), config.size("num_attention_heads")
    if config.values.get("head_dim", config.keys.followed["head_dim"]) is not None:
        return config.size("head_dim")
    if hidden_dim % num_heads:
        raise ValueError(
            f"`num_attention_heads` in {config.path} must divide `hidden_size`. Received: "
            f"num_attention_heads={num_heads}, hidden_size={hidden_dim}."
        )
    return hidden_dim // num_heads


def _build(config: Config) -> keras.Model:
    attention_bias, output_bias, feed_forward_bias = _biases(config)
    hidden_dim, num_heads = config.size("hidden_size"), config.size("num_attention_heads")
    head_dim = _head_dim(config)
    return gpt(
        vocabulary_size=config.size("vocab_size"),
        num_layers=config.depth("num_hidden_layers"),
        num_heads=num_heads,
        hidden_dim=hidden_dim,
        intermediate_dim=config.size("intermediate_size"),
        max_length=None,
        dropout=0.0,
        attention_dropout=config.rate("attention_dropout"),
        activation=config.activation("hidden_act"),
        normalize_first=True,
        layer_norm_epsilon=config.get("rms_norm_eps", float),
        padding_id=None,
        share_embeddings=config.get("tie_word_embeddings", bool),
        num_key_value_heads=config.size("num_key_value_heads", otherwise=num_heads),
        head_dim=None if head_dim * num_heads == hidden_dim else head_dim,
        rotary=rotary_arguments(config),
        window=windows_of(config) if "layer_types" in config.keys.followed else None,
        gated=True,
        norm="rms",
        query_key_norm="rms" if _has_head_norms(config) else None,
        use_attention_bias=attention_bias,
        use_attention_output_bias=output_bias,
        use_feed_forward_bias=feed_forward_bias,
        name=config.values["model_type"],
    )


def _projection(source: str, target: str, has_bias: bool) -> list[Rule]:
    rules = [Rule(f"{source}.weight", (f"{target}/kernel",), TRANSPOSED)]
    return [*rules, Rule(f"{source}.bias", (f"{target}/bias",))] if has_bias else rules


def _layer_rules(config: Config, index: int) -> list[Rule]:
    source, target = f"model.layers.{index}", f"decoder/block_{index}"
    attention, network = f"{target}/self_attention/attention", f"{target}/feed_forward"
    of_heads, of_output, of_network = _biases(config)
    rules = [
        rms_norm(f"{source}.input_layernorm", f"{target}/self_attention_norm"),
        rms_norm(f"{source}.post_attention_layernorm", f"{target}/feed_forward_norm"),
    ]
    for name, part in (("q", "query"), ("k", "key"), ("v", "value")):
        rules += _projection(f"{source}.self_attn.{name}_proj", f"{attention}/{part}", of_heads)
    rules += _projection(f"{source}.self_attn.o_proj", f"{attention}/output", of_output)
    for name, part in (("gate", "intermediate"), ("up", "linear"), ("down", "output")):
        rules += _projection(f"{source}.mlp.{name}_proj", f"{network}/{part}", of_network)
    if _has_head_norms(config):
        rules.append(rms_norm(f"{source}.self_attn.q_norm", f"{attention}/query_norm"))
        rules.append(rms_norm(f"{source}.self_attn.k_norm", f"{attention}/key_norm"))
    return rules


def _rules(config: Config) -> list[Rule]:
    rules = [Rule("model.embed_tokens.weight", ("token_embedding/embeddings",))]
    for index in range(config.depth("num_hidden_layers")):
        rules += _layer_rules(config, index)
    rules.append(rms_norm("model.norm", "decoder/final_norm"))
    if not config.get("tie_word_embeddings", bool):
        rules.append(Rule("lm_head.weight", ("logits/kernel",), TRANSPOSED))
    return rules


def _copies(config: Config) -> dict[str, str]:
    is_tied = config.get("tie_word_embeddings", bool)
    return {"lm_head.weight": "model.embed_tokens.weight"} if is_tied else {}


def _are_frequencies(array: np.ndarray, config: Config) -> bool:
    """Returns whether a buffer of old files holds the rotary frequencies."""
    base, size = rotary_arguments(config).get("max_wavelength", 1e4), _head_dim(config)
    expected = base ** (-np.arange(0, size, 2) / size)
    return array.shape == expected.shape and np.allclose(array.astype("float32"), expected, 1e-2)


# === Back to files ===


def _is_llama_type(model: keras.Model, names: set[str]) -> bool:
    if not {"token_embedding", "decoder"} <= names or "encoder" in names:
        return False
    block = getattr(model.get_layer("decoder"), "blocks", [None])[0]
    return getattr(block, "norm", None) == "rms" and bool(getattr(block, "rotary", False))


def _is_of(model_type: str) -> Callable[[keras.Model, set[str]], bool]:
    """Returns a function that recognizes the models of one architecture."""

    def recognizes(model, names):
        if not _is_llama_type(model, names):
            return False
        decoder = model.get_layer("decoder")
        block = decoder.blocks[0]
        if block.query_key_norm is not None:
            return model_type == "qwen3"
        has_windows = any(each.window is not None for each in decoder.blocks)
        has_biases = block.use_attention_bias and block.use_attention_output_bias is False
        return model_type == ("qwen2" if has_windows or has_biases else "llama")

    return recognizes


def _describe(model: keras.Model, ids: SpecialIds, model_type: str, keys: Keys) -> Config:
    embedding, decoder = model.get_layer("token_embedding"), model.get_layer("decoder")
    block = decoder.blocks[0]
    values = {
        "model_type": model_type,
        "architectures": [keys.architectures[-1]],
        "vocab_size": embedding.vocabulary_size,
        "hidden_size": embedding.hidden_dim,
        "intermediate_size": block.intermediate_dim,
        "num_hidden_layers": decoder.num_layers,
        "num_attention_heads": block.num_heads,
        "num_key_value_heads": block.num_key_value_heads or block.num_heads,
        "head_dim": block.head_dim or embedding.hidden_dim // block.num_heads,
        "hidden_act": activation_name(block, ACTIVATIONS),
        "rms_norm_eps": block.layer_norm_epsilon,
        "attention_dropout": block.attention_dropout,
        "tie_word_embeddings": "logits" not in {layer.name for layer in model.layers},
        "rope_parameters": rotary_parameters(block.rotary),
        "bos_token_id": ids.start,
        "eos_token_id": ids.end,
        "pad_token_id": embedding.padding_id,
    }
    if "attention_bias" in keys.followed:
        values["attention_bias"] = block.use_attention_bias
    if "mlp_bias" in keys.followed:
        values["mlp_bias"] = block.use_feed_forward_bias
    if "layer_types" in keys.followed:
        values |= window_values(decoder)
    return Config("the model", values, keys=keys)


def _family(model_type: str, keys: Keys) -> Family:
    return Family(
        model_type,
        _build,
        _rules,
        keys,
        copies=_copies,
        computed={r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq": _are_frequencies},
        recognizes=_is_of(model_type),
        describe=lambda model, ids: _describe(model, ids, model_type, keys),
        prefix="model.",
        # In transformers, there is no padding id: attention masks mark the padding. The head size
        # may be given even if it is the default.
        adapted=("padding_id", "block.head_dim"),
        generation=token_ids,
        write_tokenizer=write_tokenizer_json,
    )


LLAMA = _family("llama", _LLAMA_KEYS)
QWEN2 = _family("qwen2", _QWEN2_KEYS)
QWEN3 = _family("qwen3", _QWEN3_KEYS)
