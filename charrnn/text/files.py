"""Named files -> bytes, block by block: folders, compressed files, standard input."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from charrnn.config import TextConfig
from charrnn.errors import CorpusError

STANDARD_INPUT = "-"
"""Name of the text that is read from standard input."""

_BLOCK = 2**20
_COMPRESSED = (".gz", ".bz2", ".xz")
_NAMES_SHOWN = 5


def find_files(sources: Sequence[str | Path], glob: str = TextConfig.glob) -> list[str | Path]:
    """Return the files that ``sources`` name, in their order.

    A folder gives the files in and below it whose names match ``glob``, sorted by path; a compressed file is matched
    by its name without .gz, .bz2 or .xz. Raises CorpusError if a folder contains none.
    """
    return [file for source in sources for file in _files(source, glob)]


def _files(source: str | Path, glob: str) -> list[str | Path]:
    if not str(source):
        raise CorpusError("an empty name names no text; name a text file")
    if str(source) == STANDARD_INPUT or not os.path.isdir(source):
        return [source]

    def refuse(error: OSError) -> None:
        raise CorpusError(f"{error.filename}: cannot be read ({error.strerror}); name the files themselves") from None

    found = (Path(folder, name) for folder, _, names in os.walk(source, onerror=refuse) for name in names)
    files: list[str | Path] = sorted(
        path for path in found
        if (path.with_suffix("") if path.suffix in _COMPRESSED else path).match(glob) and os.path.isfile(path))
    if not files:
        raise CorpusError(f"{source}: no {glob} in this folder or below it; name a text file, or give another --glob")
    return files


def read_blocks(path: str | Path, digest: Any = None, on_bytes: Callable[[int], None] | None = None, decompress: bool = True
           ) -> Iterator[bytes]:
    """Read the bytes of a file, or of standard input for ``-``, block by block; decompress by the suffix of its name.

    ``digest`` is updated with the bytes as the file contains them, and ``on_bytes`` is called with their number. Raises
    CorpusError if the file does not exist, is not a regular file, cannot be read or is corrupt.
    """
    try:
        with _open(path) as raw:
            digesting = _DigestingFile(raw, digest or hashlib.sha256(), on_bytes or (lambda count: None))
            suffix = PurePath(path).suffix if decompress and str(path) != STANDARD_INPUT else ""
            file = _decompressed(digesting, suffix)
            while block := file.read(_BLOCK):
                yield block
            while file is not digesting and digesting.read(_BLOCK):  # bytes after the archive belong to the digest
                pass
    except FileNotFoundError:
        raise CorpusError(f"{display_name(path)}: no such file; name a text file") from None
    except (EOFError, zlib.error) as error:
        raise CorpusError(f"{path}: cannot be unpacked ({str(error)[:100]}); see that it is whole") from None
    except ImportError:
        raise CorpusError(f"{path}: this Python cannot unpack such files; unpack it first") from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is None:  # raised by gzip and bz2
            raise CorpusError(f"{path}: cannot be unpacked ({str(error)[:100]}); see that it is whole") from None
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{display_name(path)}: cannot be read ({reason}); name a text file") from None


def display_name(path: str | Path) -> str:
    """Return the name of a file as messages show it."""
    return "standard input" if str(path) == STANDARD_INPUT else str(path)


def join_names(names: Sequence[str | Path]) -> str:
    """Return names for a message: all if there are few, otherwise the first and the number of the others."""
    if len(names) <= _NAMES_SHOWN:
        return ", ".join(map(str, names))
    return f"{names[0]} and {len(names) - 1:,} more"


def is_compressed(path: str | Path) -> bool:
    """Return whether the name of a file says that it is compressed."""
    return PurePath(path).suffix in _COMPRESSED


def file_size(path: str | Path) -> int:
    """Return the size of a file in bytes, or 0 if it is not known."""
    try:
        return os.stat(path).st_size if str(path) != STANDARD_INPUT else 0
    except (OSError, ValueError):
        return 0


def _open(path: str | Path) -> AbstractContextManager[Any]:
    if str(path) == STANDARD_INPUT:
        return nullcontext(sys.stdin.buffer)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CorpusError(f"{path}: is no regular file; name a text file, or pipe it in with '-' as its name")
    return os.fdopen(descriptor, "rb", buffering=0)


class _DigestingFile(io.RawIOBase):
    """A raw file whose bytes go into a digest and are counted as they are read."""

    def __init__(self, raw: BinaryIO, digest: Any, on_bytes: Callable[[int], None]) -> None:
        self._raw, self._digest, self._on_bytes = raw, digest, on_bytes

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(_BLOCK if size < 0 else size)
        self._digest.update(data)
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
    """An lzma file that raises EOFError for corrupt data; its own error is not an OSError, unlike that of gzip and bz2."""

    def __init__(self, file: Any, error: type[Exception]) -> None:
        self._file, self._error = file, error

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._file.read(size)
        except self._error as error:
            raise EOFError(str(error)) from None
        return data
