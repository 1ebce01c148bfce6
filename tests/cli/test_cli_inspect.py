"""charrnn inspect"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import RUN, SMALL, Cli

from charrnn import Run
from charrnn.config import LEARNING_RATES


def test_inspect_shows_what_a_run_is_how_it_was_trained_and_its_history(here: Path, cli: Cli) -> None:
    answer = cli("inspect", RUN)
    assert (answer.code, answer.err) == (0, "")
    for text in (f"{RUN / 'best.h5'} ", f"{RUN / 'last.h5'} ", "step 12 of 12", "notes.txt: 600 characters", "lstm", "adam",
                 "cosine", f"{LEARNING_RATES['adam']:g}"):
        assert text in answer.out
    best = [line for line in answer.out.splitlines() if line.endswith("  best")]
    assert len(best) == 1
    for record in Run.load(RUN / "last.h5").history:
        assert f"{record.validation_loss:.4f}" in answer.out
    assert str(RUN / "last.h5") not in cli("inspect", RUN / "best.h5").out


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_inspect_shows_any_vocabulary_on_any_terminal(
        empty: Path, cli: Cli, python: Cli, environment: dict[str, str], encoding: str) -> None:
    Path("greek.txt").write_text("αβγ \x1b[2J" * 30, encoding="utf-8")
    assert cli("train", "greek.txt", *SMALL, "--steps", 1).code == 0
    done = subprocess.run([sys.executable, "-m", "charrnn", "inspect", "checkpoints/greek-lstm-8"], capture_output=True,
                          env=environment | {"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
