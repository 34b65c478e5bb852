"""Loading of foreign checkpoints for pipelines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_transformer.data.tokenizers.sentence_piece import open_sentence_piece
from keras_transformer.decoding.lexical_shortlist import LexicalShortlist
from keras_transformer.files import is_listed, naming_file
from keras_transformer.pipelines.defaults import DecodingDefaults, GenerationDefaults
from keras_transformer.pipelines.languages import default_languages, is_multilingual
from keras_transformer.pretrained.families.firefox_files import (
    find_shortlist,
    firefox_model,
    read_shortlist,
)
from keras_transformer.pretrained.files import read_json
from keras_transformer.pretrained.generation import (
    generation_file,
    read_generation,
    read_search,
)
from keras_transformer.pretrained.gguf_file import find_gguf
from keras_transformer.pretrained.load import find_folder, load
from keras_transformer.pretrained.tokenizers.load_tokenizer import load_tokenizer


class OpenedTranslator(NamedTuple):
    """The parts of a `kt.Translator`, and the file with its defaults."""

    model: keras.Model
    source_tokenizer: Any
    target_tokenizer: Any
    defaults: DecodingDefaults
    path: Path
    shortlist: LexicalShortlist | None = None


def open_translator(
    folder: str | os.PathLike, model: keras.Model | None = None
) -> OpenedTranslator:
    """Opens a translation checkpoint.

    Args:
        folder: A folder, or a name on the Hugging Face hub.
        model: The model of the folder, if it is loaded already; None to load it.

    Returns:
        The model, the source and target tokenizers, the checkpoint's decoding defaults, and its
        lexical shortlist, if any.

    Raises:
        ValueError: if it is not a translation model or cannot be loaded.
    """
    path = find_folder(folder)
    model = load(path) if model is None else model
    if "encoder" not in _stacks(model) or "decoder" not in _stacks(model):
        raise _other_model("translation model", folder, model)
    source = load_tokenizer(path)
    has_languages = is_multilingual(source)
    target = source if has_languages else load_tokenizer(path, target=True)
    binary = firefox_model(path)
    if binary is not None:
        return _firefox(path, binary, model, source, target)
    settings = read_generation(path, has_languages)
    search = read_search(path, is_translator=True)
    languages = default_languages(source, _tokenizer_settings(path), settings.forced_start_id)
    # transformers counts the token of the target language as a new token; this library does not.
    forced = int(has_languages and source.language_form != "target_first")
    limit = settings.max_new_tokens
    defaults = DecodingDefaults(
        # Padding is the start token of a translation; it must not be generated.
        banned_ids=tuple(dict.fromkeys((target.padding_id, *settings.banned_ids))),
        max_new_tokens=None if limit is None else max(1, limit - forced),
        length_penalty=settings.length_penalty,
        length_normalization="length",
        early_stopping=settings.early_stopping,
        min_new_tokens=max(0, search.min_new_tokens - forced),
        no_repeat_ngram_size=search.no_repeat_ngram_size,
        repetition_penalty=search.repetition_penalty,
        renormalize=search.renormalize,
        **languages,
    )
    return OpenedTranslator(model, source, target, defaults, generation_file(path))


def _tokenizer_settings(path):
    file = path / "tokenizer_config.json"
    return read_json(file) if is_listed(file) else {}


def _firefox(path, binary, model, source, target):
    target = source if source.proto == target.proto else target
    lists = find_shortlist(path)
    # The padding id, and those before it that only a larger source vocabulary has.
    others = range(open_sentence_piece(target.proto).vocab_size(), target.padding_id + 1)
    defaults = DecodingDefaults(banned_ids=tuple(others), max_length_factor=2.5)
    shortlist = None
    if lists is not None:
        with naming_file(lists):
            shortlist = LexicalShortlist(*read_shortlist(lists), multiple=8)
    return OpenedTranslator(model, source, target, defaults, binary, shortlist)


class OpenedLanguageModel(NamedTuple):
    """The parts of a `kt.TextGenerator`, and the file with its defaults."""

    model: keras.Model
    tokenizer: Any
    banned_ids: tuple[int, ...] | None
    defaults: GenerationDefaults
    path: Path


def open_language_model(
    folder: str | os.PathLike, model: keras.Model | None = None
) -> OpenedLanguageModel:
    """Opens a language model checkpoint.

    Args:
        folder: A folder, or a name on the Hugging Face hub.
        model: The model of the folder, if it is loaded already; None to load it.

    Returns:
        The model, its tokenizer, the ids that the checkpoint bans (None if it says nothing about
        generation), and its generation defaults.

    Raises:
        ValueError: if it is not a language model or cannot be loaded.
    """
    path = find_folder(folder)
    model = load(path) if model is None else model
    if "encoder" in _stacks(model) or "decoder" not in _stacks(model):
        raise _other_model("language model", folder, model)
    gguf = find_gguf(path)
    if gguf is not None:  # without generation settings
        return OpenedLanguageModel(model, load_tokenizer(path), None, GenerationDefaults(), gguf)
    search = read_search(path, is_translator=False)
    settings = read_generation(path, several_ends=True)
    defaults = GenerationDefaults(
        max_new_tokens=search.max_new_tokens,
        max_length=search.max_length,
        min_new_tokens=search.min_new_tokens,
        no_repeat_ngram_size=search.no_repeat_ngram_size,
        repetition_penalty=search.repetition_penalty,
        sampling=search.sampling,
        stop_ids=settings.more_end_ids,
    )
    tokenizer, settings_file = load_tokenizer(path), generation_file(path)
    return OpenedLanguageModel(model, tokenizer, settings.banned_ids, defaults, settings_file)


def _stacks(model):
    return {layer.name for layer in model.layers}


def _other_model(wanted, folder, model):
    return ValueError(
        f"`folder` must contain a {wanted}. "
        f"Received: folder={os.fspath(folder)!r}, which holds a {model.name} model."
    )
