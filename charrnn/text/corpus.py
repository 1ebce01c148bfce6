"""A text as ids, and its split into a training, a validation and a test part."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import TextConfig, from_dict, validation_fraction
from charrnn.errors import CheckpointError, ConfigError, CorpusError, check_type
from charrnn.text import token_file
from charrnn.text.builtin import BUILTIN_TEXTS
from charrnn.text.documents import read_documents
from charrnn.text.files import STANDARD_INPUT, find_files, join_names
from charrnn.text.reader import OnBytes, Reader, warn_of_twins
from charrnn.text.record import TextFile, TextRecord
from charrnn.text.split import Part, Split, between_documents, split_bounds
from charrnn.text.tokens import Tokens
from charrnn.text.vocabulary import Vocabulary

DEFAULT_CORPUS = "python-reference"
"""The default corpus: the language reference that comes with every CPython."""

_BLOCK = 2**20


@dataclass(repr=False, eq=False)
class Corpus:
    """A text as ids, with its vocabulary. ``from_text`` and ``read`` create it.

    ``ids`` (N,) have the smallest unsigned dtype. ``starts`` are the sorted indices at which documents start and the state
    is reset: at the end mark of the previous document. ``distinct`` is the number of different documents, 0 if it is not
    known. ``fingerprint`` is the SHA-256 of the text in UTF-8; if other settings affect the ids, it depends on them too.
    ``sources`` are the names of the files as given, and ``text_config`` says how they were read. ``folded`` contains the
    distinct characters that were replaced by the unknown one. The ids of a long text are a memory map of the token file
    at ``path``. ``sizes`` are the numbers of bytes read from each file, and ``warnings`` are messages for the user.
    """

    ids: np.ndarray
    starts: np.ndarray
    vocabulary: Vocabulary
    fingerprint: str
    folded: str = ""
    sources: tuple[str, ...] = ()
    text_config: TextConfig = field(default_factory=TextConfig)
    path: Path | None = None
    sizes: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    distinct: int = 0

    @classmethod
    def from_text(cls, text: str, sources: Sequence[str] = (), text_config: TextConfig | None = None,
                  vocabulary: Vocabulary | None = None, **settings: Any) -> Corpus:
        """Create a corpus from a string. ``sources`` are names for messages; ``read`` describes the other arguments.

        A run on it can be resumed only if the text is passed again, because no file contains it.

        Raises CorpusError if the text cannot be used, VocabularyError for a character that is not in ``vocabulary``.
        """
        check_type("text", text, str)
        text_config = _text_config(text_config, settings)
        name = join_names(sources) or "the text"
        tokens = Tokens(text_config, vocabulary=vocabulary, name=name)
        try:
            if text_config.level == "byte":
                text = text.encode("utf-8").decode("latin-1")
            for block in read_documents([text], name, text_config):
                tokens.add(block)
        except UnicodeEncodeError as error:
            raise _surrogates(name) from error
        _refuse_empty(tokens, name)
        return cls._in_memory(tokens, sources, text_config)

    @classmethod
    def read(cls, *sources: str | Path, text_config: TextConfig | None = None, vocabulary: Vocabulary | None = None,
             record: TextRecord | None = None, keep: bool = False, on_bytes: OnBytes | None = None,
             **settings: Any) -> Corpus:
        """Read files, one after the other, as one text; ``-`` is standard input.

        Of a folder, the files in and below it are read, sorted by path. The name of a built-in corpus selects it, unless a
        file of that name exists. ``settings`` are fields of ``TextConfig``, instead of ``text_config``. ``vocabulary``
        is by default that of the text. If ``record`` is given, only the text that it describes is read. The ids of a long
        text, or of any text if ``keep`` is true, are kept in a token file, from which the next call loads them. Raises
        CorpusError if the text cannot be read or used, VocabularyError for a character that is not in ``vocabulary``.
        """
        text_config = _text_config(text_config, settings)
        names = tuple(map(str, sources))
        if not names:
            raise CorpusError("no text is given", "pass the name of a text file")
        if vocabulary is None and len(names) == 1 and names[0] in BUILTIN_TEXTS and not Path(names[0]).exists():
            corpus = cls.from_text(BUILTIN_TEXTS[names[0]].read(), names, text_config)
            if record is not None:
                record.require_fingerprint(corpus.fingerprint, names[0])
            return corpus
        name, warnings = join_names(names), []
        files = [TextFile.of(path) for path in find_files(names, text_config.glob, record and record.files)]
        if record is not None:
            files = record.require_sizes(files, name)
            warnings = [f"{file.path}: has grown since the run was started; only its first {file.limit:,} bytes are used"
                        for file in files if file.is_longer]
        can_be_found_again = vocabulary is None and all(str(file.path) != STANDARD_INPUT for file in files)
        path = token_file.path_of(names, text_config) if can_be_found_again else None
        if path is not None and (kept := token_file.load_if_current(path, files, text_config)) is not None:
            if record is not None:
                record.require_fingerprint(kept.metadata["fingerprint"], name)
            corpus = cls._from_token_file(kept, names)
            corpus.sizes = tuple(file.limit or 0 for file in files)
            twins = kept.metadata["twins"]
        else:
            reader = Reader(files, name, text_config)
            corpus = cls._from_reader(reader, names, vocabulary, record, token_file.Place(path, keep), on_bytes)
            corpus.sizes = tuple(reader.sizes)
            warnings += [*reader.warnings, *corpus.warnings]
            twins = reader.twins
        corpus.warnings = (*warnings, *([warn_of_twins(*twins)] if twins else []))
        return corpus

    @classmethod
    def _from_reader(cls, reader: Reader, names: Sequence[str], vocabulary: Vocabulary | None, record: TextRecord | None,
                     place: token_file.Place, on_bytes: OnBytes | None) -> Corpus:
        """Read files; keep the ids in memory if the text is short and needs no token file, otherwise in a token file."""
        tokens = Tokens(reader.text_config, place.folder, vocabulary, reader.name, reader.again())
        try:
            reader.fill(tokens, record, on_bytes)
            _refuse_empty(tokens, reader.name)
            if record is not None:
                record.require_fingerprint(tokens.fingerprint, reader.name)
            if tokens.is_small and not place.is_required:
                return cls._in_memory(tokens, names, reader.text_config)
            try:
                token_file.save(place.path(), tokens, names, reader)
            except PermissionError:  # Windows does not replace a file that a process has mapped
                if place.is_required:
                    raise
                place.leave()
                token_file.save(place.path(), tokens, names, reader)
        except BaseException as error:
            place.discard()
            if isinstance(error, UnicodeEncodeError):
                raise _surrogates(reader.name) from error
            if isinstance(error, OSError):
                raise token_file.no_room(error) from error
            raise
        finally:
            tokens.close()
        corpus = cls._from_token_file(token_file.load(place.path(), verify=False), names)
        corpus.warnings = place.warnings
        if place.is_temporary:
            weakref.finalize(corpus, place.discard)
        return corpus

    @classmethod
    def _in_memory(cls, tokens: Tokens, sources: Sequence[str], text_config: TextConfig) -> Corpus:
        ids = tokens.ids()
        blocks = np.concatenate(list(ids.blocks))
        starts = np.concatenate([np.empty(0, np.int64), *(starts.astype(np.int64) for starts in ids.starts)])
        return cls(blocks, starts, tokens.vocabulary, tokens.fingerprint, tokens.folded, tuple(sources), text_config,
                   distinct=ids.distinct)

    @classmethod
    def _from_token_file(cls, kept: token_file.Kept, sources: Sequence[str], sizes: tuple[int, ...] = ()) -> Corpus:
        return cls(kept.ids, kept.starts, kept.vocabulary, kept.metadata["fingerprint"], kept.metadata["folded"],
                   tuple(sources), from_dict(TextConfig, kept.metadata["text"]), kept.path, sizes,
                   distinct=kept.metadata["distinct"])

    def __reduce__(self) -> Any:
        """Pickle a corpus in a token file as the path of that file, which other ranks can open."""
        if self.path is not None:
            return Corpus._reopen, (self.path, self.sources, self.sizes)
        return Corpus, (self.ids, self.starts, self.vocabulary, self.fingerprint, self.folded, self.sources,
                        self.text_config, None, self.sizes, (), self.distinct)

    @classmethod
    def _reopen(cls, path: Path, sources: Sequence[str], sizes: tuple[int, ...]) -> Corpus:
        try:
            return cls._from_token_file(token_file.load(path), sources, sizes)
        except CheckpointError as error:
            raise CorpusError(str(error), "all ranks need this file: set CHARRNN_CACHE to a folder that all machines "
                                          "share") from error

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        name = join_names(self.sources) or "text"
        return f"Corpus({name!r}, {len(self):,} characters, {len(self.vocabulary):,} distinct)"

    @property
    def name(self) -> str:
        """The stem of the first source, or "text"."""
        if not self.sources or self.sources[0] == STANDARD_INPUT:
            return "text"
        return Path(self.sources[0]).resolve().stem

    def split(self, validation: float | None = None, test: float = 0.0) -> Split:
        """Split the text into a training, a validation and a test part, in this order.

        ``validation`` and ``test`` are fractions of the text; None selects the default fraction of this text. Identical
        documents are in the same part (unless ``group_copies`` is false). Raises ConfigError if the fractions are out of
        range or leave a part with fewer than 2 characters.
        """
        validation = self.validation_fraction(validation)
        cuts = [0, *self.bounds(validation, test), len(self)]
        places = np.searchsorted(self.starts, cuts)
        parts = []
        for k, (name, fraction) in enumerate((("train", 0.0), ("validation", validation), ("test", test))):
            starts = self.starts[places[k]:places[k + 1]]
            part = Part(self.ids[cuts[k]:cuts[k + 1]], starts - cuts[k] if cuts[k] else starts)  # no copy of a memory map
            if fraction and len(part) < 2:
                characters = f"{len(self):,} character{'s'[:len(self) != 1]}"
                raise ConfigError(name, f"the text has only {characters}, and {fraction:g} of it is less than 2",
                                  "use a longer text, or set a larger fraction or 0")
            parts.append(part)
        return Split(self, *parts)

    def validation_fraction(self, validation: float | None) -> float:
        """Return ``validation``, or the default validation fraction for this text if it is None."""
        return validation_fraction(validation, len(self), len(self.vocabulary))

    def bounds(self, validation: float | None, test: float) -> tuple[int, int]:
        """Return the ends of the training and the validation part of a split.

        Documents are not cut, and identical ones are not separated (unless ``group_copies`` is false): an end is moved to
        the nearest place between two different documents. Raises ConfigError if a fraction is out of range or there are
        too few different documents.
        """
        first, second = split_bounds(len(self), self.validation_fraction(validation), test)
        if not len(self.starts) or not self.text_config.group_copies:
            return first, second
        has_validation = first < second
        ends = self.ids, self.starts
        if second < len(self):
            second = between_documents(*ends, second, len(self))
        return between_documents(*ends, first, second) if has_validation else second, second

    def text(self, ids: np.ndarray | None = None) -> Iterator[str]:
        """Yield the text of ``ids`` (N,), by default all, in blocks; documents are in random order, with end marks."""
        ids = self.ids if ids is None else ids
        for first in range(0, len(ids), _BLOCK):
            yield self.vocabulary.decode(ids[first:first + _BLOCK])

    def documents(self, ids: np.ndarray | None = None) -> Iterator[str]:
        """Yield the documents that end in ``ids`` (N,), by default all, without their end marks.

        A continuous text has none.
        """
        rest = ""
        end = self.text_config.end
        for block in self.text(ids) if end is not None else ():
            *documents, rest = (rest + block).split(end)
            yield from filter(None, documents)

    def unknown_fraction(self) -> float:
        """Return the fraction of the characters that were replaced by the unknown one."""
        unknown = self.vocabulary.unknown
        if unknown is None:
            return 0.0
        blocks = (self.ids[first:first + _BLOCK] for first in range(0, len(self), _BLOCK))
        return sum(int(np.count_nonzero(block == unknown)) for block in blocks) / len(self)


def _text_config(text_config: TextConfig | None, settings: dict[str, Any]) -> TextConfig:
    if text_config is not None and settings:
        raise TypeError(f"{next(iter(settings))!r} and text_config cannot be combined")
    return text_config or TextConfig(**settings)


def _refuse_empty(tokens: Tokens, name: str) -> None:
    if not tokens.characters:
        raise CorpusError(f"{name}: is empty (0 characters)", "use a text that is not empty")


def _surrogates(name: str) -> CorpusError:
    return CorpusError(f"{name}: contains surrogates, which are not characters", "use a text of Unicode characters")
