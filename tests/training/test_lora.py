"""Adapters: unchanged outputs at first, few trainable weights, lossless files and merging."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import normal, outputs_after_reload, randomize, to_numpy, token_ids

V = 23
SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}


def make(name):
    """A model of random weights, and inputs for it."""
    ids = token_ids(3, 5, vocabulary_size=V)
    if name == "transformer":
        model, inputs = kt.models.transformer(V, **SIZE), {"source_ids": ids, "target_ids": ids}
    elif name == "bert":
        model = kt.models.bert(V, **SIZE)
        inputs = {"token_ids": ids, "segment_ids": np.zeros_like(ids)}
    elif name == "vit":
        model = kt.models.vit(image_size=8, patch_size=4, num_classes=3, **SIZE)
        inputs = {"images": normal(3, 8, 8, 3)}
    else:
        model, inputs = kt.models.gpt(V, **SIZE, dropout=0.0), {"token_ids": ids}
    if name == "classifier":
        model = kt.models.classifier(model, 2, dropout=0.0)
    return randomize(model), inputs


def outputs(model, inputs):
    result = to_numpy(
        model(inputs if len(inputs) > 1 or "images" not in inputs else inputs["images"])
    )
    return keras.tree.flatten(result)


def assert_equal(ones, others, tolerance=0.0):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance, rtol=tolerance)


def disturb(model, seed=7):
    """Gives adapters random values, as if they had been trained."""
    for weight in model.trainable_weights:
        weight.assign(normal(*weight.shape, seed=seed))


NAMES = ["gpt", "classifier", "transformer", "bert", "vit"]


@pytest.mark.parametrize("name", NAMES)
def test_adapt_save_load_merge(name, tmp_path):
    model, inputs = make(name)
    start = outputs(model, inputs)
    paths = [weight.path for weight in model.weights]
    trainable = [weight.path for weight in model.trainable_weights]

    adapted = kt.training.enable_lora(model, rank=2, alpha=3.0)
    assert_equal(outputs(model, inputs), start)  # bit for bit
    assert len(adapted) == {"transformer": 12}.get(name, 4)
    assert {path.rpartition("/")[2] for path in adapted} == {"query", "value"}
    heads = {"classifier": 2, "vit": 2}.get(name, 0)
    assert len(model.trainable_weights) == 2 * len(adapted) + heads

    disturb(model)
    changed = outputs(model, inputs)
    assert any(np.abs(one - other).max() > 1e-3 for one, other in zip(changed, start, strict=True))
    kt.training.save_lora(model, tmp_path / "adapters.npz")
    fresh, _ = make(name)
    kt.training.load_lora(fresh, tmp_path / "adapters.npz")
    assert_equal(outputs(fresh, inputs), changed)
    assert [w.path for w in fresh.trainable_weights] == [w.path for w in model.trainable_weights]

    kt.training.merge_lora(model)
    assert_equal(outputs(model, inputs), changed, 1e-5)
    assert [weight.path for weight in model.weights] == paths
    assert [weight.path for weight in model.trainable_weights] == trainable
    kt.training.enable_lora(model, rank=3)  # it can be adapted again
    assert_equal(outputs(model, inputs), changed, 1e-5)


def test_two_per_cent_train_and_two_per_cent_are_saved(tmp_path):
    model = kt.models.gpt(500, 2, 4, 128, 512)
    kt.training.enable_lora(model, rank=4)
    total = sum(weight.numpy().size for weight in model.weights if "seed" not in weight.path)
    trained = sum(weight.numpy().size for weight in model.trainable_weights)
    assert trained == 2 * 2 * 2 * 4 * 128
    assert trained < 0.02 * total
    kt.training.save_lora(model, tmp_path / "adapters.npz")
    model.save_weights(tmp_path / "model.weights.h5")
    sizes = [(tmp_path / name).stat().st_size for name in ("adapters.npz", "model.weights.h5")]
    assert sizes[0] < 0.02 * sizes[1]


@pytest.mark.slow
def test_only_adapters_and_head_move_under_fit(tmp_path):
    model, inputs = make("classifier")
    labels = np.array([0, 1, 1])
    kt.training.enable_lora(model, rank=2)
    optimizer = kt.training.DecoupledAdamW(1e-2)
    model.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=True)
    before = {weight.path: np.array(to_numpy(weight)) for weight in model.weights}
    model.fit(inputs, labels, verbose=0)
    for weight in model.weights:
        same = np.array_equal(to_numpy(weight), before[weight.path])
        # A begins to move once B is no longer zero.
        trains = "lora_kernel_b" in weight.path or weight.path.startswith("head/")
        if "lora_kernel_a" in weight.path:
            continue
        assert same is not trains or "seed" in weight.path, weight.path
    expected = outputs(model, inputs)
    # A Keras file contains the merged weights.
    model.compiled = False
    found = outputs_after_reload(model, inputs, tmp_path, keras.backend.backend())
    np.testing.assert_allclose(found["output"], expected[0], atol=1e-5)


@pytest.mark.slow
def test_generation_sees_adapters_and_their_merging():
    model, inputs = make("gpt")
    prompts = inputs["token_ids"]
    before = kt.decoding.generate(model, prompts, max_new_tokens=4)
    kt.training.enable_lora(model, rank=2)
    np.testing.assert_array_equal(kt.decoding.generate(model, prompts, max_new_tokens=4), before)
    disturb(model)
    ids, expected = prompts, None
    for _ in range(4):
        logits = to_numpy(model({"token_ids": ids}))[:, -1]
        ids = np.concatenate([ids, logits.argmax(axis=-1)[:, None].astype("int32")], axis=1)
    expected = ids
    assert not np.array_equal(expected, before)
    after = kt.decoding.generate(model, prompts, max_new_tokens=4)
    np.testing.assert_array_equal(after, expected)
    kt.training.merge_lora(model)
    merged = kt.decoding.generate(model, prompts, max_new_tokens=4)
    np.testing.assert_array_equal(merged, expected)


@pytest.mark.slow
def test_predict_and_fit_do_not_go_on_with_the_past():
    model, inputs = make("classifier")
    labels = np.array([0, 1, 1])
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    model.fit(inputs, labels, verbose=0)
    model.predict(inputs, verbose=0)
    kt.training.enable_lora(model, rank=2)
    disturb(model)
    np.testing.assert_allclose(
        model.predict(inputs, verbose=0), outputs(model, inputs)[0], atol=1e-5
    )
    with pytest.raises(ValueError, match="compile"):
        model.fit(inputs, labels, verbose=0)


def test_targets_and_alpha():
    model, inputs = make("gpt")
    adapted = kt.training.enable_lora(model, 2, alpha=5.0, targets=("decoder/block_1/*/key",))
    assert adapted == ["decoder/block_1/self_attention/attention/key"]
    model, inputs = make("gpt")
    start = outputs(model, inputs)
    kt.training.enable_lora(model, 2, targets=("output",))
    dense = model.get_layer("decoder").blocks[0].self_attention.attention.output_dense
    kernel = np.array(to_numpy(dense.kernel))
    assert dense.lora_alpha == 2
    dense.lora_kernel_b.assign(normal(*dense.lora_kernel_b.shape))
    delta = to_numpy(dense.lora_kernel_a) @ to_numpy(dense.lora_kernel_b)
    np.testing.assert_allclose(to_numpy(dense.kernel), kernel + delta, atol=1e-5)
    assert not np.allclose(outputs(model, inputs)[0], start[0], atol=1e-3)


def test_errors(tmp_path):
    model, _ = make("gpt")
    path = tmp_path / "adapters.npz"
    for rank in (0, True, 1.5):
        with pytest.raises(ValueError, match="`rank` must be a positive integer"):
            kt.training.enable_lora(model, rank)
    with pytest.raises(ValueError, match="`alpha` must be a finite number > 0. Received: alpha=0"):
        kt.training.enable_lora(model, alpha=0)
    with pytest.raises(ValueError, match="`targets` must be a collection of patterns"):
        kt.training.enable_lora(model, targets="query")
    with pytest.raises(ValueError, match="`targets` must name dense layers .*'query'"):
        kt.training.enable_lora(model, targets=("q_proj",))
    for function in (kt.training.merge_lora, lambda one: kt.training.save_lora(one, path)):
        with pytest.raises(ValueError, match="`model` must have adapters"):
            function(model)
    assert len(model.trainable_weights) == 34
    kt.training.enable_lora(model, 2)
    with pytest.raises(ValueError, match="`model` must have no adapters"):
        kt.training.enable_lora(model, 2)
    with pytest.raises(ValueError, match=r"`path` must end in .npz. Received: path='adapters.h5'"):
        kt.training.save_lora(model, "adapters.h5")
    kt.training.save_lora(model, path)
    with pytest.raises(ValueError, match="`model` must have no adapters"):
        kt.training.load_lora(model, path)


@pytest.mark.slow
def test_files_that_do_not_fit_change_nothing(tmp_path):
    model, _ = make("classifier")
    kt.training.enable_lora(model, 2)
    path = tmp_path / "adapters.npz"
    kt.training.save_lora(model, path)
    other = kt.models.gpt(V, 1, 2, 8, 16)
    with pytest.raises(ValueError, match="`path` must contain adapters of the model's"):
        kt.training.load_lora(other, path)
    wider = kt.models.classifier(kt.models.gpt(V, 2, 2, 12, 16), 2)
    with pytest.raises(ValueError, match=r"has shape \(8, 2\), but \(12, 2\)"):
        kt.training.load_lora(wider, path)
    arrays = dict(np.load(path))
    del arrays["decoder/block_0/self_attention/attention/query/lora_kernel_a"]
    np.savez(tmp_path / "part.npz", **arrays)
    base, _ = make("classifier")
    with pytest.raises(ValueError, match="query/lora_kernel_a' has shape None"):
        kt.training.load_lora(base, tmp_path / "part.npz")
    (tmp_path / "damaged.npz").write_bytes(path.read_bytes()[:300])
    for name in ("damaged.npz", "missing.npz"):
        with pytest.raises(ValueError, match="`path` must be a file"):
            kt.training.load_lora(base, tmp_path / name)
    np.savez(tmp_path / "objects.npz", keras_transformer_lora=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="`path` must be a file written by `save_lora`"):
        kt.training.load_lora(base, tmp_path / "objects.npz")
    assert len(base.trainable_weights) == 36
    assert not any("lora" in weight.path for weight in base.weights)
    kt.training.load_lora(base, path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_adapters_beside_quantized_weights_are_not_merged():
    model, inputs = make("gpt")
    outputs(model, inputs)
    model.quantize("int8")
    paths = kt.training.enable_lora(model, 2)
    layers = kt.training.lora.dense_layers(model)
    for path in paths:
        layers[path].lora_kernel_b.assign(normal(*layers[path].lora_kernel_b.shape))
    before = outputs(model, inputs)
    with pytest.raises(
        ValueError, match="`model` must not be quantized: .*query quantized to int8"
    ):
        kt.training.merge_lora(model)
    assert_equal(outputs(model, inputs), before)
    assert all(layers[path].lora_enabled for path in paths)


def test_files_of_adapted_models_are_not_averaged(tmp_path):
    model, inputs = make("gpt")
    model.save_weights(tmp_path / "base.weights.h5")
    kt.training.enable_lora(model, 2)
    model.save_weights(tmp_path / "adapted.weights.h5")
    before = [np.array(to_numpy(weight)) for weight in model.weights]
    for name in ("base", "adapted"):
        with pytest.raises(ValueError, match="`model` must have no adapters: weight files"):
            kt.training.average_checkpoints(model, [tmp_path / f"{name}.weights.h5"])
    averaging = kt.training.CheckpointAveraging(2, filepath=tmp_path / "{epoch}.weights.h5")
    averaging.set_model(model)
    with pytest.raises(ValueError, match="`model` must have no adapters: weight files"):
        averaging.on_train_begin()
    assert_equal([to_numpy(weight) for weight in model.weights], before)
