"""Hostile checkpoints: what they are made with, and one builder for each way to make one.

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
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from charrnn.hdf5 import checksum, to_image

FOOTER = struct.Struct("<8sIIQ32s8s")
MAGIC, END = b"charrnn\x00", b"end\r\n\x1a\n\x00"
LIBVER = ("v110", "v110")

HOSTILE: dict[str, Callable[[Path, bytes], Any]] = {}


# Tools

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


# How a construction is made: from the open HDF5 file, from /meta, from the arrays, from the image, or all by itself

Edit = Callable[[h5py.File, Path], Any]


def _add(name: str, build: Callable[[Path, bytes], Any]) -> None:
    assert name not in HOSTILE, name
    HOSTILE[name] = build


def _name(function: Callable) -> str:
    return function.__name__.strip("_").replace("_", " ")


def hdf5(edit: Edit) -> Edit:
    """h5py changes the file; the Path is the folder it is in."""
    def build(path: Path, data: bytes) -> None:
        path.with_name("secret.txt").write_bytes(b"secret" * 1000)
        path.with_name("other.h5").write_bytes(data)
        image = BytesIO(image_of(data))
        with h5py.File(image, "r+", libver=LIBVER) as file:
            edit(file, path.parent)
        path.write_bytes(signed(image.getvalue()))

    _add(_name(edit), build)
    return edit


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


def image(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Other bytes of HDF5, with the checksums of its headers and the digest made right."""
    def build(path: Path, data: bytes) -> None:
        before = image_of(data)
        after = change(before)
        assert after != before
        path.write_bytes(signed(with_checksums(after, before)))

    _add(_name(change), build)
    return change


def disk(build: Callable[[Path, bytes], Any]) -> Callable[[Path, bytes], Any]:
    _add(_name(build), build)
    return build


# Links

WEIGHTS, POINTS = "parameters/output/w", "vocabulary/codepoints"


def _put(file: h5py.File, name: str, what: Any) -> None:
    del file[name]
    file[name] = what


@hdf5
def external_link(file: h5py.File, folder: Path) -> None:
    _put(file, WEIGHTS, h5py.ExternalLink(str(folder / "other.h5"), WEIGHTS))


@hdf5
def external_link_in_the_middle_of_a_path(file: h5py.File, folder: Path) -> None:
    _put(file, "parameters/output", h5py.ExternalLink(str(folder / "other.h5"), "parameters/output"))


@hdf5
def external_link_in_place_of_meta(file: h5py.File, folder: Path) -> None:
    _put(file, "meta", h5py.ExternalLink(str(folder / "other.h5"), "meta"))


@hdf5
def external_link_beside(file: h5py.File, folder: Path) -> None:
    file["more"] = h5py.ExternalLink(str(folder / "other.h5"), "/")


@hdf5
def soft_link(file: h5py.File, folder: Path) -> None:
    file.move(WEIGHTS, "moved")
    file[WEIGHTS] = h5py.SoftLink("/moved")


@hdf5
def soft_link_in_the_middle_of_a_path(file: h5py.File, folder: Path) -> None:
    file.move("parameters", "moved")
    file["parameters"] = h5py.SoftLink("/moved")


@hdf5
def soft_link_to_itself(file: h5py.File, folder: Path) -> None:
    _put(file, WEIGHTS, h5py.SoftLink(f"/{WEIGHTS}"))


@hdf5
def hard_links_in_a_circle(file: h5py.File, folder: Path) -> None:
    file["parameters/output/up"] = file["/"]


@hdf5
def group_that_is_its_own(file: h5py.File, folder: Path) -> None:
    _put(file, "parameters/output", file["parameters"])


@hdf5
def root_in_place_of_a_group(file: h5py.File, folder: Path) -> None:
    _put(file, "parameters", file["/"])


@hdf5
def two_names_for_one_array(file: h5py.File, folder: Path) -> None:
    _put(file, f"optimizer/mean{WEIGHTS.removeprefix('parameters')}", file[WEIGHTS])


@hdf5
def two_names_for_one_group(file: h5py.File, folder: Path) -> None:
    _put(file, "optimizer/mean", file["optimizer/square_mean"])


# What is in place of an array

def _replace(file: h5py.File, name: str = WEIGHTS, **options: Any) -> h5py.Dataset:
    """Another array in place of one, as ``create_dataset`` makes it; by default with its values."""
    array = file[name][()]
    del file[name]
    if not {"data", "shape", "dtype"} & options.keys():
        options["data"] = array
    return file.create_dataset(name, **{"track_times": False, **options})


