"""Files -> ids -> train, validation, test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from charrnn.config import check_range
from charrnn.errors import ConfigError, CorpusError
from charrnn.vocabulary import Vocabulary

BUILT_IN = "python-reference"
"""Name of the corpus that needs no file: the language reference that every CPython carries."""


class Split(NamedTuple):
    """The parts of a text, in its order, each a view of ids."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Corpus:
    """A text as ids, with the vocabulary they refer to.

    ``sources`` are the names of what was read, as given; ``fingerprint`` is the SHA-256 of the text in UTF-8.
    """

    def __init__(self, text: str, sources: Sequence[str] = ()) -> None:
        if not text:
            raise CorpusError(f"{', '.join(sources) or 'the text'}: is empty; give a text to train on")
        self.sources = tuple(sources)
        try:
            self.vocabulary = Vocabulary.of(text)
        except ValueError as error:
            raise CorpusError(f"{', '.join(sources) or 'the text'}: {error}; give a text of Unicode characters") from None
        self.ids = self.vocabulary.encode(text)
        self.fingerprint = hashlib.sha256(text.encode("utf-8")).hexdigest()

    @classmethod
    def read(cls, *paths: str | Path) -> Corpus:
        """The texts at ``paths``, one after the other; of a folder, every ``*.txt`` in and below it, sorted by path.

        Raises CorpusError for what cannot be read.
        """
        files = [file for path in paths for file in _files(Path(path))]
        return cls("".join(map(read_text, files)), [str(path) for path in paths])

    @classmethod
    def built_in(cls) -> Corpus:
        """Python's language reference, from the running interpreter; it differs a little between Python versions."""
        from pydoc_data.topics import topics

        return cls("\n\n".join(topics[name] for name in sorted(topics)), [BUILT_IN])

    @classmethod
    def open(cls, sources: Sequence[str]) -> Corpus:
        """What ``sources`` name: the built-in corpus for none or its name alone, else the files."""
        if not sources or (tuple(sources) == (BUILT_IN,) and not Path(BUILT_IN).exists()):
            return cls.built_in()
        return cls.read(*sources)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def name(self) -> str:
        """A short name: the stem of the first source."""
        return Path(self.sources[0]).resolve().stem if self.sources else "text"

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


def _files(path: Path) -> list[Path]:
    """The files that ``path`` names."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*.txt") if file.is_file())
    if not files:
        raise CorpusError(f"{path}: no *.txt in this folder or below it; name a text file")
    return files


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, without a leading byte order mark; line ends stay as they are.

    Raises CorpusError for a file that is missing, unreadable, or not UTF-8.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file; name a text file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{path}: cannot be read ({reason}); name a text file") from None
    return decode(data, path)


def decode(data: bytes, source: str | Path) -> str:
    """The text of UTF-8 bytes without a leading byte order mark. Raises CorpusError, with ``source``, for others."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{source}: not UTF-8 at byte {error.start:,} (0x{data[error.start]:02x}); "
                          f"convert it to UTF-8 first") from None
