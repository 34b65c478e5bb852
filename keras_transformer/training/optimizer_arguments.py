"""Optimizer arguments for gradient clipping and accumulation, and a schedule counting updates."""

from typing import Any

import keras

from keras_transformer.checks import check_above, check_positive, given


def check_accumulation(gradient_accumulation_steps: int | None) -> None:
    """Raises a ValueError unless the value is None or a positive integer."""
    check_positive(**given(gradient_accumulation_steps=gradient_accumulation_steps))


def optimizer_arguments(
    learning_rate: Any, gradient_accumulation_steps: int | None, clip_norm: float | None
) -> dict[str, Any]:
    """Returns optimizer arguments with a schedule that counts updates.

    Args:
        learning_rate: A float or a schedule over updates.
        gradient_accumulation_steps: Batches per update; None or 1 disables accumulation.
        clip_norm: Maximum global norm of the gradients; None disables clipping.

    Returns:
        The optimizer's arguments ``learning_rate``, ``gradient_accumulation_steps`` and
        ``global_clipnorm``.

    Raises:
        ValueError: if an argument is out of range.
    """
    check_accumulation(gradient_accumulation_steps)
    check_above(0, **given(clip_norm=clip_norm))
    steps = gradient_accumulation_steps or 1
    if steps > 1 and isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        learning_rate = AccumulationSchedule(learning_rate, steps)
    return {
        "learning_rate": learning_rate,
        # Keras expects None for no accumulation and rejects 1.
        "gradient_accumulation_steps": steps if steps > 1 else None,
        "global_clipnorm": clip_norm,
    }


@keras.saving.register_keras_serializable(package="keras_transformer")
class AccumulationSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Wraps a schedule over updates for an optimizer that accumulates gradients.

    ``learning_rate = schedule(batch // gradient_accumulation_steps)``

    Keras calls an optimizer's schedule with the number of batches, although with
    ``gradient_accumulation_steps=k`` it updates the weights only every ``k`` batches: warmup and
    decay would end ``k`` times too early. The recipes already wrap their schedules; use this class
    for your own optimizers.

    Args:
        schedule: A learning-rate schedule over updates.
        gradient_accumulation_steps: Batches per update, the same number as in the optimizer.

    Raises:
        ValueError: if ``schedule`` is not a schedule or ``gradient_accumulation_steps`` is not an
            integer >= 1.

    Example:
        >>> import keras, keras_transformer as kt
        >>> warmup = kt.training.InverseSquareRootSchedule(0.5, warmup_steps=100)
        >>> schedule = kt.training.AccumulationSchedule(warmup, gradient_accumulation_steps=4)
        >>> float(schedule(396)), float(schedule(399))  # the batches of update 100
        (0.5, 0.5)
        >>> optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=4)

    Reference:
        Ott et al. 2018, "Scaling Neural Machine Translation", section 3.2 (one update from several
        batches).
    """

    def __init__(self, schedule: Any, gradient_accumulation_steps: int) -> None:
        super().__init__()
        if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            raise ValueError(
                f"`schedule` must be a LearningRateSchedule. Received: schedule={schedule!r}."
            )
        check_accumulation(gradient_accumulation_steps)
        self.schedule = schedule
        self.gradient_accumulation_steps = gradient_accumulation_steps or 1

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate, a float32 scalar, after ``step`` batches."""
        return self.schedule(step // self.gradient_accumulation_steps)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "AccumulationSchedule":
        """Creates the schedule and the one it wraps from a config."""
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(**{**config, "schedule": schedule})
