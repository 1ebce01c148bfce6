"""Named arrays <-> the image of an HDF5 file, without the HDF5 library.

The library trusts what a file says of itself: metadata made to harm crash it, hang it, or lead it to other files. So
this knows of HDF5 only groups and arrays that lie in one piece. ``layout`` says how they are written, for any HDF5 tool
to open; ``Image`` reads them, and refuses whatever else HDF5 can hold. The same arrays give the same bytes::

    superblock, version 3         says where the root group is
    an array, its object header   by name, group by group; each begins at a multiple of 8
    a group's object header       after all that is in it, so the root group comes last

The source of all layouts: The HDF Group, HDF5 File Format Specification Version 3.0.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from io import BufferedReader
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

SIGNATURE = b"\x89HDF\r\n\x1a\n\x03"
"""What an image begins with: the signature of HDF5 and the version of the superblock."""

_NOWHERE = 2**64 - 1
_SUPERBLOCK = struct.Struct("<9sBBBQQQQ")  # sizes of addresses and lengths, flags, base, extension, end, root
_HEADER = struct.Struct("<5sB")  # then times, where the flags say so, and the size of the first chunk
_OBJECT, _WIDTH_FLAGS, _TIMES_FLAG = b"OHDR\x02", 3, 32
_CHUNK = b"OCHK"
_MESSAGE = struct.Struct("<BHB")  # kind, length, flags
_SHARED_FLAG = 2
_NIL, _SPACE, _LINK_INFO, _TYPE, _FILL, _LINK, _LAYOUT, _GROUP_INFO, _CONTINUED, _COUNT = 0, 1, 2, 3, 5, 6, 8, 10, 16, 22
_LINKS_HERE = struct.pack("<BBQQ", 0, 0, _NOWHERE, _NOWHERE)  # and not in a heap
_LINK_START = struct.Struct("<BB")  # version, flags; then kind, order and charset, where the flags say so, and the name
_KIND_FLAG, _ORDER_FLAG, _CHARSET_FLAG = 8, 4, 16
_SPACE_START = struct.Struct("<BBBB")  # version, rank, whether limits follow the sizes, kind
_FILL_LATE = b"\x03\x0a"
_CONTIGUOUS = struct.Struct("<BBQQ")  # version, class, place, size
_CONTIGUOUS_CLASS = 1
_TYPES = {
    "<f4": bytes.fromhex("11201f00 04000000 00002000 17080017 7f000000"),
    "<f8": bytes.fromhex("11203f00 08000000 00004000 340b0034 ff030000"),
    "<u8": bytes.fromhex("10000000 08000000 00004000"),
    "<u4": bytes.fromhex("10000000 04000000 00002000"),
    "<u2": bytes.fromhex("10000000 02000000 00001000"),
    "|u1": bytes.fromhex("10000000 01000000 00000800"),
}
_ADDRESS, _EXTENT, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<QQ"), struct.Struct("<I")
_MOST_METADATA = 2**20


def layout(described: Mapping[str, tuple[str, tuple[int, ...]]]) -> list[bytes | str]:
    """What an HDF5 file with arrays of these types and shapes is made of, piece by piece: bytes as they are, and the
    name of an array where its bytes belong. Types are "<f4", "<f8" and little-endian unsigned integers."""
    pieces: list[bytes | str] = [b""]
    end = _SUPERBLOCK.size + _CHECKSUM.size

    def put(piece: bytes | str, size: int) -> int:
        nonlocal end
        place = end + -end % 8
        pieces.extend((bytes(place - end), piece))
        end = place + size
        return place

    def put_object(node: Any) -> int:
        if isinstance(node, dict):
            messages = _group_messages({name: put_object(below) for name, below in node.items()})
        else:
            kind, shape = described[node]
            size = math.prod(shape) * np.dtype(kind).itemsize
            messages = _array_messages(kind, shape, put(node, size), size)
        body = b"".join(_MESSAGE.pack(kind, len(message), 0) + message for kind, message in messages)
        header = _with_checksum(_HEADER.pack(_OBJECT, 2) + struct.pack("<I", len(body)) + body)
        return put(header, len(header))

    root = put_object(_tree({name: name for name in described}))
    pieces[0] = _with_checksum(_SUPERBLOCK.pack(SIGNATURE, 8, 8, 0, 0, _NOWHERE, end, root))
    return pieces


def _group_messages(links: Mapping[str, int]) -> list[tuple[int, bytes]]:
    return [(_LINK_INFO, _LINKS_HERE), (_GROUP_INFO, bytes(2)), *(
        (_LINK, _LINK_START.pack(1, 0) + bytes([len(name)]) + name.encode("ascii") + _ADDRESS.pack(address))
        for name, address in links.items())]


def _array_messages(kind: str, shape: tuple[int, ...], place: int, size: int) -> list[tuple[int, bytes]]:
    space = _SPACE_START.pack(2, len(shape), 0, len(shape) > 0) + struct.pack(f"<{len(shape)}Q", *shape)
    return [(_SPACE, space), (_TYPE, _TYPES[kind]), (_FILL, _FILL_LATE),
            (_LAYOUT, _CONTIGUOUS.pack(3, _CONTIGUOUS_CLASS, place if size else _NOWHERE, size))]


class Stored(NamedTuple):
    """An array in an image: its type, None for one that ``layout`` does not know; its shape, None for one that is
    not fixed; where its bytes begin, None where they are not in the image as a whole; how many they are."""

    type: str | None
    shape: tuple[int, ...] | None
    place: int | None
    size: int


class Image:
    """The image in the first ``size`` bytes of ``file``.

    Raises ValueError for what ``layout`` does not describe. Checksums are not looked at: they keep no one from writing
    what is wrong.
    """

    def __init__(self, file: BufferedReader, size: int) -> None:
        self._file = file
        self._size = size
        self._left = _MOST_METADATA
        *start, end, self._root = _unpack(_SUPERBLOCK, self._take(0, _SUPERBLOCK.size))
        if start != [SIGNATURE, 8, 8, 0, 0, _NOWHERE] or end != size:
            raise _damaged()

    def find(self, name: str) -> Stored:
        """The array of this name in the root group."""
        return self._stored(_follow(self._links(self._root, ""), name, ""), name)

    def find_all(self, names: Iterable[str]) -> dict[str, Stored]:
        """The arrays of these names, which must be all that there is, each in a place of its own."""
        found = dict(self._find_all(_tree({name: name for name in names}), self._root, ""))
        extents = sorted((stored.place, stored.size) for stored in found.values() if stored.place is not None)
        if any(place + size > after for (place, size), (after, _) in pairwise(extents)):
            raise ValueError("its arrays overlap, or are larger than the file together")
        return found

    def read(self, stored: Stored) -> np.ndarray:
        """The values of an array, one of a type that ``layout`` knows."""
        if stored.type is None or stored.shape is None or stored.place is None:
            raise _damaged()
        array = np.empty(stored.shape, stored.type)
        self._file.seek(stored.place)
        if array.nbytes != stored.size or self._file.readinto(array.reshape(-1).view(np.uint8).data) != stored.size:
            raise _damaged()
        return array

    def map(self, stored: Stored) -> np.ndarray:
        """The values of such an array, left where they are in the file until they are used."""
        if stored.type is None or stored.shape is None or stored.place is None:
            raise _damaged()
        if not stored.size:
            return np.empty(stored.shape, stored.type)
        return np.memmap(self._file, stored.type, "r", stored.place, stored.shape)

    def _find_all(self, tree: Mapping[str, Any], group: int, path: str) -> Iterator[tuple[str, Stored]]:
        links = self._links(group, path)
        for part, below in tree.items():
            address = _follow(links, part, path)
            if isinstance(below, dict):
                yield from self._find_all(below, address, f"{path}/{part}")
            else:
                yield below, self._stored(address, below)
        for part in links.keys() - tree.keys():
            raise ValueError(f"{path}/{part} does not belong to it")

    def _links(self, group: int, path: str) -> dict[str, int | None]:
        """The addresses of what is in a group; None for a link that is no hard one."""
        links: dict[str, int | None] = {}
        for kind, message in self._messages(group):
            if kind == _LINK:
                name, address = _link(message)
                if name in links:
                    raise ValueError(f"{path}/{name} is there twice")
                links[name] = address
            elif kind != _GROUP_INFO and (kind, message) != (_LINK_INFO, _LINKS_HERE):
                raise ValueError(f"{path or '/'} is no plain group")
        return links

    def _stored(self, header: int, name: str) -> Stored:
        """The array that has its object header there."""
        messages = list(self._messages(header))
        found = dict(messages)
        if not {_SPACE, _TYPE, _LAYOUT} <= found.keys():
            raise ValueError(f"/{name} is no dataset")
        if len(found) != len(messages) or found.keys() - {_SPACE, _TYPE, _LAYOUT, _FILL} \
                or found[_LAYOUT][:2] not in (b"\x03\x01", b"\x04\x01"):
            raise ValueError(f"/{name} is not stored plainly")
        _, _, place, size = _unpack(_CONTIGUOUS, found[_LAYOUT])
        kind = next((kind for kind, message in _TYPES.items() if message == found[_TYPE]), None)
        if not size:
            place = 0
        return Stored(kind, _shape(found[_SPACE]), place if place + size <= self._size else None, size)

    def _messages(self, header: int) -> Iterator[tuple[int, bytes]]:
        """The messages of an object header, kind and content, from all its chunks."""
        signature, flags = _unpack(_HEADER, self._take(header, _HEADER.size))
        if signature != _OBJECT or flags & ~(_WIDTH_FLAGS | _TIMES_FLAG):
            raise _damaged()
        start, width = header + _HEADER.size + (16 if flags & _TIMES_FLAG else 0), 1 << (flags & _WIDTH_FLAGS)
        chunks = [(start + width, int.from_bytes(self._take(start, width), "little"))]
        for start, size in chunks:
            for kind, message in _split(self._take(start, size)):
                if kind == _CONTINUED:
                    place, length = _unpack(_EXTENT, message)
                    if self._take(place, len(_CHUNK)) != _CHUNK:
                        raise _damaged()
                    chunks.append((place + len(_CHUNK), length - len(_CHUNK) - _CHECKSUM.size))
                elif kind not in (_NIL, _COUNT):  # how many links lead here
                    yield kind, message

    def _take(self, place: int, size: int) -> bytes:
        """Some metadata; an image has only so much of it."""
        self._left -= size
        if size < 0 or place + size > self._size or self._left < 0:
            raise _damaged()
        self._file.seek(place)
        data = self._file.read(size)
        if len(data) != size:
            raise _damaged()
        return data


def _split(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages in a chunk; what is left at its end is too short for one."""
    place = 0
    while place + _MESSAGE.size <= len(chunk):
        kind, length, flags = _MESSAGE.unpack_from(chunk, place)
        place += _MESSAGE.size + length
        if place > len(chunk) or flags & _SHARED_FLAG:
            raise _damaged()
        yield kind, chunk[place - length:place]


