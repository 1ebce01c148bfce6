"""Hostile checkpoints: one builder for each way to make one.

``HOSTILE[name](path, data)`` creates a file at ``path`` from the valid checkpoint ``data``. If it has a footer, its SHA-256
is correct, unless the case is about the SHA-256: an attacker can compute it. Every file of ``HOSTILE`` must be rejected.
The files of ``TRICKS`` attack programs that parse HDF5; they may also load, but only with the bytes that their index names.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import socket
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from forging import END, HEAD, contents, edited, image_of, meta_of, of_format_1, resigned, signed, with_arrays, with_meta

HOSTILE: dict[str, Callable[[Path, bytes], Any]] = {}
TRICKS: dict[str, Callable[[Path, bytes], Any]] = {}

WEIGHTS, MEANS, POINTS = "parameters/output/w", "optimizer/mean/output/w", "vocabulary/codepoints"


# Changes of /meta, of values, of bytes, or of the path

def _add(name: str, build: Callable[[Path, bytes], Any]) -> None:
    assert name not in HOSTILE, name
    HOSTILE[name] = build


def meta(name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Add a case with another /meta and the same arrays; ``change`` returns it (text or JSON), or changes its argument."""
    def build(path: Path, data: bytes) -> None:
        before = contents(data)[1]
        after = copy.deepcopy(before)
        changed = change(after)
        after = after if changed is None else changed
        assert repr(after) != repr(before)  # repr, because 1.0 == 1
        path.write_bytes(with_meta(data, after))

    _add(name, build)


def values(name: str, array: str, change: Callable[[np.ndarray], Any]) -> None:
    """Add a case with other values in one array."""
    def build(path: Path, data: bytes) -> None:
        arrays, before = contents(data)
        change(arrays[array])
        path.write_bytes(with_arrays(data, {array: arrays[array]}, before))

    _add(name, build)


def content(name: str, change: Callable[[bytes], bytes]) -> None:
    """Add a case with other bytes."""
    _add(name, lambda path, data: path.write_bytes(change(data)))


# The index

def _entry(change: Callable[[dict[str, Any]], Any], name: str = WEIGHTS) -> Callable[[dict[str, Any]], None]:
    """Return a change of the entry of an array; ``change`` gets the index."""
    return lambda before: before["arrays"].__setitem__(name, change(before["arrays"]))


def _at_offset(offset: Callable[[dict[str, Any]], Any], name: str = WEIGHTS) -> Callable[[dict[str, Any]], None]:
    return _entry(lambda index: [*index[name][:2], offset(index)], name)


_INDEX: dict[str, Callable[[dict[str, Any]], None]] = {
    "an array over another": _at_offset(lambda index: index[MEANS][2]),
    "an array over a part of another": _at_offset(lambda index: index[MEANS][2] + 8),
    "a negative offset": _at_offset(lambda index: -8),
    "an offset that is not aligned": _at_offset(lambda index: index[WEIGHTS][2] + 4),
    "an offset of 2**40": _at_offset(lambda index: 2**40),
    "an offset of 2**63": _at_offset(lambda index: 2**63),
    "an offset of 2**64 - 8": _at_offset(lambda index: 2**64 - 8),
    "an offset of 10**400": _at_offset(lambda index: 10**400),
    "an offset of text": _at_offset(lambda index: str(index[WEIGHTS][2])),
    "an offset with a fraction": _at_offset(lambda index: float(index[WEIGHTS][2])),
    "no offset": _entry(lambda index: index[WEIGHTS][:2]),
    "two offsets": _entry(lambda index: [*index[WEIGHTS], 0]),
    "an entry of null": _entry(lambda index: None),
    "an entry of text": _entry(lambda index: "<f4"),
    "no array": lambda before: before.__setitem__("arrays", {}),
    "arrays of null": lambda before: before.__setitem__("arrays", None),
    "arrays of a list": lambda before: before.__setitem__("arrays", list(before["arrays"])),
    "one array more": _entry(lambda index: ["<f4", [1], 0], "more"),
    "one array less": lambda before: before["arrays"].__delitem__(WEIGHTS),
    "an array named ..": _entry(lambda index: ["<f4", [1], 0], "../../secret"),
    "an array without a name": _entry(lambda index: ["<f4", [1], 0], ""),
    "an array with a megabyte of name": _entry(lambda index: ["<f4", [1], 0], "a/" * 500_000),
    "100,000 arrays": lambda before: before["arrays"].update({str(k): ["<f4", [1], 0] for k in range(10**5)}),
    **{f"dtype {dtype!r}"[:40]: _entry(lambda index, dtype=dtype: [dtype, *index[WEIGHTS][1:]])
       for dtype in ("|O", "<f8", "<f2", ">f4", "<u4", "f4", None, [["a", "<f4"]], "S" * 10**6)},
    **{f"shape {shape}": _entry(lambda index, shape=shape: ["<f4", shape, index[WEIGHTS][2]])
       for shape in ([-4, 15], [2**60, 15], ["4", 15], [15, 4], [60], [4, 15, 1], [], None, "4", {})},
}
for _kind, _change in _INDEX.items():
    meta(f"index: {_kind}", _change)


