"""A recording changes nothing, and every tensor in it is what the formulas say."""

import threading

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.harness import BACKEND, randomize, to_numpy, token_ids
from tests.laws.models import NAMES, SOURCE_V, V, get_case, make_case

SELF = "decoder/block_0/self_attention"


def inputs_of(case, length=5):
    """Target ids with padding in one row, and source ids."""
    target = token_ids(2, length, vocabulary_size=V)
    source = token_ids(2, 7, vocabulary_size=min(V, SOURCE_V), seed=1)
    target[1, length - 2 :] = 0
    source[0, 4:] = 0
    return (target, source) if case.is_translator else (target,)


def record(case, *args, **kwargs):
    with kt.visualize.record(case.model, *args, **kwargs) as trace:
        output = case(*inputs_of(case))
    return to_numpy(output), trace


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_changes_nothing(name):
    case = get_case(name)
    expected = to_numpy(case(*inputs_of(case)))
    layers = case.model._flatten_layers()
    before = [set(vars(layer)) for layer in layers]
    output, trace = record(case)
    np.testing.assert_allclose(output, expected, atol=1e-5)
    assert [set(vars(layer)) for layer in layers] == before
    assert keras.layers.Layer.__call__.__module__.startswith("keras.")
    np.testing.assert_array_equal(to_numpy(case(*inputs_of(case))), expected)
    assert "decoder/output" in trace
    stages = {"weights", "forget_gate", "state"}
    assert any(stage.rsplit("/", 1)[-1] in stages for stage in trace)
    assert all(np.isfinite(trace[n]).all() for n in trace if not n.endswith("/masked"))


@pytest.mark.parametrize("name", [n for n in NAMES if "recurrent" not in n and n != "ssru"])
def test_the_stages_of_an_attention_follow_from_each_other(name):
    case = get_case(name)
    _, trace = record(case)
    for path in [n.removesuffix("/weights") for n in trace.find("*/weights")]:
        query, key, value = (trace[f"{path}/{n}"] for n in ("query", "key", "value"))
        groups = query.shape[1] // key.shape[1]
        key, value = (np.repeat(x, groups, axis=1) for x in (key, value))
        scores = np.einsum("bnth,bnsh->bnts", query, key)
        close = {"atol": 2e-4, "rtol": 1e-4}
        np.testing.assert_allclose(trace[f"{path}/scores"], scores, **close)
        factor = trace[f"{path}/scaled"] / trace[f"{path}/scores"]
        np.testing.assert_allclose(factor, factor.flat[0], rtol=1e-4)
        last = trace.get(f"{path}/biased", trace[f"{path}/scaled"])
        masked = trace[f"{path}/masked"]
        seen = np.isfinite(masked)
        np.testing.assert_array_equal(masked[seen], last[seen])
        exponents = np.exp(masked - np.max(masked, -1, keepdims=True, initial=-1e9))
        totals = np.sum(exponents, -1, keepdims=True)
        weights = np.divide(exponents, totals, where=totals > 0, out=np.zeros_like(exponents))
        np.testing.assert_allclose(trace[f"{path}/weights"], weights, atol=1e-5)
        output = trace[f"{path}/weights"] @ value
        np.testing.assert_allclose(trace[f"{path}/head_output"], output, **close)


def test_residuals_norms_and_logits_are_the_forward_path():
    case = get_case("transformer_pre_norm_two_vocabularies")
    output, trace = record(case)
    block = "decoder/block_0"
    inputs = trace["target_embedding/embedding"] + trace["decoder/positional_encoding/encoding"]
    np.testing.assert_allclose(trace["decoder/positional_encoding/output"], inputs, atol=1e-6)
    after = inputs + trace[f"{block}/self_attention/output"]
    np.testing.assert_allclose(trace[f"{block}/self_attention_residual"], after, atol=1e-5)
    after = after + trace[f"{block}/cross_attention/output"]
    np.testing.assert_allclose(trace[f"{block}/cross_attention_residual"], after, atol=1e-5)
    after = after + trace[f"{block}/feed_forward/output"]
    np.testing.assert_allclose(trace[f"{block}/feed_forward_residual"], after, atol=1e-5)
    np.testing.assert_array_equal(trace[f"{block}/output"], trace[f"{block}/feed_forward_residual"])
    dense = case.model.get_layer("decoder").blocks[0].feed_forward.output_dense
    hidden = trace[f"{block}/feed_forward/hidden"]
    product = to_numpy(dense(hidden))
    np.testing.assert_allclose(product, trace[f"{block}/feed_forward/output"], atol=1e-5)
    np.testing.assert_array_equal(trace["target_embedding/logits"], output)


