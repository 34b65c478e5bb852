"""Small tasks that a small Transformer must learn from plain `fit`, scored on held-out examples."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.decoding.reference import padded

PAD, END, START, FIRST = 0, 1, 2, 3
ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen".split()
)
ONES += "fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
WORDS = [*ONES, *TENS, "hundred", "thousand"]


def say(number):
    """The English words of a number below 10,000."""
    words = []
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            words += [ONES[number // size], name]
            number %= size
    if number >= 20:
        words.append(TENS[number // 10 - 2])
        number %= 10
        return [*words, ONES[number]] if number else words
    return [*words, ONES[number]] if number or not words else words


def number_words(generator, count):
    numbers = generator.choice(10_000, size=count, replace=False)
    sources = [[FIRST + 10 + WORDS.index(word) for word in say(n)] for n in numbers]
    return sources, [[FIRST + int(digit) for digit in str(n)] for n in numbers]


def sequences(generator, count, longest=5):
    rows = {
        tuple(generator.integers(FIRST, FIRST + 10, size=generator.integers(2, longest + 1)))
        for _ in range(2 * count)
    }
    rows = sorted(rows)
    generator.shuffle(rows)
    return [[int(token) for token in row] for row in rows[:count]]


def reverse_task(generator, count):
    rows = sequences(generator, count)
    return rows, [row[::-1] for row in rows]


def test_the_words_of_numbers():
    assert " ".join(say(312)) == "three hundred twelve"
    assert " ".join(say(9040)) == "nine thousand forty"
    assert " ".join(say(21)) == "twenty one"
    assert say(0) == ["zero"] and " ".join(say(1005)) == "one thousand five"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "count", "epochs"),
    [(reverse_task, 3000, 9), (number_words, 6000, 6)],
)
def test_task_is_learnt(task, count, epochs):
    held_out = 300
    sources, targets = task(np.random.default_rng(3), count + held_out)
    assert len(sources) == count + held_out
    ids = padded([[*row, END] for row in sources])
    outputs = padded([[*row, END] for row in targets])
    inputs = np.concatenate([np.full((len(ids), 1), START, "int32"), outputs[:, :-1]], axis=1)
    inputs[inputs == END] = PAD
    model = kt.models.transformer(
        FIRST + 10 + len(WORDS),
        num_layers=2,
        num_heads=4,
        hidden_dim=64,
        intermediate_dim=128,
        dropout=0.0,
        normalize_first=True,
    )
    steps = epochs * (count // 64)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        kt.training.MaskedCrossentropy(),
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )
    model.fit(
        {"source_ids": ids[:count], "target_ids": inputs[:count]},
        outputs[:count],
        batch_size=64,
        epochs=epochs,
        verbose=0,
    )
    generated = kt.decoding.generate(
        model,
        [[*row, END] for row in sources[count:]],
        max_new_tokens=outputs.shape[1] + 3,
        start_id=START,
        stop_ids=(END,),
    )
    correct = [
        [int(token) for token in row if token != PAD] == [*target, END]
        for row, target in zip(generated, targets[count:], strict=True)
    ]
    assert np.mean(correct) >= 0.99
