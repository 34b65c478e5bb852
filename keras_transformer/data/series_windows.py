"""Windows over a time series: past values, and the future values that follow."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_transformer.checks import check_integer


def series_windows(
    series: Any, num_past: int, num_future: int, stride: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a time series into windows of past and future values.

    Args:
        series: Numbers (N,) or (N, C), samples by channels.
        num_past: S, number of past samples.
        num_future: T, number of future samples, which follow them.
        stride: Samples from the start of one window to the next.

    Returns:
        Past (W, S, C) and future (W, T, C) in float32, for W windows.

    Raises:
        ValueError: If the series has another rank, is shorter than a window, or contains NaN or
            infinity; the message gives the first position.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> past, future = kt.data.series_windows(np.arange(6), num_past=3, num_future=2)
        >>> past[1, :, 0].tolist(), future[1, :, 0].tolist()
        ([1.0, 2.0, 3.0], [4.0, 5.0])
    """
    for name, value in {"num_past": num_past, "num_future": num_future, "stride": stride}.items():
        check_integer(1, **{name: value})
    array = np.asarray(series)
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2) or not array.size:
        raise ValueError(
            "`series` must contain numbers, (samples,) or (samples, channels). "
            f"Received: dtype={array.dtype}, shape={array.shape}."
        )
    array = array.astype("float32").reshape(len(array), -1)
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        sample, channel = wrong[0]
        raise ValueError(
            "`series` must contain finite numbers; fill in missing values first. Received: "
            f"{array[sample, channel]} at sample {sample}, channel {channel}, the first of "
            f"{len(wrong)} non-finite values."
        )
    if len(array) < num_past + num_future:
        raise ValueError(
            "`series` must have at least `num_past` + `num_future` samples. Received: "
            f"{len(array)} samples, num_past={num_past}, num_future={num_future}."
        )
    windows = np.lib.stride_tricks.sliding_window_view(array, num_past + num_future, axis=0)
    windows = windows[::stride].transpose(0, 2, 1)
    return windows[:, :num_past].copy(), windows[:, num_past:].copy()


def previous_values(past: np.ndarray, future: np.ndarray) -> np.ndarray:
    """Returns the value before each future value, a forecaster's input for teacher forcing.

    Args:
        past: Past values, (W, S, C).
        future: Future values, (W, T, C).

    Returns:
        (W, T, C): the last past value, then all future values but the last.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> past, future = kt.data.series_windows(np.arange(5), num_past=2, num_future=3)
        >>> kt.data.previous_values(past, future)[0, :, 0].tolist()
        [1.0, 2.0, 3.0]
    """
    return np.concatenate([past[:, -1:], future[:, :-1]], axis=1)
