"""charrnn novelty, and the line about it at the end of train"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from command_line import RUN, SMALL, Cli, refused
from independent import IndependentLSTM

from charrnn import Corpus, Run
from charrnn.cli import _loop
from charrnn.errors import CheckpointError
from charrnn.inference import novelty
from charrnn.inference.language_model import LanguageModel
from charrnn.inference.novelty import compare, percent

LINE = (r"^Generated text shares \d+ passages? of at least \d+ characters with the training text(.*?) \(\S+(?: %)? of its "
        r"\d+-grams\), validation text \d+ \(\S+(?: %)?\); this model (copies its training text|does not copy: .*)$")


def parrot(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every model generate ``text``."""
    def generate(self: LanguageModel, count: int, length: int, **_: Any) -> Any:
        return ([character] * count for character in text[:length])

    monkeypatch.setattr(LanguageModel, "generate", generate)


def test_novelty_prints_a_table_the_longest_passages_and_the_verdict(here: Path, cli: Cli) -> None:
    run = Run.load(RUN / "best.h5")
    found = compare(run.model, run.split(Corpus.read("notes.txt")))
    answer = cli("novelty", RUN)
    assert (answer.code, answer.err) == (0, "")
    assert cli("novelty", RUN / "best.h5").out == cli("novelty", RUN.name).out == answer.out
    table, *passages, verdict = answer.out.removesuffix("\n").split("\n\n")
    both = (found.generated, found.held_out)
    expected = ["                         generated  validation", *(
        f"{name:<22}{cells[0]:>12}{cells[1]:>12}" for name, cells in [
            ("characters", ["60", "60"]),
            *((f"{size}-character passages", [percent(text.fraction(size)) for text in both]) for size in (8, 16, 32)),
            ("passages of 16 or more", [str(text.separate(16)) for text in both]),
            ("longest passage", [str(text.longest or "below 8") for text in both])])]
    assert table.splitlines() == expected
    assert bool(passages) == bool(found.generated.longest)
    assert verdict == "This model does not copy: unseen text has as much in common with the training text."


def test_the_figures_are_those_of_an_independent_implementation(empty: Path, cli: Cli) -> None:
    text = "the cat sat on the mat with the hat that the rat had\n" * 30
    Path("cats.txt").write_text(text, newline="")
    assert cli("train", "cats.txt", *SMALL, "--steps", 150, "--from", "none", "--validation", 0.1).code == 0
    run = Path("checkpoints/cats-lnlstm-8")
    training, held_out = text[:round(len(text) * 0.9)], text[round(len(text) * 0.9):]
    written = IndependentLSTM(run / "best.h5").write(len(held_out))
    answer = cli("novelty", run, "--temperature", 0).out
    for size in (8, 16, 32):
        expected = [sum(piece[k:k + size] in training for k in range(len(piece) - size + 1)) / (len(piece) - size + 1)
                    for piece in (written, held_out)]
        found = re.search(rf"^{size}-character passages +(\S+) % +(\S+) %$", answer, re.MULTILINE)
        assert list(map(float, found.groups())) == pytest.approx([100 * part for part in expected], abs=0.06)
    longest = max(size for size in range(len(written) + 1)
                  if any(written[k:k + size] in training for k in range(len(written) - size + 1)))
    assert 8 < longest < len(written)
    assert re.search(rf"^longest passage +{longest} +{len(held_out)}$", answer, re.MULTILINE)


def test_novelty_says_that_the_last_state_is_another_one(empty: Path, cli: Cli) -> None:
    """A run can memorize its text long after its best state, which novelty reads, as sample does."""
    Path("random.txt").write_text("".join(random.Random(1).choices("abcdefgh \n", k=600)), newline="")
    assert cli("train", "random.txt", *SMALL, "--steps", 40, "--dropout", 0, "--weight-drop", 0,
               "--learning-rate", 0.3, "--from", "none").code == 0
    run = Path("checkpoints/random-lnlstm-8")
    step = Run.load(run / "best.h5").step
    assert step < 40
    assert cli("novelty", run).err == (
        f"Reading the best state, after step {step}; the last one, after step 40, is {run / 'last.h5'}\n")
    assert cli("novelty", run / "last.h5").err == ""


