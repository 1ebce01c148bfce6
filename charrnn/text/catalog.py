"""The available corpora: texts to download, each with its size and SHA-256, and texts that come with Python."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from charrnn.errors import DownloadError
from charrnn.storage.atomic import replace_file
from charrnn.text.builtin import BUILTIN_TEXTS
from charrnn.text.download import Digest, download

DEFAULT_FOLDER = "corpora"

OnProgress = Callable[[str, int, int], None]
"""Receives the current action, the number of bytes done and the total."""

OnWarning = Callable[[str], None]
"""Receives a one-line message for each problem that does not end the download."""


class Entry(NamedTuple):
    """A text to download. If ``archive`` is set, the file at ``address`` is a zip archive with the text as ``name``."""

    name: str
    what: str
    licence: str
    address: str
    text: Digest
    archive: Digest | None = None

    @property
    def fetched(self) -> Digest:
        """The digest of the file at ``address``."""
        return self.archive or self.text


CATALOG = {entry.name: entry for entry in (
    Entry("names", "32,033 first names, one per line", "public domain",
          "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt",
          Digest(228_145, "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d")),
    Entry("tinyshakespeare", "40,000 lines of Shakespeare", "public domain",
          "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
          Digest(1_115_394, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed")),
    Entry("text8", "Wikipedia of 2006, only a to z and spaces", "CC BY-SA 3.0, GFDL",
          "https://mattmahoney.net/dc/text8.zip",
          Digest(100_000_000, "6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7"),
          Digest(31_344_016, "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232")),
    Entry("enwik8", "Wikipedia of 2006, with its markup", "CC BY-SA 3.0, GFDL",
          "https://mattmahoney.net/dc/enwik8.zip",
          Digest(100_000_000, "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8"),
          Digest(36_445_475, "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc")),
)}


def corpus_names() -> list[str]:
    """Return the names that ``fetch`` accepts."""
    return [*BUILTIN_TEXTS, *CATALOG]


def path_of(name: str, folder: str | Path = DEFAULT_FOLDER) -> Path:
    """Return the path of a corpus in a folder."""
    return Path(folder, f"{name}.txt")


def fetch(name: str, into: str | Path, overwrite: bool, on_progress: OnProgress, on_warning: OnWarning) -> bool:
    """Fetch a corpus into the folder ``into``. Return False if it already exists there.

    The file gets its name only after its size and SHA-256 have been verified. Raises DownloadError if the text cannot be
    downloaded or written, or if a different file has its name and ``overwrite`` is false.
    """
    path, entry = path_of(name, into), CATALOG.get(name)
    data = b"" if entry else BUILTIN_TEXTS[name].read().encode()
    expected = entry.text if entry else Digest(len(data), hashlib.sha256(data).hexdigest())
    try:
        if path.exists():
            if path.stat().st_size == expected.size and hashlib.sha256(path.read_bytes()).hexdigest() == expected.sha256:
                return False
            if not overwrite:
                raise DownloadError(f"{path}: already exists and is not {name}",
                                    "pass `overwrite=True` to replace it, or set `into` to another folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks = _download(entry, on_progress, on_warning) if entry else [data]
        replace_file(path, _checked(blocks, path, expected, on_progress))
    except OSError as error:  # of the disk: download() turns network errors into DownloadError
        existing = path if os.path.isdir(path.parent) else path.parent
        raise DownloadError(f"{existing}: cannot be read or written ({error.strerror or error})",
                            "free some disk space or set `into` to another folder, then try again") from error
    return True


def _download(entry: Entry, on_progress: OnProgress, on_warning: OnWarning) -> Iterator[bytes]:
    """Yield the text, in blocks if it comes from an archive."""
    data = download(entry.address, entry.fetched, functools.partial(on_progress, "download"), on_warning)
    if entry.archive is None:
        yield data
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(entry.name) as member:
            while block := member.read(2**20):
                yield block
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DownloadError(f"{entry.address}: not a zip archive that contains {entry.name} ({error})",
                            "get the text from elsewhere") from error


def _checked(blocks: Iterable[bytes], path: Path, expected: Digest, on_progress: OnProgress) -> Iterator[bytes]:
    """Yield the blocks, but never more bytes than expected. Raises DownloadError at the end if the content is wrong."""
    size, sha256 = 0, hashlib.sha256()
    for block in blocks:
        size += len(block)
        if size > expected.size:
            break
        sha256.update(block)
        yield block
        on_progress("writing", size, expected.size)
    if (size, sha256.hexdigest()) != expected:
        raise DownloadError(f"{path}: not written, because the text has unexpected content",
                            "get the text from elsewhere")
