"""charrnn.text.download"""

from __future__ import annotations

import gc
import io
import random
import socket
from collections.abc import Iterator

import pytest
from serving import Behaviour, Handler, Server, cut, endless, ranges, serving, stall, status, whole

from charrnn.errors import DownloadError
from charrnn.text import download as module
from charrnn.text.download import download

DATA = random.Random(1).randbytes(1_000_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0, 0.01, 0.02))
    with serving() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.3)


class Result:
    """What a download of ``DATA`` did to a file that held ``before``."""

    def __init__(self, server: Server, *behaviours: Behaviour, before: bytes = b"", size: int = len(DATA)) -> None:
        server.behaviours = list(behaviours)
        file, self.shown, self.told, self.error = io.BytesIO(before), [], [], ""
        self.at_once: bool | None = None
        try:
            self.at_once = download(server.address, size, file, self.shown.append, self.told.append)
        except DownloadError as error:
            self.error = str(error)
        self.data = file.getvalue()


def test_a_file_comes_whole_and_the_progress_is_told(server: Server) -> None:
    result = Result(server, whole(DATA))
    assert result.data == DATA
    assert result.at_once is True
    assert result.shown == sorted(result.shown)
    assert len(result.shown) > 2
    assert result.shown[-1] == len(DATA)
    assert not result.told
    assert server.asked == [("/file", None)]


def test_what_was_cut_goes_on_where_it_stopped(server: Server) -> None:
    result = Result(server, cut(DATA, 300_000), cut(DATA, 300_000), ranges(DATA))
    assert result.data == DATA
    assert result.at_once is False
    assert [wanted for _, wanted in server.asked] == [None, "bytes=300000-", "bytes=600000-"]
    assert result.told == [f"the connection was cut, at {n} of 1,000,000 bytes; trying again in 0 s"
                           for n in ("300,000", "600,000")]


def test_a_connection_that_is_cut_again_and_again_but_brings_something_is_no_failure(server: Server) -> None:
    result = Result(server, cut(DATA, 70_000))
    assert result.data == DATA
    assert len(server.asked) == 15


def test_a_part_from_before_is_gone_on_with(server: Server) -> None:
    result = Result(server, ranges(DATA), before=DATA[:999_999])
    assert result.data == DATA
    assert result.at_once is False
    assert server.asked == [("/file", "bytes=999999-")]


def test_what_is_complete_is_not_asked_for(server: Server) -> None:
    result = Result(server, status(500), before=DATA)
    assert result.data == DATA
    assert result.at_once is False
    assert not server.asked


def test_a_server_that_knows_no_ranges_begins_again(server: Server) -> None:
    result = Result(server, cut(DATA, 300_000), whole(DATA))
    assert result.data == DATA
    result = Result(server, whole(DATA), before=b"z" * 999_999)
    assert result.data == DATA
    assert result.at_once is False


def test_a_server_that_knows_no_ranges_and_always_cuts_is_given_up(server: Server) -> None:
    def behave(request: Handler) -> None:
        request.answer(200, DATA[:300_000], Content_Length=len(DATA))

    result = Result(server, behave)
    assert result.error == (f"{server.address}: the connection was cut, at 300,000 of 1,000,000 bytes; run the same "
                            f"command again later: it goes on where it stopped")
    assert result.data == DATA[:300_000]
    assert len(server.asked) == 5  # the first brings something, four bring nothing new
    server.asked.clear()
    shorter, longer = (lambda request, n=n: request.answer(200, DATA[:n], Content_Length=len(DATA)) for n in (200, 300))
    result = Result(server, *[longer, shorter] * 20)
    assert "the connection was cut" in result.error
    assert len(server.asked) == 5  # more than the last time is nothing new


@pytest.mark.parametrize("answered", ["bytes 0-999999/1000000", "bytes 299999-999999/1000000",
                                      "bytes 300001-999999/1000000", "bytes */1000000",
                                      "bytes 300000-999999/10000001234567890123", "items 300000-1/2", "", None,
                                      f"bytes {'9' * 5000}-1/*"])
def test_another_range_than_was_asked_for_is_not_used(server: Server, answered: str | None) -> None:
    result = Result(server, lambda request: request.answer(206, b"x" * 700_000, Content_Range=answered), ranges(DATA),
                    before=DATA[:300_000])
    assert result.data == DATA
    assert [wanted for _, wanted in server.asked] == ["bytes=300000-", None]
    assert "the server sends another part than was asked for" in result.told[0]


def test_a_shorter_range_than_was_asked_for_is_used(server: Server) -> None:
    result = Result(server, lambda request: request.answer(206, DATA[300_000:500_000],
                                                           Content_Range="bytes 300000-499999/1000000"), ranges(DATA),
                    before=DATA[:300_000])
    assert result.data == DATA
    assert [wanted for _, wanted in server.asked] == ["bytes=300000-", "bytes=500000-"]


def test_a_range_of_a_file_of_another_length_is_refused(server: Server) -> None:
    result = Result(server, ranges(DATA + b"more"), before=DATA[:300_000])
    assert "has 1,000,004 bytes, not 1,000,000" in result.error
    assert result.data == DATA[:300_000]


