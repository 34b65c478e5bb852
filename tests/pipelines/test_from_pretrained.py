"""Text in, text out, as transformers' models and tokenizers have it."""

import pytest
import torch
import transformers

import keras_transformer as kt
from tests.parity.test_marian import randomize_marian
from tests.parity.weights import randomize_torch
from tests.pretrained import folders
from tests.pretrained.test_tokenizers import reference

PROMPTS = [
    "The Cat sat on the MAT",
    "It's 1789, isn't it?",
    "Où est l'été ?",
    "the dog  and<|endoftext|>the cat",
]
SENTENCES = [
    "The cat sat on the mat.",
    "Where is the old house?",
    ">>fra<< It's 5 dogs, isn't it ☃?",
    "The naïve café-owner said: 'We've no idea.'",
    "a </s> b",
]


def make_language_model(folder, family, **more):
    getattr(folders, family)(folder)
    tokenizer = reference(folder, family)
    size = {"n_positions": 64, "n_embd": 24, "n_layer": 1, "n_head": 4, **more}
    name = {"gpt1": "OpenAIGPT", "gpt2": "GPT2"}[family]
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = getattr(transformers, f"{name}Config")(vocab_size=len(tokenizer), **size, **ends)
    model = getattr(transformers, f"{name}LMHeadModel")(config).eval()
    model = randomize_torch(model)
    for name, weight in model.transformer.named_parameters():
        if ".ln_" in name and name.endswith("bias"):
            weight.data.zero_()  # one token would win everywhere
    model.save_pretrained(folder)
    return model, tokenizer


def continuations(model, tokenizer, prompts, max_new_tokens, do_sample=False):
    """What their greedy search adds to each prompt; None for what the checkpoint says."""
    options = {"max_new_tokens": max_new_tokens, "do_sample": do_sample}
    options = {name: value for name, value in options.items() if value is not None}
    texts = []
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            found = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                pad_token_id=0,
                **options,
            )
        whole = tokenizer.decode(found[0], skip_special_tokens=True)
        texts.append(whole[len(tokenizer.decode(ids[0], skip_special_tokens=True)) :])
    return texts


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt1", "gpt2"])
def test_text_generation(family, tmp_path):
    model, tokenizer = make_language_model(tmp_path / "foreign", family)
    expected = continuations(model, tokenizer, PROMPTS, 7)
    generator = kt.TextGenerator.from_pretrained(tmp_path / "foreign")
    found = generator.generate(PROMPTS, max_new_tokens=7)
    # The prompt comes back as it was given, though GPT-1 reads it in lower case.
    assert found == [prompt + text for prompt, text in zip(PROMPTS, expected, strict=True)]
    assert len(set(expected)) > 1
    if family == "gpt2":
        assert "".join(generator.stream(PROMPTS[0], max_new_tokens=7)) == expected[0]
        return
    generator.save(tmp_path / "ours")
    loaded = kt.TextGenerator.load(tmp_path / "ours")
    assert loaded.generate(PROMPTS, max_new_tokens=7) == found


@pytest.mark.slow
def test_what_ends_a_text(tmp_path):
    model, tokenizer = make_language_model(tmp_path, "gpt2")
    model.transformer.ln_f.bias.data += 2.0 * model.transformer.wte.weight[tokenizer.eos_token_id]
    model.save_pretrained(tmp_path)
    expected = continuations(model, tokenizer, PROMPTS, 20)
    assert any(len(tokenizer(text)["input_ids"]) < 15 for text in expected)
    generator = kt.TextGenerator.from_pretrained(tmp_path)
    found = generator.generate(PROMPTS, max_new_tokens=20)
    assert found == [prompt + text for prompt, text in zip(PROMPTS, expected, strict=True)]


GENERATION = {
    "repetition": {"max_new_tokens": 9, "repetition_penalty": 1.7},
    "ngrams": {"max_new_tokens": 9, "no_repeat_ngram_size": 1},
    "at_least": {"max_new_tokens": 9, "min_new_tokens": 5},
    "length_of_all": {"max_length": 17},
    "forced_end": {"max_new_tokens": 6, "forced_eos_token_id": 0},
    "the_first_of_one": {"max_new_tokens": 6, "do_sample": True, "top_k": 1, "temperature": 0.5},
}


