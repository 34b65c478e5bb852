"""A file of sentences and their translations that grows while a corpus is translated."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_transformer.files import parse_json, read_bytes

# Translations of a corpus may have gigabytes.
_BYTES = 2**36
_KIND = "keras_transformer.translate_corpus"


class TranslationFile:
    """The file of `kt.translate_corpus`.

    Its lines are JSON: first an object with the settings, then a list of a sentence and its
    translation per line, in the order of the corpus. Only the last line can be incomplete, after an
    interruption; it is dropped.

    Args:
        path: Its path.
        settings: What the translations depend on, as JSON allows it.
    """

    def __init__(self, path: str | os.PathLike, settings: dict[str, Any]) -> None:
        self.path = Path(path)
        self.settings = json.loads(json.dumps(settings))

    def resume(self, texts: Sequence[str]) -> list[str]:
        """Returns the translations of the first texts, which the file already has.

        Args:
            texts: All sentences of the corpus.

        Raises:
            ValueError: If the file belongs to other texts or settings.
        """
        if not self.path.exists() or not self.path.stat().st_size:
            self._start()
            return []
        settings, pairs, size = _read(self.path)
        names = {*settings, *self.settings}
        different = sorted(n for n in names if settings.get(n) != self.settings.get(n))
        if different:
            raise ValueError(
                "`file` must hold translations with the same model and settings. "
                f"Received: file={str(self.path)!r}, which differs in {', '.join(different)}."
            )
        for index, (source, _) in enumerate(pairs):
            if index >= len(texts) or source != texts[index]:
                raise ValueError(
                    "`file` must hold translations of the same texts, in their order. "
                    f"Received: file={str(self.path)!r}, whose text {index} is {source!r}."
                )
        os.truncate(self.path, size)
        return [translation for _, translation in pairs]

    def _start(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.unfinished")
        part.write_text(json.dumps({"kind": _KIND, "settings": self.settings}) + "\n", "utf-8")
        os.replace(part, self.path)

    def append(self, sources: Sequence[str], translations: Sequence[str]) -> None:
        """Adds sentences with their translations."""
        lines = [
            json.dumps(pair, ensure_ascii=False) + "\n"
            for pair in zip(sources, translations, strict=True)
        ]
        with open(self.path, "ab") as file:
            file.write("".join(lines).encode())


def read_translations(file: str | os.PathLike) -> tuple[list[str], list[str]]:
    """Reads the sentences and translations that `kt.translate_corpus` has written.

    Args:
        file: The file; it may be incomplete.

    Returns:
        The tuple of N sentences and their N translations.

    Raises:
        ValueError: If it is not such a file.

    Example:
        ```python
        kt.translate_corpus(translator, texts, "back-translated.jsonl")
        sources, translations = kt.read_translations("back-translated.jsonl")
        ```
    """
    _, pairs, _ = _read(Path(file))
    return [source for source, _ in pairs], [translation for _, translation in pairs]


def _read(path: Path) -> tuple[dict[str, Any], list[tuple[str, str]], int]:
    """Returns the settings, the pairs, and the size of the complete lines in bytes."""
    content = read_bytes(path, _BYTES)
    size = content.rfind(b"\n") + 1
    try:
        first, *rest = content[:size].split(b"\n")[:-1]
        head, lines = parse_json(first, path), [parse_json(line, path, list) for line in rest]
        known = head.get("kind") == _KIND and isinstance(head.get("settings"), dict)
        pairs = [(str(source), str(translation)) for source, translation in lines] if known else []
    except ValueError:
        known = False
    if not known:
        raise ValueError(
            "`file` must be new or a file written by `translate_corpus`. "
            f"Received: file={str(path)!r}."
        )
    return head["settings"], pairs, size


def fingerprint_of_weights(model: keras.Model) -> str:
    """Returns a short hash of a model's weights."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in model.weights:
        values = keras.ops.convert_to_numpy(weight)
        digest.update(f"{values.shape} {values.dtype}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
