"""charrnn resume: longer plans, new runs, moved texts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import RUN, SMALL, Cli, files, refused, steps, without_size

from charrnn import Run


def test_resume_finishes_the_plan_or_a_longer_one(here: Path, cli: Cli, trained: tuple[Path, Any]) -> None:
    answer = cli("resume", RUN)
    assert (answer.code, answer.out) == (0, trained[1].out)
    assert files(here) == files(trained[0])
    assert cli("resume", RUN, "--steps", 15).code == 0
    assert Run.load(RUN / "last.h5").step == 15
    assert steps(RUN) == list(range(1, 16))
    assert cli("resume", RUN / "last.h5", "--epochs", 1).code == 0
    assert Run.load(RUN / "last.h5").step == 22
    assert cli("resume", RUN, "--minutes", 0.05).code == 0
    assert Run.load(RUN / "last.h5").step > 22
    before = files(here)
    refused(cli("resume", RUN, "--steps", 5), "--steps")
    assert files(here) == before


def test_resuming_an_older_state_needs_a_new_name(here: Path, cli: Cli) -> None:
    run = Run.load(RUN / "last.h5")
    run.config = replace(run.config, learning_rate=1000.0)  # so that the loss only rises
    run.save(RUN / "last.h5")
    assert cli("resume", RUN, "--steps", 14).code == 0
    before = files(here)
    shutil.copyfile(RUN / "last.h5", "state.h5")
    for path in (RUN / "best.h5", "state.h5"):
        refused(cli("resume", path, "--steps", 20), "--name")
    refused(cli("resume", RUN / "best.h5", "--name", RUN.name), str(RUN))
    refused(cli("resume", RUN / "best.h5", "--name", "../new"), "--name")
    Path("state.h5").unlink()
    assert files(here) == before


def test_a_new_run_starts_from_any_state_and_leaves_the_old_one_alone(here: Path, cli: Cli) -> None:
    before = files(here / RUN)
    assert cli("resume", RUN / "best.h5", "--steps", 15, "--name", "new").code == 0
    assert files(here / RUN) == before
    new = RUN.with_name("new")
    assert sorted(os.listdir(new)) == ["best.h5", "last.h5", "metrics.csv", "samples.jsonl"]
    assert Run.load(new / "last.h5").step == 15
    assert steps(new) == list(range(1, 16))


@pytest.mark.parametrize("inside", [True, False])
def test_the_result_of_a_new_run_is_that_of_its_best_state(here: Path, cli: Cli, inside: bool) -> None:
    """The last line describes ``best.h5``, even if the best state of the old run is older than the resumed state."""
    run = Run.load(RUN / "last.h5")
    run.config = replace(run.config, learning_rate=1000.0)  # so that the loss only rises
    run.save(RUN / "last.h5")
    assert cli("resume", RUN, "--steps", 15).code == 0
    state = RUN / "last.h5"
    if not inside:
        state = Path("state.h5")
        shutil.copyfile(RUN / "last.h5", state)
    assert Run.load(state).best_record.step <= 12
    answer = cli("resume", state, "--steps", 18, "--name", "new")
    assert answer.code == 0
    assert without_size(cli("evaluate", "checkpoints/new").out) == answer.out


def test_the_corpus_may_be_moved_but_not_changed(here: Path, cli: Cli) -> None:
    before = files(here / RUN)
    Path("notes.txt").rename("moved.txt")
    refused(cli("resume", RUN, "--steps", 13), "notes.txt")
    Path("notes.txt").write_text("x" * 600)
    refused(cli("resume", RUN, "--steps", 13), "notes.txt", "--corpus")
    assert files(here / RUN) == before
    assert cli("resume", RUN, "--steps", 13, "--corpus", "moved.txt").code == 0


def test_resume_uses_the_recorded_threads_and_warns_if_others_are_set(here: Path, cli: Cli) -> None:
    assert "Warning" not in cli("resume", RUN, "--steps", 13).err
    answer = cli("resume", RUN, "--steps", 14, "--threads", 2, "--quiet")
    assert len(re.findall("^Warning: .*$", answer.err, re.MULTILINE)) == len(answer.err.splitlines()) == 1
    assert "threads from 1 to 2" in answer.err
    assert Run.load(RUN / "last.h5").config.threads == 2
    assert cli("resume", RUN, "--steps", 15, "--threads", 3).code == 0
    assert cli("resume", RUN, "--steps", 16, "--threads", 100, "--quiet").err == ""  # at most one for each of 3 streams


def test_resume_warns_on_another_machine(here: Path, cli: Cli) -> None:
    run = Run.load(RUN / "last.h5")
    run.environment["numpy"] = "1.0"
    run.save(RUN / "last.h5")
    answer = cli("resume", RUN, "--quiet")
    assert answer.code == 0
    assert re.fullmatch("Warning: changed since the last save: numpy from 1.0 to .*\n", answer.err)


def test_another_text_needs_a_new_run(here: Path, cli: Cli) -> None:
    Path("other.txt").write_text("the Ωcat sat on the mat. " * 40, encoding="utf-16")
    before = files(here / RUN)
    refused(cli("resume", RUN, "--corpus", "other.txt"), "UTF-16", "--encoding utf-16")
    refused(cli("resume", RUN, "--corpus", "other.txt", "--encoding", "utf-16", "--steps", 13),
            "pass the text of the run as --corpus, or train a new run on this text that starts from it")
    answer = cli("train", "other.txt", "--from", "notes-lnlstm-8", "--encoding", "utf-16", "--name", "fine", "--steps", 3)
    assert answer.code == 0
    assert re.fullmatch(rf"validation .*\(carried, 1 stream, started from {RUN}/best.h5\)\n", answer.out)
    assert f"Starting from {RUN}/best.h5\n" in answer.err
    assert "initial weights for 1 new character: Ω" in answer.err
    assert files(here / RUN) == before
    run = Run.load("checkpoints/fine/last.h5")
    assert (run.step, run.source.names, run.model.text_config.encoding) == (3, ("other.txt",), "utf-16")
    assert cli("resume", "checkpoints/fine", "--steps", 5).code == 0


def test_a_run_on_standard_input_needs_its_text_to_be_resumed(here: Path, cli: Cli, python: Cli) -> None:
    text = Path("notes.txt").read_bytes()
    command = [sys.executable, "-m", "charrnn", "train", "-", *map(str, SMALL), "--steps", "3", "--name", "piped"]
    done = subprocess.run(command, input=text, capture_output=True)
    assert done.returncode == 0
    assert b"--corpus" in done.stderr
    refused(cli("resume", "checkpoints/piped", "--steps", 5), "--corpus")
    assert cli("resume", "checkpoints/piped", "--steps", 5, "--corpus", "notes.txt").code == 0


def test_a_moved_corpus_is_remembered(here: Path, cli: Cli) -> None:
    Path("notes.txt").rename("moved.txt")
    assert cli("resume", RUN, "--steps", 13, "--corpus", "moved.txt").code == 0
    assert cli("resume", RUN, "--steps", 14).code == 0
    assert Run.load(RUN / "last.h5").source.names == ("moved.txt",)


def test_rejects_minutes_that_have_passed_and_an_unknown_time(here: Path, cli: Cli) -> None:
    refused(cli("resume", RUN, "--minutes", 1e-9), "--minutes", "choose more")
    shutil.copyfile(RUN / "last.h5", "lone.h5")
    refused(cli("resume", "lone.h5", "--name", "new", "--minutes", 1), "--minutes", "--steps")


def test_a_run_out_of_patience_is_resumed_with_more(empty: Path, cli: Cli) -> None:
    short = ("--steps", 9, "--eval-every", 1, "--patience", 1, "--learning-rate", 1e-30)
    assert cli("train", "notes.txt", *SMALL, *short).code == 0
    assert "--patience" in cli("resume", RUN, "--steps", 12).err
    assert Run.load(RUN / "last.h5").step == 2
    assert cli("resume", RUN, "--steps", 12, "--patience", 99).code == 0
    assert Run.load(RUN / "last.h5").step == 12
