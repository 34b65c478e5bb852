"""One run of a model as a page in a single file, for slides."""

from __future__ import annotations

import json
import re
from typing import Any

from keras_transformer.explorer.answer_json import to_json
from keras_transformer.explorer.answers import Answers
from keras_transformer.explorer.app import PAGE, WEB
from keras_transformer.explorer.fields import Fields, NotThere
from keras_transformer.explorer.model_description import examples
from keras_transformer.visualize.standalone import standalone_page

MAX_BYTES = 5_000_000
_LANGUAGES = ("en", "ja")
_BODY = re.compile(r"<body>(.*)</body>", re.DOTALL)
_SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
# Only the live page needs these.
_LEFT_OUT = ("app.js", "live.js")


def exported_page(answers: Answers, text: str | None = None, target: str | None = None) -> str:
    """Creates a page that contains one run of a model and needs no server.

    The page contains the attention of all layers and heads, and as many of the other tensors as fit
    its maximum size: those of the first blocks, and logits of small vocabularies.

    Args:
        answers: The answers about the model.
        text: The text; None for the model's first example.
        target: A translator's translation; None for its own.

    Returns:
        The page.

    Raises:
        ValueError: As for the same requests to the server.
    """
    data = _data(answers, text, target)
    data |= {name: _texts(name) for name in ("strings", "cards")}
    page = _page(answers.opened.title, data)
    room = MAX_BYTES - len(page.encode("utf-8"))
    data["tensors"] = _tensors(answers, data, room)
    return _page(answers.opened.title, data)


def _page(title, data):
    modules = [path for path in _modules() if path.name not in _LEFT_OUT]
    body: Any = _BODY.search((PAGE / "index.html").read_text(encoding="utf-8"))
    plain = json.loads(to_json(data))  # no infinities
    return standalone_page(
        title,
        modules,
        [WEB / "base.css", PAGE / "style.css"],
        "export.js",
        plain,
        body=_SCRIPT.sub("", body[1]),
    )


def _modules():
    own = sorted(PAGE.glob("*.js"))
    names = {path.name for path in own}
    return [*(path for path in sorted(WEB.glob("*.js")) if path.name not in names), *own]


def _texts(name):
    return {
        language: json.loads((PAGE / f"{name}.{language}.json").read_text(encoding="utf-8"))
        for language in _LANGUAGES
    }


def _data(answers: Answers, text, target) -> dict[str, Any]:
    """Everything except tensors that the page would request from a server."""
    names = ("run", "lens", "states", "vocabulary", "translate", "mask", "image", "compare")
    data: dict[str, Any] = {"model": answers.model(), "tensors": {}, **dict.fromkeys(names)}
    kind = answers.opened.kind
    if kind == "vision":
        data["image"] = answers.image(Fields({"example": 0}))
        data["run"] = {"text": "", **data["image"]}
    else:
        text = _example(answers) if text is None else text
        fields = {"text": text} if target is None else {"text": text, "target": target}
        if kind == "translator" and target is None:
            data["translate"] = answers.translate(Fields({"text": text}))
            # The page takes both from one run.
            data["run"] = data["translate"].pop("run_data")
        else:
            data["run"] = answers.run(Fields(fields))
    run = data["run"]["run"]
    if answers.opened.has_masked_lm and answers.opened.mask_token in text:
        data["mask"] = answers.mask(Fields({"text": text}))
    asked = Fields({"run": run})
    data["lens"] = _if_there(answers.lens, asked)
    data["states"] = answers.states(asked)["states"]
    data["weights"] = {
        one: (_if_there(answers.weights, Fields({"run": run, "kind": one})) or {}).get("tensor")
        for one in ("encoder", "decoder", "cross")
    }
    return data


def _example(answers):
    example = examples(answers.opened)[0]
    return example["source"] if isinstance(example, dict) else example


def _if_there(answer, fields):
    """An answer, or None if the model does not support the request."""
    try:
        return answer(fields)
    except (NotThere, ValueError):
        return None


def _tensors(answers: Answers, data, room: int) -> dict[str, Any]:
    """Returns tensors that fit in a number of bytes; with logits, adds the vocabulary to `data`."""
    shapes, found = data["run"]["tensors"], {}
    logits = data["run"]["output"]["logits"]
    if logits is not None:
        vocabulary = answers.vocabulary(Fields({}))
        needed = _size(shapes[logits]) + len(to_json(vocabulary)) * 2
        if needed < room / 2:
            data["vocabulary"], room = vocabulary["texts"], room - needed
            found[logits] = answers.tensor(Fields({"run": data["run"]["run"], "name": logits}))
    for name in sorted(shapes, key=_rank):
        size = _size(shapes[name])
        if name in found or name.endswith("/weights") or size > room:
            continue
        found[name] = answers.tensor(Fields({"run": data["run"]["run"], "name": name}))
        room -= size
    return found


def _rank(name: str) -> tuple:
    """Sorts first blocks first, and wide tensors last."""
    block = re.search(r"/block_(\d+)/", name)
    is_wide = name.endswith(("/hidden", "/logits")) or name == "token_embedding/output"
    return is_wide, int(block[1]) if block else 0


def _size(shape) -> int:
    """The size of a tensor as float32 in base64, with its name."""
    count = 1
    for side in shape:
        count *= side
    return count * 16 // 3 + 200
