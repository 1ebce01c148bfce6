"""Files -> bytes, block by block: folders, compressed files, standard input."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.text.formats import compression

STANDARD_INPUT = "-"
"""The name that selects standard input."""

RUN_FILES = {"best.h5", "last.h5"}
"""Files by which the folder of a run is recognised."""

_BLOCK = 2**20
_COMPRESSED = (".gz", ".bz2", ".xz")
_NAMES_SHOWN = 5
_MOST_ENTRIES = 10_000
"""Largest number of entries to search for a known number of files, in addition to 16 for each file."""


def find_files(sources: Sequence[str | Path], glob: str = TextConfig.glob, most: int | None = None) -> list[str | Path]:
    """Return the files that ``sources`` name, in the given order.

    A folder gives the files in and below it whose names match ``glob``, sorted by path; a compressed file is matched
    by its name without .gz, .bz2 or .xz. Hidden folders in it and the folders of runs are left out, and so are hidden
    files, unless the name in ``glob`` starts with a dot.
    With ``most``, the search ends as soon as it has found more than ``most`` files. Raises CorpusError if a folder contains
    no such file, or far too many entries for ``most`` files.
    """
    files: list[str | Path] = []
    for source in sources:
        if not str(source):
            raise CorpusError("the name of a text is empty", "pass the name of a text file")
        if str(source) == STANDARD_INPUT or not os.path.isdir(source):
            files.append(source)
        else:
            found = sorted(islice(_files_below(source, glob, most), None if most is None else most + 1))
            if not found:
                raise CorpusError(f"{source}: no file in or below this folder matches {glob}",
                                  "pass the name of a text file, or another `glob`")
            files += found
        if most is not None and len(files) > most:
            break
    return files


def _files_below(source: str | Path, glob: str, most: int | None) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise CorpusError(f"{error.filename}: cannot be read ({error.strerror})", "pass the names of the files") from error

    with_hidden = PurePath(glob).name.startswith(".")
    entries = 0
    for folder, folders, names in os.walk(source, onerror=refuse):
        entries += len(folders) + len(names)
        if most is not None and entries > 16 * most + _MOST_ENTRIES:
            raise CorpusError(f"{source}: has too many entries for a text of {most:,} file{'s'[:most != 1]}")
        if folder != str(source) and RUN_FILES.intersection(names):
            folders.clear()
            continue
        folders[:] = (name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(folder, name)
            if (with_hidden or not name.startswith(".")) and os.path.isfile(path) and (
                    path.with_suffix("") if path.suffix in _COMPRESSED else path).match(glob):
                yield path


@dataclass
class FileDigest:
    """The number of bytes read from a file, their SHA-256, and that of the decompressed bytes if it is compressed."""

    size: int = 0
    stored: Any = field(default_factory=hashlib.sha256)
    decompressed: Any = None

    @property
    def content(self) -> bytes:
        """The SHA-256 of the bytes after decompression."""
        digest: bytes = (self.decompressed or self.stored).digest()
        return digest


def read_blocks(path: str | Path, digest: FileDigest | None = None, on_bytes: Callable[[int], None] | None = None,
                decompress: bool = True, recognise: bool = False, limit: int | None = None, live: bool = False
                ) -> Iterator[bytes]:
    """Read the bytes of a file, or of standard input for ``-``, block by block.

    A file is decompressed if its name ends in .gz, .bz2 or .xz, and with ``recognise`` also if its first bytes show that
    it is compressed. ``digest`` is updated with the bytes, and ``on_bytes`` is called with the number of bytes before
    decompression, of which at most ``limit`` are read. With ``live``, a block of standard input is what has arrived, so
    that no input waits for more. Raises CorpusError if the file does not exist, is not a regular file, cannot be read or is
    corrupt.
    """
    digest = digest or FileDigest()
    try:
        with _open(path) as raw:
            read = raw.read1 if live and str(path) == STANDARD_INPUT else raw.read
            stored = _StoredFile(read, digest, on_bytes or (lambda count: None), limit)
            suffix = PurePath(path).suffix if str(path) != STANDARD_INPUT else ""
            if recognise and suffix not in _COMPRESSED:
                suffix = compression(stored.peek())
            file = _decompressed(stored, suffix if decompress else "")
            if file is not stored:
                digest.decompressed = hashlib.sha256()
            while block := file.read(_BLOCK):
                if digest.decompressed is not None:
                    digest.decompressed.update(block)
                yield block
            while file is not stored and stored.read(_BLOCK):  # bytes after the compressed data belong to the digest too
                pass
    except FileNotFoundError as error:
        raise CorpusError(f"{display_name(path)}: no such file", _hint_for(str(path))) from error
    except (EOFError, zlib.error) as error:
        raise _corrupt(path, error) from error
    except ImportError as error:
        raise CorpusError(f"{path}: this Python cannot decompress such files", "decompress it first") from error
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is None:  # raised by gzip and bz2
            raise _corrupt(path, error) from error
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{display_name(path)}: cannot be read ({reason})", "pass the name of a text file") from error


def _corrupt(path: str | Path, error: Exception) -> CorpusError:
    return CorpusError(f"{display_name(path)}: cannot be decompressed ({str(error)[:100]})",
                       "check that the file is complete")


def _hint_for(name: str) -> str:
    """Return the hint for a file that does not exist. Its name may be that of a corpus to download."""
    from charrnn.text.catalog import CATALOG, path_of

    if name not in CATALOG:
        return "pass the name of a text file"
    path = path_of(name)
    return f"use {path}" if path.exists() else f"run 'charrnn corpora get {name}' and use {path}"


def display_name(path: str | Path) -> str:
    """Return the name of a file as messages show it."""
    return "standard input" if str(path) == STANDARD_INPUT else str(path)


def join_names(names: Sequence[str | Path]) -> str:
    """Return names for a message: all if there are few, otherwise the first and the number of the others."""
    if len(names) <= _NAMES_SHOWN:
        return ", ".join(map(display_name, names))
    return f"{display_name(names[0])} and {len(names) - 1:,} more"


def is_compressed(path: str | Path) -> bool:
    """Return whether the name of a file says that it is compressed."""
    return PurePath(path).suffix in _COMPRESSED


def _open(path: str | Path) -> AbstractContextManager[Any]:
    if str(path) == STANDARD_INPUT:
        return nullcontext(sys.stdin.buffer)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CorpusError(f"{path}: not a regular file", "pass the name of a text file, or '-' for standard input")
    return os.fdopen(descriptor, "rb", buffering=0)


class _StoredFile(io.RawIOBase):
    """Reads at most ``limit`` bytes with the function ``read`` of a file, and counts and digests them."""

    def __init__(self, read: Callable[[int], bytes], digest: FileDigest, on_bytes: Callable[[int], None],
                 limit: int | None) -> None:
        self._read = read
        self._digest = digest
        self._on_bytes = on_bytes
        self._left = limit
        self._peeked = b""

    def readable(self) -> bool:
        return True

    def peek(self) -> bytes:
        """Return the first bytes of the file; ``read`` will return them again."""
        self._peeked = self.read(_BLOCK)
        return self._peeked

    def read(self, size: int = -1) -> bytes:
        size = _BLOCK if size < 0 else size
        if self._peeked:
            data, self._peeked = self._peeked[:size], self._peeked[size:]
            return data
        data = self._read(size if self._left is None else min(size, self._left))
        if self._left is not None:
            self._left -= len(data)
        self._digest.size += len(data)
        self._digest.stored.update(data)
        self._on_bytes(len(data))
        return data


def _decompressed(file: Any, suffix: str) -> Any:
    if suffix == ".gz":
        import gzip

        return gzip.GzipFile(fileobj=file, mode="rb")
    if suffix == ".bz2":
        import bz2

        return bz2.BZ2File(file)
    if suffix == ".xz":
        import lzma

        return _Lzma(lzma.LZMAFile(file), lzma.LZMAError)
    return file


class _Lzma:
    """An lzma file that raises EOFError on corrupt data; LZMAError is not an OSError, unlike the errors of gzip and bz2."""

    def __init__(self, file: Any, error: type[Exception]) -> None:
        self._file = file
        self._error = error

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._file.read(size)
        except self._error as error:
            raise EOFError(str(error)) from error
        return data
