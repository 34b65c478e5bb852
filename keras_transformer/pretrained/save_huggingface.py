"""Export of models to the Hugging Face format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transformer.checks import check_choice
from keras_transformer.files import write_new_folder
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.families.registry import FAMILIES
from keras_transformer.pretrained.mapping import assign, to_float32
from keras_transformer.pretrained.save_sentence_transformers import sentence_encoder_parts
from keras_transformer.pretrained.settings import check_settings
from keras_transformer.pretrained.tokenizers.export_parts import (
    choose_special_ids,
    tokenizers_of,
    write_json,
)
from keras_transformer.pretrained.weight_paths import variables_of

_DTYPES = ("float32", "float16", "bfloat16")
_TOLERANCE = 1e-4


def save_huggingface(
    model: keras.Model,
    tokenizer: Any,
    folder: str | os.PathLike,
    *,
    dtype: str = "float32",
    start_id: int | None = None,
    end_id: int | None = None,
) -> None:
    """Exports a model to a folder that transformers and `kt.pretrained.load` can read.

    | model | becomes |
    |---|---|
    | `kt.models.gpt`, post-LN | GPT-1, `OpenAIGPTLMHeadModel` |
    | `kt.models.gpt`, pre-LN | GPT-2, `GPT2LMHeadModel` |
    | the same with the name "opt" | `OPTForCausalLM` |
    | the same with `attention_scale=1.0`, no biases of query, key and value | `GPTNeoForCausalLM` |
    | `kt.models.gpt`, pre-LN, with `norm="rms"` and `rotary` | `LlamaForCausalLM` |
    | the same with windows, or biases of query, key and value only | `Qwen2ForCausalLM` |
    | the same with `query_key_norm="rms"` | `Qwen3ForCausalLM` |
    | `kt.models.transformer`, post-LN | `MarianMTModel` |
    | `kt.models.transformer`, pre-LN | `M2M100ForConditionalGeneration` |
    | ..., with `share_relative_positions` | `T5ForConditionalGeneration` |
    | ..., with the name "mt5" | `MT5ForConditionalGeneration` |
    | `kt.models.bert` | `BertModel`, `BertForMaskedLM` |
    | ..., with the name "roberta" | `RobertaModel`, `RobertaForMaskedLM` |
    | ..., with the name "xlm_roberta" | `XLMRobertaModel`, `XLMRobertaForMaskedLM` |
    | ..., without segments | `DistilBertModel`, `DistilBertForMaskedLM` |
    | `kt.models.sentence_encoder` | one of these in a folder for sentence-transformers |
    | `kt.models.vit` | `ViTModel`, `ViTForImageClassification` |

    The folder gets config.json, model.safetensors, generation_config.json for models that
    generate, and the files of the tokenizer. Every value of config.json comes from the model.
    Features that a family lacks, such as rotary attention in GPT-2, are rejected. The folder is
    written to a temporary place and moved when it is complete.

    Weights are written unchanged, with exceptions that preserve the outputs. A missing bias is
    written as zeros, and so are RoBERTa's positions up to that of padding, which no token has.
    Marian has sinusoids in the layout "concatenated": for a model with the paper's "interleaved"
    ones (the default of `kt.models.transformer`), all channels of the hidden states are reordered.
    Marian's layer norms have the epsilon 1e-5: for another one (our default is 1e-6), the hidden
    states inside the stacks are scaled, which has the same effect except in the first layer norm of
    each stack. M2M100's sinusoids and epsilon have no such equivalent: a pre-LN model needs
    `position_layout="tensor2tensor"`, `first_position=padding_id + 1` and
    `layer_norm_epsilon=1e-5`. The outputs before and after such a change are compared on random
    ids, and must agree to 1e-4. T5 has RMS norms, `attention_scale=1.0`, no biases, unscaled
    embeddings, `position_layout=None`, the same dropout rate everywhere, and logits that are tied
    and scaled (`scale_logits`), tied, or neither (`tie_logits=False`).

    Args:
        model: A model built by a function of `kt.models`, trained or not.
        tokenizer: Its tokenizer, as returned by `kt.data.train_tokenizer` or
            `kt.pretrained.load_tokenizer`; a pair for source and target; None to export only the
            weights. A translator's tokenizer is written for `MarianTokenizer`, a multilingual one
            for `M2M100Tokenizer` or `NllbTokenizer`, and any other as tokenizer.json.
        folder: A new or empty folder.
        dtype: Type of the weights in the file: "float32", "float16" or "bfloat16".
        start_id: Id that a translation starts with; the tokenizer's by default, or, without a
            tokenizer, 2 if the model's padding id is 0, as in `kt.data`.
        end_id: Id that ends a text; the default is chosen like that of `start_id`, with 3 instead
            of 2.

    Raises:
        ValueError: If `folder` is not empty, the dtype is unknown, no family supports the model or
            a setting, float16 cannot hold the weights, or a tokenizer has more ids than the model
            or cannot be written.
        OSError: If the disk is full or refuses a write; the message names the file and the folder.
        ImportError: If the `weights` extra is not installed.

    Example:
        ```python
        kt.pretrained.save_huggingface(translator.model, tokenizer, "my-translator")
        transformers.MarianMTModel.from_pretrained("my-translator")
        ```

    See Also:
        `kt.pretrained.load` is the inverse; `kt.pretrained.save_ctranslate2` exports to a fast
        runtime.
    """
    check_choice(_DTYPES, dtype=dtype)
    parts = sentence_encoder_parts(model)
    model = model if parts is None else parts.body
    family = _family_of(model)
    tokenizers = tokenizers_of(tokenizer, model)
    if tokenizers and family.write_tokenizer is None:
        raise ValueError(
            f"`tokenizer` must be None for {family.model_type}. Received: tokenizer={tokenizer!r}."
        )
    embedding = next((x for x in model.layers if hasattr(x, "padding_id")), None)
    ids = choose_special_ids(tokenizers, getattr(embedding, "padding_id", None), start_id, end_id)
    config = family.describe(model, ids)  # type: ignore[misc]  # recognized: it can describe
    tensors = _tensors(model, family, config, dtype)
    of_projection = {} if parts is None else parts.tensors()
    of_projection = {name: _cast(name, array, dtype) for name, array in of_projection.items()}

    def write(work):
        write_json(work / "config.json", {**config.values, "dtype": dtype})
        if family.generation is not None:
            write_json(work / "generation_config.json", family.generation(config, ids))
        if tokenizers and family.write_tokenizer is not None:
            family.write_tokenizer(tokenizers, config, work)
        _write_tensors(work / "model.safetensors", tensors)
        for place in () if parts is None else parts.write(work):
            _write_tensors(place / "model.safetensors", of_projection)

    write_new_folder(folder, write)


def _family_of(model) -> Family:
    names = {layer.name for layer in model.layers}
    for family in FAMILIES.values():
        if family.recognizes is not None and family.recognizes(model, names):
            return family
    raise ValueError(
        "`model` must be one of kt.models.bert, gpt, transformer or vit. "
        f"Received: {model.name!r} with the layers {sorted(names)}."
    )


def _tensors(model, family, config, dtype) -> dict[str, np.ndarray]:
    """Returns the tensors of the file."""
    twin = family.build(config)
    check_settings(model, twin, family.model_type, family.adapted)
    arrays = {path: to_float32(weight) for path, weight in variables_of(model).items()}
    own, wanted = dict(arrays), variables_of(twin)
    if family.adapt is not None:
        arrays = family.adapt(model, arrays)
    for path, weight in wanted.items():
        if path not in arrays and path.endswith("bias"):
            arrays[path] = np.zeros(weight.shape, "float32")
    if {*arrays} != {*wanted}:
        raise ValueError(
            f"`model` must have the weights of {family.model_type}. "
            f"Received: missing or additional {sorted({*arrays} ^ {*wanted})[:8]}."
        )
    rules = family.rules(config)
    tensors = {
        rule.source: rule.form.join([arrays[path] for path in rule.targets]) for rule in rules
    }
    if any(arrays[path] is not own[path] for path in own):
        assign(twin, rules, tensors, tensors.__getitem__)
        _check_outputs(model, twin)
    return {name: _cast(name, array, dtype) for name, array in tensors.items()}


def _cast(name, array, dtype):
    import ml_dtypes

    kinds = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "float32": np.float32}
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(array).astype(kinds[dtype])
    if not np.isfinite(result.astype("float32")).all():
        raise ValueError(
            f"The weights of `model` must be finite in `dtype`. Received: dtype={dtype!r} for "
            f"{name!r}, whose largest absolute value is {np.abs(array).max()}."
        )
    return result


def _check_outputs(model, twin):
    """Raises a ValueError unless two translation models agree on random ids."""
    generator = np.random.default_rng(0)
    sizes = [x.vocabulary_size for x in model.layers if hasattr(x, "vocabulary_size")]
    inputs = {
        name: generator.integers(0, min(sizes), (2, length)).astype("int32")
        for name, length in (("source_ids", 11), ("target_ids", 7))
    }
    # Half precision would hide the differences to be found here.
    pair = [_in_float32(one) for one in (model, twin)]
    expected, received = (to_float32(one(inputs, training=False)) for one in pair)
    if not np.allclose(received, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise ValueError(
            "`layer_norm_epsilon` must be close to Marian's 1e-5, or small compared to the inputs "
            "of the first layer norms. Received: a model whose logits would differ by "
            f"{np.abs(received - expected).max():.2g}."
        )


def _in_float32(model):
    """Returns the model, or a copy that computes in float32."""
    if all(layer.compute_dtype == "float32" for layer in model.layers if layer.weights):
        return model

    def clone(layer):
        return type(layer).from_config(_with_float32(layer.get_config()))

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights([to_float32(weight) for weight in model.weights])
    return copy


def _with_float32(config):
    if not isinstance(config, dict):
        return config
    return {
        key: "float32" if key == "dtype" else _with_float32(value) for key, value in config.items()
    }


def _write_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        raise ImportError(
            "Writing weights requires the package safetensors: `pip install safetensors`."
        ) from error
    save_file(tensors, path, metadata={"format": "pt"})
