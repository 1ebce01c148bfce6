"""A web server on the loopback address that behaves as a test says: it answers, cuts, stalls or sends wrong headers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Handler"], None]
"""Answers one request."""


class Handler(BaseHTTPRequestHandler):
    """Answers a request with the server's next behaviour; the last behaviour answers all further requests."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        behaviours = self.server.behaviours
        behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        with contextlib.suppress(ConnectionError):  # the client has closed the connection
            behaviour(self)

    def answer(self, code: int, body: bytes = b"", **headers: object) -> None:
        """Send an answer, with Content_Length the length of the body unless given; a header that is None is not sent."""
        self.send_response(code)
        for name, value in {"Content_Length": len(body), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Server(ThreadingHTTPServer):
    """Uses its behaviours one after the other, and records the requested paths."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviours: list[Behaviour] = []
        self.asked: list[str] = []
        self.stopped = threading.Event()

    @property
    def address(self) -> str:
        """Address of its only file."""
        return f"http://127.0.0.1:{self.server_port}/file"


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Run a server until the block ends."""
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
    """Send all of ``data``."""
    return cut(data, len(data))


def cut(data: bytes, after: int) -> Behaviour:
    """Announce all of ``data``, but close the connection after ``after`` bytes."""
    return lambda request: request.answer(200, data[:after], Content_Length=len(data))


def stall(data: bytes, after: int) -> Behaviour:
    """Send ``after`` bytes, then nothing for ten seconds; a client without a timeout would see a lost connection."""
    def behave(request: Handler) -> None:
        cut(data, after)(request)
        request.server.stopped.wait(10)

    return behave


def endless(request: Handler) -> None:
    """Send a body that never ends, and announce no length."""
    request.answer(200, Content_Length=None)
    while not request.server.stopped.is_set():
        request.wfile.write(b"x" * 2**16)


def status(code: int, **headers: object) -> Behaviour:
    """Send a status without a body."""
    return lambda request: request.answer(code, **headers)
