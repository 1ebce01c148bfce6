"""Hostile checkpoints: one builder for each way to make one.

``HOSTILE[name](path, data)`` puts a file at ``path`` that began as the valid checkpoint ``data``. Its digest is right
wherever it has a footer, as whoever means harm can make one. What a file leads to lies beside it: ``secret.txt``,
``other.h5``.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import socket
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from forging import (
    END,
    FOOTER,
    LIBVER,
    MAGIC,
    contents,
    copied,
    forged,
    image_of,
    signed,
    to_image,
    with_checksums,
    written,
)

from charrnn.storage.hdf5 import checksum

HOSTILE: dict[str, Callable[[Path, bytes], Any]] = {}


# How a construction is made: from the open HDF5 file, from /meta, from the values, from the image, or all by itself

def _add(name: str, build: Callable[[Path, bytes], Any]) -> None:
    assert name not in HOSTILE, name
    HOSTILE[name] = build


Edit = Callable[[h5py.File, Path], Any]


def hdf5(name: str, edit: Edit) -> None:
    """h5py changes the file; the Path is the folder it is in."""
    def build(path: Path, data: bytes) -> None:
        path.with_name("secret.txt").write_bytes(b"secret" * 1000)
        path.with_name("other.h5").write_bytes(data)
        image = BytesIO(image_of(data))
        with h5py.File(image, "r+", libver=LIBVER) as file:
            edit(file, path.parent)
        path.write_bytes(signed(image.getvalue()))

    _add(name, build)


def meta(name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Another /meta, with the same arrays; ``change`` returns it, as text or for JSON, or changes what it is given."""
    def build(path: Path, data: bytes) -> None:
        arrays, before = contents(data)
        after = copy.deepcopy(before)
        changed = change(after)
        after = after if changed is None else changed
        assert after != before
        path.write_bytes(forged(arrays, after))

    _add(name, build)


def values(name: str, array: str, change: Callable[[np.ndarray], Any]) -> None:
    """Other values in one array."""
    def build(path: Path, data: bytes) -> None:
        arrays, facts = contents(data)
        change(arrays[array])
        path.write_bytes(forged(arrays, facts))

    _add(name, build)


def image(name: str, change: Callable[[bytes], bytes]) -> None:
    """Other bytes of HDF5, with the checksums of its headers and the digest made right."""
    def build(path: Path, data: bytes) -> None:
        before = image_of(data)
        after = change(before)
        assert after != before
        path.write_bytes(signed(with_checksums(after, before)))

    _add(name, build)


def content(name: str, change: Callable[[bytes], bytes]) -> None:
    """A file of other bytes, footer and all."""
    _add(name, lambda path, data: path.write_bytes(change(data)))


def file(name: str, build: Callable[[Path, bytes], Any]) -> None:
    """Anything else that can be at a path."""
    _add(name, build)


# Links

WEIGHTS, MEANS, POINTS = "parameters/output/w", "optimizer/mean/output/w", "vocabulary/codepoints"


def _put(name: str, what: Callable[[h5py.File, Path], Any]) -> Edit:
    """Something else in place of an object."""
    def edit(file: h5py.File, folder: Path) -> None:
        new = what(file, folder)
        del file[name]
        file[name] = new

    return edit


def _elsewhere(name: str) -> Edit:
    return lambda file, folder: h5py.ExternalLink(str(folder / "other.h5"), name)


def _moved(name: str) -> Edit:
    """The object under another name, and a soft link to that."""
    def edit(file: h5py.File, folder: Path) -> None:
        file.move(name, "moved")
        file[name] = h5py.SoftLink("/moved")

    return edit


hdf5("external link", _put(WEIGHTS, _elsewhere(WEIGHTS)))
hdf5("external link in the middle of a path", _put("parameters/output", _elsewhere("parameters/output")))
hdf5("external link in place of meta", _put("meta", _elsewhere("meta")))
hdf5("external link beside", lambda file, folder: file.__setitem__("more", _elsewhere("/")(file, folder)))
hdf5("soft link", _moved(WEIGHTS))
hdf5("soft link in the middle of a path", _moved("parameters"))
hdf5("soft link to itself", _put(WEIGHTS, lambda file, folder: h5py.SoftLink(f"/{WEIGHTS}")))
hdf5("hard links in a circle", lambda file, folder: file.__setitem__("parameters/output/up", file["/"]))
hdf5("group that is its own", _put("parameters/output", lambda file, folder: file["parameters"]))
hdf5("root in place of a group", _put("parameters", lambda file, folder: file["/"]))
hdf5("two names for one array", _put(MEANS, lambda file, folder: file[WEIGHTS]))
hdf5("two names for one group", _put("optimizer/mean", lambda file, folder: file["optimizer/square_mean"]))


