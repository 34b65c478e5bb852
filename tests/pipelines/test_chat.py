"""Chat: the conversation in the template, continued until the end of the answer."""

import json

import keras
import numpy as np
import pytest
import torch
import transformers

import keras_transformer as kt
from tests.parity.test_llama import reference_of
from tests.pretrained.gguf_files import write_gguf
from tests.pretrained.test_gguf import settings_of, trained
from tests.pretrained.test_llama_tokenizers import CHAT_ML

CHAT = [
    {"role": "user", "content": "Where is the cat?"},
    {"role": "assistant", "content": "On the mat."},
    {"role": "user", "content": "And the dog?"},
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """transformers' model and tokenizer, and the folder of both."""
    folder = tmp_path_factory.mktemp("llama")
    theirs = trained("smollm")
    theirs.chat_template = CHAT_ML
    more = {"vocab_size": len(theirs), "num_hidden_layers": 1, "eos_token_id": [2, 5]}
    model = reference_of("llama", more)
    model.save_pretrained(folder)
    theirs.save_pretrained(folder)
    return model, theirs, folder


def answer_of(model, theirs, stop_ids, count):
    ids = theirs.apply_chat_template(
        CHAT, add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    row = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=count,
        eos_token_id=stop_ids,
        bad_words_ids=[[theirs.pad_token_id]],
        pad_token_id=0,
    )[0, ids.shape[1] :].tolist()
    ends = [row.index(stop) for stop in stop_ids if stop in row]
    new = row[: min(ends)] if ends else row
    return theirs.decode(new, skip_special_tokens=True), len(new), row


@pytest.mark.slow
def test_the_answer_is_that_of_transformers(pair):
    model, theirs, folder = pair
    generator = kt.TextGenerator.from_pretrained(folder)
    assert generator.defaults.stop_ids == (5,)
    expected, _, row = answer_of(model, theirs, [2, 5], 12)
    assert len(expected) > 3
    generator = kt.TextGenerator(generator.model, generator.tokenizer, defaults=generator.defaults)
    assert generator.chat(CHAT, max_new_tokens=12) == expected
    pieces = list(generator.chat(CHAT, max_new_tokens=12, stream=True))
    assert "".join(pieces) == expected and len(pieces) > 1
    # Whatever the model would write next may also end the answer.
    defaults = kt.GenerationDefaults(stop_ids=[row[6]], max_new_tokens=12)
    generator = kt.TextGenerator(generator.model, generator.tokenizer, defaults=defaults)
    expected, count, _ = answer_of(model, theirs, [2, row[6]], 12)
    assert count <= 6
    assert generator.chat(CHAT) == expected
    stop = expected[1:3]
    assert generator.chat(CHAT, stop_strings=[stop]) == expected[: expected.index(stop)]


@pytest.mark.slow
def test_a_gguf_file_and_a_folder_of_ours(pair, tmp_path):
    model, theirs, folder = pair
    settings = {**settings_of(theirs, "smollm"), "tokenizer.chat_template": CHAT_ML}
    path = write_gguf(tmp_path / "model.gguf", model, tokenizer=settings)
    generator = kt.TextGenerator.from_pretrained(path)
    expected, _, _ = answer_of(model, theirs, [2], 8)
    assert generator.chat(CHAT, max_new_tokens=8) == expected
    generator = kt.TextGenerator(
        generator.model,
        generator.tokenizer,
        defaults=kt.GenerationDefaults(max_new_tokens=8, stop_ids=(7,)),
    )
    generator.save(tmp_path / "ours")
    again = kt.TextGenerator.load(tmp_path / "ours")
    assert again.defaults.stop_ids == (7,)
    assert again.chat(CHAT) == generator.chat(CHAT)


@pytest.mark.slow
def test_what_is_refused(pair):
    _, _, folder = pair
    generator = kt.TextGenerator.from_pretrained(folder)
    with pytest.raises(ValueError, match="`messages` must be a list of dicts"):
        generator.chat("Hello")
    with pytest.raises(ValueError, match="`max_new_tokens`"):
        generator.chat(CHAT, max_new_tokens=0)
    with pytest.raises(ValueError, match="`stop_ids` must be integers from 0"):
        defaults = kt.GenerationDefaults(stop_ids=(10**6,))
        kt.TextGenerator(generator.model, generator.tokenizer, defaults=defaults)
    plain = kt.data.train_tokenizer(["a cat", "a dog"], vocabulary_size=11)
    with pytest.raises(ValueError, match="`tokenizer` must have a `chat_template`"):
        kt.TextGenerator(generator.model, plain).chat(CHAT)


@pytest.mark.slow
def test_a_prompt_starts_as_the_tokenizer_says(pair, tmp_path):
    model, theirs, folder = pair
    settings = {**settings_of(theirs, "smollm"), "tokenizer.ggml.add_bos_token": True}
    path = write_gguf(tmp_path / "model.gguf", model, tokenizer=settings)
    generator = kt.TextGenerator.from_pretrained(path)
    assert generator.tokenizer.add_start
    ids = torch.tensor([[1, *theirs("the cat")["input_ids"]]])
    row = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=6,
        eos_token_id=2,
        bad_words_ids=[[theirs.pad_token_id]],
        pad_token_id=0,
    )[0]
    expected = theirs.decode(row, skip_special_tokens=True)
    assert generator.generate("the cat", max_new_tokens=6) == expected
    plain = kt.decoding.generate(generator.model, [ids[0, 1:].tolist()], max_new_tokens=6)
    assert generator.tokenizer.detokenize(np.asarray(plain).tolist()) != [expected]


@pytest.mark.slow
def test_training_on_answers(pair):
    """The loss is that of the answers, and after a few steps the model gives them."""
    _, _, folder = pair
    generator = kt.TextGenerator.from_pretrained(folder)
    chats = [[*CHAT, {"role": "assistant", "content": "On the log!"}]]
    inputs, labels, weights = kt.data.chat_rows(generator.tokenizer, chats, max_length=256)
    model = generator.model
    model.compile("adam", kt.training.MaskedCrossentropy(padding_id=None))
    loss = model.evaluate(inputs, labels, sample_weight=weights, verbose=0)
    logits = keras.ops.log_softmax(model(inputs), axis=-1)
    chosen = np.take_along_axis(keras.ops.convert_to_numpy(logits), labels[..., None], -1)[..., 0]
    assert loss == pytest.approx(-(chosen * weights).sum() / weights.sum(), rel=1e-4)
    model.optimizer.learning_rate = 0.03
    model.fit(inputs, labels, sample_weight=weights, epochs=30, verbose=0)
    assert generator.chat(CHAT, max_new_tokens=20) == "On the log!"


def test_transformers_reads_an_exported_chat_model(pair, tmp_path):
    """The tokenizer of the folder that is written has the same ids and the same template."""
    _, theirs, folder = pair
    generator = kt.TextGenerator.from_pretrained(folder)
    kt.pretrained.save_huggingface(generator.model, generator.tokenizer, tmp_path / "new")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    expected = theirs.apply_chat_template(CHAT, return_dict=False)
    assert again.apply_chat_template(CHAT, return_dict=False) == expected
    settings = json.loads((tmp_path / "new" / "tokenizer_config.json").read_text())
    assert settings["eos_token"] == "<|im_end|>"
    restored = kt.pretrained.load_tokenizer(tmp_path / "new")
    assert kt.data.encode_chat(restored, CHAT) == expected
    assert restored.template_tokens == generator.tokenizer.template_tokens
