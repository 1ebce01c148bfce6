"""A web server on the loopback address that does what a test tells it to: answer, cut, stall, lie."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Handler"], None]
"""Answers one request."""


class Handler(BaseHTTPRequestHandler):
    """One request, as the server's next behaviour wants it; the last behaviour answers all that follow."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        behaviours = self.server.behaviours
        behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        with contextlib.suppress(ConnectionError):  # the other side has had enough
            behaviour(self)

    @property
    def first(self) -> int:
        """The place from which on the bytes are wanted."""
        return int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))

    def answer(self, code: int, body: bytes = b"", **headers: object) -> None:
        """A whole answer, or its beginning where Content_Length says more; with None for no such header."""
        self.send_response(code)
        for name, value in {"Content_Length": len(body), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Takes its behaviours one by one, and remembers what it was asked for."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviours: list[Behaviour] = []
        self.asked: list[tuple[str, str | None]] = []
        self.stopped = threading.Event()

    @property
    def address(self) -> str:
        """Of the one file that it has."""
        return f"http://127.0.0.1:{self.server_port}/file"


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server, for as long as the block lasts."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()


def whole(data: bytes) -> Behaviour:
    """All of it, whatever was asked for."""
    return lambda request: request.answer(200, data)


def ranges(data: bytes) -> Behaviour:
    """What was asked for, as a good server does."""
    def behave(request: Handler) -> None:
        if request.first < len(data):
            cut(data, len(data))(request)
        else:
            request.answer(416, Content_Range=f"bytes */{len(data)}")

    return behave


def cut(data: bytes, after: int) -> Behaviour:
    """Of what was asked for so many bytes, then the end of the connection."""
    def behave(request: Handler) -> None:
        first = request.first
        headers = {"Content_Length": len(data) - first}
        if first:
            headers["Content_Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        request.answer(206 if first else 200, data[first:first + after], **headers)

    return behave


def stall(data: bytes, after: int) -> Behaviour:
    """So many bytes, then nothing, and the connection stays."""
    def behave(request: Handler) -> None:
        cut(data, after)(request)
        request.server.stopped.wait()

    return behave


def endless(request: Handler) -> None:
    """A body that never ends, of no length that is named."""
    request.answer(200, Content_Length=None)
    while not request.server.stopped.is_set():
        request.wfile.write(b"x" * 2**16)


def status(code: int, **headers: object) -> Behaviour:
    """Nothing but a status."""
    return lambda request: request.answer(code, **headers)