# Storage

def _stored(name: str = WEIGHTS, **options: Any) -> Edit:
    """The array as ``create_dataset`` stores it with these options; another one where they say so."""
    def edit(file: h5py.File, folder: Path) -> None:
        array = file[name][()]
        del file[name]
        file.create_dataset(name, **{"track_times": False, **({} if "shape" in options else {"data": array}), **options})

    return edit


def _outside(name: str) -> Edit:
    """The array in a file of its own."""
    return lambda file, folder: _stored(name, shape=file[name].shape, dtype=file[name].dtype, external=[
        (str(folder / "secret.txt"), 0, file[name].nbytes)])(file, folder)


def _virtual(file: h5py.File, source: str) -> None:
    shape, dtype = file[WEIGHTS].shape, file[WEIGHTS].dtype
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(source, WEIGHTS, shape, dtype)
    del file[WEIGHTS]
    file.create_virtual_dataset(WEIGHTS, layout)


def _low_level(set_up: Callable[[h5py.h5p.PropDCID], Any], name: str, shape: tuple[int, ...] | None = None,
               chunk: bytes | None = None) -> Edit:
    """The array with properties that h5py itself does not set, whole or as chunks of these bytes each."""
    def edit(file: h5py.File, folder: Path) -> None:
        array = file[name][()]
        del file[name]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        set_up(properties)
        dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(array.dtype),
                                  h5py.h5s.create_simple(shape or array.shape), properties)
        if chunk is None:
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array)
            return
        for place in range(0, dataset.shape[0], properties.get_chunk()[0]):
            dataset.write_direct_chunk((place,) + (0,) * (dataset.rank - 1), chunk)

    return edit


