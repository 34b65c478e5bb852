"""Law 7: T5, T5 1.1, MADLAD-400 and mT5 of transformers, there and back."""

import json

import numpy as np
import pytest
import torch
import transformers
from keras import ops
from safetensors.torch import load_file, save_file

import keras_transformer as kt
from tests.harness import randomize, to_numpy, token_ids
from tests.parity.weights import check_agreement, loaded, randomize_torch

V, PAD, EOS = 53, 0, 1
FILE = "model.safetensors"
SIZE = {
    "vocab_size": V,
    "d_model": 12,
    "d_kv": 5,
    "d_ff": 19,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 3,
}
CLASSES = {
    "t5": (transformers.T5Config, transformers.T5ForConditionalGeneration),
    "mt5": (transformers.MT5Config, transformers.MT5ForConditionalGeneration),
}
V11 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
# The family, the configuration, and whether the logits have a matrix of their own.
CASES = {
    "v1.0": ("t5", {}, False),
    "v1.0, usual heads": ("t5", {"d_kv": 4, "num_decoder_layers": None}, False),
    "v1.1": ("t5", V11, True),
    "v1.1, tied": ("t5", V11, False),
    "narrow buckets": (
        "t5",
        {"relative_attention_num_buckets": 6, "relative_attention_max_distance": 7},
        False,
    ),
    "madlad": ("t5", {**V11, "pad_token_id": 1, "eos_token_id": 2, "num_layers": 1}, True),
    "silu": ("t5", {"feed_forward_proj": "gated-silu", "layer_norm_epsilon": 0.1}, False),
    "exact": ("t5", {"feed_forward_proj": "gelu", "d_kv": 7, "num_heads": 1}, False),
    "mt5": ("mt5", {}, True),
    "mt5, tied": ("mt5", {"d_kv": 9, "num_decoder_layers": 1}, False),
}


def reference_of(name, seed=0, **sizes):
    family, more, has_head = CASES[name]
    config_class, model_class = CLASSES[family]
    values = {**SIZE, "decoder_start_token_id": PAD, **more, **sizes}
    model = randomize_torch(model_class(config_class(**values)).eval(), seed)
    if has_head:
        head = torch.randn(V, SIZE["d_model"], generator=torch.Generator().manual_seed(seed))
        model.lm_head.weight = torch.nn.Parameter(0.3 * head)
    return model


def padded_ids(padding, length=150):
    """Sources that are longer than the buckets, and targets that start with the id 0."""
    source = token_ids(3, length, vocabulary_size=V, low=3)
    source[0, 7:] = source[2, 2:] = padding
    target = token_ids(3, 5, vocabulary_size=V, low=3, seed=1)
    target[:, 0] = PAD
    return source, target


def logits_of(reference, source, target):
    padding = reference.config.pad_token_id
    with torch.no_grad():
        return reference(
            input_ids=torch.tensor(source).long(),
            attention_mask=torch.tensor(source != padding),
            decoder_input_ids=torch.tensor(target).long(),
        ).logits.numpy()


@pytest.mark.parametrize("name", CASES)
def test_logits_there_and_back(name, tmp_path):
    """Loaded here, and saved again for transformers: the logits are the same."""
    reference, (family, _, has_head) = reference_of(name), CASES[name]
    model = loaded(reference, tmp_path / "theirs")
    source, target = padded_ids(reference.config.pad_token_id)
    expected = logits_of(reference, source, target)
    assert np.abs(expected).max() > 0.3
    actual = to_numpy(model({"source_ids": source, "target_ids": target}))
    check_agreement(family, actual, expected)
    assert model.name == family
    assert has_head is ("logits" in [layer.name for layer in model.layers])
    assert len([w for w in model.weights if "relative_positions" in w.path]) == 2

    ids = {"start_id": PAD, "end_id": reference.config.eos_token_id}
    kt.pretrained.save_huggingface(model, None, tmp_path / "ours", **ids)
    restored = CLASSES[family][1].from_pretrained(tmp_path / "ours").eval()
    assert restored.config.model_type == family
    np.testing.assert_allclose(logits_of(restored, source, target), expected, atol=1e-5)
    own = {name: tensor.numpy() for name, tensor in load_file(tmp_path / "ours" / FILE).items()}
    theirs = load_file(tmp_path / "theirs" / FILE)
    assert own.keys() == theirs.keys()
    assert all((own[name] == theirs[name].numpy()).all() for name in own)
    again = kt.pretrained.load(tmp_path / "ours")
    np.testing.assert_array_equal(
        to_numpy(again({"source_ids": source, "target_ids": target})), actual
    )


