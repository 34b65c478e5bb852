"""A folder for a model and its tokenizers, written atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.pretrained.tokenizers.export_parts import check_size
from keras_transformer.pretrained.whole_folder import replace_folder

_FORMAT = 1
_MODEL_FILE = "model.keras"


class Kind(NamedTuple):
    """The kind of pipeline in a folder.

    Attributes:
        name: Name of the class that writes the folder.
        file: Name of the JSON file that describes the folder.
        fields: Further fields of that file, as types by name.
    """

    name: str
    file: str
    fields: dict[str, type]

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
    """Writes a temporary folder and moves it into place when complete.

    Args:
        folder: A new or empty folder, or one of the same kind, which is replaced.
        kind: The kind of pipeline.
        description: The values of the kind's fields.
        write: Writes everything except the description to the folder it is given.

    Raises:
        ValueError: if the folder holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not _is_replaceable(folder, kind):
        raise ValueError(
            f"`folder` must be new, empty or hold a {kind.words}. "
            f"Received: folder={str(folder)!r}, which holds something else."
        )

    def write_all(work):
        write(work)
        content = {"kind": _full_name(kind), "format": _FORMAT, **description}
        (work / kind.file).write_text(json.dumps(content, indent=2) + "\n")

    replace_folder(folder, write_all)


def _is_replaceable(folder, kind):
    return folder.is_dir() and ((folder / kind.file).is_file() or not any(folder.iterdir()))


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
    path = folder / kind.file
    if not path.is_file():
        raise ValueError(
            f"`folder` must contain the file {path.name}, as written by {kind.name}.save. "
            f"Received: no {path}."
        )
    try:
        description = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"`{path}` must be a JSON file. Received: {error}.") from error
    known = isinstance(description, dict) and description.get("kind") == _full_name(kind)
    if not known or not all(isinstance(description.get(n), t) for n, t in kind.fields.items()):
        raise ValueError(f"`{path}` must describe a {kind.words}. Received: {description!r}.")
    if description.get("format") != _FORMAT:
        raise ValueError(
            f"`{path}` must have format {_FORMAT}; a newer library may have written it. "
            f"Received: format={description.get('format')!r}."
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
    path = folder / _MODEL_FILE
    if not path.is_file():
        raise ValueError(f"`folder` must contain the file {_MODEL_FILE}. Received: no {path}.")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:
        raise ValueError(
            f"`folder` must contain a Keras model in {_MODEL_FILE}. Received: {path}, which "
            f"cannot be loaded: {error}."
        ) from error


def check_tokenizer(
    name: str, tokenizer: Any, vocabulary_size: int, needed: Sequence[str] = ()
) -> None:
    """Raises a ValueError if a tokenizer has more ids than the model or lacks a special id."""
    check_size(name, tokenizer, vocabulary_size)
    ids = special_ids(tokenizer).named
    for key in needed:
        if ids[key] is None:
            raise ValueError(f"`{name}` must have the attribute `{key}`. Received: {key}=None.")
