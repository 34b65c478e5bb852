# %% [markdown]
# # Forecast a seismogram
#
# A series of real numbers is a sequence too. An encoder reads the last 0.64 seconds of an
# earthquake in three directions, and a decoder predicts the ground motion that follows, one value
# at a time, feeding each prediction back in as the next input. You see the error against the
# forecast horizon, as a table and as a chart with one of the forecasts.
#
# A Transformer and a GRU are compared with two baselines that any forecast should beat: no change,
# and a linear autoregression fitted by least squares.
#
# Takes about 10 minutes on 2 CPU cores.
#
#     python examples/forecast_seismogram.py --output runs/seismogram
#
# `--smoke` runs every line on a tiny sample.

# %%
from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")  # the fastest for recurrent networks on a CPU
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")  # no windows

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Forecast a seismogram with encoder-decoders.")
parser.add_argument(
    "--output", type=Path, default=Path("runs/seismogram"), help="folder for the charts"
)
parser.add_argument("--seeds", type=int, default=3, help="training runs of each model")
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()
if arguments.smoke:
    arguments.seeds, arguments.epochs = 1, 1
arguments.output.mkdir(parents=True, exist_ok=True)
started = time.time()
PAST, FUTURE = 64, 32  # samples, at 100 per second

# %% [markdown]
# ## The series
#
# 30 seconds; the earthquake begins in the first and fades. The forecasts are for the last ten
# seconds, which no model has seen. The motion is strong at first and weak at the end, so each
# window is shifted and scaled by statistics of its past to make them comparable.

# %%
series = kt.datasets.seismogram.load_data()
print(kt.datasets.seismogram.ATTRIBUTION)


def windows(samples):
    """Normalized pasts and futures, and the scale of each window."""
    past, future = kt.data.series_windows(samples, PAST, FUTURE)
    last = past[:, -1:]
    scale = past.std(axis=1, keepdims=True)
    return (past - last) / scale, (future - last) / scale, scale


past, future, _ = windows(series[:1800])
valid_past, valid_future, _ = windows(series[1800 - PAST : 2000])
test_past, test_future, test_scale = windows(series[2000 - PAST :])
if arguments.smoke:
    past, future = past[::20], future[::20]
    test_past, test_future, test_scale = test_past[::20], test_future[::20], test_scale[::20]
print(f"{len(past):,} training windows, {len(test_past)} test windows")


def error(forecasts):
    """Root mean square error at each step ahead, relative to the ground motion."""
    wrong = (forecasts - test_future) * test_scale
    return np.sqrt(np.mean(wrong**2, axis=(0, 2))) / series[2000:].std()


# %% [markdown]
# ## Baselines
#
# The autoregression predicts the next sample in all three directions from past samples by least
# squares, and then continues from its own predictions, as the networks do. Its order is chosen on
# the two seconds before the test data.

# %%


def features(windows, order):
    flat = windows[:, -order:].reshape(len(windows), -1)
    return np.concatenate([flat, np.ones((len(flat), 1), "float32")], axis=1)


def autoregression(order):
    found = np.linalg.lstsq(features(past, order), future[:, 0], rcond=None)[0]

    def forecasts(windows):
        windows = windows.copy()
        for _ in range(FUTURE):
            following = features(windows, order) @ found
            windows = np.concatenate([windows, following[:, None]], axis=1)
        return windows[:, PAST:]

    return forecasts


ORDERS = (2, 4, 8, 16, 32, 64)
valid_errors = [
    np.mean((autoregression(order)(valid_past) - valid_future) ** 2) for order in ORDERS
]
order = ORDERS[int(np.argmin(valid_errors))]
results = {
    "no change": [error(np.repeat(test_past[:, -1:], FUTURE, axis=1))],
    f"linear autoregression of {order}": [error(autoregression(order)(test_past))],
}

# %% [markdown]
# ## Encoder-decoders
#
# Trained with teacher forcing, with a little noise on the decoder inputs, because the predictions
# that the models later feed back are not exact either. The weights kept are those of the epoch with
# the lowest error on the two seconds before the test data.

