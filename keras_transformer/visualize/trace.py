"""Recording of every intermediate tensor of a model.

Shape letters: B batch, T query length, S key length, N heads, K key/value heads, H head size.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
from keras import ops

from keras_transformer.checks import check, is_integer
from keras_transformer.recording import Recorder, recording


class Trace(Mapping):
    """Recorded tensors by name; if a name occurs in several calls, the last tensor.

    A mapping from names to NumPy arrays, in the order in which they were computed.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> model = kt.models.gpt(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> with kt.visualize.record(model) as trace:
        ...     logits = model({"token_ids": np.array([[5, 6, 7]])})
        >>> trace["decoder/block_0/self_attention/weights"].shape
        (1, 2, 3, 3)
        >>> trace.find("*/feed_forward/*")
        ['decoder/block_0/feed_forward/hidden', 'decoder/block_0/feed_forward/output']
    """

    def __init__(self) -> None:
        self._calls: dict[str, list[np.ndarray]] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        return self.all(name)[-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._calls)

    def __len__(self) -> int:
        return len(self._calls)

    def __repr__(self) -> str:
        lines = (f"  {name}: {self[name].dtype} {self[name].shape}" for name in self)
        return "\n".join([f"Trace of {len(self)} tensors", *lines])

    def find(self, pattern: str) -> list[str]:
        """Returns the names that match a pattern such as "*/self_attention/weights"."""
        return [name for name in self if fnmatch.fnmatchcase(name, pattern)]

    def all(self, name: str) -> list[np.ndarray]:
        """Returns the tensors recorded under a name in all calls, such as every decoding step.

        Args:
            name: The name.

        Returns:
            A list of arrays.

        Raises:
            KeyError: If there is no such tensor.
        """
        if name in self._calls:
            return self._calls[name]
        hint = "Call the model itself: `fit`, `predict` and `evaluate` run compiled programs."
        if self._calls:
            last = str(name).rsplit("/", 1)[-1]
            near = self.find(f"*{last}*")[:3] or list(self)[:3]
            hint = f"Similar names: {', '.join(near)}."
        raise KeyError(f"No tensor named {name!r} was recorded. {hint}")

    def _receive(self, name, tensor):
        array = np.array(ops.convert_to_numpy(tensor))
        if not (array.dtype.kind in "iub" or array.dtype in (np.float32, np.float64)):
            array = array.astype("float32")  # NumPy itself has no bfloat16
        self._calls.setdefault(name, []).append(array)


@contextlib.contextmanager
def record(
    model: keras.layers.Layer,
    names: str | Sequence[str] = "*",
    *,
    ablate: Mapping[str, int | Sequence[int]] | None = None,
) -> Iterator[Trace]:
    """Records the intermediate tensors of all calls of a model in a `with` block.

    Each layer reports its output as `<path>/output`, where the path consists of the names of the
    layers, and further tensors:

    * `TokenEmbedding`: `embedding`, and `logits` where it projects hidden states.
    * Positional encodings: `encoding`, the vectors that are added.
    * Attention: `query` (B, N, T, H), `key` and `value` (B, K, S, H); `scores` (B, N, T, S), the
      same `scaled`, `biased` by relative positions, `masked` (minus infinity where a query may not
      attend) and as `weights` after the softmax; `head_output` (B, N, T, H), before the output
      projection. Recurrent decoders' attention has one head.
    * Blocks: `self_attention_residual`, `cross_attention_residual` and `feed_forward_residual`, the
      sums of a sublayer's input and output.
    * `FeedForward`: `hidden`, after the activation.
    * `SSRU`: `forget_gate`, `candidate` and `state`.
    * SimpleRNN, LSTM and GRU: `state` (B, T, units), their gates `input_gate`, `forget_gate` and
      `output_gate` or `update_gate` and `reset_gate`, `candidate`, and the LSTM's `memory`.

    Inside the block, calls run eagerly and attention is dense, so outputs are equal up to rounding.
    `kt.decoding` runs step by step, and beam search reports its candidates. Other threads are
    unaffected, and nothing remains when the block exits.

    Args:
        model: A model or layer; its layers are recorded even if they are called directly.
        names: Patterns of the names to keep, such as "*/weights", for less memory.
        ablate: Heads to switch off, by the path of their attention: `{"decoder/block_0/"
            "self_attention": [0, 3]}` sets their output to zero before the output projection.

    Yields:
        The `Trace`, filled by the calls.

    Raises:
        ValueError: If recordings are nested, or `ablate` names an attention that is not called or a
            head that does not exist.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> model = kt.models.gpt(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> with kt.visualize.record(
        ...         model, "*/head_output", ablate={"decoder/block_0/self_attention": 1}) as trace:
        ...     logits = model({"token_ids": np.array([[5, 6, 7]])})
        >>> float(abs(trace["decoder/block_0/self_attention/head_output"][:, 1]).max())
        0.0

    See Also:
        `kt.visualize.attention_scores` returns the attention weights only;
        `kt.visualize.plot_attention` draws them.
    """
    patterns = [names] if isinstance(names, str) else list(names)
    check(isinstance(model, keras.layers.Layer), "be a Keras model or layer", "model", model)
    trace, seen = Trace(), set()
    ablated = {name: _heads(name, heads) for name, heads in (ablate or {}).items()}

    def receive(name, tensor):
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            trace._receive(name, tensor)

    def edit(name):
        def switch_off(tensor):
            seen.add(name)
            return _without_heads(name, tensor, ablated[name])

        return switch_off

    edits = {f"{name}/head_output": edit(name) for name in ablated}
    with recording(Recorder(model, receive, edits)):
        yield trace
    for name in ablated:
        check(name in seen, "name an attention that is called", "ablate", name)


def _heads(name, heads) -> list[int]:
    heads = [heads] if is_integer(heads) else list(heads)
    for head in heads:
        check(is_integer(head) and head >= 0, "contain heads >= 0", f"ablate[{name!r}]", head)
    return heads


def _without_heads(name, tensor, heads):
    count = tensor.shape[1]
    for head in heads:
        check(head < count, f"contain heads below {count}", f"ablate[{name!r}]", head)
    kept = np.ones((1, count, 1, 1), "float32")
    kept[:, heads] = 0.0
    return tensor * ops.cast(kept, tensor.dtype)
