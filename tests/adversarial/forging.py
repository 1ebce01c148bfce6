"""What forged checkpoints are made with: what whoever means harm can do to a valid one, digest and checksums and all."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from charrnn.storage.hdf5 import checksum, layout

FOOTER = struct.Struct("<8sIIQ32s8s")
MAGIC, END = b"charrnn\x00", b"end\r\n\x1a\n\x00"
LIBVER = ("v110", "v110")


def signed(image: bytes) -> bytes:
    """An image with the footer that belongs to it."""
    return image + FOOTER.pack(MAGIC, 1, 0, len(image), hashlib.sha256(image).digest(), END)


def image_of(data: bytes) -> bytes:
    return data[:-FOOTER.size]


def contents(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a checkpoint, and all that its /meta says; the caller's own."""
    arrays, text = _contents(data)
    return {name: array.copy() for name, array in arrays.items()}, json.loads(text)


@cache
def _contents(data: bytes) -> tuple[dict[str, np.ndarray], bytes]:
    arrays = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with h5py.File(BytesIO(image_of(data))) as file:
        file.visititems(note)
    return arrays, arrays.pop("meta").tobytes()


def forged(arrays: Mapping[str, np.ndarray], meta: Any) -> bytes:
    """A checkpoint of these arrays and this /meta: text, or what JSON makes of it."""
    text = meta if isinstance(meta, bytes) else json.dumps(meta).encode()
    return signed(to_image({**arrays, "meta": np.frombuffer(text, np.uint8)}))


def copied(data: bytes, into: h5py.File) -> None:
    """Make the arrays of a checkpoint in a file that h5py writes."""
    arrays, meta = contents(data)
    for name, array in {**arrays, "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}.items():
        into.create_dataset(name, data=array, track_times=False)


@contextmanager
def written(path: Path, **options: Any) -> Iterator[h5py.File]:
    """A new HDF5 file that h5py writes, and that is signed then."""
    image = BytesIO()
    with h5py.File(image, "w", **{"libver": LIBVER, **options}) as file:
        yield file
    path.write_bytes(signed(image.getvalue()))


class Header(NamedTuple):
    """Where an object header, or a further chunk of one, has its messages: kind, start of the content, length."""

    start: int
    end: int
    messages: list[tuple[int, int, int]]


@cache
def headers(image: bytes) -> list[Header]:
    """All object headers in an image whose checksums are right, the superblock first."""
    found = [Header(0, 44, [])]
    place = image.find(b"OHDR\x02")
    while place >= 0:
        flags = image[place + 5]
        start = place + 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
        width = 1 << (flags & 3)
        _add_header(found, image, place, start + width, int.from_bytes(image[start:start + width], "little"), flags)
        place = image.find(b"OHDR\x02", place + 1)
    return found


def _add_header(found: list[Header], image: bytes, place: int, start: int, size: int, flags: int) -> None:
    end, messages = start + size, []
    if end + 4 > len(image) or checksum(image[place:end]) != struct.unpack_from("<I", image, end)[0]:
        return
    found.append(Header(place, end, messages))
    head = 6 if flags & 4 else 4
    while start + head <= end:
        kind, length = struct.unpack_from("<BH", image, start)
        messages.append((kind, start + head, length))
        if kind == 16 and length == 16:
            more, extent = struct.unpack_from("<QQ", image, start + head)
            _add_header(found, image, more, more + 4, extent - 8, flags)
        start += head + length


def with_checksums(image: bytes, like: bytes) -> bytes:
    """``image`` with the checksums of all headers that are in ``like``."""
    mended = bytearray(image)
    for header in headers(like):
        if header.end + 4 <= len(image) and image[header.start:header.end] != like[header.start:header.end]:
            struct.pack_into("<I", mended, header.end, checksum(bytes(mended[header.start:header.end])))
    return bytes(mended)


def to_image(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An HDF5 file that holds ``arrays``, of the types that ``layout`` knows; a "/" in a name makes a group."""
    pieces = layout({name: (array.dtype.str, array.shape) for name, array in arrays.items()})
    return b"".join(np.ascontiguousarray(arrays[piece]).reshape(-1).view(np.uint8).data if isinstance(piece, str) else piece
                    for piece in pieces)
