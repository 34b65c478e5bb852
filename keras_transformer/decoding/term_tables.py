"""The automaton that recognizes the forced terms of a source in a sequence of tokens.

Shape letters: B batch, S nodes, A distinct ids of the terms, J terms, M alternatives of all terms,
W possible numbers of missing tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_transformer.decoding.vocabulary_subset import Candidates

Tensor = Any
Term = tuple[tuple[int, ...], ...]  # the alternatives of a term

_FEWEST_TOKENS = 8
_FEWEST_TERMS = 2


class TermTables(NamedTuple):
    """The forced terms of a batch as tables of an Aho-Corasick automaton.

    A node is a prefix of an alternative. After any sequence of tokens, the automaton is at the
    longest prefix that is a suffix of the sequence; node 0 is the empty prefix. Sizes are padded to
    powers of two, so that few distinct shapes are compiled; padded terms count as met.

    Attributes:
        ids: int (B, A), the distinct ids of the alternatives, padded with -1.
        moves: int (B, S, A + 1), the next node; column 0 is for all other ids.
        met: boolean (B, S, J), the terms that are complete at a node.
        missing: int (B, S, J), the fewest tokens that complete a term from a node.
        next_ids: int (B, S, M), the token that continues an alternative at a node, padded with -1.
        next_columns: int (B, S, M), the columns of these tokens in the logits.
        owners: int (B, M), the term that each alternative belongs to.
        start_node: int (B, 1), the node after the prefix of the translation.
        start_met: boolean (B, 1, J), the terms that the prefix contains.
        amounts: int (W,), 0 to W - 1, the possible numbers of missing tokens of a hypothesis.

    Reference:
        Aho and Corasick 1975, "Efficient String Matching: An Aid to Bibliographic Search".
    """

    ids: Tensor
    moves: Tensor
    met: Tensor
    missing: Tensor
    next_ids: Tensor
    next_columns: Tensor
    owners: Tensor
    start_node: Tensor
    start_met: Tensor
    amounts: Tensor


def make_tables(
    rows: Sequence[Sequence[Term]],
    prefixes: Sequence[Sequence[int]],
    candidates: Candidates | None = None,
) -> TermTables:
    """Builds the tables of a batch.

    Args:
        rows: The terms of each source.
        prefixes: The ids that each translation starts with, which may contain terms.
        candidates: The candidates of the batch, which include the ids of all terms; None if the
            columns of the logits are the ids.

    Returns:
        `TermTables` of arrays.
    """
    num_tokens = max(sum(map(len, _alternatives(terms))) for terms in rows) + 1
    num_terms = max(len(_alternatives(terms)) for terms in rows)
    sizes = _power_of_two(num_tokens, _FEWEST_TOKENS), _power_of_two(num_terms, _FEWEST_TERMS)
    made: dict[tuple, dict[str, np.ndarray]] = {}
    items = []
    for terms, prefix in zip(rows, prefixes, strict=True):
        key = tuple(terms)
        if key not in made:
            made[key] = _tables_of_row(key, *sizes)
        items.append(made[key] | _start(made[key], prefix))
    tables = {name: np.stack([item[name] for item in items]) for name in items[0]}
    return TermTables(
        **tables,
        next_columns=_columns(tables["next_ids"], candidates),
        amounts=np.arange(sizes[0], dtype="int32"),
    )


def fewest_tokens(tables: TermTables) -> np.ndarray:
    """Returns how many tokens (B,) the terms of each source need, one after another."""
    missing = np.where(tables.start_met[:, 0], 0, tables.missing[:, 0])
    rows = np.arange(len(missing))
    gained = missing - tables.missing[rows, tables.start_node[:, 0]]
    gained = np.where(tables.start_met[:, 0], 0, gained)
    return missing.sum(axis=1) - gained.max(axis=1)


def _alternatives(terms):
    return [alternative for term in terms for alternative in term]


def _power_of_two(count, least):
    return max(least, 1 << (count - 1).bit_length())


def _tables_of_row(terms, num_tokens, num_terms):
    """Returns the tables of one source, with S = A = W = `num_tokens` and J = M = `num_terms`."""
    alternatives = _alternatives(terms)
    owners = [index for index, term in enumerate(terms) for _ in term]
    prefixes = {ids[:length] for ids in alternatives for length in range(len(ids) + 1)} | {()}
    nodes = {prefix: node for node, prefix in enumerate(sorted(prefixes, key=len))}
    alphabet = sorted(set().union(*alternatives))
    tables = {
        "ids": np.full(num_tokens, -1, "int32"),
        "moves": np.zeros((num_tokens, num_tokens + 1), "int32"),
        "met": np.zeros((num_tokens, num_terms), bool),
        "missing": np.zeros((num_tokens, num_terms), "int32"),
        "next_ids": np.full((num_tokens, num_terms), -1, "int32"),
        "owners": np.zeros(num_terms, "int32"),
    }
    tables["ids"][: len(alphabet)] = alphabet
    tables["met"][:, len(terms) :] = True
    tables["owners"][: len(owners)] = owners
    for prefix, node in nodes.items():
        for column, token in enumerate(alphabet):
            tables["moves"][node, column + 1] = nodes[_longest((*prefix, token), nodes)]
        missing = np.full(num_terms, num_tokens)
        for index, (owner, ids) in enumerate(zip(owners, alternatives, strict=True)):
            overlap = len(_longest(prefix, {ids[:length] for length in range(len(ids))}))
            tables["next_ids"][node, index] = ids[overlap]
            tables["met"][node, owner] |= prefix[len(prefix) - len(ids) :] == ids
            missing[owner] = min(missing[owner], len(ids) - overlap)
        tables["missing"][node, : len(terms)] = missing[: len(terms)]
    return tables


def _longest(sequence, prefixes):
    """Returns the longest suffix of a sequence that is one of the prefixes."""
    ends = (sequence[start:] for start in range(len(sequence) + 1))
    return next(end for end in ends if end in prefixes)


def _start(tables, prefix):
    """Returns the automaton's node after a prefix, and the terms that the prefix contains."""
    node, met = 0, tables["met"][0].copy()
    for token in prefix:
        columns = np.flatnonzero(tables["ids"] == token)
        node = tables["moves"][node, columns[0] + 1] if len(columns) else 0
        met |= tables["met"][node]
    return {"start_node": np.array([node], "int32"), "start_met": met[None]}


def _columns(next_ids, candidates):
    if candidates is None:
        return next_ids
    known, columns = np.unique(candidates.ids, return_index=True)
    places = np.searchsorted(known, next_ids).clip(0, len(known) - 1)
    return np.where(next_ids < 0, -1, columns[places]).astype("int32")
