"""Wheel and sdist contain everything that they should, and nothing else."""

import email
import re
import tarfile
import tomllib
import zipfile

import pytest

from keras_transformer.version import __version__
from tests.robustness import REPOSITORY
from tests.robustness.distributions import build, copy_sources, source_files, unpack

NAME = f"keras_transformer_layers-{__version__}"
PACKAGE = (
    r"keras_transformer/([a-z0-9_]+/){0,2}[a-z0-9_]+\.py",
    r"keras_transformer/py\.typed",
    r"keras_transformer/explorer/page/[a-z_]+\.(js|css|html)",
    r"keras_transformer/explorer/page/[a-z]+\.(en|ja)\.json",
    r"keras_transformer/visualize/web/[a-z_]+\.(js|css)",
)
WHEEL = (
    *PACKAGE,
    rf"{re.escape(NAME)}\.dist-info/(METADATA|RECORD|WHEEL|top_level\.txt|licenses/LICENSE)",
)
SDIST = (
    *PACKAGE,
    r"(CHANGELOG|README)\.md|LICENSE|MANIFEST\.in|PKG-INFO|pyproject\.toml|setup\.cfg",
    r"keras_transformer_layers\.egg-info/"
    r"(PKG-INFO|SOURCES\.txt|dependency_links\.txt|requires\.txt|top_level\.txt)",
)
MUST_BE_THERE = {"LICENSE", "CHANGELOG.md", "README.md", "PKG-INFO", "pyproject.toml"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The paths of wheel and sdist, and of a wheel that was built from the sdist."""
    folder = tmp_path_factory.mktemp("distributions")
    sources = copy_sources(folder / "sources")
    sdist = build("sdist", sources, folder / "dist")
    again = build("wheel", unpack(sdist, folder / "unpacked"), folder / "again")
    return build("wheel", sources, folder / "dist"), sdist, again


def names_in_sdist(sdist):
    """The files of an sdist, relative to its top folder."""
    with tarfile.open(sdist) as archive:
        names = [member.name for member in archive.getmembers() if member.isfile()]
    assert all(name.startswith(f"{NAME}/") for name in names)
    return [name.removeprefix(f"{NAME}/") for name in names]


def assert_matched(names, patterns):
    """Each file matches a pattern, and each pattern a file."""
    strangers = [n for n in names if not any(re.fullmatch(p, n) for p in patterns)]
    assert not strangers
    unused = [p for p in patterns if not any(re.fullmatch(p, n) for n in names)]
    assert not unused


def package_files():
    return {name for name in source_files() if name.startswith("keras_transformer/")}


def test_the_wheel_contains_the_package_and_nothing_else(built):
    wheel, _, again = built
    assert wheel.name == f"{NAME}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert_matched(names, WHEEL)
    assert {name for name in names if name.startswith("keras_transformer/")} == package_files()
    assert sorted(names) == sorted(zipfile.ZipFile(again).namelist())


def test_the_sdist_contains_the_package_and_its_documents(built):
    names = names_in_sdist(built[1])
    assert_matched(names, SDIST)
    assert set(names) >= MUST_BE_THERE
    assert {name for name in names if name.startswith("keras_transformer/")} == package_files()


def test_wheels_from_sources_and_from_the_sdist_are_equal(built):
    wheel, _, again = built
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        for name in one.namelist():
            assert one.read(name) == other.read(name), name


def test_the_metadata(built):
    with zipfile.ZipFile(built[0]) as wheel:
        metadata = email.message_from_bytes(wheel.read(f"{NAME}.dist-info/METADATA"))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    required = metadata.get_all("Requires-Dist")
    core = [one for one in required if "extra ==" not in one]
    assert sorted(core) == sorted(project["dependencies"])
    assert sorted(metadata.get_all("Provides-Extra")) == sorted(project["optional-dependencies"])
    assert (REPOSITORY / "README.md").read_text("utf-8").strip() in metadata.get_payload()
