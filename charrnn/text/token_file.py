"""Token files: the ids of a long text, kept in the user's cache folder and used as memory maps.

A token file has the format of a checkpoint (``charrnn.storage.container``). It is rebuilt if the text has changed or
the file is corrupt. Each combination of sources and options has its own file. A deleted file is rebuilt when it is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import END, TextConfig, from_dict, to_dict
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.storage import atomic, container
from charrnn.storage.cache import cache_folder
from charrnn.text.files import FileDigest, read_blocks
from charrnn.text.reader import Reader
from charrnn.text.record import Stamps, TextFile
from charrnn.text.tokens import Tokens
from charrnn.text.vocabulary import CODE_POINTS, Vocabulary

_KIND = "tokens"
_LARGEST = 2**46
_TYPES = {"kind": str, "sources": list, "text": dict, "files": str, "times": str, "content": str, "twins": list,
          "fingerprint": str, "characters": int, "vocabulary": int, "starts": int, "distinct": int,
          "folded": str}
_NAME = re.compile(r"(?!\.).+-[0-9a-f]{16}\.h5", re.DOTALL)
_TEMPORARY = re.compile(r"(?:\.(?:.+-[0-9a-f]{16}|standard-input-.+)\.h5\.|standard-input-)"
                        rf"{atomic.OWNER}-[0-9a-f]{{8}}\.(?:tmp|h5)", re.DOTALL)
_BLOCK = 2**22


class Kept(NamedTuple):
    """The content of a token file: the ids and the positions at which documents start, as memory maps, and its metadata."""

    path: Path
    ids: np.ndarray
    starts: np.ndarray
    vocabulary: Vocabulary
    metadata: Mapping[str, Any]


def no_room(error: OSError) -> CorpusError:
    """Return the error for a token file that cannot be written."""
    return CorpusError(f"{cache_folder()}: the token file cannot be written ({error.strerror or error})",
                       "check that this is a folder with free space, or set CHARRNN_CACHE to another folder")


def path_of(sources: Sequence[str | Path], text_config: TextConfig) -> Path:
    """Return the path of the token file of ``sources`` that are read with ``text_config``."""
    key = json.dumps([[os.path.abspath(source) for source in sources], to_dict(text_config)], sort_keys=True)
    stem = Path(os.path.abspath(sources[0])).stem or "text"
    return cache_folder() / f"{stem[:40]}-{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.h5"


class Place:
    """The place for the token file of a text: the cache folder or, if that is not writable, a temporary folder.

    ``path`` is the path at which the next process looks for the file, or None for a text that cannot be read again. If the
    file ``is_required``, a temporary folder is never used. ``warnings`` are messages for the user.
    """

    def __init__(self, path: Path | None, is_required: bool = False) -> None:
        self.is_required = is_required
        self.warnings: tuple[str, ...] = ()
        self._path = path
        self._folder: Path | None = None
        self._file: Path | None = None

    @property
    def is_temporary(self) -> bool:
        """Whether the file is useless after this process has ended."""
        return self._path is None or bool(self.warnings)

    def folder(self) -> Path:
        """Return the folder, creating it if needed. Raises OSError if that fails."""
        if self._folder is None:
            try:
                cache_folder().mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=cache_folder()).close()  # raises OSError if the folder is not writable
                self._folder = cache_folder()
            except OSError as error:
                if self.is_required:
                    raise
                self._folder = Path(tempfile.mkdtemp(prefix="charrnn-"))
                self.warnings = (f"{cache_folder()}: not writable ({error.strerror or error}), so the ids of the text are "
                                 f"kept in {self._folder} until the program ends",)
        return self._folder

    def path(self) -> Path:
        """Return the path of the file, in a folder that exists. Raises OSError if the folder cannot be created."""
        if self._file is None:
            parent = self.folder()
            self._file = parent / f"standard-input-{atomic.owner()}-{secrets.token_hex(4)}.h5"
            if self._path is not None and not self.is_temporary:
                self._file = self._path
        return self._file

    def leave(self) -> None:
        """Choose a temporary file instead of the file at ``path``."""
        self._path = self._file = None

    def discard(self) -> None:
        """Delete the file if it is temporary. On Windows, a file that is still mapped stays."""
        if self._folder is not None and self.warnings:
            shutil.rmtree(self._folder, ignore_errors=True)
        elif self._file is not None and self.is_temporary:
            with suppress(OSError):
                self._file.unlink()


def save(path: Path, tokens: Tokens, sources: Sequence[str], reader: Reader) -> None:
    """Write a token file atomically. Raises OSError if it cannot be written, and the errors of ``Tokens.ids``."""
    ids = tokens.ids()
    metadata = {
        "kind": _KIND, "sources": [os.path.abspath(source) for source in sources], "text": to_dict(reader.text_config),
        "files": reader.stamps.files, "times": "" if reader.stamps.young else reader.stamps.times,
        "content": reader.content, "twins": reader.twins, "fingerprint": tokens.fingerprint, "characters": ids.characters,
        "vocabulary": len(tokens.vocabulary), "starts": ids.documents,
        "distinct": ids.distinct, "folded": tokens.folded}
    _write(path, metadata, ids.blocks, ids.starts, tokens.vocabulary)


def _write(path: Path, metadata: Mapping[str, Any], ids: Iterable[np.ndarray], starts: Iterable[np.ndarray],
           vocabulary: Vocabulary) -> None:
    atomic.replace_file(path, container.to_pieces(_expected_arrays(dict(metadata)), metadata, {
        "ids": ids, "starts": starts, "vocabulary/codepoints": [vocabulary.codepoints]}))


def load(path: Path, verify: bool = True) -> Kept:
    """Load a token file. Raises CheckpointError if it is invalid.

    Use ``verify=False`` only for a file that this process has just written: neither its SHA-256 nor its values are
    checked then.
    """
    arrays, metadata = container.read(path, _expected_arrays, _LARGEST, mapped=("ids", "starts"), verify=verify)
    if verify:
        _check(path, arrays, metadata)
    return Kept(path, arrays["ids"], arrays["starts"].view(np.int64), Vocabulary(arrays["vocabulary/codepoints"]), metadata)


def _check(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    try:
        vocabulary = Vocabulary(arrays["vocabulary/codepoints"])
        if END in vocabulary and from_dict(TextConfig, metadata["text"]).end != END:
            raise ValueError("/vocabulary/codepoints: contains the end mark of documents")
        for block in _read(path, _Stored.of(arrays["ids"])):
            if int(block.max()) >= len(vocabulary):
                raise ValueError("/ids: contains ids outside the vocabulary")
        last = -1
        for block in _read(path, _Stored.of(arrays["starts"])):
            if int(block[0]) <= last or np.any(block[1:] <= block[:-1]) or int(block[-1]) >= metadata["characters"]:
                raise ValueError("/starts: not increasing, or outside the text")
            last = int(block[-1])
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path}: not a valid token file: {error}") from error


class _Stored(NamedTuple):
    """Where the values of a memory map are in its file."""

    dtype: np.dtype
    offset: int
    length: int

    @classmethod
    def of(cls, array: np.ndarray) -> _Stored:
        """Return the place of a memory map, or of an empty array, which is not mapped."""
        return cls(array.dtype, array.offset if isinstance(array, np.memmap) else 0, len(array))


def _read(path: Path, stored: _Stored) -> Iterator[np.ndarray]:
    """Yield the values of a memory map, block by block, read from its file.

    Pages of the map itself would count as memory of this process.
    """
    with open(path, "rb") as file:
        file.seek(stored.offset)
        for first in range(0, stored.length, _BLOCK):
            yield np.fromfile(file, stored.dtype, min(_BLOCK, stored.length - first))


def load_if_current(path: Path, files: Sequence[TextFile], text_config: TextConfig) -> Kept | None:
    """Load the token file if it is valid and matches ``files`` and ``text_config``; otherwise return None.

    Files are compared by their sizes and times and, if the times differ, by their content. If the content is the same, the
    token file gets the new times, so that the content need not be read the next time.
    """
    try:
        metadata = metadata_of(path)
        stamps = Stamps.of(files)
        if metadata["files"] != stamps.files or metadata["text"] != to_dict(text_config):
            return None
        if metadata["times"] == stamps.times:
            return load(path)
        if metadata["content"] != _content(files):
            return None
        is_settled = not stamps.young and not any(file.is_longer or file.has_changed for file in files)
        return _with_times(path, stamps.times) if is_settled else load(path)
    except (CheckpointError, CorpusError, OSError):
        return None


def _content(files: Sequence[TextFile]) -> str:
    """Return the digest of the content of files, computed like ``Reader.content``."""
    digests = []
    for file in files:
        digest = FileDigest()
        for _ in read_blocks(file.path, digest, decompress=False, limit=file.limit):
            pass
        digests.append(digest.stored.digest())
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _with_times(path: Path, times: str) -> Kept:
    """Update the times in a token file if it can be written, and load it. Raises CheckpointError if it is invalid."""
    _, ids, starts, vocabulary, metadata = load(path)
    places = _Stored.of(ids), _Stored.of(starts)
    del ids, starts  # closes the maps, because Windows does not replace a mapped file
    try:
        _write(path, {**metadata, "times": times}, _read(path, places[0]), _read(path, places[1]), vocabulary)
    except OSError:
        return load(path)
    return load(path, verify=False)


def metadata_of(path: Path) -> dict[str, Any]:
    """Load the metadata of a token file. Raises CheckpointError if the file is not a token file."""
    return container.read_metadata(path, _expected_arrays, _LARGEST)


def token_files() -> list[Path]:
    """Return the files in the cache folder that are named like token files, sorted."""
    return sorted(path for path in cache_folder().glob("*.h5") if _NAME.fullmatch(path.name) and path.is_file())


def abandoned_files() -> list[Path]:
    """Return the files that killed processes left in the cache folder: temporary files, and texts that were piped in."""
    found = ((path, _TEMPORARY.fullmatch(path.name)) for path in cache_folder().glob("*"))
    return sorted(path for path, name in found
                  if name and path.is_file() and atomic.is_abandoned(path, name[1], int(name[2])))


def _expected_arrays(metadata: dict[str, Any]) -> container.Manifest:
    """Return the arrays that belong to the metadata of a token file. Raises ValueError if the metadata is invalid."""
    if set(metadata) != set(_TYPES) or any(type(metadata[name]) is not kind for name, kind in _TYPES.items()) \
            or metadata["kind"] != _KIND \
            or not all(type(name) is str for name in (*metadata["sources"], *metadata["twins"])) \
            or len(metadata["twins"]) not in (0, 2):
        raise ValueError("not a token file")
    size, vocabulary, starts = metadata["characters"], metadata["vocabulary"], metadata["starts"]
    if not (1 <= vocabulary <= CODE_POINTS + 1 and 1 <= size < _LARGEST and 0 <= metadata["distinct"] <= starts <= size):
        raise ValueError("size out of range")
    try:
        from_dict(TextConfig, metadata["text"])
    except ConfigError as error:
        raise ValueError(str(error)) from error
    dtype = f"<u{np.min_scalar_type(vocabulary - 1).itemsize}"
    return {"ids": (dtype, (size,)), "starts": ("<u8", (starts,)), "vocabulary/codepoints": ("<u4", (vocabulary,))}
