"""Token files: the ids of a long text, kept in the user's cache folder and used as memory maps.

A token file has the format of a checkpoint (``charrnn.storage.container``). It is written again whenever it does not
match: for another source, other options, or damage. Nothing is lost if it is deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import TextConfig, from_dict, to_dict
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.storage import atomic
from charrnn.storage import container as checkpoint
from charrnn.text.files import STANDARD_INPUT, read_blocks
from charrnn.text.tokens import Tokens
from charrnn.text.vocabulary import CODE_POINTS, Vocabulary

_KIND = "tokens"
_LARGEST = 2**46
_TYPES = {"kind": str, "sources": list, "text": dict, "files": str, "times": str, "content": str, "fingerprint": str,
          "characters": int, "vocabulary": int, "starts": int, "folded": str}
_NAME = re.compile(r"(?!\.).+-[0-9a-f]{16}\.h5", re.DOTALL)
_TEMPORARY = re.compile(r"(?:\.(?:.+-[0-9a-f]{16}|standard-input-.+)\.h5\.|standard-input-)"
                        rf"{atomic.OWNER}-[0-9a-f]{{8}}\.(?:tmp|h5)", re.DOTALL)
_YOUNG = 2.0
"""Seconds within which a file may change again and keep its time."""

_BLOCK = 2**22


class Kept(NamedTuple):
    """The content of a token file: the ids and the positions at which documents start, as memory maps, and its metadata."""

    path: Path
    ids: np.ndarray
    starts: np.ndarray
    vocabulary: Vocabulary
    metadata: Mapping[str, Any]


def folder() -> Path:
    """Return the folder of token files: CHARRNN_CACHE, or the cache folder of this system."""
    if place := os.environ.get("CHARRNN_CACHE"):
        return Path(place)
    from platformdirs import user_cache_path

    return user_cache_path("charrnn", appauthor=False)


def made_folder() -> Path:
    """Return that folder, creating it if needed. Raises CorpusError if that fails."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise no_room(error) from None
    return folder()


def no_room(error: OSError) -> CorpusError:
    """Return the error for a token file that cannot be written."""
    return CorpusError(f"{folder()}: no token file can be written there ({error.strerror or error}); see that it is a "
                       f"folder with room, or name another in CHARRNN_CACHE")


def path_of(sources: Sequence[str | Path], text_config: TextConfig) -> Path:
    """The token file of these sources, read in this way."""
    what = json.dumps([[os.path.abspath(source) for source in sources], to_dict(text_config)], sort_keys=True)
    stem = Path(os.path.abspath(sources[0])).stem or "text"
    return folder() / f"{stem[:40]}-{hashlib.sha256(what.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.h5"


def temporary_path() -> Path:
    """Return the path of a token file for a text that cannot be read again. Its corpus deletes it."""
    return folder() / f"standard-input-{atomic.owner()}-{secrets.token_hex(4)}.h5"


class Stamps(NamedTuple):
    """Digests of the names and sizes of files, and of their times. If ``young``, a file may change and keep its time."""

    files: str
    times: str
    young: bool

    @classmethod
    def of(cls, files: Sequence[str | Path]) -> Stamps:
        """Return the stamps of the files that exist."""
        sizes, times, newest = hashlib.sha256(), hashlib.sha256(), 0.0
        for file in files:
            if str(file) == STANDARD_INPUT or not os.path.exists(file):
                continue  # which is found out when it is read
            found = os.stat(file)
            sizes.update(f"{os.path.abspath(file)}\0{found.st_size}\0".encode("utf-8", "surrogateescape"))
            times.update(f"{found.st_mtime_ns}\0".encode())
            newest = max(newest, found.st_mtime)
        return cls(sizes.hexdigest(), times.hexdigest(), newest > time.time() - _YOUNG)


def save(path: Path, tokens: Tokens, sources: Sequence[str], text_config: TextConfig, stamps: Stamps, content: str) -> None:
    """Write a token file atomically. Raises OSError if it cannot be written, and what ``Tokens.ids`` raises."""
    ids = tokens.ids()
    vocabulary = tokens.vocabulary
    metadata = {
        "kind": _KIND, "sources": [os.path.abspath(source) for source in sources], "text": to_dict(text_config),
        "files": stamps.files, "times": "" if stamps.young else stamps.times, "content": content,
        "fingerprint": tokens.fingerprint, "characters": ids.characters, "vocabulary": len(vocabulary),
        "starts": ids.documents, "folded": tokens.folded}
    atomic.replace_file(path, checkpoint.to_pieces(_expected_arrays(metadata), metadata, {
        "ids": ids.blocks, "starts": ids.starts, "vocabulary/codepoints": [vocabulary.codepoints]}))


