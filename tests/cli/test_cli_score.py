"""charrnn score; every figure is compared with an implementation in NumPy alone, which reads the checkpoint with h5py"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import RUN, Cli, on_terminal, refused
from independent import IndependentLSTM
from small_models import LETTERS, make_model

from charrnn import load
from charrnn.cli._rows import _byte_groups
from charrnn.inference import scoring

BYTES = "".join(map(chr, range(128)))
TEXT = "fade a\n\nbad x café\ncdxxe\nlast"


def independent(path: Path, text: str, lines: bool = False, bounds: list[int] | None = None, context: int = 0
                ) -> list[float | None]:
    """Return the nats of each character of a text for an LSTM, None for unknown ones, computed step by step in float64.

    ``bounds`` are the indices, among the characters that the model reads, between which separate streams are scored, each
    after ``context`` characters.
    """
    model = IndependentLSTM(path)
    read = [model.ids.get(character, model.slot) for character in text if character in model.ids or model.slot is not None]

    def stream(first: int, last: int) -> list[float]:
        begin = max(0, first - context)
        before = read[begin - 1] if begin else model.start
        states = model.zeros()
        nats = []
        for number in read[begin:last]:
            if lines and before == model.start:
                states = model.zeros()
            nats.append(-model.step(before, states)[number])
            before = number
        return nats[first - begin:]

    bounds = bounds or [0, len(read)]
    found = iter([nats for first, last in pairwise(bounds) for nats in stream(first, last)])
    result = []
    for character in text:
        nats = next(found) if character in model.ids or model.slot is not None else None
        result.append(nats if character in model.ids else None)
    return result


def by_lines(text: str, nats: list[float | None]) -> list[tuple[str, int, float, int]]:
    """Return (text, characters, nats, unknown) for each line."""
    found, first = [], 0
    for line in text.splitlines(keepends=True):
        part = nats[first:first + len(line)]
        total = sum(value for value in part if value is not None)
        found.append((line.removesuffix("\n"), len(line), total, part.count(None)))
        first += len(line)
    return found


def rows(answer: Any) -> list[dict[str, Any]]:
    """Return the objects of an answer in JSON Lines."""
    assert answer.code == 0, answer.err
    found = [json.loads(line) for line in answer.out.splitlines()]
    for row in found:
        assert list(row) == ["source", "number", "text", "characters", "nats", "bits", "unknown"]
        assert row["bits"] == (None if row["nats"] is None else pytest.approx(row["nats"] / math.log(2)))
    return found


def assert_lines(found: list[dict[str, Any]], expected: list[tuple[str, int, float, int]], tolerance: float = 1e-9) -> None:
    assert [(row["text"], row["characters"], row["unknown"]) for row in found] == [(t, c, u) for t, c, _, u in expected]
    assert [row["number"] for row in found] == list(range(1, len(found) + 1))
    sums = [nats for _, _, nats, _ in expected]
    assert [row["nats"] for row in found] == pytest.approx(sums, rel=tolerance, abs=tolerance)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder with the file of a model, and return its path."""
    monkeypatch.chdir(tmp_path)
    make_model().save("model.h5")
    return Path("model.h5")


# Figures

@pytest.mark.parametrize(("settings", "read"), [
    ({}, TEXT), ({"layers": 2, "embedding_size": 0}, TEXT), ({"dtype": np.float32}, TEXT), ({"min_count": 2}, TEXT),
    ({"documents": "lines"}, TEXT + "\n"), ({"characters": "abcdef é"}, TEXT),
    ({"lowercase": True, "normalize": "NFC"}, TEXT),
    ({"level": "byte", "characters": BYTES}, TEXT.encode().decode("latin-1")),
], ids=str)
@pytest.mark.parametrize("piped", [False, True])
def test_every_figure_agrees_with_an_independent_implementation(
        model: Path, cli: Cli, settings: dict[str, Any], read: str, piped: bool) -> None:
    """``read`` is the text after the text settings of the model."""
    make_model(**settings).save(model)
    written = TEXT.upper().replace("É", "E\u0301") if "lowercase" in settings else TEXT
    Path("text.txt").write_text(written, encoding="utf-8")
    nats = independent(model, read, "documents" in settings)
    tolerance = 1e-4 if "dtype" in settings else 1e-9

    def score(*options: str) -> Any:
        source = () if piped else ("text.txt",)
        return cli("score", model, *source, "--format", "jsonl", *options, stdin=written if piped else "")

    if settings.get("level") != "byte":
        assert_lines(rows(score()), by_lines(read, nats), tolerance)
        assert "".join(row["text"] for row in rows(score("--by", "character"))) == read
    else:
        assert [row["text"] for row in rows(score())] == TEXT.splitlines()
    characters = rows(score("--by", "character"))
    assert [row["nats"] for row in characters] == [None if value is None else pytest.approx(value, rel=tolerance)
                                                   for value in nats]
    assert {row["source"] for row in characters} == {"-" if piped else "text.txt"}
    (whole,) = rows(score("--by", "text"))
    known = [value for value in nats if value is not None]
    assert (whole["number"], whole["text"], whole["characters"], whole["unknown"]) == (1, None, len(read), nats.count(None))
    assert whole["nats"] == pytest.approx(sum(known), rel=tolerance)
    assert load(model).score(Path("text.txt")).total == pytest.approx(sum(known), rel=tolerance)
    assert len(load(model).score([Path("text.txt")])[0]) == len(read)


