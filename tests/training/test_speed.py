"""The choice of kernels and precision by a measurement, which is kept and recorded; resuming never measures."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn import Run, TrainConfig
from charrnn.cli._loop import Printer
from charrnn.errors import ConfigError
from charrnn.nn import kernels
from charrnn.nn.parallel import kernels_in
from charrnn.storage.cache import cache_folder
from charrnn.training import speed
from charrnn.training.events import SpeedMeasured, Warned
from charrnn.training.recipe import TYPICAL_SPEED
from charrnn.training.speed import Arithmetic, choose_arithmetic, measure

needs_numba = pytest.mark.skipif(not kernels._numba_is_installed(), reason="numba is not installed (pip install '.[fast]')")
SPEEDS = {"reference": 30e9, "compiled": 60e9, "bfloat16": 120e9}


class Machine:
    """A machine with given speeds; ``measured`` are the names that were measured, ``events`` the events of the choice."""

    def __init__(self) -> None:
        self.speeds = dict(SPEEDS)
        self.measured: list[list[str]] = []
        self.events: list[Any] = []

    def measure(self, names: list[str]) -> dict[str, float]:
        self.measured.append(names)
        return {name: self.speeds[name] for name in names}

    def choose(self, precision: str = "auto", needs_speed: bool = False) -> Arithmetic:
        return choose_arithmetic(TrainConfig(precision=precision), needs_speed, self.events.append, self.events.append)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Return a machine with compiled kernels, bfloat16 and an empty cache."""
    made = Machine()
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(speed, "measure", made.measure)
    monkeypatch.setattr(speed, "reporting_compilation", lambda report: nullcontext())
    monkeypatch.setattr(kernels, "_numba_is_installed", lambda: True)
    monkeypatch.setattr(kernels, "_fault_of_numba", lambda: None)
    monkeypatch.setattr(kernels, "_kernels_with_bfloat16", lambda: ("compiled",))
    return made


@pytest.mark.parametrize(("speeds", "precision", "kernels_name", "resolved"), [
    ({}, "auto", "compiled", "bfloat16"),
    ({}, "float32", "compiled", "float32"),
    ({}, "bfloat16", "compiled", "bfloat16"),
    ({"reference": 200e9}, "auto", "reference", "float32"),
    ({"reference": 70e9}, "float32", "reference", "float32"),
    ({"reference": 200e9}, "bfloat16", "compiled", "bfloat16"),
    ({"bfloat16": 62e9}, "auto", "compiled", "float32"),
    ({"bfloat16": 64e9}, "auto", "compiled", "bfloat16"),
    ({"bfloat16": 20e9}, "auto", "compiled", "float32"),
])
def test_the_fastest_is_chosen(machine: Machine, speeds: dict[str, float], precision: str, kernels_name: str, resolved: str
                               ) -> None:
    machine.speeds.update(speeds)
    found = machine.choose(precision)
    assert (found.kernels, found.precision) == (kernels_name, resolved)
    if machine.measured:
        assert found.speed == machine.speeds["bfloat16" if resolved == "bfloat16" else kernels_name]


def test_a_processor_without_bfloat16_is_not_asked_for_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_kernels_with_bfloat16", lambda: ())
    assert machine.choose() == Arithmetic("compiled", "float32", 60e9)
    assert machine.measured == [["reference", "compiled"]]
    with pytest.raises(ConfigError, match="precision: cannot be bfloat16 here"):
        machine.choose("bfloat16")


@pytest.mark.parametrize(("variable", "precision", "expected", "measured"), [
    ("reference", "auto", Arithmetic("reference", "float32", 30e9), ["reference"]),
    ("compiled", "float32", Arithmetic("compiled", "float32", 60e9), ["compiled"]),
    ("compiled", "auto", Arithmetic("compiled", "bfloat16", 120e9), ["compiled", "bfloat16"]),
])
def test_the_environment_variable_overrides_the_measurement(
        machine: Machine, monkeypatch: pytest.MonkeyPatch, variable: str, precision: str, expected: Arithmetic,
        measured: list[str]) -> None:
    machine.speeds["reference"] = 30e9 if variable == "reference" else 1e15
    monkeypatch.setenv("CHARRNN_KERNELS", variable)
    monkeypatch.setattr(kernels, "_kernels_with_bfloat16", lambda: ("compiled",) if variable == "compiled" else ())
    assert machine.choose(precision, needs_speed=True) == expected
    assert machine.measured == [measured]


