"""A local package index with one wheel, whose downloads can stall or break off."""

import contextlib
import hashlib
import http.server
import threading
import zipfile

MEMBER = "corpus/pairs.txt"
WHEEL_NAME = "corpus-1.0-py3-none-any.whl"
METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: corpus\nVersion: 1.0\n",
    "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "RECORD": "",
}


def write_wheel(path, content):
    """Writes a wheel that pip accepts, with one data file; returns the hash of the wheel."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, content)
        for name, text in METADATA.items():
            archive.writestr(f"corpus-1.0.dist-info/{name}", text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


class PackageIndex(http.server.ThreadingHTTPServer):
    """Serves a wheel to pip.

    Attributes:
        served: The bytes of the wheel.
        num_downloads: How often the wheel was requested.
        goes_on: While this event is not set, a download stops halfway.
        is_halfway: Set when a download has stopped there.
        breaks_off: Whether the connection is closed halfway.
    """

    daemon_threads = True

    def __init__(self, wheel):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.served = wheel.read_bytes()
        self.num_downloads = 0
        self.goes_on, self.is_halfway = threading.Event(), threading.Event()
        self.goes_on.set()
        self.breaks_off = False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/simple"

    def handle_error(self, request, client_address):
        """Clients that are killed close their connections: nothing to report."""


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_wheel = self.path.endswith(WHEEL_NAME)
        page = f'<a href="/files/{WHEEL_NAME}">{WHEEL_NAME}</a>'.encode()
        content = self.server.served if is_wheel else page
        self.send_response(200)
        self.send_header("Content-Type", "application/zip" if is_wheel else "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        if is_wheel:
            self.server.num_downloads += 1
            if not self.server.goes_on.is_set():
                self.server.is_halfway.set()
                self.server.goes_on.wait(60)
            if self.server.breaks_off:
                return
        self.wfile.write(content[half:])

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(wheel):
    """A running index with this wheel."""
    index = PackageIndex(wheel)
    thread = threading.Thread(target=index.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        index.goes_on.set()
        index.shutdown()
        index.server_close()
        thread.join()
