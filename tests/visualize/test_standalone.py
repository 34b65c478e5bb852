"""Modules joined to one script."""

import re
import shutil
import subprocess

import pytest

from keras_transformer.visualize.standalone import joined_modules, standalone_page

ENTRY = """// Starts.
import { double as twice, SIZE } from "./numbers.js";
import * as words from "../elsewhere/words.js";

export function start(data) {
  console.log(JSON.stringify([twice(data.value), SIZE, words.greet(), new words.Box().inside]));
}
"""
NUMBERS = """const factor = 2;
function double(value) { return factor * value; }
export const SIZE = 7;
export { double };
"""
WORDS = """import {
  SIZE,
} from "./numbers.js";
const factor = "of its own";
export function greet() { return `hello ${SIZE} ${factor}`; }
export class Box { inside = 1; }
"""


def write(folder, **modules):
    paths = []
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
        paths.append(folder / f"{name}.js")
    return paths


def test_joined_modules_run_as_one_script(tmp_path):
    paths = write(tmp_path, start=ENTRY, words=WORDS, numbers=NUMBERS)
    script = joined_modules(paths, "start.js")
    assert not re.search(r"^(import|export)\b", script, re.M)
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    document = "const document = {getElementById: () => ({textContent: '{\"value\": 21}'})};"
    result = subprocess.run([node, "-e", document + script], capture_output=True, text=True)
    assert result.stdout.strip() == '[42,7,"hello 7 of its own",1]', result.stderr


def test_a_page_escapes_its_title_and_data(tmp_path):
    paths = write(tmp_path, start="export function start() {}\n")
    (tmp_path / "style.css").write_text("p { color: red; }", encoding="utf-8")
    data = {"text": "</script><b>&\u2028"}
    page = standalone_page("<T>", paths, [tmp_path / "style.css"], "start.js", data, body="<p></p>")
    assert "<title>&lt;T&gt;</title>" in page and "p { color: red; }" in page
    assert r"{\"text\"" not in page and page.count("</script>") == 2
    assert r"\u003c/script\u003e\u003cb\u003e\u0026\u2028" in page


@pytest.mark.parametrize(
    ("modules", "entry", "message"),
    [
        ({"start": "export default 1;\n"}, "start.js", "must use named imports and exports"),
        ({"start": "import './x.js';\n"}, "start.js", "must use named imports and exports"),
        ({"start": "export let x = 1;\n"}, "start.js", "must use named imports and exports"),
        (
            {"start": "function f() { return import('./x.js'); }\n"},
            "start.js",
            "must use named imports and exports",
        ),
        ({"start": "import { a } from './x.js';\n"}, "start.js", "must contain every imported"),
        ({"start": ""}, "other.js", r"`entry` must be one of the modules \['start.js'\]"),
        ({"start": "const x = '</script>';\n"}, "start.js", "must not contain a script's end tag"),
        (
            {
                "start": "import { a } from './one.js';\n",
                "one": "import { b } from './start.js';\nexport const a = 1;\n",
            },
            "start.js",
            "must not import each other in a circle",
        ),
    ],
)
def test_modules_that_cannot_be_joined(tmp_path, modules, entry, message):
    with pytest.raises(ValueError, match=message):
        joined_modules(write(tmp_path, **modules), entry)
