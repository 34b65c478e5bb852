"""The laws of models that decode, each as a function of one model."""

import itertools
import math

import keras
import numpy as np

import keras_transformer as kt
from tests.decoding.test_beam_search import log_softmax, normalizer
from tests.harness import to_numpy
from tests.laws.models import Case
from tests.laws.pieces import cached_logits
from tests.robustness.properties.configurations import SOURCE_V, V
from tests.robustness.properties.plain_stack import dense, run_stack, values

B, T, S = 2, 5, 7
END, LENGTH = 3, 3
POLICIES = ("mixed_bfloat16", "mixed_float16", "bfloat16", "float16")


def assert_near(actual, expected, tolerance=1e-4):
    """Equal to a tolerance relative to the largest value, at least 1."""
    actual, expected = np.asarray(actual, "float64"), np.asarray(expected, "float64")
    assert actual.shape == expected.shape and np.isfinite(actual).all()
    difference = np.abs(actual - expected).max()
    assert difference <= tolerance * max(1.0, np.abs(expected).max()), difference


def case_of(configuration, dtype=None):
    return Case(configuration.make(dtype), configuration.kind == "transformer")


def inputs_of(configuration, batch=B, target=T, source=S, more=0):
    """Target and source ids (B, T) and (B, S), without padding."""
    is_double = "target_vocabulary_size" in configuration.arguments
    size = SOURCE_V if is_double else V
    return (
        configuration.ids(batch, target, more=more),
        configuration.ids(batch, source, vocabulary_size=size, more=more + 1),
    )


def start_of(configuration):
    return 0 if configuration.arguments.get("start_is_padding") else 2


def has_padding(configuration):
    return configuration.arguments["padding_id"] is not None


def padded(ids, after):
    return np.pad(ids, ((0, 0), (0, after)))


# === Laws 1 to 3 ===


def check_cache(case, configuration, pieces):
    target, source = inputs_of(configuration)
    if has_padding(configuration):
        source[1, 5:] = 0
    expected = to_numpy(case(target, source))
    assert_near(cached_logits(case, target, source, pieces, configuration.seed % 3), expected)


def check_future(case, configuration):
    target, source = inputs_of(configuration)
    before = to_numpy(case(target, source))
    for t in range(1, T):
        changed = target.copy()
        changed[:, t] = 1 + target[:, t] % (V - 1)
        assert_near(to_numpy(case(changed, source))[:, :t], before[:, :t], 1e-5)


def check_padding(case, configuration):
    """More padding, and other rows in the batch."""
    if not has_padding(configuration):
        return
    target, source = inputs_of(configuration, batch=1, target=3, source=4)
    expected = to_numpy(case(target, source))
    others = inputs_of(configuration, more=2)
    together = [
        np.concatenate([padded(ids, other.shape[1] - ids.shape[1]), other])
        for ids, other in zip((target, source), others, strict=True)
    ]
    assert_near(to_numpy(case(*together))[:1, :3], expected)


def check_packing(case, configuration):
    parts = [configuration.ids(1, length, more=length) for length in (3, 2, 4)]
    ids = padded(np.concatenate(parts, axis=1), after=2)
    segments = np.array([[1, 1, 1, 2, 2, 3, 3, 3, 3, 0, 0]], "int32")
    packed = kt.models.packed(case.model)
    output = to_numpy(packed({"token_ids": ids, "segment_ids": segments}, training=False))
    expected = np.concatenate([to_numpy(case(part)) for part in parts], axis=1)
    assert np.isfinite(output).all()
    assert_near(output[:, :9], expected)


# === Law 4 ===


def check_reload(model, inputs, folder):
    """Saved and loaded, a functional model gives the same outputs, to the last bit."""
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    expected, found = (to_numpy(one(inputs, training=False)) for one in (model, loaded))
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def named_inputs(case, configuration):
    target, source = inputs_of(configuration)
    if has_padding(configuration):
        target[1, 3:] = source[0, 4:] = 0
    if case.is_translator:
        return {"source_ids": source, "target_ids": target}
    return {"token_ids": target}


# === Law 5 ===


def check_finite(configuration):
    target, source = inputs_of(configuration, batch=3)
    target[0, :2] = target[1, 3:] = target[2] = 0
    source[0, :3] = source[1, 2:] = source[2] = 0
    logits = case_of(configuration, POLICIES[configuration.seed % 4])(target, source)
    assert np.isfinite(to_numpy(logits)).all()


# === Law 6 ===


def log_probs_of(case, read, new, source):
    """The log-probabilities (len(new), V) with which the uncached model continues `read`."""
    row = np.array([[*read, *new]], "int32")
    return log_softmax(to_numpy(case(row, source))[0].astype("float64"))[len(read) - 1 : -1]


