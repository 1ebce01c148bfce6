"""charrnn.text.token_file: ids of long texts in the cache folder."""

from __future__ import annotations

import gc
import io
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from forging import contents, with_arrays

from charrnn.config import TextConfig
from charrnn.errors import CheckpointError, CorpusError
from charrnn.storage import atomic
from charrnn.storage import container as checkpoint
from charrnn.storage.cache import cache_folder
from charrnn.text import token_file, tokens
from charrnn.text.corpus import Corpus
from charrnn.text.record import Stamps, TextFile
from charrnn.text.vocabulary import UNKNOWN

TEXT = "The cat sat.\nA naïve 中 dog\r\nran\n" * 20
CONFIGS = [TextConfig(), TextConfig(level="byte"), TextConfig(documents="lines"),
            TextConfig(documents="lines", shuffle_seed=0, min_count=30),
            TextConfig(documents="files"), TextConfig(min_count=25), TextConfig(normalize="NFKC", lowercase=True),
            TextConfig(level="byte", documents="lines"), TextConfig(level="byte", min_count=21, documents="files"),
            TextConfig(glob="*.t*"), TextConfig(errors="replace"), TextConfig(encoding="latin-1")]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache folder, which does not exist yet; texts of more than 64 bytes are long."""
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokens, "SMALL", 64)
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a text file that was written long ago."""
    path = tmp_path / "novel.txt"
    path.write_text(TEXT, encoding="utf-8", newline="")
    age(path, 1000)
    return path


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def opened(*sources: Path, **config: Any) -> Corpus:
    return Corpus.read(*[str(source) for source in sources], text_config=TextConfig(**config))


def identity(path: Path) -> tuple[int, int]:
    """Return the inode and the time of a file, which change when it is rewritten."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def without_hashing(source: Path) -> Corpus:
    """Read a text from its token file; fail if the text itself is read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.text.reader.read_blocks", None)
        patch.setattr(token_file, "read_blocks", None)
        return opened(source)


def same(one: Corpus, two: Corpus) -> None:
    """Assert that two corpora are the same."""
    assert (one.ids.dtype, one.ids.tolist()) == (two.ids.dtype, two.ids.tolist())
    assert (one.starts.dtype, one.starts.tolist()) == (two.starts.dtype, two.starts.tolist())
    assert one.vocabulary == two.vocabulary
    for name in ("fingerprint", "folded", "text_config", "sources", "name"):
        assert getattr(one, name) == getattr(two, name)


def refused(call: Callable, *words: str) -> None:
    with pytest.raises(CorpusError) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
    for word in words:
        assert word in str(caught.value)


# Content

@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_long_text_gives_the_same_corpus_as_in_memory(tmp_path, monkeypatch, cache, config):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, text in (("a", TEXT), ("b", ""), ("c", TEXT[:33] + "é" * 30), ("d", "")):
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="")
    long = Corpus.read(str(folder), text_config=config)
    assert isinstance(long.ids, np.memmap)
    assert not long.ids.flags.writeable
    assert long.path.parent == cache
    again = Corpus.read(str(folder), text_config=config)
    assert again.path == long.path
    kept = Corpus.read(str(folder), text_config=config, keep=True)
    monkeypatch.setattr(tokens, "SMALL", 2**20)
    token_file.token_files()[0].unlink()
    short = Corpus.read(str(folder), text_config=config)
    assert short.path is None
    assert not isinstance(short.ids, np.memmap)
    for corpus in (long, again, kept):
        same(corpus, short)
        for part, other in zip(corpus.split().parts, short.split().parts):
            assert part.starts.tolist() == other.starts.tolist()


def test_a_short_text_is_not_kept_and_needs_no_folder(source, cache):
    source.write_text("short")
    assert opened(source).path is None
    assert not cache.exists()
    assert Corpus.read(str(source), keep=True).path.parent == cache
    assert opened(source).path is not None  # because the token file exists


def test_a_token_file_is_not_much_larger_than_its_ids(source):
    size = opened(source).path.stat().st_size
    assert len(TEXT) < size < len(TEXT) + 5000


