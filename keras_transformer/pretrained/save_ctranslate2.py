"""Export of models to CTranslate2.

Shape letters: D hidden, L positions, V vocabulary.
"""

from __future__ import annotations

import os
from typing import Any

import keras

from keras_transformer.data.tokenizers.hugging_face import HuggingFaceTokenizer
from keras_transformer.data.tokenizers.marian_tokenizer import MarianTokenizer
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.files import write_new_folder
from keras_transformer.layers.positional import LearnedPositionalEmbedding, PositionalEncoding
from keras_transformer.layers.relative_positions import RelativePositionBias
from keras_transformer.pretrained.ctranslate2_writer import SpecWriter, shares_positions
from keras_transformer.pretrained.settings import block_of
from keras_transformer.pretrained.tokenizers.export_parts import sentencepiece_of, tokenizers_of
from keras_transformer.pretrained.weight_paths import check_not_quantized, check_start_is_seen

_QUANTIZATIONS = (
    None,
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
)


def save_ctranslate2(
    model: keras.Model,
    tokenizers: Any,
    folder: str | os.PathLike,
    quantization: str | None = None,
    *,
    max_length: int = 1024,
) -> None:
    """Exports a model to a folder that CTranslate2 runs, fast and without Keras.

    Supports translators (`kt.models.transformer`) and language models (`kt.models.gpt`), post-LN
    and pre-LN, with one vocabulary or two, tied or untied logits, and sinusoidal or learned
    positions. Models like T5, whose stacks share relative positions, are supported as well. In all
    others, grouped heads, rotary and relative positions, windows and gated networks are rejected.
    The folder also gets the tokenizer: source.spm and target.spm, or tokenizer.spm, or the
    tokenizer.json of a loaded tokenizer.

    Pass `ctranslate2.Translator` only the tokens of a text: it adds the end token to the source and
    the start token to the target. For a multilingual model, also pass the token of the source
    language as the first token of the source, and that of the target language as `target_prefix`.
    (If the tokenizer's `language_form` is "source_last", pass the end token and then the token of
    the source language after the text instead.) Unlike `kt.Translator`, `ctranslate2.Translator`
    may generate padding, unknown and start tokens: pass them as `suppress_sequences`. It scores
    beams like `kt.decoding.beam_search` with `length_normalization="length"`.

    Args:
        model: The model.
        tokenizers: Its tokenizer, as returned by `kt.data.train_tokenizer` or
            `kt.pretrained.load_tokenizer`; a pair for the source and the target of a translator.
        folder: A new or empty folder.
        quantization: None for float32, or "int8", "int8_float32", "int8_float16", "int8_bfloat16",
            "int16", "float16" or "bfloat16".
        max_length: L, the maximum length of a text for models with sinusoidal positions, which are
            written as a table of L rows.

    Raises:
        ValueError: If `folder` is not empty, the quantization is unknown, CTranslate2 does not
            support the model or a setting, or a tokenizer has more ids than the model or is not
            supported.
        OSError: If the disk is full or refuses a write; the message names the file and the folder.
        ImportError: If the `ctranslate2` extra is not installed.

    Example:
        ```python
        kt.pretrained.save_ctranslate2(translator.model, tokenizer, "my-translator", "int8")
        ctranslate2.Translator("my-translator").translate_batch([["▁the", "▁cat"]])
        ```

    Reference:
        Klein et al. 2020, "The OpenNMT Neural Machine Translation Toolkit", section 6.
    """
    if quantization not in _QUANTIZATIONS:
        raise ValueError(
            f"`quantization` must be one of {_QUANTIZATIONS}. "
            f"Received: quantization={quantization!r}."
        )
    _check(model)
    pair = tokenizers_of(tokenizers, model)
    if not pair:
        raise ValueError("`tokenizers` must be a tokenizer or a pair. Received: tokenizers=None.")
    for one in pair:
        if not isinstance(one, (HuggingFaceTokenizer, MarianTokenizer)):
            sentencepiece_of(one)
    try:
        import ctranslate2  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Exporting to CTranslate2 requires its package: `pip install ctranslate2`."
        ) from error
    spec = SpecWriter(model, max_length).spec()
    _set_vocabularies(spec, model, pair)
    spec.validate()
    spec.optimize(quantization)

    def write(work):
        spec.save(str(work))
        names = ("source.spm", "target.spm") if "encoder" in _names(model) else ("tokenizer.spm",)
        for name, one in zip(names, (pair[0], pair[-1]), strict=False):
            if isinstance(one, HuggingFaceTokenizer):
                one.save_assets(str(work))
            else:
                (work / name).write_bytes(one.proto)

    write_new_folder(folder, write)


def _names(model):
    return {layer.name for layer in model.layers}


