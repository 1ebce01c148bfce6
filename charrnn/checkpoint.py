"""Named arrays and facts <-> one HDF5 file. Knows no model.

A file is an HDF5 image (plain contiguous datasets and nothing else, which any HDF5 tool opens), followed by a footer
of 64 bytes::

    magic  8   version  4   zero  4   length of the image  8   SHA-256 of the image  32   end mark  8

The digest finds accidental damage before the HDF5 library sees a byte. It is no signature: whoever means harm can make
a new one, so the content is held against what it may be, step by step, before it is used.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import secrets
import stat
import struct
from collections.abc import Callable, Mapping
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from charrnn.errors import CheckpointError

FORMAT = "charrnn"
FORMAT_VERSION = 1

_FOOTER = struct.Struct("<8sIIQ32s8s")
_MAGIC, _END = b"charrnn\x00", b"end\r\n\x1a\n\x00"
_SUPERBLOCK = b"\x89HDF\r\n\x1a\n\x03"
_META = "meta"
_LARGEST_FILE = 2**31
_LARGEST_META = 12 * 2**20
_BLOCK = 2**20
_DTYPES = {name: np.dtype(name) for name in ("<f4", "<f8", "<u4")}

Manifest = dict[str, tuple[str, tuple[int, ...]]]
"""The dtype (``"<f4"``, ``"<f8"``, ``"<u4"``) and the shape of each array."""


def to_bytes(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bytes:
    """The whole file; the same arrays and facts give the same bytes. ``facts`` hold what JSON can."""
    dtypes = {name: array.dtype.newbyteorder("<") for name, array in arrays.items()}
    listed = {name: [dtypes[name].str, list(array.shape)] for name, array in arrays.items()}
    meta = {"format": FORMAT, "format_version": FORMAT_VERSION, "arrays": listed, "facts": facts}
    text = json.dumps(meta, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()
    image = BytesIO()
    with h5py.File(image, "w", libver=("v110", "v110")) as file:
        for name in sorted(arrays):
            file.create_dataset(name, data=arrays[name].astype(dtypes[name], copy=False), track_times=False)
        file.create_dataset(_META, data=np.frombuffer(text, np.uint8), track_times=False)
    body = image.getvalue()
    return body + _FOOTER.pack(_MAGIC, FORMAT_VERSION, 0, len(body), hashlib.sha256(body).digest(), _END)


def write(path: str | Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Save arrays and facts at ``path``. See ``write_bytes``."""
    write_bytes(path, to_bytes(arrays, facts))


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replace the file at ``path`` as a whole: at every moment it is either the old one or the new one.

    ``data`` come from ``to_bytes``. A symbolic link stays a link. Raises OSError where it cannot be written; then the
    old file stays.
    """
    target = Path(os.path.realpath(path))
    remove_leftovers(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of writers of ``path`` that were killed."""
    for name in glob.glob(f".{glob.escape(path.name)}.*.tmp", root_dir=path.parent):
        owner = name[len(path.name) + 2:].partition("-")[0]
        if owner.isdecimal() and not _is_running(int(owner)):
            (path.parent / name).unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True