def _low_level(file: h5py.File, set_up: Callable[[h5py.h5p.PropDCID], Any], name: str = WEIGHTS) -> h5py.h5d.DatasetID:
    """The same array with other properties than h5py itself can set."""
    array = file[name][()]
    del file[name]
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    set_up(properties)
    dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(array.dtype),
                              h5py.h5s.create_simple(array.shape), properties)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array)
    return dataset


@hdf5
def raw_storage_in_another_file(file: h5py.File, folder: Path) -> None:
    array = file[WEIGHTS][()]
    _replace(file, shape=array.shape, dtype=array.dtype, external=[(str(folder / "secret.txt"), 0, array.nbytes)])


@hdf5
def raw_storage_of_meta_in_another_file(file: h5py.File, folder: Path) -> None:
    _replace(file, "meta", shape=(6000,), dtype="u1", external=[(str(folder / "secret.txt"), 0, 6000)])


def _virtual(file: h5py.File, source: str, name: str) -> None:
    shape, dtype = file[WEIGHTS].shape, file[WEIGHTS].dtype
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(source, name, shape, dtype)
    del file[WEIGHTS]
    file.create_virtual_dataset(WEIGHTS, layout)


@hdf5
def virtual_dataset_of_another_file(file: h5py.File, folder: Path) -> None:
    _virtual(file, str(folder / "other.h5"), WEIGHTS)


@hdf5
def virtual_dataset_of_itself(file: h5py.File, folder: Path) -> None:
    _virtual(file, ".", WEIGHTS)


@hdf5
def shape_of_a_terabyte_without_data(file: h5py.File, folder: Path) -> None:
    _replace(file, shape=(2**40,), dtype="<f4")


@hdf5
def codepoints_of_a_terabyte_without_data(file: h5py.File, folder: Path) -> None:
    _replace(file, POINTS, shape=(2**40,), dtype="<u4")


@hdf5
def meta_of_a_terabyte_without_data(file: h5py.File, folder: Path) -> None:
    _replace(file, "meta", shape=(2**40,), dtype="u1")


def _bomb(file: h5py.File, name: str, dtype: str) -> None:
    """A gigabyte of zeros in some kilobytes: chunks of 64 MB, deflated twice, all the same bytes."""
    chunk, size = 2**26 // np.dtype(dtype).itemsize, 2**30 // np.dtype(dtype).itemsize
    del file[name]
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((chunk,))
    properties.set_deflate(9)
    properties.set_filter(h5py.h5z.FILTER_DEFLATE, 0, (9,))
    dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(dtype)),
                              h5py.h5s.create_simple((size,)), properties)
    deflated = zlib.compress(zlib.compress(bytes(2**26), 9), 9)
    for place in range(0, size, chunk):
        dataset.write_direct_chunk((place,), deflated)


@hdf5
def gzip_bomb(file: h5py.File, folder: Path) -> None:
    _bomb(file, WEIGHTS, "<f4")


@hdf5
def gzip_bomb_in_place_of_meta(file: h5py.File, folder: Path) -> None:
    _bomb(file, "meta", "u1")


@hdf5
def chunked_storage(file: h5py.File, folder: Path) -> None:
    _replace(file, chunks=True)


@hdf5
def chunked_storage_of_meta(file: h5py.File, folder: Path) -> None:
    _replace(file, "meta", chunks=True)


@hdf5
def resizable_array(file: h5py.File, folder: Path) -> None:
    _replace(file, maxshape=(None, None))


@hdf5
def compact_storage(file: h5py.File, folder: Path) -> None:
    _low_level(file, lambda properties: properties.set_layout(h5py.h5d.COMPACT), "parameters/output/b")


