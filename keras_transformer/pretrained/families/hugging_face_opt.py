"""Hugging Face's OPT, with learned positions that start at the third row of their table."""

from __future__ import annotations

import keras

from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.models.language_model import gpt
from keras_transformer.pretrained.config import ACTIVATIONS, Config
from keras_transformer.pretrained.config_keys import FIXED, SILENT, Keys
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.families.hugging_face_gpt import generation_values, is_pre_ln_gpt
from keras_transformer.pretrained.mapping import TRANSPOSED, Rule, after_rows, norm
from keras_transformer.pretrained.settings import activation_name, block_of, learned_length
from keras_transformer.pretrained.tokenizers.write_tokenizer_json import write_tokenizer_json

_KEYS = Keys(
    {
        "vocab_size": 50272,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "ffn_dim": 3072,
        "max_position_embeddings": 2048,
        "word_embed_proj_dim": None,
        "dropout": 0.1,
        "attention_dropout": 0.0,
        "num_attention_heads": 12,
        "activation_function": "relu",
        "enable_bias": True,
    },
    {
        **FIXED,
        "is_encoder_decoder": False,
        "tie_word_embeddings": True,
        "do_layer_norm_before": True,
        "_remove_final_layer_norm": False,
        "layer_norm_elementwise_affine": True,
        "layerdrop": 0.0,
    },
    SILENT,
    {},
    ("OPTModel", "OPTForCausalLM"),
)
_EPSILON = 1e-5  # torch's, which no setting changes
# Only padding, which is masked, has a position in the first two rows.
_NUM_UNUSED = 2


def _build(config: Config) -> keras.Model:
    hidden_dim = config.size("hidden_size")
    if config.size("word_embed_proj_dim", otherwise=hidden_dim) != hidden_dim:
        config.require_equal("word_embed_proj_dim", "hidden_size")
    has_biases = config.get("enable_bias", bool)
    return gpt(
        vocabulary_size=config.size("vocab_size"),
        num_layers=config.depth("num_hidden_layers"),
        num_heads=config.size("num_attention_heads"),
        hidden_dim=hidden_dim,
        intermediate_dim=config.size("ffn_dim"),
        max_length=config.size("max_position_embeddings"),
        dropout=config.rate("dropout"),
        attention_dropout=config.rate("attention_dropout"),
        activation=config.activation("activation_function"),
        embedding_dropout=0.0,
        normalize_first=True,
        layer_norm_epsilon=_EPSILON,
        padding_id=None,
        use_attention_bias=has_biases,
        use_feed_forward_bias=has_biases,
        name="opt",
    )


def _rules(config: Config) -> list[Rule]:
    top = "model.decoder"
    positions = ("decoder/positional_encoding/embeddings",)
    rules = [
        Rule(f"{top}.embed_tokens.weight", ("token_embedding/embeddings",)),
        Rule(f"{top}.embed_positions.weight", positions, after_rows(_NUM_UNUSED)),
    ]
    for index in range(config.depth("num_hidden_layers")):
        source, target = f"{top}.layers.{index}", f"decoder/block_{index}"
        attention, network = f"{target}/self_attention/attention", f"{target}/feed_forward"
        pairs = {
            f"self_attn.{name}_proj": f"{attention}/{part}"
            for name, part in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "output"))
        }
        pairs |= {"fc1": f"{network}/intermediate", "fc2": f"{network}/output"}
        for name, path in pairs.items():
            rules.append(Rule(f"{source}.{name}.weight", (f"{path}/kernel",), TRANSPOSED))
            if config.get("enable_bias", bool):
                rules.append(Rule(f"{source}.{name}.bias", (f"{path}/bias",)))
        rules += norm(f"{source}.self_attn_layer_norm", f"{target}/self_attention_norm")
        rules += norm(f"{source}.final_layer_norm", f"{target}/feed_forward_norm")
    return [*rules, *norm(f"{top}.final_layer_norm", "decoder/final_norm")]


def _recognizes(model: keras.Model, names: set[str]) -> bool:
    """Recognizes OPT by the name of the model, since GPT-2 has the same layers."""
    return is_pre_ln_gpt(model, names) and model.name == "opt"


def _describe(model: keras.Model, ids: SpecialIds) -> Config:
    embedding, decoder = model.get_layer("token_embedding"), model.get_layer("decoder")
    block = block_of(decoder)
    return Config(
        "the model",
        {
            "model_type": "opt",
            "architectures": ["OPTForCausalLM"],
            "vocab_size": embedding.vocabulary_size,
            "hidden_size": embedding.hidden_dim,
            "word_embed_proj_dim": embedding.hidden_dim,
            "num_hidden_layers": decoder.num_layers,
            "num_attention_heads": block.num_heads,
            "ffn_dim": block.intermediate_dim,
            "max_position_embeddings": learned_length(decoder.positional_encoding, "decoder"),
            "dropout": block.dropout,
            "attention_dropout": block.attention_dropout,
            "activation_function": activation_name(block, ACTIVATIONS),
            "enable_bias": block.use_attention_bias,
            "tie_word_embeddings": True,
            "bos_token_id": ids.start,
            "eos_token_id": ids.end,
            "pad_token_id": embedding.padding_id,
        },
        keys=_KEYS,
    )


OPT = Family(
    "opt",
    _build,
    _rules,
    _KEYS,
    copies=lambda config: {"lm_head.weight": "model.decoder.embed_tokens.weight"},
    recognizes=_recognizes,
    describe=_describe,
    prefix="model.",
    # In transformers, there is no padding id: attention masks mark the padding.
    adapted=("padding_id",),
    generation=generation_values,
    write_tokenizer=write_tokenizer_json,
)
