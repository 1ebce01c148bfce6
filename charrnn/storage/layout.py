"""Choose the offset of each array in a file, and validate the offsets in an existing file.

h5py lays out the file. HDF5 writes only its own metadata; array values never pass through it.
"""

from __future__ import annotations

import io
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

Manifest = dict[str, tuple[str, tuple[int, ...]]]
"""The dtype ("<f2", "<f4", "<f8", "<u1", "<u2", "<u4" or "<u8") and the shape of each array."""

META = "meta"
"""The dataset that contains the metadata as text."""

ALIGNMENT = 8
"""All offsets are multiples of this number of bytes."""

_DTYPES = {"<f2", "<f4", "<f8", "<u1", "<u2", "<u4", "<u8"}
_PAGE = 4096


class Recorder(io.RawIOBase):
    """A file in memory for HDF5 to write to.

    It keeps only the pages that are written, so the space reserved for array values takes no memory.
    """

    def __init__(self) -> None:
        self.size = 0
        self._position = 0
        self._pages: defaultdict[int, bytearray] = defaultdict(lambda: bytearray(_PAGE))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for page, in_page, in_data in self._runs(len(view)):
            page[in_page] = view[in_data]
        self.size = max(self.size, self._position)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        for page, in_page, in_data in self._runs(len(view)):
            view[in_data] = page[in_page]
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self.size = self._position if size is None else size
        return self.size

    def between(self, start: int, stop: int) -> bytes:
        """Return the bytes from ``start`` to ``stop``. Bytes that were never written are zero."""
        data = bytearray(stop - start)
        self.seek(start)
        self.readinto(data)
        return bytes(data)

    def _runs(self, size: int) -> Iterator[tuple[bytearray, slice, slice]]:
        """Advance by ``size`` bytes: yield each page, the slice of the page, and its slice of the ``size`` bytes."""
        done = 0
        while done < size:
            number, start = divmod(self._position, _PAGE)
            stop = min(_PAGE, start + size - done)
            yield self._pages[number], slice(start, stop), slice(done, done + stop - start)
            done += stop - start
            self._position += stop - start


class Layout(NamedTuple):
    """An HDF5 file without values.

    ``image`` is what HDF5 wrote, ``extents`` the (offset, size) of each non-empty dataset, ``text`` the text of /meta.
    """

    image: Recorder
    extents: dict[str, tuple[int, int]]
    text: bytes


def lay_out(manifest: Manifest, to_text: Callable[[dict[str, list[Any]]], bytes]) -> Layout:
    """Lay out an HDF5 file with these arrays, and with ``/meta``, the text that ``to_text`` makes from the index.

    The index contains [dtype, shape, offset in bytes] of each array; the offset of an empty array is 0. The same
    arguments give the same bytes. Raises ValueError for an unsupported dtype.
    """
    with ThreadPoolExecutor(1) as pool:  # keeps KeyboardInterrupt in the main thread: it breaks HDF5's callbacks
        return pool.submit(_lay_out, manifest, to_text).result()


def _lay_out(manifest: Manifest, to_text: Callable[[dict[str, list[Any]]], bytes]) -> Layout:
    from h5py import File, h5d, h5p, h5s, h5t

    settings = h5p.create(h5p.DATASET_CREATE)
    settings.set_layout(h5d.CONTIGUOUS)
    settings.set_alloc_time(h5d.ALLOC_TIME_EARLY)  # assigns the offset of a dataset at once
    settings.set_fill_time(h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    links = h5p.create(h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    image = Recorder()
    index: dict[str, list[Any]] = {}
    extents: dict[str, tuple[int, int]] = {}
    # with these bounds, HDF5 1.12 to 2.0 write the same bytes; with all newer bounds, the bytes differ
    with File(image, "w", libver=("earliest", "v110"), track_order=False, alignment_threshold=1,
              alignment_interval=ALIGNMENT) as file:

        def create(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> int:
            space = h5s.create_simple(shape) if shape else h5s.create(h5s.SCALAR)
            dataset = h5d.create(file.id, name.encode(), h5t.py_create(dtype), space, settings, links)
            size = math.prod(shape) * dtype.itemsize
            if size == 0:  # HDF5 gives an empty dataset no offset
                return 0
            extents[name] = dataset.get_offset(), size
            return extents[name][0]

        for name, (dtype, shape) in sorted(manifest.items()):
            if dtype not in _DTYPES:
                raise ValueError(f"/{name}: unsupported dtype {dtype}")
            index[name] = [dtype, list(shape), create(name, np.dtype(dtype), shape)]
        text = to_text(index)
        create(META, np.dtype(f"S{len(text)}"), ())  # last, so that the offsets do not depend on the length of the text
    return Layout(image, extents, text)


class Stored(NamedTuple):
    """An array in a file; ``offset`` and ``size`` are in bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int


def check_index(index: Any, manifest: Manifest, partial: bool, length: int, meta: tuple[int, int]) -> dict[str, Stored]:
    """Validate the index of a file and return its arrays.

    The file has ``length`` bytes, and ``meta`` is the offset and length of ``/meta``. Raises ValueError unless the index
    contains the arrays of ``manifest`` with their dtypes and shapes, and no others unless ``partial`` is true. Each of
    the arrays must be inside the file, and must overlap neither another array nor ``/meta``.
    """
    if not isinstance(index, dict) or not index.keys() >= manifest.keys() or not (partial or len(index) == len(manifest)):
        raise ValueError("the index does not contain the arrays that the metadata describes")
    arrays: dict[str, Stored] = {}
    extents = [(*meta, META)]
    for name, (dtype, shape) in manifest.items():
        entry = index[name]
        if not isinstance(entry, list) or len(entry) != 3 or type(entry[2]) is not int:
            raise ValueError(f"/{name}: invalid entry in the index")
        if entry[0] != dtype:
            raise ValueError(f"/{name}: dtype is {str(entry[0])[:20]}, not {dtype}")
        if entry[1] != list(shape):
            raise ValueError(f"/{name}: shape is {str(entry[1])[:40]}, not {list(shape)}")
        offset, size = entry[2], math.prod(shape) * np.dtype(dtype).itemsize
        if offset % ALIGNMENT:
            raise ValueError(f"/{name}: offset is not a multiple of {ALIGNMENT}")
        if offset < 0 or offset + size > length:
            raise ValueError(f"/{name}: outside the file")
        arrays[name] = Stored(dtype, shape, offset, size)
        if size:
            extents.append((offset, size, name))
    for (offset, size, name), (following, _, other) in pairwise(sorted(extents)):
        if offset + size > following:
            raise ValueError(f"/{name}: overlaps /{other}")
    return arrays
