"""Law 4: a saved model gives the same outputs in a fresh process, on every backend."""

import json

import numpy as np
import pytest

from tests.harness import BACKEND, run_python, to_numpy, token_ids
from tests.laws.models import NAMES, V, get_case

LOAD = """
import json, sys
import keras, numpy as np
import keras_transformer, tests.laws.own_block
result = {}
for name in json.loads(sys.argv[2]):
    model = keras.saving.load_model(f"{sys.argv[1]}/{name}.keras")
    inputs = dict(np.load(f"{sys.argv[1]}/{name}.npz"))
    expected = inputs.pop("logits")
    actual = keras.ops.convert_to_numpy(model(inputs, training=False))
    result[name] = float(np.abs(actual - expected).max())
print("differences", json.dumps(result))
"""


def inputs_of(case):
    target, source = token_ids(2, 5, vocabulary_size=V), token_ids(2, 7, vocabulary_size=V, seed=1)
    target[1, 3:], source[0, 4:] = 0, 0
    if case.is_translator:
        return {"source_ids": source, "target_ids": target}
    return {"token_ids": target}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for name in NAMES:
        case = get_case(name)
        inputs = inputs_of(case)
        case.model.save(folder / f"{name}.keras")
        np.savez(folder / f"{name}.npz", logits=to_numpy(case.model(inputs)), **inputs)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_saved_here_loads_there(saved, backend):
    """Run on each backend, this covers all ordered pairs of them."""
    printed = run_python(LOAD, saved, json.dumps(NAMES), backend=backend)
    differences = json.loads(printed.split("differences")[-1])
    assert sorted(differences) == sorted(NAMES)
    # The same programs on the same backend; elsewhere the same mathematics.
    assert max(differences.values()) <= (1e-6 if backend == BACKEND else 1e-5), differences


@pytest.mark.parametrize("name", NAMES)
def test_weights_alone_reload(name, tmp_path):
    case = get_case(name)
    case.model.save_weights(tmp_path / "model.weights.h5")
    twin = case.model.__class__.from_config(case.model.get_config())
    inputs = inputs_of(case)
    assert np.abs(to_numpy(twin(inputs)) - to_numpy(case.model(inputs))).max() > 1e-2
    twin.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(to_numpy(twin(inputs)), to_numpy(case.model(inputs)))
