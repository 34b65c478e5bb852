"""Tests of the masked, smoothed cross-entropy, against NumPy and torch."""

import keras
import numpy as np
import pytest

from keras_transformer.training import MaskedCrossentropy

BATCH, LENGTH, VOCABULARY = 3, 5, 7


# JAX without compilation is slow, and so is TensorFlow's compiler on models this small.
COMPILED = keras.backend.backend() == "jax"


def number(tensor):
    return float(keras.ops.convert_to_numpy(tensor))


def random_batch(scale=3.0):
    generator = np.random.default_rng(11)
    logits = (scale * generator.normal(size=(BATCH, LENGTH, VOCABULARY))).astype("float32")
    labels = generator.integers(1, VOCABULARY, size=(BATCH, LENGTH)).astype("int32")
    labels[0, 2:] = 0
    labels[2, 4] = 0
    return labels, logits


def targets(labels, smoothing, spread):
    one_hot = np.eye(VOCABULARY)[labels]
    if spread == "all_classes":
        return (1 - smoothing) * one_hot + smoothing / VOCABULARY
    return (1 - smoothing) * one_hot + smoothing / (VOCABULARY - 1) * (1 - one_hot)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True), dtype="float64")
    return exponentials / exponentials.sum(-1, keepdims=True)


def expected_losses(labels, logits, smoothing=0.0, spread="all_classes"):
    losses = -(targets(labels, smoothing, spread) * np.log(softmax(logits))).sum(-1)
    return np.where(labels != 0, losses, 0.0)


def gradient(loss, labels, logits):
    """Returns d loss / d logits, from one step of plain gradient descent on a table of logits."""
    table = keras.layers.Embedding(BATCH * LENGTH, VOCABULARY)
    model = keras.Sequential([keras.Input((LENGTH,), dtype="int32"), table])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss, jit_compile=COMPILED)
    model.set_weights([logits.reshape(-1, VOCABULARY)])
    model.train_on_batch(np.arange(BATCH * LENGTH).reshape(BATCH, LENGTH), labels)
    return logits - model.get_weights()[0].reshape(logits.shape)


CONVENTIONS = [(0.0, "all_classes"), (0.1, "all_classes"), (0.1, "wrong_classes")]


@pytest.mark.parametrize(("smoothing", "spread"), CONVENTIONS)
def test_values_and_gradient_against_numpy(smoothing, spread):
    labels, logits = random_batch()
    loss = MaskedCrossentropy(smoothing, spread)
    losses = expected_losses(labels, logits, smoothing, spread)
    real = labels != 0
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loss.call(labels, logits)), losses, 1e-5)
    assert number(loss(labels, logits)) == pytest.approx(losses.sum() / real.sum(), rel=1e-5)
    expected = (softmax(logits) - targets(labels, smoothing, spread)) * real[..., None] / real.sum()
    np.testing.assert_allclose(gradient(loss, labels, logits), expected, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_parity_with_torch(smoothing):
    torch = pytest.importorskip("torch")
    labels, logits = random_batch()
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(logits).reshape(-1, VOCABULARY),
        torch.tensor(labels).reshape(-1).long(),
        label_smoothing=smoothing,
        ignore_index=0,
    )
    loss = MaskedCrossentropy(label_smoothing=smoothing)
    assert number(loss(labels, logits)) == pytest.approx(float(expected), rel=1e-5)


def test_parity_with_keras():
    labels, logits = random_batch()
    keras_loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.1, reduction="none"
    )
    expected = keras.ops.convert_to_numpy(keras_loss(np.eye(VOCABULARY)[labels], logits))
    actual = MaskedCrossentropy(0.1, padding_id=None).call(labels, logits)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(actual), expected, rtol=1e-5)


