"""Generation over a cache against the uncached loop, and what users may hand in."""

import gc
import inspect
import weakref

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from keras_transformer.decoding.generation_options import GenerationOptions
from keras_transformer.decoding.random_numbers import RandomNumbers
from tests.decoding.reference import START, enliven, lively_case, padded, uncached_greedy
from tests.harness import BACKEND, normal, randomize, token_ids
from tests.laws.models import NAMES, TRANSLATORS, V, make_case

MAX_LENGTH = 37  # the positions that the language models have
LENGTHS = range(1, 18)
PROMPTS = [token_ids(1, n, vocabulary_size=V, seed=n)[0].tolist() for n in LENGTHS]


def expected_rows(case, prompts, steps, **options):
    """What `generate` is to return, from the uncached loop."""
    if case.is_translator:
        starts = [[START]] * len(prompts)
        new = uncached_greedy(case, starts, steps, 19, padded(prompts, 19), **options)
        return padded(new)
    new = uncached_greedy(case, prompts, steps, MAX_LENGTH, **options)
    return padded([prompt + row for prompt, row in zip(prompts, new, strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_ragged_batch_of_all_lengths(name):
    case = lively_case(name)
    expected = expected_rows(case, PROMPTS, 6)
    actual = kt.decoding.generate(case.model, PROMPTS, max_new_tokens=6)
    assert actual.dtype == np.int32
    np.testing.assert_array_equal(actual, expected)
    assert len({tuple(row) for row in expected[:, -6:].tolist()}) > 3  # the prompts matter


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_each_length_alone(name):
    case = lively_case(name)
    together = expected_rows(case, PROMPTS, 6)
    for prompt, row in zip(PROMPTS, together, strict=True):
        end = 6 if case.is_translator else len(prompt) + 6
        actual = kt.decoding.generate(case.model, [prompt], max_new_tokens=6)
        np.testing.assert_array_equal(actual, row[None, :end])


@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_arrays_padded_on_either_side(name):
    case = lively_case(name)
    rows = [PROMPTS[1], PROMPTS[4], PROMPTS[2]]
    expected = kt.decoding.generate(case.model, rows, max_new_tokens=4)
    right = padded(rows, 7)
    left = np.stack([np.roll(row, 7 - len(given)) for row, given in zip(right, rows, strict=True)])
    for array in (right, left, right.astype("int64"), ops.convert_to_tensor(left)):
        actual = kt.decoding.generate(case.model, array, max_new_tokens=4)
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "transformer_untied_grouped"])
def test_stop_ids_end_a_row(name):
    case = lively_case(name)
    prompts = PROMPTS[2:6]
    free = uncached_free(case, prompts)
    stop = free[0][2]  # a token that the first row generates
    expected = expected_rows(case, prompts, 7, stop_ids=(stop,))
    actual = kt.decoding.generate(case.model, prompts, max_new_tokens=7, stop_ids=[stop])
    np.testing.assert_array_equal(actual, expected)
    both = kt.decoding.generate(case.model, prompts, max_new_tokens=7, stop_ids=(stop, free[1][0]))
    np.testing.assert_array_equal(
        both, expected_rows(case, prompts, 7, stop_ids=(stop, free[1][0]))
    )


def uncached_free(case, prompts):
    rows = expected_rows(case, prompts, 7)
    starts = [0 if case.is_translator else len(prompt) for prompt in prompts]
    return [row[start : start + 7].tolist() for row, start in zip(rows, starts, strict=True)]


def test_all_rows_stopped_at_once():
    case = lively_case("gpt")
    first = kt.decoding.generate(case.model, [[5, 7]], max_new_tokens=1)[0, -1]
    stopped = kt.decoding.generate(case.model, [[5, 7]] * 2, max_new_tokens=9, stop_ids=[first])
    np.testing.assert_array_equal(stopped, [[5, 7, first]] * 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_banned_ids_never_come(name):
    case = lively_case(name)
    prompts = PROMPTS[2:6]
    banned = tuple(sorted({token for row in uncached_free(case, prompts) for token in row}))[:5]
    actual = kt.decoding.generate(case.model, prompts, max_new_tokens=7, banned_ids=banned)
    np.testing.assert_array_equal(actual, expected_rows(case, prompts, 7, banned_ids=banned))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "transformer"])
@pytest.mark.parametrize("steps", [1, 16, 17])
def test_numbers_of_new_tokens_around_the_buffer_size(name, steps):
    case = lively_case(name)
    actual = kt.decoding.generate(case.model, PROMPTS[2:4], max_new_tokens=steps)
    np.testing.assert_array_equal(actual, expected_rows(case, PROMPTS[2:4], steps))


