"""Hugging Face's DistilBERT: BERT without segments and pooler, with other tensor names."""

from __future__ import annotations

import keras

from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.models.bert import bert
from keras_transformer.pretrained.audit import counts_up
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.config_keys import FIXED, SILENT, Keys
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.mapping import Rule, attention, linear, norm
from keras_transformer.pretrained.settings import activation_name, block_of, learned_length
from keras_transformer.pretrained.tokenizers.write_tokenizer_json import write_tokenizer_json

_PREFIX = "distilbert."
_EPSILON = 1e-12  # fixed in transformers
_KEYS = Keys(
    {
        "vocab_size": 30522,
        "dim": 768,
        "n_layers": 6,
        "n_heads": 12,
        "hidden_dim": 3072,
        "activation": "gelu",
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
    },
    {**FIXED, "is_encoder_decoder": False},
    # `sinusoidal_pos_embds` only affects the initial values of a table that the file contains; the
    # dropout rates are those of classifiers.
    (SILENT - {"pad_token_id"}) | {"qa_dropout", "seq_classif_dropout", "sinusoidal_pos_embds"},
    {"hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"},
    ("DistilBertModel", "DistilBertForMaskedLM"),
)
_ATTENTION = ("q_lin", "k_lin", "v_lin", "out_lin")


def _has_masked_lm(config: Config) -> bool:
    return config.has_tensor("vocab_transform.weight")


def _build(config: Config) -> keras.Model:
    if _has_masked_lm(config):
        config.require(tie_word_embeddings=True)
    return bert(
        vocabulary_size=config.size("vocab_size"),
        num_layers=config.depth("n_layers"),
        num_heads=config.size("n_heads"),
        hidden_dim=config.size("dim"),
        intermediate_dim=config.size("hidden_dim"),
        max_length=config.size("max_position_embeddings"),
        # In training, our blocks also apply dropout after attention, DistilBERT's do not.
        dropout=config.rate("dropout"),
        pooler=False,
        masked_lm=_has_masked_lm(config),
        num_segments=None,
        activation=config.activation("activation"),
        layer_norm_epsilon=_EPSILON,
        attention_dropout=config.rate("attention_dropout"),
        padding_id=config.token_id("pad_token_id"),
        name="distilbert",
    )


def _rules(config: Config) -> list[Rule]:
    embeddings = f"{_PREFIX}embeddings"
    rules = [
        Rule(f"{embeddings}.word_embeddings.weight", ("token_embedding/embeddings",)),
        Rule(f"{embeddings}.position_embeddings.weight", ("positional_encoding/embeddings",)),
        *norm(f"{embeddings}.LayerNorm", "embedding_norm"),
    ]
    for index in range(config.depth("n_layers")):
        source, target = f"{_PREFIX}transformer.layer.{index}", f"encoder/block_{index}"
        rules += attention(
            (f"{source}.attention.{part}" for part in _ATTENTION),
            f"{target}/self_attention/attention",
        )
        rules += norm(f"{source}.sa_layer_norm", f"{target}/self_attention_norm")
        rules += linear(f"{source}.ffn.lin1", f"{target}/feed_forward/intermediate")
        rules += linear(f"{source}.ffn.lin2", f"{target}/feed_forward/output")
        rules += norm(f"{source}.output_layer_norm", f"{target}/feed_forward_norm")
    if _has_masked_lm(config):
        rules += linear("vocab_transform", "masked_lm_dense")
        rules += norm("vocab_layer_norm", "masked_lm_norm")
        rules += [Rule("vocab_projector.bias", ("token_embedding/bias",))]
    return rules


def _copies(config: Config) -> dict[str, str]:
    if not _has_masked_lm(config):
        return {}
    return {"vocab_projector.weight": f"{_PREFIX}embeddings.word_embeddings.weight"}


def _describe(model: keras.Model, ids: SpecialIds) -> Config:
    embedding, encoder = model.get_layer("token_embedding"), model.get_layer("encoder")
    block = block_of(encoder)
    has_masked_lm = "masked_lm_dense" in {layer.name for layer in model.layers}
    values = {
        "model_type": "distilbert",
        "architectures": ["DistilBertForMaskedLM" if has_masked_lm else "DistilBertModel"],
        "vocab_size": embedding.vocabulary_size,
        "dim": embedding.hidden_dim,
        "n_layers": encoder.num_layers,
        "n_heads": block.num_heads,
        "hidden_dim": block.intermediate_dim,
        "max_position_embeddings": learned_length(
            model.get_layer("positional_encoding"), "positional_encoding"
        ),
        "activation": activation_name(block),
        "dropout": block.dropout,
        "attention_dropout": block.attention_dropout,
        "sinusoidal_pos_embds": False,
        "tie_word_embeddings": True,
        "pad_token_id": embedding.padding_id,
        "bos_token_id": ids.start,
        "eos_token_id": ids.end,
    }
    heads = ["vocab_transform.weight"] * has_masked_lm
    return Config("the model", values, heads, _KEYS)


def _recognizes(model: keras.Model, names: set[str]) -> bool:
    own = {"token_embedding", "embedding_norm", "encoder"} <= names
    return own and not names & {"segment_embedding", "decoder"}


DISTILBERT = Family(
    "distilbert",
    _build,
    _rules,
    _KEYS,
    copies=_copies,
    computed={r"distilbert\.embeddings\.position_ids": counts_up},
    recognizes=_recognizes,
    describe=_describe,
    prefix=_PREFIX,
    write_tokenizer=write_tokenizer_json,
)