@hdf5
def unknown_filter(file: h5py.File, folder: Path) -> None:
    array = file[WEIGHTS][()]
    del file[WEIGHTS]
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(array.shape)
    properties.set_filter(32123, h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
    dataset = h5py.h5d.create(file.id, WEIGHTS.encode(), h5py.h5t.py_create(array.dtype),
                              h5py.h5s.create_simple(array.shape), properties)
    dataset.write_direct_chunk((0, 0), array.tobytes())


for _filter in ("fletcher32", "shuffle"):
    def _with_filter(file: h5py.File, folder: Path, name: str = _filter) -> None:
        _replace(file, **{name: True})

    _with_filter.__name__ = f"{_filter}_filter"
    hdf5(_with_filter)


# Types and spaces

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
    def _with_type(file: h5py.File, folder: Path, options: Callable = _options) -> None:
        _replace(file, **options(file[WEIGHTS][()]))

    _with_type.__name__ = f"weights: {_kind}"
    hdf5(_with_type)

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
    def _with_meta(file: h5py.File, folder: Path, options: dict[str, Any] = _given) -> None:
        _replace(file, "meta", **options)

    _with_meta.__name__ = f"meta: {_kind}"
    hdf5(_with_meta)


@hdf5
def committed_type_of_an_array(file: h5py.File, folder: Path) -> None:
    file["parameters/output/kind"] = np.dtype("<f4")
    _replace(file, shape=file[WEIGHTS].shape, dtype=file["parameters/output/kind"])
    del file["parameters/output/kind"]


@hdf5
def committed_type_in_place_of_an_array(file: h5py.File, folder: Path) -> None:
    _put(file, WEIGHTS, np.dtype("<f4"))


@hdf5
def committed_type_in_place_of_a_group(file: h5py.File, folder: Path) -> None:
    _put(file, "parameters", np.dtype("<f4"))


# Objects

@hdf5
def array_in_place_of_a_group(file: h5py.File, folder: Path) -> None:
    _put(file, "parameters", np.zeros(9, "<f4"))


@hdf5
def group_in_place_of_an_array(file: h5py.File, folder: Path) -> None:
    del file[WEIGHTS]
    file.create_group(WEIGHTS)


@hdf5
def group_in_place_of_meta(file: h5py.File, folder: Path) -> None:
    del file["meta"]
    file.create_group("meta")


@hdf5
def no_meta(file: h5py.File, folder: Path) -> None:
    del file["meta"]


@hdf5
def array_missing(file: h5py.File, folder: Path) -> None:
    del file[WEIGHTS]


@hdf5
def group_missing(file: h5py.File, folder: Path) -> None:
    del file["optimizer"]


@hdf5
def array_more(file: h5py.File, folder: Path) -> None:
    file["parameters/output/more"] = np.zeros(9, "<f4")


@hdf5
def group_more(file: h5py.File, folder: Path) -> None:
    file.create_group("parameters/more")


@hdf5
def links_in_a_heap(file: h5py.File, folder: Path) -> None:
    for k in range(2000):
        file.create_group(f"parameters/more{k}")


@hdf5
def variable_string_attribute_of_the_root(file: h5py.File, folder: Path) -> None:
    file.attrs["a"] = "text"


@hdf5
def variable_string_attribute_of_meta(file: h5py.File, folder: Path) -> None:
    file["meta"].attrs["a"] = ["text"] * 99


@hdf5
def attribute_of_an_array(file: h5py.File, folder: Path) -> None:
    file[WEIGHTS].attrs["a"] = np.float32(1)


@hdf5
def reference_attribute_of_a_group(file: h5py.File, folder: Path) -> None:
    file["parameters"].attrs["a"] = file.ref


@hdf5
def attribute_of_100_megabytes(file: h5py.File, folder: Path) -> None:
    file["parameters"].attrs.create("a", shape=(2**20 * 25,), dtype="<f4", data=np.zeros(2**20 * 25, "<f4"))


@hdf5
def a_thousand_attributes(file: h5py.File, folder: Path) -> None:
    for k in range(1000):
        file[WEIGHTS].attrs[f"a{k}"] = k


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


@disk
def superblock_3_in_front_of_old_groups(path: Path, data: bytes) -> None:
    with written(path, libver=("earliest", "v108")) as file:
        copied(data, file)
    old = image_of(path.read_bytes())
    (root,) = struct.unpack_from("<Q", old, 64)
    start = data[:12] + struct.pack("<QQQQ", 0, 2**64 - 1, len(old), root)
    path.write_bytes(signed(start + struct.pack("<I", checksum(start)) + old[48:]))


# HDF5 byte by byte

def _layout(image: bytes, name: str) -> tuple[int, int, int]:
    """Where the image says where an array is, and what it says there: the place and the size."""
    with h5py.File(BytesIO(image)) as file:
        place, size = file[name].id.get_offset(), file[name].id.get_storage_size()
    return image.index(struct.pack("<BBQQ", 3, 1, place, size)) + 2, place, size


def _placed(image: bytes, name: str, place: int) -> bytes:
    """The image with an array that begins at another place."""
    at = _layout(image, name)[0]
    return image[:at] + struct.pack("<Q", place) + image[at + 8:]


@image
def array_over_another(image: bytes) -> bytes:
    return _placed(image, WEIGHTS, _layout(image, f"optimizer/mean{WEIGHTS.removeprefix('parameters')}")[1])


@image
def array_over_half_of_another(image: bytes) -> bytes:
    return _placed(image, WEIGHTS, _layout(image, f"optimizer/mean{WEIGHTS.removeprefix('parameters')}")[1] + 4)


@image
def array_over_meta(image: bytes) -> bytes:
    return _placed(image, "parameters/output/b", _layout(image, "meta")[1] + 8)


@image
def array_beyond_the_end(image: bytes) -> bytes:
    return _placed(image, WEIGHTS, len(image) - 4)


@image
def array_in_the_footer(image: bytes) -> bytes:
    return _placed(image, WEIGHTS, len(image))


@image
def array_at_two_to_the_63(image: bytes) -> bytes:
    return _placed(image, WEIGHTS, 2**63)


@image
def array_at_two_to_the_64_less_4(image: bytes) -> bytes:
    return _placed(image, WEIGHTS, 2**64 - 4)


@image
def array_of_another_size(image: bytes) -> bytes:
    at, _, size = _layout(image, WEIGHTS)
    return image[:at + 8] + struct.pack("<Q", size - 4) + image[at + 16:]


@image
def meta_of_two_gigabytes(image: bytes) -> bytes:
    at, _, size = _layout(image, "meta")
    space = image.rindex(struct.pack("<BBBBQ", 2, 1, 0, 1, size), 0, at)
    image = image[:at + 8] + struct.pack("<Q", 2**31) + image[at + 16:]
    return image[:space + 4] + struct.pack("<Q", 2**31) + image[space + 12:]


def _rooted(image: bytes, header: bytes, root: int | None = None) -> bytes:
    """The image with another object header at its end, which is its root group."""
    start = image[:12] + struct.pack("<QQQQ", 0, 2**64 - 1, len(image) + len(header), len(image) if root is None else root)
    return start + struct.pack("<I", checksum(start)) + image[48:] + header


def _header(messages: bytes) -> bytes:
    header = b"OHDR\x02\x02" + struct.pack("<I", len(messages)) + messages
    return header + struct.pack("<I", checksum(header))


@image
def header_that_continues_for_ever(image: bytes) -> bytes:
    more = len(image) + 10 + 20 + 4
    chunk = b"OCHK" + struct.pack("<BHBQQ", 16, 16, 0, more, 28)
    return _rooted(image, _header(struct.pack("<BHBQQ", 16, 16, 0, more, 28)) + chunk
                   + struct.pack("<I", checksum(chunk)))


@image
def headers_that_continue_in_each_other(image: bytes) -> bytes:
    first = len(image) + 10 + 20 + 4
    links = [struct.pack("<BHBQQ", 16, 16, 0, place, 48) for place in (first, first + 48)]
    chunks = b""
    for _ in range(2):
        chunk = b"OCHK" + b"".join(links)
        chunks += chunk + struct.pack("<I", checksum(chunk))
    return _rooted(image, _header(links[0]) + chunks)


@image
def header_of_a_million_messages(image: bytes) -> bytes:
    return _rooted(image, _header(bytes(4 * 10**6)))


@image
def header_of_a_million_links(image: bytes) -> bytes:
    link = struct.pack("<BBB", 1, 0, 1) + b"x" + struct.pack("<Q", 48)
    return _rooted(image, _header((struct.pack("<BHB", 6, len(link), 0) + link) * 10**5))


@image
def header_of_four_gigabytes(image: bytes) -> bytes:
    return _rooted(image, b"OHDR\x02\x02" + struct.pack("<I", 2**32 - 1))


@image
def root_beyond_the_end(image: bytes) -> bytes:
    return _rooted(image, b"", len(image) + 1000)


@image
def root_that_is_an_array(image: bytes) -> bytes:
    at = _layout(image, WEIGHTS)[0]
    return _rooted(image, b"", image.rindex(b"OHDR", 0, at))


@image
def root_that_is_the_superblock(image: bytes) -> bytes:
    return _rooted(image, b"", 0)


@image
def other_sizes_of_addresses(image: bytes) -> bytes:
    return image[:9] + b"\x04\x04" + image[11:]


@image
def signs_of_a_writer_at_work(image: bytes) -> bytes:
    return image[:11] + b"\x05" + image[12:]


@image
def checkpoint_in_a_checkpoint(image: bytes) -> bytes:
    return signed(image)


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
    "model": ("cell", "dropout", "embedding_size", "hidden_size", "layers"),
    "train": ("batch_size", "clip_norm", "epochs", "eval_every", "learning_rate", "minutes", "optimizer", "patience",
              "recover", "schedule", "seed", "seq_len", "stateful", "steps", "threads", "validation", "warmup"),
    "source": ("characters", "encoding", "errors", "fingerprint", "names", "windows"),
}


