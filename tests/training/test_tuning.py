"""`kt.training.tune`: what it measures, what it says, and that it leaves no trace."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from keras_transformer.training import tuning as tuning_module
from keras_transformer.training.step_times import StepTime, time_steps
from keras_transformer.training.trial_run import trial_run
from tests.training.model_kinds import V, small_gpt
from tests.training.test_resume import MODES, StopAt

BACKEND = keras.backend.backend()
IDS = np.random.default_rng(7).integers(4, V, (6, 8)).astype("int32")
BATCH = {"token_ids": IDS[:, :-1]}, IDS[:, 1:]
FOREVER = float("inf")


def compiled(optimizer=None, num_layers=1):
    model = small_gpt(num_layers, dropout=0.2)
    loss, metrics = kt.training.MaskedCrossentropy(), [kt.training.MaskedAccuracy()]
    jit_compile = BACKEND == "jax"
    model.compile(
        optimizer or keras.optimizers.Adam(0.1), loss, metrics=metrics, jit_compile=jit_compile
    )
    return model


def step(model):
    return model.fit(*BATCH, batch_size=6, shuffle=False, verbose=0).history


def bits(variables):
    """The bytes and the type of each variable."""
    return [(one.dtype, ops.convert_to_numpy(one.value).tobytes()) for one in variables]


def torch_state(model):
    """The random state, the gradients and the modes of torch's modules."""
    if BACKEND != "torch":
        return None
    import torch

    gradients = [variable.value.grad for variable in model.variables]
    gradients = [None if one is None else one.numpy().tobytes() for one in gradients]
    modes = {module.training for module in model.modules()}
    return torch.get_rng_state().numpy().tobytes(), gradients, modes


def everything(model):
    """All that a training changes."""
    names = ("jit_compile", "run_eagerly", "steps_per_execution", "stop_training", "compiled")
    return {
        "weights and random states": bits(model.variables),
        "optimizer": bits(model.optimizer.variables),
        "metrics": bits(model.metrics_variables),
        "settings": [getattr(model, name) for name in names],
        "objects": [id(model.optimizer), id(model.loss), id(model.train_function)],
        "built": model.optimizer.built,
        "history": id(getattr(model, "history", None)),
        "torch": torch_state(model),
    }


def tune(model, batch=BATCH, **more):
    more = {"num_steps": 2, "verbose": 0, "jit_compile": [model.jit_compile], **more}
    return kt.training.tune(model, batch, **more)


@pytest.mark.slow
@pytest.mark.parametrize("steps_before", [0, 2])
def test_the_model_is_left_as_it_was_bit_for_bit(steps_before):
    keras.utils.set_random_seed(3)
    model = compiled()
    for _ in range(steps_before):
        step(model)
    before = everything(model)
    tuning = tune(model, steps_per_execution=(1, 3))
    assert everything(model) == before
    assert len(tuning.times) == (1 if BACKEND == "torch" else 2)
    losses = [step(model), step(model)]
    keras.utils.set_random_seed(3)
    twin = compiled()
    assert [step(twin) for _ in range(steps_before + 2)][-2:] == losses
    assert bits(model.variables) == bits(twin.variables)
    assert bits(model.optimizer.variables) == bits(twin.optimizer.variables)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["frozen", "partly_frozen", "averaged", "accumulated", "chunked"])
def test_models_trained_in_other_ways_are_left_as_they_were(mode):
    model = MODES[mode]()
    before = everything(model)
    tune(model, steps_per_execution=())
    assert everything(model) == before
    if BACKEND == "jax" and mode == "averaged":
        return  # where Keras itself cannot call `fit` a second time
    for _ in range(2):
        step(model)
    changed, before = before, everything(model)
    assert changed["weights and random states"] != before["weights and random states"]
    tune(model, steps_per_execution=())
    assert everything(model) == before


@pytest.mark.slow
def test_a_trial_that_is_interrupted_is_undone():
    model = compiled()
    step(model)
    before, losses = everything(model), model.history.history
    with pytest.raises(KeyboardInterrupt), trial_run(model):
        model.fit(*BATCH, batch_size=3, epochs=2, verbose=0, callbacks=[StopAt(2)])
    assert everything(model) == before and model.history.history is losses
    assert np.isfinite(step(model)["loss"]).all()


