"""Export of the tokenizers of multilingual models to the files of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.hugging_face import HuggingFaceTokenizer
from keras_transformer.data.tokenizers.marian_tokenizer import MarianTokenizer
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.tokenizers.export_parts import tokens_of, write_json
from keras_transformer.pretrained.tokenizers.language_codes import M2M100, WMT21
from keras_transformer.pretrained.tokenizers.write_marian_tokenizer import write_marian_tokenizer


def write_m2m_tokenizer(tokenizers: tuple[Any, ...], config: Config, folder: Path) -> None:
    """Writes the tokenizer of a pre-LN translator.

    A multilingual tokenizer is written for its class: `M2M100Tokenizer`, `NllbTokenizer`, or that
    of SMaLL-100, which is not part of transformers. Without languages, the tokenizers are written
    for `MarianTokenizer`.

    Args:
        tokenizers: One, or those of source and target.
        config: The model's config.
        folder: The folder to write to.

    Raises:
        ValueError: If source and target differ for a multilingual model, or the ids of the
            languages are not those of the class.
    """
    own = tokenizers[0]
    if not any(getattr(one, "languages", None) for one in tokenizers):
        write_marian_tokenizer(tokenizers, config, folder)
        return
    if any(one is not own for one in tokenizers):
        raise ValueError(
            "`tokenizer` must be a single tokenizer for a multilingual model. "
            f"Received: {len(tokenizers)} different ones."
        )
    content = _nllb(own, folder) if isinstance(own, HuggingFaceTokenizer) else _m2m(own, folder)
    ids = special_ids(own)
    named = {
        "unk_token": own.id_to_token(ids.unknown),  # type: ignore[arg-type]  # loaded with all
        "eos_token": own.id_to_token(config.values["eos_token_id"]),
        "pad_token": own.id_to_token(config.values["pad_token_id"]),
    }
    write_json(folder / "tokenizer_config.json", {**content, **named})


def _m2m(own: MarianTokenizer, folder: Path) -> dict[str, Any]:
    """Writes the pieces and the vocabulary. Returns the settings."""
    languages = dict(zip(own.language_tokens, own.languages.values(), strict=True))
    vocabulary = {token: i for token, i in tokens_of(own).items() if token not in languages}
    start = len(vocabulary)
    lists = {"m2m100": M2M100, "wmt21": WMT21}
    names = [name for name, codes in lists.items() if codes == [*own.languages]]
    follows = [*languages.values()] == [*range(start, start + len(languages))]
    if not names or not follows or own.language_form == "source_last":
        raise ValueError(
            "`tokenizer` must have the language tokens of M2M100 after its vocabulary, or be "
            "loaded from a tokenizer.json. Received: "
            f"{len(languages)} languages from id {min(languages.values())} on, a vocabulary of "
            f"{start}. Export only the weights with `tokenizer=None`."
        )
    (folder / "sentencepiece.bpe.model").write_bytes(own.proto)
    write_json(folder / "vocab.json", vocabulary)
    is_small = own.language_form == "target_first"
    listed = [token for token in own.special_tokens if token in languages]
    return {
        "tokenizer_class": "SMALL100Tokenizer" if is_small else "M2M100Tokenizer",
        "language_codes": names[0],
        # The language tokens that are special tokens when they occur in a text.
        "additional_special_tokens": listed,
    }


def _nllb(own: HuggingFaceTokenizer, folder: Path) -> dict[str, Any]:
    """Writes the tokenizer.json. Returns the settings."""
    own.save_assets(str(folder))
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    flags = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    return {
        "tokenizer_class": "NllbTokenizer",
        "legacy_behaviour": own.language_form == "source_last",
        "split_special_tokens": own.split_special_tokens,
        # With these, the ids do not depend on the order in which tokens are added.
        "added_tokens_decoder": {
            str(token["id"]): {flag: token[flag] for flag in flags}
            for token in content["added_tokens"]
        },
        "extra_special_tokens": list(own.language_tokens),
    }
