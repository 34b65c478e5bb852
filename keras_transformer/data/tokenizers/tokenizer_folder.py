"""Tokenizers on disk: a folder with a small JSON file and the tokenizer's vocabulary files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from keras_transformer.checks import shortened
from keras_transformer.data.tokenizers.hugging_face import HuggingFaceTokenizer
from keras_transformer.data.tokenizers.interface import SpecialTokenizer, Tokenizer
from keras_transformer.data.tokenizers.json_vocabularies import check_tokenizer_json
from keras_transformer.data.tokenizers.marian_tokenizer import MarianTokenizer
from keras_transformer.data.tokenizers.sentence_piece import (
    SentencePieceTokenizer,
    open_sentence_piece,
)
from keras_transformer.data.tokenizers.text_packages import import_text_package
from keras_transformer.files import (
    file_in,
    naming_file,
    read_bytes,
    read_json,
    read_text,
    saved_name,
    update_folder,
)

_FORMAT_VERSION = 1
_CONFIG_FILE = "config.json"


class _Saved(NamedTuple):
    """The vocabulary files and options saved for a class."""

    files: tuple[str, ...]
    options: tuple[str, ...]
    own: type | None = None


_SPECIAL = ("padding_id", "unknown_id", "start_id", "end_id", "vocabulary_size")
_LANGUAGES = ("language_tokens", "language_form")
_OWN = "keras_transformer."
# A class outside this table is never imported, so an untrusted folder cannot run code.
_SAVED_CLASSES = {
    # === keras-hub ===
    "SentencePieceTokenizer": _Saved(
        ("vocabulary.spm",), ("dtype", "sequence_length", "add_bos", "add_eos")
    ),
    "BytePairTokenizer": _Saved(
        ("vocabulary.json", "merges.txt"),
        ("dtype", "sequence_length", "add_prefix_space", "unsplittable_tokens"),
    ),
    "WordPieceTokenizer": _Saved(
        ("vocabulary.txt",),
        ("dtype", "sequence_length", "lowercase", "strip_accents", "split", "split_on_cjk")
        + ("suffix_indicator", "oov_token", "special_tokens", "special_tokens_in_strings"),
    ),
    # === kt.data ===
    f"{_OWN}SentencePieceTokenizer": _Saved(("vocabulary.spm",), _SPECIAL, SentencePieceTokenizer),
    f"{_OWN}MarianTokenizer": _Saved(
        ("vocabulary.spm", "vocabulary.json"),
        (*_SPECIAL, "special_tokens", "clean_up_spaces", *_LANGUAGES),
        MarianTokenizer,
    ),
    f"{_OWN}HuggingFaceTokenizer": _Saved(
        ("tokenizer.json",),
        (*_SPECIAL, "clean_up_spaces", "split_special_tokens", *_LANGUAGES)
        + ("chat_template", "template_tokens", "add_start"),
        HuggingFaceTokenizer,
    ),
}


def _options(tokenizer: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Returns the tokenizer's constructor arguments, except the vocabulary."""
    config = tokenizer.get_config()
    # keras-hub's `get_config` lacks some options, such as `split_on_cjk`.
    options = {n: config[n] if n in config else getattr(tokenizer, n) for n in names}
    return options | ({"dtype": tokenizer.compute_dtype} if "dtype" in names else {})


def _class_name(tokenizer: Any) -> str:
    """Returns the name of a tokenizer's class in the table above, or raises."""
    for name, saved in _SAVED_CLASSES.items():
        # By identity: a subclass or a namesake would be loaded as a different class.
        if saved.own is not None and type(tokenizer) is saved.own:
            return name
    name = type(tokenizer).__name__
    if not isinstance(tokenizer, SpecialTokenizer) and name in _SAVED_CLASSES:
        keras_hub = import_text_package("keras_hub")
        if type(tokenizer) is getattr(keras_hub.tokenizers, name):
            return name
    theirs = [name for name in _SAVED_CLASSES if not name.startswith(_OWN)]
    ours = [name.removeprefix(_OWN) for name in _SAVED_CLASSES if name.startswith(_OWN)]
    raise ValueError(
        f"`tokenizer` must be one of {', '.join(theirs)} from keras_hub.tokenizers, or "
        f"{', '.join(ours)} from kt.data. Received: a {type(tokenizer).__module__}.{name}."
    )


