"""Files on Windows: one that is open or mapped can be neither replaced nor removed, and a folder cannot be opened."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import SMALL, files, steps
from other_systems import command, is_in_use, like_windows

from charrnn import Corpus, Trainer, system
from charrnn.errors import CorpusError, RunError
from charrnn.storage import atomic
from charrnn.text import known_text, spool, token_file, tokens
from charrnn.training import prepare
from charrnn.training.events import Warned
from charrnn.training.keeper import Keeper
from charrnn.training.run_folder import Inherited, RunFolder
from charrnn.training.run_lock import RunLock

pytestmark = pytest.mark.usefixtures("reference_kernels")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate Windows, without pauses between attempts."""
    like_windows(monkeypatch)
    monkeypatch.setattr(atomic, "_PAUSES", (0.0, 0.0))


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_text: Callable[..., str]) -> Path:
    """Return a text file that is long enough for a token file, in the current folder."""
    monkeypatch.setattr(tokens, "SMALL", 64)
    monkeypatch.setattr(spool, "SMALL", 64)
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    path = Path("notes.txt")
    path.write_bytes(make_text(600).encode())
    age(path, 100)
    return path


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_the_simulation_refuses_what_windows_refuses(windows: None, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"0123")
    mapped = np.memmap(tmp_path / "a", np.uint8, "r")
    for change in (lambda: os.replace(tmp_path / "b", tmp_path / "a"), lambda: os.unlink(tmp_path / "a"),
                   (tmp_path / "a").unlink, lambda: os.open(tmp_path, os.O_RDONLY)):
        with pytest.raises(PermissionError):
            change()
    with (tmp_path / "b").open("rb"), pytest.raises(PermissionError):
        (tmp_path / "b").unlink()
    del mapped
    os.replace(tmp_path / "b", tmp_path / "a")


