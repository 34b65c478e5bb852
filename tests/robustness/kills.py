"""Kills training runs with SIGKILL at random moments, resumes them, and compares the results.

`python -m tests.robustness.kills --times 30` kills runs of all settings, 30 times in total, on the
backend named by KERAS_BACKEND.
"""

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 3
V = 31
ROWS = [np.random.default_rng(row).integers(4, V, 2 + row % 7).tolist() for row in range(1, 42)]


# === What runs in the process that is killed ===


def language_model(packed=False, **more):
    import keras_transformer as kt

    lm = kt.models.gpt(V, 1, 2, hidden_dim=8, intermediate_dim=16, max_length=11, dropout=0.2)
    lm = kt.models.packed(lm) if packed else lm
    recipe = kt.training.gpt1_pretraining_recipe(total_steps=40, warmup_steps=3, **more)
    return compiled(lm, recipe)


def text_batches():
    import keras_transformer as kt

    ids = [token_id for row in ROWS for token_id in row]
    return kt.data.LanguageModelBatches(ids, length=5, batch_size=4, seed=3)


def packed_batches():
    import keras_transformer as kt

    return kt.data.PackedBatches(ROWS, length=11, batch_size=2, seed=3)


def translation_batches():
    import keras_transformer as kt

    return kt.data.TranslationBatches(ROWS, ROWS[::-1], tokens_per_batch=24, max_shapes=3, seed=3)


def translator():
    import keras_transformer as kt

    model = kt.models.transformer(
        V, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, dropout=0.2
    )
    return compiled(model, kt.training.transformer_recipe(8, warmup_steps=3))


def half_precision():
    import keras

    keras.mixed_precision.set_global_policy("mixed_float16")  # with a loss scale
    model = language_model()
    keras.mixed_precision.set_global_policy("float32")  # a resumed model knows its own policy
    return model


def compiled(model, recipe):
    import keras

    # XLA would compile a program for every shape. JAX always uses it.
    model.compile(**recipe, jit_compile=keras.backend.backend() == "jax")
    return model


SETTINGS = {
    "accumulation": (lambda: language_model(gradient_accumulation_steps=3), text_batches),
    "half_precision": (half_precision, text_batches),
    "packed": (lambda: language_model(packed=True), packed_batches),
    "translation": (translator, translation_batches),
}


def train(setting, folder, kill):
    """Trains from the start or from the state in the folder, and writes `end.npz` at the end."""
    import keras

    import keras_transformer as kt

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    make_model, make_batches = SETTINGS[setting]
    keras.utils.set_random_seed(7)
    batches, epoch = make_batches(), 0
    if (folder / "training.json").exists():
        model, epoch = kt.training.load_training(folder, batches)
    else:
        model = make_model()
    save = kt.training.SaveTraining(folder, batches, every_steps=2, keep=2, monitor="loss")
    callbacks = [save, killer(kill, folder)]
    history = model.fit(
        batches,
        epochs=EPOCHS,
        initial_epoch=epoch,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    ).history
    variables = [*model.variables, *model.optimizer.variables]
    arrays = {str(i): keras.ops.convert_to_numpy(v) for i, v in enumerate(variables)}
    arrays |= {name: values[-1] for name, values in history.items()}
    np.savez(folder / "end.npz", **arrays)


def killer(kill, folder):
    """A callback that kills the process some seconds, or some file operations, after a step."""
    import keras

    how, _, amount = kill.partition(":")
    armed = threading.Event()
    left = itertools.count(1)

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(event, arguments):
        if event not in ("open", "os.rename", "os.remove") or not armed.is_set():
            return
        if str(arguments[0]).startswith(str(folder)) and next(left) == int(amount):
            die()

    class Kills(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if armed.is_set() or how == "never":
                return
            armed.set()
            if how == "seconds":
                timer = threading.Timer(float(amount), die)
                timer.daemon = True
                timer.start()
            else:
                sys.addaudithook(watch)

    return Kills()


# === What kills it ===


def run(setting, folder, kill="never"):
    """Trains in a separate process; returns whether it was killed."""
    command = [sys.executable, "-m", "tests.robustness.kills"]
    command += ["--setting", setting, "--folder", str(folder), "--kill", kill]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    if result.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{setting} failed with {kill}:\n{result.stderr[-3000:]}")
    return result.returncode != 0


def random_kill(generator):
    """A kill during a step or a save, equally likely; a save takes about ten file operations."""
    if generator.random() < 0.5:
        return f"seconds:{generator.uniform(0.0, 0.5):.3f}"
    return f"operations:{generator.randint(1, 45)}"


def kill_often(setting, times, seed, folder):
    """Kills runs of a setting, and compares the end of each with that of an uninterrupted run.

    Returns:
        A list of how often each run was killed.
    """
    generator = random.Random(f"{setting} {seed}")
    whole = folder / "whole"
    run(setting, whole)
    numbers, left = [], times
    while left:
        part, number = folder / f"killed-{len(numbers)}", 0
        part.mkdir()
        while run(setting, part, random_kill(generator) if left else "never"):
            number, left = number + 1, left - 1
        compare(whole / "end.npz", part / "end.npz")
        numbers.append(number)
    return numbers


def compare(whole, part):
    """Raises an AssertionError unless two runs have ended with the same results."""
    with np.load(whole) as expected, np.load(part) as found:
        # If the last state was saved before the kill, no epoch was left, so there are no metrics.
        names = [name for name in expected.files if name.isdigit() or name in found.files]
        assert len(names) > 10
        for name in names:
            if os.environ["KERAS_BACKEND"] == "torch":
                np.testing.assert_allclose(found[name], expected[name], atol=1e-6, err_msg=name)
            else:
                np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=30, help="number of kills")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--setting", choices=SETTINGS, help="only this one")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kill", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if arguments.kill:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        train(arguments.setting, arguments.folder, arguments.kill)
        return
    print(f"seed {arguments.seed}", flush=True)
    settings = [arguments.setting] if arguments.setting else list(SETTINGS)
    for index, setting in enumerate(settings):
        times = arguments.times // len(settings) + (index < arguments.times % len(settings))
        with tempfile.TemporaryDirectory() as folder:
            numbers = kill_often(setting, times, arguments.seed, Path(folder))
        print(f"{setting}: {len(numbers)} runs, killed {numbers} times: equal", flush=True)


if __name__ == "__main__":
    main()
