"""charrnn.text.download"""

from __future__ import annotations

import gc
import hashlib
import random
import socket
import time
from collections.abc import Iterator

import pytest
from serving import Behaviour, Handler, Server, cut, endless, serving, stall, status, whole

from charrnn.errors import DownloadError
from charrnn.text import download as module
from charrnn.text.download import Digest, download

DATA = random.Random(1).randbytes(1_000_000)
TRIES = 4


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.01, 0.02))
    with serving() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.3)


class Result:
    """The result of a download that expects ``DATA``."""

    def __init__(self, server: Server, *behaviours: Behaviour) -> None:
        server.behaviours = list(behaviours)
        server.asked.clear()
        self.progress: list[tuple[int, int]] = []
        self.warnings: list[str] = []
        self.data, self.error = b"", ""
        expected = Digest(len(DATA), hashlib.sha256(DATA).hexdigest())
        try:
            self.data = download(server.address, expected, lambda *step: self.progress.append(step), self.warnings.append)
        except DownloadError as error:
            self.error = str(error)


def test_a_file_is_downloaded_and_the_progress_reported(server: Server) -> None:
    result = Result(server, whole(DATA))
    assert result.data == DATA
    assert result.progress == sorted(result.progress)
    assert len(result.progress) > 2
    assert result.progress[-1] == (len(DATA), len(DATA))
    assert not result.warnings
    assert server.asked == ["/file"]


def test_a_broken_download_starts_again(server: Server) -> None:
    result = Result(server, cut(DATA, 300_000), cut(DATA, 200_000), whole(DATA))
    assert result.data == DATA
    assert len(server.asked) == 3
    assert result.warnings == ["the connection was lost, at 300,000 of 1,000,000 bytes; trying again in 0 s",
                               "the connection was lost, at 200,000 of 1,000,000 bytes; trying again in 0.01 s"]


def test_pauses_grow_and_are_as_long_as_announced(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(module, "PAUSES", (1.0, 2.0, 4.0))
    monkeypatch.setattr(time, "sleep", pauses.append)
    result = Result(server, status(503))
    assert pauses == [1, 2, 4]
    assert [line.partition("; ")[2] for line in result.warnings] == [f"trying again in {n} s" for n in (1, 2, 4)]


def test_a_download_that_always_breaks_fails_after_a_few_tries(server: Server) -> None:
    result = Result(server, cut(DATA, 300_000))
    assert result.error == (f"{server.address}: the connection was lost, at 300,000 of 1,000,000 bytes, in the last of 4 "
                            f"tries; check the network connection, or try again later")
    assert len(server.asked) == TRIES
    assert len(result.warnings) == TRIES - 1


@pytest.mark.parametrize("length", [999_999, 1_000_001, 0, 10**17])
def test_a_file_of_another_size_is_refused_before_it_is_read(server: Server, length: int) -> None:
    result = Result(server, lambda request: request.answer(200, DATA, Content_Length=length))
    assert result.error == f"{server.address}: has {length:,} bytes, not 1,000,000; get the text from elsewhere"
    assert not result.progress
    assert len(server.asked) == 1


@pytest.mark.parametrize("length", [None, "many", "-5", "9" * 5000])
def test_an_invalid_length_is_ignored(server: Server, length: str | None) -> None:
    assert Result(server, lambda request: request.answer(200, DATA, Content_Length=length)).data == DATA


def test_a_file_with_other_content_is_refused(server: Server) -> None:
    wrong = DATA[:-1] + bytes([DATA[-1] ^ 1])
    result = Result(server, whole(wrong))
    assert result.error.startswith(f"{server.address}: unexpected content (SHA-256 "
                                   f"{hashlib.sha256(wrong).hexdigest()[:12]}, not "
                                   f"{hashlib.sha256(DATA).hexdigest()[:12]}); use another network")
    assert len(server.asked) == 1


def test_no_more_bytes_are_read_than_expected(server: Server) -> None:
    assert Result(server, lambda request: request.answer(200, DATA + b"more", Content_Length=None)).data == DATA
    result = Result(server, endless)
    assert "unexpected content" in result.error
    assert result.progress[-1] == (len(DATA), len(DATA))
    assert len(server.asked) == 1


def test_chunks_are_joined_and_a_cut_between_them_is_noticed(server: Server) -> None:
    def chunks(*sizes: int) -> Behaviour:
        def behave(request: Handler) -> None:
            request.protocol_version = "HTTP/1.1"
            request.answer(200, Content_Length=None, Transfer_Encoding="chunked")
            place = 0
            for size in sizes:
                request.wfile.write(b"%x\r\n%s\r\n" % (size, DATA[place:place + size]))
                place += size
            request.close_connection = True

        return behave

    assert Result(server, chunks(400_000, 600_000, 0)).data == DATA
    result = Result(server, chunks(400_000), whole(DATA))
    assert result.data == DATA
    assert result.warnings[0].startswith("the connection was lost, at 400,000")


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_stalls_is_closed_after_some_seconds(server: Server) -> None:
    result = Result(server, stall(DATA, 300_000), whole(DATA))
    assert result.data == DATA
    assert result.warnings == ["timed out, at 300,000 of 1,000,000 bytes; trying again in 0 s"]


@pytest.mark.usefixtures("impatient")
def test_a_server_that_never_answers_is_an_error(server: Server) -> None:
    result = Result(server, lambda request: request.server.stopped.wait(10) and None)
    assert "timed out, at 0 of 1,000,000 bytes, in the last of 4 tries" in result.error
    assert len(server.asked) == TRIES


@pytest.mark.parametrize(("code", "name"), [(401, "Unauthorized"), (403, "Forbidden"), (404, "Not Found"), (410, "Gone"),
                                            (501, "Not Implemented")])
def test_a_permanent_http_error_is_reported_at_once(server: Server, code: int, name: str) -> None:
    result = Result(server, status(code))
    assert result.error == f"{server.address}: the server answered {code} {name}; get the text from elsewhere"
    assert len(server.asked) == 1
    assert not result.warnings


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_a_temporary_http_error_is_retried(server: Server, code: int) -> None:
    assert Result(server, status(code), status(code), whole(DATA)).data == DATA
    result = Result(server, status(code))
    assert f"the server answered {code} " in result.error
    assert "at 0 of 1,000,000 bytes, in the last of 4 tries" in result.error
    assert len(result.warnings) == TRIES - 1


def test_a_redirect_is_followed(server: Server) -> None:
    result = Result(server, status(302, Location="/other"), whole(DATA))
    assert result.data == DATA
    assert server.asked == ["/file", "/other"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets that urllib leaves open
@pytest.mark.parametrize("place", ["/file", "file:///etc/passwd", "http://[", "gopher://x/"])
def test_an_invalid_redirect_is_a_one_line_error(server: Server, place: str) -> None:
    result = Result(server, status(302, Location=place))
    gc.collect()
    assert result.error.startswith(server.address)
    assert "\n" not in result.error


@pytest.mark.parametrize("answer", [b"", b"no web server\r\n", b"HTTP/1.0 999999 x\r\n\r\n",
                                    b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"HTTP/1.0 200 " + b"x" * 70_000])
def test_an_answer_that_is_not_http_is_a_one_line_error(server: Server, answer: bytes) -> None:
    result = Result(server, lambda request: request.wfile.write(answer) and None)
    assert result.error.startswith(f"{server.address}: ")
    assert ", at 0 of 1,000,000 bytes, in the last of 4 tries" in result.error


def test_a_refused_connection_is_an_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(Server, "address", f"http://127.0.0.1:{free.getsockname()[1]}/")
        assert "Connection refused, at 0 of" in Result(server).error
