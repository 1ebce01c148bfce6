"""Trainer: takes the steps of a run one by one, and evaluates its model."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from charrnn.config import TrainConfig
from charrnn.cpu import one_blas_thread
from charrnn.errors import ConfigError, CorpusError, TrainingError, check_type
from charrnn.inference.evaluation import Evaluation, evaluate
from charrnn.mpi import Ranks
from charrnn.mpi import ranks as all_ranks
from charrnn.nn.dropout import dropout_masks, weight_masks
from charrnn.nn.kernels import kernels_name
from charrnn.nn.model import CharRNN
from charrnn.nn.parallel import Team
from charrnn.nn.state import next_epoch
from charrnn.randomness import generator
from charrnn.text.corpus import Corpus
from charrnn.text.split import Split
from charrnn.text.windows import Windows
from charrnn.training.optimizers import clip, learning_rate, make_optimizer
from charrnn.training.run import EVALUATIONS, Run
from charrnn.training.schema import Record, check_text

_TRIES = 5
"""Number of rollbacks to the same weights after which training gives up."""

_ADVICE = "lower `learning_rate`, or set `clip_norm`"

_TIMED_FRACTION = 0.03
_TIMED_SECONDS = 5.0
_WARM_UP_STEPS = 3
_EVALUATION_FRACTION = 0.05
_TIMED_CHARACTERS = 200_000


class Step(NamedTuple):
    """One step; ``number`` counts from 1.

    ``epoch`` is the number of passes over the training part so far, ``loss`` is in nats per character, and ``seconds`` is
    the time of the step without its evaluation. ``validation_loss`` is None between evaluations, and ``is_best`` says
    whether it is the lowest so far. If something went wrong, ``fault`` says what it was and how it was handled.
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
    """Trains a run: ``for step in Trainer(run, corpus)``.

    Between two steps the run is complete: it can be saved, and a trainer of the saved run continues exactly. In an MPI
    job, each rank computes its part of every step. All ranks have the same run, which is verified at each rollback point. A
    step whose loss or gradient is not finite is not applied: the last finite weights are restored and the learning rate is
    halved. A length in minutes is converted to steps first (``fix_plan``). Raises CorpusError if the text is not that of
    the run. Raises TrainingError if a step is not finite after several rollbacks to the same weights, or at once if
    ``recover`` is off.
    """

    def __init__(self, run: Run, text: Corpus | Split, ranks: Ranks | None = None) -> None:
        check_type("run", run, Run)
        check_type("text", text, Corpus, Split)
        corpus = text.corpus if isinstance(text, Split) else text
        check_text(run.source, corpus)
        self.run = run
        self.split = text if isinstance(text, Split) else run.split(corpus)
        self.split.require(run.config.validation, run.config.test)
        self.windows = Windows(self.split.train, run.config.batch_size, run.config.seq_len)
        if self.windows.per_epoch != run.source.windows:
            raise CorpusError(f"the run was trained on {run.source.windows:,} windows, but this text has "
                              f"{self.windows.per_epoch:,}", "pass the text on which the run was trained")
        _compile(run, corpus.ids.dtype)
        self.team = Team(run.model.network, run.config.threads or 1, ranks or all_ranks())
        self.team.warm_up()

    def __iter__(self) -> Iterator[Step]:
        if self.run.config.steps is None:
            fix_plan(self.run, self.split, ranks=self.team.ranks)
        while not self.run.finished:
            yield self.step()

    def step(self) -> Step:
        """Take one step, and evaluate the model if an evaluation is planned after it."""
        run, config = self.run, self.run.config
        rate = learning_rate(config, run.step + 1) * run.rate_factor
        started = time.perf_counter()
        with one_blas_thread():  # for the whole step, because BLAS threads keep spinning for a while after a product
            loss, norm, applied = self._take(rate)
        seconds = time.perf_counter() - started
        fault, validation_loss, is_best = None, None, False
        if not applied:
            number = run.step + 1
            fault = self._roll_back(f"step {number:,}: non-finite loss, gradient or weights (loss {loss:g}, gradient norm "
                                    f"{norm:g})", number)
            run.step = number
        if run.at_evaluation:
            validation_loss = self.evaluate().nats
            if math.isfinite(validation_loss):
                is_best = run.best_record is None or validation_loss < run.best_record.validation_loss
                run.history.append(Record(run.step, run.smoothed_loss, validation_loss))
            else:
                fault = self._roll_back(f"step {run.step:,}: the validation loss is {validation_loss:g}", run.step)
                validation_loss = None
        if run.at_rollback_point and fault is None:
            fault = self._align_ranks()
            run.keep_rollback()
        return Step(run.step, run.epoch, loss, norm, rate, seconds, validation_loss, is_best, fault)

    def _take(self, rate: float) -> tuple[float, float, bool]:
        """Train on the next window; return the loss, the norm of the gradient, and whether all values are finite."""
        run, config, network = self.run, self.run.config, self.run.model.network
        _, window = self.windows.position(run.step)
        inputs, targets = self.windows[window]
        reset = _with_random_resets(self.windows.resets(window), config, run.step)
        masks = partial(dropout_masks, network.config, config.seed, run.step, config.seq_len, network.dtype)
        dropped = weight_masks(network.config, config.seed, run.step, network.dtype)
        loss, gradients, state = self.team.loss_and_gradients(inputs, targets, run.state, masks, dropped, reset)
        norm = clip(gradients, config.clip_norm, config.clip_value)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return loss, norm, False
        with np.errstate(all="ignore"):
            run.optimizer.update(gradients, rate, run.step + 1)
        if not run.is_finite:
            return loss, norm, False
        if not config.stateful:
            state = network.initial_state(config.batch_size)
        elif window + 1 == self.windows.per_epoch:
            state = next_epoch(state)
        run.advance(loss, state)
        return loss, norm, True

    def _roll_back(self, what: str, step: int) -> str:
        """Roll the run back because of ``what`` in ``step``; return a message about it."""
        run = self.run
        if not run.config.recover:
            raise TrainingError(what, _ADVICE)
        if run.failures == _TRIES:
            raise TrainingError(f"{what}, and rolling back to step {run.rollback_step:,} and halving the learning rate "
                                f"has already failed {_TRIES} times", _ADVICE)
        if step == run.planned and not (run.best_record if run.config.validation else run.smoothed_loss):
            raise TrainingError(f"{what}, and no step before it has a finite loss", _ADVICE)
        run.roll_back()
        return (f"{what}; rolled back to the weights of step {run.rollback_step:,}, and the learning rate is now "
                f"multiplied by {run.rate_factor:g}")

    def _align_ranks(self) -> str | None:
        """Give all ranks the weights of rank 0 if they differ; return a message about it, or None.

        Each rank applies the same gradients to its own copy of the run. On processors of different types the copies may
        drift apart.
        """
        run, ranks = self.run, self.team.ranks
        if ranks.count == 1:
            return None
        digest = hashlib.sha256()
        for block in run.blocks.values():
            digest.update(block.flat.data)
        digests = ranks.all(digest.digest())
        if len(set(digests)) == 1:
            return None
        for block in run.blocks.values():
            block.flat[...] = ranks.first(block.flat)
        others = [str(rank) for rank, each in enumerate(digests) if each != digests[0]]
        return (f"step {run.step:,}: the weights of rank{'s'[:len(others) != 1]} {', '.join(others)} differed from "
                f"those of rank 0, which replaced them")

    def evaluate(self, ids: np.ndarray | None = None) -> Evaluation:
        """Evaluate the run's model on ``ids``, by default the validation part. The state of the run does not change."""
        if ids is None:
            part = self.split.validation
            return evaluate(self.run.model.network, part.ids, team=self.team, starts=part.starts)
        return evaluate(self.run.model.network, ids, team=self.team)


