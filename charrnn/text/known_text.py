"""KnownText: a text as ids of a given vocabulary, with the characters that the vocabulary does not contain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.text.spool import Spool
from charrnn.text.vocabulary import Vocabulary, code_points

_BLOCK = 2**18


class KnownBlock(NamedTuple):
    """A part of a text: whether the vocabulary contains each character, and the indices of its ids in ``KnownText.ids``."""

    text: str
    known: np.ndarray
    ids: slice


class KnownText:
    """A text of any length that is added block by block. Call ``end`` after the last block.

    ``ids`` (M,) is what a model reads: all characters if the vocabulary has an unknown character, otherwise those that it
    contains. The other characters are kept with their positions. Long arrays are memory maps of temporary files in
    ``folder()``.
    """

    def __init__(self, vocabulary: Vocabulary, folder: Callable[[], Path]) -> None:
        self.vocabulary = vocabulary
        self.ids = np.empty(0, vocabulary.dtype)
        self._characters = 0
        self._spools = [Spool(dtype, folder) for dtype in (vocabulary.dtype, np.uint64, np.uint32)]
        self._places, self._points = self.ids, self.ids  # of the characters that are not in the vocabulary

    def __len__(self) -> int:
        return self._characters

    def add(self, text: str) -> None:
        """Add a block. Raises OSError if a temporary file cannot be written."""
        ids, known = self.vocabulary.encode_known(text)
        of_ids, of_places, of_points = self._spools
        if not known.all():
            places = np.flatnonzero(~known)
            of_places.write(places + self._characters)
            of_points.write(code_points(text)[places])
        of_ids.write(ids if self.vocabulary.unknown is not None else ids[known])
        self._characters += len(text)

    def end(self) -> None:
        """Make ``ids`` and ``blocks`` available. Raises OSError if a temporary file cannot be written."""
        self.ids, self._places, self._points = (spool.array() for spool in self._spools)

    def blocks(self) -> Iterator[KnownBlock]:
        """Yield the text again, block by block."""
        reads_all = self.vocabulary.unknown is not None
        read = 0
        for first in range(0, self._characters, _BLOCK):
            count = min(_BLOCK, self._characters - first)
            unknown = slice(*np.searchsorted(self._places, np.array([first, first + count], np.uint64)))
            known = np.ones(count, bool)
            known[(self._places[unknown] - np.uint64(first)).astype(np.int64)] = False
            ids = slice(read, read + (count if reads_all else int(known.sum())))
            read = ids.stop
            points = np.empty(count, "<u4")
            points[slice(None) if reads_all else known] = self.vocabulary.codepoints[self.ids[ids]]
            points[~known] = self._points[unknown]
            yield KnownBlock(points.tobytes().decode("utf-32-le", "surrogatepass"), known, ids)

    def close(self) -> None:
        """Delete the temporary files."""
        for spool in self._spools:
            spool.close()

    def __enter__(self) -> KnownText:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