def test_novelty_escapes_control_characters_and_shortens_passages(
        here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "\x1b]0;title\x07\x9b31m\r\n\u202ename " * 20
    Path("hostile.txt").write_text(f"{hostile}{'the usual words ' * 120}", encoding="utf-8", newline="")
    assert cli("train", "hostile.txt", *SMALL, "--steps", 2, "--from", "none").code == 0
    parrot(hostile, monkeypatch)
    answer = cli("novelty", "hostile-lnlstm-8")
    assert answer.code == 0
    assert all(character.isprintable() for character in answer.out.replace("\n", ""))
    title, passage = answer.out.split("\n\n")[1].splitlines()
    assert title == "The longest passages of the generated text that occur in the training text:"
    length, _, shown = passage.strip().partition("  ")
    assert 200 < int(length) < len(hostile)
    assert shown == hostile[:200].encode("unicode_escape").decode() + " ..."


def test_novelty_tells_a_model_that_copies(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(random.Random(1).choices("abcdefgh \n", k=3000))
    Path("random.txt").write_text(text, newline="")
    assert cli("train", "random.txt", *SMALL, "--steps", 2, "--from", "none").code == 0
    assert cli("novelty", "random-lnlstm-8").out.endswith("\n\nThis model does not copy: unseen text has as much in common "
                                                        "with the training text.\n")
    parrot(text, monkeypatch)
    answer = cli("novelty", "random-lnlstm-8", "--length", 200)
    assert answer.out.endswith("\n\nThis model copies its training text.\n")
    assert "\ncharacters                     200         200\n" in answer.out
    assert "\n32-character passages      100.0 %       0.0 %\n" in answer.out
    assert "\nlongest passage                200     below 8\n" in answer.out


def test_novelty_of_lines_counts_whole_lines(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["".join(random.Random(number).choices("abcdefgh", k=5)) for number in range(300)]
    Path("lines.txt").write_text("\n".join(lines))
    assert cli("train", "lines.txt", *SMALL, "--documents", "lines", "--steps", 2, "--from", "none").code == 0
    corpus = Corpus.read("lines.txt", documents="lines")
    first = corpus.vocabulary.decode(corpus.ids[1:7])
    parrot(first, monkeypatch)
    answer = cli("novelty", "lines-lnlstm-8")
    assert re.search(r"^whole lines  +100\.0 %  +(0\.0|3\.\d) %$", answer.out, re.MULTILINE)
    assert re.search(r"^8-character passages  +- +-$", answer.out, re.MULTILINE)


def test_novelty_of_a_model_of_bytes_shows_text(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    data = "a naïve café, ".encode() * 20 + bytes(range(256)) + b"unlike the rest" * 8
    Path("data.bin").write_bytes(data)
    assert cli("train", "data.bin", "--level", "byte", *SMALL, "--steps", 2, "--from", "none").code == 0
    parrot((data[:16] + data[560:576]).decode("latin-1"), monkeypatch)
    answer = cli("novelty", "data-lnlstm-8", "--length", 32)
    assert "8-byte passages" in answer.out
    assert "\n     16  a naïve café, \n" in answer.out
    assert f"\n     16  {''.join(f'{chr(92)}xf{digit:x}' for digit in range(16))}\n" in answer.out


def test_without_a_validation_part_there_is_one_column(here: Path, cli: Cli) -> None:
    assert cli("train", "notes.txt", *SMALL, "--steps", 2, "--validation", 0, "--name", "all", "--from", "none").code == 0
    answer = cli("novelty", "all", "--length", 100, "--temperature", 0.5, "--seed", 3)
    assert answer.code == 0
    assert answer.out.startswith("                         generated\ncharacters                     100\n8-character")
    assert answer.out.endswith("\n\nThere is no validation text to compare this with.\n")


def test_novelty_needs_the_training_text(here: Path, cli: Cli) -> None:
    Run.load(RUN / "best.h5").model.save("model.h5")
    refused(cli("novelty", "model.h5"), "model.h5: contains only a model", "pass a run")
    refused(cli("novelty", "nothing"), "nothing")
    refused(cli("novelty", RUN, "--length", 0), "'--length': must be at least 1")
    refused(cli("novelty", RUN, "--temperature", -1), "'--temperature': must be at least 0")
    Path("notes.txt").write_text("x" * 600)
    refused(cli("novelty", RUN), "notes.txt", "put it back")
    Path("notes.txt").unlink()
    refused(cli("novelty", RUN), "notes.txt", "put it back")


# The line of train

def test_a_long_training_says_the_novelty_before_its_result(
        empty: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("train", "notes.txt", *SMALL, "--steps", 2, "--overwrite", "--from", "none")
    assert not re.search(LINE, cli(*options).err, re.MULTILINE)
    monkeypatch.setattr(_loop, "_LONG", 0)
    answer = cli(*options)
    (found,) = re.findall(LINE, answer.err, re.MULTILINE)
    assert found[0] == ""
    assert answer.out.startswith("validation ")
    assert len(answer.out.splitlines()) == 1
    monkeypatch.setattr(_loop, "_NOVELTY_CHARACTERS", 500)
    (found,) = re.findall(LINE, cli(*options).err, re.MULTILINE)
    assert found[0] == ", in its last 500 characters"
    assert cli(*options, "--quiet").err == ""
    answer = cli(*options, "--validation", 0)
    assert answer.code == 0
    assert "Generated text" not in answer.err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CheckpointError("best.h5: damaged"), OSError("gone")], ids=repr)
def test_the_result_is_printed_if_measuring_the_novelty_fails(
        empty: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(_loop, "_LONG", 0)
    monkeypatch.setattr(novelty, "compare", fail)
    answer = cli("train", "notes.txt", *SMALL, "--steps", 2, "--from", "none")
    assert answer.code == 0
    assert "The n-gram baseline" in answer.err
    assert "Sample from it: " in answer.err
    assert answer.out.startswith("validation ")
