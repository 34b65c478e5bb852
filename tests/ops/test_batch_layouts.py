"""How a distribution splits a batch; that results stay the same is in test_many_devices.py."""

import types

import keras
import pytest

from keras_transformer.ops.batch_layouts import batch_layout, batch_parts
from tests.harness import BACKEND

on_jax = pytest.mark.skipif(BACKEND != "jax", reason="Keras splits batches on JAX")


def mesh(*shape):
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    devices = [types.SimpleNamespace(platform="tpu") for _ in range(count)]
    return keras.distribution.DeviceMesh(shape, ("batch", "model")[: len(shape)], devices)


def test_without_a_distribution_a_batch_is_whole():
    assert batch_parts(12) == 1
    assert batch_layout((12, 5)) is None


@on_jax
def test_a_batch_is_split_if_the_parts_are_equal():
    with keras.distribution.DataParallel(device_mesh=mesh(4)).scope():
        assert [batch_parts(rows) for rows in (12, 7, 4, 2)] == [4, 1, 4, 1]
        assert batch_layout((12, 5, 3)).axes == ("batch", None, None)
        assert batch_layout((7, 5)) is None
        assert batch_layout(()) is None


@on_jax
@pytest.mark.parametrize("shape, parts", [((2, 4), 2), ((1, 8), 1)])
def test_devices_that_share_the_weights_share_a_part(shape, parts):
    layouts = keras.distribution.LayoutMap(mesh(*shape))
    with keras.distribution.ModelParallel(layout_map=layouts).scope():
        assert batch_parts(12) == parts
        assert (batch_layout((12,)) is None) == (parts == 1)
