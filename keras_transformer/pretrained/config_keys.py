"""How the keys of a config.json are handled."""

from __future__ import annotations

from typing import Any, NamedTuple


class Keys(NamedTuple):
    """The keys of an architecture's config.json.

    They include every field of the architecture's config class in transformers, which a test
    checks. transformers ignores any other key, and so does this library.

    Attributes:
        followed: Keys that the model follows, with their defaults.
        fixed: Keys that must have the model's value; all empty values count as equal.
        silent: Keys that do not affect a model's outputs, or are read elsewhere.
        aliases: Common names of some keys.
        architectures: Classes of transformers whose weights the model can hold.
    """

    followed: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    silent: frozenset[str] = frozenset()
    aliases: dict[str, str] = {}
    architectures: tuple[str, ...] = ()


# Features that no model of this library has: cross-attention in a single stack, pruned heads,
# quantized weights, custom code, per-layer settings.
FIXED = {
    "add_cross_attention": False,
    "auto_map": None,
    "cross_attention_hidden_size": None,
    "is_decoder": False,
    "per_layer_config": None,
    "prefix": None,
    "pruned_heads": None,
    "quantization_config": None,
    "tie_encoder_decoder": False,
}

SILENT = frozenset(
    {
        # === Origin of the file, and what a call returns ===
        "_name_or_path",
        "finetuning_task",
        "model_type",
        "name_or_path",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "tie_last_hidden_states",
        "torchscript",
        "transformers_version",
        # === Implementation and precision ===
        "attn_implementation",
        "chunk_size_feed_forward",
        "dtype",
        "experts_implementation",
        "gradient_checkpointing",
        "tf_legacy_loss",
        "torch_dtype",
        "use_bfloat16",
        "use_cache",
        # === Classifiers: their tensors are used or rejected ===
        "classifier_dropout",
        "id2label",
        "label2id",
        "num_labels",
        "problem_type",
        # === Weight initialization ===
        "init_std",
        "initializer_range",
        # === Text and generation: read by `load_tokenizer` and the pipelines ===
        "bos_token_id",
        "decoder_start_token_id",
        "eos_token_id",
        "forced_eos_token_id",
        "pad_token_id",
        "sep_token_id",
        "task_specific_params",
        "tokenizer_class",
    }
)
