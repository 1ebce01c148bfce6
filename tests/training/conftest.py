"""Fixtures for the tests of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def notes(tmp_path: Path, make_text: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder that contains only notes.txt, a text of 400 characters."""
    monkeypatch.chdir(tmp_path)
    path = Path("notes.txt")
    path.write_text(make_text(400), encoding="utf-8")
    return path