def test_the_metadata_describes_the_text(source):
    corpus = opened(source, min_count=25)
    metadata = token_file.metadata_of(corpus.path)
    assert metadata["sources"] == [str(source)]
    assert metadata["text"]["min_count"] == 25
    assert (metadata["characters"], metadata["vocabulary"]) == (len(corpus), len(corpus.vocabulary))
    assert metadata["folded"] == corpus.folded != ""


# Rebuilding

def test_a_token_file_is_found_again_and_the_text_is_not_read(source, monkeypatch):
    path = opened(source).path
    before = identity(path)
    monkeypatch.setattr("charrnn.text.reader.read_blocks", None)
    monkeypatch.setattr(token_file, "read_blocks", None)
    monkeypatch.chdir(source.parent)
    assert Corpus.read("novel.txt").path == path
    assert identity(path) == before


@pytest.mark.parametrize("seconds", [500, 2000])
def test_a_token_file_gets_the_new_time_of_the_same_content(source, monkeypatch, seconds):
    path = opened(source).path
    age(source, seconds)
    monkeypatch.setattr("charrnn.text.reader.read_blocks", None)  # only its digest is compared
    same(opened(source), Corpus.from_text(TEXT, [str(source)]))
    after = identity(path)
    same(without_hashing(source), Corpus.from_text(TEXT, [str(source)]))
    assert identity(path) == after
    assert token_file.load(path).metadata["sources"] == [str(source)]


def test_a_young_file_is_compared_by_its_content_until_enough_time_has_passed(source, monkeypatch):
    age(source, 1)
    path = opened(source).path
    before = identity(path)
    same(opened(source), Corpus.from_text(TEXT, [str(source)]))
    assert identity(path) == before
    now = time.time()
    monkeypatch.setattr("charrnn.text.record.time.time", lambda: now + 2)
    same(opened(source), Corpus.from_text(TEXT, [str(source)]))
    assert identity(path) != before
    same(without_hashing(source), Corpus.from_text(TEXT, [str(source)]))


def test_a_file_with_a_time_in_the_future_stays_young(source):
    path = opened(source).path
    before = identity(path)
    age(source, -1000)
    for _ in range(2):
        same(opened(source), Corpus.from_text(TEXT, [str(source)]))
        assert identity(path) == before


def test_a_token_file_that_cannot_be_rewritten_is_used_as_it_is(source, monkeypatch):
    path = opened(source).path
    before = identity(path)
    age(source, 500)

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    same(opened(source), Corpus.from_text(TEXT, [str(source)]))
    assert identity(path) == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("text", [TEXT[:-2] + "X\n", TEXT + "more", TEXT[1:]])
def test_a_token_file_is_rebuilt_if_the_content_changes(source, text):
    opened(source)
    source.write_text(text, encoding="utf-8", newline="")
    age(source, 500)
    same(opened(source), Corpus.from_text(text, [str(source)]))
    assert len(token_file.token_files()) == 1


def test_a_token_file_is_rebuilt_if_only_the_size_changes(source):
    opened(source)
    times = os.stat(source)
    source.write_text(TEXT + "more", encoding="utf-8", newline="")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert len(opened(source)) == len(TEXT) + 4


def test_a_young_file_is_compared_by_its_content_whatever_its_time(source):
    age(source, 0)
    path = opened(source).path
    before, times = identity(path), os.stat(source)
    assert opened(source).path == path
    assert identity(path) == before
    text = TEXT[:-2] + "X\n"
    source.write_text(text, encoding="utf-8", newline="")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    same(opened(source), Corpus.from_text(text, [str(source)]))


@pytest.mark.parametrize("seconds", [-100, 0, 1])
def test_a_file_is_young_for_two_seconds(source, seconds):
    age(source, seconds)
    assert Stamps.of([TextFile.of(source)]).young
    age(source, seconds + 102)
    assert not Stamps.of([TextFile.of(source)]).young


