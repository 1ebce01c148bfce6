"""Overlap: how much of a text occurs in other texts, of which only fingerprints are known.

The fingerprint of a passage is a hash of 32 successive letters, without case, accents, spaces and punctuation, so that
another typography or line length does not hide a copy. Of all passages of a text, those whose hash starts with eight
zero bits are kept, one in 256. The choice depends only on the letters, so it is the same wherever a passage occurs (Manber
1994, "Finding similar files in a large file system").
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import numpy as np

from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import UNKNOWN, code_points

_LETTERS = 32
_BLOCK, _MOST_BLOCKS = 2**16, 64
"""A long text is sampled: up to this number of blocks of this number of characters, at equal distances."""

_LEAST, _LEAST_FRACTION = 2, 0.05
"""Fewer common passages, or a smaller fraction of the passages, may be a quotation or chance."""

_FACTOR = 0x9E3779B97F4A7C15
"""An odd number whose bits look random: 2^64 divided by the golden ratio."""


def fingerprints(texts: Iterable[str]) -> np.ndarray:
    """Return the fingerprints of some texts: distinct numbers (N,) of uint32, ascending; about one for 320 characters."""
    parts = []
    for text in texts:
        points, index = np.unique(code_points(text), return_inverse=True)
        parts.append(_fingerprints(_letters(points)[index]))
    return np.unique(np.concatenate([*parts, np.empty(0, np.uint32)]))


def overlap(corpus: Corpus, known: np.ndarray) -> float:
    """Return the fraction of a corpus whose passages occur in the texts with the fingerprints ``known`` (N,), ascending.

    It is 0 if they have less than 5 % of the passages in common.
    """
    letters = _letters(corpus.vocabulary.codepoints)
    step = max(_BLOCK, len(corpus) // _MOST_BLOCKS)
    found = np.concatenate([_fingerprints(letters[corpus.ids[start:start + _BLOCK]])
                            for start in range(0, len(corpus), step)])
    common = int(np.isin(found, known).sum())
    return common / len(found) if common >= max(_LEAST, _LEAST_FRACTION * len(found)) else 0.0


def _letters(points: np.ndarray) -> np.ndarray:
    """Return the letter of each code point (N,), 1 to 26 for a to z, with accents removed; 0 for all other characters."""
    letters = np.zeros(len(points), np.uint8)
    for index, point in enumerate(points.tolist()):
        letter = unicodedata.normalize("NFD", chr(point))[0].lower() if point < UNKNOWN else ""
        if "a" <= letter <= "z":
            letters[index] = ord(letter) - ord("a") + 1
    return letters


def _fingerprints(letters: np.ndarray) -> np.ndarray:
    """Return the fingerprints of a text, in its order, from the letters of its characters (N,)."""
    hashes = letters[letters > 0].astype(np.uint64)
    if len(hashes) < _LETTERS:
        return np.empty(0, np.uint32)
    length, factor = 1, _FACTOR
    while length < _LETTERS:  # hash of 2n letters = factor^n * hash of the first n + hash of the last n, modulo 2^64
        hashes = hashes[:-length] * np.uint64(factor) + hashes[length:]
        length, factor = 2 * length, factor**2 % 2**64
    hashes ^= hashes >> np.uint64(32)
    hashes *= np.uint64(_FACTOR)
    return (hashes[hashes >> np.uint64(56) == 0] >> np.uint64(24)).astype(np.uint32)
