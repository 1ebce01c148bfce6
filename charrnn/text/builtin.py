"""Texts that come with Python, so they need no file and no network. They differ slightly between versions of Python."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from charrnn.errors import CorpusError

_NOT_THE_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


class BuiltinText(NamedTuple):
    """A text of the running interpreter. ``size`` is approximate, in bytes; ``read`` raises CorpusError if the text is
    missing."""

    what: str
    size: int
    read: Callable[[], str]


def _reference() -> str:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise CorpusError("python-reference: this Python does not include its language reference",
                          "pass the name of a text file") from error
    return "\n\n".join(topics[name] for name in sorted(topics))


def _source() -> str:
    """Return the source of all modules, sorted by path. Modules that are not valid UTF-8 are skipped."""
    home = Path(sysconfig.get_paths()["stdlib"])
    paths = []
    for folder, folders, files in os.walk(home):
        folders[:] = set(folders) - _NOT_THE_LIBRARY
        paths += [Path(folder, name) for name in files if name.endswith(".py")]
    texts = filter(None, map(_text_of, sorted(paths, key=lambda path: path.relative_to(home).as_posix())))
    if not (text := "\n".join(texts)):
        raise CorpusError(f"python-source: no source files of the standard library in {home}",
                          "pass the name of a text file")
    return text


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


BUILTIN_TEXTS = {
    "python-reference": BuiltinText("the language reference that comes with Python", 480_000, _reference),
    "python-source": BuiltinText("the source of Python's standard library", 12_000_000, _source),
}
"""The built-in texts, by the name that is passed instead of a file: ``charrnn train python-source``."""