# === Heads switched off ===


def silenced(case, attention, heads):
    """The rows of the output projection that read these heads, set to zero."""
    kernel = attention.output_dense.kernel
    before = to_numpy(kernel)
    rows = before.reshape(attention.num_heads, attention.head_size, -1).copy()
    rows[heads] = 0.0
    kernel.assign(rows.reshape(before.shape))
    return before


@pytest.mark.parametrize("name", ["transformer", "transformer_untied_grouped"])
@pytest.mark.parametrize("path", [SELF, "encoder/block_1/self_attention", "cross"])
def test_a_head_switched_off_is_one_whose_output_is_not_projected(name, path):
    case = make_case(name)
    stack, block = case.model.get_layer(path.split("/")[0].replace("cross", "decoder")), 0
    if path == "cross":
        path, attention = "decoder/block_0/cross_attention", stack.blocks[block].source_attention
    else:
        block = int(path.split("/")[1][-1])
        attention = stack.blocks[block].self_attention.attention
    output, trace = record(case, ablate={path: 1})
    assert not trace[f"{path}/head_output"][:, 1].any()
    silenced(case, attention, [1])
    np.testing.assert_allclose(output, to_numpy(case(*inputs_of(case))), atol=1e-5)


@pytest.mark.parametrize(
    ("ablate", "message"),
    [
        ({SELF: 2}, r"`ablate\['decoder/block_0/self_attention'\]` must contain heads below 2"),
        ({SELF: [0, -1]}, "must contain heads >= 0. Received: .*=-1"),
        ({"decoder/block_7/self_attention": 0}, "must name an attention .* Received: ablate='dec"),
    ],
)
def test_heads_that_are_not_there(ablate, message):
    case = get_case("transformer")
    with pytest.raises(ValueError, match=message):
        record(case, ablate=ablate)
    assert keras.layers.Layer.__call__.__module__.startswith("keras.")


# === Recurrent models ===


@pytest.mark.parametrize("cell", ["simple", "lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_states_are_the_outputs_of_a_recurrent_encoder(cell, bidirectional):
    encoder = kt.layers.RecurrentEncoder(5, cell, num_layers=2, bidirectional=bidirectional)
    inputs = keras.random.normal((2, 6, 3), seed=1)
    real = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]], bool)
    encoder.build((None, None, 3))
    randomize(encoder)
    expected = to_numpy(encoder(inputs, padding_mask=real))
    with kt.visualize.record(encoder) as trace:
        output = encoder(inputs, padding_mask=real)
    np.testing.assert_array_equal(to_numpy(output), expected)
    last = "layer_1"
    paths = [f"{last}/forward_{cell}", f"{last}/backward_{cell}"] if bidirectional else [last]
    states = np.concatenate([trace[f"{path}/state"] for path in paths], axis=-1)
    # Keras's `Bidirectional` zeroes the outputs at padding, where states stay as they were.
    np.testing.assert_allclose(states[real], expected[real], atol=1e-6)
    gates = {"simple": 0, "lstm": 3, "gru": 2}[cell]
    assert len(trace.find(f"{paths[0]}/*_gate")) == gates
    assert all((0 <= trace[n]).all() and (trace[n] <= 1).all() for n in trace.find("*_gate"))


@pytest.mark.parametrize("name", [n for n in NAMES if "luong" in n or "bahdanau" in n])
def test_attention_of_recurrent_decoders(name):
    case = get_case(name)
    _, trace = record(case)
    decoder, (target, source) = case.model.get_layer("decoder"), inputs_of(case)
    parts = kt.decoding.DecodingModel(case.model)
    result = parts.decode(
        target,
        encoded=parts.encode(source, source != 0),
        padding_mask=target != 0,
        encoded_padding_mask=source != 0,
        return_attention_scores=True,
    )
    scores = to_numpy(result["cross_attention_scores"][0])
    np.testing.assert_allclose(trace["decoder/attention/weights"], scores, atol=1e-5)
    layers = [f"decoder/layer_{index}/state" for index in range(decoder.num_layers)]
    assert set(layers) <= set(trace)


