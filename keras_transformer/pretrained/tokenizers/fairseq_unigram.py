"""XLM-RoBERTa's tokenizer: SentencePiece's unigram pieces, with fairseq's ids in front."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.text_packages import (
    SPACE,
    import_text_package,
    sentencepiece_proto,
)
from keras_transformer.files import naming_file
from keras_transformer.pretrained.tokenizers.special_tokens import TokenFiles
from keras_transformer.pretrained.tokenizers.vocabulary_files import read_proto

FILE = "sentencepiece.bpe.model"
SPECIAL = {
    **{"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>"},
    **{"pad": "<pad>", "cls": "<s>", "mask": "<mask>"},
}
# fairseq's ids begin with these four tokens, SentencePiece's with only three of them, so each
# piece's id is one higher than in the file.
_FIRST = ("<s>", "<pad>", "</s>", "<unk>")
_PIECES = ("<unk>", "<s>", "</s>")
_UNKNOWN_ID = 3


def from_pieces(files: TokenFiles) -> Any:
    """Builds the tokenizer of a folder from its SentencePiece model.

    Args:
        files: The folder's tokens and settings.

    Returns:
        A `tokenizers.Tokenizer`.

    Raises:
        ValueError: If the file is not such a model, or has user-defined symbols.
    """
    path = files.folder / FILE
    proto = read_pieces(path)
    names = tuple(piece.piece for piece in proto.pieces[:3])
    if names != _PIECES:
        raise ValueError(f"`{path}` must begin with the pieces {_PIECES}. Received: {names}.")
    symbols = [piece.piece for piece in proto.pieces if piece.type == piece.USER_DEFINED]
    if symbols:
        raise ValueError(f"`{path}` must not define symbols. Received: {symbols[:8]}.")
    package = import_text_package("tokenizers")
    pieces = [(piece.piece, piece.score) for piece in proto.pieces[3:]]
    vocabulary = [*((name, 0.0) for name in _FIRST), *pieces, ("<mask>", 0.0)]
    with naming_file(path):
        result = package.Tokenizer(package.models.Unigram(vocabulary, _UNKNOWN_ID, False))
    charsmap = proto.normalizer_spec.precompiled_charsmap
    if charsmap:
        result.normalizer = character_map(path, charsmap)
    dress(files, result)
    return result


def character_map(path: Path, charsmap: bytes) -> Any:
    """Returns the normalizer with the character map of a SentencePiece model.

    Args:
        path: The file, for messages.
        charsmap: The map.

    Returns:
        A `tokenizers.normalizers.Precompiled`.

    Raises:
        ValueError: If the map is damaged.
    """
    with naming_file(path):
        return import_text_package("tokenizers").normalizers.Precompiled(charsmap)


def read_pieces(path: Path) -> Any:
    """Reads the file of a SentencePiece unigram model.

    Args:
        path: The file.

    Returns:
        Its `ModelProto`.

    Raises:
        ValueError: If it is another file, or another kind of model.
    """
    proto = sentencepiece_proto()
    content = read_proto(path)
    try:
        proto.ParseFromString(content)
    except Exception as error:  # protobuf has its own exception types
        raise ValueError(f"`{path}` must be a SentencePiece model. Received: {error}.") from error
    if proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM:
        raise ValueError(
            f"`{path}` must be a unigram model. Received: another SentencePiece model."
        )
    return proto


def empty_model(files: TokenFiles) -> Any:
    """Returns a unigram model with fairseq's unknown id."""
    unigram = import_text_package("tokenizers").models.Unigram
    return unigram([(name, 0.0) for name in _FIRST], _UNKNOWN_ID, False)


def dress(files: TokenFiles, tokenizer: Any, class_name: str = "XLMRobertaTokenizer") -> None:
    """Sets the steps around the model as transformers does: only the character map is read.

    Args:
        files: The folder's tokens and settings.
        tokenizer: The `tokenizers.Tokenizer`, changed in place.
        class_name: Its class in transformers, for error messages.

    Raises:
        ValueError: If it has parts that the tokenizers of its class do not have.
    """
    package = import_text_package("tokenizers")
    content = json.loads(tokenizer.to_str())
    _check_pre_tokenizer(files, content["pre_tokenizer"], class_name)
    precompiled = _precompiled(files, content["normalizer"], class_name)
    if precompiled is None:
        tokenizer.normalizer = None
    elif content["normalizer"]["type"] != "Precompiled":
        # The steps after it only merge spaces, which the pre-tokenizer drops.
        content["normalizer"] = precompiled
        tokenizer.normalizer = package.Tokenizer.from_str(json.dumps(content)).normalizer
    scheme = "always" if files.flag("add_prefix_space", True) else "never"
    spaces = package.pre_tokenizers
    tokenizer.pre_tokenizer = spaces.Sequence(
        [spaces.WhitespaceSplit(), spaces.Metaspace(SPACE, scheme)]
    )
    tokenizer.decoder = package.decoders.Metaspace(SPACE, scheme)


def _parts(part: Any, key: str) -> list[dict[str, Any]]:
    """Returns the parts of a `Sequence`; any other part as the only one."""
    if part is None:
        return []
    return list(part[key]) if part["type"] == "Sequence" else [part]


def _precompiled(files, normalizer, class_name):
    precompiled = None
    for part in _parts(normalizer, "normalizers"):
        if part["type"] == "Precompiled" and precompiled is None:
            precompiled = part
        elif part["type"] != "Replace" or part["pattern"] != {"Regex": " {2,}"}:
            raise ValueError(
                f"The normalizer in {files.folder / 'tokenizer.json'} must be a character map, as "
                f"in {class_name}. Received: {part['type']}."
            )
    return precompiled


def _check_pre_tokenizer(files, pre_tokenizer, class_name):
    parts = _parts(pre_tokenizer, "pretokenizers")
    kinds = [part["type"] for part in parts]
    known = kinds in ([], ["Metaspace"], ["WhitespaceSplit", "Metaspace"])
    if not known or (parts and parts[-1]["replacement"] != SPACE):
        raise ValueError(
            f"The pre_tokenizer in {files.folder / 'tokenizer.json'} must consist of "
            f"WhitespaceSplit and Metaspace, as in {class_name}. Received: {kinds}."
        )
