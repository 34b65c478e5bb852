import os

import pytest

from keras_transformer.files import file_in, folder_in, read_bytes, read_text, regular_file


@pytest.fixture
def folder(tmp_path):
    """A model's folder next to a secret file."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "inner" / "config.json").write_text("[]")
    return folder


def test_files_of_a_folder(folder):
    assert file_in(folder, "config.json") == folder / "config.json"
    assert file_in(folder, "inner/config.json").read_text() == "[]"
    assert folder_in(folder, "inner") == folder / "inner"


def test_nothing_there(folder):
    (folder / "dangling").symlink_to("nowhere")
    for name in ("nothing", "dangling", "inner/nothing"):
        for call in (file_in, folder_in):
            with pytest.raises(
                FileNotFoundError, match=f"{name}` must be a file. Received: nothin"
            ):
                call(folder, name)
    with pytest.raises(FileNotFoundError, match="nothing` must be a file. Received: nothing"):
        regular_file(folder / "nothing")


@pytest.mark.parametrize(
    "name", ["../secret", "inner/../../secret", "/etc/passwd", "", "..\\x", "C:x"]
)
def test_names_that_leave_the_folder(folder, name):
    with pytest.raises(ValueError, match="model` must name only files inside it. Received: '"):
        file_in(folder, name)


def test_a_name_with_a_null_byte(folder):
    with pytest.raises(ValueError, match="must be readable. Received: .*null byte"):
        file_in(folder, "config.json\0")


def make_special(path, kind):
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["a named pipe", "a folder", "a device"])
def test_what_is_no_file(folder, kind):
    path = folder / "special"
    make_special(path, kind)
    message = f"special` must be a regular file. Received: {kind}"
    for call in (regular_file, read_bytes, read_text):
        with pytest.raises(ValueError, match=message):
            call(path)
    message = "must be inside its folder" if kind == "a device" else message
    with pytest.raises(ValueError, match=message):
        file_in(folder, "special")
    if kind != "a folder":
        with pytest.raises(ValueError, match="must be"):
            folder_in(folder, "special")


def test_a_loop_of_links(folder):
    (folder / "one").symlink_to("other")
    (folder / "other").symlink_to("one")
    for call in (lambda: file_in(folder, "one"), lambda: regular_file(folder / "one")):
        with pytest.raises(ValueError, match="one` must be .*readable"):
            call()


def test_links_that_leave_the_folder(folder):
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "up").symlink_to("..")
    for call, name in ((file_in, "link"), (file_in, "up/secret"), (folder_in, "up")):
        with pytest.raises(ValueError, match=f"{name}` must be inside its folder.*a link to /"):
            call(folder, name)


def test_links_inside_the_folder_and_links_of_the_user(folder):
    (folder / "link").symlink_to("inner/config.json")
    assert read_text(file_in(folder, "link")) == "[]"
    (folder.parent / "latest").symlink_to("model")
    assert read_text(file_in(folder.parent / "latest", "config.json")) == "{}"
    (folder.parent / "own").symlink_to("secret")
    assert read_text(folder.parent / "own") == "secret"


def test_the_layout_of_the_hub(tmp_path):
    """Files are links from a snapshot, and from its folders, to the blobs of the repository."""
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / "3f2a"
    (snapshot / "1_Dense").mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "c0ffee").write_text("blob")
    (snapshot / "config.json").symlink_to("../../blobs/c0ffee")
    (snapshot / "1_Dense" / "config.json").symlink_to("../../../blobs/c0ffee")
    assert read_text(file_in(snapshot, "config.json")) == "blob"
    assert read_text(file_in(snapshot / "1_Dense", "config.json")) == "blob"
    (tmp_path / "secret").write_text("secret")
    (repository / "secret").write_text("secret")
    for target in ("../../secret", "../../../secret"):
        (snapshot / "other.json").symlink_to(target)
        with pytest.raises(ValueError, match="other.json` must be inside its folder"):
            file_in(snapshot, "other.json")
        (snapshot / "other.json").unlink()


def test_blobs_that_are_a_link_themselves(tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("secret")
    snapshot = tmp_path / "stranger" / "snapshots" / "x"
    snapshot.mkdir(parents=True)
    (tmp_path / "stranger" / "blobs").symlink_to("../secrets")
    (snapshot / "config.json").symlink_to("../../blobs/key")
    with pytest.raises(ValueError, match="config.json` must be inside its folder"):
        file_in(snapshot, "config.json")


def test_too_large(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(bytes(13))
    assert read_bytes(path, limit=13) == bytes(13)
    with pytest.raises(ValueError, match="large` must have at most 12 bytes. Received: 13 bytes"):
        read_bytes(path, limit=12)
    os.truncate(path, 2**40)  # a file with a hole, which takes no space
    with pytest.raises(ValueError, match=f"large` must have at most .*Received: {2**40} bytes"):
        read_text(path)


def test_text(tmp_path):
    path = tmp_path / "merges.txt"
    path.write_bytes("é\r\nb\rc\n".encode())
    assert read_text(path) == "é\r\nb\rc\n"
    assert read_text(path, universal_newlines=True) == "é\nb\nc\n"
    path.write_bytes(b"\xf1\xf1")
    with pytest.raises(ValueError, match="merges.txt` must be a file of UTF-8 text.*can't decode"):
        read_text(path)
