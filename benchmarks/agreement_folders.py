"""Folders with tokenizers in Hugging Face format, trained on real text."""

from __future__ import annotations

import io
import json
from pathlib import Path

import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

SIZE = 5000


def _save(folder: Path, tokenizer, whole: bool, model_type: str) -> Path:
    if whole:
        tokenizer.save(str(folder / "tokenizer.json"))
    else:
        tokenizer.model.save(str(folder))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder


def gpt1(folder: Path, texts: list[str], whole: bool) -> Path:
    model = models.BPE(unk_token="<unk>", end_of_word_suffix="</w>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    options = {"end_of_word_suffix": "</w>", "special_tokens": ["<unk>"]}
    trainer = trainers.BpeTrainer(vocab_size=SIZE, show_progress=False, **options)
    tokenizer.train_from_iterator(texts, trainer)
    return _save(folder, tokenizer, whole, "openai-gpt")


def gpt2(folder: Path, texts: list[str], whole: bool) -> Path:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"initial_alphabet": alphabet, "special_tokens": ["<|endoftext|>"]}
    trainer = trainers.BpeTrainer(vocab_size=SIZE, show_progress=False, **options)
    tokenizer.train_from_iterator(texts, trainer)
    return _save(folder, tokenizer, whole, "gpt2")


def bert(folder: Path, texts: list[str], whole: bool) -> Path:
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=SIZE, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _save(folder, tokenizer, whole, "bert")


def marian(folder: Path, texts: list[str], whole: bool | None) -> Path:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=SIZE, minloglevel=2
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(index) for index in range(3, processor.vocab_size())]
    tokens = ["</s>", "<unk>", *sorted(pieces), "<pad>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(model.getvalue())
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    config = {"model_type": "marian", "eos_token_id": 0, "pad_token_id": vocabulary["<pad>"]}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


# The builder, the reference class, and the description of the vocabulary in the table.
BUILDERS = {
    "gpt1": (gpt1, "OpenAIGPTTokenizer", f"{SIZE:,} byte pairs trained on them"),
    "gpt2": (gpt2, "GPT2Tokenizer", f"{SIZE:,} byte pairs trained on them"),
    "bert": (bert, "BertTokenizer", f"{SIZE:,} word pieces trained on them"),
    "marian": (marian, "MarianTokenizer", f"{SIZE:,} pieces trained on them"),
}
