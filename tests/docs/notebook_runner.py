"""Runs the cells of notebooks in order, as a kernel does: `python notebook_runner.py a.ipynb`."""

import json
import re
import subprocess
import sys
from pathlib import Path


def pip(line):
    """What `%pip` does."""
    subprocess.run(f"{sys.executable} -m pip {line}", shell=True, check=True)


def run(path):
    """Runs a notebook; returns its variables."""
    namespace = {"__name__": "__main__", "pip": pip}
    for cell in json.loads(Path(path).read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            # Like Jupyter, puts the values of variables where a magic names them in braces.
            source = re.sub(
                r"^%pip (.*)$", lambda m: f"pip(f{m[1]!r})", "".join(cell["source"]), flags=re.M
            )
            exec(compile(source, cell["id"], "exec", dont_inherit=True), namespace)
    return namespace


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print("It used", run(argument)["kt"].__file__)
