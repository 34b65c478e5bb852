"""Writing and reading the folder of a translator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.tokenizer_folder import save_tokenizer
from keras_transformer.decoding.lexical_shortlist import LexicalShortlist
from keras_transformer.files import file_in, is_listed
from keras_transformer.pipelines.defaults import read_defaults
from keras_transformer.pipelines.folder import (
    Kind,
    read_description,
    read_model,
    read_tokenizer,
    write_folder,
    write_model,
)
from keras_transformer.pipelines.from_pretrained import OpenedTranslator

_SHORTLIST = "shortlist.npz"
_KIND = Kind("Translator", "translator.json", {"shared_tokenizer": bool})


def save_translator(translator: Any, folder: str | os.PathLike) -> None:
    """Writes `model.keras`, the tokenizers and `translator.json` to a folder.

    The folder is written to a temporary location and moved into place when complete, so that an
    existing one survives a failure. The optimizer is not saved: to resume training exactly where it
    stopped, save the model itself.

    Args:
        translator: The translator.
        folder: A new folder, or one that holds a translator, which is replaced.

    Raises:
        ValueError: if the folder holds something else.
    """
    shared = translator.target_tokenizer is translator.source_tokenizer

    def write(work):
        write_model(translator.model, work)
        save_tokenizer(translator.source_tokenizer, work / "source_tokenizer")
        if not shared:
            save_tokenizer(translator.target_tokenizer, work / "target_tokenizer")
        if translator.shortlist is not None:
            translator.shortlist.save(work / _SHORTLIST)

    description = {"shared_tokenizer": shared, "defaults": translator.defaults._asdict()}
    write_folder(folder, _KIND, description, write)


def read_translator(folder: str | os.PathLike) -> OpenedTranslator:
    """Reads a folder written by `save_translator`.

    Args:
        folder: The folder.

    Returns:
        The parts of the translator.

    Raises:
        ValueError: if a file is missing, invalid or damaged; the message names it.
    """
    folder = Path(folder)
    description = read_description(folder, _KIND)
    source = read_tokenizer(folder, "source_tokenizer")
    shared = description["shared_tokenizer"]
    target = source if shared else read_tokenizer(folder, "target_tokenizer")
    defaults = read_defaults(folder / _KIND.file, description.get("defaults", {}))
    shortlist = None
    if is_listed(folder / _SHORTLIST):
        shortlist = LexicalShortlist.load(file_in(folder, _SHORTLIST))
    path = folder / _KIND.file
    return OpenedTranslator(read_model(folder), source, target, defaults, path, shortlist)
