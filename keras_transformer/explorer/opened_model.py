"""A model opened in the explorer, with what it needs to read texts or pictures."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_transformer.checks import shortened
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.tokenizer_folder import load_tokenizer
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.explorer.fields import Refused
from keras_transformer.explorer.token_texts import TokenTexts
from keras_transformer.files import folder_in, is_listed, load_keras_model, naming_file, path_in
from keras_transformer.pipelines.folder import read_model
from keras_transformer.pipelines.from_pretrained import open_language_model, open_translator
from keras_transformer.pipelines.languages import is_multilingual
from keras_transformer.pipelines.text_generator import TextGenerator
from keras_transformer.pipelines.translator import Translator
from keras_transformer.pretrained.families.firefox_files import firefox_model
from keras_transformer.pretrained.files import read_json
from keras_transformer.pretrained.gguf_file import find_gguf
from keras_transformer.pretrained.load import load
from keras_transformer.pretrained.tokenizers.load_tokenizer import (
    load_tokenizer as load_foreign_tokenizer,
)

# Maximum tokens of a text if the model itself has no limit: more would be hard to show.
LONGEST = 512
_MASK_TOKENS = ("[MASK]", "<mask>")
_PIPELINES = {"translator.json": Translator, "text_generator.json": TextGenerator}


@dataclasses.dataclass
class OpenedModel:
    """A model opened in the explorer, with its tokenizers.

    Args:
        model: The model.
        title: What it is, shown at the top of the page.
        pipeline: The `kt.Translator` or `kt.TextGenerator`; None for models without a decoder.
        tokenizer: The tokenizer of a model without a decoder; None for pictures.
        examples: Texts to try.
        classes: Names of the classes of a classifier; None for numbers.
        picture_scale: Mean and standard deviation that pictures in [0, 1] are normalized with.
        attribution: Credit to the model's authors, if required.
    """

    model: keras.Model
    title: str
    pipeline: Any = None
    tokenizer: Any = None
    examples: Sequence[str] = ()
    classes: Sequence[str] | None = None
    picture_scale: tuple[float, float] = (0.0, 1.0)
    attribution: str | None = None

    def __post_init__(self) -> None:
        self.layers = {layer.name: layer for layer in self.model.layers}
        self.kind = self._kind()
        self.source_tokenizer = self.target_tokenizer = self.tokenizer
        if isinstance(self.pipeline, Translator):
            self.source_tokenizer = self.pipeline.source_tokenizer
            self.target_tokenizer = self.pipeline.target_tokenizer
            if is_multilingual(self.source_tokenizer):
                raise ValueError(
                    "`model` must be a translator of two languages. Received: a multilingual one, "
                    f"with {len(self.source_tokenizer.languages)} languages."
                )
        elif self.pipeline is not None:
            self.target_tokenizer = self.tokenizer = self.pipeline.tokenizer
        self.parts = None if self.pipeline is None else DecodingModel(self.model)
        self._make_texts()

    def _kind(self):
        if "decoder" in self.layers:
            return "translator" if "encoder" in self.layers else "language_model"
        return "vision" if "patch_embedding" in self.layers else "encoder"

    def _make_texts(self):
        """The texts of the encoder's and the decoder's ids."""
        self.texts: dict[str, TokenTexts] = {}
        if self.parts is not None:
            if self.kind == "translator":
                size = self.parts.source_embedding.vocabulary_size
                self.texts["encoder"] = TokenTexts(self.source_tokenizer, size)
            self.texts["decoder"] = TokenTexts(self.target_tokenizer, self.vocabulary_size)
        elif self.tokenizer is not None:
            self.texts["encoder"] = TokenTexts(self.tokenizer, self.vocabulary_size)

    @property
    def vocabulary_size(self) -> Any:
        """V, the size of the (target) vocabulary; None for pictures."""
        if self.parts is not None:
            return self.parts.vocabulary_size
        embedding = self.layers.get("token_embedding")
        return None if embedding is None else embedding.vocabulary_size

    def embedding(self, stack: str) -> Any:
        """Returns the layer that embeds the ids of a stack."""
        if self.parts is None:
            return self.layers["token_embedding"]
        is_source = stack == "encoder"
        return self.parts.source_embedding if is_source else self.parts.target_embedding

    @property
    def has_masked_lm(self) -> bool:
        """Whether the model fills in masked tokens."""
        return "masked_lm_dense" in self.layers and self.mask_token is not None

    @property
    def mask_token(self) -> str | None:
        """The text of the mask token; None if there is none."""
        if self.kind != "encoder":
            return None
        unknown = special_ids(self.tokenizer).unknown
        known = (one for one in _MASK_TOKENS if self._id_of(one) not in (None, unknown))
        return next(known, None)

    @property
    def mask_id(self) -> int | None:
        """The id of the mask token."""
        return None if self.mask_token is None else self._id_of(self.mask_token)

    def _id_of(self, token):
        try:
            return self.tokenizer.token_to_id(token)
        except (KeyError, ValueError):  # tokenizers of keras-hub raise
            return None

    def limit(self, stack: str) -> int | None:
        """Returns the number of positions of a stack; None if there is no limit."""
        if self.parts is not None:
            return self.parts.source_max_length if stack == "encoder" else self.parts.max_length
        encoder = self.layers.get("encoder")
        own = getattr(encoder, "positional_encoding", None)
        return getattr(self.layers.get("positional_encoding", own), "max_length", None)

    def check_length(self, name: str, stack: str, count: int) -> None:
        """Raises a ValueError if a text has more tokens than the model or the page can take."""
        limit = self.limit(stack)
        most = LONGEST if limit is None else min(limit, LONGEST)
        if count > most:
            whose, code = "of the model", "longer_than_the_model"
            if most != limit:
                whose, code = "of the page", "longer_than_the_page"
            raise Refused(
                f"`{name}` must have at most {most} tokens, the limit {whose}. "
                f"Received: a text of {count} tokens.",
                code,
                most=most,
                count=count,
            )


def open_model(path: str | os.PathLike) -> OpenedModel:
    """Opens a folder or file with a model of any kind.

    Args:
        path: A folder written by `kt.Translator.save` or `kt.TextGenerator.save`; a folder with
            `model.keras`, or a `.keras` file, with its tokenizers in the folders `tokenizer` or
            `source_tokenizer` and `target_tokenizer` next to it; or a checkpoint that
            `kt.pretrained.load` reads, such as a GGUF file.

    Returns:
        The model.

    Raises:
        ValueError: If there is no such folder, or it holds no model or no tokenizer.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"`folder` must exist. Received: folder={str(path)!r}.")
    title = path.resolve().name if path.is_dir() else path.stem
    with naming_file(path):
        return _open(path, title)