def test_the_commands_work_on_a_long_text(windows: None, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command finds the files of the one before it, and nothing is left over."""
    def run(*arguments: Any, **settings: Any) -> bytes:
        done = command(*arguments, **settings)
        assert done.code == 0, done.err
        assert b"Traceback" not in done.err
        gc.collect()
        return done.out + done.err

    train = ("train", source, *SMALL, "--steps", 4, "--eval-every", 2, "--from", "none", "--keep", 1, "--name", "a")
    assert b"cannot be locked on this system" in run(*train)
    folder = Path("checkpoints/a")
    assert sorted(os.listdir(folder)) == ["best.h5", "last.h5", "metrics.csv", "samples.jsonl", "step-4.h5"]
    run("resume", "a", "--steps", 6)
    assert steps(folder) == [1, 2, 3, 4, 5, 6]
    assert sorted(os.listdir(folder)) == ["best.h5", "last.h5", "metrics.csv", "samples.jsonl", "step-6.h5"]
    run(*train, "--overwrite")
    assert steps(folder) == [1, 2, 3, 4]
    run("sample", "a", "--length", 20)
    run("evaluate", "a")
    run("score", "a", source)
    run("inspect", "a")
    run("plot", "a")
    assert b"notes-" in run("cache")
    assert b"removed from" in run("cache", "--clear")
    assert os.listdir("cache") == []
    before = files(folder)
    run("resume", "a", "--corpus", source)
    assert files(folder) == before


# Token files

def test_a_token_file_gets_new_times_while_nothing_else_uses_it(windows: None, source: Path) -> None:
    """Otherwise the text would be read again at every start."""
    corpus = Corpus.read(source)
    ids, path = corpus.ids.tolist(), corpus.path
    del corpus
    gc.collect()
    age(source, 50)
    before = token_file.metadata_of(path)["times"]
    corpus = Corpus.read(source)
    assert corpus.ids.tolist() == ids
    assert token_file.metadata_of(path)["times"] != before
    age(source, 30)
    again = Corpus.read(source)  # the file is mapped now, so it keeps its times
    assert again.ids.tolist() == corpus.ids.tolist() == ids
    assert again.path == path
    assert os.listdir("cache") == [path.name]


@pytest.mark.parametrize("settings", [{}, {"documents": "lines"}], ids=str)
def test_a_changed_text_is_read_while_its_old_token_file_is_in_use(windows: None, source: Path, settings: dict) -> None:
    old = Corpus.read(source, **settings)
    ids = old.ids.tolist()
    source.write_bytes(source.read_bytes() * 2)
    new = Corpus.read(source, **settings)
    assert len(new) > 1.9 * len(old)
    assert old.ids.tolist() == ids
    assert new.path != old.path
    assert new.path.name.startswith("standard-input-")
    assert new.warnings == ()
    del old
    gc.collect()
    newest = Corpus.read(source, **settings)
    assert newest.path == token_file.path_of([source], newest.text_config)
    assert newest.ids.tolist() == new.ids.tolist()


def test_the_command_prepare_says_that_the_token_file_is_in_use(windows: None, source: Path) -> None:
    old = Corpus.read(source)
    source.write_bytes(source.read_bytes() * 2)
    with pytest.raises(CorpusError, match=r"the token file cannot be written \(.*used by another process\)"):
        Corpus.read(source, keep=True)
    assert os.listdir("cache") == [old.path.name]


def test_a_temporary_token_file_that_is_mapped_stays_without_an_error(
        windows: None, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception at the end of the program could not be caught, and Python would print it."""
    corpus = Corpus.read(source, vocabulary=Corpus.read(source).vocabulary)
    path, ids = corpus.path, corpus.ids
    assert path.name.startswith("standard-input-")
    del corpus
    gc.collect()
    assert is_in_use(path)
    assert len(ids) == 600
    del ids
    age(path, 2 * 86_400)
    assert token_file.abandoned_files() == [path]
    assert command("cache", "--clear").code == 0
    assert not path.exists()


def test_temporary_arrays_are_deleted(windows: None, source: Path, tmp_path: Path) -> None:
    text = source.read_text(encoding="utf-8")
    with known_text.KnownText(Corpus.from_text("abc").vocabulary, lambda: tmp_path) as known:
        known.add(text)
        known.end()
        assert "".join(block.text for block in known.blocks()) == text
    assert sorted(os.listdir(tmp_path)) == ["notes.txt"]


# Replacing files

def test_a_file_that_is_open_for_a_moment_is_replaced(
        windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.h5"
    path.write_bytes(b"old")
    reader = path.open("rb")
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        reader.close()

    monkeypatch.setattr(time, "sleep", pause)
    atomic.replace_file(path, [b"new"])
    assert path.read_bytes() == b"new"
    assert len(pauses) == 1


def test_a_file_that_stays_open_is_an_error_that_names_it(windows: None, tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    path.write_bytes(b"old")
    with path.open("rb"), pytest.raises(PermissionError, match=r"last\.h5"):
        atomic.replace_file(path, [b"new"])
    assert files(tmp_path) == {"last.h5": b"old"}


def test_other_systems_do_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(time, "sleep", None)
    with pytest.raises(PermissionError):
        atomic.replace_file(tmp_path / "last.h5", [b"new"])


def test_training_continues_while_a_reader_has_a_checkpoint_open(
        windows: None, source: Path, start: Callable[..., Any], corpus: Corpus) -> None:
    folder, events = RunFolder(Path("run")), []
    folder.path.mkdir()
    run = start(steps=4, eval_every=2)
    keeper = Keeper(run, Trainer(run, corpus), folder, events.append, Inherited())
    assert keeper.save()
    keeper.trainer.step()
    with folder.last.open("rb"):
        assert not keeper.save()
    assert [event.message for event in events if isinstance(event, Warned)] == [
        "run: step 1 cannot be saved (The process cannot access the file because it is being used by another process); "
        "training continues, last.h5 is from step 0"]
    assert keeper.save()


def test_temporary_files_of_killed_processes_are_removed_after_a_day(windows: None, tmp_path: Path) -> None:
    """charrnn cannot check whether a process exists. A file that is being written is new or open."""
    host = atomic.owner().partition("-")[0]
    names = [f".last.h5.{host}-{number}-0123abcd.tmp" for number in (1, 99_999_999)]
    for name in (*names, f".last.h5.{host}-77-0123abcd.tmp"):
        (tmp_path / name).touch()
    for name in names:
        age(tmp_path / name, 2 * 86_400)
    with (tmp_path / names[0]).open("rb"):
        atomic.replace_file(tmp_path / "last.h5", [b"new"])
    assert sorted(os.listdir(tmp_path)) == [names[0], f".last.h5.{host}-77-0123abcd.tmp", "last.h5"]


def test_no_signal_is_sent_to_a_process_to_see_whether_it_runs(
        windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, ``os.kill`` ends the process."""
    monkeypatch.setattr(os, "kill", None)
    host = atomic.owner().partition("-")[0]
    (tmp_path / f".last.h5.{host}-1-0123abcd.tmp").touch()
    atomic.replace_file(tmp_path / "last.h5", [b"new"])


# Locks

def test_a_run_is_trained_without_a_lock_and_nothing_is_left(windows: None, tmp_path: Path) -> None:
    with RunLock(tmp_path / "new" / "run") as lock:
        assert not lock.is_supported
        assert os.listdir(tmp_path / "new" / "run") == [".lock"]
    assert os.listdir(tmp_path) == []


def test_a_folder_in_which_no_lock_can_be_written_is_left_as_it_was(
        windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("charrnn.training.run_lock.platform.node", full)
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\)"):
        RunLock(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_lock_is_reported_in_one_line(windows: None, tmp_path: Path) -> None:
    events: list[Any] = []
    folder = tmp_path / "run"
    with ExitStack() as stack:
        prepare._lock(stack, RunFolder(folder), events.append)
    assert events == [Warned(f"{folder}: cannot be locked on this system; do not train this run in two processes")]


def test_the_simulation_is_off_by_default() -> None:
    assert (os.name == "nt") == system.IS_WINDOWS