@pytest.fixture(scope="module")
def ending_model(tmp_path_factory):
    """A GPT-2 that repeats itself, and ends soon."""
    folder = tmp_path_factory.mktemp("gpt2")
    model, tokenizer = make_language_model(folder, "gpt2")
    model.transformer.ln_f.bias.data += 2.0 * model.transformer.wte.weight[tokenizer.eos_token_id]
    return model, tokenizer, folder


@pytest.mark.slow
@pytest.mark.parametrize("name", GENERATION)
def test_text_is_generated_as_the_checkpoint_wants_it(name, ending_model, tmp_path):
    model, tokenizer, folder = ending_model
    usual, model.generation_config = model.generation_config, transformers.GenerationConfig()
    ends = {"bos_token_id": usual.bos_token_id, "eos_token_id": usual.eos_token_id}
    model.generation_config.update(**ends, pad_token_id=0)
    plain = continuations(model, tokenizer, PROMPTS, GENERATION[name].get("max_new_tokens", 9))
    model.generation_config.update(**GENERATION[name])
    model.save_pretrained(folder)
    expected = continuations(model, tokenizer, PROMPTS, None, do_sample=None)
    assert (expected == plain) == (name == "the_first_of_one")
    generator = kt.TextGenerator.from_pretrained(folder)
    found = generator.generate(PROMPTS)
    assert found == [prompt + text for prompt, text in zip(PROMPTS, expected, strict=True)]
    if name == "length_of_all":
        assert "".join(generator.stream(PROMPTS[0])) == expected[0]
        generator.save(tmp_path / "ours")
        loaded = kt.TextGenerator.load(tmp_path / "ours")
        assert loaded.defaults == generator.defaults
        assert loaded.generate(PROMPTS) == found


