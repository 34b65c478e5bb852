"""The folder of a text generator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.tokenizer_folder import load_tokenizer, save_tokenizer
from keras_transformer.pipelines.defaults import GenerationDefaults, read_defaults
from keras_transformer.pipelines.folder import (
    Kind,
    read_description,
    read_model,
    write_folder,
    write_model,
)

_KIND = Kind("TextGenerator", "text_generator.json", {})


def save_text_generator(generator: Any, folder: str | os.PathLike) -> None:
    """Writes `model.keras`, the tokenizer and `text_generator.json` to a folder.

    Like `kt.Translator.save`, it writes atomically and without the optimizer.

    Args:
        generator: The text generator.
        folder: A new folder, or one that holds a text generator, which is replaced.

    Raises:
        ValueError: if the folder holds something else.
    """

    def write(work):
        write_model(generator.model, work)
        save_tokenizer(generator.tokenizer, work / "tokenizer")

    description = {"banned_ids": generator.banned_ids, "defaults": generator.defaults._asdict()}
    write_folder(folder, _KIND, description, write)


def read_text_generator(folder: str | os.PathLike) -> tuple[Any, Any, Any, GenerationDefaults]:
    """Reads a folder written by `save_text_generator`.

    Args:
        folder: The folder.

    Returns:
        The model, the tokenizer, the banned ids and the defaults.

    Raises:
        ValueError: if a file is missing, invalid or damaged; the message names it.
    """
    folder = Path(folder)
    description = read_description(folder, _KIND)
    values = description.get("defaults", {})
    defaults = read_defaults(folder / _KIND.file, values, GenerationDefaults)
    tokenizer = load_tokenizer(folder / "tokenizer")
    return read_model(folder), tokenizer, description.get("banned_ids"), defaults
