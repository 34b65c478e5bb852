"""Positions by distance, windows and gated networks, against loops and reference code."""

import math

import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from keras_transformer.ops.relative import all_distances, shift_rows
from tests.harness import assert_close, make_decoder, make_encoder, normal, randomize, to_numpy

B, T, N, H = 2, 5, 3, 4
D = N * H
POSITIONS = np.array([[0, 1, 2, 3, 4], [3, 7, 8, 30, 200]], "int32")


def bias_by_loops(name, layer, query, positions, key_positions):
    """What is added to the score of each query and key, one after the other."""
    batch, length, heads, size = query.shape
    bias = np.zeros((batch, heads, length, key_positions.shape[1]))
    weights = [to_numpy(weight) for weight in layer.weights]
    for b, n, i, j in np.ndindex(bias.shape):
        ahead = int(key_positions[b, j]) - int(positions[b, i])
        if name == "alibi":
            bias[b, n, i, j] = -abs(ahead) * 2.0 ** (-8 * (n + 1) / heads)
        elif name == "shaw":
            row = min(max(ahead, -layer.max_distance), layer.max_distance) + layer.max_distance
            bias[b, n, i, j] = query[b, i, n] @ weights[0][row] / math.sqrt(size)
        else:
            bias[b, n, i, j] = weights[0][bucket_by_rule(layer, ahead), n]
    return bias


def bucket_by_rule(layer, ahead):
    """Section 2.1 of the paper: exact buckets, then logarithmic ones up to the farthest."""
    buckets, first = layer.num_buckets, 0
    if layer.bidirectional:
        buckets //= 2
        first = buckets if ahead > 0 else 0
    elif ahead > 0:
        ahead = 0
    behind, exact = abs(ahead), buckets // 2
    if behind < exact:
        return first + behind
    growth = math.log(behind / exact) / math.log(layer.max_distance / exact)
    return first + min(exact + int(growth * (buckets - exact) + 1e-6), buckets - 1)


LAYERS = {
    "shaw": lambda: kt.layers.RelativePositionKeys(max_distance=3),
    "t5": lambda: kt.layers.RelativePositionBias(num_buckets=8, max_distance=20),
    "t5, one direction": lambda: kt.layers.RelativePositionBias(6, 20, bidirectional=False),
    "alibi": kt.layers.LinearPositionBias,
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("given", ["no", "one row", "rows", "other keys"])
def test_against_loops(name, given):
    heads = 4 if name == "alibi" else N
    layer, query = LAYERS[name](), normal(B, T, heads, H)
    layer.build(query.shape)
    randomize(layer)
    positions = keys = np.tile(np.arange(T, dtype="int32"), (B, 1))
    arguments = {}
    if given == "one row":
        positions = keys = np.tile(POSITIONS[1], (B, 1))
        arguments = {"positions": POSITIONS[1]}
    elif given == "rows":
        positions = keys = POSITIONS
        arguments = {"positions": POSITIONS}
    elif given == "other keys":
        positions, keys = POSITIONS, np.array([[0, 1, 2, 9, 5, 40, 6], [250, 7, 8, 3, 4, 0, 100]])
        arguments = {"positions": positions, "key_positions": keys.astype("int32")}
    actual = to_numpy(layer(query, **arguments))
    expected = bias_by_loops(name, layer, query, positions, keys)
    assert_close(np.broadcast_to(actual, expected.shape), expected, 1e-5)


def test_buckets_are_those_of_transformers():
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    torch = pytest.importorskip("torch")
    for bidirectional in (False, True):
        layer = kt.layers.RelativePositionBias(bidirectional=bidirectional)
        layer.build((None, None, 1, H))
        layer.embeddings.assign(np.arange(32, dtype="float32")[:, None])
        ahead = np.arange(-400, 401, dtype="int32")
        expected = t5.T5Attention._relative_position_bucket(
            torch.tensor(ahead), bidirectional=bidirectional, num_buckets=32, max_distance=128
        )
        actual = layer(np.zeros((1, 1, 1, H), "float32"), np.zeros((1,), "int32"), ahead)
        np.testing.assert_array_equal(to_numpy(actual)[0, 0, 0], expected.numpy())


def test_slopes_are_those_of_transformers():
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    torch = pytest.importorskip("torch")
    for heads in (1, 2, 3, 6, 8, 12):
        theirs = bloom.build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)
        layer = kt.layers.LinearPositionBias()
        ours = layer(np.zeros((1, 2, heads, H), "float32"))
        assert_close(-ours[0, :, 1, 0], theirs.numpy()[:, 0, 1], 1e-6)


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 6), (4, 7), (7, 4)])
def test_shifted_rows(queries, keys):
    distances = to_numpy(all_distances(queries, keys))
    by_distance = np.tile(100 * np.arange(queries)[:, None], (2, 1, 1)) + distances
    shifted = to_numpy(shift_rows(ops.convert_to_tensor(by_distance), keys))
    expected = 100 * np.arange(queries)[:, None] + np.arange(keys) - np.arange(queries)[:, None]
    np.testing.assert_array_equal(shifted, np.tile(expected, (2, 1, 1)))


