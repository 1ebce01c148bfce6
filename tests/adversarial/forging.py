"""Tools to change a checkpoint as an attacker can: with a valid SHA-256, and without the code that writes files."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from functools import cache
from io import BytesIO
from typing import Any

import h5py
import numpy as np

HEAD = struct.Struct("<8sIIQQQ")
MAGIC = b"charrnn\x00"
END = b"end\r\n\x1a\n\x00"
FOOTER_SIZE = 80


def image_of(data: bytes) -> bytes:
    """Return the HDF5 file that precedes the footer."""
    return data[:-FOOTER_SIZE]


def meta_of(data: bytes) -> tuple[int, int]:
    """Return the offset and the length of /meta."""
    offset, length = struct.unpack_from("<QQ", data, len(data) - FOOTER_SIZE + 24)
    return offset, length


def signed(image: bytes, meta: tuple[int, int] = (0, 0), magic: bytes = MAGIC, version: int = 2, zero: int = 0,
           length: int | None = None, digest: bytes | None = None, end: bytes = END) -> bytes:
    """Return an image with a footer that by default has the correct length and SHA-256."""
    content = image + HEAD.pack(magic, version, zero, len(image) if length is None else length, *meta)
    return content + (hashlib.sha256(content).digest() if digest is None else digest) + end


def resigned(data: bytes) -> bytes:
    """Return a file with the correct SHA-256."""
    return data[:-40] + hashlib.sha256(data[:-40]).digest() + data[-8:]


def of_format_1(image: bytes) -> bytes:
    """Return an image with the footer of format 1."""
    return image + struct.pack("<8sIIQ32s8s", MAGIC, 1, 0, len(image), hashlib.sha256(image).digest(), END)


def contents(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of a checkpoint, found by its index, and the whole /meta; the caller may change both."""
    offset, length = meta_of(data)
    meta = json.loads(data[offset:offset + length])
    return {name: np.frombuffer(data, dtype, int(np.prod(shape)), offset).reshape(shape).copy()
            for name, (dtype, shape, offset) in meta["arrays"].items()}, meta


def with_meta(data: bytes, meta: Any) -> bytes:
    """Return a file with another /meta, after everything else: ``meta`` itself if it is bytes, otherwise its JSON."""
    text = meta if isinstance(meta, bytes) else json.dumps(meta).encode()
    return signed(image_of(data) + text, (len(data) - FOOTER_SIZE, len(text)))


def with_arrays(data: bytes, arrays: Mapping[str, np.ndarray], meta: Any) -> bytes:
    """Return a file with other arrays, and their offsets in the index, if ``meta`` has one.

    An array is replaced in place if its number of bytes is the same; otherwise it is added after everything else.
    """
    image, index = bytearray(image_of(data)), meta.get("arrays") if isinstance(meta, dict) else None
    before = contents(data)[1]["arrays"]
    for name, array in arrays.items():
        dtype, shape, offset = before.get(name, ("<u1", [0], 0))
        if array.nbytes > np.dtype(dtype).itemsize * np.prod(shape):
            offset = len(image) + -len(image) % 8
            image.extend(bytes(offset - len(image)))
        image[offset:offset + array.nbytes] = np.ascontiguousarray(array).tobytes()
        if isinstance(index, dict):
            index[name] = [f"<{array.dtype.kind}{array.dtype.itemsize}", list(array.shape), offset]
    return with_meta(signed(bytes(image)), meta)


@cache
def hdf5_places(data: bytes) -> tuple[int, ...]:
    """Return the offsets of all bytes of an image that belong to HDF5, not to an array or to /meta."""
    free = np.ones(len(data) - FOOTER_SIZE, bool)
    arrays, meta = contents(data)
    extents = [(meta["arrays"][name][2], array.nbytes) for name, array in arrays.items()]
    for start, size in [meta_of(data), *extents]:
        free[start:start + size] = False
    return tuple(np.flatnonzero(free).tolist())


def edited(data: bytes, edit: Callable[[h5py.File], Any]) -> bytes:
    """Return a file whose HDF5 part was changed with ``edit`` by h5py; the index and /meta are unchanged."""
    image = BytesIO(image_of(data))
    with h5py.File(image, "r+", libver=("earliest", "v110")) as file:
        edit(file)
    return signed(image.getvalue(), meta_of(data))
