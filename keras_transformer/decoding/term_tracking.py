"""The compiled part of forced terms: tracks those in each hypothesis, and allocates the beams.

Shape letters: B batch, K beams, R rows (B times K), N continuations of a source, J terms, M
alternatives of all terms, W possible numbers of missing tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from keras_transformer.decoding.logit_filters import lowest, worst_score
from keras_transformer.decoding.term_tables import TermTables

Tensor = Any


class Tracks(NamedTuple):
    """The forced terms that the hypotheses of each source contain so far.

    Attributes:
        nodes: int (B, K), the automaton's node after each hypothesis.
        met: boolean (B, K, J), the terms that each hypothesis contains.
    """

    nodes: Tensor
    met: Tensor


def start_tracks(terms: TermTables, num_beams: int) -> Tracks:
    """Returns the `Tracks` of the hypotheses before the first new token."""
    return Tracks(
        ops.repeat(terms.start_node, num_beams, axis=1),
        ops.repeat(terms.start_met, num_beams, axis=1),
    )


def pick_tracks(tracks: Tracks, chosen: Tensor) -> Tracks:
    """Returns the `Tracks` of the chosen hypotheses (B, K)."""
    return Tracks(ops.take_along_axis(tracks.nodes, chosen, axis=1), _rows(tracks.met, chosen))


def next_of_terms(terms: TermTables, tracks: Tracks) -> tuple[Tensor, Tensor]:
    """Returns the tokens that continue the terms which each hypothesis still lacks.

    Args:
        terms: The tables of the terms.
        tracks: The `Tracks` of the hypotheses.

    Returns:
        The ids (R, M) and their columns in the logits (R, M), -1 for alternatives of met terms.
    """
    owners = ops.cast(terms.owners, "int32")[:, None]
    is_met = ops.take_along_axis(ops.cast(tracks.met, "int32"), owners, axis=2) > 0  # (B, K, M)
    found = []
    for table in (terms.next_ids, terms.next_columns):
        values = ops.where(is_met, -1, _rows(table, tracks.nodes))
        found.append(ops.reshape(values, (-1, ops.shape(values)[2])))
    return found[0], found[1]


def choose_continuations(
    terms: TermTables, settings: Any, state: Any, totals: Tensor, tokens: Tensor, limit: Tensor
) -> tuple[Tensor, Tensor, Tracks]:
    """Chooses K continuations that may finish and K that stay alive.

    Args:
        terms: The tables of the terms.
        settings: The `SearchSettings`.
        state: The `SearchState`.
        totals: float (B, N), the scores of all continuations; those of a beam are adjacent.
        tokens: int (B, N), their new tokens.
        limit: scalar, the maximum number of new tokens.

    Returns:
        The scores (B, 2K), the places among the N (B, 2K) and the `Tracks` of the chosen ones.
    """
    beams, length = settings.num_beams, state.step + 1
    order = ops.cast(ops.argsort(-totals, axis=1), "int32")  # best first
    totals = ops.take_along_axis(totals, order, axis=1)
    tokens = ops.take_along_axis(tokens, order, axis=1)
    each = ops.shape(totals)[1] // beams
    tracks = _advance(terms, pick_tracks(state.tracks, order // each), tokens)
    is_valid = totals > worst_score()
    has_ended = ops.logical_or(ops.equal(tokens, settings.end_id), length >= limit)
    may_finish = _may_finish(tracks, is_valid, has_ended, beams)
    may_live = ops.logical_and(is_valid, ops.logical_not(has_ended))
    place = ops.arange(beams * each, dtype="int32")
    finished = _first(ops.where(may_finish, place, beams * each + place), beams)
    alive = _first(_order(terms, tracks, may_live, limit - length, beams), beams)
    found = [
        ops.take_along_axis(ops.where(may_be, totals, lowest("float32")), places, axis=1)
        for may_be, places in ((may_finish, finished), (may_live, alive))
    ]
    chosen = ops.concatenate([finished, alive], axis=1)
    places = ops.take_along_axis(order, chosen, axis=1)
    return ops.concatenate(found, axis=1), places, pick_tracks(tracks, chosen)


def _may_finish(tracks, is_valid, has_ended, beams):
    """Whether continuations (B, N), best first, may join the finished pool.

    They must end, contain all terms, and be among the K best that contain all terms.
    """
    is_complete = ops.logical_and(is_valid, ops.all(tracks.met, axis=2))
    is_among_best = _number(is_complete[:, :, None])[:, :, 0] < beams
    return ops.logical_and(ops.logical_and(is_complete, is_among_best), has_ended)


def _order(terms, tracks, may_live, room, beams):
    """Returns sort keys (B, N), by which continuations, given best first, are taken into the beams.

    Continuations are grouped by their number of missing tokens. The best of each group come first,
    then the second best, and so on; in each turn, groups with fewer missing tokens come first.
    Continuations that cannot complete their terms, one after another, in `room` tokens come last.

    Reference:
        Post and Vilar 2018, "Fast Lexically Constrained Decoding with Dynamic Beam Allocation for
        Neural Machine Translation", section 3.
    """
    missing = _missing(terms, tracks)
    misses = ops.equal(missing[:, :, None], terms.amounts)  # (B, N, W)
    misses = ops.logical_and(misses, may_live[:, :, None])
    turn = ops.sum(ops.where(misses, _number(misses), 0), axis=2)
    turn = ops.minimum(ops.cast(turn, "int32"), beams)  # later turns are never reached
    turn = ops.where(missing <= room, turn, turn + beams + 1)
    turn = ops.where(may_live, turn, 2 * beams + 2)
    return turn * ops.shape(terms.amounts)[0] + missing


def _advance(terms, tracks, tokens):
    """Returns the `Tracks` (B, N) after each continuation's token (B, N)."""
    columns = ops.arange(1, ops.shape(terms.ids)[1] + 1, dtype="int32")
    is_column = ops.equal(tokens[:, :, None], terms.ids[:, None])  # (B, N, A)
    column = ops.sum(ops.where(is_column, columns, 0), axis=2)[:, :, None]
    moves = _rows(terms.moves, tracks.nodes)  # (B, N, A + 1)
    nodes = ops.cast(ops.take_along_axis(moves, column, axis=2)[:, :, 0], "int32")
    return Tracks(nodes, ops.logical_or(tracks.met, _rows(terms.met, nodes)))


def _missing(terms, tracks):
    """Returns how many tokens each hypothesis (B, N) needs to complete its terms one after another.

    The most advanced term is continued, and all others start at their first token. The next token
    of the advanced term lowers the number by at least 1, so a hypothesis that has room for its
    terms can always take this token and still have room for the rest.
    """
    whole = ops.where(tracks.met, 0, terms.missing[:, :1])  # (B, N, J)
    advanced = ops.where(tracks.met, 0, whole - _rows(terms.missing, tracks.nodes))
    return ops.sum(whole, axis=2) - ops.max(advanced, axis=2)


def _number(flags):
    """Returns the number of True flags (B, N, W) that precede each position along N."""
    counts = ops.cumsum(ops.cast(flags, "int32"), axis=1)
    return ops.cast(counts, "int32") - ops.cast(flags, "int32")


def _first(keys, count):
    """Returns the places (B, count) of the smallest keys (B, N), in order."""
    return ops.cast(ops.top_k(-keys, count)[1], "int32")


def _rows(table, nodes):
    """Returns the rows (B, N, X) of a table (B, S, X) at the nodes (B, N)."""
    return ops.take_along_axis(table, nodes[:, :, None], axis=1)
