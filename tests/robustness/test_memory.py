"""The number of programs that decoding keeps is bounded, whatever the requests."""

import gc
import weakref

import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.decoding import programs
from keras_transformer.decoding.padded_rows import round_up
from keras_transformer.decoding.programs import programs_of
from tests.decoding.reference import lively_case
from tests.laws.models import make_case
from tests.robustness import memory
from tests.robustness.memory import num_programs
from tests.robustness.pipelines import ask, make_pipelines, requests_of_all_lengths

PROMPTS = ["the cat", "a dog ran", "the old house", "near", "where"]


@pytest.fixture
def most_programs():
    """Sets the bound, and restores the usual one."""
    usual = programs.max_programs()
    yield kt.decoding.set_max_programs
    kt.decoding.set_max_programs(usual)


def test_the_programs_used_longest_ago_go_first(most_programs):
    most_programs(3)
    first, second = (make_case("gpt").model for _ in range(2))
    one, other = programs_of(first, ("greedy",)), programs_of(second, ("random",))
    one.keep("a", len)
    other.keep("b", len)
    one.keep("c", len)
    assert one.find("a") is len  # used again
    other.keep("d", len)
    assert [one.find("a"), other.find("b"), one.find("c"), other.find("d")] == [len, None, len, len]
    most_programs(1)
    assert num_programs() == 1 and other.find("d") is len


def test_programs_of_settings_that_are_gone_do_not_count(most_programs):
    most_programs(4)
    model = make_case("gpt").model
    for number in range(200):
        programs_of(model, (number,)).keep("a", len)
        assert num_programs() <= 4
    assert programs_of(model, (199,)).find("a") is len
    assert programs_of(model, (195,)).find("a") is None


@pytest.mark.parametrize("value", [0, -1, 2.5, None, True])
def test_the_bound_is_a_positive_integer(value):
    message = f"`max_programs` must be a positive integer. Received: max_programs={value}"
    with pytest.raises(ValueError, match=message):
        kt.decoding.set_max_programs(value)


@pytest.mark.slow
def test_a_program_that_is_dropped_is_freed_and_compiled_again(most_programs):
    model = lively_case("gpt").model
    most_programs(1)  # other tests may still hold programs
    expected = kt.decoding.generate(model, [[5, 9]], 4)
    held = [
        weakref.ref(program.run)
        for kept in list(programs._kept.values())
        for by_settings in kept.forms.values()
        for compiled in by_settings.values()
        for program in compiled.values()
    ]
    assert held
    kt.decoding.generate(model, [[5, 9]], 4, sampler="random", seed=1)
    assert num_programs() == 1
    gc.collect()
    assert all(reference() is None for reference in held)
    np.testing.assert_array_equal(kt.decoding.generate(model, [[5, 9]], 4), expected)


@pytest.mark.slow
def test_few_programs_give_the_same_answers(most_programs):
    requests = requests_of_all_lengths(6, seed=3)
    pipelines = make_pipelines()
    expected = [ask(pipelines, request) for request in requests]
    most_programs(2)
    assert [ask(pipelines, request) for request in requests] == expected
    assert num_programs() <= 2


@pytest.mark.slow
def test_all_numbers_of_texts_share_the_programs_of_powers_of_two():
    generator = make_pipelines().generator
    for count in (1, 2, 4, 8):
        generator.generate(PROMPTS[:1] * count, max_new_tokens=3)
    before = num_programs(generator)
    for count in range(1, 9):
        assert len(generator.generate(PROMPTS[:1] * count, max_new_tokens=3)) == count
    assert num_programs(generator) == before > 0


def test_lengths_are_rounded_to_few():
    rounded = {length: round_up(length) for length in range(1, 4097)}
    assert all(length <= width < length + max(16, length / 4) for length, width in rounded.items())
    widths = sorted(set(rounded.values()))
    assert widths[:12] == [16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256]
    assert len(widths) == 8 + 4 * 5


@pytest.mark.slow
def test_a_small_soak():
    """The memory is not flat after so few requests, but the programs are bounded."""
    growth, memory.MOST_GROWTH = memory.MOST_GROWTH, 1.0
    try:
        assert "40 requests of all lengths" in memory.run(40)
    finally:
        memory.MOST_GROWTH = growth