def test_start_id_of_a_translation():
    case = lively_case("transformer")
    sources = [PROMPTS[3], PROMPTS[6]]

    def translate(start):
        return padded(uncached_greedy(case, [[start]] * 2, 4, 19, padded(sources, 19)))

    usual = translate(START)
    start = next(i for i in range(3, V) if not np.array_equal(translate(i), usual))
    actual = kt.decoding.generate(case.model, sources, max_new_tokens=4, start_id=start)
    np.testing.assert_array_equal(actual, translate(start))


@pytest.mark.parametrize("name", ["transformer", "transformer_pre_norm_two_vocabularies"])
def test_a_forced_prefix_of_a_translation(name):
    case = lively_case(name)
    sources, prefixes = PROMPTS[3:6], [[9, 5], [], [4]]
    starts = [[START, *prefix] for prefix in prefixes]
    new = [
        uncached_greedy(case, [start], 4, 19, padded([source], 19))[0]
        for start, source in zip(starts, sources, strict=True)
    ]
    expected = padded([[*prefix, *row] for prefix, row in zip(prefixes, new, strict=True)])
    result = kt.decoding.generate(
        case.model, sources, max_new_tokens=4, prefix_ids=prefixes, return_log_probs=True
    )
    np.testing.assert_array_equal(result.ids, expected)
    assert (result.log_probs[0, :2] == 0).all() and (result.log_probs[0, 2:] < 0).all()
    for prefix in (9, [9]):
        one = kt.decoding.generate(case.model, sources, max_new_tokens=4, prefix_ids=prefix)
        assert (one[:, 0] == 9).all() and one.shape == (3, 5)
    steps = [*kt.decoding.stream(case.model, sources, max_new_tokens=4, prefix_ids=[9])]
    np.testing.assert_array_equal(np.stack(steps, axis=1), one[:, 1:])


def test_a_prefix_of_a_language_model():
    with pytest.raises(ValueError, match="`prefix_ids` requires a translator"):
        kt.decoding.generate(lively_case("gpt").model, [[5]], max_new_tokens=4, prefix_ids=[9])


def test_a_full_context_and_one_token_too_many():
    case = lively_case("gpt")
    prompt = token_ids(1, 30, vocabulary_size=V)[0].tolist()
    full = kt.decoding.generate(case.model, [prompt], max_new_tokens=8)  # 30 + 8 - 1 positions
    np.testing.assert_array_equal(full, expected_rows_at_the_end(case, prompt))
    message = "`prompt_ids` and `max_new_tokens` must fit the model's positions. Received: a prompt"
    with pytest.raises(ValueError, match=f"{message} of length 30 and max_new_tokens=9, for 37"):
        kt.decoding.generate(case.model, [prompt], max_new_tokens=9)


def expected_rows_at_the_end(case, prompt):
    new = uncached_greedy(case, [prompt], 8, MAX_LENGTH)
    return padded([prompt + new[0]])


# === Compiled programs ===


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_new_weights_are_seen(name):
    case = make_case(name)
    before = kt.decoding.generate(case.model, PROMPTS[2:5], max_new_tokens=5)
    randomize(case.model, seed=77, stddev=0.5)
    after = kt.decoding.generate(case.model, PROMPTS[2:5], max_new_tokens=5)
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, expected_rows(case, PROMPTS[2:5], 5))


@pytest.mark.skipif(BACKEND != "torch", reason="modes of torch")
def test_torchs_modes_may_change_at_any_time():
    import torch

    model = make_case("gpt").model
    expected = kt.decoding.generate(model, PROMPTS[3:4], max_new_tokens=7)[0, 4:].tolist()
    modes = [torch.inference_mode, lambda: torch.autocast("cpu", dtype=torch.bfloat16)]
    for mode in modes:
        with mode():
            tokens = kt.decoding.stream(model, PROMPTS[3:4], max_new_tokens=7)
            first = int(next(tokens)[0])
        second = int(next(tokens)[0])
        with mode():
            third = [int(token[0]) for token in tokens]
        if mode is torch.inference_mode:
            assert [first, second, *third] == expected
        assert len(third) == 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_new_adapters_are_seen(name):
    case = make_case(name)
    enliven(case.model)
    before = kt.decoding.generate(case.model, PROMPTS[2:5], max_new_tokens=5)
    for block in case.model.get_layer("decoder").blocks:
        dense = block.feed_forward.output_dense
        dense.enable_lora(2)
        dense.lora_kernel_b.assign(normal(*dense.lora_kernel_b.shape, seed=4) * 20.0)
    after = kt.decoding.generate(case.model, PROMPTS[2:5], max_new_tokens=5)
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, expected_rows(case, PROMPTS[2:5], 5))


