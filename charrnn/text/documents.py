"""Lines in random order, for texts of any length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import IO

import numpy as np

from charrnn.randomness import generator

_BUCKET = 2**24
_MOST_BUCKETS = 256
_BLOCK = 2**20


class Lines:
    """The lines of a text that comes in ``blocks`` of ids, in a random order that depends only on ``seed``.

    Empty lines are left out. Each line is put into a random bucket, and then each bucket is shuffled. So every order is
    equally likely, and only one bucket of about 2**24 characters is in memory at a time. ``spool`` is a file for the
    buckets, ``sizes`` a file for the lengths of the lines, ``end`` the id of the newline, and ``characters`` the length of
    the text.
    Raises OSError if a file cannot be written.
    """

    def __init__(self, blocks: Iterable[np.ndarray], end: int, seed: int, characters: int, spool: IO[bytes],
                 sizes: IO[bytes]) -> None:
        self._end, self._seed, self._spool, self._sizes = end, seed, spool, sizes
        self._buckets = max(1, min(_MOST_BUCKETS, -(-characters // _BUCKET)))
        self._parts: list[np.ndarray] = []  # for each part of the spool, the characters of each bucket
        self.count, self.characters = 0, 1
        rng, rest = generator(seed, "lines"), []
        for block in blocks:
            self._dtype = block.dtype
            rest.append(block)
            if np.any(block == end):
                text = np.concatenate(rest)
                ends = np.flatnonzero(text == end) + 1
                rest = [text[ends[-1]:].copy()]
                self._distribute(text, np.append(0, ends[:-1]), np.diff(ends, prepend=0), rng)

    def _distribute(self, text: np.ndarray, first: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> None:
        first, sizes = first[sizes > 1], sizes[sizes > 1]
        bucket = (rng.random(len(sizes)) * self._buckets).astype(np.int64)
        order = np.argsort(bucket, kind="stable")
        self._spool.write(_gathered(text, first[order], sizes[order]).data)
        self._parts.append(np.bincount(bucket, sizes, self._buckets).astype(np.int64))
        self.count += len(sizes)
        self.characters += int(sizes.sum())

    def ids(self) -> Iterator[np.ndarray]:
        """Yield blocks of ids: a newline, then each line with its own newline."""
        yield np.array([self._end], self._dtype)
        parts = np.array(self._parts)
        places = np.cumsum(parts.reshape(-1)).reshape(parts.shape) - parts
        for bucket in range(self._buckets):
            text = np.concatenate([self._read(place, size) for place, size in zip(places[:, bucket], parts[:, bucket])])
            ends = np.flatnonzero(text == self._end) + 1
            first, sizes = np.append(0, ends[:-1]), np.diff(ends, prepend=0)
            order = generator(self._seed, "lines", stream=1 + bucket).permutation(len(ends))
            first, sizes = first[order], sizes[order]
            self._sizes.write(sizes.astype("<u8").data)
            totals = np.cumsum(sizes)
            cuts = [0, *np.unique(np.searchsorted(totals, np.arange(_BLOCK, len(text), _BLOCK))), len(sizes)]
            for start, stop in pairwise(cuts):
                yield _gathered(text, first[start:stop], sizes[start:stop])

    def starts(self) -> Iterator[np.ndarray]:
        """Yield blocks of the indices at which lines start: at the newline before each. Call it after ``ids``."""
        self._sizes.seek(0)
        done = 0
        while data := self._sizes.read(8 * _BLOCK):
            ends = done + np.cumsum(np.frombuffer(data, "<u8"))
            yield np.append(np.uint64(done), ends[:-1])
            done = int(ends[-1])

    def _read(self, place: int, size: int) -> np.ndarray:
        self._spool.seek(int(place) * self._dtype.itemsize)
        return np.frombuffer(self._spool.read(int(size) * self._dtype.itemsize), self._dtype)


def _gathered(text: np.ndarray, first: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the concatenation of the pieces of ``text`` that start at ``first`` and have these ``sizes``."""
    shift = first - (np.cumsum(sizes) - sizes)
    return text[np.arange(int(sizes.sum())) + np.repeat(shift, sizes)]
