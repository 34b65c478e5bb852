"""Uses the installed package without the repository; run by `empty_environments.py`.

It imports nothing of the tests, and fails with an error if something is missing.
"""

import importlib.metadata
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

import keras_transformer as kt


def check(holds, message):
    if not holds:
        raise SystemExit(message)


def check_installed():
    """Checks that the installed package is used, and that it brought only its dependencies."""
    place = Path(kt.__file__).resolve()
    check(place.is_relative_to(Path(sys.prefix).resolve()), f"{place} is not in {sys.prefix}")
    check(kt.__version__ == importlib.metadata.version("keras-transformer-layers"), "version")
    for name in ("transformers", "sentencepiece", "starlette", "tensorboard"):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        raise SystemExit(f"{name} is installed, but is not a core dependency")


def check_package_data():
    page = Path(kt.__file__).parent / "explorer" / "page" / "index.html"
    check(page.is_file() and (Path(kt.__file__).parent / "py.typed").is_file(), "package data")


def check_a_model(folder):
    """Trains, saves, loads and decodes a language model, and shows its attention."""
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    model = kt.models.gpt(vocabulary_size=11, max_length=13, dropout=0.0, **sizes)
    model.compile(keras.optimizers.Adam(0.01), kt.training.MaskedCrossentropy())
    ids = np.tile(np.arange(1, 9, dtype="int32"), (16, 1))
    inputs, labels = {"token_ids": ids[:, :-1]}, ids[:, 1:]
    losses = model.fit(inputs, labels, epochs=60, batch_size=16, verbose=0).history["loss"]
    check(losses[-1] < 0.2 * losses[0], f"the loss went from {losses[0]} to {losses[-1]}")
    generated = kt.decoding.generate(model, [[1, 2, 3]], max_new_tokens=4)
    check(generated[0].tolist() == [1, 2, 3, 4, 5, 6, 7], f"generated {generated}")
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    again = kt.decoding.generate(loaded, [[1, 2, 3]], max_new_tokens=4)
    check(again.tolist() == generated.tolist(), f"generated {again} after loading")
    found = kt.decoding.beam_search(loaded, [[1, 2]], end_id=8, max_length=8)
    check(found.ids[0, 0].tolist()[:6] == [3, 4, 5, 6, 7, 8], f"beams found {found.ids}")
    page = kt.visualize.head_view(loaded, {"token_ids": ids[:1, :3]}).html()
    check(page.startswith("<!DOCTYPE html>"), "the page of a figure")
    kt.training.average_checkpoints(model, [folder / "model.keras"] * 2)


def main():
    check_installed()
    check_package_data()
    keras.utils.set_random_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        check_a_model(Path(folder))
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"works on Python {version} with {keras.backend.backend()} and Keras {keras.__version__}")


if __name__ == "__main__":
    main()