@pytest.mark.slow
def test_weights_can_be_frozen_after_a_trial():
    """An optimizer that has never run must not be built for weights that are frozen later."""
    model = compiled(num_layers=2)
    tune(model, steps_per_execution=())
    assert not model.optimizer.built
    kt.training.freeze(model, up_to=1)
    model.compile(model.optimizer, model.loss, jit_compile=BACKEND == "jax")
    frozen = bits(model.non_trainable_variables[:1])
    step(model)
    assert len(model.optimizer.variables) < 2 + 2 * len(model.weights)
    assert bits(model.non_trainable_variables[:1]) == frozen


@pytest.mark.slow
def test_a_choice_that_fails_is_reported_and_undone(monkeypatch):
    def fail_on_later(model, batch, arguments, num_steps, deadline):
        if arguments["jit_compile"] == own:
            return StepTime(arguments, 5.0, 1.0, num_steps)
        with pytest.raises(KeyboardInterrupt):
            model.fit(*batch, batch_size=6, verbose=0, callbacks=[StopAt(1)])
        raise MemoryError("no room for the scores\nand more")

    model = compiled()
    own = model.jit_compile
    before = everything(model)
    monkeypatch.setattr(tuning_module, "time_steps", fail_on_later)
    tuning = tune(model, jit_compile=(False, True), steps_per_execution=())
    assert everything(model) == before
    assert tuning.best == {"jit_compile": own, "steps_per_execution": 1}
    assert tuning.times[1].milliseconds is None
    assert tuning.times[1].problem == "MemoryError: 'no room for the scores'"
    assert "| | | MemoryError: 'no room for the scores' |" in str(tuning)


def chosen(monkeypatch, milliseconds, **more):
    """The best arguments, and all that are measured, if steps take these times."""

    def told(model, batch, arguments, num_steps, deadline):
        time = milliseconds[arguments["jit_compile"], arguments["steps_per_execution"]]
        return StepTime(arguments, time, 1.0, num_steps)

    monkeypatch.setattr(tuning_module, "time_steps", told)
    model = compiled()
    model.jit_compile = False
    tuning = tune(model, jit_compile=(False, True), steps_per_execution=(1, 4, 9), **more)
    return tuning.best, [tuple(one.arguments.values()) for one in tuning.times]


def test_the_fastest_choice_is_the_best(monkeypatch):
    best, measured = chosen(
        monkeypatch, {(False, 1): 10.0, (True, 1): 7.0, (True, 4): 6.0, (True, 9): 5.0}
    )
    assert measured[:2] == [(False, 1), (True, 1)]
    if BACKEND == "torch":
        assert best == {"jit_compile": True, "steps_per_execution": 1} and len(measured) == 2
    else:
        assert best == {"jit_compile": True, "steps_per_execution": 9}
        assert measured[2:] == [(True, 4), (True, 9)]


def test_the_models_own_settings_are_kept_unless_others_are_clearly_faster(monkeypatch):
    times = {(False, 1): 10.0, (True, 1): 9.8, (False, 4): 9.75, (False, 9): 12.0}
    best, _ = chosen(monkeypatch, times)
    assert best == {"jit_compile": False, "steps_per_execution": 1}


def test_choices_that_do_not_fit_into_the_time_are_not_measured(monkeypatch):
    clock = iter([0.0, 1.0, 8.0, *range(20, 30)])
    monkeypatch.setattr(tuning_module.time, "perf_counter", lambda: next(clock))
    times = {(False, 1): 10.0, (True, 1): 7.0}
    if BACKEND == "torch":
        clock = iter([0.0, 1.0, 21.0])
        assert chosen(monkeypatch, times, seconds=20.0)[0]["jit_compile"] is False
        return
    best, measured = chosen(monkeypatch, times, seconds=20.0)
    assert best == {"jit_compile": True, "steps_per_execution": 1} and len(measured) == 4


def test_steps_of_layers_without_xla_are_not_compiled():
    class Plain(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.supports_jit = False

        def call(self, inputs):
            return inputs

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), Plain()])
    model.compile("sgd", "mse", jit_compile=False)
    assert tuning_module._flags(model, None) == [False]


