"""The tokenizers that the package `tokenizers` runs, from tokenizer.json or from older files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from keras_transformer.data.packages import import_text_package
from keras_transformer.pretrained.files import read_json
from keras_transformer.pretrained.token_files import TokenFiles


class Kind(NamedTuple):
    """How the tokenizer of an architecture is built.

    Attributes:
        class_name: what transformers calls it.
        defaults: its special tokens, where the folder names none.
        files: the files that older folders have, without a tokenizer.json.
        build: makes a `tokenizers.Tokenizer` from them.
        model: makes a model without a vocabulary, of the options that all of them have.
        dress: gives a `tokenizers.Tokenizer` its normalizer, pre-tokenizer and decoder, as the
            settings of the folder say.
        said: which of their values those settings say, or make no difference to ids and texts.
    """

    class_name: str
    defaults: dict[str, str]
    files: tuple[str, ...]
    build: Callable[[TokenFiles], Any]
    model: Callable[[TokenFiles], Any]
    dress: Callable[[TokenFiles, Any], None]
    said: dict[str, set[str]]


# Classes of transformers that take tokenizer.json as it is.
_PLAIN = ("PreTrainedTokenizerFast", "PreTrainedTokenizer", "TokenizersBackend")


def read_kind(folder: Path, config: dict[str, Any], usual: Kind) -> tuple[TokenFiles, Kind, bool]:
    """Reads how a folder wants its tokenizer to be made.

    Args:
        folder: the folder.
        config: its config.json.
        usual: the kind of its architecture.

    Returns:
        What the folder says of its tokens, the kind, and whether a tokenizer.json counts as it is,
        without the settings beside it.

    Raises:
        ValueError: it is of a class that is not known.
    """
    files = TokenFiles(folder, usual.defaults)
    named = files.settings.get("tokenizer_class") or config.get("tokenizer_class")
    if named is None:
        return files, usual, False
    if named in _PLAIN:
        return TokenFiles(folder, {}), usual, True
    for kind in KINDS.values():
        if named in (kind.class_name, f"{kind.class_name}Fast"):
            return TokenFiles(folder, kind.defaults), kind, False
    known = sorted([*_PLAIN, *(kind.class_name for kind in KINDS.values())])
    raise ValueError(f"`tokenizer_class` in {folder} must be one of {known}. Received: {named!r}.")


def open_tokenizer(files: TokenFiles, kind: Kind, plain: bool = False) -> Any:
    """Opens the tokenizer of a folder.

    As with transformers, tokenizer_config.json says whether text is lower-cased and the like, even
    where tokenizer.json says something else; unless the folder asks for a plain tokenizer.json.

    Args:
        files: what the folder says of its tokens.
        kind: what it is to be.
        plain: whether a tokenizer.json counts as it is.

    Returns:
        A `tokenizers.Tokenizer`, or None where there are no files for one.

    Raises:
        ValueError: a file is damaged, or tokenizer.json describes something that its class is not;
            it is named.
    """
    path = files.folder / "tokenizer.json"
    if path.is_file():
        content = _text(path)
        inner = accepted(path, lambda: _tokenizers().Tokenizer.from_str(content))
        if not plain:
            _check_parts(path, inner, files, kind)
            kind.dress(files, inner)
        return inner
    if all((files.folder / name).is_file() for name in kind.files):
        if kind.class_name == "BertTokenizer" and files.flag("do_basic_tokenize", True) is False:
            raise ValueError(
                f"`do_basic_tokenize` in {files.path} must be true: nothing else is supported. "
                "Received: False."
            )
        return kind.build(files)
    return None


def _check_parts(path, inner, files, kind):
    """Refuses a tokenizer.json that is not of its class, but for what the settings say."""
    usual = _tokenizers().Tokenizer(kind.model(files))
    kind.dress(files, usual)
    expected, received = (json.loads(one.to_str()) for one in (usual, inner))
    for part in ("model", "normalizer", "pre_tokenizer", "decoder"):
        one, other = (_values(content[part], kind.said[part]) for content in (expected, received))
        if one != other:
            raise ValueError(
                f"The {part} in {path} must be that of a {kind.class_name}, which transformers "
                f"makes of it: {one}. Received: {other}. Where tokenizer.json is to count as it "
                'is, tokenizer_config.json must say "tokenizer_class": "PreTrainedTokenizerFast".'
            )


def _values(part, said):
    # To say nothing is to say null, an empty string or false.
    return {key: value for key, value in (part or {}).items() if value and key not in said}


def _tokenizers() -> Any:
    return import_text_package("tokenizers")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"`{path}` must be a file of UTF-8 text. Received: {error}.") from error


def accepted(path: Path, make: Callable[[], Any]) -> Any:
    """What `make` makes of a file; packages raise bare exceptions for what they cannot read."""
    try:
        return make()
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(f"`{path}` must describe a tokenizer. Received: {error}") from error


def ids_of(path: Path) -> dict[str, int]:
    """A vocab.json."""
    vocabulary = read_json(path)
    for token, token_id in vocabulary.items():
        if isinstance(token_id, bool) or not isinstance(token_id, int) or token_id < 0:
            raise ValueError(f"`{path}` must map tokens to ids. Received: {token!r}: {token_id!r}.")
    return vocabulary


def _byte_pairs(files: TokenFiles, **options: Any) -> Any:
    path = files.folder / "merges.txt"
    lines = [line.rstrip("\r") for line in _text(path).split("\n")]
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    for merge in merges:
        if len(merge) != 2:
            raise ValueError(f"`{path}` must hold pairs. Received: {' '.join(merge)!r}.")
    model, vocabulary = _tokenizers().models.BPE, ids_of(files.folder / "vocab.json")
    made = accepted(path, lambda: model(vocab=vocabulary, merges=merges, **options))
    return _tokenizers().Tokenizer(made)


def _unknown(files: TokenFiles) -> str | None:
    token = files.named.get("unk", files.defaults.get("unk"))
    return None if token is None else token.content


# === GPT-1 ===


def _gpt1(files: TokenFiles) -> Any:
    result = _byte_pairs(files, unk_token=_unknown(files), end_of_word_suffix="</w>")
    _dress_gpt1(files, result)
    return result


def _dress_gpt1(files: TokenFiles, tokenizer: Any) -> None:
    package = _tokenizers()
    tokenizer.normalizer = package.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = package.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = package.decoders.BPEDecoder(suffix="</w>")


# === GPT-2 ===


def _gpt2(files: TokenFiles) -> Any:
    result = _byte_pairs(files)
    _dress_gpt2(files, result)
    return result


def _dress_gpt2(files: TokenFiles, tokenizer: Any) -> None:
    package = _tokenizers()
    before = bool(files.flag("add_prefix_space", False))
    tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=before)
    tokenizer.decoder = package.decoders.ByteLevel()


# === BERT ===


def _bert(files: TokenFiles) -> Any:
    package = _tokenizers()
    path = files.folder / "vocab.txt"
    lines = _text(path).removesuffix("\n").split("\n")
    vocabulary = {line.rstrip("\r"): index for index, line in enumerate(lines)}
    unknown_token = _unknown(files) or "[UNK]"
    if unknown_token not in vocabulary:
        raise ValueError(f"`{path}` must hold {unknown_token!r}. Received: {len(lines)} others.")
    model = package.models.WordPiece
    result = package.Tokenizer(accepted(path, lambda: model(vocabulary, unk_token=unknown_token)))
    _dress_bert(files, result)
    return result


def _dress_bert(files: TokenFiles, tokenizer: Any) -> None:
    package = _tokenizers()
    tokenizer.normalizer = package.normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=files.flag("tokenize_chinese_chars", True),
        strip_accents=files.flag("strip_accents", None),
        lowercase=files.flag("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = package.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = package.decoders.WordPiece(prefix="##")


_VOCABULARY = {"vocab", "merges"}
# Offsets, and a space that decoding does not look at.
_SILENT = {"trim_offsets", "add_prefix_space"}
KINDS = {
    "bert": Kind(
        "BertTokenizer",
        {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"},
        ("vocab.txt",),
        _bert,
        lambda files: _tokenizers().models.WordPiece({}, unk_token=_unknown(files) or "[UNK]"),
        _dress_bert,
        {
            "model": _VOCABULARY,
            "normalizer": {"handle_chinese_chars", "lowercase", "strip_accents"},
            "pre_tokenizer": set(),
            "decoder": set(),
        },
    ),
    "gpt2": Kind(
        "GPT2Tokenizer",
        dict.fromkeys(("bos", "eos", "unk"), "<|endoftext|>"),
        ("vocab.json", "merges.txt"),
        _gpt2,
        lambda files: _tokenizers().models.BPE(),
        _dress_gpt2,
        # No byte is unknown.
        {
            "model": {*_VOCABULARY, "unk_token"},
            "normalizer": set(),
            "pre_tokenizer": _SILENT,
            "decoder": {*_SILENT, "use_regex"},
        },
    ),
    "openai-gpt": Kind(
        "OpenAIGPTTokenizer",
        {"unk": "<unk>"},
        ("vocab.json", "merges.txt"),
        _gpt1,
        lambda files: _tokenizers().models.BPE(
            unk_token=_unknown(files), end_of_word_suffix="</w>"
        ),
        _dress_gpt1,
        {
            "model": _VOCABULARY,
            "normalizer": set(),
            "pre_tokenizer": set(),
            "decoder": set(),
        },
    ),
}


def add_tokens(files: TokenFiles, inner: Any) -> dict[str, int]:
    """Makes the tokenizer know the folder's tokens. Returns the ids of the named ones."""
    # A token that an architecture usually has, and this one lacks, is not made up.
    known = inner.get_vocab()
    usual = {n: t for n, t in files.defaults.items() if t.content in known}
    named = {**usual, **files.named}
    already = {token.content for token in inner.get_added_tokens_decoder().values()}
    for token in (*files.added, *named.values(), *files.extra):
        if token.content not in already:
            already.add(token.content)
            inner.add_tokens([_tokenizers().AddedToken(token.content, **token.flags)])
        if token.token_id not in (None, inner.token_to_id(token.content)):
            raise ValueError(
                f"The tokens of {files.folder} must have the ids that it says. Received: id "
                f"{token.token_id} for {token.content!r}, where the vocabulary gives "
                f"{inner.token_to_id(token.content)}."
            )
    return {name: inner.token_to_id(token.content) for name, token in named.items()}
