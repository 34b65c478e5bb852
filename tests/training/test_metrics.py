"""Tests of the token metrics: exact over unequal batches."""

import keras
import numpy as np
import pytest

from keras_transformer.training import MaskedAccuracy, MaskedCrossentropy, Perplexity

VOCABULARY = 7
# JAX without compilation is slow, and so is TensorFlow's compiler on models this small.
COMPILED = keras.backend.backend() == "jax"
METRICS = [MaskedAccuracy, Perplexity]


def random_batch(batch, length, padded, seed):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(batch, length, VOCABULARY)).astype("float32")
    labels = generator.integers(1, VOCABULARY, size=(batch, length)).astype("int32")
    labels[:, length - padded :] = 0
    # Some right answers, so that the accuracy is neither 0 nor 1.
    labels[0, :2] = logits[0, :2, 1:].argmax(-1) + 1
    return labels, logits


def expected_value(metric_class, labels, logits, weights=None):
    logits = logits.astype("float64")
    weights = (labels != 0) * (1.0 if weights is None else weights)
    if metric_class is MaskedAccuracy:
        values = logits.argmax(-1) == labels
    else:
        log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        values = -np.take_along_axis(log_probabilities, labels[..., None], -1)[..., 0]
    mean = (values * weights).sum() / weights.sum()
    return mean if metric_class is MaskedAccuracy else np.exp(mean)


def value(metric):
    return float(keras.ops.convert_to_numpy(metric.result()))


@pytest.mark.parametrize("metric_class", METRICS)
def test_two_unequal_batches_are_one(metric_class):
    first, second = random_batch(2, 11, 3, seed=1), random_batch(5, 11, 8, seed=2)
    apart, together = metric_class(), metric_class()
    apart.update_state(*first)
    apart.update_state(*second)
    joined = [np.concatenate(pair) for pair in zip(first, second, strict=True)]
    together.update_state(*joined)
    expected = expected_value(metric_class, *joined)
    assert value(apart) == pytest.approx(expected, rel=1e-5)
    assert value(together) == pytest.approx(expected, rel=1e-5)
    # The mean of the batches' means is a different number, so the test can fail.
    means = np.mean([expected_value(metric_class, *batch) for batch in (first, second)])
    assert abs(means - expected) > 1e-3 * expected


@pytest.mark.parametrize("metric_class", METRICS)
@pytest.mark.parametrize("shape", [(3,), (3, 5)])
def test_sample_weight(metric_class, shape):
    labels, logits = random_batch(3, 5, 1, seed=3)
    weight = np.random.default_rng(4).uniform(0.0, 2.0, size=shape).astype("float32")
    metric = metric_class()
    metric.update_state(labels, logits, sample_weight=weight)
    weights = weight[:, None] if len(shape) == 1 else weight
    assert value(metric) == pytest.approx(expected_value(metric_class, labels, logits, weights))


@pytest.mark.parametrize(("metric_class", "empty"), [(MaskedAccuracy, 0.0), (Perplexity, 1.0)])
def test_reset_and_nothing_but_padding(metric_class, empty):
    labels, logits = random_batch(3, 5, 1, seed=5)
    metric = metric_class()
    metric.update_state(labels, logits)
    assert value(metric) != empty
    metric.reset_state()
    assert value(metric) == empty
    metric.update_state(np.zeros_like(labels), logits)
    assert value(metric) == empty


@pytest.mark.parametrize("metric_class", METRICS)
def test_padding_does_not_matter(metric_class):
    labels, logits = random_batch(3, 5, 2, seed=6)
    metric = metric_class()
    logits[labels == 0] = np.nan
    metric.update_state(labels, logits)
    expected = expected_value(metric_class, labels, np.where(labels[..., None] == 0, 0.0, logits))
    assert value(metric) == pytest.approx(expected, rel=1e-5)
    outside = metric_class(padding_id=-1)
    outside.update_state(np.where(labels == 0, -1, labels), logits)
    assert value(outside) == value(metric)


def test_padding_id_none_counts_every_label():
    labels, logits = random_batch(3, 5, 2, seed=6)
    metric = Perplexity(padding_id=None)
    metric.update_state(labels, logits)
    loss = MaskedCrossentropy(padding_id=None)(labels, logits)
    assert value(metric) == pytest.approx(np.exp(keras.ops.convert_to_numpy(loss)), rel=1e-5)


def test_ties_and_nan_do_not_score():
    labels = np.array([[1, 2, 3]], "int32")
    for logits in (np.zeros((1, 3, 5), "float32"), np.full((1, 3, 5), np.nan, "float32")):
        metric = MaskedAccuracy()
        metric.update_state(labels, logits)
        assert value(metric) == 0.0


@pytest.mark.parametrize("metric_class", METRICS)
def test_low_precision_logits(metric_class):
    labels, logits = random_batch(3, 5, 1, seed=7)
    low = keras.ops.cast(logits, "float16")
    metric = metric_class()
    metric.update_state(labels, low)
    exact = keras.ops.convert_to_numpy(keras.ops.cast(low, "float32"))
    assert value(metric) == pytest.approx(expected_value(metric_class, labels, exact), rel=1e-5)


@pytest.mark.parametrize("metric_class", METRICS)
def test_serialization(metric_class):
    metric = metric_class(padding_id=3, name="mine", dtype="float32")
    config = keras.metrics.serialize(metric)
    assert config["registered_name"] == f"keras_transformer>{metric_class.__name__}"
    again = keras.metrics.deserialize(config)
    assert again.get_config() == {"padding_id": 3, "name": "mine", "dtype": "float32"}


def test_evaluate_agrees_with_the_whole_set():
    labels, _ = random_batch(5, 3, 1, seed=8)
    labels[3:] = 0
    labels[3:, 0] = 2
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(VOCABULARY, 4, mask_zero=True),
            keras.layers.Dense(VOCABULARY),
        ]
    )
    model.compile(
        loss=MaskedCrossentropy(0.1), metrics=[MaskedAccuracy(), Perplexity()], jit_compile=COMPILED
    )
    results = model.evaluate(labels, labels, batch_size=3, verbose=0, return_dict=True)
    logits = keras.ops.convert_to_numpy(model(labels))
    for metric_class, name in zip(METRICS, ("masked_accuracy", "perplexity"), strict=True):
        expected = expected_value(metric_class, labels, logits)
        assert results[name] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("metric_class", METRICS)
def test_messages(metric_class):
    labels, logits = random_batch(3, 5, 1, seed=9)
    with pytest.raises(ValueError, match=r"`y_true` must have .*\(3, 4\), .*\(3, 5, 7\)"):
        metric_class().update_state(labels[:, 1:], logits)
