import io
import zipfile

import numpy as np
import pytest

from keras_transformer.files import open_arrays

ARRAYS = {
    "a/kernel": np.arange(15, dtype="float32").reshape(3, 5),
    "columns": np.asfortranarray(np.arange(21).reshape(3, 7)),
    "flag": np.array(True),
    "text": np.array("é" * 11),
    "none": np.zeros((0, 7), "float16"),
}


def header(shape, dtype="<f4"):
    stream = io.BytesIO()
    value = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, value)
    return stream.getvalue()


def read_all(path):
    with open_arrays(path) as archive:
        return {name: archive.read(name) for name in archive.headers}


def refused(path, content, message, name="a.npy"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
    with pytest.raises(ValueError, match=f"x.npz` must .*{message}"):
        read_all(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_plain_arrays(tmp_path, save):
    save(tmp_path / "x.npz", **ARRAYS)
    with open_arrays(tmp_path / "x.npz") as archive:
        assert {name: one.shape for name, one in archive.headers.items()} == {
            name: array.shape for name, array in ARRAYS.items()
        }
        with pytest.raises(
            ValueError, match=r"x.npz` must contain the array 'b'. Received: \['a/k"
        ):
            archive.read("b")
    read = read_all(tmp_path / "x.npz")
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((10**11,)) + bytes(16), r"'a', with the shape \(100000000000,\) of float32 in 16"),
        (header((2**31, 2**31, 2**2)) + bytes(16), r"'a', with the shape \(2147483648, .* in 16"),
        (header((3,)) + bytes(13), r"'a', with the shape \(3,\) of float32 in 13 bytes"),
        (header((-3,)) + bytes(12), r"'a', with the shape \(-3,\)"),
        (header((1,) * 9) + bytes(4), r"'a', with the shape \(1, 1, 1"),
        (header((1,), "|O") + bytes(8), "'a', of the dtype object"),
        (header((1,), "<c8") + bytes(8), "'a', of the dtype complex64"),
        (header((1,), "<M8[s]") + bytes(8), "'a', of the dtype datetime64"),
        (header((1,), [("x", "<f4")]) + bytes(4), "'a', of the dtype .*x"),
        (header((1,))[:20], "ValueError|EOF|Read from"),
        (header((1,))[:10] + b"{'descr': (" + header((1,))[21:], "intact zip archive|Read from"),
        (b"\x93NUMPY\x07\x00", r"'a', in the format \(7, 0\)"),
        (b"no array", "magic string|Read from"),
        (b"", "Read from|magic string"),
    ],
)
def test_headers_that_lie(tmp_path, content, message):
    refused(tmp_path / "x.npz", content, message)


def test_an_entry_that_is_no_array(tmp_path):
    refused(tmp_path / "x.npz", b"", "'a.txt', an entry that does not end in .npy", "a.txt")


def test_pickles(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(
        ValueError, match="x.npz` must contain plain arrays.*'a', of the dtype objec"
    ):
        read_all(tmp_path / "x.npz")


def test_shapes_are_known_before_a_bomb_is_unpacked(tmp_path):
    """60 MB of zeros in 60 kB, which the limit of archives allows."""
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(15_000_000, "float32"))
    assert (tmp_path / "x.npz").stat().st_size < 100_000
    with open_arrays(tmp_path / "x.npz") as archive:
        assert archive.headers["a"].shape == (15_000_000,)
