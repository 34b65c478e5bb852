"""A small translator and a small text generator, and requests to them."""

from typing import Any, NamedTuple

import keras
import numpy as np

import keras_transformer as kt
from tests.decoding.reference import enliven

WORDS = "the cat sat on the mat a dog ran after an old red house is near where é ü ñ ß".split()
SAMPLERS = ["random", kt.decoding.TopK(20), kt.decoding.TopP(0.9, temperature=0.8)]
SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
VOCABULARY_SIZE = 300
MAX_LENGTH = 160


class Pipelines(NamedTuple):
    """The pipelines that answer requests."""

    translator: kt.Translator
    generator: kt.TextGenerator


class Request(NamedTuple):
    """A call of a pipeline: the method's name, the texts and the options."""

    method: str
    texts: Any
    options: dict[str, Any]


def make_pipelines():
    """Fresh pipelines, without any compiled program; all have the same weights."""
    keras.utils.set_random_seed(7)
    texts = [" ".join(WORDS), " ".join(WORDS[::-1])]
    tokenizer = kt.data.train_tokenizer(texts, VOCABULARY_SIZE, model_type="bpe", lossless=True)
    translation_model = kt.models.transformer(VOCABULARY_SIZE, **SIZES)
    language_model = kt.models.gpt(VOCABULARY_SIZE, max_length=MAX_LENGTH, **SIZES)
    return Pipelines(
        kt.Translator(enliven(translation_model), tokenizer),
        kt.TextGenerator(enliven(language_model), tokenizer),
    )


def ask(pipelines, request):
    """The answer to a request: texts, and numbers if there are any."""
    texts, options = request.texts, request.options
    translator, generator = pipelines
    if request.method == "score":
        return kt.score_translations(translator, texts, texts[::-1], **options).tolist()
    if request.method == "stream":
        return "".join(generator.stream(texts, **options))
    if request.method == "generate":
        return generator.generate(texts, **options)
    return translator.translate(texts, **options)


def same(answer, expected):
    """Whether two answers are equal, up to rounding of numbers."""
    if isinstance(expected, (list, tuple)):
        pairs = zip(answer, expected, strict=True)
        return type(answer) is type(expected) and all(same(*pair) for pair in pairs)
    if isinstance(expected, float):
        return bool(np.isclose(answer, expected, rtol=1e-4, atol=1e-4))
    return answer == expected


def mixed_requests(count, seed=0):
    """Requests of every kind, in few shapes, so that threads use the same programs."""
    generator = np.random.default_rng(seed)
    return [_mixed_request(generator) for _ in range(count)]


def _mixed_request(generator):
    texts = random_texts(generator, int(generator.choice([1, 2, 4])), 5)
    sampler = SAMPLERS[generator.integers(len(SAMPLERS))]
    draw = {"sampler": sampler, "seed": int(generator.integers(100))}
    kinds = [
        Request("translate", texts, {"max_new_tokens": 7}),
        Request("translate", texts, {"max_new_tokens": 7, "return_scores": True}),
        Request("translate", texts, {"max_new_tokens": 7, "num_beams": 3, "num_return": 2}),
        Request("score", texts, {}),
        Request("generate", texts, {"max_new_tokens": 9}),
        Request("generate", texts, {"max_new_tokens": 9, **draw}),
        Request("generate", texts, {"max_new_tokens": 9, "stop_strings": ["t"], **draw}),
        Request("stream", texts[0], {"max_new_tokens": 9, **draw}),
    ]
    return kinds[generator.integers(len(kinds))]


def requests_of_all_lengths(count, seed=0):
    """Requests with any number of texts up to 16, any length and many options."""
    generator = np.random.default_rng(seed)
    return [_request_of_any_length(generator) for _ in range(count)]


def _request_of_any_length(generator):
    count = int(generator.integers(1, 17))
    texts = random_texts(generator, count, int(generator.integers(1, 25)))
    most = int(generator.integers(1, 9))
    if generator.random() < 0.01:  # a new program each
        sampler = kt.decoding.TopP(0.9, temperature=float(generator.uniform(0.5, 2.0)))
        return Request("generate", texts, {"max_new_tokens": most, "sampler": sampler})
    if generator.random() < 0.5:
        return Request("generate", texts, {"max_new_tokens": most})
    beams = {"num_beams": 2} if generator.random() < 0.2 else {}
    return Request("translate", texts, {"max_new_tokens": most, **beams})


def random_texts(generator, count, most_words):
    """Texts of one word to `most_words` words."""
    sizes = generator.integers(1, most_words + 1, count)
    return [" ".join(generator.choice(WORDS, size)) for size in sizes]
