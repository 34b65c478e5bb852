"""Marian's tokenizers: SentencePiece splits the text, a separate vocabulary gives the ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.interface import SpecialTokenizer, clean_spaces
from keras_transformer.data.tokenizers.sentence_piece import open_sentence_piece
from keras_transformer.data.tokenizers.special_ids import SpecialIds

_SPACE = "\u2581"  # how SentencePiece writes a space


class MarianTokenizer(SpecialTokenizer):
    """The tokenizer of one side of a Marian translation model.

    A SentencePiece model splits the text into pieces, and a vocabulary gives their ids. A
    language code at the start of a text, such as ">>fra<<", is a single token that bypasses
    SentencePiece. Special tokens written in a text, such as "</s>", are encoded as special
    tokens, as in Hugging Face's tokenizer.

    With `language_tokens` it is the tokenizer of a multilingual model such as M2M100, whose texts
    have no language code: `kt.Translator` adds the language tokens.

    Args:
        proto: Content of a SentencePiece model file.
        vocabulary: Mapping from tokens to ids.
        unknown_id: Id of tokens that are not in the vocabulary.
        padding_id: Padding id, or None.
        start_id: Id that decoding starts from, or None.
        end_id: Id of the end of a sentence, or None.
        special_tokens: Tokens of the vocabulary that are never split, and that decode to nothing.
        clean_up_spaces: Whether `detokenize` removes spaces before punctuation.
        vocabulary_size: Number of ids; None for the number that the vocabulary needs. Ids without a
            token decode to nothing.
        language_tokens: Tokens of the vocabulary that name the languages of a multilingual model,
            such as "__fr__". They decode to nothing.
        language_form: Where the model expects them: "source_first" for the source language before
            a source, "source_last" for the source language after a source's end id, or
            "target_first" for the target language before a source. In the first two forms, a
            translation starts with the target language.

    Raises:
        ImportError: If the `text` extra is not installed.
        ValueError: If `proto` is not a SentencePiece model, if `vocabulary` does not give each
            token a distinct id or lacks a special token, or if an id is out of range.

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
        language_tokens: Sequence[str] = (),
        language_form: str = "source_first",
    ) -> None:
        tokens = _by_id(vocabulary)
        ids = SpecialIds(padding_id, unknown_id, start_id, end_id)
        super().__init__(ids, max(tokens, default=-1) + 1, vocabulary_size)
        if unknown_id is None:
            raise ValueError("`unknown_id` must be an integer. Received: unknown_id=None.")
        if isinstance(special_tokens, str):
            raise ValueError(
                "`special_tokens` must be a sequence of strings. "
                f"Received: special_tokens={special_tokens!r}."
            )
        missing = [token for token in special_tokens if token not in vocabulary]
        if missing:
            raise ValueError(
                f"`vocabulary` must contain all `special_tokens`. Received: no {missing}."
            )
        self._unknown = unknown_id
        self.proto = proto
        self.special_tokens = tuple(special_tokens)
        self.clean_up_spaces = bool(clean_up_spaces)
        self._vocabulary = dict(vocabulary)
        self._tokens = tokens
        self._set_languages(language_tokens, language_form, self._vocabulary.get)
        self._model = open_sentence_piece(proto)
        # Longest first, because one may be a prefix of another.
        whole = sorted(filter(None, special_tokens), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, whole)) or r"(?!)")

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return self.cut(texts)

    def cut(self, texts: list[str], **options: Any) -> list[list[int]]:
        """Converts N strings to N lists of ids; `options` go to SentencePiece's `encode`."""
        parts = [self._parts(text) for text in texts]
        # One call for all texts: SentencePiece spreads a batch over the cores.
        cut = [text for row in parts for _, text in row]
        pieces = iter(self._model.encode(cut, out_type=str, **options))
        unknown, get = self._unknown, self._vocabulary.get
        return [
            [get(token, unknown) for whole, _ in row for token in (*whole, *next(pieces))]
            for row in parts
        ]

    def _parts(self, text: str) -> list[tuple[list[str], str]]:
        """Splits a text into pairs of whole tokens and the text that follows them."""
        parts: list[tuple[list[str], str]] = []
        whole: list[str] = []
        position = 0
        for match in self._special.finditer(text):
            parts.append(self._without_code(whole, text[position : match.start()]))
            whole, position = [match[0]], match.end()
        parts.append(self._without_code(whole, text[position:]))
        return parts

    def _without_code(self, whole: list[str], text: str) -> tuple[list[str], str]:
        """Moves a leading language code from the text to the whole tokens."""
        has_code = text.startswith(">>") and not self.languages
        end = text.find("<<") if has_code else -1
        return (whole, text) if end < 0 else ([*whole, text[: end + 2]], text[end + 2 :])

    def detokenize(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """Converts N rows of ids to N strings, dropping special tokens.

        Args:
            rows: N sequences of ids.

        Returns:
            N strings.
        """
        return [self._text(row) for row in rows]

    def _text(self, row: Sequence[int]) -> str:
        hidden = {"", *self.special_tokens, *self.language_tokens}
        special = {self.padding_id, self.start_id, self.end_id, self.unknown_id}
        tokens = [self._tokens.get(int(i), "") for i in row if int(i) not in special]
        # Tokens that are not pieces come back unchanged, with U+2581 for spaces.
        text = self._model.decode_pieces([token for token in tokens if token not in hidden])
        text = text.replace(_SPACE, " ").strip()
        return clean_spaces(text) if self.clean_up_spaces else text

    def id_to_token(self, token_id: int) -> str:
        """Returns the token of an id, or an empty string if it has none."""
        self.check_id(token_id)
        return self._tokens.get(token_id, "")

    def token_to_id(self, token: str) -> int | None:
        """Returns the id of a token, or `unknown_id` if it is not in the vocabulary."""
        return self._vocabulary.get(token, self.unknown_id)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments, except the vocabulary."""
        config: dict[str, Any] = {
            "special_tokens": list(self.special_tokens),
            "language_tokens": list(self.language_tokens),
            "language_form": self.language_form,
        }
        return {**super().get_config(), **config, "clean_up_spaces": self.clean_up_spaces}

    def save_assets(self, folder: str) -> None:
        """Writes `vocabulary.spm` and `vocabulary.json` to a folder."""
        (Path(folder) / "vocabulary.spm").write_bytes(self.proto)
        content = json.dumps(self._vocabulary, ensure_ascii=False, indent=0)
        (Path(folder) / "vocabulary.json").write_text(content, encoding="utf-8")


def _by_id(vocabulary: Mapping[str, int]) -> dict[int, str]:
    """Inverts a vocabulary; raises a ValueError unless its ids are distinct and valid."""
    if not isinstance(vocabulary, Mapping) or not vocabulary:
        raise ValueError(
            "`vocabulary` must be a non-empty mapping from tokens to ids. "
            f"Received: vocabulary={vocabulary!r:.40}."
        )
    tokens: dict[int, str] = {}
    for token, token_id in vocabulary.items():
        is_id = isinstance(token_id, int) and not isinstance(token_id, bool) and token_id >= 0
        if not is_id or token_id in tokens:
            raise ValueError(
                "`vocabulary` must give each token a distinct id, an integer >= 0. "
                f"Received: {token_id!r} for {token!r}."
            )
        tokens[token_id] = token
    return tokens
