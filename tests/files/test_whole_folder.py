"""Folders and files are written completely or not at all, whenever the writer is killed."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keras_transformer import files
from keras_transformer.files import path_in, update_folder, whole_file, write_new_folder

ROOT = Path(files.__file__).resolve().parents[1]
# Runs one save without importing Keras, and kills itself at the file operation of a given number.
PROGRAM = """
import importlib, itertools, os, signal, sys, types
root, what, number, place = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
for name, path in (("keras_transformer", root), ("keras_transformer.files", root + "/files")):
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = [path]
folder = importlib.import_module("keras_transformer.files.whole_folder")
file = importlib.import_module("keras_transformer.files.whole_file")

def write(work):
    (work / "a.txt").write_text("new")
    (work / "part").mkdir()
    (work / "part" / "b.txt").write_text("new")
    (work / "only_new.txt").write_text("new")

operations = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
left = itertools.count(1)
def watch(event, arguments):
    if event in operations and next(left) == number:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
if what == "update":
    folder.update_folder(place, write, own=("only_old.txt", "only_new.txt"))
elif what == "new":
    folder.write_new_folder(place, write)
else:
    with file.whole_file(place) as work:
        work.write_text("new")
"""
OLD = {"a.txt": "old", "part/b.txt": "old", "only_old.txt": "old"}
NEW = {"a.txt": "new", "part/b.txt": "new", "only_new.txt": "new"}


def kill_at(number, what, place):
    """Returns whether a save was killed; it completes if it has fewer file operations."""
    command = [sys.executable, "-S", "-c", PROGRAM, str(ROOT), what, str(number), str(place)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode in (0, -signal.SIGKILL), result.stderr
    return result.returncode != 0


def write_old(work):
    (work / "a.txt").write_text("old")
    (work / "part").mkdir()
    (work / "part" / "b.txt").write_text("old")
    (work / "only_old.txt").write_text("old")


def content(folder, names):
    """The content that a reader finds through `path_in`."""
    found = {}
    for name in names:
        first, _, rest = name.partition("/")
        path = path_in(folder, first)
        path = path / rest if rest else path
        if path.is_file():
            found[name] = path.read_text()
    return found


@pytest.mark.slow
def test_an_update_that_is_killed_anywhere(tmp_path):
    found = set()
    for number in range(1, 200):
        folder = tmp_path / str(number)
        update_folder(folder, write_old)
        (folder / "foreign.txt").write_text("mine")
        killed = kill_at(number, "update", folder)
        state = content(folder, NEW)
        assert state in (NEW, content_of_old()), (number, state)
        found.add(state == NEW)
        assert (folder / "foreign.txt").read_text() == "mine"
        # The next save removes everything that the killed one left.
        update_folder(folder, write_old, own=("only_old.txt", "only_new.txt"))
        assert content(folder, OLD) == OLD
        expected = ["a.txt", "foreign.txt", "only_old.txt", "part"]
        assert sorted(path.name for path in folder.iterdir()) == expected
        if not killed:
            break
    assert number > 15 and found == {True, False}


def content_of_old():
    return {name: text for name, text in OLD.items() if name in NEW}


@pytest.mark.slow
def test_a_new_folder_that_is_killed_anywhere(tmp_path):
    for number in range(1, 200):
        folder = tmp_path / str(number) / "saved"
        folder.parent.mkdir()
        killed = kill_at(number, "new", folder)
        assert content(folder, NEW) == (NEW if folder.exists() else {})
        if folder.exists():
            with pytest.raises(ValueError, match="`folder` must be new or empty"):
                write_new_folder(folder, write_old)
        else:
            write_new_folder(folder, write_old)
            assert content(folder, OLD) == OLD
        assert [path.name for path in folder.parent.iterdir()] == ["saved"]
        if not killed:
            break
    assert number > 8


@pytest.mark.slow
def test_a_file_that_is_killed_anywhere(tmp_path):
    path, texts = tmp_path / "file.txt", set()
    for number in range(1, 50):
        path.write_text("old")
        killed = kill_at(number, "file", path)
        texts.add(path.read_text())
        if not killed:
            break
    assert number > 3 and texts == {"old", "new"}
    assert [one.name for one in tmp_path.iterdir()] == ["file.txt"]


def full(work):
    (work / "a.txt").write_text("new")
    (work / "large.bin").write_text("ne")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_earlier_folder(tmp_path):
    folder = tmp_path / "saved"
    update_folder(folder, write_old)
    with pytest.raises(OSError, match="Saving .*saved failed while writing large.bin: No space"):
        update_folder(folder, full)
    assert content(folder, OLD) == OLD and len(list(folder.iterdir())) == 3
    new = tmp_path / "new"
    for write in (update_folder, write_new_folder):
        with pytest.raises(OSError, match="new failed while writing large.bin") as caught:
            write(new, full)
        assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (RuntimeError("I/O error: No space left on device (os error 28)"), 28),
        (RuntimeError("write failed: errno = 27, error message = 'File too large'"), 27),
        (RuntimeError("file.index; No space left on device"), 28),
        (OSError("9000 requested and 4096 written"), None),
    ],
)
def test_errors_of_libraries_become_the_systems(tmp_path, error, number):
    path = tmp_path / "adapters.npz"
    path.write_text("old")
    with pytest.raises(OSError, match="adapters.npz failed.*An earlier file.* is unchanged") as one:
        with whole_file(path) as work:
            work.write_text("ne")
            raise error
    assert one.value.errno == number and one.value.__cause__ is error
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_other_errors_pass(tmp_path):
    def fail(work):
        raise KeyError("name")

    with pytest.raises(KeyError, match="name"):
        update_folder(tmp_path / "saved", fail)
    assert not (tmp_path / "saved").exists()


def test_a_linked_folder_stays_a_link(tmp_path):
    place, link = tmp_path / "elsewhere", tmp_path / "link"
    update_folder(place, write_old)
    link.symlink_to(place)

    def write(work):
        (work / "a.txt").mkdir()  # a folder where a file was

    update_folder(link, write, own=OLD)
    assert os.path.islink(link) and (place / "a.txt").is_dir()
    assert [path.name for path in place.iterdir() if path.name != "part"] == ["a.txt"]


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="`folder` must be new or empty. Received: .*file"):
        write_new_folder(tmp_path / "file", write_old)
    with pytest.raises(FileExistsError):
        update_folder(tmp_path / "file", write_old)
    assert (tmp_path / "file").read_text() == "mine"
