"""Marian translation models of Hugging Face (`Helsinki-NLP/opus-mt-*`)."""

from __future__ import annotations

import keras

from keras_transformer.models.translation import transformer
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.family import Family
from keras_transformer.pretrained.mapping import ROW, Rule, attention, linear, norm


def _is_shared(config: Config) -> bool:
    return config.get("share_encoder_decoder_embeddings", bool, True)


def _build(config: Config) -> keras.Model:
    config.require(normalize_before=False, normalize_embedding=False, add_final_layer_norm=False)
    config.require(static_position_embeddings=True, tie_word_embeddings=True)
    config.require_equal("encoder_attention_heads", "decoder_attention_heads")
    config.require_equal("encoder_ffn_dim", "decoder_ffn_dim")
    vocabulary_size = config.size("vocab_size")
    return transformer(
        vocabulary_size,
        None if _is_shared(config) else config.size("decoder_vocab_size", vocabulary_size),
        num_layers=config.size("encoder_layers", 12),
        num_decoder_layers=config.size("decoder_layers", 12),
        num_heads=config.size("encoder_attention_heads", 16),
        hidden_dim=config.size("d_model", 1024),
        intermediate_dim=config.size("encoder_ffn_dim", 4096),
        dropout=config.rate("dropout", 0.1),
        attention_dropout=config.rate("attention_dropout", 0.0),
        activation_dropout=config.rate("activation_dropout", 0.0),
        activation=config.activation("activation_function", "gelu"),
        layer_norm_epsilon=1e-5,
        position_layout="concatenated",
        scale_embeddings=config.get("scale_embedding", bool, False),
        output_bias=True,
        padding_id=config.get("pad_token_id", int),
        start_is_padding=config.get("decoder_start_token_id", int, -1)
        == config.get("pad_token_id", int),
        name="marian",
    )


def _attention(source: str, target: str) -> list[Rule]:
    return attention((f"{source}.{part}_proj" for part in ("q", "k", "v", "out")), target)


def _rules(config: Config) -> list[Rule]:
    if _is_shared(config):
        embeddings = [Rule("model.shared.weight", ("token_embedding/embeddings",))]
        bias = "token_embedding/bias"
    else:
        embeddings = [
            Rule("model.encoder.embed_tokens.weight", ("source_embedding/embeddings",)),
            Rule("model.decoder.embed_tokens.weight", ("target_embedding/embeddings",)),
        ]
        bias = "target_embedding/bias"
    rules = [*embeddings, Rule("final_logits_bias", (bias,), ROW)]
    for stack in ("encoder", "decoder"):
        for index in range(config.size(f"{stack}_layers", 12)):
            source, target = f"model.{stack}.layers.{index}", f"{stack}/block_{index}"
            rules += _attention(f"{source}.self_attn", f"{target}/self_attention/attention")
            rules += norm(f"{source}.self_attn_layer_norm", f"{target}/self_attention_norm")
            if stack == "decoder":
                rules += _attention(f"{source}.encoder_attn", f"{target}/cross_attention")
                rules += norm(f"{source}.encoder_attn_layer_norm", f"{target}/cross_attention_norm")
            rules += linear(f"{source}.fc1", f"{target}/feed_forward/intermediate")
            rules += linear(f"{source}.fc2", f"{target}/feed_forward/output")
            rules += norm(f"{source}.final_layer_norm", f"{target}/feed_forward_norm")
    return rules


def _ignored(config: Config) -> tuple[str, ...]:
    # Sinusoids are computed, and the tied copies of the embeddings hold nothing new.
    ignored = (r"model\.(encoder|decoder)\.embed_positions\.weight", r"lm_head\.weight")
    if _is_shared(config):
        return (*ignored, r"model\.(encoder|decoder)\.embed_tokens\.weight")
    return ignored


MARIAN = Family("marian", _build, _rules, _ignored)
