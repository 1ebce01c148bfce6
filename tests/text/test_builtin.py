"""charrnn.text.builtin"""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from charrnn import Corpus
from charrnn.errors import CorpusError
from charrnn.text.builtin import BUILTIN_TEXTS

SOURCE = BUILTIN_TEXTS["python-source"]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that replaces the standard library."""
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    return tmp_path


def put(folder: Path, **files: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / f"{name}.py").write_bytes(data)


@pytest.mark.parametrize("name", BUILTIN_TEXTS)
def test_a_builtin_text_has_about_the_listed_size_and_does_not_change(name: str) -> None:
    text = BUILTIN_TEXTS[name].read()
    assert 0.5 < len(text.encode()) / BUILTIN_TEXTS[name].size < 2
    assert BUILTIN_TEXTS[name].read() == text


def test_the_source_is_that_of_the_running_interpreter() -> None:
    text = SOURCE.read()
    assert Path(json.__file__).read_text(encoding="utf-8") in text
    assert "class TestCase" in text  # unittest is part of the library, and its own tests are not
    assert "def test_support" not in text
    assert Path(pytest.__file__).read_text(encoding="utf-8") not in text


def test_the_source_is_sorted_by_path_without_tests_and_installed_packages(library: Path) -> None:
    put(library, b=b"b\n", a=b"# caf\xc3\xa9\n", empty=b"", latin=b"# caf\xe9\n")
    put(library / "a", z=b"a/z\n")
    put(library / "test_of_something", y=b"y\n")
    for folder in ("test", "json/tests", "idle_test", "site-packages/x", "dist-packages", "__pycache__"):
        put(library / folder, x=b"not this\n")
    (library / "notes.txt").write_text("nor this")
    assert SOURCE.read() == "# café\n\na/z\n\nb\n\ny\n"


def test_a_missing_builtin_text_is_a_one_line_error(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorpusError, match="python-source: no source files of the standard library in"):
        SOURCE.read()
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(CorpusError, match="python-reference: this Python does not include its language reference"):
        Corpus.read("python-reference")


def test_the_name_of_a_builtin_text_cannot_be_combined_with_files(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(library, a=b"import this\n")
    monkeypatch.chdir(library)
    corpus = Corpus.read("python-source")
    assert (corpus.name, corpus.sources, len(corpus)) == ("python-source", ("python-source",), 12)
    with pytest.raises(CorpusError, match="python-source: no such file"):
        Corpus.read("python-source", "a.py")
    (library / "python-source").write_text("mine")
    assert len(Corpus.read("python-source")) == 4


def test_a_run_on_a_builtin_text_can_be_resumed(library: Path, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(library, a=b"import this\n" * 100)
    monkeypatch.chdir(library)
    small = ("--hidden-size", 8, "--batch-size", 2, "--seq-len", 8, "--threads", 1)
    answer = cli("train", "python-source", "--steps", 3, *small)
    assert answer.code == 0
    assert "python-source (the source of Python's standard library): 1,200 characters, " in answer.err
    assert cli("resume", "checkpoints/python-source-lnlstm-8", "--steps", 5).code == 0
