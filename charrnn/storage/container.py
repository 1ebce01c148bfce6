"""Save named arrays and metadata in one file, and load them. This module knows nothing about models.

A file is an ordinary HDF5 file, followed by a footer of 80 bytes. The dataset ``/meta`` contains a JSON object::

    {"format": "charrnn", "format_version": 2, "charrnn": version of the program that wrote the file,
     "arrays": {name: [dtype, shape, offset in bytes]}, "metadata": {...}}

The footer contains little-endian integers, of 8 bytes each except the version and the zero::

    offset  size  content
         0     8  magic: "charrnn" and a zero byte
         8     4  format version
        12     4  zero
        16     8  length of the HDF5 file: the offset of the footer
        24     8  offset of the text of /meta
        32     8  length of the text of /meta
        40    32  SHA-256 of all bytes before it
        72     8  end mark

h5py lays out the file when it is saved. Loading uses only the footer and the index in ``/meta``, and never passes a file
to the HDF5 library, which crashes or hangs on some hostile files. The SHA-256 detects only accidental damage. Anyone can
compute it for a modified file, so each part of a file is validated before the next part is used.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn import __version__
from charrnn.errors import CheckpointError, ConfigError
from charrnn.storage.atomic import replace_file
from charrnn.storage.layout import META, Layout, Stored, check_index, lay_out
from charrnn.storage.layout import Manifest as Manifest

FORMAT = "charrnn"
FORMAT_VERSION = 2

_HEAD = struct.Struct("<8sIIQQQ")
_TAIL = struct.Struct("<32s8s")
_FOOTER_SIZE = _HEAD.size + _TAIL.size
_HDF5 = b"\x89HDF"
_MAGIC = b"charrnn\x00"
_END = b"end\r\n\x1a\n\x00"
_BLOCK = 2**20
_LARGEST_FILE = 2**31
_LARGEST_META = 12 * 2**20
_MOST_VALUES = 2**19
_LONGEST_INTEGER = 20

Expected = Callable[[dict[str, Any]], Manifest]
"""A function that validates metadata and returns the arrays that belong to it.

It raises ValueError, TypeError or KeyError if the metadata is invalid.
"""


def to_bytes(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> bytes:
    """Return the content of a file. The same arrays and metadata give the same bytes.

    ``metadata`` must be representable in JSON, without NaN and infinities. Raises OSError if the file would be too large
    for ``read``, and ValueError or TypeError if a dtype or the metadata cannot be stored.
    """
    plain = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in arrays.items()}
    manifest = {name: (f"<{array.dtype.kind}{array.dtype.itemsize}", array.shape) for name, array in plain.items()}
    data = b"".join(to_pieces(manifest, metadata, {name: [array] for name, array in plain.items()}))
    if len(data) - _FOOTER_SIZE > _LARGEST_FILE:
        raise OSError(errno.EFBIG, "too large for a checkpoint")
    return data


def to_pieces(manifest: Manifest, metadata: Mapping[str, Any], blocks: Mapping[str, Iterable[np.ndarray]]
              ) -> Iterator[bytes | memoryview]:
    """Yield the content of a file piece by piece, for arrays of any size.

    ``blocks`` contains the values of each array, in blocks of the array's dtype. They are consumed one by one, array by
    array in the order of the offsets. Raises OSError if there is too much metadata, ValueError if a dtype is unsupported or
    the blocks do not add up to the size of the array.
    """
    layout = lay_out(manifest, lambda index: _to_json(index, metadata))
    digest = hashlib.sha256()
    for piece in _content(layout, blocks):
        digest.update(piece)
        yield piece
    yield _TAIL.pack(digest.digest(), _END)


def write(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Save arrays and metadata at ``path``. See ``to_bytes`` and ``replace_file``."""
    replace_file(path, [to_bytes(arrays, metadata)], create_folder=True)


