"""How weights start: the papers' spread at the papers' width, and in proportion at others."""

import keras
import numpy as np
import pytest

import keras_transformer as kt


def build(kind, hidden_dim, **more):
    keras.utils.set_random_seed(1)
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": hidden_dim, "intermediate_dim": 64}
    if kind == "vit":
        return kt.models.vit(16, 4, 10, **sizes, **more)
    return getattr(kt.models, kind)(500, max_length=50, **sizes, **more)


def spread(model):
    """Of the kernels and embeddings, the head of a classifier and the class token left out."""
    names = ("kernel", "embedding")
    weights = [w for w in model.weights if w.path.split("/")[-1].startswith(names)]
    weights = [w for w in weights if "logits" not in w.path and np.prod(w.shape) > 500]
    assert len(weights) >= 6
    return [float(np.std(keras.ops.convert_to_numpy(w))) for w in weights]


@pytest.mark.parametrize("kind", ["gpt", "bert", "vit"])
@pytest.mark.parametrize(("hidden_dim", "stddev"), [(768, 0.02), (48, 0.08), (192, 0.04)])
def test_spread_follows_the_width(kind, hidden_dim, stddev):
    # A truncated normal of this deviation in Keras is cut at two of them: 0.88 of it are left.
    expected = stddev if kind == "gpt" else 0.88 * stddev
    np.testing.assert_allclose(spread(build(kind, hidden_dim)), expected, rtol=0.1)


@pytest.mark.parametrize("kind", ["gpt", "bert", "vit"])
def test_a_given_deviation_is_taken(kind):
    narrow = spread(build(kind, 64, initializer_stddev=0.01))
    np.testing.assert_allclose(narrow, 0.01 if kind == "gpt" else 0.0088, rtol=0.1)


@pytest.mark.parametrize("kind", ["gpt", "bert", "vit"])
@pytest.mark.parametrize("bad", [0.0, -0.02, float("nan"), float("inf")])
def test_a_deviation_must_be_positive(kind, bad):
    with pytest.raises(ValueError, match="`initializer_stddev` must be.*Received"):
        build(kind, 64, initializer_stddev=bad)
