# %% [markdown]
# # A Vision Transformer on handwritten digits
#
# An image can be read as a sequence of patches. A small ViT is trained with three seeds on four
# fifths of scikit-learn's 1,797 digits of 8 x 8 pixels. You see its accuracy on the held-out fifth,
# and where the classification token looks in ten digits.
#
# Takes about 5 minutes on 2 CPU cores.
#
#     python examples/train_vit.py --output runs/vit
#
# `--smoke` runs every line on a tiny sample.

# %%
from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")  # no windows

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_transformer as kt

# %%
parser = argparse.ArgumentParser(description="Train a small ViT on handwritten digits.")
parser.add_argument(
    "--output", type=Path, default=Path("runs/vit"), help="folder for model and chart"
)
parser.add_argument("--seeds", type=int, default=3, help="number of training runs")
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--smoke", action="store_true", help="run everything once, on a tiny sample")
arguments = parser.parse_args()
if arguments.smoke:
    arguments.seeds, arguments.epochs = 1, 1
started = time.time()

# %% [markdown]
# ## Digits
#
# 16 patches of 2 x 2 pixels each. Copies of every training image, shifted by one pixel in each
# direction, are added: unlike a convolution, a ViT has to learn translation invariance.

# %%
digits = load_digits()
images = (digits.images / 16.0).astype("float32")[..., None]
train_images, test_images, train_labels, test_labels = train_test_split(
    images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
)
if arguments.smoke:
    train_images, train_labels = train_images[:128], train_labels[:128]


def moved(images, down, right):
    """The images, shifted, with zeros filled in."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return padded[:, 1 - down : 9 - down, 1 - right : 9 - right]


places = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
more_images = np.concatenate([moved(train_images, *place) for place in places])
more_labels = np.tile(train_labels, len(places))

# %% [markdown]
# ## Training
#
# As for a GPT: pre-LN, AdamW without weight decay on biases and gains, warmup and cosine decay.

# %%
BATCH_SIZE = 128


def train(seed):
    keras.utils.set_random_seed(seed)
    model = kt.models.vit(
        image_size=8,
        patch_size=2,
        num_classes=10,
        num_layers=4,
        num_heads=4,
        hidden_dim=64,
        intermediate_dim=128,
        num_channels=1,
        dropout=0.1,
    )
    steps = arguments.epochs * -(-len(more_images) // BATCH_SIZE)
    rate = kt.training.WarmupCosineSchedule(2e-3, min(100, steps // 2), steps + 1)
    model.compile(
        kt.training.DecoupledAdamW(rate, weight_decay=0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(more_images, more_labels, batch_size=BATCH_SIZE, epochs=arguments.epochs, verbose=0)
    score = model.evaluate(test_images, test_labels, verbose=0, return_dict=True)["accuracy"]
    print(f"  seed {seed}: {score:.2%} after {time.time() - started:.0f} seconds", flush=True)
    return model, score


trained = [train(seed) for seed in range(1, arguments.seeds + 1)]
scores = [score for _, score in trained]

# %% [markdown]
# ## Attention
#
# The attention weights from the classification token to the patches in the last block, averaged
# over heads.

# %%
model = trained[0][0]
arguments.output.mkdir(parents=True, exist_ok=True)
model.save(arguments.output / "model.keras")
shown = test_images[:10]
patches = model.get_layer("patch_embedding")(shown)
patches = keras.ops.reshape(patches, (len(shown), 16, 64))
result = model.get_layer("encoder")(
    model.get_layer("class_token")(patches), return_attention_scores=True
)
weights = keras.ops.convert_to_numpy(result["attention_scores"][-1])  # (10, heads, 17, 17)
weights = weights.mean(axis=1)[:, 0, 1:].reshape(-1, 4, 4)

figure, axes = plt.subplots(2, 10, figsize=(10, 2.4), layout="constrained")
found = model.predict(shown, verbose=0).argmax(axis=-1)
for column, (image, weight) in enumerate(zip(shown[..., 0], weights, strict=True)):
    axes[0, column].imshow(image, cmap="gray_r")
    axes[0, column].set_title(f"{found[column]}", fontsize=10)
    axes[1, column].imshow(image, cmap="gray_r", alpha=0.4)
    axes[1, column].imshow(weight, cmap="Reds", alpha=0.6, extent=(-0.5, 7.5, 7.5, -0.5))
for axis in axes.ravel():
    axis.set_axis_off()
figure.savefig(arguments.output / "digits.png", dpi=130)

text = (
    f"{len(train_images):,} training images, {len(test_images)} test images, "
    f"{model.count_params():,} weights, {arguments.epochs} epochs. Accuracy: mean "
    f"{np.mean(scores):.2%} of {len(scores)} seeds, from {min(scores):.2%} to {max(scores):.2%}."
)
chart = "![Digits, and where the ViT attends](images/digits.png)"
(arguments.output / "tables.md").write_text(f"{text}\n\n{chart}\n", encoding="utf-8")
print(f"{text}\nDone in {time.time() - started:.0f} seconds; the model is in {arguments.output}")
