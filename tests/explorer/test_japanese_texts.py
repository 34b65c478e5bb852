"""The explorer says as much in Japanese as in English."""

import json
import re

from keras_transformer.explorer.app import PAGE


def in_both_languages(name):
    return [
        json.loads((PAGE / f"{name}.{language}.json").read_text(encoding="utf-8"))
        for language in ("en", "ja")
    ]


def test_every_string_has_a_translation_with_the_same_values():
    english, japanese = in_both_languages("strings")
    assert list(english) == list(japanese)
    for key, text in english.items():
        values = [set(re.findall(r"\{\w+\}", one)) for one in (text, japanese[key])]
        assert values[0] == values[1], key
        assert bool(text) == bool(japanese[key]), key


def test_every_card_has_a_translation_of_each_paragraph():
    english, japanese = in_both_languages("cards")
    for one, other in zip(english, japanese, strict=True):
        assert one.keys() == other.keys()
        assert len(one["text"]) == len(other["text"]), one["id"]
        for key in one.keys() - {"title", "text"}:
            assert one[key] == other[key], one["id"]
        # Written in Japanese letters.
        assert all(re.search(r"[\u3041-\u3096]", text) for text in other["text"]), one["id"]
