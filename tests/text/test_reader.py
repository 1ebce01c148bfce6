"""charrnn.text.reader: files that grow or change while they are read, and files with the same content."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import CorpusError
from charrnn.text import reader, token_file, tokens
from charrnn.text.corpus import Corpus

TEXT = "The cat sat on the mat.\n" * 20


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, which is empty except for the cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(params=["in memory", "from a token file"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Return whether texts are so long that they are kept in a token file."""
    if request.param == "from a token file":
        monkeypatch.setattr(tokens, "SMALL", 64)
    return request.param == "from a token file"


def text_of(corpus: Corpus) -> str:
    return corpus.vocabulary.decode(corpus.ids)


def write(name: str, text: str, age: float = 1000) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    os.utime(path, (path.stat().st_mtime - age,) * 2)


# The same content

def twins(first: str, second: str) -> tuple[str, ...]:
    return (f"{first} and {second} have the same content, so the model may be validated on text that it is trained on",)


def test_a_file_that_is_read_twice_gives_a_warning(kept: bool) -> None:
    write("a.txt", TEXT)
    for _ in range(2):
        corpus = Corpus.read("a.txt", "a.txt")
        assert corpus.warnings == (
            "a.txt is read twice, so the model may be validated on text that it is trained on",)
        assert text_of(corpus) == 2 * TEXT
        assert corpus.sizes == (len(TEXT), len(TEXT))
    assert (corpus.path is not None) == kept


def test_two_files_with_the_same_content_give_a_warning(kept: bool) -> None:
    for name in ("folder/b.txt", "folder/c.txt", "folder/d.txt"):
        write(name, TEXT)
    write("folder/a.txt", "another")
    for _ in range(2):
        assert Corpus.read("folder").warnings == twins("folder/b.txt", "folder/c.txt")
    assert Corpus.read("folder/a.txt", "folder/b.txt").warnings == ()


def test_a_file_and_its_compressed_copy_give_a_warning(kept: bool) -> None:
    write("folder/a.txt", TEXT)
    Path("folder/a.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    Path("folder/b.txt").write_bytes(gzip.compress(TEXT.encode(), 1))
    assert Corpus.read("folder").warnings == twins("folder/a.txt", "folder/a.txt.gz")
    assert Corpus.read("folder/a.txt", "folder/b.txt").warnings == twins("folder/a.txt", "folder/b.txt")


def test_different_files_and_empty_files_give_no_warning(kept: bool) -> None:
    for name, text in (("a", ""), ("b", TEXT), ("c", ""), ("d", TEXT[::-1])):
        write(f"folder/{name}.txt", text)
    assert Corpus.read("folder").warnings == ()


# Files that grow

def growing(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], Any]) -> None:
    """Change each file after its last block has been read."""
    read = reader.read_blocks

    def changing(path: Path, *arguments: Any, **named: Any) -> Iterator[bytes]:
        yield from read(path, *arguments, **named)
        change(Path(path))

    monkeypatch.setattr(reader, "read_blocks", changing)


def append(path: Path, data: bytes = b"one more line\n") -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_file_that_grows_is_read_up_to_its_size_at_the_beginning(monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    write("log.txt", TEXT)
    size = len(TEXT)
    for _ in range(2):
        with monkeypatch.context() as patch:
            growing(patch, append)
            corpus = Corpus.read("log.txt")
        assert corpus.warnings == (f"log.txt: grew while it was read; only its first {size:,} bytes are used",)
        assert corpus.sizes == (size,)
        assert len(corpus) == size
        size = Path("log.txt").stat().st_size
    assert Corpus.read("log.txt").warnings == ()
    assert text_of(Corpus.read("log.txt")) == Path("log.txt").read_text()


def test_reading_ends_even_if_a_file_grows_faster_than_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.text.files._BLOCK", 16)
    write("log.txt", TEXT)
    decode = reader.decode_blocks

    def growing_decode(blocks: Iterator[bytes], *arguments: Any) -> Iterator[str]:
        return decode((append(Path("log.txt")) or block for block in blocks), *arguments)  # type: ignore[func-returns-value]

    monkeypatch.setattr(reader, "decode_blocks", growing_decode)
    assert text_of(Corpus.read("log.txt")) == TEXT


def test_an_incomplete_character_of_a_growing_file_is_left_out(monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    data = (TEXT + "é").encode()
    Path("log.txt").write_bytes(data[:-1])
    with pytest.raises(CorpusError, match=r"log\.txt: invalid UTF-8 at byte 480 \(0xc3\)"):
        Corpus.read("log.txt")
    with monkeypatch.context() as patch:
        growing(patch, lambda path: path.write_bytes(data))
        corpus = Corpus.read("log.txt")
    assert text_of(corpus) == TEXT
    assert corpus.sizes == (len(data) - 1,)
    assert "grew while it was read" in corpus.warnings[0]
    assert text_of(Corpus.read("log.txt")) == TEXT + "é"


@pytest.mark.parametrize("change", [
    lambda path: path.write_text(TEXT[:-1]), lambda path: os.utime(path, (1, 1)), lambda path: path.unlink()],
    ids=["shorter", "another time", "gone"])
def test_a_file_with_any_other_change_is_refused(monkeypatch: pytest.MonkeyPatch, kept: bool, change: Any) -> None:
    write("log.txt", TEXT)
    growing(monkeypatch, change)
    with pytest.raises(CorpusError, match=r"^log\.txt: (changed while it was read; try again|no such file)"):
        Corpus.read("log.txt")
    assert not token_file.token_files()


def test_a_file_that_becomes_shorter_before_it_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.txt", TEXT)
    write("b.txt", TEXT + "more")
    growing(monkeypatch, lambda path: Path("b.txt").write_text("short"))
    with pytest.raises(CorpusError, match="changed while it was read"):
        Corpus.read("a.txt", "b.txt")


def test_a_file_that_is_shorter_only_while_it_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    write("log.txt", TEXT)
    read = reader.read_blocks

    def changing(path: Path, *arguments: Any, **named: Any) -> Iterator[bytes]:
        Path(path).write_text("short")
        yield from read(path, *arguments, **named)
        Path(path).write_text(TEXT + "more")

    monkeypatch.setattr(reader, "read_blocks", changing)
    with pytest.raises(CorpusError, match="changed while it was read"):
        Corpus.read("log.txt")


def test_a_beginning_that_changes_before_the_second_pass_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "SMALL", 64)
    write("log.txt", TEXT)
    growing(monkeypatch, lambda path: path.write_text(TEXT[::-1] + "more\n"))
    with pytest.raises(CorpusError, match="changed while it was read"):
        Corpus.read("log.txt")
    assert not token_file.token_files()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no files of unknown size here")
def test_a_file_of_unknown_size_is_read_to_its_end() -> None:
    assert "Name:" in text_of(Corpus.read("/proc/self/status"))
