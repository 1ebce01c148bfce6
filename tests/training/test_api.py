"""charrnn.training.api: train and resume from Python"""

from __future__ import annotations

import copy
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn import Corpus, LanguageModel, ModelConfig, Run, TrainConfig, Trainer
from charrnn.errors import CharRNNError, ConfigError, CorpusError, RunError
from charrnn.nn.kernels import kernels_name
from charrnn.training.events import (
    BytesRead,
    ModelChosen,
    PlanFixed,
    RunMade,
    Sampled,
    Saved,
    Started,
    StepTaken,
    TextRead,
    Warned,
)

SMALL = {"hidden_size": 8, "batch_size": 3, "seq_len": 8, "warmup": 2, "threads": 1}


def events_of(call: Callable[..., Run], *arguments: Any, **settings: Any) -> tuple[Run, list[Any]]:
    """Call train or resume; return the run and its events."""
    events: list[Any] = []
    return call(*arguments, on_event=events.append, **settings), events


def kinds(events: list[Any]) -> list[str]:
    """Return the names of the events, without repetitions and samples."""
    names = [type(event).__name__ for event in events if not isinstance(event, Sampled)]
    return [name for k, name in enumerate(names) if k == 0 or names[k - 1] != name]


def interrupt_at(step: int, number: int = signal.SIGINT) -> Callable[[Any], None]:
    """Return an ``on_event`` that sends a signal after a step."""
    def on_event(event: Any) -> None:
        if isinstance(event, StepTaken) and event.step.number == step:
            signal.raise_signal(number)

    return on_event


def weights(model: LanguageModel) -> bytes:
    return model.network.parameters.flat.tobytes()


# Training

def test_train_saves_a_run_and_returns_it(notes: Path) -> None:
    run = charrnn.train("notes.txt", steps=6, eval_every=2, **SMALL)
    folder = Path("checkpoints/notes-lnlstm-8")
    assert sorted(os.listdir(folder)) == ["best.h5", "last.h5", "metrics.csv", "samples.jsonl"]
    assert run.folder == folder
    assert (run.step, run.planned, run.finished) == (6, 6, True)
    assert [record.step for record in run.history] == [2, 4, 6]
    assert Run.load(folder).to_bytes() == run.to_bytes() == (folder / "last.h5").read_bytes()
    assert run.best_record.step == 6
    assert run.best is run.model
    assert weights(charrnn.load(folder)) == weights(run.best)
    assert repr(run).startswith("Run(LanguageModel(lnlstm, 8 hidden units, ")


@pytest.mark.parametrize("source", ["path", "string", "list", "corpus"])
def test_a_source_is_a_file_several_files_or_a_corpus(notes: Path, source: str) -> None:
    sources = {"path": notes, "string": str(notes), "list": [notes], "corpus": Corpus.read(notes)}
    run = charrnn.train(sources[source], steps=2, name="run", checkpoints=Path("runs"), **SMALL)
    assert run.folder == Path("runs/run")
    assert run.source.characters == 400
    assert run.source.names == ("notes.txt",)


def test_a_source_may_be_a_corpus_of_a_string(notes: Path, make_text: Callable[..., str]) -> None:
    run = charrnn.train(Corpus.from_text(make_text(400), lowercase=True), steps=2, **SMALL)
    assert run.folder == Path("checkpoints/text-lnlstm-8")
    assert run.model.text_config.lowercase
    with pytest.raises(CorpusError, match="the quick brown fox"):  # a string is a file
        charrnn.train("the quick brown fox", steps=2, **SMALL)


def test_settings_of_text_model_and_training_are_passed_by_name(notes: Path) -> None:
    run = charrnn.train(notes, lowercase=True, cell="gru", layers=2, steps=3, learning_rate=0.5, test=0.1, **SMALL)
    assert run.model.text_config.lowercase
    assert (run.model.network.config.cell, run.model.network.config.layers) == ("gru", 2)
    assert (run.config.learning_rate, run.config.test, run.config.batch_size) == (0.5, 0.1, 3)
    assert not set(map(str.isupper, run.model.vocabulary.characters)) - {False}