def _at(before: dict[str, Any], part: str) -> dict[str, Any]:
    facts = before["facts"]
    return facts[part] if part else facts


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
        meta(f"facts: {_part} a list of names", _set("", _part, list(_names)))

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
    "an encoding of the attacker": _set("source", "encoding", "os"),
    "an encoding that is none": _set("source", "encoding", "../../" * 1000),
    "an encoding of bytes": _set("source", "encoding", "zlib"),
    "an encoding with NUL": _set("source", "encoding", "utf-8\0"),
    "an encoding with a surrogate": _set("source", "encoding", "\udc80"),
    "an encoding of a megabyte": _set("source", "encoding", "x" * 10**6),
    "errors of the attacker": _set("source", "errors", "surrogateescape"),
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
    "a history of half a million lists": _set("", "history", lambda: [[k, 1.5, 1.5] for k in range(5 * 10**5)]),
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

@disk
def fifo(path: Path, data: bytes) -> None:
    os.mkfifo(path)


@disk
def endless_device(path: Path, data: bytes) -> None:
    path.symlink_to("/dev/zero")


@disk
def empty_device(path: Path, data: bytes) -> None:
    path.symlink_to(os.devnull)


@disk
def directory(path: Path, data: bytes) -> None:
    path.mkdir()


@disk
def unix_socket(path: Path, data: bytes) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


