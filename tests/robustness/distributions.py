"""Builds wheel and sdist from a copy of the sources, with setuptools and without an index."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.robustness import REPOSITORY

BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, f"build_{sys.argv[1]}")(sys.argv[2]))
"""


def source_files():
    """The files of the repository, as Git knows them, and those that it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, text=True)
    return [name for name in listed.stdout.split("\0") if (REPOSITORY / name).is_file()]


def copy_sources(folder):
    """Copies the repository's files, since setuptools writes next to the files that it reads."""
    for name in source_files():
        target = Path(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, target)
    return Path(folder)


def build(kind, sources, folder):
    """Builds a "wheel" or an "sdist" of a folder of sources; returns its path."""
    Path(folder).mkdir(exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(folder)],
        cwd=sources,
        env=environment,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise RuntimeError(f"The {kind} could not be built: {result.stderr[-3000:]}")
    return Path(folder, result.stdout.split()[-1])


def unpack(sdist, folder):
    """Unpacks an sdist; returns the folder of its sources."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return Path(folder, sdist.name.removesuffix(".tar.gz"))
