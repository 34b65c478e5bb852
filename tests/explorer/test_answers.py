"""What the server answers, for models of every kind."""

import base64
import re

import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.explorer import Answers, OpenedModel
from keras_transformer.explorer.fields import Fields, NotThere
from tests.explorer import KINDS, answers_of, tiny_model
from tests.harness import to_numpy

TEXT_KINDS = [kind for kind in KINDS if kind != "vision"]
WITH_CROSS = ["translator", "ssru", "recurrent"]


def ask(kind, name, /, **fields):
    return getattr(answers_of(kind), name)(Fields(fields))


def decoded(tensor):
    kind = {"float32": "<f4", "uint16": "<u2"}[tensor["dtype"]]
    values = np.frombuffer(base64.b64decode(tensor["data"]), kind)
    return values.reshape(tensor["shape"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_description_of_a_model(kind):
    found = answers_of(kind).model()
    expected = {"ssru": "translator", "recurrent": "translator", "classifier": "encoder"}
    assert found["kind"] == expected.get(kind, kind)
    units = {stack["name"]: stack["unit"] for stack in found["stacks"]}
    assert (
        units
        == {
            "language_model": {"decoder": "attention"},
            "translator": {"encoder": "attention", "decoder": "attention"},
            "ssru": {"encoder": "attention", "decoder": "ssru"},
            "recurrent": {"encoder": "recurrent", "decoder": "recurrent"},
            "encoder": {"encoder": "attention"},
            "classifier": {"encoder": "recurrent"},
            "vision": {"encoder": "attention"},
        }[kind]
    )
    assert found["recurrent"] == (kind in ("ssru", "recurrent", "classifier"))
    assert found["masked_lm"] == (kind == "encoder")
    assert [s["cross_attention"] for s in found["stacks"]][-1] == (kind in WITH_CROSS)
    assert found["examples"]
    for one in found["attentions"]:
        assert f"{one['path']}/weights" in found["tensor_names"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_a_run_has_the_tensors_of_a_plain_call(kind):
    answers = answers_of(kind)
    run = ask(kind, "run", text="the cat sat on the mat")
    kept = answers.runs.get(run["run"])
    result = to_numpy(answers.opened.model(kept.inputs, training=False))
    for name, shape in run["tensors"].items():
        assert decoded(ask(kind, "tensor", run=run["run"], name=name)).shape == tuple(shape)
    if run["output"]["logits"] is not None:
        logits = decoded(ask(kind, "tensor", run=run["run"], name=run["output"]["logits"]))
        expected = result["logits"] if isinstance(result, dict) else result
        np.testing.assert_allclose(logits, expected[0], atol=1e-5)
        exponents = np.exp(logits[0].astype("float64"))
        probabilities = exponents / exponents.sum()
        for token in run["output"]["top"][0]:
            np.testing.assert_allclose(token["probability"], probabilities[token["id"]], rtol=1e-5)
        best = [token["id"] for token in run["output"]["top"][0]]
        assert best == np.argsort(-probabilities)[:10].tolist()
    else:
        found = {one["label"]: one["probability"] for one in run["output"]["classes"]}
        np.testing.assert_allclose([found[str(i)] for i in range(3)], result[0], atol=1e-6)


def test_a_part_of_a_tensor_is_a_part():
    run = ask("translator", "run", text="the old dog slept")["run"]
    name = "decoder/block_1/cross_attention/weights"
    whole = decoded(ask("translator", "tensor", run=run, name=name))
    one = decoded(ask("translator", "tensor", run=run, name=name, index=[1]))
    np.testing.assert_array_equal(whole[1], one)
    all_weights = ask("translator", "weights", run=run, kind="cross")["tensor"]
    assert all_weights["dtype"] == "uint16"
    np.testing.assert_allclose(decoded(all_weights)[1] / 65535, whole, atol=1e-5)
    with pytest.raises(ValueError, match="`index` must contain an index below 2 for this axis"):
        ask("translator", "tensor", run=run, name=name, index=[2])
    with pytest.raises(NotThere, match="no tensor named 'x'"):
        ask("translator", "tensor", run=run, name="x")
    with pytest.raises(NotThere, match="The run '99' is no longer kept"):
        ask("translator", "tensor", run="99", name=name)
    with pytest.raises(ValueError, match="`kind` must be one of encoder, decoder, cross"):
        ask("translator", "weights", run=run, kind="all")


def test_decoders_read_one_token_and_write_the_next():
    run = ask("translator", "run", text="the cat", target="a dog ran")
    reads, writes = run["reads"], run["writes"]
    assert reads[1:] == writes[:-1] and (reads[0], writes[-1]) == ("<s>", "</s>")
    assert "".join(reads[1:]).replace("␣", " ").strip() == "a dog ran"
    assert run["output"]["target"] == "a dog ran" and not run["output"]["made"]
    run = ask("language_model", "run", text="the cat")
    assert run["reads"][1:] == run["writes"][:-1]
    assert run["writes"][-1] == run["output"]["top"][-1][0]["text"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", WITH_CROSS)
def test_the_target_is_the_models_own_translation(kind):
    answers = answers_of(kind)
    run = ask(kind, "run", text="the cat sat on the mat")
    expected = answers.opened.pipeline.translate("the cat sat on the mat")
    assert run["output"]["made"] and run["output"]["target"] == expected


def test_heads_switched_off():
    path = "encoder/block_0/self_attention"
    for ablate in ({path: [0, 1]}, {path: [1]}):
        run = ask("translator", "run", text="the cat sat", target="a dog", ablate=ablate)
        output = decoded(ask("translator", "tensor", run=run["run"], name=f"{path}/head_output"))
        assert [bool(head.any()) for head in output] == [h not in ablate[path] for h in (0, 1)]
        assert run["ablate"] == ablate
    image = ask("vision", "image", example=0, ablate={path: [1]})
    output = decoded(ask("vision", "tensor", run=image["run"], name=f"{path}/head_output"))
    assert [bool(head.any()) for head in output] == [True, False]
    assert image["ablate"] == {path: [1]}
    assert image["classes"] != ask("vision", "image", example=0)["classes"]
    made = ask("translator", "run", text="the cat sat", ablate={path: [0]})
    assert made["output"]["made"]
    with pytest.raises(ValueError, match="must name an attention that is called"):
        ask("translator", "run", text="the cat", ablate={"x": [0]})
    with pytest.raises(ValueError, match=re.escape("must contain heads below 2")):
        ask("translator", "run", text="the cat", ablate={path: [2]})


def test_states_and_gates_over_time():
    for kind, stacks in (("recurrent", {"encoder", "decoder"}), ("ssru", {"decoder"})):
        run = ask(kind, "run", text="the cat sat on the mat", target="a dog")
        states = ask(kind, "states", run=run["run"])["states"]
        assert {one["stack"] for one in states} == stacks
        assert {"state", "forget_gate"} <= {one["what"] for one in states}
        for one in states:
            length = len(run["tokens"][one["stack"]])
            assert decoded(one["tensor"]).shape[0] == length
    assert ask("encoder", "states", run=ask("encoder", "run", text="a cat")["run"])["states"] == []


def test_a_bert_without_segments():
    """As DistilBERT: its texts stand between two special tokens, too."""
    answers = Answers(tiny_model("encoder", num_segments=None))
    found = answers.mask(Fields({"text": "the [MASK] sat"}))
    texts = [token["text"] for token in found["tokens"]["encoder"]]
    assert texts[0] == "<s>" and texts[-1] == "</s>"
    assert len(found["top"]) == 1


def test_a_sentence_encoder():
    """Its output is a vector, not the probabilities of classes."""
    opened = tiny_model("encoder")
    encoder = kt.models.sentence_encoder(opened.model)
    answers = Answers(OpenedModel(encoder, "an encoder", tokenizer=opened.tokenizer))
    found = answers.run(Fields({"text": "the cat sat"}))
    assert found["output"] == {"logits": None, "top": None, "classes": None}
    assert "encoder/block_0/self_attention/weights" in found["tensors"]


def test_masked_words():
    found = ask("encoder", "mask", text="the [MASK] sat on the [MASK]")
    assert len(found["positions"]) == len(found["top"]) == 2
    texts = [token["text"] for token in found["tokens"]["encoder"]]
    assert [texts[position] for position in found["positions"]] == ["[MASK]", "[MASK]"]
    assert texts[0] == "<s>" and texts[-1] == "</s>"
    with pytest.raises(ValueError, match=r"`text` must contain \[MASK\]"):
        ask("encoder", "mask", text="the cat")
    with pytest.raises(ValueError, match="needs a model that fills in masked words"):
        ask("translator", "mask", text="the [MASK]")


def test_pictures():
    answers = answers_of("vision")
    names = answers.model()["examples"]
    for index in range(len(names)):
        found = ask("vision", "image", example=index)
    assert found["patches"] == [2, 3] and len(found["tokens"]["encoder"]) == 7
    image = decoded(found["image"])
    assert image.shape == (8, 12, 1)
    assert sum(one["probability"] for one in found["classes"]) == pytest.approx(1.0)
    assert {one["label"] for one in found["classes"]} == {"cat", "dog", "<b>house</b>"}
    again = ask("vision", "image", pixels=image[:, :, 0].tolist())
    assert again["classes"] == found["classes"]
    weights = decoded(ask("vision", "weights", run=found["run"], kind="encoder")["tensor"])
    assert weights.shape == (2, 2, 7, 7)
    for pixels in ([[1.0]], [[2.0] * 12] * 8, "x", [[0.0], [0.0, 1.0]]):
        with pytest.raises(ValueError, match="`pixels"):
            ask("vision", "image", pixels=pixels)
    with pytest.raises(ValueError, match="`example` must be an integer from 0 to 4"):
        ask("vision", "image", example=5)
    with pytest.raises(ValueError, match="`text` must not be given"):
        ask("vision", "run", text="a cat")
    with pytest.raises(ValueError, match="needs a model that reads pictures"):
        ask("encoder", "image", example=0)


@pytest.mark.parametrize("kind", ["language_model", "encoder", "translator"])
def test_texts_that_do_not_fit(kind):
    limit = {"translator": 512}.get(kind, 40)
    message = rf"`text` must have at most {limit} tokens, .* Received: a text of \d+ tokens"
    with pytest.raises(ValueError, match=message):
        ask(kind, "run", text="the cat sat " * 300)
    for text in ("", "  \n"):
        with pytest.raises(ValueError, match="`text` must not be empty"):
            ask(kind, "run", text=text)
    with pytest.raises(ValueError, match="`text` must be a string"):
        ask(kind, "run", text=5)


def test_a_vocabulary_has_a_text_for_each_id():
    texts = ask("language_model", "vocabulary")["texts"]
    assert len(texts) == answers_of("language_model").model()["vocabulary_size"]
    assert all(texts) and ask("vision", "vocabulary")["texts"] == []


def test_only_the_latest_runs_are_kept():
    answers = answers_of("encoder")
    names = [ask("encoder", "run", text="a cat")["run"] for _ in range(9)]
    answers.runs.get(names[1])
    with pytest.raises(NotThere):
        answers.runs.get(names[0])
    answers.runs.max_bytes = 1
    last = ask("encoder", "run", text="a cat")["run"]
    assert answers.runs.get(last)
    with pytest.raises(NotThere):
        answers.runs.get(names[-1])
    answers.runs.max_bytes = 1 << 30


# === Generation ===


def generate(**fields):
    return list(ask("language_model", "generate", text="the cat sat", **fields))


@pytest.mark.slow
def test_generated_tokens_are_those_of_the_library():
    generator = answers_of("language_model").opened.pipeline
    for options in ({}, {"top_k": 5}, {"top_p": 0.7}, {"min_p": 0.2}, {"top_k": 20, "top_p": 0.8}):
        sampler = kt.decoding.RandomSampler(0.7, **options)
        with kt.visualize.record(generator.model, ()):  # step by step: nothing to compile
            expected = generator.generate("the cat sat", 12, sampler, seed=11)
        lines = generate(max_new_tokens=12, temperature=0.7, seed=11, **options)
        assert lines[-1]["text"] == expected
    assert generate(max_new_tokens=12)[-1]["text"] == generator.generate("the cat sat", 12)


def test_the_probability_of_a_token_follows_from_its_logits():
    lines = generate(max_new_tokens=6, temperature=0.5, top_k=7, seed=3)
    assert lines[0]["prompt"] and lines[-1]["done"]
    for line in lines[1:-1]:
        logits = decoded(line["logits"]).astype("float64")
        kept = np.sort(logits)[-7:]
        weights = np.exp((kept - kept.max()) / 0.5)
        expected = np.exp((logits[line["id"]] - kept.max()) / 0.5) / weights.sum()
        assert line["probability"] == pytest.approx(expected, rel=1e-4)


def test_a_generation_ends_at_the_last_position():
    length = len(generate(max_new_tokens=1)[0]["prompt"])
    lines = generate(max_new_tokens=200, seed=1, temperature=1.0)
    new = [line for line in lines if "logits" in line]
    assert len(new) == 41 - length or lines[-1]["stopped"] == "end"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_new_tokens": 201}, "`max_new_tokens` must be an integer from 1 to 200"),
        ({"temperature": 11}, "`temperature` must be a number from 0 to 10"),
        ({"temperature": "hot"}, "`temperature` must be a number"),
        ({"temperature": 1, "top_p": 1.5}, "`top_p` must be a number from 0 to 1"),
        ({"temperature": 1, "top_k": 1000}, "`top_k` must be an integer from 1 to"),
        ({"seed": -1}, "`seed` must be an integer from 0"),
        ({"ablate": [1]}, "`ablate` must be an object"),
        ({"ablate": {"x": 1}}, "`x` must be a list of integers"),
    ],
)
def test_generations_out_of_range(fields, message):
    with pytest.raises(ValueError, match=message):
        generate(**fields)


def test_generation_with_a_head_off_is_that_of_the_ablated_model():
    path = "decoder/block_0/self_attention"
    lines = generate(max_new_tokens=8, ablate={path: [0, 1]})
    model = answers_of("language_model").opened.pipeline
    with kt.visualize.record(model.model, (), ablate={path: [0, 1]}):
        assert lines[-1]["text"] == model.generate("the cat sat", 8)
