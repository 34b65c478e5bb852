"""Positions by distance: what is added to the scaled scores of an attention's queries.

Shape letters: B batch, T query length, S key length, N heads, H head size, R rows of a table.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_transformer.layers.checks import check_flag, check_heads_shape, check_positive
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.serialization import clone_initializer
from keras_transformer.ops.lookup import take_rows
from keras_transformer.ops.relative import all_distances, distances, shift_rows

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class RelativePositionBias(Layer):
    r"""A learned number for each head and bucket of distances, as T5 has it.

    $\text{score}_{nij} \mathrel{+}= b_{n, \text{bucket}(j - i)}$. Half of the buckets hold one
    distance each; the others grow up to `max_distance`, the last one holds what is farther. T5
    has one table for all layers; here each attention has its own.

    Args:
        num_buckets: R, the number of buckets.
        max_distance: from here on all distances are one.
        bidirectional: whether keys ahead have buckets of their own, half of all; else they share
            that of the query itself, for causal attention.
        embeddings_initializer: initializer of the (R, N) weight.

    Raises:
        ValueError: fewer than 2 buckets, or 4 with `bidirectional`, an odd number of these, or a
            `max_distance` that is not beyond those of the single buckets.

    Example:
        >>> import keras, keras_transformer as kt
        >>> kt.layers.RelativePositionBias()(keras.ops.ones((2, 5, 4, 8))).shape
        (1, 4, 5, 5)

    Reference:
        Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
        Transformer", section 2.1.
    """

    def __init__(
        self,
        num_buckets: int = 32,
        max_distance: int = 128,
        bidirectional: bool = True,
        embeddings_initializer: Any = "random_normal",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(num_buckets=num_buckets, max_distance=max_distance)
        check_flag(bidirectional=bidirectional)
        each = num_buckets // 2 if bidirectional else num_buckets
        odd = bidirectional and num_buckets % 2
        if each < 2 or odd or max_distance <= each // 2:
            raise ValueError(
                "`num_buckets` must be at least 2, with `bidirectional` even and at least 4, and "
                "`max_distance` above the distances with a bucket of their own. Received: num_bucke"
                f"ts={num_buckets}, bidirectional={bidirectional}, max_distance={max_distance}."
            )
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.bidirectional = bidirectional
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)

    def build(self, query_shape: tuple) -> None:
        check_heads_shape("query", query_shape)
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.num_buckets, query_shape[2]),
            initializer=clone_initializer(self.embeddings_initializer),
        )

    def compute_output_shape(
        self,
        query_shape: tuple,
        positions_shape: tuple | None = None,
        key_positions_shape: tuple | None = None,
    ) -> tuple:
        return _bias_shape(query_shape, positions_shape, key_positions_shape)

    def call(
        self, query: Tensor, positions: Tensor | None = None, key_positions: Tensor | None = None
    ) -> Tensor:
        """Looks up the bias.

        Args:
            query: (B, T, N, H); only its length counts.
            positions: int (T,) or (B, T), where each query stands; by default 0 .. T - 1.
            key_positions: int (S,) or (B, S), where each key stands; by default as the queries.

        Returns:
            (1, N, T, S), or (B, N, T, S) for positions with a batch axis.
        """
        check_heads_shape("query", tuple(query.shape))
        if positions is None:
            length = ops.shape(query)[1]
            rows = self._lookup(all_distances(length, length))  # (2T, N)
            by_distance = ops.broadcast_to(
                ops.transpose(rows)[None, :, None, :], (1, query.shape[2], length, 2 * length)
            )
            return shift_rows(by_distance, length)
        ahead = distances(positions, positions if key_positions is None else key_positions)
        bias = ops.moveaxis(self._lookup(ahead), -1, -3)  # (..., N, T, S)
        return bias if len(bias.shape) == 4 else bias[None]

    def _lookup(self, ahead):
        behind = ops.minimum(ops.abs(ahead), self.max_distance)
        if not self.bidirectional:
            behind = ops.where(ahead > 0, 0, behind)
        bucket = ops.take(ops.convert_to_tensor(self._buckets()), behind)
        if self.bidirectional:
            bucket = bucket + ops.where(ahead > 0, self.num_buckets // 2, 0)
        return ops.cast(take_rows(self.embeddings, bucket), self.compute_dtype)

    def _buckets(self):
        """The bucket of each distance up to the farthest, in NumPy: the same on all backends."""
        buckets = self.num_buckets // 2 if self.bidirectional else self.num_buckets
        exact = buckets // 2
        far = np.arange(exact, self.max_distance + 1, dtype="float32")
        growth = np.log(far / exact) / math.log(self.max_distance / exact) * (buckets - exact)
        far = np.minimum(exact + growth.astype("int32"), buckets - 1)
        return np.concatenate([np.arange(exact, dtype="int32"), far.astype("int32")])


@keras.saving.register_keras_serializable(package="keras_transformer")
class RelativePositionKeys(Layer):
    r"""A learned vector for each distance, which queries are multiplied with as with keys.

    $\text{score}_{nij} \mathrel{+}= q_{ni} \cdot a_{\text{clip}(j - i)} / \sqrt{H}$, one table for
    all heads of an attention. The paper also has vectors that are added to the values; its own
    ablation (section 4.3) finds that they change nothing beside these, and they are left out.

    Args:
        max_distance: distances are clipped to `-max_distance .. max_distance`.
        embeddings_initializer: initializer of the (2 * max_distance + 1, H) weight.

    Raises:
        ValueError: `max_distance` is not positive.

    Example:
        >>> import keras, keras_transformer as kt
        >>> kt.layers.RelativePositionKeys()(keras.ops.ones((2, 5, 4, 8))).shape
        (2, 4, 5, 5)

    Reference:
        Shaw et al. 2018, "Self-Attention with Relative Position Representations", section 3,
        equation 4.
    """

    def __init__(
        self, max_distance: int = 16, embeddings_initializer: Any = "glorot_uniform", **kwargs: Any
    ):
        super().__init__(**kwargs)
        check_positive(max_distance=max_distance)
        self.max_distance = max_distance
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)

    def build(self, query_shape: tuple) -> None:
        check_heads_shape("query", query_shape)
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(2 * self.max_distance + 1, query_shape[3]),
            initializer=clone_initializer(self.embeddings_initializer),
        )

    def compute_output_shape(
        self,
        query_shape: tuple,
        positions_shape: tuple | None = None,
        key_positions_shape: tuple | None = None,
    ) -> tuple:
        shape = _bias_shape(query_shape, positions_shape, key_positions_shape)
        return (query_shape[0], *shape[1:])

    def call(
        self, query: Tensor, positions: Tensor | None = None, key_positions: Tensor | None = None
    ) -> Tensor:
        """Multiplies queries with the vectors of their distances.

        Args:
            query: (B, T, N, H).
            positions: int (T,) or (B, T), where each query stands; by default 0 .. T - 1.
            key_positions: int (S,) or (B, S), where each key stands; by default as the queries.

        Returns:
            (B, N, T, S).
        """
        check_heads_shape("query", tuple(query.shape))
        query = query * ops.cast(1.0 / math.sqrt(query.shape[3]), query.dtype)
        table = ops.cast(self.embeddings, query.dtype)
        if positions is None:
            length = ops.shape(query)[1]
            rows = take_rows(table, self._row(all_distances(length, length)))  # (2T, H)
            return shift_rows(ops.einsum("btnh,rh->bntr", query, rows), length)
        ahead = distances(positions, positions if key_positions is None else key_positions)
        scores = ops.einsum("btnh,rh->bntr", query, table)
        rows = self._row(ahead)[None] if len(ahead.shape) == 2 else self._row(ahead)[:, None]
        rows = ops.zeros_like(scores[..., :1], dtype="int32") + rows  # (B, N, T, S)
        return ops.take_along_axis(scores, rows, axis=-1)

    def _row(self, ahead):
        return ops.clip(ahead, -self.max_distance, self.max_distance) + self.max_distance


@keras.saving.register_keras_serializable(package="keras_transformer")
class LinearPositionBias(Layer):
    r"""A penalty that grows with the distance, at another pace for each head: ALiBi.

    $\text{score}_{nij} \mathrel{-}= m_n |j - i|$ with $m_n = 2^{-e n / N}$ for $n = 1 .. N$ where N
    is a power of two; else those of the next lower one, and every second one of the next higher.
    Nothing is learned.

    Args:
        max_exponent: e; the smallest slope is 2^-e.

    Raises:
        ValueError: `max_exponent` is not positive.

    Example:
        >>> import keras, keras_transformer as kt
        >>> bias = kt.layers.LinearPositionBias()(keras.ops.ones((2, 3, 8, 4)))
        >>> [float(x) for x in bias[0, 0, 2]]
        [-1.0, -0.5, 0.0]

    Reference:
        Press et al. 2022, "Train Short, Test Long: Attention with Linear Biases Enables Input
        Length Extrapolation", section 3.
    """

    def __init__(self, max_exponent: int = 8, **kwargs: Any):
        super().__init__(**kwargs)
        check_positive(max_exponent=max_exponent)
        self.max_exponent = max_exponent

    def build(self, query_shape: tuple) -> None:
        check_heads_shape("query", query_shape)
        self.slopes = _slopes(query_shape[2], self.max_exponent)

    def compute_output_shape(
        self,
        query_shape: tuple,
        positions_shape: tuple | None = None,
        key_positions_shape: tuple | None = None,
    ) -> tuple:
        return _bias_shape(query_shape, positions_shape, key_positions_shape)

    def call(
        self, query: Tensor, positions: Tensor | None = None, key_positions: Tensor | None = None
    ) -> Tensor:
        """Computes the penalties.

        Args:
            query: (B, T, N, H); only its length counts.
            positions: int (T,) or (B, T), where each query stands; by default 0 .. T - 1.
            key_positions: int (S,) or (B, S), where each key stands; by default as the queries.

        Returns:
            float32 (1, N, T, S), or (B, N, T, S) for positions with a batch axis.
        """
        check_heads_shape("query", tuple(query.shape))
        if positions is None:
            positions = ops.arange(ops.shape(query)[1], dtype="int32")
        ahead = distances(positions, positions if key_positions is None else key_positions)
        far = ops.cast(ops.abs(ahead), "float32")
        far = far[None, None] if len(far.shape) == 2 else far[:, None]
        return 0.0 - far * ops.reshape(ops.convert_to_tensor(self.slopes), (-1, 1, 1))


def _bias_shape(query_shape, positions_shape, key_positions_shape):
    """(1, N, T, S), or (B, N, T, S) for positions with a batch axis."""
    _, length, num_heads, _ = query_shape
    given = [shape for shape in (key_positions_shape, positions_shape) if shape]
    keys = given[0][-1] if given else length
    batch = next((shape[0] for shape in given if len(shape) == 2), 1)
    return batch, num_heads, length, keys


def _slopes(num_heads: int, max_exponent: int) -> np.ndarray:
    lower = 2 ** int(math.log2(num_heads))
    exponents = [max_exponent * (head + 1) / lower for head in range(lower)]
    exponents += [max_exponent * (head + 0.5) / lower for head in range(num_heads - lower)]
    return np.array([2.0**-exponent for exponent in exponents], "float32")
