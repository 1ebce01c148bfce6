"""Files -> ids -> train, validation, test."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from charrnn.config import ERRORS, check_range
from charrnn.errors import ConfigError, CorpusError
from charrnn.vocabulary import Vocabulary

BUILT_IN = "python-reference"
"""Name of the corpus that needs no file: the language reference that every CPython carries."""


_SMALL_FILES = 2**24
"""Bytes that are read without asking how many characters they may be."""

STANDARD_INPUT = "-"
"""Name of the corpus that is read from standard input."""


class Reading(NamedTuple):
    """How bytes become text: the name of an encoding that Python knows, and one of ``ERRORS``.

    Raises ConfigError, through ``check``, for others.
    """

    encoding: str = "utf-8"
    errors: str = "strict"

    def check(self) -> Reading:
        """The same, with the encoding's usual name."""
        try:
            name = codecs.lookup(self.encoding).name
            "".encode(name).decode(name)
        except (LookupError, ValueError, TypeError):
            raise ConfigError("encoding", f"must be a text encoding that Python knows, such as utf-8, latin-1 or utf-16, "
                                          f"not {self.encoding!r}") from None
        if self.errors not in ERRORS:
            raise ConfigError("errors", f"must be one of {', '.join(ERRORS)}, not {self.errors!r}")
        return Reading(name, self.errors)


class Split(NamedTuple):
    """The parts of a text, in its order, each a view of ids."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Corpus:
    """A text as ids, with the vocabulary they refer to.

    ``sources`` are the names of what was read, as given, and ``reading`` is how; ``fingerprint`` is the SHA-256 of the
    text in UTF-8.
    """

    def __init__(self, text: str, sources: Sequence[str] = (), reading: Reading | None = None) -> None:
        if not text:
            raise CorpusError(f"{', '.join(sources) or 'the text'}: is empty; give a text to train on")
        self.sources = tuple(sources)
        self.reading = reading or Reading()
        try:
            self.vocabulary = Vocabulary.of(text)
        except ValueError as error:
            raise CorpusError(f"{', '.join(sources) or 'the text'}: {error}; give a text of Unicode characters") from None
        self.ids = self.vocabulary.encode(text)
        self.fingerprint = hashlib.sha256(text.encode("utf-8")).hexdigest()

    @classmethod
    def read(cls, *paths: str | Path, encoding: str = "utf-8", errors: str = "strict") -> Corpus:
        """The texts at ``paths``, one after the other; of a folder, every ``*.txt`` in and below it, sorted by path;
        of ``-`` standard input.

        ``errors`` says what becomes of bytes that are not of the ``encoding``: "strict" refuses them, "replace" puts
        U+FFFD in their place, "ignore" leaves them out. Raises CorpusError for what cannot be read.
        """
        reading = Reading(encoding, errors).check()
        files = [file for path in paths for file in _files(path)]
        return cls("".join(read_text(file, reading) for file in files), [str(path) for path in paths], reading)

    @classmethod
    def built_in(cls) -> Corpus:
        """Python's language reference, from the running interpreter; it differs a little between Python versions."""
        from pydoc_data.topics import topics

        return cls("\n\n".join(topics[name] for name in sorted(topics)), [BUILT_IN])

    @classmethod
    def open(cls, sources: Sequence[str], reading: Reading | None = None, characters: int | None = None) -> Corpus:
        """What ``sources`` name: the built-in corpus for its name alone, else the files.

        ``characters`` is how many there should be; files that are much too large for them are refused unread. Raises
        CorpusError for that and for what cannot be read.
        """
        reading = (reading or Reading()).check()
        if tuple(sources) == (BUILT_IN,) and not Path(BUILT_IN).exists():
            return cls.built_in()
        if characters is not None:
            left = max(16 * characters, _SMALL_FILES)
            for file in (file for path in sources for file in _files(path)):
                left -= os.stat(file).st_size if os.path.exists(file) else 0
                if left < 0:
                    raise CorpusError(f"{', '.join(sources)}: is much larger than the {characters:,} characters that were "
                                      f"trained on; name the right text")
        return cls.read(*sources, **reading._asdict())

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def name(self) -> str:
        """A short name: the stem of the first source."""
        if not self.sources or self.sources[0] == STANDARD_INPUT:
            return "text"
        return Path(self.sources[0]).resolve().stem

    def split(self, validation: float = 0.1, test: float = 0.0) -> Split:
        """Cut the ids, at two places, into train, validation and test; the shares are of the whole text.

        Raises ConfigError for shares out of range, or that leave a part with too little to predict.
        """
        first, second = bounds(len(self), validation, test)
        parts = Split(self.ids[:first], self.ids[first:second], self.ids[second:])
        for name, share, part in (("validation", validation, parts.validation), ("test", test, parts.test)):
            if share and len(part) < 2:
                raise ConfigError(name, f"a share of {share:g} of {len(self):,} characters leaves {len(part)}, and 2 are "
                                        f"the least; give a larger share, a longer text, or 0 for none")
        return parts


def bounds(characters: int, validation: float, test: float) -> tuple[int, int]:
    """Where the training part ends and where the test part begins. Raises ConfigError for shares out of range."""
    check_range("validation", validation, float, least=0, below=1)
    check_range("test", test, float, least=0, below=1 - validation)
    shares = (1 - validation - test, 1 - test)
    first, second = (int(round(characters * share, 6)) for share in shares)  # 100 * (1 - 0.8) is a little below 20
    return first, second


def _files(path: str | Path) -> list[str | Path]:
    """The files that ``path`` names."""
    if not str(path):
        raise CorpusError("an empty name names no text; name a text file")
    if str(path) == STANDARD_INPUT or not Path(path).is_dir():
        return [path]
    files: list[str | Path] = sorted(file for file in Path(path).rglob("*.txt") if file.is_file())
    if not files:
        raise CorpusError(f"{path}: no *.txt in this folder or below it; name a text file")
    return files


def read_text(path: str | Path, reading: Reading | None = None) -> str:
    """The text of a file, or of standard input for ``-``; line ends stay as they are. See ``decode``.

    Raises CorpusError for a file that is missing, no regular file, unreadable, or not of the encoding.
    """
    try:
        if str(path) == STANDARD_INPUT:
            return decode(sys.stdin.buffer.read(), "standard input", reading)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise CorpusError(f"{path}: is no regular file; name a text file, or pipe it in with '-' as its name")
            return decode(file.read(), path, reading)
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file; name a text file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{path}: cannot be read ({reason}); name a text file") from None


def decode(data: bytes, source: str | Path, reading: Reading | None = None) -> str:
    """The text of ``data``, without a leading byte order mark.

    Raises CorpusError, with ``source`` and the offset of the fault, for bytes that are not of the encoding.
    """
    encoding, errors = reading or Reading()
    if errors == "strict" and encoding == "utf-8" and (other := _recognise(data)):
        raise CorpusError(f"{source}: is {other.upper()}, not UTF-8; try --encoding {other}")
    try:
        return data.decode(encoding, errors).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{source}: not {encoding.upper()} at byte {error.start:,} (0x{data[error.start]:02x}); "
            f"try --encoding {'latin-1' if encoding == 'utf-8' else 'utf-8'}, or --errors replace") from None


def _recognise(data: bytes) -> str | None:
    """The name of a wide encoding that ``data`` are in: by its byte order mark, or by NUL in every second byte."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = data[:1000]
    if len(head) >= 4 and len(data) % 2 == 0:
        for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            if head[first::2].count(0) > 0.7 * len(head) / 2 and head[1 - first::2].count(0) < 0.1 * len(head) / 2:
                return name
    return None
