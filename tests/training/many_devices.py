"""Trains small models on several devices, which a process can choose only once, at its start.

    KERAS_BACKEND=jax python -m tests.training.many_devices losses one data_parallel 2x4

prints, as JSON after the word RESULT, for each case the loss of each step of each model. All cases
train the same models from the same seed on the same batches; only the devices differ.
"""

import functools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.jax_settings import JAX_SETTINGS

V, D, BATCH, LENGTH, STEPS = 32, 16, 8, 7, 50
SIZES = {"num_layers": 1, "num_heads": 8, "hidden_dim": D, "intermediate_dim": 24, "dropout": 0.0}
MODELS = ("gpt", "gpt in chunks", "translator")


# === Starting the processes ===


def start(backend, *arguments, **environment):
    """Starts a task in a new process."""
    environment = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.many_devices", *arguments],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result_of(process, timeout=None):
    """The result that a task printed."""
    output, errors = process.communicate(timeout=timeout)
    if process.returncode:
        raise RuntimeError(errors[-3000:])
    return json.loads(output.split("RESULT ")[-1])


def start_two(backend, task, *models):
    """Starts two processes that train together."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    return [start(backend, task, port, index, *models, DEVICES="1") for index in "01"]


# === Inside the processes ===


def set_up():
    """Splits the CPU into devices, before anything else is imported."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if os.environ["KERAS_BACKEND"] == "jax":
        count = os.environ.get("DEVICES", "8")
        flags = f"--xla_force_host_platform_device_count={count} {JAX_SETTINGS['XLA_FLAGS']}"
        os.environ.update({**JAX_SETTINGS, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"})
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
        tf.config.set_logical_device_configuration(cpu, two)


def batch(name, part=slice(None)):
    """A batch of full rows, then of rows with padding, so that devices get unequal shares."""
    ids = np.random.default_rng(5).integers(1, V, (BATCH, LENGTH + 1)).astype("int32")
    source = ids[:, ::-1][:, :5]
    lengths = np.linspace(LENGTH + 1, 2, BATCH).astype(int)
    ids = np.where(np.arange(LENGTH + 1) < lengths[:, None], ids, 0)[part]
    inputs = {"token_ids": ids[:, :-1]}
    if name.startswith("translator"):
        inputs = {"source_ids": source[part], "target_ids": ids[:, :-1]}
    return inputs, ids[:, 1:]


def make(name):
    """A compiled model from one seed."""
    import keras

    import keras_transformer as kt

    keras.utils.set_random_seed(7)
    if name.startswith("gpt"):
        model = kt.models.gpt(V, max_length=16, **SIZES)
    else:
        model = kt.models.transformer(V, **SIZES)
    trained = kt.training.ChunkedLossModel(model, chunk_size=9) if "chunks" in name else model
    recipe = kt.training.transformer_recipe(D, learning_rate=0.003)
    on_tensorflow = keras.backend.backend() == "tensorflow"
    trained.compile(**recipe, jit_compile=False if on_tensorflow else "auto")
    return trained


def train(name, part=slice(None)):
    """The loss and the metrics of each step."""
    import keras

    model = make(name)
    inputs, labels = batch(name, part)
    options = {"batch_size": len(labels), "shuffle": False, "verbose": 0}
    if keras.backend.backend() == "jax":  # where metrics are available only after an epoch
        history = model.fit(inputs, labels, epochs=STEPS, **options).history
        return model, {key: [float(value) for value in values] for key, values in history.items()}
    # TensorFlow takes long to begin an epoch with replicas, so there is only one. Its metrics are
    # read after each step, over all replicas; `logs` would only have the mean of the replicas'.
    steps = []
    each_step = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda step, logs: model.reset_metrics(),
        on_train_batch_end=lambda step, logs: steps.append(model.get_metrics_result()),
    )
    inputs, labels = keras.tree.map_structure(lambda x: np.tile(x, (STEPS, 1)), (inputs, labels))
    model.fit(inputs, labels, callbacks=[each_step], **options)
    return model, {key: [float(step[key]) for step in steps] for key in steps[0]}


def results(case, names=MODELS, part=slice(None)):
    """The results of training each model under a case."""
    found = {}
    for name in names:
        with scope(case):
            model, found[name] = train(name, part)
            found[name]["shards"] = shards(model)
    return found


def scope(case):
    """Where a case puts the model: "one", "data_parallel", "mirrored", or a mesh such as "2x4"."""
    import contextlib

    import keras

    import keras_transformer as kt

    if case == "one":
        return contextlib.nullcontext()
    if case == "mirrored":
        return mirrored_strategy().scope()
    if case == "data_parallel":
        return keras.distribution.DataParallel(auto_shard_dataset=False).scope()
    layouts = kt.training.layout_map(mesh(case))
    return keras.distribution.ModelParallel(layout_map=layouts).scope()


def mesh(case):
    import keras

    shape = tuple(int(size) for size in case.split("x"))
    return keras.distribution.DeviceMesh(shape, ("batch", "model"))


@functools.cache
def mirrored_strategy():
    """The only strategy of the process: a second one would restart its count of operations."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def shards(model):
    """How JAX holds each weight: its shape and that of the part that one device has, by path."""
    import keras

    if keras.backend.backend() != "jax":
        return {}
    return {
        weight.path: (list(weight.shape), list(weight.value.sharding.shard_shape(weight.shape)))
        for weight in model.weights
    }


# === Tasks ===


def losses(*cases):
    """The curves of all cases; for a case with a model after a colon, only those of this model."""
    found = {}
    for case in cases:
        case, _, name = case.partition(":")
        default = ("gpt", "translator") if case == "one" else MODELS
        found.setdefault(case, {}).update(results(case, (name,) if name else default))
    # On one device, chunks give the same results as whole logits.
    found["one"]["gpt in chunks"] = found["one"]["gpt"]
    return found


def decoding(*cases):
    """What models decode under each case, and the part of its ids that one device has."""
    import keras

    import keras_transformer as kt
    from keras_transformer.decoding.generation_loop import GenerationRun
    from keras_transformer.decoding.generation_options import GenerationOptions

    found = {}
    for case in cases:
        keras.utils.set_random_seed(7)
        with scope(case):
            lm = kt.models.gpt(V, max_length=32, initializer_stddev=0.5, **SIZES)
            translator = kt.models.transformer(V, **SIZES)
            found[case] = {}
            for rows in (BATCH, BATCH - 1):
                ids = np.random.default_rng(5).integers(1, V, (rows, LENGTH)).tolist()
                pairs = {"source_ids": ids, "target_ids": ids}
                run = GenerationRun(lm, ids, GenerationOptions(max_new_tokens=5))
                sharding, shape = run.state.new_ids.sharding, run.state.new_ids.shape
                best = kt.decoding.beam_search(translator, ids, num_beams=3, max_length=5)
                found[case][rows] = {
                    "generate": kt.decoding.generate(lm, ids, 5, "top_p", seed=1).tolist(),
                    "beam_search": best.ids.tolist(),
                    "scores": best.scores.tolist(),
                    "score": kt.decoding.score(translator, pairs).tolist(),
                    "rows": sharding.shard_shape(shape)[0],
                }
    return found


def other_sizes():
    """The shards of models with an indivisible vocabulary, and of meshes of size 1."""
    import keras_transformer as kt

    models = {
        "tied": lambda: kt.models.transformer(V + 1, output_bias=True, **SIZES),
        "untied": lambda: kt.models.transformer(V, V + 1, share_embeddings=False, **SIZES),
        "recurrent": lambda: kt.models.transformer(V, decoder_recurrence="ssru", **SIZES),
        "bert": lambda: kt.models.bert(V, max_length=16, **SIZES),
        "vit": lambda: kt.models.vit(8, 4, num_classes=5, **SIZES),
    }
    found = {}
    for name, function in models.items():
        for case in ("2x4", "8x1") if name == "tied" else ("2x4",):
            with scope(case):
                model = function()
                found[f"{name} {case}"] = shards(model)
        if name == "tied":
            kt.training.layout_map(mesh("2x4"), model)  # fits, except for the vocabulary
    return found


def process(port, index, *models):
    """Curves of data-parallel training in one of two processes, each fed its half of the batch."""
    import keras

    keras.distribution.initialize(f"localhost:{port}", num_processes=2, process_id=int(index))
    return results("data_parallel", models, half(index))


def half(index):
    rows = BATCH // 2
    return slice(rows * int(index), rows * (int(index) + 1))


def torch_process(port, index, name="gpt"):
    """The same with torch's own tools: processes sum their losses, and divide by the same count."""
    import torch
    import torch.distributed as dist

    import keras_transformer as kt

    torch.set_num_threads(1)
    address = f"tcp://localhost:{port}"
    dist.init_process_group("gloo", init_method=address, rank=int(index), world_size=2)
    model = make(name)
    loss_of = kt.training.MaskedCrossentropy(label_smoothing=0.1, reduction="sum")
    inputs, labels = batch(name, half(index))
    curve = []
    for _ in range(STEPS):
        count = torch.tensor(float((labels != 0).sum()))
        dist.all_reduce(count)
        model.zero_grad()
        loss = loss_of(labels, model(inputs, training=True)) / count
        loss.backward()
        gradients = [weight.value.grad for weight in model.trainable_weights]
        for tensor in [total := loss.detach().clone(), *gradients]:
            dist.all_reduce(tensor)
        with torch.no_grad():
            model.optimizer.apply(gradients, model.trainable_weights)
        curve.append(float(total))
    return {name: {"loss": curve}}


def main():
    set_up()
    _, task, *arguments = sys.argv
    print("RESULT " + json.dumps(globals()[task](*arguments)))


if __name__ == "__main__":
    main()
