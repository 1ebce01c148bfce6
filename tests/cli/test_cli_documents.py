"""Commands with a model of documents, and the options of charrnn sample that constrain the text"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import SMALL, Cli, refused

from charrnn import load, train
from charrnn.config import END
from charrnn.inference.session import Session
from charrnn.inference.words import words_in

SURROGATE = "\\ud800"
NAMES = ("anna", "otto", "hanna", "nora", "it's", "tom")


def paragraphs(count: int, seed: int = 1) -> str:
    """Return paragraphs of two lines."""
    rng = random.Random(seed)
    return "\n\n".join(f"{rng.choice(NAMES)} {rng.choice(NAMES)}.\n{rng.choice(NAMES)}" for _ in range(count))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the runs "p" of paragraphs, "l" of lines and "t" of the same text, which is continuous."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "p.txt").write_text(paragraphs(60), encoding="utf-8")
    (folder / "l.txt").write_text("\n".join(NAMES * 30) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, text, unit in (("p", "p.txt", "paragraphs"), ("l", "l.txt", "lines"), ("t", "p.txt", None)):
            train(text, documents=unit, hidden_size=8, batch_size=2, seq_len=8, steps=40, start_from="none",
                  threads=1, name=name)
    return folder


@pytest.fixture
def there(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a copy of the folder with the runs."""
    folder = shutil.copytree(runs, tmp_path / "there")
    monkeypatch.chdir(folder)
    return folder


def documents(answer: Any) -> list[str]:
    """Return the documents that a command has written."""
    assert answer.code == 0, answer.err
    assert END not in answer.out
    return answer.out.removesuffix("\n").split("\n---\n")


# charrnn sample

def test_whole_documents_are_written_and_counted(there: Path, cli: Cli) -> None:
    answer = cli("sample", "p", "--count", 5, "--length", 3000, "--seed", 1)
    assert len(documents(answer)) == 5
    model = load("checkpoints/p/best.h5")
    expected = ["".join(sample).removesuffix(END) for sample in zip(*model.generate(5, "", 3000, seed=1))]
    assert answer.out == "---\n".join(f"{text}\n" for text in expected)
    answer = cli("sample", "p", "--count", 3, "--length", 1, "--prime", "an", "--match", "an[a-z]?")
    assert answer.err == ""
    answer = cli("sample", "p", "--count", 2, "--length", 1, "--prime", "an", "--seed", 1)
    assert re.search(r"[12] of 2 paragraphs w\w+ cut off; use a larger --length", answer.err)


@pytest.mark.parametrize("name", ["p", "l", "t"])
def test_allow_and_match(there: Path, cli: Cli, name: str) -> None:
    written = ("sample", name, "--count", 4, "--length", 30, "--seed", 2)
    between = "\n" if name == "l" else "\n---\n"
    for text in cli(*written, "--allow", "ant").out.removesuffix("\n").split(between):
        assert set(text) <= set("ant")
    for text in cli(*written, "--match", r"\w{3,5}\.").out.removesuffix("\n").split(between) if name != "l" else ():
        assert re.fullmatch(r"\w{3,5}\.", text)
    assert cli(*written, "--match", "anna|tom", "--prime", "to").out == between.join(["tom"] * 4) + "\n"


def test_words_and_documents_of_the_text(there: Path, cli: Cli) -> None:
    answer = cli("sample", "p", "--words-from-text", "--count", 3, "--seed", 1, "--length", 100)
    assert set().union(*map(words_in, documents(answer))) <= set(NAMES)
    written = ("sample", "l", "--count", 20, "--seed", 1, "--length", 8, "--match", "(anna|otto|nora|tom|ann)")
    assert set(cli(*written).out.split()) & set(NAMES)
    assert set(cli(*written, "--new-only").out.split()) == {"ann"}
    refused(cli(*written, "--new-only", "--match", "anna|otto"), "--new-only", "every text")


@pytest.mark.parametrize("option", ["--words-from-text", "--new-only"])
def test_without_the_training_text_its_words_are_unknown(there: Path, cli: Cli, option: str) -> None:
    Path("p.txt").write_text("changed", encoding="utf-8")
    refused(cli("sample", "p", option), "p.txt")
    Path("p.txt").unlink()
    refused(cli("sample", "p", option), "p.txt")
    assert cli("sample", "p", "--match", "anna").code == 0
    load("checkpoints/p").save("model.h5")
    for model in ("model.h5", "english"):
        refused(cli("sample", model, option), f"{model}: contains only a model and no text",
                f"use a run, or leave out {option}")