# === In the attention ===


def attention_by_loops(layer, x, positions):
    """Softmax of scaled products plus bias, under the window and the causal mask."""
    inner = layer.attention
    query, key, value = (
        to_numpy(project(ops.convert_to_tensor(x)))
        for project in (
            inner.project_query,
            lambda y: inner.project_key_value(y)[0],
            lambda y: inner.project_key_value(y)[1],
        )
    )
    scores = np.einsum("btnh,bsnh->bnts", query, key) / math.sqrt(H)
    if layer.position_bias is not None:
        name = layer.relative_positions
        scores = scores + bias_by_loops(name, layer.position_bias, query, positions, positions)
    ahead = positions[:, None, :] - positions[:, :, None]
    seen = np.ones_like(ahead, bool) if layer.window is None else np.abs(ahead) < layer.window
    places = np.arange(T)
    seen = seen & (places[None, :] <= places[:, None]) if layer.causal else seen
    weights = np.exp(scores - scores.max(-1, keepdims=True)) * seen[:, None]
    weights = weights / weights.sum(-1, keepdims=True)
    heads = np.einsum("bnts,bsnh->btnh", weights, value).reshape(B, T, D)
    return heads @ to_numpy(inner.output_dense.kernel) + to_numpy(inner.output_dense.bias)


@pytest.mark.parametrize("relative_positions", [None, "shaw", "t5"])
@pytest.mark.parametrize("window", [None, 1, 2])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("with_positions", [False, True])
def test_attention_against_loops(relative_positions, window, causal, with_positions):
    layer = kt.layers.MultiHeadSelfAttention(
        N, causal=causal, relative_positions=relative_positions, window=window
    )
    x = normal(B, T, D)
    layer.build(x.shape)
    randomize(layer, stddev=0.5)
    counted = np.tile(np.arange(T, dtype="int32"), (B, 1))
    positions = POSITIONS if with_positions else counted
    expected = attention_by_loops(layer, x, positions)
    actual = layer(x, positions=POSITIONS) if with_positions else layer(x)
    assert_close(actual, expected, 1e-5)
    # The dense path, which gives the scores, and the one in blocks or of the kernel agree.
    scores = layer(x, positions=positions, return_attention_scores=True)
    assert_close(scores["output"], expected, 1e-5)


def test_each_attention_has_a_layer_of_its_own():
    given = kt.layers.RelativePositionBias(num_buckets=4, max_distance=9)
    encoder = make_encoder(2, 2, 7, relative_positions=given)
    encoder.build((None, None, 8))
    first, second = (block.self_attention.position_bias for block in encoder.blocks)
    assert first is not second and first is not given
    assert first.embeddings.shape == (4, 2) and second.max_distance == 9


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_blocks_that_share_are_blocks_with_equal_tables(kind):
    """The table of the first block serves all of them, with a cache or without."""
    make, more = (make_encoder, {}) if kind == "encoder" else (make_decoder, {})
    if kind == "decoder":
        more = {"cross_attention": False}
    given = kt.layers.RelativePositionBias(num_buckets=6, max_distance=9, bidirectional=None)
    shared, apart = (
        make(3, 2, 7, relative_positions=given, share_relative_positions=share, **more)
        for share in (True, False)
    )
    for stack in (shared, apart):
        stack.build((None, None, 8))
    randomize(shared)
    tables = [block.self_attention.position_bias for block in shared.blocks]
    assert tables[0] is tables[1] is tables[2]
    assert tables[0].bidirectional is (kind == "encoder")
    assert len(apart.weights) == len(shared.weights) + 2
    names = {weight.path.split("/", 1)[1]: weight for weight in shared.weights}
    (table,) = (weight for name, weight in names.items() if "relative_positions" in name)
    for weight in apart.weights:
        weight.assign(names.get(weight.path.split("/", 1)[1], table))
    x = normal(B, 13, 8)
    assert_close(shared(x), to_numpy(apart(x)), 1e-6)
    if kind == "decoder":
        cache = shared.initial_cache(B, 13)
        first = shared(x[:, :5], cache=cache, cache_index=0)
        second = shared(x[:, 5:], cache=first["cache"], cache_index=5)
        assert_close(second["output"], to_numpy(apart(x))[:, 5:], 1e-5)


