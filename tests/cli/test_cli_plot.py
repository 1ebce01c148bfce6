"""charrnn plot"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from command_line import RUN, SMALL, Cli, files, on_terminal, refused

from charrnn import Run


def is_braille(character: str) -> bool:
    return "\u2800" <= character <= "\u28ff"


def legend(out: str) -> list[str]:
    """Return the names of the curves."""
    lines = [re.sub("^[\u2800-\u28ff ]+", "", line) for line in out.splitlines()[1:]]
    return [line for line in lines if re.match("[a-z]", line)]


def test_plot_draws_the_losses_of_a_run(here: Path, cli: Cli) -> None:
    before = files(here)
    answer = cli("plot", RUN)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[0] == "notes-lnlstm-8: nats/char by step"
    assert any(map(is_braille, answer.out))
    run = Run.load(RUN)
    assert run.best_record is not None
    best, training, ngram = legend(answer.out)
    assert best == f"validation {run.best_record.validation_loss:.4f} at step {run.best_record.step}"
    assert training == f"training {run.smoothed_loss:.4f}"
    assert ngram.startswith("n-gram baseline ")
    assert cli("plot", "notes-lnlstm-8").out == cli("plot", RUN / "last.h5").out == answer.out
    assert files(here) == before


def test_without_a_name_the_newest_run_is_drawn(here: Path, cli: Cli) -> None:
    answer = cli("plot")
    assert (answer.out, answer.err) == (cli("plot", RUN).out, f"Drawing {RUN}, the newest run\n")
    shutil.rmtree("checkpoints")
    refused(cli("plot"), "contains no run")


def test_several_runs_are_drawn_in_one_chart(here: Path, cli: Cli) -> None:
    shutil.copytree(RUN, "checkpoints/second")
    answer = cli("plot", RUN, "second")
    assert (answer.code, answer.err) == (0, "")
    assert [re.split(r", | \d", line)[0] for line in legend(answer.out)] == [
        "notes-lnlstm-8", "second", "n-gram baseline"]
    assert f"{RUN}, validation" in cli("plot", RUN, "notes-lnlstm-8").out  # one name for two
    shutil.copyfile(RUN / "last.h5", "state.h5")
    assert cli("plot", "state.h5").out.startswith("state: nats/char by step\n")
    Path("notes.txt").rename("moved.txt")
    assert cli("plot", RUN, "second").err.count("\n") == 1  # the text of both runs is read once


def test_runs_of_different_texts_have_no_common_baseline(here: Path, cli: Cli) -> None:
    Path("more.txt").write_text("one and two and three. " * 30)
    assert cli("train", "more.txt", *SMALL, "--steps", 2, "--name", "more").code == 0
    assert [line.split(",")[0] for line in legend(cli("plot", RUN, "more").out)] == ["notes-lnlstm-8", "more"]
    assert cli("train", "more.txt", *SMALL, "--steps", 2, "--name", "bytes", "--level", "byte").code == 0
    refused(cli("plot", RUN, "bytes"), "of characters and of bytes cannot be compared")


@pytest.mark.parametrize("kind", ["png", "svg", "SVG"])
def test_a_picture_is_written(here: Path, cli: Cli, kind: str) -> None:
    pytest.importorskip("matplotlib")
    path = Path(f"curve.{kind}")
    assert cli("plot", RUN, "-o", path) == (0, "", "")
    first = path.read_bytes()
    assert first.startswith(b"\x89PNG" if kind == "png" else b"<?xml")
    assert cli("plot", RUN, RUN / "best.h5", "--output", path).code == 0
    assert path.read_bytes() != first
    assert cli("plot", RUN, "-o", path).code == 0
    assert path.read_bytes() == first


def test_a_picture_that_cannot_be_written_is_an_error(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("curve.jpg", "curve", ".png/", ""):
        refused(cli("plot", RUN, "-o", name), "'--output': must end in .png or .svg")
    pytest.importorskip("matplotlib")
    refused(cli("plot", RUN, "-o", "missing/curve.svg"), "missing/curve.svg: No such file")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(cli("plot", RUN, "-o", "curve.svg"), "needs matplotlib, which is not installed; pip install matplotlib")
    assert cli("plot", RUN).code == 0
    assert not list(here.glob("*.svg"))


def test_the_baseline_is_left_out_if_the_text_was_moved(here: Path, cli: Cli) -> None:
    with_baseline = cli("plot", RUN)
    without = cli("plot", RUN, "--no-baseline")
    assert "n-gram" not in without.out
    assert without.err == ""
    Path("notes.txt").rename("moved.txt")
    answer = cli("plot", RUN)
    assert answer.out == without.out != with_baseline.out
    assert answer.err.startswith("n-gram baseline left out: notes.txt: ")
    assert answer.err.count("\n") == 1
    run = Run.load(RUN / "last.h5")
    run.source = run.source._replace(names=("two\nlines.txt",))
    run.save("moved.h5")
    assert cli("plot", "moved.h5").err.count("\n") == 1
    Path("notes.txt").write_text("x" * 600)
    assert cli("plot", RUN).err.startswith("n-gram baseline left out: notes.txt: ")


def test_what_has_no_curves_is_refused(here: Path, cli: Cli) -> None:
    refused(cli("plot", "missing"), "missing: no such run or checkpoint")
    refused(cli("plot", "english"), "english: contains only a model and no history")
    Path("broken.h5").write_bytes(b"\x1b[31m" * 100)
    refused(cli("plot", "broken.h5"), "broken.h5")


def test_a_name_cannot_control_the_terminal(here: Path, cli: Cli) -> None:
    shutil.copytree(RUN, Path("checkpoints/evil\x1b[31m\nred"))
    for arguments in (("evil\x1b[31m\nred",), ("evil\x1b[31m\nred", "notes-lnlstm-8"), ()):
        answer = cli("plot", *arguments)
        assert answer.code == 0
        assert "\x1b" not in answer.out + answer.err
        assert "evil\\x1b[31m\\nred" in answer.out
        assert answer.err.count("\n") == (not arguments)
    table = Path("checkpoints/evil\x1b[31m\nred/metrics.csv")
    table.write_text("step,seconds,train_loss,\x1b[31m\n1,1,2.5,\x1b[31m\n2,2,2.4,x\n")
    assert "\x1b" not in cli("plot", table.parent).out


def test_the_chart_fits_the_terminal(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch,
                                     environment: dict[str, str]) -> None:
    for columns, expected in ((40, 40), (80, 80), (300, 100), (10, 10)):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert max(map(len, cli("plot", RUN).out.splitlines()[1:])) == expected
    variables = {name: value for name, value in environment.items() if name not in ("COLUMNS", "TERM")}
    shown = on_terminal("-m", "charrnn", "plot", RUN, environment={**variables, "PYTHONUTF8": "1"}).decode()
    assert max(map(len, shown.splitlines())) == 80
    assert any(map(is_braille, shown))


def test_without_braille_the_chart_is_ascii(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "linux")
    assert cli("plot", RUN).out.isascii()
    monkeypatch.delenv("TERM")
    assert not cli("plot", RUN).out.isascii()
    monkeypatch.setattr(type(sys.stdout), "encoding", "latin-1")
    assert cli("plot", RUN).out.isascii()
