"""charrnn.training.trainer"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from charrnn import Corpus, Run, Trainer
from charrnn.config import TextConfig
from charrnn.cpu import one_blas_thread
from charrnn.errors import ConfigError, CorpusError, TrainingError
from charrnn.inference.evaluation import evaluate
from charrnn.mpi import Ranks
from charrnn.nn.dropout import dropout_masks, weight_masks
from charrnn.nn.state import map_state, next_epoch
from charrnn.randomness import generator
from charrnn.text.windows import Windows
from charrnn.training.optimizers import clip, learning_rate
from charrnn.training.trainer import fix_plan

Start = Callable[..., Run]
Take = Callable[..., list]
ToFile = Callable[[Run], bytes]


@st.composite
def settings(draw: st.DrawFn) -> dict[str, Any]:
    """Draw settings of a small run whose epochs have 2 to 16 windows."""
    return draw(st.fixed_dictionaries({
        "steps": st.integers(2, 12), "cell": st.sampled_from(["rnn", "lstm", "gru", "lnlstm"]), "layers": st.integers(1, 2),
        "dropout": st.sampled_from([0.0, 0.4]), "weight_drop": st.sampled_from([0.0, 0.5]),
        "embedding_size": st.sampled_from([0, 3]), "stateful": st.booleans(),
        "reset": st.sampled_from([0.0, 0.3, 1.0]),
        "batch_size": st.integers(3, 5), "seq_len": st.sampled_from([8, 24]), "threads": st.integers(1, 3),
        "optimizer": st.sampled_from(["adam", "rmsprop", "adagrad", "sgd"]), "momentum": st.sampled_from([0.0, 0.9]),
        "schedule": st.sampled_from(["cosine", "step", "constant"]), "warmup": st.integers(0, 4),
        "weight_decay": st.sampled_from([0.0, 0.1]), "clip_norm": st.sampled_from([0.0, 0.1]),
        "clip_value": st.sampled_from([0.0, 0.01]), "validation": st.sampled_from([0.0, 0.2]),
        "eval_every": st.sampled_from([None, 1, 3, 100]), "seed": st.integers(0, 2**63 - 1),
        "dtype": st.sampled_from(["float32", "float64"]),
    }))


@pytest.fixture(scope="session")
def again(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Run], Run]:
    """Return a function that saves a run and loads it again."""
    path = tmp_path_factory.mktemp("again") / "run.h5"

    def reload(run: Run) -> Run:
        run.save(path)
        return Run.load(path)

    return reload


# A resumed run equals one that never stopped

@hypothesis_settings(max_examples=20)
@given(values=settings(), data=st.data())
def test_a_run_that_was_stopped_ends_in_the_same_file(
        start: Start, take: Take, to_file: ToFile, again: Callable, values: dict, data: st.DataObject) -> None:
    whole = start(**values)
    steps = take(whole)
    run = start(**values)
    cuts = data.draw(st.lists(st.integers(0, values["steps"]), min_size=1, max_size=3).map(sorted))
    resumed = []
    for cut in cuts:
        resumed += take(run, cut - run.step)
        run = again(run)
    resumed += take(run)
    assert to_file(run) == to_file(whole)
    assert [step._replace(seconds=0) for step in resumed] == [step._replace(seconds=0) for step in steps]


@hypothesis_settings(max_examples=8)
@given(values=settings(), first=st.integers(1, 12), stop=st.integers(0, 12))
def test_a_longer_plan_equals_one_from_the_start(
        start: Start, take: Take, to_file: ToFile, values: dict, first: int, stop: int) -> None:
    """This is so with a constant schedule and no warm-up, unless a first plan ended between two evaluation points."""
    values |= {"schedule": "constant", "eval_every": 3, "warmup": 0}
    if stop >= first:
        first, stop = 3 * first, 3 * first  # the whole first plan, a multiple of the interval
    run = start(**values | {"steps": first})
    take(run, stop)
    run.plan(first + 5)
    take(run)
    planned = start(**values | {"steps": first + 5})
    take(planned)
    assert to_file(run) == to_file(planned)


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_the_schedule_of_a_longer_plan_equals_one_from_the_start(
        start: Start, take: Take, schedule: str) -> None:
    run = start(steps=8, schedule=schedule, eval_every=4)
    take(run)
    run.plan(20)
    planned = start(steps=20, schedule=schedule, eval_every=4)
    assert [step.learning_rate for step in take(run)] == [learning_rate(planned.config, number) for number in range(9, 21)]


def test_the_same_run_twice_gives_the_same_file(start: Start, take: Take, to_file: ToFile) -> None:
    files = []
    for _ in range(2):
        run = start(dropout=0.3, threads=2, layers=2)
        take(run)
        files.append(to_file(run))
    assert files[0] == files[1]


# Steps

@hypothesis_settings(max_examples=15)
@given(values=settings())
def test_a_step_equals_its_parts_done_by_hand(start: Start, take: Take, corpus: Corpus, values: dict) -> None:
    """The parts are windows in order, the state carried as configured, masks by step, and one update per window."""
    run = start(**values | {"threads": 1, "steps": 9})
    config, model, twin = run.config, run.model.network, run.copy()
    windows = Windows(corpus.split(config.validation).train, config.batch_size, config.seq_len)
    assert 2 <= windows.per_epoch <= 16
    state = model.initial_state(config.batch_size)
    for number in range(1, 10):
        inputs, targets = windows[(number - 1) % windows.per_epoch]
        forgets = generator(config.seed, "reset", step=number - 1).random(config.batch_size) < config.reset
        state = map_state(lambda array, kept=~forgets[:, None]: (kept * array).astype(array.dtype), state)
        masks = dropout_masks(model.config, config.seed, number - 1, config.seq_len, model.dtype, 0, config.batch_size)
        dropped = weight_masks(model.config, config.seed, number - 1, model.dtype)
        with one_blas_thread():
            loss, gradients, after = twin.model.network.loss_and_gradients(inputs, targets, state, masks, dropped)
        norm, rate = clip(gradients, config.clip_norm, config.clip_value), learning_rate(config, number)
        twin.optimizer.update(gradients, rate, number)
        (step,) = take(run, 1)
        assert step[:5] == (number, number / windows.per_epoch, loss, norm, rate)
        assert model.parameters.flat.tobytes() == twin.model.network.parameters.flat.tobytes()
        if not config.stateful:
            state = model.initial_state(config.batch_size)
        elif number % windows.per_epoch == 0:
            state = next_epoch(after)
        else:
            state = after
        assert [array.tobytes() for layer in run.state for array in layer] == [
            array.tobytes() for layer in state for array in layer]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "lnlstm", "gru"])
def test_stateless_starts_each_window_from_zero_and_stateful_does_not(start: Start, take: Take, cell: str) -> None:
    stateful, stateless = start(cell=cell), start(cell=cell, stateful=False)
    assert take(stateful, 1)[0].loss == take(stateless, 1)[0].loss
    assert not any(array.any() for layer in stateless.state for array in layer)
    assert all(array.any() for layer in stateful.state for array in layer)
    assert take(stateful, 1)[0].loss != take(stateless, 1)[0].loss


def test_each_stream_is_reset_independently_of_the_others(start: Start, corpus: Corpus) -> None:
    run = start(reset=0.25, steps=400, batch_size=3, seq_len=8, learning_rate=1e-30)
    trainer, counts = Trainer(run, corpus), np.zeros(3)
    together = 0
    original = trainer.team.loss_and_gradients

    def watched(*arguments: Any) -> Any:
        nonlocal together
        reset = arguments[-1]
        if reset is not None:
            assert not reset[1:].any()
            counts[...] += reset[0]
            together += int(reset[0].all())
        return original(*arguments)

    trainer.team.loss_and_gradients = watched  # type: ignore[method-assign]
    for _ in trainer:
        pass
    assert counts.min() > 70, counts  # of 400; mean 100, standard deviation 9
    assert counts.max() < 130, counts
    assert together < 25


def test_a_run_without_a_state_is_not_changed_by_resets(start: Start, take: Take) -> None:
    with_resets, without = (start(stateful=False, reset=reset) for reset in (1.0, 0.0))
    assert [step.loss for step in take(with_resets, 4)] == [step.loss for step in take(without, 4)]


def test_dropout_masks_differ_in_each_step_and_evaluation_has_none(start: Start, corpus: Corpus) -> None:
    run = start(dropout=0.5, learning_rate=1e-30, steps=30, stateful=False, batch_size=1, seq_len=179)
    trainer = Trainer(run, corpus)  # two long windows per epoch; the weights do not change
    assert trainer.windows.per_epoch == 2
    assert len({trainer.step().loss for _ in range(8)}) == 8
    assert trainer.evaluate() == trainer.evaluate() == evaluate(run.model.network, trainer.split.validation.ids)


def test_training_learns(start: Start, take: Take) -> None:
    run = start(steps=120, learning_rate=0.03, hidden_size=16, schedule="constant")
    steps = take(run)
    assert np.mean([step.loss for step in steps[-10:]]) < 0.8 * steps[0].loss
    assert run.best_record.validation_loss < 0.9 * run.history[0].validation_loss


def test_the_smoothed_loss_starts_as_the_mean(start: Start, take: Take) -> None:
    run = start(steps=6)
    steps = take(run)
    assert run.smoothed_loss == pytest.approx(np.mean([step.loss for step in steps]))


def test_iterating_takes_the_remaining_steps_of_the_plan(start: Start, take: Take, corpus: Corpus) -> None:
    run = start(steps=6)
    take(run, 2)
    assert [step.number for step in Trainer(run, corpus)] == [3, 4, 5, 6]
    assert list(Trainer(run, corpus)) == []


def test_a_run_can_be_left_between_two_steps(start: Start, take: Take, to_file: ToFile, corpus: Corpus) -> None:
    run = start(steps=6)
    for step in Trainer(run, corpus):
        if step.number == 4:
            break
    other = start(steps=6)
    take(other, 4)
    assert to_file(run) == to_file(other)


# Evaluation

@pytest.mark.parametrize("threads", [1, 2])
def test_evaluation_does_not_change_the_state_of_training(
        start: Start, to_file: ToFile, corpus: Corpus, threads: int) -> None:
    run, quiet = (start(steps=6, eval_every=100, threads=threads, dropout=0.3) for _ in range(2))
    trainer, other = Trainer(run, corpus), Trainer(quiet, corpus)
    for _ in range(6):
        before = to_file(run)
        trainer.evaluate()
        trainer.evaluate(corpus.ids[:50])
        assert to_file(run) == before
        trainer.step()
        other.step()
    assert to_file(run) == to_file(quiet)


def test_a_step_with_an_evaluation_has_its_loss_and_whether_it_is_the_best(start: Start, corpus: Corpus) -> None:
    run = start(steps=9, eval_every=2, learning_rate=0.5)
    trainer, best = Trainer(run, corpus), float("inf")
    for step in trainer:
        if step.number not in (2, 4, 6, 8, 9):
            assert (step.validation_loss, step.is_best) == (None, False)
            continue
        assert step.validation_loss == trainer.evaluate().nats
        assert run.history[-1] == (step.number, run.smoothed_loss, step.validation_loss)
        assert step.is_best is (step.validation_loss < best)
        best = min(best, step.validation_loss)
    assert run.best_record.validation_loss == best


def test_the_test_part_is_never_read(start: Start, take: Take, to_file: ToFile, make_text: Callable) -> None:
    texts = [make_text(400) + end for end in ("the cat" * 20, "sings a" * 20)]
    runs = [start(Corpus.from_text(text), test=140 / 540) for text in texts]
    for run, text in zip(runs, texts):
        take(run, text=Corpus.from_text(text))
        run.source = run.source._replace(fingerprint="")
    assert to_file(runs[0]) == to_file(runs[1])


def test_of_equal_evaluations_the_first_is_best(start: Start, take: Take) -> None:
    run = start(steps=3, eval_every=1, learning_rate=1e-30)  # the weights do not change
    assert [step.is_best for step in take(run)] == [True, False, False]


# Errors

def test_another_text_is_refused(start: Start, make_text: Callable[..., str]) -> None:
    with pytest.raises(CorpusError, match=r"other\.txt: .*400 characters then, 300 now"):
        Trainer(start(), Corpus.from_text(make_text(300), ["other.txt"]))


def test_the_same_text_with_another_name_is_accepted(
        start: Start, take: Take, to_file: ToFile, make_text: Callable) -> None:
    one, other = start(), start()
    take(one)
    take(other, text=Corpus.from_text(make_text(400), ["moved/notes.txt"]))
    assert to_file(one) == to_file(other)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_ends_training_and_does_not_change_the_run(
        start: Start, corpus: Corpus, value: float) -> None:
    run = start(recover=False)
    trainer = Trainer(run, corpus)
    trainer.step()
    run.model.network.parameters["output/b"][0] = value
    weights = run.model.network.parameters.flat.copy()
    with pytest.raises(TrainingError, match="step 2"):
        trainer.step()
    assert run.step == 1
    assert run.model.network.parameters.flat.tobytes() == weights.tobytes()


@pytest.mark.parametrize(("rate", "validation"), [(1e308, 0.0), (1e308, 0.2), (3e37, 0.2)])
def test_an_update_that_is_not_finite_ends_training(
        start: Start, corpus: Corpus, rate: float, validation: float) -> None:
    """Either the weights are not finite, or the loss of the validation part."""
    run = start(steps=1, learning_rate=rate, warmup=0, validation=validation, hidden_size=64)
    with pytest.raises(TrainingError):
        Trainer(run, corpus).step()


def _spoil(monkeypatch: pytest.MonkeyPatch, at: Callable[[int], bool]) -> None:
    """Make the gradient NaN in the steps for which ``at`` is true."""
    right = Trainer._take

    def take(self: Trainer, rate: float) -> tuple[float, float, bool]:
        with pytest.MonkeyPatch.context() as patch:
            if at(self.run.step + 1):
                patch.setattr("charrnn.training.trainer.clip", lambda *_: np.nan)
            return right(self, rate)

    monkeypatch.setattr(Trainer, "_take", take)


def test_a_step_that_is_not_finite_restores_the_last_finite_weights(
        start: Start, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(steps=20, eval_every=3)
    trainer, flats = Trainer(run, corpus), {}
    _spoil(monkeypatch, lambda number: number in (5, 8))
    for step in trainer:
        flats[step.number] = run.model.network.parameters.flat.copy()
        assert (step.fault is not None) == (step.number in (5, 8))
        if step.number == 5:
            assert "step 3" in step.fault
            np.testing.assert_array_equal(flats[5], flats[3])
            assert not any(array.any() for layer in run.state for array in layer)
        if step.number == 8:
            np.testing.assert_array_equal(flats[8], flats[6])
    assert run.rate_factor == 0.25
    assert run.step == 20
    assert [record.step for record in run.history] == [3, 6, 9, 12, 15, 18, 20]
    assert step.learning_rate == pytest.approx(learning_rate(run.config, 20) / 4)


def test_training_gives_up_after_several_rollbacks_in_a_row(
        start: Start, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(steps=40, eval_every=10)
    _spoil(monkeypatch, lambda number: number > 12)
    with pytest.raises(TrainingError, match="failed 5 times"):
        list(Trainer(run, corpus))
    assert (run.step, run.failures, run.rate_factor) == (17, 5, 1 / 32)


def test_rollbacks_are_counted_from_the_last_rollback_point(
        start: Start, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(steps=40, eval_every=4)
    _spoil(monkeypatch, lambda number: number % 4 == 1)
    faults = [step.number for step in Trainer(run, corpus) if step.fault]
    assert faults == list(range(1, 41, 4))


@pytest.mark.parametrize("stop", [5, 6, 7, 9])
def test_a_run_that_was_rolled_back_resumes_exactly(
        start: Start, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
        to_file: ToFile, stop: int) -> None:
    """The rollback point may be before the stop and the fault after it, because the file contains the finite weights."""
    _spoil(monkeypatch, lambda number: number in (6, 8))
    whole, part = start(steps=12, eval_every=4), start(steps=12, eval_every=4)
    list(Trainer(whole, corpus))
    trainer = Trainer(part, corpus)
    while part.step < stop:
        trainer.step()
    part.save(tmp_path / "part.h5")
    resumed = Run.load(tmp_path / "part.h5")
    list(Trainer(resumed, corpus))
    assert to_file(resumed) == to_file(whole)


# Ranks

class Rank(Ranks):
    """Rank ``number`` of two. ``heard`` contains the values of the other rank, in order, and ``said`` its own."""

    def __init__(self, number: int, heard: list[Any]) -> None:
        super().__init__()
        self.number, self.count = number, 2
        self.heard, self.said = heard, []

    def all(self, value: Any) -> list[Any]:
        self.said.append(value)
        other = self.heard.pop(0)
        return [value, other] if self.number == 0 else [other, value]

    def first(self, value: Any) -> Any:
        self.said.append(value.copy())
        return value if self.number == 0 else self.heard.pop(0)


@pytest.mark.parametrize("name", ["parameters", "optimizer/mean"])
def test_ranks_that_drifted_apart_take_the_weights_of_rank_0(
        start: Start, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    first, second = start(), start()
    second.blocks[name].flat[3] += np.float32(1e-7)
    trainers = [Trainer(run, corpus) for run in (first, second)]
    right = {key: block.flat.copy() for key, block in first.blocks.items()}
    digests = []
    for trainer in trainers:
        trainer.team.ranks = Rank(0, [b"other"])
        trainer._align_ranks()
        digests.append(trainer.team.ranks.said[0])
    assert digests[0] != digests[1]
    trainers[0].team.ranks = Rank(0, [digests[1]])
    trainers[1].team.ranks = Rank(1, [digests[0], *right.values()])
    for trainer in trainers:
        assert trainer._align_ranks() == "step 0: the weights of rank 1 differed from those of rank 0, which replaced them"
        assert {key: block.flat.tobytes() for key, block in trainer.run.blocks.items()} == {
            key: flat.tobytes() for key, flat in right.items()}
    trainers[0].team.ranks = rank = Rank(0, [digests[0]])
    assert trainers[0]._align_ranks() is None
    assert rank.said == [digests[0]]


def test_ranks_are_aligned_at_each_rollback_point_and_a_difference_is_reported(
        start: Start, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    run, steps = start(steps=7, eval_every=3, validation=0), []
    monkeypatch.setattr(Trainer, "_align_ranks", lambda self: steps.append(self.run.step) or "they differed")
    faults = [step.fault for step in Trainer(run, corpus)]
    assert steps == [3, 6]
    assert faults == [None, None, "they differed"] * 2 + [None]
    assert run.rollback_step == 6


# A plan in minutes

def test_a_plan_in_minutes_becomes_steps(start: Start, corpus: Corpus, to_file: ToFile) -> None:
    run = start(minutes=0.001)
    fix_plan(run, corpus)
    assert run.config.minutes is None
    assert run.planned >= 1
    assert run.eval_every >= 1
    assert run.step == 0
    same = start(steps=run.planned, eval_every=run.config.eval_every)
    assert to_file(run) == to_file(same)  # nothing was trained, and the same plan in steps gives the same run


def test_iterating_fixes_the_plan_first(start: Start, take: Take) -> None:
    run = start(minutes=1e-9)
    steps = take(run)
    assert len(steps) == run.planned == run.step >= 1


@pytest.mark.parametrize("values", [{"eval_every": 2}, {"validation": 0}, {"patience": 1}, {"stateful": False}], ids=str)
def test_a_plan_in_minutes_keeps_the_other_settings(start: Start, corpus: Corpus, values: dict[str, Any]) -> None:
    run = start(minutes=0.001, **values)
    before = run.config
    fix_plan(run, corpus)
    assert replace(run.config, steps=None, minutes=0.001, eval_every=before.eval_every) == before
    assert run.config.eval_every == values.get("eval_every", run.config.eval_every)


def test_more_minutes_extend_the_plan_of_a_started_run(start: Start, take: Take, corpus: Corpus) -> None:
    run = start(steps=6)
    take(run)
    with pytest.raises(ConfigError, match=r"minutes: .*0\.5 minutes have passed"):
        fix_plan(run, corpus, minutes=0.5, spent=30)
    assert run.planned == 6
    fix_plan(run, corpus, minutes=0.501, spent=30)
    assert run.planned > 6
    assert run.step == 6


def test_a_validation_loss_that_is_not_finite_is_rolled_back(
        start: Start, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(steps=9, eval_every=3)
    trainer, right = Trainer(run, corpus), Trainer.evaluate

    def evaluate(self: Trainer, ids: Any = None) -> Any:
        return right(self, ids)._replace(nats=np.inf) if run.step == 6 else right(self, ids)

    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    faults = {step.number: step.fault for step in trainer if step.fault}
    assert faults.keys() == {6}
    assert "rolled back to the weights of step 3" in faults[6]
    assert [record.step for record in run.history] == [3, 9]
    assert run.rate_factor == 0.5


class Clock:
    """A clock that only steps and evaluations advance: a step takes one second, an evaluation ten."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("charrnn.training.trainer.time.perf_counter", lambda: self.now)
        for name, seconds in (("_take", 1), ("evaluate", 10)):
            monkeypatch.setattr(Trainer, name, self._slow(getattr(Trainer, name), seconds))

    def _slow(self, work: Callable, seconds: float) -> Callable:
        def slow(*arguments: Any) -> Any:
            self.now += seconds
            return work(*arguments)

        return slow


