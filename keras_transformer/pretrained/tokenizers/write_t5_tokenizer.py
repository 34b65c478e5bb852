"""Writing the tokenizer of a T5 model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.text_packages import import_text_package
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.files import read_json
from keras_transformer.pretrained.tokenizers.export_parts import write_json
from keras_transformer.pretrained.tokenizers.write_tokenizer_json import write_tokenizer_json


def write_t5_tokenizer(tokenizers: tuple[Any, ...], config: Config, folder: Path) -> None:
    """Writes tokenizer.json, which adds the end token to each text, and tokenizer_config.json.

    Args:
        tokenizers: The tokenizer of both source and target.
        config: The model's config.
        folder: The folder to write to.

    Raises:
        ValueError: If there are two tokenizers, or `write_tokenizer_json` cannot write one.
    """
    if len(tokenizers) != 1:
        raise ValueError(
            "`tokenizer` must be a single tokenizer for a T5 model, which has one vocabulary. "
            f"Received: {len(tokenizers)} tokenizers."
        )
    write_tokenizer_json(tokenizers, config, folder)
    path, package = str(folder / "tokenizer.json"), import_text_package("tokenizers")
    tokenizer, end_id = package.Tokenizer.from_file(path), config.values["eos_token_id"]
    end = tokenizer.id_to_token(end_id)
    tokenizer.post_processor = package.processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, end_id)]
    )
    tokenizer.save(path)
    # The start token begins translations, not texts.
    settings = read_json(folder / "tokenizer_config.json")
    settings.pop("bos_token", None)
    write_json(folder / "tokenizer_config.json", settings)
