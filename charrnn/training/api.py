"""train and resume: the commands as Python functions."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from typing import Any

from charrnn.config import AUTO, ModelConfig, TextConfig, TrainConfig
from charrnn.errors import ConfigError, RunError
from charrnn.mpi import ranks
from charrnn.nn.kernels import reporting_compilation
from charrnn.text.corpus import DEFAULT_CORPUS, Corpus
from charrnn.training.events import CompilationStarted, OnEvent, Started, ignore
from charrnn.training.keeper import Keeper, follow
from charrnn.training.prepare import RESUMED_SETTINGS, Job, TextSource, prepare, prepare_resume
from charrnn.training.run import Run
from charrnn.training.signals import StopSignals
from charrnn.training.trainer import Trainer


def train(source: TextSource = DEFAULT_CORPUS, *, start_from: str | Path = AUTO, name: str | None = None,
          checkpoints: str | Path = "checkpoints", overwrite: bool = False, on_event: OnEvent | None = None,
          **settings: Any) -> Run:
    """Train a model on a text, and keep the run in a folder, as ``charrnn train`` does.

    ``source`` is the name of a file (a string or a ``pathlib.Path``), several names, or a ``Corpus``; the default is the
    language reference that comes with Python. ``settings`` are the settings of ``TextConfig``, ``ModelConfig`` and
    ``TrainConfig``, by name. ``start_from`` is "none", or a model from whose weights training starts: a run, a file or the
    name of a bundled model; "auto" is the bundled model "english" if it helps. From scratch and without a ``hidden_size``,
    a size is chosen for the text and the length of training, which is two minutes by default. The folder is
    ``checkpoints``/``name``. ``on_event`` is called with each event of ``charrnn.training.events``.

    Returns the run: ``run.model`` is the model after the last step, ``run.best`` the one with the lowest validation loss.
    Ctrl-C stops training after a step and saves the run; then it is not ``finished``, and ``resume`` continues it. SIGTERM
    and SIGHUP also save the run, and then end the program. Raises ConfigError, CorpusError, CheckpointError, RunError or
    TrainingError.
    """
    _refuse_ranks()
    text, model, training = (_pick(kind, settings) for kind in (TextConfig, ModelConfig, TrainConfig))
    if settings:
        raise TypeError(f"unknown setting {next(iter(settings))!r}")
    if text and isinstance(source, Corpus):
        raise ConfigError(next(iter(text)), "cannot be combined with a Corpus, which has its own text settings",
                          "pass it to Corpus.from_text or Corpus.read")
    job = prepare(source, TextConfig(**text), model, TrainConfig(**training), on_event or ignore,
                  start_from=start_from, name=name, checkpoints=checkpoints, overwrite=overwrite)
    return _carried_out(job, on_event or ignore)


def resume(path: str | Path, *, corpus: TextSource | None = None, name: str | None = None, overwrite: bool = False,
           on_event: OnEvent | None = None, **length: Any) -> Run:
    """Resume a run exactly where it stopped, as ``charrnn resume`` does.

    ``path`` is a run folder or a checkpoint. ``length`` may contain ``steps``, ``epochs`` or ``minutes``, counted from the
    start of the run, ``eval_every``, ``patience`` and ``threads``. ``corpus`` is the text, if it was moved.
    With ``name``, training continues in a new run beside the old one. Returns the run. Raises CheckpointError, and the
    errors of ``train``.
    """
    _refuse_ranks()
    for setting in length:
        if setting not in RESUMED_SETTINGS:
            raise TypeError(f"{setting!r} cannot be changed when a run is resumed")
    job = prepare_resume(path, TrainConfig(**length), on_event or ignore, corpus=corpus, name=name, overwrite=overwrite)
    return _carried_out(job, on_event or ignore)


def carry_out(job: Job, on_event: OnEvent) -> int | None:
    """Train until the run is finished or a signal arrives, and release its folder; return the number of the signal.

    Raises RunError if the run cannot be saved at its start or at its end.
    """
    run, split, folder, lock, new = job
    with lock, StopSignals(ranks()) as stop:
        on_event(Started(run))
        with reporting_compilation(lambda: on_event(CompilationStarted())):
            trainer = Trainer(run, split)
        ranks().call(follow, run, split.corpus)
        keeper = Keeper(run, trainer, folder, on_event, new)
        keeper.train(stop)
        ranks().dismiss()
    keeper.require_saved()
    return stop.received


def _carried_out(job: Job, on_event: OnEvent) -> Run:
    received = carry_out(job, on_event)
    if received not in (None, signal.SIGINT):
        raise SystemExit(128 + received)
    return job.run


def _refuse_ranks() -> None:
    if ranks().count > 1:
        raise RunError("charrnn.train and charrnn.resume cannot be called in an MPI job of several ranks",
                       "use the command line, or a Trainer on each rank")


def _pick(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
    """Remove the settings of the config ``kind`` from ``settings``, and return them."""
    names = [item.name for item in dataclasses.fields(kind) if item.name in settings]
    return {name: settings.pop(name) for name in names}