@pytest.mark.parametrize("minutes", [5, 20, 60])
@pytest.mark.parametrize("values", [{}, {"eval_every": 10}, {"validation": 0}], ids=str)
def test_steps_and_evaluations_fit_into_the_minutes(
        start: Start, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, minutes: int, values: dict[str, Any]) -> None:
    run = start(minutes=minutes, **values)
    Clock(monkeypatch)
    fix_plan(run, corpus)
    evaluations = 0 if run.config.validation == 0 else -(-run.planned // run.eval_every)
    assert run.planned + 10 * evaluations == pytest.approx(60 * minutes, rel=0.06)


def test_spent_minutes_count(start: Start, take: Take, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(steps=6, validation=0)
    take(run)
    Clock(monkeypatch)
    fix_plan(run, corpus, minutes=10, spent=480)
    assert run.planned == 6 + 120


def test_a_trainer_resets_the_state_at_every_line(start: Callable[..., Run], make_text: Callable[..., str]) -> None:
    corpus = Corpus.from_text(make_text(600).replace(" ", "\n"), text_config=TextConfig(documents="lines"))
    run = start(corpus)
    trainer, end = Trainer(run, corpus), corpus.vocabulary.id("\n")
    for window in range(trainer.windows.per_epoch):
        np.testing.assert_array_equal(trainer.windows.resets(window), trainer.windows[window][0] == end)
    inputs, targets = trainer.windows[0]
    expected = run.model.network.replica().loss_and_gradients(inputs, targets, run.state, reset=inputs == end)[0]
    assert trainer.step().loss == pytest.approx(expected, rel=1e-6)
