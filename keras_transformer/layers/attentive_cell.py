"""A recurrent cell that attends to a source before each step, as in Bahdanau's decoder.

Shape letters: R rows, T length, S source length, D width of the input, H units, E width of the
encoded source.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_transformer.layers.outputs import make_output, take_output

Tensor = Any


def advance(real: Tensor, output: Tensor, new: Any, old: Any) -> tuple[Tensor, list]:
    """Updates output and states where tokens are real (R, 1) and keeps the old ones elsewhere.

    The first state of every Keras cell is its last output.
    """
    states = [ops.where(real, one, other) for one, other in zip(new, old, strict=True)]
    return ops.where(real, output, old[0]), states


class AttentiveCell:
    """Recurrent cell that attends from its last state and appends the context to its input.

    It is created for a single call and owns no weights. Its output is (R, H + E), or
    (R, H + E + S) with the attention weights. If `is_masked`, the last column of its input marks
    real tokens.

    Args:
        cell: A Keras cell.
        attention: A built layer of one of the classes in `ATTENTIONS`.
        source: Arguments of the attention's call: the cache, the mask, and whether to return the
            weights.
    """

    def __init__(self, cell: Any, attention: Any, source: dict[str, Any]):
        self.cell, self.attention, self.source = cell, attention, source
        self.state_size, self.compute_dtype = cell.state_size, cell.compute_dtype
        width = source["cache"].value.shape[-1]
        self.output_size = cell.units + width
        self.sizes = (cell.units, width)
        self.is_masked = False

    def __call__(self, inputs: Tensor, states: Any, **keywords: Any) -> tuple:
        """Calls `call`."""
        return self.call(inputs, states, **keywords)

    def call(self, inputs: Tensor, states: Any, training: bool | None = None) -> tuple:
        """Runs one step on inputs (R, D) and the cell's states."""
        real = None
        if self.is_masked:
            inputs, real = inputs[:, :-1], inputs[:, -1:] > 0.5
        extras: dict[str, Any] = {}
        found = self.attention(states[0][:, None], **self.source)
        context = take_output(found, extras)[:, 0]
        output, new = self.cell(ops.concatenate([inputs, context], axis=-1), states)
        if real is not None:
            output, new = advance(real, output, new, states)
        outputs = [output, context]
        if extras:
            outputs.append(ops.cast(extras["attention_scores"][:, 0, 0], output.dtype))
        return ops.concatenate(outputs, axis=-1), new

    def split(self, outputs: Tensor) -> tuple[Tensor, Any]:
        """Splits into outputs (R, T, H) and context (R, T, E), with the weights if requested."""
        units, width = self.sizes
        context = outputs[:, :, units : units + width]
        if self.source["return_attention_scores"]:
            scores = outputs[:, None, :, units + width :]
            context = make_output(context, {"attention_scores": scores})
        return outputs[:, :, :units], context