def test_a_run_has_its_last_and_its_best_state(notes: Path) -> None:
    """After step 4, the learning rate is so high that the loss only gets worse."""
    def on_event(event: Any) -> None:
        if isinstance(event, StepTaken) and event.step.number == 4:
            event.run.config = replace(event.run.config, learning_rate=1000.0)
            states.append(copy.deepcopy(event.run.model))

    states: list[LanguageModel] = []
    run = charrnn.train(notes, steps=8, eval_every=2, on_event=on_event, **SMALL)
    assert run.best_record.step == 4 < run.step
    assert weights(run.best) == weights(states[0])
    assert weights(run.model) != weights(run.best)
    assert weights(charrnn.load(run.folder)) == weights(run.best)
    assert weights(charrnn.load(run.folder / "last.h5")) == weights(run.model)
    assert weights(Run.load(run.folder).best) == weights(states[0])


def test_without_validation_the_best_state_is_the_last_one(notes: Path) -> None:
    run = charrnn.train(notes, steps=3, validation=0, **SMALL)
    assert run.best is run.model
    assert os.listdir(run.folder).count("best.h5") == 0


def test_a_size_is_chosen_and_minutes_become_steps(notes: Path) -> None:
    run, events = events_of(charrnn.train, notes, start_from="none", minutes=0.001, threads=1)
    assert kinds(events) == ["BytesRead", "TextRead", "ModelChosen", "RunMade", "PlanFixed", "Started", "StepTaken"]
    (chosen,) = (event for event in events if isinstance(event, ModelChosen))
    assert chosen.names == ("hidden_size", "dropout", "weight_drop")
    assert chosen.config == run.model.network.config
    (plan,) = (event for event in events if isinstance(event, PlanFixed))
    assert (plan.minutes, plan.steps) == (0.001, run.planned)
    assert run.finished


# Events

def test_events_come_in_order(notes: Path) -> None:
    run, events = events_of(charrnn.train, notes, steps=5, eval_every=2, **SMALL)
    assert kinds(events) == ["BytesRead", "TextRead", "StartChosen", "RunMade", "Started", "StepTaken"]
    read = [event for event in events if isinstance(event, BytesRead)]
    assert sum(event.number for event in read) == notes.stat().st_size == read[0].size
    for event in events:
        match event:
            case TextRead(corpus):
                assert corpus.fingerprint == run.source.fingerprint
            case RunMade(made, batch_size):
                assert (made is run, batch_size) == (True, 3)
            case Started(started) | StepTaken(started, _):
                assert started is run
    steps = [event.step for event in events if isinstance(event, StepTaken)]
    assert [step.number for step in steps] == [1, 2, 3, 4, 5]
    assert [step.number for step in steps if step.validation_loss is not None] == [2, 4, 5]


def test_a_step_is_saved_before_its_event(notes: Path) -> None:
    saved: list[int] = []
    charrnn.train(notes, steps=4, eval_every=2, on_event=lambda event: isinstance(event, StepTaken) and saved.append(
        Run.load("checkpoints/notes-lnlstm-8").step), **SMALL)
    assert saved == [0, 2, 2, 4]


def test_a_fault_of_a_step_gives_a_warning(notes: Path) -> None:
    def on_event(event: Any) -> None:
        events.append(event)
        if isinstance(event, StepTaken) and event.step.number == 2:
            event.run.model.network.parameters.flat[:] = np.nan

    events: list[Any] = []
    charrnn.train(notes, steps=4, eval_every=1, on_event=on_event, **SMALL)
    (warning,) = (event for event in events if isinstance(event, Warned))
    assert "step 3: non-finite loss" in warning.message
    assert isinstance(events[events.index(warning) + 1], StepTaken)


def test_an_exception_of_the_callback_ends_the_training(notes: Path) -> None:
    def on_event(event: Any) -> None:
        if isinstance(event, StepTaken):
            raise LookupError("mine")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(LookupError, match="mine"):
        charrnn.train(notes, steps=4, on_event=on_event, **SMALL)
    assert signal.getsignal(signal.SIGINT) is before


# Interrupting and continuing

