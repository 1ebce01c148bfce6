"""charrnn.cli: what a person types and reads."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn import Run, TrainConfig
from charrnn.config import LEARNING_RATES

Cli = Callable[..., Any]

SMALL = ("--hidden-size", 8, "--batch-size", 3, "--seq-len", 8, "--threads", 1)
FIGURES = r"(\d+\.\d{4}) nats/char  (\d+\.\d{3}) bits/char  perplexity (\d+\.\d{2})\n"
RUN = Path("checkpoints/notes-lstm-8")


@pytest.fixture(scope="module")
def trained(make_text: Callable[..., str], python: Cli, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder with notes.txt and a run of 12 steps on it, and what the command said."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "notes.txt").write_text(make_text(600), encoding="utf-8")
    answer = python("-m", "charrnn", "train", "notes.txt", *SMALL, "--steps", 12, "--eval-every", 3, cwd=folder)
    return folder, answer


@pytest.fixture
def here(trained: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a copy of that with the trained run."""
    folder = shutil.copytree(trained[0], tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def empty(trained: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: with notes.txt and nothing else."""
    shutil.copyfile(trained[0] / "notes.txt", tmp_path / "notes.txt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def steps(run: Path) -> list[int]:
    with (run / "metrics.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def refused(answer: Any, *words: str) -> None:
    """One line that says what is wrong, nothing on standard output, an exit code that is not 0."""
    assert answer.code != 0
    assert answer.out == ""
    lines = answer.err.splitlines()
    assert lines, "nothing is said"
    assert lines[-1].startswith("Error: ")
    assert len(lines) == 1 or lines[0].startswith("Usage: ")
    assert "Traceback" not in answer.err
    for word in words:
        assert word in lines[-1]


# Train

def test_train_prints_its_result_on_standard_output_and_all_else_on_standard_error(trained: tuple[Path, Any]) -> None:
    folder, (code, out, err) = trained
    assert code == 0
    nats, bits, perplexity = map(float, re.fullmatch("validation " + FIGURES, out).groups())
    assert (bits, perplexity) == (pytest.approx(nats / 0.693147, abs=1e-3), pytest.approx(2.718282**nats, abs=1e-2))
    assert nats == pytest.approx(Run.load(folder / RUN / "best.h5").best_record.validation_loss, abs=1e-4)
    for text in ("notes.txt: 600 characters", "8 hidden units", "12 steps", "step      12", f"charrnn sample {RUN}",
                 f"charrnn resume {RUN}"):
        assert text in err
    assert sorted(os.listdir(folder / RUN)) == ["best.h5", "last.h5", "metrics.csv"]
    assert steps(folder / RUN) == list(range(1, 13))


def test_train_takes_its_options(empty: Path, cli: Cli) -> None:
    options = """--cell gru --hidden-size 9 --layers 2 --dropout 0.25 --embedding-size 3 --weight-drop 0.1
        --batch-size 2 --seq-len 7 --stateless --steps 2 --optimizer sgd --learning-rate 0.5 --schedule step
        --warmup 1 --weight-decay 0.01
        --momentum 0.8 --clip-norm 2 --clip-value 0.5 --validation 0.2 --test 0.15 --eval-every 1 --patience 5 --seed 7
        --threads 2 --checkpoint-every 3 --checkpoint-minutes 9 --no-recover --name mine --checkpoints runs/here --quiet"""
    answer = cli("train", "notes.txt", *options.split())
    assert (answer.code, answer.err) == (0, "")
    run = Run.load("runs/here/mine/last.h5")
    assert vars(run.model.network.config) == {"cell": "gru", "hidden_size": 9, "layers": 2, "dropout": 0.25,
                                              "embedding_size": 3, "weight_drop": 0.1}
    assert vars(run.config) == {
        "batch_size": 2, "seq_len": 7, "stateful": False, "epochs": None, "steps": 2, "minutes": None, "optimizer": "sgd",
        "learning_rate": 0.5, "schedule": "step", "warmup": 1, "weight_decay": 0.01, "momentum": 0.8, "clip_norm": 2.0,
        "clip_value": 0.5, "validation": 0.2, "test": 0.15, "eval_every": 1, "patience": 5, "seed": 7, "threads": 2,
        "checkpoint_every": 3, "checkpoint_minutes": 9.0, "recover": False}


def test_where_no_size_is_named_one_is_chosen_and_said(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", "--batch-size", 3, "--seq-len", 8, "--steps", 300, "--weight-drop", 0.25)
    assert answer.code == 0
    config = Run.load("checkpoints/notes-lstm-32/last.h5").model.network.config
    assert config.dropout > 0
    assert config.weight_drop == 0.25
    assert f"Chosen for it: --hidden-size 32 --dropout {config.dropout:g}\n" in answer.err


def test_where_a_size_is_named_nothing_is_chosen(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 40)
    assert "Chosen" not in answer.err
    config = Run.load(RUN / "last.h5").model.network.config
    assert (config.hidden_size, config.dropout, config.weight_drop) == (8, 0, 0)


@pytest.mark.parametrize("length", [("--epochs", "0.5"), ("--minutes", "0.001")])
def test_train_takes_its_length_in_epochs_or_minutes(empty: Path, cli: Cli, length: tuple[str, str]) -> None:
    answer = cli("train", "notes.txt", *SMALL, *length)
    assert answer.code == 0
    run = Run.load(RUN / "last.h5")
    assert run.step == run.planned
    if "--epochs" in length:
        assert run.planned == 11
    else:
        assert f"the same as --steps {run.planned}" in answer.err


def test_quiet_leaves_standard_error_empty(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 2, "--quiet")
    assert answer.err == ""
    assert re.fullmatch("validation " + FIGURES, answer.out)
    answer = cli("resume", RUN, "--steps", 3, "--quiet")
    assert answer.err == ""
    assert re.fullmatch("validation " + FIGURES, answer.out)


def test_without_a_validation_part_the_result_is_the_training_loss(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 4, "--validation", 0)
    assert re.fullmatch("train " + FIGURES, answer.out)
    assert answer.out.startswith(f"train {Run.load(RUN / 'last.h5').smoothed_loss:.4f} ")
    assert sorted(os.listdir(RUN)) == ["last.h5", "metrics.csv"]
    refused(cli("evaluate", RUN), "TEXT_FILE")
    assert cli("sample", RUN, "--length", 5).code == 0


def test_without_a_corpus_it_trains_on_the_built_in_one_and_says_so(empty: Path, cli: Cli) -> None:
    answer = cli("train", *SMALL, "--steps", 1, "--validation", 0)
    assert answer.code == 0
    assert "the language reference that comes with Python" in answer.err
    assert (empty / "checkpoints" / "python-reference-lstm-8" / "last.h5").exists()


def test_a_folder_of_texts_is_one_corpus(empty: Path, cli: Cli, make_text: Callable[..., str]) -> None:
    for seed, name in enumerate(("b.txt", "a/c.txt", "a/ignored.md")):
        (empty / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (empty / "texts" / name).write_text(make_text(150, seed=seed + 2), encoding="utf-8")
    assert cli("train", "texts", *SMALL, "--steps", 1).err.startswith("texts (2 files): 300 characters")
    answer = cli("train", "texts", "notes.txt", *SMALL, "--steps", 1, "--overwrite")
    assert answer.err.startswith("texts, notes.txt (3 files): 900 characters")


def test_a_short_text_shrinks_the_batch_and_says_so(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--batch-size", 500, "--steps", 1)
    assert answer.code == 0
    assert "67 streams are read side by side, not 500" in answer.err


def test_training_that_brings_nothing_new_stops_early_and_says_so(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 500, "--eval-every", 1, "--patience", 2, "--learning-rate", 5)
    assert answer.code == 0
    assert "Stopped early" in answer.err
    run = Run.load(RUN / "last.h5")
    assert run.step == run.best_record.step + 2 < 500
    assert cli("evaluate", RUN).out == answer.out


def test_a_run_of_the_same_name_is_refused_and_left_alone_unless_it_may_be_replaced(here: Path, cli: Cli) -> None:
    before = files(here)
    refused(cli("train", "notes.txt", *SMALL, "--steps", 2), str(RUN), "--overwrite", "charrnn resume")
    refused(cli("train", "notes.txt", "--name", RUN.name), str(RUN))
    assert files(here) == before
    assert cli("train", "notes.txt", *SMALL, "--steps", 2, "--overwrite").code == 0
    assert Run.load(RUN / "last.h5").step == 2
    assert steps(RUN) == [1, 2]


@pytest.mark.parametrize("options", [("--seq-len", 10**5), ("--hidden-size", 0), ("missing.txt",), ("--validation", 0.999)],
                         ids=str)
def test_a_refused_training_replaces_nothing(here: Path, cli: Cli, options: tuple) -> None:
    before = files(here)
    refused(cli("train", "notes.txt", *SMALL, "--overwrite", "--steps", 2, *options, "--name", RUN.name))
    assert files(here) == before


@pytest.mark.parametrize("options", [("--learning-rate", 1e308, "--validation", 0), ("--learning-rate", 1e308),
                                     ("--learning-rate", 3e37, "--hidden-size", 64), ("--weight-decay", 1e300)], ids=str)
def test_training_that_leaves_no_numbers_says_so_and_leaves_a_run_that_can_be_read(
        empty: Path, cli: Cli, options: tuple) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 1, "--warmup", 0, "--quiet", "--name", "run", *options)
    refused(answer, "--learning-rate")
    Run.load("checkpoints/run/last.h5")


# Resume

def test_resume_goes_on_to_what_was_planned_or_further(here: Path, cli: Cli, trained: tuple[Path, Any]) -> None:
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


def test_another_state_than_the_last_one_needs_a_new_name(here: Path, cli: Cli) -> None:
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
    assert sorted(os.listdir(new)) == ["best.h5", "last.h5", "metrics.csv"]
    assert Run.load(new / "last.h5").step == 15
    assert steps(new) == list(range(1, 16))


@pytest.mark.parametrize("inside", [True, False])
def test_the_result_of_a_new_run_is_of_its_own_best_state(here: Path, cli: Cli, inside: bool) -> None:
    """The last line is that of ``best.h5``, also where the old run's best state is before the one gone on with."""
    run = Run.load(RUN / "last.h5")
    run.config = replace(run.config, learning_rate=1000.0)  # from here on it only gets worse
    run.save(RUN / "last.h5")
    assert cli("resume", RUN, "--steps", 15).code == 0
    state = RUN / "last.h5"
    if not inside:
        state = Path("state.h5")
        shutil.copyfile(RUN / "last.h5", state)
    assert Run.load(state).best_record.step <= 12
    answer = cli("resume", state, "--steps", 18, "--name", "new")
    assert answer.code == 0
    assert cli("evaluate", "checkpoints/new").out == answer.out


def test_the_corpus_may_have_moved_but_not_changed(here: Path, cli: Cli) -> None:
    before = files(here / RUN)
    Path("notes.txt").rename("moved.txt")
    refused(cli("resume", RUN, "--steps", 13), "notes.txt")
    Path("notes.txt").write_text("x" * 600)
    refused(cli("resume", RUN, "--steps", 13), "notes.txt", "--corpus")
    assert files(here / RUN) == before
    assert cli("resume", RUN, "--steps", 13, "--corpus", "moved.txt").code == 0


def test_resume_takes_the_recorded_threads_and_warns_where_it_is_told_others(here: Path, cli: Cli) -> None:
    assert "Warning" not in cli("resume", RUN, "--steps", 13).err
    answer = cli("resume", RUN, "--steps", 14, "--threads", 2, "--quiet")
    assert len(re.findall("^Warning: .*$", answer.err, re.MULTILINE)) == len(answer.err.splitlines()) == 1
    assert "threads were 1 and are 2" in answer.err
    assert Run.load(RUN / "last.h5").config.threads == 2
    assert cli("resume", RUN, "--steps", 15, "--threads", 3).code == 0
    assert cli("resume", RUN, "--steps", 16, "--threads", 100, "--quiet").err == ""  # never more than streams: 3 as before


def test_resume_warns_where_the_machine_is_another(here: Path, cli: Cli) -> None:
    run = Run.load(RUN / "last.h5")
    run.environment["numpy"] = "1.0"
    run.save(RUN / "last.h5")
    answer = cli("resume", RUN, "--quiet")
    assert answer.code == 0
    assert re.fullmatch("Warning: numpy was '1.0' and is .*\n", answer.err)


SIGNALLED = """
import os, sys
from charrnn.training.trainer import Trainer
take = Trainer.step
def step(self):
    if self.run.step + 1 == {step}:
        os.kill(os.getpid(), {number})
    return take(self)
Trainer.step = step
from charrnn.cli import main
main()
"""


@pytest.mark.parametrize(("number", "code", "step"), [
    (signal.SIGINT, 130, 1), (signal.SIGINT, 130, 5), (signal.SIGINT, 130, 6), (signal.SIGTERM, 143, 5),
    (signal.SIGKILL, -9, 5),
])
def test_a_run_that_was_stopped_and_resumed_ends_in_the_same_bytes(
        empty: Path, python: Cli, cli: Cli, trained: tuple[Path, Any], number: int, code: int, step: int) -> None:
    """The signal comes in a step, before the first evaluation, between two, and in a step with an evaluation."""
    answer = python("-c", SIGNALLED.format(step=step, number=int(number)), "train", "notes.txt", *SMALL, "--steps", 12,
                    "--eval-every", 3, cwd=empty)
    assert (answer.code, answer.out) == (code, "")
    assert "Traceback" not in answer.err
    if number != signal.SIGKILL:
        assert f"charrnn resume {RUN}" in answer.err
        assert f"Stopped after step {step} of 12" in answer.err
        assert Run.load(RUN / "last.h5").step == step
    answer = cli("resume", RUN)
    assert (answer.code, answer.out) == (0, trained[1].out)
    for name in ("last.h5", "best.h5"):
        assert (RUN / name).read_bytes() == (trained[0] / RUN / name).read_bytes()
    assert steps(RUN) == list(range(1, 13))


def test_control_c_ends_a_long_training(empty: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "charrnn", "train", "notes.txt", *map(str, SMALL), "--steps", "1000000",
               "--eval-every", "20"]
    with subprocess.Popen(command, cwd=empty, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for line in process.stderr:
            if b"nats/char" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert err.decode().splitlines()[-1].endswith(f"Go on with: charrnn resume {RUN}")
    assert Run.load(RUN / "last.h5").step >= 20


# Evaluate

def test_evaluate_prints_the_line_that_train_printed(here: Path, cli: Cli, trained: tuple[Path, Any]) -> None:
    for path in (RUN, RUN / "best.h5"):
        answer = cli("evaluate", path)
        assert (answer.code, answer.out, answer.err) == (0, trained[1].out, "")


def test_evaluate_measures_the_test_part_too_where_there_is_one(empty: Path, cli: Cli) -> None:
    trained = cli("train", "notes.txt", *SMALL, "--steps", 2, "--test", 0.2)
    test, validation = cli("evaluate", RUN).out.splitlines(keepends=True)
    assert re.fullmatch("test " + FIGURES, test)
    assert validation == trained.out


def test_evaluate_reads_a_text_file(here: Path, cli: Cli) -> None:
    text = Path("notes.txt").read_text(encoding="utf-8")
    Path("other.txt").write_text(text[540:], encoding="utf-8")
    answer = cli("evaluate", RUN, "other.txt")
    assert (answer.code, answer.err) == (0, "")
    assert re.fullmatch("text " + FIGURES, answer.out)
    assert answer.out.split(" ", 1)[1] == cli("evaluate", RUN).out.split(" ", 1)[1]  # it is the validation part
    assert cli("evaluate", RUN, "other.txt", "--streams", 1).out == answer.out
    assert cli("evaluate", RUN, "other.txt", "--streams", 7).out != answer.out


@pytest.mark.parametrize(("text", "words"), [("", ["other.txt", "0 characters"]), ("t", ["other.txt", "1 characters"]),
                                             ("the ß", ["'ß' (U+00DF, LATIN SMALL LETTER SHARP S)"])])
def test_evaluate_refuses_a_text_it_cannot_read(here: Path, cli: Cli, text: str, words: list[str]) -> None:
    Path("other.txt").write_text(text, encoding="utf-8")
    refused(cli("evaluate", RUN, "other.txt"), *words)


def test_evaluate_says_so_where_the_corpus_is_gone_or_another(here: Path, cli: Cli) -> None:
    Path("notes.txt").write_text("x" * 600)
    refused(cli("evaluate", RUN), "notes.txt", "TEXT_FILE")
    Path("notes.txt").unlink()
    refused(cli("evaluate", RUN), "notes.txt")


# Sample

def test_sample_writes_the_prime_and_so_many_characters(here: Path, cli: Cli) -> None:
    for length in (0, 1, 77):
        answer = cli("sample", RUN, "--length", length, "--prime", "the cat", "--seed", 3)
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.startswith("the cat")
        assert len(answer.out) - len("the cat") - length in (0, 1)
        assert answer.out.endswith("\n")


def test_sample_writes_a_thousand_characters_by_default(here: Path, cli: Cli) -> None:
    assert len(cli("sample", RUN).out) in (1000, 1001)


def test_the_same_seed_gives_the_same_text_and_no_seed_another_each_time(here: Path, cli: Cli) -> None:
    assert cli("sample", RUN, "--seed", 5).out == cli("sample", RUN, "--seed", 5).out
    texts = {cli("sample", RUN, "--seed", 5).out, cli("sample", RUN, "--seed", 6).out, cli("sample", RUN).out,
             cli("sample", RUN).out}
    assert len(texts) == 4


@pytest.mark.parametrize("options", [("--temperature", 1e-9), ("--top-k", 1), ("--top-p", 1e-9), ("--greedy",)], ids=str)
def test_options_that_leave_no_choice_take_the_likeliest(here: Path, cli: Cli, options: tuple) -> None:
    sample = ("sample", RUN, "--length", 50, "--seed", 1)
    assert cli(*sample, *options).out == cli(*sample, "--greedy").out


def test_a_prime_may_come_from_standard_input(here: Path, cli: Cli) -> None:
    options = ("--length", 20, "--seed", 1)
    assert cli("sample", RUN, "--prime", "-", *options, stdin="café\nZoë").out == (
        cli("sample", RUN, "--prime", "café\nZoë", *options).out)


def test_samples_are_written_one_after_the_other_with_a_line_between(here: Path, cli: Cli) -> None:
    alone = cli("sample", RUN, "--length", 30, "--seed", 2, "--prime", "a").out
    answer = cli("sample", RUN, "--length", 30, "--seed", 2, "--prime", "a", "--count", 3)
    parts = answer.out.split("\n---\n")
    assert len(parts) == 3
    assert parts[0].rstrip("\n") == alone.rstrip("\n")
    assert all(len(part.rstrip("\n")) <= 31 and part.startswith("a") for part in parts)
    assert len(set(parts)) == 3
    assert answer.out.endswith("\n")


def test_until_ends_a_sample_and_the_prime_is_not_searched(here: Path, cli: Cli) -> None:
    answer = cli("sample", RUN, "--until", "a", "--prime", "a cat", "--seed", 1, "--length", 10**4, "--count", 3)
    for part in answer.out.removesuffix("\n").split("\n---\n"):
        assert part.startswith("a cat")
        assert part.endswith("a")
        assert part.removeprefix("a cat").count("a") == 1


def test_sample_takes_best_of_a_folder_and_a_file_as_it_is(here: Path, cli: Cli) -> None:
    run = Run.load(RUN / "last.h5")
    run.model.network.parameters.flat[...] = 0
    run.save(RUN / "last.h5")
    best, last, either = (cli("sample", path, "--seed", 1).out for path in (RUN / "best.h5", RUN / "last.h5", RUN))
    assert either == best != last


@pytest.mark.parametrize("arguments", [
    ("-m", "charrnn", "sample", RUN, "--length", 20_000), ("-m", "charrnn", "sample", RUN, "--length", 50, "--count", 2),
    ("-u", "-m", "charrnn", "sample", RUN, "--length", 50, "--count", 2), ("-m", "charrnn", "inspect", RUN),
    ("-m", "charrnn", "evaluate", RUN), ("-m", "charrnn", "gradcheck", "--hidden-size", 2), ("-m", "charrnn", "--help"),
], ids=lambda arguments: " ".join(map(str, arguments)))
def test_a_pipe_that_is_closed_early_ends_it_quietly(here: Path, environment: dict[str, str], arguments: tuple) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run([sys.executable, *map(str, arguments)], stdout=out, stderr=subprocess.PIPE, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")


def test_head_takes_what_it_needs(here: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "charrnn", "sample", str(RUN), "--length", "20000", "--prime", "the cat"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout.read(7) == b"the cat"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_an_unknown_character_of_the_prime_is_named(here: Path, cli: Cli) -> None:
    refused(cli("sample", RUN, "--prime", "the ß"), "'ß' (U+00DF, LATIN SMALL LETTER SHARP S)")
    refused(cli("sample", RUN, "--prime", "-", stdin="the ß"), "'ß' (U+00DF, LATIN SMALL LETTER SHARP S)")


# Inspect

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


# Gradcheck

def test_gradcheck_shows_a_table_and_ends_well(cli: Cli) -> None:
    answer = cli("gradcheck", "--hidden-size", 2, "--layers", 1, "--dropout", 0.5, "--embedding-size", 2, "--seed", 3)
    assert (answer.code, answer.err) == (0, "")
    for text in ("rnn", "lstm", "gru", "layer0/w_h", "output/b", "embedding/w", "state/layer0/cell"):
        assert text in answer.out
    assert "OFF" not in answer.out
    checked = answer.out.count(" ok\n")
    assert answer.out.splitlines()[-1].startswith(f"{checked} of {checked} gradients agree")


def test_gradcheck_ends_with_1_where_a_gradient_is_off(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn.nn.cells.rnn import RNN

    backward = RNN.backward

    def wrong(self: Any, d_hidden: Any, d_state: Any, work: Any, gradients: Any) -> Any:
        answer = backward(self, d_hidden, d_state, work, gradients)
        gradients["layer0/w_h"][0, 0] += 1e-5
        return answer

    monkeypatch.setattr(RNN, "backward", wrong)
    answer = cli("gradcheck", "--cell", "rnn", "--hidden-size", 2, "--layers", 1)
    assert answer.code == 1
    assert [line.split()[0] for line in answer.out.splitlines() if line.endswith("OFF")] == ["layer0/w_h"]
    assert cli("gradcheck", "--cell", "lstm", "--hidden-size", 2, "--layers", 1).code == 0


# Bad use

TRAIN = ("train", "notes.txt", "--steps", 1)


@pytest.mark.parametrize(("arguments", "words"), [
    (("train", "missing.txt"), ["missing.txt", "no such file"]),
    (("train", "empty"), ["empty", "*.txt"]),
    (("train", "empty.txt"), ["empty.txt", "empty"]),
    (("train", "latin.txt"), ["latin.txt", "not UTF-8 at byte 3 (0xe9)"]),
    (("train", "short.txt"), ["--seq-len", f"at least {TrainConfig().seq_len + 1}"]),
    (("train", "tiny.txt"), ["--validation", "a longer text"]),
    (("train", "notes.txt", "--seq-len", 5, "--validation", 0.001), ["--validation", "0.001"]),
    (("train", "notes.txt", "--seq-len", 5, "--test", 0.001), ["--test", "0.001"]),
    (("train", "notes.txt", "--steps", 5, "--epochs", 2), ["--steps", "epochs"]),
    (("train", "notes.txt", "--validation", 0, "--patience", 2), ["--patience"]),
    (("train", "notes.txt", "--validation", 0.5, "--test", 0.5), ["--test"]),
    (("train", "notes.txt", "--checkpoints", "notes.txt", "--steps", 1, "-q"), ["notes.txt", "--checkpoints"]),
    (("resume", "missing"), ["missing"]), (("sample", "missing"), ["missing"]), (("evaluate", "missing"), ["missing"]),
    (("inspect", "missing"), ["missing"]), (("inspect", "empty"), ["empty", "best.h5"]), (("sample", "empty"), ["empty"]),
    (("sample", "notes.txt"), ["notes.txt", "not a valid checkpoint"]),
    (("evaluate", "notes.txt"), ["notes.txt", "not a valid checkpoint"]),
    (("inspect", "notes.txt"), ["notes.txt", "not a valid checkpoint"]),
    (("inspect", "empty.txt"), ["empty.txt", "not a valid checkpoint"]),
    (("resume", "notes.txt", "--name", "new"), ["notes.txt", "not a valid checkpoint"]),
    (("other",), ["other"]), (("train", "--other"), ["--other"]), (("sample",), ["RUN_OR_CHECKPOINT"]),
], ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "")
def test_bad_use_is_one_line_and_makes_nothing(empty: Path, cli: Cli, arguments: tuple, words: list[str]) -> None:
    (empty / "empty").mkdir()
    (empty / "empty.txt").touch()
    (empty / "latin.txt").write_bytes(b"caf\xe9 " * 99)
    (empty / "short.txt").write_text("short " * 9)
    (empty / "tiny.txt").write_text("tiny")
    before = files(empty)
    refused(cli(*arguments), *words)
    assert files(empty) == before
    assert sorted(os.listdir(empty)) == ["empty", "empty.txt", "latin.txt", "notes.txt", "short.txt", "tiny.txt"]


@pytest.mark.parametrize(("option", "values"), [
    ("--cell", ["elman"]), ("--hidden-size", [0, -1, "x", 10**30, -10**400]), ("--layers", [0]),
    ("--dropout", [1, -0.1, "nan"]), ("--embedding-size", [-1]), ("--batch-size", [0]), ("--seq-len", [0]),
    ("--steps", [0, 1.5]), ("--epochs", [0, "inf"]), ("--minutes", [0, -1, "nan"]), ("--optimizer", ["lion"]),
    ("--learning-rate", [0, -1, "nan", "inf"]), ("--schedule", ["x"]), ("--warmup", [-1]), ("--weight-decay", [-1, "nan"]),
    ("--momentum", [1]), ("--clip-norm", [-1, "nan"]), ("--clip-value", [-1]), ("--validation", [1, -0.1, "nan"]),
    ("--test", [1]), ("--eval-every", [0]), ("--patience", [0]), ("--seed", [-1, 2**64]), ("--threads", [0]),
    ("--name", ["", ".", "..", "a/b", "/a"]),
])
def test_options_of_train_out_of_range_are_refused_by_name(empty: Path, cli: Cli, option: str, values: list) -> None:
    for value in values:
        refused(cli("train", "notes.txt", f"{option}={value}"), option)
    assert os.listdir(empty) == ["notes.txt"]


@pytest.mark.parametrize(("option", "values"), [
    ("--length", [-1]), ("--temperature", [0, -1, "nan", "inf"]), ("--top-k", [0]), ("--top-p", [0, 1.5, "nan"]),
    ("--count", [0]), ("--seed", [-1, 2**64]),
])
def test_options_of_sample_out_of_range_are_refused_by_name(here: Path, cli: Cli, option: str, values: list) -> None:
    for value in values:
        refused(cli("sample", RUN, f"{option}={value}"), option)


@pytest.mark.parametrize("arguments", [
    ("resume", RUN, "--steps=0"), ("resume", RUN, "--minutes=nan"), ("resume", RUN, "--threads=0"),
    ("resume", RUN, "--epochs=3", "--steps=20"), ("resume", RUN, "--name=a/b"), ("evaluate", RUN, "--streams=0"),
    ("gradcheck", "--hidden-size=0"), ("gradcheck", "--layers=0"), ("gradcheck", "--dropout=1"), ("gradcheck", "--seed=-1"),
], ids=lambda arguments: " ".join(map(str, arguments)))
def test_options_of_other_commands_out_of_range_are_refused_by_name(here: Path, cli: Cli, arguments: tuple) -> None:
    before = files(here)
    refused(cli(*arguments), str(arguments[-1]).split("=")[0])
    assert files(here) == before


@pytest.mark.parametrize("command", ["resume", "sample", "evaluate", "inspect"])
def test_a_damaged_checkpoint_is_refused(here: Path, cli: Cli, command: str) -> None:
    for name in ("best.h5", "last.h5"):
        data = bytearray((RUN / name).read_bytes())
        data[len(data) // 2] ^= 1
        (RUN / name).write_bytes(data)
    before = files(here)
    refused(cli(command, RUN), str(RUN), "SHA-256 mismatch: the file is damaged")
    assert files(here) == before


def test_a_run_that_cannot_be_saved_ends_with_an_error(
        empty: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    answer = cli(*TRAIN, *SMALL, "--quiet")
    assert answer.code == 1
    assert answer.out == ""
    *warnings, error = answer.err.splitlines()
    assert all(line.startswith("Warning: ") and "No space left on device" in line for line in warnings)
    assert error.startswith(f"Error: {RUN}: ")


def test_too_little_memory_is_one_line(empty: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("Unable to allocate 9 EiB")

    monkeypatch.setattr("charrnn.training.run.CharRNN", fail)
    refused(cli(*TRAIN, *SMALL), "not enough memory", "--hidden-size")
    assert os.listdir(empty) == ["notes.txt"]


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_a_stream_that_is_closed_is_no_reason_to_fail(here: Path, environment: dict[str, str], closed: str) -> None:
    for command in (f"sample {RUN} --length 5", f"resume {RUN} --steps 13 --quiet", f"inspect {RUN}"):
        done = subprocess.run(["sh", "-c", f'"{sys.executable}" -m charrnn {command} {closed}'], env=environment,
                              capture_output=True)
        assert (command, done.returncode, done.stderr) == (command, 0, b"")


def test_a_prime_from_a_closed_standard_input_is_an_empty_one_or_refused(here: Path, environment: dict[str, str]) -> None:
    command = f'"{sys.executable}" -m charrnn sample {RUN} --prime - --length 5 <&-'
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True)
    assert b"Traceback" not in done.stderr


def test_the_version_is_shown(cli: Cli) -> None:
    import charrnn

    assert cli("--version").out == f"charrnn, version {charrnn.__version__}\n"


# Other texts and other encodings

def test_another_text_is_learned_only_where_that_is_meant(here: Path, cli: Cli) -> None:
    Path("other.txt").write_text("the Ωcat sat on the mat. " * 40, encoding="utf-16")
    before = files(here / RUN)
    refused(cli("resume", RUN, "--corpus", "other.txt"), "UTF-16", "--encoding utf-16")
    refused(cli("resume", RUN, "--corpus", "other.txt", "--encoding", "utf-16", "--steps", 13), "--fine-tune")
    refused(cli("resume", RUN, "--fine-tune", "--corpus", "other.txt"), "--fine-tune", "--name")
    answer = cli("resume", RUN, "--fine-tune", "--corpus", "other.txt", "--encoding", "utf-16", "--name", "fine",
                 "--steps", 3)
    assert (answer.code, len(answer.out.splitlines())) == (0, 1)
    assert "1 get fresh weights: Ω" in answer.err
    assert files(here / RUN) == before
    run = Run.load("checkpoints/fine/last.h5")
    assert (run.step, run.source.names, run.model.text_config.encoding) == (3, ("other.txt",), "utf-16")
    assert cli("resume", "checkpoints/fine", "--steps", 5).code == 0


def test_a_text_from_standard_input_trains_and_is_asked_for_again(here: Path, cli: Cli, python: Cli) -> None:
    text = Path("notes.txt").read_bytes()
    command = [sys.executable, "-m", "charrnn", "train", "-", *map(str, SMALL), "--steps", "3", "--name", "piped"]
    done = subprocess.run(command, input=text, capture_output=True)
    assert done.returncode == 0
    assert b"--corpus" in done.stderr
    refused(cli("resume", "checkpoints/piped", "--steps", 5), "--corpus")
    assert cli("resume", "checkpoints/piped", "--steps", 5, "--corpus", "notes.txt").code == 0


@pytest.mark.parametrize(("options", "code"), [((), 1), (("--errors", "replace"), 0), (("--encoding", "latin-1"), 0),
                                               (("--encoding", "nonsense"), 2)])
def test_train_reads_other_encodings(empty: Path, cli: Cli, options: tuple, code: int) -> None:
    Path("notes.txt").write_bytes(Path("notes.txt").read_bytes() + b"caf\xe9")
    answer = cli("train", "notes.txt", *SMALL, "--steps", 2, "--quiet", *options)
    assert answer.code == code
    if code:
        refused(answer, "--encoding")


# What nobody reads, and hints that hold

def test_a_closed_standard_error_does_not_end_a_training(empty: Path, environment: dict[str, str]) -> None:
    options = " ".join(map(str, SMALL))
    command = f'"{sys.executable}" -m charrnn train notes.txt {options} --steps 30 --eval-every 1 2>&1 >out.txt | true'
    subprocess.run(["sh", "-c", command], env=environment, check=True)
    deadline = 100
    while not Path("out.txt").read_text() and deadline:  # the shell waits for the end of the pipe, not of the training
        deadline -= 1
        time.sleep(0.1)
    assert Path("out.txt").read_text().startswith("validation ")
    assert Run.load(RUN / "last.h5").step == 30


def test_what_is_no_whole_run_is_not_said_to_be_resumable(empty: Path, cli: Cli) -> None:
    RUN.mkdir(parents=True)
    (RUN / "metrics.csv").write_text("step\n")
    answer = cli("train", "notes.txt", *SMALL, "--steps", 2)
    refused(answer, "--overwrite")
    assert "charrnn resume" not in answer.err


def test_after_an_early_stop_no_longer_training_is_proposed(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 9, "--eval-every", 1, "--patience", 1, "--learning-rate", 1e-30)
    assert answer.code == 0
    assert "Stopped early" in answer.err
    assert "--steps" not in answer.err


def test_a_moved_corpus_is_remembered(here: Path, cli: Cli) -> None:
    Path("notes.txt").rename("moved.txt")
    assert cli("resume", RUN, "--steps", 13, "--corpus", "moved.txt").code == 0
    assert cli("resume", RUN, "--steps", 14).code == 0
    assert Run.load(RUN / "last.h5").source.names == ("moved.txt",)


def test_evaluate_measures_the_test_part_alone_where_there_is_no_other(empty: Path, cli: Cli) -> None:
    assert cli("train", "notes.txt", *SMALL, "--steps", 2, "--validation", 0, "--test", 0.1).code == 0
    assert re.fullmatch(r"test \d+\.\d{4} nats/char  .*\n", cli("evaluate", RUN).out)


# What a checkpoint from anywhere makes the commands read and print

@pytest.mark.parametrize(("names", "fault"), [
    (("-",), "in no file"), ((), "in no file"), (("big.txt",) * 4, "has more files"), ((".",), "has more files"),
    (("big.txt",), "has changed since the run was started"), (("folder",), "bytes, but the text of this run had"),
    (("secret.txt",), "has changed since the run was started"), (("/proc/self/environ",), "has 0 bytes"),
    (("python-reference",), "has changed since the run was started")], ids=str)
def test_a_checkpoint_makes_no_command_read_what_cannot_be_its_corpus(
        here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], fault: str) -> None:
    """It may name any file or folder; text of another fingerprint is neither kept nor shown."""
    monkeypatch.setenv("CHARRNN_CACHE", str(here / "cache"))
    monkeypatch.setattr("charrnn.text.tokens.SMALL", 64)
    with open("big.txt", "wb") as file:
        file.truncate(2**30)
    run = Run.load(RUN / "last.h5")
    Path("secret.txt").write_text("s" * run.source.bytes)
    Path("folder").mkdir()
    Path("folder", "secret.txt").write_text("secret")
    run.source = run.source._replace(names=names)
    run.save("other.h5")
    refused(cli("evaluate", "other.h5"), fault, "TEXT_FILE")
    refused(cli("resume", "other.h5", "--name", "new"), fault, "--corpus")
    assert not list(here.glob("cache/*"))


def test_what_a_checkpoint_says_does_not_move_the_cursor(here: Path, cli: Cli) -> None:
    run = Run.load(RUN / "last.h5")
    run.environment = {"\x1b[31mred\nline": "\x07x"}
    run.save("other.h5")
    for answer in (cli("resume", "other.h5", "--name", "new", "--steps", 13, "--quiet"), cli("inspect", "other.h5")):
        assert answer.code == 0
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", answer.out + answer.err)


def test_minutes_that_are_over_and_an_unknown_time_are_refused(here: Path, cli: Cli) -> None:
    refused(cli("resume", RUN, "--minutes", 1e-9), "--minutes", "give more")
    shutil.copyfile(RUN / "last.h5", "lone.h5")
    refused(cli("resume", "lone.h5", "--name", "new", "--minutes", 1), "--minutes", "--steps")


def test_a_run_out_of_patience_goes_on_with_more(empty: Path, cli: Cli) -> None:
    short = ("--steps", 9, "--eval-every", 1, "--patience", 1, "--learning-rate", 1e-30)
    assert cli("train", "notes.txt", *SMALL, *short).code == 0
    assert "--patience" in cli("resume", RUN, "--steps", 12).err
    assert Run.load(RUN / "last.h5").step == 2
    assert cli("resume", RUN, "--steps", 12, "--patience", 99).code == 0
    assert Run.load(RUN / "last.h5").step == 12


@pytest.mark.parametrize("words", [("train", "--encoding", "nonsense"), ("evaluate", RUN, "--encoding", "nonsense")])
def test_an_encoding_that_is_none_is_refused_also_where_it_is_not_used(here: Path, cli: Cli, words: tuple) -> None:
    refused(cli(*words), "--encoding")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_before_the_first_step_ends_it_with_its_code(
        empty: Path, environment: dict[str, str], number: int, code: int) -> None:
    command = [sys.executable, "-c", "import sys, charrnn.cli as cli; sys.argv = ['charrnn', 'train', '-']; "
               "print('up', flush=True); cli.main()"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        time.sleep(1)
        process.send_signal(number)
        assert process.wait(20) == code
        assert b"Traceback" not in process.stderr.read()
    assert not Path("checkpoints").exists()
