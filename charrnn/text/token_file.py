"""Token files: the ids of a long text, kept in the user's cache folder, and read where they lie.

A token file is written and judged as a checkpoint is (``checkpoint``), and made anew whenever it does not fit: another
source, other options, damage. Nothing is lost with it.
"""

from __future__ import annotations

import atexit
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

from charrnn.config import Reading, from_facts, to_facts
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.storage import atomic
from charrnn.storage import container as checkpoint
from charrnn.text.files import STANDARD_INPUT, blocks
from charrnn.text.tokens import Tokens
from charrnn.text.vocabulary import CODE_POINTS, Vocabulary

_KIND = "tokens"
_LARGEST = 2**46
_KINDS = {"kind": str, "sources": list, "reading": dict, "files": str, "times": str, "content": str, "fingerprint": str,
          "characters": int, "vocabulary": int, "starts": int, "folded": str}
_NAME = re.compile(r"(?!\.).+-[0-9a-f]{16}\.h5", re.DOTALL)
_OWNER = re.compile(r"\..+-[0-9a-f]{16}\.h5\.([0-9]{1,9})-[0-9a-f]+\.tmp|standard-input-([0-9]{1,9})-[0-9a-f]{8}\.h5",
                    re.DOTALL)
_YOUNG = 2.0
"""Seconds within which a file may change again and keep its time."""

_BLOCK = 2**22


class Kept(NamedTuple):
    """What a token file holds: the ids and where documents start among them as memory maps, and its facts."""

    path: Path
    ids: np.ndarray
    starts: np.ndarray
    vocabulary: Vocabulary
    facts: Mapping[str, Any]


def folder() -> Path:
    """Where token files lie: CHARRNN_CACHE, or this system's place for what can be made again."""
    if place := os.environ.get("CHARRNN_CACHE"):
        return Path(place)
    from platformdirs import user_cache_path

    return user_cache_path("charrnn", appauthor=False)