# %%
MODELS = {
    "Transformer": {"kind": "transformer", "hidden_dim": 64, "intermediate_dim": 128},
    "GRU with attention": {"kind": "gru", "num_layers": 1, "hidden_dim": 96},
}
NOISE = 0.05


def inputs_of(past, future):
    return {"past": past, "previous": kt.data.previous_values(past, future)}


def learn(options, seed):
    keras.utils.set_random_seed(seed)
    model = kt.models.series_forecaster(num_channels=3, dropout=0.1, **options)
    steps = arguments.epochs * -(-len(past) // 64)
    rate = kt.training.WarmupCosineSchedule(2e-3, min(100, steps // 2), steps + 1)
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), "mse")
    generator = np.random.default_rng(seed)
    best, weights = np.inf, None
    for epoch in range(arguments.epochs):
        inputs = inputs_of(past, future)
        noise = generator.normal(0, NOISE, inputs["previous"].shape).astype("float32")
        noisy = {**inputs, "previous": inputs["previous"] + noise}
        model.fit(noisy, future, batch_size=64, verbose=0)
        if epoch % 2 or epoch == arguments.epochs - 1:
            found = kt.decoding.forecast(model, valid_past, FUTURE)
            now = float(np.mean((found - valid_future) ** 2))
            if now < best:
                best, weights = now, model.get_weights()
    model.set_weights(weights)
    return model


last = {}
for name, options in MODELS.items():
    results[name] = []
    for seed in range(1, arguments.seeds + 1):
        model = learn(options, seed)
        last[name] = kt.decoding.forecast(model, test_past, FUTURE)
        results[name].append(error(last[name]))
        seconds = time.time() - started
        print(f"  {name}, seed {seed}: {results[name][-1].mean():.3f}, {seconds:.0f} s", flush=True)
    results[name] = np.array(results[name])

# %% [markdown]
# ## Error by forecast horizon

# %%
AHEAD = (1, 2, 4, 8, 16, 32)
rows = [
    "| error, relative to the motion | " + " | ".join(f"{10 * n} ms" for n in AHEAD) + " | mean |"
]
rows.append("|---" * (len(AHEAD) + 2) + "|")
for name, errors in results.items():
    by_step = np.mean(errors, axis=0)
    cells = [f"{by_step[n - 1]:.2f}" for n in AHEAD] + [f"{by_step.mean():.2f}"]
    rows.append(f"| {name} | " + " | ".join(cells) + " |")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
ahead = 10 * np.arange(1, FUTURE + 1)
for name, errors in results.items():
    errors = np.array(errors)
    (line,) = left.plot(ahead, errors.mean(axis=0), label=name)
    spread = errors.std(axis=0)
    low, high = errors.mean(axis=0) - spread, errors.mean(axis=0) + spread
    left.fill_between(ahead, low, high, color=line.get_color(), alpha=0.2)
left.axhline(1.0, color="gray", linewidth=0.5)
left.set(xlabel="milliseconds ahead", ylabel="error / motion", ylim=(0, None))
left.legend(fontsize=8)
shown = len(test_past) // 2
times = 10 * np.arange(-PAST, FUTURE)
right.plot(times[:PAST], test_past[shown, :, 0], color="gray", label="input")
right.plot(times[PAST:], test_future[shown, :, 0], color="black", label="actual")
for name, forecasts in last.items():
    right.plot(times[PAST:], forecasts[shown, :, 0], label=name)
right.set(xlabel="milliseconds", ylabel="vertical motion")
right.legend(fontsize=8)
figure.savefig(arguments.output / "seismogram.png", dpi=130)

text = (
    f"One seismogram with three channels: {len(past):,} training windows from its first 18 "
    f"seconds and {len(test_past)} test windows from the last ten, mean of {arguments.seeds} "
    "seeds. 1.00 is the standard deviation of the ground motion in those ten seconds."
)
chart = "![Error by forecast horizon, and one forecast](images/seismogram.png)"
tables = "\n\n".join([text, "\n".join(rows), chart])
(arguments.output / "tables.md").write_text(tables + "\n", encoding="utf-8")
print("\n".join(rows))
print(f"Done in {time.time() - started:.0f} seconds; tables and chart are in {arguments.output}")
