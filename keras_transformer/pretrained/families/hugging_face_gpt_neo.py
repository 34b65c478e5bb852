"""Hugging Face's GPT-Neo (TinyStories): alternating local attention, and unscaled scores."""

from __future__ import annotations

import keras
import numpy as np

from keras_transformer.checks import shortened
from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.models.language_model import gpt
from keras_transformer.pretrained.config import ACTIVATIONS, Config
from keras_transformer.pretrained.config_keys import FIXED, SILENT, Keys
from keras_transformer.pretrained.families.attention_windows import common_window, window_argument
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.families.hugging_face_gpt import (
    generation_values,
    is_pre_ln_gpt,
    is_very_low,
)
from keras_transformer.pretrained.mapping import TRANSPOSED, Rule, linear, norm
from keras_transformer.pretrained.settings import activation_name, learned_length
from keras_transformer.pretrained.tokenizers.write_tokenizer_json import write_tokenizer_json

_KEYS = Keys(
    {
        "vocab_size": 50257,
        "max_position_embeddings": 2048,
        "hidden_size": 2048,
        "num_layers": 24,
        "num_heads": 16,
        "intermediate_size": None,
        "attention_types": None,
        "attention_layers": None,
        "window_size": 256,
        "activation_function": "gelu_new",
        "resid_dropout": 0.0,
        "embed_dropout": 0.0,
        "attention_dropout": 0.0,
        "layer_norm_epsilon": 1e-5,
    },
    {**FIXED, "is_encoder_decoder": False, "tie_word_embeddings": True},
    SILENT,
    {"num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"},
    ("GPTNeoModel", "GPTNeoForCausalLM"),
)
_GLOBAL, _LOCAL = "global", "local"


def _layer_kinds(config: Config) -> list[str]:
    """Returns whether each layer's attention is global or local."""
    groups = config.values.get("attention_types") or [[[_GLOBAL, _LOCAL], 12]]
    num_layers = config.depth("num_layers")
    kinds: list[str] = []
    try:
        for names, count in groups:
            kinds += [*names] * min(count, num_layers + 1)
    except (TypeError, ValueError):
        kinds = []
    if len(kinds) != num_layers or not {*map(str, kinds)} <= {_GLOBAL, _LOCAL}:
        raise ValueError(
            f"`attention_types` in {config.path} must contain lists of {_GLOBAL!r} and {_LOCAL!r}, "
            f"each with a number of repetitions, for all layers. Received: "
            f"{shortened(groups)}."
        )
    if config.values.get("attention_layers") not in (None, kinds):
        raise ValueError(
            f"`attention_layers` in {config.path} must be those of `attention_types`, {kinds}. "
            f"Received: {shortened(config.values['attention_layers'])}."
        )
    return kinds


def _windows(config: Config) -> int | tuple[int | None, ...] | None:
    kinds = _layer_kinds(config)
    if _LOCAL not in kinds:
        return None
    return window_argument([kind == _LOCAL for kind in kinds], config.size("window_size"))


def _build(config: Config) -> keras.Model:
    hidden_dim = config.size("hidden_size")
    return gpt(
        vocabulary_size=config.size("vocab_size"),
        num_layers=config.depth("num_layers"),
        num_heads=config.size("num_heads"),
        hidden_dim=hidden_dim,
        intermediate_dim=config.size("intermediate_size", otherwise=4 * hidden_dim),
        max_length=config.size("max_position_embeddings"),
        dropout=config.rate("resid_dropout"),
        attention_dropout=config.rate("attention_dropout"),
        embedding_dropout=config.rate("embed_dropout"),
        activation=config.activation("activation_function"),
        normalize_first=True,
        layer_norm_epsilon=config.get("layer_norm_epsilon", float),
        padding_id=None,
        window=_windows(config),
        attention_scale=1.0,
        use_attention_bias=False,
        use_attention_output_bias=True,
        name="gpt_neo",
    )


