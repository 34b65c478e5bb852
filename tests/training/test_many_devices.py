"""Training on many devices gives the curves of one: layouts, data and model parallelism.

Tests that need several devices start separate processes (`many_devices.py`), each on the backend
that the test is about.
"""

import functools

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.training.many_devices import SIZES, STEPS, result_of, start, start_two

TOLERANCE = 1e-4
TIMEOUT = 300  # seconds
# `benchmarks/devices.py` runs all models everywhere; here each path is taken once.
ON_JAX = ("one", "data_parallel:gpt", "data_parallel:translator", "2x4", "1x8:translator")
ON_TENSORFLOW = ("one:gpt", "mirrored:gpt", "mirrored:gpt in chunks")


@functools.cache
def one_process(backend, *arguments):
    pytest.importorskip(backend)
    return result_of(start(backend, *arguments), TIMEOUT)


def two_processes(backend, task, *models):
    """The results of each of two processes that train together."""
    pytest.importorskip(backend)
    return [result_of(p, TIMEOUT) for p in start_two(backend, task, *models)]


def on_jax():
    return one_process("jax", "losses", *ON_JAX)


def assert_same_curve(found, expected):
    for key in set(found) - {"shards"}:
        assert len(found[key]) == STEPS
        # A perplexity is an exponential, far larger than a loss.
        relative = TOLERANCE if key == "perplexity" else 0.0
        np.testing.assert_allclose(found[key], expected[key], atol=TOLERANCE, rtol=relative)
    assert found["loss"][-1] < 0.6 * found["loss"][0]  # the model has learned


# === Several devices of one process ===


@pytest.mark.slow
@pytest.mark.parametrize("case", ["data_parallel", "2x4", "1x8"])
def test_jax_trains_on_eight_devices_as_on_one(case):
    found = on_jax()
    for model, curves in found[case].items():
        assert_same_curve(curves, found["one"][model])


@pytest.mark.slow
def test_tensorflow_trains_on_two_replicas_as_on_one():
    found = one_process("tensorflow", "losses", *ON_TENSORFLOW)
    for model, curves in found["mirrored"].items():
        assert_same_curve(curves, found["one"][model])


@pytest.mark.slow
@pytest.mark.parametrize("case, parts", [("2x4", 4), ("1x8", 8), ("data_parallel", 1)])
def test_weights_are_split_over_the_model_axis(case, parts):
    for found in on_jax()[case].values():
        for path, (shape, shard) in found["shards"].items():
            assert np.prod(shape) == np.prod(shard) * (parts if is_split(path) else 1), path


def is_split(path):
    """Whether a weight of these models is split, independently of the library's patterns."""
    layer, weight = path.split("/")[-2:]
    columns = layer in ("query", "key", "value", "intermediate")
    return columns or (layer, weight) == ("output", "kernel") or layer == "token_embedding"


@pytest.mark.slow
def test_what_does_not_divide_is_whole():
    found = one_process("jax", "other_sizes")
    assert not [path for path, (shape, shard) in found["tied 8x1"].items() if shape != shard]
    shards = {name: {p: (a, b) for p, (a, b) in found[name].items()} for name in found}
    assert shards["tied 2x4"]["token_embedding/embeddings"] == ([33, 16], [33, 16])
    assert shards["tied 2x4"]["token_embedding/bias"] == ([33], [33])
    assert shards["untied 2x4"]["source_embedding/embeddings"] == ([32, 16], [8, 16])
    assert shards["untied 2x4"]["target_embedding/embeddings"] == ([33, 16], [33, 16])
    assert shards["untied 2x4"]["logits/kernel"] == ([16, 33], [16, 33])
    assert shards["recurrent 2x4"]["decoder/block_0/ssru/forget/kernel"] == ([16, 16], [16, 4])
    for model in ("tied", "untied", "recurrent", "bert", "vit"):
        path = "encoder/block_0/feed_forward/output/kernel"
        assert shards[f"{model} 2x4"][path] == ([24, 16], [6, 16])
    assert shards["bert 2x4"]["segment_embedding/embeddings"] == ([2, 16], [2, 16])
    assert shards["vit 2x4"]["classifier/kernel"] == ([16, 5], [16, 5])


