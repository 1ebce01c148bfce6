"""Text on Windows: streams in a code page with CRLF, pipes that are closed, and files that are opened as text."""

from __future__ import annotations

import ast
import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import SMALL
from other_systems import ClosedPipe, command
from small_models import make_model

import charrnn
from charrnn import cli, system
from charrnn.cli._conversation import converse
from charrnn.cli._output import Output

pytestmark = pytest.mark.usefixtures("reference_kernels")

GREEK = "αβγδε→\n"
"""Characters of which a code page for western languages has none."""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a model of Greek letters, in the current folder."""
    monkeypatch.chdir(tmp_path)
    make_model(GREEK, dtype="float32").save("greek.h5")
    return "greek.h5"


@pytest.fixture
def closed_pipe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs a command whose output goes to a closed pipe of Windows, and returns its exit code."""
    def run(*arguments: Any) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["charrnn", *map(str, arguments)])
            patch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(ClosedPipe(), 16), "cp1252"))
            patch.setattr(os, "dup2", lambda *_: None)
            with pytest.raises(SystemExit) as end:
                cli.main()
            with contextlib.suppress(OSError):
                sys.stdout.detach().close()  # so that it is not flushed when it is collected
        return int(end.value.code or 0)

    return run


# Code pages

def test_standard_input_of_a_conversation_is_utf_8(model: str) -> None:
    done = command("sample", model, "--interactive", "--length", 5, "--seed", 1, stdin="αβ\r\nγ\r\n".encode())
    assert (done.code, done.err) == (0, b"")
    assert set(done.out.decode()) <= set(GREEK)
    assert done.out.count(b"\n") >= 2


def test_a_byte_that_is_not_utf_8_is_an_unknown_character(model: str) -> None:
    """The conversation goes on; a traceback would end it."""
    done = command("sample", model, "--interactive", "--length", 3, "--seed", 1, stdin=b"\xff\n" + "α\n".encode())
    assert done.code == 0
    assert done.err.count(b"\n") == 1
    assert done.err.startswith(b"Error: ")
    assert b"not in the vocabulary" in done.err
    assert done.out


class Terminal(io.TextIOWrapper):
    """Standard input that claims to be a terminal, at its end."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("is_windows", "keys"), [(True, "Ctrl-Z and Enter end the"), (False, "Ctrl-D ends the")])
def test_the_keys_that_end_a_conversation_are_named(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_windows: bool, keys: str) -> None:
    monkeypatch.setattr(system, "IS_WINDOWS", is_windows)
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(), encoding="cp1252"))
    converse(make_model(GREEK), "", 5, "\n", Output(False))
    assert keys in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
def test_generated_text_is_utf_8_without_carriage_returns(model: str, encoding: str) -> None:
    done = command("sample", model, "--length", 50, "--seed", 1, "--prime", "-", stdin="αβγ\n".encode(), encoding=encoding)
    assert done.code == 0
    assert done.out.decode().startswith("αβγ")
    assert b"\r" not in done.out


def test_rows_of_scores_are_utf_8_without_carriage_returns(model: str) -> None:
    done = command("score", model, "--format", "csv", stdin="αβ\nγ\n".encode())
    assert (done.code, done.out.count(b"\r")) == (0, 0)
    assert "αβ" in done.out.decode()


@pytest.mark.parametrize("encoding", ["cp1252", "cp866"])
def test_other_output_escapes_what_the_code_page_does_not_contain(model: str, encoding: str) -> None:
    shown = command("inspect", model, encoding=encoding)
    assert (shown.code, shown.err) == (0, b"")
    assert rb"\u03b1\u03b2" in shown.out
    missing = command("inspect", "αβ.h5", encoding=encoding)
    assert missing.code == 1
    assert missing.err.startswith(rb"Error: \u03b1\u03b2.h5: no such run")


def test_a_chart_uses_letters_if_the_code_page_has_no_dots(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_text: Callable[..., str]) -> None:
    """Training shows text and a chart that the code page does not contain."""
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text(make_text(400) + GREEK * 9, encoding="utf-8")
    done = command("train", "notes.txt", *SMALL, "--steps", 2, "--eval-every", 1, "--from", "none", "--name", "a")
    assert done.code == 0, done.err
    chart = command("plot", "a")
    assert chart.code == 0
    assert b"\\u" not in chart.out
    assert {row.split(",")[0] for row in Path("checkpoints/a/metrics.csv").read_bytes().decode().split("\n")[1:-1]} == {
        "1", "2"}
    for name in ("metrics.csv", "samples.jsonl"):
        assert b"\r" not in Path("checkpoints/a", name).read_bytes()


# Closed pipes

# Python 3.13 reports a second failure, when the stream to the simulated pipe is collected
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("arguments", [("inspect", "greek.h5"), ("sample", "greek.h5", "--length", 50), ("--help",),
                                       ("corpora",)], ids=lambda arguments: arguments[0])
def test_a_pipe_that_is_closed_is_no_error(
        model: str, closed_pipe: Callable[..., int], monkeypatch: pytest.MonkeyPatch, arguments: tuple) -> None:
    monkeypatch.setattr(system, "IS_WINDOWS", True)
    assert closed_pipe(*arguments) == 0


def test_an_invalid_argument_is_an_error_elsewhere(model: str, closed_pipe: Callable[..., int]) -> None:
    assert closed_pipe("inspect", model) == 1


@pytest.mark.parametrize(("error", "is_lost"), [
    (OSError(errno.EINVAL, "Invalid argument"), True), (BrokenPipeError(errno.EPIPE, "Broken pipe"), True),
    (OSError(errno.EINVAL, "Invalid argument", "a?b"), False), (OSError(errno.ENOSPC, "No space left on device"), False),
], ids=str)
def test_an_invalid_name_is_not_a_closed_pipe(error: OSError, is_lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "IS_WINDOWS", True)
    assert system.is_lost_reader(error) == is_lost


# Files that are opened as text

def opened_as_text() -> Iterator[tuple[str, set[str]]]:
    """Yield the place of each call in the package that opens a file as text, and the names of its arguments."""
    for path in sorted(Path(charrnn.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            is_of_os = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "os"
            modes = [value.value for value in [*node.args, *(item.value for item in node.keywords if item.arg == "mode")]
                     if isinstance(value, ast.Constant) and isinstance(value.value, str)]
            is_binary = any(set(mode) <= set("rwaxb+") and "b" in mode for mode in modes)
            if name in ("read_text", "write_text", "TextIOWrapper") or (
                    name in ("open", "fdopen", "NamedTemporaryFile") and not is_of_os and not is_binary):
                yield f"{path.name}:{node.lineno}: {name}", {str(item.arg) for item in node.keywords}


def test_files_that_are_opened_as_text_have_an_encoding() -> None:
    """The default is the code page. All other files are written as bytes, so their lines end in LF everywhere."""
    found = {place: arguments for place, arguments in opened_as_text()
             if not place.startswith(("catalog.py", "corpus.py", "files.py", "container.py"))}  # os.open, archives
    assert len(found) >= 5
    assert [place for place, arguments in found.items() if "encoding" not in arguments] == []
    assert [place for place in found if "write_text" in place] == []
