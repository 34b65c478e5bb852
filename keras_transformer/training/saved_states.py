"""The folder of `SaveTraining`: its files and the index that names the complete states."""

from __future__ import annotations

import contextlib
import json
import os
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transformer.checks import is_integer, is_number
from keras_transformer.files import file_in, is_listed, read_json, whole_file
from keras_transformer.training.model_state import is_description

INDEX = "training.json"
_FORMAT = 2
_FILE = re.compile(r"(?P<name>model-\d+-\d+(-\d+)?)\.(keras|npz)")


class SavedStates:
    """The states of a training run in a folder.

    A state consists of a model, `model-E-B.keras` for epoch E and batch B, and a file of arrays,
    `model-E-B.npz`. `training.json` describes the complete states. It is written last, and no file
    that it names is ever overwritten, so that it never describes an incomplete state.

    Args:
        folder: The folder.
        content: The content of its `training.json` if its states are to be kept; None to replace
            them.
        monitor: The metric that decides which state is the best; a best state by another metric is
            no longer treated as such.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        content: dict[str, Any] | None = None,
        monitor: str | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.entries = [] if content is None else entries_of(content)
        best = None if content is None else content.get("best")
        known = best is not None and best.get("monitor") == monitor
        self.best: dict[str, Any] | None = best if known else None

    def add(
        self,
        entry: dict[str, Any],
        model: keras.Model,
        arrays: Mapping[str, np.ndarray],
        keep: int,
        best: dict[str, Any] | None = None,
    ) -> None:
        """Saves a state, and deletes the files of those that are no longer kept.

        Args:
            entry: The state's entry in the index, JSON-serializable.
            model: The model.
            arrays: Arrays to save with it.
            keep: Number of latest states to keep.
            best: The `monitor` and `value` if this is the best state so far, otherwise None.

        Raises:
            OSError: If the disk is full or refuses a write. The previous states are unchanged.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        name = self._free_name(entry["batches"])
        entry = {"model": f"{name}.keras", **entry}
        best = self.best if best is None else {"model": entry["model"], **best}
        latest, *others = self._kept([entry, *self.entries], keep, best)
        content = {"format": _FORMAT, **latest, "others": others, "best": best}
        try:
            with whole_file(self.folder / f"{name}.keras") as work:
                model.save(work)
            with whole_file(self.folder / f"{name}.npz") as work:
                np.savez(work, **arrays)  # type: ignore[arg-type]
        except BaseException:
            # Make room for the next state, as long as the index does not name these files.
            for ending in (".keras", ".npz"):
                (self.folder / f"{name}{ending}").unlink(missing_ok=True)
            raise
        with whole_file(self.folder / INDEX) as work:
            work.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
        self.entries, self.best = [latest, *others], best
        self._delete_all_but({one["model"].removesuffix(".keras") for one in self.entries})

    def _free_name(self, position: Mapping[str, Any]) -> str:
        """Returns a name for which the folder has no files."""
        stem = name = f"model-{position['epoch']}-{position['batch']}"
        number = 1
        while any((self.folder / f"{name}{ending}").exists() for ending in (".keras", ".npz")):
            number += 1
            name = f"{stem}-{number}"
        return name

    def _kept(self, entries, keep, best):
        """Returns the latest states and the best one."""
        is_best = [best is not None and entry["model"] == best["model"] for entry in entries]
        return [one for index, one in enumerate(entries) if index < keep or is_best[index]]

    def _delete_all_but(self, names: set[str]) -> None:
        for path in self.folder.iterdir():
            found = _FILE.fullmatch(path.name.removeprefix(".saving-"))
            if found and (found["name"] not in names or path.name.startswith(".")):
                with contextlib.suppress(OSError):  # the state is complete anyway
                    path.unlink()


def entries_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the states that an index describes, the latest first."""
    latest = {name: value for name, value in content.items() if name not in ("others", "best")}
    latest.pop("format", None)
    return [latest, *content.get("others", [])]


def read_index(folder: str | os.PathLike) -> dict[str, Any]:
    """Reads and checks the index of a folder.

    Args:
        folder: The folder.

    Returns:
        Its content; the names of model files in it contain no paths.

    Raises:
        ValueError: If the index is missing or damaged; the message names the file.
    """
    path = Path(folder) / INDEX
    if not is_listed(path):
        raise ValueError(
            "`folder` must contain a training state saved by SaveTraining. "
            f"Received: folder={os.fspath(folder)!r}, without {INDEX}."
        )
    content = read_json(file_in(folder, INDEX))
    version = content.get("format", 1)
    _require(is_integer(version), path, "have an integer `format`", version)
    _require(
        version <= _FORMAT,
        path,
        f"have a format up to {_FORMAT}; a newer library may have written it",
        version,
    )
    others = content.get("others", [])
    _require(isinstance(others, list), path, "list other states in `others`", others)
    for entry in entries_of(content):
        _check_entry(entry, path)
    best = content.get("best")
    names = [entry["model"] for entry in entries_of(content)]
    known = best is None or (isinstance(best, dict) and best.get("model") in names)
    known = known and (best is None or is_number(best.get("value")))
    _require(known, path, "name one of its states as `best`, with its value", best)
    return content


def choose_state(content: dict[str, Any], which: str, folder: Any) -> dict[str, Any]:
    """Returns the state that is asked for: "last", "best", or by name."""
    entries = entries_of(content)
    names = [entry["model"].removesuffix(".keras") for entry in entries]
    known = {"last": entries[0], **dict(zip(names, entries, strict=True))}
    if content.get("best"):
        known["best"] = known[content["best"]["model"].removesuffix(".keras")]
    if which not in known:
        raise ValueError(
            f"`which` must name a state in `folder`: one of {sorted(known)}. "
            f"Received: which={which!r}, folder={os.fspath(folder)!r}."
        )
    return known[which]


def _check_entry(entry: Any, path: Path) -> None:
    """Raises unless a state has all values that loading it needs, of the right types."""
    _require(isinstance(entry, dict), path, "describe states as JSON objects", entry)
    name, epoch, seeds = (entry.get(key) for key in ("model", "initial_epoch", "seeds"))
    is_name = isinstance(name, str) and name.endswith(".keras") and bool(_FILE.fullmatch(name))
    _require(is_name, path, "name a model file in its own folder, such as model-1-0.keras", name)
    known = is_integer(epoch) and 0 <= epoch < 2**31
    _require(known, path, "have an `initial_epoch`, a non-negative integer", epoch)
    _require(isinstance(entry.get("batches"), dict), path, "have a state of the `batches`", entry)
    known = isinstance(seeds, list) and all(
        isinstance(seed, list) and all(is_integer(x) and 0 <= x < 2**32 for x in seed)
        for seed in seeds
    )
    _require(known, path, "have `seeds`, lists of integers in [0, 2^32)", seeds)
    if "state" in entry:
        state = entry["state"]
        _require(is_description(state), path, "have a `state` of layers and weights", state)


def _require(holds: bool, path: Path, must: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"`{path}` must {must}. Received: {reprlib.repr(value)}.")


def check_batches(batches: Any) -> None:
    """Raises a ValueError unless batches can save and restore their position."""
    if not (hasattr(batches, "state") and hasattr(batches, "resume")):
        raise ValueError(
            "`batches` must have the methods `state` and `resume`, like those of kt.data. "
            f"Received: batches={batches!r}."
        )
