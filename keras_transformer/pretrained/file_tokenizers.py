"""The tokenizers that the package `tokenizers` runs, from tokenizer.json or from older files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from keras_transformer.data.packages import import_text_package
from keras_transformer.pretrained.files import read_json
from keras_transformer.pretrained.token_files import TokenFiles


class Kind(NamedTuple):
    """How the tokenizer of an architecture is built.

    Attributes:
        defaults: its special tokens, where the folder names none.
        files: the files that older folders have, without a tokenizer.json.
        build: makes a `tokenizers.Tokenizer` from them.
    """

    defaults: dict[str, str]
    files: tuple[str, ...]
    build: Callable[[TokenFiles], Any]


def open_tokenizer(files: TokenFiles, kind: Kind) -> Any:
    """Opens the tokenizer of a folder.

    Args:
        files: what the folder says of its tokens.
        kind: what it is to be.

    Returns:
        A `tokenizers.Tokenizer`, or None where there are no files for one.

    Raises:
        ValueError: a file is damaged; it is named.
    """
    path = files.folder / "tokenizer.json"
    if path.is_file():
        content = _text(path)
        return accepted(path, lambda: _tokenizers().Tokenizer.from_str(content))
    if all((files.folder / name).is_file() for name in kind.files):
        return kind.build(files)
    return None


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


def _gpt1(files: TokenFiles) -> Any:
    package = _tokenizers()
    unknown = files.named.get("unk", files.defaults.get("unk"))
    unknown_token = None if unknown is None else unknown.content
    result = _byte_pairs(files, unk_token=unknown_token, end_of_word_suffix="</w>")
    result.normalizer = package.normalizers.BertNormalizer(lowercase=True)
    result.pre_tokenizer = package.pre_tokenizers.BertPreTokenizer()
    result.decoder = package.decoders.BPEDecoder(suffix="</w>")
    return result


def _gpt2(files: TokenFiles) -> Any:
    package = _tokenizers()
    result = _byte_pairs(files)
    before = bool(files.flag("add_prefix_space", False))
    result.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=before)
    result.decoder = package.decoders.ByteLevel()
    return result


def _bert(files: TokenFiles) -> Any:
    package = _tokenizers()
    path = files.folder / "vocab.txt"
    lines = _text(path).removesuffix("\n").split("\n")
    vocabulary = {line.rstrip("\r"): index for index, line in enumerate(lines)}
    unknown = files.named.get("unk", files.defaults.get("unk"))
    unknown_token = "[UNK]" if unknown is None else unknown.content
    if unknown_token not in vocabulary:
        raise ValueError(f"`{path}` must hold {unknown_token!r}. Received: {len(lines)} others.")
    model = package.models.WordPiece
    result = package.Tokenizer(accepted(path, lambda: model(vocabulary, unk_token=unknown_token)))
    result.normalizer = package.normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=files.flag("tokenize_chinese_chars", True),
        strip_accents=files.flag("strip_accents", None),
        lowercase=files.flag("do_lower_case", True),
    )
    result.pre_tokenizer = package.pre_tokenizers.BertPreTokenizer()
    result.decoder = package.decoders.WordPiece(prefix="##")
    return result


KINDS = {
    "bert": Kind(
        {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"},
        ("vocab.txt",),
        _bert,
    ),
    "gpt2": Kind(
        dict.fromkeys(("bos", "eos", "unk"), "<|endoftext|>"), ("vocab.json", "merges.txt"), _gpt2
    ),
    "openai-gpt": Kind({"unk": "<unk>"}, ("vocab.json", "merges.txt"), _gpt1),
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