def test_cached_steps(tmp_path):
    """Positions go on where the cache ends, past the exact buckets too."""
    model = loaded(reference_of("v1.1"), tmp_path)
    source, _ = padded_ids(PAD, 11)
    target = token_ids(3, 41, vocabulary_size=V, low=3, seed=2)
    parts = kt.decoding.DecodingModel(model)
    mask = ops.convert_to_tensor(source != PAD)
    encoded = parts.encode(ops.convert_to_tensor(source), mask)
    cache, logits = parts.decoder.initial_cache(3, 41, encoded), []
    for start, end in ((0, 29), (29, 30), (30, 41)):
        result = parts.decode(
            ops.convert_to_tensor(target[:, start:end]),
            encoded_padding_mask=mask,
            cache=cache,
            cache_index=start,
        )
        cache = result["cache"]
        logits.append(to_numpy(parts.logits(result["output"])))
    whole = to_numpy(model({"source_ids": source, "target_ids": target}))
    np.testing.assert_allclose(np.concatenate(logits, axis=1), whole, atol=1e-4)


# === Texts ===


def same_ids(ids, expected):
    """Whether two rows are equal up to the end. Returns the length."""
    # Their beam search takes a padding id of 0 for none, and fills up with the end id.
    length = [*expected.tolist(), EOS].index(EOS) + 1
    expected = expected[:length]
    assert ids[: len(expected)].tolist() == expected.tolist()
    assert not ids[len(expected) :].any()
    return len(expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v1.0", "v1.1", "mt5"])
def test_greedy_and_beam_search(name, tmp_path):
    """Both start from the padding id, which they must not generate."""
    lengths, model = set(), None
    for seed in range(6):
        # Their cache has as many layers as the encoder, so the decoder must not have more.
        reference = reference_of(name, seed, num_layers=2, num_decoder_layers=2)
        with torch.no_grad():  # the end comes soon in some, late in others
            reference.lm_head.weight[EOS] *= 2.0
        again = loaded(reference, tmp_path / str(seed))
        model = again if model is None else model
        model.set_weights(again.get_weights())
        source, _ = padded_ids(PAD, 11)
        inputs = {
            "inputs": torch.tensor(source).long(),
            "attention_mask": torch.tensor(source != PAD).long(),
            "max_new_tokens": 13,
            "do_sample": False,
            "bad_words_ids": [[PAD]],
            "decoder_start_token_id": PAD,
        }
        expected = reference.generate(**inputs, num_beams=1).numpy()[:, 1:]
        common = {"start_id": PAD, "banned_ids": (PAD,)}
        found = kt.decoding.generate(model, source, 13, stop_ids=(EOS,), **common)
        lengths |= {same_ids(*rows) for rows in zip(found, expected, strict=True)}
        beams = reference.generate(**inputs, num_beams=4, early_stopping="never").numpy()[:, 1:]
        found = kt.decoding.beam_search(
            model,
            source,
            end_id=EOS,
            num_beams=4,
            length_penalty=1.0,
            length_normalization="length",
            max_length=13,
            **common,
        ).ids[:, 0]
        lengths |= {same_ids(*rows) for rows in zip(found, beams, strict=True)}
    assert len(lengths) > 2


# === Files ===


def edit_tensors(folder, change):
    path = folder / FILE
    tensors = {name: tensor.clone() for name, tensor in change(load_file(path)).items()}
    save_file(tensors, path)


def edit_config(folder, **changes):
    path = folder / "config.json"
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v != "delete"}))


def check_same(reference, folder):
    source, target = padded_ids(PAD, 11)
    expected = logits_of(reference, source, target)
    actual = kt.pretrained.load(folder)({"source_ids": source, "target_ids": target})
    np.testing.assert_allclose(to_numpy(actual), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["v1.0", "v1.1", "mt5"])
@pytest.mark.parametrize("kept", ["shared", "encoder.embed_tokens", "decoder.embed_tokens"])
def test_any_name_of_the_embeddings(name, kept, tmp_path):
    """MADLAD-400's files do not have the usual one."""
    reference = reference_of(name)
    reference.save_pretrained(tmp_path)

    def rename(tensors):
        table = tensors.pop("shared.weight")
        return {**tensors, f"{kept}.weight": table}

    edit_tensors(tmp_path, rename)
    check_same(reference, tmp_path)


COPIES = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"]


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_compared(copy, tmp_path):
    reference = reference_of("v1.0")
    reference.save_pretrained(tmp_path)
    edit_tensors(tmp_path, lambda tensors: {**tensors, copy: tensors["shared.weight"]})
    check_same(reference, tmp_path)
    edit_tensors(tmp_path, lambda tensors: {**tensors, copy: tensors["shared.weight"] + 1.0})
    with pytest.raises(ValueError, match=f"'shared.weight' and '{copy}' must be equal"):
        kt.pretrained.load(tmp_path)


def test_the_unused_table_of_old_files(tmp_path):
    reference = reference_of("v1.0")
    reference.save_pretrained(tmp_path)
    old = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    edit_tensors(tmp_path, lambda tensors: {**tensors, old: torch.randn(32, 3)})
    check_same(reference, tmp_path)
    own = "decoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"
    edit_tensors(tmp_path, lambda tensors: {**tensors, own: torch.randn(32, 3)})
    with pytest.raises(ValueError, match=f"Left over: {own}"):
        kt.pretrained.load(tmp_path)


