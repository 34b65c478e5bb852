"""The seven laws on random configurations; `make properties` checks hundreds on each backend.

A failure prints the smallest configuration that fails, and how to repeat it.
"""

import json
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness import BACKEND, functional_model, run_python, to_numpy
from tests.robustness.properties import configurations as random
from tests.robustness.properties.laws import case_of, check_all, named_inputs
from tests.robustness.properties.stack_laws import (
    bert_inputs,
    check_bert,
    check_decoder,
    check_encoder,
    stack_inputs,
)

PIECES = st.sampled_from([(1, 4), (2, 3), (4, 1), (5,), (1, 1, 1, 1, 1), (2, 1, 2)])

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("properties")


@given(configuration=random.gpts(), pieces=PIECES)
def test_language_models(configuration, pieces, folder):
    check_all(configuration, pieces, folder)


@given(configuration=random.translators(), pieces=PIECES)
def test_translators(configuration, pieces, folder):
    check_all(configuration, pieces, folder)


@given(configuration=random.berts())
def test_berts(configuration, folder):
    check_bert(configuration, folder)


@given(configuration=random.encoders())
def test_encoder_stacks(configuration, folder):
    check_encoder(configuration, folder)


@given(configuration=random.decoders(), pieces=PIECES)
def test_decoder_stacks(configuration, pieces, folder):
    check_decoder(configuration, pieces, folder)


LOAD = """
import sys
from pathlib import Path
import keras, numpy as np
import keras_transformer
for path in sorted(Path(sys.argv[1]).glob("*.keras")):
    model = keras.saving.load_model(path)
    with np.load(path.with_suffix(".npz")) as file:
        inputs = dict(file)
    outputs = keras.tree.flatten(model(inputs, training=False))
    outputs = [keras.ops.convert_to_numpy(output) for output in outputs]
    np.savez(path.with_suffix(".outputs.npz"), *outputs)
"""


def model_and_inputs(configuration):
    """A functional model and its inputs by name."""
    if configuration.kind in ("gpt", "transformer"):
        case = case_of(configuration)
        return case.model, named_inputs(case, configuration)
    if configuration.kind == "bert":
        return configuration.make(), bert_inputs(configuration, configuration.ids(2, 5))
    inputs = stack_inputs(configuration)
    names = {"x": "inputs", "real": "padding_mask", "encoded": "encoded"}
    inputs = {names[name]: value for name, value in inputs.items() if name in names}
    return functional_model(configuration.make(), inputs), inputs


# tests/laws tries all pairs of backends, on a few fixed models.
ELSEWHERE = {"tensorflow": "torch", "torch": "jax", "jax": "tensorflow"}


def test_reload_in_a_fresh_process_on_another_backend():
    """Law 4: one process loads the models of many configurations."""
    expected = {}
    with tempfile.TemporaryDirectory() as folder:

        @given(st.one_of(random.gpts(), random.translators(), random.berts(), random.decoders()))
        def save(configuration):
            model, inputs = model_and_inputs(configuration)
            path = Path(folder, f"{len(expected)}.keras")
            model.save(path)
            np.savez(path.with_suffix(".npz"), **inputs)
            expected[path] = configuration, to_numpy(model(inputs, training=False))

        save()
        run_python(LOAD, folder, backend=ELSEWHERE[BACKEND])
        for path, (configuration, outputs) in expected.items():
            with np.load(path.with_suffix(".outputs.npz")) as file:
                found = list(file.values())
            for output, other in zip(keras.tree.flatten(outputs), found, strict=True):
                difference = np.abs(other - output).max()
                limit = 1e-4 * max(1.0, np.abs(output).max())
                assert difference <= limit, f"{difference} for {json.dumps(configuration)}"