def test_nothing_is_measured_if_there_is_no_choice_and_the_speed_is_not_needed(
        machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_KERNELS", "reference")
    monkeypatch.setattr(kernels, "_kernels_with_bfloat16", lambda: ())
    assert machine.choose() == Arithmetic("reference", "float32", TYPICAL_SPEED)
    assert not machine.measured
    assert not machine.events


def test_a_measurement_is_kept_and_reported_once(machine: Machine) -> None:
    first = machine.choose()
    assert machine.choose() == machine.choose("auto", needs_speed=True) == first
    assert machine.measured == [["reference", "compiled", "bfloat16"]]
    assert machine.events == [SpeedMeasured(SPEEDS)]
    ((description, speeds),) = json.loads((cache_folder() / "speed.json").read_text()).items()
    assert np.__version__ in description
    assert speeds == SPEEDS


def test_only_what_is_missing_is_measured(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.choose("float32")
    machine.choose("auto")
    assert machine.measured == [["reference", "compiled"], ["bfloat16"]]
    monkeypatch.setattr(speed, "_machine", lambda: "another")
    machine.choose("float32")
    assert machine.measured[2:] == [["reference", "compiled"]]
    assert len(json.loads((cache_folder() / "speed.json").read_text())) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b'{"a": 3}', b'{"a": {"reference": "fast"}}',
                                     b'{"a": {"reference": 0.0}}', b'{"a": {"reference": NaN}}',
                                     b'{"a": {"reference": 1}}', b'{"a": {"other": 1.0}}', b"[" * 100_000])
def test_a_damaged_file_is_measured_again(machine: Machine, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_machine", lambda: "a")
    cache_folder().mkdir()
    (cache_folder() / "speed.json").write_bytes(content)
    assert machine.choose("float32").kernels == "compiled"
    assert len(machine.measured) == 1
    assert json.loads((cache_folder() / "speed.json").read_text()) == {"a": {"reference": 30e9, "compiled": 60e9}}


def test_a_cache_that_cannot_be_written_is_no_error(machine: Machine) -> None:
    cache_folder().write_text("a file, not a folder")
    for _ in range(2):
        assert machine.choose("float32").speed == 60e9
    assert len(machine.measured) == 1, "the process remembers it"
    *_, warned = machine.events
    assert isinstance(warned, Warned)
    assert warned.message.endswith("speed.json: cannot be written (Not a directory), so charrnn will measure the "
                                   "speed of this machine again next time")
    assert len(machine.events) == 2


@needs_numba
def test_the_speed_of_each_kind_of_kernels_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    monkeypatch.setattr(speed, "_SECONDS", 0.0)
    monkeypatch.setattr(kernels, "_kernels_with_bfloat16", lambda: ("compiled",))
    used = []
    monkeypatch.setattr(speed.Team, "loss_and_gradients",
                        lambda team, *_: used.append((team.model.kernels, team.model.bfloat16)))
    clock = iter(range(10**6))
    monkeypatch.setattr(speed.time, "process_time", lambda: next(clock) / 2)  # each step takes half a second
    found = measure(["reference", "compiled", "bfloat16"])
    assert set(used) == {("reference", False), ("compiled", False), ("compiled", True)}
    operations = 6 * (4 * 256 * 256 + 256 * 65) * 32 * 64
    assert set(found.values()) == {operations / 0.5}


def test_the_line_about_the_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    with Printer(quiet=False) as printer:
        printer(SpeedMeasured(SPEEDS))
    assert capsys.readouterr().err == ("Speed of this machine (measured once), GFLOP/s per core: 30 with NumPy, "
                                       "60 with compiled kernels, 120 in bfloat16\n")


# Runs

def train(text: str, **settings: Any) -> tuple[Run, list[Any]]:
    """Train a small run; return it and its events."""
    events: list[Any] = []
    values = {"steps": 3, "hidden_size": 8, "batch_size": 2, "seq_len": 8, "name": "a", "checkpoints": "runs", **settings}
    run = charrnn.train(charrnn.Corpus.from_text(text, ["notes.txt"]), on_event=events.append, start_from="none", **values)
    return run, events


def test_a_run_uses_and_records_what_was_measured(
        machine: Machine, make_text: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    machine.speeds["reference"] = 500e9
    run, events = train(make_text(400))
    assert SpeedMeasured({**SPEEDS, "reference": 500e9}) in events
    assert kernels_in(run.environment) == run.model.network.kernels == run.optimizer.kernels == "reference"
    assert run.config.precision == "float32"


def test_a_resumed_run_uses_its_record(
        machine: Machine, make_text: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    machine.speeds["reference"] = 500e9
    text = make_text(400)
    train(text)
    machine.measured.clear()
    machine.speeds["reference"] = 1e9
    (cache_folder() / "speed.json").unlink()
    events: list[Any] = []
    run = charrnn.resume("runs/a", corpus=charrnn.Corpus.from_text(text, ["notes.txt"]), steps=5, on_event=events.append)
    assert not machine.measured
    assert not [event for event in events if isinstance(event, Warned)]
    assert kernels_in(run.environment) == run.model.network.kernels == "reference"
