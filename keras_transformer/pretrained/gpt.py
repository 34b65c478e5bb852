"""GPT-1 (`openai-gpt`) and GPT-2 of Hugging Face."""

from __future__ import annotations

import keras

from keras_transformer.data.special_ids import SpecialIds
from keras_transformer.models.heads import multiple_choice
from keras_transformer.models.language_model import gpt
from keras_transformer.pretrained.config import ACTIVATIONS, Config
from keras_transformer.pretrained.family import Family
from keras_transformer.pretrained.mapping import SAME, Rule, joint, linear, norm
from keras_transformer.pretrained.settings import activation_name, learned_length
from keras_transformer.pretrained.tokenizer_json import write_tokenizer_json

# GPT-1's "gelu" is the approximation that its paper used.
_GPT1_ACTIVATIONS = {
    "gelu": "gelu_approximate",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}

# The second head of the models that transformers calls "double heads".
_HEAD = "multiple_choice_head.summary.weight"


def _build(config: Config, activation: str, normalize_first: bool) -> keras.Model:
    config.require(tie_word_embeddings=True)
    hidden_dim = config.size("n_embd", 768)
    lm = gpt(
        vocabulary_size=config.size("vocab_size"),
        num_layers=config.size("n_layer", 12),
        num_heads=config.size("n_head", 12),
        hidden_dim=hidden_dim,
        intermediate_dim=config.size("n_inner", 4 * hidden_dim),
        max_length=config.size("n_positions", 512),
        dropout=config.rate("resid_pdrop", 0.1),
        attention_dropout=config.rate("attn_pdrop", 0.1),
        embedding_dropout=config.rate("embd_pdrop", 0.1),
        activation=activation,
        normalize_first=normalize_first,
        layer_norm_epsilon=config.get("layer_norm_epsilon", float, 1e-5),
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
        dropout=config.rate("summary_first_dropout", 0.1),
        extract_positions=True,
        return_logits=True,
    )


def _build_gpt1(config):
    return _build(config, config.activation("afn", "gelu", _GPT1_ACTIVATIONS), False)


def _build_gpt2(config):
    config.require(
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        add_cross_attention=False,
    )
    activation = config.activation("activation_function", "gelu_new")
    return _build(config, activation, True)


def _rules(config: Config, tokens: str, positions: str) -> list[Rule]:
    embedding = f"transformer.{tokens}.weight"
    if not config.has_tensor(f"{tokens}.weight") and config.has_tensor("lm_head.weight"):
        embedding = "lm_head.weight"  # of two tied names, GPT-1 with double heads saves this one
    rules = [
        Rule(embedding, ("token_embedding/embeddings",)),
        Rule(f"transformer.{positions}.weight", ("decoder/positional_encoding/embeddings",)),
    ]
    for index in range(config.size("n_layer", 12)):
        source, target = f"transformer.h.{index}", f"decoder/block_{index}"
        attention = f"{target}/self_attention/attention"
        # Conv1D holds (in, out), as a Dense kernel; query, key and value in one matrix.
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


def _ignored(config: Config) -> tuple[str, ...]:
    # Causal masks, which old files hold, and the tied copy of the embedding.
    return (r"transformer\.h\.\d+\.attn\.(bias|masked_bias)", r"lm_head\.weight")


def _is_gpt(model, names, normalize_first):
    fits = {"token_embedding", "decoder"} <= names and "encoder" not in names
    return fits and getattr(model.get_layer("decoder"), "normalize_first", None) == normalize_first


def _describe(model: keras.Model, ids: SpecialIds, values: dict) -> Config:
    embedding, decoder = model.get_layer("token_embedding"), model.get_layer("decoder")
    return Config(
        "the model",
        {
            "vocab_size": embedding.vocabulary_size,
            "n_positions": learned_length(decoder.positional_encoding, "decoder"),
            "n_embd": embedding.hidden_dim,
            "n_layer": decoder.num_layers,
            "n_head": decoder.num_heads,
            "resid_pdrop": decoder.dropout,
            "attn_pdrop": decoder.attention_dropout,
            "embd_pdrop": decoder.input_dropout,
            "layer_norm_epsilon": decoder.layer_norm_epsilon,
            "tie_word_embeddings": True,
            "bos_token_id": ids.start,
            "eos_token_id": ids.end,
            "pad_token_id": embedding.padding_id,
            **values,
        },
    )


def _describe_gpt1(model, ids):
    values = {
        "model_type": "openai-gpt",
        "architectures": ["OpenAIGPTLMHeadModel"],
        "afn": activation_name(model.get_layer("decoder"), _GPT1_ACTIVATIONS),
    }
    # Without the width of the feed-forward networks, which Hugging Face's GPT-1 does not read: it
    # must be 4 D.
    return _describe(model, ids, values)


def _describe_gpt2(model, ids):
    decoder = model.get_layer("decoder")
    values = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_inner": decoder.intermediate_dim,
        "activation_function": activation_name(decoder, ACTIVATIONS),
    }
    return _describe(model, ids, values)


def _generation(config: Config, ids: SpecialIds) -> dict:
    padding_id = config.values["pad_token_id"]
    values = {key: config.values[f"{key}_token_id"] for key in ("bos", "eos", "pad")}
    values = {f"{key}_token_id": value for key, value in values.items() if value is not None}
    return values if padding_id is None else {**values, "bad_words_ids": [[padding_id]]}


def _family(model_type, build, rules, describe, normalize_first):
    return Family(
        model_type,
        build,
        rules,
        _ignored,
        lambda model, names: _is_gpt(model, names, normalize_first),
        describe,
        prefix="transformer.",
        # Here GPTs have no padding: attention masks say where there is some.
        adapted=("padding_id",),
        generation=_generation,
        write_tokenizer=write_tokenizer_json,
    )


GPT1 = _family("openai-gpt", _build_gpt1, _rules_gpt1, _describe_gpt1, False)
GPT2 = _family("gpt2", _build_gpt2, _rules_gpt2, _describe_gpt2, True)
