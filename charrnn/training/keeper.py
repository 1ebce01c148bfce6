"""Keeper: trains a run and saves it in its folder."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from pathlib import Path

from charrnn.errors import RunError
from charrnn.mpi import Ranks
from charrnn.storage.atomic import remove_leftovers, replace_file
from charrnn.text.corpus import Corpus
from charrnn.training.events import OnEvent, Sampled, Saved, StepTaken, Warned
from charrnn.training.metrics_table import MetricsTable
from charrnn.training.run import Run
from charrnn.training.run_folder import Inherited, RunFolder
from charrnn.training.samples import SampleFile
from charrnn.training.signals import StopSignals
from charrnn.training.trainer import Trainer

_PAUSES = (5.0,) * 12
"""Seconds before each new attempt if a run cannot be saved at its end."""


class Keeper:
    """Trains a run and saves it in its folder.

    ``new`` is the data that a new run inherits; it is None for a run that is resumed in its folder. If a save after the
    first one fails, training continues, and the next save tries again.
    """

    def __init__(self, run: Run, trainer: Trainer, folder: RunFolder, on_event: OnEvent, new: Inherited | None = None
                 ) -> None:
        self.run = run
        self.trainer = trainer
        self.folder = folder
        self.on_event = on_event
        for path in (folder.best, folder.last):
            remove_leftovers(path)
        old = folder if new is None else new.folder  # the folder that contains the history up to this step
        self.metrics = MetricsTable(folder.metrics, run.step, None if old is None else old.metrics)
        self.samples = SampleFile(folder.samples, run.step, None if old is None else old.samples)
        self.unsaved: str | None = None
        """The reason why the last save failed; None if it succeeded."""
        self.elsewhere: Path | None = None
        """The folder in which the run was saved at its end, if that failed in its own folder."""
        self._replaces = new is not None  # until the first save, the folder may contain another run
        self._pending_best = None if new is None else new.best  # a checkpoint that is still to be written to best.h5
        self._tried_step: int | None = None
        self._tried_at = time.monotonic()
        record, has_best = run.best_record, new is None and folder.best.exists()
        self._last_step = run.step  # the steps of last.h5 and best.h5
        self._best_step = record.step if record is not None and has_best else None
        if record is not None and record.step == run.step and not has_best:
            self._pending_best = run.to_bytes()

    def train(self, stop: StopSignals) -> None:
        """Train until the run is finished or a signal arrives, and save the run at the end.

        Raises RunError if the first save fails, before the first step.
        """
        run = self.run
        self._sample()
        if not self._try():
            raise RunError(f"{self.folder.path}: cannot be saved ({self.unsaved})",
                           "free some space, or choose another folder")
        while not run.finished and not stop.agreed():
            started = time.perf_counter()
            step = self.trainer.step()
            self.metrics.add(step, run, time.perf_counter() - started)
            if step.fault is not None:
                self.on_event(Warned(step.fault))
            self._sample()
            is_requested = stop.save_requested()
            if step.validation_loss is not None or is_requested or self._is_due():
                is_saved = self.save(best=step.is_best)
                if is_requested and is_saved:
                    self.on_event(Saved(run.step))
            self.on_event(StepTaken(run, step))
        if self._tried_step != run.step:
            self.save()
        if self.unsaved is not None:
            self._rescue(stop)

    def _sample(self) -> None:
        """Add a sample to the file if one belongs to the current step."""
        sample = self.samples.add(self.run)
        if sample is not None:
            self.on_event(Sampled(self.run, sample))

    def _is_due(self) -> bool:
        """Return whether it is time for a save between two evaluations."""
        config = self.run.config
        return ((config.checkpoint_every is not None and self.run.step % config.checkpoint_every == 0)
                or time.monotonic() - self._tried_at >= 60 * config.checkpoint_minutes)

    def save(self, best: bool = False) -> bool:
        """Save the run, with ``best`` also as ``best.h5``. Return whether that succeeded; if it did not, warn.

        A best state that could not be written is kept in memory, and written by the next save.
        """
        if best:
            self._pending_best = self.run.to_bytes()
        if self._try():
            return True
        continues = "" if self.run.finished else "training continues, "
        self.on_event(Warned(f"{self.folder.path}: step {self.run.step:,} cannot be saved ({self.unsaved}); {continues}"
                             f"{self._kept()}"))
        return False

    def _try(self) -> bool:
        """Try to save the run; return whether that succeeded."""
        self._tried_step = self.run.step
        self._tried_at = time.monotonic()
        try:
            self._write()
        except OSError as error:
            self.unsaved = error.strerror or str(error)
        else:
            self.unsaved = None
        return self.unsaved is None

    def _write(self) -> None:
        """Write metrics and samples, then ``best.h5`` if it is to change, then ``last.h5``. Raises OSError.

        In this order, a resumed run finds the rows of all its steps, and its best state. The first save of a new run writes
        ``last.h5`` first, because it may replace another run, which stays complete until then.
        """
        run, folder, data = self.run, self.folder, self.run.to_bytes()
        if self._replaces:
            replace_file(folder.last, [data])
            for path in (folder.best, *folder.kept()):
                path.unlink(missing_ok=True)
        self.metrics.flush()
        self.samples.flush()
        if self._pending_best is not None:
            replace_file(folder.best, [self._pending_best])
            self._pending_best = None
            self._best_step = run.best_record and run.best_record.step
        if run.config.keep and run.at_evaluation and run.step:
            replace_file(folder.at_step(run.step), [data])
        if not self._replaces:
            replace_file(folder.last, [data])
        self._replaces = False
        self._last_step = run.step
        for path in folder.kept()[:-run.config.keep] if run.config.keep else ():
            path.unlink(missing_ok=True)

    def _kept(self) -> str:
        """Return a description of the checkpoints in the folder."""
        files = {self.folder.last: self._last_step, self.folder.best: self._best_step}
        kept = [f"{file.name} is from step {step:,}" for file, step in files.items() if step is not None and file.exists()]
        return " and ".join(kept) or "nothing is saved"

    def _rescue(self, stop: StopSignals) -> None:
        """Try again for a while to save the run, then save it in another folder."""
        if stop.received is None:
            self.on_event(Warned(f"trying again for {sum(_PAUSES):.0f} seconds"))
        for seconds in _PAUSES:
            if stop.received is not None:  # the sender of the signal may soon kill this process
                break
            time.sleep(seconds)
            if self._try():
                return
        for parent in (Path.home, Path.cwd, tempfile.gettempdir):
            with contextlib.suppress(OSError, RuntimeError):  # the folder may not exist
                self.elsewhere = self._save_in(Path(parent()))
                return

    def _save_in(self, parent: Path) -> Path:
        """Save the run in a new folder in ``parent``, and return its path. Raises OSError."""
        place = RunFolder(tempfile.mkdtemp(prefix=f"{self.folder.path.name}-", dir=parent))
        try:
            replace_file(place.last, [self.run.to_bytes()])
            self.metrics.save_copy(place.metrics)
            self.samples.save_copy(place.samples)
            if self._pending_best is not None:
                replace_file(place.best, [self._pending_best])
            elif self.folder.best.exists():
                shutil.copyfile(self.folder.best, place.best)
        except OSError:
            shutil.rmtree(place.path, ignore_errors=True)
            raise
        return place.path

    def require_saved(self) -> None:
        """Raise RunError if the run is not saved in its folder; the message says where it is saved."""
        if self.unsaved is None:
            return
        fault = f"{self.folder.path}: step {self.run.step:,} could not be saved ({self.unsaved})"
        if self.elsewhere is None:
            raise RunError(f"{fault}, not even in another folder; {self._kept()}")
        raise RunError(f"{fault}, but it is saved in {self.elsewhere}", "resume it there")


def follow(run: Run, corpus: Corpus, ranks: Ranks) -> None:
    """Do this rank's part of the steps while rank 0 saves the run."""
    trainer = Trainer(run, corpus, ranks)
    with StopSignals(ranks) as stop:
        while not run.finished and not stop.agreed():
            trainer.step()
