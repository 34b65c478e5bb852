"""Stopping training when the loss or a weight is not finite, and finding where that began."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_transformer.checks import check, check_flag
from keras_transformer.recording import Recorder, recording
from keras_transformer.training.built_optimizer import build_optimizer
from keras_transformer.training.finite_weights import first_not_finite_of, first_not_finite_weight
from keras_transformer.training.weight_gradients import weight_gradients


class NonFinite(NamedTuple):
    """Where a training run became non-finite.

    Attributes:
        loss: The loss that `fit` reported. It is finite if only the weights are not.
        epoch: Index of the epoch of `fit`, from 0.
        batch: Index of the batch in that epoch, from 0.
        step: Number of the optimizer's updates so far.
        place: The batch's place in the data: a dict with the `epoch` and `batch` of the batches of
            `kt.data`; None for other data.
        layer: Path of the first layer whose output was not finite when the batch was computed
            again; None if there was none or the batch was not computed again.
        weight: Path of the first weight whose gradient was not finite; None in the same cases.
        problem: Anything else that was found, such as a label outside the vocabulary, or the first
            weight that is not finite after the step; otherwise None.

    Example:
        >>> import keras_transformer as kt
        >>> kt.training.NonFinite(float("nan"), 0, 4, 5).layer is None
        True
    """

    loss: float
    epoch: int
    batch: int
    step: int
    place: dict[str, int] | None = None
    layer: str | None = None
    weight: str | None = None
    problem: str | None = None


class StopOnNonFinite(keras.callbacks.Callback):
    """Stops training when the loss or a weight is NaN or infinite, and reports where that began.

    The warning names the step, the place of the batch in the data, the first layer whose output is
    not finite, and the first weight whose gradient is not finite. To find these two, the batch is
    computed once more, without compilation, with the weights from before the step. The model keeps
    these weights. `SaveTraining` saves no state after such a step, so that training can be resumed
    from the last state before it, for example with a lower learning rate.

    The loss is read after every step, as a progress bar does. The weights are copied before every
    step, which takes as much memory as they do, and checked after it: a gradient can be infinite
    while the loss is still finite. Infinite gradients that a `LossScaleOptimizer` skips do no harm,
    and are not reported.

    Args:
        batches: The batches passed to `fit`, of `kt.data` or any other `keras.utils.PyDataset`,
            with `shuffle=False` in `fit`; None if the batch need not be computed again.
        keep_weights: Whether to copy and check the weights. If not, only the loss is checked, and
            the batch is computed again with the weights from after the step.

    Attributes:
        found: A `NonFinite` once training has been stopped, otherwise None.

    Raises:
        ValueError: if `batches` are not indexable.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> lm.compile(**kt.training.gpt1_pretraining_recipe(total_steps=10, warmup_steps=1))
        >>> batches = kt.data.LanguageModelBatches(np.arange(1, 90), length=8, batch_size=4)
        >>> stop = kt.training.StopOnNonFinite(batches)
        >>> history = lm.fit(batches, shuffle=False, verbose=0, callbacks=[stop])
        >>> stop.found is None
        True
    """

    def __init__(self, batches: Any = None, keep_weights: bool = True) -> None:
        super().__init__()
        known = batches is None or hasattr(batches, "__getitem__")
        check(known, "be a dataset that is indexed by batch", "batches", batches)
        check_flag(keep_weights=keep_weights)
        self.batches = batches
        self.keep_weights = keep_weights
        self.found: NonFinite | None = None
        self._epoch, self._first = 0, 0
        self._before: list[Any] | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Forgets what was found in an earlier `fit`."""
        self.found = self._before = None
        build_optimizer(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Records the epoch number of `fit`."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Copies the weights and the random states of dropout."""
        self._first = batch
        if self.keep_weights:
            self._before = [ops.copy(variable.value) for variable in self.model.variables]

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Stops if the loss or a weight is not finite."""
        loss = float((logs or {}).get("loss", 0.0))
        if math.isfinite(loss) and self._before is None:
            return
        model = self.model
        bad = first_not_finite_weight(model)
        if math.isfinite(loss) and bad is None:
            return
        model.stop_training = True
        self.found = self._examine(model, loss, bad, batch)
        warnings.warn(_message(self.found), RuntimeWarning, stacklevel=2)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Frees the copy of the weights."""
        self._before = None

    def _examine(self, model: keras.Model, loss: float, bad: str | None, batch: int) -> NonFinite:
        place = None
        if hasattr(self.batches, "state"):
            state = self.batches.state(batch)
            place = {"epoch": state["epoch"], "batch": state["batch"]}
        step = int(ops.convert_to_numpy(model.optimizer.iterations))
        problem = None if bad is None else f"{bad} is not finite after this step."
        found = NonFinite(loss, self._epoch, batch, step, place, problem=problem)
        if self._before is not None:
            _assign(model, self._before)
            bad = first_not_finite_weight(model)
        if bad is not None:  # everything else follows from that
            return found
        # With steps_per_execution, it could be any batch of a group.
        if self.batches is None or batch != self._first:
            return found
        try:
            return _compute_again(model, self._data(batch), found)
        except Exception as error:  # such as a label outside the vocabulary; training has ended
            return found._replace(problem=f"Computed again, the batch raises: {error}")
        finally:
            if self._before is not None:  # dropout has drawn random numbers
                _assign(model, self._before)

    def _data(self, batch: int) -> Any:
        if hasattr(self.batches, "batch_in_training"):
            return self.batches.batch_in_training(batch)
        return self.batches[batch]


def _compute_again(model, batch, found):
    inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    layers: list[str] = []

    def receive(name, tensor):
        is_output = name.endswith("/output")  # others may be infinite where a mask hides them
        if is_output and not layers and first_not_finite_of([tensor]) is not None:
            layers.append(name.removesuffix("/output"))

    with recording(Recorder(model, receive)):
        model(inputs, training=True)
    gradients = weight_gradients(model, inputs, labels, sample_weight)
    pairs = zip(model.trainable_variables, gradients, strict=True)
    known = [(variable.path, one) for variable, one in pairs if one is not None]
    index = first_not_finite_of(one for _, one in known)
    return found._replace(
        layer=layers[0] if layers else None, weight=None if index is None else known[index][0]
    )


def _assign(model, values):
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)


def _message(found):
    text = (
        f"Training stopped with the loss {found.loss} after batch {found.batch} of epoch "
        f"{found.epoch} (both from 0), update {found.step}."
    )
    if found.place is not None:
        text += f" It is batch {found.place['batch']} of pass {found.place['epoch']} over the data."
    if found.problem is not None:
        text += f" {found.problem[0].upper()}{found.problem[1:]}"
    if found.layer is not None:
        text += f" The first layer whose output is not finite is {found.layer!r}."
    if found.weight is not None:
        text += f" The first weight whose gradient is not finite is {found.weight!r}."
    return text
