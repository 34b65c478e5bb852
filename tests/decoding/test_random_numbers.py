"""The numbers of sampling: of the seed and the row only, however they are drawn."""

import tracemalloc

import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.decoding.random_numbers import RandomNumbers
from tests.decoding.reference import lively_case
from tests.laws.models import V

MOST = 10**8


def test_they_belong_to_seed_and_row():
    numbers = RandomNumbers(5, range(3)).first(8)
    np.testing.assert_array_equal(RandomNumbers(5, [1, 0, 1]).first(6), numbers[[1, 0, 1], :6])
    assert numbers.dtype == "float32" and numbers.max() < 1.0 and len(np.unique(numbers)) == 24
    assert not np.array_equal(RandomNumbers(6, range(3)).first(8), numbers)
    several = [RandomNumbers(None, range(3)).first(8) for _ in range(2)]
    assert not np.array_equal(*several)


def test_pieces_are_the_whole():
    whole, pieces = RandomNumbers(7, range(2)).first(1000), RandomNumbers(7, range(2))
    for count in (3, 1, 700, 1000):
        np.testing.assert_array_equal(pieces.first(count), whole[:, :count])


def peak_megabytes(call):
    call()  # what is compiled stays
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sampler", ["greedy", "random"])
@pytest.mark.parametrize("name", ["gpt_pre_norm_grouped", "transformer"])
def test_a_large_maximum_costs_no_memory(name, sampler):
    model = lively_case(name).model
    options = {"sampler": sampler, "seed": 3, "stop_ids": range(V)}  # any token ends a row

    def generate(most):
        return kt.decoding.generate(model, [[5, 9, 3]] * 3, most, **options)

    assert peak_megabytes(lambda: generate(MOST)) < 5
    np.testing.assert_array_equal(generate(MOST), generate(1))
    tokens = kt.decoding.stream(model, [[5, 9, 3]], max_new_tokens=10 * MOST, **options)
    assert len(list(tokens)) == 1


@pytest.mark.parametrize("name", ["gpt_pre_norm_grouped", "transformer"])
def test_a_large_maximum_of_a_search_costs_no_memory(name):
    model = lively_case(name).model
    banned = [token for token in range(V) if token != 3]  # only the end is left

    def search(most):
        return kt.decoding.beam_search(
            model, [[5, 9, 3]], num_beams=2, max_length=most, banned_ids=banned, length_penalty=0.0
        )

    assert peak_megabytes(lambda: search(MOST)) < 5
    for most in (100 * MOST, MOST):
        result = search(most)
        assert result.ids.tolist() == [[[3]]]
        np.testing.assert_allclose(result.scores, search(7).scores, rtol=1e-5)


def test_more_beams_than_ids_need_a_short_maximum():
    model = lively_case("transformer").model
    message = rf"`num_beams` must be at most .*num_beams={V + 1}, vocabulary_size={V}"
    with pytest.raises(ValueError, match=message):
        kt.decoding.beam_search(model, [[5]], num_beams=V + 1, max_length=MOST)
