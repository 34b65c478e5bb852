"""The laws of BERT and of encoder and decoder stacks, each as a function of one of them."""

import keras
import numpy as np

import keras_transformer as kt
from tests.harness import functional_model, to_numpy
from tests.laws.pieces import run_in_pieces
from tests.robustness.properties.configurations import SOURCE_DIM
from tests.robustness.properties.laws import (
    POLICIES,
    B,
    S,
    T,
    assert_near,
    check_reload,
    embed,
    has_padding,
    padded,
)
from tests.robustness.properties.plain_stack import (
    ACTIVATIONS,
    add_positions,
    dense,
    norm,
    run_stack,
    values,
)

# === BERT ===


def bert_inputs(configuration, ids):
    segments = np.arange(ids.size, dtype="int32").reshape(ids.shape) % 2
    more = {} if configuration.arguments["num_segments"] is None else {"segment_ids": segments}
    return {"token_ids": ids, **more}


def bert_outputs(model, inputs):
    outputs = to_numpy(model(inputs, training=False))
    return outputs if isinstance(outputs, dict) else {"output": outputs}


def bert_formula(model, inputs, real):
    layers = {layer.name: layer for layer in model.layers}
    ids = inputs["token_ids"]
    x = embed(layers["token_embedding"], ids)
    if "segment_ids" in inputs:
        x = x + embed(layers["segment_embedding"], inputs["segment_ids"])
    positions = np.tile(np.arange(ids.shape[1]), (len(ids), 1))
    x = norm(layers["embedding_norm"], add_positions(layers["positional_encoding"], x, positions))
    outputs = {"output": run_stack(layers["encoder"], x, real)}
    if "pooler" in layers:
        outputs["pooled_output"] = np.tanh(dense(layers["pooler"], outputs["output"][:, 0]))
    if "masked_lm_dense" in layers:
        hidden = dense(layers["masked_lm_dense"], outputs["output"])
        activation = layers["masked_lm_dense"].activation.__name__
        hidden = norm(layers["masked_lm_norm"], ACTIVATIONS[activation](hidden))
        embedding = layers["token_embedding"]
        outputs["logits"] = hidden @ values(embedding.embeddings).T + values(embedding.bias)
    return outputs


def check_bert(configuration, folder):
    """All laws of BERT, which does not decode and does see the future."""
    model = configuration.make()
    ids = configuration.ids(B, T)
    real = np.ones(ids.shape, bool)
    if has_padding(configuration):
        ids[1, 3:] = 0
        real = ids != 0
    inputs = bert_inputs(configuration, ids)
    found, expected = bert_outputs(model, inputs), bert_formula(model, inputs, real)
    assert sorted(found) == sorted(expected)
    for name, output in found.items():
        assert_near(output, expected[name])
    if has_padding(configuration):
        wider = {name: padded(values, after=3) for name, values in inputs.items()}
        for name, output in bert_outputs(model, wider).items():
            assert_near(output if name == "pooled_output" else output[:, :T], found[name])
    check_reload(model, inputs, folder)
    inputs["token_ids"][1] = 0
    half = configuration.make(POLICIES[configuration.seed % 4])
    assert all(np.isfinite(output).all() for output in bert_outputs(half, inputs).values())


# === Stacks ===


def is_recurrent(configuration):
    return configuration.arguments.get("recurrence") is not None


def stack_inputs(configuration):
    """The inputs of a stack: (B, T, D), a padding mask, positions in any order, a source."""
    hidden_dim = configuration.arguments["hidden_dim"]
    inputs = {"x": configuration.normal(B, T, hidden_dim), "real": configuration.mask(B, T)}
    generator = np.random.default_rng(configuration.seed)
    inputs["positions"] = generator.integers(0, 2 * T, size=(B, T)).astype("int32")
    if configuration.arguments.get("cross_attention"):
        inputs["encoded"] = configuration.normal(B, S, SOURCE_DIM, more=1)
        inputs["encoded_real"] = configuration.mask(B, S, more=1)
    return inputs


