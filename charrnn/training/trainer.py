"""Trainer: steps and evaluations of a run, one by one. Prints nothing, knows no terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from charrnn.errors import ConfigError, CorpusError, TrainingError
from charrnn.inference.evaluation import Evaluation, evaluate
from charrnn.mpi import Ranks
from charrnn.mpi import ranks as all_ranks
from charrnn.nn import kernels
from charrnn.nn.dropout import dropout_masks, weight_masks
from charrnn.nn.model import CharRNN
from charrnn.nn.parallel import Team, one_blas_thread
from charrnn.text.corpus import Corpus
from charrnn.text.files import listed
from charrnn.text.windows import Windows, next_epoch
from charrnn.training.optimizers import clip, learning_rate, make_optimizer
from charrnn.training.run import EVALUATIONS, Run
from charrnn.training.schema import Record

_TRIES = 5
"""How often in a row a run goes back to its last good weights before it gives up."""

_ADVICE = "give a lower --learning-rate, or a --clip-norm"

_TIMED_SHARE = 0.03
_TIMED_SECONDS = 5.0
_WARM_UP_STEPS = 3
_EVALUATION_SHARE = 0.1
_TIMED_CHARACTERS = 200_000


class Step(NamedTuple):
    """One step that was taken, ``number`` from 1.

    ``epoch`` is how many passes over the training part are done, ``loss`` in nats per character, ``seconds`` what the
    step took without an evaluation. ``validation_loss`` stands there at evaluation points, and ``is_best`` says that
    it is the lowest so far. Where the loss or the gradient was not finite, ``fault`` says what was done instead.
    """

    number: int
    epoch: float
    loss: float
    gradient_norm: float
    learning_rate: float
    seconds: float
    validation_loss: float | None = None
    is_best: bool = False
    fault: str | None = None


class Trainer:
    """Takes a run through its steps: ``for step in Trainer(run, corpus)``.

    The run is whole between two steps, so it can be saved there, and a trainer of the saved one goes on as this one
    would have. Among the ranks of an MPI job each takes its share of every step, and all come to the same run. A plan
    that is given in minutes is fixed first (``fix_plan``). A step whose loss or gradient is not finite is not applied:
    the run goes back to its last good weights and halves its learning rate. Raises CorpusError where ``corpus`` is not
    the run's, TrainingError where that has not helped a few times in a row, or at once where the config says so.
    """

    def __init__(self, run: Run, corpus: Corpus, ranks: Ranks | None = None) -> None:
        if corpus.fingerprint != run.source.fingerprint:
            raise CorpusError(f"{listed(corpus.sources) or 'the text'}: not the text this run was trained on "
                              f"({run.source.characters:,} characters then, {len(corpus):,} now); name the right one")
        self.run = run
        self.corpus = corpus
        self.split = corpus.split(run.config.validation, run.config.test)
        self.starts = corpus.split_starts(run.config.validation, run.config.test)
        self.windows = Windows(self.split.train, run.config.batch_size, run.config.seq_len, self.starts.train)
        _compile(run, corpus.ids.dtype)
        self.team = Team(run.model, run.config.threads or 1, ranks or all_ranks())

    def __iter__(self) -> Iterator[Step]:
        if self.run.config.steps is None:
            fix_plan(self.run, self.corpus, ranks=self.team.ranks)
        while not self.run.finished:
            yield self.step()

    def step(self) -> Step:
        """Take one step, with the evaluation that may follow it."""
        run, config = self.run, self.run.config
        rate = learning_rate(config, run.step + 1) * run.rate_factor
        started = time.perf_counter()
        with one_blas_thread():  # in all that a step does: threads that BLAS has woken once spin for a while
            loss, norm, applied = self._take(rate)
        seconds = time.perf_counter() - started
        fault, validation_loss, is_best = None, None, False
        if not applied:
            number = run.step + 1
            fault = self._fall_back(f"step {number:,} ends in no numbers (loss {loss:g}, gradient's norm {norm:g})", number)
            run.step = number
        if run.at_evaluation:
            validation_loss = self.evaluate().nats
            if math.isfinite(validation_loss):
                is_best = run.best is None or validation_loss < run.best.validation_loss
                run.history.append(Record(run.step, run.smoothed_loss, validation_loss))
            else:
                fault = self._fall_back(f"the validation loss after step {run.step:,} is {validation_loss:g}", run.step)
                validation_loss = None
        if run.at_good_point and fault is None:
            run.note_good()
        return Step(run.step, run.epoch, loss, norm, rate, seconds, validation_loss, is_best, fault)

    def _take(self, rate: float) -> tuple[float, float, bool]:
        """One window, one update; returns the loss, the gradient's norm, and whether all numbers are finite."""
        run, config = self.run, self.run.config
        _, window = self.windows.position(run.step)
        inputs, targets = self.windows[window]
        fresh = self.windows.fresh(window)
        masks = partial(dropout_masks, run.model.config, config.seed, run.step, config.seq_len, run.model.dtype)
        dropped = weight_masks(run.model.config, config.seed, run.step, run.model.dtype)
        loss, gradients, state = self.team.loss_and_gradients(inputs, targets, run.state, masks, dropped, fresh)
        norm = clip(gradients, config.clip_norm, config.clip_value)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return loss, norm, False
        with np.errstate(all="ignore"):
            run.optimizer.update(gradients, rate, run.step + 1)
        if not run.is_finite:
            return loss, norm, False
        if not config.stateful:
            state = run.model.initial_state(config.batch_size)
        elif window + 1 == self.windows.per_epoch:
            state = next_epoch(state)
        run.advance(loss, state)
        return loss, norm, True

    def _fall_back(self, what: str, step: int) -> str:
        """Do what can be done about ``what`` has happened in ``step``; returns both in words."""
        run = self.run
        if not run.config.recover:
            raise TrainingError(f"{what}; {_ADVICE}")
        if run.failures == _TRIES:
            raise TrainingError(f"{what}, and going back to step {run.good_step:,} at half the learning rate has not "
                                f"helped {_TRIES} times in a row; {_ADVICE}")
        if step == run.planned and not (run.best if run.config.validation else run.smoothed_loss):
            raise TrainingError(f"{what}, and nothing before it was better; {_ADVICE}")
        run.fall_back()
        return (f"{what}; back to the weights of step {run.good_step:,}, with the learning rate times "
                f"{run.rate_factor:g} from here on")

    def evaluate(self, ids: np.ndarray | None = None) -> Evaluation:
        """The run's model on ``ids``, by default the validation part; its own state is not touched."""
        if ids is None:
            return evaluate(self.run.model, self.split.validation, team=self.team, starts=self.starts.validation)
        return evaluate(self.run.model, ids, team=self.team)