def _link(message: bytes) -> tuple[str, int | None]:
    """The name in a link message, and the address; None for a link that is no hard one."""
    version, flags = _unpack(_LINK_START, message[:_LINK_START.size])
    hard = not flags & _KIND_FLAG or message[_LINK_START.size:][:1] == b"\0"
    start = _LINK_START.size + bool(flags & _KIND_FLAG) + 8 * bool(flags & _ORDER_FLAG) + bool(flags & _CHARSET_FLAG)
    name_start = start + (1 << (flags & _WIDTH_FLAGS))
    name_end = name_start + int.from_bytes(message[start:name_start], "little")
    if version != 1 or name_end > len(message):
        raise _damaged()
    name = message[name_start:name_end].decode(errors="backslashreplace")
    return name, _unpack(_ADDRESS, message[name_end:])[0] if hard else None


def _follow(links: Mapping[str, int | None], part: str, path: str) -> int:
    if part not in links:
        raise ValueError(f"{path}/{part} is missing")
    address = links[part]
    if address is None:
        raise ValueError(f"{path}/{part} is a link")
    return address


def _shape(message: bytes) -> tuple[int, ...] | None:
    """The shape in a dataspace message; None for one that is not fixed, or is none."""
    version, rank, limited, kind = _unpack(_SPACE_START, message[:_SPACE_START.size])
    if version != 2 or limited > 1 or kind != (rank > 0):
        return None
    sizes = _unpack(struct.Struct(f"<{rank * (1 + limited)}Q"), message[_SPACE_START.size:])
    return tuple(sizes[:rank]) if sizes[:rank] == sizes[-rank:] else None