def read(path: str | Path, expected: Expected, largest: int | None = None, partial: bool = False,
         mapped: Collection[str] = (), verify: bool = True) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Load the arrays and the metadata of a file.

    ``expected`` validates the metadata and returns the arrays that belong to it; if ``partial``, the file may contain other
    arrays, which are ignored. Memory for an array is allocated only after its size has been checked against the file.
    ``largest`` limits the size of the file in bytes (default: 2 GiB). The arrays named in ``mapped`` are returned as
    read-only memory maps. With ``verify=False`` the SHA-256 is not compared.

    Raises CheckpointError if the file does not exist, cannot be read or is invalid.
    """
    with reported(path), _open(path) as file:
        metadata, index = _load(file, path, expected, largest, partial, verify)
        arrays = {name: _array(file, stored, name in mapped) for name, stored in index.items()}
    return arrays, metadata


def read_metadata(path: str | Path, expected: Expected, largest: int | None = None, partial: bool = False
                  ) -> dict[str, Any]:
    """Load only the metadata of a file.

    Everything that ``read`` validates is validated, except the SHA-256. Raises CheckpointError in the same cases.
    """
    with reported(path), _open(path) as file:
        metadata, _ = _load(file, path, expected, largest, partial, verify=False)
    return metadata


def _to_json(index: Mapping[str, Any], metadata: Mapping[str, Any]) -> bytes:
    """Return the text of /meta. Raises OSError if it would be too large for ``_parse``."""
    meta = {"format": FORMAT, "format_version": FORMAT_VERSION, "charrnn": __version__, "arrays": index,
            "metadata": metadata}
    text = json.dumps(meta, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > _LARGEST_META or text.count(b",") > _MOST_VALUES:
        raise OSError(errno.EFBIG, "too large for a checkpoint")
    return text


def _content(layout: Layout, blocks: Mapping[str, Iterable[np.ndarray]]) -> Iterator[bytes | memoryview]:
    """Yield the bytes that the SHA-256 covers: the HDF5 file with its values, and the beginning of the footer."""
    image, extents, text = layout
    position = 0
    for name, (offset, size) in sorted(extents.items(), key=lambda item: item[1]):
        yield image.between(position, offset)
        position = offset + size
        if name == META:
            yield text
            continue
        left = size
        for block in blocks[name]:
            piece = np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
            left -= len(piece)
            yield piece
        if left:
            raise ValueError(f"/{name}: {size - left:,} bytes of values instead of {size:,}")
    yield image.between(position, image.size)
    yield _HEAD.pack(_MAGIC, FORMAT_VERSION, 0, image.size, *extents[META])


class _Footer(NamedTuple):
    """The length of the HDF5 file, and (offset, length) of the text of /meta, in bytes."""

    length: int
    meta: tuple[int, int]


@contextmanager
def reported(path: str | Path) -> Iterator[None]:
    """Convert every error that reading a file can cause to a CheckpointError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {reason[0].lower()}{reason[1:]}") from error
    except MemoryError as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: out of memory") from error
    except (ValueError, ConfigError) as error:
        raise CheckpointError(f"{path}: not a valid checkpoint: {str(error)[:300]}") from error


