"""Characters <-> ids."""

from __future__ import annotations

import unicodedata
from functools import cached_property

import numpy as np

from charrnn.errors import VocabularyError

CODE_POINTS = 0x110000
"""Unicode's code points are 0 to this, less one."""


def code_points(text: str) -> np.ndarray:
    """The code points of ``text``, (len(text),) of uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def describe(character: str) -> str:
    """A character in words: ``'é' (U+00E9, LATIN SMALL LETTER E WITH ACUTE)``."""
    name = unicodedata.name(character, "")
    return f"{character!r} (U+{ord(character):04X}{', ' + name if name else ''})"


class Vocabulary:
    """Sorted, unique characters; the id of a character is its place among them.

    ``codepoints`` is (V,) of uint32, strictly ascending; ValueError if it is not, or is empty, or holds what is no
    Unicode character.
    """

    def __init__(self, codepoints: np.ndarray) -> None:
        codepoints = np.asarray(codepoints)
        if codepoints.ndim != 1 or not len(codepoints):
            raise ValueError("a vocabulary needs at least one character")
        if codepoints.dtype.kind not in "iu" or codepoints.min() < 0 or codepoints.max() >= CODE_POINTS:
            raise ValueError("a vocabulary holds Unicode code points")
        if np.any((codepoints >= 0xD800) & (codepoints < 0xE000)):
            raise ValueError("a vocabulary holds no surrogates")
        if np.any(codepoints[1:] <= codepoints[:-1]):
            raise ValueError("a vocabulary is sorted and has no character twice")
        self.codepoints = codepoints.astype(np.uint32)
        self.characters: tuple[str, ...] = tuple(map(chr, self.codepoints.tolist()))

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """The vocabulary of a text. Raises ValueError for an empty one."""
        present = np.zeros(CODE_POINTS, dtype=bool)
        present[code_points(text)] = True
        return cls(np.flatnonzero(present))

    def __len__(self) -> int:
        return len(self.characters)

    def __contains__(self, character: str) -> bool:
        return character in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"Vocabulary({''.join(self.characters)!r})"

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned dtype that holds every id."""
        return np.min_scalar_type(len(self) - 1)

    def id(self, character: str) -> int:
        """The id of one character. Raises KeyError where it has none."""
        return self._ids[character]

    def encode(self, text: str) -> np.ndarray:
        """The ids of ``text``, (len(text),), in the smallest unsigned dtype.

        Raises VocabularyError, which names the first character that has no id.
        """
        points = code_points(text)
        ids = self._table[points]
        if len(ids) and int(ids.max()) == len(self):
            place = int(np.argmax(ids == len(self)))
            raise VocabularyError(f"{describe(text[place])} at character {place:,} does not stand in the training text, "
                                  f"which has {len(self):,} different characters; leave it out or replace it")
        return ids.astype(self.dtype)

    def decode(self, ids: np.ndarray) -> str:
        """The text of ``ids``, the inverse of ``encode``. Raises IndexError for an id that is none."""
        ids = np.asarray(ids)
        if ids.size and int(ids.min()) < 0:
            raise IndexError(f"an id of {ids.min()}")
        return bytes(self.codepoints[ids].astype("<u4")).decode("utf-32-le")

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {character: place for place, character in enumerate(self.characters)}

    @cached_property
    def _table(self) -> np.ndarray:
        """Code point -> id, (CODE_POINTS,); V where there is none."""
        table = np.full(CODE_POINTS, len(self), dtype=np.min_scalar_type(len(self)))
        table[self.codepoints] = np.arange(len(self))
        return table
