"""Streams make as many tokens at a time as nobody waits for."""

import types

import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.decoding import pace as module
from keras_transformer.decoding.pace import Pace
from tests.decoding.reference import lively_case

PROMPT = [[8, 8, 12, 4, 20, 7, 3]]


class Clockwork:
    """A generation whose calls take what they are told, on a clock of its own."""

    def __init__(self, monkeypatch, seconds_per_call, seconds_per_token):
        self.now, self.step, self.strides = 0.0, 0, []
        self.costs = seconds_per_call, seconds_per_token
        clock = types.SimpleNamespace(perf_counter=lambda: self.now)
        monkeypatch.setattr(module, "time", clock)

    def advance(self, until):
        call, token = self.costs
        self.strides.append(until - self.step)
        self.now += call + token * (until - self.step)
        self.step = until


@pytest.mark.parametrize(
    ("costs", "strides"),
    [
        ((0.0, 0.3), [1, 1, 1, 1]),  # slow: each token at once
        ((0.0, 0.06), [1, 1, 1, 1]),
        ((0.003, 0.013), [1, 2, 4, 4, 4]),
        ((0.0, 1e-6), [1, 2, 4, 8, 16, 32, 32]),
    ],
)
def test_calls_take_a_tenth_of_a_second(monkeypatch, costs, strides):
    run, pace = Clockwork(monkeypatch, *costs), Pace()
    for _ in strides:
        pace.advance(run)
    assert run.strides == strides


def test_a_call_that_took_long_makes_the_next_ones_shorter(monkeypatch):
    run, pace = Clockwork(monkeypatch, 0.0, 0.01), Pace()
    for _ in range(4):
        pace.advance(run)
    run.costs = (5.0, 0.01)
    pace.advance(run)
    run.costs = (0.0, 0.01)
    for _ in range(2):
        pace.advance(run)
    assert run.strides == [1, 2, 4, 8, 8, 4, 8]


def test_a_fixed_pace_stays(monkeypatch):
    run, pace = Clockwork(monkeypatch, 1.0, 1.0), Pace(3)
    for _ in range(3):
        pace.advance(run)
    assert run.strides == [3, 3, 3]


@pytest.mark.parametrize("tokens_per_call", [None, 1, 4, 20])
def test_the_tokens_do_not_depend_on_it(tokens_per_call):
    model = lively_case("gpt").model
    options = {"max_new_tokens": 9, "sampler": "random", "seed": 5}
    expected = kt.decoding.generate(model, PROMPT, **options)[0, len(PROMPT[0]) :]
    tokens = list(kt.decoding.stream(model, PROMPT, tokens_per_call=tokens_per_call, **options))
    np.testing.assert_array_equal(np.concatenate(tokens), expected)


def test_its_number_is_checked():
    with pytest.raises(ValueError, match="`tokens_per_call` must be at least 1. Received: .*=0"):
        kt.decoding.stream(lively_case("gpt").model, PROMPT, tokens_per_call=0)
