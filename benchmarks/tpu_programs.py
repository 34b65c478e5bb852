"""The programs that `fit`, `generate` and `beam_search` run, compiled for a described TPU slice.

Models are built on this machine's CPU. Their programs are only compiled, for arrays that are
planned: they have a shape, a dtype and a sharding, but no values.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import keras
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from tpu_rows import Model, Row
from tpu_slice import (
    Planned,
    compile_program,
    distribution_over,
    planned,
    planned_rows,
    slice_devices,
)

import keras_transformer as kt
from keras_transformer.decoding import compilation
from keras_transformer.ops.batch_layouts import batch_layout

# By name: in the package, `beam_search` is the function.
DECODING_MODULES = [
    importlib.import_module(f"keras_transformer.decoding.{name}")
    for name in ("generation_loop", "beam_search")
]


class AllCompiled(Exception):  # noqa: N818
    """Leaves a decoding function once its last program has been compiled."""


# === Models ===


def build_model(model: Model, variant: dict[str, Any], model_axis: int) -> keras.Model:
    """Builds a model on the CPU, its weights split over as many parts of it as on the slice.

    Copies of the weights are the same on all devices, so one of them is enough here.
    """
    build = getattr(kt.models, model.build)
    if model_axis == 1:
        return build(**model.arguments, **variant)
    parts = [f"cpu:{index}" for index in range(model_axis)]
    with distribution_over(parts, model_axis).scope():
        return build(**model.arguments, **variant)


def compile_with_recipe(lm: keras.Model, model: Model, in_chunks: bool) -> keras.Model:
    """Compiles a model with its recipe, optionally with the loss in chunks; returns the trainer."""
    trainer = kt.training.ChunkedLossModel(lm) if in_chunks else lm
    recipe = getattr(kt.training, model.recipe)
    trainer.compile(**recipe(**model.recipe_arguments), jit_compile=True)
    return trainer


def make_batch(lm: keras.Model, make: Callable[[], Any]) -> tuple[dict, Any]:
    """A batch for a model: an array for each of its inputs, and labels of the same shape."""
    return {tensor.name: make() for tensor in lm.inputs}, make()


# === The training step ===


def make_state(trainer: keras.Model, inputs: Any, labels: Any) -> tuple[list, ...]:
    """Creates what `fit` creates before its first step.

    Args:
        trainer: A compiled model.
        inputs: Inputs, or planned ones.
        labels: Labels, or planned ones.

    Returns:
        The variables of the step's state: trainable, not trainable, optimizer's and metrics'.
    """

    def call(inputs, labels):
        with keras.StatelessScope():
            outputs = trainer(inputs)
            trainer.compute_loss(inputs, labels, outputs, training=False)
            trainer.compute_metrics(inputs, labels, outputs)

    jax.eval_shape(call, inputs, labels)
    trainer.optimizer.build(trainer.trainable_variables)
    return (
        trainer.trainable_variables,
        trainer.non_trainable_variables,
        trainer.optimizer.variables,
        trainer.metrics_variables,
    )


def step_of(trainer: keras.Model, shardings: Any = None) -> Any:
    """The step that `fit` runs for each batch: `(state, (inputs, labels)) -> (logs, state)`."""
    out = None if shardings is None else (None, shardings)
    return jax.jit(trainer.train_step, donate_argnums=0, out_shardings=out)


def fit_programs(row: Row, model: Model, variant: dict[str, Any]) -> dict[str, dict]:
    """Compiles the training step; returns what `compile_program` says of it."""
    lm = build_model(model, variant, row.model_axis)
    trainer = compile_with_recipe(lm, model, in_chunks="chunks" in row.variant)
    variables = make_state(trainer, *make_batch(lm, lambda: jax.ShapeDtypeStruct((1, 2), "int32")))
    distribution = distribution_over(slice_devices(row.chip, row.chips), row.model_axis)
    mesh = distribution.device_mesh.backend_mesh
    state = jax.tree.map(lambda variable: planned(variable.value, mesh), variables)
    batch = make_batch(lm, lambda: planned_rows((row.batch, model.length), "int32", distribution))
    with distribution.scope():
        step = step_of(trainer, jax.tree.map(lambda one: one.sharding, state))
        lowered = step.lower(state, batch)
    return {"step": compile_program(lowered)[0]}


# === Decoding ===


@contextlib.contextmanager
def compiling_only(mesh: Any, results: dict[str, dict]) -> Iterator[None]:
    """In this scope, `generate` and `beam_search` compile their programs but do not run them.

    Args:
        mesh: The devices to compile for.
        results: Where to put what `compile_program` says of "first token" and of "loop".
    """

    def plan(programs, function, tensors, state=(), parts=()):
        tensors = keras.tree.map_structure(lambda leaf: _planned_input(leaf, mesh), tensors)
        weights = [planned(weight, mesh) for weight in programs.weights]
        program = compilation.jax_program(programs, function, tensors, state, parts)
        lowered = program.lower(weights, state, tensors)
        name = "loop" if parts else "first token"
        results[name], shardings = compile_program(lowered)
        if shardings is None or parts:
            raise AllCompiled
        return jax.tree.map(
            lambda one, sharding: Planned(one.shape, one.dtype, sharding=sharding),
            lowered.out_info,
            shardings,
        )

    def plan_loop(programs, proceed, advance, tensors, state):
        plan(programs, compilation.repeat_steps, tensors, state, (proceed, advance))

    with contextlib.ExitStack() as patches:
        for module in DECODING_MODULES:
            patches.enter_context(mock.patch.object(module, "run_compiled", plan))
            patches.enter_context(mock.patch.object(module, "run_loop", plan_loop))
        with contextlib.suppress(AllCompiled):
            yield


def _planned_input(leaf, mesh):
    if isinstance(leaf, Planned):
        return leaf
    leaf = keras.ops.convert_to_tensor(leaf)
    layout = batch_layout(leaf.shape)
    sharding = NamedSharding(mesh, PartitionSpec()) if layout is None else layout.backend_layout
    return Planned(leaf.shape, leaf.dtype, sharding=sharding)


def decoding_programs(row: Row, model: Model, variant: dict[str, Any]) -> dict[str, dict]:
    """Compiles what `generate` or `beam_search` runs; returns what `compile_program` says."""
    built = build_model(model, variant, row.model_axis)
    distribution = distribution_over(slice_devices(row.chip, row.chips), row.model_axis)
    prompts = np.full((row.batch, model.prompt_length), 5, "int32")
    results: dict[str, dict] = {}
    mesh = distribution.device_mesh.backend_mesh
    with distribution.scope(), compiling_only(mesh, results):
        if row.program == "generate":
            kt.decoding.generate(built, prompts, max_new_tokens=model.new_tokens)
        else:
            kt.decoding.beam_search(built, prompts, max_length=model.new_tokens)
    return results
