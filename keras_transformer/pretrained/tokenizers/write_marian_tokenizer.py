"""Export of SentencePiece tokenizers to the files of transformers' `MarianTokenizer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.marian_tokenizer import MarianTokenizer
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.tokenizers.export_parts import (
    sentencepiece_of,
    tokens_of,
    write_json,
)


def write_marian_tokenizer(tokenizers: tuple[Any, ...], config: Config, folder: Path) -> None:
    """Writes source.spm, target.spm, the vocabularies and tokenizer_config.json.

    The vocabulary keeps the tokenizer's ids, so `MarianTokenizer` gives the ids of `kt.data.encode`
    with `end=True`.

    Args:
        tokenizers: One, or those of source and target; SentencePiece or Marian tokenizers.
        config: The model's config.
        folder: The folder to write to.
    """
    for one in tokenizers:
        if not isinstance(one, MarianTokenizer):
            sentencepiece_of(one)
    vocabularies = [tokens_of(tokenizers[0]), tokens_of(tokenizers[-1])]
    is_shared = vocabularies[0] == vocabularies[1]
    for name, one in zip(
        ("source.spm", "target.spm"), (tokenizers[0], tokenizers[-1]), strict=True
    ):
        (folder / name).write_bytes(one.proto)
    write_json(folder / "vocab.json", vocabularies[0])
    if not is_shared:
        write_json(folder / "target_vocab.json", vocabularies[1])
    ids = {
        "unk_token": special_ids(tokenizers[-1]).unknown,
        "eos_token": config.values["eos_token_id"],
        "pad_token": config.values["pad_token_id"],
    }
    names = {name: tokenizers[-1].id_to_token(token_id) for name, token_id in ids.items()}
    for name, token in names.items():
        found = [vocabulary.get(token) for vocabulary in vocabularies]
        if found[0] != found[1] or token == "":
            raise ValueError(
                "The tokenizers of source and target must have the same special pieces. Received: "
                f"{name}={token!r} with the ids {found[0]} and {found[1]}."
            )
    content = {
        "tokenizer_class": "MarianTokenizer",
        "model_max_length": 512,
        "separate_vocabs": not is_shared,
        "clean_up_tokenization_spaces": bool(getattr(tokenizers[-1], "clean_up_spaces", False)),
        **names,
    }
    write_json(folder / "tokenizer_config.json", content)