def test_a_range_that_cannot_be_had_begins_again(server: Server) -> None:
    result = Result(server, status(416), whole(DATA), before=DATA[:300_000])
    assert result.data == DATA
    assert server.asked[1] == ("/file", None)


@pytest.mark.parametrize("length", [999_999, 1_000_001, 0, 10**17])
def test_a_file_of_another_length_is_refused_before_it_comes(server: Server, length: int) -> None:
    result = Result(server, lambda request: request.answer(200, DATA, Content_Length=length))
    assert result.error == (f"{server.address}: has {length:,} bytes, not 1,000,000; it is not what it was, so get the "
                            f"text from elsewhere")
    assert result.data == b""
    assert len(server.asked) == 1


@pytest.mark.parametrize("length", [None, "many", "-5", "9" * 5000])
def test_a_length_that_is_none_does_no_harm(server: Server, length: str | None) -> None:
    assert Result(server, lambda request: request.answer(200, DATA, Content_Length=length)).data == DATA


def test_never_more_is_taken_than_there_should_be(server: Server) -> None:
    assert Result(server, lambda request: request.answer(200, DATA + b"more", Content_Length=None)).data == DATA
    result = Result(server, endless)
    assert result.data == b"x" * 1_000_000
    assert len(server.asked) == 2


def test_chunks_are_put_together_and_a_cut_among_them_is_noticed(server: Server) -> None:
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
    result = Result(server, chunks(400_000), ranges(DATA))
    assert result.data == DATA
    assert result.told[0].startswith("the connection was cut, at 400,000")


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_stalls_is_left_after_some_seconds(server: Server) -> None:
    result = Result(server, stall(DATA, 300_000), ranges(DATA))
    assert result.data == DATA
    assert result.told == ["no byte came for 0.3 s, at 300,000 of 1,000,000 bytes; trying again in 0 s"]


@pytest.mark.usefixtures("impatient")
def test_a_server_that_never_answers_is_given_up(server: Server) -> None:
    result = Result(server, lambda request: request.server.stopped.wait() and None)
    assert "no byte came for 0.3 s, at 0 of 1,000,000 bytes; run the same command again later" in result.error
    assert len(server.asked) == len(module.PAUSES)


@pytest.mark.parametrize(("code", "name"), [(401, "Unauthorized"), (403, "Forbidden"), (404, "Not Found"), (410, "Gone")])
def test_a_refusal_is_told_at_once(server: Server, code: int, name: str) -> None:
    result = Result(server, status(code), before=DATA[:10])
    assert result.error == f"{server.address}: the server answers {code} {name}; get the text from elsewhere"
    assert result.data == DATA[:10]
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_in_trouble_is_asked_again_a_few_times(server: Server, code: int) -> None:
    assert Result(server, status(code), status(code), ranges(DATA), before=DATA[:10]).data == DATA
    result = Result(server, status(code), before=DATA[:10])
    assert f"the server answers {code} " in result.error
    assert "at 10 of 1,000,000 bytes; run the same command again later" in result.error
    assert len(result.told) == len(module.PAUSES) - 1


def test_a_redirect_is_followed_with_the_range(server: Server) -> None:
    result = Result(server, status(302, Location="/other"), ranges(DATA), before=DATA[:10])
    assert result.data == DATA
    assert server.asked == [("/file", "bytes=10-"), ("/other", "bytes=10-")]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets that urllib leaves open
@pytest.mark.parametrize("place", ["/file", "file:///etc/passwd", "http://[", "gopher://x/"])
def test_a_redirect_that_leads_nowhere_is_an_error_of_one_line(server: Server, place: str) -> None:
    result = Result(server, status(302, Location=place))
    gc.collect()
    assert result.error.startswith(server.address)
    assert "\n" not in result.error
    assert result.data == b""


@pytest.mark.parametrize("answer", [b"", b"no web server\r\n", b"HTTP/1.0 999999 x\r\n\r\n",
                                    b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"HTTP/1.0 200 " + b"x" * 70_000])
def test_what_is_no_http_is_an_error_of_one_line(server: Server, answer: bytes) -> None:
    result = Result(server, lambda request: request.wfile.write(answer) and None)
    assert result.error.startswith(f"{server.address}: ")
    assert ", at 0 of 1,000,000 bytes; run the same command again" in result.error


def test_where_nobody_listens_it_says_so(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(Server, "address", f"http://127.0.0.1:{free.getsockname()[1]}/")
        assert "Connection refused, at 0 of" in Result(server).error


def test_what_goes_wrong_with_the_file_is_no_fault_of_the_network(server: Server) -> None:
    class Full(io.BytesIO):
        def write(self, *_: object) -> int:
            raise OSError(28, "No space left on device")

    server.behaviours = [whole(DATA)]
    with pytest.raises(OSError, match="No space left"):
        download(server.address, len(DATA), Full(), lambda _: None, lambda _: None)
    assert len(server.asked) == 1