TRANSLATION = {
    "repetition": ({"repetition_penalty": 3.0}, (1,)),
    "ngrams": ({"no_repeat_ngram_size": 2}, (1, 3)),
    "at_least": ({"min_length": 6}, (1, 3)),
    "at_least_new": ({"min_new_tokens": 7, "min_length": 3}, (1,)),
    "impossible": ({"renormalize_logits": True}, (3,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSLATION)
def test_translations_are_as_the_checkpoint_wants_them(name, tmp_path):
    settings, beams = TRANSLATION[name]
    model, tokenizer = make_translator(tmp_path)
    redraw(model, tmp_path, 6, end=1.0)
    if name == "impossible":  # padding is likely, and banned
        model.final_logits_bias[0, tokenizer.pad_token_id] = 4.0
    plain = {number: translations(model, tokenizer, num_beams=number, **EARLY) for number in beams}
    model.generation_config.update(forced_eos_token_id=None, max_length=10, **settings)
    model.save_pretrained(tmp_path)
    translator = kt.Translator.from_pretrained(tmp_path)
    for number in beams:
        expected = translations(model, tokenizer, num_beams=number, early_stopping="never")
        assert translator.translate(SENTENCES, num_beams=number) == expected
        assert expected != plain[number]
    if name == "repetition":
        with pytest.raises(ValueError, match="`num_beams` must be 1 with a repetition penalty"):
            translator.translate(SENTENCES, num_beams=2)


EARLY = {"early_stopping": "never", "forced_eos_token_id": None, "max_length": 10}


@pytest.mark.parametrize(
    ("family", "settings", "key"),
    [
        ("gpt2", {"num_beams": 3}, "num_beams"),
        ("gpt2", {"stop_strings": ["x"]}, "stop_strings"),
        ("marian", {"do_sample": True}, "do_sample"),
        ("marian", {"encoder_no_repeat_ngram_size": 2}, "encoder_no_repeat_ngram_size"),
    ],
)
def test_a_generation_setting_that_is_not_supported(family, settings, key, tmp_path):
    make = {"gpt2": lambda: make_language_model(tmp_path, "gpt2")}
    model, _ = make.get(family, lambda: make_translator(tmp_path))()
    model.generation_config.update(**settings)
    model.save_pretrained(tmp_path)
    pipeline = kt.TextGenerator if family == "gpt2" else kt.Translator
    with pytest.raises(ValueError, match=f"`{key}` in .*generation_config.json must be"):
        pipeline.from_pretrained(tmp_path)
    assert kt.pretrained.load_tokenizer(tmp_path)(["the cat"])  # which does not mind


def make_translator(folder, separate=False, **more):
    folders.marian(folder, separate=separate)
    tokenizer = reference(folder, "marian")
    padding = tokenizer.pad_token_id
    sizes = {"vocab_size": len(tokenizer.encoder)}
    if separate:
        sizes["decoder_vocab_size"] = len(tokenizer.target_encoder)
    config = transformers.MarianConfig(
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_position_embeddings=64,
        pad_token_id=padding,
        eos_token_id=0,
        decoder_start_token_id=padding,
        share_encoder_decoder_embeddings=not separate,
        activation_function="swish",
        **sizes,
    )
    model = transformers.MarianMTModel(config).eval()
    model.generation_config.update(
        bad_words_ids=[[padding]], max_length=11, forced_eos_token_id=0, num_beams=4, **more
    )
    return model, tokenizer


def redraw(model, folder, seed, end=2.0):
    """Other weights, with which ends come soon in some hypotheses and late in others."""
    randomize_marian(model, seed)
    bias = model.final_logits_bias
    bias.copy_(0.3 * torch.randn(bias.shape, generator=torch.Generator().manual_seed(seed)))
    bias[0, 0] += end
    model.save_pretrained(folder)


def translations(model, tokenizer, **options):
    batch = tokenizer(SENTENCES, return_tensors="pt", padding=True)
    with torch.no_grad():
        ids = model.generate(**batch, do_sample=False, **options)
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


@pytest.mark.slow
def test_translation(tmp_path):
    folder = tmp_path / "foreign"
    model, tokenizer = make_translator(folder, length_penalty=0.8)
    translator, found = None, set()
    for seed in range(3):
        redraw(model, folder, seed)
        loaded = kt.Translator.from_pretrained(folder)
        if translator is None:
            translator = loaded
        else:  # what was compiled for the first serves the others
            translator.model.set_weights(loaded.model.get_weights())
        early = True if seed == 1 else "never"
        # Their forced end counts in the length, as one token more. We just stop there.
        theirs = {"num_beams": 4, "early_stopping": early, "forced_eos_token_id": None}
        options = {"num_beams": 4, "early_stopping": early is True, "max_new_tokens": 10}
        beams = translations(model, tokenizer, **theirs)
        assert translator.translate(SENTENCES, **options) == beams
        found.update(beams)
    assert len(found) > 5


@pytest.mark.slow
@pytest.mark.parametrize("separate", [False, True])
def test_greedy_translation_and_one_that_is_reloaded(separate, tmp_path):
    model, tokenizer = make_translator(tmp_path / "foreign", separate)
    redraw(model, tmp_path / "foreign", 8 if separate else 6, end=1.0)
    expected = translations(model, tokenizer, num_beams=1)
    assert len(set(expected)) > 2
    translator = kt.Translator.from_pretrained(tmp_path / "foreign")
    assert translator.translate(SENTENCES) == expected
    if separate:
        return
    translator.save(tmp_path / "ours")
    again = kt.Translator.load(tmp_path / "ours")
    assert again.defaults == translator.defaults
    assert again.translate(SENTENCES) == expected


@pytest.mark.slow
def test_defaults_come_from_the_checkpoint(tmp_path):
    model, tokenizer = make_translator(tmp_path, early_stopping=True, length_penalty=0.7)
    model.save_pretrained(tmp_path)
    translator = kt.Translator.from_pretrained(tmp_path)
    padding = tokenizer.pad_token_id
    # One token of max_length is the start, and the last is the forced end.
    assert translator.defaults == kt.DecodingDefaults((padding,), 9, 0.7, "length", True)
    ids = kt.data.special_ids(translator.target_tokenizer)
    assert ids == (padding, 1, padding, 0)


def test_not_what_it_should_be(tmp_path):
    make_language_model(tmp_path / "gpt", "gpt2")
    with pytest.raises(ValueError, match="`folder` must contain a translation model.* a gpt2"):
        kt.Translator.from_pretrained(tmp_path / "gpt")
    model, _ = make_translator(tmp_path / "marian")
    model.save_pretrained(tmp_path / "marian")
    with pytest.raises(ValueError, match="`folder` must contain a language model.* a marian"):
        kt.TextGenerator.from_pretrained(tmp_path / "marian")
    with pytest.raises(ValueError, match="`folder` must be a folder, or a name"):
        kt.Translator.from_pretrained(tmp_path / "nothing")
