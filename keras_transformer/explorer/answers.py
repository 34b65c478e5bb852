"""The server's answers: one method for each address that the page requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_transformer.checks import check
from keras_transformer.explorer.comparison import Comparison
from keras_transformer.explorer.fields import Fields, NotThere
from keras_transformer.explorer.insights import lens, saliency_of
from keras_transformer.explorer.live_generation import generation_lines
from keras_transformer.explorer.model_description import attentions, describe_model, probe
from keras_transformer.explorer.opened_model import OpenedModel
from keras_transformer.explorer.pictures import (
    example_picture,
    given_picture,
    picture_names,
    picture_shape,
)
from keras_transformer.explorer.recorded_run import (
    RecordedRun,
    RunStore,
    likeliest,
    run_picture,
    run_text,
    target_text,
)
from keras_transformer.explorer.translations import translate
from keras_transformer.visualize.wire import encode_tensor

_MOST_NUMBERS = 1 << 24  # of one tensor: 64 MB
# What recurrent layers report, see `kt.visualize.record`.
_GATES = ("input_gate", "forget_gate", "output_gate", "update_gate", "reset_gate")
_STATES = (*_GATES, "candidate", "memory", "state")


class Answers:
    """Answers everything the page requests about one model.

    Args:
        opened: The model.
        runs: The store of recorded runs.
    """

    def __init__(self, opened: OpenedModel, runs: RunStore | None = None):
        self.opened, self.runs = opened, runs or RunStore()
        self.comparison = Comparison()
        self.description = describe_model(opened, probe(opened))

    # === Computed by the model, one after another ===

    def run(self, fields: Fields) -> dict[str, Any]:
        """Runs the model on a text."""
        text, target = fields.text(), fields.text("target", optional=True)
        run = run_text(self.opened, text, target, fields.ablate())
        return {"text": text, **self.keep(run)}

    def image(self, fields: Fields) -> dict[str, Any]:
        """Runs the model on a picture."""
        if self.opened.kind != "vision":
            raise ValueError("`image` needs a model that reads pictures.")
        if fields.get("pixels") is not None:
            picture = given_picture(self.opened, fields["pixels"])
        else:
            last = len(picture_names(self.opened)) - 1
            picture = example_picture(self.opened, fields.integer("example", 0, last, 0))
        run = run_picture(self.opened, picture, fields.ablate())
        rows, columns = picture_shape(self.opened)["patches"]  # type: ignore[index]
        places = [f"{row + 1},{column + 1}" for row in range(rows) for column in range(columns)]
        tokens = [{"id": index, "text": text} for index, text in enumerate(["class", *places])]
        logits = np.asarray(run.result) if run.logits_name else None
        return {
            **self.keep(run),
            "tokens": {"encoder": tokens},
            "patches": [rows, columns],
            "image": encode_tensor(picture),
            "classes": None if logits is None else self._classes(_softmax(logits[0])),
        }

    def mask(self, fields: Fields) -> dict[str, Any]:
        """Fills in the masked tokens of a text."""
        if not self.opened.has_masked_lm:
            raise ValueError("`mask` needs a model that fills in masked words.")
        run = run_text(self.opened, fields.text())
        masked = [t for t, i in enumerate(run.encoder_ids) if i == self.opened.mask_id]
        if not masked:
            raise ValueError(
                f"`text` must contain {self.opened.mask_token}. Received: no such token."
            )
        logits = run.result["logits"][0][masked]
        return {
            **self.keep(run),
            "positions": masked,
            "top": likeliest(self.opened, "encoder", logits),
        }

    def translate(self, fields: Fields) -> dict[str, Any]:
        """Translates a text by beam search."""
        answer, run = translate(self.opened, fields)
        kept = {"text": answer["text"], **self.keep(run)}
        return {**answer, "run": kept["run"], "run_data": kept}

    def lens(self, fields: Fields) -> dict[str, Any]:
        """Returns what each layer of a run would predict."""
        return lens(self.opened, self.runs.get(fields.get("run")))

    def saliency(self, fields: Fields) -> dict[str, Any]:
        """Returns how much each token of a run contributes to a prediction."""
        run = self.runs.get(fields.get("run"))
        last = len(run.decoder_ids or run.encoder_ids) - 1
        most = (self.opened.vocabulary_size or 1) - 1
        chosen = fields.get("token_id") is not None
        token_id = fields.integer("token_id", 0, most) if chosen else None
        return saliency_of(self.opened, run, fields.integer("position", 0, max(last, 0)), token_id)

    def generate(self, fields: Fields) -> Iterator[dict[str, Any]]:
        """Continues a text, line by line."""
        return generation_lines(self.opened, fields)

    def compare(self, fields: Fields) -> Iterator[dict[str, Any]]:
        """Runs a sentence through four small models."""
        return self.comparison.lines(fields)

    # === Answered without running the model ===

    def model(self) -> dict[str, Any]:
        """Describes the model."""
        return self.description

    def vocabulary(self, fields: Fields) -> dict[str, Any]:
        """Returns the texts of all ids."""
        stack = "decoder" if "decoder" in self.opened.texts else "encoder"
        texts = self.opened.texts.get(stack)
        return {"texts": [] if texts is None else texts.texts}

    def tensor(self, fields: Fields) -> dict[str, Any]:
        """Returns a tensor of a run, or a part of it."""
        array = self.runs.get(fields.get("run")).tensor(str(fields.get("name")))
        for index in fields.integers("index"):
            size = array.shape[0] if array.ndim else 0
            check(index < size, f"contain an index below {size} for this axis", "index", index)
            array = array[index]
        check(array.size <= _MOST_NUMBERS, "select a part of the tensor", "index", array.shape)
        return encode_tensor(array)

    def weights(self, fields: Fields) -> dict[str, Any]:
        """Returns the attention weights of all layers and heads of one kind."""
        kind = fields.choice("kind", ("encoder", "decoder", "cross"))
        run = self.runs.get(fields.get("run"))
        found = [
            run.tensor(f"{one['path']}/weights")
            for one in attentions(run)
            if kind == ("cross" if one["kind"] == "cross" else one["stack"])
        ]
        if not found:
            raise NotThere(f"The model has no attention of the kind {kind!r}.")
        most = max(len(weights) for weights in found)
        # Blocks with fewer heads are padded with zeros.
        padded = [np.pad(w, ((0, most - len(w)), (0, 0), (0, 0))) for w in found]
        return {"tensor": encode_tensor(np.stack(padded), shares=True)}

    def states(self, fields: Fields) -> dict[str, Any]:
        """Returns the gates and states of recurrent layers."""
        run = self.runs.get(fields.get("run"))
        found = []
        for name in run.trace:
            layer, _, what = name.rpartition("/")
            if what in _STATES and run.trace[name].ndim == 3:
                stack = layer.split("/")[0]
                values = encode_tensor(run.tensor(name))
                one = {"name": name, "stack": stack, "layer": layer, "what": what}
                found.append({**one, "tensor": values})
        return {"states": found}

    # === The description of a run ===

    def keep(self, run: RecordedRun) -> dict[str, Any]:
        """Keeps a run and describes it."""
        texts = self.opened.texts
        tokens = {}
        if run.encoder_ids:
            tokens["encoder"] = texts["encoder"].tokens(run.encoder_ids)
        if run.decoder_ids:
            tokens["decoder"] = texts["decoder"].tokens(run.decoder_ids)
        output, writes = self._output(run)
        read = tokens.get("decoder", tokens.get("encoder", []))
        return {
            "run": self.runs.add(run),
            "kind": run.kind,
            "tokens": tokens,
            "reads": [token["text"] for token in read],
            "writes": writes,
            "tensors": run.shapes(),
            "attentions": attentions(run),
            "ablate": {path: list(heads) for path, heads in run.ablate.items()},
            "output": output,
        }

    def _output(self, run):
        """The model's output, and the texts that a decoder writes."""
        if run.kind == "vision":
            return {"logits": run.logits_name}, None
        if run.kind == "encoder":
            return self._encoder_output(run), None
        top = likeliest(self.opened, "decoder", np.asarray(run.result)[0])
        texts = self.opened.texts["decoder"].texts
        writes = [
            best[0]["text"] if index is None else texts[index]
            for index, best in zip(run.next_ids, top, strict=True)
        ]
        output = {"logits": run.logits_name, "top": top}
        if run.kind == "translator":
            output |= {"target": target_text(self.opened, run.decoder_ids[1:]), "made": run.made}
        return output, writes

    def _encoder_output(self, run):
        output: dict[str, Any] = {"logits": run.logits_name, "top": None, "classes": None}
        if self.opened.has_masked_lm:
            output["top"] = likeliest(self.opened, "encoder", run.result["logits"][0])
        elif not isinstance(run.result, dict) and _are_probabilities(run.result):
            output["classes"] = self._classes(run.result[0])
        return output

    def _classes(self, probabilities, count=10):
        names = self.opened.classes or [str(index) for index in range(len(probabilities))]
        best = np.argsort(-probabilities, kind="stable")[:count]
        return [{"label": names[i], "probability": float(probabilities[i])} for i in best]


def _are_probabilities(result):
    """Whether a result is a classifier's probabilities, not a sentence encoder's vector."""
    rows = result.astype("float32")
    return rows.ndim == 2 and rows.min() >= 0 and abs(rows[0].sum() - 1.0) < 0.01


def _softmax(logits):
    exponents = np.exp(logits.astype("float64") - logits.max())
    return exponents / exponents.sum()


# Answered in turn by the inference thread; all others are answered immediately.
COMPUTED: tuple[str, ...] = ("run", "image", "mask", "translate", "lens", "saliency")
READ: tuple[str, ...] = ("vocabulary", "tensor", "weights", "states")
STREAMED: tuple[str, ...] = ("generate", "compare")