def test_files_of_older_versions(tmp_path):
    """They say only whether the embeddings are tied, not whether the logits are scaled."""
    for name, tied in (("v1.0", "delete"), ("v1.0", True), ("v1.1", False)):
        folder = tmp_path / f"{name} {tied}"
        reference = reference_of(name)
        reference.save_pretrained(folder)
        delete = ("scale_decoder_outputs", "dense_act_fn", "is_gated_act", "num_decoder_layers")
        more = {} if name == "v1.1" else {"relative_attention_max_distance": "delete"}
        changes = {**dict.fromkeys(delete, "delete"), **more, "tie_word_embeddings": tied}
        edit_config(folder, **{**changes, "num_decoder_layers": 3})
        edit_config(folder, n_positions=512, output_past=True, task_specific_params={"a": {}})
        again = CLASSES["t5"][1].from_pretrained(folder).eval()
        check_same(again, folder)
        check_same(reference, folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feed_forward_proj": "gated-mish"}, "`feed_forward_proj` in .*'gated-gelu'.*'gated-mi"),
        ({"dense_act_fn": "mish"}, "`dense_act_fn` in .* must be one of .*Received: 'mish'"),
        ({"is_gated_act": "yes"}, "`is_gated_act` in .* must be of type bool. Received: 'yes'"),
        ({"relative_attention_num_buckets": 7}, "`relative_attention_num_buckets` in .*buckets=7"),
        ({"relative_attention_max_distance": 16}, "less than twice.*num_buckets=32, .*ance=16"),
        ({"d_kv": 0}, "`d_kv` in .* must be at least 1. Received: 0"),
        ({"head_dim": 3}, "`head_dim` and `d_kv` in .* must be equal.*head_dim=3, d_kv=5"),
        ({"pad_token_id": None}, "`pad_token_id` in .* must be of type int. Received: None"),
        ({"architectures": ["T5EncoderModel"]}, "`architectures` in .*T5EncoderModel"),
        ({"is_gated_act": True}, "Missing: .*wi_0"),
        ({"tie_word_embeddings": None, "scale_decoder_outputs": None}, "`tie_word_embeddings` in"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(changes, message, tmp_path):
    reference_of("v1.0").save_pretrained(tmp_path)
    edit_config(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(tmp_path)


# === Our own models ===

OWN = {
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 5,
    "dropout": 0.0,
    "normalize_first": True,
    "norm": "rms",
    "position_layout": None,
    "relative_positions": "t5",
    "share_relative_positions": True,
    "attention_scale": 1.0,
    "use_attention_bias": False,
    "use_feed_forward_bias": False,
    "scale_embeddings": False,
    "start_is_padding": True,
}


@pytest.mark.parametrize(
    ("more", "family"),
    [
        ({"scale_logits": True}, "t5"),
        ({"tie_logits": False, "gated": True, "activation": "gelu_approximate"}, "t5"),
        ({"gated": True, "activation": "gelu"}, "t5"),
        ({"name": "mt5", "activation": "silu", "head_dim": 3}, "mt5"),
    ],
)
def test_models_built_here(more, family, tmp_path):
    model = randomize(kt.models.transformer(V, **{**OWN, **more}))
    kt.pretrained.save_huggingface(model, None, tmp_path / "new", start_id=PAD, end_id=EOS)
    theirs = CLASSES[family][1].from_pretrained(tmp_path / "new").eval()
    source, target = padded_ids(PAD, 11)
    actual = to_numpy(model({"source_ids": source, "target_ids": target}))
    np.testing.assert_allclose(actual, logits_of(theirs, source, target), atol=1e-4)
    assert theirs.generation_config.decoder_start_token_id == PAD
    assert theirs.generation_config.eos_token_id == EOS


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"attention_scale": None}, "`encoder.block.attention_scale` must be 1.0 in .* t5.*None"),
        ({"relative_positions": "shaw"}, "`relative_positions` must be \"t5\" or a RelativeP"),
        (
            {"relative_positions": kt.layers.RelativePositionBias()},
            "`encoder.block.relative_positions.bidirectional` must be None.*Received: True",
        ),
        ({"scale_embeddings": True}, "`token_embedding.scale` must be False"),
        ({"start_is_padding": False}, "`start_is_padding` must be True"),
        ({"num_decoder_heads": 4}, "`decoder.block.num_heads` must be 2"),
        ({"name": "mt5", "scale_logits": True}, "`token_embedding.scale_logits` must be False"),
        ({"dropout": 0.1}, "`encoder.block.attention_dropout` must be 0.1"),
        ({"use_attention_bias": True}, "`encoder.block.use_attention_bias` must be False"),
    ],
)  # fmt: skip
def test_models_that_no_t5_is(more, message, tmp_path):
    model = kt.models.transformer(V, **{**OWN, **more})
    with pytest.raises(ValueError, match=message):
        kt.pretrained.save_huggingface(model, None, tmp_path / "new", start_id=PAD, end_id=EOS)
