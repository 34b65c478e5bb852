"""Positions against NumPy, in all layouts."""

import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND, normal, randomize, to_numpy, torch_on_a_gpu

B, T, D = 2, 5, 12


def sinusoids(positions, hidden_dim, layout, wavelength):
    """The table above the class, one number after the other."""
    table = np.zeros((len(positions), hidden_dim))
    half = hidden_dim // 2
    for row, position in enumerate(positions):
        for i in range(half):
            exponent = i / (half - 1) if layout == "tensor2tensor" else 2 * i / hidden_dim
            angle = position * wavelength**-exponent
            columns = (2 * i, 2 * i + 1) if layout == "interleaved" else (i, half + i)
            table[row, columns[0]], table[row, columns[1]] = np.sin(angle), np.cos(angle)
    return table


@pytest.mark.parametrize("layout", ["interleaved", "concatenated", "tensor2tensor"])
@pytest.mark.parametrize(("wavelength", "first"), [(10000.0, 0), (77.0, 3)])
def test_sinusoids(layout, wavelength, first):
    layer = kt.layers.PositionalEncoding(layout, wavelength, first)
    x = normal(B, T, D)
    expected = x + sinusoids(np.arange(T) + first, D, layout, wavelength)[None]
    np.testing.assert_allclose(to_numpy(layer(x)), expected, atol=1e-5)
    positions = np.array([[4, 0, 9, 1, 1], [7, 6, 5, 4, 3]], "int32")
    expected = x + [sinusoids(row + first, D, layout, wavelength) for row in positions]
    np.testing.assert_allclose(to_numpy(layer(x, positions)), expected, atol=1e-5)
    np.testing.assert_allclose(
        to_numpy(layer(x, positions[0])),
        x + sinusoids(positions[0] + first, D, layout, wavelength),
        atol=1e-5,
    )


def test_learned_positions():
    layer = kt.layers.LearnedPositionalEmbedding(7)
    layer.build((None, None, D))
    table = to_numpy(randomize(layer).embeddings.value)
    x = normal(B, T, D)
    np.testing.assert_allclose(to_numpy(layer(x)), x + table[:T], atol=1e-6)
    positions = np.array([[4, 0, 6, 1, 1], [6, 6, 5, 4, 3]], "int32")
    np.testing.assert_allclose(to_numpy(layer(x, positions)), x + table[positions], atol=1e-6)


def test_more_tokens_than_positions():
    """As beams that share a cache do: all of them continue at the same position."""
    layer = kt.layers.LearnedPositionalEmbedding(max_length=5)
    x = normal(2, 7, 3)
    positions = np.full((2, 7), 4)
    y = to_numpy(layer(x, positions))
    np.testing.assert_allclose(
        y - x, np.broadcast_to(to_numpy(layer.embeddings)[4], y.shape), atol=1e-6
    )
    with pytest.raises(ValueError, match="must not be longer than `max_length`. .*length=7"):
        layer(x)


def test_rotary_against_complex_numbers():
    heads, size = 3, 8
    x = normal(B, T, heads, size)
    positions = np.array([[4, 0, 9, 1, 1], [7, 6, 5, 4, 3]])
    frequencies = 500.0 ** (-2 * np.arange(size // 2) / size)
    turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * positions[:, :, None, None] * frequencies)
    expected = np.concatenate([turned.real, turned.imag], axis=-1)
    layer = kt.layers.RotaryEmbedding(500.0)
    np.testing.assert_allclose(to_numpy(layer(x, positions)), expected, atol=1e-5)


def test_rotary_products_depend_on_distances_alone():
    layer = kt.layers.RotaryEmbedding()
    query, key = normal(1, 1, 1, 8), normal(1, 1, 1, 8, seed=1)

    def product(i, j):
        return (to_numpy(layer(query, np.array([i]))) * to_numpy(layer(key, np.array([j])))).sum()

    assert abs(product(3, 1) - product(13, 11)) < 1e-5
    assert abs(product(3, 1) - product(3, 2)) > 1e-3


def test_errors():
    with pytest.raises(ValueError, match="`layout` must be one of .*Received: layout='other'"):
        kt.layers.PositionalEncoding("other")
    with pytest.raises(
        ValueError, match="`max_wavelength` must be a finite number > 1. Received: .*=1.0"
    ):
        kt.layers.PositionalEncoding(max_wavelength=1.0)
    with pytest.raises(ValueError, match=r"even hidden size of at least 2. Received: .*2, 5, 7"):
        kt.layers.PositionalEncoding()(normal(2, 5, 7))
    with pytest.raises(ValueError, match="must have an even hidden size of at least 4"):
        kt.layers.PositionalEncoding("tensor2tensor")(normal(2, 5, 2))
    with pytest.raises(ValueError, match="`max_length` must be a positive integer. Received: .*=0"):
        kt.layers.LearnedPositionalEmbedding(0)
    with pytest.raises(ValueError, match="longer than `max_length`. Received: length=5, max_leng"):
        kt.layers.LearnedPositionalEmbedding(4)(normal(2, 5, 7))
    with pytest.raises(ValueError, match="must be an even integer for rotary positions.*dim=3"):
        kt.layers.MultiHeadSelfAttention(2, rotary=True)(normal(2, 5, 6))


@pytest.mark.skipif(torch_on_a_gpu(), reason="no process goes on after that")
def test_positions_beyond_the_table_are_refused():
    """JAX alone would answer with NaN; TensorFlow and torch raise errors of their own."""
    error, message = Exception, None
    if BACKEND == "jax":
        error = ValueError
        message = r"`positions` must be in the range \[0, 4\). Received: positions from 2 to 4"
    with pytest.raises(error, match=message):
        kt.layers.LearnedPositionalEmbedding(4)(normal(2, 3, 7), np.array([2, 3, 4]))