def stamps(*paths: Any) -> Stamps:
    return Stamps.of([TextFile.of(path) for path in paths])


def test_stamps_tell_files_apart_by_name_size_and_time(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("abc")
    b.write_text("abc")
    for path in (a, b):
        os.utime(path, (10**9, 10**9))
    one, two = stamps(a), stamps(b)
    assert (one.times, one.young, two.young) == (two.times, False, False)
    assert one.files != two.files
    assert stamps(a, b).files != stamps(b, a).files
    assert stamps(a, "-", tmp_path / "missing") == one
    os.utime(a, ns=(10**18, 10**18 + 1))
    assert stamps(a).times != one.times
    assert stamps(a).files == one.files
    assert Stamps.of([TextFile.of(a)._replace(limit=2)]).files != one.files


@pytest.mark.parametrize("change", [{"level": "byte"}, {"min_count": 2}, {"documents": "lines"},
                                    {"documents": "lines", "shuffle_seed": 2}, {"normalize": "NFC"}, {"lowercase": True},
                                    {"errors": "ignore"}, {"encoding": "cp1252", "errors": "ignore"},
                                    {"documents": "files"}, {"separator": "."}, {"group_copies": False},
                                    {"glob": "*"}], ids=str)
def test_other_options_have_their_own_token_file(source, change):
    first = opened(source)
    second = opened(source, **change)
    assert first.path != second.path
    assert len(token_file.token_files()) == 2
    assert opened(source).fingerprint == first.fingerprint
    assert opened(source, **change).fingerprint == second.fingerprint


def test_a_token_file_of_other_options_is_rebuilt(source):
    first, second = opened(source), opened(source, lowercase=True)
    first.path.write_bytes(second.path.read_bytes())
    same(opened(source), Corpus.from_text(TEXT, [str(source)]))


def test_a_token_file_is_rebuilt_if_files_are_added_or_removed(source):
    folder = source.parent
    assert len(opened(folder)) == len(TEXT)
    (folder / "z.txt").write_text("more")
    age(folder / "z.txt", 1000)
    assert len(opened(folder)) == len(TEXT) + 4
    (folder / "z.txt").rename(folder / "a.txt")
    corpus = opened(folder)
    assert corpus.vocabulary.decode(corpus.ids[:4]) == "more"
    (folder / "a.txt").unlink()
    assert len(opened(folder)) == len(TEXT)
    assert len(token_file.token_files()) == 1


def test_a_text_that_changes_while_it_is_read_is_refused(source, monkeypatch, cache):
    read = token_file.read_blocks

    def changing(path: Any, *arguments: Any, **named: Any) -> Any:
        yield from read(path, *arguments, **named)
        if changing.text is None:
            age(source, 5)
        else:
            source.write_text(changing.text, newline="", encoding="utf-8")

    monkeypatch.setattr("charrnn.text.reader.read_blocks", changing)
    for changing.text in (None, "short"):
        refused(lambda: opened(source), str(source), "changed while it was read; try again")
    assert not token_file.token_files()


# Corrupt and forged files

def forgeries(path: Path) -> dict[str, bytes]:
    """Return token files with the right digest and invalid content."""
    data = path.read_bytes()

    def changed(change: Callable[[dict, dict], Any]) -> bytes:
        arrays, meta = contents(data)
        change(arrays, meta["metadata"])
        return checkpoint.to_bytes(arrays, meta["metadata"])

    def starts(*values: int) -> Callable[[dict, dict], None]:
        def change(arrays: dict, metadata: dict) -> None:
            arrays["starts"] = np.array(values, "<u8")
            metadata["starts"] = len(values)
        return change

    size = len(contents(data)[0]["ids"])
    return {name: changed(change) for name, change in {
        "an id too large": lambda arrays, metadata: arrays["ids"].__setitem__(7, 200),
        "the last id too large": lambda arrays, metadata: arrays["ids"].__setitem__(
            -1, len(arrays["vocabulary/codepoints"])),
        "starts not sorted": starts(0, 9, 5), "starts twice": starts(0, 5, 5), "a start at the end": starts(0, size),
        "a start beyond": starts(0, 2**63),
        "vocabulary not sorted": lambda arrays, metadata: arrays["vocabulary/codepoints"].sort() or
        arrays.update({"vocabulary/codepoints": arrays["vocabulary/codepoints"][::-1].copy()}),
        "a surrogate": lambda arrays, metadata: arrays["vocabulary/codepoints"].__setitem__(-1, 0xD800),
        "no character": lambda arrays, metadata: arrays["vocabulary/codepoints"].__setitem__(-1, UNKNOWN + 1),
        "another size": lambda arrays, metadata: metadata.update(characters=size - 1),
        "nothing": lambda arrays, metadata: arrays.update(ids=arrays["ids"][:0]) or metadata.update(characters=0),
        "no size": lambda arrays, metadata: metadata.update(characters=0),
        "wider ids": lambda arrays, metadata: arrays.update(ids=arrays["ids"].astype("<u2")),
        "a huge size": lambda arrays, metadata: metadata.update(characters=2**60),
        "a vocabulary too large": lambda arrays, metadata: metadata.update(vocabulary=0x110002),
        "another kind": lambda arrays, metadata: metadata.update(kind="run"),
        "one more key": lambda arrays, metadata: metadata.update(more=1),
        "one key less": lambda arrays, metadata: metadata.pop("folded"),
        "a size of another type": lambda arrays, metadata: metadata.update(characters=float(size)),
        "sources of another type": lambda arrays, metadata: metadata.update(sources=[1]),
        "invalid text settings": lambda arrays, metadata: metadata["text"].update(min_count=0),
        "an unknown setting": lambda arrays, metadata: metadata["text"].update(colour=1),
    }.items()}


FORGERIES = ["an id too large", "the last id too large", "starts not sorted", "starts twice", "a start at the end",
             "a start beyond", "vocabulary not sorted", "a surrogate", "no character", "another size", "nothing", "no size",
             "wider ids", "a huge size", "a vocabulary too large", "another kind", "one more key", "one key less",
             "a size of another type", "sources of another type", "invalid text settings", "an unknown setting"]


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_token_file_is_refused_and_rebuilt(source, what):
    corpus = opened(source)
    whole = corpus.path.read_bytes()
    data = forgeries(corpus.path)
    assert set(data) == set(FORGERIES)
    corpus.path.write_bytes(data[what])
    with pytest.raises(CheckpointError) as caught:
        token_file.load(corpus.path)
    assert len(str(caught.value).splitlines()) == 1
    same(opened(source), Corpus.from_text(TEXT, [str(source)]))
    assert corpus.path.read_bytes() == whole


def test_a_token_file_with_the_same_arrays_and_a_new_digest_is_accepted(source):
    path = opened(source, documents="lines").path
    before = token_file.load(path)
    arrays, meta = contents(path.read_bytes())
    path.write_bytes(with_arrays(path.read_bytes(), arrays, meta))
    assert token_file.load(path).ids.tolist() == before.ids.tolist()


def test_invalid_values_are_found_in_every_block(source, monkeypatch):
    path = opened(source, documents="lines").path
    monkeypatch.setattr(token_file, "_BLOCK", 3)
    assert token_file.load(path).metadata["starts"] > 9
    arrays, meta = contents(path.read_bytes())
    for name, place, value in (("ids", -1, 99), ("ids", 4, 99), ("starts", 3, arrays["starts"][2]), ("starts", 4, 0)):
        wrong = arrays[name].copy()
        wrong[place] = value
        path.write_bytes(checkpoint.to_bytes({**arrays, name: wrong}, meta["metadata"]))
        with pytest.raises(CheckpointError):
            token_file.load(path)


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: data[:-1], lambda data: data[:len(data) // 2], lambda data: data + b"x",
    lambda data: data[:900] + bytes([data[900] ^ 1]) + data[901:], lambda data: b"some notes\n" * 99])