def check_greedy(case, configuration):
    """Every generated token is the uncached model's likeliest one, and one beam finds the same."""
    start, steps = start_of(configuration), 4
    sources = inputs_of(configuration)[int(case.is_translator)].tolist()
    prompts = [sources[0][:3], sources[1][:1], sources[1][1:5]]
    options = {"start_id": start, "return_log_probs": True}
    together = kt.decoding.generate(case.model, prompts, steps, **options)
    beam = {"num_beams": 1, "length_penalty": 0.0, "max_length": steps}
    searched = kt.decoding.beam_search(case.model, prompts, start, END, **beam)
    for row, prompt in enumerate(prompts):
        read, source = ([start], [prompt]) if case.is_translator else (prompt, None)
        first = 0 if case.is_translator else len(prompt)
        new = together.ids[row, first : first + steps].tolist()
        found = log_probs_of(case, read, new, source)
        chosen = found[np.arange(steps), new]
        assert_near(chosen, found.max(axis=-1))
        assert_near(together.log_probs[row, first : first + steps], chosen)
        length = new.index(END) + 1 if END in new else steps
        assert_near(searched.scores[row, 0], chosen[:length].sum(), 1e-3)


def all_scores(case, read, source, penalty):
    """The scores of all hypotheses of up to LENGTH tokens, best first."""
    sequences = np.array(list(itertools.product(range(V), repeat=LENGTH)), "int32")
    rows = np.concatenate([np.tile(read, (len(sequences), 1)), sequences], axis=1).astype("int32")
    sources = None if source is None else np.tile(source, (len(rows), 1))
    log_probs = log_softmax(to_numpy(case(rows, sources)).astype("float64"))
    log_probs = log_probs[:, len(read) - 1 : -1]
    scores = {}
    for ids, found in zip(sequences.tolist(), log_probs, strict=True):
        length = ids.index(END) + 1 if END in ids else LENGTH
        total = found[np.arange(length), ids[:length]].sum()
        scores[tuple(ids[:length])] = total / normalizer(length, penalty, "gnmt")
    return sorted(scores.values(), reverse=True)


def check_beams(case, configuration):
    """With a beam for every candidate, beam search finds what brute force finds.

    A hypothesis that ends must be among the best candidates, of which there are as many as beams.
    With only a beam for every prefix that continues, (V - 1) ** (LENGTH - 1), some would be lost.
    """
    start, penalty = start_of(configuration), (0.0, 0.6, -1.0)[configuration.seed % 3]
    (prompt,) = inputs_of(configuration, batch=1)[int(case.is_translator)].tolist()
    read, source = ([start], prompt) if case.is_translator else (prompt, None)
    result = kt.decoding.beam_search(
        case.model,
        [prompt],
        start,
        END,
        num_beams=V * (V - 1) ** (LENGTH - 2),
        length_penalty=penalty,
        max_length=LENGTH,
        num_return=5,
    )
    assert_near(result.scores[0], all_scores(case, read, source, penalty)[:5], 1e-3)


# === Law 7 ===


def embed(layer, ids):
    factor = math.sqrt(layer.hidden_dim) if layer.scale else 1.0
    return values(layer.embeddings)[ids] * factor


def check_formula(case, configuration):
    """The logits of the docstrings' formulas in NumPy."""
    target, source = inputs_of(configuration)
    real, source_real = np.ones(target.shape, bool), np.ones(source.shape, bool)
    if has_padding(configuration):
        target[1, 3:] = source[0, 4:] = target[0, 0] = 0
        real, source_real = target != 0, source != 0
        real[:, 0] |= bool(configuration.arguments.get("start_is_padding"))
    parts, more = kt.decoding.DecodingModel(case.model), {}
    if case.is_translator:
        encoded = run_stack(parts.encoder, embed(parts.source_embedding, source), source_real)
        more = {"encoded": encoded, "encoded_real": source_real}
    hidden = run_stack(parts.decoder, embed(parts.target_embedding, target), real, **more)
    embedding = parts.target_embedding
    if parts.projection is not None:
        expected = dense(parts.projection, hidden)
    else:
        factor = embedding.hidden_dim**-0.5 if embedding.scale_logits else 1.0
        expected = hidden * factor @ values(embedding.embeddings).T
        expected += 0.0 if embedding.bias is None else values(embedding.bias)
    assert_near(to_numpy(case(target, source)), expected)


def check_all(configuration, pieces, folder):
    """All laws of a language model or a translator."""
    case = case_of(configuration)
    check_formula(case, configuration)
    check_cache(case, configuration, pieces)
    check_future(case, configuration)
    check_padding(case, configuration)
    if not case.is_translator:
        check_packing(case, configuration)
    check_reload(case.model, named_inputs(case, configuration), folder)
    check_finite(configuration)
    check_greedy(case, configuration)
    check_beams(case, configuration)
