"""Hugging Face's T5 family: T5, T5 1.1, Flan-T5 and MADLAD-400 (`t5`), and mT5 (`mt5`)."""

from __future__ import annotations

import keras

from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.layers.relative_positions import RelativePositionBias
from keras_transformer.models.translation import transformer
from keras_transformer.pretrained.config import ACTIVATIONS, Config
from keras_transformer.pretrained.config_keys import FIXED, SILENT, Keys
from keras_transformer.pretrained.families.encoder_decoder import (
    check_ids,
    generation_values,
    is_transformer,
)
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.mapping import TRANSPOSED, Rule, rms_norm
from keras_transformer.pretrained.settings import activation_name, block_of
from keras_transformer.pretrained.tokenizers.write_t5_tokenizer import write_t5_tokenizer
from keras_transformer.pretrained.weight_paths import check_start_is_seen

_T5_KEYS = Keys(
    {
        "vocab_size": 32128,
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 6,
        "num_decoder_layers": None,
        "num_heads": 8,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "dropout_rate": 0.1,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "relu",
        # These two follow from the one above unless they are given.
        "dense_act_fn": None,
        "is_gated_act": None,
        "tie_word_embeddings": True,
        "scale_decoder_outputs": None,
        "pad_token_id": 0,
        "decoder_start_token_id": 0,
    },
    {**FIXED, "is_encoder_decoder": True},
    (SILENT - {"pad_token_id", "decoder_start_token_id"}) | {"initializer_factor"},
    {
        "hidden_size": "d_model",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
        "head_dim": "d_kv",
    },
    ("T5ForConditionalGeneration",),
)
_MT5_SIZES = {"vocab_size": 250112, "d_ff": 1024, "num_layers": 8, "num_heads": 6}
_MT5_KEYS = _T5_KEYS._replace(
    followed={**_T5_KEYS.followed, **_MT5_SIZES, "feed_forward_proj": "gated-gelu"},
    architectures=("MT5ForConditionalGeneration",),
)
# Activations and whether the network is gated, by the name of both.
_FEED_FORWARDS = {name: (ours, False) for name, ours in ACTIVATIONS.items()}
_FEED_FORWARDS |= {f"gated-{name}": (ours, True) for name, ours in ACTIVATIONS.items()}
_FEED_FORWARDS["gated-gelu"] = ("gelu_approximate", True)  # only here is it the tanh form
_HEAD = "lm_head.weight"
_TABLE = "shared.weight"
# Old files hold this table of cross-attention, which has no relative positions.
_UNUSED = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
_MAX_NEW_TOKENS = 512  # the length of the training texts


# === From files ===


def _scales_logits(config: Config) -> bool:
    """Returns whether logits are divided by sqrt(D).

    In T5 they are unless `tie_word_embeddings` is false, which T5 1.1 says; newer files say it in
    `scale_decoder_outputs`. mT5's logits never are.
    """
    if config.values["model_type"] == "mt5":
        return False
    if config.values.get("scale_decoder_outputs") is None:
        return config.get("tie_word_embeddings", bool)
    return config.get("scale_decoder_outputs", bool)


def _is_tied(config: Config) -> bool:
    """Returns whether the logits have the matrix of the embeddings.

    `tie_word_embeddings` does not tell: transformers 5 writes true for all, and compares the
    tensors. Scaled logits are those of the embeddings, so a copy of these must be equal.
    """
    return _scales_logits(config) or not config.has_tensor(_HEAD)


def _feed_forward(config: Config) -> tuple[str, bool]:
    """Returns the activation of the feed-forward networks, and whether they are gated."""
    name = config.get("feed_forward_proj", str)
    if name not in _FEED_FORWARDS:
        raise ValueError(
            f"`feed_forward_proj` in {config.path} must be one of {sorted(_FEED_FORWARDS)}. "
            f"Received: {name!r}."
        )
    activation, is_gated = _FEED_FORWARDS[name]
    if config.values.get("dense_act_fn") is not None:
        activation = config.activation("dense_act_fn")
    if config.values.get("is_gated_act") is not None:
        is_gated = config.get("is_gated_act", bool)
    return activation, is_gated


