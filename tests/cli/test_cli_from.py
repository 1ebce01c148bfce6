"""charrnn train --from, and the commands that show a run which started from another model."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import SMALL, Cli, refused

from charrnn import Run

STREAMS = ("--batch-size", 3, "--seq-len", 8, "--threads", 1)


@pytest.fixture
def tuned(empty: Path, bundled: Path, cli: Cli, make_text: Callable[..., str]) -> str:
    """Train on other.txt from the bundled model; return what the command prints on standard error."""
    Path("other.txt").write_text(make_text(1500, seed=5), encoding="utf-8")
    answer = cli("train", "other.txt", *STREAMS, "--steps", 4)
    assert answer.code == 0
    assert answer.out.endswith("(carried, 1 stream, started from english)\n")
    return answer.err


def test_the_start_and_how_to_avoid_it_are_shown(tuned: str) -> None:
    assert re.search(r"^Starting from the bundled model english: \d\.\d\d nats/char on this text before training, bigram "
                     r"baseline \d\.\d\d; --from none trains from scratch$", tuned, re.MULTILINE)
    assert re.search(r"^Chosen for [\d,]+ characters of training text, read about [\d.]+ times(?:, with dropout)?: "
                     r"--dropout [\d.]+ --weight-drop [\d.]+$", tuned, re.MULTILINE)
    assert "Sample from it: charrnn sample checkpoints/other-from-english\n" in tuned


def test_a_run_from_another_model_says_so_wherever_its_figures_are_shown(tuned: str, cli: Cli,
                                                                        make_text: Callable[..., str]) -> None:
    name = "other-from-english"
    assert cli("evaluate", name).out.endswith("(carried, 1 stream, started from english)\n")
    Path("book.txt").write_text(make_text(20_000, seed=77)[:9000], encoding="utf-8")
    read = "which has read 100 % of the text)\n"
    assert cli("evaluate", name, "book.txt").out.endswith(f"started from english, {read}")
    found = cli("evaluate", "english", "book.txt")
    assert found.out.endswith("(carried, 2 streams, started from english, which has read 100 % of the text)\n")
    assert re.search(r"\norigin +started from english, weights sha256 [0-9a-f]{12}\n", cli("inspect", name).out)
    assert re.search(r"other-from-english .* lnlstm 24 from english  other.txt\n", cli("inspect").out)
    cli("train", "other.txt", "--from", name, *STREAMS, "--steps", 2, "--name", "again")
    assert "origin              started from checkpoints/other-from-english/best.h5, which started from english," in cli(
        "inspect", "again").out


def test_a_text_that_the_bundled_model_has_read_is_marked(empty: Path, bundled: Path, cli: Cli,
                                                         make_text: Callable[..., str]) -> None:
    Path("book.txt").write_text(make_text(20_000, seed=77)[:9000], encoding="utf-8")
    answer = cli("train", "book.txt", *STREAMS, "--steps", 2)
    assert ("Training from scratch, because the bundled model english has read 100 % of this text; --from english starts "
            "from it\n") in answer.err
    assert "english" not in answer.out
    answer = cli("train", "book.txt", *STREAMS, "--steps", 2, "--from", "english", "--quiet")
    assert answer.err == "Warning: english has read 100 % of this text, so the losses will be too low\n"
    assert answer.out.endswith("(carried, 1 stream, started from english, which has read 100 % of the text)\n")


def test_an_option_that_does_not_fit_turns_auto_off_or_is_an_error(empty: Path, bundled: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 2)
    assert "\nTraining from scratch, because --hidden-size 8 does not fit the bundled model english (24)\n" in answer.err
    refused(cli("train", "notes.txt", *SMALL, "--steps", 2, "--name", "new", "--from", "english"),
            "'--hidden-size': cannot be 8, because --from english selects a model with --hidden-size 24; pass "
            "--hidden-size 24, or choose another --from")
    refused(cli("train", "notes.txt", "--from", "nowhere"), "nowhere: no such run or checkpoint", "english")
    assert not Path("checkpoints/new").exists()


def test_a_run_has_the_shape_of_the_model_that_it_starts_from(empty: Path, cli: Cli,
                                                              make_text: Callable[..., str]) -> None:
    Path("other.txt").write_text(make_text(1500, seed=5), encoding="utf-8")
    cli("train", "other.txt", "--cell", "gru", "--layers", 2, "--embedding-size", 3, "--hidden-size", 8, *STREAMS,
        "--steps", 2, "--name", "gru", "--from", "none")
    assert cli("train", "other.txt", "--from", "gru", *STREAMS, "--steps", 2, "--name", "tuned").code == 0
    config = Run.load("checkpoints/tuned/last.h5").model.network.config
    assert (config.cell, config.layers, config.embedding_size, config.hidden_size) == ("gru", 2, 3, 8)
    refused(cli("train", "other.txt", "--from", "gru", "--cell", "lstm"), "--cell", "cannot be lstm", "--from gru")


def test_a_plan_that_is_shorter_than_the_minutes_says_so(tuned: str, cli: Cli) -> None:
    answer = cli("train", "other.txt", *STREAMS, "--validation", 0, "--minutes", 0.5, "--name", "minutes")
    assert answer.code == 0
    assert re.search(r"^Training ends after [\d.]+ epochs, before 0.5 minutes have passed: the same as --from english "
                     r"--steps \d+ --dropout", answer.err, re.MULTILINE)
    assert "Train longer" not in answer.err
    assert "Train longer" in cli("train", "other.txt", *STREAMS, "--validation", 0, "--steps", 4, "--name", "steps").err


def test_a_model_file_needs_a_text(empty: Path, bundled: Path, cli: Cli) -> None:
    refused(cli("evaluate", "english"), "english: contains only a model and no text; pass a TEXT_FILE")
    refused(cli("resume", "english"), "contains only a model and no training run to resume")
    assert cli("evaluate", "english", "notes.txt").out.startswith("text ")
    assert "a model, " in cli("inspect", "english").out


def test_sweep_starts_from_scratch(tuned: str, bundled: Path, cli: Cli) -> None:
    answer = cli("sweep", "other.txt", "--grid", "dropout=0,0.1", "--hidden-size", 24, *STREAMS, "--steps", 2, "--name",
                 "grid")
    assert answer.code == 0
    assert [Run.load(path).model.origin for path in sorted(Path("checkpoints/grid").glob("*/last.h5"))] == [None, None]
    assert cli("sweep", "other.txt", "--grid", "dropout=0", "--from", "english").code == 2


@pytest.mark.skipif(os.name == "nt", reason="a name with control characters")
def test_a_name_in_a_message_cannot_control_the_terminal(tuned: str, cli: Cli) -> None:
    Path("checkpoints/other-from-english").rename("checkpoints/x\x1b[31m")
    answer = cli("train", "other.txt", "--from", "x\x1b[31m", *STREAMS, "--steps", 2, "--name", "new")
    assert answer.code == 0
    assert "\x1b" not in answer.err + answer.out
    assert "started from checkpoints/x\\x1b[31m/best.h5, which started from english" in answer.out