def _bomb(name: str, dtype: str) -> Edit:
    """A gigabyte of zeros in some kilobytes: chunks of 64 MB, deflated twice, all of the same bytes."""
    size = np.dtype(dtype).itemsize

    def set_up(properties: h5py.h5p.PropDCID) -> None:
        properties.set_chunk((2**26 // size,))
        for _ in range(2):
            properties.set_filter(h5py.h5z.FILTER_DEFLATE, 0, (9,))

    return lambda file, folder: _low_level(set_up, name, (2**30 // size,), zlib.compress(zlib.compress(bytes(2**26)), 9))(
        file, folder)


def _unknown_filter(properties: h5py.h5p.PropDCID) -> None:
    properties.set_chunk((99,))
    properties.set_filter(32123, h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))


hdf5("raw storage in another file", _outside(WEIGHTS))
hdf5("raw storage of meta in another file", _outside("meta"))
hdf5("virtual dataset of another file", lambda file, folder: _virtual(file, str(folder / "other.h5")))
hdf5("virtual dataset of itself", lambda file, folder: _virtual(file, "."))
hdf5("shape of a terabyte without data", _stored(shape=(2**40,), dtype="<f4"))
hdf5("code points of a terabyte without data", _stored(POINTS, shape=(2**40,), dtype="<u4"))
hdf5("meta of a terabyte without data", _stored("meta", shape=(2**40,), dtype="u1"))
hdf5("gzip bomb", _bomb(WEIGHTS, "<f4"))
hdf5("gzip bomb in place of meta", _bomb("meta", "u1"))
hdf5("chunked storage", _stored(chunks=True))
hdf5("chunked storage of meta", _stored("meta", chunks=True))
hdf5("resizable array", _stored(maxshape=(None, None)))
hdf5("compact storage", _low_level(lambda properties: properties.set_layout(h5py.h5d.COMPACT), "parameters/output/b"))
hdf5("unknown filter", _low_level(_unknown_filter, "parameters/output/b", (99,), bytes(99 * 4)))
hdf5("gzip filter", _stored(compression="gzip"))
hdf5("fletcher32 filter", _stored(fletcher32=True))
hdf5("shuffle filter", _stored(shuffle=True))


# Types and spaces

def _typed(name: str, options: Callable[[np.ndarray], dict[str, Any]]) -> Edit:
    return lambda file, folder: _stored(name, **options(file[name][()]))(file, folder)


_TYPES: dict[str, Callable[[np.ndarray], dict[str, Any]]] = {
    "big endian": lambda array: {"data": array.astype(">f4")},
    "half precision": lambda array: {"data": array.astype("<f2")},
    "double precision": lambda array: {"data": array.astype("<f8")},
    "integers": lambda array: {"data": array.astype("<i4")},
    "complex": lambda array: {"data": array.astype("<c8")},
    "booleans": lambda array: {"data": array.astype(bool)},
    "compound": lambda array: {"shape": array.shape, "dtype": [("a", "<f4")]},
    "enumeration": lambda array: {"shape": array.shape, "dtype": h5py.enum_dtype({"a": 0}, "u4")},
    "object reference": lambda array: {"shape": array.shape, "dtype": h5py.ref_dtype},
    "region reference": lambda array: {"shape": array.shape, "dtype": h5py.regionref_dtype},
    "opaque": lambda array: {"shape": array.shape, "dtype": "V4"},
    "fixed strings": lambda array: {"shape": array.shape, "dtype": "S4"},
    "variable strings": lambda array: {"data": np.full(array.shape, "1.0", object), "dtype": h5py.string_dtype()},
    "variable lengths": lambda array: {"shape": array.shape, "dtype": h5py.vlen_dtype("<f4")},
    "array in a scalar space": lambda array: {"shape": (), "dtype": np.dtype(("<f4", array.shape))},
    "array of arrays": lambda array: {"shape": array.shape[:1], "dtype": np.dtype(("<f4", array.shape[1:]))},
    "null space": lambda array: {"data": h5py.Empty("<f4")},
    "scalar": lambda array: {"data": array[0, 0]},
    "transposed": lambda array: {"data": array.T},
    "flat": lambda array: {"data": array.reshape(-1)},
    "a dimension more": lambda array: {"data": array[None]},
    "a row more": lambda array: {"data": np.concatenate([array, array[:1]])},
    "a row less": lambda array: {"data": array[1:]},
    "no row": lambda array: {"data": array[:0]},
    "32 dimensions": lambda array: {"data": array.reshape(array.shape + (1,) * 30)},
    "not written": lambda array: {"shape": array.shape, "dtype": array.dtype},
}
for _kind, _options in _TYPES.items():
    hdf5(f"weights: {_kind}", _typed(WEIGHTS, _options))

_METAS: dict[str, dict[str, Any]] = {
    "variable string": {"data": '{"format": "charrnn"}', "dtype": h5py.string_dtype()},
    "many variable strings": {"data": np.full(1000, "{}" * 1000, object), "dtype": h5py.string_dtype()},
    "variable bytes": {"shape": (3,), "dtype": h5py.vlen_dtype("u1")},
    "fixed string": {"data": np.bytes_(b"{}")},
    "floats": {"data": np.zeros(99, "<f4")},
    "signed bytes": {"data": np.zeros(99, "i1")},
    "two dimensions": {"data": np.zeros((9, 9), "u1")},
    "scalar": {"data": np.uint8(1)},
    "null space": {"data": h5py.Empty("u1")},
    "nothing": {"data": np.zeros(0, "u1")},
}
for _kind, _given in _METAS.items():
    hdf5(f"meta: {_kind}", _stored("meta", **_given))


def _committed(file: h5py.File, folder: Path) -> None:
    file["kind"] = np.dtype("<f4")
    _stored(shape=file[WEIGHTS].shape, dtype=file["kind"])(file, folder)
    del file["kind"]


hdf5("committed type of an array", _committed)
hdf5("committed type in place of an array", _put(WEIGHTS, lambda file, folder: np.dtype("<f4")))
hdf5("committed type in place of a group", _put("parameters", lambda file, folder: np.dtype("<f4")))


# Objects

def _group(name: str) -> Edit:
    """An empty group in place of an object."""
    def edit(file: h5py.File, folder: Path) -> None:
        del file[name]
        file.create_group(name)

    return edit


def _attribute(name: str, value: Any, count: int = 1) -> Edit:
    return lambda file, folder: [file[name].attrs.__setitem__(f"a{k}", value) for k in range(count)]


hdf5("array in place of a group", _put("parameters", lambda file, folder: np.zeros(9, "<f4")))
hdf5("group in place of an array", _group(WEIGHTS))
hdf5("group in place of meta", _group("meta"))
hdf5("no meta", lambda file, folder: file.__delitem__("meta"))
hdf5("array missing", lambda file, folder: file.__delitem__(WEIGHTS))
hdf5("group missing", lambda file, folder: file.__delitem__("optimizer"))
hdf5("array more", lambda file, folder: file.create_dataset("parameters/output/more", data=np.zeros(9, "<f4")))
hdf5("group more", lambda file, folder: file.create_group("parameters/more"))
hdf5("links in a heap", lambda file, folder: [file.create_group(f"parameters/more{k}") for k in range(2000)])
hdf5("variable string attribute of the root", _attribute("/", "text"))
hdf5("variable string attributes of meta", _attribute("meta", ["text"] * 99))
hdf5("number attribute of an array", _attribute(WEIGHTS, np.float32(1)))
hdf5("reference attribute of a group", lambda file, folder: _attribute("parameters", file.ref)(file, folder))
hdf5("attribute of ten megabytes", _attribute("parameters", np.zeros(10 * 2**20, np.uint8)))
hdf5("a thousand attributes", _attribute(WEIGHTS, 1, 1000))


# Other forms of HDF5

def form(name: str, **options: Any) -> None:
    """The same content in a file that h5py writes with other options."""
    def build(path: Path, data: bytes) -> None:
        with written(path, **options) as file:
            copied(data, file)

    _add(name, build)


form("superblock 0 and old groups", libver=("earliest", "v108"))
form("superblock 2", libver=("v108", "v108"))
form("user block in front", userblock_size=512)
form("links in order of creation", track_order=True)
form("pages and a superblock extension", fs_strategy="page", fs_persist=True)
form("free space that is kept", fs_strategy="fsm", fs_persist=True)


def _old_groups(path: Path, data: bytes) -> None:
    with written(path, libver=("earliest", "v108")) as image:
        copied(data, image)
    old = image_of(path.read_bytes())
    (root,) = struct.unpack_from("<Q", old, 64)
    start = data[:12] + struct.pack("<QQQQ", 0, 2**64 - 1, len(old), root)
    path.write_bytes(signed(start + struct.pack("<I", checksum(start)) + old[48:]))


file("superblock 3 in front of old groups", _old_groups)


# HDF5 byte by byte

def _layout(image: bytes, name: str) -> tuple[int, int, int]:
    """Where the image says where an array is, and what it says there: the place and the size."""
    with h5py.File(BytesIO(image)) as file:
        place, size = file[name].id.get_offset(), file[name].id.get_storage_size()
    return image.index(struct.pack("<BBQQ", 3, 1, place, size)) + 2, place, size


def _said(image: bytes, at: int, value: int) -> bytes:
    return image[:at] + struct.pack("<Q", value) + image[at + 8:]


def _placed(place: int | Callable[[bytes], int], name: str = WEIGHTS) -> Callable[[bytes], bytes]:
    """The image with an array that begins at another place."""
    return lambda image: _said(image, _layout(image, name)[0], place(image) if callable(place) else place)


def _gigabytes_of_meta(image: bytes) -> bytes:
    at, _, size = _layout(image, "meta")
    space = image.rindex(struct.pack("<BBBBQ", 2, 1, 0, 1, size), 0, at) + 4
    return _said(_said(image, at + 8, 2**31), space, 2**31)


image("array over another", _placed(lambda image: _layout(image, MEANS)[1]))
image("array over half of another", _placed(lambda image: _layout(image, MEANS)[1] + 4))
image("array over meta", _placed(lambda image: _layout(image, "meta")[1] + 8, "parameters/output/b"))
image("array beyond the end", _placed(lambda image: len(image) - 4))
image("array in the footer", _placed(len))
image("array at two to the 63", _placed(2**63))
image("array at two to the 64 less 4", _placed(2**64 - 4))
image("array of a smaller size", lambda image: _said(image, _layout(image, WEIGHTS)[0] + 8, _layout(image, WEIGHTS)[2] - 4))
image("array of size 0", lambda image: _said(image, _layout(image, WEIGHTS)[0] + 8, 0))
image("meta of two gigabytes", _gigabytes_of_meta)


def _rooted(image: bytes, header: bytes, root: int | None = None) -> bytes:
    """The image with another object header at its end, which is its root group."""
    start = image[:12] + struct.pack("<QQQQ", 0, 2**64 - 1, len(image) + len(header), len(image) if root is None else root)
    return start + struct.pack("<I", checksum(start)) + image[48:] + header


def _header(messages: bytes) -> bytes:
    header = b"OHDR\x02\x02" + struct.pack("<I", len(messages)) + messages
    return header + struct.pack("<I", checksum(header))


def _endless(image: bytes, chunks: int) -> bytes:
    """A root whose header goes on in so many chunks, each of which goes on in all of them."""
    size = 4 + 20 * chunks + 4
    first = len(image) + 10 + 20 + 4
    links = [struct.pack("<BHBQQ", 16, 16, 0, first + k * size, size) for k in range(chunks)]
    chunk = b"OCHK" + b"".join(links)
    return _rooted(image, _header(links[0]) + (chunk + struct.pack("<I", checksum(chunk))) * chunks)


_LINK = struct.pack("<BHBBBB", 6, 12, 0, 1, 0, 1) + b"x" + struct.pack("<Q", 48)
image("header that goes on for ever", lambda image: _endless(image, 1))
image("headers that go on in each other", lambda image: _endless(image, 9))
image("header of many empty messages", lambda image: _rooted(image, _header(bytes(2 * 10**6))))
image("header of many links", lambda image: _rooted(image, _header(_LINK * 60_000)))
image("header of four gigabytes", lambda image: _rooted(image, b"OHDR\x02\x02" + struct.pack("<I", 2**32 - 1)))
image("root beyond the end", lambda image: _rooted(image, b"", len(image) + 1000))
image("root that is an array", lambda image: _rooted(image, b"", image.rindex(b"OHDR", 0, _layout(image, WEIGHTS)[0])))
image("root that is the superblock", lambda image: _rooted(image, b"", 0))
image("other sizes of addresses", lambda image: image[:9] + b"\x04\x04" + image[11:])
image("signs of a writer at work", lambda image: image[:11] + b"\x05" + image[12:])


# Text of /meta

def _text(before: dict[str, Any]) -> bytes:
    return json.dumps(before).encode()


def _with(old: str, new: str | bytes) -> Callable[[dict[str, Any]], bytes]:
    """A change of /meta as text."""
    def change(before: dict[str, Any]) -> bytes:
        assert old in _text(before).decode()
        return _text(before).replace(old.encode(), new if isinstance(new, bytes) else new.encode(), 1)

    return change


_LOSS = '"rate_factor": 1.0'
_NUMBERS = {"1 of 5,000 digits": "1" * 5000, "1 of a million digits": "1" * 10**6, "a hundred lists": "[" * 100 + "]" * 100}
for _number in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e5000", "0x1", "01", "-0.0", "null", '"1"', "true",
                "1" + "0" * 400, "[]", *_NUMBERS):
    meta(f"text: for a number {_number}"[:50], _with(_LOSS, f'"rate_factor": {_NUMBERS.get(_number, _number)}'))
_DEEP = "[" * 50_000 + "]" * 50_000
_TEXTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a name twice": _with(_LOSS, f"{_LOSS}, {_LOSS}"),
    "facts twice": _with('"facts"', '"facts": {}, "facts"'),
    "format twice": _with('"format"', '"format": "other", "format"'),
    "deep": lambda before: _DEEP.encode(),
    "deep objects": lambda before: b'{"a":' * 50_000,
    "deep facts": _with(_LOSS, f'"rate_factor": {_DEEP}'),
    "deep by 10 MB": lambda before: b"[" * (10 * 2**20),
    "empty lists by 12 MB": lambda before: b"[" + b"[]," * (4 * 2**20 - 1) + b"]",
    "empty objects by 12 MB": lambda before: b"[" + b"{}," * (4 * 2**20 - 2) + b"{}]",
    "numbers by 12 MB": lambda before: b"[" + b"1.5," * (3 * 2**20 - 2) + b"1]",
    "strings by 12 MB": lambda before: b'["' + b'","' * (4 * 2**20 - 2) + b'"]',
    "names by 12 MB": lambda before: b"{" + b",".join(b'"%d":1' % k for k in range(10**6)) + b"}",
    "one string of 12 MB": lambda before: b'"' + b"a" * (12 * 2**20 - 2) + b'"',
    "empty lists among facts by 11 MB": _with(_LOSS, '"rate_factor": [' + "[]," * (3 * 2**20) + "[]]"),
    "a number of 11 MB": _with(_LOSS, '"rate_factor": ' + "1" * (11 * 2**20)),
    "13 MB": lambda before: b" " * (13 * 2**20),
    "blanks": lambda before: b" " * 99,
    "NUL": lambda before: bytes(99),
    "null": lambda before: b"null",
    "not UTF-8": _with('"charrnn"', b'"charr\xffn"'),
    "overlong UTF-8": _with('"charrnn"', b'"charrn\xc1\xae"'),
    "surrogate in UTF-8": _with('"notes.txt"', b'"\xed\xa0\x80"'),
    "UTF-16": lambda before: json.dumps(before).encode("utf-16"),
    "UTF-8 with a mark": lambda before: b"\xef\xbb\xbf" + _text(before),
    "more behind": lambda before: _text(before) + b"{}",
    "cut": lambda before: _text(before)[:-1],
    "a comment": _with('"facts"', '/* */ "facts"'),
    "a line break in a string": _with('"charrnn"', '"charrnn\n"'),
    "python": lambda before: repr(before).encode(),
    "a pickle": lambda before: pickle.dumps(before),
}
for _kind, _change in _TEXTS.items():
    meta(f"text: {_kind}", _change)


