"""Learning-rate schedules: warmup, then decay.

All of them count updates from 1, like the papers: Keras calls a schedule with the number of updates
already made, 0 for the first, so the update number is ``step + 1``. The first update therefore has
a small learning rate rather than 0, and the peak is reached exactly at update ``warmup_steps``,
that is, at ``step = warmup_steps - 1``.
"""

import math
import numbers
from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_at_least, check_integer, check_positive


def _update_number(step: Any) -> Any:
    """Returns the update number, counted from 1, as a float32 scalar."""
    # A Python integer beyond 32 bits overflows JAX's default integers; a float does not. Casting
    # before adding keeps the largest int64 step from overflowing.
    if isinstance(step, numbers.Integral):
        step = float(step)
    return ops.cast(step, "float32") + 1.0


def _check_warmup_and_decay(
    peak_learning_rate: float, warmup_steps: int, total_steps: int, final_learning_rate: float
) -> None:
    """Raises if the arguments of a warmup and decay schedule are invalid."""
    check_at_least(0, peak_learning_rate=peak_learning_rate)
    check_at_least(0, final_learning_rate=final_learning_rate)
    check_integer(0, warmup_steps=warmup_steps)
    check_positive(total_steps=total_steps)
    if total_steps <= warmup_steps:
        raise ValueError(
            "`total_steps` must be larger than `warmup_steps`. "
            f"Received: total_steps={total_steps}, warmup_steps={warmup_steps}."
        )


def _warmup_factor(update: Any, warmup_steps: int) -> Any:
    """Returns update / warmup_steps, at most 1; always 1 without warmup."""
    return ops.minimum(update / float(max(warmup_steps, 1)), 1.0)


def _decay_progress(update: Any, warmup_steps: int, total_steps: int) -> Any:
    """Returns 0 up to the peak and 1 from update total_steps on, linear in between."""
    progress = (update - float(warmup_steps)) / float(total_steps - warmup_steps)
    return ops.clip(progress, 0.0, 1.0)


@keras.saving.register_keras_serializable(package="keras_transformer")
class NoamSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of the original Transformer: linear warmup, then 1 / sqrt(update).

    ``learning_rate = scale * hidden_dim^-0.5 * min(update^-0.5, update * warmup_steps^-1.5)``

    with ``update = step + 1``. At step 0 it is ``scale * hidden_dim^-0.5 * warmup_steps^-1.5``; the
    peak ``scale * (hidden_dim * warmup_steps)^-0.5`` is reached at update ``warmup_steps`` (step
    ``warmup_steps - 1``), after which it decays indefinitely.

    Args:
        hidden_dim: The model's hidden size (d_model), a positive integer.
        warmup_steps: Number of updates until the peak, a positive integer.
        scale: Factor by which to multiply the whole curve.

    Raises:
        ValueError: if ``hidden_dim`` or ``warmup_steps`` is not a positive integer, or ``scale`` is
            negative.

    Example:
        >>> import keras_transformer as kt
        >>> schedule = kt.training.NoamSchedule(hidden_dim=512, warmup_steps=4000)
        >>> round(float(schedule(3999)), 6)
        0.000699

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 5.3, equation 3.
    """

    def __init__(self, hidden_dim: int, warmup_steps: int = 4000, scale: float = 1.0) -> None:
        super().__init__()
        check_positive(hidden_dim=hidden_dim)
        check_positive(warmup_steps=warmup_steps)
        check_at_least(0, scale=scale)
        self.hidden_dim = hidden_dim
        self.warmup_steps = warmup_steps
        self.scale = scale

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate, a float32 scalar, after ``step`` updates have been made."""
        update = _update_number(step)
        decaying = ops.rsqrt(update)
        rising = update * self.warmup_steps**-1.5
        return self.scale * self.hidden_dim**-0.5 * ops.minimum(decaying, rising)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "hidden_dim": self.hidden_dim,
            "warmup_steps": self.warmup_steps,
            "scale": self.scale,
        }


@keras.saving.register_keras_serializable(package="keras_transformer")
class InverseSquareRootSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warmup to a given peak, then decay proportional to 1 / sqrt(update).

    ``learning_rate = peak_learning_rate * min(update / warmup_steps, sqrt(warmup_steps / update))``

    with ``update = step + 1``: `NoamSchedule` with the peak given instead of derived from the
    model's size. At step 0 it is ``peak_learning_rate / warmup_steps``; the peak is reached at
    update ``warmup_steps``; after four times as many updates, the rate is half the peak.

    Args:
        peak_learning_rate: The highest learning rate, not negative.
        warmup_steps: Number of updates until the peak, a positive integer.

    Raises:
        ValueError: if ``warmup_steps`` is not a positive integer or the peak is negative.

    Example:
        >>> import keras_transformer as kt
        >>> schedule = kt.training.InverseSquareRootSchedule(0.5, warmup_steps=100)
        >>> float(schedule(99)), float(schedule(399))
        (0.5, 0.25)

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 5.3.
    """

    def __init__(self, peak_learning_rate: float, warmup_steps: int) -> None:
        super().__init__()
        check_at_least(0, peak_learning_rate=peak_learning_rate)
        check_positive(warmup_steps=warmup_steps)
        self.peak_learning_rate = peak_learning_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate, a float32 scalar, after ``step`` updates have been made."""
        update = _update_number(step)
        rising = update / float(self.warmup_steps)
        decaying = ops.sqrt(float(self.warmup_steps) / update)
        return self.peak_learning_rate * ops.minimum(rising, decaying)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"peak_learning_rate": self.peak_learning_rate, "warmup_steps": self.warmup_steps}


