"""Tokenizers that use a SentencePiece model's own ids, run without keras-hub."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.interface import SpecialTokenizer
from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.data.tokenizers.text_packages import import_text_package


def open_sentence_piece(proto: bytes) -> Any:
    """Loads a SentencePiece model from the content of its file.

    Args:
        proto: Content of the file.

    Returns:
        A `sentencepiece.SentencePieceProcessor`.

    Raises:
        ImportError: If the `text` extra is not installed.
        ValueError: If `proto` is not a SentencePiece model.
    """
    sentencepiece = import_text_package("sentencepiece")
    problem = "`proto` must be the content of a SentencePiece model file, as bytes."
    # SentencePiece accepts empty bytes, with only a warning and no vocabulary.
    if not isinstance(proto, bytes) or not proto:
        raise ValueError(f"{problem} Received: proto={proto!r:.40}.")
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=proto)
    except RuntimeError as error:
        raise ValueError(f"{problem} Received: proto={proto!r:.40}.") from error


class SentencePieceTokenizer(SpecialTokenizer):
    """A tokenizer that uses a SentencePiece model's own ids.

    Unlike keras-hub's tokenizer of the same name, it knows which ids are special, since these
    differ between models. Special pieces written in a text, such as "</s>", are treated as plain
    text.

    Args:
        proto: Content of a SentencePiece model file (`.spm`, `.model`).
        padding_id: Padding id; None for the model's own, if any.
        start_id: Id of the start of a sentence; None for the model's own, if any.
        end_id: Id of the end of a sentence; None for the model's own, if any.
        unknown_id: Id of text without a piece; None for the model's own.
        vocabulary_size: Number of ids; None for the number that pieces and special ids need. Ids
            beyond the pieces decode to nothing.

    Raises:
        ImportError: If the `text` extra is not installed.
        ValueError: If `proto` is not a SentencePiece model, if it has more pieces than
            `vocabulary_size`, or if a special id is outside the vocabulary.

    Example:
        >>> import keras_transformer as kt
        >>> proto = kt.data.train_tokenizer(["a cat", "a dog"], vocabulary_size=11).proto
        >>> tokenizer = kt.data.SentencePieceTokenizer(proto, start_id=11)
        >>> tokenizer.vocabulary_size(), tokenizer.start_id, tokenizer.end_id
        (12, 11, 3)
        >>> tokenizer.detokenize(tokenizer(["a cat", "a dog"]))
        ['a cat', 'a dog']

    Reference:
        Kudo and Richardson, "SentencePiece" (2018).
    """

    def __init__(
        self,
        proto: bytes,
        padding_id: int | None = None,
        start_id: int | None = None,
        end_id: int | None = None,
        unknown_id: int | None = None,
        vocabulary_size: int | None = None,
    ) -> None:
        model = open_sentence_piece(proto)
        given = (padding_id, unknown_id, start_id, end_id)
        own = (model.pad_id(), model.unk_id(), model.bos_id(), model.eos_id())
        ids = (
            (theirs if theirs >= 0 else None) if value is None else value
            for value, theirs in zip(given, own, strict=True)
        )
        super().__init__(SpecialIds(*ids), model.vocab_size(), vocabulary_size)
        self.proto = proto
        self._model = model

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return self.cut(texts)

    def cut(self, texts: list[str], **options: Any) -> list[list[int]]:
        """Converts N strings to N lists of ids; `options` go to SentencePiece's `encode`."""
        return self._model.encode(texts, out_type=int, **options)

    def detokenize(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """Converts N rows of ids to N strings, dropping start, end and padding.

        Args:
            rows: N sequences of ids.

        Returns:
            N strings.
        """
        pieces = self._model.vocab_size()
        hidden = {self.padding_id, self.start_id, self.end_id}
        return [
            self._model.decode_ids([int(i) for i in row if i < pieces and i not in hidden])
            for row in rows
        ]

    def id_to_token(self, token_id: int) -> str:
        """Returns the piece of an id, or an empty string for an id beyond the pieces."""
        self.check_id(token_id)
        return self._model.id_to_piece(token_id) if token_id < self._model.vocab_size() else ""

    def token_to_id(self, token: str) -> int | None:
        """Returns the id of a piece, or `unknown_id` if the model does not have it."""
        token_id = self._model.piece_to_id(token)
        return self.unknown_id if token_id == self._model.unk_id() else token_id

    def save_assets(self, folder: str) -> None:
        """Writes the model to `vocabulary.spm` in a folder."""
        (Path(folder) / "vocabulary.spm").write_bytes(self.proto)
