"""SentencePiece tokenisers as the files of transformers' `MarianTokenizer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.tokenizer_files import sentencepiece_of, write_json


def write_marian_tokenizer(tokenizers: tuple[Any, ...], config: Config, folder: Path) -> None:
    """Writes source.spm, target.spm, the vocabularies and tokenizer_config.json.

    The vocabulary has SentencePiece's own ids, so that ids are those of `kt.data.encode` with its
    end.

    Args:
        tokenizers: one, or those of source and target.
        config: the model's config.
        folder: where to.
    """
    source, target = (sentencepiece_of(one) for one in (tokenizers[0], tokenizers[-1]))
    protos = [tokenizers[0].proto, tokenizers[-1].proto]
    pieces = [_pieces(one) for one in (source, target)]
    is_shared = protos[0] == protos[1]
    for name, proto in zip(("source.spm", "target.spm"), protos, strict=True):
        (folder / name).write_bytes(proto)
    write_json(folder / "vocab.json", _ids(pieces[0]))
    if not is_shared:
        write_json(folder / "target_vocab.json", _ids(pieces[1]))
    names = {
        "unk_token": pieces[1][target.unk_id()],
        "eos_token": pieces[1][config.values["eos_token_id"]],
        "pad_token": pieces[1][config.values["pad_token_id"]],
    }
    for name, piece in names.items():
        if _ids(pieces[0]).get(piece) != _ids(pieces[1])[piece]:
            raise ValueError(
                "The tokenisers of source and target must have the same special pieces. Received: "
                f"{name}={piece!r} with the ids {_ids(pieces[0]).get(piece)} and "
                f"{_ids(pieces[1])[piece]}."
            )
    content = {
        "tokenizer_class": "MarianTokenizer",
        "model_max_length": 512,
        "separate_vocabs": not is_shared,
        **names,
    }
    write_json(folder / "tokenizer_config.json", content)


def _pieces(processor):
    return [processor.id_to_piece(index) for index in range(processor.get_piece_size())]


def _ids(pieces):
    return {piece: index for index, piece in enumerate(pieces)}
