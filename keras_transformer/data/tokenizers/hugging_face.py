"""Tokenizers defined by a `tokenizer.json`, run by the package `tokenizers`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.interface import SpecialTokenizer, clean_spaces
from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.data.tokenizers.text_packages import import_text_package


class HuggingFaceTokenizer(SpecialTokenizer):
    """A tokenizer defined by the content of a `tokenizer.json`.

    Supports every model of the package `tokenizers`: byte-level BPE, GPT-1's BPE, WordPiece,
    Unigram. Special tokens written in a text, such as "[SEP]", are encoded as special tokens. A
    lowercasing tokenizer decodes to lowercase.

    Args:
        content: Content of a `tokenizer.json`. Its padding, truncation and added start and end
            tokens are ignored, because `kt.data` handles these.
        padding_id: Padding id, or None.
        start_id: Id of the start of a sentence, or None.
        end_id: Id of the end of a sentence, or None.
        unknown_id: Id of unknown tokens, or None.
        clean_up_spaces: Whether `detokenize` removes spaces before punctuation.
        vocabulary_size: Number of ids; None for the number that the vocabulary needs. Ids without a
            token decode to nothing.
        split_special_tokens: Whether special tokens written in a text are split like other text.
        language_tokens: Tokens of the vocabulary that name the languages of a multilingual model,
            such as "fra_Latn".
        language_form: Where the model expects them: "source_first" for the source language before
            a source, "source_last" for the source language after a source's end id, or
            "target_first" for the target language before a source. In the first two forms, a
            translation starts with the target language.
        chat_template: Jinja template that renders a conversation as one text, see
            `kt.data.render_chat`; None for none.
        template_tokens: Special tokens by the names that the template uses, such as
            `{"eos_token": "</s>"}`; None for none.
        add_start: Whether the prompts of a language model start with `start_id`, which
            `kt.TextGenerator` then adds.

    Raises:
        ImportError: If the `text` extra is not installed.
        ValueError: If `content` is not that of a `tokenizer.json`, or an id is out of range.

    Example:
        >>> import tokenizers
        >>> import keras_transformer as kt
        >>> words = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "the": 3, "cat": 4, "##s": 5}
        >>> theirs = tokenizers.Tokenizer(tokenizers.models.WordPiece(words, unk_token="[UNK]"))
        >>> theirs.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        >>> tokenizer = kt.data.HuggingFaceTokenizer(
        ...     theirs.to_str(), start_id=1, end_id=2, unknown_id=0)
        >>> kt.data.encode(tokenizer, ["the cats"], start=True, end=True)
        [[1, 3, 4, 5, 2]]
    """

    def __init__(
        self,
        content: str,
        padding_id: int | None = None,
        start_id: int | None = None,
        end_id: int | None = None,
        unknown_id: int | None = None,
        clean_up_spaces: bool = False,
        vocabulary_size: int | None = None,
        split_special_tokens: bool = False,
        language_tokens: Sequence[str] = (),
        language_form: str = "source_first",
        chat_template: str | None = None,
        template_tokens: dict[str, str] | None = None,
        add_start: bool = False,
    ) -> None:
        tokenizers = import_text_package("tokenizers")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(content)
        except Exception as error:  # the package raises bare Exceptions
            raise ValueError(
                "`content` must be the content of a tokenizer.json. "
                f"Received: content={content!r:.40} ({error})."
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.split_special_tokens = bool(split_special_tokens)
        self._tokenizer.encode_special_tokens = self.split_special_tokens
        num_tokens = max(self._tokenizer.get_vocab().values(), default=-1) + 1
        ids = SpecialIds(padding_id, unknown_id, start_id, end_id)
        super().__init__(ids, num_tokens, vocabulary_size)
        self.clean_up_spaces = bool(clean_up_spaces)
        self._set_languages(language_tokens, language_form, self._tokenizer.token_to_id)
        self.chat_template = chat_template
        self.template_tokens = dict(template_tokens or {})
        self.add_start = bool(add_start) and start_id is not None

    def _encode(self, texts: list[str]) -> list[list[int]]:
        encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encoded]

    def detokenize(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """Converts N rows of ids to N strings, dropping special tokens.

        Args:
            rows: N sequences of ids.

        Returns:
            N strings.
        """
        special = {self.padding_id, self.start_id, self.end_id, *self.languages.values()}
        kept = [[int(i) for i in row if int(i) not in special] for row in rows]
        texts = self._tokenizer.decode_batch(kept, skip_special_tokens=True)
        return [clean_spaces(text) for text in texts] if self.clean_up_spaces else texts

    def id_to_token(self, token_id: int) -> str:
        """Returns the token of an id, or an empty string if it has none."""
        self.check_id(token_id)
        return self._tokenizer.id_to_token(token_id) or ""

    def token_to_id(self, token: str) -> int | None:
        """Returns the id of a token, or `unknown_id` if it is not in the vocabulary."""
        token_id = self._tokenizer.token_to_id(token)
        return self.unknown_id if token_id is None else token_id

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments, except the vocabulary."""
        return {
            **super().get_config(),
            "clean_up_spaces": self.clean_up_spaces,
            "split_special_tokens": self.split_special_tokens,
            "language_tokens": list(self.language_tokens),
            "language_form": self.language_form,
            "chat_template": self.chat_template,
            "template_tokens": self.template_tokens,
            "add_start": self.add_start,
        }

    def save_assets(self, folder: str) -> None:
        """Writes `tokenizer.json` to a folder."""
        content = self._tokenizer.to_str(pretty=True)
        (Path(folder) / "tokenizer.json").write_text(content, encoding="utf-8")
