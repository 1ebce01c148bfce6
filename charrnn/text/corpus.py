"""Files -> ids -> train, validation, test."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import Reading, check_range, from_facts, validation_share
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.text import builtin as built_in
from charrnn.text import token_file
from charrnn.text.files import STANDARD_INPUT, blocks, find, is_packed, listed, name_of, shaped, size_of, texts
from charrnn.text.tokens import SMALL, Tokens
from charrnn.text.vocabulary import Vocabulary

BUILT_IN = "python-reference"
"""Name of the corpus that is taken where none is named: the language reference that every CPython carries."""

OnBytes = Callable[[int, int], None]
_BLOCK = 2**20


class Split(NamedTuple):
    """The parts of a text, in its order, each a view of ids."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Corpus:
    """A text as ids, with the vocabulary they refer to.

    ``sources`` are the names of what was read, as given, and ``reading`` is how; ``fingerprint`` is the SHA-256 of the
    text in UTF-8, or where more than that shapes the ids, of it and what else does. ``starts`` are the places, ascending,
    where a document starts that begins with a fresh state. ``folded`` are the characters that became the unknown one.
    The ids of a long text lie in ``token_file``, and are memory maps; else that is None.
    """

    def __init__(self, text: str, sources: Sequence[str] = (), reading: Reading | None = None) -> None:
        self.sources, self.reading = tuple(sources), reading or Reading()
        tokens = Tokens(self.reading, name=self._what)
        try:
            for block in shaped([text if self.reading.level == "char" else text.encode("utf-8").decode("latin-1")],
                                self.reading):
                tokens.add(block)
        except UnicodeEncodeError:
            raise self._surrogates() from None
        self._hold(tokens)

    def _hold(self, tokens: Tokens) -> None:
        """Take the ids into memory."""
        self._refuse_empty(tokens)
        ids = tokens.ids()
        self.ids = np.concatenate(list(ids.blocks))
        self.starts = np.concatenate([np.empty(0, np.int64), *(starts.astype(np.int64) for starts in ids.starts)])
        self.vocabulary, self.fingerprint, self.folded = tokens.vocabulary, tokens.fingerprint, tokens.folded
        self.token_file: Path | None = None

    @classmethod
    def _kept(cls, kept: token_file.Kept, sources: Sequence[str]) -> Corpus:
        """The corpus in a token file."""
        corpus = cls.__new__(cls)
        corpus.sources, corpus.reading = tuple(sources), from_facts(Reading, kept.facts["reading"])
        corpus.ids, corpus.starts, corpus.vocabulary = kept.ids, kept.starts, kept.vocabulary
        corpus.fingerprint, corpus.folded = kept.facts["fingerprint"], kept.facts["folded"]
        corpus.token_file = kept.path
        return corpus

    def __reduce__(self) -> Any:
        """For other ranks, which open the same token file."""
        if self.token_file is not None:
            return Corpus._kept_at, (self.token_file, self.sources)
        return super().__reduce__()

    @classmethod
    def _kept_at(cls, path: Path, sources: Sequence[str]) -> Corpus:
        try:
            return cls._kept(token_file.load(path), sources)
        except CheckpointError as error:
            raise CorpusError(f"{error}; all ranks need this file: set CHARRNN_CACHE to a folder that all machines "
                              f"share") from None

    @classmethod
    def read(cls, *paths: str | Path, **reading: Any) -> Corpus:
        """The texts at ``paths``, one after the other; of a folder, the files in and below it, sorted by path; of ``-``
        standard input. ``reading`` are settings of ``Reading``, by name.

        Raises ConfigError for a setting out of range, CorpusError for what cannot be read.
        """
        return cls.open([str(path) for path in paths], Reading(**reading))

    @classmethod
    def built_in(cls, name: str = BUILT_IN, reading: Reading | None = None) -> Corpus:
        """A text of the running interpreter, by default Python's language reference. Raises CorpusError where there is
        none."""
        return cls(built_in.BUILT_IN[name].read(), [name], reading)

    @classmethod
    def open(cls, sources: Sequence[str], reading: Reading | None = None, characters: int | None = None,
             vocabulary: Vocabulary | None = None, keep: bool = False, on_bytes: OnBytes | None = None) -> Corpus:
        """What ``sources`` name: a built-in corpus for its name alone, else the files.

        The ids of a long text are kept in a token file, from which it is opened the next time; with ``keep`` those of a
        short one too. ``characters`` is how many there should be; files that are much too large for them are not read to
        their end. ``vocabulary`` is what the text is written in, by default its own. ``on_bytes`` is called with how many
        bytes were read since, and how many there are. Raises CorpusError for what cannot be read, VocabularyError for a
        character that is not in the vocabulary.
        """
        reading = reading or Reading()
        if vocabulary is None and len(sources) == 1 and sources[0] in built_in.BUILT_IN and not Path(sources[0]).exists():
            return cls.built_in(sources[0], reading)
        files = find(sources, reading.glob)
        is_there = vocabulary is None and STANDARD_INPUT not in map(str, files)
        path = token_file.path_of(sources, reading) if is_there else None
        if path is not None and (kept := token_file.fitting(path, files, reading)) is not None:
            return cls._kept(kept, sources)
        corpus = cls.__new__(cls)
        corpus.sources, corpus.reading = tuple(sources), reading
        stamps = token_file.Stamps.of(files)
        tokens = Tokens(reading, token_file.made_folder, vocabulary, corpus._what, corpus._again(files, stamps))
        try:
            content = corpus._fill(tokens, files, stamps, characters, on_bytes)
            if tokens.is_small and not keep:
                corpus._hold(tokens)
                return corpus
            path = path or token_file.temporary_path()
            token_file.made_folder()
            token_file.save(path, tokens, sources, reading, stamps, content)
        except UnicodeEncodeError:
            raise corpus._surrogates() from None
        except OSError as error:
            raise token_file.no_room(error) from None
        finally:
            tokens.close()
        return cls._kept(token_file.load(path, verify=False), sources)

    def _again(self, files: Sequence[str | Path], stamps: token_file.Stamps) -> Callable[[], Iterator[str]] | None:
        """What reads the text once more, where that is faster than to note it: not what is piped in, packed or shaped."""
        if any(str(file) == STANDARD_INPUT or is_packed(file) for file in files) or \
                self.reading.normalize != "none" or self.reading.lowercase:
            return None

        def read() -> Iterator[str]:
            for file in files:
                yield from texts(blocks(file), name_of(file), self.reading)
            self._refuse_changed(files, stamps)

        return read

    def _fill(self, tokens: Tokens, files: Sequence[str | Path], stamps: token_file.Stamps, characters: int | None,
              on_bytes: OnBytes | None) -> str:
        """Read ``files`` into ``tokens``; return the digest of their bytes."""
        size, digest = sum(map(size_of, files)), hashlib.sha256()
        most = math.inf if characters is None else max(16 * characters, SMALL)
        if size > most:
            raise self._too_large(characters)
        for file in files:
            tokens.seam()
            for text in texts(blocks(file, digest, on_bytes and (lambda count: on_bytes(count, size))), name_of(file),
                              self.reading):
                tokens.add(text)
                if tokens.characters > most:
                    raise self._too_large(characters)
        self._refuse_empty(tokens)
        self._refuse_changed(files, stamps)
        return digest.hexdigest()

    def _refuse_changed(self, files: Sequence[str | Path], stamps: token_file.Stamps) -> None:
        if stamps[:2] != token_file.Stamps.of(files)[:2]:
            raise CorpusError(f"{self._what}: has changed while it was read; try again")

    def _refuse_empty(self, tokens: Tokens) -> None:
        if not tokens.characters:
            raise CorpusError(f"{self._what}: is empty (0 characters); give a text that is not")

    def _surrogates(self) -> CorpusError:
        return CorpusError(f"{self._what}: a vocabulary holds no surrogates; give a text of Unicode characters")

    def _too_large(self, characters: int | None) -> CorpusError:
        return CorpusError(f"{self._what}: is much larger than the {characters:,} characters that were trained on; name "
                           f"the right text")

    @property
    def _what(self) -> str:
        return listed(self.sources) or "the text"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def name(self) -> str:
        """A short name: the stem of the first source."""
        if not self.sources or self.sources[0] == STANDARD_INPUT:
            return "text"
        return Path(self.sources[0]).resolve().stem

    def share(self, validation: float | None) -> float:
        """The share that is kept for validation: the one that is given, or the default one for this text."""
        return validation_share(validation, len(self), len(self.vocabulary))

    def split(self, validation: float | None = None, test: float = 0.0) -> Split:
        """Cut the ids, at two places, into train, validation and test; the shares are of the whole text.

        Raises ConfigError for shares out of range, or that leave a part with too little to predict.
        """
        validation = self.share(validation)
        first, second = bounds(len(self), validation, test)
        parts = Split(self.ids[:first], self.ids[first:second], self.ids[second:])
        for name, share, part in (("validation", validation, parts.validation), ("test", test, parts.test)):
            if share and len(part) < 2:
                raise ConfigError(name, f"a share of {share:g} of {len(self):,} characters leaves {len(part)}, and 2 are "
                                        f"the least; give a larger share, a longer text, or 0 for none")
        return parts

    def share_unknown(self) -> float:
        """Which share of the characters became the unknown one."""
        unknown = self.vocabulary.unknown
        if unknown is None:
            return 0.0
        return sum(int(np.count_nonzero(self.ids[first:first + _BLOCK] == unknown))
                   for first in range(0, len(self), _BLOCK)) / len(self)

    def lines_among(self, wanted: Collection[str], validation: float | None = None, test: float = 0.0) -> set[str]:
        """Which of the ``wanted`` stand as lines in the training part."""
        found: set[str] = set()
        last, rest = bounds(len(self), self.share(validation), test)[0], ""
        for first in range(0, last, _BLOCK):
            *lines, rest = (rest + self.vocabulary.decode(self.ids[first:min(first + _BLOCK, last)])).split("\n")
            found.update(set(lines).intersection(wanted))
        return found - {""}

    def split_starts(self, validation: float | None = None, test: float = 0.0) -> Split:
        """Of each part of ``split`` the places in it where a document starts."""
        cuts = [0, *bounds(len(self), self.share(validation), test), len(self)]
        places = np.searchsorted(self.starts, cuts)
        parts = [self.starts[places[k]:places[k + 1]] for k in range(3)]  # the first stays in the file, if it lies there
        return Split(parts[0], parts[1] - cuts[1], parts[2] - cuts[2])


def bounds(characters: int, validation: float, test: float) -> tuple[int, int]:
    """Where the training part ends and where the test part begins. Raises ConfigError for shares out of range."""
    check_range("validation", validation, float, least=0, below=1)
    check_range("test", test, float, least=0, below=1 - validation)
    shares = (1 - validation - test, 1 - test)
    first, second = (int(round(characters * share, 6)) for share in shares)  # 100 * (1 - 0.8) is a little below 20
    return first, second
