"""Files -> text, block by block: what names name, packed or not, in any encoding."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import stat
import sys
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from charrnn.config import Reading
from charrnn.errors import CorpusError

STANDARD_INPUT = "-"
"""Name of the text that is read from standard input."""

_BLOCK = 2**20
_PACKED = (".gz", ".bz2", ".xz")
_NAMED = 5
_FARTHEST = 4096
"""How many characters before its end a block is cut at the latest, where it can be cut there at all."""


def find(sources: Sequence[str | Path], glob: str = Reading.glob) -> list[str | Path]:
    """The files that ``sources`` name, in their order: of a folder those in and below it whose names match ``glob``,
    sorted by path; a packed one matches by its name without .gz, .bz2 or .xz. Raises CorpusError where there are none."""
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
        if (path.with_suffix("") if path.suffix in _PACKED else path).match(glob) and os.path.isfile(path))
    if not files:
        raise CorpusError(f"{source}: no {glob} in this folder or below it; name a text file, or give another --glob")
    return files


def blocks(path: str | Path, digest: Any = None, on_bytes: Callable[[int], None] | None = None, unpack: bool = True
           ) -> Iterator[bytes]:
    """The bytes of a file, unpacked by the end of its name, or of standard input for ``-``, block by block.

    ``digest`` takes in what is read as it lies in the file, ``on_bytes`` is called with how many bytes that was. Raises
    CorpusError for a file that is missing, no regular file, unreadable, or packed badly.
    """
    try:
        with _open(path) as raw:
            watched = _Watched(raw, digest or hashlib.sha256(), on_bytes or (lambda count: None))
            file = _unpacked(watched, PurePath(path).suffix) if unpack and str(path) != STANDARD_INPUT else watched
            while block := file.read(_BLOCK):
                yield block
            while file is not watched and watched.read(_BLOCK):  # what stands behind an archive is of the file, too
                pass
    except FileNotFoundError:
        raise CorpusError(f"{name_of(path)}: no such file; name a text file") from None
    except (EOFError, zlib.error) as error:
        raise CorpusError(f"{path}: cannot be unpacked ({str(error)[:100]}); see that it is whole") from None
    except ImportError:
        raise CorpusError(f"{path}: this Python cannot unpack such files; unpack it first") from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is None:  # that of gzip and bz2
            raise CorpusError(f"{path}: cannot be unpacked ({str(error)[:100]}); see that it is whole") from None
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{name_of(path)}: cannot be read ({reason}); name a text file") from None


def name_of(path: str | Path) -> str:
    """What a message calls it."""
    return "standard input" if str(path) == STANDARD_INPUT else str(path)


def listed(names: Sequence[str | Path]) -> str:
    """Names in a message: all of a few, else the first."""
    if len(names) <= _NAMED:
        return ", ".join(map(str, names))
    return f"{names[0]} and {len(names) - 1:,} more"


def is_packed(path: str | Path) -> bool:
    """Whether a file is to be unpacked."""
    return PurePath(path).suffix in _PACKED


def size_of(path: str | Path) -> int:
    """The bytes of a file; 0 where that cannot be known."""
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


def texts(blocks: Iterable[bytes], name: str, reading: Reading) -> Iterator[str]:
    """The text of ``blocks`` of bytes, without a leading byte order mark, in the form that ``reading`` asks for; line ends
    stay as they are, but for lines that are documents.

    Raises CorpusError, with ``name`` and the offset of the fault, for bytes that are not of the encoding.
    """
    return shaped(_decoded(blocks, name, reading), reading)


def decode(data: bytes, name: str, reading: Reading | None = None) -> str:
    """The text of ``data``; see ``texts``."""
    return "".join(texts([data], name, reading or Reading()))


def _decoded(blocks: Iterable[bytes], name: str, reading: Reading) -> Iterator[str]:
    if reading.level == "byte":
        yield from (block.decode("latin-1") for block in blocks)
        return
    decoder = codecs.getincrementaldecoder(reading.encoding)(reading.errors)
    count, is_start = 0, True
    try:
        for block in blocks:
            if not count and (reading.encoding, reading.errors) == ("utf-8", "strict") and (other := _recognise(block)):
                raise CorpusError(f"{name}: is {other.upper()}, not UTF-8; try --encoding {other}")
            count += len(block)
            text = decoder.decode(block)
            if is_start and text:
                text, is_start = text.removeprefix("\ufeff"), False
            yield text
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:  # its object is what was left of the block before, and the block
        place = count - len(error.object) + error.start
        raise CorpusError(
            f"{name}: not {reading.encoding.upper()} at byte {place:,} (0x{error.object[error.start]:02x}); try "
            f"--encoding {'latin-1' if reading.encoding == 'utf-8' else 'utf-8'}, or --errors replace") from None
    except UnicodeError as error:
        raise CorpusError(f"{name}: not {reading.encoding.upper()} ({error}); try another --encoding") from None


class _Watched(io.RawIOBase):
    """A raw file; what is read from it goes into a digest, and is counted."""

    def __init__(self, raw: BinaryIO, digest: Any, on_bytes: Callable[[int], None]) -> None:
        self._raw, self._digest, self._on_bytes = raw, digest, on_bytes

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(_BLOCK if size < 0 else size)
        self._digest.update(data)
        self._on_bytes(len(data))
        return data


def _unpacked(file: Any, suffix: str) -> Any:
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
    """Its library's own error is no OSError as those of the others are."""

    def __init__(self, file: Any, error: type[Exception]) -> None:
        self._file, self._error = file, error

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._file.read(size)
        except self._error as error:
            raise EOFError(str(error)) from None
        return data


