"""Names on Windows and macOS: devices, streams, drives, trailing dots, names that differ only in case, and quotes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import SMALL, files, refused
from other_systems import command, second_name

from charrnn import system
from charrnn.config import CELL_NAMES
from charrnn.errors import ConfigError, RunError
from charrnn.training.run_folder import RunFolder
from charrnn.training.run_lock import RunLock
from charrnn.training.sweep import combinations

pytestmark = pytest.mark.usefixtures("reference_kernels")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "IS_WINDOWS", True)


@pytest.mark.parametrize(("name", "fault"), [
    ("C:x", "contains ':'"), ("a:b", "contains ':'"), ("a\\b", r"contains '\\\\'"), ("a?", r"contains '\?'"),
    ("a*", r"contains '\*'"), ('a"b', "contains '\"'"), ("<a", "contains '<'"), ("a|b", r"contains '\|'"),
    ("a\tb", r"contains '\\t'"), ("a\nb", r"contains '\\n'"), ("CON", "is the name of a device"), ("nul", "a device"),
    ("Aux.old", "a device"), ("com1", "a device"), ("LPT9.a.b", "a device"), ("com²", "a device"), ("prn .txt", "a device"),
    ("CONIN$", "a device"), ("a.", "ends with a dot or a space"), ("...", "ends with a dot"), ("a ", "or a space"),
])
def test_a_name_that_windows_reads_differently_is_refused(windows: None, tmp_path: Path, name: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        RunFolder.at(tmp_path, name)
    assert str(caught.value).startswith("name: ")
    assert len(str(caught.value).splitlines()) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["notes-lstm-256", "two words", "é", "a.b", "cell=lnlstm_learning-rate=0.005", "console",
                                  "com", "com10", "aux-lstm-8", "nulls", ".a", "a'b", "a&b"])
def test_other_names_are_accepted(windows: None, tmp_path: Path, name: str) -> None:
    assert RunFolder.at(tmp_path, name).path == tmp_path / name


@pytest.mark.parametrize("name", ["C:x", "a:b", "CON", "a\\b", "a.", "a?"])
def test_other_systems_accept_these_names(tmp_path: Path, name: str) -> None:
    with RunLock(RunFolder.at(tmp_path, name).path):
        assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("arguments", [("train",), ("sweep", "--grid", "seed=1")], ids=lambda arguments: arguments[0])
def test_the_commands_refuse_such_a_name_in_one_line(
        windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any], arguments: tuple) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("a few words to read " * 9, encoding="utf-8")
    answer = cli(*arguments, "notes.txt", *SMALL, "--steps", 1, "--name", "nul.5")
    refused(answer, "--name", "'nul.5' is the name of a device on Windows")
    assert os.listdir(tmp_path) == ["notes.txt"]


# Names that differ only in case

def test_a_run_is_not_replaced_by_one_whose_name_differs_in_case(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_text: Callable[..., str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text(make_text(400), encoding="utf-8")
    train = ("train", "notes.txt", *SMALL, "--from", "none", "--quiet", "--name")
    assert command(*train, "run", "--steps", 2).code == 0
    before = files(Path("checkpoints/run"))
    second_name(Path("checkpoints/run"))
    for arguments in ((*train, "RUN", "--steps", 1), ("resume", "run", "--name", "RUN", "--steps", 3)):
        done = command(*arguments)
        assert done.code == 1
        assert b"already contains a run" in done.err
        assert files(Path("checkpoints/run")) == before
    done = command("resume", "run", "--name", "RUN", "--overwrite", "--steps", 3)
    assert done.code == 0, done.err
    after = files(Path("checkpoints/run"))
    assert [line.split(b",")[0] for line in after["metrics.csv"].splitlines()] == [b"step", b"1", b"2", b"3"]
    assert set(after) == set(before)


def test_a_run_is_locked_under_all_its_names(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    other = second_name(tmp_path / "run")
    with RunLock(tmp_path / "run"), pytest.raises(RunError, match="is training this run"):
        RunLock(other)


def test_the_runs_of_a_sweep_have_names_that_differ_in_more_than_case() -> None:
    grid = {"cell": CELL_NAMES, "optimizer": ("adam", "sgd"), "learning_rate": (1e-5, 1e-4, 1.0), "recover": (True, False)}
    names = [each.name for each in combinations(grid, {}, {})]
    assert len({name.casefold() for name in names}) == len(names) == len([*itertools.product(*grid.values())])


# Commands that a message suggests

@pytest.mark.parametrize(("argument", "shown"), [
    ("checkpoints\\notes", "checkpoints\\notes"), ("C:\\runs\\two words", '"C:\\runs\\two words"'), ("", '""'),
    ("a&b", '"a&b"'), ("it's", '"it\'s"'), ('a"b', '"a\\"b"'), ("0.5", "0.5"),
])
def test_arguments_are_quoted_for_the_shells_of_windows(windows: None, argument: str, shown: str) -> None:
    """The shell cmd knows only double quotes."""
    assert system.quoted(argument) == shown


def test_suggested_commands_have_these_quotes(
        windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_text: Callable[..., str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my notes.txt").write_text(make_text(400), encoding="utf-8")
    train = ("train", "my notes.txt", *SMALL, "--steps", 1, "--from", "none", "--name", "my run")
    done = command(*train)
    assert b'charrnn sample "checkpoints/my run"' in done.err
    assert b'(charrnn resume "checkpoints/my run")' in command(*train).err
    assert b'charrnn train "my notes.txt"' in command("inspect", "my run").out
    assert b"'" not in done.err
