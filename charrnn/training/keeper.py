"""Keeper: takes a run through its steps and keeps it on disk."""

from __future__ import annotations

import time

from charrnn.mpi import Ranks
from charrnn.storage.atomic import remove_leftovers, replace_file
from charrnn.text.corpus import Corpus
from charrnn.training.events import OnEvent, StepTaken, Warned
from charrnn.training.metrics_table import MetricsTable
from charrnn.training.run import Run
from charrnn.training.run_folder import RunFolder
from charrnn.training.signals import StopSignals
from charrnn.training.trainer import Trainer


class Keeper:
    """Takes a run through its steps and keeps it in its folder.

    If the run cannot be saved, training continues, and a later save tries again.
    """

    def __init__(self, run: Run, trainer: Trainer, folder: RunFolder, on_event: OnEvent) -> None:
        self.run = run
        self.trainer = trainer
        self.folder = folder
        self.on_event = on_event
        for path in (folder.best, folder.last):
            remove_leftovers(path)
        self.metrics = MetricsTable(folder.metrics, run.step)
        self.saved_step = run.step if run.step and folder.last.exists() else None
        """The step of the last save, None before the first."""
        self.unsaved = False
        """Whether the last save failed."""
        self._tried_step: int | None = None
        self._tried_at = time.monotonic()
        self._replaces = True  # until the first save, the folder may contain another run
        self._pending_best: bytes | None = None  # a checkpoint that could not be written to best.h5

    def train(self, stop: StopSignals) -> None:
        """Train until the run is finished or a signal arrives; the run is saved at the end in any case."""
        run, record = self.run, self.run.best_record
        self.save(best=record is not None and record.step == run.step and not self.folder.best.exists())
        while not run.finished and not stop.agreed():
            started = time.perf_counter()
            step = self.trainer.step()
            self.metrics.add(step, run, time.perf_counter() - started)
            if step.fault is not None:
                self.on_event(Warned(step.fault))
            if step.validation_loss is not None or self._is_due():
                self.save(best=step.is_best)
            self.on_event(StepTaken(run, step))
        if self._tried_step != run.step:
            self.save()

    def _is_due(self) -> bool:
        """Return whether it is time for a save between two evaluations."""
        config = self.run.config
        return ((config.checkpoint_every is not None and self.run.step % config.checkpoint_every == 0)
                or time.monotonic() - self._tried_at >= 60 * config.checkpoint_minutes)

    def save(self, best: bool = False) -> None:
        """Write the metrics, then ``best.h5`` if this state is the best, then ``last.h5``.

        In this order a resumed run finds the rows of all its steps, and the best state. A best state that could not be
        written is kept, and written before a later ``last.h5``. The first save writes ``last.h5`` first, because it may
        replace another run, which stays complete until then.
        """
        run, folder = self.run, self.folder
        self.unsaved = False
        self._tried_step = run.step
        self._tried_at = time.monotonic()
        best_state = self._pending_best
        try:
            if best:
                best_state = run.to_bytes()
            if self._replaces:
                run.save(folder.last)
                if run.best_record is None:
                    folder.best.unlink(missing_ok=True)
            self.metrics.flush()
            if best_state is not None:
                replace_file(folder.best, [best_state])
                best_state = None
            if not self._replaces:
                run.save(folder.last)
            self._replaces = False
            self.saved_step = run.step
        except OSError as error:
            self.unsaved = True
            kept = "nothing is saved yet" if self.saved_step is None else f"the last save is of step {self.saved_step:,}"
            self.on_event(Warned(f"{folder.path}: step {run.step:,} cannot be saved ({error.strerror or error}); "
                                 f"{'' if run.finished else 'training goes on, '}{kept}"))
        self._pending_best = best_state


def follow(run: Run, corpus: Corpus, ranks: Ranks) -> None:
    """Do this rank's part of the steps while rank 0 keeps the run."""
    trainer = Trainer(run, corpus, ranks)
    with StopSignals(ranks) as stop:
        while not run.finished and not stop.agreed():
            trainer.step()