def test_reductions():
    labels, logits = random_batch()
    losses = expected_losses(labels, logits)
    mean = losses.sum() / (labels != 0).sum()
    for reduction in ("mean_with_sample_weight", "sum_over_batch_size", "mean"):
        value = MaskedCrossentropy(reduction=reduction)(labels, logits)
        assert number(value) == pytest.approx(mean, rel=1e-5)
    assert number(MaskedCrossentropy(reduction="sum")(labels, logits)) == pytest.approx(
        losses.sum()
    )
    for reduction in ("none", None):
        value = MaskedCrossentropy(reduction=reduction)(labels, logits)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(value), losses, rtol=1e-5)


@pytest.mark.parametrize("shape", [(BATCH,), (BATCH, 1), (BATCH, LENGTH)])
def test_sample_weight_is_a_weighted_mean(shape):
    labels, logits = random_batch()
    weight = np.random.default_rng(2).uniform(0.5, 2.0, size=shape).astype("float32")
    weights = (weight[:, None] if len(shape) == 1 else weight) * (labels != 0)
    expected = (expected_losses(labels, logits) * weights).sum() / weights.sum()
    assert number(MaskedCrossentropy()(labels, logits, weight)) == pytest.approx(expected, rel=1e-5)


def test_weight_an_example_stays_on_the_batch_axis_of_a_square_batch():
    labels, logits = random_batch()
    labels, logits = labels[:, :BATCH], logits[:, :BATCH]
    weight = np.array([1.0, 0.0, 0.0], "float32")
    expected = expected_losses(labels, logits)[0].sum() / (labels[0] != 0).sum()
    assert number(MaskedCrossentropy()(labels, logits, weight)) == pytest.approx(expected, rel=1e-5)


def test_all_padding_gives_zero_and_no_gradient():
    _, logits = random_batch()
    labels = np.zeros((BATCH, LENGTH), "int32")
    loss = MaskedCrossentropy(0.1)
    assert number(loss(labels, logits)) == 0.0
    np.testing.assert_array_equal(gradient(loss, labels, logits), np.zeros_like(logits))


def test_padding_does_not_matter():
    labels, logits = random_batch()
    before = number(MaskedCrossentropy(0.1)(labels, logits))
    logits[labels == 0] = 1e9
    assert number(MaskedCrossentropy(0.1)(labels, logits)) == before
    longer_labels = np.pad(labels, ((0, 0), (0, 8)))
    longer_logits = np.pad(logits, ((0, 0), (0, 8), (0, 0)), constant_values=np.nan)
    longer = number(MaskedCrossentropy(0.1)(longer_labels, longer_logits))
    assert longer == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("label", [VOCABULARY, VOCABULARY + 2, -1])
def test_label_outside_the_vocabulary(label):
    labels, logits = random_batch()
    labels[1, 1] = label
    loss, message = MaskedCrossentropy(), rf"`y_true` must contain ids .*id {label} at \[1, 1\]"
    with pytest.raises(ValueError, match=message):
        loss(labels, logits)
    assert np.isfinite(number(MaskedCrossentropy(padding_id=label)(labels, logits)))
    if keras.backend.backend() == "torch":
        return  # where nothing is compiled
    # A compiled program cannot raise: its loss is NaN.
    if keras.backend.backend() == "jax":
        import jax as compiler

        compiled = compiler.jit(loss)
    else:
        import tensorflow as compiler

        compiled = compiler.function(loss)
    assert np.isnan(number(compiled(labels, logits)))


def test_padding_id_elsewhere():
    labels, logits = random_batch()
    expected = number(MaskedCrossentropy()(labels, logits))
    outside = np.where(labels == 0, -1, labels)
    assert number(MaskedCrossentropy(padding_id=-1)(outside, logits)) == pytest.approx(expected)
    every = -np.log(softmax(logits))[np.eye(VOCABULARY, dtype=bool)[labels]].mean()
    assert number(MaskedCrossentropy(padding_id=None)(labels, logits)) == pytest.approx(every, 1e-5)


