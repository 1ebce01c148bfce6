"""What lies at an address -> a file, over connections that break, stall and lie.

The caller knows the size and the SHA-256 of what it wants. So the server is believed in nothing: never more bytes are
kept than that, and whether pieces that came at different times belong together is for the digest to say, not for an
ETag (whose value differs between the machines of one server).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from typing import Any, BinaryIO

from charrnn.errors import DownloadError

TIMEOUT = 30.0
"""Seconds without a byte after which a connection is given up."""

PAUSES = (1.0, 1.0, 2.0, 4.0)
"""Seconds before the next try, by how many in a row have brought nothing; after the last it is given up."""

_BLOCK = 2**18

_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""What a server answers that may answer otherwise in a moment."""


class _BrokenError(Exception):
    """This try has failed, and the next may do better."""


def download(address: str, size: int, file: BinaryIO, show: Callable[[int], None], tell: Callable[[str], None]) -> bool:
    """Fill ``file`` up to ``size`` bytes, as they lie at ``address``; say whether they all came in one go.

    ``show`` is told how many there are, ``tell`` what goes wrong on the way. Raises DownloadError where the server has
    something else, or where several tries in a row bring nothing (what there is stays in ``file``), and OSError where the
    file cannot be written.
    """
    before = have = most = file.seek(0, os.SEEK_END)
    tries = failures = 0
    while have < size:
        tries += 1
        trouble = "the connection was cut"
        try:
            _receive(address, size, file, have, show)
        except _BrokenError as error:
            trouble = str(error)
        have = file.seek(0, os.SEEK_END)
        failures = 0 if have > most else failures + 1
        most = max(most, have)
        if have < size:
            place = f"{trouble}, at {have:,} of {size:,} bytes"
            if failures == len(PAUSES):
                raise DownloadError(f"{address}: {place}; run the same command again later: it goes on where it stopped")
            tell(f"{place}; trying again in {PAUSES[failures]:g} s")
            time.sleep(PAUSES[failures])
    return before == 0 and tries == 1


def _receive(address: str, size: int, file: BinaryIO, have: int, show: Callable[[int], None]) -> None:
    """Write what one connection brings. Raises as ``_blocks``, and OSError where the file cannot be written."""
    with contextlib.closing(_blocks(address, size, have)) as blocks:
        for place, block in blocks:
            if file.tell() != place:
                file.seek(place)
                file.truncate()
            file.write(block)
            show(place + len(block))


def _blocks(address: str, size: int, have: int) -> Generator[tuple[int, bytes], None, None]:
    """What one connection brings of the bytes from ``have`` to ``size``, each block with the place it belongs to.

    A server that does not go on at ``have`` begins again at 0. Raises _BrokenError, and DownloadError for what no other
    try will mend.
    """
    headers = {"User-Agent": "charrnn", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT) as response:
            place, whole = _offer(response, have)
            if place not in (0, have):
                yield 0, b""  # what there is does not count any more, and the next try asks for everything
                raise _BrokenError("the server sends another part than was asked for")
            if whole not in (None, size):
                raise DownloadError(f"{address}: has {whole:,} bytes, not {size:,}; it is not what it was, so get the text "
                                    f"from elsewhere")
            while place < size and (block := response.read1(min(_BLOCK, size - place))):
                yield place, block
                place += len(block)
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"the server answers {error.code} {http.client.responses.get(error.code, '')}".strip()
        if error.code == 416:  # it says that nothing comes after ``have``
            yield 0, b""
        elif error.code not in _PASSING:
            raise DownloadError(f"{address}: {answer}; get the text from elsewhere") from None
        raise _BrokenError(answer) from None
    except TimeoutError:
        raise _BrokenError(f"no byte came for {TIMEOUT:g} s") from None
    except http.client.IncompleteRead:
        raise _BrokenError("the connection was cut") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise _BrokenError(str(getattr(reason, "strerror", None) or reason) or type(reason).__name__) from None


def _offer(response: Any, have: int) -> tuple[int, int | None]:
    """Where the bytes of a response begin, -1 for nowhere, and how many the whole file has, if the server says so."""
    if not have or response.status != 206:
        return 0, response.length
    found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", response.headers.get("Content-Range", ""), re.ASCII)
    if found is None or int(found[1]) != have:
        return -1, None
    return have, None if found[2] == "*" else int(found[2])