@pytest.mark.slow
def test_times_are_those_of_steps_after_the_first():
    model = compiled()
    with trial_run(model):
        arguments = {"jit_compile": model.jit_compile, "steps_per_execution": 1}
        one = time_steps(model, BATCH, arguments, 5, FOREVER)
        assert int(model.optimizer.iterations) == 7
        late = time_steps(model, BATCH, arguments, 5, deadline=0.0)
    assert one.arguments == arguments and one.num_steps == 5 and one.problem is None
    assert one.milliseconds > 0 and one.first_seconds > 0
    assert late.num_steps == 1


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "torch", reason="Keras on torch runs one step at a time.")
def test_several_steps_in_one_execution():
    model = compiled()
    with trial_run(model):
        arguments = {"jit_compile": model.jit_compile, "steps_per_execution": 3}
        one = time_steps(model, BATCH, arguments, 5, FOREVER)
        assert int(model.optimizer.iterations) == 3 * (2 + 2)
    assert one.num_steps == 6 and one.milliseconds > 0 and one.first_seconds > 0


@pytest.mark.slow
def test_by_default_all_choices_of_the_backend_are_measured():
    model = compiled()
    before = everything(model)
    tuning = kt.training.tune(model, BATCH, num_steps=1, verbose=0)
    assert everything(model) == before
    arguments = [one.arguments for one in tuning.times]
    flags = {"tensorflow": [False, True], "jax": [True], "torch": [False]}[BACKEND]
    assert [one["jit_compile"] for one in arguments[: len(flags)]] == flags
    sizes = [one["steps_per_execution"] for one in arguments]
    assert sizes == [1] * len(flags) + [8] * (BACKEND != "torch")
    assert tuning.best in arguments
    assert tuning.times[0].milliseconds > 0


def test_the_table():
    tuning = kt.training.Tuning(
        {"jit_compile": True},
        (
            StepTime({"jit_compile": False}, 20.04, 0.54, 10),
            StepTime({"jit_compile": True}, 12.5, 31.0, 10),
        ),
    )
    assert str(tuning).splitlines() == [
        "| compile arguments | ms per step | first step, s | |",
        "|---|---|---|---|",
        "| jit_compile=False | 20.0 | 0.5 | |",
        "| jit_compile=True | 12.5 | 31.0 | best |",
    ]


def test_progress_is_shown(monkeypatch, capsys):
    times = dict.fromkeys([(False, 1), (True, 1), (False, 4), (False, 9)], 5.0)
    chosen(monkeypatch, times, verbose=1)
    assert ("2/2" if BACKEND == "torch" else "4/4") in capsys.readouterr().out


class NoConfig(keras.optimizers.SGD):
    def get_config(self):
        raise NotImplementedError("no config")


@pytest.mark.parametrize(
    ("make", "batch", "arguments", "message"),
    [
        (small_gpt, BATCH, {}, "`model` must be compiled, with an optimizer. Received: model=<"),
        (compiled, BATCH[0], {}, r"`batch` must be a tuple \(inputs, labels\) or"),
        (compiled, BATCH[:1], {}, r"`batch` must be a tuple .*Received: batch=\(\{'token_ids'"),
        (compiled, (IDS[:, :-1], IDS[:5, 1:]), {}, r"same number .*\(6, 7\), \(5, 7\)"),
        (compiled, (IDS[:0], IDS[:0]), {}, r"at least one. Received: .*\(0, 8\)"),
        (compiled, ({"tokens": IDS}, IDS), {}, "`batch` must be a batch that `model.fit` can tr"),
        (compiled, BATCH, {"seconds": 0}, "`seconds` must be a finite number > 0. Received: se"),
        (compiled, BATCH, {"num_steps": 0}, "`num_steps` must be a positive integer. Received"),
        (compiled, BATCH, {"steps_per_execution": 8}, "`steps_per_execution` must be a sequence"),
        (compiled, BATCH, {"steps_per_execution": (0,)}, "must be a positive integer. Received"),
        (compiled, BATCH, {"jit_compile": True}, "`jit_compile` must be a sequence or None"),
        (compiled, BATCH, {"jit_compile": ["auto"]}, "`jit_compile` must be True or False"),
        (
            lambda: compiled(NoConfig(0.1)),
            BATCH,
            {},
            "`model` must have an optimizer that its config can recreate, or that has made a step",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match")
def test_messages(make, batch, arguments, message):
    model = make()
    with pytest.raises(ValueError, match=message):
        kt.training.tune(model, batch, **{"num_steps": 1, "verbose": 0, **arguments})


def test_a_model_without_weights_is_refused():
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`model` must have all of its weights"):
        kt.training.tune(model, (np.ones((2, 3)), np.ones((2, 2))), verbose=0)
