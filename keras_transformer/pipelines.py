"""Text in, text out: models with their tokenisers, in one folder on disk."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_transformer.data.storage import load_tokenizer, save_tokenizer
from keras_transformer.data.tokenizers import (
    END_ID,
    PADDING_ID,
    START_ID,
    UNKNOWN_ID,
    decode,
    encode,
)
from keras_transformer.decoding.generate import generate
from keras_transformer.decoding.protocol import DecodingModel

_KIND = "keras_transformer.Translator"
_FORMAT = 1


class Translator:
    """A translation model together with the tokenisers of its two languages.

    Args:
        model: a model as `kt.models.transformer` builds it.
        source_tokenizer: a tokeniser as `kt.data.train_tokenizer` makes it (ids 0 to 3 are padding,
            unknown, start and end).
        target_tokenizer: the target's, where it is not the same.

    Raises:
        ValueError: the model has no encoder, or a tokeniser knows more ids than the model.

    Example:
        >>> import keras_transformer as kt
        >>> texts = ["the cat sat on the mat", "the dog sat on the log"]
        >>> tokenizer = kt.data.train_tokenizer(texts, vocabulary_size=20, model_type="bpe")
        >>> model = kt.models.transformer(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> len(kt.Translator(model, tokenizer).translate(["the cat", "the dog"]))
        2
    """

    def __init__(self, model: keras.Model, source_tokenizer: Any, target_tokenizer: Any = None):
        parts = DecodingModel(model)
        if not parts.is_translator:
            raise ValueError(
                "`model` must have a layer named `encoder`. "
                f"Received: a model without, named {model.name!r}."
            )
        self.model = model
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer or source_tokenizer
        for name, tokenizer, embedding in (
            ("source_tokenizer", self.source_tokenizer, parts.source_embedding),
            ("target_tokenizer", self.target_tokenizer, parts.target_embedding),
        ):
            if tokenizer.vocabulary_size() > embedding.vocabulary_size:
                raise ValueError(
                    f"`{name}` must not know more ids than the model. Received: "
                    f"{tokenizer.vocabulary_size()} ids for a vocabulary of "
                    f"{embedding.vocabulary_size}."
                )

    def translate(
        self,
        texts: str | Sequence[str],
        max_new_tokens: int | None = None,
        batch_size: int = 64,
        verbose: int = 0,
    ) -> Any:
        """Translates sentences with greedy decoding.

        Args:
            texts: sentences, or one sentence.
            max_new_tokens: the most sub-words of a translation; by default 50 more than the longest
                source of its batch has, as in the paper.
            batch_size: sentences that are translated together. They are sorted by length first and
                handed back in the order given.
            verbose: 1 shows a progress bar.

        Returns:
            A list of translations, or one string for one string.

        Raises:
            ValueError: no texts, an item that is no string, or one that is blank; it is named.

        Reference:
            Vaswani et al. 2017, "Attention Is All You Need", section 6.1 (the length limit).
        """
        if isinstance(texts, str):
            return self.translate([texts], max_new_tokens, batch_size)[0]
        texts = list(texts)
        _check_texts(texts)
        sources = encode(self.source_tokenizer, texts, end=True)
        order = sorted(range(len(texts)), key=lambda index: len(sources[index]))
        results: list[str] = [""] * len(texts)
        progress = keras.utils.Progbar(len(texts), verbose=verbose, unit_name="sentence")
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            ids = self._generate([sources[index] for index in chosen], max_new_tokens)
            for index, text in zip(chosen, decode(self.target_tokenizer, ids), strict=True):
                results[index] = text
            progress.add(len(chosen))
        return results

    def _generate(self, sources, max_new_tokens):
        # A power of two of rows: what was compiled for one batch serves the next.
        rows = 1 << (len(sources) - 1).bit_length()
        ids = generate(
            self.model,
            sources + [sources[-1]] * (rows - len(sources)),
            max_new_tokens or max(map(len, sources)) + 50,
            stop_ids=(END_ID,),
            start_id=START_ID,
            banned_ids=(PADDING_ID, UNKNOWN_ID, START_ID),
        )
        return ids[: len(sources)]

    def save(self, folder: str | os.PathLike) -> None:
        """Writes `model.keras`, the tokenisers and `translator.json` to a folder.

        The folder is written beside its place and moved there when it is complete, so that an
        earlier one survives a failure. The optimizer is left out: save the model itself to go on
        training exactly where it stopped.

        Args:
            folder: a new folder, or one that holds a translator, which is replaced.

        Raises:
            ValueError: the folder holds something else.
        """
        folder = Path(folder)
        if folder.exists() and not _is_replaceable(folder):
            raise ValueError(
                "`folder` must be new, empty or hold a translator. "
                f"Received: folder={str(folder)!r}, which holds something else."
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            self._write(work / "new")
            if folder.exists():
                folder.rename(work / "old")
            (work / "new").rename(folder)
        except BaseException:
            if (work / "old").exists() and not folder.exists():
                (work / "old").rename(folder)
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _write(self, folder):
        folder.mkdir()
        # Not keras.models.clone_model, which would take the optimizer along.
        clone = type(self.model).from_config(self.model.get_config())
        clone.set_weights(self.model.get_weights())
        clone.save(folder / "model.keras")
        shared = self.target_tokenizer is self.source_tokenizer
        save_tokenizer(self.source_tokenizer, folder / "source_tokenizer")
        if not shared:
            save_tokenizer(self.target_tokenizer, folder / "target_tokenizer")
        description = {"kind": _KIND, "format": _FORMAT, "shared_tokenizer": shared}
        (folder / "translator.json").write_text(json.dumps(description, indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Translator:
        """Opens a folder that `save` wrote, on any backend.

        Args:
            folder: the folder.

        Returns:
            A `Translator`.

        Raises:
            ValueError: a file is missing, foreign or damaged; it is named.
        """
        folder = Path(folder)
        description = _read_description(folder / "translator.json")
        source = load_tokenizer(folder / "source_tokenizer")
        shared = description["shared_tokenizer"]
        target = source if shared else load_tokenizer(folder / "target_tokenizer")
        path = folder / "model.keras"
        if not path.is_file():
            raise ValueError(f"`folder` must hold the file model.keras. Received: no {path}.")
        try:
            model = keras.models.load_model(path, compile=False)
        except Exception as error:
            raise ValueError(
                f"`folder` must hold a Keras model in model.keras. Received: {path}, which does "
                f"not open: {error}"
            ) from error
        return cls(model, source, target)


def _check_texts(texts):
    if not texts:
        raise ValueError("`texts` must hold at least one sentence. Received: an empty list.")
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(
                f"`texts` must hold strings that are not blank. Received: texts[{index}]={text!r}."
            )


def _is_replaceable(folder):
    return folder.is_dir() and ((folder / "translator.json").is_file() or not any(folder.iterdir()))


def _read_description(path):
    if not path.is_file():
        raise ValueError(
            f"`folder` must hold the file {path.name}, as Translator.save writes it. "
            f"Received: no {path}."
        )
    try:
        description = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"`{path}` must be a JSON file. Received: {error}.") from error
    known = isinstance(description, dict) and description.get("kind") == _KIND
    if not known or not isinstance(description.get("shared_tokenizer"), bool):
        raise ValueError(f"`{path}` must describe a translator. Received: {description!r}.")
    if description.get("format") != _FORMAT:
        raise ValueError(
            f"`{path}` must have format {_FORMAT}; a newer library may have written it. "
            f"Received: format={description.get('format')!r}."
        )
    return description