def call_stack(stack, x, real, positions=None, allowed=None, encoded=None, encoded_real=None):
    """The output of a stack, called as `run_stack` is."""
    more = {"padding_mask": real, "positions": positions, "attention_mask": allowed}
    if encoded is not None:
        more |= {"encoded": encoded, "encoded_padding_mask": encoded_real}
    more = {name: value for name, value in more.items() if value is not None}
    return to_numpy(stack(x, training=False, **more))


def check_stack_formula(stack, configuration):
    inputs = stack_inputs(configuration)
    masks = [None] if is_recurrent(configuration) else [None, configuration.mask(B, T, T, more=2)]
    for allowed in masks:
        expected = run_stack(stack, **inputs, allowed=allowed)
        assert_near(call_stack(stack, **inputs, allowed=allowed), expected)
    del inputs["positions"]
    assert_near(call_stack(stack, **inputs), run_stack(stack, **inputs))


def check_stack_packing(stack, configuration):
    """Three sequences packed into a row, each with positions from 0, give what each gives alone."""
    hidden_dim = configuration.arguments["hidden_dim"]
    x = configuration.normal(1, 11, hidden_dim)
    segments = np.array([[1, 1, 1, 2, 2, 3, 3, 3, 3, 0, 0]])
    positions = np.array([[0, 1, 2, 0, 1, 0, 1, 2, 3, 0, 1]], "int32")
    source = stack_inputs(configuration)
    source = {name: source[name][:1] for name in source if name.startswith("encoded")}
    mask = to_numpy(kt.ops.packing_mask(segments))
    packed = call_stack(stack, x, None, positions, mask, **source)
    assert np.isfinite(packed).all()
    for start, end in ((0, 3), (3, 5), (5, 9)):
        alone = call_stack(stack, x[:, start:end], None, **source)
        assert_near(packed[:, start:end], alone)


def check_stack_reload(stack, configuration, folder):
    inputs = stack_inputs(configuration)
    arrays = {"inputs": inputs["x"], "padding_mask": inputs["real"]}
    if "encoded" in inputs:
        arrays["encoded"] = inputs["encoded"]
    check_reload(functional_model(stack, arrays), arrays, folder)


def check_stack_finite(configuration):
    inputs = stack_inputs(configuration)
    for name in ("real", "encoded_real"):
        if name in inputs:
            inputs[name][0] = False
    half = configuration.make(POLICIES[configuration.seed % 4])
    assert np.isfinite(call_stack(half, **inputs)).all()


def check_stack_cache(stack, configuration, pieces):
    """Decodes in pieces, with padding on the left and the positions of real tokens."""
    inputs = stack_inputs(configuration)
    real = np.array([[True] * T, [False, False] + [True] * (T - 2)])
    positions = np.maximum(np.cumsum(real, axis=1) - 1, 0).astype("int32")
    inputs |= {"real": real, "positions": positions}
    source = [keras.ops.convert_to_tensor(inputs["encoded"])] if "encoded" in inputs else []
    more = {"encoded_padding_mask": inputs["encoded_real"]} if source else {}

    def decode(start, end, cache):
        return stack(
            inputs["x"][:, start:end],
            cache=cache,
            cache_index=start,
            positions=positions[:, start:end],
            padding_mask=real,
            **more,
        )

    found = run_in_pieces(decode, stack.initial_cache(B, T, *source), pieces)
    assert_near(found, call_stack(stack, **inputs))


def check_stack_future(stack, configuration):
    inputs = stack_inputs(configuration)
    before = call_stack(stack, **inputs)
    for t in range(1, T):
        changed = inputs["x"].copy()
        changed[:, t:] = configuration.normal(*changed[:, t:].shape, more=3)
        after = call_stack(stack, **{**inputs, "x": changed})
        assert_near(after[:, :t], before[:, :t], 1e-5)


def check_encoder(configuration, folder):
    stack = configuration.make()
    check_stack_formula(stack, configuration)
    check_stack_packing(stack, configuration)
    check_stack_finite(configuration)
    check_stack_reload(stack, configuration, folder)


def check_decoder(configuration, pieces, folder):
    stack = configuration.make()
    check_stack_formula(stack, configuration)
    if not is_recurrent(configuration):
        check_stack_packing(stack, configuration)
    check_stack_cache(stack, configuration, pieces)
    check_stack_future(stack, configuration)
    check_stack_finite(configuration)
    check_stack_reload(stack, configuration, folder)