def test_a_corrupt_token_file_is_rebuilt(source, damage):
    path = opened(source).path
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    same(opened(source), Corpus.from_text(TEXT, [str(source)]))
    assert path.read_bytes() == whole


def test_a_run_is_not_a_token_file(start, tmp_path):
    start().save(tmp_path / "run.h5")
    with pytest.raises(CheckpointError, match="not a token file"):
        token_file.metadata_of(tmp_path / "run.h5")


def test_a_pipe_in_place_of_a_token_file_is_replaced_and_does_not_block(source):
    path = opened(source).path
    path.unlink()
    os.mkfifo(path)
    assert len(opened(source)) == len(TEXT)
    assert path.is_file()


# Writing

def test_a_failed_write_leaves_the_old_token_file_and_nothing_else(source, monkeypatch, cache):
    path = opened(source).path
    whole = path.read_bytes()
    source.write_text(TEXT * 2, encoding="utf-8", newline="")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    refused(lambda: opened(source), str(cache), "the token file cannot be written (No space left on device)",
            "CHARRNN_CACHE")
    assert path.read_bytes() == whole
    assert os.listdir(cache) == [path.name]


@pytest.mark.parametrize("limit", [500, 6000])
def test_a_full_disk_is_a_one_line_error(source, cache, limit):
    """The first limit is reached while the text is copied, the second while the token file is written."""
    source.write_text(TEXT * 8, encoding="utf-8", newline="")  # longer than the metadata of the token file
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        refused(lambda: opened(source), str(cache), "the token file cannot be written (File too large)")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(cache) == []


