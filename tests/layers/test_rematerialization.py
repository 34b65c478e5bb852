"""Blocks computed once more in the backward pass: the same numbers, whatever is dropped."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.harness import BACKEND, make_decoder, make_encoder, normal, to_numpy, token_ids

V, D = 13, 8
SIZES = {"num_layers": 2, "num_heads": 2, "intermediate_dim": 7}
RATES = {"dropout": 0.3, "attention_dropout": 0.2, "activation_dropout": 0.1}
STACKS = {
    "encoder": (make_encoder, {"normalize_first": True, "rotary": True}),
    "decoder": (make_decoder, {}),
    "recurrent decoder": (make_decoder, {"recurrence": "ssru"}),
}


def make_stack(name, rematerialize, **more):
    keras.utils.set_random_seed(5)
    make, arguments = STACKS[name]
    stack = make(**{**SIZES, **RATES, **arguments, **more}, rematerialize=rematerialize)
    stack.build((None, None, D), *[(None, None, D)][: "decoder" in name])
    return stack


def arguments_of(name):
    """Inputs that gradients flow to, and masks."""
    mask = np.array([[True] * 4 + [False], [True] * 3 + [False] * 2])
    if "decoder" not in name:
        return [normal(2, 5, D)], {"padding_mask": mask}
    source_mask = np.array([[True] * 7, [True] * 2 + [False] * 5])
    return [normal(2, 5, D), normal(2, 7, D, seed=1)], {
        "padding_mask": mask,
        "encoded_padding_mask": source_mask,
    }


def output_and_gradients(stack, inputs, arguments, compiled, training=True):
    """The output, and gradients of the mean of its cube by all inputs and weights."""
    keras.utils.set_random_seed(9)  # torch drops by its own state
    weights = stack.trainable_variables
    others = stack.non_trainable_variables
    inputs = [ops.convert_to_tensor(x) for x in inputs]

    def loss_of(inputs):
        output = stack(*inputs, **arguments, training=training)
        return ops.mean(output**3), output

    if BACKEND == "tensorflow":
        import tensorflow as tf

        def step(inputs):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                loss, output = loss_of(inputs)
            return output, tape.gradient(loss, [*inputs, *(weight.value for weight in weights)])

        return to_numpy((tf.function(step, autograph=False) if compiled else step)(inputs))
    if BACKEND == "jax":
        import jax

        def loss(differentiable, states):
            inputs, values = differentiable
            mapping = [*zip(weights, values, strict=True), *zip(others, states, strict=True)]
            with keras.StatelessScope(mapping) as scope:
                loss, output = loss_of(inputs)
            return loss, (output, [scope.get_current_value(variable) for variable in others])

        step = jax.value_and_grad(loss, has_aux=True)
        step = jax.jit(step) if compiled else step
        values = [variable.value for variable in weights], [variable.value for variable in others]
        (_, (output, states)), gradients = step((inputs, values[0]), values[1])
        for variable, state in zip(others, states, strict=True):
            variable.assign(state)
        return to_numpy((output, [*gradients[0], *gradients[1]]))
    leaves = [x.clone().requires_grad_(True) for x in inputs]
    for weight in weights:
        weight.value.grad = None
    loss, output = loss_of(leaves)
    loss.backward()
    return to_numpy((output.detach(), [x.grad for x in [*leaves, *(w.value for w in weights)]]))


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", STACKS)
def test_same_output_gradients_and_dropout(name, compiled):
    inputs, arguments = arguments_of(name)
    results, seeds = [], []
    for rematerialize in (False, True):
        stack = make_stack(name, rematerialize)
        # The second call goes on where the seeds of the first have stopped.
        twice = [output_and_gradients(stack, inputs, arguments, compiled) for _ in range(2)]
        results.append(twice)
        seeds.append(to_numpy([v.value for v in stack.variables if "seed" in v.path]))
    for one, other in zip(*map(keras.tree.flatten, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    if BACKEND != "torch":  # whose dropout goes by its own state, the same in both calls here
        assert not np.allclose(results[0][0][0], results[0][1][0])
    keras.tree.map_structure(np.testing.assert_array_equal, seeds[0], seeds[1])


def test_blocks_are_called_again_in_the_backward_pass_alone():
    inputs, arguments = arguments_of("decoder")
    stack = make_stack("decoder", True)
    calls = []
    for block in stack.blocks:
        plain = block.call
        block.call = lambda *args, plain=plain, **more: calls.append(1) or plain(*args, **more)
    if BACKEND != "jax":  # which traces once and plans the second pass itself
        output_and_gradients(stack, inputs, arguments, compiled=False)
        assert len(calls) == 4
    calls.clear()
    output_and_gradients(stack, inputs, arguments, compiled=False, training=False)
    assert len(calls) == 2


def test_scores_and_caches_in_training():
    """They are returned as ever: these calls keep their activations."""
    stack = make_stack("decoder", True, cross_attention=False)
    x = normal(2, 5, D)
    result = stack(x, return_attention_scores=True, training=True)
    assert len(result["attention_scores"]) == 2
    cache = stack.initial_cache(2, 5)
    assert set(stack(x, cache=cache, training=True)) == {"output", "cache"}


def test_config_and_message():
    for name in STACKS:
        stack = make_stack(name, True)
        assert stack.get_config()["rematerialize"] is True
        assert type(stack).from_config(stack.get_config()).rematerialize is True
        with pytest.raises(ValueError, match="`rematerialize` must be True or False. .*='all'"):
            make_stack(name, "all")


# === Models: of one block, for each step of a training is traced ===

SMALL = {**SIZES, "num_layers": 1}


def ids_and_labels():
    target = token_ids(4, 6, vocabulary_size=V)
    target[1, 3:] = 0
    return token_ids(4, 7, vocabulary_size=V, seed=1), target[:, :-1], target[:, 1:]


def make_transformer(**more):
    source, target, labels = ids_and_labels()
    model = kt.models.transformer(V, hidden_dim=D, **SMALL, dropout=0.2, **more)
    return model, {"source_ids": source, "target_ids": target}, labels


def make_gpt(**more):
    _, target, labels = ids_and_labels()
    model = kt.models.gpt(V, hidden_dim=D, max_length=8, **SMALL, dropout=0.2, **more)
    return model, {"token_ids": target}, labels


def make_bert(**more):
    _, target, labels = ids_and_labels()
    model = kt.models.bert(
        V, hidden_dim=D, max_length=8, **SMALL, dropout=0.2, pooler=False, masked_lm=True, **more
    )
    inputs = {"token_ids": target, "segment_ids": np.zeros_like(target)}
    return keras.Model(model.input, model.output["logits"]), inputs, labels


def make_vit(**more):
    model = kt.models.vit(6, 3, V, hidden_dim=D, num_channels=1, **SMALL, dropout=0.2, **more)
    return model, normal(4, 6, 6, 1), np.arange(4)


def make_sharing(**more):
    positions = {"relative_positions": "t5", "position_layout": None}
    return make_transformer(**positions, share_relative_positions=True, **more)


MODELS = {"transformer": make_transformer, "gpt": make_gpt, "bert": make_bert, "vit": make_vit}
MODELS["sharing"] = make_sharing


def losses(model, inputs, labels, jit_compile=BACKEND == "jax"):
    optimizer = keras.optimizers.Adam(0.01, epsilon=1e-4)
    loss = kt.training.MaskedCrossentropy(padding_id=None if labels.ndim == 1 else 0)
    model.compile(optimizer, loss, jit_compile=jit_compile)
    keras.utils.set_random_seed(3)
    return model.fit(inputs, labels, batch_size=2, epochs=3, shuffle=False, verbose=0).history[
        "loss"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_fit_goes_the_same_way(name, tmp_path):
    curves = []
    for rematerialize in (False, True):
        keras.utils.set_random_seed(2)
        model, inputs, labels = MODELS[name](rematerialize=rematerialize)
        stacks = [layer for layer in model.layers if layer.name in ("encoder", "decoder")]
        assert stacks and all(stack.rematerialize is rematerialize for stack in stacks)
        curves.append(losses(model, inputs, labels))
    np.testing.assert_allclose(*curves, rtol=1e-6)
    assert curves[1][-1] != curves[1][0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert all(again.get_layer(stack.name).rematerialize for stack in stacks)
    np.testing.assert_array_equal(to_numpy(again(inputs)), to_numpy(model(inputs)))


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "torch", reason="torch compiles with a compiler of C")
def test_fit_through_xla_and_frozen_weights():
    curves = []
    for rematerialize in (False, True):
        keras.utils.set_random_seed(2)
        model, inputs, labels = make_gpt(rematerialize=rematerialize)
        model.get_layer("decoder").blocks[0].trainable = False
        frozen = model.get_layer("decoder").blocks[0].get_weights()
        curves.append(losses(model, inputs, labels, jit_compile=True))
        after = model.get_layer("decoder").blocks[0].get_weights()
        keras.tree.map_structure(np.testing.assert_array_equal, frozen, after)
    np.testing.assert_allclose(*curves, rtol=1e-6)


@pytest.mark.slow
def test_fit_in_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    curves = []
    for rematerialize in (False, True):
        keras.utils.set_random_seed(2)
        model, inputs, labels = make_gpt(rematerialize=rematerialize)
        curves.append(losses(model, inputs, labels))
    np.testing.assert_allclose(*curves, rtol=1e-3)
