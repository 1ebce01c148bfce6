"""charrnn evaluate"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import FIGURES, RUN, SMALL, Cli, refused, without_size
from independent import IndependentLSTM

from charrnn import Corpus, Run, load
from charrnn.inference.evaluation import evaluate


def test_evaluate_prints_the_same_line_as_train(here: Path, cli: Cli, trained: tuple[Path, Any]) -> None:
    for path in (RUN, RUN / "best.h5"):
        answer = cli("evaluate", path)
        assert (answer.code, without_size(answer.out), answer.err) == (0, trained[1].out, "")


def test_evaluate_also_measures_the_test_part_if_there_is_one(empty: Path, cli: Cli) -> None:
    trained = cli("train", "notes.txt", *SMALL, "--steps", 2, "--test", 0.2)
    test, validation = cli("evaluate", RUN).out.splitlines(keepends=True)
    assert re.fullmatch("test " + FIGURES, without_size(test))
    assert without_size(validation) == trained.out


def test_evaluate_reads_a_text_file(here: Path, cli: Cli) -> None:
    text = Path("notes.txt").read_text(encoding="utf-8")
    Path("other.txt").write_text(text[540:], encoding="utf-8")
    answer = cli("evaluate", RUN, "other.txt")
    assert (answer.code, answer.err) == (0, "")
    assert re.fullmatch("text " + FIGURES, without_size(answer.out))
    assert answer.out.split(" ", 1)[1] == cli("evaluate", RUN).out.split(" ", 1)[1]  # it is the validation part
    assert cli("evaluate", RUN, "other.txt", "--streams", 1).out == answer.out
    figures, _, how = cli("evaluate", RUN, "other.txt", "--streams", 7).out.partition("  (")
    assert figures != answer.out.partition("  (")[0]
    assert how == "carried, 7 streams)\n"
    length = len(text[540:])
    assert cli("evaluate", RUN, "other.txt", "--streams", 10**6).out.endswith(f"  (carried, {length - 1} streams)\n")


def test_evaluate_reads_a_text_in_cold_windows(here: Path, cli: Cli) -> None:
    run = Run.load(RUN / "best.h5")
    expected = evaluate(run.model.network, run.split(Corpus.read("notes.txt")).validation.ids, window=8)
    answer = cli("evaluate", RUN, "--window", 8)
    assert answer == (0, expected.line("validation", size=True) + "\n", "")
    assert answer.out.endswith("  (cold windows of 8)\n")
    Path("other.txt").write_text(Path("notes.txt").read_text(encoding="utf-8")[540:], encoding="utf-8")
    assert cli("evaluate", RUN, "other.txt", "--window", 8).out.split(" ", 1)[1] == answer.out.split(" ", 1)[1]


@pytest.mark.parametrize(("options", "problem"), [
    (("--window", 0), "must be at least 1, not 0"), (("--window", 61), "must be below 60, the length of the text, not 61"),
    (("--window", 8, "--streams", 1), "cannot be combined with --streams; pass one of them")])
def test_evaluate_rejects_an_invalid_window(here: Path, cli: Cli, options: tuple, problem: str) -> None:
    for text in ((), ("notes.txt",))[:1 if "61" in problem else 2]:
        answer = cli("evaluate", RUN, *text, *options)
        assert answer == (2, "", f"Error: Invalid value for '--window': {problem}\n")


@pytest.mark.parametrize(("text", "words"), [("", ["other.txt", "0 characters"]), ("t", ["other.txt", "1 character"]),
                                             ("the ß", ["other.txt: 'ß' (U+00DF, LATIN SMALL LETTER SHARP S)"])])
def test_evaluate_rejects_a_text_that_it_cannot_read(here: Path, cli: Cli, text: str, words: list[str]) -> None:
    Path("other.txt").write_text(text, encoding="utf-8")
    refused(cli("evaluate", RUN, "other.txt"), *words)


def test_evaluate_rejects_a_corpus_that_is_missing_or_changed(here: Path, cli: Cli) -> None:
    Path("notes.txt").write_text("x" * 600)
    refused(cli("evaluate", RUN), "notes.txt", "TEXT_FILE")
    Path("notes.txt").unlink()
    refused(cli("evaluate", RUN), "notes.txt")


def test_evaluate_measures_only_the_test_part_without_validation(empty: Path, cli: Cli) -> None:
    assert cli("train", "notes.txt", *SMALL, "--steps", 2, "--validation", 0, "--test", 0.1).code == 0
    assert re.fullmatch(r"test \d+\.\d{4} nats/char  .*\n", cli("evaluate", RUN).out)


@pytest.mark.parametrize("setting", [("--encoding", "latin-1"), ("--errors", "replace")])
def test_settings_of_reading_need_a_text_file(here: Path, cli: Cli, setting: tuple[str, str]) -> None:
    refused(cli("evaluate", RUN, *setting), setting[0], "pass a TEXT_FILE too")
    Path("plain.txt").write_text("the text " * 9)
    assert cli("evaluate", RUN, "plain.txt", *setting).code == 0


@pytest.mark.parametrize("window", [None, 8])
def test_the_figures_are_those_of_an_independent_implementation(here: Path, cli: Cli, window: int | None) -> None:
    model = IndependentLSTM(RUN / "best.h5")
    text = Path("notes.txt").read_text(encoding="utf-8")[540:]
    pieces = [text] if window is None else [text[k:k + window + 1] for k in range(0, len(text) - window, window)]
    nats = [model.nats(piece) for piece in pieces]
    mean, count = np.mean(nats), np.size(nats)
    options = () if window is None else ("--window", window)
    line, _, *rows = cli("evaluate", RUN, "--by", "character", *options).out.splitlines()
    found = re.fullmatch(r"validation (\S+) nats/char  (\S+) bits/char  perplexity (\S+)  compressed (\d+) bytes  \(.*\)",
                         line)
    assert list(map(float, found.groups())) == pytest.approx(
        [mean, mean / math.log(2), math.exp(mean), math.ceil(mean * count / math.log(2) / 8)], abs=6e-3)
    assert float(found[1]) == pytest.approx(mean, abs=1e-4)
    shown = {row[:10].strip().strip("'").replace("\\n", "\n") or " ": row[10:].split()[:2] for row in rows}
    expected = {}
    for piece, losses in zip(pieces, nats):
        for character, loss in zip(piece[1:], losses):
            expected.setdefault(character, []).append(loss)
    assert {name: int(count) for name, (count, _) in shown.items()} == {name: len(of) for name, of in expected.items()}
    for name, (_, loss) in shown.items():
        assert float(loss) == pytest.approx(np.mean(expected[name]), abs=1e-4)


def test_the_compressed_size_corresponds_to_the_loss(here: Path, cli: Cli) -> None:
    nats, size = re.fullmatch(r"validation (\S+) nats/char .* perplexity \S+  compressed ([\d,]+) bytes  \(.*\)\n",
                              cli("evaluate", RUN).out).groups()
    assert float(size.replace(",", "")) == pytest.approx(float(nats) / math.log(2) * 59 / 8, abs=1)


def test_evaluate_measures_each_of_several_texts(here: Path, cli: Cli) -> None:
    text = Path("notes.txt").read_text(encoding="utf-8")
    for name, part in (("a.txt", text[:300]), ("b\x1b[31m.txt", text[300:])):
        Path(name).write_text(part, encoding="utf-8")
    answer = cli("evaluate", RUN, "a.txt", "b\x1b[31m.txt")
    first, second = answer.out.splitlines(keepends=True)
    assert first == cli("evaluate", RUN, "a.txt").out.replace("text", "a.txt", 1)
    assert second == cli("evaluate", RUN, "b\x1b[31m.txt").out.replace("text", r"b\x1b[31m.txt", 1)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_evaluate_measures_a_part_of_the_corpus(empty: Path, cli: Cli, part: str) -> None:
    assert cli("train", "notes.txt", *SMALL, "--steps", 2, "--test", 0.2).code == 0
    run = Run.load(RUN / "best.h5")
    ids = getattr(run.split(Corpus.read("notes.txt")), part).ids
    assert cli("evaluate", RUN, "--split", part).out == evaluate(run.model.network, ids).line(part, size=True) + "\n"
    refused(cli("evaluate", RUN, "notes.txt", "--split", part), "--split", "not to a TEXT_FILE")


def test_a_part_that_the_corpus_does_not_have_is_an_error(here: Path, cli: Cli) -> None:
    refused(cli("evaluate", RUN, "--split", "test"), "was trained without a test part", "--split")


def test_a_table_shows_which_characters_are_hard(here: Path, cli: Cli) -> None:
    """The sums of the rows are the figures of the line above them."""
    line, head, *rows = cli("evaluate", RUN, "--by", "character").out.splitlines()
    assert f"{line}\n" == cli("evaluate", RUN).out
    assert head.split() == ["character", "count", "nats", "bits", "of", "text", "of", "loss"]
    run = Run.load(RUN / "best.h5")
    ids = run.split(Corpus.read("notes.txt")).validation.ids
    expected = {}
    losses, _ = run.model.network.losses(ids[:-1, None], ids[1:, None], run.model.network.initial_state(1))
    for k, loss in zip(ids[1:].tolist(), losses[:, 0].tolist()):
        character = run.model.vocabulary.characters[k]
        expected.setdefault("'\\n'" if character == "\n" else "' '" if character == " " else character, []).append(loss)
    shown = {row[:10].strip(): row[10:].split() for row in rows}
    assert shown.keys() == expected.keys()
    for name, (count, nats, _, of_text, of_loss) in shown.items():
        assert int(count) == len(expected[name])
        assert float(nats) == pytest.approx(np.mean(expected[name]), abs=1e-4)
        assert float(of_text.rstrip("%")) == pytest.approx(100 * len(expected[name]) / 59, abs=0.01)
        assert float(of_loss.rstrip("%")) == pytest.approx(
            100 * sum(expected[name]) / sum(map(sum, expected.values())), abs=0.01)
    parts = [float(row.split()[-1].rstrip("%")) for row in rows]
    assert parts == sorted(parts, reverse=True)


def test_a_table_of_bytes_shows_bytes_that_are_not_ascii_as_escapes(empty: Path, cli: Cli) -> None:
    Path("bytes.txt").write_text("é\t\x1b" * 300, encoding="utf-8")
    assert cli("train", "bytes.txt", *SMALL, "--steps", 2, "--level", "byte", "--name", "a").code == 0
    names = {line[:10].strip() for line in cli("evaluate", "a", "--by", "character").out.splitlines()[2:]}
    assert names == {r"'\xc3'", r"'\xa9'", r"'\t'", r"'\x1b'"}


def test_a_table_of_a_model_of_lines_with_an_unknown_character(empty: Path, cli: Cli) -> None:
    """The text is read as without a table: each line from a zero state, in streams or windows."""
    Path("notes.txt").write_text("one two\nthree\nfour\n" * 60 + "q")
    options = ("--documents", "lines", "--min-count", 2, "--name", "a")
    assert cli("train", "notes.txt", *SMALL, "--steps", 9, *options).code == 0
    name = "x\x1b[31m.txt"
    Path(name).write_text("two\nsix\n" * 9)
    model, text = load("checkpoints/a"), Path(name).read_text()
    for options, expected in (((), model.evaluate(text)), (("--streams", 2), model.evaluate(text, streams=2)),
                              (("--window", 8), model.evaluate(text, window=8))):
        plain, table = (cli("evaluate", "a", name, *options, *by) for by in ((), ("--by", "character")))
        line, _, *rows = table.out.splitlines()
        assert f"{line}\n" == plain.out
        assert line == expected.line("text", size=True, document="line")
        assert table.err.startswith("Not in the vocabulary, replaced by the unknown character (37 % of the text): ")
        assert [row.split()[:2] for row in rows if row.startswith("unknown ")] == [["unknown", "27"]]
    assert cli("evaluate", "a", name, name).out.startswith("x\\x1b[31m.txt ")
