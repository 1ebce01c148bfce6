"""File formats that are not plain text, recognised by their first bytes."""

from __future__ import annotations

from typing import NamedTuple

_UNPACK = "unpack it first"
_CONVERT = "convert it to plain text first"
_BYTES = "pass `level='byte'` to read it as bytes"

_HEAD = 512
_CONTROL = bytes({*range(32), 127} - set(b"\t\n\v\f\r\b\x1b"))
_MOST_CONTROL = 0.05


class Format(NamedTuple):
    """A file format: its magic bytes at ``offset``, its name with an article, and the hint for such a file."""

    magic: bytes
    offset: int
    name: str
    hint: str


_FORMATS = [Format(magic, offset, name, hint) for offset, name, hint, *magics in (
    (257, "a tar archive", _UNPACK, b"ustar"),
    (0, "a zip archive, like .docx, .odt and .epub files", _UNPACK, b"PK\x03\x04", b"PK\x05\x06"),
    (0, "compressed with zstd", _UNPACK, b"\x28\xb5\x2f\xfd"),
    (0, "a 7z archive", _UNPACK, b"7z\xbc\xaf\x27\x1c"),
    (0, "a rar archive", _UNPACK, b"Rar!\x1a\x07"),
    (0, "compressed with lz4", _UNPACK, b"\x04\x22\x4d\x18"),
    (0, "compressed with compress", _UNPACK, b"\x1f\x9d"),
    (0, "a PDF file", _CONVERT, b"%PDF-"),
    (0, "an Office document", _CONVERT, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    (0, "a PNG image", _BYTES, b"\x89PNG\r\n\x1a\n"),
    (0, "a JPEG image", _BYTES, b"\xff\xd8\xff"),
    (0, "a GIF image", _BYTES, b"GIF87a", b"GIF89a"),
    (0, "a TIFF image", _BYTES, b"II*\0", b"MM\0*"),
    (0, "an image, audio or video file", _BYTES, b"RIFF", b"OggS", b"fLaC", b"ID3", b"\x1a\x45\xdf\xa3"),
    (4, "a video file", _BYTES, b"ftyp"),
    (0, "an executable", _BYTES, b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\0asm"),
    (0, "an SQLite database", _BYTES, b"SQLite format 3\0"),
    (0, "an HDF5 file", _BYTES, b"\x89HDF\r\n\x1a\n"),
    (0, "a NumPy array", _BYTES, b"\x93NUMPY"),
    (0, "a Parquet file", _BYTES, b"PAR1"),
) for magic in magics]


def recognise(head: bytes) -> Format | None:
    """Return the format of a file that begins with ``head``, or None if it may be text.

    Magic bytes that are text themselves, such as ``MZ``, count only if ``head`` contains NUL, except those of PDF.
    """
    for kind in _FORMATS:
        if head.startswith(kind.magic, kind.offset) and (
                kind.magic == b"%PDF-" or not kind.magic.isascii() or not kind.magic.decode().isprintable()
                or b"\0" in head[:_HEAD]):
            return kind
    return None


def compression(head: bytes) -> str:
    """Return the suffix (.gz, .bz2 or .xz) of a compressed file that begins with ``head``, or "" for other files."""
    if head.startswith(b"\x1f\x8b\x08"):
        return ".gz"
    if head.startswith(b"BZh") and head[4:10] in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"):
        return ".bz2"
    return ".xz" if head.startswith(b"\xfd7zXZ\0") else ""


def is_binary(data: bytes) -> bool:
    """Return whether more than 5 % of the first bytes are control characters, so that ``data`` is probably not text."""
    head = data[:2**12]
    return len(head) - len(head.translate(None, _CONTROL)) > _MOST_CONTROL * len(head)