def test_options_that_cannot_be_combined_are_refused(there: Path, cli: Cli) -> None:
    refused(cli("sample", "t", "--new-only"), "--new-only", "needs a model of documents")
    refused(cli("sample", "t", "--match", "("), "--match", "is not a regular expression")
    refused(cli("sample", "t", "--allow", "%"), "--allow", "no character of the vocabulary")
    refused(cli("sample", "t", "--match", "a{30}", "--length", 20), "--length",
            "needs 30 more characters or more, not 20", "--match")
    refused(cli("sample", "t", "--match", "a", "--until", "b"), "--until", "cannot be combined")
    refused(cli("sample", "t", "--match", "a", "--prime", "n"), "--prime", "cannot be continued")
    refused(cli("sample", "t", "--best-of", 0), "--best-of", "at least 1")
    for option in (("--count", 2), ("--best-of", 2), ("--allow", "a"), ("--match", "a"), ("--words-from-text",),
                   ("--new-only",)):
        refused(cli("sample", "p", "--interactive", *option), option[0], "--interactive")


@pytest.mark.parametrize("name", ["p", "t"])
def test_best_of_writes_the_sample_with_the_lowest_nats(there: Path, cli: Cli, name: str) -> None:
    model, prime = load(f"checkpoints/{name}/best.h5"), "an"
    found = documents(cli("sample", name, "--best-of", 4, "--count", 2, "--prime", prime, "--seed", 3, "--length", 200))
    for number, text in enumerate(found):
        samples = ["".join(sample) for sample in zip(*model.generate(4, prime, 200, seed=3, first=4 * number))]
        scores = [model.score(model.vocabulary.encode(sample)).nats[2:].mean() for sample in samples]
        assert len(set(scores)) == 4
        assert samples[scores.index(min(scores))].removesuffix(END).rstrip("\n") == text.rstrip("\n")


def test_best_of_prefers_whole_documents(there: Path, cli: Cli) -> None:
    model = load("checkpoints/p/best.h5")
    for seed in range(40):
        samples = ["".join(sample) for sample in zip(*model.generate(6, "", 12, seed=seed))]
        if sum(sample.endswith(END) for sample in samples) == 1:
            break
    (whole,) = [sample for sample in samples if sample.endswith(END)]
    assert documents(cli("sample", "p", "--best-of", 6, "--length", 12, "--seed", seed)) == [whole.removesuffix(END)]


def test_a_conversation_through_a_pipe(there: Path, cli: Cli) -> None:
    answer = cli("sample", "t", "--interactive", "--seed", 1, "--length", 30, "--greedy", stdin="anna\nß\notto\n")
    assert answer.code == 0
    assert re.fullmatch("Error: 'ß' .*not in the vocabulary.*\n", answer.err)
    session = Session(load("checkpoints/t/best.h5"), greedy=True)
    expected = ""
    for line in ("anna\n", "otto\n"):
        session.read(line)
        text = "".join(session.write(30, "\n"))
        expected += text if text.endswith("\n") else text + "\n"
    assert answer.out == expected
    assert cli("sample", "t", "--interactive").out == ""


def test_a_conversation_never_writes_the_end_mark(there: Path, cli: Cli) -> None:
    for name in ("p", "l"):
        answer = cli("sample", name, "--interactive", "--seed", 1, "--length", 500, "--until", "", stdin="anna\n" * 6)
        assert (answer.code, answer.err) == (0, "")
        assert END not in answer.out
        assert answer.out.count("\n") >= 6


def test_a_line_is_the_start_of_a_document_of_one_line(there: Path, cli: Cli) -> None:
    answer = cli("sample", "l", "--interactive", "--greedy", "--length", 40, stdin="an\n")
    model = load("checkpoints/l/best.h5")
    assert answer.out == model.sample("an", 40, greedy=True).removeprefix("an")


# Other commands

