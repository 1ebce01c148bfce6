"""Sweep: train with every combination of some settings."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import CharRNNError, ConfigError, RunError
from charrnn.mpi import Ranks, in_a_pool, ranks, working_alone
from charrnn.nn.kernels import reporting_compilation
from charrnn.text.corpus import Corpus
from charrnn.training.api import carry_out
from charrnn.training.events import CompilationStarted, OnEvent, ignore
from charrnn.training.prepare import Job
from charrnn.training.run import Run
from charrnn.training.run_folder import Inherited, RunFolder
from charrnn.training.run_lock import RunLock
from charrnn.training.signals import StopSignals
from charrnn.training.speed import choose_arithmetic, leave_bfloat16
from charrnn.training.trainer import fix_plan


class Combination(NamedTuple):
    """One run of a sweep: its name, which contains the values that differ, and its settings."""

    name: str
    values: dict[str, Any]
    model_config: ModelConfig
    train_config: TrainConfig


class Result(NamedTuple):
    """The result of one run: its steps and loss, the error that ended it, or the signal that stopped it."""

    combination: Combination
    steps: int
    planned: int
    loss: float | None = None
    error: CharRNNError | None = None
    stopped: int | None = None
    was_finished: bool = False


def combinations(grid: Mapping[str, Sequence[Any]], model_config: Mapping[str, Any], train_config: Mapping[str, Any]
                 ) -> list[Combination]:
    """Return all combinations of the values in ``grid``, each with the other settings.

    Raises ConfigError if a value is out of range.
    """
    found = []
    for chosen in itertools.product(*grid.values()):
        values = dict(zip(grid, chosen))
        model, train = ({**settings, **{item.name: values[item.name] for item in dataclasses.fields(config)
                                        if item.name in values}}
                        for config, settings in ((ModelConfig, model_config), (TrainConfig, train_config)))
        shown = (f"{value:g}" if isinstance(value, float) else str(value).lower() for value in chosen)
        name = "_".join(f"{flag.replace('_', '-')}={text}" for flag, text in zip(values, shown))
        found.append(Combination(name, values, ModelConfig(**model), TrainConfig(**train)))
    if len({each.train_config.validation == 0 for each in found}) > 1:
        raise ConfigError("grid", "combines runs with and without validation, whose losses cannot be compared",
                          "remove 0 from the values of `validation`")
    return found


def sweep(corpus: Corpus, todo: Iterable[Combination], parent: str | Path, on_event: OnEvent = ignore) -> Iterator[Result]:
    """Train each combination in its own run folder in ``parent``, and yield its result when it is ready.

    An existing run is resumed; a finished run is not trained again. A combination that fails gives a result with an
    ``error``. Under MPI, each free rank takes the next combination (``mpi4py.futures``); otherwise the combinations are
    trained one after the other. Ends early after a signal. Raises RunError if a folder contains a run with other settings,
    or if another process trains in it.
    """
    tasks = [(corpus, combination, Path(parent)) for combination in todo]
    job = ranks()
    for config in {combination.train_config.precision: combination.train_config for _, combination, _ in tasks}.values():
        with suppress(CharRNNError):  # an error belongs to the result of a combination
            choose_arithmetic(config, False, on_event)  # before several ranks work
    if in_a_pool():
        from mpi4py.futures import MPIPoolExecutor

        with MPIPoolExecutor() as executor:
            yield from _first_come(executor, tasks)
    elif job.count > 1:
        job.call(_work)
        with job.pool() as executor:
            yield from _first_come(executor, tasks)
    else:
        for task in tasks:
            result = train_one(*task, on_event=on_event)
            yield result
            if result.stopped:
                return


def _work(job: Ranks) -> None:
    with job.pool():
        pass


def _first_come(executor: Any, tasks: list[tuple[Corpus, Combination, Path]]) -> Iterator[Result]:
    from concurrent.futures import as_completed

    with StopSignals() as stop:
        futures = [executor.submit(train_one, *task) for task in tasks]
        for future in as_completed(futures):
            if stop.received is not None:
                for other in futures:
                    other.cancel()
            if not future.cancelled():
                yield future.result()


def train_one(corpus: Corpus, combination: Combination, parent: Path, on_event: OnEvent = ignore) -> Result:
    """Train one combination of a sweep to its end, or until a signal arrives; see ``sweep``."""
    folder = RunFolder(parent / combination.name)
    run = None
    with working_alone(), RunLock(folder.path) as lock:
        try:
            split = corpus.split(combination.train_config.validation, combination.train_config.test)
            arithmetic = choose_arithmetic(combination.train_config, False, on_event)
            config = replace(combination.train_config, precision=arithmetic.precision)
            run = Run.start(split, combination.model_config, config, kernels=arithmetic.kernels)
            new: Inherited | None = Inherited()
            if folder.last.exists():
                kept = Run.load(folder.last)
                if combination.train_config.precision == "auto":
                    run.config = replace(run.config, precision=kept.config.precision)
                run, new = _the_same(kept, run, folder), None
                leave_bfloat16(run, on_event)
            elif folder.exists():
                raise _OtherRunError(f"{folder.path}: contains a run without last.h5",
                                     "remove the folder, or choose another `name` for the sweep")
            if run.config.steps is None:
                with reporting_compilation(lambda: on_event(CompilationStarted())):
                    fix_plan(run, split)
            was_finished = run.finished
            stopped = None if was_finished else carry_out(Job(run, split, folder, lock, new), on_event)
        except _OtherRunError:
            raise
        except MemoryError:
            return _failure(combination, run, CharRNNError("not enough memory", "lower `hidden_size` or `batch_size`"))
        except CharRNNError as error:
            return _failure(combination, run, error)
    if not run.finished:
        return Result(combination, run.step, run.planned, stopped=stopped)
    record = run.best_record
    loss = run.smoothed_loss if record is None else record.validation_loss
    return Result(combination, run.step, run.planned, loss, was_finished=was_finished)


def _failure(combination: Combination, run: Run | None, error: CharRNNError) -> Result:
    steps, planned = (0, None) if run is None else (run.step, run.config.steps)
    return Result(combination, steps, planned or 0, error=error)


class _OtherRunError(RunError):
    """The folder of a combination contains another run."""


def _the_same(kept: Run, new: Run, folder: RunFolder) -> Run:
    """Return ``kept`` if it has the settings and the text of ``new``. Raises _OtherRunError otherwise."""
    plan: dict[str, Any] = {"steps": None, "minutes": None, "eval_every": None, "threads": None}
    if (kept.source.fingerprint != new.source.fingerprint or kept.model.network.config != new.model.network.config
            or replace(kept.config, **plan) != replace(new.config, **plan)
            or new.config.steps not in (None, kept.config.steps)
            or new.config.eval_every not in (None, kept.config.eval_every)):
        raise _OtherRunError(f"{folder.path}: contains a run with other settings or another text",
                             "choose another `name` for the sweep")
    return kept