def _recognise(head: bytes) -> str | None:
    """The name of a wide encoding that a file with this beginning is in: by its byte order mark, or by NUL in every
    second byte."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(head) >= 4 and len(head) % 2 == 0:
        head = head[:1000]
        for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            if head[first::2].count(0) > 0.7 * len(head) / 2 and head[1 - first::2].count(0) < 0.1 * len(head) / 2:
                return name
    return None


def shaped(blocks: Iterable[str], reading: Reading) -> Iterator[str]:
    """The text in its normal form and in small letters, where that is asked for; every line with its end, where lines are
    documents. What belongs together may lie in two blocks, so that each is cut where nothing does."""
    if reading.normalize == "none" and not reading.lowercase and not reading.lines:
        yield from blocks
        return
    rest, last = "", "\n"
    for block in blocks:
        text = rest + block
        cut = _cut(text, reading.lowercase)
        text, rest = text[:cut], text[cut:]
        if text:
            text = _shape(text, reading)
            last = text[-1:] or last
            yield text
    rest = _shape(rest, reading)
    if reading.lines and not (rest or last).endswith("\n"):
        rest += "\n"
    yield rest


def shape(text: str, reading: Reading) -> str:
    """A text by itself in the form that ``reading`` asks for; bytes as the characters that stand for them."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1") if reading.level == "byte" else _shape(text, reading)


def _shape(text: str, reading: Reading) -> str:
    if reading.lines:
        text = text.replace("\r\n", "\n")
    if reading.normalize != "none":
        text = unicodedata.normalize("NFC" if reading.normalize == "NFC" else "NFKC", text)
    return text.lower() if reading.lowercase else text


def _cut(text: str, in_words: bool = False) -> int:
    """A place where ``text`` can be cut so that normal form and small letters of both parts are those of the whole:
    after a line's end, or before a blank; else before a character that does not compose with what stands before it, and
    if words matter (``in_words``) is in none."""
    if place := text.rfind("\n") + 1:
        return place
    if (place := text.rfind(" ")) > 0:
        return place
    for place in range(len(text) - 1, max(0, len(text) - _FARTHEST), -1):
        first = unicodedata.normalize("NFKD", text[place])[0]
        if unicodedata.category(first)[0] != "M" and not "\u1160" <= first <= "\u11ff" \
                and not (in_words and (_is_in_words(first) or _is_in_words(text[place]))):  # parts of Hangul compose, too
            return place
    if len(text) <= 4 * _BLOCK:
        return 0
    return _cut(text) if in_words else len(text)


def _is_in_words(character: str) -> bool:
    """Whether a capital sigma before it may be in the middle of a word: then its small one is not the final one."""
    return f"A\u03a3{character}A".lower()[1] != "\u03c2"
