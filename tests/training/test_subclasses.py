"""A usual Keras subclass, with one more argument and `**kwargs`, keeps its parent's arguments."""

import inspect

import keras
import pytest

import keras_transformer as kt
from tests.training.model_kinds import gpt

SCHEDULE = {"peak_learning_rate": 0.5, "warmup_steps": 3, "total_steps": 11}
CASES = {
    kt.training.MaskedCrossentropy: {
        "label_smoothing": 0.25,
        "smoothing_spread": "wrong_classes",
        "padding_id": -1,
        "reduction": "sum",
        "name": "other",
    },
    kt.training.InBatchNegatives: {
        "temperature": 0.25,
        "symmetric": True,
        "reduction": "sum",
        "name": "other",
    },
    kt.training.MaskedAccuracy: {"padding_id": None, "name": "other", "dtype": "float64"},
    kt.training.Perplexity: {"padding_id": 7, "name": "other", "dtype": "float64"},
    kt.training.NoamSchedule: {"hidden_dim": 8, "warmup_steps": 5, "scale": 2.0},
    kt.training.InverseSquareRootSchedule: {"peak_learning_rate": 0.5, "warmup_steps": 3},
    kt.training.WarmupCosineSchedule: {**SCHEDULE, "final_learning_rate": 0.25},
    kt.training.WarmupLinearSchedule: {**SCHEDULE, "final_learning_rate": 0.25},
    kt.training.AccumulationSchedule: {
        "schedule": kt.training.NoamSchedule(8, 5),
        "gradient_accumulation_steps": 3,
    },
    kt.training.DecoupledAdamW: {
        "learning_rate": 0.25,
        "weight_decay": 0.5,
        "exclude": ["kernel"],
        "beta_2": 0.75,
        "global_clipnorm": 2.0,
        "use_ema": True,
    },
    kt.training.ChunkedLossModel: {"model": None, "chunk_size": 3, "name": "other"},
}


def extend(parent):
    @keras.saving.register_keras_serializable("tests_subclasses", f"Extended{parent.__name__}")
    class Extended(parent):
        def __init__(self, *arguments, extra=1, **kwargs):
            super().__init__(*arguments, **kwargs)
            self.extra = extra

        def get_config(self):
            return {**super().get_config(), "extra": self.extra}

    return Extended


def plain(config):
    """A config without the entries that may differ between two builds of the same model."""
    return {name: value for name, value in config.items() if name != "model"}


@pytest.mark.slow
@pytest.mark.parametrize("parent", CASES, ids=lambda parent: parent.__name__)
@pytest.mark.parametrize("subclassed", [False, True])
def test_the_settings_come_back(parent, subclassed):
    arguments = dict(CASES[parent])
    if "model" in arguments:
        arguments["model"] = gpt().model
    made = (extend(parent)(**arguments, extra=5)) if subclassed else parent(**arguments)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert type(again) is type(made)
    assert plain(again.get_config()) == plain(made.get_config())
    for name, value in arguments.items():
        if name not in ("model", "dtype", "schedule"):
            found = again.get_config()[name]
            assert found == pytest.approx(value) if isinstance(value, float) else found == value
    assert getattr(again, "extra", 5) == 5


def test_every_class_with_a_config_is_here():
    classes = [one for one in vars(kt.training).values() if inspect.isclass(one)]
    with_config = {one for one in classes if hasattr(one, "get_config")}
    assert with_config == set(CASES)
    callbacks = {one for one in classes if issubclass(one, keras.callbacks.Callback)}
    assert callbacks and not callbacks & with_config  # Keras saves no callbacks
