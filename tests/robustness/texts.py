"""Encoding and decoding of real sentences in many scripts."""

import re
import unicodedata

import keras_transformer as kt
from tests.robustness.scripts import sentences_by_script

FEWEST_SCRIPTS = 5
# What SentencePiece's standard normalization turns into spaces or drops, in addition to NFKC.
NOT_KEPT = re.compile("[\u200b\u200c\u200e\u200f\ufeff\u2581\ufffd\x00-\x08\x0e-\x1f\x7f-\x9f]")
# SentencePiece's own symbol for a space, which even lossless tokenizers cannot tell from one.
NOT_LOSSLESS = re.compile("\u2581")


def run(count):
    """Encodes and decodes sentences with every tokenizer that promises to keep them."""
    by_script = sentences_by_script()
    sentences = mixed(by_script, count)
    assert len(sentences) == count, f"only {len(sentences)} sentences"
    characters = len(set("".join(sentences)))
    for name, (tokenizer, normalize) in make_tokenizers(sentences, characters + 4000).items():
        check(name, tokenizer, [normalize(sentence) for sentence in sentences])
    sizes = {script: len(found) for script, found in by_script.items() if len(found) >= 100}
    return f"{count} sentences in {len(by_script)} scripts are unchanged, of {sizes}"


def mixed(by_script, count):
    """The given number of sentences, starting with all those in the rarest scripts."""
    by_size = sorted(by_script.values(), key=len)
    return [sentence for found in by_size for sentence in found][:count]


def check(name, tokenizer, sentences, **options):
    """Raises unless decoding restores the sentences."""
    sentences = [sentence for sentence in dict.fromkeys(sentences) if sentence]
    rows = kt.data.encode(tokenizer, sentences, **options)
    decoded = kt.data.decode(tokenizer, rows)
    wrong = [pair for pair in zip(sentences, decoded, strict=True) if pair[0] != pair[1]]
    assert not wrong, f"{name} changes {len(wrong)} of {len(sentences)}, such as {wrong[:3]}"


def normalized(text):
    """A text in NFKC with single spaces, without the characters that tokenizers do not keep."""
    return " ".join(NOT_KEPT.sub("", unicodedata.normalize("NFKC", text)).split())


def lossless(text):
    """A text without the one symbol that lossless tokenizers do not keep."""
    return NOT_LOSSLESS.sub("", text)


def make_tokenizers(sentences, vocabulary_size):
    """Tokenizers that promise to keep all sentences, each with the part of a text that it keeps."""
    kept = [normalized(sentence) for sentence in sentences]
    trained = {
        "unigram": kt.data.train_tokenizer(kept, vocabulary_size),
        "bpe": kt.data.train_tokenizer(kept, vocabulary_size, model_type="bpe"),
    }
    found = {name: (tokenizer, normalized) for name, tokenizer in trained.items()}
    proto = trained["bpe"].proto
    pieces = trained["bpe"].get_vocabulary()
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    found["SentencePieceTokenizer"] = (kt.data.SentencePieceTokenizer(proto), normalized)
    marian = kt.data.MarianTokenizer(
        proto,
        vocabulary,
        unknown_id=1,
        padding_id=0,
        start_id=2,
        end_id=3,
        special_tokens=pieces[:4],
    )
    found["MarianTokenizer"] = (marian, normalized)
    for model_type in ("unigram", "bpe"):
        tokenizer = kt.data.train_tokenizer(
            sentences, vocabulary_size, model_type=model_type, lossless=True
        )
        found[f"lossless {model_type}"] = (tokenizer, lossless)
    found["HuggingFaceTokenizer of bytes"] = (byte_tokenizer(sentences), lambda text: text)
    return found


def byte_tokenizer(sentences):
    """A byte-level BPE tokenizer, as in GPT-2."""
    import tokenizers

    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(sentences, trainer)
    return kt.data.HuggingFaceTokenizer(bpe.to_str())