# Not in the sampler's closure: what changes there asks for another program.
CALLS = []


def test_a_length_in_the_same_bucket_compiles_nothing():
    def sampler(logits, seed):
        CALLS.append(1)
        return ops.argmax(logits, axis=-1)

    model = lively_case("gpt").model

    def count(prompt_length, max_new_tokens):
        before = len(CALLS)
        prompts = [PROMPTS[prompt_length - 1]] * 2
        kt.decoding.generate(model, prompts, max_new_tokens=max_new_tokens, sampler=sampler)
        return len(CALLS) - before

    first = count(3, 5)
    if BACKEND == "torch":
        # The first token follows the prefill, which is not recorded; the step is, once.
        assert first == 2
        assert count(11, 5) == count(16, 9) == count(1, 1) == 1
        return
    assert 0 < first < 5
    assert count(11, 5) == count(16, 9) == count(1, 1) == 0


@pytest.mark.slow
def test_models_are_collected_after_generation():
    model = make_case("gpt").model
    kt.decoding.generate(model, [[5, 6]], max_new_tokens=2)
    reference = weakref.ref(model)
    del model
    keras.backend.clear_session()
    gc.collect()
    assert reference() is None


@pytest.mark.slow
def test_two_models_do_not_share_programs():
    one, other = make_case("gpt"), make_case("gpt")
    randomize(other.model, seed=5, stddev=0.6)
    results = [kt.decoding.generate(c.model, PROMPTS[2:5], max_new_tokens=5) for c in (one, other)]
    assert not np.array_equal(*results)
    np.testing.assert_array_equal(results[1], expected_rows(other, PROMPTS[2:5], 5))


def test_generation_does_not_touch_the_weights_or_dropout():
    case = make_case("gpt", dropout=0.5)
    before = [np.array(weight) for weight in case.model.get_weights()]
    one = kt.decoding.generate(case.model, PROMPTS[2:5], max_new_tokens=5)
    other = kt.decoding.generate(case.model, PROMPTS[2:5], max_new_tokens=5)
    np.testing.assert_array_equal(one, other)
    for old, new in zip(before, case.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_half_precision_generates(name, policy):
    case = make_case(name, dtype=policy)
    ids = kt.decoding.generate(case.model, PROMPTS[2:5], max_new_tokens=3)
    assert ids.shape == (3, 3 if name == "transformer" else 8)
    assert ids.min() >= 0 and ids.max() < V


# === Samplers and filters ===


def test_a_sampler_gets_float32_logits_and_a_number_a_row():
    seen = []

    def sampler(logits, uniform):
        seen.append((keras.backend.standardize_dtype(logits.dtype), tuple(logits.shape)))
        return ops.cast(ops.floor(V * uniform), "int32")

    case = make_case("gpt", dtype="mixed_bfloat16")
    ids = kt.decoding.generate(case.model, [[5], [6]], 3, sampler=sampler, seed=4)
    expected = np.floor(V * RandomNumbers(4, range(2)).first(3)).astype(int)
    assert ids[:, 1:].tolist() == expected.tolist()
    assert {dtype for dtype, _ in seen} == {"float32"}
    assert {shape[-1] for _, shape in seen} == {V}


def test_greedy_takes_the_first_of_equals():
    logits = ops.convert_to_tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 0.0]])
    ids = kt.decoding.greedy(logits)
    assert keras.backend.standardize_dtype(ids.dtype) == "int32"
    assert ops.convert_to_numpy(ids).tolist() == [1, 0]
    assert kt.decoding.get_sampler("greedy") is kt.decoding.greedy


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_ban_ids(dtype):
    logits = ops.cast(ops.convert_to_tensor([[1.0, 5.0, 3.0, 4.0]]), dtype)
    banned = kt.decoding.ban_ids(logits, (1, 3))
    assert keras.backend.standardize_dtype(banned.dtype) == dtype
    assert int(ops.argmax(banned)) == 2
    values = ops.convert_to_numpy(ops.cast(banned, "float32"))[0]
    assert values[[0, 2]].tolist() == [1.0, 3.0] and np.isfinite(values).all()
    assert kt.decoding.ban_ids(logits, ()) is logits


