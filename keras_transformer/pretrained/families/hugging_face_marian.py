"""Hugging Face's Marian translation models (`Helsinki-NLP/opus-mt-*`)."""

from __future__ import annotations

import math

import keras
import numpy as np

from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.models.translation import transformer
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.config_keys import FIXED, SILENT, Keys
from keras_transformer.pretrained.equivalence import (
    interleaved_to_concatenated,
    permute_channels,
    scale_to_epsilon,
)
from keras_transformer.pretrained.families.encoder_decoder import (
    ALIASES,
    are_sinusoids,
    block_rules,
    check_ids,
    generation_values,
    is_transformer,
    shared_copies,
    stack_arguments,
    stack_values,
)
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.mapping import ROW, Rule
from keras_transformer.pretrained.settings import block_of
from keras_transformer.pretrained.tokenizers.write_marian_tokenizer import write_marian_tokenizer
from keras_transformer.pretrained.weight_paths import check_start_is_seen

_EPSILON = 1e-5
# Settings that all Marian models share.
_FORM = {
    "normalize_before": False,
    "normalize_embedding": False,
    "add_final_layer_norm": False,
    "static_position_embeddings": True,
    "tie_word_embeddings": True,
}
_KEYS = Keys(
    {
        "vocab_size": 58101,
        "decoder_vocab_size": None,
        "share_encoder_decoder_embeddings": True,
        "encoder_layers": 12,
        "encoder_ffn_dim": 4096,
        "encoder_attention_heads": 16,
        "decoder_layers": 12,
        "decoder_ffn_dim": 4096,
        "decoder_attention_heads": 16,
        "d_model": 1024,
        "activation_function": "gelu",
        "dropout": 0.1,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "scale_embedding": False,
        "pad_token_id": 58100,
        "decoder_start_token_id": 58100,
    },
    {
        **FIXED,
        **_FORM,
        "decoder_layerdrop": 0.0,
        "encoder_layerdrop": 0.0,
        "is_encoder_decoder": True,
    },
    # Positions are computed, so their number is not limited.
    (SILENT - {"pad_token_id", "decoder_start_token_id"}) | {"max_position_embeddings"},
    ALIASES,
    ("MarianMTModel",),
)
# Number of positions in transformers' table of sinusoids; our models have no limit.
_MAX_LENGTH = 1024
_MAX_NEW_TOKENS = 512  # transformers' default limit of translations


def _is_shared(config: Config) -> bool:
    return config.get("share_encoder_decoder_embeddings", bool)


def _target_size(config: Config) -> int | None:
    """Returns the size of the target vocabulary, None if it is shared with the source."""
    source_size = config.size("vocab_size")
    target_size = config.size("decoder_vocab_size", otherwise=source_size)
    if not _is_shared(config):
        return target_size
    if target_size != source_size:
        config.require_equal("decoder_vocab_size", "vocab_size")
    return None


def _build(config: Config) -> keras.Model:
    return transformer(
        config.size("vocab_size"),
        _target_size(config),
        **stack_arguments(config),
        layer_norm_epsilon=_EPSILON,
        position_layout="concatenated",
        output_bias=True,
        padding_id=config.get("pad_token_id", int),
        start_is_padding=config.get("decoder_start_token_id", int)
        == config.get("pad_token_id", int),
        name="marian",
    )


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
    return [*embeddings, Rule("final_logits_bias", (bias,), ROW), *block_rules(config)]


def _copies(config: Config) -> dict[str, str]:
    if not _is_shared(config):
        return {"lm_head.weight": "model.decoder.embed_tokens.weight"}
    return shared_copies()


def _are_sinusoids(array: np.ndarray, config: Config) -> bool:
    return are_sinusoids(array, config.size("d_model"), "concatenated")


def _embeddings(model):
    """Returns the embeddings of source and target."""
    names = {layer.name for layer in model.layers}
    if "logits" in names:
        raise ValueError(
            "`share_embeddings` must be True: a Marian model has no separate output matrix. "
            "Received: a model with a layer `logits`."
        )
    sides = ("source_embedding", "target_embedding")
    return [model.get_layer(side if side in names else "token_embedding") for side in sides]


def _check(model, padding_id, ids):
    layout = getattr(model.get_layer("encoder").positional_encoding, "layout", None)
    if layout not in ("interleaved", "concatenated"):
        raise ValueError(
            '`position_layout` must be "interleaved" or "concatenated" for a Marian model. '
            f"Received: {layout!r}."
        )
    check_ids(padding_id, ids, "a Marian")
    check_start_is_seen(model, padding_id, ids.start)


def _describe(model: keras.Model, ids: SpecialIds) -> Config:
    source, target = _embeddings(model)
    _check(model, source.padding_id, ids)
    values = {
        "model_type": "marian",
        "architectures": ["MarianMTModel"],
        "is_encoder_decoder": True,
        "vocab_size": source.vocabulary_size,
        "decoder_vocab_size": target.vocabulary_size,
        "share_encoder_decoder_embeddings": source is target,
        "d_model": source.hidden_dim,
        "max_position_embeddings": _MAX_LENGTH,
        **stack_values(model),
        "scale_embedding": source.scale,
        **_FORM,
        "pad_token_id": source.padding_id,
        "bos_token_id": None,
        "eos_token_id": ids.end,
        "forced_eos_token_id": None,
        "decoder_start_token_id": ids.start,
    }
    return Config("the model", values, keys=_KEYS)


def _adapt(model: keras.Model, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    layouts = {stack.positional_encoding.layout for stack in (encoder, decoder)}
    if len(layouts) > 1:
        raise ValueError(
            "`position_layout` must be the same in encoder and decoder. "
            f"Received: {sorted(layouts)}."
        )
    if layouts == {"interleaved"}:
        (hidden_dim,) = arrays["encoder/block_0/feed_forward_norm/gamma"].shape
        arrays = permute_channels(arrays, interleaved_to_concatenated(hidden_dim))
    for stack, norms in (
        (encoder, ("self_attention", "feed_forward")),
        (decoder, ("self_attention", "cross_attention", "feed_forward")),
    ):
        epsilon = block_of(stack).layer_norm_epsilon
        if epsilon != _EPSILON:
            factor = math.sqrt(_EPSILON / epsilon)
            arrays = scale_to_epsilon(arrays, stack.name, stack.num_layers, norms, factor)
    return arrays


MARIAN = Family(
    "marian",
    _build,
    _rules,
    _KEYS,
    copies=_copies,
    computed={r"model\.(encoder|decoder)\.embed_positions\.weight": _are_sinusoids},
    recognizes=is_transformer,
    describe=_describe,
    adapted=("positional_encoding.layout", "block.layer_norm_epsilon"),
    adapt=_adapt,
    generation=lambda config, ids: generation_values(config, ids, _MAX_NEW_TOKENS),
    write_tokenizer=write_marian_tokenizer,
)