def _check(model) -> None:
    check_not_quantized(model)
    names = _names(model)
    has_blocks = "decoder" in names and hasattr(model.get_layer("decoder"), "block")
    if not has_blocks or not names & {"token_embedding", "target_embedding"}:
        raise ValueError(
            "`model` must be a kt.models.transformer or a kt.models.gpt. "
            f"Received: {model.name!r} with the layers {sorted(names)}."
        )
    stacks = [model.get_layer(name) for name in ("encoder", "decoder") if name in names]
    last = block_of(stacks[-1])
    wanted = {
        "normalize_first": last.normalize_first,
        "layer_norm_epsilon": last.layer_norm_epsilon,
        "activation": last.activation,
        **(_fixed_of_t5(stacks) if shares_positions(model) else _FIXED),
    }
    for stack in stacks:
        block = block_of(stack)
        for name, value in wanted.items():
            received = getattr(block, name, value)
            if received != value and (name, received) != ("num_key_value_heads", block.num_heads):
                raise ValueError(
                    f"`{name}` must be {value!r} for CTranslate2, in both stacks. "
                    f"Received: {received!r} in the layer {stack.name!r}."
                )
        if shares_positions(model):
            _check_shared_positions(stack)
        elif not isinstance(
            stack.positional_encoding, (PositionalEncoding, LearnedPositionalEmbedding)
        ):
            raise ValueError(
                "`positional_encoding` must be a PositionalEncoding or a "
                "LearnedPositionalEmbedding for CTranslate2. "
                f"Received: {stack.positional_encoding!r} in {stack.name!r}."
            )


# Settings that are fixed in CTranslate2's blocks, by this library's names.
_FIXED = {
    "num_key_value_heads": None,
    "head_dim": None,
    "rotary": False,
    "relative_positions": None,
    "window": None,
    "gated": False,
    "recurrence": None,
    "norm": "layer",
    "query_key_norm": None,
    "attention_scale": None,
}


def _fixed_of_t5(stacks):
    """Returns the fixed settings of models like T5, which may have gates and heads of any size."""
    last = block_of(stacks[-1])
    common = {name: value for name, value in _FIXED.items() if name != "relative_positions"}
    free = {"gated": last.gated, "head_dim": last.head_dim}
    return {**common, **free, "normalize_first": True, "norm": "rms", "attention_scale": 1.0}


def _check_shared_positions(stack):
    """Raises a ValueError unless a stack has T5's positions, and no others."""
    layer = stack.blocks[0].self_attention.position_bias
    is_encoder = stack.name == "encoder"
    if not isinstance(layer, RelativePositionBias) or layer.bidirectional is not is_encoder:
        raise ValueError(
            '`relative_positions` must be "t5" for CTranslate2 if the blocks of a stack share them,'
            " and bidirectional in the encoder only. "
            f"Received: {layer!r} in {stack.name!r}."
        )
    if stack.positional_encoding is not None:
        raise ValueError(
            "`positional_encoding` must be None for CTranslate2 with relative positions. "
            f"Received: {stack.positional_encoding!r} in {stack.name!r}."
        )


def _set_vocabularies(spec, model, pair):
    names = _names(model)
    ids = special_ids(pair[-1])
    if ids.end is None or ("encoder" in names and ids.start is None):
        raise ValueError(f"`tokenizers` must have ids for start and end. Received: {ids}.")
    tokens = []
    for one, side in zip((pair[0], pair[-1]), ("source", "target"), strict=True):
        name = f"{side}_embedding" if f"{side}_embedding" in names else "token_embedding"
        tokens.append(_tokens(one, model.get_layer(name).vocabulary_size))
    # CTranslate2 requires all three tokens. The end token replaces missing ones, which never occur.
    start, unknown = (ids.end if i is None else i for i in (ids.start, ids.unknown))
    spec.config.bos_token = tokens[1][start]
    spec.config.eos_token = tokens[1][ids.end]
    spec.config.unk_token = tokens[1][unknown]
    if "encoder" not in names:
        spec.register_vocabulary(tokens[1])
        return
    padding_id = model.get_layer(name).padding_id
    check_start_is_seen(model, padding_id, start)
    spec.register_source_vocabulary(tokens[0])
    spec.register_target_vocabulary(tokens[1])
    spec.config.decoder_start_token = tokens[1][start]
    # If the language follows the end token, callers pass both.
    spec.config.add_source_eos = getattr(pair[0], "language_form", None) != "source_last"
    for token_id in (ids.end, unknown):
        if tokens[0].index(tokens[1][token_id]) != token_id:
            raise ValueError(
                "`tokenizers` must have the same special pieces. Received: "
                f"{tokens[1][token_id]!r}, which has another id in the source."
            )


def _tokens(tokenizer, vocabulary_size):
    own = [tokenizer.id_to_token(index) for index in range(tokenizer.vocabulary_size())]
    own += [""] * (vocabulary_size - len(own))  # a model may have more ids than its tokenizer
    return [token or f"<unused_{index}>" for index, token in enumerate(own)]
