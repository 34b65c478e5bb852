"""Hugging Face's RoBERTa and XLM-RoBERTa: BERT with other positions and another masked-LM head."""

from __future__ import annotations

import keras

from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.pretrained.audit import counts_up
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.config_keys import FIXED, SILENT, Keys
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.families.hugging_face_bert import (
    BERT_DEFAULTS,
    BERT_LAYERS,
    bert_settings,
    body_rules,
    build_bert,
)
from keras_transformer.pretrained.mapping import Rule, after_rows, linear, norm
from keras_transformer.pretrained.tokenizers.write_tokenizer_json import write_tokenizer_json

_PREFIX = "roberta."


def _keys(class_name: str, vocabulary_size: int) -> Keys:
    return Keys(
        {**BERT_DEFAULTS, "vocab_size": vocabulary_size, "pad_token_id": 1},
        {**FIXED, "is_encoder_decoder": False, "position_embedding_type": "absolute"},
        (SILENT - {"pad_token_id"}) | {"embedding_size"},
        {},
        (f"{class_name}Model", f"{class_name}ForMaskedLM"),
    )


def _has_masked_lm(config: Config) -> bool:
    return config.has_tensor("lm_head.dense.weight")


def _first_position(config: Config) -> int:
    """Returns the row of the first token's position, the one after the row of the padding id."""
    padding_id = config.get("pad_token_id", int)
    if padding_id < 0:
        raise ValueError(
            f"`pad_token_id` in {config.path} must not be negative. Received: {padding_id}."
        )
    return padding_id + 1


def _build(config: Config, name: str) -> keras.Model:
    first, size = _first_position(config), config.size("max_position_embeddings")
    if size <= first:
        raise ValueError(
            f"`max_position_embeddings` in {config.path} must be above `pad_token_id` + 1 = "
            f"{first}, because the first rows belong to no token. Received: {size}."
        )
    has_masked_lm = _has_masked_lm(config)
    if has_masked_lm:
        # The head always has the exact GELU.
        config.require(hidden_act="gelu")
    return build_bert(config, size - first, has_masked_lm, first - 1, name)


def _rules(config: Config) -> list[Rule]:
    rules = body_rules(config, _PREFIX, after_rows(_first_position(config)))
    if _has_masked_lm(config):
        rules += linear("lm_head.dense", "masked_lm_dense")
        rules += norm("lm_head.layer_norm", "masked_lm_norm")
        rules += [Rule("lm_head.bias", ("token_embedding/bias",))]
    return rules


def _copies(config: Config) -> dict[str, str]:
    if not _has_masked_lm(config):
        return {}
    return {
        "lm_head.decoder.weight": f"{_PREFIX}embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }


def _describe(
    model: keras.Model, ids: SpecialIds, model_type: str, class_name: str, keys: Keys
) -> Config:
    names = {layer.name for layer in model.layers}
    has_masked_lm = "masked_lm_dense" in names
    settings = bert_settings(model, ids)
    if settings["pad_token_id"] is None:
        raise ValueError(
            f"`padding_id` must be an id in Hugging Face's {model_type}. Received: padding_id=None."
        )
    settings["max_position_embeddings"] += settings["pad_token_id"] + 1
    kind = f"{class_name}ForMaskedLM" if has_masked_lm else f"{class_name}Model"
    values = {"model_type": model_type, "architectures": [kind], **settings}
    heads = ["pooler.dense.weight"] * ("pooler" in names)
    heads += ["lm_head.dense.weight"] * has_masked_lm
    return Config("the model", values, heads, keys)


def _family(model_type: str, class_name: str, vocabulary_size: int) -> Family:
    keys, name = _keys(class_name, vocabulary_size), model_type.replace("-", "_")
    return Family(
        model_type,
        lambda config: _build(config, name),
        _rules,
        keys,
        copies=_copies,
        computed={r"roberta\.embeddings\.position_ids": counts_up},
        # Only the name distinguishes it from BERT.
        recognizes=lambda model, names: model.name == name and names >= BERT_LAYERS,
        describe=lambda model, ids: _describe(model, ids, model_type, class_name, keys),
        prefix=_PREFIX,
        write_tokenizer=write_tokenizer_json,
    )


ROBERTA = _family("roberta", "Roberta", 50265)
XLM_ROBERTA = _family("xlm-roberta", "XLMRoberta", 30522)