@keras.saving.register_keras_serializable(package="keras_transformer")
class WarmupCosineSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warmup to a peak, then cosine decay to a final value.

    ``learning_rate = peak * update / warmup_steps`` up to update ``warmup_steps``, then
    ``final + (peak - final) * (1 + cos(pi * progress)) / 2`` with
    ``progress = (update - warmup_steps) / (total_steps - warmup_steps)`` and ``update = step + 1``.

    At step 0 it is ``peak / warmup_steps``; the peak is reached exactly at update ``warmup_steps``,
    the final value exactly at update ``total_steps``, and the rate stays there. With
    ``warmup_steps=0``, decay starts immediately, from just under the peak.

    Args:
        peak_learning_rate: The highest learning rate, not negative.
        warmup_steps: Number of updates until the peak; 0 for no warmup.
        total_steps: Number of updates until ``final_learning_rate``; larger than ``warmup_steps``.
        final_learning_rate: The learning rate from update ``total_steps`` on, not negative.

    Raises:
        ValueError: if a learning rate is negative, a number of steps is out of range or not an
            integer, or ``total_steps`` does not exceed ``warmup_steps``.

    Example:
        >>> import keras_transformer as kt
        >>> schedule = kt.training.WarmupCosineSchedule(0.5, warmup_steps=10, total_steps=110)
        >>> float(schedule(9)), round(float(schedule(59)), 6), float(schedule(109))
        (0.5, 0.25, 0.0)

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 4.1; Loshchilov and Hutter 2017, "SGDR", equation 5.
    """

    def __init__(
        self,
        peak_learning_rate: float,
        warmup_steps: int,
        total_steps: int,
        final_learning_rate: float = 0.0,
    ) -> None:
        super().__init__()
        _check_warmup_and_decay(peak_learning_rate, warmup_steps, total_steps, final_learning_rate)
        self.peak_learning_rate = peak_learning_rate
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.final_learning_rate = final_learning_rate

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate, a float32 scalar, after ``step`` updates have been made."""
        update = _update_number(step)
        progress = _decay_progress(update, self.warmup_steps, self.total_steps)
        remaining = (1.0 + ops.cos(math.pi * progress)) / 2.0
        fall = self.peak_learning_rate - self.final_learning_rate
        decaying = self.final_learning_rate + fall * remaining
        # Until the peak, `decaying` equals the peak, so the product is the warmup.
        return _warmup_factor(update, self.warmup_steps) * decaying

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "final_learning_rate": self.final_learning_rate,
        }


@keras.saving.register_keras_serializable(package="keras_transformer")
class WarmupLinearSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warmup to a peak, then linear decay to a final value.

    ``learning_rate = peak * update / warmup_steps`` up to update ``warmup_steps``, then
    ``peak + (final - peak) * (update - warmup_steps) / (total_steps - warmup_steps)``, with
    ``update = step + 1``.

    At step 0 it is ``peak / warmup_steps``; the peak is reached exactly at update ``warmup_steps``,
    the final value exactly at update ``total_steps``, and the rate stays there. With
    ``warmup_steps=0``, decay starts immediately, from just under the peak.

    Args:
        peak_learning_rate: The highest learning rate, not negative.
        warmup_steps: Number of updates until the peak; 0 for no warmup.
        total_steps: Number of updates until ``final_learning_rate``; larger than ``warmup_steps``.
        final_learning_rate: The learning rate from update ``total_steps`` on, not negative.

    Raises:
        ValueError: if a learning rate is negative, a number of steps is out of range or not an
            integer, or ``total_steps`` does not exceed ``warmup_steps``.

    Example:
        >>> import keras_transformer as kt
        >>> schedule = kt.training.WarmupLinearSchedule(0.5, warmup_steps=10, total_steps=110)
        >>> float(schedule(9)), float(schedule(59)), float(schedule(109))
        (0.5, 0.25, 0.0)

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 4.1 (fine-tuning).
    """

    def __init__(
        self,
        peak_learning_rate: float,
        warmup_steps: int,
        total_steps: int,
        final_learning_rate: float = 0.0,
    ) -> None:
        super().__init__()
        _check_warmup_and_decay(peak_learning_rate, warmup_steps, total_steps, final_learning_rate)
        self.peak_learning_rate = peak_learning_rate
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.final_learning_rate = final_learning_rate

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate, a float32 scalar, after ``step`` updates have been made."""
        update = _update_number(step)
        progress = _decay_progress(update, self.warmup_steps, self.total_steps)
        fall = self.peak_learning_rate - self.final_learning_rate
        decaying = self.peak_learning_rate - fall * progress
        # Until the peak, `decaying` equals the peak, so the product is the warmup.
        return _warmup_factor(update, self.warmup_steps) * decaying

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "final_learning_rate": self.final_learning_rate,
        }