@pytest.mark.parametrize("min_count", [1, 2])
def test_a_long_file_is_divided_and_the_output_says_so(
        model: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, min_count: int) -> None:
    make_model(min_count=min_count).save(model)
    monkeypatch.setattr(scoring, "ONE_STREAM", 200)
    monkeypatch.setattr(scoring, "CONTEXT", 10)
    monkeypatch.setattr(scoring, "stream_count", lambda characters: 4)
    text = "fade xa\nbad café\n" * 20
    Path("long.txt").write_text(text, encoding="utf-8")
    length = len(text) if min_count > 1 else len(text) - 20
    nats = independent(model, text, bounds=[length * k // 4 for k in range(5)], context=10)
    answer = cli("score", model, "long.txt", "--format", "jsonl")
    assert_lines(rows(answer), by_lines(text, nats))
    assert "(carried, 4 streams)\n" in answer.err
    piped = cli("score", model, "--format", "jsonl", stdin=text)
    assert_lines(rows(piped), by_lines(text, independent(model, text)))
    assert "(carried, 1 stream)\n" in piped.err
    Path("short.txt").write_text("fade", encoding="utf-8")
    assert "(carried, 1 to 4 streams)\n" in cli("score", model, "long.txt", "short.txt").err


def test_the_settings_of_reading_can_be_changed(model: Path, cli: Cli) -> None:
    Path("latin.txt").write_bytes("café\n".encode("latin-1"))
    refused(cli("score", model, "latin.txt", "--format", "jsonl"), "latin.txt: invalid UTF-8", "--encoding latin-1")
    (row,) = rows(cli("score", model, "latin.txt", "--format", "jsonl", "--encoding", "latin-1"))
    assert (row["text"], row["unknown"]) == ("café", 0)
    (row,) = rows(cli("score", model, "latin.txt", "--format", "jsonl", "--errors", "replace"))
    assert (row["text"], row["unknown"]) == ("caf\ufffd", 1)


# Formats

def test_the_table_shows_each_line_and_the_total(model: Path, cli: Cli) -> None:
    answer = cli("score", model, stdin=TEXT)
    nats = independent(model, TEXT)
    expected = by_lines(TEXT, nats)
    head, *lines = answer.out.splitlines()
    assert head.split() == ["line", "characters", "unknown", "nats", "bits", "text"]
    for number, (line, (text, characters, sum_, unknown)) in enumerate(zip(lines, expected, strict=True), 1):
        assert line.split(maxsplit=5)[5:] == ([text] if text else [])
        assert line.split()[:5] == [str(number), str(characters), str(unknown), f"{sum_:.4f}", f"{sum_ / math.log(2):.4f}"]
    total = sum(value for value in nats if value is not None)
    known = len(TEXT) - nats.count(None)
    assert answer.err.splitlines() == [
        f"5 lines, {len(TEXT)} characters ({nats.count(None)} unknown): {total:.4f} nats, {total / math.log(2):.4f} bits, "
        f"{total / known:.4f} nats/char  (carried, 1 stream)",
        "Warning: the lines contain different numbers of unknown characters (0 to 3), which are left out, so their sums "
        "cannot be compared"]


def test_csv_contains_the_values_of_json_lines(model: Path, cli: Cli) -> None:
    text = 'a "b", c\nd\re\n=f\n'
    for by in ("line", "character", "text"):
        expected = rows(cli("score", model, "--format", "jsonl", "--by", by, stdin=text))
        answer = cli("score", model, "--format", "csv", "--by", by, stdin=text)
        found = list(csv.DictReader(io.StringIO(answer.out, newline="")))
        assert found == [{name: "" if value is None else str(value) for name, value in row.items()} for row in expected]


def test_characters_are_escaped_visibly(model: Path, cli: Cli) -> None:
    lines = cli("score", model, "--by", "character", stdin="a é\n\x1b\u202e").out.splitlines()
    assert [line.split(maxsplit=3)[-1] for line in lines[1:4:2]] == ["'a'", "'é'"]
    assert lines[2].endswith("  ' '")
    assert lines[4].endswith("  '\\n'")
    assert [line.split() for line in lines[5:]] == [["5", "unknown", "'\\x1b'"], ["6", "unknown", "'\\u202e'"]]
    make_model(BYTES, level="byte").save(model)
    assert cli("score", model, "--by", "character", stdin="é").out.splitlines()[1].endswith("b'\\xc3'")


def test_several_texts_are_named_and_can_be_compared(model: Path, cli: Cli) -> None:
    for name, text in (("a.txt", "fade\nbad\n"), ("b.txt", "dead\n"), ("empty.txt", "")):
        Path(name).write_text(text)
    answer = cli("score", model, "a.txt", "-", "b.txt", stdin="abc\n")
    assert [line.split()[:2] for line in answer.out.splitlines()] == [
        ["source", "line"], ["a.txt", "1"], ["a.txt", "2"], ["-", "1"], ["b.txt", "1"]]
    assert answer.err.startswith("3 texts, 4 lines, 18 characters: ")
    answer = cli("score", model, ".", "--by", "text")
    assert [line.split()[0::5] for line in answer.out.splitlines()] == [
        ["text", "source"], ["1", "a.txt"], ["2", "b.txt"], ["3", "empty.txt"]]
    assert "Warning" not in answer.err


@pytest.mark.parametrize(("by", "texts", "parts"), [
    ("text", ("ab", "ax"), "texts"), ("character", ("ab", "ax"), "texts"), ("line", ("ab\nax", "a"), "lines"),
    ("text", ("xa", "ax"), ""), ("character", ("xa", "ax"), ""), ("line", ("xa\nax", "x"), ""), ("text", ("abx",), "")])
def test_warns_if_sums_leave_out_different_numbers_of_characters(
        model: Path, cli: Cli, by: str, texts: tuple[str, ...], parts: str) -> None:
    names = [f"{number}.txt" for number in range(len(texts))]
    for name, text in zip(names, texts):
        Path(name).write_text(text)
    answer = cli("score", model, *names, "--by", by)
    assert answer.code == 0
    assert answer.err.count("Warning") == bool(parts)
    assert not parts or f"the {parts} contain different numbers of unknown characters (0 to 1)" in answer.err


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_an_empty_text_has_no_lines(model: Path, cli: Cli, form: str) -> None:
    answer = cli("score", model, "--format", form)
    assert (answer.code, len(answer.out.splitlines())) == (0, 0 if form == "jsonl" else 1)
    assert answer.err == "0 lines, 0 characters: 0.0000 nats, 0.0000 bits  (carried, 1 stream)\n"


def test_the_total_names_the_model_from_which_training_started(here: Path, bundled: Path, cli: Cli) -> None:
    assert cli("score", "english", "notes.txt").err.endswith("(carried, 1 stream, started from english)\n")


# The most surprising lines

def test_top_shows_the_most_surprising_lines_of_all_texts(model: Path, cli: Cli) -> None:
    Path("a.txt").write_text("fade\nbad bad bad bad\n\n")
    Path("b.txt").write_text("dead dead\na\n")
    everything = rows(cli("score", model, "a.txt", "b.txt", "--format", "jsonl"))
    for count in (1, 3, 99):
        found = cli("score", model, "a.txt", "b.txt", "--format", "jsonl", "--top", count)
        assert rows(found) == sorted(everything, key=lambda row: -row["nats"])[:count]
        assert found.err.startswith("2 texts, 5 lines, ")


def test_top_refuses_other_parts_than_lines(model: Path, cli: Cli) -> None:
    refused(cli("score", model, "--top", 0), "'--top'", "at least 1")
    for by in ("character", "text"):
        refused(cli("score", model, "--top", 2, "--by", by), "'--top'", f"--by {by}")


@pytest.mark.parametrize("level", ["char", "byte"])
def test_surprising_characters_have_a_colour_on_a_terminal_only(
        model: Path, cli: Cli, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    """The model expects "a" and a line break, so that "é" and the bytes that encode it are surprising."""
    language_model = make_model("a\né" if level == "char" else "a\n" + "é".encode().decode("latin-1"), level=level)
    language_model.network.parameters.flat[:] = 0
    language_model.network.parameters["output/b"][:2] = 9
    language_model.save(model)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    arguments = ("score", model, "--top", 1)
    assert "aéa\n" in cli(*arguments, stdin="aéa\n").out
    request.getfixturevalue("terminal")
    assert "a\x1b[31m\x1b[1mé\x1b[0ma\n" in cli(*arguments, stdin="aéa\n").out
    assert "\x1b" not in cli("score", model, stdin="aéa\n").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in cli(*arguments, stdin="aéa\n").out


def test_an_unknown_byte_is_not_surprising() -> None:
    assert list(_byte_groups("a\xc3\xa9", [math.nan, 9.0, math.nan])) == [("a", 0.0), ("é", 9.0)]


# Hostile content

@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
@pytest.mark.parametrize("options", [(), ("--by", "character"), ("--by", "text"), ("--top", "2")], ids=str)
def test_hostile_content_is_inert_on_a_terminal(model: Path, cli: Cli, terminal: None, monkeypatch: pytest.MonkeyPatch,
                                                form: str, options: tuple[str, ...]) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    name = "\x1b]0;name\x07.txt"
    Path(name).write_text("\x1b[2J\x9b31m\u202egnp\r\x08\x7f\t\ufeff\n\u2028a\n", encoding="utf-8")
    answer = cli("score", model, name, name, "--format", form, *options)
    assert answer.code == 0
    assert answer.out.replace("\n", "").isprintable()
    assert answer.err.replace("\n", "").isprintable()


def test_csv_in_a_pipe_is_not_changed(model: Path, cli: Cli) -> None:
    (row,) = csv.DictReader(io.StringIO(cli("score", model, "--format", "csv", stdin="\x1b[2Ja\n").out))
    assert row["text"] == "\x1b[2Ja"


def test_a_terminal_gets_the_same_table(here: Path, environment: dict[str, str]) -> None:
    arguments = ("-m", "charrnn", "score", RUN, "notes.txt", "--top", "1")
    shown = on_terminal(*arguments, environment=environment, both=True).decode()
    assert shown.splitlines()[0].split()[0] == "line"
    assert shown.splitlines()[-1].endswith("(carried, 1 stream)")


# Streams

def test_each_line_is_scored_when_it_arrives_and_control_c_ends_at_once(here: Path, environment: dict[str, str]
                                                                        ) -> None:
    command = [sys.executable, "-m", "charrnn", "score", str(RUN), "--format", "jsonl"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        for number, line in enumerate((b"the cat\n", b"a dog\n"), 1):
            process.stdin.write(line)
            process.stdin.flush()
            row = json.loads(process.stdout.readline())
            assert (row["number"], row["text"]) == (number, line.decode().rstrip())
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"\nStopped.\n"  # the terminal has shown ^C
    assert process.returncode == 130


def test_head_may_close_the_pipe(here: Path, environment: dict[str, str]) -> None:
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "charrnn", "score", str(RUN), "--format", "csv"]
    with subprocess.Popen(command, env=environment, stdin=reader, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        os.close(reader)
        with os.fdopen(writer, "wb") as lines:
            lines.write(b"the cat\n")
            lines.flush()
            assert process.stdout.readline().startswith(b'"source",')
            assert process.stdout.readline().startswith(b'"-",1,"the cat",')
            process.stdout.close()
            lines.write(b"a dog\n")
            lines.flush()
            assert process.stderr.read() == b""  # it ends although there could be more input
    assert process.returncode == 0


def test_an_interrupted_score_stops_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    language_model = make_model(LETTERS)
    calls: list[int] = []
    losses = type(language_model.network).losses

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 100:
            os.kill(os.getpid(), signal.SIGINT)
        return losses(*arguments)

    monkeypatch.setattr(type(language_model.network), "losses", interrupted)
    monkeypatch.setattr(scoring, "_SEQ_LEN", 1)
    monkeypatch.setattr(scoring, "cores", lambda: 2)
    with pytest.raises(KeyboardInterrupt):
        language_model.score(np.zeros(60_000, np.uint8), streams=30)
    assert len(calls) < 2000  # each thread would read 3,000 windows
