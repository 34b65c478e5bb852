"""Hugging Face's multilingual translation models M2M100, NLLB and SMaLL-100 (`m2m_100`)."""

from __future__ import annotations

import keras
import numpy as np

from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.models.translation import transformer
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.config_keys import FIXED, SILENT, Keys
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
from keras_transformer.pretrained.mapping import Rule, norm
from keras_transformer.pretrained.tokenizers.write_m2m_tokenizer import write_m2m_tokenizer

_EPSILON = 1e-5
_LAYOUT = "tensor2tensor"
_KEYS = Keys(
    {
        "vocab_size": 128112,
        "encoder_layers": 12,
        "encoder_ffn_dim": 4096,
        "encoder_attention_heads": 16,
        "decoder_layers": 12,
        "decoder_ffn_dim": 4096,
        "decoder_attention_heads": 16,
        "d_model": 1024,
        "activation_function": "relu",
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.0,
        "scale_embedding": True,
        "pad_token_id": 1,
        "decoder_start_token_id": 2,
    },
    {**FIXED, "is_encoder_decoder": True, "tie_word_embeddings": True},
    # Blocks are dropped only in training. Positions are computed, so their number is not limited.
    (SILENT - {"pad_token_id", "decoder_start_token_id"})
    | {"decoder_layerdrop", "encoder_layerdrop", "max_position_embeddings"},
    ALIASES,
    ("M2M100ForConditionalGeneration",),
)
# Number of positions in transformers' table, which grows for longer texts.
_MAX_LENGTH = 1024
_MAX_NEW_TOKENS = 200  # the limit of translations in the settings of M2M100 and NLLB


def _first_position(padding_id: int) -> int:
    """Returns the position of the first token, as in fairseq."""
    return padding_id + 1


def _build(config: Config) -> keras.Model:
    padding_id = config.get("pad_token_id", int)
    if config.get("decoder_start_token_id", int) == padding_id:
        # In transformers, padding takes no position, and neither would such a start token.
        raise ValueError(
            f"`decoder_start_token_id` in {config.path} must differ from `pad_token_id`. "
            f"Received: {padding_id} for both."
        )
    return transformer(
        config.size("vocab_size"),
        **stack_arguments(config),
        normalize_first=True,
        layer_norm_epsilon=_EPSILON,
        position_layout=_LAYOUT,
        first_position=_first_position(padding_id),
        padding_id=padding_id,
        name="m2m_100",
    )


def _rules(config: Config) -> list[Rule]:
    rules = [Rule("model.shared.weight", ("token_embedding/embeddings",)), *block_rules(config)]
    for stack in ("encoder", "decoder"):
        rules += norm(f"model.{stack}.layer_norm", f"{stack}/final_norm")
    return rules


def _are_sinusoids(array: np.ndarray, config: Config) -> bool:
    first = _first_position(config.get("pad_token_id", int))
    return are_sinusoids(array, config.size("d_model"), _LAYOUT, first)


def _recognizes(model: keras.Model, names: set[str]) -> bool:
    """Returns whether a model is a pre-LN translator; post-LN ones are Marian's."""
    if not is_transformer(model, names):
        return False
    stacks = (model.get_layer("encoder"), model.get_layer("decoder"))
    return all(getattr(stack.blocks[0], "normalize_first", False) for stack in stacks)


def _describe(model: keras.Model, ids: SpecialIds) -> Config:
    names = {layer.name for layer in model.layers}
    if "token_embedding" not in names or "logits" in names:
        raise ValueError(
            "`share_embeddings` must be True, with a single vocabulary: an M2M100 model has one "
            f"matrix for source, target and logits. Received: a model with the layers "
            f"{sorted(names)}."
        )
    embedding = model.get_layer("token_embedding")
    padding_id = embedding.padding_id
    check_ids(padding_id, ids, "an M2M100")
    values = {
        "model_type": "m2m_100",
        "architectures": ["M2M100ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "tie_word_embeddings": True,
        "vocab_size": embedding.vocabulary_size,
        "d_model": embedding.hidden_dim,
        "max_position_embeddings": _MAX_LENGTH,
        **stack_values(model),
        "scale_embedding": embedding.scale,
        "encoder_layerdrop": 0.0,
        "decoder_layerdrop": 0.0,
        "pad_token_id": padding_id,
        "bos_token_id": None,
        "eos_token_id": ids.end,
        "decoder_start_token_id": ids.start,
    }
    return Config("the model", values, keys=_KEYS)


M2M100 = Family(
    "m2m_100",
    _build,
    _rules,
    _KEYS,
    copies=lambda config: shared_copies(),
    computed={r"model\.(encoder|decoder)\.embed_positions\.weights?": _are_sinusoids},
    recognizes=_recognizes,
    describe=_describe,
    generation=lambda config, ids: generation_values(config, ids, _MAX_NEW_TOKENS),
    write_tokenizer=write_m2m_tokenizer,
)
