"""Hugging Face's Vision Transformers."""

from __future__ import annotations

import keras

from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.models.vision import vit
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.config_keys import FIXED, SILENT, Keys
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.mapping import Form, Rule, attention, linear, norm
from keras_transformer.pretrained.settings import activation_name, block_of

_KEYS = Keys(
    {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": 1e-12,
        "image_size": 224,
        "patch_size": 16,
        "num_channels": 3,
        "pooler_output_size": None,
        "head_dim": None,
        # If the file has neither of these two keys, there are two classes.
        "id2label": None,
        "num_labels": 2,
    },
    {**FIXED, "is_encoder_decoder": False, "pooler_act": "tanh", "qkv_bias": True},
    # `encoder_stride` belongs to a head for masked image modeling.
    (SILENT - {"id2label", "num_labels"}) | {"encoder_stride"},
    {},
    ("ViTModel", "ViTForImageClassification"),
)
# torch's convolutions store (out, in, height, width), Keras's (height, width, in, out).
_CONVOLUTION = Form(
    lambda array: [array.transpose(2, 3, 1, 0)], lambda arrays: arrays[0].transpose(3, 2, 0, 1)
)
# A table stored as (1, T, D), and a vector stored as (1, 1, D).
_TABLE = Form(lambda array: [array[0]], lambda arrays: arrays[0][None])
_VECTOR = Form(lambda array: [array[0, 0]], lambda arrays: arrays[0][None, None])


def _has_classifier(config: Config) -> bool:
    return config.has_tensor("classifier.weight")


def _has_pooler(config: Config) -> bool:
    return config.has_tensor("pooler.dense.weight")


def _num_classes(config: Config) -> int | None:
    if not _has_classifier(config):
        return None
    labels = config.values.get("id2label")
    if not isinstance(labels, dict) or not labels:
        return config.size("num_labels")
    config.require(num_labels=len(labels))
    return len(labels)


def _build(config: Config) -> keras.Model:
    hidden_dim, num_heads = config.size("hidden_size"), config.size("num_attention_heads")
    for key, value in (("head_dim", hidden_dim // num_heads), ("pooler_output_size", hidden_dim)):
        if config.size(key, otherwise=value) != value:
            config.require(**{key: value})
    return vit(
        image_size=config.sides("image_size"),
        patch_size=config.sides("patch_size"),
        num_classes=_num_classes(config),
        num_layers=config.depth("num_hidden_layers"),
        num_heads=num_heads,
        hidden_dim=hidden_dim,
        intermediate_dim=config.size("intermediate_size"),
        dropout=config.rate("hidden_dropout_prob"),
        num_channels=config.size("num_channels"),
        pooler=_has_pooler(config) and not _has_classifier(config),
        activation=config.activation("hidden_act"),
        layer_norm_epsilon=config.get("layer_norm_eps", float),
        attention_dropout=config.rate("attention_probs_dropout_prob"),
    )


def _rules(config: Config) -> list[Rule]:
    embeddings, patches = "vit.embeddings", "vit.embeddings.patch_embeddings.projection"
    rules = [
        Rule(f"{embeddings}.cls_token", ("class_token/embedding",), _VECTOR),
        Rule(
            f"{embeddings}.position_embeddings",
            ("encoder/positional_encoding/embeddings",),
            _TABLE,
        ),
        Rule(f"{patches}.weight", ("patch_embedding/kernel",), _CONVOLUTION),
        Rule(f"{patches}.bias", ("patch_embedding/bias",)),
    ]
    for index in range(config.depth("num_hidden_layers")):
        source, target = f"vit.encoder.layer.{index}", f"encoder/block_{index}"
        parts = ("attention.query", "attention.key", "attention.value", "output.dense")
        rules += attention(
            (f"{source}.attention.{part}" for part in parts),
            f"{target}/self_attention/attention",
        )
        rules += norm(f"{source}.layernorm_before", f"{target}/self_attention_norm")
        rules += linear(f"{source}.intermediate.dense", f"{target}/feed_forward/intermediate")
        rules += linear(f"{source}.output.dense", f"{target}/feed_forward/output")
        rules += norm(f"{source}.layernorm_after", f"{target}/feed_forward_norm")
    rules += norm("vit.layernorm", "encoder/final_norm")
    if _has_classifier(config):
        rules += linear("classifier", "classifier")
    elif _has_pooler(config):
        rules += linear("vit.pooler.dense", "pooler")
    return rules


def _side(sides):
    return sides[0] if sides[0] == sides[1] else list(sides)


def _describe(model: keras.Model, ids: SpecialIds) -> Config:
    encoder, patches = model.get_layer("encoder"), model.get_layer("patch_embedding")
    block = block_of(encoder)
    names = {layer.name for layer in model.layers}
    has_classifier = "classifier" in names
    *image_size, num_channels = model.inputs[0].shape[1:]
    values = {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification" if has_classifier else "ViTModel"],
        "image_size": _side(image_size),
        "patch_size": _side(patches.kernel_size),
        "num_channels": num_channels,
        "num_hidden_layers": encoder.num_layers,
        "num_attention_heads": block.num_heads,
        "hidden_size": patches.filters,
        "intermediate_size": block.intermediate_dim,
        "hidden_dropout_prob": block.dropout,
        "attention_probs_dropout_prob": block.attention_dropout,
        "hidden_act": activation_name(block),
        "layer_norm_eps": block.layer_norm_epsilon,
        "qkv_bias": True,
    }
    if has_classifier:
        labels = {str(i): f"LABEL_{i}" for i in range(model.get_layer("classifier").units)}
        values["id2label"] = labels
        values["label2id"] = {label: int(index) for index, label in labels.items()}
    heads = ["classifier.weight"] * has_classifier + ["pooler.dense.weight"] * ("pooler" in names)
    return Config("the model", values, heads, _KEYS)


# Internal names in transformers 5 and later, which its own files do not use.
_RENAMED = tuple(
    (rf"(^|\.)layers\.(\d+)\.{new}\.", rf"\1encoder.layer.\2.{old}.")
    for new, old in (
        ("attention.q_proj", "attention.attention.query"),
        ("attention.k_proj", "attention.attention.key"),
        ("attention.v_proj", "attention.attention.value"),
        ("attention.o_proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
        ("layernorm_before", "layernorm_before"),
        ("layernorm_after", "layernorm_after"),
    )
)

VIT = Family(
    "vit",
    _build,
    _rules,
    _KEYS,
    recognizes=lambda model, names: {"patch_embedding", "class_token", "encoder"} <= names,
    describe=_describe,
    prefix="vit.",
    renamed=_RENAMED,
)
