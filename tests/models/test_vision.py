"""ViT: its size, its laws, that it learns."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND, normal, outputs_after_reload, randomize, to_numpy

SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 11}
IMAGES = normal(3, 4, 6, 1)


def make(**more):
    model = kt.models.vit((4, 6), (2, 3), 5, **{**SMALL, "num_channels": 1, **more})
    return randomize(model)


@pytest.mark.slow
def test_the_size_of_the_paper():
    assert kt.models.vit().count_params() == 86_567_656  # ViT-B/16 with 1,000 classes


def test_images_do_not_see_each_other():
    model = make()
    together = to_numpy(model(IMAGES))
    for index in range(3):
        alone = to_numpy(model(IMAGES[index : index + 1]))
        np.testing.assert_allclose(alone, together[index : index + 1], atol=1e-5)


def test_every_pixel_and_its_place_matter():
    model = make()
    before = to_numpy(model(IMAGES[:1]))
    for row in range(4):
        for column in range(6):
            changed = IMAGES[:1].copy()
            changed[0, row, column] += 1.0
            assert np.abs(to_numpy(model(changed)) - before).max() > 1e-4
    moved = np.roll(IMAGES[:1], 3, axis=2)  # the same patches elsewhere
    assert np.abs(to_numpy(model(moved)) - before).max() > 1e-4


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_bfloat16"])
def test_it_is_finite_in_every_precision(policy):
    assert np.isfinite(to_numpy(make(dtype=policy)(IMAGES)).astype("float32")).all()


def test_the_outputs_that_are_asked_for():
    hidden = kt.models.vit((4, 6), (2, 3), None, **SMALL, num_channels=1)(IMAGES)
    assert tuple(hidden.shape) == (3, 5, 8)
    outputs = kt.models.vit((4, 6), (2, 3), None, **SMALL, num_channels=1, pooler=True)(IMAGES)
    assert tuple(outputs["output"].shape) == (3, 5, 8)
    assert tuple(outputs["pooled_output"].shape) == (3, 8)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_reload_is_identical(backend, tmp_path):
    model = make()
    actual = outputs_after_reload(model, {"images": IMAGES}, tmp_path, backend)["output"]
    tolerance = 1e-6 if backend == BACKEND else 1e-5
    np.testing.assert_allclose(actual, to_numpy(model(IMAGES)), atol=tolerance)


@pytest.mark.slow
def test_it_learns_which_quarter_is_bright():
    generator = np.random.default_rng(0)
    images = generator.normal(0, 0.3, (256, 4, 4, 1)).astype("float32")
    classes = generator.integers(0, 4, 256)
    for image, quarter in zip(images, classes, strict=True):
        row, column = divmod(int(quarter), 2)
        image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += 1.0
    model = kt.models.vit(4, 2, 4, **{**SMALL, "hidden_dim": 16}, num_channels=1)
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=BACKEND == "jax",
    )
    history = model.fit(images, classes, epochs=60, batch_size=64, verbose=0)
    assert history.history["accuracy"][-1] > 0.95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((8, 8), 3, 10), r"`patch_size` must divide `image_size`. Received: patch_size=3, .*8, 8"),
        (
            ((8, 8, 8), 4, 10),
            "`image_size` must be an integer or a pair .*Received: image_size=.8, 8",
        ),
        ((0, 4, 10), "`image_size` must be a positive integer. Received: image_size=0"),
        ((8, 4, 0), "`num_classes` must be a positive integer. Received: num_classes=0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        kt.models.vit(*arguments, **SMALL)


def test_a_pooler_is_for_models_without_a_classifier():
    with pytest.raises(ValueError, match="`pooler=True` requires .*num_classes=10"):
        kt.models.vit(8, 4, 10, **SMALL, pooler=True)