def read(path: str | Path, describe: Callable[[dict[str, Any]], Manifest]
         ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and facts of a checkpoint.

    ``describe`` is handed the facts, judges them, and says which arrays belong to them; ValueError, TypeError or
    KeyError from it are taken as its verdict. Nothing of a size that the file names by itself is allocated before that.
    Raises CheckpointError for whatever is not a whole, valid checkpoint, FileNotFoundError included.
    """
    try:
        with _open(path) as file:
            size = _check_footer(file)
            with h5py.File(file, "r", libver=("v110", "v110")) as image:
                places = _Places(image, size)
                facts, listed = _parse(places.read(file, _META))
                expected = describe(facts)
                if listed != {name: [dtype, list(shape)] for name, (dtype, shape) in expected.items()}:
                    raise ValueError("its list of arrays does not fit its configuration")
                for name, (dtype, shape) in expected.items():
                    places.find(name, dtype, shape)
                arrays = {name: places.read(file, name) for name in expected}
    except OSError as error:
        reason = error.strerror or "its HDF5 structure is damaged"
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {reason[0].lower()}{reason[1:]}") from None
    except (ValueError, TypeError, KeyError, RuntimeError, OverflowError, RecursionError, MemoryError) as error:
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise CheckpointError(f"{path}: not a valid checkpoint: {' '.join(reason.split())[:300]}") from None
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


def _check_footer(file: BufferedReader) -> int:
    """The length of the image, whose digest is right."""
    size = file.seek(0, os.SEEK_END) - _FOOTER.size
    if size < len(_SUPERBLOCK):
        raise ValueError("it is too short")
    if size > _LARGEST_FILE:
        raise ValueError(f"it is larger than {_LARGEST_FILE:,} bytes")
    file.seek(size)
    magic, version, zero, length, digest, end = _FOOTER.unpack(file.read(_FOOTER.size))
    if magic != _MAGIC or end != _END or zero != 0:
        raise ValueError("it does not end as one; it was cut, changed, or is another kind of file")
    if version != FORMAT_VERSION:
        raise ValueError(f"its format is version {version}, and this program knows {FORMAT_VERSION}")
    file.seek(0)
    if length != size or not file.read(len(_SUPERBLOCK)) == _SUPERBLOCK:
        raise ValueError("its length or its beginning is wrong; it was cut or changed")
    file.seek(0)
    found, left = hashlib.sha256(), size
    while left > 0 and (block := file.read(min(_BLOCK, left))):
        found.update(block)
        left -= len(block)
    if left or found.digest() != digest:
        raise ValueError("its content does not match its digest; it was damaged")
    return size


class _Places:
    """Where in the file the values of each dataset lie, after a look at all that could be wrong with it."""

    def __init__(self, image: h5py.File, size: int) -> None:
        self._image = image
        self._left = size
        self._size = size
        self._found: dict[str, tuple[int, np.dtype, tuple[int, ...]]] = {}
        meta = self._dataset(_META)
        if len(meta.shape) != 1 or meta.shape[0] > _LARGEST_META:
            raise ValueError(f"/{_META} is no text, or a too long one")
        self._check(_META, meta, np.dtype("u1"), meta.shape)

    def find(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        """Check the dataset ``name`` and note its place."""
        self._check(name, self._dataset(name), _DTYPES[dtype], shape)

    def read(self, file: BufferedReader, name: str) -> np.ndarray:
        """The values of a dataset that has been checked."""
        offset, dtype, shape = self._found[name]
        array = np.empty(shape, dtype)
        file.seek(offset)
        if array.size and file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:
            raise ValueError(f"/{name} is cut short")
        return array

    def _dataset(self, name: str) -> h5py.Dataset:
        """The dataset behind ``name``, if every part of the path is a hard link."""
        place: Any = self._image
        for part in name.split("/"):
            if not isinstance(place, h5py.Group) or part.encode() not in place.id:
                raise ValueError(f"/{name} is missing")
            if place.id.links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
                raise ValueError(f"/{name} is a link")
            place = place[part]
        if not isinstance(place, h5py.Dataset):
            raise ValueError(f"/{name} is no dataset")
        return place

    def _check(self, name: str, dataset: h5py.Dataset, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        plist, place = dataset.id.get_create_plist(), dataset.id.get_offset()
        kind = dataset.id.get_type()
        if not kind.equal(h5py.h5t.py_create(dtype)):
            raise ValueError(f"/{name} is not of type {dtype.str}")
        if dataset.id.get_space().get_simple_extent_type() != h5py.h5s.SIMPLE or dataset.shape != shape:
            raise ValueError(f"/{name} is not of shape {shape}")
        if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_nfilters() or plist.get_external_count():
            raise ValueError(f"/{name} is not stored plainly")
        stored = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if dataset.id.get_storage_size() != stored or place is None or place + stored > self._size:
            raise ValueError(f"/{name} is not stored whole")
        self._left -= stored
        if self._left < 0:
            raise ValueError("its arrays are larger than the file")
        self._found[name] = (place, dtype, shape)


def _parse(text: np.ndarray) -> tuple[dict[str, Any], Any]:
    """The facts, and the list of arrays as it stands."""
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} stands among its facts")

    meta = json.loads(text.tobytes().decode("utf-8"), parse_constant=refuse)
    if not isinstance(meta, dict) or meta.get("format") != FORMAT or meta.get("format_version") != FORMAT_VERSION:
        raise ValueError("its facts are of another format")
    if set(meta) != {"format", "format_version", "arrays", "facts"} or not isinstance(meta["facts"], dict):
        raise ValueError("its facts are incomplete")
    return meta["facts"], meta["arrays"]
