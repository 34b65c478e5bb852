"""The TextGenerator: text in, text out, as whole texts or piece by piece."""

import keras
import numpy as np
import pytest

import keras_transformer as kt

TEXTS = ["the cat sat on the mat", "a dog ran after the cat", "the old dog slept", "é ü ñ ß"]
PROMPTS = ["the cat", "a dog ran", "old"]


@pytest.fixture(scope="module")
def generator():
    keras.utils.set_random_seed(5)
    tokenizer = kt.data.train_tokenizer(TEXTS, 300, model_type="bpe", lossless=True)
    model = kt.models.gpt(
        300, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, max_length=64
    )
    for weight in model.trainable_weights:
        weight.assign(np.random.default_rng(5).normal(scale=0.5, size=weight.shape))
    return kt.TextGenerator(model, tokenizer)


def test_continues_as_generate_does(generator):
    ids = kt.decoding.generate(
        generator.model,
        kt.data.encode(generator.tokenizer, PROMPTS),
        max_new_tokens=9,
        stop_ids=(kt.data.END_ID,),
        banned_ids=(0,),
    )
    expected = kt.data.decode(generator.tokenizer, ids)
    assert generator.generate(PROMPTS, max_new_tokens=9) == expected
    assert generator.generate(PROMPTS, max_new_tokens=9, batch_size=2) == expected
    assert generator.generate(PROMPTS[1], max_new_tokens=9) == expected[1]
    assert len(set(expected)) == 3


@pytest.mark.parametrize("sampler", ["greedy", kt.decoding.RandomSampler(1.5)])
def test_pieces_are_the_text(generator, sampler):
    for prompt in PROMPTS:
        options = {"max_new_tokens": 20, "sampler": sampler, "seed": 4}
        pieces = list(generator.stream(prompt, **options))
        assert len(pieces) > 3 and all(pieces)
        assert prompt + "".join(pieces) == generator.generate(prompt, **options)


def test_stop_strings_end_a_text(generator):
    options = {"max_new_tokens": 40, "sampler": "random", "seed": 1, "banned_ids": (0, 1, 2, 3)}
    free = generator.generate(PROMPTS, **options)
    for index, (prompt, text) in enumerate(zip(PROMPTS, free, strict=True)):
        new = text[len(prompt) :]
        stop = new[len(new) // 2 : len(new) // 2 + 2]
        expected = prompt + new[: new.index(stop)]
        stopped = generator.generate(PROMPTS, stop_strings=("not there", stop), **options)
        assert stopped[index] == expected
        if index == 0:  # the first of a batch draws as one alone does
            pieces = list(generator.stream(prompt, stop_strings=[stop], **options))
            assert prompt + "".join(pieces) == expected


def test_a_seed_gives_the_same_texts(generator):
    options = {"max_new_tokens": 12, "sampler": kt.decoding.TopK(20), "batch_size": 2}
    texts = generator.generate(PROMPTS, seed=3, **options)
    assert generator.generate(PROMPTS, seed=3, **options) == texts
    assert generator.generate(PROMPTS, seed=3, **{**options, "batch_size": 1}) == texts
    assert generator.generate(PROMPTS, seed=4, **options) != texts
    same = generator.generate(PROMPTS[:1] * 4, seed=3, **options)
    assert len(set(same)) == 4  # each draws for itself, in every batch


def test_several_continuations_of_each_prompt(generator):
    options = {"max_new_tokens": 12, "sampler": kt.decoding.TopK(20), "seed": 3}
    texts = generator.generate(PROMPTS, num_return=3, **options)
    assert [len(continuations) for continuations in texts] == [3, 3, 3]
    for prompt, continuations in zip(PROMPTS, texts, strict=True):
        assert len(set(continuations)) == 3
        assert all(text.startswith(prompt) for text in continuations)
    assert generator.generate(PROMPTS, num_return=3, batch_size=2, **options) == texts
    assert generator.generate(PROMPTS[0], num_return=3, **options) == texts[0]
    assert generator.generate(PROMPTS[0], num_return=1, **options) == [texts[0][0]]
    assert generator.generate(PROMPTS[0], **options) == texts[0][0]
    stop = texts[0][1][-3:]
    stopped = generator.generate(PROMPTS[0], num_return=3, stop_strings=[stop], **options)
    for text, whole in zip(stopped, texts[0], strict=True):
        new = whole[len(PROMPTS[0]) :]
        assert text == PROMPTS[0] + new.split(stop)[0]


def test_prompts_of_any_length_share_a_call_up_to_a_total_length(generator):
    """A short prompt may get more new tokens than fit behind a long one."""
    defaults = kt.GenerationDefaults(max_length=64)
    limited = kt.TextGenerator(generator.model, generator.tokenizer, defaults=defaults)
    prompts = ["the cat", "old " * 26, "a dog", "the old dog slept " * 3]
    lengths = [len(row) for row in kt.data.encode(generator.tokenizer, prompts)]
    assert max(lengths) > 40 and min(lengths) < 9
    expected = [limited.generate(prompt) for prompt in prompts]
    assert limited.generate(prompts) == expected
    options = {"sampler": "random", "seed": 3}
    assert limited.generate(prompts, **options)[0] == limited.generate(prompts[0], **options)


def test_save_and_load_continue_alike(generator, tmp_path):
    generator.save(tmp_path / "generator")
    loaded = kt.TextGenerator.load(tmp_path / "generator")
    assert loaded.generate(PROMPTS, max_new_tokens=9) == generator.generate(
        PROMPTS, max_new_tokens=9
    )
    with pytest.raises(ValueError, match="must contain the file translator.json"):
        kt.Translator.load(tmp_path / "generator")
    (tmp_path / "generator" / "model.keras").unlink()
    with pytest.raises(ValueError, match="must contain the file model.keras"):
        kt.TextGenerator.load(tmp_path / "generator")


def test_messages(generator):
    with pytest.raises(ValueError, match="`stop_strings` must contain non-empty"):
        generator.generate(PROMPTS, stop_strings="x")
    with pytest.raises(ValueError, match=r"texts\[1\]=' '"):
        generator.generate(["a", " "])
    with pytest.raises(ValueError, match="`max_new_tokens` must be at least 1"):
        generator.stream("a", max_new_tokens=0)
    with pytest.raises(ValueError, match="`num_return` must be at least 1. Received: num_return=0"):
        generator.generate(PROMPTS, num_return=0)
    with pytest.raises(TypeError, match=r"stream\(\) got an unexpected .* 'num_return'"):
        generator.stream("a", num_return=2)
    with pytest.raises(ValueError, match="`texts` and `max_new_tokens` must fit .*=64, for 64"):
        generator.generate(PROMPTS, max_new_tokens=64)
    with pytest.raises(ValueError, match="`text` must fit the model's positions"):
        generator.stream("a cat " * 64)
    translator = kt.models.transformer(300, None, 1, 2, 8, 16)
    with pytest.raises(ValueError, match="must have no layer named `encoder`"):
        kt.TextGenerator(translator, generator.tokenizer)
    small = kt.models.gpt(20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    with pytest.raises(ValueError, match="must not have more ids than the model"):
        kt.TextGenerator(small, generator.tokenizer)
