"""Log-probabilities of given targets.

Shape letters: N targets, B batch, T tokens read, S source length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_transformer.checks import check_as_many, check_flag
from keras_transformer.decoding.compilation import run_compiled
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.finite_logits import check_finite
from keras_transformer.decoding.logit_filters import ban_ids
from keras_transformer.decoding.padded_rows import pad_rows
from keras_transformer.decoding.programs import programs_of
from keras_transformer.decoding.prompts import check_count, check_id, check_ids
from keras_transformer.ops.likelihood import log_likelihood_terms


class _Settings(NamedTuple):
    excluded_ids: tuple[int, ...]


def score(
    model: keras.Model,
    inputs: Mapping[str, Any],
    start_id: int = 2,
    banned_ids: Sequence[int] = (),
    *,
    renormalize: bool = False,
    batch_size: int = 32,
    per_token: bool = False,
) -> Any:
    r"""Computes the log-probability of each target: $\sum_i \log P(y_i \mid y_{<i}, x)$.

    Use it to estimate the confidence in a translation, to filter a corpus, or to rerank the
    hypotheses of another model. The model reads each target once, as in training. Targets of
    similar length share a batch, and only the log-probabilities of the targets leave the device.

    The score equals that of `beam_search` with `length_penalty=0` for the same ids.

    Args:
        model: A translator or a language model that follows `kt.decoding.DecodingModel`.
        inputs: `source_ids` and `target_ids` of a translator, or `prompt_ids` and `target_ids` of
            a language model. Each is a list of N lists of ids, or an int array padded on either
            side. Targets have no start token; they include their end token if it is to be scored.
        start_id: The first decoder token of a translation.
        banned_ids: Ids that were banned during generation; they matter only with `renormalize`.
        renormalize: Whether to renormalize the probabilities over the ids that are not banned.
        batch_size: Targets per batch.
        per_token: Whether to return the log-probability of each token.

    Returns:
        float32 (N,); with `per_token` a list of N float32 arrays, one value per target token.

    Raises:
        ValueError: If an input is missing or unknown, the inputs differ in number, a row is empty,
            has ids outside the vocabulary or does not fit the model's positions, a target has a
            banned id with `renormalize`, a number is out of range, or the model's logits are not
            finite.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.transformer(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> pairs = {"source_ids": [[5, 6, 3], [7, 3]], "target_ids": [[8, 3], [9, 10, 3]]}
        >>> kt.decoding.score(model, pairs).shape
        (2,)

    See Also:
        `kt.decoding.beam_search`, whose unnormalized scores these are; `kt.score_translations`
        takes text.
    """
    parts = DecodingModel(model)
    check_flag(renormalize=renormalize, per_token=per_token)
    batch_size = check_count("batch_size", batch_size, 1)
    excluded = check_ids("banned_ids", banned_ids, parts.vocabulary_size) if renormalize else ()
    contexts, targets = _rows(parts, inputs, excluded)
    if parts.is_translator:
        start = check_id("start_id", start_id, parts.vocabulary_size)
        reads, starts = [[start, *row[:-1]] for row in targets], [0] * len(targets)
    else:
        reads = [[*one, *row[:-1]] for one, row in zip(contexts, targets, strict=True)]
        starts = [len(one) - 1 for one in contexts]
    # Rows of similar length share a batch, so that there is little padding.
    order = sorted(range(len(targets)), key=lambda i: (len(reads[i]), len(contexts[i])))
    programs, found = programs_of(model, _Settings(excluded)), [np.empty(0)] * len(targets)
    for begin in range(0, len(order), batch_size):
        members = order[begin : begin + batch_size]
        tensors = _tensors(parts, members, contexts, reads, targets, starts)
        values = ops.convert_to_numpy(run_compiled(programs, _log_probabilities, tensors))
        for row, i in zip(values, members, strict=True):
            found[i] = row[starts[i] : starts[i] + len(targets[i])].astype("float32")
    check_finite(np.array([np.isnan(one).any() for one in found]))
    if per_token:
        return found
    return np.array([one.sum(dtype="float64") for one in found], "float32")


def _rows(parts, inputs, excluded) -> tuple[list[list[int]], list[list[int]]]:
    """Returns the sources or prompts, and the targets, after validation."""
    first = "source_ids" if parts.is_translator else "prompt_ids"
    names = {first, "target_ids"}
    if not isinstance(inputs, Mapping) or set(inputs) != names:
        received = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
        raise ValueError(
            f"`inputs` must be a dict of {sorted(names)} for this model. Received: {received}."
        )
    embedding = parts.source_embedding if parts.is_translator else parts.target_embedding
    most = parts.source_max_length if parts.is_translator else parts.max_length
    contexts = pad_rows(
        first, inputs[first], embedding.vocabulary_size, embedding.padding_id, most
    ).rows
    own = (parts.vocabulary_size, parts.padding_id, parts.max_length)
    targets = pad_rows("target_ids", inputs["target_ids"], *own).rows
    check_as_many(**{"target_ids": targets, first: contexts})
    for index, row in enumerate(targets):
        if banned := set(row) & set(excluded):
            raise ValueError(
                "`target_ids` must not contain banned ids with `renormalize`. "
                f"Received: {sorted(banned)} in row {index}."
            )
    return contexts, targets


def _tensors(parts, members, contexts, reads, targets, starts) -> dict[str, np.ndarray]:
    rows = [reads[i] for i in members]
    own = (parts.vocabulary_size, parts.padding_id, parts.max_length, False)
    read = pad_rows("target_ids", rows, *own)
    labels, mask = np.zeros_like(read.ids), read.mask
    for place, i in enumerate(members):
        labels[place, starts[i] : starts[i] + len(targets[i])] = targets[i]
        # Marian starts targets with the padding id, as a real token.
        mask[place, 0] = mask[place, 0] or parts.start_is_padding
    tensors = {"read_ids": read.ids, "read_mask": mask, "labels": labels}
    if parts.is_translator:
        embedding = parts.source_embedding
        source = pad_rows(
            "source_ids",
            [contexts[i] for i in members],
            embedding.vocabulary_size,
            embedding.padding_id,
            parts.source_max_length,
        )
        tensors |= {"source_ids": source.ids, "source_mask": source.mask}
    return tensors


def _log_probabilities(
    model, settings, state, read_ids, read_mask, labels, source_ids=None, source_mask=None
):
    """Returns the log-probability of each label, (B, T)."""
    parts, source = DecodingModel(model), {}
    if source_ids is not None:
        source["encoded"] = parts.encode(source_ids, source_mask)
        source["encoded_padding_mask"] = source_mask
    logits = parts.logits(parts.decode(read_ids, padding_mask=read_mask, **source))
    if settings.excluded_ids:
        logits = ban_ids(logits, settings.excluded_ids)
    log_sum, label_logit, _ = log_likelihood_terms(labels, logits)
    return label_logit - log_sum
