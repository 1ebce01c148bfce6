"""Runs whose products are in bfloat16: resuming, machines without it, evaluation, the command line.

The kernels of these tests round to bfloat16 on every processor; "supported" simulates one that does it with an instruction.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn import Corpus, Run
from charrnn.cli._loop import Printer
from charrnn.errors import ConfigError, RunError
from charrnn.nn import kernels
from charrnn.training import speed
from charrnn.training.events import PlanFixed, RunMade, Warned
from charrnn.training.sweep import combinations, sweep

Start = Callable[..., Run]
Take = Callable[..., list]

BOTH = pytest.mark.parametrize("kind", ["reference", pytest.param("compiled", marks=pytest.mark.skipif(
    not kernels._numba_is_installed(), reason="numba is not installed (pip install '.[fast]')"))])


@pytest.fixture
def supported(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Simulate a processor with bfloat16, for the kernels ``kind``."""
    monkeypatch.setenv("CHARRNN_KERNELS", kind)
    monkeypatch.setattr(kernels, "_kernels_with_bfloat16", lambda: (kind,))
    monkeypatch.setattr(speed, "measure", lambda names: {name: 60e9 * (1 + (name == "bfloat16")) for name in names})


@pytest.fixture
def unsupported(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that simulates moving to a processor without bfloat16."""
    return lambda: monkeypatch.setattr(kernels, "_kernels_with_bfloat16", lambda: ())


@BOTH
@pytest.mark.usefixtures("supported")
def test_auto_is_resolved_when_a_run_starts(start: Start, unsupported: Callable[[], None]) -> None:
    run = start()
    assert run.config.precision == "bfloat16"
    assert run.model.network.bfloat16
    run = start(precision="float32")
    assert run.config.precision == "float32"
    assert not run.model.network.bfloat16
    assert start(dtype="float64").config.precision == "float32"
    unsupported()
    assert start().config.precision == "float32"
    with pytest.raises(ConfigError, match="precision: cannot be bfloat16 here"):
        start(precision="bfloat16")


@BOTH
@pytest.mark.parametrize("settings", [{}, {"threads": 2, "batch_size": 5}, {"cell": "gru", "layers": 2, "dropout": 0.3},
                                      {"cell": "rnn", "weight_drop": 0.3, "hidden_size": 17}], ids=str)
@pytest.mark.usefixtures("supported")
def test_a_run_is_resumed_exactly(start: Start, take: Take, to_file: Callable[[Run], bytes], tmp_path: Path,
                                  settings: dict[str, Any]) -> None:
    whole = start(**settings)
    losses = [step.loss for step in take(whole)]
    half = start(**settings)
    first = [step.loss for step in take(half, 3)]
    half.save(tmp_path / "half.h5")
    rest = Run.load(tmp_path / "half.h5")
    assert rest.model.network.bfloat16
    assert first + [step.loss for step in take(rest)] == losses
    assert to_file(rest) == to_file(whole)
    exact = start(**settings, precision="float32")
    assert [step.loss for step in take(exact)] != losses
    assert to_file(whole.copy()) == to_file(whole)
    assert whole.copy().model.network.bfloat16


@BOTH
@pytest.mark.usefixtures("supported")
def test_without_bfloat16_a_run_continues_in_float32_and_says_so(
        make_text: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unsupported: Callable[[], None],
        kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = Corpus.from_text(make_text(400), ["notes.txt"])
    settings: dict[str, Any] = {"hidden_size": 8, "batch_size": 3, "seq_len": 8, "threads": 1, "start_from": "none"}
    run = charrnn.train(corpus, steps=3, name="a", **settings)
    assert run.config.precision == "bfloat16"
    before = run.model.network.parameters.flat.copy()
    unsupported()
    events: list[Any] = []
    moved = charrnn.resume("checkpoints/a", corpus=corpus, steps=5, on_event=events.append)
    warnings = [event.message for event in events if isinstance(event, Warned)]
    assert warnings == ["products in bfloat16 are not supported here; the run continues in float32"]
    assert moved.config.precision == "float32"
    assert not moved.model.network.bfloat16
    assert not np.array_equal(moved.model.network.parameters.flat, before)
    events.clear()
    again = charrnn.resume("checkpoints/a", corpus=corpus, steps=6, on_event=events.append)
    assert not [event for event in events if isinstance(event, Warned)]
    assert again.config.precision == "float32"


@BOTH
@pytest.mark.usefixtures("supported")
def test_a_saved_run_takes_the_same_steps_in_float32_without_bfloat16(
        start: Start, take: Take, tmp_path: Path, unsupported: Callable[[], None]) -> None:
    run = start()
    take(run, 2)
    run.save(tmp_path / "run.h5")
    unsupported()
    moved, same = Run.load(tmp_path / "run.h5"), Run.load(tmp_path / "run.h5")
    same.model.network.bfloat16 = False
    assert [step.loss for step in take(moved)] == [step.loss for step in take(same)]


@BOTH
@pytest.mark.usefixtures("supported")
def test_evaluation_is_in_float32(start: Start, take: Take) -> None:
    run = start(validation=0.3)
    take(run, 2)
    losses = []
    for run.model.network.bfloat16 in (True, False):
        losses.append(charrnn.Trainer(run, run_corpus(run)).evaluate().nats)
    assert losses[0] == losses[1]


def run_corpus(run: Run) -> Corpus:
    """Return a text in the characters of a run whose digest is that of the run's text."""
    corpus = Corpus.from_text(run.model.vocabulary.decode(np.arange(400) % len(run.model.vocabulary)))
    run.source = run.source._replace(fingerprint=corpus.fingerprint)
    return corpus


@BOTH
@pytest.mark.usefixtures("supported")
def test_the_command_line(make_text: Callable[..., str], cli: Callable[..., Any], tmp_path: Path,
                          monkeypatch: pytest.MonkeyPatch, unsupported: Callable[[], None]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text(make_text(400), encoding="utf-8")
    small = ("--from", "none", "--hidden-size", 8, "--batch-size", 3, "--seq-len", 8, "--threads", 1, "--steps", 3)
    assert cli("train", "notes.txt", *small, "--name", "a").code == 0
    shown = cli("inspect", "checkpoints/a").out
    assert re.search(r"\bprecision +bfloat16\n", shown)
    assert "--precision bfloat16" in shown
    assert cli("train", "notes.txt", *small, "--name", "b", "--precision", "float32").code == 0
    assert "--precision float32" in cli("inspect", "checkpoints/b").out
    unsupported()
    answer = cli("train", "notes.txt", *small, "--name", "c", "--precision", "bfloat16")
    assert answer.code == 2
    assert answer.err == ("Error: Invalid value for '--precision': cannot be bfloat16 here: this needs compiled kernels, "
                          "weights in float32 and a processor with AVX512-BF16; use auto\n")
    assert "are not supported here; the run continues in float32\n" in cli("resume", "checkpoints/a", "--steps", 5).err


@BOTH
@pytest.mark.usefixtures("supported")
def test_a_model_of_float64_is_trained_in_float64(start: Start, make_text: Callable[..., str], tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start(dtype="float64").save(tmp_path / "old.h5")
    run = charrnn.train(Corpus.from_text(make_text(400)), steps=2, batch_size=3, seq_len=8, threads=1, name="a",
                        start_from=tmp_path / "old.h5")
    assert (run.model.network.dtype, run.config.precision) == (np.float64, "float32")


@BOTH
@pytest.mark.usefixtures("supported")
def test_a_sweep_chooses_the_precision_and_continues_elsewhere(
        corpus: Corpus, tmp_path: Path, unsupported: Callable[[], None]) -> None:
    def train(**settings: Any) -> list[tuple[str, Any]]:
        small = {"batch_size": 3, "seq_len": 8, "threads": 1, "samples": False, **settings}
        todo = combinations({"hidden_size": [4, 5]}, {}, small)
        return [(Run.load(tmp_path / each.combination.name).config.precision, each.error)
                for each in sweep(corpus, todo, tmp_path)]

    assert train(steps=2) == [("bfloat16", None)] * 2
    unsupported()
    assert train(steps=2) == [("bfloat16", None)] * 2
    with pytest.raises(RunError, match="other settings"):
        train(steps=2, precision="float32")


@pytest.mark.parametrize("kind", ["compiled"])
@pytest.mark.usefixtures("supported")
def test_the_command_that_repeats_a_run_names_bfloat16(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    for settings, option in (({}, " --precision bfloat16"), ({"precision": "float32"}, "")):
        run = start(minutes=1.0, **settings)
        with Printer(quiet=False) as printer:
            printer(RunMade(run, 3))
            printer(PlanFixed(1.0, 5, None))
        assert capsys.readouterr().err.endswith(f"1 minute: the same as --from none{option} --steps 5\n")