def _relative_positions(config: Config) -> RelativePositionBias:
    buckets = config.size("relative_attention_num_buckets")
    distance = config.size("relative_attention_max_distance")
    if buckets < 4 or buckets % 2 or distance <= buckets // 2:
        raise ValueError(
            f"`relative_attention_num_buckets` in {config.path} must be even, at least 4 and less "
            "than twice `relative_attention_max_distance`. Received: "
            f"relative_attention_num_buckets={buckets}, relative_attention_max_distance={distance}."
        )
    return RelativePositionBias(buckets, distance, bidirectional=None)


def _build(config: Config) -> keras.Model:
    rate, padding_id = config.rate("dropout_rate"), config.get("pad_token_id", int)
    activation, is_gated = _feed_forward(config)
    hidden_dim, num_heads = config.size("d_model"), config.size("num_heads")
    num_layers, head_dim = config.depth("num_layers"), config.size("d_kv")
    return transformer(
        config.size("vocab_size"),
        num_layers=num_layers,
        num_decoder_layers=config.depth("num_decoder_layers", otherwise=num_layers),
        num_heads=num_heads,
        head_dim=None if head_dim * num_heads == hidden_dim else head_dim,
        hidden_dim=hidden_dim,
        intermediate_dim=config.size("d_ff"),
        # In training, T5 also drops entries of what a stack returns.
        dropout=rate,
        attention_dropout=rate,
        activation_dropout=rate,
        activation=activation,
        gated=is_gated,
        normalize_first=True,
        norm="rms",
        layer_norm_epsilon=config.get("layer_norm_epsilon", float),
        position_layout=None,
        relative_positions=_relative_positions(config),
        share_relative_positions=True,
        attention_scale=1.0,
        use_attention_bias=False,
        use_feed_forward_bias=False,
        scale_embeddings=False,
        scale_logits=_scales_logits(config),
        tie_logits=_is_tied(config),
        padding_id=padding_id,
        start_is_padding=config.get("decoder_start_token_id", int) == padding_id,
        name=config.values["model_type"],
    )


def _matrix(source: str, target: str) -> Rule:
    return Rule(f"{source}.weight", (f"{target}/kernel",), TRANSPOSED)


def _sublayers(stack: str) -> tuple[tuple[str, str, str], ...]:
    """Returns names of a block's sublayers: theirs, and ours of the sublayer and its norm."""
    own = ("SelfAttention", "self_attention/attention", "self_attention_norm")
    cross = ("EncDecAttention", "cross_attention", "cross_attention_norm")
    last = ("DenseReluDense", "feed_forward", "feed_forward_norm")
    return (own, last) if stack == "encoder" else (own, cross, last)


def _block_rules(stack: str, index: int, is_gated: bool) -> list[Rule]:
    rules = []
    inner = {"wi_0": "intermediate", "wi_1": "linear"} if is_gated else {"wi": "intermediate"}
    of_network = {**inner, "wo": "output"}
    of_attention = {"q": "query", "k": "key", "v": "value", "o": "output"}
    for place, (name, sublayer, norm) in enumerate(_sublayers(stack)):
        source, target = f"{stack}.block.{index}.layer.{place}", f"{stack}/block_{index}"
        parts = of_network if sublayer == "feed_forward" else of_attention
        rules += [
            _matrix(f"{source}.{name}.{part}", f"{target}/{sublayer}/{own}")
            for part, own in parts.items()
        ]
        rules.append(rms_norm(f"{source}.layer_norm", f"{target}/{norm}"))
    return rules


