"""One folder on disk for a model with its tokenisers, written as a whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_transformer.data.special_ids import special_ids
from keras_transformer.pretrained.tokenizer_files import check_size
from keras_transformer.pretrained.whole_folder import replace_folder

_FORMAT = 1
_MODEL_FILE = "model.keras"


class Kind(NamedTuple):
    """What a folder holds.

    Attributes:
        name: the class that wrote it.
        file: the small JSON file that says so.
        fields: what else stands in that file, by name and type.
    """

    name: str
    file: str
    fields: dict[str, type]

    @property
    def words(self) -> str:
        """What a person calls it."""
        return self.file.removesuffix(".json").replace("_", " ")


def write_folder(
    folder: str | os.PathLike,
    kind: Kind,
    description: dict[str, Any],
    write: Callable[[Path], None],
) -> None:
    """Writes a folder beside its place and moves it there when it is complete.

    Args:
        folder: a new or empty folder, or one of the same kind, which is replaced.
        kind: what it holds.
        description: the values of the kind's fields.
        write: writes everything but the description into the folder that it is given.

    Raises:
        ValueError: the folder holds something else.
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
    """Reads the JSON file of a folder.

    Args:
        folder: the folder.
        kind: what it is to hold.

    Returns:
        Its content.

    Raises:
        ValueError: the file is missing, or is not of this kind.
    """
    path = folder / kind.file
    if not path.is_file():
        raise ValueError(
            f"`folder` must hold the file {path.name}, as {kind.name}.save writes it. "
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
    """Saves a model without its optimizer, and leaves it as it is.

    As in any file of Keras's, the weights of a layer with adapters are the sums that it computes
    with: what is loaded has no adapters and the same outputs.

    Args:
        model: the model.
        folder: where to.
    """
    # A copy would need layers of the same form, with adapters and quantized where they are.
    trained = {name: getattr(model, name, None) for name in ("compiled", "optimizer")}
    model.compiled, model.optimizer = False, None
    try:
        model.save(folder / _MODEL_FILE)
    finally:
        for name, value in trained.items():
            setattr(model, name, value)


def read_model(folder: Path) -> keras.Model:
    """Loads the model of a folder.

    Args:
        folder: the folder.

    Returns:
        The model, not compiled.

    Raises:
        ValueError: the file is missing or no Keras model.
    """
    path = folder / _MODEL_FILE
    if not path.is_file():
        raise ValueError(f"`folder` must hold the file {_MODEL_FILE}. Received: no {path}.")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:
        raise ValueError(
            f"`folder` must hold a Keras model in {_MODEL_FILE}. Received: {path}, which does "
            f"not open: {error}"
        ) from error


def check_texts(texts: Sequence[Any]) -> None:
    """Raises a ValueError unless there are texts, all of them strings that are not blank."""
    if not texts:
        raise ValueError("`texts` must hold at least one sentence. Received: an empty list.")
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(
                f"`texts` must hold strings that are not blank. Received: texts[{index}]={text!r}."
            )


def check_tokenizer(
    name: str, tokenizer: Any, vocabulary_size: int, needed: Sequence[str] = ()
) -> None:
    """Raises a ValueError if a tokeniser knows more ids than the model, or lacks a special id."""
    check_size(name, tokenizer, vocabulary_size)
    ids = special_ids(tokenizer).named
    for key in needed:
        if ids[key] is None:
            raise ValueError(f"`{name}` must have the attribute `{key}`. Received: {key}=None.")
