"""Text -> ids, for texts of any length: first the vocabulary and the fingerprint, then the ids, block by block."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from charrnn.config import END, TextConfig
from charrnn.errors import CorpusError
from charrnn.text.shuffled import Shuffled
from charrnn.text.vocabulary import CODE_POINTS, UNKNOWN, Vocabulary

SMALL = 2**24
"""Largest size in bytes of a text that is kept in memory."""

_DTYPES = {1: "<u1", 2: "<u2", 4: "<u4"}


class Ids(NamedTuple):
    """A text as ids: the numbers of its characters, documents and distinct documents, and blocks of ids and of starts.

    Read ``blocks`` before ``starts``.
    """

    characters: int
    documents: int
    distinct: int
    blocks: Iterator[np.ndarray]
    starts: Iterator[np.ndarray]


class Tokens:
    """A text that is added block by block, with end marks if it consists of documents, and then returned as ids.

    The blocks are kept as code points of 1, 2 or 4 bytes. A short text is kept in memory, a long one in a temporary file
    in ``folder()``, unless ``again()`` yields the same text a second time. ``vocabulary`` is by default that of the text;
    ``name`` is for messages.
    """

    def __init__(self, text_config: TextConfig, folder: Callable[[], Path] | None = None,
                 vocabulary: Vocabulary | None = None, name: str = "the text",
                 again: Callable[[], Iterator[str]] | None = None) -> None:
        self._config = text_config
        self._folder = folder
        self._given = vocabulary
        self._name = name
        self._again = again
        self.is_small = True
        self.characters = 0
        self._spool: IO[bytes] = io.BytesIO()
        self._more: list[IO[bytes]] = []
        self._blocks: list[tuple[int, int]] = []  # bytes per code point, and characters
        self._digest = hashlib.sha256()
        self._counts = np.zeros(CODE_POINTS, np.int64) if text_config.min_count > 1 else None
        self._present = np.zeros(CODE_POINTS, bool)
        self._known = b""  # the code points below 256 that are present

    def add(self, text: str) -> None:
        """Add a block. Raises OSError if it cannot be stored, ValueError for a surrogate in a block without end marks."""
        if not text:
            return
        encoded = text.encode("utf-8", "surrogatepass" if self._config.end == END and END in text else "strict")
        self._digest.update(encoded)
        data, width = (encoded, 1) if text.isascii() else _narrowest(text)
        if self.is_small and self._folder is not None and self._spool.tell() + len(data) > SMALL:
            self.is_small = False
            folder, memory = self._folder(), self._spool
            self._spool = io.BytesIO()
            if self._again is None:
                self._spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (until close)
                self._spool.write(memory.getvalue())  # type: ignore[attr-defined]
        if self.is_small or self._again is None:
            self._spool.write(data)
            self._blocks.append((width, len(text)))
        self.characters += len(text)
        if width == 1 and self._counts is None:
            if new := data.translate(None, self._known):
                self._known += bytes(set(new))
        else:
            points = np.frombuffer(data, _DTYPES[width])
            self._present[points] = True
            if self._counts is not None:
                counts = np.bincount(points)
                self._counts[:len(counts)] += counts

    def close(self) -> None:
        """Delete the copies of the text."""
        for file in (self._spool, *self._more):
            file.close()

    @property
    def vocabulary(self) -> Vocabulary:
        """The given vocabulary, or the distinct characters, sorted; rare ones are replaced by the unknown character."""
        if self._given is not None:
            return self._given
        present = self._all_present()
        if self._counts is not None:
            present &= self._counts >= self._config.min_count
        end = self._config.end
        if end is not None:
            present[ord(end)] = False
        points = np.flatnonzero(present)
        if self._counts is not None and not len(points):
            raise CorpusError(f"{self._name}: no character occurs {self._config.min_count:,} times or more",
                              "lower `min_count`")
        if end is not None:
            points = np.union1d(points, [ord(end)])
        return Vocabulary(points if self._counts is None else np.append(points, UNKNOWN))

    def _all_present(self) -> np.ndarray:
        present = self._present.copy()
        present[list(self._known)] = True
        return present

    @property
    def folded(self) -> str:
        """The distinct characters that were replaced by the unknown one."""
        present = self._all_present()
        unknown = self.vocabulary.unknown is not None
        present[self.vocabulary.codepoints[:-1] if unknown else self.vocabulary.codepoints] = False
        return "".join(map(chr, np.flatnonzero(present))) if unknown else ""

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the text in UTF-8 or, if other settings affect the ids, of that digest and these settings."""
        text, text_config = self._digest.hexdigest(), self._config
        more = {"level": text_config.level, "min_count": text_config.min_count, "lines": None, "files": False}
        if text_config.end is not None:
            is_former = text_config.end == "\n" and not text_config.group_copies
            more["lines" if is_former else "documents"] = text_config.shuffle_seed
            if not is_former:
                more |= {"unit": text_config.unit, "group_copies": text_config.group_copies}
        if more == {"level": "char", "min_count": 1, "lines": None, "files": False}:
            return text
        return hashlib.sha256(json.dumps([text, more]).encode()).hexdigest()

    def ids(self) -> Ids:
        """Return the text as ids.

        Each document starts with the end mark of the previous one and ends with its own. Raises CorpusError if all
        documents are empty, VocabularyError for a character that is not in the given vocabulary, OSError if a temporary
        file cannot be written.
        """
        end = self._config.end
        if end is None:
            return Ids(self.characters, 0, 0, self._in_order(), iter(()))
        found = Shuffled(self._in_order(), self.vocabulary.id(end), self._config.shuffle_seed, self._config.group_copies,
                         self.characters, self._file)
        if not found.count:
            raise CorpusError(f"{self._name}: all {self._config.unit}s are empty", "use a text that contains documents")
        return Ids(found.characters, found.count, found.distinct, found.ids(), found.starts())

    def _file(self) -> IO[bytes]:
        """Return a new file for another copy of the text."""
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
                yield vocabulary.encode_points(np.frombuffer(data, _DTYPES[width]), first)
            first += len(data) // width

    def _kept(self) -> Iterator[tuple[bytes, int]]:
        self._spool.seek(0)
        for width, count in self._blocks:
            yield self._spool.read(width * count), width


def _narrowest(text: str) -> tuple[bytes, int]:
    """Return the code points of ``text`` in as few bytes as the largest needs, and that number of bytes."""
    try:
        return text.encode("latin-1"), 1
    except UnicodeEncodeError:
        data = text.encode("utf-16-le", "surrogatepass")
        return (data, 2) if len(data) == 2 * len(text) else (text.encode("utf-32-le", "surrogatepass"), 4)
