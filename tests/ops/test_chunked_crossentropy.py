"""Cross-entropy in chunks against the loss over whole logits."""

import numpy as np
import pytest
from keras import ops

from keras_transformer.ops.chunked_crossentropy import chunked_crossentropy
from keras_transformer.training import MaskedAccuracy, MaskedCrossentropy, Perplexity
from tests.harness import BACKEND, gradient, normal, to_numpy, token_ids

N, D, V = 11, 5, 13
LABELS = token_ids(N, vocabulary_size=V, seed=4)
WEIGHTS = np.array([1, 0.5, 0, 1, 1, 2, 1, 0, 1, 1, 3], "float32")
SMOOTHINGS = [(0.0, "all_classes"), (0.1, "all_classes"), (0.1, "wrong_classes")]


def arrays(transposed, with_bias):
    matrix = normal(V, D, seed=1)
    given = [normal(N, D), matrix.T.copy() if transposed else matrix]
    return given + [normal(V, seed=2)] * with_bias


def dense_sum(loss, transposed, hidden, matrix, bias=None):
    logits = ops.matmul(hidden, matrix if transposed else ops.transpose(matrix))
    logits = logits if bias is None else logits + bias
    return loss(LABELS[None], logits[None], WEIGHTS[None])


def chunked(smoothing, transposed, hidden, matrix, bias=None, **arguments):
    names = ("label_weight", "mean_weight")
    weights = MaskedCrossentropy(*smoothing, padding_id=None).target_weights(V)
    given = {"labels": LABELS, "weights": WEIGHTS, "transposed": transposed, **arguments}
    given |= {name: ops.convert_to_tensor(given[name]) for name in ("labels", "weights")}
    given |= dict(zip(names, weights, strict=True))
    return chunked_crossentropy(hidden, matrix, bias, **given)


def gradient_for(function, given, index):
    def value(x):
        tensors = [ops.convert_to_tensor(array) for array in given]
        tensors[index] = x
        return function(*tensors)

    return gradient(value, given[index])


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("chunk_size", [1, 4, 11, 100])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_equal_to_the_loss_over_whole_logits(smoothing, chunk_size, transposed, with_bias):
    given = arrays(transposed, with_bias)
    loss = MaskedCrossentropy(*smoothing, padding_id=None, reduction="sum")

    def in_chunks(*tensors, **arguments):
        return chunked(smoothing, transposed, *tensors, chunk_size=chunk_size, **arguments)

    tensors = [ops.convert_to_tensor(array) for array in given]
    expected = float(to_numpy(dense_sum(loss, transposed, *tensors)))
    for training in (True, False):
        assert float(to_numpy(in_chunks(*tensors, training=training).loss)) == pytest.approx(
            expected, rel=1e-6
        )
    for index in range(len(given)):
        actual = gradient_for(lambda *tensors: 3.0 * in_chunks(*tensors).loss, given, index)
        wanted = gradient_for(
            lambda *tensors: 3.0 * dense_sum(loss, transposed, *tensors), given, index
        )
        np.testing.assert_allclose(actual, wanted, atol=2e-5)


def test_what_metrics_need():
    given = arrays(False, True)
    given[0][3] = 0.0
    given[1][2:4] = given[1][1]  # ties
    hidden, matrix, bias = (ops.convert_to_tensor(array) for array in given)
    sums = chunked(
        SMOOTHINGS[1],
        False,
        *(hidden, matrix, bias),
        weights=np.ones_like(WEIGHTS),
        metric_weights=ops.convert_to_tensor(WEIGHTS),
        chunk_size=4,
        count_correct=True,
    )
    logits = given[0] @ given[1].T + given[2]
    for metric, total in (
        (MaskedAccuracy(padding_id=None), sums.correct),
        (Perplexity(padding_id=None), sums.negative_log_likelihood),
    ):
        metric.update_state(LABELS[None], logits[None], WEIGHTS[None])
        expected = float(to_numpy(metric.result()))
        metric.reset_state()
        metric.add_sums(total, WEIGHTS.sum())
        assert float(to_numpy(metric.result())) == pytest.approx(expected, rel=1e-5)
    assert chunked(SMOOTHINGS[0], False, hidden, matrix, bias).correct is None


def test_a_matrix_that_does_not_train_gets_no_gradient():
    given = arrays(False, True)

    def value(*tensors):
        return chunked(SMOOTHINGS[1], False, *tensors, chunk_size=4, matrix_trainable=False).loss

    wanted = gradient_for(lambda *t: chunked(SMOOTHINGS[1], False, *t).loss, given, 0)
    np.testing.assert_allclose(gradient_for(value, given, 0), wanted, atol=1e-5)
    if BACKEND == "jax":  # elsewhere no gradient is None, an error of the helper
        assert np.abs(gradient_for(value, given, 1)).max() == 0.0


def test_what_does_not_count_may_be_infinite():
    given = arrays(False, False)
    given[0][2] = np.inf
    tensors = [ops.convert_to_tensor(array) for array in given]
    assert np.isfinite(to_numpy(chunked(SMOOTHINGS[0], False, *tensors, chunk_size=4).loss))


@pytest.mark.parametrize("label", [-1, V])
def test_a_label_outside_the_vocabulary_gives_nan(label):
    labels = LABELS.copy()
    labels[0] = label
    tensors = [ops.convert_to_tensor(array) for array in arrays(False, False)]
    assert np.isnan(to_numpy(chunked(SMOOTHINGS[0], False, *tensors, labels=labels).loss))


@pytest.mark.skipif(BACKEND != "jax", reason="the others list no shapes of a program")
def test_no_tensor_holds_all_logits():
    import jax

    positions, words = 512, 97

    def loss(hidden, matrix):
        labels = np.arange(positions, dtype="int32") % words
        weights = np.ones(positions, "float32")
        return chunked_crossentropy(
            *(hidden, matrix, None, labels, weights),
            label_weight=0.9,
            mean_weight=0.1,
            chunk_size=8,
            count_correct=True,
        ).loss

    program = jax.make_jaxpr(jax.grad(loss, (0, 1)))(normal(positions, D), normal(words, D))
    largest = max(size for size in sizes_of(program.jaxpr))
    assert largest < positions * words / 10


def sizes_of(jaxpr):
    for equation in jaxpr.eqns:
        yield from (int(np.prod(variable.aval.shape)) for variable in equation.outvars)
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from sizes_of(inner)