def _open(path: str | Path) -> BufferedReader:
    """Open a regular file; anything else could block or never end."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _load(file: BufferedReader, path: str | Path, expected: Expected, largest: int | None, partial: bool,
          verify: bool) -> tuple[dict[str, Any], dict[str, Stored]]:
    """Validate a file step by step; return its metadata and where its arrays are."""
    footer, digest = _read_footer(file, path, largest or _LARGEST_FILE)
    if verify:
        _check_digest(file, footer.length + _HEAD.size, digest)
    file.seek(footer.meta[0])
    meta = _parse(file.read(footer.meta[1]))
    try:
        manifest = expected(meta["metadata"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        reason = str(error.args[0]) if isinstance(error, KeyError) else str(error)
        writer = f" (written by charrnn {meta['charrnn'][:20]}, this is {__version__})"
        writer = "" if meta["charrnn"] == __version__ else writer
        raise ValueError(f"{reason[:250]}{writer}") from error
    return meta["metadata"], check_index(meta["arrays"], manifest, partial, footer.length, footer.meta)


def _read_footer(file: BufferedReader, path: str | Path, largest: int) -> tuple[_Footer, bytes]:
    """Return the footer and the SHA-256 that it contains."""
    length = file.seek(0, os.SEEK_END) - _FOOTER_SIZE
    file.seek(max(0, length))
    data = file.read(_FOOTER_SIZE)
    is_old = data[16:24] == _MAGIC  # the footer of format 1 is 16 bytes shorter
    if len(data) != _FOOTER_SIZE or not data.endswith(_END) or not (is_old or data.startswith(_MAGIC)):
        file.seek(0)
        if file.read(len(_HDF5)) != _HDF5:
            raise CheckpointError(f"{path}: not a checkpoint or model file of charrnn")
        raise ValueError("invalid footer: the file is truncated or modified")
    version = 1 if is_old else int.from_bytes(data[8:12], "little")
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path}: unsupported format version {version} (charrnn {__version__} supports version "
                              f"{FORMAT_VERSION})", "retrain the model" if version < FORMAT_VERSION else "update charrnn")
    _, _, zero, noted_length, meta_offset, meta_length = _HEAD.unpack(data[:_HEAD.size])
    if zero != 0 or noted_length != length:
        raise ValueError("invalid footer: the file is truncated or modified")
    if length > largest:
        raise ValueError(f"larger than {largest:,} bytes")
    if meta_length > _LARGEST_META:
        raise ValueError(f"/{META}: larger than {_LARGEST_META:,} bytes")
    if meta_offset + meta_length > length:
        raise ValueError(f"/{META}: outside the file")
    return _Footer(length, (meta_offset, meta_length)), data[_HEAD.size:-len(_END)]


def _check_digest(file: BufferedReader, size: int, digest: bytes) -> None:
    """Raise ValueError unless ``digest`` is the SHA-256 of the first ``size`` bytes."""
    file.seek(0)
    found = hashlib.sha256()
    while size > 0 and (block := file.read(min(_BLOCK, size))):
        found.update(block)
        size -= len(block)
    if size or found.digest() != digest:
        raise ValueError("SHA-256 mismatch: the file is damaged")


def _parse(text: bytes) -> dict[str, Any]:
    """Return the JSON object in /meta. Raises ValueError if it is invalid or would take much more memory than its text."""
    def no_constant(constant: str) -> None:
        raise ValueError(f"{constant} in the metadata")

    def to_integer(digits: str) -> int:
        if len(digits) > _LONGEST_INTEGER:  # old versions of Python take quadratic time
            raise ValueError("integer with too many digits in the metadata")
        return int(digits)

    def to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) != len(pairs):
            raise ValueError("duplicate key in the metadata")
        return found

    if text.count(b",") > _MOST_VALUES:
        raise ValueError("too many values in the metadata")
    try:
        meta = json.loads(text.decode(), parse_int=to_integer, parse_constant=no_constant, object_pairs_hook=to_dict)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"invalid JSON in the metadata: {error}") from error
    except RecursionError:
        raise ValueError("nesting too deep in the metadata") from None  # omits a traceback of a thousand lines
    if not isinstance(meta, dict) or set(meta) != {"format", "format_version", "charrnn", "arrays", "metadata"}:
        raise ValueError("missing or unknown keys in the metadata")
    if meta["format"] != FORMAT or meta["format_version"] != FORMAT_VERSION or type(meta["charrnn"]) is not str:
        raise ValueError("invalid format or version in the metadata")
    if type(meta["metadata"]) is not dict:
        raise ValueError("metadata is not a JSON object")
    return meta


def _array(file: BufferedReader, stored: Stored, mapped: bool) -> np.ndarray:
    """Return the values of an array, read or mapped."""
    if mapped and stored.size:
        return np.memmap(file, stored.dtype, "r", stored.offset, stored.shape)
    array = np.empty(stored.shape, stored.dtype)
    file.seek(stored.offset)
    if file.readinto(array.reshape(-1).view(np.uint8).data) != stored.size:
        raise ValueError("the file was truncated while it was read")
    return array