@pytest.mark.parametrize("settings", [{}, {"lowercase": True}, {"documents": "lines"}], ids=str)
def test_without_a_cache_folder_a_long_text_is_kept_in_a_temporary_folder(source, monkeypatch, tmp_path, settings):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    whole = opened(source, **settings)
    monkeypatch.setenv("CHARRNN_CACHE", str(source / "cache"))
    for _ in range(2):
        corpus = opened(source, **settings)
        same(corpus, whole)
        folder = corpus.path.parent
        assert folder.parent == tmp_path / "temporary"
        assert folder.stat().st_mode & 0o077 == 0
        assert corpus.warnings == (f"{source / 'cache'}: not writable (Not a directory), so the ids of the text are kept "
                                   f"in {folder} until the program ends",)
        ids = corpus.ids
        del corpus
        gc.collect()  # Python 3.13 keeps a corpus in a cycle of frames
        assert not folder.exists()
        assert ids.tolist() == whole.ids.tolist()  # the map stays valid
    assert whole.warnings == ()


def test_a_temporary_folder_is_removed_if_reading_fails(source, monkeypatch, tmp_path):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("CHARRNN_CACHE", str(source / "cache"))
    wrong = source.with_name("wrong.txt")
    wrong.write_bytes(b"a" * 999 + b"\xff")
    refused(lambda: opened(source, wrong), "invalid UTF-8 at byte 999")
    assert os.listdir(tmp_path / "temporary") == []


