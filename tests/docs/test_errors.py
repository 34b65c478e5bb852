"""docs/errors.md quotes messages word for word: each is produced here."""

import json
import re
from pathlib import Path

import keras
import pytest

import keras_transformer as kt

PAGE = Path(__file__).resolve().parents[2] / "docs" / "errors.md"
# The first part of the page has messages of this library, the second those of others.
OWN = "## From this library"
OTHERS = "## From Keras and the backends"
SENTENCES = ["the cat sat on the mat", "the dog sat on the log"]


def quoted_messages():
    """The message of each section of the page's first part, by the section's title."""
    text = PAGE.read_text(encoding="utf-8").partition(OWN)[2].partition(OTHERS)[0]
    sections = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    return {
        section.partition("\n")[0]: re.search(r"^```text\n(.*?)^```$", section, re.M | re.S)[1]
        for section in sections
    }


def language_model(**options):
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 11}
    return kt.models.gpt(**{"vocabulary_size": 20, **size, **options})


def tokenizer(**options):
    return kt.data.train_tokenizer(SENTENCES, **{"vocabulary_size": 17, **options})


def divide_the_width():
    kt.layers.MultiHeadSelfAttention(num_heads=7)(keras.ops.ones((1, 3, 512)))


def use_a_numeric_mask():
    attention = kt.layers.MultiHeadSelfAttention(num_heads=2)
    attention(keras.ops.ones((1, 3, 8)), padding_mask=keras.ops.ones((1, 3)))


def use_a_mask_of_wrong_rank():
    attention = kt.layers.MultiHeadSelfAttention(num_heads=2)
    attention(keras.ops.ones((1, 3, 8)), padding_mask=keras.ops.ones((1, 3, 3), "bool"))


def use_a_fourth_axis():
    kt.layers.TransformerEncoderBlock(2, 11)(keras.ops.ones((2, 3, 5, 8)))


def forget_the_encoded_source():
    kt.layers.DecoderBlock(num_heads=2, intermediate_dim=11)(keras.ops.ones((1, 3, 8)))


def exceed_the_positions():
    kt.layers.LearnedPositionalEmbedding(max_length=4)(keras.ops.ones((1, 5, 8)))


def ask_for_too_large_a_vocabulary():
    tokenizer(vocabulary_size=8000)


def put_padding_into_a_row():
    kt.data.TranslationBatches([[5, 0, 6]], [[7, 8]])


def exceed_a_batch():
    kt.data.TranslationBatches([[5] * 40], [[7, 8]], tokens_per_batch=32)


def encode_one_string():
    kt.data.encode(tokenizer(), "the cat")


def pack_a_long_sequence():
    kt.data.PackedBatches([[5] * 12], length=7, batch_size=2)


def give_one_hot_labels():
    loss = kt.training.MaskedCrossentropy()
    loss(keras.ops.ones((2, 3, 20)), keras.ops.ones((2, 3, 20)))


def warm_up_to_the_end():
    kt.training.WarmupCosineSchedule(1e-3, warmup_steps=4000, total_steps=1000)


def adapt_twice():
    model = language_model()
    kt.training.enable_lora(model)
    kt.training.enable_lora(model)


def save_missing_adapters():
    kt.training.save_lora(language_model(name="gpt"), "adapters.npz")


def adapt_unknown_layers():
    kt.training.enable_lora(language_model(), targets=("q_proj", "v_proj"))


def leave_the_vocabulary():
    kt.decoding.generate(language_model(), [[5, 6, 50257]], max_new_tokens=2)


def generate_from_nothing():
    kt.decoding.generate(language_model(), [[5, 6], []], max_new_tokens=2)


def exceed_the_model():
    kt.decoding.generate(language_model(max_length=8), [[5] * 9], max_new_tokens=2)


def ask_for_more_than_beams():
    model = kt.models.transformer(20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=11)
    kt.decoding.beam_search(model, [[5, 6]], num_beams=2, num_return=5, max_length=4)