def _open(path, title):
    if path.is_file() and find_gguf(path) is None:
        return _open_keras(load_keras_model(path), path.parent, title)
    for name, pipeline in _PIPELINES.items():
        if is_listed(path_in(path, name)):
            opened = pipeline.load(path)  # type: ignore[attr-defined]
            return OpenedModel(opened.model, title, opened)
    if is_listed(path / "model.keras"):
        return _open_keras(read_model(path), path, title)
    checkpoints = (firefox_model, find_gguf)
    if is_listed(path / "config.json") or any(find(path) is not None for find in checkpoints):
        return _open_checkpoint(path, title)
    raise ValueError(
        "`folder` must contain a model: translator.json, text_generator.json, model.keras, the "
        f"config.json of a checkpoint, or a GGUF file. Received: folder={str(path)!r}."
    )


def _open_keras(model, folder, title):
    layers = {layer.name for layer in model.layers}
    if "patch_embedding" in layers:
        return OpenedModel(model, title)
    if not layers & {"encoder", "decoder"}:
        raise ValueError(
            "`folder` must contain a model of this library, with a layer named `encoder` or "
            f"`decoder`. Received: {model.name!r}, with the layers {sorted(layers)}."
        )
    if {"encoder", "decoder"} <= layers:
        source = load_tokenizer(_first(folder, "source_tokenizer", "tokenizer"))
        target = load_tokenizer(_first(folder, "target_tokenizer", "source_tokenizer", "tokenizer"))
        return OpenedModel(model, title, Translator(model, source, target))
    tokenizer = load_tokenizer(_first(folder, "tokenizer"))
    if "decoder" in layers:
        return OpenedModel(model, title, TextGenerator(model, tokenizer))
    return OpenedModel(model, title, tokenizer=tokenizer)


def _first(folder, *names):
    found = [folder / name for name in names if (folder / name).is_dir()]
    if not found:
        raise ValueError(
            f"`folder` must contain a tokenizer in a folder named {' or '.join(names)}, as "
            f"kt.data.save_tokenizer writes it. Received: folder={str(folder)!r}."
        )
    return folder_in(folder, found[0].name)


def _open_checkpoint(path, title):
    model = load(path)
    layers = {layer.name for layer in model.layers}
    if {"encoder", "decoder"} <= layers:
        opened = open_translator(path, model)
        translator = Translator(
            model,
            opened.source_tokenizer,
            opened.target_tokenizer,
            defaults=opened.defaults,
            shortlist=opened.shortlist,
        )
        return OpenedModel(model, title, translator)
    if "decoder" in layers:
        _, tokenizer, banned_ids, defaults, _ = open_language_model(path, model)
        generator = TextGenerator(model, tokenizer, banned_ids=banned_ids, defaults=defaults)
        return OpenedModel(model, title, generator)
    if "patch_embedding" in layers:
        return _open_vision(path, title, model)
    return OpenedModel(model, title, tokenizer=load_foreign_tokenizer(path))


def _open_vision(path, title, model):
    names = read_json(path / "config.json").get("id2label") or {}
    if not isinstance(names, dict):
        raise ValueError(
            f"`id2label` in {path / 'config.json'} must be an object. Received: {shortened(names)}."
        )
    return OpenedModel(
        model,
        title,
        classes=[str(names.get(str(index), index)) for index in range(len(names))] or None,
        picture_scale=_picture_scale(path),
    )


def _picture_scale(path):
    """Mean and standard deviation of a checkpoint's pictures, by default those of ViT."""
    file = path / "preprocessor_config.json"
    settings = read_json(file) if is_listed(file) else {}
    with naming_file(file):
        mean, deviation = (settings.get(key, [0.5])[0] for key in ("image_mean", "image_std"))
        return float(mean), float(deviation)
