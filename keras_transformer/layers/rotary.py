"""Rotary position embedding.

Shape letters: B batch, T length, N heads, H head size.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_above
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.shape_checks import check_heads_shape

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class RotaryEmbedding(Layer):
    r"""Rotary position embedding: rotates queries and keys by angles proportional to the position.

    $x'_i = x_i \cos(p f_i) - x_{i+R/2} \sin(p f_i)$ and
    $x'_{i+R/2} = x_{i+R/2} \cos(p f_i) + x_i \sin(p f_i)$ with $f_i = m^{-2i/R}$ over the first
    $R$ dimensions, so that the product of a query and a key depends only on their distance.

    Args:
        max_wavelength: m, the base of the frequencies.
        fraction: R / H, the fraction of each head that is rotated; the rest is left unchanged.
        scaling: Frequency scaling for sequences longer than those in training:
            `{"kind": "linear", "factor": s}` divides all frequencies by s;
            `{"kind": "llama3", "factor": s, "low_frequency_factor": a,
            "high_frequency_factor": b, "original_max_length": L}` divides those with wavelengths
            above L / a, keeps those below L / b and interpolates in between. None for no scaling.

    Raises:
        ValueError: If an argument is out of range, the rotated part of a head is not an even number
            of dimensions, or the input is not (B, T, N, H).

    Example:
        >>> import keras, keras_transformer as kt
        >>> kt.layers.RotaryEmbedding()(keras.ops.ones((2, 5, 4, 8))).shape
        (2, 5, 4, 8)

    Reference:
        Su et al. 2021, "RoFormer", section 3.2.2, equation 15, with halves instead of neighboring
        pairs, as in GPT-NeoX and Llama; linear scaling: Chen et al. 2023, "Extending Context Window
        of Large Language Models via Positional Interpolation"; llama3: Grattafiori et al. 2024,
        "The Llama 3 Herd of Models".
    """

    def __init__(
        self,
        max_wavelength: float = 10000.0,
        fraction: float = 1.0,
        scaling: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_above(1, max_wavelength=max_wavelength)
        check_above(0, fraction=fraction)
        if fraction > 1:
            raise ValueError(f"`fraction` must be at most 1. Received: fraction={fraction!r}.")
        _check_scaling(scaling)
        self.max_wavelength = max_wavelength
        self.fraction = fraction
        # Not an attribute: Keras would wrap the dict to track its contents.
        self.__dict__["scaling"] = None if scaling is None else dict(scaling)
        self.supports_masking = True

    def build(self, inputs_shape: tuple) -> None:
        check_heads_shape("inputs", inputs_shape)
        size = self.fraction * inputs_shape[-1]
        if size != int(size) or size % 2:
            raise ValueError(
                "`fraction` times `head_dim` must be an even integer for rotary positions. "
                f"Received: fraction={self.fraction}, head_dim={inputs_shape[-1]}."
            )

    def compute_output_shape(self, inputs_shape: tuple) -> tuple:
        return inputs_shape

    def call(self, inputs: Tensor, positions: Tensor | None = None) -> Tensor:
        """Rotates queries or keys.

        Args:
            inputs: (B, T, N, H).
            positions: Int (T,) or (B, T), the position of each token; by default 0 .. T - 1.

        Returns:
            (B, T, N, H).
        """
        check_heads_shape("inputs", tuple(inputs.shape))
        if positions is None:
            positions = ops.arange(ops.shape(inputs)[1], dtype="int32")
        half = int(self.fraction * inputs.shape[-1]) // 2
        angles = ops.cast(positions, "float32")[..., None] * self._frequencies(half)
        angles = angles[..., None, :]  # (..., T, 1, R / 2)
        sines, cosines = ops.sin(angles), ops.cos(angles)
        first = ops.cast(inputs[..., :half], "float32")
        second = ops.cast(inputs[..., half : 2 * half], "float32")
        rotated = ops.concatenate(
            [first * cosines - second * sines, second * cosines + first * sines], axis=-1
        )
        rotated = ops.cast(rotated, inputs.dtype)
        if 2 * half == inputs.shape[-1]:
            return rotated
        return ops.concatenate([rotated, inputs[..., 2 * half :]], axis=-1)

    def _frequencies(self, half):
        """The frequencies (R / 2,), float32."""
        exponents = ops.arange(half, dtype="float32") * (-math.log(self.max_wavelength) / half)
        frequencies = ops.exp(exponents)
        if self.scaling is None:
            return frequencies
        factor = self.scaling["factor"]
        if self.scaling["kind"] == "linear":
            return frequencies / factor
        low, high = (self.scaling[f"{end}_frequency_factor"] for end in ("low", "high"))
        turns = frequencies * (self.scaling["original_max_length"] / (2 * math.pi))
        kept = ops.clip((turns - low) / (high - low), 0.0, 1.0)
        return frequencies * (kept + (1.0 - kept) / factor)


_SCALINGS = {
    "linear": {"factor"},
    "llama3": {
        "factor",
        "low_frequency_factor",
        "high_frequency_factor",
        "original_max_length",
    },
}


def _check_scaling(scaling):
    if scaling is None:
        return
    kind = scaling.get("kind") if isinstance(scaling, dict) else None
    if kind not in _SCALINGS or set(scaling) != {"kind", *_SCALINGS[kind]}:
        raise ValueError(
            '`scaling` must be None, {"kind": "linear", "factor": ...} or {"kind": "llama3", '
            '"factor": ..., "low_frequency_factor": ..., "high_frequency_factor": ..., '
            f'"original_max_length": ...}}. Received: scaling={scaling!r}.'
        )
    for name in sorted(_SCALINGS[kind]):
        check_above(0, **{f"scaling[{name!r}]": scaling[name]})
    if kind == "llama3" and scaling["low_frequency_factor"] >= scaling["high_frequency_factor"]:
        raise ValueError(
            "`low_frequency_factor` must be below `high_frequency_factor`. "
            f"Received: scaling={scaling!r}."
        )
