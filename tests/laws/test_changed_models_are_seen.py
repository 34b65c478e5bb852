"""Decoding keeps programs: whatever was changed in a model since, they must not outlive it.

After each change `generate`, `stream` and `beam_search` are held against the uncached model, which
Keras calls anew. Which changes are told apart at all: `tests/decoding/test_fingerprint.py`.
"""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.harness import normal, to_numpy
from tests.laws.models import V, make_case

END, STEPS = 3, 3
PROMPTS = [[4, 5, 6, 9], [7, 8]]


def log_probs_of(case, rows):
    """The uncached model's log-probabilities (R, T, V) after each token of rows of ids."""
    width = max(map(len, rows))
    ids = np.array([row + [1] * (width - len(row)) for row in rows], "int32")
    sources = np.array([[4, 5, 6, 9], [7, 8, 0, 0]], "int32")
    logits = to_numpy(case(ids, np.repeat(sources, len(rows) // 2, axis=0))).astype("float64")
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def start_of(case):
    """Transformers start with the padding id, which the models may hide."""
    return {"start_id": 2 if hasattr(decoder_of(case), "recurrences") else 0}


def check(case, tolerance=1e-4, beams=False):
    """Returns the log-probabilities, for a look at whether a change changed anything."""
    model, start = case.model, start_of(case)
    prompts = [[*start.values()]] * 2 if case.is_translator else PROMPTS
    generated = kt.decoding.generate(model, PROMPTS, STEPS, return_log_probs=True, **start)
    streamed = kt.decoding.stream(model, PROMPTS, max_new_tokens=STEPS, tokens_per_call=1, **start)
    skipped = [0 if case.is_translator else len(prompt) for prompt in prompts]
    new = [ids[s : s + STEPS].tolist() for ids, s in zip(generated.ids, skipped, strict=True)]
    np.testing.assert_array_equal(np.stack(list(streamed), axis=1), new)
    found = log_probs_of(case, [prompt + ids for prompt, ids in zip(prompts, new, strict=True)])
    for row, prompt in enumerate(prompts):
        for step, token in enumerate(new[row]):
            expected = found[row, len(prompt) + step - 1]
            assert expected[token] >= expected.max() - tolerance, (row, step)
            actual = generated.log_probs[row, skipped[row] + step]
            np.testing.assert_allclose(actual, expected[token], atol=tolerance)
    if beams:
        check_beams(case, prompts, tolerance)
    return generated.log_probs


def check_beams(case, prompts, tolerance):
    """Each hypothesis has the score that the uncached model gives it."""
    options = {"num_beams": 2, "num_return": 2, "max_length": STEPS, "length_penalty": 0.0}
    options |= start_of(case)
    result = kt.decoding.beam_search(case.model, PROMPTS, end_id=END, **options)
    rows = [prompts[b] + ids.tolist() for b in range(2) for ids in result.ids[b]]
    found = log_probs_of(case, rows).reshape(2, 2, -1, V)
    for b, prompt in enumerate(prompts):
        for k, ids in enumerate(result.ids[b].tolist()):
            length = ids.index(END) + 1 if END in ids else STEPS
            steps = found[b, k, len(prompt) - 1 :][np.arange(length), ids[:length]]
            np.testing.assert_allclose(result.scores[b, k], steps.sum(), atol=4 * tolerance)


def decoder_of(case):
    return case.model.get_layer("decoder")


def feed_forward_of(case):
    return decoder_of(case).blocks[0].feed_forward


def layers_of(case, kind):
    return [layer for layer in case.model._flatten_layers() if isinstance(layer, kind)]


# === Changes, each of a model that was decoded with before ===


def new_variables_in_their_place(case):
    for layer in layers_of(case, keras.layers.Dense):
        layer._tracker.unlock()  # as Keras does for adapters
        old, layer._kernel = layer._kernel, None
        layer._trainable_variables.remove(old)
        layer._kernel = layer.add_weight(name="kernel", shape=old.shape)
        layer._kernel.assign(normal(*old.shape, seed=9))
        layer._tracker.lock()


def adapters(case, alpha=2.0):
    kt.training.enable_lora(case.model, 2, alpha=alpha, targets=("query", "intermediate"))
    for weight in case.model.trainable_weights:
        weight.assign(0.5 * normal(*weight.shape, seed=len(weight.path)))


def adapters_of_another_scale(case):
    base = case.model.get_weights()
    adapters(case)
    check(case)
    kt.training.merge_lora(case.model)
    case.model.set_weights(base)
    adapters(case, alpha=9.0)


def another_scale_of_the_same_adapters(case):
    adapters(case)
    check(case)
    for layer in layers_of(case, keras.layers.Dense):
        layer.lora_alpha = 9.0


def quantized(case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the input has nothing to quantize
        case.model.quantize("int8")


def blocks_swapped(case):
    decoder_of(case).blocks.reverse()


def closure_of_an_activation(case):
    scale = [1.0]
    feed_forward_of(case).activation = lambda x: scale[0] * ops.tanh(x)
    check(case)
    scale[0] = 3.0


def another_epsilon(case):
    for layer in layers_of(case, keras.layers.LayerNormalization):
        layer.epsilon = 2.0


def another_window(case):
    decoder_of(case).blocks[0].self_attention.window = 2


def the_start_is_a_token(case):
    decoder_of(case).start_is_padding = True


def another_dtype_policy(case):
    for layer in layers_of(case, keras.layers.Dense):
        layer.dtype_policy = "mixed_bfloat16"


def of_the_encoder(case):
    case.model.get_layer("encoder").blocks[0].feed_forward.activation = keras.activations.tanh


def of_the_cell(case):
    decoder_of(case).recurrences[0].cell.activation = keras.activations.sigmoid


def nothing_that_is_read(case):
    case.model.trainable = False
    for layer in layers_of(case, keras.layers.Dropout):
        layer.rate = 0.5
    keras.config.set_dtype_policy("mixed_bfloat16")  # of layers to come


CHANGES = {
    "gpt": [
        new_variables_in_their_place,
        adapters_of_another_scale,
        another_scale_of_the_same_adapters,
        quantized,
        blocks_swapped,
        closure_of_an_activation,
        another_epsilon,
        another_window,
        another_dtype_policy,
        nothing_that_is_read,
    ],
    "transformer": [the_start_is_a_token, of_the_encoder],
    "recurrent_luong_two_vocabularies": [of_the_cell],
}
WITH_BEAMS = (adapters_of_another_scale, of_the_cell)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name in CHANGES for change in CHANGES[name]]
)
def test_a_change_is_seen(name, change):
    layers = 2 if change is blocks_swapped else 1
    case, beams = make_case(name, num_layers=layers), change in WITH_BEAMS
    before = check(case, beams=beams)
    change(case)
    tolerance = 0.05 if change is another_dtype_policy else 1e-4
    after = check(case, tolerance, beams)
    is_changed = before.shape != after.shape or not np.allclose(before, after, atol=1e-3)
    assert is_changed == (change is not nothing_that_is_read)
