"""What `tpu_check.py` compiles: models with their recipes, slices, splits and variants."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

# Memory of a chip in GiB, as Google's documentation gives it.
MEMORY = {"v5e": 16, "v6e": 32}
# The grid of chips of each slice. A single chip is one of the smallest grid.
GRIDS = {1: "2x2", 8: "2x4", 16: "4x4"}
# Devices that share the weights when these are split: a divisor of 8, 16 and GPT-1's 12 heads.
MODEL_AXIS = 4


class Model(NamedTuple):
    """A model of `kt.models` with its recipe and the size of its batches.

    Attributes:
        build: Name in `kt.models`.
        arguments: Arguments of `build`.
        recipe: Name in `kt.training`.
        recipe_arguments: Arguments of `recipe`.
        length: Tokens of a row, in the source as well for a translator.
        rows: Rows per chip of a training step.
        decoded_rows: Rows per chip when decoding.
        prompt_length: Tokens of a prompt, or of a source, when decoding.
        new_tokens: Tokens to decode.
    """

    build: str
    arguments: dict[str, Any]
    recipe: str
    recipe_arguments: dict[str, Any]
    length: int
    rows: int
    decoded_rows: int = 16
    prompt_length: int = 128
    new_tokens: int = 128


_STEPS = {"total_steps": 100_000}
MODELS = {
    "transformer_base": Model(
        "transformer_base",
        {"vocabulary_size": 37_000},
        "transformer_recipe",
        {"hidden_dim": 512},
        length=128,
        rows=128,
    ),
    "transformer_big": Model(
        "transformer_big",
        {"vocabulary_size": 37_000},
        "transformer_recipe",
        {"hidden_dim": 1024},
        length=128,
        rows=64,
    ),
    "gpt1": Model("gpt1", {}, "gpt1_pretraining_recipe", _STEPS, length=512, rows=8),
    "gpt1, 2,048 tokens": Model(
        "gpt1", {"max_length": 2048}, "gpt1_pretraining_recipe", _STEPS, length=2048, rows=2
    ),
}
_TINY = {"num_layers": 1, "num_heads": 4, "hidden_dim": 32, "intermediate_dim": 64}
SMOKE_MODELS = {
    "tiny transformer": Model(
        "transformer",
        {"vocabulary_size": 96, **_TINY},
        "transformer_recipe",
        {"hidden_dim": 32, "warmup_steps": 1},
        length=16,
        rows=8,
        decoded_rows=2,
        prompt_length=16,
        new_tokens=16,
    ),
    "tiny gpt": Model(
        "gpt",
        {"vocabulary_size": 96, "max_length": 64, **_TINY},
        "gpt1_pretraining_recipe",
        {**_STEPS, "warmup_steps": 1},
        length=16,
        rows=8,
        decoded_rows=2,
        prompt_length=16,
        new_tokens=16,
    ),
}
# What a variant changes: an argument of the model, or the loss.
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "rematerialize": {"rematerialize": True},
    "chunks": {},
    "rematerialize, chunks": {"rematerialize": True},
    "dense attention": {"attention_implementation": "dense"},
    "attention in blocks": {"attention_implementation": "blockwise"},
}


class Row(NamedTuple):
    """A program for a slice.

    Attributes:
        program: "fit", "generate" or "beam_search".
        model: A key of `MODELS`.
        chip: A key of `MEMORY`.
        chips: A key of `GRIDS`.
        model_axis: Devices that share the weights; 1 to split only the batch.
        variant: A key of `VARIANTS`.
        batch: Rows of all chips together.
        search: Whether to look for the largest batch that fits.
    """

    program: str
    model: str
    chip: str
    chips: int
    model_axis: int
    variant: str
    batch: int
    search: bool

    @property
    def name(self) -> str:
        """A name that `--only` matches parts of, such as "fit gpt1 v5e-8 2x4 chunks"."""
        parts = (self.program, self.model, f"{self.chip}-{self.chips}", self.mesh, self.variant)
        return " ".join(part for part in parts if part)

    @property
    def mesh(self) -> str:
        """How the chips are split: "batch", or the two sizes of the mesh, such as "2x4"."""
        parts = self.chips // self.model_axis
        return "batch" if self.model_axis == 1 else f"{parts}x{self.model_axis}"

    @property
    def file_name(self) -> str:
        """The name of the file that keeps the row's results."""
        return re.sub(r"[^a-z0-9_]+", "-", self.name.lower()).strip("-") + ".json"


def make_rows(models: dict[str, Model] = MODELS) -> list[Row]:
    """All rows, the quickest and most telling ones first."""
    rows = []
    for chip in MEMORY:
        for chips in GRIDS:
            for model_axis in (1,) if chips == 1 else (1, MODEL_AXIS):
                place = (chip, chips, model_axis)
                rows += [_row("fit", models, model, place, "") for model in _plain(models)]
                rows += _variants(models, place)
                rows += _decoding(models, place)
    return sorted(rows, key=lambda row: (row.chips, row.model_axis))


def smoke_rows() -> list[Row]:
    """Rows of tiny models for one chip, whose memory they never fill."""
    rows = [row for row in make_rows(SMOKE_MODELS) if (row.chip, row.chips) == ("v5e", 1)]
    return [row._replace(search=False) for row in rows]


def _row(program, models, model, place, variant) -> Row:
    is_fit = program == "fit"
    rows = models[model].rows if is_fit else models[model].decoded_rows
    chip, chips, model_axis = place
    return Row(program, model, chip, chips, model_axis, variant, chips * rows, is_fit)


def _plain(models):
    return [name for name in models if "tokens" not in name]


def _variants(models, place):
    """All variants on one chip; on eight, the loss in chunks, which also communicates."""
    rows = []
    for variant in VARIANTS:
        is_attention = "attention" in variant
        if not variant or place[1] > 1 and (place[1], variant) != (8, "chunks"):
            continue
        for model in models:
            if is_attention == ("tokens" in model):
                rows.append(_row("fit", models, model, place, variant))
    return rows


def _decoding(models, place):
    """Beam search for translators, and greedy generation for all but the big one."""
    rows = []
    for model in _plain(models):
        if "big" not in model:
            rows.append(_row("generate", models, model, place, ""))
        if "transformer" in model:
            rows.append(_row("beam_search", models, model, place, ""))
    return rows
