"""charrnn inspect"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import RUN, SMALL, Cli, refused

from charrnn import Corpus, ModelConfig, Run, TrainConfig, load


def test_inspect_shows_the_settings_and_the_history_of_a_run(here: Path, cli: Cli) -> None:
    answer = cli("inspect", RUN)
    assert (answer.code, answer.err) == (0, "")
    for text in (f"{RUN / 'best.h5'} ", f"{RUN / 'last.h5'} ", "step 12 of 12", "notes.txt: 600 characters", "lnlstm",
                 "adam", "cosine", "0.025"):
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
    done = subprocess.run([sys.executable, "-m", "charrnn", "inspect", "checkpoints/greek-lnlstm-8"], capture_output=True,
                          env=environment | {"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout


def test_inspect_lists_the_runs_of_a_folder_the_newest_first(here: Path, cli: Cli) -> None:
    def copy(name: str, time: float) -> Path:
        folder = shutil.copytree(RUN, Path("checkpoints", name))
        for file in folder.iterdir():
            os.utime(file, (time, time))
        return folder

    copy("older", 1e9)
    copy("a-sweep/cell=gru", 2e9)
    (copy("broken", 1.5e9) / "last.h5").write_bytes(b"x")
    os.utime("checkpoints/broken/last.h5", (1.5e9, 1.5e9))
    Path("checkpoints", "README.md").write_text("Mine.")
    Path("checkpoints", "nothing").mkdir()
    Path("checkpoints", "only").mkdir()
    load(RUN).save("checkpoints/only/best.h5")
    os.utime("checkpoints/only/best.h5", (1.2e9, 1.2e9))
    answer = cli("inspect", "checkpoints")
    assert (answer.code, answer.err) == (0, "")
    lines = [re.split("  +", line) for line in answer.out.splitlines()]
    best = min(record.validation_loss for record in Run.load(RUN / "last.h5").history)
    figures = ["12 of 12", f"{best:.4f} nats/char", "lnlstm 8", "notes.txt"]
    names = {line[0]: line for line in lines}
    assert lines[0] == ["run", "saved", "step", "best validation", "model", "text"]
    assert [line[0] for line in lines[1:]] == ["a-sweep/cell=gru", RUN.name, "broken", "only", "older"]
    for name in ("a-sweep/cell=gru", RUN.name, "older"):
        assert names[name][2:] == figures
    assert names["older"][1] == time.strftime("%Y-%m-%d %H:%M", time.localtime(1e9))
    assert names["only"][2:] == ["a model without a run"]
    assert len(names["broken"]) == 3
    assert names["broken"][2].startswith("not a checkpoint or model file")
    assert cli("inspect") == answer
    assert cli("inspect", "a-sweep").out.splitlines()[1].startswith("cell=gru ")
    assert cli("inspect", ".").out.count("notes.txt") == 2  # the runs of a sweep are one level deeper


def test_inspect_without_runs_says_so(empty: Path, cli: Cli) -> None:
    refused(cli("inspect"), "checkpoints: contains no run")


def test_inspect_shows_layers_bytes_and_runs_without_validation(empty: Path, cli: Cli) -> None:
    options = (*SMALL, "--layers", 2, "--cell", "gru", "--level", "byte", "--steps", 2, "--validation", 0, "--name", "a\tb")
    assert cli("train", "notes.txt", *options).code == 0
    line = cli("inspect").out.splitlines()[1]
    assert re.fullmatch(r"a\\tb  \S+ \S+  2 of 2  +gru 2 x 8  notes.txt", line)
    assert "600" not in cli("inspect", "a\tb").out.split("corpus", 1)[0]
    assert " bytes, sha256 " in cli("inspect", "a\tb").out


def test_the_dtype_is_that_of_the_file(here: Path, cli: Cli) -> None:
    model = load(RUN)
    for dtype in ("float16", "float32", "float64"):
        model.save("model.h5", dtype=dtype)
        shown = [line.split() for line in cli("inspect", "model.h5").out.splitlines()]
        assert ["parameters", f"{model.network.parameters.flat.size:,}", "of", dtype] in shown
    assert f" of {load(RUN).network.dtype}\n" in cli("inspect", RUN).out


def test_one_character_is_singular(empty: Path, cli: Cli) -> None:
    Path("a.txt").write_text("a" * 600)
    assert cli("train", "a.txt", *SMALL, "--steps", 1, "--name", "a").code == 0
    assert "vocabulary          1 character: a" in cli("inspect", "a").out.splitlines()


@pytest.mark.parametrize("options", [
    (), ("--layers", 2, "--cell", "rnn", "--level", "byte", "--validation", 0),
    ("--documents", "lines", "--no-stateful", "--seed", 7, "--glob", "* [a].txt"),
    ("--learning-rate", 0.1 + 0.2, "--dropout", 0.25, "--no-samples", "--test", 0.1, "--embedding-size", 3)])
def test_the_command_that_inspect_shows_repeats_the_run(empty: Path, cli: Cli, options: tuple[Any, ...]) -> None:
    Path("my 'notes'.txt").write_text("one\ntwo\nthree\nfour and five\n" * 40)
    assert cli("train", "my 'notes'.txt", *SMALL, *options, "--steps", 9, "--eval-every", 4, "--name", "a").code == 0
    (line,) = (line for line in cli("inspect", "a").out.splitlines() if line.startswith("repeat it with"))
    program, *arguments = shlex.split(line.removeprefix("repeat it with"))
    assert program == "charrnn"
    assert cli(*arguments, "--name", "b").code == 0
    assert Path("checkpoints/b/last.h5").read_bytes() == Path("checkpoints/a/last.h5").read_bytes()


def test_the_command_does_not_confuse_a_name_with_an_option(empty: Path, cli: Cli) -> None:
    Path("notes.txt").rename("-q notes")
    assert cli("train", *SMALL, "--steps", 1, "--name", "a", "--", "-q notes").code == 0
    assert "repeat it with      charrnn train './-q notes' --from" in cli("inspect", "a").out


def test_the_command_of_a_run_that_started_from_another_model_names_it(empty: Path, cli: Cli) -> None:
    assert cli("train", "notes.txt", *SMALL, "--steps", 2, "--name", "a", "--from", "none").code == 0
    start = ("--from", "a", "--batch-size", 4, "--steps", 2)
    assert cli("train", "notes.txt", *start, "--name", "b").code == 0
    (line,) = (line for line in cli("inspect", "b").out.splitlines() if line.startswith("repeat it with"))
    assert cli(*shlex.split(line.removeprefix("repeat it with"))[1:], "--name", "c").code == 0
    assert Path("checkpoints/c/last.h5").read_bytes() == Path("checkpoints/b/last.h5").read_bytes()
    assert "  lnlstm 8 from a  " in cli("inspect").out


def test_the_command_sets_what_would_be_chosen_for_the_text(empty: Path, cli: Cli) -> None:
    run = Run.start(Corpus.read("notes.txt"), ModelConfig(), TrainConfig(batch_size=4, seq_len=8, steps=1))
    run.save("a.h5")
    assert " --hidden-size 256 " in cli("inspect", "a.h5").out


def test_no_command_repeats_a_run_of_another_dtype(empty: Path, cli: Cli) -> None:
    run = Run.start(Corpus.read("notes.txt"), ModelConfig(hidden_size=8), TrainConfig(batch_size=4, seq_len=8, steps=1),
                    dtype=np.float64)
    run.save("a.h5")
    assert "repeat it with" not in cli("inspect", "a.h5").out


def test_inspect_shows_what_is_unusual(here: Path, cli: Cli) -> None:
    usual = cli("inspect", RUN).out
    assert "rate factor" not in usual
    assert "encoding" not in usual
    run = Run.load(RUN / "last.h5")
    run.rate_factor = 0.5
    run.model.text_config = replace(run.model.text_config, encoding="latin-1")
    run.source = run.source._replace(names=("\x1b[31mred.txt",))
    run.since = run.step  # no evaluation counts
    run.save(RUN / "last.h5")
    unusual = cli("inspect", RUN).out
    assert "rate factor         0.5, after steps with a non-finite loss or gradient\n" in unusual
    assert "encoding            iso8859-1\n" in unusual
    assert "  best\n" not in unusual
    (row,) = cli("inspect").out.splitlines()[1:]
    assert row.split("12 of 12")[1].split() == ["lnlstm", "8", "\\x1b[31mred.txt"]
    shutil.copytree(RUN, RUN / "inner")
    assert cli("inspect", RUN).out == unusual, "a run folder is not a folder of runs"
    shutil.rmtree(RUN / "inner")
    (RUN / "last.h5").unlink()
    assert cli("inspect", RUN).out.count("best.h5") == 1


def test_inspect_shows_a_table_of_layers(here: Path, cli: Cli) -> None:
    lines = [line.split() for line in cli("inspect", RUN).out.split("\nlayer ")[1].split("\n\n")[0].splitlines()[1:]]
    parameters = load(RUN).network.parameters
    assert {line[0]: "".join(line[1:-1]) for line in lines[:-1]} == {
        name: "x".join(map(str, array.shape)) for name, array in parameters.items()}
    assert [line[-1] for line in lines] == [*(f"{array.size:,}" for array in parameters.values()),
                                            f"{parameters.flat.size:,}"]