def _rules(config: Config) -> list[Rule]:
    rules = [
        Rule("transformer.wte.weight", ("token_embedding/embeddings",)),
        Rule("transformer.wpe.weight", ("decoder/positional_encoding/embeddings",)),
    ]
    for index in range(config.depth("num_layers")):
        source, target = f"transformer.h.{index}", f"decoder/block_{index}"
        attention = f"{target}/self_attention/attention"
        for name, part in (("q", "query"), ("k", "key"), ("v", "value")):
            path = f"{source}.attn.attention.{name}_proj.weight"
            rules.append(Rule(path, (f"{attention}/{part}/kernel",), TRANSPOSED))
        rules += linear(f"{source}.attn.attention.out_proj", f"{attention}/output")
        rules += norm(f"{source}.ln_1", f"{target}/self_attention_norm")
        rules += linear(f"{source}.mlp.c_fc", f"{target}/feed_forward/intermediate")
        rules += linear(f"{source}.mlp.c_proj", f"{target}/feed_forward/output")
        rules += norm(f"{source}.ln_2", f"{target}/feed_forward_norm")
    return [*rules, *norm("transformer.ln_f", "decoder/final_norm")]


def _is_mask(array: np.ndarray, config: Config) -> bool:
    """Returns whether a buffer is the causal mask (1, 1, T, T), of all tokens or of a window."""
    length = config.size("max_position_embeddings")
    if array.shape != (1, 1, length, length):
        return False
    causal = np.tri(length, dtype=bool)
    near = causal & ~np.tri(length, k=-config.size("window_size"), dtype=bool)
    return any(np.array_equal(array[0, 0].astype("float32"), mask) for mask in (causal, near))


def _recognizes(model: keras.Model, names: set[str]) -> bool:
    if not is_pre_ln_gpt(model, names):
        return False
    block = model.get_layer("decoder").blocks[0]
    return block.attention_scale == 1.0 and not block.use_attention_bias


def _describe(model: keras.Model, ids: SpecialIds) -> Config:
    embedding, decoder = model.get_layer("token_embedding"), model.get_layer("decoder")
    block = decoder.blocks[0]
    kinds = [_GLOBAL if each.window is None else _LOCAL for each in decoder.blocks]
    return Config(
        "the model",
        {
            "model_type": "gpt_neo",
            "architectures": ["GPTNeoForCausalLM"],
            "vocab_size": embedding.vocabulary_size,
            "max_position_embeddings": learned_length(decoder.positional_encoding, "decoder"),
            "hidden_size": embedding.hidden_dim,
            "num_layers": decoder.num_layers,
            "num_heads": block.num_heads,
            "intermediate_size": block.intermediate_dim,
            "attention_types": [[kinds, 1]],
            "attention_layers": kinds,
            "window_size": common_window(decoder) or _KEYS.followed["window_size"],
            "activation_function": activation_name(block, ACTIVATIONS),
            "resid_dropout": block.dropout,
            "attention_dropout": block.attention_dropout,
            "embed_dropout": decoder.input_dropout,
            "layer_norm_epsilon": block.layer_norm_epsilon,
            "tie_word_embeddings": True,
            "bos_token_id": ids.start,
            "eos_token_id": ids.end,
            "pad_token_id": embedding.padding_id,
        },
        keys=_KEYS,
    )


GPT_NEO = Family(
    "gpt_neo",
    _build,
    _rules,
    _KEYS,
    copies=lambda config: {"lm_head.weight": "transformer.wte.weight"},
    computed={
        r"transformer\.h\.\d+\.attn\.attention\.bias": _is_mask,
        r"transformer\.h\.\d+\.attn\.attention\.masked_bias": is_very_low,
    },
    recognizes=_recognizes,
    describe=_describe,
    prefix="transformer.",
    # In transformers, there is no padding id: attention masks mark the padding.
    adapted=("padding_id",),
    generation=generation_values,
    write_tokenizer=write_tokenizer_json,
)
