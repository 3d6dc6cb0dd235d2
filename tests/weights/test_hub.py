"""Fetching from a local server that misbehaves as real ones do."""

import contextlib
import http.server
import socket
import struct
import threading
from typing import cast

import pytest
from huggingface_hub import constants, file_download

from jds.weights._hub import fetch

BODY = bytes(range(256)) * 400
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Server(http.server.ThreadingHTTPServer):
    """A repository with one file.

    Attributes:
      manner: how the file is sent: "whole", "once" (the first try ends halfway), "broken" (error 500), "closed" (every
        try sends half of it, then closes the connection), "reset" (like "closed", but with a reset), "stalled" (half of
        it, then nothing).
      gets: how often the file was requested.
      over: set when the test is over, so that no request outlives it.
    """

    daemon_threads = True

    def __init__(self, manner):
        super().__init__(("127.0.0.1", 0), Handler)
        self.manner, self.over, self.gets = manner, threading.Event(), 0

    def handle_error(self, request, client_address):
        """Ignores clients that give up, which is what the tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, format, *args):
        """Does not log the requests."""

    @property
    def mine(self):
        return cast(Server, self.server)

    def head(self, status, length, **headers):
        self.send_response(status)
        for name, value in (
            {"X-Repo-Commit": COMMIT, "ETag": '"tag"', "Content-Length": str(length)} | headers
        ).items():
            self.send_header(name, value)
        self.end_headers()

    def do_HEAD(self):
        if self.mine.manner == "broken":
            self.head(500, 0)
        elif self.path.endswith("/there.bin"):
            self.head(200, len(BODY))
        else:
            self.head(404, 0, **{"X-Error-Code": "EntryNotFound"})

    def do_GET(self):
        # The library also makes requests of its own.
        if not self.path.endswith("/there.bin"):
            self.head(404, 0)
            return
        self.mine.gets += 1
        start = int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
        self.head(206 if start else 200, len(BODY) - start)
        half = len(BODY) // 2
        if self.mine.manner == "whole" or (self.mine.manner == "once" and self.mine.gets > 1):
            self.wfile.write(BODY[start:])
            return
        self.wfile.write(BODY[start:half])
        self.wfile.flush()
        if self.mine.manner == "stalled":
            self.mine.over.wait(20)
        elif self.mine.manner == "reset":
            # With a linger time of 0, closing sends a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Starts a server with a given manner and directs Hugging Face's library to it, without pauses between tries."""
    with contextlib.ExitStack() as stack:

        def start(manner):
            server = Server(manner)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            stack.callback(server.over.set)
            # The constants that the library derives from HF_ENDPOINT and other settings when it is imported.
            endpoint = f"http://127.0.0.1:{server.server_port}"
            monkeypatch.setattr(constants, "ENDPOINT", endpoint)
            template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
            monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
            monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
            return server

        yield start


def test_a_file_is_fetched_once(serve):
    server = serve("whole")
    assert fetch("some/one", "there.bin").read_bytes() == BODY
    assert fetch("some/one", "there.bin").read_bytes() == BODY
    assert server.gets == 1


def test_a_broken_download_is_resumed(serve):
    server = serve("once")
    assert fetch("some/one", "there.bin").read_bytes() == BODY
    assert server.gets == 2


@pytest.mark.parametrize("manner", ["closed", "reset", "stalled", "broken"])
def test_a_failed_download_is_an_oserror_that_names_the_remedy(serve, manner, tmp_path):
    serve(manner)
    with pytest.raises(OSError, match=r"(?s)^there.bin of some/one cannot be downloaded: .+\n.*pass its path"):
        fetch("some/one", "there.bin")
    # An incomplete file is never left in place.
    assert not [path for path in tmp_path.rglob("there.bin") if path.exists()]


def test_a_file_that_the_repository_lacks_is_an_error(serve):
    serve("whole")
    with pytest.raises(FileNotFoundError, match=r"^some/one has no absent.bin$"):
        fetch("some/one", "absent.bin")