@pytest.mark.parametrize("stops", [[1], [3, 7], [4, 5]])
def test_an_interrupted_run_ends_in_the_same_bytes_when_it_is_resumed(notes: Path, stops: list[int]) -> None:
    settings = {**SMALL, "steps": 9, "eval_every": 4, "dropout": 0.3}
    whole = charrnn.train(notes, name="whole", **settings)
    run = charrnn.train(notes, name="run", on_event=interrupt_at(stops[0]), **settings)
    for k, step in enumerate(stops):
        assert (run.step, run.finished, run.planned) == (step, False, 9)
        assert Run.load(run.folder).to_bytes() == run.to_bytes()
        run = charrnn.resume(run.folder, on_event=interrupt_at(([*stops, 0])[k + 1]))
    assert run.finished
    assert run.to_bytes() == whole.to_bytes()
    for name in ("last.h5", "best.h5"):
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert weights(run.best) == weights(whole.best)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_terminate_saves_and_ends_the_program(notes: Path, number: int) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as caught:
            charrnn.train(notes, steps=9, name="run", on_event=interrupt_at(2, number), **SMALL)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert caught.value.code == 128 + number
    assert Run.load("checkpoints/run").step == 2
    assert charrnn.resume("checkpoints/run").step == 9


def test_a_request_to_save_saves_and_training_continues(notes: Path) -> None:
    events: list[Any] = []
    saved: list[int] = []

    def on_event(event: Any) -> None:
        events.append(event)
        if isinstance(event, StepTaken):
            saved.append(Run.load("checkpoints/run").step)
            if event.step.number == 3:
                signal.raise_signal(signal.SIGUSR1)

    run = charrnn.train(notes, steps=6, eval_every=6, name="run", on_event=on_event, **SMALL)
    assert run.finished
    assert saved == [0, 0, 0, 4, 4, 6]
    assert [event for event in events if isinstance(event, Saved)] == [Saved(4)]


@pytest.mark.parametrize("stops", [[], [3], [12], [3, 12]])
def test_a_longer_plan_with_an_interval_that_is_not_set_resumes_exactly(notes: Path, stops: list[int]) -> None:
    """The interval is 1 in the first plan and 2 in the second."""
    settings = {**SMALL, "validation": 0.3, "name": f"run{len(stops)}{sum(stops)}"}
    run = charrnn.train(notes, steps=8, on_event=interrupt_at(stops[0] if stops else 0), **settings)
    for k in range(len(stops) + 1):
        length = {} if run.finished is False and run.step < 8 else {"steps": 40}
        run = charrnn.resume(run.folder, on_event=interrupt_at(([*stops, 0, 0])[k + 1]), **length)
    while not run.finished or run.planned < 40:
        run = charrnn.resume(run.folder, steps=40)
    assert [record.step for record in run.history] == [*range(1, 9), *range(10, 41, 2)]
    whole = charrnn.train(notes, steps=8, **{**settings, "name": "whole"})
    whole = charrnn.resume(whole.folder, steps=40)
    assert run.to_bytes() == whole.to_bytes()
    assert run.config.eval_every is None


def test_training_in_a_folder_that_is_in_use_is_refused(notes: Path) -> None:
    errors: list[Exception] = []

    def on_event(event: Any) -> None:
        if isinstance(event, (Started, StepTaken)):
            calls = [lambda: charrnn.train(notes, steps=2, name="run", overwrite=True, **SMALL),
                     lambda: charrnn.train(notes, name="run", **SMALL)]
            if isinstance(event, StepTaken):
                calls.append(lambda: charrnn.resume("checkpoints/run"))
                assert charrnn.load("checkpoints/run").sample("the", 3)
            for call in calls:
                with pytest.raises(RunError, match=f"checkpoints/run: process {os.getpid()} on .* is training this run"):
                    call()
                errors.append(event)

    run = charrnn.train(notes, steps=3, name="run", on_event=on_event, **SMALL)
    assert len(errors) == 2 + 3 * 3
    assert sorted(os.listdir(run.folder)) == ["best.h5", "last.h5", "metrics.csv", "samples.jsonl"]


def test_the_folder_is_free_again_after_an_error(notes: Path) -> None:
    def on_event(event: Any) -> None:
        if isinstance(event, StepTaken):
            raise LookupError("mine")

    with pytest.raises(LookupError):
        charrnn.train(notes, steps=3, name="run", on_event=on_event, **SMALL)
    assert not Path("checkpoints/run/.lock").exists()
    assert charrnn.resume("checkpoints/run").finished


