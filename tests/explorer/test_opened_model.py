"""Folders and files with models of every kind."""

import json

import keras
import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.explorer import Answers, open_model
from keras_transformer.explorer.fields import Fields
from tests.explorer import KINDS, tiny_model

TEXT = "the cat sat on the mat"


def logits(opened):
    """The output of the model that was saved, or opened again."""
    answers = Answers(opened)
    if opened.kind == "vision":
        run = answers.image(Fields({"example": 1}))
    else:
        target = TEXT if opened.kind == "translator" else None
        run = answers.run(Fields({"text": TEXT, "target": target}))
    return run, np.asarray(keras.tree.flatten(answers.runs.get(run["run"]).result)[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["language_model", "ssru"])
def test_folders_of_pipelines(kind, tmp_path):
    opened = tiny_model(kind)
    opened.pipeline.save(tmp_path / "folder")
    again = open_model(tmp_path / "folder")
    assert (again.kind, again.title) == (opened.kind, "folder")
    np.testing.assert_array_equal(logits(again)[1], logits(opened)[1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("ssru", "recurrent")])
def test_keras_files_with_tokenizers_beside_them(kind, tmp_path):
    opened = tiny_model(kind)
    opened.model.save(tmp_path / "model.keras")
    if kind != "vision":
        with pytest.raises(ValueError, match="`folder` must contain a tokenizer in a folder named"):
            open_model(tmp_path)
        tokenizer = opened.source_tokenizer or opened.tokenizer
        kt.data.save_tokenizer(tokenizer, tmp_path / "tokenizer")
    for path in (tmp_path, tmp_path / "model.keras"):
        again = open_model(path)
        assert again.kind == opened.kind
        np.testing.assert_array_equal(logits(again)[1], logits(opened)[1])


def test_models_of_others(tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="`folder` must contain a model of this library"):
        open_model(tmp_path)


# === Checkpoints ===


def test_a_bert_checkpoint(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "sat", "mat", "on"]
    model = kt.models.bert(11, 1, 2, 8, 11, max_length=16, masked_lm=True, pooler=False)
    kt.pretrained.save_huggingface(model, None, tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    opened = open_model(tmp_path)
    assert opened.kind == "encoder" and opened.mask_token == "[MASK]"
    answers = Answers(opened)
    run = answers.run(Fields({"text": "the cats sat"}))
    assert run["reads"] == ["[CLS]", "the", "cat", "##s", "sat", "[SEP]"]
    found = answers.mask(Fields({"text": "the [MASK] sat"}))
    assert found["positions"] == [2]
    with pytest.raises(ValueError, match="`text` must have at most 16 tokens, the limit of the"):
        answers.run(Fields({"text": "the cat " * 8}))


def test_a_vit_checkpoint(tmp_path):
    model = kt.models.vit(8, 4, 3, 1, 2, 8, 11)
    kt.pretrained.save_huggingface(model, None, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {"0": "cat", "1": "dog", "2": "house"}
    config["label2id"] = {"cat": 0, "dog": 1, "house": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    settings = {"image_mean": [0.4, 0.4, 0.4], "image_std": [0.2, 0.2, 0.2]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    opened = open_model(tmp_path)
    assert opened.kind == "vision" and list(opened.classes) == ["cat", "dog", "house"]
    answers = Answers(opened)
    found = answers.image(Fields({"pixels": np.full((8, 8, 3), 0.5).tolist()}))
    inputs = next(iter(answers.runs.get(found["run"]).inputs.values()))
    np.testing.assert_allclose(inputs, 0.5, rtol=1e-6)  # (0.5 - 0.4) / 0.2


@pytest.mark.slow
def test_firefox_models_by_name():
    from keras_transformer.explorer.named_models import open_named

    opened = open_named("firefox-en-pt")
    answers = Answers(opened)
    model = answers.model()
    assert [stack["unit"] for stack in model["stacks"]] == ["attention", "ssru"]
    run = answers.run(Fields({"text": "Good morning."}))
    assert run["output"]["target"] == "Bom dia."
    assert run["reads"][0] == "<start>" and run["writes"][-1] == "</s>"
    with pytest.raises(ValueError, match="`model` must be one of firefox-en-pt, firefox-pt-en"):
        open_named("gpt5")


@pytest.mark.slow
def test_minilm_by_name():
    from keras_transformer.explorer.named_models import open_named

    opened = open_named("minilm")
    answers = Answers(opened)
    assert not answers.model()["masked_lm"] and answers.model()["max_length"] == 512
    run = answers.run(Fields({"text": "The animal was tired."}))
    assert run["reads"] == ["[CLS]", "the", "animal", "was", "tired", ".", "[SEP]"]
