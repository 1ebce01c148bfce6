"""The commands ``train`` and ``resume``: their output about a run, and their errors."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn import Corpus, ModelConfig, Run, TrainConfig
from charrnn.cli._loop import Printer, _advice, _memorizes, counted
from charrnn.training.events import CompilationStarted, PlanFixed, Saved, Warned
from charrnn.training.run_lock import RunLock
from charrnn.training.schema import Record

Cli = Callable[..., Any]

SMALL = ("--hidden-size", 8, "--batch-size", 3, "--seq-len", 8, "--threads", 1)
RUN = Path("checkpoints/notes-lnlstm-8")
RESULT = r"validation \d\.\d{4} nats/char  \d\.\d{3} bits/char  perplexity \d+\.\d\d  \(carried, 1 stream\)\n"


@pytest.mark.parametrize(("number", "shown"), [
    (0, "0 steps"), (1, "1 step"), (1.0, "1 step"), (2, "2 steps"), (1.0001, "1 step"), (0.525, "0.525 steps"),
    (12.345, "12.3 steps"), (999.4, "999 steps"), (1148.2, "1,148 steps"), (2000, "2,000 steps"), (1e6, "1,000,000 steps"),
])
def test_a_number_has_its_noun_in_the_right_form(number: float, shown: str) -> None:
    assert counted(number, "step") == shown


def test_the_length_of_training_is_shown_in_plain_numbers(notes: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", "--hidden-size", 4, "--batch-size", 1, "--seq-len", 300, "--steps", 1)
    assert "\n1 step of 1 x 300 characters, 1 epoch, 1 thread\n" in answer.err
    answer = cli("train", "notes.txt", "--hidden-size", 4, "--batch-size", 9, "--seq-len", 300, "--steps", 1500,
                 "--name", "a", "--level", "byte", "--validation", 0)
    assert "The text is short: 1 stream in parallel instead of 9\n" in answer.err
    assert "\n1,500 steps of 1 x 300 bytes, 1,500 epochs, 1 thread\n" in answer.err


def test_a_finished_run_is_reported_on_one_line_with_the_result(notes: Path, cli: Cli) -> None:
    first = cli("train", "notes.txt", *SMALL, "--steps", 4)
    answer = cli("resume", RUN)
    assert answer.err == f"Already finished, at step 4. Train longer: charrnn resume {RUN} --steps 8\n"
    assert (answer.code, answer.out) == (0, first.out)
    assert re.fullmatch(RESULT, answer.out)
    quiet = cli("resume", RUN, "--quiet")
    assert (quiet.out, quiet.err) == (first.out, "")
    assert cli("resume", RUN / "best.h5").err == answer.err


def test_a_run_that_stopped_early_is_reported_on_one_line(notes: Path, cli: Cli) -> None:
    cli("train", "notes.txt", *SMALL, "--steps", 500, "--eval-every", 1, "--patience", 2, "--learning-rate", 5)
    run = Run.load(RUN)
    best = run.best_record.step
    answer = cli("resume", RUN)
    assert answer.err == (f"Stopped early at step {run.step} of 500: no improvement in 2 evaluations since step {best}. "
                          f"Train longer: charrnn resume {RUN} --patience 4\n")
    assert "Warning: this run does not continue, because it is out of patience (--patience 2); raise --patience\n" in cli(
        "resume", RUN, "--steps", 600).err
    assert cli("resume", RUN, "--patience", 4).code == 0
    assert Run.load(RUN).step > run.step


def test_an_interval_of_evaluations_follows_a_longer_plan_or_is_set(notes: Path, cli: Cli) -> None:
    cli("train", "notes.txt", *SMALL, "--steps", 4)
    assert cli("resume", RUN, "--steps", 40).err.count("validation") == 18
    assert [record.step for record in Run.load(RUN).history] == [1, 2, 3, 4, *range(6, 41, 2)]
    cli("resume", RUN, "--steps", 60, "--eval-every", 10)
    assert [record.step for record in Run.load(RUN).history][-3:] == [40, 50, 60]


def test_what_a_resumed_run_needs_is_named_by_its_option(notes: Path, cli: Cli) -> None:
    cli("train", "notes.txt", *SMALL, "--steps", 4)
    notes.rename("moved.txt")
    answer = cli("resume", RUN, "--steps", 6)
    assert answer.code == 1
    assert answer.err.startswith("Error: notes.txt: no such file; ")
    assert answer.err.endswith("if the text was moved, pass it as --corpus\n")
    answer = cli("resume", RUN, "--steps", 6, "--encoding", "latin-1")
    assert answer.code == 2
    assert answer.err == ("Error: Invalid value for '--encoding': applies only to a text that is passed as --corpus; pass "
                          "--corpus too\n")
    assert cli("resume", RUN, "--steps", 6, "--corpus", "moved.txt", "--encoding", "utf-8").code == 0


def test_a_run_that_another_process_trains_is_refused(notes: Path, cli: Cli) -> None:
    cli("train", "notes.txt", *SMALL, "--steps", 4)
    with RunLock(RUN):
        for command in (("resume", RUN, "--steps", 9), ("train", "notes.txt", *SMALL, "--overwrite")):
            answer = cli(*command)
            assert (answer.code, answer.out) == (1, "")
            assert answer.err.startswith(f"Error: {RUN}: process {os.getpid()} on ")
            assert answer.err.endswith(" is training this run; wait until it has finished, or stop it\n")
        for command in (("sample", RUN, "--length", 5), ("evaluate", RUN), ("inspect", RUN)):
            assert cli(*command).code == 0
            assert ".lock" not in cli(*command).out
    assert cli("resume", RUN, "--steps", 9).code == 0


SIGNALLED = """
import os, signal, sys
from charrnn.training.trainer import Trainer
take = Trainer.step
def step(self):
    for at, number in {signals}:
        if self.run.step + 1 == at:
            os.kill(os.getpid(), number)
    return take(self)
