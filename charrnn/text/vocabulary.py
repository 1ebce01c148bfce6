"""Characters <-> ids."""

from __future__ import annotations

import unicodedata
from functools import cached_property

import numpy as np

from charrnn.config import END
from charrnn.errors import VocabularyError

CODE_POINTS = 0x110000
"""The number of Unicode code points."""

UNKNOWN = CODE_POINTS
"""The last "code point" of a vocabulary with an unknown character."""

REPLACEMENT = "\ufffd"
"""The character that represents the unknown character in decoded text."""


def code_points(text: str) -> np.ndarray:
    """Return the code points of ``text``, (len(text),) of uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def describe_character(character: str) -> str:
    """Return a character with its code point and name: ``'é' (U+00E9, LATIN SMALL LETTER E WITH ACUTE)``."""
    name = unicodedata.name(character, "")
    return f"{character!r} (U+{ord(character):04X}{', ' + name if name else ''})"


class Vocabulary:
    """Sorted, distinct characters; the id of a character is its index.

    ``codepoints`` is (V,) of uint32, strictly increasing. ``UNKNOWN`` may be the last one: then ``unknown`` is the id of
    all characters that are not in the vocabulary, otherwise it is None. The end mark of documents (``config.END``) is the
    only surrogate that may be in a vocabulary. Raises ValueError if the code points are invalid.
    """

    def __init__(self, codepoints: np.ndarray) -> None:
        codepoints = np.asarray(codepoints)
        if codepoints.ndim != 1 or not len(codepoints):
            raise ValueError("a vocabulary needs at least one character")
        if codepoints.dtype.kind not in "iu" or codepoints.min() < 0 or codepoints.max() > UNKNOWN:
            raise ValueError("a vocabulary consists of Unicode code points")
        if codepoints[0] == UNKNOWN:
            raise ValueError("a vocabulary needs at least one known character")
        if np.any((codepoints >= 0xD800) & (codepoints < 0xE000) & (codepoints != ord(END))):
            raise ValueError("a vocabulary must not contain surrogates")
        if np.any(codepoints[1:] <= codepoints[:-1]):
            raise ValueError("a vocabulary must be sorted and its characters distinct")
        self.codepoints = codepoints.astype(np.uint32)
        self.unknown = len(codepoints) - 1 if codepoints[-1] == UNKNOWN else None
        self.characters: tuple[str, ...] = tuple(REPLACEMENT if point == UNKNOWN else chr(point)
                                                 for point in self.codepoints.tolist())

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """Return the vocabulary of a text. Raises ValueError if the text is empty."""
        present = np.zeros(CODE_POINTS, dtype=bool)
        present[code_points(text)] = True
        return cls(np.flatnonzero(present))

    def __len__(self) -> int:
        return len(self.characters)

    def __contains__(self, character: str) -> bool:
        return character in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and np.array_equal(self.codepoints, other.codepoints)

    def __hash__(self) -> int:
        return hash(self.codepoints.tobytes())

    def __repr__(self) -> str:
        return f"Vocabulary({''.join(self.characters)!r})"

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned dtype that holds every id."""
        return np.min_scalar_type(len(self) - 1)

    @property
    def start(self) -> int:
        """The id that a model reads first without a prime: that of the end mark, else of the newline, else 0."""
        return self._ids.get(END, self._ids.get("\n", 0))

    def id(self, character: str) -> int:
        """Return the id of a character. Raises KeyError if it is not in the vocabulary."""
        return self._ids[character]

    def missing(self, text: str) -> list[str]:
        """Return the distinct characters of ``text`` that are not in the vocabulary, sorted."""
        return sorted(character for character in set(text) if character not in self._ids)

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of ``text``, (len(text),), in the smallest unsigned dtype.

        Raises VocabularyError for the first character that has no id.
        """
        return self.encode_points(code_points(text))

    def encode_known(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of ``text``, and whether each character is known, (len(text),) each.

        An unknown character has the id ``unknown``, or len(self) if ``unknown`` is None.
        """
        ids = self._table[code_points(text)]
        return ids, ids != (len(self) if self.unknown is None else self.unknown)

    def encode_points(self, points: np.ndarray, first: int = 0) -> np.ndarray:
        """Return the ids of code points (N,). ``first`` is the position of the first one in the text, for messages."""
        return self._known(self._table[points], points, first).astype(self.dtype, copy=False)

    def encode_latin(self, data: bytes, first: int = 0) -> np.ndarray:
        """Return the ids of code points below 256, one byte each. This is faster than ``encode_points``."""
        points = np.frombuffer(data, np.uint8)
        if len(self) > 255:
            return self.encode_points(points, first)
        return self._known(np.frombuffer(data.translate(self._table[:256].tobytes()), np.uint8), points, first)

    def _known(self, ids: np.ndarray, points: np.ndarray, first: int) -> np.ndarray:
        if self.unknown is None and len(ids) and int(ids.max()) == len(self):
            index = int(np.argmax(ids == len(self)))
            character = describe_character(chr(points[index]))
            raise VocabularyError(f"{character} at position {first + index:,} is not in the vocabulary of {len(self):,} "
                                  f"characters",
                                  "remove or replace it, or train with `min_count=2`, which adds an unknown character")
        return ids

    def decode(self, ids: np.ndarray) -> str:
        """Return the text of ``ids``, the inverse of ``encode``. Raises IndexError if an id is out of range."""
        ids = np.asarray(ids)
        if ids.size and int(ids.min()) < 0:
            raise IndexError(f"id {ids.min()} is out of range for a vocabulary of {len(self):,} characters")
        points = self.codepoints if self.unknown is None else np.append(self.codepoints[:-1], ord(REPLACEMENT))
        return bytes(points[ids].astype("<u4")).decode("utf-32-le", "surrogatepass")

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {character: index for index, character in enumerate(self.characters) if index != self.unknown}

    @cached_property
    def _table(self) -> np.ndarray:
        """The id of each code point, (CODE_POINTS,). Unknown characters have the id ``unknown``, or V if that is None."""
        if self.unknown is not None:
            table = np.full(CODE_POINTS, self.unknown, self.dtype)
            table[self.codepoints[:-1]] = np.arange(self.unknown)
            return table
        table = np.full(CODE_POINTS, len(self), dtype=np.min_scalar_type(len(self)))
        table[self.codepoints] = np.arange(len(self))
        return table
