"""A web server on this machine, as well or badly behaved as a test wants it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LocalServer:
    """Serves `files` by path; what it was asked for is in `requests`: pairs of path and range, or None."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.url = ""
        self.honours_ranges = True
        self.tag: str | None = '"first"'
        self.status = 200
        self.shift = 0
        # Where a path has gone, as an address that is made anew for each request.
        self.moved: dict[str, Callable[[str], str]] = {}
        self.status_of_redirects = 302
        # Numbers of bytes after which the next answers break off.
        self.breaks: list[int] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, wanted = handler.path, handler.headers.get("Range")
        self.requests.append((path, wanted))
        if path in self.moved:
            place = {"Location": self.moved[path](path), "Content-Length": "0"}
            return self._head(handler, self.status_of_redirects, place)
        if self.status != 200 or path not in self.files:
            return self._head(handler, self.status if self.status != 200 else 404, {"Content-Length": "0"})
        content, status, headers = self.files[path], 200, {}
        same = handler.headers.get("If-Range") in (None, self.tag)
        if wanted and self.honours_ranges and same:
            begin = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if begin >= len(content):
                return self._head(handler, 416, {"Content-Range": f"bytes */{len(content)}"})
            begin += self.shift
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            content, status = content[begin:], 206
        if self.tag:
            headers["ETag"] = self.tag
        self._head(handler, status, {**headers, "Content-Length": str(len(content))})
        handler.wfile.write(content[: self.breaks.pop(0)] if self.breaks else content)

    @staticmethod
    def _head(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()


@contextmanager
def local_server() -> Iterator[LocalServer]:
    state = LocalServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
