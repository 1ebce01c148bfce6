"""Download a file of known size and SHA-256 from a server that may fail, stall or send something else."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

from charrnn.errors import DownloadError

TIMEOUT = 30.0
"""Seconds without data after which a connection is closed."""

PAUSES = (1.0, 2.0, 4.0)
"""Seconds to wait after each failed try, except the last."""

_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
"""HTTP status codes of errors that may be temporary."""

_BLOCK = 2**18


class Digest(NamedTuple):
    """The size of a file in bytes, and its SHA-256."""

    size: int
    sha256: str


def download(address: str, expected: Digest, on_bytes: Callable[[int, int], None],
             on_warning: Callable[[str], None]) -> bytes:
    """Download the file at ``address`` and return its content.

    A broken download starts again from the beginning, a few times. ``on_bytes`` receives the number of bytes so far and
    the total, ``on_warning`` a one-line message after each failed try. Raises DownloadError if the file cannot be
    downloaded or does not have the expected content.
    """
    size = expected.size
    request = urllib.request.Request(address, headers={"User-Agent": "charrnn"})
    for pause in (*PAUSES, None):
        data, problem = bytearray(), "the connection was lost"
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                if response.length not in (None, size):
                    raise DownloadError(f"{address}: has {response.length:,} bytes, not {size:,}",
                                        "get the text from elsewhere")
                while len(data) < size and (block := response.read1(min(_BLOCK, size - len(data)))):
                    data += block
                    on_bytes(len(data), size)
        except urllib.error.HTTPError as error:
            error.close()
            problem = f"the server answered {error.code} {http.client.responses.get(error.code, '')}".strip()
            if error.code not in _TEMPORARY:
                raise DownloadError(f"{address}: {problem}", "get the text from elsewhere") from error
        except http.client.IncompleteRead:
            pass  # "the connection was lost" says it better
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            problem = str(getattr(reason, "strerror", None) or reason) or type(reason).__name__
        if len(data) == size:
            break
        problem += f", at {len(data):,} of {size:,} bytes"
        if pause is None:
            raise DownloadError(f"{address}: {problem}, in the last of {len(PAUSES) + 1} tries",
                                "check the network connection, or try again later")
        on_warning(f"{problem}; trying again in {pause:g} s")
        time.sleep(pause)
    if (found := hashlib.sha256(data).hexdigest()) != expected.sha256:
        raise DownloadError(f"{address}: unexpected content (SHA-256 {found[:12]}, not {expected.sha256[:12]})",
                            "use another network, or get the text from elsewhere")
    return bytes(data)
