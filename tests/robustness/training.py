"""Long training runs in half precision, in which every number must stay finite."""

import time

import keras
import numpy as np

import keras_transformer as kt

V, LENGTH = 97, 32
POLICIES = ("mixed_bfloat16", "mixed_float16")


def batches():
    """Text with a pattern to learn, so that the loss becomes small and the logits large."""
    generator = np.random.default_rng(5)
    rows = [np.cumsum(generator.integers(1, 4, 400)) % (V - 1) + 1 for _ in range(40)]
    return kt.data.LanguageModelBatches(np.concatenate(rows), length=LENGTH, batch_size=16)


def language_model(steps):
    lm = kt.models.gpt(V, 2, 4, hidden_dim=32, intermediate_dim=64, max_length=LENGTH)
    # Ten times the usual rate, to reach large logits soon.
    return lm, kt.training.gpt1_pretraining_recipe(
        total_steps=steps, warmup_steps=steps // 10, peak_learning_rate=3e-3
    )


def train(policy, steps, minutes):
    """Trains for a number of steps or minutes.

    Returns:
        The number of steps, and the losses at the start and the end.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(1)
        lm, recipe = language_model(steps)
        lm.compile(**recipe)
        data = batches()
        callbacks = [kt.training.StopOnNonFinite(data), kt.training.StopAfter(minutes)]
        epochs = -(-steps // len(data))
        history = lm.fit(data, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks).history
        losses = history["loss"]
        check(lm, callbacks[0], losses)
        done = int(keras.ops.convert_to_numpy(lm.optimizer.iterations))
        return done, losses[0], losses[-1]
    finally:
        keras.config.set_dtype_policy(before)


def check(model, stop, losses):
    """Raises unless the losses, the weights and the optimizer are finite."""
    if stop.found is not None or not np.isfinite(losses).all():
        raise AssertionError(f"Not finite: {stop.found}, losses {losses}.")
    bad = kt.training.finite_weights.first_not_finite(model)
    if bad is not None:
        raise AssertionError(f"Not finite: {bad}.")


def run(steps, minutes=15.0):
    """Trains with each policy, and returns a report; raises where a number is not finite."""
    reports = []
    for policy in POLICIES:
        started = time.perf_counter()
        done, first, last = train(policy, steps, minutes / len(POLICIES))
        seconds = time.perf_counter() - started
        reports.append(f"{policy} {done} steps, loss {first:.2f} to {last:.2f} ({seconds:.0f} s)")
    return f"{keras.backend.backend()}: {'; '.join(reports)}"
