"""The sizes and times of the files of a text, and the record of them in a checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from charrnn.errors import CorpusError
from charrnn.text.files import STANDARD_INPUT

_YOUNG = 2.0
"""Seconds within which a file may change again without a new modification time."""


class TextFile(NamedTuple):
    """A file before it is read: its size in bytes and its modification time, or None if they are not known.

    ``limit`` is the number of bytes to read, so that reading a growing file ends; None means all.
    """

    path: str | Path
    size: int | None = None
    time_ns: int | None = None
    limit: int | None = None

    @classmethod
    def of(cls, path: str | Path) -> TextFile:
        """Return a file with its current size. If that is 0, there is no limit: files in /proc only seem to be empty."""
        if str(path) == STANDARD_INPUT:
            return cls(path)
        try:
            found = os.stat(path)
        except (OSError, ValueError):  # the error is reported when the file is read
            return cls(path)
        return cls(path, found.st_size, found.st_mtime_ns, found.st_size or None)

    @property
    def is_longer(self) -> bool:
        """Whether the file now has more bytes than ``limit``."""
        return self.limit is not None and (TextFile.of(self.path).size or 0) > self.limit

    @property
    def has_changed(self) -> bool:
        """Whether the file has changed since it was described, other than by growing."""
        now = TextFile.of(self.path)
        return (now.size or 0) < (self.size or 0) or (now.size == self.size and now.time_ns != self.time_ns)


class Stamps(NamedTuple):
    """Digests of the names and sizes of files, and of their times. If ``young``, a file may change without a new time."""

    files: str
    times: str
    young: bool

    @classmethod
    def of(cls, files: Sequence[TextFile]) -> Stamps:
        """Return the stamps of the files that exist. The size of a file is the number of bytes to read."""
        sizes, times, newest = hashlib.sha256(), hashlib.sha256(), 0
        for file in files:
            if file.size is None or file.time_ns is None:
                continue  # a missing file is reported when it is read
            sizes.update(f"{os.path.abspath(file.path)}\0{file.limit or 0}\0".encode("utf-8", "surrogateescape"))
            times.update(f"{file.time_ns}\0".encode())
            newest = max(newest, file.time_ns)
        return cls(sizes.hexdigest(), times.hexdigest(), newest > (time.time() - _YOUNG) * 1e9)


class TextRecord(NamedTuple):
    """The record of a text in a checkpoint: fingerprint, characters, number of files, total bytes, and sizes.

    A checkpoint may come from anywhere and name any file. So only files of exactly these sizes are read, and their text is
    used only if it has this fingerprint. ``sizes`` is a digest, see ``digest_of_sizes``.
    """

    fingerprint: str
    characters: int
    files: int
    bytes: int
    sizes: str

    def require_sizes(self, files: Sequence[TextFile], name: str) -> list[TextFile]:
        """Return the files, each with its ``limit`` set. Raises CorpusError unless their sizes match the record.

        A single file may be longer, because text was appended to it; then only the recorded bytes are read.
        """
        if len(files) > self.files:
            raise CorpusError(f"{name}: has more files than the text of this run, which had {self.files:,}")
        for file in files:
            if file.size is None:
                raise CorpusError(f"{file.path}: no such file")
        sizes = [file.size or 0 for file in files]
        if len(files) == self.files == 1 and sizes[0] > self.bytes:
            sizes = [self.bytes]
        if (len(files), sum(sizes)) != (self.files, self.bytes):
            raise CorpusError(f"{name}: has {_described(len(files), sum(sizes))}, but the text of this run had "
                              f"{_described(self.files, self.bytes)}")
        if digest_of_sizes(sizes) != self.sizes:
            raise CorpusError(f"{name}: the sizes of the files differ from those of this run")
        return [file._replace(limit=size) for file, size in zip(files, sizes)]

    def require_fingerprint(self, fingerprint: str, name: str) -> None:
        """Raise CorpusError unless ``fingerprint`` is the recorded one."""
        if fingerprint != self.fingerprint:
            raise CorpusError(f"{name}: has changed since the run was started")


def digest_of_sizes(sizes: Sequence[int]) -> str:
    """Return the SHA-256 of the sizes of files."""
    return hashlib.sha256(json.dumps(list(sizes)).encode()).hexdigest()


def _described(files: int, size: int) -> str:
    return f"{size:,} bytes" if files == 1 else f"{files:,} files of {size:,} bytes"
