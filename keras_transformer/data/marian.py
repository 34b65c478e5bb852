"""Marian's tokenizers: SentencePiece cuts the text, a table of its own gives the ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_transformer.data.base import SpecialTokenizer, clean_spaces
from keras_transformer.data.sentence_piece import open_sentence_piece
from keras_transformer.data.special_ids import SpecialIds

_SPACE = "\u2581"  # how SentencePiece writes a space


class MarianTokenizer(SpecialTokenizer):
    """The tokenizer of one side of a Marian translation model.

    A SentencePiece model cuts the text into pieces, a vocabulary gives their ids. A language code
    at the beginning of a text, such as ">>fra<<", is one token, which SentencePiece does not see.
    A special token that a text spells out, such as "</s>", is that token, as in Hugging Face's
    tokenizer.

    Args:
        proto: Content of a SentencePiece model's file.
        vocabulary: The id of each token.
        unknown_id: Id of what has no other.
        padding_id: Id that fills unused positions, None for none.
        start_id: Id that a translation starts from, None for none.
        end_id: Id of the end of a sentence, None for none.
        special_tokens: Tokens of the vocabulary that are not cut where a text spells them out, and
            that have no text.
        clean_up_spaces: Whether `detokenize` takes out spaces before punctuation.
        vocabulary_size: Number of ids; None for as many as the vocabulary needs. An id without a
            token has no text.

    Raises:
        ImportError: If the `text` extra is not installed.
        ValueError: If `proto` is no SentencePiece model, if `vocabulary` is not one id for each
            token, if it lacks a special token, or if an id is out of range.

    Example:
        >>> import keras_transformer as kt
        >>> trained = kt.data.train_tokenizer(["a cat", "a dog"], vocabulary_size=11)
        >>> tokens = ["</s>", "<unk>", ">>fra<<", *trained.get_vocabulary()[4:], "<pad>"]
        >>> vocabulary = {token: index for index, token in enumerate(tokens)}
        >>> tokenizer = kt.data.MarianTokenizer(
        ...     trained.proto, vocabulary, unknown_id=1, padding_id=10, start_id=10, end_id=0)
        >>> (row,) = kt.data.encode(tokenizer, [">>fra<< a cat"], end=True)
        >>> row[0], row[-1], kt.data.decode(tokenizer, [row[1:]])
        (2, 0, ['a cat'])

    Reference:
        Junczys-Dowmunt et al., "Marian: Fast Neural Machine Translation in C++" (2018).
    """

    def __init__(
        self,
        proto: bytes,
        vocabulary: Mapping[str, int],
        unknown_id: int,
        padding_id: int | None = None,
        start_id: int | None = None,
        end_id: int | None = None,
        special_tokens: Sequence[str] = ("</s>", "<unk>", "<pad>"),
        clean_up_spaces: bool = False,
        vocabulary_size: int | None = None,
    ) -> None:
        tokens = _by_id(vocabulary)
        ids = SpecialIds(padding_id, unknown_id, start_id, end_id)
        super().__init__(ids, max(tokens, default=-1) + 1, vocabulary_size)
        if unknown_id is None:
            raise ValueError("`unknown_id` must be an integer. Received: unknown_id=None")
        if isinstance(special_tokens, str):
            raise ValueError(
                "`special_tokens` must be a sequence of strings. "
                f"Received: special_tokens={special_tokens!r}"
            )
        missing = [token for token in special_tokens if token not in vocabulary]
        if missing:
            raise ValueError(
                f"`vocabulary` must hold all special tokens. Received: none of {missing}"
            )
        self._unknown = unknown_id
        self.proto = proto
        self.special_tokens = tuple(special_tokens)
        self.clean_up_spaces = bool(clean_up_spaces)
        self._vocabulary = dict(vocabulary)
        self._tokens = tokens
        self._model = open_sentence_piece(proto)
        # The longest first, as one may begin another.
        whole = sorted(filter(None, special_tokens), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, whole)) or r"(?!)")

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return self.cut(texts)

    def cut(self, texts: list[str], **options: Any) -> list[list[int]]:
        """Turns N strings into N lists of ids; `options` as those of SentencePiece's `encode`."""
        parts = [self._parts(text) for text in texts]
        # One call for all: SentencePiece spreads a batch over the cores.
        cut = [text for row in parts for _, text in row]
        pieces = iter(self._model.encode(cut, out_type=str, **options))
        unknown, get = self._unknown, self._vocabulary.get
        return [
            [get(token, unknown) for whole, _ in row for token in (*whole, *next(pieces))]
            for row in parts
        ]

    def _parts(self, text: str) -> list[tuple[list[str], str]]:
        """Whole tokens, and the text after each of them that is to be cut."""
        parts: list[tuple[list[str], str]] = []
        whole: list[str] = []
        position = 0
        for match in self._special.finditer(text):
            parts.append(_without_code(whole, text[position : match.start()]))
            whole, position = [match[0]], match.end()
        parts.append(_without_code(whole, text[position:]))
        return parts

    def detokenize(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """Turns N rows of ids into N strings; special tokens have no text.

        Args:
            rows: N sequences of integers.

        Returns:
            N strings.
        """
        return [self._text(row) for row in rows]

    def _text(self, row: Sequence[int]) -> str:
        hidden = {"", *self.special_tokens}
        special = {self.padding_id, self.start_id, self.end_id, self.unknown_id}
        tokens = [self._tokens.get(int(i), "") for i in row if int(i) not in special]
        # What is no piece comes back as it is, with its signs for spaces.
        text = self._model.decode_pieces([token for token in tokens if token not in hidden])
        text = text.replace(_SPACE, " ").strip()
        return clean_spaces(text) if self.clean_up_spaces else text

    def id_to_token(self, token_id: int) -> str:
        """Returns the token of an id, an empty string for one without."""
        self.check_id(token_id)
        return self._tokens.get(token_id, "")

    def token_to_id(self, token: str) -> int | None:
        """Returns the id of a token, `unknown_id` where there is no such token."""
        return self._vocabulary.get(token, self.unknown_id)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make it again, without the vocabulary."""
        config = {"special_tokens": list(self.special_tokens)}
        return {**super().get_config(), **config, "clean_up_spaces": self.clean_up_spaces}

    def save_assets(self, folder: str) -> None:
        """Writes `vocabulary.spm` and `vocabulary.json` into a folder."""
        (Path(folder) / "vocabulary.spm").write_bytes(self.proto)
        content = json.dumps(self._vocabulary, ensure_ascii=False, indent=0)
        (Path(folder) / "vocabulary.json").write_text(content, encoding="utf-8")


def _by_id(vocabulary: Mapping[str, int]) -> dict[int, str]:
    """The token of each id."""
    if not isinstance(vocabulary, Mapping) or not vocabulary:
        raise ValueError(
            "`vocabulary` must map tokens to ids, at least one. "
            f"Received: a {type(vocabulary).__name__}, empty or no mapping"
        )
    tokens: dict[int, str] = {}
    for token, token_id in vocabulary.items():
        is_id = isinstance(token_id, int) and not isinstance(token_id, bool) and token_id >= 0
        if not is_id or token_id in tokens:
            raise ValueError(
                "`vocabulary` must give each token an id of its own, an integer of at least 0. "
                f"Received: {token_id!r} for {token!r}"
            )
        tokens[token_id] = token
    return tokens


def _without_code(whole: list[str], text: str) -> tuple[list[str], str]:
    """Moves a language code from the beginning of a text to the whole tokens."""
    end = text.find("<<") if text.startswith(">>") else -1
    return (whole, text) if end < 0 else ([*whole, text[: end + 2]], text[end + 2 :])
