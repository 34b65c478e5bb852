"""Export of SentencePiece tokenizers to a tokenizer.json of the package tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.hugging_face import HuggingFaceTokenizer
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.text_packages import (
    SPACE,
    import_text_package,
    sentencepiece_proto,
)
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.tokenizers.export_parts import sentencepiece_of, write_json
from keras_transformer.pretrained.tokenizers.sentencepiece_pieces import tokenizer_from_pieces

# Families whose texts are between [CLS] and [SEP].
_ENCODERS = ("bert", "distilbert", "roberta", "xlm-roberta")
# Texts that are likely to reveal differences, in addition to the pieces of the vocabulary.
_AWKWARD = (
    "",
    " ",
    "a",
    "  two  spaces  ",
    "tab\tand\nline\r\n",
    "no\u00a0break\u202fspace\u3000",
    "\ufb01ne \u2460 \u00bd \uff21\uff22",
    "e\u0301 \u00e9 \u1e9b\u0323",
    "\u2026\u201cquoted\u201d \u2018so\u2019 \u2014",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u4f60\u597d\uff0c\u4e16\u754c",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "zero\u200bwidth\ufeff \u00ad soft",
    "123 1,234.5 1/2 x^2 a_b",
    "don't CAN'T I'll",
    "www.example.com/a?b=c&d",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\x00\x01\x7f",
)


def write_tokenizer_json(tokenizers: tuple[Any, ...], config: Config, folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json.

    The ids are compared on awkward texts and on all pieces of the vocabulary. Two differences are
    accepted: tokenizer.json reads the name of a special piece or byte in a text, such as "</s>" or
    "<0x0A>", as that piece; and if a unigram model finds two segmentations of a word equally likely
    ("-" and "--", or "--" and "-"), either may be chosen.

    Args:
        tokenizers: The tokenizer, a SentencePiece tokenizer or a `kt.data.HuggingFaceTokenizer`.
        config: The model's config.
        folder: The folder to write to.

    Raises:
        ValueError: If some ids differ.
    """
    (own,) = tokenizers
    names = ("cls", "sep") if config.values["model_type"] in _ENCODERS else ("bos", "eos")
    ids = special_ids(own)
    content = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": bool(getattr(own, "clean_up_spaces", False)),
    }
    path = str(folder / "tokenizer.json")
    if isinstance(own, HuggingFaceTokenizer):
        own.save_assets(str(folder))
        content["split_special_tokens"] = own.split_special_tokens
        tokenizer = import_text_package("tokenizers").Tokenizer.from_file(path)
    else:
        # Special tokens in a text are plain text here.
        content["split_special_tokens"] = True
        tokenizer = tokenizer_from_pieces(sentencepiece_proto(own.proto))
        check_same_ids(sentencepiece_of(own), tokenizer)
    if config.values["model_type"] in _ENCODERS:
        content |= _of_encoders(tokenizer, ids, config.values["model_type"])
    tokenizer.save(path)
    values = (ids.start, ids.end, ids.padding, ids.unknown)
    for name, token_id in zip((*names, "pad", "unk"), values, strict=True):
        if token_id is not None:
            content[f"{name}_token"] = own.id_to_token(token_id)
    if getattr(own, "chat_template", None) is not None:
        content |= {"chat_template": own.chat_template, **own.template_tokens}
    if getattr(own, "add_start", False):
        content["add_bos_token"] = True
    write_json(folder / "tokenizer_config.json", content)


def _of_encoders(tokenizer, ids, model_type):
    """Makes calls put texts between start and end tokens, and returns an encoder's settings."""
    if None not in (ids.start, ids.end):
        start, end = (tokenizer.id_to_token(token_id) for token_id in (ids.start, ids.end))
        # RoBERTa has two separators between the texts of a pair, BERT has segments.
        is_double = model_type in ("roberta", "xlm-roberta")
        middle, segment = (f"{end}:0 {end}:0", 0) if is_double else (f"{end}:0", 1)
        template = import_text_package("tokenizers").processors.TemplateProcessing
        tokenizer.post_processor = template(
            single=f"{start}:0 $A:0 {end}:0",
            pair=f"{start}:0 $A:0 {middle} $B:{segment} {end}:{segment}",
            special_tokens=[(start, ids.start), (end, ids.end)],
        )
    # By default, transformers leaves the segments out.
    segments = ["token_type_ids"] if model_type == "bert" else []
    content = {"model_input_names": ["input_ids", *segments, "attention_mask"]}
    added = tokenizer.get_added_tokens_decoder().values()
    special = [token.content for token in added if token.special]
    masks = [token for token in ("[MASK]", "<mask>") if token in special]
    return content | {"mask_token": masks[0]} if masks else content


def check_same_ids(processor: Any, tokenizer: Any) -> None:
    """Raises a ValueError unless a tokenizer.json gives SentencePiece's ids.

    Args:
        processor: The `SentencePieceProcessor`.
        tokenizer: The `tokenizers.Tokenizer`.
    """
    size = processor.get_piece_size()
    own = [processor.id_to_piece(index) for index in range(size)]
    named = {
        index
        for index in range(size)
        if processor.is_control(index) or processor.is_unknown(index) or processor.is_byte(index)
    }
    ordinary = [own[index].replace(SPACE, " ") for index in range(size) if index not in named]
    pairs = [f"{one}{two}" for one, two in zip(ordinary, reversed(ordinary), strict=True)]
    for text in (*_AWKWARD, *ordinary, *pairs):
        if any(own[index] in text for index in named):
            continue  # tokenizer.json reads the name as the piece
        expected = processor.encode(text)
        received = tokenizer.encode(text, add_special_tokens=False).ids
        if received != expected and not _is_tie(processor, expected, received):
            raise ValueError(
                "`tokenizer` must give the same ids as its conversion to a tokenizer.json. "
                f"Received: {text!r} with the ids {expected}, but {received} in tokenizer.json. "
                "Export only the weights with `tokenizer=None`."
            )


def _is_tie(processor, expected, received):
    """Returns whether two segmentations of a text have the same score, up to rounding."""
    if processor.decode(expected) != processor.decode(received):
        return False
    one, other = (sum(map(processor.get_score, ids)) for ids in (expected, received))
    # In byte-pair encoding, scores are ranks: integers whose sum is not a probability.
    is_unigram = any(score % 1 for score in map(processor.get_score, expected))
    return is_unigram and abs(one - other) < 1e-5 * max(1.0, abs(one))