# === Decoding ===


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer", "ssru", "recurrent_luong_two_vocabularies"])
def test_beam_search_is_the_same_search(name):
    case = get_case(name)
    source = inputs_of(case)[1]
    options = {"num_beams": 3, "num_return": 3, "max_length": 6}
    expected = kt.decoding.beam_search(case.model, source, **options)
    with kt.visualize.record(case.model, "beam_search/*") as trace:
        result = kt.decoding.beam_search(case.model, source, **options)
    np.testing.assert_array_equal(result.ids, expected.ids)
    np.testing.assert_allclose(result.scores, expected.scores, atol=1e-5)
    assert trace["beam_search/tokens"].shape == (2, 6)
    assert 1 < len(trace.all("beam_search/tokens")) <= 6
    best = np.maximum.reduce(trace.all("beam_search/scores")).max(axis=-1)
    np.testing.assert_allclose(best, result.scores[:, 0], atol=1e-5)


def test_decoding_sees_the_heads_switched_off():
    """Also where a program of the whole model was compiled before."""
    case = make_case("gpt")
    prompt = [[4, 7, 9]]
    whole = kt.decoding.generate(case.model, prompt, 8)
    with kt.visualize.record(case.model, ablate={SELF: [0, 1]}) as trace:
        ablated = kt.decoding.generate(case.model, prompt, 8)
    assert len(trace.all(f"{SELF}/weights")) == 8
    attention = case.model.get_layer("decoder").blocks[0].self_attention.attention
    silenced(case, attention, [0, 1])
    np.testing.assert_array_equal(ablated, kt.decoding.generate(case.model, prompt, 8))
    assert (ablated != whole).any()


# === The trace ===


def test_only_the_names_asked_for_are_kept():
    _, trace = record(get_case("transformer"), ["encoder/*/weights", "*/logits"])
    assert len(trace) == 3
    assert trace.find("*/weights") == list(trace)[:2]
    assert repr(trace).startswith("Trace of 3 tensors\n  encoder/block_0/self_attention/weights")


def test_names_of_no_tensor_get_a_hint():
    _, trace = record(get_case("gpt"))
    with pytest.raises(KeyError, match=r"No tensor named 'weights' .* Similar names: decoder/"):
        trace["weights"]
    assert trace.get("weights") is None


@pytest.mark.skipif(BACKEND == "torch", reason="torch runs `predict` eagerly")
def test_compiled_calls_record_nothing_and_say_so():
    case = get_case("gpt")
    with kt.visualize.record(case.model, "*/weights") as trace:
        case.model.predict({"token_ids": inputs_of(case)[0]}, verbose=0)
    with pytest.raises(KeyError, match="Call the model itself"):
        trace[f"{SELF}/weights"]


@pytest.mark.skipif(BACKEND == "torch", reason="torch runs `predict` eagerly")
def test_compiled_calls_cannot_switch_heads_off():
    """Nor do they learn of the recording: the program traced in it serves later calls as well."""
    case = make_case("gpt")
    inputs = {"token_ids": inputs_of(case)[0]}
    with pytest.raises(ValueError, match="`ablate` requires calls that run eagerly"):
        with kt.visualize.record(case.model, ablate={SELF: 0}):
            case.model.predict(inputs, verbose=0)


def test_other_threads_record_nothing():
    case = get_case("gpt")
    with kt.visualize.record(case.model) as trace:
        thread = threading.Thread(target=case, args=inputs_of(case))
        thread.start()
        thread.join()
    assert len(trace) == 0


def test_recordings_are_not_nested():
    case = get_case("gpt")
    with kt.visualize.record(case.model), pytest.raises(ValueError, match="must not be nested"):
        with kt.visualize.record(case.model):
            pass


def test_what_is_no_model():
    with pytest.raises(ValueError, match="`model` must be a Keras model or layer. Received: model"):
        with kt.visualize.record("gpt"):
            pass


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16", "float16"])
def test_half_precision(policy):
    block = kt.layers.TransformerEncoderBlock(2, 16, dtype=policy)
    x = ops.cast(keras.random.normal((1, 4, 8), seed=0), "float32")
    expected = to_numpy(block(x))
    with kt.visualize.record(block) as trace:
        output = block(x)
    np.testing.assert_allclose(to_numpy(output), expected, atol=0.02)
    assert trace["self_attention/query"].dtype == np.float32


def test_a_recorded_call_of_a_fused_or_blockwise_attention():
    x = keras.random.normal((1, 8, 16), seed=0)
    for implementation in ("fused", "blockwise"):
        layer = kt.layers.MultiHeadSelfAttention(2, causal=True, implementation=implementation)
        expected = to_numpy(layer(x))
        with kt.visualize.record(layer) as trace:
            output = layer(x)
        np.testing.assert_allclose(to_numpy(output), expected, atol=1e-5)
        assert not np.triu(trace["weights"][0, 0], 1).any()
