"""Reader: files -> blocks of text, for the two passes of ``Tokens``."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence

from charrnn.config import END, TextConfig
from charrnn.errors import CorpusError
from charrnn.text.decoding import decode_blocks
from charrnn.text.documents import read_documents
from charrnn.text.files import FileDigest, display_name, is_compressed, read_blocks
from charrnn.text.formats import is_binary
from charrnn.text.record import Stamps, TextFile, TextRecord
from charrnn.text.tokens import SMALL, Tokens

OnBytes = Callable[[int, int], None]
"""Called with the number of bytes read since the last call and the total number of bytes (0 if it is not known)."""


def text_blocks(file: TextFile, text_config: TextConfig, digest: FileDigest | None = None,
                on_bytes: Callable[[int], None] | None = None, live: bool = False) -> Iterator[str]:
    """Return the text of a file block by block, read with these settings.

    See ``read_blocks``, ``decode_blocks`` and ``read_documents``.
    """
    blocks = read_blocks(file.path, digest, on_bytes, recognise=text_config.level == "char", limit=file.limit, live=live)
    name = display_name(file.path)
    return read_documents(decode_blocks(blocks, name, text_config, lambda: file.is_longer), name, text_config)


class Reader:
    """Reads ``files`` into ``Tokens``. ``name`` is for messages; ``stamps`` describe the files before they are read.

    After ``fill``, ``sizes`` are the numbers of bytes read from each file except standard input, and ``content`` is the
    SHA-256 of the files. ``twins`` are the names of the first two files with the same content, or empty. ``warnings`` are
    messages for the user.
    """

    def __init__(self, files: Sequence[TextFile], name: str, text_config: TextConfig) -> None:
        self.files = files
        self.stamps = Stamps.of(files)
        self.name = name
        self.text_config = text_config
        self.sizes: list[int] = []
        self.content = ""
        self.twins: list[str] = []
        self.warnings: list[str] = []

    def fill(self, tokens: Tokens, record: TextRecord | None, on_bytes: OnBytes | None) -> None:
        """Read the files into ``tokens``.

        Raises CorpusError if a file cannot be read or changes meanwhile, or if the text is much larger than recorded.
        """
        most = math.inf if record is None else max(16 * record.characters, SMALL)
        total = sum(file.limit or 0 for file in self.files)
        if total > most:
            raise self._too_large()
        digests = []
        names: dict[bytes, str] = {}
        for file in self.files:
            digest, first = FileDigest(), tokens.characters
            for text in text_blocks(file, self.text_config, digest, on_bytes and (lambda read: on_bytes(read, total))):
                if tokens.characters == first:
                    self._warn_if_binary(text, file)
                tokens.add(text)
                if tokens.characters > most:
                    raise self._too_large()
            if file.limit is not None and digest.size < file.limit:
                raise self._changed()
            if file.size is not None:
                self.sizes.append(digest.size)
            if digest.size and not self.twins and digest.content in names:
                self.twins = [names[digest.content], str(file.path)]
            names[digest.content] = str(file.path)
            digests.append(digest.stored.digest())
        self.content = hashlib.sha256(b"".join(digests)).hexdigest()
        self._check_files()

    def again(self) -> Callable[[], Iterator[str]] | None:
        """Return a function that reads the text a second time, or None if keeping a copy is faster.

        A copy is faster for text that is piped in, compressed, normalized or marked with ``END``.
        """
        if self.text_config.normalize != "none" or self.text_config.lowercase or self.text_config.end == END or \
                any(file.size is None or is_compressed(file.path) for file in self.files):
            return None

        def read() -> Iterator[str]:
            digests = []
            for file in self.files:
                digest = FileDigest()
                yield from text_blocks(file, self.text_config, digest)
                digests.append(digest.stored.digest())
            if hashlib.sha256(b"".join(digests)).hexdigest() != self.content:
                raise self._changed()

        return read

    def _warn_if_binary(self, text: str, file: TextFile) -> None:
        if self.text_config.level == "char" and not self.warnings and is_binary(text[:2**12].encode("utf-8", "replace")):
            self.warnings.append(f"{display_name(file.path)}: contains many control characters, so it may not be text")

    def _check_files(self) -> None:
        """Raise CorpusError if a file has changed since reading began; warn if it has only grown."""
        for file in self.files:
            if file.has_changed:
                raise self._changed()
            if file.limit == file.size and file.is_longer:
                self.warnings.append(f"{file.path}: grew while it was read; only its first {file.limit:,} bytes are used")

    def _changed(self) -> CorpusError:
        return CorpusError(f"{self.name}: changed while it was read", "try again")

    def _too_large(self) -> CorpusError:
        return CorpusError(f"{self.name}: much larger than the text of this run")


def warn_of_twins(first: str, second: str) -> str:
    """Return the warning for two files with the same content."""
    what = f"{first} is read twice" if first == second else f"{first} and {second} have the same content"
    return f"{what}, so the model may be validated on text that it is trained on"
