"""The beam search of one source as a tree, including pruned candidates.

Shape letters: B batch, K beams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_transformer.checks import check
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import decode, encode
from keras_transformer.decoding.beam_search import beam_search
from keras_transformer.decoding.beam_search_loop import worst_score
from keras_transformer.visualize.figures import Figure
from keras_transformer.visualize.token_labels import token_texts
from keras_transformer.visualize.trace import Trace, record


def beam_tree(
    model: Any,
    source: str | Sequence[int],
    num_beams: int = 4,
    *,
    tokens: Any = None,
    **options: Any,
) -> Figure:
    """Shows the beam search of one source as a tree.

    The search is that of `kt.decoding.beam_search`, or of the translator with its own options, run
    step by step. Each step shows the 2K best continuations of the K alive hypotheses: those that
    stay alive, those that end and join the finished pool, and those that are pruned.

    Args:
        model: A `kt.Translator` or `kt.TextGenerator`; or a translator or a language model that
            `kt.decoding` decodes.
        source: A text for a `kt.Translator` or `kt.TextGenerator`; otherwise the ids of the source,
            with its end token, or of the prompt.
        num_beams: K.
        tokens: For a model, a tokenizer of the generated tokens, or a dict of "source" and "target"
            tokenizers; None for the ids.
        **options: Further arguments of `kt.decoding.beam_search` (`length_penalty`, `max_length`,
            `banned_ids` and so on) or of `kt.Translator.translate` (`length_penalty`,
            `max_new_tokens`, `length_normalization`, `early_stopping`). With a larger
            `num_return`, the search goes on until that many hypotheses cannot be beaten.

    Returns:
        A `Figure`. In its `data`, `steps` has one list of candidates per step, best first. Each
        candidate is a dict with `id`, `token`, `parent` (its index in the previous step's list;
        None in the first step), `rank`, `log_prob`, `total` (the sum of log-probabilities), `state`
        ("alive", "finished" or "pruned") and `score` (`total` divided by the length penalty; None
        unless the candidate has ended). `hypotheses` lists the finished hypotheses, best first,
        each with `text`, `tokens`, `ids`, `score`, `length` and `path`, a list of pairs of step and
        index.

    Raises:
        ValueError: As for `kt.decoding.beam_search`, or if there is more than one source.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.transformer(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> figure = kt.visualize.beam_tree(model, [5, 6, 3], num_beams=2, max_length=4)
        >>> [candidate["rank"] for candidate in figure.data["steps"][0]]
        [0, 1, 2, 3]
        >>> result = kt.decoding.beam_search(model, [[5, 6, 3]], num_beams=2, max_length=4)
        >>> figure.data["hypotheses"][0]["ids"] == [i for i in result.ids[0, 0].tolist() if i]
        True

    Reference:
        Wu et al. 2016, "Google's Neural Machine Translation System", section 7.
    """
    if hasattr(model, "tokenizer") and not hasattr(model, "source_tokenizer"):
        model, source, tokens, options = _of_generator(model, source, options)
    if isinstance(model, keras.Model):
        trace, data = _search(model, source, num_beams, tokens, options)
    else:
        trace, data = _translate(model, source, num_beams, options)
    return Figure("Beam search", "tree", tree_of(trace, **data))


def _of_generator(generator, prompt, options):
    """The arguments for a text generator's model: its prompt's ids, end and bans."""
    check(isinstance(prompt, str), "be a string", "source", prompt)
    (row,) = encode(generator.tokenizer, [prompt])
    own = {"banned_ids": generator.banned_ids}
    end_id = special_ids(generator.tokenizer).end
    if end_id is not None:
        own["end_id"] = end_id
    return generator.model, row, generator.tokenizer, {**own, **options}


def _search(model, source, num_beams, tokens, options):
    """Runs `kt.decoding.beam_search` on one row of ids."""
    is_row = not isinstance(source, str) and np.ndim(source) == 1
    check(is_row, "be one row of ids", "source", source)
    row = [int(one) for one in source]
    tokenizers = tokens if isinstance(tokens, dict) else {"source": tokens, "target": tokens}
    prefix = options.get("prefix_ids")
    with record(model, "beam_search/*") as trace:
        beam_search(model, [row], num_beams=num_beams, **options)
    return trace, {
        "source": token_texts(row, tokenizers.get("source")),
        "tokenizer": tokenizers.get("target"),
        "num_beams": num_beams,
        "length_penalty": options.get("length_penalty", 0.6),
        "length_normalization": options.get("length_normalization", "gnmt"),
        "end_id": options.get("end_id", 3),
        "max_length": options.get("max_length", 64),
        "prefix": () if prefix is None else np.ravel(prefix).tolist(),
    }


def _translate(translator, source, num_beams, options):
    """Runs a translator on one text, with its own limits, bans and shortlist."""
    is_translator = hasattr(translator, "translate") and hasattr(translator, "source_tokenizer")
    check(is_translator, "be a Keras model, a Translator or a TextGenerator", "model", translator)
    check(isinstance(source, str), "be a string", "source", source)
    with record(translator.model, "beam_search/*") as trace:
        # With `num_return`, even a single beam uses beam search.
        translator.translate(source, num_beams=num_beams, **{"num_return": 1, **options})
    languages = ("source_language", "target_language")
    (row,), prefix = translator.encode_sources([source], *map(options.get, languages))
    names = translator.defaults._fields
    given = {name: one for name, one in options.items() if name in names and one is not None}
    defaults = translator.defaults._replace(**given)
    return trace, {
        "source": token_texts(row, translator.source_tokenizer),
        "tokenizer": translator.target_tokenizer,
        "num_beams": num_beams,
        "length_penalty": defaults.length_penalty,
        "length_normalization": defaults.length_normalization,
        "end_id": special_ids(translator.target_tokenizer).end,
        "max_length": max(defaults.limits([len(row)])),
        "prefix": prefix,
    }


def tree_of(
    trace: Trace,
    *,
    source: list[str],
    tokenizer: Any,
    num_beams: int,
    length_penalty: float,
    length_normalization: str,
    end_id: int | None,
    max_length: int,
    prefix: Sequence[int] = (),
) -> dict[str, Any]:
    """Returns the data of a beam tree from a recording of `beam_search/*`, see `beam_tree`.

    Args:
        trace: The recording of the search of one source.
        source: The source's tokens.
        tokenizer: The tokenizer of the generated ids; None for the ids as text.
        num_beams: K.
        length_penalty: The search's alpha.
        length_normalization: The search's form of the length penalty.
        end_id: The id that ends a hypothesis.
        max_length: The number of tokens at which hypotheses end even without the end id.
        prefix: Given ids that precede the generated ones.

    Returns:
        A JSON-serializable dict.
    """
    calls = list(zip(*(trace.all(f"beam_search/{name}") for name in _REPORTED), strict=True))
    steps: list[list[dict]] = []
    pool: list[tuple[int, int] | None] = [None] * num_beams
    for step, arrays in enumerate(calls):
        check(len(arrays[0]) == 1, "be a single source", "source", len(arrays[0]))
        values = _Step(*(array[0] for array in arrays))
        pool = [_place(step, int(one), num_beams, pool, values) for one in values.finished]
        entered = {place[1] for place in pool if place and place[0] == step}
        is_last = step + 1 >= max_length
        going_on = [i for i in values.alive if not is_last and values.tokens[i] != end_id]
        before = _Step(*(array[0] for array in calls[step - 1])) if step else None
        candidates = _candidates(values, before, tokenizer)
        for rank, candidate in enumerate(candidates):
            is_alive = rank in going_on
            state = "finished" if rank in entered else "alive" if is_alive else "pruned"
            candidate["state"] = state
        steps.append(candidates)
    found = [_hypothesis(steps, *place, tokenizer, prefix) for place in pool if place is not None]
    return {
        "source": source,
        "num_beams": num_beams,
        "length_penalty": float(length_penalty),
        "length_normalization": length_normalization,
        "steps": steps,
        "hypotheses": found,
    }


_REPORTED = ("totals", "parents", "tokens", "scores", "alive", "finished")


class _Step(NamedTuple):
    """One step of the search: its 2K candidates, and which of them the two pools of K keep."""

    totals: np.ndarray
    parents: np.ndarray
    tokens: np.ndarray
    scores: np.ndarray
    alive: np.ndarray
    finished: np.ndarray


def _candidates(values, before, tokenizer):
    """Describes the candidates of a step, except banned ones, which come last."""
    found = []
    for rank in range(int(np.sum(values.totals > worst_score()))):
        parent = None if before is None else int(before.alive[values.parents[rank]])
        total, score = float(values.totals[rank]), float(values.scores[rank])
        token_id = int(values.tokens[rank])
        found.append(
            {
                "id": token_id,
                "token": token_texts([token_id], tokenizer)[0],
                "parent": parent,
                "rank": rank,
                "log_prob": total - (0.0 if parent is None else float(before.totals[parent])),
                "total": total,
                "score": score if np.isfinite(score) else None,
            }
        )
    return found


def _place(step, index, num_beams, pool, values):
    """Where an entry of the finished pool comes from: an earlier step or one of the candidates."""
    if index < num_beams:
        return pool[index]
    return (step, index - num_beams) if np.isfinite(values.scores[index - num_beams]) else None


def _hypothesis(steps, step, index, tokenizer, prefix):
    score, path = steps[step][index]["score"], []
    while step >= 0:
        path.append((step, index))
        step, index = step - 1, steps[step][index]["parent"]
    path.reverse()
    ids = [steps[s][i]["id"] for s, i in path]
    tokens = [steps[s][i]["token"] for s, i in path]
    return {
        "text": _text(tokenizer, [*map(int, prefix), *ids], tokens),
        "tokens": tokens,
        "ids": ids,
        "score": score,
        "length": len(ids),
        "path": [list(pair) for pair in path],
    }


def _text(tokenizer, ids, tokens):
    if not hasattr(tokenizer, "detokenize"):
        return " ".join(tokens)
    end_id = special_ids(tokenizer).end
    return decode(tokenizer, [ids], start_id=None, end_id=end_id)[0]
