"""Tokenizers and awkward texts shared by the export tests."""

import random

import keras_transformer as kt

TEXTS = [
    "The cat sat on the mat, and the dog sat on the log.",
    "Le café très élégant — n’est-ce pas ? Voilà, c’est l’été.",
    "A <unk> in 1,234.5 places; www.example.com/a?b=c&d (see 2).",
    "the quick brown fox jumps over the lazy dogs of the cats",
    "日本語 テキスト, mixed with words and words again",
    "what is seen is seen, what is said is said: so it is",
    "Seven silver swans swam silently seaward while thunder rolled over distant hills.",
    "Breakfast brings bread, butter, berries and a big blue bowl of buckwheat porridge.",
    "Un pêcheur jeune habite près du grand pont où les bateaux passent chaque matin.",
    "Numbers: 2024, 3.14, 42 and 1,000; dashes -- and --- rules, (brackets) [too].",
]
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<<unk>>")


def trained(vocabulary_size=120, model_type="unigram", **options):
    if options.get("lossless"):
        vocabulary_size += 256
    return kt.data.train_tokenizer(TEXTS, vocabulary_size, model_type, **options)


def awkward_texts(count=300):
    """Random texts of everyday and odd characters, without the names of special pieces."""
    generator = random.Random(0)
    parts = [
        *"abcdefgh .,!?'\"()<>/ \t\u00a0éèüß—’…日本語\ufb01①Ａ\u200b😀\n",
        "the",
        " cat",
        "  ",
        "\x00",
    ]
    texts = ["".join(generator.choices(parts, k=generator.randint(0, 25))) for _ in range(count)]
    return [text for text in [*texts, *TEXTS] if not any(name in text for name in SPECIAL)]
