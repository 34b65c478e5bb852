"""What becomes of the keys of a config.json."""

from __future__ import annotations

from typing import Any, NamedTuple


class Keys(NamedTuple):
    """The keys of an architecture's config.json.

    Each field of the architecture's class in transformers is one of them, which a test checks. Keys
    that are none of them, and unknown to transformers too, say nothing there and say nothing here.

    Attributes:
        followed: keys that the model follows, with what a file means that does not say them.
        fixed: keys that must have the one value that the model has; a value that is empty stands
            for any other that is.
        silent: keys that say nothing of a model's outputs, or are read elsewhere.
        aliases: the common names of some keys.
        architectures: the classes of transformers whose weights the model can hold.
    """

    followed: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    silent: frozenset[str] = frozenset()
    aliases: dict[str, str] = {}
    architectures: tuple[str, ...] = ()


# What no model here has: cross-attention in a stack of its own, fewer heads in some layers, weights
# of a few bits, code of the checkpoint's own, other settings in some layers.
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
        # === Where the file comes from, and what a call returns ===
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
        # === How the same numbers are computed, and how exactly ===
        "attn_implementation",
        "chunk_size_feed_forward",
        "dtype",
        "experts_implementation",
        "gradient_checkpointing",
        "tf_legacy_loss",
        "torch_dtype",
        "use_bfloat16",
        "use_cache",
        # === Of classifiers: their own tensors are used or refused ===
        "classifier_dropout",
        "id2label",
        "label2id",
        "num_labels",
        "problem_type",
        # === Random weights at the start ===
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