def test_what_cannot_be_shared():
    block = kt.layers.TransformerEncoderBlock
    message = "`share_relative_positions` must be False unless all blocks have the same.*Received"
    blocks = [
        [block(2, 7)],
        [block(2, 7, relative_positions="t5"), block(2, 7)],
        [block(2, 7, relative_positions="t5"), block(2, 7, relative_positions="shaw")],
        [block(2, 7, relative_positions="t5"), block(4, 7, relative_positions="t5")],
    ]
    for given in blocks:
        with pytest.raises(ValueError, match=message):
            kt.layers.TransformerEncoder(2, given, share_relative_positions=True)
    # Nothing is left behind for other layers.
    first, second = (kt.layers.MultiHeadSelfAttention(2, relative_positions="t5") for _ in "ab")
    assert first.position_bias is not second.position_bias


def test_windows_of_a_stack_take_turns():
    decoder = make_decoder(
        5, 2, 7, cross_attention=False, window=(None, 3), relative_positions="t5"
    )
    assert [block.window for block in decoder.blocks] == [None, 3, None, 3, None]
    assert not decoder.blocks[0].self_attention.position_bias.bidirectional
    assert (
        make_encoder(1, 2, 7, relative_positions="t5")
        .blocks[0]
        .self_attention.position_bias.bidirectional
    )


def test_gated_feed_forward():
    layer = kt.layers.FeedForward(7, activation="silu", gated=True)
    x = normal(B, T, D)
    layer.build(x.shape)
    randomize(layer)
    inner, linear, output = layer.intermediate_dense, layer.linear_dense, layer.output_dense

    def dense(one, y):
        return y @ to_numpy(one.kernel) + to_numpy(one.bias)

    hidden = dense(inner, x)
    expected = dense(output, hidden / (1 + np.exp(-hidden)) * dense(linear, x))
    assert_close(layer(x), expected, 1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kt.layers.MultiHeadSelfAttention(2, window=0), "`window` must be a positive int"),
        (lambda: make_encoder(1, 2, 7, window=(2, -1)), "Received: window=-1"),
        (lambda: make_encoder(1, 2, 7, window=()), "must not be an empty sequence"),
        (
            lambda: kt.layers.DecoderBlock(2, 7, relative_positions="rotary"),
            r"`relative_positions` must be None, one of \('shaw', 't5', 'alibi'\)",
        ),
        (
            lambda: kt.layers.DecoderBlock(2, 7, recurrence="ssru", window=3),
            "`recurrence` requires `rotary=False`.*window=3",
        ),
        (
            lambda: kt.layers.MultiHeadSelfAttention(2, window=3)(
                normal(1, 2, 4), cache=kt.ops.init_cache(1, 5, 2, 2)
            ),
            "`cache` must contain positions, like those from `initial_cache`",
        ),
        (lambda: kt.layers.RelativePositionBias(5), "`num_buckets` must be at least 2"),
        (lambda: kt.layers.RelativePositionBias(2), "`num_buckets` must be at least 2"),
        # It would do in an encoder, not in a decoder.
        (
            lambda: kt.layers.RelativePositionBias(8, 4, bidirectional=None),
            "`max_distance` must exceed .* num_buckets=8, bidirectional=None, max_distance=4",
        ),
        (lambda: kt.layers.RelativePositionBias(32, 8), "Received: num_buckets=32.*distance=8"),
        (lambda: kt.layers.LinearPositionBias(0), "`max_exponent` must be a positive integer"),
        (lambda: kt.layers.RelativePositionKeys(0), "`max_distance` must be a positive integer"),
        (lambda: kt.layers.FeedForward(7, gated=1), "`gated` must be True or False"),
        (
            lambda: kt.ops.dot_product_attention(*[normal(1, 2, 1, 4)] * 3, window=0),
            "`window` must be None or at least 1. Received: window=0",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
