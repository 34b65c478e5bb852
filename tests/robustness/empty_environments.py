"""Installs wheel and sdist into empty environments, with one backend, and uses them there.

`python -m tests.robustness.empty_environments --backend torch python3.11 python3.12` uses those of
these interpreters that exist; the first one also installs the sdist. The environments and the
working folder are temporary, and nothing of the repository is on the path.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.robustness import REPOSITORY
from tests.robustness.distributions import build, copy_sources

SMOKE = REPOSITORY / "tests" / "robustness" / "smoke.py"


def version_of(interpreter):
    """The version of an interpreter as a tuple, or None if it does not exist."""
    command = [interpreter, "-c", "import sys; print(*sys.version_info[:3])"]
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    return tuple(map(int, result.stdout.split())) if result.returncode == 0 else None


def run(*command, **arguments):
    """Runs a command, whose output is shown only if it fails."""
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, **arguments
    )
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{result.stdout}{result.stderr[-5000:]}")
    return result.stdout.strip()


def use(interpreter, distribution, backend, folder):
    """Installs a distribution in a new environment and runs the smoke test there."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"KERAS_BACKEND": backend, "KERAS_HOME": str(folder / "home")}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "2"}
    run(interpreter, "-m", "venv", folder / "venv")
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    constraints = REPOSITORY / "constraints.txt"
    install = ("-m", "pip", "install", "--quiet", "--constraint", constraints)
    run(python, *install, f"{distribution}[{backend}]", env=environment)
    run(python, "-m", "pip", "check", env=environment)
    # -I: neither the working folder nor the script's is on the path.
    return run(python, "-I", SMOKE, env=environment, cwd=folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("interpreters", nargs="+")
    parser.add_argument("--backend", default="torch", choices=("tensorflow", "jax", "torch"))
    arguments = parser.parse_args()
    versions = {name: version_of(name) for name in arguments.interpreters}
    found = [name for name, version in versions.items() if version is not None]
    print("not found:", *(name for name in versions if name not in found))
    if not found:
        sys.exit("None of the interpreters was found.")
    with tempfile.TemporaryDirectory() as folder:
        sources = copy_sources(Path(folder, "sources"))
        sdist, wheel = (build(kind, sources, Path(folder, "dist")) for kind in ("sdist", "wheel"))
        jobs = [(found[0], sdist), *((interpreter, wheel) for interpreter in found)]
        for index, (interpreter, distribution) in enumerate(jobs):
            place = Path(folder, str(index))
            place.mkdir()
            result = use(interpreter, distribution, arguments.backend, place)
            print(f"{distribution.name}: {result}", flush=True)


if __name__ == "__main__":
    main()
