"""Folders with a text and a run for the tests of the commands."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import SMALL, Cli


@pytest.fixture(scope="module", autouse=True)
def _same_kernels(reference_kernels: None) -> None:
    """Use the kernels of child processes in this process too, so that both train the same weights."""


@pytest.fixture(scope="session")
def trained(make_text: Callable[..., str], python: Cli, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Return a folder with notes.txt and a run of 12 steps on it, and the output of the command."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "notes.txt").write_text(make_text(600), encoding="utf-8")
    answer = python("-m", "charrnn", "train", "notes.txt", *SMALL, "--steps", 12, "--eval-every", 3, cwd=folder)
    return folder, answer


@pytest.fixture
def here(trained: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a copy of the folder with the trained run."""
    folder = shutil.copytree(trained[0], tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def empty(trained: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder that contains only notes.txt."""
    shutil.copyfile(trained[0] / "notes.txt", tmp_path / "notes.txt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make commands in this process treat standard output as a terminal."""
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
