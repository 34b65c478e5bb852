"""A folder for a model and its tokenizers, written atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_transformer.checks import shortened
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.tokenizer_folder import load_tokenizer
from keras_transformer.files import (
    file_in,
    folder_in,
    is_empty,
    is_listed,
    load_keras_model,
    path_in,
    read_json,
    saved_name,
    update_folder,
)
from keras_transformer.pretrained.tokenizers.export_parts import check_size

_FORMAT = 1
_MODEL_FILE = "model.keras"


class Kind(NamedTuple):
    """The kind of pipeline in a folder.

    Attributes:
        name: Name of the class that writes the folder.
        file: Name of the JSON file that describes the folder.
        fields: Further fields of that file, as types by name.
        others: Names of the other files and folders that a save may write, besides the model.
    """

    name: str
    file: str
    fields: dict[str, type]
    others: tuple[str, ...]

    @property
    def words(self) -> str:
        """The kind's name in error messages."""
        return self.file.removesuffix(".json").replace("_", " ")


def write_folder(
    folder: str | os.PathLike,
    kind: Kind,
    description: dict[str, Any],
    write: Callable[[Path], None],
) -> None:
    """Writes all files of a pipeline, or none.

    Args:
        folder: A new or empty folder, or one of the same kind, whose files are replaced. Files that
            no pipeline writes are kept.
        kind: The kind of pipeline.
        description: The values of the kind's fields.
        write: Writes everything except the description to the folder it is given.

    Raises:
        ValueError: if the folder holds something else.
        OSError: if the disk is full or refuses a write; the message names the file and the folder.
    """
    folder = Path(folder)
    if folder.exists() and not _is_replaceable(folder, kind):
        raise ValueError(
            f"`folder` must be new, empty or hold a {kind.words}. "
            f"Received: folder={str(folder)!r}, which holds something else."
        )

    def write_all(work):
        write(work)
        files = sorted(path.name for path in work.iterdir())
        content = {"kind": _full_name(kind), "format": _FORMAT, "files": files, **description}
        (work / kind.file).write_text(json.dumps(content, indent=2) + "\n")

    update_folder(folder, write_all, own=kind.others)


def _is_replaceable(folder, kind):
    return path_in(folder, kind.file).is_file() or is_empty(folder)


def has_file(folder: Path, description: dict[str, Any], name: str) -> bool:
    """Whether a file belongs to a pipeline; one of an earlier save may still be in the folder.

    Args:
        folder: The folder.
        description: Its description, from `read_description`.
        name: Name of the file.
    """
    files = description.get("files")  # missing in folders of older versions
    return name in files if isinstance(files, list) else is_listed(path_in(folder, name))


def _full_name(kind):
    return f"keras_transformer.{kind.name}"


def read_description(folder: Path, kind: Kind) -> dict[str, Any]:
    """Reads the JSON file that describes a folder.

    Args:
        folder: The folder.
        kind: The expected kind of pipeline.

    Returns:
        The content of the file.

    Raises:
        ValueError: if the file is missing or of another kind.
    """
    path = path_in(folder, kind.file)
    if not is_listed(path):
        raise ValueError(
            f"`folder` must contain the file {path.name}, as written by {kind.name}.save. "
            f"Received: no {path}."
        )
    description = read_json(file_in(folder, saved_name(folder, kind.file)))
    known = description.get("kind") == _full_name(kind)
    if not known or not all(isinstance(description.get(n), t) for n, t in kind.fields.items()):
        raise ValueError(
            f"`{path}` must describe a {kind.words}. Received: {shortened(description)}."
        )
    if description.get("format") != _FORMAT:
        raise ValueError(
            f"`{path}` must have format {_FORMAT}; a newer library may have written it. "
            f"Received: format={shortened(description.get('format'))}."
        )
    return description


def write_model(model: keras.Model, folder: Path) -> None:
    """Saves a model without its optimizer; the model itself is unchanged.

    As in any Keras file, adapters are merged into the weights of their layers: the loaded model has
    no adapters and the same outputs.

    Args:
        model: The model.
        folder: The folder to save to.
    """
    # Detach the optimizer rather than save a copy, whose layers would need the same adapters and
    # quantization.
    trained = {name: getattr(model, name, None) for name in ("compiled", "optimizer")}
    model.compiled, model.optimizer = False, None
    try:
        model.save(folder / _MODEL_FILE)
    finally:
        for name, value in trained.items():
            setattr(model, name, value)


def read_model(folder: Path) -> keras.Model:
    """Loads the model from a folder.

    Args:
        folder: The folder.

    Returns:
        The model, not compiled.

    Raises:
        ValueError: if the file is missing or not a Keras model.
    """
    path = path_in(folder, _MODEL_FILE)
    if not is_listed(path):
        raise ValueError(f"`folder` must contain the file {_MODEL_FILE}. Received: no {path}.")
    try:
        return load_keras_model(file_in(folder, saved_name(folder, _MODEL_FILE)))
    except ValueError as error:
        raise ValueError(
            f"`folder` must contain a Keras model in {_MODEL_FILE}. Received: {path}, which "
            f"cannot be loaded: {error}."
        ) from error


def read_tokenizer(folder: Path, name: str) -> Any:
    """Loads the tokenizer from a folder inside the folder of a pipeline.

    Args:
        folder: The folder of the pipeline.
        name: Name of the folder in it.

    Returns:
        The tokenizer.

    Raises:
        ValueError: if it is missing or damaged, or outside the folder.
    """
    if not is_listed(path_in(folder, name)):
        raise ValueError(f"`folder` must contain the folder {name}. Received: no {folder / name}.")
    return load_tokenizer(folder_in(folder, saved_name(folder, name)))


def check_texts(texts: Sequence[Any]) -> None:
    """Raises a ValueError unless there is at least one text and all are non-blank strings."""
    if not texts:
        raise ValueError("`texts` must contain at least one text. Received: an empty list.")
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(
                f"`texts` must contain non-blank strings. Received: texts[{index}]={text!r}."
            )


def check_tokenizer(
    name: str, tokenizer: Any, vocabulary_size: int, needed: Sequence[str] = ()
) -> None:
    """Raises a ValueError if a tokenizer has more ids than the model or lacks a special id."""
    check_size(name, tokenizer, vocabulary_size)
    ids = special_ids(tokenizer).named
    for key in needed:
        if ids[key] is None:
            raise ValueError(f"`{name}` must have the attribute `{key}`. Received: {key}=None.")