def decode_an_unnamed_model():
    inputs = keras.Input((None,), dtype="int32", name="token_ids")
    hidden = keras.layers.Embedding(20, 8, name="embedding")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(20, name="logits")(hidden))
    kt.decoding.generate(model, [[5, 6]], max_new_tokens=2)


def load_a_missing_folder():
    kt.pretrained.load("runs/my/model")


def load_an_unknown_family():
    Path("other").mkdir()
    Path("other/config.json").write_text(json.dumps({"model_type": "mamba"}))
    kt.pretrained.load("other")


def saved_gpt2(**changes):
    transformers = pytest.importorskip("transformers")
    size = {"vocab_size": 20, "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**size))
    model.save_pretrained("tiny-gpt2")
    path = Path("tiny-gpt2/config.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def load_other_tensors():
    saved_gpt2(n_layer=3)
    kt.pretrained.load("tiny-gpt2")


def load_other_shapes():
    saved_gpt2(vocab_size=23)
    kt.pretrained.load("tiny-gpt2")


def load_an_unknown_setting():
    saved_gpt2(scale_attn_by_inverse_layer_idx=True)
    kt.pretrained.load("tiny-gpt2")


def save_into_another_folder():
    Path("notes").mkdir()
    Path("notes/todo.txt").write_text("buy milk")
    kt.TextGenerator(language_model(vocabulary_size=17), tokenizer()).save("notes")


def mix_up_vocabularies():
    kt.TextGenerator(language_model(vocabulary_size=13), tokenizer(vocabulary_size=17))


MESSAGES = {
    "The width is not a multiple of the heads": divide_the_width,
    "A mask of numbers": use_a_numeric_mask,
    "A mask of another rank": use_a_mask_of_wrong_rank,
    "An input with more or fewer axes": use_a_fourth_axis,
    "A decoder without its source": forget_the_encoded_source,
    "A text longer than the learned positions": exceed_the_positions,
    "A vocabulary larger than the texts": ask_for_too_large_a_vocabulary,
    "Padding inside a row": put_padding_into_a_row,
    "A sentence longer than a batch": exceed_a_batch,
    "One string where many are expected": encode_one_string,
    "A sequence longer than a packed row": pack_a_long_sequence,
    "Labels that are not ids": give_one_hot_labels,
    "A warmup longer than the training": warm_up_to_the_end,
    "Adapters that exist already": adapt_twice,
    "Adapters that do not exist": save_missing_adapters,
    "Adapters for layers of another name": adapt_unknown_layers,
    "An id outside the vocabulary": leave_the_vocabulary,
    "An empty prompt": generate_from_nothing,
    "A prompt longer than the model": exceed_the_model,
    "More results than beams": ask_for_more_than_beams,
    "A model whose parts have other names": decode_an_unnamed_model,
    "A tokenizer of another size": mix_up_vocabularies,
    "A folder that is not there": load_a_missing_folder,
    "An architecture that cannot be loaded": load_an_unknown_family,
    "A checkpoint with other tensors": load_other_tensors,
    "A tensor of another shape": load_other_shapes,
    "A setting that is not implemented": load_an_unknown_setting,
    "A folder that holds something else": save_into_another_folder,
}


def produced_message(produce):
    """The message as one line, without what Keras adds to errors from a layer's call."""
    with pytest.raises(ValueError) as caught:
        produce()
    message = str(caught.value)
    if message.startswith("Exception encountered when calling"):
        message = re.search("\x1b\\[1m(.*?)\x1b\\[0m", message, re.DOTALL)[1]
    return " ".join(message.split())


def test_every_quoted_message_is_produced_here():
    assert list(quoted_messages()) == list(MESSAGES)


@pytest.mark.parametrize("title", MESSAGES)
def test_message_is_quoted_as_it_is(title, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quoted = " ".join(quoted_messages()[title].split())
    # The page cuts long lists short.
    pattern = ".*".join(map(re.escape, quoted.split("...")))
    assert re.fullmatch(pattern, produced_message(MESSAGES[title]))
