"""Loading the tokenizers of multilingual translation models: M2M100, SMaLL-100 and NLLB."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.hugging_face import HuggingFaceTokenizer
from keras_transformer.data.tokenizers.marian_tokenizer import MarianTokenizer
from keras_transformer.data.tokenizers.sentence_piece import open_sentence_piece
from keras_transformer.data.tokenizers.text_packages import import_text_package
from keras_transformer.files import is_listed
from keras_transformer.pretrained.files import read_json
from keras_transformer.pretrained.generation import read_generation
from keras_transformer.pretrained.tokenizers.language_codes import M2M100, NLLB, WMT21
from keras_transformer.pretrained.tokenizers.special_tokens import Token, TokenFiles
from keras_transformer.pretrained.tokenizers.tokenizers_from_files import (
    Kind,
    accepted,
    add_tokens,
    ids_of,
    open_tokenizer,
)
from keras_transformer.pretrained.tokenizers.vocabulary_files import (
    check_plain_settings,
    larger_size,
    read_proto,
    with_special_tokens,
)

_PIECES = "sentencepiece.bpe.model"
_NAMES = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>"}
_NLLB_NAMES = {**_NAMES, "cls": "<s>", "mask": "<mask>"}
_NLLB_LANGUAGE = r"[a-z]{2,3}_[A-Z][a-z]{3}"
_SPACE = "\u2581"


def tokenizer_class(folder: Path, config: dict[str, Any]) -> str:
    """Returns the name of a tokenizer's class in transformers, without "Fast".

    Args:
        folder: The folder.
        config: Content of its config.json.
    """
    path = folder / "tokenizer_config.json"
    settings = read_json(path) if is_listed(path) else {}
    named = settings.get("tokenizer_class") or config.get("tokenizer_class") or "M2M100Tokenizer"
    return str(named).removesuffix("Fast")


def load_m2m_tokenizer(folder: Path, config: dict[str, Any]) -> Any:
    """Loads the tokenizer of a multilingual model, for source and target.

    Args:
        folder: The folder.
        config: Content of its config.json.

    Returns:
        A tokenizer with `languages`.

    Raises:
        ValueError: If a file is missing or damaged, or the class of the tokenizer is unknown.
    """
    name = tokenizer_class(folder, config)
    if name not in _CLASSES:
        known = sorted([*_CLASSES, "MarianTokenizer"])
        raise ValueError(
            f"`tokenizer_class` in {folder / 'tokenizer_config.json'} must be one of {known} for "
            f"m2m_100. Received: {name!r:.200}."
        )
    return _CLASSES[name](folder, config)


def _special_ids(folder: Path, config: dict[str, Any], own: dict[str, int]) -> dict[str, Any]:
    """Returns the special ids, by argument name, from the settings and the tokens by name."""
    settings = read_generation(folder, is_multilingual=True)
    start = config.get("decoder_start_token_id", own["eos"])
    return {
        "unknown_id": own["unk"],
        "padding_id": own["pad"],
        "start_id": start if settings.start_id is None else settings.start_id,
        "end_id": own["eos"] if settings.end_id is None else settings.end_id,
    }


# === M2M100 and SMaLL-100 ===


def _m2m(
    folder: Path, config: dict[str, Any], language_form: str = "source_first"
) -> MarianTokenizer:
    files, path = TokenFiles(folder, _NAMES), folder / "vocab.json"
    check_plain_settings(files)
    vocabulary = ids_of(path)
    languages = [f"__{code}__" for code in _codes(files)]
    # They follow the vocabulary; the words after them only fill up the embedding matrix.
    vocabulary |= {token: len(vocabulary) + index for index, token in enumerate(languages)}
    named = {**files.defaults, **files.named}
    special = (*named.values(), *files.added, *files.extra)
    vocabulary = with_special_tokens(vocabulary, special, path)
    return _sentence_piece(folder, config, vocabulary, special, named, languages, language_form)


def _small(folder: Path, config: dict[str, Any]) -> MarianTokenizer:
    return _m2m(folder, config, "target_first")


def _codes(files: TokenFiles) -> list[str]:
    name = files.settings.get("language_codes") or "m2m100"
    lists = {"m2m100": M2M100, "wmt21": WMT21}
    if name not in lists:
        raise ValueError(
            f"`language_codes` in {files.path} must be one of {sorted(lists)}. Received: {name!r}."
        )
    return lists[name]


def _sentence_piece(folder, config, vocabulary, special, named, languages, form) -> MarianTokenizer:
    path = folder / _PIECES
    own = {name: vocabulary[token.content] for name, token in named.items()}
    proto, ids = read_proto(path), _special_ids(folder, config, own)
    return accepted(
        path,
        lambda: MarianTokenizer(
            proto,
            vocabulary,
            **ids,
            special_tokens=list(dict.fromkeys(token.content for token in special)),
            vocabulary_size=larger_size(config.get("vocab_size"), max(vocabulary.values()) + 1),
            language_tokens=languages,
            language_form=form,
        ),
    )


# === NLLB ===


def _nllb(folder: Path, config: dict[str, Any]) -> Any:
    files = TokenFiles(folder, _NLLB_NAMES)
    form = "source_last" if files.flag("legacy_behaviour", False) else "source_first"
    inner = open_tokenizer(files, _NLLB_KIND)
    if inner is None:
        return _nllb_from_pieces(files, config, form)
    named = add_tokens(files, inner)
    missing = sorted({*_NAMES} - {*named})
    if missing:
        raise ValueError(
            f"The tokenizer in {folder} must have the special tokens {_NAMES}. "
            f"Received: no {missing}."
        )
    tokens = inner.get_added_tokens_decoder().values()
    return HuggingFaceTokenizer(
        inner.to_str(),
        **_special_ids(folder, config, named),
        vocabulary_size=larger_size(
            config.get("vocab_size"), max(inner.get_vocab().values(), default=-1) + 1
        ),
        split_special_tokens=bool(files.flag("split_special_tokens", False)),
        language_tokens=[t.content for t in tokens if re.fullmatch(_NLLB_LANGUAGE, t.content)],
        language_form=form,
    )


def _nllb_from_pieces(files: TokenFiles, config: dict[str, Any], form: str) -> MarianTokenizer:
    """Builds the tokenizer of a folder without a tokenizer.json.

    Four tokens of fairseq come first, three of which replace SentencePiece's, then the pieces, the
    languages and `<mask>`. (transformers 5 gives `<mask>` the id of the first language, and gives
    no id to languages that the folder does not list.)
    """
    check_plain_settings(files)
    path = files.folder / _PIECES
    proto = read_proto(path)
    pieces = accepted(path, lambda: open_sentence_piece(proto))
    size = pieces.get_piece_size()
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *map(pieces.id_to_piece, range(3, size))]
    listed = [token.content for token in (*files.extra, *files.added)]
    languages = [token for token in listed if re.fullmatch(_NLLB_LANGUAGE, token)] or NLLB
    tokens += [*languages, "<mask>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    named = {**files.defaults, **files.named}
    named.pop("mask", None)  # it strips spaces, and no translation has it
    special = [t for t in (*named.values(), *files.added, *files.extra) if t.content != "<mask>"]
    known = {token.content for token in special}
    special += [Token(token, {"special": True}) for token in languages if token not in known]
    vocabulary = with_special_tokens(vocabulary, special, path)
    return _sentence_piece(files.folder, config, vocabulary, special, named, languages, form)


def _dress_nllb(files: TokenFiles, tokenizer: Any) -> None:
    """Sets the steps around the model as transformers does: only the character map is read."""
    package = import_text_package("tokenizers")
    normalizer = json.loads(tokenizer.to_str())["normalizer"] or {}
    steps = normalizer.get("normalizers", [normalizer])
    kinds, own = [step.get("type") for step in steps], tokenizer.normalizer
    if "Precompiled" in kinds:
        characters = own[kinds.index("Precompiled")] if "normalizers" in normalizer else own
        collapse = package.normalizers.Replace(package.Regex(" {2,}"), " ")
        tokenizer.normalizer = package.normalizers.Sequence([characters, collapse])
    else:
        tokenizer.normalizer = None
    marks = {"replacement": _SPACE, "prepend_scheme": "always", "split": True}
    tokenizer.pre_tokenizer = package.pre_tokenizers.Metaspace(**marks)
    tokenizer.decoder = package.decoders.Metaspace(**marks)


def _empty_nllb(files: TokenFiles) -> Any:
    unknown = files.named.get("unk", files.defaults.get("unk"))
    models = import_text_package("tokenizers").models
    return models.BPE(unk_token=None if unknown is None else unknown.content, fuse_unk=True)


_ALL = {"type", "normalizers", "precompiled_charsmap", "pattern", "content", "pretokenizers"}
_ALL |= {"replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"}
_NLLB_KIND = Kind(
    "NllbTokenizer",
    _NLLB_NAMES,
    ("tokenizer.json",),  # without it, the SentencePiece model is used directly
    lambda files: None,
    _empty_nllb,
    _dress_nllb,
    {
        "model": {"vocab", "merges"},
        "normalizer": _ALL,
        "pre_tokenizer": _ALL,
        "decoder": _ALL,
    },
)
_CLASSES = {"M2M100Tokenizer": _m2m, "SMALL100Tokenizer": _small, "NllbTokenizer": _nllb}
