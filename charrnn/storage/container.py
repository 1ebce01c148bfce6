"""Named arrays and facts <-> one HDF5 file. Knows no model.

A file is an HDF5 image (plain contiguous datasets and nothing else, which any HDF5 tool opens), followed by a footer
of 64 bytes::

    magic  8   version  4   zero  4   length of the image  8   SHA-256 of the image  32   end mark  8

The digest finds accidental damage. It is no signature: whoever means harm can make a new one, so the content is held
against what it may be, step by step, before it is used.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import CheckpointError
from charrnn.storage.atomic import write_pieces
from charrnn.storage.hdf5 import SIGNATURE, Image, Stored, layout

FORMAT = "charrnn"
FORMAT_VERSION = 1

_FOOTER = struct.Struct("<8sIIQ32s8s")
_MAGIC, _END = b"charrnn\x00", b"end\r\n\x1a\n\x00"
_META = "meta"
_LARGEST_FILE = 2**31
_LARGEST_META = 12 * 2**20
_MOST_VALUES = 2**19
_BLOCK = 2**20

Manifest = dict[str, tuple[str, tuple[int, ...]]]
"""The dtype (``"<f4"``, ``"<f8"``, ``"<u4"``) and the shape of each array."""


def to_bytes(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bytes:
    """The whole file; the same arrays and facts give the same bytes. ``facts`` hold what JSON can.

    Raises OSError for more than ``read`` would take.
    """
    plain = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in arrays.items()}
    data = b"".join(to_pieces({name: (array.dtype.str, array.shape) for name, array in plain.items()}, facts,
                              {name: [array] for name, array in plain.items()}))
    if len(data) - _FOOTER.size > _LARGEST_FILE:
        raise OSError(errno.EFBIG, "larger than a checkpoint can be")
    return data


def to_pieces(manifest: Manifest, facts: Mapping[str, Any], blocks: Mapping[str, Iterable[np.ndarray]]
              ) -> Iterator[bytes | memoryview]:
    """The whole file piece by piece, for arrays that come in ``blocks``. Raises OSError for too many facts."""
    listed = {name: [dtype, list(shape)] for name, (dtype, shape) in manifest.items()}
    meta = {"format": FORMAT, "format_version": FORMAT_VERSION, "arrays": listed, "facts": facts}
    text = json.dumps(meta, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > _LARGEST_META or text.count(b",") > _MOST_VALUES:
        raise OSError(errno.EFBIG, "larger than a checkpoint can be")
    digest, length = hashlib.sha256(), 0
    for place in layout({_META: ("|u1", (len(text),)), **manifest}):
        for piece in _filled(place, text, blocks):
            digest.update(piece)
            length += len(piece)
            yield piece
    yield _FOOTER.pack(_MAGIC, FORMAT_VERSION, 0, length, digest.digest(), _END)


def _filled(place: bytes | str, text: bytes, blocks: Mapping[str, Iterable[np.ndarray]]) -> Iterable[bytes | memoryview]:
    if isinstance(place, bytes):
        return [place]
    if place == _META:
        return [text]
    return (np.ascontiguousarray(block).reshape(-1).view(np.uint8).data for block in blocks[place])


def write(path: str | Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Save arrays and facts at ``path``. See ``write_pieces``."""
    write_pieces(path, [to_bytes(arrays, facts)])


