"""A text as ids, and its split into training, validation and test part."""

from __future__ import annotations

import hashlib
import math
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import TextConfig, check_range, from_dict, validation_fraction
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.text import token_file
from charrnn.text.builtin import BUILTIN_TEXTS
from charrnn.text.decoding import decode_blocks, normalize_blocks
from charrnn.text.files import (
    STANDARD_INPUT,
    display_name,
    file_size,
    find_files,
    is_compressed,
    join_names,
    read_blocks,
)
from charrnn.text.tokens import SMALL, Tokens
from charrnn.text.vocabulary import Vocabulary

DEFAULT_CORPUS = "python-reference"
"""The default corpus: the language reference that comes with every CPython."""

OnBytes = Callable[[int, int], None]
"""Called with the number of bytes read since the last call and the number of bytes in all (0 if it is not known)."""

_BLOCK = 2**20


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a corpus: ``ids`` (N,), and the sorted indices in it at which documents start, int64."""

    ids: np.ndarray
    starts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Split:
    """The parts of ``corpus``, in the order of the text; ``validation`` and ``test`` may be empty."""

    corpus: Corpus
    train: Part
    validation: Part
    test: Part

    @property
    def parts(self) -> tuple[Part, Part, Part]:
        """The training, the validation and the test part."""
        return self.train, self.validation, self.test

    def require(self, validation: float | None, test: float) -> None:
        """Raise ConfigError unless these fractions give this split."""
        cuts = split_bounds(len(self.corpus), self.corpus.validation_fraction(validation), test)
        if cuts != (len(self.train), len(self.train) + len(self.validation)):
            raise ConfigError("validation", "and test are not the fractions of the split; give the same to both")

    def training_lines(self, wanted: Collection[str]) -> set[str]:
        """Return those of the ``wanted`` lines that occur as lines in the training part; empty lines are left out."""
        found: set[str] = set()
        rest = ""
        for first in range(0, len(self.train), _BLOCK):
            *lines, rest = (rest + self.corpus.vocabulary.decode(self.train.ids[first:first + _BLOCK])).split("\n")
            found.update(set(lines).intersection(wanted))
        return found - {""}


@dataclass(repr=False, eq=False)
class Corpus:
    """A text as ids, with the vocabulary that they refer to. Made by ``from_text`` or ``read``.

    ``ids`` (N,) are of the smallest unsigned dtype, ``starts`` the sorted indices at which documents start and the state
    is reset. ``fingerprint`` is the SHA-256 of the text in UTF-8, or of that and of the settings that also shape the ids.
    ``sources`` are the names of the files as given, and ``text_config`` says how they were read. ``folded`` are the
    distinct characters that were replaced by the unknown one. The ids of a long text are memory maps of the token file
    at ``path``.
    """

    ids: np.ndarray
    starts: np.ndarray
    vocabulary: Vocabulary
    fingerprint: str
    folded: str = ""
    sources: tuple[str, ...] = ()
    text_config: TextConfig = field(default_factory=TextConfig)
    path: Path | None = None

    @classmethod
    def from_text(cls, text: str, sources: Sequence[str] = (), text_config: TextConfig | None = None,
                  vocabulary: Vocabulary | None = None, **settings: Any) -> Corpus:
        """Make a corpus of a string; ``sources`` only name it. For the other arguments see ``read``.

        Raises CorpusError if the text cannot be used, VocabularyError for a character that is not in ``vocabulary``.
        """
        text_config = _text_config(text_config, settings)
        name = join_names(sources) or "the text"
        tokens = Tokens(text_config, vocabulary=vocabulary, name=name)
        try:
            if text_config.level == "byte":
                text = text.encode("utf-8").decode("latin-1")
            for block in normalize_blocks([text], text_config):
                tokens.add(block)
        except UnicodeEncodeError:
            raise _surrogates(name) from None
        _refuse_empty(tokens, name)
        return cls._in_memory(tokens, sources, text_config)

    @classmethod
    def read(cls, *sources: str | Path, text_config: TextConfig | None = None, vocabulary: Vocabulary | None = None,
             expected: int | None = None, keep: bool = False, on_bytes: OnBytes | None = None,
             **settings: Any) -> Corpus:
        """Read files, one after the other; of a folder the files in and below it, sorted by path; ``-`` is standard input.

        The name of a built-in corpus selects it, unless there is a file of that name. ``settings`` are those of
        ``TextConfig``, by name, if no ``text_config`` is given. ``vocabulary`` is the one
        to use, by default that of the text. If the text should have a certain number of characters, ``expected``, files
        that are much too large for it are not read to their end. The ids of a long text are kept in a token file, from
        which the next call reads them; with ``keep`` those of a short text too. Raises CorpusError if the text cannot be
        read or used, VocabularyError for a character that is not in ``vocabulary``.
        """
        text_config = _text_config(text_config, settings)
        names = tuple(map(str, sources))
        if not names:
            raise CorpusError("no file is named; name a text file")
        if vocabulary is None and len(names) == 1 and names[0] in BUILTIN_TEXTS and not Path(names[0]).exists():
            return cls.from_text(BUILTIN_TEXTS[names[0]].read(), names, text_config)
        files = find_files(names, text_config.glob)
        can_be_found_again = vocabulary is None and STANDARD_INPUT not in map(str, files)
        path = token_file.path_of(names, text_config) if can_be_found_again else None
        if path is not None and (kept := token_file.load_if_current(path, files, text_config)) is not None:
            return cls._from_token_file(kept, names)
        source = _Source(files, join_names(names), text_config)
        tokens = Tokens(text_config, token_file.made_folder, vocabulary, source.name, source.again())
        try:
            content = source.fill(tokens, expected, on_bytes)
            if tokens.is_small and not keep:
                return cls._in_memory(tokens, names, text_config)
            path = path or token_file.temporary_path()
            token_file.made_folder()
            token_file.save(path, tokens, names, text_config, source.stamps, content)
        except UnicodeEncodeError:
            raise _surrogates(source.name) from None
        except OSError as error:
            raise token_file.no_room(error) from None
        finally:
            tokens.close()
        corpus = cls._from_token_file(token_file.load(path, verify=False), names)
        if not can_be_found_again:
            weakref.finalize(corpus, path.unlink, missing_ok=True)
        return corpus

    @classmethod
    def _in_memory(cls, tokens: Tokens, sources: Sequence[str], text_config: TextConfig) -> Corpus:
        ids = tokens.ids()
        blocks = np.concatenate(list(ids.blocks))
        starts = np.concatenate([np.empty(0, np.int64), *(starts.astype(np.int64) for starts in ids.starts)])
        return cls(blocks, starts, tokens.vocabulary, tokens.fingerprint, tokens.folded, tuple(sources), text_config)

    @classmethod
    def _from_token_file(cls, kept: token_file.Kept, sources: Sequence[str]) -> Corpus:
        return cls(kept.ids, kept.starts, kept.vocabulary, kept.metadata["fingerprint"], kept.metadata["folded"],
                   tuple(sources), from_dict(TextConfig, kept.metadata["text"]), kept.path)

    def __reduce__(self) -> Any:
        """Pickle a corpus in a token file as the path of that file, for other ranks."""
        if self.path is not None:
            return Corpus._reopen, (self.path, self.sources)
        return Corpus, (self.ids, self.starts, self.vocabulary, self.fingerprint, self.folded, self.sources,
                        self.text_config)

    @classmethod
    def _reopen(cls, path: Path, sources: Sequence[str]) -> Corpus:
        try:
            return cls._from_token_file(token_file.load(path), sources)
        except CheckpointError as error:
            raise CorpusError(f"{error}; all ranks need this file: set CHARRNN_CACHE to a folder that all machines "
                              f"share") from None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        name = join_names(self.sources) or "text"
        return f"Corpus({name!r}, {len(self):,} characters, {len(self.vocabulary):,} distinct)"

    @property
    def name(self) -> str:
        """A short name: the stem of the first source."""
        if not self.sources or self.sources[0] == STANDARD_INPUT:
            return "text"
        return Path(self.sources[0]).resolve().stem

    def split(self, validation: float | None = None, test: float = 0.0) -> Split:
        """Cut the text into a training part, then a validation part, then a test part.

        ``validation`` and ``test`` are fractions of the text; None selects the default fraction of this text. Raises
        ConfigError if they are out of range or leave a part with fewer than 2 characters.
        """
        validation = self.validation_fraction(validation)
        cuts = [0, *split_bounds(len(self), validation, test), len(self)]
        places = np.searchsorted(self.starts, cuts)
        parts = []
        for k, (name, fraction) in enumerate((("train", 0.0), ("validation", validation), ("test", test))):
            starts = self.starts[places[k]:places[k + 1]]
            part = Part(self.ids[cuts[k]:cuts[k + 1]], starts - cuts[k] if cuts[k] else starts)  # the first stays a map
            if fraction and len(part) < 2:
                raise ConfigError(name, f"a share of {fraction:g} of {len(self):,} characters leaves {len(part)}, and 2 "
                                        f"are the least; give a larger share, a longer text, or 0 for none")
            parts.append(part)
        return Split(self, *parts)

    def validation_fraction(self, validation: float | None) -> float:
        """Return the fraction that is kept for validation: the given one, or the default one of this text."""
        return validation_fraction(validation, len(self), len(self.vocabulary))

    def unknown_fraction(self) -> float:
        """Return the fraction of the characters that were replaced by the unknown one."""
        unknown = self.vocabulary.unknown
        if unknown is None:
            return 0.0
        blocks = (self.ids[first:first + _BLOCK] for first in range(0, len(self), _BLOCK))
        return sum(int(np.count_nonzero(block == unknown)) for block in blocks) / len(self)


def _text_config(text_config: TextConfig | None, settings: dict[str, Any]) -> TextConfig:
    if text_config is not None and settings:
        raise TypeError(f"{next(iter(settings))!r} is given together with a text_config; give one of them")
    return text_config or TextConfig(**settings)


def split_bounds(characters: int, validation: float, test: float) -> tuple[int, int]:
    """Return where the training part ends and where the test part begins. Raises ConfigError for invalid fractions."""
    check_range("validation", validation, float, least=0, below=1)
    check_range("test", test, float, least=0, below=1 - validation)
    fractions = (1 - validation - test, 1 - test)
    first, second = (int(round(characters * fraction, 6)) for fraction in fractions)  # 100 * (1 - 0.8) is below 20
    return first, second


class _Source:
    """Files that are read into ``Tokens``, once or twice."""

    def __init__(self, files: Sequence[str | Path], name: str, text_config: TextConfig) -> None:
        self.files = files
        self.name = name
        self.text_config = text_config
        self.stamps = token_file.Stamps.of(files)

    def fill(self, tokens: Tokens, expected: int | None, on_bytes: OnBytes | None) -> str:
        """Read the files into ``tokens``; return the SHA-256 of their bytes. See ``Corpus.read``."""
        size, digest = sum(map(file_size, self.files)), hashlib.sha256()
        most = math.inf if expected is None else max(16 * expected, SMALL)
        if size > most:
            raise self._too_large(expected)

        def count(read: int) -> None:
            if on_bytes is not None:
                on_bytes(read, size)

        for file in self.files:
            tokens.seam()
            for text in decode_blocks(read_blocks(file, digest, count), display_name(file), self.text_config):
                tokens.add(text)
                if tokens.characters > most:
                    raise self._too_large(expected)
        _refuse_empty(tokens, self.name)
        self._refuse_changed()
        return digest.hexdigest()

    def again(self) -> Callable[[], Iterator[str]] | None:
        """Return a function that reads the text a second time, or None if it is faster to keep a copy of it.

        That is so for text that is piped in, compressed or normalized.
        """
        if any(str(file) == STANDARD_INPUT or is_compressed(file) for file in self.files) or \
                self.text_config.normalize != "none" or self.text_config.lowercase:
            return None

        def read() -> Iterator[str]:
            for file in self.files:
                yield from decode_blocks(read_blocks(file), display_name(file), self.text_config)
            self._refuse_changed()

        return read

    def _refuse_changed(self) -> None:
        if self.stamps[:2] != token_file.Stamps.of(self.files)[:2]:
            raise CorpusError(f"{self.name}: has changed while it was read; try again")

    def _too_large(self, expected: int | None) -> CorpusError:
        return CorpusError(f"{self.name}: is much larger than the {expected:,} characters that were trained on; name "
                           f"the right text")


def _refuse_empty(tokens: Tokens, name: str) -> None:
    if not tokens.characters:
        raise CorpusError(f"{name}: is empty (0 characters); give a text that is not")


def _surrogates(name: str) -> CorpusError:
    return CorpusError(f"{name}: a vocabulary holds no surrogates; give a text of Unicode characters")
