"""M2M100's translations with a forced language, greedy and with beams, on random tiny models."""

import functools

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import keras_transformer as kt
from tests.harness import to_numpy, token_ids
from tests.parity.weights import loaded, randomize_torch

V, PAD, EOS = 31, 1, 2
MAX_LENGTH = 12


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """One model on either side, which get new weights for each seed: nothing compiles twice."""
    config = transformers.M2M100Config(
        vocab_size=V,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=2,
        encoder_ffn_dim=19,
        decoder_ffn_dim=13,
    )
    reference = transformers.M2M100ForConditionalGeneration(config).eval()
    folder = tmp_path_factory.mktemp("checkpoint")
    model = loaded(reference, folder)

    @functools.cache
    def weights(seed):
        return loaded(reference, folder).get_weights()

    def reload(seed):
        randomize_torch(reference, seed)
        with torch.no_grad():  # the end comes soon in some, late in others
            reference.model.shared.weight[EOS] *= 3.0
        model.set_weights(weights(seed))
        return reference, model

    return reload


def sources(seed):
    source = token_ids(3, 7, vocabulary_size=V, low=4, seed=seed)
    source[0, 4:] = source[2, 2:] = PAD
    return source


def theirs(reference, source, language, **options):
    return reference.generate(
        torch.tensor(source).long(),
        attention_mask=torch.tensor(source != PAD).long(),
        max_new_tokens=MAX_LENGTH,
        bad_words_ids=[[PAD]],
        do_sample=False,
        forced_bos_token_id=language,
        **options,
    )


# The language is one of their new tokens.
OURS = {"start_id": EOS, "banned_ids": (PAD,)}


def same_ids(ids, expected):
    """Whether two rows are equal, but for what follows the end. Returns the length."""
    expected = expected[expected != PAD]
    assert ids[: len(expected)].tolist() == expected.tolist()
    assert not ids[len(expected) :].any()
    return len(expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_beams", "early_stopping", "penalty"),
    [(2, True, 0.6), (4, "never", 1.0), (4, True, 1.0), (4, "never", 0.0)],
)
def test_the_same_hypotheses_and_scores(pair, num_beams, early_stopping, penalty):
    lengths = set()
    for seed in range(12):
        reference, model = pair(seed)
        source, language = sources(seed), 5 + seed
        expected = theirs(
            reference,
            source,
            language,
            num_beams=num_beams,
            num_return_sequences=num_beams,
            early_stopping=early_stopping,
            length_penalty=penalty,
            return_dict_in_generate=True,
            output_scores=True,
        )
        actual = kt.decoding.beam_search(
            model,
            source,
            end_id=EOS,
            num_beams=num_beams,
            num_return=num_beams,
            early_stopping=early_stopping is True,
            length_penalty=penalty,
            length_normalization="length",
            max_length=MAX_LENGTH - 1,
            prefix_ids=[language],
            count_prefix=True,
            **OURS,
        )
        scores = expected.sequences_scores.numpy().reshape(3, num_beams)
        np.testing.assert_allclose(actual.scores, scores, atol=1e-4)
        rows = actual.ids.reshape(3 * num_beams, -1)
        for ids, row in zip(rows, expected.sequences.numpy()[:, 1:], strict=True):
            assert ids[0] == language
            lengths.add(same_ids(ids, row))
    assert len(lengths) > 3


@pytest.mark.slow
def test_greedy_translations(pair):
    lengths = set()
    for seed in range(12):
        reference, model = pair(seed)
        source = sources(seed)
        expected = theirs(reference, source, 7, num_beams=1).numpy()[:, 1:]
        options = {"stop_ids": (EOS,), "prefix_ids": [7], **OURS}
        actual = kt.decoding.generate(model, source, MAX_LENGTH - 1, **options)
        for ids, row in zip(actual, expected, strict=True):
            lengths.add(same_ids(ids, row))
    assert len(lengths) > 2


def test_positions_of_a_long_text(pair):
    """More tokens than the table of sinusoids first has there."""
    reference, model = pair(0)
    assert reference.config.max_position_embeddings == 1024
    length = 1100
    source = token_ids(1, length, vocabulary_size=V, low=4)
    target = token_ids(1, 3, vocabulary_size=V, low=4, seed=1)
    with torch.no_grad():
        expected = reference(
            input_ids=torch.tensor(source).long(), decoder_input_ids=torch.tensor(target).long()
        ).logits
    actual = to_numpy(model({"source_ids": source, "target_ids": target}))
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lm_head.weight", "'model.shared.weight' and 'lm_head.weight' must be equal"),
        ("model.encoder.embed_positions.weights", "must contain the values that the model comp"),
        ("model.encoder.layernorm_embedding.weight", "Left over: model.encoder.layernorm_emb"),
    ],
)
def test_tensors_that_the_model_does_not_have(name, message, tmp_path):
    config = transformers.M2M100Config(
        vocab_size=V,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=5,
        decoder_ffn_dim=5,
    )
    transformers.M2M100ForConditionalGeneration(config).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, name: torch.ones(V, 16)}, path)
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(tmp_path)
