"""The corpora that can be had: the classics by download, each with what it must be, and what every Python carries."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from charrnn.errors import DownloadError
from charrnn.storage.atomic import write_pieces
from charrnn.text.builtin import BUILT_IN
from charrnn.text.download import download

FOLDER = "corpora"
"""Where texts come to lie, by default."""

_BLOCK = 2**20

Show = Callable[[str, int, int], None]
"""Is told what is being done, how many bytes of it are done, and how many there are."""

Tell = Callable[[str], None]
"""Is told, in a line, what goes wrong on the way."""


class Content(NamedTuple):
    """What a file holds: so many bytes, with this SHA-256."""

    size: int
    sha256: str


class Classic(NamedTuple):
    """A text that much has been measured on. Where there is an ``archive``, that lies at ``address``: a zip file with the
    text as its member ``name``."""

    name: str
    what: str
    licence: str
    address: str
    text: Content
    archive: Content | None = None

    @property
    def fetched(self) -> Content:
        """What lies at the address."""
        return self.archive or self.text


CLASSICS = {classic.name: classic for classic in (
    Classic("names", "32,033 first names, one a line", "public domain",
            "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt",
            Content(228_145, "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d")),
    Classic("tinyshakespeare", "40,000 lines of Shakespeare", "public domain",
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            Content(1_115_394, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed")),
    Classic("text8", "Wikipedia of 2006, as a to z and spaces", "CC BY-SA 3.0, GFDL",
            "https://mattmahoney.net/dc/text8.zip",
            Content(100_000_000, "6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7"),
            Content(31_344_016, "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232")),
    Classic("enwik8", "Wikipedia of 2006, with its markup", "CC BY-SA 3.0, GFDL",
            "https://mattmahoney.net/dc/enwik8.zip",
            Content(100_000_000, "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8"),
            Content(36_445_475, "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc")),
)}


def names() -> list[str]:
    """The corpora that ``get`` knows."""
    return [*BUILT_IN, *CLASSICS]


def path_of(name: str, folder: str | Path = FOLDER) -> Path:
    """Where a corpus comes to lie."""
    return Path(folder, f"{name}.txt")


def get(name: str, folder: str | Path, overwrite: bool, show: Show, tell: Tell) -> bool:
    """Have the corpus in the folder, whole and with the right SHA-256; False where it was there already.

    A download that was cut lies beside it as ``*.part``, and the next call goes on there. At every moment there is either
    no file of the corpus' name, or the old one, or the whole new one. Raises DownloadError where the text cannot be
    fetched or written, and where another file is in its place, unless ``overwrite`` says to replace that.
    """
    path = path_of(name, folder)
    data = BUILT_IN[name].read().encode() if name in BUILT_IN else b""
    text = CLASSICS[name].text if name in CLASSICS else Content(len(data), hashlib.sha256(data).hexdigest())
    try:
        if path.exists():
            if _holds(path, text):
                return False
            if not overwrite:
                raise DownloadError(f"{path}: is there, and is another text than {name}; give --overwrite to replace "
                                    f"it, or another folder with --into")
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in CLASSICS:
            _fetch(CLASSICS[name], path, show, tell)
        else:
            _write(path, [data], text, show)
    except OSError as error:  # those of the network are DownloadErrors by now
        raise DownloadError(f"{error.filename or path}: cannot be written or read ({error.strerror or error}); make "
                            f"room, or give another folder with --into, and run the command again") from None
    return True


def _fetch(classic: Classic, path: Path, show: Show, tell: Tell) -> None:
    """Download, check, unpack, check, and only then give the file its name."""
    part = path.with_name(f"{path.name}.part" if classic.archive is None else f"{classic.name}.zip.part")
    try:
        with open(os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b") as file:
            _complete(classic, file, show, tell)
            _write(path, _blocks(file) if classic.archive is None else _member(file, classic), classic.text, show)
        part.unlink(missing_ok=True)
    finally:
        if part.exists() and part.stat().st_size == 0:
            part.unlink(missing_ok=True)


def _complete(classic: Classic, file: BinaryIO, show: Show, tell: Tell) -> None:
    """Make ``file`` what should lie at the address, or leave it empty and raise DownloadError."""
    size, sha256 = classic.fetched
    for again in (False, True):
        at_once = download(classic.address, size, file, lambda done: show("download", done, size), tell)
        found = hashlib.sha256()
        for block in _blocks(file):
            found.update(block)
        if found.hexdigest() == sha256:
            return
        file.truncate(0)
        if at_once or again:
            break
        tell("the pieces do not belong together; starting again")  # what lies there was changed between them
    raise DownloadError(f"{classic.address}: has another content than it should (SHA-256 {found.hexdigest()[:12]}, not "
                        f"{sha256[:12]}), so it was thrown away; try another network, or get the text from elsewhere")


def _member(file: BinaryIO, classic: Classic) -> Iterator[bytes]:
    """The text, unpacked block by block."""
    try:
        with zipfile.ZipFile(file) as archive, archive.open(classic.name) as member:
            while block := member.read(_BLOCK):
                yield block
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DownloadError(f"{classic.address}: is no zip file with {classic.name} in it ({error}); get the text from "
                            f"elsewhere") from None


def _write(path: Path, blocks: Iterable[bytes], content: Content, show: Show) -> None:
    """Put the blocks in the place of ``path``, if they are what it should hold."""
    def checked() -> Iterator[bytes]:
        size, found = 0, hashlib.sha256()
        for block in blocks:
            size += len(block)
            if size > content.size:
                break
            found.update(block)
            yield block
            show("writing", size, content.size)
        if Content(size, found.hexdigest()) != content:
            raise DownloadError(f"{path}: would not hold what it should, so it was not written; get the text from "
                                f"elsewhere")

    write_pieces(path, checked())


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """All of a file, from its beginning."""
    file.seek(0)
    while block := file.read(_BLOCK):
        yield block


def _holds(path: Path, content: Content) -> bool:
    """Whether a file holds just that."""
    if path.stat().st_size != content.size:
        return False
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for block in _blocks(file):
            found.update(block)
    return found.hexdigest() == content.sha256
