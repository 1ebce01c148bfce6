"""charrnn.text.record: a text is read again only if its files have the recorded sizes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.text import files as files_module
from charrnn.text import token_file, tokens
from charrnn.text.corpus import DEFAULT_CORPUS, Corpus
from charrnn.text.record import TextFile, TextRecord, digest_of_sizes

TEXT = "The cat sat on the mat.\n" * 20


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, which contains a text, a folder of texts, and a cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))
    Path("folder").mkdir()
    for name, text in (("a.txt", TEXT), ("folder/b.txt", "one\n" * 30), ("folder/c.txt", ""),
                       ("folder/d.txt", "three\n" * 9)):
        Path(name).write_text(text)
        os.utime(name, (10**9, 10**9))
    return tmp_path


@pytest.fixture(params=["in memory", "from a token file"], autouse=True)
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep texts in memory, or make them so long that they are kept in token files."""
    if request.param == "from a token file":
        monkeypatch.setattr(tokens, "SMALL", 64)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of text files that have been opened."""
    found: list[str] = []
    open_file = files_module._open
    monkeypatch.setattr(files_module, "_open", lambda path: found.append(str(path)) or open_file(path))
    return found


def record_of(*sources: str, **changes: Any) -> TextRecord:
    """Return the record of a text in a checkpoint; leave no token file."""
    corpus = Corpus.read(*sources)
    for path in token_file.token_files():
        path.unlink()
    return TextRecord(corpus.fingerprint, len(corpus), len(corpus.sizes), sum(corpus.sizes),
                      digest_of_sizes(corpus.sizes))._replace(**changes)


def refused(record: TextRecord, *sources: str, **settings: Any) -> str:
    with pytest.raises(CorpusError) as caught:
        Corpus.read(*sources, record=record, **settings)
    assert token_file.token_files() == []
    return str(caught.value)


@pytest.mark.parametrize("sources", [("a.txt",), ("folder",), ("a.txt", "folder")], ids=str)
def test_the_recorded_text_is_read(sources: tuple[str, ...]) -> None:
    record = record_of(*sources)
    assert record.files == len(sources) + 2 * ("folder" in sources)
    for _ in range(2):
        corpus = Corpus.read(*sources, record=record)
        assert corpus.fingerprint == record.fingerprint
        assert digest_of_sizes(corpus.sizes) == record.sizes
        assert corpus.warnings == ()


def test_a_file_of_another_size_is_not_opened(opened: list[str]) -> None:
    record = record_of("a.txt")
    Path("a.txt").write_text(TEXT[:-1])
    opened.clear()
    assert refused(record, "a.txt") == "a.txt: has 479 bytes, but the text of this run had 480 bytes"
    assert refused(record, "folder/b.txt") == "folder/b.txt: has 120 bytes, but the text of this run had 480 bytes"
    assert opened == []


def test_files_of_other_sizes_are_not_opened(opened: list[str]) -> None:
    record = record_of("folder")
    opened.clear()
    Path("folder/b.txt").write_text("one\n" * 30 + "x")
    assert refused(record, "folder") == (
        "folder: has 3 files of 175 bytes, but the text of this run had 3 files of 174 bytes")
    Path("folder/d.txt").write_text("three\n" * 8 + "three")
    assert refused(record, "folder") == "folder: the sizes of the files differ from those of this run"
    Path("folder/c.txt").unlink()
    assert refused(record, "folder") == (
        "folder: has 2 files of 174 bytes, but the text of this run had 3 files of 174 bytes")
    Path("folder/b.txt").unlink()
    assert refused(record, "folder") == "folder: has 53 bytes, but the text of this run had 3 files of 174 bytes"
    for name in "wxyz":
        Path(f"folder/{name}.txt").touch()
    assert refused(record, "folder") == "folder: has more files than the text of this run, which had 3"
    assert opened == []


def test_a_folder_is_not_searched_for_more_files_than_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of("a.txt")
    visited: list[str] = []
    walk: Callable[..., Iterator[Any]] = os.walk
    for number in range(9):
        Path(f"folder/{number}").mkdir()
        Path(f"folder/{number}/x.txt").touch()
    monkeypatch.setattr(files_module.os, "walk", lambda *arguments, **named: (
        visited.append(str(each[0])) or each for each in walk(*arguments, **named)))
    assert refused(record, "folder") == "folder: has more files than the text of this run, which had 1"
    assert visited == ["folder"]
    monkeypatch.setattr(files_module, "_MOST_ENTRIES", 3)
    assert "has too many entries for a text of 1 file" in refused(record, "folder", glob="*.rst")


def test_no_token_file_is_written_for_another_text_of_the_same_size() -> None:
    record = record_of("a.txt")
    Path("a.txt").write_text(TEXT.upper())
    assert refused(record, "a.txt") == "a.txt: has changed since the run was started"


def test_a_token_file_of_another_text_is_refused() -> None:
    Path("a.txt").write_text(TEXT.upper())
    os.utime("a.txt", (10**9, 10**9))
    Corpus.read("a.txt", keep=True)
    Path("other.txt").write_text(TEXT)
    corpus = Corpus.read("other.txt")
    record = TextRecord(corpus.fingerprint, 480, 1, 480, digest_of_sizes([480]))
    with pytest.raises(CorpusError, match="has changed since the run was started"):
        Corpus.read("a.txt", record=record)


def test_a_missing_file_is_an_error() -> None:
    record = record_of("a.txt")
    assert refused(record, "missing.txt") == "missing.txt: no such file"
    assert refused(record, "a.txt", "missing.txt") == (
        "a.txt, missing.txt: has more files than the text of this run, which had 1")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no files of unknown size here")
def test_a_file_that_seems_to_be_empty_is_not_read() -> None:
    record = TextRecord("0" * 64, 100, 1, 0, digest_of_sizes([0]))
    assert "/proc/self/status: is empty" in refused(record, "/proc/self/status")


def test_a_text_that_comes_with_python_is_found_by_its_fingerprint() -> None:
    corpus = Corpus.read(DEFAULT_CORPUS)
    record = TextRecord(corpus.fingerprint, len(corpus), 0, 0, digest_of_sizes([]))
    assert Corpus.read(DEFAULT_CORPUS, record=record).fingerprint == corpus.fingerprint
    assert "has changed" in refused(record._replace(fingerprint="0" * 64), DEFAULT_CORPUS)
    Path(DEFAULT_CORPUS).write_text("a file of that name")
    assert "has more files than the text of this run" in refused(record, DEFAULT_CORPUS)


# Appended text

def test_only_the_recorded_bytes_of_a_grown_file_are_read() -> None:
    record = record_of("a.txt")
    with open("a.txt", "a") as file:
        file.write("more\n")
    for _ in range(2):
        corpus = Corpus.read("a.txt", record=record)
        assert corpus.vocabulary.decode(corpus.ids) == TEXT
        assert corpus.sizes == (480,)
        assert corpus.warnings == ("a.txt: has grown since the run was started; only its first 480 bytes are used",)
    assert len(Corpus.read("a.txt")) == 485


def test_the_token_file_of_a_grown_file_is_used_and_not_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Corpus.read("a.txt", keep=True)
    assert before.path is not None
    content = before.path.stat().st_ino
    record = TextRecord(before.fingerprint, 480, 1, 480, digest_of_sizes([480]))
    with open("a.txt", "a") as file:
        file.write("more\n")
    os.utime("a.txt", (2 * 10**8, 2 * 10**8))
    monkeypatch.setattr("charrnn.text.reader.read_blocks", None)  # only its digest is compared
    after = Corpus.read("a.txt", record=record)
    assert after.vocabulary.decode(after.ids) == TEXT
    assert after.path is not None
    assert after.path.stat().st_ino == content


def test_a_grown_file_with_another_beginning_is_refused() -> None:
    record = record_of("a.txt")
    Path("a.txt").write_text("X" + TEXT[1:] + "more")
    assert refused(record, "a.txt") == "a.txt: has changed since the run was started"


def test_files_of_a_folder_must_not_have_grown(opened: list[str]) -> None:
    record = record_of("folder")
    opened.clear()
    with open("folder/d.txt", "a") as file:
        file.write("more\n")
    assert "has 3 files of 179 bytes, but" in refused(record, "folder")
    assert opened == []


@pytest.mark.parametrize(("settings", "end"), [
    ({"documents": "lines"}, b"end"), ({"documents": "paragraphs"}, b"end"), ({"lowercase": True}, b"end"),
    ({"errors": "replace"}, b"en\xc3"),
    ({"level": "byte"}, b"en\xc3")], ids=str)
def test_a_grown_file_gives_the_same_ids_as_before(settings: dict[str, Any], end: bytes) -> None:
    Path("a.txt").write_bytes(TEXT.encode() + end)
    config = TextConfig(**settings)
    before = Corpus.read("a.txt", text_config=config)
    record = TextRecord(before.fingerprint, len(before), 1, 483, digest_of_sizes([483]))
    with open("a.txt", "ab") as file:
        file.write("é more\n".encode())
    after = Corpus.read("a.txt", text_config=config, record=record)
    assert after.ids.tolist() == before.ids.tolist()
    assert after.starts.tolist() == before.starts.tolist()
    assert after.fingerprint == before.fingerprint


# Files

def test_a_file_knows_whether_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    file = TextFile.of(path)
    assert (file.size, file.limit, file.has_changed, file.is_longer) == (480, 480, False, False)
    with path.open("a") as opened_file:
        opened_file.write("more")
    assert (file.has_changed, file.is_longer) == (False, True)
    path.write_text(TEXT)
    assert (file.has_changed, file.is_longer) == (True, False)
    os.utime(path, (10**9, 10**9))
    assert not file.has_changed
    path.write_text("short")
    assert (file.has_changed, file.is_longer) == (True, False)
    path.unlink()
    assert (file.has_changed, file.is_longer) == (True, False)
    for name in ("-", "missing", "\0"):
        assert TextFile.of(name) == (name, None, None, None)
        assert not TextFile.of(name).has_changed


def test_the_digest_of_sizes_depends_on_each_size_and_their_order() -> None:
    found = [digest_of_sizes(sizes) for sizes in ([], [0], [1, 2], [2, 1], [12], [1, 2, 0])]
    assert len(set(found)) == len(found)
    assert digest_of_sizes((1, 2)) == found[2]
