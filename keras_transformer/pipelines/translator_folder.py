"""The folder of a translator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.tokenizer_folder import save_tokenizer
from keras_transformer.decoding.lexical_shortlist import LexicalShortlist
from keras_transformer.files import file_in, saved_name
from keras_transformer.pipelines.defaults import read_defaults
from keras_transformer.pipelines.folder import (
    Kind,
    has_file,
    read_description,
    read_model,
    read_tokenizer,
    write_folder,
    write_model,
)
from keras_transformer.pipelines.from_pretrained import OpenedTranslator

_SHORTLIST = "shortlist.npz"
_SOURCE, _TARGET = "source_tokenizer", "target_tokenizer"
_KIND = Kind(
    "Translator",
    "translator.json",
    {"shared_tokenizer": bool},
    others=(_SOURCE, _TARGET, _SHORTLIST),
)


def save_translator(translator: Any, folder: str | os.PathLike) -> None:
    """Writes `model.keras`, the tokenizers and `translator.json` to a folder.

    At any moment the folder holds either all files of the previous translator or all of the new
    one, even if the process is killed; `kt.Translator.load` finds them. Other files in the folder
    are kept. The optimizer is not saved: to resume training exactly where it stopped, use
    `kt.training.SaveTraining`.

    Args:
        translator: The translator.
        folder: A new or empty folder, or one that holds a translator, which is replaced.

    Raises:
        ValueError: if the folder holds something else.
        OSError: if the disk is full or refuses a write. The message names the file and the folder,
            which still holds the previous translator.
    """
    shared = translator.target_tokenizer is translator.source_tokenizer

    def write(work):
        write_model(translator.model, work)
        save_tokenizer(translator.source_tokenizer, work / _SOURCE)
        if not shared:
            save_tokenizer(translator.target_tokenizer, work / _TARGET)
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
    source = read_tokenizer(folder, _SOURCE)
    shared = description["shared_tokenizer"]
    target = source if shared else read_tokenizer(folder, _TARGET)
    defaults = read_defaults(folder / _KIND.file, description.get("defaults", {}))
    shortlist = None
    if has_file(folder, description, _SHORTLIST):
        shortlist = LexicalShortlist.load(file_in(folder, saved_name(folder, _SHORTLIST)))
    path = folder / _KIND.file
    return OpenedTranslator(read_model(folder), source, target, defaults, path, shortlist)
