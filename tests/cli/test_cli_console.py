"""Output on a terminal, in a file and in a pipe: progress, control characters, names of options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import SMALL, Cli, on_terminal

from charrnn.cli._console import argument_text, option, progress_bar, without_controls

PROGRESS = """
import sys
from charrnn.cli import _console
_console._SECONDS_BETWEEN_LINES = {seconds}
with _console.progress_bar(False, total=20, unit="step") as bar:
    for step in range(20):
        bar.set_postfix_str("1.234 nats/char", refresh=False)
        bar.update()
        if step == 9:
            bar.write("evaluated", file=_console.standard_error)
with _console.progress_bar(False, total=5, unit="B", leave=False) as bar:
    bar.update(5)
"""


def test_in_a_file_progress_is_lines(python: Cli) -> None:
    lines = python("-c", PROGRESS.format(seconds=0)).err.split("\n")
    assert lines.pop() == ""
    assert "\r" not in "".join(lines)
    assert len(lines) > 20
    for line in lines:
        assert line == "evaluated" or re.fullmatch(r"\d+% \d+/\d+ \[\S.*(step|B)/s.*\]", line), line
    assert lines.count("evaluated") == 1
    assert any(line.startswith("100% 20/20 [") and line.endswith(", 1.234 nats/char]") for line in lines)


def test_in_a_file_short_progress_is_not_shown(python: Cli) -> None:
    assert python("-c", PROGRESS.format(seconds=30)).err == "evaluated\n"


@pytest.mark.parametrize(("terminal", "moves"), [("dumb", False), ("xterm", True)])
def test_only_a_terminal_that_can_move_its_cursor_shows_a_bar(
        environment: dict[str, str], terminal: str, moves: bool) -> None:
    data = on_terminal("-c", PROGRESS.format(seconds=0), environment=environment | {"TERM": terminal}, both=True)
    assert (b"\r" in data) == moves
    assert ("█".encode() in data) == moves
    assert b"20/20 [" in data


def test_a_training_log_contains_no_carriage_returns(empty: Path, python: Cli) -> None:
    answer = python("-m", "charrnn", "train", "notes.txt", *SMALL, "--steps", 4, "--eval-every", 1, cwd=empty)
    assert answer.code == 0
    assert "\r" not in answer.err
    assert len(re.findall("^step .* validation ", answer.err, re.MULTILINE)) == 4


def test_the_bar_of_training_shows_losses_speed_and_the_time_left(empty: Path, environment: dict[str, str]) -> None:
    text = on_terminal("-m", "charrnn", "train", "notes.txt", *SMALL, "--steps", 400, "--eval-every", 100, "--no-samples",
                       environment=environment, both=True).decode().replace("\n", "\r")
    bars = re.findall(r"\d+%\|[^|]+\| (\d+)/400, train \d\.\d{3}(, validation \d\.\d{3})?, [\d,]+ char/s, "
                      r"(?:\d\d:\d\d|\?) left\r", text)
    assert bars[-1][0] == "400"
    assert bars[-1][1]
    assert "step/s" not in text


def test_the_first_speed_is_that_of_the_steps_since_the_start() -> None:
    with progress_bar(False, total=9, initial=5, unit="char", units_per_step=10) as bar:
        assert bar.format_dict["speed"] == "0 char/s"
        bar.n = 7
        assert bar.format_dict["speed"] != "0 char/s"
        assert re.fullmatch(r" 78% 7/9, [\d,]+ char/s, .* left", str(bar)), "a line of a file contains no bar"


@pytest.mark.parametrize(("parameter", "shown"), [
    ("min_count", "--min-count"), ("min_count=2", "--min-count 2"), ("encoding='latin-1'", "--encoding latin-1"),
    ("overwrite=True", "--overwrite"), ("stateful=False", "--no-stateful")])
def test_a_parameter_is_shown_as_an_option(parameter: str, shown: str) -> None:
    assert option(parameter) == shown


def test_control_characters_are_escaped_except_newlines_tabs_and_formatting_of_scripts() -> None:
    assert without_controls("\x1b[2J\r\x07\x7f\x9b\x00\x0b") == "\\x1b[2J\\r\\x07\\x7f\\x9b\\x00\\x0b"
    text = "a\tb\nسلام\u200cها \u00a0\u2028é\U0001f600"
    assert without_controls(text) == text


def test_an_argument_that_the_locale_did_not_decode_is_read_as_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsencode", lambda text: text.encode("ascii", "surrogateescape"))
    for text in ("سلام", "Zoë"):
        assert argument_text(text.encode().decode("ascii", "surrogateescape")) == text
        assert argument_text(text) == text
    assert argument_text("a\udcff") == "a\udcff"
