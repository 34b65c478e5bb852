"""State of a run outside its model: metrics of the current epoch, torch's random generators."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import keras
import numpy as np

_METRICS, _TORCH = "@metrics/", "@torch/"


class Resumed(NamedTuple):
    """The saved state that `load_training` passes on to the `SaveTraining` of the resumed run.

    Attributes:
        folder: The folder that the model was loaded from, an absolute path.
        content: The content of its training.json.
        arrays: The arrays of `run_arrays`.
        within_epoch: Whether the run resumes in the middle of an epoch.
    """

    folder: str
    content: dict[str, Any]
    arrays: dict[str, np.ndarray]
    within_epoch: bool


_resumed: weakref.WeakKeyDictionary[keras.Model, Resumed] = weakref.WeakKeyDictionary()


def remember(model: keras.Model, resumed: Resumed) -> None:
    """Keeps the state of a loaded run until its model is trained."""
    _resumed[model] = resumed


def recall(model: keras.Model) -> Resumed | None:
    """Returns the state of the run that a model was loaded from, once; None if there is none."""
    return _resumed.pop(model, None)


def run_arrays(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the metrics of the current epoch and torch's random states.

    Args:
        model: A compiled model.

    Returns:
        Arrays by name.
    """
    metrics = [keras.ops.convert_to_numpy(variable) for variable in model.metrics_variables]
    arrays = {f"{_METRICS}{index}": array for index, array in enumerate(metrics)}
    # On other backends, the model's variables include a random state for each layer.
    if keras.backend.backend() == "torch":
        arrays |= {f"{_TORCH}{name}": state.numpy() for name, state in _torch_states().items()}
    return arrays


def restore_metrics(model: keras.Model, arrays: dict[str, np.ndarray], batches: Any) -> None:
    """Sets the metrics of a model to those of an interrupted epoch.

    Args:
        model: The compiled model.
        arrays: The result of `run_arrays`.
        batches: The batches of the run, in case the metrics have to be built.
    """
    saved = [arrays[name] for name in sorted(arrays, key=_index) if name.startswith(_METRICS)]
    if len(model.metrics_variables) < len(saved):
        # TensorFlow builds the metrics in the first step.
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(batches[0])
        model.compute_metrics(inputs, labels, model(inputs, training=False), weights)
        model.reset_metrics()
    variables = model.metrics_variables
    if [tuple(variable.shape) for variable in variables] == [array.shape for array in saved]:
        for variable, array in zip(variables, saved, strict=True):
            variable.assign(array)


def restore_random_states(arrays: dict[str, np.ndarray]) -> None:
    """Sets torch's random generators to the saved states, on those of their devices that exist."""
    if keras.backend.backend() != "torch":
        return
    import torch

    own = _torch_states()
    for name in own.keys() & {name.removeprefix(_TORCH) for name in arrays}:
        state = torch.from_numpy(np.array(arrays[f"{_TORCH}{name}"]))
        torch.set_rng_state(state) if name == "cpu" else torch.cuda.set_rng_state(state, name)


def _torch_states():
    import torch

    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda:{index}"] = state
    return states


def _index(name: str) -> int:
    return int(name.removeprefix(_METRICS)) if name.startswith(_METRICS) else -1