def _unpack(layout: struct.Struct, data: bytes) -> list[Any]:
    if len(data) != layout.size:
        raise _damaged()
    return list(layout.unpack(data))


def _damaged() -> ValueError:
    return ValueError("its HDF5 structure is damaged, or of another kind")


def _tree(named: Mapping[str, Any]) -> dict[str, Any]:
    """What is named, sorted, with a dict for each group."""
    tree: dict[str, Any] = {}
    for name in sorted(named):
        *groups, last = name.split("/")
        inside = tree
        for group in groups:
            inside = inside.setdefault(group, {})
        inside[last] = named[name]
    return tree


def _with_checksum(data: bytes) -> bytes:
    return data + _CHECKSUM.pack(checksum(data))


def checksum(data: bytes) -> int:
    """HDF5's checksum of metadata: Bob Jenkins' hashlittle (lookup3.c, 2006), begun with 0. ``data`` is not empty."""
    a = b = c = 0xDEADBEEF + len(data) & _MASK
    words = struct.unpack(f"<{-(-len(data) // 12) * 3}I", data + bytes(-len(data) % 12))
    for k in range(0, len(words), 3):
        a, b, c = a + words[k] & _MASK, b + words[k + 1] & _MASK, c + words[k + 2] & _MASK
        if k == len(words) - 3:
            break
        for turn in (4, 6, 8, 16, 19, 4):
            a, b, c = b, c + b & _MASK, (a - c & _MASK) ^ _rotated(c, turn)
    for turn in (14, 11, 25, 16, 4, 14, 24):
        a, b, c = b, (c ^ b) - _rotated(b, turn) & _MASK, a
    return b


_MASK = 2**32 - 1


def _rotated(word: int, turn: int) -> int:
    return (word << turn | word >> 32 - turn) & _MASK
