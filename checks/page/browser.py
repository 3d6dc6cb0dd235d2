"""Serves a page on this machine, and opens it in a browser."""

import base64
import contextlib
import functools
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SECONDS = 60
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1200, "height": 800}
# What the page leaves to a test: the input of the network and its results, each time it has classified.
LISTEN = """
document.addEventListener("classified", ({ detail: { tensor, scores } }) => {
  let text = "";
  const bytes = new Uint8Array(tensor.buffer);
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  (globalThis.classified ??= []).push({ tensor: btoa(text), scores });
});
"""


def demand(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder on this machine, and keeps what was asked for."""

    daemon_threads = True

    def __init__(self, folder: Path, *, isolated: bool):
        self.requested: list[str] = []
        server = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def end_headers(self) -> None:
                server.requested.append(self.path.partition("?")[0].removeprefix("/"))
                if isolated:
                    self.send_header("Cross-Origin-Opener-Policy", "same-origin")
                    self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
                super().end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_port}/"


@contextlib.contextmanager
def served(folder: Path, *, isolated: bool = False) -> Iterator[Server]:
    server = Server(folder, isolated=isolated)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Visit:
    """A page that is open in a browser."""

    def __init__(self, browser: Any, url: str, **options: Any):
        self.context = browser.new_context(**{"viewport": DESKTOP} | options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.add_init_script(LISTEN)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        # Chromium takes a while to hand choosers of files over: listening from the start, none is missed.
        self.page.on("filechooser", lambda _: None)
        self.url = url
        self.page.goto(url)

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def until(self, expression: str) -> Any:
        """Waits until an expression is true; Playwright's own way evaluates text, which the page's policy forbids."""
        end = time.monotonic() + SECONDS
        while not (value := self.page.evaluate(expression)):
            if time.monotonic() > end:
                raise AssertionError(f"still false: {expression}; the page says: {self.page.inner_text('body')}")
            self.page.wait_for_timeout(30)
        return value

    def ready(self) -> "Visit":
        self.until("document.getElementById('status').textContent.includes('ready')")
        return self

    def classified(self, number: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Returns the input and the results of a classification."""
        self.until(f"globalThis.classified?.length >= {number}")
        found = self.page.evaluate(f"globalThis.classified[{number - 1}]")
        return np.frombuffer(base64.b64decode(found["tensor"]), np.float32), np.asarray(found["scores"], np.float32)

    def shown(self) -> list[tuple[str, str]]:
        """Returns the label and the share of each class on the page."""
        items = self.page.locator("#results li").all()
        return [(item.locator(".label").inner_text(), item.locator(".share").inner_text()) for item in items]

    def error(self) -> str:
        return self.until("!document.getElementById('error').hidden && document.getElementById('error').textContent")

    def demand_nothing_from_elsewhere(self) -> None:
        """Checks that all requests are for the page's own files, and that the console has no error."""
        origin = self.url if self.url.startswith("file:") else self.url.rpartition("/")[0] + "/"
        foreign = [url for url in self.requests if not url.startswith((origin, "blob:", "data:"))]
        demand(not foreign, f"requests for {foreign}")
        demand(not self.errors, f"errors in the console: {self.errors}")
