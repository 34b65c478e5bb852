"""Hugging Face's BERT, and sentence encoders with its architecture (MiniLM)."""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.models.bert import bert
from keras_transformer.pretrained.audit import counts_up
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.config_keys import FIXED, SILENT, Keys
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.mapping import SAME, Form, Rule, attention, linear, norm
from keras_transformer.pretrained.settings import activation_name, block_of, learned_length
from keras_transformer.pretrained.tokenizers.write_tokenizer_json import write_tokenizer_json

# Also the settings of RoBERTa.
BERT_DEFAULTS = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "tie_word_embeddings": True,
}
BERT_LAYERS = {"token_embedding", "segment_embedding", "encoder"}
_KEYS = Keys(
    BERT_DEFAULTS,
    {**FIXED, "is_encoder_decoder": False, "position_embedding_type": "absolute"},
    # `embedding_size` is ignored: the shapes of the tensors are checked.
    (SILENT - {"pad_token_id"}) | {"embedding_size"},
    {},
    ("BertModel", "BertForMaskedLM", "BertLMHeadModel", "BertForPreTraining"),
)
# The next-sentence head of checkpoints with a masked-LM head; it is not used.
_LEFT_OUT = ("cls.seq_relationship.weight", "cls.seq_relationship.bias")


def has_pooler(config: Config) -> bool:
    """Returns whether a checkpoint has a pooler."""
    return config.has_tensor("pooler.dense.weight")


def _has_masked_lm(config: Config) -> bool:
    return config.has_tensor("cls.predictions.transform.dense.weight")


def _build(config: Config) -> keras.Model:
    masked_lm = _has_masked_lm(config)
    max_length = config.size("max_position_embeddings")
    return build_bert(config, max_length, masked_lm, config.token_id("pad_token_id"))


def build_bert(
    config: Config, max_length: int, masked_lm: bool, padding_id: int | None, name: str = "bert"
) -> keras.Model:
    """Builds the model of a config with BERT's keys."""
    if masked_lm:
        config.require(tie_word_embeddings=True)
    return bert(
        vocabulary_size=config.size("vocab_size"),
        num_layers=config.depth("num_hidden_layers"),
        num_heads=config.size("num_attention_heads"),
        hidden_dim=config.size("hidden_size"),
        intermediate_dim=config.size("intermediate_size"),
        max_length=max_length,
        dropout=config.rate("hidden_dropout_prob"),
        pooler=has_pooler(config),
        masked_lm=masked_lm,
        num_segments=config.size("type_vocab_size"),
        activation=config.activation("hidden_act"),
        layer_norm_epsilon=config.get("layer_norm_eps", float),
        attention_dropout=config.rate("attention_probs_dropout_prob"),
        padding_id=padding_id,
        name=name,
    )


def body_rules(config: Config, prefix: str, positions: Form = SAME) -> list[Rule]:
    """Returns the table of a model with BERT's names, without a masked-LM head.

    Args:
        config: The checkpoint's settings.
        prefix: Prefix of the names.
        positions: Form of the table of positions.

    Returns:
        The rules.
    """
    embeddings = f"{prefix}embeddings"
    rules = [
        Rule(f"{embeddings}.word_embeddings.weight", ("token_embedding/embeddings",)),
        Rule(
            f"{embeddings}.position_embeddings.weight",
            ("positional_encoding/embeddings",),
            positions,
        ),
        Rule(f"{embeddings}.token_type_embeddings.weight", ("segment_embedding/embeddings",)),
        *norm(f"{embeddings}.LayerNorm", "embedding_norm"),
    ]
    for index in range(config.depth("num_hidden_layers")):
        source, target = f"{prefix}encoder.layer.{index}", f"encoder/block_{index}"
        parts = ("self.query", "self.key", "self.value", "output.dense")
        rules += attention(
            (f"{source}.attention.{part}" for part in parts),
            f"{target}/self_attention/attention",
        )
        rules += norm(f"{source}.attention.output.LayerNorm", f"{target}/self_attention_norm")
        rules += linear(f"{source}.intermediate.dense", f"{target}/feed_forward/intermediate")
        rules += linear(f"{source}.output.dense", f"{target}/feed_forward/output")
        rules += norm(f"{source}.output.LayerNorm", f"{target}/feed_forward_norm")
    if has_pooler(config):
        rules += linear(f"{prefix}pooler.dense", "pooler")
    return rules


def _rules(config: Config) -> list[Rule]:
    rules = body_rules(config, "bert.")
    if _has_masked_lm(config):
        head = "cls.predictions"
        rules += linear(f"{head}.transform.dense", "masked_lm_dense")
        rules += norm(f"{head}.transform.LayerNorm", "masked_lm_norm")
        rules += [Rule(f"{head}.bias", ("token_embedding/bias",))]
    return rules


def _copies(config: Config) -> dict[str, str]:
    if not _has_masked_lm(config):
        return {}
    return {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }


def _describe(model: keras.Model, ids: SpecialIds) -> Config:
    names = {layer.name for layer in model.layers}
    has_masked_lm = "masked_lm_dense" in names
    values = {
        "model_type": "bert",
        "architectures": ["BertForMaskedLM" if has_masked_lm else "BertModel"],
        **bert_settings(model, ids),
    }
    heads = ["pooler.dense.weight"] * ("pooler" in names)
    heads += ["cls.predictions.transform.dense.weight"] * has_masked_lm
    return Config("the model", values, heads, _KEYS)


def bert_settings(model: keras.Model, ids: SpecialIds) -> dict[str, Any]:
    """Returns the settings of a model by BERT's keys."""
    embedding, encoder = model.get_layer("token_embedding"), model.get_layer("encoder")
    block = block_of(encoder)
    return {
        "vocab_size": embedding.vocabulary_size,
        "hidden_size": embedding.hidden_dim,
        "num_hidden_layers": encoder.num_layers,
        "num_attention_heads": block.num_heads,
        "intermediate_size": block.intermediate_dim,
        "max_position_embeddings": learned_length(
            model.get_layer("positional_encoding"), "positional_encoding"
        ),
        "type_vocab_size": model.get_layer("segment_embedding").vocabulary_size,
        "hidden_act": activation_name(block),
        "hidden_dropout_prob": block.dropout,
        "attention_probs_dropout_prob": block.attention_dropout,
        "layer_norm_eps": block.layer_norm_epsilon,
        "tie_word_embeddings": True,
        "pad_token_id": embedding.padding_id,
        "bos_token_id": ids.start,
        "eos_token_id": ids.end,
    }


BERT = Family(
    "bert",
    _build,
    _rules,
    _KEYS,
    copies=_copies,
    computed={r"bert\.embeddings\.position_ids": counts_up},
    left_out=lambda config: _LEFT_OUT if _has_masked_lm(config) else (),
    recognizes=lambda model, names: BERT_LAYERS <= names,
    describe=_describe,
    prefix="bert.",
    write_tokenizer=write_tokenizer_json,
    # TensorFlow's names for the weights of layer norms, in the oldest files.
    renamed=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
)
