# %% [markdown]
# # Forecast a seismogram
#
# A series of real numbers is a sequence too. From the last 0.64 seconds of ground motion in three
# directions, a Transformer predicts the next 0.32 seconds of an earthquake, once all at the same
# time and once value by value. You see the error against the forecast horizon, as a table and as a
# chart with one of the forecasts.
#
# The forecasts have to beat two simple ones: no change, and a linear map. What decides is less the
# network than what it is given: windows that still show where zero is, axes turned at random in
# each epoch, and motion from a second station.
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
parser = argparse.ArgumentParser(description="Forecast a seismogram with Transformers.")
parser.add_argument(
    "--output", type=Path, default=Path("runs/seismogram"), help="folder for the charts"
)
parser.add_argument("--seeds", type=int, default=3, help="training runs of each model")
parser.add_argument("--epochs", type=int, default=9)
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
# window is scaled by the size of its steps in the past to make them comparable.
#
# A window is not shifted. Ground motion swings around zero, and a model that knows the last value
# relative to zero knows in which direction the ground will return.

# %%
series = kt.datasets.seismogram.load_data()
print(kt.datasets.seismogram.ATTRIBUTION)
train, test = series[:2000], series[2000 - PAST :]
motion = series[2000:].std()


def step_size(past):
    return np.diff(past, axis=1).std(axis=1, keepdims=True)


def scaled(past, future, size=step_size):
    """Pasts and futures of windows, and the size by which they were divided."""
    scale = size(past)
    return past / scale, future / scale, scale


def windows(samples):
    past, future = kt.data.series_windows(samples, PAST, FUTURE)
    return (past[::20], future[::20]) if arguments.smoke else (past, future)


train_windows, test_windows = windows(train), windows(test)
test_past, _, test_scale = scaled(*test_windows)
print(f"{len(train_windows[0]):,} training windows, {len(test_past)} test windows")


def error(forecasts, truth=test_windows[1]):
    """Root mean square error at each step ahead, relative to the ground motion."""
    return np.sqrt(np.mean((forecasts - truth) ** 2, axis=(0, 2))) / motion


# %% [markdown]
# ## Simple forecasts
#
# The linear map takes the 64 past values of a channel to the 32 next ones, by ridge regression. It
# is fitted three times, to show what the windows' scale and origin do.

# %%


def by_channel(values):
    """(windows, time, channels) as rows of (windows x channels, time)."""
    return np.swapaxes(values, 1, 2).reshape(-1, values.shape[1])


def ridge(past, future, strength=100.0):
    """The map of the past that adds least squares of the change to the last value."""
    inputs, changes = by_channel(past), by_channel(future - past[:, -1:])
    square = inputs.T @ inputs + strength * np.eye(PAST)
    return np.linalg.solve(square, inputs.T @ changes).astype("float32")


def linear_forecast(kernel, past):
    return past[:, -1:] + np.einsum("nsc,st->ntc", past, kernel)


def size_of_motion(past):
    return past.std(axis=1, keepdims=True)


def prepared(windows, size, shifted):
    past, future = windows
    origin = past[:, -1:] if shifted else 0
    return scaled(past - origin, future - origin, size)


results = {"no change": [error(np.repeat(test_windows[0][:, -1:], FUTURE, axis=1))]}
for name, size, shifted in (
    ("linear, windows end at zero", size_of_motion, True),
    ("linear, windows of equal motion", size_of_motion, False),
    ("linear, windows of equal steps", step_size, False),
):
    past, future, _ = prepared(train_windows, size, shifted)
    kernel = ridge(past, future)
    past, future, scale = prepared(test_windows, size, shifted)
    results[name] = [error(linear_forecast(kernel, past) * scale, future * scale)]

# %% [markdown]
# ## More motion
#
# 20 seconds of one earthquake are little. Earthquakes come from all directions, so each epoch turns
# every window's three axes at random. Half of the windows come from the half hour before a distant
# earthquake at another station, which recorded the vertical direction only: three random moments
# become three directions.

# %%
background = kt.datasets.seismogram.load_data("KW1")[: 30 * 60 * 100, 0]
background -= background.mean()


