import struct
import zipfile

import pytest

from keras_transformer.files import open_archive, read_entry


def write(path, entries, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def refused(path, message):
    with pytest.raises(ValueError, match=f"x.zip` must be an intact zip archive. {message}"):
        with open_archive(path) as archive:
            for name in archive.namelist():
                archive.read(name)


def changed(path, old, new, count):
    """Replaces bytes of an archive, which must occur `count` times."""
    content = path.read_bytes()
    assert content.count(old) == count
    path.write_bytes(content.replace(old, new))
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_plain_entries(tmp_path, method):
    path = write(tmp_path / "x.zip", [("a", b"1" * 100), ("b/c", b"")], method)
    with open_archive(path) as archive:
        assert [read_entry(archive, name) for name in ("a", "b/c")] == [b"1" * 100, b""]
        with pytest.raises(ValueError, match="x.zip` must contain d. Received: no such entry"):
            read_entry(archive, "d")


def test_a_bomb(tmp_path):
    path = write(tmp_path / "x.zip", [("a", bytes(2**26 + 1))], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    refused(path, r"Received: \d+ bytes that unpack to 67108865 bytes")


def test_entries_that_overlap(tmp_path):
    """Many directory entries for the same data."""
    path = write(tmp_path / "x.zip", [("a", b"1" * 1000), ("b", b"2" * 1000)])
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("b").header_offset
    entry = struct.pack("<I", place) + b"b"
    changed(path, entry, struct.pack("<I", 0) + b"b", 1)
    refused(path, "Received: BadZipFile")
    content = path.read_bytes()
    path.write_bytes(content[:1031] + content[2 * 1031 :])
    refused(path, "Received: ")


@pytest.mark.parametrize("name", ["/a", "../a", "a/../../b", "C:/a"])
def test_names_outside(tmp_path, name):
    refused(write(tmp_path / "x.zip", [(name, b"1")]), f"Received: the name '{name}', outside")


def test_a_name_twice(tmp_path):
    path = write(tmp_path / "x.zip", [("a1", b"1"), ("a2", b"2")])
    changed(path, b"a2", b"a1", 2)
    refused(path, "Received: 2 entries with 1 names")


def test_an_encrypted_entry(tmp_path):
    path = write(tmp_path / "x.zip", [("a", b"1")])
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refused(path, "Received: 'a', which is encrypted")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(tmp_path, method):
    path = write(tmp_path / "x.zip", [("a", b"1" * 100)], method)
    refused(path, f"Received: 'a', compressed by the method {method}")


def test_damage(tmp_path):
    path = write(tmp_path / "x.zip", [("a", b"12345" * 100)], zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    for kept in (0, 10, len(content) - 1):
        path.write_bytes(content[:kept])
        refused(path, "Received: BadZipFile: File is not a zip file")
    path.write_bytes(content[:33] + b"\xff\xff" + content[35:])
    refused(path, "Received: (error|BadZipFile): ")  # zlib.error


def test_a_flipped_bit(tmp_path):
    path = changed(write(tmp_path / "x.zip", [("a", b"12345")]), b"12345", b"12346", 1)
    refused(path, "Received: BadZipFile: Bad CRC-32")


def test_nothing_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="x.zip"), open_archive(tmp_path / "x.zip"):
        pass
    (tmp_path / "x.zip").mkdir()
    with pytest.raises(ValueError, match="x.zip` must be a regular file. Received: a folder"):
        with open_archive(tmp_path / "x.zip"):
            pass