def made_folder() -> Path:
    """The same, which is there now. Raises CorpusError where it cannot be."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise no_room(error) from None
    return folder()


def no_room(error: OSError) -> CorpusError:
    """What to say where a token file cannot be written."""
    return CorpusError(f"{folder()}: no token file can be written there ({error.strerror or error}); see that it is a "
                       f"folder with room, or name another in CHARRNN_CACHE")


def path_of(sources: Sequence[str | Path], reading: Reading) -> Path:
    """The token file of these sources, read in this way."""
    what = json.dumps([[os.path.abspath(source) for source in sources], to_facts(reading)], sort_keys=True)
    stem = Path(os.path.abspath(sources[0])).stem or "text"
    return folder() / f"{stem[:40]}-{hashlib.sha256(what.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.h5"


def temporary_path() -> Path:
    """A token file for a text that cannot be read again; it goes when this process ends."""
    path = folder() / f"standard-input-{os.getpid()}-{secrets.token_hex(4)}.h5"
    atexit.register(path.unlink, missing_ok=True)
    return path


class Stamps(NamedTuple):
    """Digests of the names and sizes, and of the times of files, and whether one may change without a trace in them."""

    files: str
    times: str
    young: bool

    @classmethod
    def of(cls, files: Sequence[str | Path]) -> Stamps:
        """Of those that are there."""
        sizes, times, newest = hashlib.sha256(), hashlib.sha256(), 0.0
        for file in files:
            if str(file) == STANDARD_INPUT or not os.path.exists(file):
                continue  # which is found out when it is read
            found = os.stat(file)
            sizes.update(f"{os.path.abspath(file)}\0{found.st_size}\0".encode("utf-8", "surrogateescape"))
            times.update(f"{found.st_mtime_ns}\0".encode())
            newest = max(newest, found.st_mtime)
        return cls(sizes.hexdigest(), times.hexdigest(), newest > time.time() - _YOUNG)


def save(path: Path, tokens: Tokens, sources: Sequence[str], reading: Reading, stamps: Stamps, content: str) -> None:
    """Write a token file, whole or not at all. Raises OSError, and what ``Tokens.ids`` does."""
    ids = tokens.ids()
    vocabulary = tokens.vocabulary
    facts = {"kind": _KIND, "sources": [os.path.abspath(source) for source in sources], "reading": to_facts(reading),
             "files": stamps.files, "times": "" if stamps.young else stamps.times, "content": content,
             "fingerprint": tokens.fingerprint, "characters": ids.characters, "vocabulary": len(vocabulary),
             "starts": ids.documents, "folded": tokens.folded}
    atomic.write_pieces(path, checkpoint.to_pieces(_describe(facts), facts, {
        "ids": ids.blocks, "starts": ids.starts, "vocabulary/codepoints": [vocabulary.codepoints]}))


def load(path: Path, verify: bool = True) -> Kept:
    """What a token file holds. Raises CheckpointError for a file that is no whole, valid one; only for one that this
    process has just written there is no need to ``verify`` what it holds."""
    arrays, facts = checkpoint.read(path, _describe, _LARGEST, mapped=("ids", "starts"), verify=verify)
    if verify:
        _check(path, arrays, facts)
    return Kept(path, arrays["ids"], arrays["starts"].view(np.int64), Vocabulary(arrays["vocabulary/codepoints"]), facts)


def _check(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    try:
        vocabulary = Vocabulary(arrays["vocabulary/codepoints"])
        for block in _read(path, arrays["ids"]):  # not through the map, whose pages would count as memory of this process
            if int(block.max()) >= len(vocabulary):
                raise ValueError("it holds ids that are none")
        last = -1
        for block in _read(path, arrays["starts"]):
            if int(block[0]) <= last or np.any(block[1:] <= block[:-1]) or int(block[-1]) >= facts["characters"]:
                raise ValueError("its documents are not in order")
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


def fitting(path: Path, files: Sequence[str | Path], reading: Reading) -> Kept | None:
    """What the token file holds, if there is one and it is that of ``files`` as they are now, read in this way: by their
    sizes, their times, and where times differ by their content."""
    try:
        facts = facts_of(path)
        stamps = Stamps.of(files)
        if facts["files"] != stamps.files or facts["reading"] != to_facts(reading):
            return None
        if facts["times"] != stamps.times:
            digest = hashlib.sha256()
            for file in files:
                for _ in blocks(file, digest, unpack=False):
                    pass
            if facts["content"] != digest.hexdigest():
                return None
        return load(path)
    except (CheckpointError, OSError):
        return None


def facts_of(path: Path) -> dict[str, Any]:
    """What a token file says of itself. Raises CheckpointError for a file that is none."""
    return checkpoint.read(path, _describe, _LARGEST, mapped=("ids", "starts"), verify=False)[1]


def listed() -> list[Path]:
    """The files in the cache folder that are named as token files, sorted; another's files are left alone."""
    return sorted(path for path in folder().glob("*.h5") if _NAME.fullmatch(path.name) and path.is_file())


def left_behind() -> list[Path]:
    """What processes that were killed have left in the cache folder: files half written, or of a standard input."""
    found = ((path, _OWNER.fullmatch(path.name)) for path in folder().glob("*"))
    return sorted(path for path, name in found
                  if name and path.is_file() and not atomic.is_running(int(name[1] or name[2])))


def _describe(facts: dict[str, Any]) -> checkpoint.Manifest:
    """The arrays that belong to the facts of a token file. Raises ValueError for facts that cannot be."""
    if set(facts) != set(_KINDS) or any(type(facts[name]) is not kind for name, kind in _KINDS.items()) \
            or facts["kind"] != _KIND or not all(type(source) is str for source in facts["sources"]):
        raise ValueError("it is no token file")
    size, vocabulary, starts = facts["characters"], facts["vocabulary"], facts["starts"]
    if not (1 <= vocabulary <= CODE_POINTS + 1 and 1 <= size < _LARGEST and 0 <= starts <= size):
        raise ValueError("it has an impossible size")
    try:
        from_facts(Reading, facts["reading"])
    except ConfigError as error:
        raise ValueError(str(error)) from None
    dtype = np.min_scalar_type(vocabulary - 1).newbyteorder("<").str
    return {"ids": (dtype, (size,)), "starts": ("<u8", (starts,)), "vocabulary/codepoints": ("<u4", (vocabulary,))}