class TurnedWindows(keras.utils.PyDataset):
    """Batches of (past, future) with random axes, new ones in each epoch."""

    def __init__(self, seed, batch_size=64):
        super().__init__()
        self.generator, self.batch_size = np.random.default_rng(seed), batch_size
        self.on_epoch_end()

    def on_epoch_end(self):
        generator, (past, future) = self.generator, train_windows
        whole = np.concatenate([past, future], axis=1)
        starts = generator.integers(0, len(background) - PAST - FUTURE, (len(past), 1, 3))
        more = background[starts + np.arange(PAST + FUTURE)[:, None]]
        more = more / step_size(more) * np.exp(generator.normal(size=(len(more), 1, 3)))
        whole = np.concatenate([whole, more])
        axes, _ = np.linalg.qr(generator.normal(size=(len(whole), 3, 3)))
        turned = generator.permutation((whole @ axes).astype("float32"))
        self.past, self.future, _ = scaled(turned[:, :PAST], turned[:, PAST:])

    def __len__(self):
        return -(-len(self.past) // self.batch_size)

    def __getitem__(self, index):
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self.past[rows], self.future[rows]


# %% [markdown]
# ## All values at once
#
# The model adds up the last value, a linear map and a Transformer's correction. The map starts as
# the one fitted above, so that the Transformer has to learn only what a linear map cannot do. Its
# heavy dropout and small rate were chosen on the last two of the 20 seconds, by training on the
# first 18.


# %%
def compiled(model, rate, batches):
    steps = arguments.epochs * len(batches)
    schedule = kt.training.WarmupCosineSchedule(rate, min(100, steps // 2), steps + 1)
    model.compile(keras.optimizers.Adam(schedule, global_clipnorm=1.0), "huber")
    return model


def at_once(seed):
    model = kt.models.direct_series_forecaster(3, PAST, FUTURE, dropout=0.4)
    model.get_layer("linear").set_weights([kernel])
    batches = TurnedWindows(seed)
    compiled(model, 3e-4, batches).fit(batches, epochs=arguments.epochs, verbose=0)
    return model.predict(test_past, batch_size=256, verbose=0)


# %% [markdown]
# ## One value at a time
#
# An encoder-decoder feeds each prediction back in as the next input. In training it sees the true
# value before the one to predict, with a little noise, because its own predictions will not be
# exact either.


# %%
class StepByStep(TurnedWindows):
    """The same batches with the decoder's inputs."""

    def __getitem__(self, index):
        past, future = super().__getitem__(index)
        previous = kt.data.previous_values(past, future)
        previous = previous + self.generator.normal(0, NOISE, previous.shape)
        return {"past": past, "previous": previous.astype("float32")}, future


NOISE = 0.2


def step_by_step(seed, **options):
    model = kt.models.series_forecaster(num_channels=3, dropout=0.1, **options)
    batches = StepByStep(seed)
    compiled(model, 2e-3, batches).fit(batches, epochs=arguments.epochs, verbose=0)
    return kt.decoding.forecast(model, test_past, FUTURE)


MODELS = {
    "Transformer, all at once": at_once,
    "Transformer, step by step": lambda seed: step_by_step(
        seed, hidden_dim=64, intermediate_dim=128
    ),
    "GRU with attention, step by step": lambda seed: step_by_step(
        seed, kind="gru", num_layers=1, hidden_dim=96
    ),
}
last = {}
for name, learn in MODELS.items():
    results[name] = []
    for seed in range(1, arguments.seeds + 1):
        keras.utils.set_random_seed(seed)
        last[name] = learn(seed) * test_scale
        results[name].append(error(last[name]))
        seconds = time.time() - started
        print(f"  {name}, seed {seed}: {results[name][-1].mean():.3f}, {seconds:.0f} s", flush=True)

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
    cells = [f"{by_step[n - 1]:.3f}" for n in AHEAD] + [f"{by_step.mean():.3f}"]
    rows.append(f"| {name} | " + " | ".join(cells) + " |")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
ahead = 10 * np.arange(1, FUTURE + 1)
for name, errors in results.items():
    errors = np.array(errors)
    (line,) = left.plot(ahead, errors.mean(axis=0), label=name)
    spread = errors.std(axis=0)
    low, high = errors.mean(axis=0) - spread, errors.mean(axis=0) + spread
    left.fill_between(ahead, low, high, color=line.get_color(), alpha=0.2)
left.set(xlabel="milliseconds ahead", ylabel="error / motion", ylim=(0, None))
left.legend(fontsize=8)
shown = range(0, min(10 * FUTURE, len(test_past)), FUTURE)
actual = np.concatenate([test_windows[1][start, :, 0] for start in shown])
right.plot(10 * np.arange(len(actual)), actual, color="black", label="actual")
for color, (name, forecasts) in zip(("tab:purple", "tab:brown"), last.items(), strict=False):
    for start in shown:
        label = name if start == 0 else None
        right.plot(10 * (start + ahead // 10 - 1), forecasts[start, :, 0], color, label=label)
right.set(xlabel="milliseconds", ylabel="vertical motion", title="a new forecast every 320 ms")
right.legend(fontsize=8)
figure.savefig(arguments.output / "seismogram.png", dpi=130)

text = (
    f"One seismogram with three channels: {len(train_windows[0]):,} training windows from its "
    f"first 20 seconds and {len(test_past)} test windows from the last ten, mean of "
    f"{arguments.seeds} seeds. 1.00 is the standard deviation of the ground motion in those ten "
    "seconds."
)
chart = "![Error by forecast horizon, and one forecast](images/seismogram.png)"
tables = "\n\n".join([text, "\n".join(rows), chart])
(arguments.output / "tables.md").write_text(tables + "\n", encoding="utf-8")
print("\n".join(rows))
print(f"Done in {time.time() - started:.0f} seconds; tables and chart are in {arguments.output}")
