"""Loading checkpoints of other libraries as Keras models."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import keras

from keras_transformer.checks import shortened
from keras_transformer.files import is_listed, naming_file, parameter_limit
from keras_transformer.pretrained.audit import find_tensors
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.families.firefox import FIREFOX
from keras_transformer.pretrained.families.firefox_files import firefox_model
from keras_transformer.pretrained.families.gguf_llama import open_gguf
from keras_transformer.pretrained.families.marian_binary import MarianBinary
from keras_transformer.pretrained.families.registry import FAMILIES
from keras_transformer.pretrained.files import TensorFiles, read_json
from keras_transformer.pretrained.gguf_file import find_gguf
from keras_transformer.pretrained.mapping import assign
from keras_transformer.pretrained.sentence_transformers import has_modules, load_sentence_encoder

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def load(folder: str | os.PathLike) -> keras.Model:
    """Loads a checkpoint in the Hugging Face format, a GGUF file or a Firefox Translations model.

    In the Hugging Face format, `config.json` names the architecture: BERT, RoBERTa, XLM-RoBERTa,
    DistilBERT, GPT-1 (`openai-gpt`), GPT-2, GPT-Neo, OPT, Llama, Qwen2, Qwen3, Marian, M2M100
    (`m2m_100`, also NLLB and SMaLL-100), T5 (also T5 1.1, Flan-T5 and MADLAD-400), mT5 or ViT. The
    weights are in `model.safetensors` or `pytorch_model.bin`, possibly in shards; they are read one
    tensor at a time, and nothing in a file is executed. Every variable must have its tensor, and
    every tensor must fill a variable, equal one that does, or hold values that the model computes.
    A setting of config.json for which the model has no option must have the value that the model
    implements. The result is an ordinary model of `kt.models`, not compiled.

    A sentence-transformers folder also has a `modules.json`. It becomes a sentence encoder with the
    pooling, dense layer and normalization of its modules. The caller must truncate texts to its
    `max_seq_length` and add its prompts.

    A Firefox Translations (Bergamot) folder holds one file `model.*.bin` with settings and 8-bit
    weights. It becomes a `kt.models.transformer` with float32 weights, an SSRU decoder, and one
    vocabulary or two. The model has one more id than the larger vocabulary, with an embedding of
    zeros: targets start with this id, it serves as padding on both sides, and it must never be
    generated.

    A GGUF file, the format of llama.cpp, holds the settings, tensors and tokenizer of a Llama,
    Qwen2 or Qwen3 model. Its tensors are dequantized one at a time by the package gguf.

    Args:
        folder: A folder, a file `*.gguf` or a folder with one. If no such path exists, the name of
            a repository on the Hugging Face hub such as "Helsinki-NLP/opus-mt-en-fr", which the
            package huggingface_hub downloads.

    Returns:
        A `keras.Model`: `kt.models.gpt` for GPT, GPT-Neo, OPT, Llama and Qwen,
        `kt.models.transformer` for Marian, M2M100 and T5, `kt.models.bert` for BERT, RoBERTa,
        XLM-RoBERTa and DistilBERT, and `kt.models.vit` for ViT, with the heads of the checkpoint
        (except BERT's next-sentence head); `kt.models.sentence_encoder` for sentence-transformers.
        DistilBERT has no input `segment_ids`. A GPT with double heads becomes
        `kt.models.multiple_choice` with the inputs `token_ids` and `extract_positions`
        (`mc_token_ids`) and the outputs `probabilities`, `logits` (`mc_logits`) and `lm_logits`.
        The weights are float32 unless Keras's global dtype policy says otherwise.

    Raises:
        ValueError: If there is no such folder, a file is missing or damaged, the architecture or a
            setting is not supported, tensors are missing, left over or of another shape, or a copy
            differs from the tensor it is tied to.
        ImportError: If a package needed to read a file is not installed.

    Example:
        ```python
        lm = kt.pretrained.load("openai-community/openai-gpt")  # or a folder
        model = kt.models.classifier(kt.models.with_new_tokens(lm, 2), num_classes=2)
        ```

    See Also:
        `kt.pretrained.load_tokenizer` loads the tokenizer; `kt.Translator` and `kt.TextGenerator`
        load both with `from_pretrained`; `kt.pretrained.save_huggingface` is the inverse.

    Reference:
        Radford et al. 2018 and 2019 (GPT-1 and GPT-2); Devlin et al. 2019 (BERT); Liu et al. 2019
        (RoBERTa); Conneau et al. 2020 (XLM-RoBERTa); Sanh et al. 2019 (DistilBERT); Reimers and
        Gurevych 2019 (sentence-transformers); Dosovitskiy et al. 2021 (ViT); Junczys-Dowmunt et al.
        2018, "Marian: Fast Neural Machine Translation in C++".
    """
    found = find_folder(folder)
    with naming_file(found):
        return load_sentence_encoder(found, _load) if has_modules(found) else _load(found)


def _load(folder: Path) -> keras.Model:
    family, config, files = _open(folder)
    with naming_file(config.path):
        rules = family.rules(config)
    weights = files.paths[0]
    with naming_file(weights):
        names = find_tensors(family, config, {rule.source for rule in rules}, files)
    with naming_file(config.path), parameter_limit(files.num_values(), config.path):
        model = family.build(config)
    with naming_file(weights):
        assign(model, rules, names, lambda name: files.read(names[name]))
    return model


def _open(folder: Path) -> tuple[Family, Config, Any]:
    """Returns the architecture, settings and tensors of a folder."""
    path, gguf = folder / "config.json", find_gguf(folder)
    if gguf is not None:
        return open_gguf(gguf)
    binary = firefox_model(folder)
    if binary is not None:
        marian = MarianBinary(binary)
        return FIREFOX, _config(binary, marian.settings(), marian, FIREFOX), marian
    values = read_json(path)
    adapters = folder / "adapter_config.json"
    if is_listed(adapters):
        raise ValueError(
            "`folder` must contain a complete model; merge its adapters first, with the library "
            f"that wrote them. Received: {adapters}."
        )
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ValueError(
            f"`model_type` in {path} must be one of {sorted(FAMILIES)}. "
            f"Received: {shortened(model_type)}."
        )
    family, files = FAMILIES[model_type], TensorFiles(folder)
    return family, _config(path, values, files, family), files


def _config(path, values, files, family):
    names = tuple(files.names())
    return Config(path, values, names, family.keys, num_tensors=len(names))


def find_folder(folder: str | os.PathLike, weights: bool = True) -> Path:
    """Returns the folder or GGUF file; if needed, downloads it, with or without weights."""
    path = Path(folder)
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return path
    name = os.fspath(folder)
    if path.exists() or not _HUB_NAME.fullmatch(name):
        raise ValueError(
            "`folder` must be a folder, or a name on the Hugging Face hub such as "
            f"'Helsinki-NLP/opus-mt-en-fr'. Received: folder={name!r}, which is neither."
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            f"There is no folder {name!r}. To download it from the Hugging Face hub, "
            "`pip install huggingface_hub`."
        ) from error
    try:
        patterns = ["*.json", "*.jinja", "*.txt", "*.spm", "*.model"]
        patterns += ["*.safetensors"] if weights else []
        found = Path(snapshot_download(name, allow_patterns=patterns))
        if weights and not list(found.glob("*.safetensors")):
            patterns += ["pytorch_model*.bin", "*/pytorch_model*.bin"]
            found = Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # many types: no network, no such repository, no access
        raise ValueError(
            f"`folder` must be a folder or a name on the Hugging Face hub. Received: "
            f"folder={name!r}, which is not a folder, and the hub reports: {error}."
        ) from error
    return found
