"""Tokenizers run by the package `tokenizers`, from tokenizer.json or from older files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from keras_transformer.checks import shortened
from keras_transformer.data.tokenizers.json_vocabularies import check_ids, check_tokenizer_json
from keras_transformer.data.tokenizers.text_packages import import_text_package
from keras_transformer.files import file_in, is_listed, naming_file, read_text
from keras_transformer.pretrained.files import read_json
from keras_transformer.pretrained.tokenizers import fairseq_unigram
from keras_transformer.pretrained.tokenizers.special_tokens import TokenFiles


class Kind(NamedTuple):
    """How the tokenizer of an architecture is built.

    Attributes:
        class_name: Its class in transformers.
        defaults: Its special tokens, if the folder names none.
        files: The files of older folders, without a tokenizer.json.
        build: Builds a `tokenizers.Tokenizer` from them.
        model: Builds a model without a vocabulary, with the options of all tokenizers of this kind.
        dress: Sets the normalizer, pre-tokenizer and decoder of a `tokenizers.Tokenizer` from the
            folder's settings.
        said: Options of each part that the settings determine, or that do not affect ids or texts.
            `dress` checks the parts that are not listed.
        as_is: Whether a tokenizer.json is used as is, whatever class the folder names.
    """

    class_name: str
    defaults: dict[str, str]
    files: tuple[str, ...]
    build: Callable[[TokenFiles], Any]
    model: Callable[[TokenFiles], Any]
    dress: Callable[[TokenFiles, Any], None]
    said: dict[str, set[str]]
    as_is: bool = False


# Classes of transformers that use tokenizer.json as is.
_PLAIN = ("PreTrainedTokenizerFast", "PreTrainedTokenizer", "TokenizersBackend")


def read_kind(folder: Path, config: dict[str, Any], usual: Kind) -> tuple[TokenFiles, Kind, bool]:
    """Reads which kind of tokenizer a folder has.

    Args:
        folder: The folder.
        config: Content of its config.json.
        usual: The default kind of its architecture.

    Returns:
        The folder's tokens and settings, the kind, and whether tokenizer.json is used as is.

    Raises:
        ValueError: If the class of the tokenizer is unknown.
    """
    if usual.as_is and is_listed(folder / "tokenizer.json"):
        return TokenFiles(folder, {}), usual, True
    files = TokenFiles(folder, usual.defaults)
    named = files.settings.get("tokenizer_class") or config.get("tokenizer_class")
    if named is None:
        return files, usual, False
    if named in _PLAIN:
        return TokenFiles(folder, {}), usual, True
    for kind in (usual, *KINDS.values()):
        if named in (kind.class_name, f"{kind.class_name}Fast"):
            return TokenFiles(folder, kind.defaults), kind, False
    known = sorted({*_PLAIN, *(kind.class_name for kind in (usual, *KINDS.values()))})
    path = files.path if files.settings.get("tokenizer_class") else folder / "config.json"
    raise ValueError(
        f"`tokenizer_class` in {path} must be one of {known}. Received: {shortened(named)}."
    )


def open_tokenizer(files: TokenFiles, kind: Kind, plain: bool = False) -> Any:
    """Opens the tokenizer of a folder.

    As in transformers, settings of tokenizer_config.json such as lowercasing override
    tokenizer.json, unless the folder asks for a plain tokenizer.json.

    Args:
        files: The folder's tokens and settings.
        kind: The kind of tokenizer.
        plain: Whether tokenizer.json is used as is.

    Returns:
        A `tokenizers.Tokenizer`, or None if there are no files for one.

    Raises:
        ValueError: If a file is damaged or does not match its class; the message names it.
    """
    path = files.folder / "tokenizer.json"
    if is_listed(path):
        content = _text(path)
        check_tokenizer_json(content, path)
        inner = accepted(path, lambda: _tokenizers().Tokenizer.from_str(content))
        if not plain:
            with naming_file(files.path):  # with its settings
                _check_parts(path, inner, files, kind)
                kind.dress(files, inner)
        return inner
    if all(is_listed(files.folder / name) for name in kind.files):
        if kind.build is _bert and files.flag("do_basic_tokenize", True) is False:
            raise ValueError(
                f"`do_basic_tokenize` in {files.path} must be true, the only supported value. "
                "Received: False."
            )
        with naming_file(files.path):
            return kind.build(files)
    return None


def _check_parts(path, inner, files, kind):
    """Raises unless tokenizer.json matches its class, apart from what the settings determine."""
    usual = _tokenizers().Tokenizer(kind.model(files))
    kind.dress(files, usual)
    expected, received = (json.loads(one.to_str()) for one in (usual, inner))
    for part, said in kind.said.items():
        one, other = (_values(content[part], said) for content in (expected, received))
        if one != other:
            raise ValueError(
                f"The {part} in {path} must be that of a {kind.class_name} in transformers: {one}. "
                f"Received: {other}. To use tokenizer.json as is, set "
                '"tokenizer_class": "PreTrainedTokenizerFast" in tokenizer_config.json.'
            )


def _values(part, said):
    # A missing value is the same as null, an empty string or false.
    return {key: value for key, value in (part or {}).items() if value and key not in said}


def _tokenizers() -> Any:
    return import_text_package("tokenizers")


def _text(path: Path) -> str:
    return read_text(file_in(path.parent, path.name), universal_newlines=True)


def accepted(path: Path, make: Callable[[], Any]) -> Any:
    """Returns `make()`, which reads a file; any exception becomes a ValueError about the file."""
    try:
        with naming_file(path, "describe a tokenizer"):
            return make()
    except FileNotFoundError:
        raise
    except ValueError as error:
        if f"`{path}` must" in str(error):
            raise
        raise ValueError(f"`{path}` must describe a tokenizer. Received: {error}.") from error


def ids_of(path: Path) -> dict[str, int]:
    """Reads a vocab.json."""
    vocabulary = read_json(path)
    check_ids(vocabulary, path)
    return vocabulary


def byte_pairs(files: TokenFiles, **options: Any) -> Any:
    """Reads vocab.json and merges.txt as a byte-pair tokenizer without further parts."""
    path = files.folder / "merges.txt"
    lines = [line.rstrip("\r") for line in _text(path).split("\n")]
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    for merge in merges:
        if len(merge) != 2:
            raise ValueError(
                f"`{path}` must contain pairs. Received: {shortened(' '.join(merge))}."
            )
    model, vocabulary = _tokenizers().models.BPE, ids_of(files.folder / "vocab.json")
    made = accepted(path, lambda: model(vocab=vocabulary, merges=merges, **options))
    return _tokenizers().Tokenizer(made)


def _unknown(files: TokenFiles) -> str | None:
    token = files.named.get("unk", files.defaults.get("unk"))
    return None if token is None else token.content


# === GPT-1 ===


def _gpt1(files: TokenFiles) -> Any:
    result = byte_pairs(files, unk_token=_unknown(files), end_of_word_suffix="</w>")
    _dress_gpt1(files, result)
    return result


def _dress_gpt1(files: TokenFiles, tokenizer: Any) -> None:
    package = _tokenizers()
    tokenizer.normalizer = package.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = package.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = package.decoders.BPEDecoder(suffix="</w>")


# === GPT-2 ===


def _gpt2(files: TokenFiles) -> Any:
    result = byte_pairs(files)
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
        raise ValueError(f"`{path}` must contain {unknown_token!r}. Received: {len(lines)} others.")
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
# They affect offsets, and a space that decoding ignores.
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
        # No byte is unknown, so the unknown token is not used.
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
        {"model": _VOCABULARY, "normalizer": set(), "pre_tokenizer": set(), "decoder": set()},
    ),
}
KINDS |= {
    "distilbert": KINDS["bert"]._replace(class_name="DistilBertTokenizer"),
    "roberta": KINDS["gpt2"]._replace(
        class_name="RobertaTokenizer", defaults=fairseq_unigram.SPECIAL
    ),
    "xlm-roberta": Kind(
        "XLMRobertaTokenizer",
        fairseq_unigram.SPECIAL,
        (fairseq_unigram.FILE,),
        fairseq_unigram.from_pieces,
        fairseq_unigram.empty_model,
        fairseq_unigram.dress,
        {"model": {"vocab"}, "decoder": {"prepend_scheme", "split"}},
    ),
}


def add_tokens(files: TokenFiles, inner: Any) -> dict[str, int]:
    """Adds the folder's tokens to the tokenizer. Returns the ids of the named ones."""
    # Default tokens of the architecture are not added if the vocabulary lacks them.
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
                f"The tokens of {files.path} must have the ids in its files. Received: id "
                f"{token.token_id} for {token.content!r}, but id "
                f"{inner.token_to_id(token.content)} in the vocabulary."
            )
    return {name: inner.token_to_id(token.content) for name, token in named.items()}


def put_in_lowercase(inner: Any) -> None:
    """Makes a `tokenizers.Tokenizer` lowercase texts before anything else."""
    normalizers = _tokenizers().normalizers
    own = [] if inner.normalizer is None else [inner.normalizer]
    inner.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
