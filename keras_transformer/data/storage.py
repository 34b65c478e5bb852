"""Tokenisers on disk: a folder with a small JSON file and the tokeniser's own vocabulary files."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras_hub

_FORMAT_VERSION = 1
_CONFIG_FILE = "config.json"
# What a saved folder may hold: for each class its vocabulary files and its options. A class
# outside this table is never imported, so a foreign folder cannot make us run its code.
_SAVED_CLASSES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "SentencePieceTokenizer": (("vocabulary.spm",), ("add_bos", "add_eos")),
    "BytePairTokenizer": (
        ("vocabulary.json", "merges.txt"),
        ("add_prefix_space", "unsplittable_tokens"),
    ),
    "WordPieceTokenizer": (
        ("vocabulary.txt",),
        ("lowercase", "strip_accents", "split", "split_on_cjk", "suffix_indicator", "oov_token")
        + ("special_tokens", "special_tokens_in_strings"),
    ),
}
_COMMON_OPTIONS = ("sequence_length",)


def import_text_package(name: str) -> ModuleType:
    """Imports a package of the `text` extra, or says how to install it.

    Args:
        name: Name of the module.

    Returns:
        The module.

    Raises:
        ImportError: If it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"The tokenizers need the package `{name}`, which could not be imported. "
            'Install it with `pip install "keras-transformer-layers[text]"`.'
        ) from error


def _options(tokenizer: Any, class_name: str) -> dict[str, Any]:
    """Returns the options that make the tokenizer again, without its vocabulary."""
    config = tokenizer.get_config()
    options = {"dtype": tokenizer.compute_dtype}
    for name in _COMMON_OPTIONS + _SAVED_CLASSES[class_name][1]:
        # keras-hub forgets some options in `get_config`, such as `split_on_cjk`.
        options[name] = config[name] if name in config else getattr(tokenizer, name)
    return options


def save_tokenizer(
    tokenizer: keras_hub.tokenizers.Tokenizer, folder: str | os.PathLike[str]
) -> None:
    """Writes a tokenizer into a folder.

    The folder gets `config.json` and the vocabulary files; other files in it stay. Everything is
    written beside the old files first, so that a failure leaves those intact.

    Args:
        tokenizer: A `SentencePieceTokenizer`, `BytePairTokenizer` or `WordPieceTokenizer` of
            keras-hub.
        folder: Path of the folder, made if needed.

    Raises:
        ValueError: If the tokenizer is of another class or has no vocabulary.

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
    keras_hub = import_text_package("keras_hub")
    class_name = type(tokenizer).__name__
    known = class_name in _SAVED_CLASSES
    # By identity: a subclass or a namesake would be loaded as something else.
    if not known or type(tokenizer) is not getattr(keras_hub.tokenizers, class_name):
        raise ValueError(
            f"`tokenizer` must be one of {', '.join(_SAVED_CLASSES)} of keras_hub.tokenizers. "
            f"Received: a {type(tokenizer).__module__}.{class_name}"
        )
    tokenizer.vocabulary_size()  # keras-hub's ValueError where no vocabulary has been set
    config = {
        "format_version": _FORMAT_VERSION,
        "keras_hub_version": keras_hub.__version__,
        "class_name": class_name,
        "config": _options(tokenizer, class_name),
    }
    os.makedirs(folder, exist_ok=True)
    # Inside the folder, because a file can only be replaced from the same file system.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
        tokenizer.save_assets(temporary)
        with open(os.path.join(temporary, _CONFIG_FILE), "w", encoding="utf-8") as file:
            json.dump(config, file, indent=2, sort_keys=True)
        for name in (*_SAVED_CLASSES[class_name][0], _CONFIG_FILE):
            os.replace(os.path.join(temporary, name), os.path.join(folder, name))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ValueError(
            f"`folder` must hold a saved tokenizer. Received: no readable file {path}"
        ) from error


def _foreign(path: str, problem: str) -> ValueError:
    return ValueError(f"`folder` must hold a saved tokenizer. Received: {path}, {problem}")


def _is_plain(value: Any) -> bool:
    """Whether an option is a value that cannot ask for anything to be imported."""
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return value is None or isinstance(value, (str, int))


def _read_config(path: str) -> tuple[str, dict[str, Any]]:
    """Returns the class name and the options of a saved tokenizer."""
    try:
        saved = json.loads(_read(path).decode("utf-8"))
        version, class_name, options = (
            saved[key] for key in ("format_version", "class_name", "config")
        )
        unknown = set(options) - {"dtype", *_COMMON_OPTIONS, *_SAVED_CLASSES[class_name][1]}
        plain = all(map(_is_plain, options.values()))
    except UnicodeDecodeError as error:
        raise _foreign(path, "which is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise _foreign(path, "which is not JSON") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise _foreign(path, "which describes no tokenizer this library knows") from error
    if version != _FORMAT_VERSION:
        raise _foreign(path, f"of format version {version!r} instead of {_FORMAT_VERSION}")
    if unknown or not plain:
        raise _foreign(path, "with options that no saved tokenizer has")
    return class_name, options


def _read_vocabulary(class_name: str, paths: list[str]) -> dict[str, Any]:
    """Returns the vocabulary arguments; contents, because Keras's safe mode refuses paths."""
    contents = [_read(path) for path in paths]
    if class_name == "SentencePieceTokenizer":
        sentencepiece = import_text_package("sentencepiece")
        try:
            # Empty bytes would be accepted, with a warning and without any vocabulary.
            if not contents[0]:
                raise RuntimeError("The file is empty.")
            # Before keras-hub reads them, because TensorFlow has errors of its own.
            sentencepiece.SentencePieceProcessor(model_proto=contents[0])
        except RuntimeError as error:
            raise _foreign(paths[0], "which is no SentencePiece model") from error
        return {"proto": contents[0]}
    texts = []
    for path, content in zip(paths, contents, strict=True):
        try:
            texts.append(content.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise _foreign(path, "which is not UTF-8 text") from error
    if class_name == "WordPieceTokenizer":
        return {"vocabulary": texts[0].removesuffix("\n").split("\n")}
    try:
        vocabulary = json.loads(texts[0])
    except json.JSONDecodeError as error:
        raise _foreign(paths[0], "which is not JSON") from error
    return {"vocabulary": vocabulary, "merges": [line for line in texts[1].split("\n") if line]}


def load_tokenizer(folder: str | os.PathLike[str]) -> keras_hub.tokenizers.Tokenizer:
    """Reads a tokenizer written by `save_tokenizer`.

    Only known keras-hub classes are made, from plain values: nothing is unpickled, and no other
    code is imported.

    Args:
        folder: Path of the folder.

    Returns:
        The tokenizer, of the class that was saved.

    Raises:
        ImportError: If the `text` extra is not installed.
        ValueError: If a file is missing, damaged or foreign; the message names the file.

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
    class_name, options = _read_config(os.path.join(folder, _CONFIG_FILE))
    paths = [os.path.join(folder, name) for name in _SAVED_CLASSES[class_name][0]]
    vocabulary = _read_vocabulary(class_name, paths)
    keras_hub = import_text_package("keras_hub")
    try:
        return getattr(keras_hub.tokenizers, class_name)(**options, **vocabulary)
    except Exception as error:  # keras-hub and the tokenizers below it raise many classes
        raise _foreign(" and ".join(paths), f"not accepted by keras-hub: {error}") from error
