"""T5's tokenizer: SentencePiece's unigram pieces, then the sentinels of its training."""

from __future__ import annotations

import functools
import re
from typing import Any

from keras_transformer.checks import is_integer, shortened
from keras_transformer.data.tokenizers.text_packages import import_text_package
from keras_transformer.pretrained.tokenizers import fairseq_unigram
from keras_transformer.pretrained.tokenizers.special_tokens import TokenFiles
from keras_transformer.pretrained.tokenizers.tokenizers_from_files import Kind, accepted

_CLASS = "T5Tokenizer"
_MOST_SENTINELS = 10_000
_LANGUAGE = r"<2[a-z]{2,3}(_[A-Za-z]+)*>"


def _num_sentinels(files: TokenFiles) -> int:
    number = files.settings.get("extra_ids", 100)
    if not is_integer(number) or not 0 <= number <= _MOST_SENTINELS:
        raise ValueError(
            f"`extra_ids` in {files.path} must be a number of tokens, at most {_MOST_SENTINELS}. "
            f"Received: {shortened(number)}."
        )
    return number


def _from_pieces(files: TokenFiles) -> Any:
    """Builds the tokenizer of a folder from its SentencePiece model."""
    path = files.folder / "spiece.model"
    proto, package = fairseq_unigram.read_pieces(path), import_text_package("tokenizers")
    sentinels = [f"<extra_id_{index}>" for index in reversed(range(_num_sentinels(files)))]
    vocabulary = [(piece.piece, piece.score) for piece in proto.pieces]
    vocabulary += [(name, 0.0) for name in sentinels]
    model = package.models.Unigram
    unknown_id, has_bytes = proto.trainer_spec.unk_id, proto.trainer_spec.byte_fallback
    result = package.Tokenizer(accepted(path, lambda: model(vocabulary, unknown_id, has_bytes)))
    charsmap = proto.normalizer_spec.precompiled_charsmap
    if charsmap:
        result.normalizer = fairseq_unigram.character_map(path, charsmap)
    _dress(files, result)
    result.add_special_tokens([package.AddedToken(name, normalized=False) for name in sentinels])
    # A symbol is never split, even where it touches a word.
    symbols = [piece.piece for piece in proto.pieces if piece.type == piece.USER_DEFINED]
    result.add_tokens([package.AddedToken(name, normalized=False) for name in symbols])
    return result


def _empty_model(files: TokenFiles) -> Any:
    return import_text_package("tokenizers").models.Unigram([("<unk>", 0.0)], 0, False)


_dress = functools.partial(fairseq_unigram.dress, class_name=_CLASS)

T5 = Kind(
    _CLASS,
    {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"},
    ("spiece.model",),
    _from_pieces,
    _empty_model,
    _dress,
    {"model": {"vocab", "unk_id"}, "decoder": {"prepend_scheme", "split"}},
)


def language_tokens(tokenizer: Any) -> list[str]:
    """Returns the tokens of target languages, such as MADLAD-400's "<2de>".

    Args:
        tokenizer: The `tokenizers.Tokenizer`.

    Returns:
        The tokens by id; none unless a text can start with them as single ids.
    """

    def ids(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    vocabulary = tokenizer.get_vocab()
    tokens = [token for token in vocabulary if re.fullmatch(_LANGUAGE, token)]
    tokens.sort(key=vocabulary.__getitem__)
    return tokens if all(ids(f"{t} a") == [vocabulary[t], *ids("a")] for t in tokens) else []
