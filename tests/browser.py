"""Chromium for tests of pages, and axe-core, which finds what keeps people from using a page."""

import base64
import contextlib
import hashlib
import io
import shutil
import tarfile
import tempfile
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
AXE = "https://registry.npmjs.org/axe-core/-/axe-core-4.10.3.tgz"
AXE_SHA512 = (
    "Xm7bpRXnDSX2YE2YFfBk2FnF0ep6tmG7xPh8iHee8MIcrgq762Nkce856dYtJYLkuIoYZvGfTs/PbZhideTcEg=="
)


@contextlib.contextmanager
def open_browser():
    """The system's Chromium; Playwright's event loop runs as long as it is open."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.fail("Chromium is missing: `make browser`, or `apt-get install -y chromium`.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


def axe_text():
    """The text of axe-core, to be evaluated in a page before `serious_violations`."""
    folder = Path(tempfile.gettempdir()) / "keras_transformer_tests"
    archive = folder / AXE.rsplit("/", 1)[-1]
    if not archive.is_file() or not _is_axe(archive.read_bytes()):
        with urllib.request.urlopen(AXE, timeout=60) as response:
            content = response.read()
        assert _is_axe(content)
        folder.mkdir(exist_ok=True)
        archive.write_bytes(content)
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as files:
        return files.extractfile("package/axe.min.js").read().decode("utf-8")


def _is_axe(content):
    return base64.b64encode(hashlib.sha512(content).digest()).decode("ascii") == AXE_SHA512


def serious_violations(page, where):
    """What axe finds in a part of a page that keeps people from using it."""
    found = page.evaluate(
        "(where) => axe.run(where, {resultTypes: ['violations']})", {"include": [where]}
    )
    return [
        (one["id"], [node["html"] for node in one["nodes"]][:3])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