def load(path: Path, verify: bool = True) -> Kept:
    """Load a token file. Raises CheckpointError if it is invalid.

    Use ``verify=False`` only for a file that this process has just written: neither its SHA-256 nor its values are
    checked then.
    """
    arrays, metadata = checkpoint.read(path, _expected_arrays, _LARGEST, mapped=("ids", "starts"), verify=verify)
    if verify:
        _check(path, arrays, metadata)
    return Kept(path, arrays["ids"], arrays["starts"].view(np.int64), Vocabulary(arrays["vocabulary/codepoints"]), metadata)


def _check(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    try:
        vocabulary = Vocabulary(arrays["vocabulary/codepoints"])
        for block in _read(path, arrays["ids"]):  # not through the map, whose pages would count as memory of this process
            if int(block.max()) >= len(vocabulary):
                raise ValueError("/ids: not less than the size of the vocabulary")
        last = -1
        for block in _read(path, arrays["starts"]):
            if int(block[0]) <= last or np.any(block[1:] <= block[:-1]) or int(block[-1]) >= metadata["characters"]:
                raise ValueError("/starts: not increasing, or beyond the end")
            last = int(block[-1])
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path}: not a valid token file: {error}") from None


def _read(path: Path, array: np.ndarray) -> Iterator[np.ndarray]:
    """The values of a memory map, block by block."""
    if not isinstance(array, np.memmap):
        return
    with open(path, "rb") as file:
        file.seek(array.offset)
        for first in range(0, len(array), _BLOCK):
            yield np.fromfile(file, array.dtype, min(_BLOCK, len(array) - first))


def load_if_current(path: Path, files: Sequence[str | Path], text_config: TextConfig) -> Kept | None:
    """Load the token file if it exists, is valid, and belongs to ``files`` as they are now and to these options; else
    return None. Files are compared by their sizes and times, and if the times differ, by their content."""
    try:
        metadata = metadata_of(path)
        stamps = Stamps.of(files)
        if metadata["files"] != stamps.files or metadata["text"] != to_dict(text_config):
            return None
        if metadata["times"] != stamps.times:
            digest = hashlib.sha256()
            for file in files:
                for _ in read_blocks(file, digest, decompress=False):
                    pass
            if metadata["content"] != digest.hexdigest():
                return None
        return load(path)
    except (CheckpointError, OSError):
        return None


def metadata_of(path: Path) -> dict[str, Any]:
    """Load the metadata of a token file. Raises CheckpointError if the file is not a token file."""
    return checkpoint.read_metadata(path, _expected_arrays, _LARGEST)


def token_files() -> list[Path]:
    """The files in the cache folder that are named as token files, sorted; another's files are left alone."""
    return sorted(path for path in folder().glob("*.h5") if _NAME.fullmatch(path.name) and path.is_file())


def abandoned_files() -> list[Path]:
    """Return the files in the cache folder that killed processes have left: temporary files, and those of a standard
    input."""
    found = ((path, _TEMPORARY.fullmatch(path.name)) for path in folder().glob("*"))
    return sorted(path for path, name in found
                  if name and path.is_file() and atomic.is_abandoned(path, name[1], int(name[2])))


def _expected_arrays(metadata: dict[str, Any]) -> checkpoint.Manifest:
    """Return the arrays that belong to the metadata of a token file. Raises ValueError if the metadata is invalid."""
    if set(metadata) != set(_TYPES) or any(type(metadata[name]) is not kind for name, kind in _TYPES.items()) \
            or metadata["kind"] != _KIND or not all(type(source) is str for source in metadata["sources"]):
        raise ValueError("not a token file")
    size, vocabulary, starts = metadata["characters"], metadata["vocabulary"], metadata["starts"]
    if not (1 <= vocabulary <= CODE_POINTS + 1 and 1 <= size < _LARGEST and 0 <= starts <= size):
        raise ValueError("size out of range")
    try:
        from_dict(TextConfig, metadata["text"])
    except ConfigError as error:
        raise ValueError(str(error)) from None
    dtype = f"<u{np.min_scalar_type(vocabulary - 1).itemsize}"
    return {"ids": (dtype, (size,)), "starts": ("<u8", (starts,)), "vocabulary/codepoints": ("<u4", (vocabulary,))}
