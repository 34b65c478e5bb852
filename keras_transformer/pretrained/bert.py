"""BERT of Hugging Face, and the sentence encoders that are BERTs (MiniLM)."""

from __future__ import annotations

import keras

from keras_transformer.models.bert import bert
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.family import Family
from keras_transformer.pretrained.mapping import Rule, attention, linear, norm


def _has_pooler(config: Config) -> bool:
    return config.has_tensor("pooler.dense.weight")


def _has_masked_lm(config: Config) -> bool:
    return config.has_tensor("cls.predictions.transform.dense.weight")


def _build(config: Config) -> keras.Model:
    config.require(position_embedding_type="absolute", is_decoder=False, tie_word_embeddings=True)
    return bert(
        vocabulary_size=config.size("vocab_size"),
        num_layers=config.size("num_hidden_layers", 12),
        num_heads=config.size("num_attention_heads", 12),
        hidden_dim=config.size("hidden_size", 768),
        intermediate_dim=config.size("intermediate_size", 3072),
        max_length=config.size("max_position_embeddings", 512),
        dropout=config.rate("hidden_dropout_prob", 0.1),
        pooler=_has_pooler(config),
        masked_lm=_has_masked_lm(config),
        num_segments=config.size("type_vocab_size", 2),
        activation=config.activation("hidden_act", "gelu"),
        layer_norm_epsilon=config.get("layer_norm_eps", float, 1e-12),
        attention_dropout=config.rate("attention_probs_dropout_prob", 0.1),
        padding_id=config.get("pad_token_id", int, 0),
    )


def _rules(config: Config) -> list[Rule]:
    embeddings = "bert.embeddings"
    rules = [
        Rule(f"{embeddings}.word_embeddings.weight", ("token_embedding/embeddings",)),
        Rule(f"{embeddings}.position_embeddings.weight", ("positional_encoding/embeddings",)),
        Rule(f"{embeddings}.token_type_embeddings.weight", ("segment_embedding/embeddings",)),
        *norm(f"{embeddings}.LayerNorm", "embedding_norm"),
    ]
    for index in range(config.size("num_hidden_layers", 12)):
        source, target = f"bert.encoder.layer.{index}", f"encoder/block_{index}"
        parts = ("self.query", "self.key", "self.value", "output.dense")
        rules += attention(
            (f"{source}.attention.{part}" for part in parts),
            f"{target}/self_attention/attention",
        )
        rules += norm(f"{source}.attention.output.LayerNorm", f"{target}/self_attention_norm")
        rules += linear(f"{source}.intermediate.dense", f"{target}/feed_forward/intermediate")
        rules += linear(f"{source}.output.dense", f"{target}/feed_forward/output")
        rules += norm(f"{source}.output.LayerNorm", f"{target}/feed_forward_norm")
    if _has_pooler(config):
        rules += linear("bert.pooler.dense", "pooler")
    if _has_masked_lm(config):
        head = "cls.predictions"
        rules += linear(f"{head}.transform.dense", "masked_lm_dense")
        rules += norm(f"{head}.transform.LayerNorm", "masked_lm_norm")
        rules += [Rule(f"{head}.bias", ("token_embedding/bias",))]
    return rules


def _ignored(config: Config) -> tuple[str, ...]:
    return (
        r"bert\.embeddings\.position_ids",
        r"cls\.predictions\.decoder\.(weight|bias)",  # tied copies
        r"cls\.seq_relationship\.(weight|bias)",  # the next-sentence head, which nobody uses
    )


BERT = Family(
    "bert",
    _build,
    _rules,
    _ignored,
    prefix="bert.",
    # The names that TensorFlow's layer norms had, in the oldest files.
    renamed=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
)
