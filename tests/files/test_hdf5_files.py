import h5py
import numpy as np
import pytest

from keras_transformer.files import datasets_of


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "x.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.ones((3, 5), "float32")
        file["layers/dense/vars/1"] = np.zeros(5, "float32")
        file.create_group("vars")
    return tmp_path / "x.weights.h5"


def refused(path, message):
    with h5py.File(path, "r") as file:
        with pytest.raises(ValueError, match=f"x.weights.h5` must .*{message}"):
            datasets_of(file, path)


def test_plain_datasets(path):
    with h5py.File(path, "r+") as file:
        file["names"] = ["a", "b"]
        file["half"] = np.zeros(3, "V2")  # how Keras stores bfloat16
    with h5py.File(path, "r") as file:
        assert {name: one.shape for name, one in datasets_of(file, path).items()} == {
            "layers/dense/vars/0": (3, 5),
            "layers/dense/vars/1": (5,),
            "names": (2,),
            "half": (3,),
        }


@pytest.mark.parametrize(
    ("link", "kind"),
    [
        (h5py.SoftLink("/layers"), "SoftLink"),
        (h5py.SoftLink("/nowhere"), "SoftLink"),
        (h5py.ExternalLink("/etc/passwd", "/"), "ExternalLink"),
    ],
)
def test_links(path, link, kind):
    with h5py.File(path, "r+") as file:
        file["layers/other"] = link
    refused(path, f"all of its arrays itself. Received: a link \\({kind}\\) at 'layers/other'")


def test_a_group_inside_itself(path):
    with h5py.File(path, "r+") as file:
        file["layers/dense/again"] = file["layers"]
    refused(path, "Received: a group that occurs twice at 'layers")


def test_data_in_another_file(path, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(12))
    with h5py.File(path, "r+") as file:
        file.create_dataset("own", (3,), "float32", external=[(str(tmp_path / "secret"), 0, 12)])
    refused(path, "Received: a dataset stored in other files at 'own'")


def test_a_virtual_dataset(path):
    layout = h5py.VirtualLayout((5,), "float32")
    layout[:] = h5py.VirtualSource("other.h5", "vars/0", (5,))
    with h5py.File(path, "r+") as file:
        file.create_virtual_dataset("own", layout)
    refused(path, "Received: a dataset stored in other files at 'own'")


@pytest.mark.parametrize("options", [{}, {"chunks": (2**20,), "compression": "gzip"}])
def test_much_declared_and_little_stored(path, options):
    with h5py.File(path, "r+") as file:
        file.create_dataset("vars/0", (2**40,), "float32", **options)
    refused(path, "Received: datasets of 4398046511184 bytes, 80 of them stored")


def test_other_values(path):
    with h5py.File(path, "r+") as file:
        file["vars/0"] = file["layers"].ref
    refused(path, "Received: a dataset of the dtype object at 'vars/0'")
