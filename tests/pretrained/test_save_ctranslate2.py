"""CTranslate2 opens the folder and gives our tokens, greedy and with beams."""

import ctranslate2
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import randomize, to_numpy
from tests.pretrained import folders
from tests.pretrained.tokenizers import trained

SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 19}
NEW_TOKENS = 9
save = kt.pretrained.save_ctranslate2
# Settings of a model, and how many of them there are with random weights of their own.
TRANSLATORS = {
    "paper": ({}, 4),
    "pre_norm": ({"normalize_first": True, "activation": "gelu", "num_decoder_layers": 2}, 4),
    "two": (
        {
            "target_vocabulary_size": 110,
            "activation": "silu",
            "use_attention_bias": False,
            "scale_embeddings": False,
            "position_layout": "tensor2tensor",
        },
        4,
    ),
    "heads": (
        {
            "num_heads": 4,
            "num_decoder_heads": 2,
            "decoder_intermediate_dim": 11,
            "normalize_first": True,
            "position_layout": "tensor2tensor",
            "first_position": 1,
        },
        4,
    ),
    "untied": ({"share_embeddings": False, "layer_norm_epsilon": 1e-2}, 4),
}
# The type of T5, with and without what T5 1.1 changed.
T5 = {
    "normalize_first": True,
    "norm": "rms",
    "position_layout": None,
    "relative_positions": "t5",
    "share_relative_positions": True,
    "attention_scale": 1.0,
    "use_attention_bias": False,
    "use_feed_forward_bias": False,
    "scale_embeddings": False,
}
T5_MODELS = {
    "v1.0": {"scale_logits": True, "num_layers": 2},
    "v1.1": {
        "tie_logits": False,
        "gated": True,
        "activation": "gelu_approximate",
        "num_decoder_layers": 3,
        "head_dim": 5,
    },
    "near": {
        "relative_positions": kt.layers.RelativePositionBias(6, 5, bidirectional=None),
        "layer_norm_epsilon": 0.1,
    },
}
TRANSLATORS |= {f"t5_{name}": ({**T5, **more}, 3) for name, more in T5_MODELS.items()}
MODELS_OF_LANGUAGE = {
    "post_norm": ({}, 2),
    "pre_norm": ({"normalize_first": True, "activation": "relu", "num_layers": 2}, 2),
}


@pytest.fixture(scope="module")
def source():
    return trained(120)


@pytest.fixture(scope="module")
def target():
    return trained(110, "bpe")


def pieces(tokenizer, rows):
    return [[tokenizer.id_to_token(token) for token in row] for row in rows]


def until_end(ids):
    ids = [int(token) for token in ids]
    return ids[: ids.index(3)] if 3 in ids else [token for token in ids if token != 0]


def rows_of(tokenizer):
    texts = ["the cat sat on the mat", "a big dog", "what is said is seen in the hills"]
    return kt.data.encode(tokenizer, texts)


def translate(folder, tokens, num_beams, **options):
    translator = ctranslate2.Translator(str(folder), intra_threads=1, **options)
    results = translator.translate_batch(
        tokens,
        beam_size=num_beams,
        max_decoding_length=NEW_TOKENS,
        length_penalty=1.0,
        return_end_token=True,  # which then counts for the length, as here
    )
    return [[token for token in result.hypotheses[0] if token != "</s>"] for result in results]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSLATORS)
def test_translators(name, source, target, tmp_path):
    more, count = TRANSLATORS[name]
    own_target = target if "target_vocabulary_size" in more else source
    model = kt.models.transformer(120, output_bias=True, **{**SIZE, **more})
    (bias,) = [w for w in model.weights if w.path.endswith(("embedding/bias", "logits/bias"))]
    rows = rows_of(source)
    ours = [[*row, 3] for row in rows]
    for seed in range(count):
        randomize(model, seed)
        # Never padding or a start, as after training.
        bias.assign(np.concatenate([np.full(3, -1e4), to_numpy(bias)[3:]]))
        folder = tmp_path / str(seed)
        save(model, (source, own_target), folder)
        greedy = kt.decoding.generate(model, ours, NEW_TOKENS, stop_ids=(3,), start_id=2)
        beams = kt.decoding.beam_search(
            model,
            ours,
            start_id=2,
            end_id=3,
            num_beams=4,
            length_penalty=1.0,
            length_normalization="length",
            max_length=NEW_TOKENS,
            early_stopping=True,
        )
        for num_beams, ids in ((1, greedy), (4, beams.ids[:, 0])):
            expected = pieces(own_target, [until_end(row) for row in np.array(ids)])
            actual = translate(folder, pieces(source, rows), num_beams)
            assert actual == expected, (seed, num_beams)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["m2m_100", "nllb", "nllb_last"])
