"""Models of ours out: a folder in the form of Hugging Face."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transformer.pretrained.family import Family
from keras_transformer.pretrained.load import FAMILIES
from keras_transformer.pretrained.mapping import assign, to_float32
from keras_transformer.pretrained.paths import variables_of
from keras_transformer.pretrained.settings import check_settings
from keras_transformer.pretrained.tokenizer_files import (
    choose_special_ids,
    tokenizers_of,
    write_json,
)
from keras_transformer.pretrained.whole_folder import write_new_folder

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
    """Writes a model as a folder that transformers opens, and `kt.pretrained.load`.

    | model | becomes |
    |---|---|
    | `kt.models.gpt`, post-LN | GPT-1, `OpenAIGPTLMHeadModel` |
    | `kt.models.gpt`, pre-LN | GPT-2, `GPT2LMHeadModel` |
    | `kt.models.transformer` | `MarianMTModel` |
    | `kt.models.bert` | `BertModel`, `BertForMaskedLM` |
    | `kt.models.vit` | `ViTModel`, `ViTForImageClassification` |

    The folder gets config.json, model.safetensors, for models that generate
    generation_config.json, and the files of the tokeniser. Every value of config.json is one of the
    model's own. What a family cannot say is refused: grouped or rotary attention, for example. The
    folder is written beside its place and moved there when it is complete.

    Weights are written as they are, with three exceptions, all of which leave the outputs as they
    were. A bias that a model does not have is written as zeros. A Marian has sinusoids in the
    layout "concatenated": of a model with the paper's "interleaved" ones (the default of
    `kt.models.transformer`) all channels of the hidden states are reordered. And its layer norms
    have the epsilon 1e-5: for another (our default is 1e-6) the hidden states inside of the stacks
    are scaled, which has the same effect everywhere but in the first layer norm of each stack. The
    outputs of the model and of what was written are then compared on random ids, and must agree to
    1e-4.

    Args:
        model: a model as the functions of `kt.models` build it, trained or not.
        tokenizer: its tokeniser, as `kt.data.train_tokenizer` makes it or as
            `kt.pretrained.load_tokenizer` opened it; a pair for source and target; None for the
            weights alone. A translator's becomes that of a `MarianTokenizer`, any other a
            tokenizer.json.
        folder: a new or empty folder.
        dtype: "float32", "float16" or "bfloat16", of the weights in the file.
        start_id: the id that a translation starts with; by default the tokeniser's, and without
            one that of `kt.data`, 2, if the padding is also `kt.data`'s, 0.
        end_id: the id that a text ends with; by default as `start_id`, 3.

    Raises:
        ValueError: a folder that holds something, an unknown dtype, a model or a setting that no
            family has, weights that float16 cannot hold, a tokeniser that knows more ids than the
            model or cannot be written.
        ImportError: the `weights` extra is not installed.

    Example:
        ```python
        kt.pretrained.save_huggingface(translator.model, tokenizer, "my-translator")
        transformers.MarianMTModel.from_pretrained("my-translator")
        ```
    """
    if dtype not in _DTYPES:
        raise ValueError(f"`dtype` must be one of {_DTYPES}. Received: dtype={dtype!r}.")
    family = _family_of(model)
    tokenizers = tokenizers_of(tokenizer, model)
    if tokenizers and family.write_tokenizer is None:
        raise ValueError(
            f"`tokenizer` must be None for a {family.model_type}. Received: {tokenizer!r}."
        )
    embedding = next((x for x in model.layers if hasattr(x, "padding_id")), None)
    ids = choose_special_ids(tokenizers, getattr(embedding, "padding_id", None), start_id, end_id)
    config = family.describe(model, ids)  # type: ignore[misc]  # recognised: it can describe
    tensors = _tensors(model, family, config, dtype)

    def write(work):
        write_json(work / "config.json", {**config.values, "dtype": dtype})
        if family.generation is not None:
            write_json(work / "generation_config.json", family.generation(config, ids))
        if tokenizers and family.write_tokenizer is not None:
            family.write_tokenizer(tokenizers, config, work)
        _write_tensors(work / "model.safetensors", tensors)

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
    """The tensors of the file."""
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
            f"Received: others: {sorted({*arrays} ^ {*wanted})[:8]}."
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
            f"The weights must be finite in `dtype`. Received: dtype={dtype!r} for {name!r}, whose "
            f"largest value is {np.abs(array).max()}."
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
    # Half precision is further off than what should be seen here.
    pair = [_in_float32(one) for one in (model, twin)]
    expected, received = (to_float32(one(inputs, training=False)) for one in pair)
    if not np.allclose(received, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise ValueError(
            "`layer_norm_epsilon` must be near that of Marian, 1e-5, or small against what the "
            "first layer norms are given. Received: a model whose logits would differ by "
            f"{np.abs(received - expected).max():.2g}."
        )


def _in_float32(model):
    """The model itself, or one with its weights that computes in float32."""
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
            "Weights are written by the package safetensors: `pip install safetensors`."
        ) from error
    save_file(tensors, path, metadata={"format": "pt"})
