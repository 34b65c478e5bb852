"""The folder of a text generator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.tokenizer_folder import save_tokenizer
from keras_transformer.files import naming_file
from keras_transformer.pipelines.defaults import GenerationDefaults, read_defaults
from keras_transformer.pipelines.folder import (
    Kind,
    read_description,
    read_model,
    read_tokenizer,
    write_folder,
    write_model,
)
from keras_transformer.pipelines.from_pretrained import OpenedLanguageModel

_TOKENIZER = "tokenizer"
_KIND = Kind("TextGenerator", "text_generator.json", {}, others=(_TOKENIZER,))


def save_text_generator(generator: Any, folder: str | os.PathLike) -> None:
    """Writes `model.keras`, the tokenizer and `text_generator.json` to a folder.

    Like `kt.Translator.save`, it writes all files or none, even if the process is killed, and
    leaves out the optimizer.

    Args:
        generator: The text generator.
        folder: A new or empty folder, or one that holds a text generator, which is replaced.

    Raises:
        ValueError: if the folder holds something else.
        OSError: if the disk is full or refuses a write. The message names the file and the folder,
            which still holds the previous text generator.
    """

    def write(work):
        write_model(generator.model, work)
        save_tokenizer(generator.tokenizer, work / _TOKENIZER)

    description = {"banned_ids": generator.banned_ids, "defaults": generator.defaults._asdict()}
    write_folder(folder, _KIND, description, write)


def read_text_generator(folder: str | os.PathLike) -> OpenedLanguageModel:
    """Reads a folder written by `save_text_generator`.

    Args:
        folder: The folder.

    Returns:
        The parts of the text generator.

    Raises:
        ValueError: if a file is missing, invalid or damaged; the message names it.
    """
    folder = Path(folder)
    path = folder / _KIND.file
    with naming_file(folder):
        description = read_description(folder, _KIND)
        defaults = read_defaults(path, description.get("defaults", {}), GenerationDefaults)
        tokenizer = read_tokenizer(folder, _TOKENIZER)
        banned_ids = description.get("banned_ids")
        return OpenedLanguageModel(read_model(folder), tokenizer, banned_ids, defaults, path)
