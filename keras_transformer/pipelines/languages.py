"""The languages of a multilingual translator."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_transformer.pipelines.defaults import DecodingDefaults

_NAMES = ("source_language", "target_language")
# Their names in transformers' tokenizer_config.json.
_KEYS = {"source_language": "src_lang", "target_language": "tgt_lang"}


class LanguageIds(NamedTuple):
    """The ids that specify the languages of a translation.

    Attributes:
        before: Ids before a source.
        after: Ids after a source and its end token.
        prefix: The first ids of a translation.
    """

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    prefix: tuple[int, ...] = ()

    def sources(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """Adds these ids to encoded sources, which include their end token."""
        return [[*self.before, *row, *self.after] for row in rows]


def is_multilingual(*tokenizers: Any) -> bool:
    """Returns whether tokenizers have language tokens."""
    return any(getattr(tokenizer, "languages", None) for tokenizer in tokenizers)


def language_ids(source: Any, target: Any, defaults: DecodingDefaults) -> LanguageIds:
    """Returns the ids that specify the languages of a translation.

    Args:
        source: The source tokenizer.
        target: The target tokenizer.
        defaults: The options, with the languages.

    Raises:
        ValueError: If a language is missing or unknown, or given for tokenizers without languages.
    """
    check_languages(source, target, defaults)
    if not is_multilingual(source, target):
        return LanguageIds()
    only_target = source.language_form == "target_first"
    for name in _NAMES[only_target:]:
        if getattr(defaults, name) is None:
            raise ValueError(
                f"`{name}` must be given, in the call or in `translator.defaults`, because the "
                f"model is multilingual. Received: {name}=None."
            )
    to = (target.languages[defaults.target_language],)
    if only_target:
        return LanguageIds(before=(source.languages[defaults.target_language],))
    own = (source.languages[defaults.source_language],)
    if source.language_form == "source_last":
        return LanguageIds(after=own, prefix=to)
    return LanguageIds(before=own, prefix=to)


def check_languages(source: Any, target: Any, defaults: DecodingDefaults) -> None:
    """Raises a ValueError unless the tokenizers support the given languages."""
    for name, tokenizer in zip(_NAMES, (source, target), strict=True):
        code, languages = getattr(defaults, name), getattr(tokenizer, "languages", {})
        if code is None:
            continue
        if not languages:
            raise ValueError(
                f"`{name}` must be None, because the tokenizers have no languages. "
                f"Received: {name}={code!r}."
            )
        if name == "source_language" and tokenizer.language_form == "target_first":
            raise ValueError(
                f"`{name}` must be None, because the model reads only the target language. "
                f"Received: {name}={code!r}."
            )
        if code not in languages:
            raise ValueError(
                f"`{name}` must be one of the {len(languages)} languages of the tokenizer, such as "
                f"{_near(code, languages)}. Received: {name}={code!r}."
            )


def _near(code: Any, languages: dict[str, int]) -> list[str]:
    """Returns the codes most similar to an unknown one, or the first few if none is similar."""
    code = str(code)
    near = difflib.get_close_matches(code, languages, n=4, cutoff=0.5)
    near += [one for one in languages if one.lower().startswith(code.lower()[:2])]
    return list(dict.fromkeys(near or languages))[:6]


def default_languages(
    tokenizer: Any, settings: dict[str, Any], forced_start_id: int | None
) -> dict[str, Any]:
    """Returns the default languages of a checkpoint, by the names of the options.

    Args:
        tokenizer: The tokenizer.
        settings: Content of tokenizer_config.json.
        forced_start_id: The id that all translations start with, if any.

    Raises:
        ValueError: If `forced_start_id` is not the id of a language.
    """
    if not is_multilingual(tokenizer):
        return {}
    named = {name: settings.get(key) for name, key in _KEYS.items()}
    # transformers names English as the source even for a tokenizer that does not support it.
    named = {name: code for name, code in named.items() if code in tokenizer.languages}
    if tokenizer.language_form == "target_first":
        named.pop("source_language", None)
    if forced_start_id is not None:
        codes = {token_id: code for code, token_id in tokenizer.languages.items()}
        if forced_start_id not in codes or tokenizer.language_form == "target_first":
            raise ValueError(
                "`forced_bos_token_id` must be the id of a language. "
                f"Received: forced_bos_token_id={forced_start_id}."
            )
        named["target_language"] = codes[forced_start_id]
    return named
