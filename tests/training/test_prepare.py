"""charrnn.training.prepare"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn import Corpus, Run
from charrnn.config import TextConfig, TrainConfig
from charrnn.errors import ConfigError, CorpusError, RunError
from charrnn.training import events as events_module
from charrnn.training import prepare as prepare_module
from charrnn.training.events import BytesRead, PlanFixed, RunMade, SpeedMeasured, Warned, ignore
from charrnn.training.keeper import Keeper
from charrnn.training.prepare import (
    Job,
    changed,
    corpus_of,
    fix_minutes,
    prepare,
    prepare_resume,
    read,
)
from charrnn.training.run_folder import RunFolder
from charrnn.training.signals import StopSignals
from charrnn.training.trainer import Trainer

TRAIN = TrainConfig(batch_size=3, seq_len=8, warmup=2, threads=1, steps=6, eval_every=2)


@pytest.fixture
def kept(notes: Path) -> Run:
    """Return a run after 4 of 6 steps, which is saved in checkpoints/old."""
    run, split, folder, lock, new = prepare(notes, TextConfig(), {"hidden_size": 8}, replace(TRAIN, steps=4), ignore,
                                            name="old")
    with lock:
        Keeper(run, Trainer(run, split), folder, ignore, new).train(StopSignals())
    run.plan(6)
    run.save(folder.last)
    return run


def names(events: list[Any]) -> list[str]:
    """Return the names of all events except ``BytesRead`` and, the first time in a home directory, ``SpeedMeasured``."""
    return [type(event).__name__ for event in events if not isinstance(event, (BytesRead, SpeedMeasured))]


def only(kind: type, events: list[Any]) -> Any:
    (found,) = (event for event in events if isinstance(event, kind))
    return found


# New runs

def test_a_job_is_a_run_before_its_first_step_with_its_text_and_its_folder(notes: Path) -> None:
    events: list[Any] = []
    run, split, folder, lock, new = prepare(notes, TextConfig(), {"hidden_size": 8, "cell": "gru"},
                                            replace(TRAIN, test=0.1), events.append)
    assert names(events) == ["TextRead", "RunMade"]
    assert (run.step, run.planned, run.folder) == (0, 6, folder.path)
    assert folder.path == Path("checkpoints/notes-gru-8")
    assert [len(part) for part in split.parts] == [320, 40, 40]
    assert new == (None, None)
    assert os.listdir(folder.path) == [".lock"]
    lock.release()
    assert not Path("checkpoints").exists()


@pytest.mark.parametrize(("settings", "chosen"), [
    ({}, ("hidden_size", "dropout", "weight_drop")), ({"dropout": 0.25}, ("hidden_size", "weight_drop")),
    ({"hidden_size": 8}, None)])
def test_a_size_is_chosen_unless_it_is_given(notes: Path, settings: dict[str, Any], chosen: tuple[str, ...] | None) -> None:
    events: list[Any] = []
    job = prepare(notes, TextConfig(), settings, TRAIN, events.append)
    assert ("ModelChosen" in names(events)) is (chosen is not None)
    if chosen:
        event = only(events_module.ModelChosen, events)
        assert event[:3] == (job.run.model.network.config, chosen, len(job.split.train))
        assert event.passes == pytest.approx(job.run.planned / job.run.source.windows, rel=0.1)
        assert job.run.model.network.config.dropout == settings.get("dropout", event.config.dropout)


def test_resuming_is_suggested_only_for_a_run_of_the_same_text(
        kept: Run, make_text: Callable[..., str]) -> None:
    resume = "already contains a run; resume it (charrnn resume checkpoints/old), choose another name"
    other = "already contains a run with another text or other text settings; choose another name"
    Path("other").mkdir()
    Path("other/old.txt").write_text(make_text(300), encoding="utf-8")
    Path("copy").mkdir()
    Path("copy/old.txt").write_text(make_text(400), encoding="utf-8")
    Path("checkpoints/old").rename("checkpoints/old-lnlstm-8")
    resume, other = (f"checkpoints/old-lnlstm-8: {text.replace('/old', '/old-lnlstm-8')}" for text in (resume, other))
    for source, name, message in (("notes.txt", "old-lnlstm-8", resume), ("other/old.txt", "old-lnlstm-8", other),
                                  ("copy/old.txt", None, resume), ("other/old.txt", None, other)):
        with pytest.raises(RunError) as caught:
            prepare(source, TextConfig(), {"hidden_size": 8}, TRAIN, ignore, name=name)
        assert str(caught.value).startswith(message)


def test_a_corpus_is_compared_by_its_text(kept: Run, make_text: Callable[..., str]) -> None:
    for characters, message in ((400, "contains a run; resume it"), (300, "contains a run with another text")):
        corpus = Corpus.from_text(make_text(characters), ["notes.txt"])
        with pytest.raises(RunError, match=message):
            prepare(corpus, TextConfig(), {"hidden_size": 8}, TRAIN, ignore, name="old")


def test_standard_input_is_another_text(kept: Run) -> None:
    kept.source = kept.source._replace(names=("-",))
    kept.save("checkpoints/old/last.h5")
    with pytest.raises(RunError, match="contains a run with another text or other text settings; choose"):
        prepare("-", TextConfig(), {"hidden_size": 8}, TRAIN, ignore, name="old")


def test_resuming_is_not_suggested_for_a_run_that_cannot_be_read(kept: Run) -> None:
    Path("checkpoints/old/last.h5").write_bytes(b"")
    with pytest.raises(RunError, match="already contains a run; choose another name"):
        prepare("notes.txt", TextConfig(), {}, TRAIN, ignore, name="old")


def test_the_folder_of_a_job_is_locked_until_it_is_released(notes: Path) -> None:
    job = prepare(notes, TextConfig(), {"hidden_size": 8}, TRAIN, ignore)
    for name, overwrite in ((None, False), ("notes-lnlstm-8", True)):
        with pytest.raises(RunError, match="is training this run"):
            prepare(notes, TextConfig(), {"hidden_size": 8}, TRAIN, ignore, name=name, overwrite=overwrite)
    job.lock.release()
    prepare(notes, TextConfig(), {"hidden_size": 8}, TRAIN, ignore, name="notes-lnlstm-8").lock.release()


def test_a_saved_run_is_locked_before_it_is_loaded(kept: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Run.load.__func__
    locked: list[bool] = []
    monkeypatch.setattr(Run, "load", classmethod(lambda cls, path: (
        locked.append(Path("checkpoints/old/.lock").exists()), load(cls, path))[1]))
    job = prepare_resume("checkpoints/old", TrainConfig(), ignore)
    assert locked == [True]
    with pytest.raises(RunError, match="is training this run"):
        prepare_resume("checkpoints/old", TrainConfig(), ignore)
    prepare_resume("checkpoints/old", TrainConfig(), ignore, name="new").lock.release()
    job.lock.release()


@pytest.mark.parametrize("name", ["run", None])
def test_a_job_that_cannot_be_prepared_leaves_no_folder_and_no_lock(notes: Path, name: str | None) -> None:
    for config in (replace(TRAIN, seq_len=1000), replace(TRAIN, validation=0.001)):
        with pytest.raises(ConfigError):
            prepare(notes, TextConfig(), {"hidden_size": 8}, config, ignore, name=name)
    assert os.listdir() == ["notes.txt"]


def test_a_folder_without_locks_gives_a_warning(kept: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    events: list[Any] = []
    prepare_resume("checkpoints/old", TrainConfig(), events.append)
    assert only(Warned, events).message == ("checkpoints/old: cannot be locked on this system; do not train this run in "
                                            "two processes")


def test_a_folder_that_exists_is_refused_before_the_text_is_read(kept: Run) -> None:
    with pytest.raises(RunError, match="overwrite"):
        prepare("missing.txt", TextConfig(), {}, TRAIN, ignore, name="old")
    assert prepare("notes.txt", TextConfig(), {}, TRAIN, ignore, name="old", overwrite=True).run.step == 0


def test_a_batch_that_is_too_large_for_the_text_is_reported(notes: Path) -> None:
    events: list[Any] = []
    run = prepare(notes, TextConfig(), {"hidden_size": 8}, replace(TRAIN, batch_size=1000), events.append).run
    assert only(RunMade, events) == (run, 1000)
    assert run.config.batch_size < 1000


@pytest.mark.parametrize("eval_every", [None, 3])
def test_minutes_become_a_plan(notes: Path, eval_every: int | None) -> None:
    events: list[Any] = []
    config = replace(TRAIN, steps=None, minutes=0.0005, eval_every=eval_every)
    run = prepare(notes, TextConfig(), {"hidden_size": 8}, config, events.append).run
    assert names(events)[-1] == "PlanFixed"
    plan = only(PlanFixed, events)
    assert (plan.minutes, plan.steps) == (0.0005, run.planned)
    if eval_every:
        assert (run.config.eval_every, plan.eval_every) == (eval_every, None)


@pytest.mark.parametrize(("every", "reported"), [(None, None), (50, 50)])
def test_an_interval_that_is_not_the_usual_one_is_reported(
        notes: Path, monkeypatch: pytest.MonkeyPatch, every: int | None, reported: int | None) -> None:
    run, split, *_ = prepare(notes, TextConfig(), {"hidden_size": 8}, TRAIN, ignore)
    run.config = replace(run.config, steps=None, minutes=3.0, eval_every=None)
    asked: list[Any] = []
    monkeypatch.setattr(prepare_module, "fix_plan", lambda run, text, minutes, spent: (
        asked.append((minutes, spent)), run.plan(100, every)))
    events: list[Any] = []
    fix_minutes(run, split, events.append)
    fix_minutes(run, split, events.append, 7.0, 30.0)
    assert events[0] == PlanFixed(3.0, 100, reported)
    assert asked == [(3.0, 0.0), (7.0, 30.0)]


# Continuing a run

def test_a_saved_run_is_ready_for_its_next_step(kept: Run) -> None:
    job = prepare_resume("checkpoints/old", TrainConfig(), ignore)
    assert isinstance(job, Job)
    assert job.run.to_bytes() == kept.to_bytes()
    assert (job.run.step, job.folder.path, job.run.folder) == (4, Path("checkpoints/old"), Path("checkpoints/old"))
    assert job.new is None
    job.lock.release()
    assert prepare_resume("checkpoints/old/last.h5", TrainConfig(), ignore).run.step == 4


def test_a_best_state_that_is_the_last_one_is_resumed(kept: Run) -> None:
    job = prepare_resume("checkpoints/old/best.h5", TrainConfig(), ignore)
    assert job.run.to_bytes() == kept.to_bytes()
    assert job.folder.path == Path("checkpoints/old")
    assert job.new is None


def test_a_state_that_is_not_the_last_needs_a_name(kept: Run, corpus: Corpus) -> None:
    kept.save("state.h5")
    Trainer(kept, corpus).step()
    kept.save("checkpoints/old/last.h5")
    for path in ("checkpoints/old/best.h5", "state.h5"):
        with pytest.raises(RunError, match="choose a name for a new run"):
            prepare_resume(path, TrainConfig(), ignore)
    job = prepare_resume("checkpoints/old/best.h5", TrainConfig(), ignore, name="new")
    assert job.folder.path == Path("checkpoints/new")
    assert prepare_resume("state.h5", TrainConfig(), ignore, name="new2").folder.path == Path("checkpoints/new2")


@pytest.mark.parametrize(("length", "steps"), [
    ({}, 6), ({"steps": 9}, 9), ({"epochs": 2}, 28), ({"steps": 9, "patience": 3}, 9)])
def test_the_length_and_the_patience_may_change(kept: Run, length: dict[str, Any], steps: int) -> None:
    run = prepare_resume("checkpoints/old", TrainConfig(**length), ignore).run
    assert run.planned == steps
    assert run.config.patience == length.get("patience")
    assert run.config.eval_every == 2


def test_an_interval_that_is_not_set_follows_a_longer_plan(notes: Path) -> None:
    for eval_every, later, expected in ((None, None, 50), (2, None, 2), (None, 7, 7), (2, 7, 7)):
        run, split, folder, lock, new = prepare(notes, TextConfig(), {"hidden_size": 8},
                                                replace(TRAIN, steps=4, eval_every=eval_every), ignore, name="run",
                                                overwrite=True)
        with lock:
            Keeper(run, Trainer(run, split), folder, ignore, new).train(StopSignals())
        before = [record.step for record in run.history]
        assert before == ([2, 4] if eval_every else [1, 2, 3, 4])
        job = prepare_resume("checkpoints/run", TrainConfig(steps=1000, eval_every=later), ignore)
        assert job.run.eval_every == expected
        assert [record.step for record in job.run.history] == before
        job.lock.release()
    assert prepare_resume("checkpoints/run", TrainConfig(eval_every=9), ignore).run.eval_every == 9


def test_an_encoding_without_a_text_is_refused(kept: Run) -> None:
    for setting, value in (("encoding", "utf-16"), ("errors", "replace")):
        with pytest.raises(ConfigError, match=f"{setting}: applies only to a text that is passed as corpus; pass corpus"):
            prepare_resume("checkpoints/old", TrainConfig(), ignore, **{setting: value})


def test_the_hint_about_a_missing_text_is_to_pass_it(kept: Run) -> None:
    Path("notes.txt").unlink()
    with pytest.raises(CorpusError, match=r"^notes\.txt: no such file; .*if the text was moved, pass it as corpus$"):
        prepare_resume("checkpoints/old", TrainConfig(), ignore)


def test_minutes_count_from_the_start_of_the_run(kept: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []
    monkeypatch.setattr(prepare_module, "fix_plan", lambda run, text, minutes, seconds: (
        spent.append(seconds), run.plan(20)))
    lines = (RunFolder("checkpoints/old").metrics).read_text().splitlines()
    seconds = float(lines[-1].split(",")[2])
    events: list[Any] = []
    job = prepare_resume("checkpoints/old", TrainConfig(minutes=1), events.append)
    job.lock.release()
    assert job.run.planned == 20
    assert spent == [seconds]
    assert seconds > 0
    assert only(PlanFixed, events)[:2] == (1, 20)
    RunFolder("checkpoints/old").metrics.unlink()
    with pytest.raises(ConfigError, match=r"minutes: .*metrics\.csv"):
        prepare_resume("checkpoints/old", TrainConfig(minutes=1), ignore)


def test_a_change_that_may_affect_the_last_bits_gives_a_warning(kept: Run) -> None:
    kept.environment["numpy"] = "1.0"
    kept.save("checkpoints/old/last.h5")
    events: list[Any] = []
    run = prepare_resume("checkpoints/old", TrainConfig(threads=2), events.append).run
    message = only(Warned, events).message
    assert f"changed since the last save: numpy from 1.0 to {np.__version__}, threads from 1 to 2; the result" in message
    assert run.environment["numpy"] == np.__version__
    assert run.config.threads == 2


def test_a_run_that_is_out_of_patience_gives_a_warning(kept: Run) -> None:
    kept.history = [record._replace(validation_loss=float(record.step)) for record in kept.history]
    kept.save("checkpoints/old/last.h5")
    events: list[Any] = []
    assert prepare_resume("checkpoints/old", TrainConfig(steps=9, patience=1), events.append).run.finished
    assert "out of patience (`patience=1`)" in only(Warned, events).message


def test_the_text_must_be_that_of_the_run(kept: Run, make_text: Callable[..., str]) -> None:
    Path("other.txt").write_text(make_text(300), encoding="utf-8")
    with pytest.raises(RunError, match=r"^other\.txt: .*\(400 characters then, 300 now\)"):
        prepare_resume("checkpoints/old", TrainConfig(), ignore, corpus="other.txt")
    Path("copy.txt").write_text(make_text(400), encoding="utf-16")
    job = prepare_resume("checkpoints/old", TrainConfig(), ignore, corpus="copy.txt", encoding="utf-16")
    job.lock.release()
    run = job.run
    assert run.source.names == ("copy.txt",)
    assert run.source.bytes == Path("copy.txt").stat().st_size
    run.save("checkpoints/old/last.h5")
    assert prepare_resume("checkpoints/old", TrainConfig(), ignore).run.source == run.source
    assert run.model.text_config.encoding == "utf-16"


# Reading

def test_a_source_is_a_corpus_or_names(notes: Path, corpus: Corpus) -> None:
    assert read(corpus, TextConfig(lowercase=True), ignore) is corpus
    events: list[Any] = []
    for source in ("notes.txt", notes, ["notes.txt"], (notes,)):
        assert read(source, TextConfig(), events.append).fingerprint == corpus.fingerprint
    warnings: list[Any] = []
    twice = read([notes, notes], TextConfig(lowercase=True), warnings.append)
    assert len(twice) == 800
    assert "notes.txt is read twice" in only(Warned, warnings).message
    warnings.clear()
    assert read(twice, TextConfig(), warnings.append) is twice
    assert "notes.txt is read twice" in only(Warned, warnings).message
    assert sum(event.number for event in events) == 4 * events[0].size == 4 * notes.stat().st_size


def test_the_text_of_a_run_is_read_again(notes: Path, start: Callable[..., Run]) -> None:
    run, counts = start(Corpus.read("notes.txt")), []
    corpus = corpus_of(run.source, run.model.text_config, "place", "advice", lambda *count: counts.append(count))
    assert corpus.fingerprint == run.source.fingerprint
    assert counts[0][1] == notes.stat().st_size
    for sources in ((), ("-",)):
        run.source = run.source._replace(names=sources, files=0, bytes=0)
        with pytest.raises(RunError, match=r"^place: was trained on a text that is not in a file; advice$"):
            corpus_of(run.source, run.model.text_config, "place", "advice")


def test_a_text_of_another_size_than_that_of_a_run_is_not_read(notes: Path, start: Callable[..., Run]) -> None:
    run, counts = start(Corpus.read("notes.txt")), []
    with notes.open("r+b") as file:
        file.truncate(run.source.bytes - 1)
    with pytest.raises(CorpusError, match=r"^notes\.txt: has .* bytes, but the text of this run had .* bytes; advice$"):
        corpus_of(run.source, run.model.text_config, "place", "advice", lambda *count: counts.append(count))
    assert not counts


def test_a_text_from_python_is_not_in_a_file_whatever_its_name(notes: Path, start: Callable[..., Run]) -> None:
    run = start()
    assert run.source.names == ("notes.txt",)
    with pytest.raises(RunError, match=r"^place: was trained on a text that is not in a file; advice$"):
        corpus_of(run.source, run.model.text_config, "place", "advice")


def test_a_run_is_resumed_on_its_old_text_after_text_was_appended(kept: Run, notes: Path) -> None:
    size = notes.stat().st_size
    with notes.open("a") as file:
        file.write("more")
    events: list[Any] = []
    with prepare_resume("checkpoints/old", TrainConfig(), events.append).lock:
        assert only(Warned, events).message == (
            f"notes.txt: has grown since the run was started; only its first {size:,} bytes are used")
    job = prepare_resume("checkpoints/old", TrainConfig(), ignore)
    assert (job.run.source, len(job.split.corpus)) == (kept.source, 400)
    job.lock.release()
    notes.write_text("other text " * 40)
    with pytest.raises(CorpusError, match=r"^notes\.txt: has changed since the run was started"):
        prepare_resume("checkpoints/old", TrainConfig(), ignore)


def test_only_encoding_and_errors_change() -> None:
    config = TextConfig(lowercase=True, encoding="latin-1")
    assert changed(config, None, None) == config
    assert changed(config, "utf-16", "ignore") == TextConfig(lowercase=True, encoding="utf-16", errors="ignore")


def test_an_event_can_be_ignored() -> None:
    assert ignore(Warned("text")) is None


@pytest.mark.parametrize("source", [3, None, {"notes.txt"}])
def test_a_source_of_another_type_is_refused(source: Any) -> None:
    with pytest.raises(TypeError, match="source must be"):
        read(source, TextConfig(), ignore)