def _compile(run: Run, kind: np.dtype) -> None:
    """Have compiled all that a step and an evaluation call, so that none of them takes the time."""
    if kernels.name(run.model.dtype) == "reference":
        return
    config = run.model.config  # sizes of 2: what has a side of 1 is of every order at once, and would compile for another
    model = CharRNN(replace(config, hidden_size=2, embedding_size=min(2, config.embedding_size or 0)), 2,
                    dtype=run.model.dtype)
    ids, state = np.zeros((2, 2), kind), model.initial_state(2)
    _, gradients, _ = model.loss_and_gradients(ids, ids, state)
    model.loss(ids, ids, state)
    make_optimizer(run.config, model.parameters).update(gradients, 0.0, 1)


def fix_plan(run: Run, corpus: Corpus, minutes: float | None = None, spent: float = 0.0, ranks: Ranks | None = None
             ) -> None:
    """Fix how many steps, evaluations among them, fit into ``minutes`` (by default those of the run's config).

    ``spent`` seconds of them are over. The first steps, and an evaluation, are timed on a copy of the run, which is
    thrown away. Where the usual number of evaluations would take more than a tenth of the time, there are fewer. Raises
    ConfigError where the time is over already.
    """
    seconds = 60 * (minutes or run.config.minutes or 0.0) - spent
    if seconds <= 0:
        raise ConfigError("minutes", f"count from the start of the run, and {spent / 60:.2f} are over; give more")
    per_step, per_evaluation = _measure(run, corpus, seconds, ranks)
    every = run.config.eval_every
    if every:
        steps = int(seconds / (per_step + per_evaluation / every))
    else:
        share = min(_EVALUATION_SHARE, EVALUATIONS * per_evaluation / seconds)
        steps = max(1, int(seconds * (1 - share) / per_step))
        evaluations = EVALUATIONS if not per_evaluation else round(seconds * share / per_evaluation)
        every = math.ceil(steps / max(1, evaluations))
    run.plan(run.step + max(1, steps), every)


def _measure(run: Run, corpus: Corpus, seconds: float, ranks: Ranks | None) -> tuple[float, float]:
    """Seconds of one step (the median) and of one evaluation, by the clock of rank 0."""
    trial = run.copy()
    trial.config = replace(trial.config, eval_every=None)
    trial.plan(run.step + 10**9, 10**9)
    trainer = Trainer(trial, corpus, ranks)
    for _ in range(_WARM_UP_STEPS):
        trainer.step()
    times: list[float] = []
    at_least = min(_TIMED_SECONDS, _TIMED_SHARE * seconds)
    while trainer.team.ranks.first(sum(times) < at_least or len(times) < _WARM_UP_STEPS):
        started = time.perf_counter()
        trainer.step()
        times.append(time.perf_counter() - started)
    per_step, per_evaluation = float(np.median(times)), 0.0
    if run.config.validation:
        sample = trainer.split.validation[:_TIMED_CHARACTERS]
        started = time.perf_counter()
        trainer.evaluate(sample)
        share = (len(trainer.split.validation) - 1) / (len(sample) - 1)
        per_evaluation = (time.perf_counter() - started) * share
    seconds_of: tuple[float, float] = trainer.team.ranks.first((per_step, per_evaluation))
    return seconds_of
