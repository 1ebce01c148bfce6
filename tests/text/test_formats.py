"""charrnn.text.formats: files that are not plain text."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus
from charrnn.text.decoding import decode_blocks
from charrnn.text.formats import compression, is_binary, recognise

TEXT = b"some notes\n" * 50


def decode(data: bytes, name: str, config: TextConfig | None = None) -> str:
    return "".join(decode_blocks([data], name, config or TextConfig()))


def tar_of(data: bytes, kind: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        info = tarfile.TarInfo("notes.txt")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def zip_of(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, TEXT)
    return file.getvalue()


def hdf5() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        content["x"] = np.zeros(3)
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


FILES = {
    "a tar archive": [tar_of(TEXT), tar_of(b"", tarfile.GNU_FORMAT), tar_of(TEXT, tarfile.USTAR_FORMAT)],
    "a zip archive, like .docx, .odt and .epub files": [zip_of("notes.txt"), zip_of()],
    "compressed with zstd": [b"\x28\xb5\x2f\xfd\x04" + TEXT], "a 7z archive": [b"7z\xbc\xaf\x27\x1c\0\4" + TEXT],
    "a rar archive": [b"Rar!\x1a\x07\x01\0" + TEXT], "compressed with lz4": [b"\x04\x22\x4d\x18\x64" + TEXT],
    "compressed with compress": [b"\x1f\x9d\x90" + TEXT], "a PDF file": [b"%PDF-1.4\n1 0 obj\n"],
    "an Office document": [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99)], "a PNG image": [b"\x89PNG\r\n\x1a\n" + TEXT],
    "a JPEG image": [b"\xff\xd8\xff\xe0\0\x10JFIF"], "a GIF image": [b"GIF89a\x01\0\x01\0", b"GIF87a\x01\0\x01\0"],
    "a TIFF image": [b"II*\0\x08\0", b"MM\0*\0\0"],
    "an image, audio or video file": [b"RIFF\x24\x08\0\0WAVEfmt ", b"OggS\0\2", b"fLaC\0\0", b"ID3\3\0\0",
                                      b"\x1a\x45\xdf\xa3"],
    "a video file": [b"\0\0\0\x20ftypisom\0\0\2\0"],
    "an executable": [b"\x7fELF\2\1\1\0", b"MZ\x90\0\3", b"\xcf\xfa\xed\xfe\7", b"\xca\xfe\xba\xbe\0\0", b"\0asm\1\0\0\0"],
    "an SQLite database": [b"SQLite format 3\0\x10\0"], "an HDF5 file": [hdf5()], "a NumPy array": [npy()],
    "a Parquet file": [b"PAR1\x15\0\x15\0"],
}


@pytest.mark.parametrize("name", FILES)
def test_other_file_formats_are_recognised(name: str) -> None:
    for data in FILES[name]:
        found = recognise(data)
        assert found is not None
        assert found.name == name


def test_a_database_is_recognised(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "notes.db") as database:
        database.execute("create table notes (text)")
    database.close()
    assert "is an SQLite database" in refused(tmp_path / "notes.db")


@pytest.mark.parametrize("text", [
    b"", b"a", b"MZ is a country code", b"ID3 tags", b"RIFF", b"GIF89a is a format", b"PAR1", b"OggS and fLaC", b"PK",
    b"....ftyp is a box", b"\xef\xbb\xbftext", b"BZhello", b"%PDF", b"Rar! a bird", b"7z", b"\0" * 600,
    b"x" * 257 + b"ustar", TEXT, "中文 и ещё\n".encode() * 99])
def test_a_text_is_not_mistaken_for_another_format(text: bytes) -> None:
    assert recognise(text) is None
    assert compression(text) == ""


def refused(path: Path, **settings: str) -> str:
    with pytest.raises(CorpusError) as caught:
        Corpus.read(path, **settings)
    return str(caught.value)


@pytest.mark.parametrize(("name", "hint"), [
    ("a tar archive", "unpack it first"), ("a PDF file", "convert it to plain text first"),
    ("an executable", "pass level='byte' to read it as bytes")])
def test_an_error_says_what_a_file_is_and_what_to_do(tmp_path: Path, name: str, hint: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(FILES[name][0])
    assert refused(path) == f"{path}: is {name}; {hint}"
    assert refused(path, encoding="latin-1") == f"{path}: is {name}; {hint}"
    assert refused(path, errors="replace") == f"{path}: is {name}; {hint}"
    assert len(Corpus.read(path, level="byte")) == len(FILES[name][0])


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_a_compressed_archive_is_an_archive_whatever_its_name(tmp_path: Path, suffix: str, compress: object) -> None:
    for name in (f"notes.tar{suffix}", "notes.txt", f"notes.txt{suffix}"):
        (tmp_path / name).write_bytes(compress(tar_of(TEXT)))  # type: ignore[operator]
        assert "is a tar archive; unpack it first" in refused(tmp_path / name)


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_compressed_data_is_recognised(tmp_path: Path, suffix: str, compress: object) -> None:
    for text in (TEXT, b""):
        assert compression(compress(text)) == suffix  # type: ignore[operator]
    path = tmp_path / "notes.txt"
    path.write_bytes(compress(TEXT))  # type: ignore[operator]
    corpus = Corpus.read(path)
    assert corpus.vocabulary.decode(corpus.ids).encode() == TEXT
    assert corpus.sizes == (path.stat().st_size,)
    assert len(Corpus.read(path, level="byte")) == path.stat().st_size  # with level byte, only the name counts


# Control characters

@pytest.mark.parametrize("data", [bytes(99), random.Random(1).randbytes(5000), bytes(range(256)),
                                  "текст".encode("utf-16-le")])
def test_data_with_many_control_characters_is_binary(data: bytes) -> None:
    assert is_binary(data)
    assert is_binary(data + TEXT) == (data.count(0) > 50 or len(data) > 4096)


@pytest.mark.parametrize("text", ["", "a", "café\r\n\ttab\f\v", "\x1b[1mbold\x1b[0m" * 9, "a\bb" * 99, "中文" * 99,
                                  "a" * 200 + "\0" * 9])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "gb18030", "shift-jis"])
def test_a_text_is_not_binary(text: str, encoding: str) -> None:
    assert not is_binary(text.encode(encoding, "ignore"))


def test_the_hint_for_an_unknown_binary_file_is_to_read_bytes() -> None:
    for data in (random.Random(1).randbytes(700), "текст".encode("utf-16-le") + b"\xff"):
        with pytest.raises(CorpusError) as caught:
            decode(data, "x")
        assert str(caught.value).endswith(
            "; pass level='byte' to read any file as bytes, or set encoding if it is text")
        assert "x: invalid UTF-8 at byte " in str(caught.value)
        assert decode(data, "x", TextConfig(level="byte")).encode("latin-1") == data


def test_a_text_with_many_control_characters_gives_a_warning(tmp_path: Path) -> None:
    for name, data in (("a", b"text"), ("b", b"ab\0\1" * 99), ("c", bytes(99))):
        (tmp_path / f"{name}.txt").write_bytes(data)
    corpus = Corpus.read(tmp_path)
    assert corpus.warnings == (f"{tmp_path / 'b.txt'}: contains many control characters, so it may not be text",)
    assert Corpus.read(tmp_path / "c.txt", encoding="latin-1").warnings
    assert Corpus.read(tmp_path / "a.txt").warnings == ()
    assert Corpus.read(tmp_path, level="byte").warnings == ()
