"""Decoding keeps programs and, on torch, copies of kernels: neither may outlive the weights."""

import numpy as np
import pytest

import keras_transformer as kt
from tests.laws.models import make_case


def decode(case):
    prompts = [[4, 5, 6, 3], [7, 8]]
    generated = kt.decoding.generate(case.model, prompts, max_new_tokens=6, return_log_probs=True)
    searched = kt.decoding.beam_search(case.model, prompts, num_beams=3, max_length=6)
    return generated.log_probs, searched.scores


@pytest.mark.parametrize("name", ["transformer", "gpt"])
def test_new_values_of_the_weights(name):
    case, other = make_case(name), make_case(name)
    before = decode(case)
    weights = [1.5 * weight for weight in case.model.get_weights()]
    case.model.set_weights(weights)
    other.model.set_weights(weights)
    for old, new, expected in zip(before, decode(case), decode(other), strict=True):
        np.testing.assert_allclose(new, expected, atol=1e-5)
        assert not np.allclose(new, old, atol=1e-3)
