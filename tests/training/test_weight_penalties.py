"""L2: the loss and its gradient, by hand."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import randomize, to_numpy, token_ids

RATE, STEP = 0.01, 0.1


def make():
    return randomize(kt.models.gpt(23, 1, 2, 8, 11, max_length=9, dropout=0.0))


def fit_one_step(model):
    model.compile(keras.optimizers.SGD(STEP), kt.training.MaskedCrossentropy())
    ids = token_ids(4, 7, vocabulary_size=23)
    history = model.fit({"token_ids": ids}, np.roll(ids, -1, axis=1), batch_size=4, verbose=0)
    return history.history["loss"][0], [to_numpy(weight) for weight in model.weights]


def test_the_loss_and_one_step_by_hand():
    plain, penalized = make(), make()
    before = [to_numpy(weight) for weight in plain.weights]
    paths = kt.training.add_l2(penalized, RATE)
    is_chosen = [weight.path in paths for weight in penalized.weights]
    names = {weight.name for weight in penalized.weights if weight.path not in paths}
    assert names == {"bias", "gamma", "beta"}
    loss, after = fit_one_step(plain)
    penalized_loss, penalized_after = fit_one_step(penalized)
    total = sum((w**2).sum() for w, chosen in zip(before, is_chosen, strict=True) if chosen)
    assert penalized_loss == pytest.approx(loss + RATE * total, rel=1e-5)
    for old, new, plain_new, chosen in zip(before, penalized_after, after, is_chosen, strict=True):
        expected = plain_new - STEP * 2 * RATE * old if chosen else plain_new
        np.testing.assert_allclose(new, expected, atol=1e-5)


def test_the_chunked_loss_has_it_too():
    plain = make()
    ids = token_ids(4, 7, vocabulary_size=23)
    losses = []
    for rate in (0.0, RATE):
        model = kt.training.ChunkedLossModel(plain)
        kt.training.add_l2(model, rate)
        model.compile(keras.optimizers.SGD(0.0), kt.training.MaskedCrossentropy())
        losses.append(model.evaluate({"token_ids": ids}, np.roll(ids, -1, axis=1), verbose=0))
    total = sum(
        (to_numpy(w) ** 2).sum() for w in plain.weights if w.name not in ("bias", "gamma", "beta")
    )
    assert losses[1] == pytest.approx(losses[0] + RATE * total, rel=1e-5)


def test_zero_takes_it_off():
    model = make()
    kt.training.add_l2(model, RATE)
    assert model.losses
    kt.training.add_l2(model, 0)
    assert not model.losses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": -1.0}, "`rate` must be a finite number >= 0. Received: rate=-1.0"),
        ({"rate": "a"}, "`rate` must be a finite number"),
        ({"exclude": "bias"}, "`exclude` must be a collection of names"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        kt.training.add_l2(make(), **arguments)
    with pytest.raises(ValueError, match="`model` must be built and have trainable weights"):
        kt.training.add_l2(keras.Sequential([keras.layers.Dense(2)]))