def test_many_languages(kind, tmp_path):
    """The languages are tokens before or behind the source, and a prefix of the translation."""
    options = {"legacy_behaviour": True} if kind == "nllb_last" else {}
    foreign = getattr(folders, kind.removesuffix("_last"))(tmp_path / "foreign", **options)
    tokenizer = kt.pretrained.load_tokenizer(foreign)
    one, other = tokenizer.language_tokens[3], tokenizer.language_tokens[5]
    codes = {token: token.strip("_") for token in (one, other)}
    model = kt.models.transformer(
        tokenizer.vocabulary_size(),
        **SIZE,
        num_decoder_heads=4,
        normalize_first=True,
        position_layout="tensor2tensor",
        first_position=2,
        padding_id=1,
    )
    defaults = kt.DecodingDefaults(
        (0, 1, 3),
        max_new_tokens=NEW_TOKENS,
        length_penalty=1.0,
        length_normalization="length",
        early_stopping=True,
        renormalize=True,  # what is suppressed there has no part in the probabilities
        source_language=codes[one],
        target_language=codes[other],
    )
    translator = kt.Translator(model, tokenizer, defaults=defaults)
    texts = ["the cat sat on the mat", "Où est le chat ?", "สวัสดี 日本語"]
    rows = pieces(tokenizer, tokenizer(texts))
    is_last = kind == "nllb_last"
    rows = [[*row, "</s>", one] if is_last else [one, *row] for row in rows]
    for seed in range(3):
        randomize(model, seed)
        folder = tmp_path / str(seed)
        save(model, tokenizer, folder)
        engine = ctranslate2.Translator(str(folder), intra_threads=1)
        for num_beams in (1, 4):
            results = engine.translate_batch(
                rows,
                target_prefix=[[other]] * 3,
                beam_size=num_beams,
                max_decoding_length=NEW_TOKENS + 1,
                length_penalty=1.0,
                return_end_token=True,
                suppress_sequences=[["<s>"], ["<pad>"], ["<unk>"]],
            )
            found = [result.hypotheses[0] for result in results]
            assert {tokens[0] for tokens in found} == {other}
            ids = [[tokenizer.token_to_id(token) for token in tokens] for tokens in found]
            assert translator.translate(texts, num_beams=num_beams) == tokenizer.detokenize(ids)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS_OF_LANGUAGE)
def test_language_models(name, source, tmp_path):
    more, count = MODELS_OF_LANGUAGE[name]
    model = kt.models.gpt(**{"vocabulary_size": 120, **SIZE, "max_length": 31, **more})
    rows = rows_of(source)
    for seed in range(count):
        randomize(model, seed)
        folder = tmp_path / str(seed)
        save(model, source, folder)
        generator = ctranslate2.Generator(str(folder), intra_threads=1)
        results = generator.generate_batch(
            pieces(source, rows),
            max_length=NEW_TOKENS,
            sampling_topk=1,
            include_prompt_in_result=False,
            suppress_sequences=[["<pad>"]],
        )
        ours = kt.decoding.generate(model, rows, NEW_TOKENS, stop_ids=(3,), banned_ids=(0,))
        for result, row, ids in zip(results, rows, np.array(ours), strict=True):
            expected = until_end(ids[np.argmax(ids != 0) :])
            assert result.sequences_ids[0] == expected[len(row) :], seed


