"""What a folder says of generation, in a file of its own or in config.json."""

import json

import pytest

from keras_transformer.pretrained.generation import read_generation

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
    assert settings == (58100, 0, 58100, (58100,), 510, 1.0, False)


def test_a_file_of_its_own_counts_alone(tmp_path):
    write(tmp_path, **OLD)
    values = {"suppress_tokens": [3, 4, 3], "length_penalty": 0.5, "early_stopping": True}
    write(tmp_path, "generation_config.json", eos_token_id=[7], max_length=20, **values)
    assert read_generation(tmp_path) == (None, 7, None, (3, 4), 19, 0.5, True)


def test_nothing_is_said(tmp_path):
    settings = read_generation(write(tmp_path, early_stopping="never"))
    assert settings == (None, None, None, (), None, 1.0, False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eos_token_id": [1, 2]}, r"`eos_token_id` in .* must be one id. Received: \[1, 2\]"),
        ({"pad_token_id": True}, "`pad_token_id` in .* must be one id. Received: True"),
        ({"decoder_start_token_id": -1}, "must be one id. Received: -1"),
        ({"bad_words_ids": 5}, "`bad_words_ids` and `suppress_tokens` in .* must hold single ids"),
        ({"suppress_tokens": ["x"]}, r"must hold single ids: .* Received: \['x'\]"),
        ({"forced_bos_token_id": 5}, "`forced_bos_token_id` in .* must be None"),
        ({"max_length": 0}, "`max_length` in .* must be at least 1"),
        ({"length_penalty": "1"}, "`length_penalty` in .* must be of type float"),
    ],
)
def test_what_is_not_supported(values, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_generation(write(tmp_path, **values))