# === Errors ===


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "`prompt_ids` must contain at least one row. Received: an empty batch"),
        ([[5], []], "`prompt_ids` must not have empty rows. Received: row 1 is empty"),
        ([[5], [0, 0]], "`prompt_ids` must not have empty rows. Received: row 1 contains only"),
        ([[5], [6, 23]], r"in the range \[0, 23\). Received: row 1 has ids from 6 to 23"),
        ([[-1]], r"in the range \[0, 23\). Received: row 0 has ids from -1 to -1"),
        (5, "`prompt_ids` must be a list of rows of ids or an array. Received: prompt_ids=5"),
        ([[5.5]], "`prompt_ids` must contain rows of integers. Received: row 0 is"),
        ([5, 6], "`prompt_ids` must contain rows of integers. Received: row 0 is 5"),
        ([[[5]]], "`prompt_ids` must contain rows of integers"),
        (np.array([5, 6]), r"`prompt_ids` must have the shape .*Received: shape=\(2,\)"),
        (np.array([[5, 6], [0, 0]]), "`prompt_ids` must not have empty rows. Received: row 1"),
        (np.array([[5.0]]), "`prompt_ids` must contain rows of integers"),
        (np.array([[True]]), "`prompt_ids` must contain rows of integers"),
    ],
)
@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_bad_prompts(name, prompts, message):
    with pytest.raises(ValueError, match=message):
        kt.decoding.generate(lively_case(name).model, prompts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "`max_new_tokens` must be at least 1. Received: max_new_tokens=0"),
        (
            {"max_new_tokens": -3},
            "`max_new_tokens` must be at least 1. Received: max_new_tokens=-3",
        ),
        (
            {"max_new_tokens": 2.0},
            "`max_new_tokens` must be an integer. Received: max_new_tokens=2.0",
        ),
        (
            {"max_new_tokens": True},
            "`max_new_tokens` must be an integer. Received: max_new_tokens=True",
        ),
        ({"sampler": "best"}, r"`sampler` must be one of \['greedy'.*Received: sampler='best'"),
        ({"stop_ids": 3}, "`stop_ids` must be a sequence of ids. Received: stop_ids=3"),
        (
            {"stop_ids": [3, 23]},
            r"`stop_ids` must contain ids in the range \[0, 23\). Received: 23",
        ),
        (
            {"banned_ids": [-1]},
            r"`banned_ids` must contain ids in the range \[0, 23\). Received: -1",
        ),
    ],
)
@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        kt.decoding.generate(lively_case(name).model, [[5, 6]], **options)


def test_bad_start_id():
    with pytest.raises(
        ValueError, match=r"`start_id` must be in the range \[0, 23\). Received: start_id=23"
    ):
        kt.decoding.generate(lively_case("transformer").model, [[5, 6]], start_id=23)


def test_a_prompt_that_is_too_long():
    message = "`prompt_ids` must fit the model's positions. Received: row 0 of length 38 for 37"
    with pytest.raises(ValueError, match=message):
        kt.decoding.generate(lively_case("gpt").model, [[5] * 38], max_new_tokens=1)


def test_source_ids_are_checked_against_the_source_vocabulary():
    case = lively_case("transformer_untied_grouped")  # 29 source ids, 23 target ids
    assert kt.decoding.generate(case.model, [[28]], max_new_tokens=1).shape == (1, 1)
    with pytest.raises(ValueError, match=r"in the range \[0, 29\)"):
        kt.decoding.generate(case.model, [[29]], max_new_tokens=1)


def test_a_model_without_the_parts():
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, name="dense")])
    message = r"must have a layer named `decoder` and one named `token_embedding` or .*\['dense'\]"
    with pytest.raises(ValueError, match=message):
        kt.decoding.generate(model, [[1]])


@pytest.mark.slow
def test_the_parts_of_a_model():
    for name in NAMES:
        parts = kt.decoding.DecodingModel(lively_case(name).model)
        assert parts.is_translator == (name in TRANSLATORS)
        assert parts.vocabulary_size == V and parts.padding_id == 0
        has_positions = name in ("gpt", "transformer_untied_grouped")
        assert parts.max_length == (MAX_LENGTH if has_positions else None)


def test_defaults_are_the_same_everywhere():
    """`generate` and `stream` spell out the defaults of their common options."""
    defaults = GenerationOptions()._asdict()
    for function in (kt.decoding.generate, kt.decoding.stream):
        for name, parameter in inspect.signature(function).parameters.items():
            if name not in ("model", "prompt_ids", "tokens_per_call"):
                assert parameter.default == defaults[name], name


@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_several_sequences_of_one_prompt(name):
    model = lively_case(name).model
    options = {"sampler": "random", "seed": 3, "num_return": 3}
    alone = kt.decoding.generate(model, PROMPTS[:1], 6, **options)
    together = kt.decoding.generate(model, PROMPTS[:2], 6, **options)
    np.testing.assert_array_equal(alone[0], together[0, :, : alone.shape[-1]])
