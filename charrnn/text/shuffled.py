"""Documents in random order, for texts of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import IO

import numpy as np

from charrnn.randomness import generator

_BUCKET = 2**24
_MOST_BUCKETS = 256
_BLOCK = 2**20


class Shuffled:
    """The documents of a text that comes in ``blocks`` of ids, in random order.

    Without ``group_copies``, the order depends only on ``seed``, and every order is equally likely. With it, the order
    depends on ``seed`` and on a hash of each document, so identical documents are next to each other. Each document is put
    into a bucket, and then each bucket is sorted or shuffled, so only one bucket of about 2**24 characters is in memory at
    a time. Empty documents are left out.

    ``end`` is the id of the end mark, ``characters`` the length of the text, and ``new_file`` returns a file for temporary
    data. ``count`` is the number of documents, and ``distinct`` that of distinct ones, or 0 without ``group_copies``.
    Raises OSError if a file cannot be written.
    """

    def __init__(self, blocks: Iterable[np.ndarray], end: int, seed: int, group_copies: bool, characters: int,
                 new_file: Callable[[], IO[bytes]]) -> None:
        self._end, self._seed = end, seed
        self._spool, self._sizes = new_file(), new_file()
        self._hashes = new_file() if group_copies else None
        self._buckets = max(1, min(_MOST_BUCKETS, -(-characters // _BUCKET)))
        self._parts: list[np.ndarray] = []  # for each part of the spool, the characters of each bucket
        self._counts: list[np.ndarray] = []  # and the documents of each bucket
        self.count, self.characters = 0, 1
        self._rng, rest = generator(seed, "lines"), []
        self._factor = int(generator(seed, "lines", layer=1).integers(2**60)) * 8 + 5
        for block in blocks:
            self._dtype = block.dtype
            rest.append(block)
            if np.any(block == end):
                text = np.concatenate(rest)
                ends = np.flatnonzero(text == end) + 1
                rest = [text[ends[-1]:].copy()]
                self._distribute(text, np.append(0, ends[:-1]), np.diff(ends, prepend=0))
        hashes = () if self._hashes is None else self._in_buckets(self._hashes, self._counts, np.dtype(np.uint64))
        self.distinct = sum(len(np.unique(of_bucket)) for of_bucket in hashes)

    def _distribute(self, text: np.ndarray, first: np.ndarray, sizes: np.ndarray) -> None:
        first, sizes = first[sizes > 1], sizes[sizes > 1]
        if self._hashes is None:
            bucket = (self._rng.random(len(sizes)) * self._buckets).astype(np.int64)
        else:
            hashes = _hashes(text, first, sizes, self._factor)
            bucket = ((hashes >> np.uint64(32)) * np.uint64(self._buckets) >> np.uint64(32)).astype(np.int64)
        order = np.argsort(bucket, kind="stable")
        for piece in _pieces(text, first[order], sizes[order]):
            self._spool.write(piece.data)
        if self._hashes is not None:
            self._hashes.write(hashes[order].data)
        self._parts.append(np.bincount(bucket, sizes, self._buckets).astype(np.int64))
        self._counts.append(np.bincount(bucket, minlength=self._buckets))
        self.count += len(sizes)
        self.characters += int(sizes.sum())

    def ids(self) -> Iterator[np.ndarray]:
        """Yield blocks of ids: an end mark, then each document with its own end mark."""
        yield np.array([self._end], self._dtype)
        texts = self._in_buckets(self._spool, self._parts, self._dtype)
        hashes = None if self._hashes is None else self._in_buckets(self._hashes, self._counts, np.dtype(np.uint64))
        for bucket, text in enumerate(texts):
            ends = np.flatnonzero(text == self._end) + 1
            first, sizes = np.append(0, ends[:-1]), np.diff(ends, prepend=0)
            order = (generator(self._seed, "lines", stream=1 + bucket).permutation(len(ends)) if hashes is None else
                     np.argsort(next(hashes), kind="stable"))
            first, sizes = first[order], sizes[order]
            self._sizes.write(sizes.astype("<u8").data)
            yield from _pieces(text, first, sizes)

    def starts(self) -> Iterator[np.ndarray]:
        """Yield blocks of the indices at which documents start: at the end mark before each. Call it after ``ids``."""
        self._sizes.seek(0)
        done = 0
        while data := self._sizes.read(8 * _BLOCK):
            ends = done + np.cumsum(np.frombuffer(data, "<u8"))
            yield np.append(np.uint64(done), ends[:-1])
            done = int(ends[-1])

    def _in_buckets(self, file: IO[bytes], parts: list[np.ndarray], dtype: np.dtype) -> Iterator[np.ndarray]:
        """Yield the values of each bucket, which were written to ``file`` in ``parts``."""
        counts = np.array(parts).reshape(-1, self._buckets)
        places = np.cumsum(counts.reshape(-1)).reshape(counts.shape) - counts
        for bucket in range(self._buckets):
            values = [np.empty(0, dtype)]
            for place, count in zip(places[:, bucket].tolist(), counts[:, bucket].tolist()):
                file.seek(place * dtype.itemsize)
                values.append(np.frombuffer(file.read(count * dtype.itemsize), dtype))
            yield np.concatenate(values)


def _hashes(text: np.ndarray, first: np.ndarray, sizes: np.ndarray, factor: int) -> np.ndarray:
    """Return a hash of each of the documents of ``text`` that start at ``first`` and have these ``sizes``: (N,) of uint64.

    It is the sum of (id + 1) * factor**position modulo 2**64, mixed as in SplitMix64 (Steele et al. 2014, "Fast Splittable
    Pseudorandom Number Generators").
    """
    hashes = np.empty(len(sizes), np.uint64)
    powers = np.full(min(_BLOCK, int(sizes.max(initial=1))), factor, np.uint64)
    powers[0] = 1
    np.multiply.accumulate(powers, out=powers)
    stride = pow(factor, len(powers), 2**64)
    for start, stop in _runs(sizes):
        if stop == start + 1:
            document, key, scale = text[first[start]:first[start] + sizes[start]], 0, 1
            for at in range(0, len(document), len(powers)):
                part = document[at:at + len(powers)].astype(np.uint64) + np.uint64(1)
                key += scale * int((part * powers[:len(part)]).sum())
                scale = scale * stride % 2**64
            hashes[start] = key % 2**64
        else:
            offsets = np.cumsum(sizes[start:stop]) - sizes[start:stop]
            documents = _gathered(text, first[start:stop], sizes[start:stop]).astype(np.uint64) + np.uint64(1)
            position = np.arange(len(documents)) - np.repeat(offsets, sizes[start:stop])
            hashes[start:stop] = np.add.reduceat(documents * powers[position], offsets)
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _runs(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of consecutive documents that have at most ``_BLOCK`` characters together, or of a longer one."""
    totals = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = int(totals[start] - sizes[start])
        stop = max(start + 1, int(np.searchsorted(totals, before + _BLOCK, "right")))
        yield start, stop
        start = stop


def _pieces(text: np.ndarray, first: np.ndarray, sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the documents of ``text`` that start at ``first`` and have these ``sizes``, several short ones at once."""
    for start, stop in _runs(sizes):
        yield (_gathered(text, first[start:stop], sizes[start:stop]) if stop > start + 1 else
               text[first[start]:first[start] + sizes[start]])


def _gathered(text: np.ndarray, first: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the concatenation of the pieces of ``text`` that start at ``first`` and have these ``sizes``."""
    shift = first - (np.cumsum(sizes) - sizes)
    return text[np.arange(int(sizes.sum())) + np.repeat(shift, sizes)]