def _with_random_resets(reset: np.ndarray | None, config: TrainConfig, step: int) -> np.ndarray | None:
    """Return ``reset`` (T, B) with resets of random streams before the window that follows ``step`` steps."""
    if not config.reset or not config.stateful:
        return reset
    is_reset = generator(config.seed, "reset", step=step).random(config.batch_size) < config.reset
    if not is_reset.any():
        return reset
    reset = np.zeros((config.seq_len, config.batch_size), bool) if reset is None else reset
    reset[0] |= is_reset
    return reset


def _compile(run: Run, dtype: np.dtype) -> None:
    """Compile the kernels in advance, so that no timed step includes compilation."""
    network = run.model.network
    if kernels_name(network.dtype, network.kernels) == "reference":
        return
    # Sizes of 2, not 1: an array with a side of 1 is contiguous in both orders, for which numba has another signature.
    config = network.config
    small = CharRNN(replace(config, hidden_size=2, embedding_size=min(2, config.embedding_size or 0)), 2,
                    dtype=network.dtype)
    small.kernels, small.bfloat16 = network.kernels, network.bfloat16
    ids, state = np.zeros((2, 2), dtype), small.initial_state(2)
    _, gradients, _ = small.loss_and_gradients(ids, ids, state)
    small.losses(ids, ids, state)
    make_optimizer(run.config, small.parameters, kernels=network.kernels).update(gradients, 0.0, 1)


