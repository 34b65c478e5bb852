"""What a stack must compute: the docstrings' formulas in NumPy and float64, written for clarity.

Shape letters: B batch, T query length, S key length, N heads, K key/value heads, H head size,
D hidden.
"""

import math

import numpy as np
from keras import ops

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "gelu_approximate": lambda x: (
        x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    ),
}


def values(variable):
    return np.asarray(ops.convert_to_numpy(variable), "float64")


def dense(layer, x):
    x = x @ values(layer.kernel)
    return x if layer.bias is None else x + values(layer.bias)


def norm(layer, x):
    """A layer norm or an RMS norm; without a layer, the input itself."""
    if layer is None:
        return x
    if type(layer).__name__ == "RMSNormalization":
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + layer.epsilon) * values(layer.scale)
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + layer.epsilon) * values(layer.gamma)
    return x if layer.beta is None else x + values(layer.beta)


def split(x, num_heads):
    """(B, T, N * H) to (B, N, T, H)."""
    return x.reshape(*x.shape[:2], num_heads, -1).transpose(0, 2, 1, 3)


# === Positions ===


def frequency(rotary, index, size):
    """How far dimension `index` of `size` turns from one position to the next."""
    turns = rotary.max_wavelength ** (-2 * index / size)
    scaling = rotary.scaling
    if scaling is None:
        return turns
    if scaling["kind"] == "linear":
        return turns / scaling["factor"]
    length, wavelength = scaling["original_max_length"], 2 * math.pi / turns
    low, high = scaling["low_frequency_factor"], scaling["high_frequency_factor"]
    if wavelength > length / low:
        return turns / scaling["factor"]
    if wavelength < length / high:
        return turns
    share = (length / wavelength - low) / (high - low)
    return turns * (share + (1 - share) / scaling["factor"])


