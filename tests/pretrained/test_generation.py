"""What a folder says of generation, in a file of its own or in config.json."""

import json

import pytest

from keras_transformer.pretrained.generation import KEYS, read_generation, read_search

OLD = {  # as Helsinki-NLP's folders had it
    "decoder_start_token_id": 58100,
    "eos_token_id": 0,
    "pad_token_id": 58100,
    "bad_words_ids": [[58100]],
    "max_length": 512,
    "forced_eos_token_id": 0,
    "num_beams": 4,
}


def write(folder, name="config.json", **values):
    (folder / name).write_text(json.dumps(values))
    return folder


def test_an_older_folder(tmp_path):
    settings = read_generation(write(tmp_path, **OLD))
    # The start is one of the 512, and so is the end that is forced.
    assert settings == (58100, 0, 58100, (58100,), 510, 1.0, False, None, ())


def test_a_file_of_its_own_counts_alone(tmp_path):
    write(tmp_path, **OLD)
    values = {"suppress_tokens": [3, 4, 3], "length_penalty": 0.5, "early_stopping": True}
    write(tmp_path, "generation_config.json", eos_token_id=[7], max_length=20, **values)
    assert read_generation(tmp_path) == (None, 7, None, (3, 4), 19, 0.5, True, None, ())


def test_nothing_is_said(tmp_path):
    settings = read_generation(write(tmp_path, early_stopping="never"))
    assert settings == (None, None, None, (), None, 1.0, False, None, ())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eos_token_id": [1, 2]}, r"`eos_token_id` in .* must be one id. Received: \[1, 2\]"),
        ({"pad_token_id": True}, "`pad_token_id` in .* must be one id. Received: True"),
        ({"decoder_start_token_id": -1}, "must be one id. Received: -1"),
        (
            {"bad_words_ids": 5},
            "`bad_words_ids` and `suppress_tokens` in .* must contain only single",
        ),
        ({"suppress_tokens": ["x"]}, r"must contain only single ids. Received: \['x'\]"),
        ({"forced_bos_token_id": 5}, "`forced_bos_token_id` in .* must be None"),
        ({"max_length": 0}, "`max_length` in .* must be at least 1"),
        ({"length_penalty": "1"}, "`length_penalty` in .* must be of type float"),
    ],
)
def test_what_is_not_supported(values, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_generation(write(tmp_path, **values))


def test_a_forced_first_token_of_a_multilingual_model(tmp_path):
    write(tmp_path, forced_bos_token_id=[5], max_length=20)
    settings = read_generation(tmp_path, is_multilingual=True)
    assert (settings.forced_start_id, settings.max_new_tokens) == (5, 19)
    with pytest.raises(ValueError, match="`forced_bos_token_id` in .* must be None"):
        read_generation(tmp_path)


def test_several_ends(tmp_path):
    """The first one is the usual one, and only language models may have more."""
    write(tmp_path, eos_token_id=[7, 3, 9])
    settings = read_generation(tmp_path, several_ends=True)
    assert (settings.end_id, settings.more_end_ids) == (7, (3, 9))
    write(tmp_path, eos_token_id=[7, "3"])
    with pytest.raises(ValueError, match="`eos_token_id` in .* must be one id"):
        read_generation(tmp_path, several_ends=True)


def test_a_number_of_new_tokens_wins_over_a_length(tmp_path):
    values = {"max_length": 20, "max_new_tokens": 7, "eos_token_id": 0}
    assert read_generation(write(tmp_path, **values)).max_new_tokens == 7
    # The last one is the end that is forced.
    write(tmp_path, **values, forced_eos_token_id=[0])
    assert read_generation(tmp_path).max_new_tokens == 6


SAMPLING = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": None}


@pytest.mark.parametrize(
    ("values", "is_translator", "expected"),
    [
        ({}, True, {}),
        ({}, False, {}),
        ({"min_length": 6, "repetition_penalty": 2}, True, {"min": 5, "penalty": 2.0}),
        ({"min_length": 6, "min_new_tokens": 3}, True, {"min": 3}),
        ({"min_length": 6, "min_new_tokens": 3}, False, {"min": 3}),
        ({"no_repeat_ngram_size": 3, "renormalize_logits": True}, True, {"size": 3, "sum": True}),
        ({"max_new_tokens": 9, "max_length": 30}, False, {"new": 9, "length": 30}),
        ({"top_k": 7, "temperature": 0.5, "typical_p": 0.3}, False, {}),
        ({"do_sample": True}, False, {"sampling": SAMPLING}),
        (
            {"do_sample": True, "top_k": 0, "temperature": 2, "top_p": 0.9, "min_p": 0.1},
            False,
            {"sampling": {"temperature": 2.0, "top_k": None, "top_p": 0.9, "min_p": 0.1}},
        ),
        (dict.fromkeys(KEYS.fixed), True, {}),
        (dict.fromkeys(KEYS.followed), False, {}),
    ],
)
def test_how_tokens_are_chosen(values, is_translator, expected, tmp_path):
    usual = {"min": 0, "size": 0, "penalty": 1.0, "sum": False}
    usual |= {"new": None, "length": None, "sampling": None}
    found = read_search(write(tmp_path, **values), is_translator)
    assert found == tuple({**usual, **expected}.values())


OTHERS = {
    "begin_suppress_tokens": [3],
    "constraints": [1],
    "diversity_penalty": 0.5,
    "dola_layers": "high",
    "encoder_no_repeat_ngram_size": 2,
    "encoder_repetition_penalty": 1.5,
    "exponential_decay_length_penalty": [5, 1.1],
    "force_words_ids": [[3]],
    "forced_decoder_ids": [[1, 3]],
    "guidance_scale": 1.5,
    "max_time": 3.0,
    "num_beam_groups": 2,
    "penalty_alpha": 0.6,
    "sequence_bias": [[[3], 1.0]],
    "stop_strings": ["x"],
    "token_healing": True,
    "watermarking_config": {"bias": 2.0},
    "epsilon_cutoff": 0.1,
    "eta_cutoff": 0.1,
    "top_h": 0.4,
    "typical_p": 0.9,
}


def test_every_other_setting_is_tried():
    assert set(OTHERS) == set(KEYS.fixed)


@pytest.mark.parametrize("key", OTHERS)
def test_what_would_change_a_text_is_refused(key, tmp_path):
    # Some only where tokens are drawn at random.
    write(tmp_path, do_sample=True, **{key: OTHERS[key]})
    with pytest.raises(ValueError, match=f"`{key}` in .*config.json must be"):
        read_generation(tmp_path)
        read_search(tmp_path, is_translator=False)


@pytest.mark.parametrize(
    ("values", "is_translator", "message"),
    [
        ({"do_sample": True}, True, "`do_sample` in .* must be False"),
        ({"num_beams": 4}, False, "`num_beams` in .* must be 1"),
        ({"min_length": 4}, False, "`min_length` in .* must be 0"),
        ({"min_new_tokens": -1}, False, "`min_new_tokens` in .* must be at least 0"),
        ({"no_repeat_ngram_size": 2.5}, False, "`no_repeat_ngram_size` in .* be of type int"),
        ({"repetition_penalty": 0.0}, True, "`repetition_penalty` in .* must be more than 0"),
        ({"max_new_tokens": 0}, False, "`max_new_tokens` in .* must be at least 1"),
        ({"do_sample": True, "temperature": 0.0}, False, "`temperature` in .* more than 0"),
        ({"do_sample": True, "top_p": 1.5}, False, r"`top_p` in \(0, 1\]"),
        ({"renormalize_logits": "yes"}, True, "`renormalize_logits` in .* be of type bool"),
    ],
)
def test_values_out_of_range(values, is_translator, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_search(write(tmp_path, **values), is_translator)


def test_a_forced_end_that_is_none(tmp_path):
    write(tmp_path, eos_token_id=0, forced_eos_token_id=3)
    with pytest.raises(ValueError, match="`forced_eos_token_id` and `eos_token_id` in .* equal"):
        read_generation(tmp_path)
