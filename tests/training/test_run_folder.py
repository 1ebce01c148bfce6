"""charrnn.training.run_folder"""

from __future__ import annotations

import contextlib
import csv
import errno
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from charrnn import Corpus, Run, Trainer
from charrnn.errors import CharRNNError, ConfigError, RunError
from charrnn.inference.locate import LAST, checkpoint_at
from charrnn.mpi import Ranks
from charrnn.storage import atomic
from charrnn.training import keeper as keeper_module
from charrnn.training.events import Warned
from charrnn.training.keeper import Keeper
from charrnn.training.metrics_table import MetricsTable
from charrnn.training.run_folder import Inherited, RunFolder, inherit
from charrnn.training.run_lock import RunLock
from charrnn.training.signals import StopSignals

HOST = atomic.owner().partition("-")[0]

Start = Callable[..., Run]


class Killed(BaseException):
    """Raised instead of ending the process."""


def keep(run: Run, corpus: Corpus, folder: RunFolder, stop_at: int | None = None, worse_after: int | None = None,
         new: Inherited | None = None) -> tuple[Keeper, list[str]]:
    """Train a run in its folder, with a signal in the step ``stop_at`` or after it; return the keeper and its warnings.

    After the step ``worse_after`` the learning rate is so high that the loss only gets worse. A run before its first step
    is saved as a new run.
    """
    stop, warnings = StopSignals(), []
    trainer = Trainer(run, corpus)
    take = trainer.step

    def step() -> Any:
        if run.step + 1 == stop_at:
            stop.received = signal.SIGINT
        if run.step == worse_after:
            run.config = replace(run.config, learning_rate=1000.0)
        return take()

    if run.step == stop_at:
        stop.received = signal.SIGINT
    trainer.step = step
    keeper = Keeper(run, trainer, folder,
                    lambda event: warnings.append(event.message) if isinstance(event, Warned) else None,
                    new or (None if run.step else Inherited()))
    keeper.train(stop)
    return keeper, warnings


def rows(folder: RunFolder) -> list[tuple[str, ...]]:
    """Return the rows of the table, without times and speeds."""
    with folder.metrics.open(newline="") as file:
        return [tuple(value for name, value in row.items() if name not in ("seconds", "characters_per_second"))
                for row in csv.DictReader(file)]


def state(folder: RunFolder) -> tuple[bytes, bytes | None, list, bytes, dict[str, bytes]]:
    return (folder.last.read_bytes(), folder.best.read_bytes() if folder.best.exists() else None, rows(folder),
            folder.samples.read_bytes(), {path.name: path.read_bytes() for path in folder.kept()})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir(parents=True)
    return folder


# Names

@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/a", "a/", "a\0b"])
def test_a_name_that_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name: "):
        RunFolder.at(tmp_path, name)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["notes-lstm-256", "two words", "é", "a.b", "..."])
def test_any_name_of_one_folder_is_accepted_and_nothing_is_created(tmp_path: Path, name: str) -> None:
    folder = RunFolder.at(tmp_path / "checkpoints", name)
    assert folder.path == tmp_path / "checkpoints" / name
    assert not os.listdir(tmp_path)
    with RunLock(folder.path):
        assert folder.path.is_dir()
        assert not folder.exists()


@pytest.mark.parametrize("file", ["best.h5", "last.h5", "metrics.csv", "samples.jsonl"])
def test_a_folder_with_a_run_is_refused_and_not_changed(tmp_path: Path, file: str) -> None:
    path = tmp_path / "run"
    path.mkdir()
    for name in (file, "notes.txt"):
        (path / name).write_text("kept")
    folder = RunFolder.at(tmp_path, "run")
    with pytest.raises(RunError, match=f"{path}: already contains a run; choose another name, or replace it with over"):
        folder.refuse_run(lambda source: True)
    assert (path / file).read_text() == "kept"
    with RunLock(folder.path):
        pass
    assert (path / file).read_text() == "kept"
    assert sorted(os.listdir(path)) == sorted([file, "notes.txt"])