def test_score_by_document(there: Path, cli: Cli) -> None:
    text = "\nanna\notto\n \n\n\nnora\n"
    Path("other.txt").write_text(text, encoding="utf-8")
    model = load("checkpoints/p/best.h5")
    for source, stdin in (("other.txt", ""), ("-", text)):
        for by in ((), ("--by", "document")):
            answer = cli("score", "p", source, "--format", "jsonl", *by, stdin=stdin)
            rows = list(map(json.loads, answer.out.splitlines()))
            assert [(row["number"], row["text"], row["characters"]) for row in rows] == [
                (1, "anna\notto", 10), (2, "nora", 5)]
            for row in rows:
                assert row["nats"] == pytest.approx(model.score(row["text"]).total, rel=1e-4)
            assert answer.err.startswith("2 documents, 15 characters: ")
    assert SURROGATE not in answer.out
    by = cli("score", "p", "other.txt", "--by", "character")
    assert [line.split()[-1] for line in by.out.splitlines()].count("end") == 2
    assert END not in by.out
    assert cli("score", "p", "other.txt", "--by", "text", "--format", "csv").code == 0
    assert cli("score", "p", "other.txt", "--top", 1).out.splitlines()[1].endswith("anna\\notto")
    refused(cli("score", "p", "other.txt", "--by", "line"), "--by", "--by document")
    refused(cli("score", "t", "other.txt", "--by", "document"), "--by", "needs a model of documents", "--by line")
    assert "line" in cli("score", "t", "other.txt").out.splitlines()[0]


def test_no_command_prints_the_end_mark(there: Path, cli: Cli) -> None:
    for command in (("inspect", "p"), ("evaluate", "p"), ("evaluate", "p", "p.txt"), ("novelty", "p", "--length", 2000)):
        answer = cli(*command)
        assert answer.code == 0, answer.err
        assert END not in answer.out + answer.err
        assert SURROGATE not in answer.out + answer.err
    assert re.search(r"documents +paragraphs", cli("inspect", "p").out)
    assert "whole paragraphs" in cli("novelty", "p", "--length", 2000).out


def test_samples_of_training_contain_no_end_mark(there: Path) -> None:
    for name in ("p", "l"):
        lines = Path("checkpoints", name, "samples.jsonl").read_bytes().decode("utf-8").splitlines()
        assert len(lines) > 3
        assert SURROGATE not in "".join(lines)
        assert all(END not in json.loads(line)["text"] for line in lines)


def write_csv() -> tuple:
    rows = [f'{k},"{text}"' for k, text in enumerate(paragraphs(60).split("\n\n"))]
    Path("table.csv").write_text("\n".join(["id,text", *rows]), encoding="utf-8")
    return "table.csv", "--column", "text"


def write_separated() -> tuple:
    Path("rows.txt").write_text(paragraphs(60).replace("\n\n", "\n%%\n"), encoding="utf-8")
    return "rows.txt", "--separator", r"%%\n"


def write_files() -> tuple:
    Path("folder").mkdir()
    for k, text in enumerate(paragraphs(60).split("\n\n")):
        Path("folder", f"{k}.txt").write_text(text, encoding="utf-8")
    return "folder", "--documents", "files"


@pytest.mark.parametrize("write", [write_csv, write_separated, write_files])
def test_other_documents(there: Path, cli: Cli, write: Callable[[], tuple]) -> None:
    answer = cli("train", *write(), *SMALL, "--steps", 8, "--from", "checkpoints/p", "--name", "o")
    assert answer.code == 0, answer.err
    assert re.search(r"\b60 (file|document)s\b", answer.err)
    model = load("checkpoints/o/best.h5")
    assert model.text_config.end == END
    assert "checkpoints/p" in str(model.origin)
    for command in (("sample", "o", "--length", 40), ("evaluate", "o"), ("novelty", "o", "--length", 500), ("inspect", "o"),
                    ("sample", "o", "--new-only", "--words-from-text", "--length", 40)):
        answer = cli(*command)
        assert answer.code == 0, answer.err
        assert END not in answer.out
    assert f"whole {model.text_config.unit}s" in cli("novelty", "o", "--length", 500).out


def test_a_model_of_paragraphs_can_be_exported_and_has_a_page(there: Path, cli: Cli) -> None:
    answer = cli("page", "p", "-o", "p.html")
    assert answer.code == 0, answer.err
    page = Path("p.html").read_bytes().decode("utf-8")  # without surrogates
    assert '"documents": "paragraphs"' in page or '"documents":"paragraphs"' in page
    pytest.importorskip("safetensors")
    assert cli("export", "p", "-o", "p.safetensors").code == 0
    data = Path("p.safetensors").read_bytes()
    header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
    about = json.loads(header["__metadata__"]["charrnn"])
    assert about["characters"][about["start"]] == END
    assert about["text"]["documents"] == "paragraphs"
