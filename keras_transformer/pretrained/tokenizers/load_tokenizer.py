"""Loading tokenizers of other libraries as tokenizers of `kt.data`."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from keras_transformer.checks import shortened
from keras_transformer.data.tokenizers.hugging_face import HuggingFaceTokenizer
from keras_transformer.data.tokenizers.marian_tokenizer import MarianTokenizer
from keras_transformer.data.tokenizers.sentence_piece import SentencePieceTokenizer
from keras_transformer.files import is_listed, naming_file
from keras_transformer.pretrained.families.firefox_files import firefox_model, firefox_vocabularies
from keras_transformer.pretrained.files import read_json
from keras_transformer.pretrained.generation import GenerationSettings, read_generation
from keras_transformer.pretrained.gguf_file import find_gguf
from keras_transformer.pretrained.load import find_folder
from keras_transformer.pretrained.sentence_transformers import has_modules, read_modules
from keras_transformer.pretrained.tokenizers import fairseq_unigram
from keras_transformer.pretrained.tokenizers.byte_pairs import LLAMA, QWEN2
from keras_transformer.pretrained.tokenizers.chat_templates import read_chat_template
from keras_transformer.pretrained.tokenizers.gguf_tokenizer import load_gguf_tokenizer
from keras_transformer.pretrained.tokenizers.load_m2m_tokenizer import (
    load_m2m_tokenizer,
    tokenizer_class,
)
from keras_transformer.pretrained.tokenizers.special_tokens import TokenFiles
from keras_transformer.pretrained.tokenizers.t5_unigram import T5, language_tokens
from keras_transformer.pretrained.tokenizers.tokenizers_from_files import (
    KINDS,
    Kind,
    accepted,
    add_tokens,
    ids_of,
    open_tokenizer,
    put_in_lowercase,
    read_kind,
)
from keras_transformer.pretrained.tokenizers.vocabulary_files import (
    check_plain_settings,
    larger_size,
    read_proto,
    with_special_tokens,
)

# The usual kind of each architecture's tokenizer.
_KINDS = {**KINDS, "llama": LLAMA, "qwen2": QWEN2, "qwen3": QWEN2}
_KINDS |= {"gpt_neo": KINDS["gpt2"], "opt": KINDS["gpt2"]}
_KINDS |= {"t5": T5, "mt5": T5}
_SENTENCE_PIECE = ("spiece.model", "sentencepiece.model", "tokenizer.model")


def load_tokenizer(folder: str | os.PathLike, target: bool = False) -> Any:
    """Loads the tokenizer of a Hugging Face checkpoint, a GGUF file or Firefox Translations.

    `config.json` names the architecture: BERT, RoBERTa, XLM-RoBERTa, DistilBERT, GPT-1
    (`openai-gpt`), GPT-2, GPT-Neo, OPT, Llama, Qwen2, Qwen3, T5, mT5, Marian or M2M100 (`m2m_100`,
    also NLLB and SMaLL-100). The tokenizer is read from `tokenizer.json`, or in older folders from
    `vocab.json` and `merges.txt`, from `vocab.txt`, or from a SentencePiece model (for T5 from
    `spiece.model`, to which the sentinels `<extra_id_0>` and so on are added). Marian's is read
    from `source.spm`, `target.spm` and `vocab.json`; M2M100's from `sentencepiece.bpe.model` and
    `vocab.json`; NLLB's from `tokenizer.json`, or only from `sentencepiece.bpe.model`. A GGUF file
    contains a byte-level BPE tokenizer. A Firefox Translations folder has one SentencePiece model
    for both languages, or one for each. Nothing in a file is executed.

    The ids are those of Hugging Face's tokenizer, without special ids around a text:
    `kt.data.encode` adds those. The `languages` of a multilingual tokenizer map each language to
    the id of its token. For Llama and Qwen, tokenizer.json is used as is, whatever class the folder
    names; transformers 5 builds a different tokenizer if that class is GPT-2's, as in SmolLM2.

    Args:
        folder: A folder, a GGUF file or a name on the Hugging Face hub, as in
            `kt.pretrained.load`.
        target: For Marian, M2M100, T5 and Firefox Translations, whether to load the tokenizer of
            the target language. For M2M100 and T5, both are the same.

    Returns:
        A tokenizer of `kt.data` with its special ids. `end_id` is that of the checkpoint's
        generation settings, if they have one. `start_id` is the id of `[CLS]` for BERT and
        DistilBERT, of `<s>` for RoBERTa, and the id that a translation starts from for Marian and
        T5. The chat template, if any, is in `chat_template`.

    Raises:
        ValueError: If there is no such folder, a file is missing or damaged, the architecture does
            not read text, or a setting is not supported.
        ImportError: If the `text` extra is not installed.

    Example:
        ```python
        tokenizer = kt.pretrained.load_tokenizer("openai-community/openai-gpt")  # or a folder
        rows = kt.data.encode(tokenizer, ["The cat sat on the mat."])
        ```

    Reference:
        Sennrich et al. 2016 (byte-pair encoding); Wu et al. 2016 (WordPiece); Kudo and Richardson
        2018 (SentencePiece).
    """
    found = find_folder(folder, weights=False)
    with naming_file(found):
        return _load(found, target)


def _load(folder: Path, target: bool) -> Any:
    gguf = find_gguf(folder)
    if firefox_model(folder) is not None:
        return _firefox(folder, target)
    if gguf is not None:
        return load_gguf_tokenizer(gguf)
    lowercase = False
    if has_modules(folder):
        modules = read_modules(folder)
        folder, lowercase = modules.body, modules.lowercase
    path = folder / "config.json"
    config = read_json(path)
    model_type = config.get("model_type")
    is_m2m = model_type == "m2m_100"
    if model_type == "marian" or (is_m2m and tokenizer_class(folder, config) == "MarianTokenizer"):
        return _marian(folder, config, target)
    if is_m2m:
        return load_m2m_tokenizer(folder, config)
    if not isinstance(model_type, str) or model_type not in _KINDS:
        raise ValueError(
            f"`model_type` in {path} must be one of {sorted([*_KINDS, 'm2m_100', 'marian'])} "
            f"for a tokenizer. Received: {shortened(model_type)}."
        )
    if target and _KINDS[model_type] is not T5:
        raise ValueError(
            "`target` must be False, except for Marian, M2M100 and T5. "
            f"Received: target={target}, model_type={model_type!r}."
        )
    return _single(folder, config, _KINDS[model_type], lowercase)


def _firefox(folder: Path, target: bool) -> SentencePieceTokenizer:
    sides = []
    for path in firefox_vocabularies(folder):
        proto = read_proto(path)
        sides.append(accepted(path, functools.partial(SentencePieceTokenizer, proto)))
    # The padding and start id of the loaded model is the first that is in neither vocabulary.
    size = max(side.vocabulary_size() for side in sides)
    return SentencePieceTokenizer(sides[target].proto, padding_id=size, start_id=size)


def _single(folder: Path, config: dict[str, Any], usual: Kind, lowercase: bool) -> Any:
    settings = read_generation(folder, several_ends=True)
    pieces = [] if lowercase else _sentence_piece_files(folder, usual)
    if pieces and not any(is_listed(folder / name) for name in ("tokenizer.json", *usual.files)):
        return _sentence_piece(pieces[0], config, settings)
    files, kind, plain = read_kind(folder, config, usual)
    inner = open_tokenizer(files, kind, plain)
    if inner is None:
        if pieces:
            return _sentence_piece(pieces[0], config, settings)
        raise _no_files(folder, kind, usual)
    named = add_tokens(files, inner)
    if lowercase:
        put_in_lowercase(inner)
    num_tokens = max(inner.get_vocab().values(), default=-1) + 1
    end = named.get("sep", named.get("eos")) if settings.end_id is None else settings.end_id
    is_bpe = type(inner.model).__name__ == "BPE"
    first = "tokenizer.json" if is_listed(folder / "tokenizer.json") else kind.files[0]
    with naming_file(folder / first):
        return HuggingFaceTokenizer(
            inner.to_str(),
            padding_id=named.get("pad"),
            start_id=_start_id(config, usual, settings, named),
            # An id that the tokenizer does not have cannot end a text.
            end_id=end if end is not None and end < num_tokens else None,
            unknown_id=named.get("unk"),
            # Cleaning up is for word-level tokenizers; BPE preserves spaces.
            clean_up_spaces=bool(files.flag("clean_up_tokenization_spaces", False)) and not is_bpe,
            vocabulary_size=larger_size(config.get("vocab_size"), num_tokens),
            split_special_tokens=bool(files.flag("split_special_tokens", False)),
            chat_template=read_chat_template(files),
            template_tokens={
                f"{name}_token": token.content
                for name, token in {**files.defaults, **files.named}.items()
            },
            **_languages(inner, usual),
            add_start="cls" not in named
            and usual is not T5
            and _adds_start(files, plain, inner, named.get("bos")),
        )


def _sentence_piece_files(folder: Path, usual: Kind) -> list[Path]:
    """Returns the SentencePiece models whose ids are the checkpoint's, which fairseq's are not."""
    if fairseq_unigram.FILE in usual.files:
        return []
    return [folder / name for name in _SENTENCE_PIECE if is_listed(folder / name)]


def _no_files(folder: Path, kind: Kind, usual: Kind) -> ValueError:
    others = " and ".join(kind.files)
    if fairseq_unigram.FILE not in usual.files:
        others += f", or one of {', '.join(_SENTENCE_PIECE)}"
    return ValueError(f"`folder` must contain tokenizer.json, or {others}. Received: {folder}.")


def _start_id(
    config: dict[str, Any], usual: Kind, settings: GenerationSettings, named: dict[str, int]
) -> int | None:
    if usual is not T5:
        return named.get("cls", named.get("bos"))
    start = config.get("decoder_start_token_id", named.get("pad"))
    return start if settings.start_id is None else settings.start_id


def _languages(inner: Any, usual: Kind) -> dict[str, Any]:
    """Returns the language arguments of MADLAD-400, a T5 whose sources name the target language."""
    tokens = language_tokens(inner) if usual is T5 else []
    return {"language_tokens": tokens, "language_form": "target_first"} if tokens else {}


def _adds_start(files: TokenFiles, plain: bool, inner: Any, start_id: int | None) -> bool:
    """Returns whether transformers' tokenizer adds the start token before a text."""
    if not plain and {"add_bos_token", "add_eos_token"} & files.settings.keys():
        return bool(files.flag("add_bos_token", False))
    return start_id is not None and inner.encode("").ids[:1] == [start_id]


