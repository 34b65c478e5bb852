"""Damaged files of a saved run are refused by name, and nothing is left half done."""

import json
import os
import random
import shutil
import zipfile

import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.files import parse_json
from keras_transformer.training import SaveTraining, load_training
from tests.robustness.mutations import mutate

V = 20
ROWS = [np.random.default_rng(row).integers(4, V, 5).tolist() for row in range(16)]


def make_batches():
    return kt.data.PackedBatches(ROWS, length=10, batch_size=3)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run saved within its second epoch, with adapters."""
    folder = tmp_path_factory.mktemp("training")
    lm = kt.models.gpt(V, 1, 2, hidden_dim=8, intermediate_dim=12, max_length=10)
    kt.training.enable_lora(lm, rank=2)
    lm = kt.models.packed(lm)
    lm.compile("adam", kt.training.MaskedCrossentropy(), jit_compile=False)
    data = make_batches()
    save = SaveTraining(folder, data, every_steps=2, keep=2, monitor="loss")
    lm.fit(data, epochs=1, verbose=0, shuffle=False, callbacks=[save])
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def change(folder, edit):
    path = folder / "training.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def refused(folder, message):
    data = make_batches()
    data.epoch = 3
    before = dict(vars(data))
    with pytest.raises(ValueError, match=message):
        load_training(folder, data)
    after = vars(data)
    assert after.keys() == before.keys() and all(after[name] is before[name] for name in before)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(model="../model-1-0.keras"), "own folder.*Received: '../model-1-0"),
        (lambda c: c.update(model="/etc/passwd"), "must name a model file in its own folder"),
        (lambda c: c.update(model=3), "must name a model file in its own folder.*Received: 3"),
        (lambda c: c.pop("model"), "must name a model file in its own folder"),
        (lambda c: c.update(format=99), "a newer library may have written it. Received: 99"),
        (lambda c: c.update(initial_epoch=-1), "have an `initial_epoch`.*Received: -1"),
        (lambda c: c.update(initial_epoch=10**30), "have an `initial_epoch`"),
        (lambda c: c["seeds"].insert(0, [None]), "have `seeds`"),
        (lambda c: c["seeds"].append([1, 2]), "`seeds` must be .* pairs.*training.json"),
        (lambda c: c["seeds"].__setitem__(0, [1, 2, 3]), "`seeds` must.*training.json"),
        (lambda c: c.update(seeds=[[2**70]]), "have `seeds`"),
        (lambda c: c.update(batches=[]), "have a state of the `batches`"),
        (lambda c: c["batches"].update(epoch="1"), "`epoch` must be .*training.json"),
        (lambda c: c["batches"].update(epoch=2**40), "`epoch` must be below.*training.json"),
        (lambda c: c["batches"].update(batch=10**6), "`batch` in `state` must.*training.json"),
        (lambda c: c["batches"].update(steps_left="x"), "`steps_left` must.*training.json"),
        (lambda c: c["batches"].update(settings=3), "`settings` must be a dict.*training.json"),
        (lambda c: c["batches"].update(order="0"), "same order of batches.*training.json"),
        (lambda c: c["state"].update(layers=[]), "have a `state` of layers and weights"),
        (lambda c: c["state"]["layers"].update({"x": True}), "different layers.*training.json"),
        (lambda c: c["state"]["weights"].pop(), "different weights.*training.json"),
        (
            lambda c: c["state"].update(
                adapters={name: [10**9, 1.0] for name in c["state"]["adapters"]}
            ),
            "training.json must have the rank of .* Received: rank 1000000000 .*.npz",
        ),
        (lambda c: c.update(others=3), "list other states"),
        (lambda c: c.update(others=[3]), "describe states as JSON objects"),
        (lambda c: c.update(best={"model": "elsewhere.keras"}), "name one of its states as `best`"),
    ],
)
def test_a_changed_index_is_refused(folder, edit, message):
    change(folder, edit)
    refused(folder, message)


@pytest.mark.parametrize(
    "content", [b"-1", b"[]", b"\xf1\xf1{}", b"{", b"", b"[" * 100_000, b'{"a": 1e999}']
)
def test_an_index_that_is_no_index_is_refused(folder, content):
    (folder / "training.json").write_bytes(content)
    refused(folder, "training.json")


@pytest.mark.parametrize("suffix", [".keras", ".npz"])
def test_a_damaged_or_missing_file_is_named(folder, suffix):
    name = json.loads((folder / "training.json").read_text())["model"]
    path = (folder / name).with_suffix(suffix)
    good = path.read_bytes()
    for content in (b"", b"PK", good[: len(good) // 2], b"x" * 100):
        path.write_bytes(content)
        refused(folder, path.name)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=path.name):
        load_training(folder, make_batches())
    os.mkfifo(path)
    refused(folder, path.name)


@pytest.mark.slow
def test_an_optimizer_that_does_not_fit_is_refused(folder):
    """Keras itself would only warn, and start the optimizer from zero."""
    change(folder, lambda content: content["state"]["weights"][0].__setitem__(1, True))
    path = folder / json.loads((folder / "training.json").read_text())["model"]
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(entries["config.json"])
    optimizer = config["compile_config"]["optimizer"]
    optimizer.update(class_name="SGD", module="keras.optimizers", registered_name=None)
    optimizer["config"] = {"learning_rate": 0.1}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, json.dumps(config) if name == "config.json" else content)
    refused(folder, f"(?s)Skipping variable loading for optimizer.*{path.name}")


# === Mutations ===


def load_mutation(folder, name, content):
    """Loads a folder with a changed file; returns whether it was accepted."""
    data = make_batches()
    data.epoch = 3
    before = dict(vars(data))
    (folder / name).write_bytes(content)
    try:
        load_training(folder, data)
        return True
    except (ValueError, FileNotFoundError) as error:
        stem = name.rpartition(".")[0]
        assert stem in str(error), (name, error)
        assert all(vars(data)[key] is value for key, value in before.items())
        return False


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Keras warns about damaged files
@pytest.mark.parametrize("suffix", [".json", ".keras", ".npz"])
def test_no_mutation_gets_through(folder, suffix):
    seed = 20
    generator = random.Random(f"{suffix} {seed}")
    index = json.loads((folder / "training.json").read_text())
    name = "training.json" if suffix == ".json" else index["model"].replace(".keras", suffix)
    good = (folder / name).read_bytes()
    number = {".json": 150, ".keras": 25, ".npz": 60}[suffix]
    accepted = 0
    for index in range(number):
        changed = mutate(good, name, generator)
        try:
            accepted += load_mutation(folder, name, changed)
        except BaseException:
            print(f"mutation {index} of {name}, seed {seed}: {changed[:300]}")
            raise
    assert accepted < number
    (folder / name).write_bytes(good)
    assert load_mutation(folder, name, good)


STATES = {
    "packed": make_batches,
    "text": lambda: kt.data.LanguageModelBatches(sum(ROWS, []), length=7, batch_size=3),
    "translation": lambda: kt.data.TranslationBatches(ROWS, ROWS[::-1], tokens_per_batch=24),
    "task": lambda: kt.data.TaskBatches(ROWS, [0] * len(ROWS), batch_size=3),
    "mixed": lambda: kt.data.MixedBatches(
        [kt.data.TaskBatches(rows, [0] * 8, batch_size=3) for rows in (ROWS[:8], ROWS[8:])]
    ),
}


@pytest.mark.parametrize("kind", STATES)
def test_no_mutated_position_moves_the_batches(kind):
    generator, data = random.Random(f"{kind} 20"), STATES[kind]()
    good = json.dumps(data.state(2)).encode()
    refusals = 0
    for _ in range(300):
        try:
            state = parse_json(mutate(good, "state.json", generator), "state.json")
        except ValueError:
            continue
        data = STATES[kind]()
        before = dict(vars(data))
        try:
            data.resume(state)
        except ValueError:
            refusals += 1
            assert all(vars(data)[key] is value for key, value in before.items())
        else:
            assert data.state()["batch"] < data._num_batches
    assert refusals > 20