@pytest.mark.slow
def test_quantization_runs(source, tmp_path):
    model = randomize(kt.models.transformer(125, **SIZE))  # more ids than the tokenizer has
    save(model, source, tmp_path / "whole")
    save(model, source, tmp_path / "less", "int8")
    tokens = pieces(source, rows_of(source))
    whole, less = (
        translate(tmp_path / name, tokens, 1, compute_type=kind)
        for name, kind in (("whole", "float32"), ("less", "default"))
    )
    assert all(less) and whole[0][0] == less[0][0]
    sizes = [(tmp_path / name / "model.bin").stat().st_size for name in ("whole", "less")]
    assert sizes[1] < sizes[0]


@pytest.mark.slow
def test_a_loaded_tokenizer(tmp_path):
    folder = folders.marian(tmp_path / "theirs")
    pair = [kt.pretrained.load_tokenizer(folder, target=target) for target in (False, True)]
    size, padding_id = pair[0].vocabulary_size(), pair[0].padding_id
    hidden = kt.models.transformer(size, padding_id=padding_id, **SIZE)
    with pytest.raises(ValueError, match="`start_is_padding` must be True for a translator whose"):
        save(hidden, pair, tmp_path / "new")
    more = {"padding_id": padding_id, "start_is_padding": True}
    model = randomize(kt.models.transformer(size, **more, **SIZE))
    save(model, pair, tmp_path / "new")
    rows = kt.data.encode(pair[0], ["The cat", "the old house"])
    ours = kt.decoding.generate(
        model, [[*row, 0] for row in rows], NEW_TOKENS, stop_ids=(0,), start_id=padding_id
    )
    ids = [[i for i in row if i != 0] for row in np.array(ours).tolist()]
    assert translate(tmp_path / "new", pieces(pair[0], rows), 1) == pieces(pair[1], ids)


# === What is refused ===


def refuse(model, tokenizers, folder, message, **options):
    with pytest.raises(ValueError, match=message):
        save(model, tokenizers, folder / "new", **options)
    assert not (folder / "new").exists()


@pytest.mark.slow
def test_what_cannot_be_written(source, target, tmp_path):
    model = kt.models.transformer(120, **SIZE)
    refuse(
        model,
        None,
        tmp_path,
        "`tokenizers` must be a tokenizer or a pair. Received: tokenizers=None",
    )
    refuse(model, source, tmp_path, "`quantization` must be one of", quantization="int4")
    small = kt.models.gpt(53, **SIZE, max_length=31)
    refuse(small, source, tmp_path, "must not have more ids than the model.*120 ids.*of 53")
    refuse(small, (source, target), tmp_path, "a pair for the source and the target of a trans")
    recurrent = kt.models.transformer(120, decoder_recurrence="ssru", **SIZE)
    message = "`recurrence` must be None for CTranslate2.*Received: 'ssru' in the layer 'decoder'"
    refuse(recurrent, source, tmp_path, message)
    grouped = kt.models.transformer(120, num_key_value_heads=1, **SIZE)
    message = "`num_key_value_heads` must be None for CTranslate2.*Received: 1 in the layer 'enc"
    refuse(grouped, source, tmp_path, message)
    for name, value in {"relative_positions": "t5", "window": 3, "gated": True}.items():
        other = kt.models.transformer(120, **{name: value}, **SIZE)
        refuse(other, source, tmp_path, f"`{name}` must be .* for CTranslate2.*Received: .*'enc")
    for more, message in (
        ({"attention_scale": None}, "`attention_scale` must be 1.0 for CTranslate2.*None"),
        ({"norm": "layer"}, "`norm` must be 'rms' for CTranslate2"),
        ({"relative_positions": "shaw"}, '`relative_positions` must be "t5" for CTranslate2'),
        ({"position_layout": "interleaved"}, "`positional_encoding` must be None for CTranslate2"),
        (
            {"relative_positions": kt.layers.RelativePositionBias()},
            "`relative_positions` must be .*bidirectional in the encoder only.*'decoder'",
        ),
    ):
        refuse(kt.models.transformer(120, **SIZE, **{**T5, **more}), source, tmp_path, message)
    odd = kt.models.transformer(120, activation="selu", **SIZE)
    refuse(odd, source, tmp_path, "`activation` must be one of")
    bert = kt.models.bert(120, **SIZE)
    refuse(bert, source, tmp_path, "`model` must be a kt.models.transformer or.*'bert'")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match="`folder` must be new or empty"):
        save(model, source, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["note.txt"]
