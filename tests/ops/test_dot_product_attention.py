"""Attention against loops, on every implementation."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.harness import BACKEND, gradient, normal, to_numpy

B, T, S, N, H = 2, 5, 7, 6, 3
IMPLEMENTATIONS = ("auto", "dense", "fused")


def reference(query, key, value, mask=None, bias=None, causal=False, scale=None):
    """Equation 1 with one loop for each axis. Returns (output, weights)."""
    batch, queries, heads, size = query.shape
    keys, groups = key.shape[1], heads // key.shape[2]
    scale = size**-0.5 if scale is None else scale
    shape = (batch, heads, queries, keys)
    mask = np.ones(shape, bool) if mask is None else np.broadcast_to(mask, shape)
    bias = np.zeros(shape) if bias is None else np.broadcast_to(bias, shape)
    output, weights = np.zeros((batch, queries, heads, value.shape[3])), np.zeros(shape)
    for b in range(batch):
        for n in range(heads):
            for i in range(queries):
                seen = [j for j in range(keys) if mask[b, n, i, j] and (not causal or j <= i)]
                if not seen:
                    continue
                scores = [
                    scale * query[b, i, n] @ key[b, j, n // groups] + bias[b, n, i, j] for j in seen
                ]
                exponentials = np.exp(scores - np.max(scores))
                for weight, j in zip(exponentials / exponentials.sum(), seen, strict=True):
                    weights[b, n, i, j] = weight
                    output[b, i, n] += weight * value[b, j, n // groups]
    return output, weights


def arguments(num_key_value_heads=N, queries=T, keys=S):
    return {
        "query": normal(B, queries, N, H),
        "key": normal(B, keys, num_key_value_heads, H, seed=1),
        "value": normal(B, keys, num_key_value_heads, H, seed=2),
    }


def random_mask(*shape):
    """A mask with rows that see nothing, some only once the causal mask is there too."""
    mask = np.random.default_rng(7).random(shape) < 0.6
    mask[..., 0, :2] = False
    if shape[-2] > 2:
        mask[..., 2, :] = False
    return mask


def attend(tensors, **options):
    tensors = {name: ops.convert_to_tensor(value) for name, value in tensors.items()}
    for name in ("mask", "bias"):
        if options.get(name) is not None:
            options[name] = ops.convert_to_tensor(options[name])
    return kt.ops.dot_product_attention(**tensors, **options)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(
    "mask_shape", [None, (T, S), (B, 1, 1, S), (B, 1, T, S), (1, N, T, S), (B, N, T, S)]
)
def test_attention_against_loops(implementation, causal, with_bias, mask_shape):
    options = {"causal": causal, "mask": None, "bias": None}
    if mask_shape is not None:
        options["mask"] = random_mask(*mask_shape)
    if with_bias:
        options["bias"] = normal(1, N, T, S, seed=3)
    expected, _ = reference(**arguments(), **options)
    output = attend(arguments(), implementation=implementation, **options)
    np.testing.assert_allclose(to_numpy(output), expected, atol=2e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("num_key_value_heads", [1, 2, 3])
@pytest.mark.parametrize("mask_shape", [None, (B, N, T, S)])
def test_grouped_heads_against_loops(implementation, num_key_value_heads, mask_shape):
    mask = None if mask_shape is None else random_mask(*mask_shape)
    tensors = arguments(num_key_value_heads)
    expected, _ = reference(**tensors, mask=mask, causal=True)
    output = attend(tensors, mask=mask, causal=True, implementation=implementation)
    np.testing.assert_allclose(to_numpy(output), expected, atol=2e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("lengths", [(1, S), (S, 3), (T, T)])
@pytest.mark.parametrize("causal", [False, True])
def test_other_lengths_and_scale(implementation, lengths, causal):
    tensors = arguments(queries=lengths[0], keys=lengths[1])
    expected, _ = reference(**tensors, causal=causal, scale=0.7)
    output = attend(tensors, causal=causal, scale=0.7, implementation=implementation)
    np.testing.assert_allclose(to_numpy(output), expected, atol=2e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("with_mask", [False, True])
def test_windows(implementation, window, causal, with_mask):
    tensors = arguments()
    mask = random_mask(B, N, T, S) if with_mask else np.ones((1, 1, T, S), bool)
    near = np.abs(np.arange(T)[:, None] - np.arange(S)) < window
    expected, _ = reference(**tensors, mask=mask & near, causal=causal)
    output = attend(
        tensors,
        mask=mask if with_mask else None,
        causal=causal,
        window=window,
        implementation=implementation,
    )
    np.testing.assert_allclose(to_numpy(output), expected, atol=2e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("num_key_value_heads", [1, 2, N])
@pytest.mark.parametrize("queries", [1, T, 19])
@pytest.mark.parametrize("causal", [False, True])
def test_keys_and_values_as_caches_hold_them(implementation, num_key_value_heads, queries, causal):
    tensors = arguments(num_key_value_heads, queries=queries)
    mask = random_mask(B, 1, queries, S)
    expected, _ = reference(**tensors, mask=mask, causal=causal)
    for name in ("key", "value"):
        tensors[name] = tensors[name].transpose(0, 2, 1, 3)
    output = attend(
        tensors, mask=mask, causal=causal, implementation=implementation, heads_first=True
    )
    np.testing.assert_allclose(to_numpy(output), expected, atol=2e-6)


@pytest.mark.parametrize("num_key_value_heads", [2, N])
@pytest.mark.parametrize("mask_shape", [None, (B, 1, T, S)])
@pytest.mark.parametrize("causal", [False, True])
def test_scores_against_loops(num_key_value_heads, mask_shape, causal):
    tensors = arguments(num_key_value_heads)
    mask = None if mask_shape is None else random_mask(*mask_shape)
    output, weights = reference(**tensors, mask=mask, causal=causal)
    result = attend(tensors, mask=mask, causal=causal, return_attention_scores=True)
    assert sorted(result) == ["attention_scores", "output"]
    np.testing.assert_allclose(to_numpy(result["output"]), output, atol=2e-6)
    np.testing.assert_allclose(to_numpy(result["attention_scores"]), weights, atol=2e-6)


# === Rows that see nothing ===


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_a_fully_masked_row_is_zero_with_finite_gradients(implementation, dtype, with_bias, name):
    tensors = {key: ops.cast(value, dtype) for key, value in arguments(2).items()}
    mask = random_mask(B, 1, T, S)
    options = {"mask": ops.convert_to_tensor(mask), "implementation": implementation}
    options["causal"] = True
    if with_bias:
        options["bias"] = ops.cast(normal(1, N, T, S, seed=3), dtype)
    unseen = ~(mask & np.tril(np.ones((T, S), bool))).any(-1)[:, 0]  # (B, T)
    assert unseen[:, [0, 2]].all() and not unseen.all()
    output = kt.ops.dot_product_attention(**tensors, **options)
    assert keras.backend.standardize_dtype(output.dtype) == dtype
    assert np.isfinite(to_numpy(output)).all()
    assert (to_numpy(output)[unseen] == 0).all()
    assert (to_numpy(output)[~unseen] != 0).any()

    def function(x):
        return kt.ops.dot_product_attention(**{**tensors, name: x}, **options) ** 2

    slope = gradient(function, tensors[name])
    assert np.isfinite(slope).all()
    assert slope.any()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_nothing_seen_at_all(implementation, dtype):
    tensors = {key: ops.cast(value, dtype) for key, value in arguments().items()}
    mask = ops.zeros((B, 1, 1, S), dtype="bool")

    def function(x):
        return kt.ops.dot_product_attention(
            **{**tensors, "query": x}, mask=mask, implementation=implementation
        )

    assert not to_numpy(function(tensors["query"])).any()
    assert not gradient(function, tensors["query"]).any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_large_scores_stay_finite_in_half_precision(dtype):
    tensors = {key: ops.cast(30.0 * value, dtype) for key, value in arguments().items()}
    for implementation in IMPLEMENTATIONS:
        output = kt.ops.dot_product_attention(**tensors, implementation=implementation)
        assert np.isfinite(to_numpy(output)).all()


# === Dropout ===


def test_dropout_drops_weights_and_keeps_their_mean():
    rate, keys, size = 0.25, 64, 16
    value = ops.convert_to_tensor(
        np.tile(np.eye(keys, dtype="float32")[None, :, None], (2, 1, 4, 1))
    )
    query, key = ops.zeros((2, 32, 4, size)), ops.zeros((2, keys, 4, size))
    output = to_numpy(kt.ops.dot_product_attention(query, key, value, dropout=rate, seed=5))
    # With all scores equal, output[b, t, n, j] is the weight of key j: 0, or 1 / 64 / 0.75.
    kept = output != 0
    np.testing.assert_allclose(output[kept], 1 / keys / (1 - rate), rtol=1e-5)
    assert abs(kept.mean() - (1 - rate)) < 0.02  # 16,384 draws: six standard deviations
    assert abs(output.mean() * keys - 1.0) < 0.03


def test_scores_are_those_before_dropout():
    tensors = arguments()
    _, weights = reference(**tensors)
    result = attend(tensors, dropout=0.5, seed=5, return_attention_scores=True)
    np.testing.assert_allclose(to_numpy(result["attention_scores"]), weights, atol=2e-6)
    assert np.abs(to_numpy(result["output"]) - to_numpy(attend(tensors))).max() > 0.1


def test_dropout_follows_its_seed():
    generator = keras.random.SeedGenerator(3)
    first = to_numpy(attend(arguments(), dropout=0.5, seed=generator))
    second = to_numpy(attend(arguments(), dropout=0.5, seed=generator))
    again = to_numpy(attend(arguments(), dropout=0.5, seed=keras.random.SeedGenerator(3)))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, again)


# === The kernel of the backend ===


@pytest.fixture
def kernel_calls(monkeypatch):
    calls = []
    kernel = keras.ops.dot_product_attention

    def counted(*arguments, **options):
        calls.append(options)
        return kernel(*arguments, **options)

    monkeypatch.setattr(keras.ops, "dot_product_attention", counted)
    return calls


def test_auto_is_fused_where_a_kernel_is_faster(kernel_calls):
    attend(arguments(), implementation="auto")
    attend(arguments(2), causal=True, mask=random_mask(B, 1, T, S))
    assert len(kernel_calls) == 2 * kernel_is_faster()
    attend(arguments(), dropout=0.1, seed=1)
    attend(arguments(), return_attention_scores=True)
    attend(arguments(), implementation="dense")
    assert len(kernel_calls) == 2 * kernel_is_faster()
    attend(arguments(), implementation="fused")
    assert len(kernel_calls) == 2 * kernel_is_faster() + (BACKEND != "tensorflow")


def test_a_layer_with_dropout_is_fused_at_inference(kernel_calls):
    layer = kt.layers.MultiHeadSelfAttention(num_heads=3, dropout=0.1, causal=True)
    layer(normal(B, T, 12), training=False)
    assert len(kernel_calls) == kernel_is_faster()
    layer(normal(B, T, 12), training=True)
    layer(normal(B, T, 12), training=False, return_attention_scores=True)
    assert len(kernel_calls) == kernel_is_faster()


def kernel_is_faster():
    """Whether "auto" calls the backend's kernel: TensorFlow has none, JAX's is slower on a CPU."""
    if BACKEND == "jax":
        import jax

        return jax.default_backend() != "cpu"
    return BACKEND == "torch"


# === Errors ===


def test_unknown_implementation():
    with pytest.raises(
        ValueError, match="`implementation` must be .*Received: implementation='flash'"
    ):
        attend(arguments(), implementation="flash")


@pytest.mark.parametrize("options", [{"dropout": 0.1}, {"return_attention_scores": True}])
def test_fused_gives_no_weights(options):
    with pytest.raises(ValueError, match="does not support attention scores or dropout"):
        attend(arguments(), implementation="fused", **options)


@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_tensors_of_another_rank(name):
    tensors = arguments()
    tensors[name] = tensors[name][0]
    with pytest.raises(ValueError, match=f"`{name}` must have shape \\(batch, length, heads, head"):
        attend(tensors)


@pytest.mark.parametrize(("key_heads", "value_heads"), [(4, 4), (2, 3), (3, 1), (12, 12)])
def test_heads_that_do_not_fit(key_heads, value_heads):
    tensors = {**arguments(key_heads), "value": arguments(value_heads)["value"]}
    message = f"query=6, key={key_heads}, value={value_heads} heads"
    with pytest.raises(ValueError, match=f"must have the same number of heads.*{message}"):
        attend(tensors)