@pytest.mark.slow
@pytest.mark.parametrize("case, parts", [("data_parallel", 8), ("2x4", 2), ("1x8", 1)])
def test_jax_decodes_on_eight_devices_as_on_one(case, parts):
    found = one_process("jax", "decoding", "one", "data_parallel", "2x4", "1x8")
    for rows, expected in found["one"].items():
        decoded = found[case][rows]
        for name in ("generate", "beam_search"):
            assert decoded[name] == expected[name]
        for name in ("scores", "score"):
            np.testing.assert_allclose(decoded[name], expected[name], atol=TOLERANCE)
        # Each device has its share of the rows if all shares are equal, and otherwise all rows.
        share, rest = divmod(int(rows), parts)
        assert decoded["rows"] == (int(rows) if rest else share)


# === Several processes ===


@pytest.mark.slow
def test_two_jax_processes_train_as_one():
    models = ("gpt in chunks", "translator")
    for found in two_processes("jax", "process", *models):
        for model in models:
            assert_same_curve(found[model], on_jax()["one"][model])


@pytest.mark.slow
def test_two_torch_processes_train_as_one():
    expected = one_process("torch", "losses", "one:gpt")["one"]
    for found in two_processes("torch", "torch_process"):
        assert_same_curve(found["gpt"], expected["gpt"])


# === The map ===


def mesh(shape=(2, 4), names=("batch", "model")):
    devices = [f"cpu:{index}" for index in range(int(np.prod(shape)))]
    return keras.distribution.DeviceMesh(shape, names, devices)


def small_gpt(**sizes):
    return kt.models.gpt(33, max_length=16, **{**SIZES, **sizes})


def test_layouts_are_found_by_paths():
    layouts = kt.training.layout_map(mesh(names=("data", "tensor")), axis="tensor")
    assert isinstance(layouts, keras.distribution.LayoutMap)
    block = "decoder/block_11/"
    expected = {
        "token_embedding/embeddings": ("tensor",),
        "token_embedding_3/bias": ("tensor",),
        "logits/kernel": (None, "tensor"),
        block + "self_attention/attention/query/kernel": (None, "tensor"),
        block + "self_attention/attention/value/bias": ("tensor",),
        block + "cross_attention/output/kernel": ("tensor", None),
        block + "feed_forward/intermediate/kernel": (None, "tensor"),
        block + "feed_forward/linear/kernel": (None, "tensor"),
        block + "feed_forward/output/kernel": ("tensor", None),
        "multi_head_attention_1/output/kernel": ("tensor", None),
        block + "self_attention/attention/query/lora_kernel_b": (None, "tensor"),
        block + "feed_forward/output/lora_kernel_a": ("tensor", None),
    }
    for path, axes in expected.items():
        assert layouts[path].axes == axes, path
    for path in (
        block + "feed_forward/output/bias",
        block + "feed_forward_norm/gamma",
        block + "self_attention/attention/query/lora_kernel_a",
        "decoder/positional_encoding/embeddings",
        block + "self_attention/relative_positions/embeddings",
        "segment_embedding/embeddings",
        "head/kernel",
        # Keras asks for the layouts of outputs under such names.
        block + "feed_forward/output",
        "token_embedding/output",
    ):
        assert layouts[path] is None, path


def test_a_mesh_must_have_the_axis():
    with pytest.raises(ValueError, match=r"`axis` must name an axis of .*'model'.*\('batch',\)"):
        kt.training.layout_map(mesh((8,), ("batch",)))
    with pytest.raises(ValueError, match="`mesh` must be a keras.distribution.DeviceMesh.*8"):
        kt.training.layout_map(8)


def test_a_model_must_fit_the_mesh():
    kt.training.layout_map(mesh(), small_gpt())  # whatever its vocabulary
    with pytest.raises(ValueError, match=r"`num_heads` must be a multiple.*num_heads=2.*model=4"):
        kt.training.layout_map(mesh(), small_gpt(num_heads=2))
    with pytest.raises(ValueError, match=r"`mesh` must divide.*model=4.*intermediate/kernel.*26\)"):
        kt.training.layout_map(mesh(), small_gpt(intermediate_dim=26))