def rotate(rotary, x, positions):
    """Turns pairs of dimensions of (B, N, T, H) by the positions (B, T)."""
    if rotary is None:
        return x
    result, size = x.copy(), round(rotary.fraction * x.shape[-1])
    for index in range(size // 2):
        angle = positions[:, None] * frequency(rotary, index, size)
        first, second = x[..., index], x[..., index + size // 2]
        result[..., index] = first * np.cos(angle) - second * np.sin(angle)
        result[..., index + size // 2] = second * np.cos(angle) + first * np.sin(angle)
    return result


def bucket(layer, ahead):
    """T5's bucket of a key that is this far ahead."""
    buckets, offset, far = layer.num_buckets, 0, max(-ahead, 0)
    if layer.bidirectional:
        buckets //= 2
        offset, far = (buckets if ahead > 0 else 0), abs(ahead)
    exact = buckets // 2
    if far < exact:
        return offset + far
    # In float32, as T5 computes it: a bucket may begin exactly at a distance.
    growth = np.log(np.float32(far) / exact) / math.log(layer.max_distance / exact)
    return offset + min(exact + int(growth * (buckets - exact)), buckets - 1)


def slope(head, num_heads, max_exponent):
    """ALiBi's slope of a head, counted from 0."""
    lower = 1 << (num_heads.bit_length() - 1)
    if head < lower:
        return 2.0 ** (-max_exponent * (head + 1) / lower)
    # Every second slope of twice as many heads.
    return 2.0 ** (-max_exponent * (2 * (head - lower) + 1) / (2 * lower))


def relative_term(layer, query, ahead):
    """What relative positions add to the scores (B, N, T, S) of queries (B, N, T, H)."""
    if layer is None:
        return 0.0
    num_heads, size = query.shape[1], query.shape[3]
    kind = type(layer).__name__
    if kind == "RelativePositionBias":
        buckets = np.vectorize(lambda one: bucket(layer, int(one)))(ahead)
        return values(layer.embeddings)[buckets].transpose(0, 3, 1, 2)
    if kind == "LinearPositionBias":
        slopes = [slope(head, num_heads, layer.max_exponent) for head in range(num_heads)]
        return -np.array(slopes)[None, :, None, None] * np.abs(ahead)[:, None]
    rows = np.clip(ahead, -layer.max_distance, layer.max_distance) + layer.max_distance
    return np.einsum("bnth,btsh->bnts", query, values(layer.embeddings)[rows]) / math.sqrt(size)


def add_positions(layer, x, positions):
    if layer is None:
        return x
    if type(layer).__name__ == "LearnedPositionalEmbedding":
        return x + values(layer.embeddings)[positions]
    half = x.shape[-1] // 2
    steps = half - 1 if layer.layout == "tensor2tensor" else half
    angles = (positions[..., None] + layer.first_position) * layer.max_wavelength ** (
        -np.arange(half) / steps
    )
    if layer.layout == "interleaved":
        pairs = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
        return x + pairs.reshape(*positions.shape, -1)
    return x + np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


# === Sublayers ===


def attend(layer, query, key, value, allowed, term):
    """Heads of (B, N, T, H) over (B, K, S, H), where `allowed` (B, T, S); then the projection."""
    scale = layer.attention_scale or 1 / math.sqrt(query.shape[-1])
    group = query.shape[1] // key.shape[1]
    key, value = np.repeat(key, group, axis=1), np.repeat(value, group, axis=1)
    scores = scale * np.einsum("bnth,bnsh->bnts", query, key) + term
    scores = np.where(allowed[:, None], scores, -np.inf)
    highest = np.maximum(scores.max(-1, keepdims=True), -1e300)  # finite where nothing is allowed
    weights = np.exp(scores - highest)
    weights = weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    heads = np.einsum("bnts,bnsh->bnth", weights, value).transpose(0, 2, 1, 3)
    return dense(layer.output_dense, heads.reshape(*heads.shape[:2], -1))


def projected(layer, x, source):
    query = norm(layer.query_norm, split(dense(layer.query_dense, x), layer.num_heads))
    key = norm(layer.key_norm, split(dense(layer.key_dense, source), layer.num_kv_heads))
    return query, key, split(dense(layer.value_dense, source), layer.num_kv_heads)


def self_attention(layer, x, allowed, positions):
    query, key, value = projected(layer.attention, x, x)
    query, key = (rotate(layer.rotary_embedding, one, positions) for one in (query, key))
    ahead = positions[:, None, :] - positions[:, :, None]
    if layer.causal:
        allowed = allowed & np.tri(x.shape[1], dtype=bool)
    if layer.window is not None:
        allowed = allowed & (np.abs(ahead) < layer.window)
    term = relative_term(layer.position_bias, query, ahead)
    return attend(layer.attention, query, key, value, allowed, term)


def recurrence(layer, x, real):
    """The SSRU, whose state padding does not change."""
    forget = 1 / (1 + np.exp(-dense(layer.forget_dense, x)))
    candidate, state = dense(layer.candidate_dense, x), np.zeros_like(x[:, 0])
    states = []
    for t in range(x.shape[1]):
        new = forget[:, t] * state + (1 - forget[:, t]) * candidate[:, t]
        state = np.where(real[:, t, None], new, state)
        states.append(state)
    return np.maximum(np.stack(states, axis=1), 0)


# === Stacks ===


def run_stack(stack, x, real, positions=None, allowed=None, encoded=None, encoded_real=None):
    """The output of an encoder or decoder stack.

    Args:
        stack: The layer, built.
        x: (B, T, D).
        real: Boolean (B, T), True for real tokens.
        positions: Int (B, T); by default they count up from 0.
        allowed: Boolean (B, T, T), where a query may attend; by default everywhere.
        encoded: (B, S, D'), for cross-attention.
        encoded_real: Boolean (B, S).
    """
    x = np.asarray(x, "float64")
    if positions is None:
        positions = np.tile(np.arange(x.shape[1]), (len(x), 1))
    x = add_positions(stack.positional_encoding, x, positions)
    for block in stack.blocks:
        x = residual(block, block.self_attention_norm, x, look, real, allowed, positions)
        if encoded is not None:
            norm_of_source = block.source_attention_norm
            x = residual(block, norm_of_source, x, look_at_source, encoded, encoded_real)
        x = residual(block, block.feed_forward_norm, x, feed_forward)
    return norm(stack.final_norm, x)


def residual(block, normalize, x, sublayer, *more):
    if block.normalize_first:
        return x + sublayer(block, norm(normalize, x), *more)
    return norm(normalize, x + sublayer(block, x, *more))


def look(block, x, real, allowed, positions):
    """The self-attention or the recurrent unit."""
    if getattr(block, "recurrence", None):
        return recurrence(block.ssru, x, real)
    allowed = real[:, None, :] & (True if allowed is None else allowed)
    return self_attention(block.self_attention, x, allowed, positions)


def look_at_source(block, x, encoded, real):
    heads = projected(block.source_attention, x, np.asarray(encoded, "float64"))
    return attend(block.source_attention, *heads, real[:, None, :], 0.0)


def feed_forward(block, x):
    layer = block.feed_forward
    hidden = ACTIVATIONS[layer.activation.__name__](dense(layer.intermediate_dense, x))
    if layer.gated:
        hidden = hidden * dense(layer.linear_dense, x)
    return dense(layer.output_dense, hidden)