# Facts: each of a wrong kind, missing, one more; then what cannot be

_FACTS: dict[str, tuple[str, ...]] = {
    "": ("dtype", "environment", "epoch", "failures", "good_step", "history", "model", "rate_factor", "smoothed_loss",
         "source", "step", "train", "vocabulary", "window"),
    "model": ("cell", "dropout", "embedding_size", "hidden_size", "layers", "weight_drop"),
    "train": ("batch_size", "clip_norm", "epochs", "eval_every", "learning_rate", "minutes", "optimizer", "patience",
              "recover", "schedule", "seed", "seq_len", "stateful", "steps", "threads", "validation", "warmup"),
    "source": ("characters", "fingerprint", "names", "reading", "windows"),
    "source.reading": ("encoding", "errors", "glob", "level", "lines", "lowercase", "min_count", "normalize",
                       "reset_at_files", "shuffle_seed"),
}


def _at(before: dict[str, Any], part: str) -> dict[str, Any]:
    facts = before["facts"]
    for name in filter(None, part.split(".")):
        facts = facts[name]
    return facts


def _set(part: str, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Another value, or what a function returns for one, for those that are large."""
    return lambda before: _at(before, part).__setitem__(name, value() if callable(value) else value)


def _delete(part: str, name: str) -> Callable[[dict[str, Any]], None]:
    return lambda before: _at(before, part).__delitem__(name)


for _part, _names in _FACTS.items():
    meta(f"facts: one more {_part}".rstrip(), _set(_part, "more", 1))
    for _fact in _names:
        meta(f"facts: {_part} {_fact} a list".replace("  ", " "), _set(_part, _fact, [[0]]))
        meta(f"facts: {_part} {_fact} missing".replace("  ", " "), _delete(_part, _fact))
    if _part:
        meta(f"facts: {_part} a list of names", _set(*_part.rpartition(".")[::2], list(_names)))

_HUGE = (-1, 2**60, 2**63, 10**400)
for _part, _fact in [("", "vocabulary"), ("", "step"), ("", "epoch"), ("", "window"), ("", "good_step"), ("", "failures"),
                     ("model", "hidden_size"), ("model", "layers"), ("model", "embedding_size"), ("train", "batch_size"),
                     ("train", "seq_len"), ("train", "steps"), ("train", "threads"), ("source", "characters"),
                     ("source", "windows")]:
    for _value in _HUGE:
        if _fact not in ("characters", "steps") or _value != 2**60:  # so long a text or a plan could be
            meta(f"facts: {_part} {_fact} {_value if _value < 2**64 else 'of 400 digits'}".replace("  ", " "),
                 _set(_part, _fact, _value))


def _all_large(before: dict[str, Any]) -> None:
    """The largest model there can be, said alike everywhere."""
    facts = before["facts"]
    facts["model"] |= {"hidden_size": 2**16, "layers": 100, "embedding_size": 2**16}
    facts["train"]["batch_size"] = 2**16
    facts["vocabulary"] = 0x110000
    facts["source"]["characters"] = 2**60


def _listed(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], None]:
    """A change of the list of arrays."""
    def changed(before: dict[str, Any]) -> None:
        after = change(before["arrays"])
        before["arrays"] = before["arrays"] if after is None else after

    return changed


_IMPOSSIBLE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "the largest model": _all_large,
    "no hidden units": _set("model", "hidden_size", 0),
    "another number of hidden units": _set("model", "hidden_size", 5),
    "a half hidden unit": _set("model", "hidden_size", 4.5),
    "hidden units as text": _set("model", "hidden_size", "4"),
    "true hidden units": _set("model", "hidden_size", True),
    "one more layer": _set("model", "layers", 2),
    "another cell": _set("model", "cell", "gru"),
    "a cell of the attacker": _set("model", "cell", "os.system"),
    "another optimizer": _set("train", "optimizer", "sgd"),
    "an optimizer of the attacker": _set("train", "optimizer", "__class__"),
    "another dtype": _set("", "dtype", "float64"),
    "an object dtype": _set("", "dtype", "O"),
    "a larger vocabulary": _set("", "vocabulary", 16),
    "an encoding of the attacker": _set("source.reading", "encoding", "os"),
    "an encoding that is none": _set("source.reading", "encoding", "../../" * 1000),
    "an encoding of bytes": _set("source.reading", "encoding", "zlib"),
    "an encoding with NUL": _set("source.reading", "encoding", "utf-8\0"),
    "an encoding with a surrogate": _set("source.reading", "encoding", "\udc80"),
    "an encoding of a megabyte": _set("source.reading", "encoding", "x" * 10**6),
    "errors of the attacker": _set("source.reading", "errors", "surrogateescape"),
    "an unknown level": _set("source.reading", "level", "word"),
    "an unknown normal form": _set("source.reading", "normalize", "NFD"),
    "characters counted less than once": _set("source.reading", "min_count", 0),
    "unknown characters without a place": _set("source.reading", "min_count", 2),
    "no pattern": _set("source.reading", "glob", ""),
    "a pattern with NUL": _set("source.reading", "glob", "*\0"),
    "a corpus named by a number": _set("source", "names", [1]),
    "a corpus named with NUL": _set("source", "names", ["a\0b"]),
    "an environment of numbers": _set("", "environment", {"numpy": 2}),
    "a loss of text": _set("", "smoothed_loss", "nan"),
    "a loss that is true": _set("", "smoothed_loss", True),
    "no windows": _set("source", "windows", 0),
    "no characters": _set("source", "characters", 0),
    "more windows than text": _set("source", "windows", 10**6),
    "a step beyond the plan": _set("", "step", 101),
    "a step before the last good one": _set("", "good_step", 3),
    "another window": _set("", "window", 3),
    "more failures than steps": _set("", "failures", 99),
    "a growing rate": _set("", "rate_factor", 1.5),
    "no rate": _set("", "rate_factor", 0.0),
    "an open plan": _set("train", "steps", None),
    "an open learning rate": _set("train", "learning_rate", None),
    "more threads than streams": _set("train", "threads", 9),
    "a history of a million": _set("", "history", lambda: [[1, 1.5, 1.5]] * 10**6),
    "a history of 170,000": _set("", "history", lambda: [[k, 1.5, 1.5] for k in range(1, 170_001)]),
    "a history backwards": _set("", "history", [[2, 1.5, 1.5], [1, 1.5, 1.5]]),
    "a history before the start": _set("", "history", [[0, 1.5, 1.5]]),
    "a history after now": _set("", "history", [[10**6, 1.5, 1.5]]),
    "a history of pairs": _set("", "history", [[1, 1.5]]),
    "a history of text": _set("", "history", ["1"]),
    "another format": lambda before: before.__setitem__("format", "other"),
    "another version": lambda before: before.__setitem__("format_version", 2),
    "a version of text": lambda before: before.__setitem__("format_version", "1"),
    "a list": lambda before: list(before.items()),
    "facts of facts": lambda before: before.__setitem__("facts", {"facts": before["facts"]}),
    "a control sequence in a name": _set("model", "\x1b[2J\n\r\x00", 1),
    "a name of a megabyte": _set("model", "x" * 10**6, 1),
    "a value of a megabyte": _set("model", "cell", "\n" * 10**6),
    "a surrogate in a name": _set("model", "\udc80", 1),
    "no list of arrays": _listed(lambda arrays: {}),
    "arrays of null": lambda before: before.__setitem__("arrays", None),
    "arrays of a list": _listed(lambda arrays: list(arrays)),
    "one array more": _listed(lambda arrays: arrays.__setitem__("more", ["<f4", [1]])),
    "one array less": _listed(lambda arrays: arrays.popitem()),
    "an array named NUL": _listed(lambda arrays: arrays.__setitem__("a\0b", ["<f4", [1]])),
    "an array named ..": _listed(lambda arrays: arrays.__setitem__("../../secret", ["<f4", [1]])),
    "an array with an absolute name": _listed(lambda arrays: arrays.__setitem__("/etc/passwd", ["<f4", [1]])),
    "an array without a name": _listed(lambda arrays: arrays.__setitem__("", ["<f4", [1]])),
    "an array of a megabyte of name": _listed(lambda arrays: arrays.__setitem__("a/" * 500_000, ["<f4", [1]])),
    "an array of objects": _listed(lambda arrays: arrays.__setitem__(WEIGHTS, ["|O", [4, 15]])),
    "an array of a negative size": _listed(lambda arrays: arrays.__setitem__(WEIGHTS, ["<f4", [-4, 15]])),
    "an array of a huge size": _listed(lambda arrays: arrays.__setitem__(WEIGHTS, ["<f4", [2**60, 15]])),
    "an array of a size of text": _listed(lambda arrays: arrays.__setitem__(WEIGHTS, ["<f4", ["4", 15]])),
    "100,000 arrays": _listed(lambda arrays: arrays.update({str(k): ["<f4", [1]] for k in range(10**5)})),
}
for _kind, _change in _IMPOSSIBLE.items():
    meta(f"meta: {_kind}" if f"meta: {_kind}" not in HOSTILE else f"meta says: {_kind}", _change)


# Values

def _one(value: float) -> Callable[[np.ndarray], None]:
    return lambda array: array.__setitem__((-1,) * array.ndim, value)


for _array in (WEIGHTS, "optimizer/mean/output/b", "state/layer0/hidden", "state/layer0/cell"):
    for _number in ("nan", "inf", "-inf"):
        values(f"values: {_number} in {_array}", _array, _one(float(_number)))
values("values: a signalling NaN", WEIGHTS, lambda array: array.view("<u4").__setitem__((0, 0), 0x7F800001))
values("values: a negative square", "optimizer/square_mean/output/w", _one(-1e-30))
values("values: a surrogate", POINTS, _one(0xD800))
values("values: a code point too large", POINTS, _one(0x110000))
values("values: a code point of 32 bits", POINTS, _one(2**32 - 1))
values("values: code points backwards", POINTS, lambda array: array.__setitem__(slice(None), array[::-1].copy()))
values("values: a code point twice", POINTS, lambda array: array.__setitem__(1, array[0]))


# Files

def _socket(path: Path, data: bytes) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # as its whole path may be too long for a socket
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


file("FIFO", lambda path, data: os.mkfifo(path))
file("directory", lambda path, data: path.mkdir())
file("socket", _socket)
file("nothing", lambda path, data: None)
file("link to itself", lambda path, data: path.symlink_to(path.name))
file("link to nothing", lambda path, data: path.symlink_to("missing.h5"))
file("link to an endless device", lambda path, data: path.symlink_to("/dev/zero"))
file("link to an empty device", lambda path, data: path.symlink_to(os.devnull))
file("link to the memory of the process", lambda path, data: path.symlink_to("/proc/self/mem"))


def _footer(image: bytes, magic: bytes = MAGIC, version: int = 1, zero: int = 0, length: int | None = None,
            digest: bytes | None = None, end: bytes = END) -> bytes:
    return image + FOOTER.pack(magic, version, zero, len(image) if length is None else length,
                               hashlib.sha256(image).digest() if digest is None else digest, end)


content("empty file", lambda data: b"")
content("one byte", lambda data: b"\x89")
content("64 zeros", lambda data: bytes(64))
content("72 zeros", lambda data: bytes(72))
content("a footer and nothing else", lambda data: data[-64:])
content("a footer of nothing", lambda data: signed(b""))
content("a signature and a footer", lambda data: signed(data[:9]))
content("a superblock and a footer", lambda data: signed(data[:48]))
content("zeros and a footer", lambda data: signed(bytes(10_000)))
content("a signature, zeros and a footer", lambda data: signed(data[:9] + bytes(10_000)))
content("two footers", lambda data: data + data[-64:])
content("two signed footers", lambda data: signed(data))
content("more in front", lambda data: signed(bytes(512) + image_of(data)))
content("more behind", lambda data: signed(image_of(data) + bytes(512)))
content("twice", lambda data: signed(image_of(data) * 2))
content("half", lambda data: signed(image_of(data)[:len(data) // 2]))
content("without a footer", image_of)
content("another magic", lambda data: _footer(image_of(data), magic=b"charrnn\x01"))
content("another version", lambda data: _footer(image_of(data), version=2))
content("version 0", lambda data: _footer(image_of(data), version=0))
content("no zero", lambda data: _footer(image_of(data), zero=1))
content("another length", lambda data: _footer(image_of(data), length=len(data)))
content("length of 2**64", lambda data: _footer(image_of(data), length=2**64 - 1))
content("another digest", lambda data: _footer(image_of(data), digest=bytes(32)))
content("another end", lambda data: _footer(image_of(data), end=END[::-1]))
content("text", lambda data: b"some text\n" * 1000)
content("signed text", lambda data: signed(b"some text\n" * 1000))
content("signed text behind a signature", lambda data: signed(data[:9] + b"some text\n" * 1000))
content("HDF5 of another program", lambda data: to_image({"weights": np.zeros(99)}))
content("a pickle", lambda data: pickle.dumps(print))
content("a signed pickle", lambda data: signed(pickle.dumps(print)))
content("a zip archive", lambda data: b"PK\x03\x04" + bytes(1000) + b"PK\x05\x06" + bytes(18))
content("a program", lambda data: b"\x7fELF" + bytes(1000))


def _by_h5py(path: Path, data: bytes) -> None:
    with written(path) as image:
        image["weights"] = np.zeros(99)


def _sparse(path: Path, data: bytes, size: int, digest: bytes = bytes(32)) -> None:
    """A valid image, zeros that take no room on the disk, and a footer."""
    with path.open("wb") as sparse:
        sparse.write(image_of(data))
        sparse.truncate(size)
        sparse.seek(size)
        sparse.write(FOOTER.pack(MAGIC, 1, 0, size, digest, END))


def _sparse_and_signed(path: Path, data: bytes) -> None:
    size, digest, block = 600 * 2**20, hashlib.sha256(image_of(data)), bytes(2**20)
    left = size - len(image_of(data))
    while left:
        digest.update(block[:left])
        left -= min(left, len(block))
    _sparse(path, data, size, digest.digest())


file("signed HDF5 of another program", _by_h5py)
file("three gigabytes of nothing", lambda path, data: _sparse(path, data, 3 * 2**30))
file("a terabyte of nothing", lambda path, data: _sparse(path, data, 2**40))
file("600 MB of nothing with the right digest", _sparse_and_signed)