def test_keeps_its_digits_where_the_model_is_sure():
    labels = np.array([[1, 1]], "int32")
    logits = np.array([[[1000.0, 1010.0], [-2000.0, -1995.0]]], "float32")
    losses = keras.ops.convert_to_numpy(MaskedCrossentropy().call(labels, logits))
    np.testing.assert_allclose(losses, np.log1p(np.exp([[-10.0, -5.0]])), rtol=1e-2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_computes_in_float32(dtype):
    labels, logits = random_batch()
    low = keras.ops.cast(logits, dtype)
    exact = keras.ops.convert_to_numpy(keras.ops.cast(low, "float32"))
    value = MaskedCrossentropy(0.1)(labels, low)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    expected = expected_losses(labels, exact, 0.1).sum() / (labels != 0).sum()
    assert number(value) == pytest.approx(expected, rel=1e-5)


def masked_model(**embedding):
    model = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(VOCABULARY, 4, mask_zero=True, **embedding),
            keras.layers.Dense(VOCABULARY),
        ]
    )
    return model


@pytest.mark.parametrize("input_padding", ["as the labels", "elsewhere"])
def test_implicit_mask_is_not_applied_again(input_padding):
    labels, _ = random_batch()
    inputs = labels if input_padding == "as the labels" else np.roll(labels, 1, axis=1)
    model = masked_model()
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=MaskedCrossentropy(0.1))
    output = model(inputs)
    assert getattr(output, "_keras_mask", None) is not None
    logits = keras.ops.convert_to_numpy(output)
    expected = expected_losses(labels, logits, 0.1).sum() / (labels != 0).sum()
    assert number(MaskedCrossentropy(0.1)(labels, output)) == pytest.approx(expected, rel=1e-5)
    history = model.fit(inputs, labels, batch_size=BATCH, verbose=0)
    assert history.history["loss"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_fit_learns_in_every_precision(policy):
    keras.utils.set_random_seed(3)
    labels, _ = random_batch()
    inputs = keras.Input((None,), dtype="int32")
    hidden = keras.layers.Embedding(VOCABULARY, 16, dtype=policy)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(VOCABULARY, dtype=policy)(hidden))
    optimizer = keras.optimizers.Adam(0.05)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer=optimizer, loss=MaskedCrossentropy(), jit_compile=COMPILED)
    losses = model.fit(labels, labels, epochs=40, batch_size=BATCH, verbose=0).history["loss"]
    assert losses[0] > 1.5
    assert losses[-1] < 0.3


def test_serialization():
    loss = MaskedCrossentropy(0.2, "wrong_classes", padding_id=3, reduction="sum", name="mine")
    config = keras.losses.serialize(loss)
    assert config["registered_name"] == "keras_transformer>MaskedCrossentropy"
    again = keras.losses.deserialize(config)
    assert again.get_config() == loss.get_config()
    assert again.get_config() == {
        "label_smoothing": 0.2,
        "smoothing_spread": "wrong_classes",
        "padding_id": 3,
        "reduction": "sum",
        "name": "mine",
    }
    labels, logits = random_batch()
    assert number(again(labels, logits)) == number(loss(labels, logits))


def test_messages():
    labels, logits = random_batch()
    with pytest.raises(
        ValueError, match=r"`label_smoothing` must be in the range \[0, 1\). Received: .*=1"
    ):
        MaskedCrossentropy(label_smoothing=1.0)
    with pytest.raises(ValueError, match="`smoothing_spread` must be one of .*='some'"):
        MaskedCrossentropy(smoothing_spread="some")
    with pytest.raises(ValueError, match="`reduction` must be one of .*reduction='median'"):
        MaskedCrossentropy(reduction="median")
    with pytest.raises(ValueError, match="`y_true` must have the shape of `y_pred` without"):
        MaskedCrossentropy()(labels[:, 1:], logits)
    with pytest.raises(ValueError, match=r"`y_pred` must have at least 2 classes .*=1"):
        MaskedCrossentropy(0.1, "wrong_classes")(0 * labels, logits[..., :1])