def _over_meta(path: Path, data: bytes) -> None:
    """Make an array begin inside /meta."""
    before = contents(data)[1]
    before["arrays"][WEIGHTS][2] = (len(image_of(data)) + 99) // 8 * 8
    path.write_bytes(with_meta(data, before))


def _into_the_footer(path: Path, data: bytes) -> None:
    """Make an array end with 8 bytes of the footer."""
    before = contents(data)[1]
    image = image_of(data) + bytes(-len(data) % 8)
    offset, size = len(image) + 10_000, contents(data)[0][WEIGHTS].nbytes
    before["arrays"][WEIGHTS][2] = offset
    text = json.dumps(before).encode()
    path.write_bytes(signed((image + text).ljust(offset + size - 8), (len(image), len(text))))


_add("index: an array in meta", _over_meta)
_add("index: an array into the footer", _into_the_footer)


# Files

def _socket(path: Path, data: bytes) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # because the whole path may be too long for a socket
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


_add("FIFO", lambda path, data: os.mkfifo(path))
_add("directory", lambda path, data: path.mkdir())
_add("socket", _socket)
_add("no file", lambda path, data: None)
_add("link to itself", lambda path, data: path.symlink_to(path.name))
_add("link to nothing", lambda path, data: path.symlink_to("missing.h5"))
_add("link to an endless device", lambda path, data: path.symlink_to("/dev/zero"))
_add("link to an empty device", lambda path, data: path.symlink_to(os.devnull))
_add("link to the memory of the process", lambda path, data: path.symlink_to("/proc/self/mem"))


