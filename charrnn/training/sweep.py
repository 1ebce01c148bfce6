"""Sweep: the same training with each combination of some settings."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import ConfigError, RunError, TrainingError
from charrnn.mpi import Ranks, in_a_pool, ranks, working_alone
from charrnn.text.corpus import Corpus
from charrnn.training.run import Run
from charrnn.training.run_folder import Keeper, RunFolder, StopSignals
from charrnn.training.trainer import Step, Trainer, fix_plan

_WORDS = {"yes": True, "true": True, "no": False, "false": False}


class Combination(NamedTuple):
    """One training of a sweep: its name, made of the values that differ, and its settings."""

    name: str
    values: dict[str, Any]
    model_config: ModelConfig
    train_config: TrainConfig


class Result(NamedTuple):
    """What became of one: the run as it is now, the error that ended it, or the number of the signal that stopped it."""

    combination: Combination
    steps: int
    planned: int
    loss: float | None = None
    error: str | None = None
    stopped: int | None = None
    was_finished: bool = False


def parse_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Settings and their values, from texts such as "hidden-size=128,256". Raises ConfigError for what is none."""
    kinds = {item.name: item.metadata["kind"]
             for config in (ModelConfig, TrainConfig) for item in dataclasses.fields(config)}
    grid: dict[str, list[Any]] = {}
    for text in texts:
        flag, _, values = text.partition("=")
        name = flag.strip().replace("-", "_")
        if name not in kinds:
            raise ConfigError("grid", f"{flag!r} is no setting of a training; give it as in hidden-size=128,256")
        if name in grid:
            raise ConfigError("grid", f"names {flag} twice; give all its values at once")
        grid[name] = [_value(flag, kinds[name], value.strip()) for value in values.split(",")]
        if len(set(grid[name])) < len(grid[name]):
            raise ConfigError("grid", f"has a value of {flag} twice")
    return grid


def _value(flag: str, kind: type, text: str) -> Any:
    try:
        return _WORDS[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise ConfigError("grid", f"{flag} takes {kind.__name__} values, not {text!r}") from None


def combinations(grid: Mapping[str, Sequence[Any]], model_config: Mapping[str, Any], train_config: Mapping[str, Any]
                 ) -> list[Combination]:
    """All combinations of the values in ``grid``, with the other settings as they are given. Raises ConfigError for one
    that is out of range."""
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
        raise ConfigError("grid", "has trainings with and without validation, whose losses cannot be compared")
    return found


def sweep(corpus: Corpus, todo: Iterable[Combination], parent: str | Path,
          on_step: Callable[[Run, Step], None] | None = None) -> Iterator[Result]:
    """Train each combination in a run folder of its name in ``parent``, and yield what became of it, as it ends.

    What a folder there holds already is gone on with, or taken as it is where it is finished. Among MPI ranks each takes
    the next one that is left (``mpi4py.futures``), else one is trained after the other. Ends early after a signal.
    Raises RunError for a folder with another training.
    """
    tasks = [(corpus, combination, Path(parent)) for combination in todo]
    job = ranks()
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
            result = train_one(*task, on_step=on_step)
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


def train_one(corpus: Corpus, combination: Combination, parent: Path, on_step: Callable[[Run, Step], None] | None = None
              ) -> Result:
    """Take one training of a sweep to its end, or to a signal; see ``sweep``."""
    with working_alone():
        folder = RunFolder(parent / combination.name)
        run = Run.start(corpus, combination.model_config, combination.train_config)
        if folder.last.exists():
            run = _the_same(Run.load(folder.last), run, folder)
        elif folder.exists():
            raise RunError(f"{folder.path}: holds a run without last.h5; remove it, or give the sweep another --name")
        try:
            if run.config.steps is None:
                fix_plan(run, corpus)
            was_finished = run.finished
            stopped = None if was_finished else _train(run, corpus, folder, on_step)
        except TrainingError as error:
            return Result(combination, run.step, run.config.steps or 0, error=str(error))
        if not run.finished:
            return Result(combination, run.step, run.planned, stopped=stopped)
        loss = run.smoothed_loss if run.best is None else run.best.validation_loss
        return Result(combination, run.step, run.planned, loss, was_finished=was_finished)


def _train(run: Run, corpus: Corpus, folder: RunFolder, on_step: Callable[[Run, Step], None] | None) -> int | None:
    """Go on to the run's end, or to a signal, which is returned."""
    def show(step: Step) -> None:
        if on_step is not None:
            on_step(run, step)

    folder.make()
    warnings: list[str] = []
    with StopSignals() as stop:
        keeper = Keeper(run, Trainer(run, corpus), folder, show, warnings.append)
        keeper.train(stop)
    if keeper.unsaved:
        raise TrainingError(warnings[-1])
    return stop.received


def _the_same(kept: Run, fresh: Run, folder: RunFolder) -> Run:
    """The run that was kept, if it is a training like ``fresh``."""
    plan: dict[str, Any] = {"steps": None, "minutes": None, "eval_every": None, "threads": None}
    if (kept.source.fingerprint != fresh.source.fingerprint or kept.model.config != fresh.model.config
            or replace(kept.config, **plan) != replace(fresh.config, **plan)
            or fresh.config.steps not in (None, kept.config.steps)
            or fresh.config.eval_every not in (None, kept.config.eval_every)):
        raise RunError(f"{folder.path}: holds a training with other settings or another text; give the sweep another "
                       f"--name")
    return kept