@pytest.mark.skipif(kernels_name("float32") == "reference", reason="nothing is compiled")
def test_a_compilation_is_an_event_and_a_cached_one_is_not_but_gives_the_same_bits(
        notes: Path, python: Callable[..., Any]) -> None:
    program = """
import hashlib, os, sys
os.environ["NUMBA_CACHE_DIR"] = sys.argv[1]
os.environ["CHARRNN_KERNELS"] = "compiled"
import charrnn
import numpy as np
from charrnn.nn.sampler import Sampler
def show(event): print(type(event).__name__, flush=True)
run = charrnn.train("notes.txt", cell="rnn", hidden_size=37, batch_size=3, seq_len=8, threads=1, name=sys.argv[2],
                    on_event=show, **{sys.argv[3]: float(sys.argv[4]) if sys.argv[3] == "minutes" else int(sys.argv[4])})
network = run.model.network
logits = np.zeros((3, network.vocabulary_size), np.float32)
sampler = Sampler(network, logits, network.initial_state(3), 1.0, None, None, None)
sampler(np.linspace(0, 0.99, 60).reshape(20, 3))
print(run.step, hashlib.sha256(network.parameters.flat.tobytes() + sampler._logits.tobytes()).hexdigest())
"""
    *cold, steps, digest = python("-c", program, "cache", "cold", "minutes", "0.001").out.split()
    assert cold.index("CompilationStarted") < cold.index("PlanFixed")
    *warm, steps_again, digest_again = python("-c", program, "cache", "warm", "steps", steps).out.split()
    assert "CompilationStarted" not in warm
    assert warm[-1] == "StepTaken"
    assert int(steps) > 1
    assert (steps_again, digest_again) == (steps, digest)
    assert list(Path("cache").rglob("*.nbc"))


def test_training_works_in_a_thread(notes: Path) -> None:
    """Python delivers no signals there, and the handlers do not change."""
    runs: list[Run] = []
    handlers: list[Any] = []
    thread = threading.Thread(target=lambda: runs.append(charrnn.train(
        notes, steps=3, on_event=lambda event: handlers.append(signal.getsignal(signal.SIGINT)), **SMALL)))
    thread.start()
    thread.join()
    assert runs[0].finished
    assert set(handlers) == {signal.getsignal(signal.SIGINT)}
    assert runs[0].to_bytes() == charrnn.train(notes, steps=3, name="other", **SMALL).to_bytes()


def test_a_finished_run_is_resumed_with_a_longer_plan_or_a_new_name(notes: Path) -> None:
    first = charrnn.train(notes, steps=4, eval_every=2, schedule="constant", **SMALL)
    before = (first.folder / "last.h5").read_bytes()
    again = charrnn.resume(first.folder)
    assert (again.step, again.finished, again.to_bytes()) == (4, True, before)
    run, events = events_of(charrnn.resume, first.folder / "best.h5", steps=6, name="longer")
    assert run.folder == Path("checkpoints/longer")
    assert (run.step, run.planned) == (6, 6)
    assert kinds(events)[-2:] == ["Started", "StepTaken"]
    assert (first.folder / "last.h5").read_bytes() == before
    assert charrnn.resume(first.folder, steps=5, patience=7).config.patience == 7


def test_a_text_that_was_moved_is_passed(notes: Path, make_text: Callable[..., str]) -> None:
    run = charrnn.train(notes, steps=5, on_event=interrupt_at(2), **SMALL)
    notes.rename("moved.txt")
    with pytest.raises(CorpusError, match=r"notes\.txt"):
        charrnn.resume(run.folder)
    with pytest.raises(RunError, match="is not the text this run was trained on"):
        charrnn.resume(run.folder, corpus=Corpus.from_text(make_text(300)))
    assert charrnn.resume(run.folder, corpus="moved.txt").finished
    assert Run.load(run.folder).source.names == ("moved.txt",)


