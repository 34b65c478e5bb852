"""The special tokens of a folder in the Hugging Face format."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from keras_transformer.checks import shortened
from keras_transformer.files import is_listed
from keras_transformer.pretrained.files import read_json

# New tokens get their ids in this order.
_NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_FLAGS = {"lstrip": bool, "rstrip": bool, "normalized": bool, "single_word": bool, "special": bool}


class Token(NamedTuple):
    """A token that is never split.

    Attributes:
        content: Its text.
        flags: Its other properties, arguments of `tokenizers.AddedToken`.
        token_id: Its id, None if only its text is given.
    """

    content: str
    flags: dict[str, bool]
    token_id: int | None = None

    @property
    def is_special(self) -> bool:
        """Whether the token decodes to nothing."""
        return self.flags.get("special", True)


class TokenFiles:
    """The settings and special tokens of a folder.

    They are read from `tokenizer_config.json` and, if that does not list the added tokens, as in
    older folders, from `special_tokens_map.json` and `added_tokens.json`; each may be missing.

    Args:
        folder: The folder.
        defaults: Special tokens of the architecture, by name.

    Raises:
        ValueError: If a file is damaged, or holds an invalid token.
    """

    def __init__(self, folder: Path, defaults: dict[str, str]):
        self.folder = folder
        self.path = folder / "tokenizer_config.json"
        self.settings = _optional(self.path)
        named = {name: self.settings.get(f"{name}_token") for name in _NAMES}
        known = "added_tokens_decoder" in self.settings
        older = {} if known else _optional(folder / "special_tokens_map.json")
        named |= {name: older[f"{name}_token"] for name in _NAMES if f"{name}_token" in older}
        self.added = self._added(known)
        by_content = {token.content: token for token in self.added}
        self.named: dict[str, Token] = {}
        self.defaults: dict[str, Token] = {}
        for name, value in named.items():
            if value is not None:
                token = self._token(value)
                self.named[name] = by_content.get(token.content, token)
            elif name in defaults and f"{name}_token" not in {**self.settings, **older}:
                self.defaults[name] = Token(defaults[name], {"special": True})
        self.extra = self._extra({**self.settings, **older})
        if not known:
            self.added += self._older_added()

    def flag(self, name: str, default: bool | None) -> bool | None:
        """Returns a setting of tokenizer_config.json that is true, false or null."""
        value = self.settings.get(name, default)
        if value is not None and not isinstance(value, bool):
            raise ValueError(
                f"`{name}` in {self.path} must be true or false. Received: {shortened(value)}."
            )
        return value

    def _token(self, value: Any, token_id: int | None = None) -> Token:
        content = value.get("content") if isinstance(value, dict) else value
        if not isinstance(content, str) or not content:
            raise ValueError(
                f"The tokens in {self.path} must be strings. Received: {shortened(value)}."
            )
        # Listed tokens state whether they are special; named ones always are.
        flags = {"special": token_id is None}
        if isinstance(value, dict):
            flags |= {name: value[name] for name in _FLAGS if isinstance(value.get(name), bool)}
        if token_id is None:
            flags["special"] = True
        return Token(content, flags, token_id)

    def _added(self, known: bool) -> list[Token]:
        listed = self.settings["added_tokens_decoder"] if known else {}
        if not isinstance(listed, dict) or not all(map(_is_id, listed)):
            raise ValueError(
                f"`added_tokens_decoder` in {self.path} must map ids to tokens. "
                f"Received: {shortened(listed)}."
            )
        return [self._token(listed[key], int(key)) for key in sorted(listed, key=int)]

    def _extra(self, settings: dict[str, Any]) -> list[Token]:
        for name in ("extra_special_tokens", "additional_special_tokens"):
            values = settings.get(name) or []
            values = list(values.values()) if isinstance(values, dict) else values
            if not isinstance(values, list):
                raise ValueError(
                    f"`{name}` in {self.path} must be a list of tokens. "
                    f"Received: {shortened(values)}."
                )
            if values:
                return [self._token(value) for value in values]
        return []

    def _older_added(self) -> list[Token]:
        path = self.folder / "added_tokens.json"
        special = {token.content for token in (*self.named.values(), *self.extra)}
        special |= {token.content for token in self.defaults.values()}
        added = []
        for content, token_id in _optional(path).items():
            if isinstance(token_id, bool) or not isinstance(token_id, int):
                raise ValueError(
                    f"`{path}` must map tokens to ids. Received: {shortened(token_id)}."
                )
            is_special = content in special
            flags = {"special": is_special, "normalized": not is_special}
            added.append(Token(content, flags, token_id))
        return sorted(added, key=lambda token: token.token_id or 0)


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if is_listed(path) else {}


def _is_id(key: str) -> bool:
    return key.isdecimal() and len(key) <= 10
