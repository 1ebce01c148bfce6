"""Text -> ids, for texts of any length: what is to be known of the whole text first, then its ids block by block."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from charrnn.config import Reading
from charrnn.errors import CorpusError
from charrnn.text.documents import Lines
from charrnn.text.vocabulary import CODE_POINTS, UNKNOWN, Vocabulary

SMALL = 2**24
"""Bytes of a text that are held in memory."""

_KINDS = {1: "<u1", 2: "<u2", 4: "<u4"}


class Ids(NamedTuple):
    """A text as ids, block by block, and then the places where documents start, if that matters, and how many there are
    of either."""

    characters: int
    documents: int
    blocks: Iterator[np.ndarray]
    starts: Iterator[np.ndarray]


class Tokens:
    """A text that is taken in block by block (``add``, and ``seam`` where a file begins), and then given out as ids.

    The blocks are kept as code points in as few bytes as they need, in memory, or where they are many in a file without
    a name in ``folder()``, unless ``again()`` gives the same text once more. ``vocabulary`` is what the text is written
    in, by default its own characters; ``name`` is for messages.
    """

    def __init__(self, reading: Reading, folder: Callable[[], Path] | None = None, vocabulary: Vocabulary | None = None,
                 name: str = "the text", again: Callable[[], Iterator[str]] | None = None) -> None:
        self._reading, self._folder, self._given, self._name = reading, folder, vocabulary, name
        self._again, self.is_small = again, True
        self._spool: IO[bytes] = io.BytesIO()
        self._more: list[IO[bytes]] = []
        self._blocks: list[tuple[int, int]] = []  # width and characters
        self._digest = hashlib.sha256()
        self._counts = np.zeros(CODE_POINTS, np.int64) if reading.min_count > 1 else None
        self._present = np.zeros(CODE_POINTS, bool)
        self._known = b""  # those below 256 that are present
        self._seams: list[int] = []
        self.characters = 0

    def seam(self) -> None:
        """The next block begins a file."""
        if not self._seams or self._seams[-1] < self.characters:
            self._seams.append(self.characters)

    def add(self, text: str) -> None:
        """Take in the next block. Raises OSError where there is no room for it, ValueError for half a character."""
        if not text:
            return
        encoded = text.encode("utf-8")
        self._digest.update(encoded)
        data, width = (encoded, 1) if text.isascii() else _narrowest(text)
        if self.is_small and self._folder is not None and self._spool.tell() + len(data) > SMALL:
            self.is_small = False
            folder, held = self._folder(), self._spool
            self._spool = io.BytesIO()
            if self._again is None:
                self._spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (until close)
                self._spool.write(held.getvalue())  # type: ignore[attr-defined]
        if self.is_small or self._again is None:
            self._spool.write(data)
            self._blocks.append((width, len(text)))
        self.characters += len(text)
        if width == 1 and self._counts is None:
            if new := data.translate(None, self._known):
                self._known += bytes(set(new))
        else:
            points = np.frombuffer(data, _KINDS[width])
            self._present[points] = True
            if self._counts is not None:
                counts = np.bincount(points)
                self._counts[:len(counts)] += counts

    def close(self) -> None:
        """Let go of the text."""
        for file in (self._spool, *self._more):
            file.close()

    @property
    def vocabulary(self) -> Vocabulary:
        """The characters, sorted; those that are too rare are the unknown."""
        if self._given is not None:
            return self._given
        present = self._all_present()
        if self._counts is not None:
            present &= self._counts >= self._reading.min_count
        if self._reading.lines:
            present[ord("\n")] = False
        points = np.flatnonzero(present)
        if self._counts is not None and not len(points):
            raise CorpusError(f"{self._name}: no character stands there {self._reading.min_count:,} times; give a lower "
                              f"--min-count")
        if self._reading.lines:
            points = np.union1d(points, [ord("\n")])
        return Vocabulary(points if self._counts is None else np.append(points, UNKNOWN))

    def _all_present(self) -> np.ndarray:
        present = self._present.copy()
        present[list(self._known)] = True
        return present

    @property
    def folded(self) -> str:
        """The different characters that became the unknown one."""
        present = self._all_present()
        unknown = self.vocabulary.unknown is not None
        present[self.vocabulary.codepoints[:-1] if unknown else self.vocabulary.codepoints] = False
        return "".join(map(chr, np.flatnonzero(present))) if unknown else ""

    @property
    def _starts(self) -> list[int]:
        """Where files start that are not empty."""
        return [seam for seam in self._seams if seam < self.characters]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the text in UTF-8; where more than the text makes the ids what they are, of that digest with it."""
        text, reading = self._digest.hexdigest(), self._reading
        more = {"level": reading.level, "min_count": reading.min_count,
                "lines": reading.shuffle_seed if reading.lines else None,
                "files": reading.reset_at_files and self._starts}
        if more == {"level": "char", "min_count": 1, "lines": None, "files": False}:
            return text
        return hashlib.sha256(json.dumps([text, more]).encode()).hexdigest()

    def ids(self) -> Ids:
        """The text as ids.

        Lines are documents that begin with the end of the line before, and end with their own. Raises CorpusError where
        there are none, VocabularyError for a character that is not in a vocabulary that was given, OSError.
        """
        if self._reading.lines:
            lines = Lines(self._in_order(), self.vocabulary.id("\n"), self._reading.shuffle_seed, self.characters,
                          self._file(), self._file())
            if not lines.count:
                raise CorpusError(f"{self._name}: no line has a character; give a text with a document in each line")
            return Ids(lines.characters, lines.count, lines.ids(), lines.starts())
        starts = np.array(self._starts if self._reading.reset_at_files else [], np.uint64)
        return Ids(self.characters, len(starts), self._in_order(), iter([starts]))

    def _file(self) -> IO[bytes]:
        """Room for as much as the text takes."""
        file = io.BytesIO() if self.is_small else tempfile.TemporaryFile(dir=self._folder and self._folder())  # noqa: SIM115
        self._more.append(file)
        return file

    def _in_order(self) -> Iterator[np.ndarray]:
        vocabulary, first = self.vocabulary, 0
        if self.is_small or self._again is None:
            parts = self._kept()
        else:
            parts = map(_narrowest, filter(None, self._again()))
        for data, width in parts:
            if width == 1:
                yield vocabulary.encode_latin(data, first)
            else:
                yield vocabulary.encode_points(np.frombuffer(data, _KINDS[width]), first)
            first += len(data) // width

    def _kept(self) -> Iterator[tuple[bytes, int]]:
        self._spool.seek(0)
        for width, count in self._blocks:
            yield self._spool.read(width * count), width


def _narrowest(text: str) -> tuple[bytes, int]:
    """The code points of ``text`` in as few bytes each as all fit into, and how many these are."""
    try:
        return text.encode("latin-1"), 1
    except UnicodeEncodeError:
        data = text.encode("utf-16-le")
        return (data, 2) if len(data) == 2 * len(text) else (text.encode("utf-32-le"), 4)
