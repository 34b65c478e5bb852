"""`tpu_check.py` compiles the programs that `fit`, `generate` and `beam_search` run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

pytest.importorskip("jax")
if keras.backend.backend() != "jax":
    pytest.skip("these programs are JAX's", allow_module_level=True)

import jax  # noqa: E402
import tpu_programs  # noqa: E402
from tpu_rows import SMOKE_MODELS, VARIANTS, smoke_rows  # noqa: E402

import keras_transformer as kt  # noqa: E402
from keras_transformer.decoding import compilation  # noqa: E402
from tests.jax_settings import JAX_SETTINGS  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BATCH, LENGTH, V = 3, 7, 96


def make_trainer(name, in_chunks):
    """A model, what trains it, and a batch with padding."""
    keras.utils.set_random_seed(3)
    model, generator = SMOKE_MODELS[name], np.random.default_rng(5)
    lm = tpu_programs.build_model(model, VARIANTS["rematerialize"], 1)
    trainer = tpu_programs.compile_with_recipe(lm, model, in_chunks)
    inputs, labels = tpu_programs.make_batch(
        lm, lambda: generator.integers(1, V, (BATCH, LENGTH)).astype("int32")
    )
    labels[1, -2:] = 0
    return trainer, inputs, labels


@pytest.mark.slow
@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("name", SMOKE_MODELS)
def test_the_step_is_that_of_fit(name, in_chunks):
    expected, inputs, labels = make_trainer(name, in_chunks)
    before = expected.get_weights()
    expected.fit(inputs, labels, batch_size=BATCH, shuffle=False, verbose=0)
    trainer, inputs, labels = make_trainer(name, in_chunks)
    variables = tpu_programs.make_state(trainer, inputs, labels)
    state = jax.tree.map(lambda variable: variable.value, variables)
    _, state = tpu_programs.step_of(trainer)(state, (inputs, labels))
    groups = (
        expected.trainable_variables,
        expected.non_trainable_variables,
        expected.optimizer.variables,
    )
    for found, group in zip(state[:3], groups, strict=True):
        assert len(found) == len(group)
        for value, variable in zip(found, group, strict=True):
            np.testing.assert_allclose(value, variable.numpy(), atol=1e-6, err_msg=variable.path)
    assert [v.path for v in variables[3]] == [v.path for v in expected.metrics_variables]
    after = expected.get_weights()
    assert any(np.abs(new - old).max() > 1e-5 for new, old in zip(after, before, strict=True))


def compiled_programs(monkeypatch, run):
    """The functions that `run` compiles, with the shapes of their arguments."""
    found, make = [], compilation.jax_program

    def recorded(programs, function, tensors, state, parts):
        leaves = keras.tree.flatten((dict(tensors), state))
        shapes = [(tuple(leaf.shape), str(leaf.dtype)) for leaf in leaves]
        found.append((function, parts, shapes))
        return make(programs, function, tensors, state, parts)

    with monkeypatch.context() as patches:
        patches.setattr(compilation, "jax_program", recorded)
        run()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name, function", [("tiny gpt", "generate"), ("tiny transformer", "beam")])
def test_decoding_compiles_what_it_runs(name, function, monkeypatch):
    model = SMOKE_MODELS[name]
    lm = tpu_programs.build_model(model, {}, 1)
    prompts = np.full((BATCH, LENGTH), 5, "int32")

    def decode():
        if function == "generate":
            return kt.decoding.generate(lm, prompts, max_new_tokens=11)
        return kt.decoding.beam_search(lm, prompts, max_length=11)

    distribution = tpu_programs.distribution_over(jax.devices()[:1], 1)
    results = {}

    def plan():
        mesh = distribution.device_mesh.backend_mesh
        with distribution.scope(), tpu_programs.compiling_only(mesh, results):
            decode()
            raise AssertionError("decoding went on without results")

    planned = compiled_programs(monkeypatch, plan)
    assert planned == compiled_programs(monkeypatch, decode)
    assert [len(parts) for _, parts, _ in planned] == [0, 2]
    assert list(results) == ["first token", "loop"]
    assert all(result["fits"] and result["arguments"] > 0 for result in results.values())


# === Several devices, in a process that has them ===


def compile_on_cpu(row):
    """Compiles a row for parts of the CPU instead of a TPU slice."""
    code = (
        "import json, sys; sys.path.append('benchmarks'); import jax, tpu_programs, tpu_check; "
        "from tpu_rows import Row; row = Row(*json.loads(sys.argv[1])); "
        "tpu_programs.slice_devices = lambda chip, chips: jax.devices()[:chips]; "
        "print('RESULT', json.dumps(tpu_check.compile_row(row)))"
    )
    flags = f"{JAX_SETTINGS['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    environment = {**os.environ, **JAX_SETTINGS, "XLA_FLAGS": flags, "KERAS_BACKEND": "jax"}
    process = subprocess.run(
        [sys.executable, "-c", code, json.dumps([*row])],
        cwd=ROOT,
        env={**environment, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.split("RESULT")[-1])["programs"]


@pytest.mark.slow
@pytest.mark.parametrize("program", ["fit", "generate", "beam_search"])
def test_a_split_model_communicates_and_takes_less_memory(program):
    rows = [row for row in smoke_rows() if row.program == program and not row.variant]
    row = rows[0]._replace(chips=8, batch=16)
    whole, split = compile_on_cpu(row), compile_on_cpu(row._replace(model_axis=4))
    assert whole.keys() == split.keys()
    for name in whole:
        assert split[name]["collectives"].get("all-reduce", 0) > 0
        assert split[name]["arguments"] < 0.7 * whole[name]["arguments"]
    # Rows need nothing of one another until their gradients are summed.
    if program == "fit":
        assert whole["step"]["collectives"]["all-reduce"] > 0
    if program == "generate":
        assert not whole["first token"]["collectives"]


@pytest.mark.slow
def test_chunks_of_the_loss_do_not_communicate():
    (row,) = [row for row in smoke_rows() if row.name == "fit tiny gpt v5e-1 batch chunks"]
    (step,) = compile_on_cpu(row._replace(chips=8, batch=16)).values()
    assert step["collectives"]["all-reduce"] > 0
    assert not [kind for kind in step["collectives"] if "in loops" in kind]