def read(path: str | Path, describe: Callable[[dict[str, Any]], Manifest], largest: int | None = None,
         mapped: Collection[str] = (), verify: bool = True) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and facts of a checkpoint.

    ``describe`` is handed the facts, judges them, and says which arrays belong to them; ValueError, TypeError or
    KeyError from it are taken as its verdict. Nothing of a size that the file names by itself is allocated before that.
    Arrays that are ``mapped`` are left in the file, as memory maps. Without ``verify`` the digest is not looked at.
    Raises CheckpointError for whatever is not a whole, valid checkpoint, FileNotFoundError included.
    """
    try:
        with _open(path) as file:
            image = Image(file, _check_footer(file, largest or _LARGEST_FILE, verify))
            facts, listed = _parse(image.read(_meta(image)))
            expected = describe(facts)
            if listed != {name: [dtype, list(shape)] for name, (dtype, shape) in expected.items()}:
                raise ValueError("its list of arrays does not fit its configuration")
            stored = image.find_all([_META, *expected])
            for name, (dtype, shape) in expected.items():
                _check(name, stored[name], dtype, shape)
            arrays = {name: (image.map if name in mapped else image.read)(stored[name]) for name in expected}
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {reason[0].lower()}{reason[1:]}") from None
    except MemoryError:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: it takes more memory than there is") from None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, struct.error) as error:
        reason = str(error.args[0]) if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"{path}: not a valid checkpoint: {reason[:300]}") from None
    return arrays, facts


def _open(path: str | Path) -> BufferedReader:
    """The file, unless it is something that could block or never end."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_footer(file: BufferedReader, largest: int, verify: bool) -> int:
    """The length of the image, whose digest is right, if that is verified."""
    size = file.seek(0, os.SEEK_END) - _FOOTER.size
    if size < len(SIGNATURE):
        raise ValueError("it is too short")
    if size > largest:
        raise ValueError(f"it is larger than {largest:,} bytes")
    file.seek(size)
    magic, version, zero, length, digest, end = _FOOTER.unpack(file.read(_FOOTER.size))
    if magic != _MAGIC or end != _END or zero != 0:
        raise ValueError("it does not end as one; it was cut, changed, or is another kind of file")
    if version != FORMAT_VERSION:
        raise ValueError(f"its format is version {version}, and this program knows {FORMAT_VERSION}")
    file.seek(0)
    if length != size or file.read(len(SIGNATURE)) != SIGNATURE:
        raise ValueError("its length or its beginning is wrong; it was cut or changed")
    if not verify:
        return size
    file.seek(0)
    found, left = hashlib.sha256(), size
    while left > 0 and (block := file.read(min(_BLOCK, left))):
        found.update(block)
        left -= len(block)
    if left or found.digest() != digest:
        raise ValueError("its content does not match its digest; it was damaged")
    return size


def _meta(image: Image) -> Stored:
    """The dataset of the facts."""
    stored = image.find(_META)
    shape = stored.shape or ()
    if len(shape) != 1 or shape[0] > _LARGEST_META:
        raise ValueError(f"/{_META} is no text, or a too long one")
    _check(_META, stored, "|u1", shape)
    return stored


def _check(name: str, stored: Stored, dtype: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the array is of this type and shape, and there."""
    if stored.type != dtype:
        raise ValueError(f"/{name} is not of type {dtype}")
    if stored.shape != shape:
        raise ValueError(f"/{name} is not of shape {shape}")
    if stored.place is None or stored.size != math.prod(shape) * np.dtype(dtype).itemsize:
        raise ValueError(f"/{name} is not stored whole")


def _parse(text: np.ndarray) -> tuple[dict[str, Any], Any]:
    """The facts, and the list of arrays as it stands."""
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} stands among its facts")

    def short(digits: str) -> int:
        if len(digits) > 20:  # early Pythons take for ever over very long ones
            raise ValueError("a number among its facts is too long")
        return int(digits)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) != len(pairs):
            raise ValueError("a name stands twice among its facts")
        return found

    if np.count_nonzero(text == ord(",")) > _MOST_VALUES:  # each would take many times its room in memory
        raise ValueError("its facts are too many")
    meta = json.loads(text.tobytes().decode("utf-8"), parse_int=short, parse_constant=refuse, object_pairs_hook=unique)
    if not isinstance(meta, dict) or meta.get("format") != FORMAT or meta.get("format_version") != FORMAT_VERSION:
        raise ValueError("its facts are of another format")
    if set(meta) != {"format", "format_version", "arrays", "facts"} or not isinstance(meta["facts"], dict):
        raise ValueError("its facts are incomplete")
    return meta["facts"], meta["arrays"]
