"""Every kind of model with every way that Keras has to feed, train, copy and save it.

All ways are compared with plain `fit` on three batches, the last of which is a single example.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.training.model_kinds import KINDS, take

BACKEND = keras.backend.backend()
BATCHES = [slice(0, 3), slice(3, 6), slice(6, 7)]


class Whole(keras.utils.PyDataset):
    """The three batches, with sample weights if there are any."""

    def __init__(self, kind, weights=None):
        super().__init__()
        arrays = (kind.inputs, kind.labels, weights)
        self.arrays = arrays if weights is not None else arrays[:2]

    def __len__(self):
        return len(BATCHES)

    def __getitem__(self, index):
        return take(self.arrays, BATCHES[index])


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    keras.utils.set_random_seed(11)
    return KINDS[request.param]()


@pytest.fixture(scope="module")
def start(kind):
    return kind.model.get_weights()


def compiled(kind, start, optimizer=None, **more):
    """The model from its start, newly compiled."""
    kind.model.set_weights(start)
    # On TensorFlow a few steps take less time than tracing one.
    more = {"run_eagerly": BACKEND == "tensorflow", "jit_compile": BACKEND == "jax", **more}
    kind.model.compile(optimizer or keras.optimizers.SGD(0.1), kind.loss, **more)
    return kind.model


def fit(model, data, **more):
    """The loss of an epoch."""
    return model.fit(data, shuffle=False, verbose=0, **more).history["loss"]


def weights_of(model):
    return [np.array(ops.convert_to_numpy(weight)) for weight in model.weights]


def assert_equal(ones, others, tolerance=1e-5):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance, rtol=tolerance)


@pytest.fixture(scope="module")
def plain(kind, start):
    """Losses and weights of plain `fit`."""
    model = compiled(kind, start)
    losses = fit(model, Whole(kind))
    weights = weights_of(model)
    # Training changes the weights, so the comparisons below are not trivial.
    assert max(np.abs(x - y).max() for x, y in zip(weights, start, strict=True)) > 1e-3
    return losses, weights


def test_the_batches_are_what_the_loss_says(kind, start, plain):
    # Backend-neutral brute force: each batch's loss by hand, before anything is trained.
    model = compiled(kind, start, keras.optimizers.SGD(0.0))
    expected = 0.0
    for rows in BATCHES:
        inputs, labels = take((kind.inputs, kind.labels), rows)
        outputs = model(inputs, training=True)  # some models add a loss, only in training
        loss = kind.loss(ops.convert_to_tensor(labels), outputs)
        extra = sum(float(ops.convert_to_numpy(one)) for one in model.losses)
        expected += (float(ops.convert_to_numpy(loss)) + extra) * len(labels)
    assert fit(model, Whole(kind))[0] == pytest.approx(expected / 7, rel=1e-4)


def test_generators(kind, start, plain):
    def batches():
        while True:
            yield from (Whole(kind)[index] for index in range(3))

    model = compiled(kind, start)
    assert_equal(fit(model, batches(), steps_per_epoch=3), plain[0])
    assert_equal(weights_of(model), plain[1])


def test_tf_data(kind, start, plain):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((kind.inputs, kind.labels)).batch(3)
    model = compiled(kind, start)
    assert_equal(fit(model, data), plain[0])
    assert_equal(weights_of(model), plain[1])


def test_torch_loaders(kind, start, plain):
    torch_data = pytest.importorskip("torch.utils.data")
    examples = [take((kind.inputs, kind.labels), index) for index in range(7)]
    data = torch_data.DataLoader(examples, batch_size=3)
    model = compiled(kind, start)
    assert_equal(fit(model, data), plain[0])
    assert_equal(weights_of(model), plain[1])


def test_steps_per_epoch(kind, start, plain):
    model = compiled(kind, start)
    # Three epochs of one step equal the single pass of plain `fit`.
    model.fit(Whole(kind), epochs=3, steps_per_epoch=1, shuffle=False, verbose=0)
    assert_equal(weights_of(model), plain[1])


@pytest.mark.skipif(BACKEND == "torch", reason="torch takes one step at a time")
def test_steps_per_execution(kind, start, plain):
    model = compiled(kind, start, steps_per_execution=2)
    assert_equal(fit(model, Whole(kind)), plain[0])
    assert_equal(weights_of(model), plain[1])


@pytest.mark.slow
def test_compiled_or_eager(kind, start, plain):
    # The opposite of the other tests here; torch has only one way.
    eagerly = BACKEND != "tensorflow"
    model = compiled(kind, start, run_eagerly=eagerly, jit_compile=False)
    assert_equal(fit(model, Whole(kind)), plain[0])
    assert_equal(weights_of(model), plain[1])


def test_sample_weights(kind, start):
    # Weights of 0 leave examples out; a last batch of weight 0 changes nothing and gives no NaN.
    weights = np.array([1, 0, 1, 1, 1, 0, 0], "float32")
    left_out = weights == 0
    is_kerass_own = not isinstance(kind.loss, kt.training.MaskedCrossentropy)
    if is_kerass_own and np.ndim(kind.labels) > 1:
        # It would take weights of shape (B,) for one weight per sample of the series, or per token.
        weights = weights[:, None]
    model = compiled(kind, start)
    losses = fit(model, Whole(kind, weights))
    assert np.isfinite(losses).all() and all(np.isfinite(w).all() for w in weights_of(model))
    with_zeros = weights_of(model)
    # The labels of the left-out examples do not affect the loss.
    shuffled = np.array(kind.labels)
    shuffled[left_out] = np.roll(shuffled[left_out], 1, axis=0)
    model = compiled(kind, start)
    other = kind._replace(labels=shuffled)
    assert_equal(fit(model, Whole(other, weights)), losses)
    assert_equal(weights_of(model), with_zeros)


def test_accumulation(kind, start):
    # The update of two batches is the mean of both batches' updates; the third one waits.
    model = compiled(kind, start, keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    fit(model, Whole(kind))
    accumulated = weights_of(model)
    assert int(model.optimizer.iterations) == 1
    changes = []
    for index in (0, 1):
        model = compiled(kind, start)
        model.train_on_batch(*Whole(kind)[index])
        changes.append([new - old for new, old in zip(weights_of(model), start, strict=True)])
    expected = [w + (one + two) / 2 for w, one, two in zip(start, *changes, strict=True)]
    assert_equal(accumulated, expected, 1e-4)


@pytest.mark.slow
def test_averaged_weights_survive_saving(kind, start, tmp_path):
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model = compiled(kind, start, optimizer)
    model.fit(Whole(kind), epochs=1, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    states = ([ops.convert_to_numpy(x) for x in m.optimizer.variables] for m in (loaded, model))
    assert_equal(*states)
    for each in (model, loaded):
        each.fit(Whole(kind), epochs=1, shuffle=False, verbose=0)
    assert_equal(weights_of(loaded), weights_of(model))


def predict(model, kind):
    return ops.convert_to_numpy(model(kind.inputs))


@pytest.mark.slow
def test_copies_and_files(kind, start, tmp_path):
    kind.model.set_weights(start)
    model, expected = kind.model, predict(kind.model, kind)
    model.save(tmp_path / "model.keras")
    assert_equal([predict(keras.saving.load_model(tmp_path / "model.keras"), kind)], [expected])
    model.save_weights(tmp_path / "model.weights.h5")
    # In shards of 2 kB.
    model.save_weights(tmp_path / "shards.weights.json", max_shard_size=2e-6)
    assert len(list(tmp_path.glob("shards_*.weights.h5"))) > 1
    copies = {
        "clone": keras.models.clone_model(model),
        "config": type(model).from_config(model.get_config()),
    }
    for copy in copies.values():
        # Nodes of a layer that was called twice may come in another order.
        assert [x.get_config() for x in copy.layers] == [x.get_config() for x in model.layers]
        for file in ("model.weights.h5", "shards.weights.json"):
            for weight in copy.weights:
                weight.assign(ops.zeros_like(weight))
            copy.load_weights(tmp_path / file)
            assert_equal([predict(copy, kind)], [expected])


# With one source token, attention has no choice, and torch gives the keys no gradient, not zeros.
@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables .*key")
def test_one_example_of_one_token(kind, start):
    model = compiled(kind, start)
    inputs, labels = take((kind.inputs, kind.labels), slice(2, 3))
    if isinstance(inputs, dict):  # images have no length
        sequences = np.asarray(labels).ndim > 1
        inputs = {name: array[:, :1] for name, array in inputs.items()}
        labels = labels[:, :1] if sequences else labels
    history = [model.train_on_batch(inputs, labels) for _ in range(3)]
    assert np.isfinite(history).all()
    assert all(np.isfinite(weight).all() for weight in weights_of(model))


def test_every_builder_is_here():
    others = {
        "gpt1": "gpt",
        "transformer_base": "transformer",
        "transformer_big": "transformer",
        "entailment": "classifier",
        "similarity": "classifier",
        "multiple_choice": "classifier",
        "regressor": "classifier",
        "span_extractor": "token_classifier",
        # The loss of pairs depends on the rows that share a batch: models/test_sentence_encoder.py.
        "sentence_encoder": "bert",
        "sentence_pairs": "bert",
    }
    assert set(others.values()) <= set(KINDS)
    builders = {name for name in kt.models.__all__ if callable(getattr(kt.models, name))}
    assert builders - set(others) - {"with_new_tokens"} == set(KINDS)
