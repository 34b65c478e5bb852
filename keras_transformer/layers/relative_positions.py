"""Relative positions: terms added to the scaled attention scores.

Shape letters: B batch, T query length, S key length, N heads, H head size, R rows of a table.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_transformer.checks import check_flag, check_positive, given
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.serialization import clone_initializer
from keras_transformer.layers.shape_checks import check_heads_shape
from keras_transformer.ops.lookup import take_rows
from keras_transformer.ops.relative import all_distances, distances, shift_rows

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class RelativePositionBias(Layer):
    r"""Relative position bias of T5: a learned scalar per head and bucket of distances.

    $\text{score}_{nij} \mathrel{+}= b_{n, \text{bucket}(j - i)}$. Half of the buckets hold one
    distance each; the others widen logarithmically up to `max_distance`, and the last one also
    holds all larger distances. Each attention layer has its own table, unless its stack shares one,
    as T5 does (`share_relative_positions`).

    Args:
        num_buckets: R, the number of buckets.
        max_distance: Distance from which all distances share the last bucket.
        bidirectional: Whether half of the buckets are for future keys; if not, future keys share
            the bucket of distance 0, for causal attention. None leaves it to the attention layer
            that copies this layer: True unless it is causal.
        embeddings_initializer: Initializer of the (R, N) weight.

    Raises:
        ValueError: If `num_buckets` is below 2 (with `bidirectional`, below 4 or odd), or
            `max_distance` is not above the distances with their own buckets. With
            `bidirectional=None`, this applies to both True and False.

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
        bidirectional: bool | None = True,
        embeddings_initializer: Any = "random_normal",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(num_buckets=num_buckets, max_distance=max_distance)
        check_flag(**given(bidirectional=bidirectional))
        both = bidirectional is not False
        each = num_buckets // 2 if both else num_buckets
        odd = both and num_buckets % 2
        # None may become False: in a decoder, all buckets are for keys behind.
        most = num_buckets // 2 if bidirectional else num_buckets
        if each < 2 or odd or max_distance <= most // 2:
            raise ValueError(
                "`num_buckets` must be at least 2 (even and at least 4 with `bidirectional`), and "
                "`max_distance` must exceed the distances with their own buckets. Received: "
                f"num_buckets={num_buckets}, bidirectional={bidirectional}, "
                f"max_distance={max_distance}."
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
            query: (B, T, N, H); only its shape is used.
            positions: Int (T,) or (B, T), the position of each query; by default 0 .. T - 1.
            key_positions: Int (S,) or (B, S), the position of each key; by default `positions`.

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
        if self.bidirectional is False:
            behind = ops.where(ahead > 0, 0, behind)
        bucket = ops.take(ops.convert_to_tensor(self._buckets()), behind)
        if self.bidirectional is not False:
            bucket = bucket + ops.where(ahead > 0, self.num_buckets // 2, 0)
        return ops.cast(take_rows(self.embeddings, bucket), self.compute_dtype)

    def _buckets(self):
        """The bucket of each distance up to `max_distance`; in NumPy, so all backends agree."""
        buckets = self.num_buckets if self.bidirectional is False else self.num_buckets // 2
        exact = buckets // 2
        far = np.arange(exact, self.max_distance + 1, dtype="float32")
        growth = np.log(far / exact) / math.log(self.max_distance / exact) * (buckets - exact)
        far = np.minimum(exact + growth.astype("int32"), buckets - 1)
        return np.concatenate([np.arange(exact, dtype="int32"), far.astype("int32")])


@keras.saving.register_keras_serializable(package="keras_transformer")
class RelativePositionKeys(Layer):
    r"""Relative position representations of Shaw et al.: a learned key vector per distance.

    $\text{score}_{nij} \mathrel{+}= q_{ni} \cdot a_{\text{clip}(j - i)} / \sqrt{H}$, with one table
    for all heads of a layer. The paper's relative position vectors for values are left out: in its
    ablation (section 4.3), they do not improve on those for keys only.

    Args:
        max_distance: Distances are clipped to `-max_distance .. max_distance`.
        embeddings_initializer: Initializer of the (2 * max_distance + 1, H) weight.

    Raises:
        ValueError: If `max_distance` is not a positive integer.

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
        """Multiplies queries by the vectors of their distances.

        Args:
            query: (B, T, N, H).
            positions: Int (T,) or (B, T), the position of each query; by default 0 .. T - 1.
            key_positions: Int (S,) or (B, S), the position of each key; by default `positions`.

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
    r"""ALiBi: a penalty proportional to the distance, with a fixed slope per head.

    $\text{score}_{nij} \mathrel{-}= m_n |j - i|$ with $m_n = 2^{-e n / N}$ for $n = 1 .. N$ if N is
    a power of two. Otherwise the slopes are those of the next lower power of two, followed by every
    second one of the next higher.

    Args:
        max_exponent: e; the smallest slope is 2^-e.

    Raises:
        ValueError: If `max_exponent` is not a positive integer.

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
            query: (B, T, N, H); only its shape is used.
            positions: Int (T,) or (B, T), the position of each query; by default 0 .. T - 1.
            key_positions: Int (S,) or (B, S), the position of each key; by default `positions`.

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