# === SentencePiece ===


def _sentence_piece(path: Path, config: dict[str, Any], settings: GenerationSettings) -> Any:
    tokenizer = accepted(path, lambda: SentencePieceTokenizer(read_proto(path)))
    size = larger_size(config.get("vocab_size"), tokenizer.vocabulary_size())
    ids = {"padding_id": settings.padding_id, "start_id": settings.start_id}
    ids = {**ids, "end_id": settings.end_id, "vocabulary_size": size}
    return accepted(path, lambda: SentencePieceTokenizer(tokenizer.proto, **ids))


def _marian(folder: Path, config: dict[str, Any], target: bool) -> MarianTokenizer:
    names = {"unk": "<unk>", "eos": "</s>", "pad": "<pad>"}
    files, settings = TokenFiles(folder, names), read_generation(folder)
    check_plain_settings(files)
    apart = bool(files.flag("separate_vocabs", False)) and target
    path = folder / ("target_vocab.json" if apart else "vocab.json")
    named = {**files.defaults, **files.named}
    special = (*named.values(), *files.added, *files.extra)
    vocabulary = with_special_tokens(ids_of(path), special, path)
    own = {name: vocabulary[token.content] for name, token in named.items()}
    start = own["pad"] if settings.start_id is None else settings.start_id
    end = own["eos"] if not target or settings.end_id is None else settings.end_id
    size = config.get("decoder_vocab_size" if apart else "vocab_size")
    proto = read_proto(folder / ("target.spm" if target else "source.spm"))
    return accepted(
        path,
        lambda: MarianTokenizer(
            proto,
            vocabulary,
            unknown_id=own["unk"],
            padding_id=own["pad"],
            start_id=start,
            end_id=end,
            special_tokens=list(dict.fromkeys(token.content for token in special)),
            clean_up_spaces=bool(files.flag("clean_up_tokenization_spaces", False)),
            vocabulary_size=larger_size(size, max(vocabulary.values()) + 1),
        ),
    )
