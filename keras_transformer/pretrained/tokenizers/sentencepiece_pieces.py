"""SentencePiece models, run by the package tokenizers."""

from __future__ import annotations

import re
from typing import Any

from keras_transformer.data.tokenizers.text_packages import SPACE, import_text_package


def tokenizer_from_pieces(proto: Any) -> Any:
    """Converts a SentencePiece model to a `tokenizers.Tokenizer` with the same ids.

    Args:
        proto: A `ModelProto` of a unigram or BPE model.

    Returns:
        The `tokenizers.Tokenizer`. Control and unknown pieces are its special tokens.
    """
    tokenizers = import_text_package("tokenizers")
    of_type: dict[int, list[str]] = {kind: [] for kind in range(7)}
    for piece in proto.pieces:
        of_type[piece.type].append(piece.piece)
    pieces = proto.SentencePiece
    symbols = of_type[pieces.USER_DEFINED]
    is_bpe = proto.trainer_spec.model_type == proto.trainer_spec.BPE
    result = tokenizers.Tokenizer((_bpe if is_bpe else _unigram)(tokenizers, proto))
    result.normalizer = tokenizers.normalizers.Sequence(_normalizers(tokenizers, proto))
    if is_bpe and symbols:
        longest_first = sorted(map(re.escape, symbols), key=len, reverse=True)
        pattern = tokenizers.Regex("|".join(longest_first))
        result.pre_tokenizer = tokenizers.pre_tokenizers.Split(pattern, "isolated")
    decoders = tokenizers.decoders
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if proto.normalizer_spec.add_dummy_prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    result.decoder = decoders.Sequence(steps)
    special = [*of_type[pieces.CONTROL], *of_type[pieces.UNKNOWN]]
    result.add_special_tokens([tokenizers.AddedToken(name, normalized=False) for name in special])
    return result


def _normalizers(tokenizers, proto):
    normalizers, spec = tokenizers.normalizers, proto.normalizer_spec
    steps = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(tokenizers.Regex(" {2,}"), " ")]
        steps += [normalizers.Replace(tokenizers.Regex("^ | $"), "")]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend(SPACE))
    return [*steps, normalizers.Replace(" ", SPACE)]


def _unigram(tokenizers, proto):
    scores = [piece.score for piece in proto.pieces]
    vocabulary = []
    for piece, score in zip(proto.pieces, scores, strict=True):
        if piece.type == piece.USER_DEFINED:
            # As in SentencePiece, they always score best.
            score = len(piece.piece.encode()) * (max(scores) + 100.0)
        vocabulary.append((piece.piece, score))
    return tokenizers.models.Unigram(
        vocabulary, proto.trainer_spec.unk_id, proto.trainer_spec.byte_fallback
    )


def _bpe(tokenizers, proto):
    ids = {piece.piece: index for index, piece in enumerate(proto.pieces)}
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == piece.NORMAL}
    merges = []
    for piece in scores:
        splits = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        merges += [(one, two) for one, two in splits if one in scores and two in scores]
    # Better pieces are merged earlier; the order of a piece's splits makes no difference.
    merges.sort(key=lambda pair: (-scores["".join(pair)], ids[pair[0]], ids[pair[1]]))
    return tokenizers.models.BPE(
        ids,
        merges,
        unk_token=proto.pieces[proto.trainer_spec.unk_id].piece,
        fuse_unk=True,
        byte_fallback=proto.trainer_spec.byte_fallback,
        ignore_merges=any(piece.type == piece.USER_DEFINED for piece in proto.pieces),
    )