content("empty file", lambda data: b"")
content("one byte", lambda data: b"\x89")
content("80 zeros", lambda data: bytes(80))
content("a footer and nothing else", lambda data: data[-80:])
content("a footer of an empty file", lambda data: signed(b""))
content("zeros and a footer", lambda data: signed(bytes(10_000), (8, 100)))
content("two footers", lambda data: data + data[-80:])
content("two signed footers", lambda data: signed(data))
content("more in front", lambda data: signed(bytes(512) + image_of(data), meta_of(data)))
content("more behind", lambda data: resigned(image_of(data) + bytes(512) + data[-80:]))
content("half", lambda data: signed(image_of(data)[:len(data) // 2], meta_of(data)))
content("without a footer", image_of)
content("footer: another magic", lambda data: signed(image_of(data), meta_of(data), magic=b"charrnn\x01"))
content("footer: version 0", lambda data: signed(image_of(data), meta_of(data), version=0))
content("footer: version 3", lambda data: signed(image_of(data), meta_of(data), version=3))
content("footer: format 1", lambda data: of_format_1(image_of(data)))
content("footer: no zero", lambda data: signed(image_of(data), meta_of(data), zero=1))
content("footer: another length", lambda data: signed(image_of(data), meta_of(data), length=len(data)))
content("footer: length of 2**64 - 1", lambda data: signed(image_of(data), meta_of(data), length=2**64 - 1))
content("footer: another digest", lambda data: signed(image_of(data), meta_of(data), digest=bytes(32)))
content("footer: digest without the footer", lambda data: signed(
    image_of(data), meta_of(data), digest=hashlib.sha256(image_of(data)).digest()))
content("footer: another end", lambda data: signed(image_of(data), meta_of(data), end=END[::-1]))
content("footer: meta beyond the end", lambda data: signed(image_of(data), (len(data), 100)))
content("footer: meta into the footer", lambda data: signed(image_of(data), (meta_of(data)[0], len(data))))
content("footer: meta at 2**64 - 1", lambda data: signed(image_of(data), (2**64 - 1, 1)))
content("footer: meta of two gigabytes", lambda data: signed(image_of(data), (0, 2**31)))
content("footer: empty meta", lambda data: signed(image_of(data), (meta_of(data)[0], 0)))
content("footer: meta in an array", lambda data: signed(image_of(data), (contents(data)[1]["arrays"][WEIGHTS][2], 100)))
content("footer: meta cut", lambda data: signed(image_of(data), (meta_of(data)[0], meta_of(data)[1] - 1)))
content("text", lambda data: b"some text\n" * 1000)
content("signed text", lambda data: signed(b"some text\n" * 1000, (0, 100)))
content("a pickle", lambda data: pickle.dumps(print))
content("a signed pickle", lambda data: signed(pickle.dumps(print), (0, 10)))
content("a zip archive", lambda data: b"PK\x03\x04" + bytes(1000) + b"PK\x05\x06" + bytes(18))
content("a program", lambda data: b"\x7fELF" + bytes(1000))


def _by_h5py(path: Path, data: bytes) -> None:
    image = BytesIO()
    with h5py.File(image, "w") as other:
        other["weights"] = np.zeros(99)
    path.write_bytes(signed(image.getvalue(), (0, 100)))


def _sparse(path: Path, data: bytes, size: int, digest: bytes = bytes(32)) -> None:
    """Write a valid image, zeros that take no space on the disk, and a footer."""
    with path.open("wb") as sparse:
        sparse.write(image_of(data))
        sparse.truncate(size)
        sparse.seek(size)
        sparse.write(_head(data, size) + digest + END)


def _head(data: bytes, size: int) -> bytes:
    return HEAD.pack(b"charrnn\0", 2, 0, size, 0, 100)


def _sparse_and_signed(path: Path, data: bytes) -> None:
    size, digest, block = 600 * 2**20, hashlib.sha256(image_of(data)), bytes(2**20)
    left = size - len(image_of(data))
    while left:
        digest.update(block[:left])
        left -= min(left, len(block))
    digest.update(_head(data, size))
    _sparse(path, data, size, digest.digest())


_add("signed HDF5 of another program", _by_h5py)
_add("three gigabytes of zeros", lambda path, data: _sparse(path, data, 3 * 2**30))
_add("a terabyte of zeros", lambda path, data: _sparse(path, data, 2**40))
_add("600 MB of zeros with the correct digest", _sparse_and_signed)


# Attacks on programs that parse HDF5

def trick(name: str, edit: Callable[[h5py.File, Path], Any]) -> None:
    """Add a trick: h5py changes the HDF5 part, but not /meta and its index; the Path is the folder of the file."""
    def build(path: Path, data: bytes) -> None:
        path.with_name("secret.txt").write_bytes(b"secret" * 1000)
        path.with_name("other.h5").write_bytes(data)
        path.write_bytes(edited(data, lambda file: edit(file, path.parent)))

    TRICKS[name] = build


def _instead(name: str, what: Callable[[h5py.File, Path], Any]) -> Callable[[h5py.File, Path], None]:
    """Return a change that replaces an object by the result of ``what``."""
    def edit(file: h5py.File, folder: Path) -> None:
        new = what(file, folder)
        del file[name]
        file[name] = new

    return edit


def _outside(file: h5py.File, folder: Path) -> None:
    shape, dtype = file[WEIGHTS].shape, file[WEIGHTS].dtype
    size = file[WEIGHTS].nbytes
    del file[WEIGHTS]
    file.create_dataset(WEIGHTS, shape, dtype, external=[(str(folder / "secret.txt"), 0, size)])


def _virtual(source: Callable[[Path], str]) -> Callable[[h5py.File, Path], None]:
    def edit(file: h5py.File, folder: Path) -> None:
        shape, dtype = file[WEIGHTS].shape, file[WEIGHTS].dtype
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource(source(folder), WEIGHTS, shape, dtype)
        del file[WEIGHTS]
        file.create_virtual_dataset(WEIGHTS, layout)

    return edit


def _bomb(file: h5py.File, folder: Path) -> None:
    """Replace an array by a gigabyte of zeros in a few kilobytes: equal chunks of 64 MB, deflated twice."""
    chunk = zlib.compress(zlib.compress(bytes(2**26)), 9)
    del file[WEIGHTS]
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((2**24,))
    for _ in range(2):
        settings.set_filter(h5py.h5z.FILTER_DEFLATE, 0, (9,))
    dataset = h5py.h5d.create(file.id, WEIGHTS.encode(), h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((2**28,)), settings)
    for place in range(0, 2**28, 2**24):
        dataset.write_direct_chunk((place,), chunk)


trick("external link", _instead(WEIGHTS, lambda file, folder: h5py.ExternalLink(str(folder / "other.h5"), WEIGHTS)))
trick("external link instead of meta", _instead(
    "meta", lambda file, folder: h5py.ExternalLink(str(folder / "other.h5"), "meta")))
trick("soft link to itself", _instead(WEIGHTS, lambda file, folder: h5py.SoftLink(f"/{WEIGHTS}")))
trick("hard links in a circle", lambda file, folder: file.__setitem__("parameters/output/up", file["/"]))
trick("values in another file", _outside)
trick("virtual dataset of another file", _virtual(lambda folder: str(folder / "other.h5")))
trick("virtual dataset of itself", _virtual(lambda folder: "."))
trick("gzip bomb", _bomb)
trick("terabyte without values", lambda file, folder: file.create_dataset("more", (2**40,), "<f4"))
trick("strings of variable length", lambda file, folder: file.create_dataset(
    "more", data=np.full(1000, "text", object), dtype=h5py.string_dtype()))