def save_tokenizer(tokenizer: Tokenizer, folder: str | os.PathLike[str]) -> None:
    """Saves a tokenizer to a folder.

    The folder gets `config.json` and the vocabulary files; other files in it are kept. At any
    moment it holds either the previous tokenizer or the new one, even if the process is killed.

    Args:
        tokenizer: A tokenizer of `kt.data`, or a `SentencePieceTokenizer`, `BytePairTokenizer` or
            `WordPieceTokenizer` of keras-hub.
        folder: Path of the folder, created if needed.

    Raises:
        ValueError: If the tokenizer is of an unsupported class or has no vocabulary.
        OSError: If the disk is full or refuses a write; the message names the file and the folder,
            whose files are unchanged.

    Example:
        >>> import tempfile
        >>> import keras_transformer as kt
        >>> tokenizer = kt.data.train_tokenizer(["a cat", "a dog"], vocabulary_size=11)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kt.data.save_tokenizer(tokenizer, folder)
        ...     restored = kt.data.load_tokenizer(folder)
        >>> restored.vocabulary_size()
        11
    """
    class_name = _class_name(tokenizer)
    saved = _SAVED_CLASSES[class_name]
    tokenizer.vocabulary_size()  # raises keras-hub's ValueError if no vocabulary is set
    config: dict[str, Any] = {
        "format_version": _FORMAT_VERSION,
        "class_name": class_name,
        "config": _options(tokenizer, saved.options),
    }
    if saved.own is None:
        config["keras_hub_version"] = import_text_package("keras_hub").__version__

    def write(work):
        tokenizer.save_assets(str(work))  # type: ignore[attr-defined]
        content = json.dumps(config, indent=2, sort_keys=True)
        (work / _CONFIG_FILE).write_text(content, encoding="utf-8")

    update_folder(folder, write)


def _place(folder: str, name: str) -> Path:
    """Returns the path of a file in a folder, or raises."""
    try:
        return file_in(folder, saved_name(folder, name))
    except FileNotFoundError as error:
        raise ValueError(
            "`folder` must contain a saved tokenizer. "
            f"Received: no readable file {os.path.join(folder, name)}."
        ) from error


def _foreign(path: str | os.PathLike, problem: str) -> ValueError:
    return ValueError(f"`folder` must contain a saved tokenizer. Received: {path}, {problem}")


def _is_plain(value: Any) -> bool:
    """Returns whether an option is a plain value, which cannot trigger an import."""
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    if isinstance(value, dict):
        return all(isinstance(item, str) for item in value.values())
    return value is None or isinstance(value, (str, int))


def _read_config(path: Path) -> tuple[str, dict[str, Any]]:
    """Returns the class name and the options of a saved tokenizer."""
    saved = read_json(path)
    try:
        version, class_name, options = (
            saved[key] for key in ("format_version", "class_name", "config")
        )
        unknown = set(options) - set(_SAVED_CLASSES[class_name].options)
        plain = all(map(_is_plain, options.values()))
        plain = plain and isinstance(options.get("dtype"), (str, type(None)))
    except (AttributeError, KeyError, TypeError) as error:
        raise _foreign(path, "which does not describe a known tokenizer") from error
    if version != _FORMAT_VERSION:
        raise _foreign(path, f"of format version {shortened(version)} instead of {_FORMAT_VERSION}")
    if unknown or not plain:
        raise _foreign(path, "with unknown or invalid options")
    return class_name, options


def _read_vocabulary(paths: list[Path]) -> dict[str, Any]:
    """Returns the vocabulary arguments, as file contents since Keras's safe mode rejects paths."""
    arguments: dict[str, Any] = {}
    for path in paths:
        if path.suffix == ".spm":
            arguments["proto"] = _sentence_piece(path, read_bytes(path))
        elif path.name == "vocabulary.json":
            arguments["vocabulary"] = read_json(path)
        elif path.name == "merges.txt":
            arguments["merges"] = [line for line in read_text(path).split("\n") if line]
        elif path.name == "tokenizer.json":
            arguments["content"] = read_text(path)
            check_tokenizer_json(arguments["content"], path)
        else:
            arguments["vocabulary"] = read_text(path).removesuffix("\n").split("\n")
    return arguments


def _sentence_piece(path: Path, content: bytes) -> bytes:
    try:
        # Before keras-hub reads it, because TensorFlow raises errors of other types.
        open_sentence_piece(content)
    except ValueError as error:
        raise _foreign(path, "which is not a SentencePiece model") from error
    return content


def load_tokenizer(folder: str | os.PathLike[str]) -> Any:
    """Loads a tokenizer saved by `save_tokenizer`.

    Only known classes are created, from plain values: nothing is unpickled, and no other code is
    imported.

    Args:
        folder: Path of the folder.

    Returns:
        The tokenizer, of the class that was saved.

    Raises:
        ImportError: If the `text` extra is not installed.
        ValueError: If a file is missing, damaged or in another format; the message names it.

    Example:
        >>> import tempfile
        >>> import keras_transformer as kt
        >>> tokenizer = kt.data.train_tokenizer(["a cat", "a dog"], vocabulary_size=11)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kt.data.save_tokenizer(tokenizer, folder)
        ...     restored = kt.data.load_tokenizer(folder)
        >>> restored.vocabulary_size()
        11
    """
    folder = os.fspath(folder)
    class_name, options = _read_config(_place(folder, _CONFIG_FILE))
    saved = _SAVED_CLASSES[class_name]
    paths = [_place(folder, name) for name in saved.files]
    vocabulary = _read_vocabulary(paths)
    owner = saved.own or getattr(import_text_package("keras_hub").tokenizers, class_name)
    try:
        with naming_file(folder):  # keras-hub and what it calls raise many types
            return owner(**options, **vocabulary)
    except ValueError as error:
        whose = "keras-hub" if saved.own is None else "its class"
        names = " and ".join(map(str, paths))
        raise _foreign(names, f"not accepted by {whose}: {error}") from error