def test_a_run_on_a_text_that_is_not_in_a_file_needs_its_corpus(notes: Path, make_text: Callable[..., str]) -> None:
    corpus = Corpus.from_text(make_text(400))
    run = charrnn.train(corpus, steps=5, on_event=interrupt_at(2), **SMALL)
    with pytest.raises(RunError, match="not in a file"):
        charrnn.resume(run.folder)
    assert charrnn.resume(run.folder, corpus=corpus).finished


# Errors

@pytest.mark.parametrize(("settings", "error", "name"), [
    ({"size": 8, "hidden_size": 8, "steps": 1}, TypeError, "'size'"), ({"hidden_size": 0}, ConfigError, "hidden_size"),
    ({"learning_rate": -1.0}, ConfigError, "learning_rate"), ({"encoding": "none"}, ConfigError, "encoding"),
    ({"minutes": 2, "steps": 3}, ConfigError, "minutes"), ({"name": "a/b"}, ConfigError, "name")])
def test_an_invalid_setting_is_named_and_nothing_is_created(
        notes: Path, settings: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        charrnn.train(notes, **settings)
    assert os.listdir() == ["notes.txt"]


def test_text_settings_cannot_be_combined_with_a_corpus(notes: Path) -> None:
    with pytest.raises(ConfigError, match="lowercase: cannot be combined with a Corpus"):
        charrnn.train(Corpus.read(notes), steps=1, lowercase=True, **SMALL)


@pytest.mark.parametrize("setting", ["hidden_size", "seed", "learning_rate", "checkpoints", "other"])
def test_a_setting_that_cannot_change_is_named(notes: Path, setting: str) -> None:
    run = charrnn.train(notes, steps=1, **SMALL)
    with pytest.raises(TypeError, match=f"'{setting}' cannot be changed"):
        charrnn.resume(run.folder, **{setting: 3})


def test_a_run_is_replaced_only_on_request(notes: Path) -> None:
    run = charrnn.train(notes, steps=2, **SMALL)
    before = run.to_bytes()
    for name in (None, "notes-lnlstm-8"):
        with pytest.raises(RunError, match="overwrite"):
            charrnn.train(notes, steps=3, name=name, **SMALL)
        assert (run.folder / "last.h5").read_bytes() == before
    with pytest.raises(RunError, match="overwrite"):
        charrnn.resume(run.folder, steps=3, name="notes-lnlstm-8")
    assert charrnn.train(notes, steps=3, overwrite=True, **SMALL).step == Run.load(run.folder).step == 3


def test_best_is_not_an_older_state_in_the_folder(notes: Path) -> None:
    run = charrnn.train(notes, **SMALL, steps=4, eval_every=2, name="run")
    corpus = Corpus.read(notes)
    run.plan(40)
    trainer = Trainer(run, corpus)
    while run.best_record.step <= 4:
        trainer.step()
    trainer.step()
    assert run.best is run.model  # best.h5 is older than the best evaluation


def test_a_corpus_does_not_change_the_text_settings_of_a_run(notes: Path) -> None:
    run = charrnn.train(notes, **SMALL, steps=2, name="run", lowercase=True)
    lower = Corpus.from_text(notes.read_text().lower())
    resumed = charrnn.resume(run.folder, corpus=lower, steps=3)
    assert resumed.model.text_config.lowercase
    assert charrnn.load(run.folder).sample("THE", 3, seed=1).startswith("the")


def test_a_split_must_have_the_fractions_of_the_config(notes: Path) -> None:
    corpus = Corpus.read(notes)
    config = TrainConfig(steps=2, batch_size=2, seq_len=8, threads=1)
    with pytest.raises(ConfigError, match="the split was made with another validation or test"):
        Run.start(corpus.split(0.4), ModelConfig(hidden_size=4), config)
    run = Run.start(corpus, ModelConfig(hidden_size=4), config)
    with pytest.raises(ConfigError, match="the split was made with another validation or test"):
        Trainer(run, corpus.split(0.4))


@pytest.mark.parametrize("call", [lambda: charrnn.load("x" * 5000), lambda: charrnn.resume("x" * 5000),
                                  lambda: charrnn.train([]), lambda: Corpus.read()])
def test_odd_names_give_errors_of_one_line(call: Callable[[], object]) -> None:
    with pytest.raises(CharRNNError) as error:
        call()
    assert str(error.value).isprintable()
