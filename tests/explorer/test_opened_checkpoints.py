"""Checkpoints of every kind of language model and encoder, opened by what they are."""

import pytest
import torch
import transformers

from keras_transformer.explorer import Answers, open_model
from keras_transformer.explorer.fields import Fields
from tests.pretrained import folders
from tests.pretrained.gguf_files import write_gguf
from tests.pretrained.test_gguf import settings_of, trained

SIZE = {"vocab_size": 600, "hidden_size": 16, "num_attention_heads": 2}
DEPTH = {"num_hidden_layers": 1, "intermediate_size": 23, "max_position_embeddings": 41}
LLAMA = {**SIZE, **DEPTH, "num_key_value_heads": 1}
TEXT = "the cat sat on the mat"


def llama(kind, folder):
    config = getattr(transformers, f"{kind}Config")(**LLAMA)
    getattr(transformers, f"{kind}ForCausalLM")(config).save_pretrained(folder)
    trained("llama-bpe" if kind == "Llama" else "qwen2").save_pretrained(folder)


def gpt_neo(folder):
    folders.gpt2(folder)
    more = {"num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]}
    config = transformers.GPTNeoConfig(**{**SIZE, **more}, max_position_embeddings=41)
    transformers.GPTNeoForCausalLM(config).save_pretrained(folder)


def opt(folder):
    folders.gpt2(folder)
    more = {"num_hidden_layers": 1, "ffn_dim": 23, "word_embed_proj_dim": 16}
    config = transformers.OPTConfig(**{**SIZE, **more}, max_position_embeddings=41)
    transformers.OPTForCausalLM(config).save_pretrained(folder)


def roberta(folder):
    folders.roberta(folder)
    config = transformers.RobertaConfig(**{**SIZE, **DEPTH}, type_vocab_size=1)
    transformers.RobertaForMaskedLM(config).save_pretrained(folder)


def distilbert(folder):
    folders.distilbert(folder)
    more = {"dim": 16, "n_heads": 2, "n_layers": 1, "hidden_dim": 23}
    config = transformers.DistilBertConfig(vocab_size=600, max_position_embeddings=41, **more)
    transformers.DistilBertForMaskedLM(config).save_pretrained(folder)


LANGUAGE_MODELS = {
    "llama": lambda folder: llama("Llama", folder),
    "qwen2": lambda folder: llama("Qwen2", folder),
    "qwen3": lambda folder: llama("Qwen3", folder),
    "gpt_neo": gpt_neo,
    "opt": opt,
}
ENCODERS = {"roberta": roberta, "distilbert": distilbert}


@pytest.mark.slow
@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_language_models(family, tmp_path):
    torch.manual_seed(0)
    LANGUAGE_MODELS[family](tmp_path)
    opened = open_model(tmp_path)
    check_language_model(opened)


def check_language_model(opened):
    assert opened.kind == "language_model"
    run = Answers(opened).run(Fields({"text": TEXT}))
    (ids,) = opened.tokenizer([TEXT])
    assert run["reads"][-len(ids) :] == opened.texts["decoder"](ids)


@pytest.mark.slow
@pytest.mark.parametrize("is_file", [True, False])
def test_gguf(is_file, tmp_path):
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA))
    tokenizer = settings_of(trained("llama-bpe"), "llama-bpe")
    path = tmp_path / "tiny.gguf"
    write_gguf(path, model, tokenizer=tokenizer, **{"llama.vocab_size": None})
    opened = open_model(path if is_file else tmp_path)
    assert opened.title == ("tiny" if is_file else tmp_path.name)
    check_language_model(opened)


@pytest.mark.slow
@pytest.mark.parametrize("family", ENCODERS)
def test_encoders(family, tmp_path):
    torch.manual_seed(0)
    ENCODERS[family](tmp_path)
    opened = open_model(tmp_path)
    assert opened.kind == "encoder" and opened.has_masked_lm
    answers = Answers(opened)
    run = answers.run(Fields({"text": TEXT}))
    assert len(run["reads"]) > 5
    found = answers.mask(Fields({"text": f"the {opened.mask_token} sat"}))
    assert len(found["positions"]) == 1