def test_a_run_that_is_replaced_stays_complete_until_the_new_one_is_saved(
        start: Start, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir(parents=True)
    keep(start(steps=4, eval_every=2), corpus, folder)
    before = state(folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", raise_no_space)
        with pytest.raises(RunError, match="cannot be saved"):
            keep(start(steps=4, eval_every=2, seed=2), corpus, folder)
    assert state(folder) == before
    keep(start(steps=3, eval_every=9, validation=0), corpus, folder)
    assert not folder.best.exists()
    assert Run.load(folder.last).step == 3
    assert [int(row["step"]) if isinstance(row, dict) else int(row[0]) for row in rows(folder)] == [1, 2, 3]


def raise_no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_instead_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("kept")
    with pytest.raises(RunError, match="is a file"):
        RunFolder.at(tmp_path, "run")
    with pytest.raises(RunError, match="is not a folder"):
        RunFolder.at(tmp_path / "run", "name")
    assert (tmp_path / "run").read_text() == "kept"


# Finding a checkpoint

def test_a_folder_gives_the_preferred_checkpoint_or_else_the_other(tmp_path: Path) -> None:
    best, last = tmp_path / "best.h5", tmp_path / "last.h5"
    last.touch()
    assert checkpoint_at(tmp_path) == checkpoint_at(tmp_path, LAST) == last
    best.touch()
    assert (checkpoint_at(tmp_path), checkpoint_at(tmp_path, LAST)) == (best, last)
    last.unlink()
    assert checkpoint_at(tmp_path, LAST) == best


def test_a_file_is_used_as_it_is(tmp_path: Path) -> None:
    for name in ("best.h5", "last.h5", "state.h5"):
        (tmp_path / name).touch()
        assert checkpoint_at(tmp_path / name) == checkpoint_at(tmp_path / name, LAST) == tmp_path / name


def test_a_path_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run or checkpoint"):
        checkpoint_at(tmp_path / "missing")
    with pytest.raises(RunError, match="neither best"):
        checkpoint_at(tmp_path)


def test_the_folder_of_a_checkpoint_is_found_by_the_name_of_the_file(tmp_path: Path) -> None:
    assert RunFolder.of(tmp_path).path == tmp_path
    assert RunFolder.of(tmp_path / "best.h5").path == tmp_path
    assert RunFolder.of(tmp_path / "last.h5").path == tmp_path
    assert RunFolder.of(tmp_path / "step-120.h5").path == tmp_path
    for name in ("state.h5", "step-.h5", "step-1x.h5", "step-01.h5"):
        assert RunFolder.of(tmp_path / name) is None


# Training in a folder

def test_training_writes_best_last_and_a_row_for_each_step(start: Start, corpus: Corpus, folder: RunFolder) -> None:
    run = start(steps=7, eval_every=3)
    keep(run, corpus, folder)
    assert sorted(os.listdir(folder.path)) == ["best.h5", "last.h5", "metrics.csv", "samples.jsonl"]
    assert Run.load(folder.last).step == 7
    assert Run.load(folder.best).step == run.best_record.step
    assert [int(row[0]) for row in rows(folder)] == [1, 2, 3, 4, 5, 6, 7]
    assert [float(row[3]) for row in rows(folder) if row[3]] == [
        pytest.approx(record.validation_loss, abs=1e-6) for record in run.history]


def test_best_is_the_state_at_the_best_evaluation(start: Start, corpus: Corpus, folder: RunFolder) -> None:
    run = start(steps=6, eval_every=1)
    keep(run, corpus, folder, worse_after=3)
    best = Run.load(folder.best)
    assert best.step == run.best_record.step <= 3
    assert Trainer(best, corpus).evaluate().nats == run.best_record.validation_loss


def test_without_validation_there_is_no_best_state(start: Start, corpus: Corpus, folder: RunFolder) -> None:
    keep(start(validation=0), corpus, folder)
    assert sorted(os.listdir(folder.path)) == ["last.h5", "metrics.csv", "samples.jsonl"]


def test_the_checkpoints_of_the_last_evaluations_are_kept(start: Start, corpus: Corpus, folder: RunFolder) -> None:
    keep(start(steps=7, eval_every=2, keep=2), corpus, folder)
    assert [path.name for path in folder.kept()] == ["step-6.h5", "step-7.h5"]
    assert folder.at_step(7).read_bytes() == folder.last.read_bytes()
    run = Run.load(folder.at_step(6))
    assert (run.step, run.folder) == (6, folder.path)
    other = RunFolder(folder.path.parent / "other")
    other.path.mkdir()
    keep(run, corpus, other, new=inherit(run, folder))
    assert state(other)[:4] == state(folder)[:4]
    keep(start(steps=3, eval_every=2), corpus, folder)
    assert folder.kept() == []


def test_only_evaluations_are_kept_in_the_order_of_their_steps(start: Start, corpus: Corpus, folder: RunFolder) -> None:
    for name in ("step-x.h5", "step-07.h5"):
        (folder.path / name).touch()
    keep(start(steps=11, eval_every=3, checkpoint_every=1, keep=2), corpus, folder)
    assert [path.name for path in folder.kept()] == ["step-9.h5", "step-11.h5"]
    keep(start(steps=11, eval_every=3, checkpoint_every=1, keep=9), corpus, folder)
    assert {path.name for path in folder.path.glob("step-*")} == {
        "step-x.h5", "step-07.h5", "step-3.h5", "step-6.h5", "step-9.h5", "step-11.h5"}


def killed_at(patch: pytest.MonkeyPatch, moment: int) -> None:
    """Kill the process at call number ``moment`` of ``fsync``, counted from 0."""
    moments = iter(range(moment))

    def fsync(_: int) -> None:
        if next(moments, None) is None:
            raise Killed

    patch.setattr(os, "fsync", fsync)


NEVER = 10**9
STOPS = st.lists(st.tuples(st.sampled_from(["signal", "killed"]), st.integers(0, 14)), min_size=1, max_size=4)


@hypothesis_settings(max_examples=15)
@given(stops=STOPS, steps=st.integers(1, 12), eval_every=st.integers(1, 6), validation=st.sampled_from([0.0, 0.2]),
       minutes=st.sampled_from([5, 1e-9]), rate=st.sampled_from([0.01, 2.0]), kept=st.sampled_from([0, 2]),
       sample_every=st.sampled_from([None, 3]))
def test_a_run_that_is_stopped_at_any_moment_and_resumed_ends_in_the_same_files(
        start: Start, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory, stops: list, steps: int, eval_every: int,
        validation: float, minutes: float, rate: float, kept: int, sample_every: int | None) -> None:
    values = {"steps": steps, "eval_every": eval_every, "validation": validation, "learning_rate": rate, "warmup": 0,
              "checkpoint_minutes": minutes, "keep": kept, "sample_every": sample_every}
    whole, cut = (RunFolder(tmp_path_factory.mktemp("run")) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, NEVER)
        keep(start(**values), corpus, whole)
        for how, moment in [*stops, ("signal", 0)]:
            killed_at(patch, moment if how == "killed" else NEVER)
            run = Run.load(cut.last) if cut.last.exists() else start(**values)
            try:
                keep(run, corpus, cut, run.step + moment if how == "signal" and moment else None)
            except Killed:
                pass
            else:
                assert Run.load(cut.last).step == run.step  # after a signal or at the end, everything is saved
    assert state(cut) == state(whole)


def test_a_run_that_is_killed_at_any_write_and_resumed_ends_in_the_same_files(
        start: Start, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = RunFolder(tmp_path / "whole")
    whole.path.mkdir()
    killed_at(monkeypatch, NEVER)
    keep(start(steps=6, eval_every=2), corpus, whole)
    moment, killed = 0, True
    while killed:
        cut = RunFolder(tmp_path / str(moment))
        cut.path.mkdir()
        killed_at(monkeypatch, moment)
        try:
            keep(start(steps=6, eval_every=2), corpus, cut)
            killed = False
        except Killed:
            moment += 1
        killed_at(monkeypatch, NEVER)
        keep(Run.load(cut.last) if cut.last.exists() else start(steps=6, eval_every=2), corpus, cut)
        assert state(cut) == state(whole)
    # each save: metrics.csv, samples.jsonl, last.h5 and best.h5 with their folder; the first has no best.h5
    assert moment == 22


def test_a_signal_ends_training_after_the_current_step_without_an_evaluation(
        start: Start, corpus: Corpus, folder: RunFolder) -> None:
    run = start(steps=10, eval_every=5)
    keep(run, corpus, folder, stop_at=3)
    assert run.step == Run.load(folder.last).step == 3
    assert run.history == []
    assert not folder.best.exists()


def test_a_finished_run_is_saved_again_without_a_change(start: Start, corpus: Corpus, folder: RunFolder) -> None:
    keep(start(), corpus, folder)
    before = state(folder)
    keep(Run.load(folder.last), corpus, folder)
    assert state(folder) == before


def test_a_missing_best_file_is_written_again_if_this_state_is_the_best(
        start: Start, corpus: Corpus, folder: RunFolder) -> None:
    run = start(eval_every=1)
    keep(run, corpus, folder)
    assert run.best_record.step == run.step
    before = state(folder)
    folder.best.unlink()
    keep(Run.load(folder.last), corpus, folder)
    assert state(folder) == before


def test_temporary_files_of_killed_writers_are_removed(start: Start, corpus: Corpus, folder: RunFolder) -> None:
    for name in ("best.h5", "last.h5"):
        (folder.path / f".{name}.{HOST}-999999999-0123abcd.tmp").touch()
    keep(start(validation=0), corpus, folder)
    assert sorted(os.listdir(folder.path)) == ["last.h5", "metrics.csv", "samples.jsonl"]


# When the disk is full

@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def full_disk(patch: pytest.MonkeyPatch, when: Callable[[], bool]) -> None:
    """Make the disk full at every ``fsync`` for which ``when()`` is true."""
    def fsync(_: int) -> None:
        if when():
            raise OSError(28, "No space left on device")

    patch.setattr(os, "fsync", fsync)


def test_training_continues_with_a_warning_and_saves_when_there_is_space_again(
        start: Start, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"steps": 8, "eval_every": 2, "learning_rate": 0.02}
    whole, folder = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "run")
    whole.path.mkdir()
    folder.path.mkdir(parents=True)
    keep(start(**values), corpus, whole)
    run = start(**values)
    full_disk(monkeypatch, lambda: run.step == 4)
    keeper, warnings = keep(run, corpus, folder)
    assert warnings == [f"{folder.path}: step 4 cannot be saved (No space left on device); training continues, last.h5 is "
                        f"from step 2 and best.h5 is from step 2"]
    assert not keeper.unsaved
    assert state(folder) == state(whole)


def test_a_run_that_cannot_be_saved_at_its_end_is_an_error(
        start: Start, corpus: Corpus, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(steps=4, eval_every=2)
    full_disk(monkeypatch, lambda: run.step > 2)
    keeper, warnings = keep(run, corpus, folder)
    assert keeper.unsaved
    assert len(warnings) == 2
    assert warnings[0].endswith("step 4 cannot be saved (No space left on device); last.h5 is from step 2 and "
                                "best.h5 is from step 2")
    with pytest.raises(RunError, match=r"step 4 could not be saved \(No space left on device\), not even in another"):
        keeper.require_saved()
    assert Run.load(folder.last).step == 2
    assert sorted(os.listdir(folder.path)) == ["best.h5", "last.h5", "metrics.csv", "samples.jsonl"]


@pytest.mark.parametrize("finished", [True, False])
def test_a_resumed_run_that_cannot_be_saved_takes_no_step(
        start: Start, corpus: Corpus, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, finished: bool) -> None:
    """This is so even if the folder contains a ``last.h5`` of the same step."""
    run = start(steps=4, eval_every=2)
    keep(run, corpus, folder)
    before = state(folder)
    if not finished:
        run.plan(6)
    full_disk(monkeypatch, lambda: True)
    with pytest.raises(RunError, match=r"run: cannot be saved \(No space left on device\); free some space, or choose"):
        keep(run, corpus, folder)
    assert run.step == 4
    assert state(folder) == before


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a home folder, a current folder and a folder for temporary files."""
    places = [tmp_path / name for name in ("home", "current", "temporary")]
    for place in places:
        place.mkdir()
    monkeypatch.setattr(Path, "home", lambda: places[0])
    monkeypatch.chdir(places[1])
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(places[2]))
    return places


def no_folder(patch: pytest.MonkeyPatch, folders: list[Path]) -> None:
    """Make writing, and creating a folder, fail in these folders."""
    def refuse(call: Callable[..., Any], number: int) -> Callable[..., Any]:
        def refused(*arguments: Any, **options: Any) -> Any:
            if any(str(folder) in str(arguments[number:number + 1]) for folder in folders):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return call(*arguments, **options)

        return refused

    patch.setattr(os, "replace", refuse(os.replace, 1))
    patch.setattr(os, "mkdir", refuse(os.mkdir, 0))


@pytest.mark.parametrize("refused", [0, 1, 2, 3])
@pytest.mark.parametrize("best", [True, False])
def test_a_run_that_cannot_be_saved_at_its_end_is_saved_in_another_folder(
        start: Start, corpus: Corpus, tmp_path: Path, folder: RunFolder, places: list[Path],
        monkeypatch: pytest.MonkeyPatch, refused: int, best: bool) -> None:
    """The copy contains the best state, which may be in the folder or not written yet, and all rows."""
    whole = RunFolder(tmp_path / "whole")
    whole.path.mkdir()
    values = {"steps": 6, "eval_every": 2, "learning_rate": 0.01}
    keep(start(**values), corpus, whole, worse_after=None if best else 2)
    run = start(**values)
    right = run.to_bytes

    def to_bytes() -> bytes:
        if run.step > 2:
            no_folder(monkeypatch, [folder.path, *places[:refused]])
        return right()

    run.to_bytes = to_bytes
    keeper, _ = keep(run, corpus, folder, worse_after=None if best else 2)
    assert run.best_record.step == (6 if best else 2)
    if refused == 3:
        assert keeper.elsewhere is None
        return
    assert keeper.elsewhere.parent == places[refused]
    with pytest.raises(RunError, match=f"step 6 could not be saved .*, but it is saved in {keeper.elsewhere}; resume it"):
        keeper.require_saved()
    assert state(RunFolder(keeper.elsewhere)) == state(whole)
    assert [list(place.iterdir()) for place in places if place != places[refused]] == [[], []]


@pytest.mark.parametrize("signalled", [True, False])
def test_the_last_save_is_tried_again_for_a_while_unless_a_signal_arrived(
        start: Start, corpus: Corpus, folder: RunFolder, places: list[Path], monkeypatch: pytest.MonkeyPatch,
        signalled: bool) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    run = start(steps=4, eval_every=2)
    full_disk(monkeypatch, lambda: run.step == 3 if signalled else run.step == 4 and len(pauses) < 3)
    keeper, warnings = keep(run, corpus, folder, stop_at=3 if signalled else None)
    assert warnings[-1].startswith("trying again for 60 seconds") is not signalled
    assert len(pauses) == (0 if signalled else 3)
    assert (keeper.unsaved is None) is not signalled
    if not signalled:
        assert Run.load(folder.last).step == 4
        keeper.require_saved()


def test_a_warning_names_the_files_that_the_folder_contains(
        start: Start, corpus: Corpus, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(steps=6, eval_every=2)
    right = keeper_module.replace_file

    def replace_file(path: Path, pieces: Any) -> None:
        if run.step == 2 and path == folder.last:
            raise_no_space()
        if run.step == 4:
            folder.last.unlink()
            folder.best.unlink()
            raise_no_space()
        right(path, pieces)

    monkeypatch.setattr(keeper_module, "replace_file", replace_file)
    _, warnings = keep(run, corpus, folder)
    assert [warning.partition("training continues, ")[2] for warning in warnings] == [
        "last.h5 is from step 0 and best.h5 is from step 2", "nothing is saved"]


def test_a_best_state_that_could_not_be_saved_is_saved_later(
        start: Start, corpus: Corpus, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """``best.h5`` is the best state according to the history of the run."""
    run = start(steps=6, eval_every=1)
    full_disk(monkeypatch, lambda: run.step == 3)
    keeper, _ = keep(run, corpus, folder, worse_after=3)
    assert run.best_record.step == 3
    assert not keeper.unsaved
    assert Run.load(folder.best).step == run.best_record.step


# A new run from an old state

def test_a_new_run_inherits_the_table_and_the_best_state(start: Start, corpus: Corpus, tmp_path: Path) -> None:
    old, new = RunFolder(tmp_path / "old"), RunFolder(tmp_path / "new")
    old.path.mkdir()
    keep(start(steps=9, eval_every=2), corpus, old, stop_at=3)
    before, run = state(old), Run.load(old.last)
    inherited = inherit(run, old)
    assert (inherited, run.since) == ((old.best.read_bytes(), old), 0)
    new.path.mkdir()
    MetricsTable(new.metrics, 1, inherited.folder.metrics).flush()
    assert rows(new) == rows(old)[:1]
    assert state(old) == before
    keep(run, corpus, new, stop_at=3, new=inherited)
    assert state(new) == before
    assert state(old) == before


@pytest.mark.parametrize("inside", [True, False])
def test_a_new_run_replaces_another_one_completely(start: Start, corpus: Corpus, tmp_path: Path, inside: bool) -> None:
    """This is so whether or not the state that the new run continues is in a run folder."""
    old, new, other = (RunFolder(tmp_path / name) for name in ("old", "new", "other"))
    for each in (old, new, other):
        each.path.mkdir()
    keep(start(steps=9, eval_every=2), corpus, old, stop_at=4)
    keep(start(steps=9, eval_every=1, seed=5), corpus, new)
    run, again = Run.load(old.last), Run.load(old.last)
    keep(run, corpus, new, new=inherit(run, old if inside else None))
    keep(again, corpus, other, new=inherit(again, old if inside else None))
    assert state(new) == state(other)
    assert rows(new)[0][0] == ("1" if inside else "5")
    assert Run.load(new.best).step == run.best_record.step


@pytest.mark.parametrize("other", [False, True])
def test_only_later_evaluations_count_if_the_old_best_state_is_not_available(
        start: Start, corpus: Corpus, tmp_path: Path, other: bool) -> None:
    old = RunFolder(tmp_path / "old")
    old.path.mkdir()
    keep(start(steps=9, eval_every=2), corpus, old, stop_at=3)
    run = Run.load(old.last)
    if other:  # a best state, but of another run
        keep(start(steps=9, eval_every=2, seed=5), corpus, old, stop_at=3)
    assert inherit(run, old if other else None).best is None
    assert (run.since, run.best_record, len(run.history)) == (3, None, 1)


@pytest.mark.parametrize("name", ["best.h5", "metrics.csv"])
def test_a_new_run_that_cannot_inherit_what_it_needs_leaves_nothing(
        start: Start, corpus: Corpus, tmp_path: Path, name: str) -> None:
    old, new = RunFolder(tmp_path / "old"), RunFolder(tmp_path / "new")
    old.path.mkdir()
    keep(start(steps=9, eval_every=2), corpus, old, stop_at=3)
    run = Run.load(old.last)
    (old.path / name).unlink()
    (old.path / name).mkdir()  # neither a checkpoint nor a table
    with contextlib.suppress(CharRNNError, OSError):
        inherited = inherit(run, old)
        new.path.mkdir()
        keep(run, corpus, new, new=inherited)
    assert not new.exists() or (Run.load(new.best).step, Run.load(new.last).step) == (run.best_record.step, 9)


# Signals

@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_of_the_same_kind_ends_the_program(number: int) -> None:
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert stop.received is None
        signal.raise_signal(number)
        assert stop.received == number
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("here", "there", "agreed"), [(None, None, None), (2, None, 2), (None, 15, 15), (2, 15, 2)])
def test_a_signal_to_one_rank_stops_all(here: int | None, there: int | None, agreed: int | None) -> None:
    class TwoRanks(Ranks):
        def all(self, value: int | None) -> list:
            return [value, there]

    for number in (0, 1):
        job = TwoRanks()
        job.number = number
        stop = StopSignals(job)
        stop.received = here
        assert stop.agreed() == (agreed is not None)
        assert stop.received == agreed