Trainer.step = step
from charrnn.cli import main
main()
"""


@pytest.mark.parametrize("is_ignored", [False, True])
def test_a_hangup_saves_and_stops_unless_it_is_ignored(
        notes: Path, environment: dict[str, str], is_ignored: bool) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if is_ignored else signal.SIG_DFL)

    signals = [(3, int(signal.SIGHUP)), (3, int(signal.SIGHUP))]
    done = subprocess.run([sys.executable, "-c", SIGNALLED.format(signals=signals), "train", "notes.txt", *map(str, SMALL),
                           "--steps", "9"], env=environment, capture_output=True, text=True, preexec_fn=ignore)
    if is_ignored:
        assert (done.returncode, Run.load(RUN).step) == (0, 9)
    else:
        assert (done.returncode, done.stdout) == (128 + signal.SIGHUP, "")
        assert done.stderr.endswith(f"Stopped after step 3 of 9 and saved. Resume with: charrnn resume {RUN}\n")
        assert Run.load(RUN).step == 3
    assert not (RUN / ".lock").exists()


def test_a_request_to_save_is_answered(notes: Path, python: Cli) -> None:
    program = SIGNALLED.format(signals=[(3, int(signal.SIGUSR1))])
    answer = python("-c", program, "train", "notes.txt", *SMALL, "--steps", 9)
    assert answer.code == 0
    assert answer.err.count("Saved after step 3\n") == 1


@pytest.mark.parametrize(("quiet", "lines"), [
    (False, ["Compiling the kernels for this machine (only the first time)", "1 minute: the same as --from none --steps 5",
             "Saved after step 5", "Warning: lower --clip-norm, or pass --overwrite"]),
    (True, ["Warning: lower --clip-norm, or pass --overwrite"])])
def test_events_are_lines(capsys: pytest.CaptureFixture[str], quiet: bool, lines: list[str]) -> None:
    with Printer(quiet) as printer:
        for event in (CompilationStarted(), PlanFixed(1.0, 5, None), Saved(5),
                      Warned("lower `clip_norm`, or pass `overwrite=True`")):
            printer(event)
    assert capsys.readouterr().err.splitlines() == lines


@pytest.mark.parametrize(("has_numba", "kernels", "quiet", "said"), [
    (False, "", (), 1), (False, "", ("--quiet",), 0), (False, "reference", (), 0), (True, "reference", (), 0)])
def test_numba_is_recommended_to_a_new_run_if_it_is_missing(
        notes: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, has_numba: bool, kernels: str, quiet: tuple[str, ...],
        said: int) -> None:
    monkeypatch.setenv("CHARRNN_KERNELS", kernels)
    monkeypatch.setattr("charrnn.cli._loop.find_spec", lambda name: object() if has_numba else None)
    answer = cli("train", "notes.txt", *SMALL, "--steps", 2, *quiet)
    assert answer.code == 0
    assert answer.err.count("Training is about 1.5 times as fast with numba: pip install numba\n") == said
    assert "numba" not in cli("resume", RUN, "--steps", 3).err, "a resumed run keeps its kernels"


# What may help a model that is worse than the baseline

SHORT_TEXT = "the quick brown fox jumps over the lazy dog, and then it sleeps\n" * 6


@pytest.mark.parametrize(("settings", "advice"), [
    (("--learning-rate", 1000, "--weight-decay", 0, "--steps", 20), "lower --learning-rate"),
    (("--steps", 2), "train longer, or choose a larger --hidden-size"),
])
def test_the_advice_suits_the_fault(notes: Path, cli: Cli, settings: tuple[Any, ...], advice: str) -> None:
    answer = cli("train", "notes.txt", *SMALL, *settings, "--no-recover")
    assert f" worse; {advice}\n" in answer.err


@pytest.mark.parametrize(("losses", "smoothed", "memorizes"), [
    ((3.0, 2.0, 2.5), 1.0, True), ((3.0, 2.5, 2.0), 1.0, False), ((3.0, 2.0, 2.5), 2.2, False), ((), 1.0, False)])
def test_a_model_memorizes_if_its_validation_loss_has_risen_above_the_best(
        losses: tuple[float, ...], smoothed: float, memorizes: bool) -> None:
    run = Run.start(Corpus.from_text(SHORT_TEXT), ModelConfig(hidden_size=4), TrainConfig(steps=9, batch_size=2, seq_len=8))
    run.history = [Record(step, 1.0, loss) for step, loss in enumerate(losses, 1)]
    run.smoothed_loss = smoothed
    assert _memorizes(run) is memorizes
    if memorizes:
        assert _advice(run, 2.0, 20).startswith("it memorizes its training text: raise --dropout")


def test_minutes_name_all_options_of_the_same_run(notes: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", "--from", "none", "--batch-size", 2, "--seq-len", 8, "--minutes", 0.01)
    (chosen,) = re.findall(r"Chosen for .*: (--.*)", answer.err)
    assert re.search(rf"the same as --from none (--precision bfloat16 )?--steps \d+.* {chosen}\n", answer.err)