def fix_plan(run: Run, text: Corpus | Split, minutes: float | None = None, spent: float = 0.0, ranks: Ranks | None = None
             ) -> None:
    """Plan as many steps as fit into ``minutes`` with their evaluations (by default the minutes of the config).

    ``spent`` seconds of these have already passed. The first steps and an evaluation are timed on a copy of the run. If the
    usual number of evaluations would take more than a twentieth of the time, a longer interval is set. Raises ConfigError
    if no time is left.
    """
    seconds = 60 * (minutes or run.config.minutes or 0.0) - spent
    if seconds <= 0:
        raise ConfigError("minutes", f"counts from the start of the run, and {spent / 60:.3g} minutes have passed",
                          "choose more minutes")
    per_step, per_evaluation = _measure(run, text, seconds, ranks)
    every = run.config.eval_every
    if every:
        steps = max(1, int(seconds / (per_step + per_evaluation / every)))
    else:
        fraction = min(_EVALUATION_FRACTION, EVALUATIONS * per_evaluation / seconds)
        steps = max(1, int(seconds * (1 - fraction) / per_step))
        evaluations = round(seconds * fraction / per_evaluation) if per_evaluation else EVALUATIONS
        if evaluations < EVALUATIONS:
            every = math.ceil(steps / max(1, evaluations))
    run.plan(run.step + steps, every)


def _measure(run: Run, text: Corpus | Split, seconds: float, ranks: Ranks | None) -> tuple[float, float]:
    """Return the seconds of one step (the median) and of one evaluation, measured on rank 0."""
    trial = run.copy()
    trial.config = replace(trial.config, eval_every=None)
    trial.plan(run.step + 10**9, 10**9)
    trainer = Trainer(trial, text, ranks)
    for _ in range(_WARM_UP_STEPS):
        trainer.step()
    times: list[float] = []
    at_least = min(_TIMED_SECONDS, _TIMED_FRACTION * seconds)
    while trainer.team.ranks.first(sum(times) < at_least or len(times) < _WARM_UP_STEPS):
        started = time.perf_counter()
        trainer.step()
        times.append(time.perf_counter() - started)
    per_step, per_evaluation = float(np.median(times)), 0.0
    if run.config.validation:
        validation = trainer.split.validation.ids
        sample = validation[:_TIMED_CHARACTERS]
        started = time.perf_counter()
        trainer.evaluate(sample)
        per_evaluation = (time.perf_counter() - started) * (len(validation) - 1) / (len(sample) - 1)
    seconds_of: tuple[float, float] = trainer.team.ranks.first((per_step, per_evaluation))
    return seconds_of