def _rules(config: Config) -> list[Rule]:
    rules = [Rule(_TABLE, ("token_embedding/embeddings",))]
    _, is_gated = _feed_forward(config)
    num_layers = config.depth("num_layers")
    numbers = {
        "encoder": num_layers,
        "decoder": config.depth("num_decoder_layers", otherwise=num_layers),
    }
    for stack, number in numbers.items():
        for index in range(number):
            rules += _block_rules(stack, index, is_gated)
        # The table that all blocks of a stack share is stored with the first.
        source = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        target = f"{stack}/block_0/self_attention/relative_positions/embeddings"
        rules.append(Rule(source, (target,)))
        rules.append(rms_norm(f"{stack}.final_layer_norm", f"{stack}/final_norm"))
    if not _is_tied(config):
        rules.append(_matrix("lm_head", "logits"))
    return rules


def _copies(config: Config) -> dict[str, str]:
    names = [f"{stack}.embed_tokens.weight" for stack in ("encoder", "decoder")]
    return dict.fromkeys([*names, _HEAD] if _is_tied(config) else names, _TABLE)


# === Back to files ===


def _recognizes(model: keras.Model, names: set[str]) -> bool:
    """Returns whether the stacks of a translator share relative positions."""
    if not is_transformer(model, names) or "token_embedding" not in names:
        return False
    stacks = (model.get_layer("encoder"), model.get_layer("decoder"))
    return all(stack.share_relative_positions for stack in stacks)


def _position_values(block) -> dict[str, int]:
    layer = block.relative_positions
    layer = RelativePositionBias(bidirectional=None) if layer == "t5" else layer
    if not isinstance(layer, RelativePositionBias):
        raise ValueError(
            '`relative_positions` must be "t5" or a RelativePositionBias in a T5 model. '
            f"Received: {layer!r}."
        )
    return {
        "relative_attention_num_buckets": layer.num_buckets,
        "relative_attention_max_distance": layer.max_distance,
    }


def _describe(model: keras.Model, ids: SpecialIds, model_type: str, keys: Keys) -> Config:
    embedding, encoder = model.get_layer("token_embedding"), model.get_layer("encoder")
    block, has_head = block_of(encoder), "logits" in {layer.name for layer in model.layers}
    name = activation_name(block)
    form = f"gated-{name}" if block.gated else name
    check_ids(embedding.padding_id, ids, "a T5")
    check_start_is_seen(model, embedding.padding_id, ids.start)
    values = {
        "model_type": model_type,
        "architectures": [keys.architectures[0]],
        "is_encoder_decoder": True,
        "vocab_size": embedding.vocabulary_size,
        "d_model": embedding.hidden_dim,
        "d_kv": block.head_dim or embedding.hidden_dim // block.num_heads,
        "d_ff": block.intermediate_dim,
        "num_layers": encoder.num_layers,
        "num_decoder_layers": model.get_layer("decoder").num_layers,
        "num_heads": block.num_heads,
        **_position_values(block),
        "dropout_rate": block.dropout,
        "layer_norm_epsilon": block.layer_norm_epsilon,
        "feed_forward_proj": "gated-gelu" if form == "gated-gelu_new" else form,
        "dense_act_fn": name,
        "is_gated_act": block.gated,
        # For T5, older versions of transformers scale the logits if this is true.
        "tie_word_embeddings": embedding.scale_logits or (not has_head and model_type == "mt5"),
        "scale_decoder_outputs": embedding.scale_logits,
        "pad_token_id": embedding.padding_id,
        "eos_token_id": ids.end,
        "decoder_start_token_id": ids.start,
    }
    return Config("the model", values, [_HEAD] if has_head else [], keys)


def _family(model_type: str, keys: Keys) -> Family:
    return Family(
        model_type,
        _build,
        _rules,
        keys,
        copies=_copies,
        left_out=lambda config: (_UNUSED,),
        # Both have the same layers: mT5 goes by its name.
        recognizes=lambda model, names: (
            _recognizes(model, names) and (model.name == "mt5") == (model_type == "mt5")
        ),
        describe=lambda model, ids: _describe(model, ids, model_type, keys),
        # The default size of a head may be given or not.
        adapted=("block.head_dim",),
        generation=lambda config, ids: generation_values(config, ids, _MAX_NEW_TOKENS),
        write_tokenizer=write_t5_tokenizer,
    )


T5 = _family("t5", _T5_KEYS)
MT5 = _family("mt5", _MT5_KEYS)
