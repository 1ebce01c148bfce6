"""Passages: how much of some short texts occurs word for word in a long text.

The lengths that ``longest_passages`` returns are the matching statistics of Chang and Lawler, "Sublinear approximate string
matching and biological applications" (1994). The usual index for them, a suffix array of the long text, takes five to nine
bytes of memory for each of its characters. Here the index is that of the short texts, and the long text is read once, in
blocks. So the memory does not depend on the length of the long text. Everything is compared exactly: there are no hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from charrnn.inference.ngram import blocks, forget
from charrnn.nn.validation import check_sequence

LEAST = 8
"""Shorter passages occur by chance, and are ignored. This is a power of two."""

_RANKS = 2**32
"""Ranks are below half of this number, so that a pair of ranks fits into an int64."""

Progress = Callable[[int], object]
"""A function that is called with a number of characters that were read or generated."""


def no_progress(count: int) -> None:
    """Do nothing."""


def longest_passages(text: np.ndarray, pieces: Sequence[np.ndarray], vocabulary_size: int, unknown: int | None = None,
                     progress: Progress = no_progress) -> list[np.ndarray]:
    """Return, for each piece (M,), the length (M,) of the longest passage from each position that occurs in ``text``.

    A length below 8 is returned as 0. ``text`` (N,) and the pieces are ids below ``vocabulary_size`` of any unsigned dtype.
    The id ``unknown`` represents several characters, and no passage contains it. ``text`` may be a memory map of any size:
    it is read once, in blocks. ``progress`` is called with the number of characters of each block. Raises ValueError if an
    id is invalid.
    """
    for piece in pieces:
        check_sequence("pieces", piece, vocabulary_size)
    index = _Index(pieces, vocabulary_size, unknown)
    for overlap, characters in blocks(text, index.longest):
        check_sequence("text", characters, vocabulary_size)
        index.read(characters)
        forget(text)
        progress(len(characters) - overlap)
    lengths = index.lengths()
    ends = np.cumsum([len(piece) + 1 for piece in pieces]) - 1
    return [lengths[end - len(piece):end] for piece, end in zip(pieces, ends.tolist())]


class _Level(NamedTuple):
    """The passages of one width, a power of two, that start at each position of the pieces.

    ``keys`` (D + 1,) are the distinct passages, in the order of their text: pairs of ranks on the previous level, as
    rank * 2**32 + rank; one more key is larger than all others. The rank of a passage is 2 k + 1 if it is passage k, and
    2 k if it sorts after passage k - 1 and before passage k. So ranks compare like the text, and a passage occurs in
    the pieces if its rank is odd. ``ranks`` (N + 1,) are those of the positions, and 0 at the end. ``between``
    contains, for an even rank on the previous level, the rank on this one. (This is the method of Karp, Miller and
    Rosenberg, "Rapid identification of repeated patterns in strings, trees and arrays", 1972.)
    """

    width: int
    keys: np.ndarray
    ranks: np.ndarray
    between: np.ndarray


class _Index:
    """The suffixes of some pieces in alphabetical order, and how much of each has been found in a text."""

    def __init__(self, pieces: Sequence[np.ndarray], vocabulary_size: int, unknown: int | None) -> None:
        self.longest = max(map(len, pieces), default=0)
        border = vocabulary_size  # the id after each piece, which equals no character of a text
        ids = np.concatenate([np.append(piece.astype(np.int64), border) for piece in pieces] or [np.empty(0, np.int64)])
        if unknown is not None:
            ids[ids == unknown] = border
        keys = _distinct(ids)
        self._ranks_of_ids = _rank(keys, np.arange(vocabulary_size + 1))
        ranks = np.append(self._ranks_of_ids[ids], 0)
        self._levels = [_Level(1, keys, ranks, np.empty(0, np.int64))]
        while (width := self._levels[-1].width) <= self.longest:
            pairs = _pairs(ranks, width, np.arange(len(ids)))
            between = _RANKS * np.arange(2 * len(keys))
            keys = _distinct(pairs)
            ranks = np.append(_rank(keys, pairs), 0)
            self._levels.append(_Level(2 * width, keys, ranks, _rank(keys, between)))
        self._suffixes = np.empty(len(keys) - 1, np.int64)  # where each suffix starts, in alphabetical order
        self._suffixes[ranks[:-1] // 2] = np.arange(len(ids))
        self._found = np.zeros(len(keys) - 1, np.int64)

    def read(self, ids: np.ndarray) -> None:
        """Look for the suffixes in a text (N,)."""
        ranks = [np.append(self._ranks_of_ids[ids], 0)]
        at = np.empty(0, np.int64)
        for previous, level in zip(self._levels, self._levels[1:]):
            ranks.append(level.between[ranks[-1]])
            occurs = np.flatnonzero(ranks[-2] % 2)
            ranks[-1][occurs] = _rank(level.keys, _pairs(ranks[-2], previous.width, occurs))
            if level.width == LEAST:
                at = np.flatnonzero(ranks[-1] % 2)
        # In sorted order, the text from each of these positions is between two suffixes. One of them has the longest
        # common prefix with it.
        after = ranks[-1][at] // 2
        for suffix, exists in ((after - 1, after > 0), (after, after < len(self._suffixes))):
            suffix = suffix[exists]
            np.maximum.at(self._found, suffix, self._common(ranks, at[exists], self._suffixes[suffix]))

    def lengths(self) -> np.ndarray:
        """Return, for each position of the pieces and their borders, the length of the longest passage found."""
        own = [level.ranks for level in self._levels]
        neighbors = self._common(own, self._suffixes[:-1], self._suffixes[1:]).tolist()
        found = self._found.tolist()
        for k, common in enumerate(neighbors):  # what was found for a suffix holds for the next ones too
            found[k + 1] = max(found[k + 1], min(found[k], common))
        for k, common in reversed(list(enumerate(neighbors))):
            found[k] = max(found[k], min(found[k + 1], common))
        lengths = np.array(found, np.int64)[own[-1][:-1] // 2]
        return np.where(lengths < LEAST, 0, lengths)

    def _common(self, ranks: list[np.ndarray], at: np.ndarray, suffixes: np.ndarray) -> np.ndarray:
        """Return the lengths of the common prefixes (N,) of a text at the positions ``at``, and of ``suffixes``.

        ``ranks`` are those of the text on each level.
        """
        length = np.zeros_like(at)
        for level, of_text in zip(reversed(self._levels), reversed(ranks)):
            length += level.width * (of_text[at + length] == level.ranks[suffixes + length])
        return length


def _distinct(keys: np.ndarray) -> np.ndarray:
    """Return the distinct keys, ascending, and one that is larger than all others."""
    keys = np.sort(keys)
    return np.append(keys[np.diff(keys, prepend=-1) != 0], np.iinfo(np.int64).max)


def _rank(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return 2 k + 1 for a key that equals ``keys[k]``, 2 k for one between ``keys[k - 1]`` and ``keys[k]``."""
    index = np.searchsorted(keys, wanted)
    return 2 * index + (keys[index] == wanted)


def _pairs(ranks: np.ndarray, width: int, at: np.ndarray) -> np.ndarray:
    """Return the keys of the passages at the positions ``at``, from the ``ranks`` (N + 1,) of their halves."""
    second = np.minimum(at + width, len(ranks) - 1)
    return ranks[at] * _RANKS + ranks[second]