def test_without_any_writable_folder_long_texts_are_refused_and_short_ones_are_read(source, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    monkeypatch.setenv("CHARRNN_CACHE", str(source / "cache"))
    refused(lambda: opened(source), str(source / "cache"), "the token file cannot be written (No such file or directory)")
    short = source.with_name("short.txt")
    short.write_text("short")
    assert len(opened(short)) == 5
    assert opened(short).warnings == ()
    refused(lambda: Corpus.read(str(short), keep=True), str(source / "cache"),
            "the token file cannot be written (Not a directory)")
    assert token_file.token_files() == []


def test_a_killed_writer_leaves_the_old_token_file(source, python, tmp_path, cache):
    path = opened(source).path
    whole = path.read_bytes()
    source.write_text(TEXT * 2, encoding="utf-8", newline="")
    program = ("import os, signal, sys; from charrnn import Corpus; from charrnn.text import tokens; tokens.SMALL = 64\n"
               "os.fsync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
               f"Corpus.read({str(source)!r})")
    assert python("-c", f"import os; os.environ['CHARRNN_CACHE'] = {str(cache)!r}\n{program}").code == -9
    assert path.read_bytes() == whole
    assert len(os.listdir(cache)) == 2
    assert len(opened(source)) == 2 * len(TEXT)
    assert os.listdir(cache) == [path.name]


# Location

def test_the_cache_folder_is_that_of_the_system_unless_another_is_set(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    for name in (None, ""):
        if name is None:
            monkeypatch.delenv("CHARRNN_CACHE")
        else:
            monkeypatch.setenv("CHARRNN_CACHE", name)
        assert cache_folder() == tmp_path / "mine" / "charrnn"


def test_the_name_depends_on_the_text_and_all_options(tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)
    path = token_file.path_of(["a/novel.txt"], TextConfig())
    assert path == token_file.path_of([tmp_path / "a" / "novel.txt"], TextConfig())
    assert path.parent == cache
    assert path.name.startswith("novel-")
    others = [token_file.path_of(*what) for what in (
        (["b/novel.txt"], TextConfig()), (["a/novel.txt", "b"], TextConfig()),
        (["a/novel.txt"], TextConfig(documents="lines")))]
    assert len({path, *others}) == 4
    assert token_file._NAME.fullmatch(token_file.path_of(["a\nb" * 99 + "\udcff"], TextConfig()).name)
    assert token_file.path_of(["/"], TextConfig()).name.startswith("text-")


def test_only_token_files_are_listed(source, cache):
    path = opened(source).path
    for name in ("notes.h5", "novel-0123456789abcdef.txt", "novel-0123456789ABCDEF.h5", "-0123456789abcdef.h5", ".x.tmp",
                 "novel-0123456789abcdef.h5.h5",
                 "standard-input-x-0123abcd.h5"):
        (cache / name).write_bytes(b"mine")
    (cache / "folder-0123456789abcdef.h5").mkdir()
    assert token_file.token_files() == [path]
    assert token_file.abandoned_files() == []


def test_leftovers_of_killed_processes_are_found_and_files_in_use_are_not(source, cache):
    path = opened(source).path
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
                          ).stdout.strip()
    host = atomic.owner().partition("-")[0]
    left = [cache / f".{path.name}.{host}-{dead}-0123abcd.tmp", cache / f"standard-input-{host}-{dead}-0123abcd.h5",
            cache / f".standard-input-{host}-{dead}-0123abcd.h5.{host}-{dead}-0123abcd.tmp",
            cache / f"standard-input-ffffff-{os.getpid()}-0123abcd.h5"]
    kept = [f".{path.name}.{atomic.owner()}-0123abcd.tmp", f".notes.h5.{host}-{dead}-0123abcd.tmp",
            f"standard-input-{atomic.owner()}-0123abcd.h5", f"standard-input-ffffff-{dead}-0123abcd.h5"]
    for name in (*left, *(cache / name for name in kept)):
        name.write_bytes(b"half")
    age(left[-1], 90_000)  # of another host, and older than a day
    assert token_file.abandoned_files() == sorted(left)
    assert token_file.token_files() == [path]


# Standard input

def test_a_long_text_from_standard_input_is_kept_until_the_program_ends(python, cache, environment):
    program = ("import os, sys; from charrnn import Corpus\n"
               "from charrnn.storage.cache import cache_folder; from charrnn.text import tokens; tokens.SMALL = 64\n"
               f"os.environ['CHARRNN_CACHE'] = {str(cache)!r}\n"
               "corpus = Corpus.read('-')\n"
               "print(len(corpus), corpus.path.name, len(list(cache_folder().iterdir())))")
    size, name, count = python("-c", program, stdin=TEXT).out.split()
    assert (int(size), int(count)) == (len(TEXT), 1)
    assert name.startswith("standard-input-")
    assert os.listdir(cache) == []


def test_a_text_with_a_given_vocabulary_does_not_use_the_cache(source, tmp_path):
    kept = opened(source)
    vocabulary = Corpus.from_text(TEXT + "xyz").vocabulary
    corpus = Corpus.read(str(source), vocabulary=vocabulary)
    assert corpus.vocabulary == vocabulary != kept.vocabulary
    assert corpus.path.name.startswith("standard-input-")
    assert corpus.vocabulary.decode(corpus.ids) == TEXT


# Other processes

def test_a_corpus_in_a_token_file_is_pickled_as_its_path(source):
    corpus = opened(source, documents="lines")
    data = pickle.dumps(corpus)
    assert len(data) < 1000
    same(pickle.loads(data), corpus)
    assert pickle.loads(data).sizes == corpus.sizes == (source.stat().st_size,)
    assert isinstance(pickle.loads(data).ids, np.memmap)
    corpus.path.unlink()
    refused(lambda: pickle.loads(data), str(corpus.path), "all ranks need this file: set CHARRNN_CACHE")


def test_a_corpus_in_memory_is_pickled_with_its_ids(source, monkeypatch):
    monkeypatch.setattr(tokens, "SMALL", 2**20)
    read = opened(source)
    assert pickle.loads(pickle.dumps(read)).sizes == read.sizes == (source.stat().st_size,)
    same(pickle.loads(pickle.dumps(read)), read)
    corpus = Corpus.from_text("short", ["a.txt"], TextConfig(min_count=1, lowercase=True))
    same(pickle.loads(pickle.dumps(corpus)), corpus)


# Training

@pytest.mark.parametrize("config", [TextConfig(), TextConfig(documents="lines", min_count=25),
                                     TextConfig(separator="cat", level="byte")],
                         ids=str)
def test_training_from_a_token_file_gives_the_same_bytes(source, monkeypatch, start, take, to_file, config):
    corpora = [Corpus.read(str(source), text_config=config)]
    monkeypatch.setattr(tokens, "SMALL", 2**20)
    corpora[0].path.rename(source.with_name("kept.h5"))
    corpora.append(Corpus.read(str(source), text_config=config))
    files = []
    for corpus in corpora:
        run = start(corpus, steps=8, eval_every=4)
        take(run, text=corpus)
        files.append(to_file(run))
    assert files[0] == files[1]
    assert corpora[1].path is None


def test_windows_of_a_token_file_are_views_of_it(source, start):
    from charrnn.text.windows import Windows

    corpus = opened(source)
    part = corpus.split().train
    inputs, targets = Windows(part, 3, 8)[0]
    assert np.shares_memory(inputs, corpus.ids)
    assert np.shares_memory(targets, corpus.ids)


def test_the_metadata_determines_the_arrays(source):
    metadata = token_file.metadata_of(opened(source, documents="lines").path)
    manifest = token_file._expected_arrays(metadata)
    assert manifest["ids"] == ("<u1", (metadata["characters"],))
    for size, dtype in ((256, "<u1"), (257, "<u2"), (65_536, "<u2"), (65_537, "<u4")):
        assert token_file._expected_arrays({**metadata, "vocabulary": size})["ids"][0] == dtype
    assert json.loads(json.dumps(metadata)) == metadata
    assert replace(TextConfig(**metadata["text"]), documents=None) == TextConfig()
    assert checkpoint.FORMAT_VERSION == 2


def test_a_long_text_that_can_be_read_again_is_not_copied_and_must_not_change(source, monkeypatch):
    copies = []
    monkeypatch.setattr(tokens, "tempfile", SimpleNamespace(
        TemporaryFile=lambda **settings: copies.append(settings) or io.BytesIO()))
    kept = opened(source)
    assert (copies, kept.vocabulary.decode(kept.ids)) == ([], TEXT)
    opened(source, lowercase=True)
    assert len(copies) == 1
    kept.path.unlink()
    save = token_file.save

    def change_and_save(*arguments):
        source.write_text(TEXT[::-1] + TEXT[0], encoding="utf-8")
        save(*arguments)

    monkeypatch.setattr(token_file, "save", change_and_save)
    with pytest.raises(CorpusError, match="changed while it was read"):
        opened(source)
    assert not kept.path.exists()