@disk
def link_to_itself(path: Path, data: bytes) -> None:
    path.symlink_to(path.name)


@disk
def link_to_nothing(path: Path, data: bytes) -> None:
    path.symlink_to("missing.h5")


@disk
def nothing(path: Path, data: bytes) -> None:
    """No file at all."""


@disk
def memory_of_the_process(path: Path, data: bytes) -> None:
    path.symlink_to("/proc/self/mem")


def content(name: str, change: Callable[[bytes], bytes]) -> None:
    """A file of other bytes, digest and all."""
    _add(name, lambda path, data: path.write_bytes(change(data)))


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
content("a pickle", lambda data: pickle.dumps(print))
content("a signed pickle", lambda data: signed(pickle.dumps(print)))
content("a zip archive", lambda data: b"PK\x03\x04" + bytes(1000) + b"PK\x05\x06" + bytes(18))
content("a program", lambda data: b"\x7fELF" + bytes(1000))


@disk
def plain_hdf5(path: Path, data: bytes) -> None:
    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros(99)


@disk
def signed_plain_hdf5(path: Path, data: bytes) -> None:
    with written(path) as file:
        file["weights"] = np.zeros(99)


def _sparse(path: Path, data: bytes, size: int, digest: bytes) -> None:
    """A valid image, zeros that take no room on the disk, and a footer."""
    with path.open("wb") as file:
        file.write(image_of(data))
        file.truncate(size)
        file.seek(size)
        file.write(FOOTER.pack(MAGIC, 1, 0, size, digest, END))


@disk
def three_gigabytes_of_nothing(path: Path, data: bytes) -> None:
    _sparse(path, data, 3 * 2**30, bytes(32))


@disk
def a_terabyte_of_nothing(path: Path, data: bytes) -> None:
    _sparse(path, data, 2**40, bytes(32))


@disk
def much_of_nothing_with_the_right_digest(path: Path, data: bytes) -> None:
    size, digest, block = 600 * 2**20, hashlib.sha256(image_of(data)), bytes(2**20)
    left = size - len(image_of(data))
    while left:
        digest.update(block[:left])
        left -= min(left, len(block))
    _sparse(path, data, size, digest.digest())
