"""best.h5, last.h5 and metrics.csv of a run; saving at intervals and on signals."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from charrnn.errors import ConfigError, RunError
from charrnn.mpi import Ranks
from charrnn.storage.atomic import remove_leftovers
from charrnn.text.corpus import Corpus
from charrnn.training.metrics_table import Metrics
from charrnn.training.run import Run
from charrnn.training.trainer import Step, Trainer


class RunFolder:
    """The folder of one run: ``best`` and ``last`` are checkpoints, ``metrics`` a table."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.best = self.path / "best.h5"
        self.last = self.path / "last.h5"
        self.metrics = self.path / "metrics.csv"

    @classmethod
    def at(cls, parent: str | Path, name: str, overwrite: bool = False) -> RunFolder:
        """The folder ``name`` in ``parent`` for a new run; nothing is made yet.

        Raises ConfigError for a name that is no single folder name, RunError where a run lies there already, unless
        ``overwrite`` says that it may go.
        """
        if not name or name in (".", "..") or "/" in name or os.sep in name or "\0" in name:
            raise ConfigError("name", f"must be the name of one folder, not {name!r}")
        folder = cls(Path(parent) / name)
        if folder.path.exists() and not folder.path.is_dir():
            raise RunError(f"{folder.path}: is a file; give another --name or --checkpoints")
        if folder.path.parent.exists() and not folder.path.parent.is_dir():
            raise RunError(f"{folder.path.parent}: is no folder; give another --checkpoints")
        if folder.exists() and not overwrite:
            go_on = f"go on with 'charrnn resume {shlex.quote(str(folder.path))}', " if folder.last.exists() else ""
            raise RunError(f"{folder.path}: a run lies there already; {go_on}give another --name, or replace it with "
                           f"--overwrite")
        return folder

    @classmethod
    def of(cls, path: str | Path) -> RunFolder | None:
        """The run folder that ``path`` names, or lies in as its ``best.h5`` or ``last.h5``; None for other files."""
        path = Path(path)
        if path.is_dir():
            return cls(path)
        return cls(path.parent) if path.name in ("best.h5", "last.h5") else None

    @property
    def files(self) -> tuple[Path, Path, Path]:
        return self.best, self.last, self.metrics

    def exists(self) -> bool:
        """Whether a run lies here."""
        return any(file.exists() for file in self.files)

    def make(self) -> None:
        """Make the folder; a run that lies in it stays until the first save of another. Raises RunError where that
        cannot be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be made ({error.strerror}); give another --checkpoints") from None

    def begin_with(self, run: Run, other: RunFolder | None) -> None:
        """Make the folder for a new run that goes on from ``run``, a state of the run in ``other``, whose metrics and
        best state it takes over. Where there is no such state, the best counts from here on.

        Raises RunError where that cannot be.
        """
        best = None
        if run.best is not None and run.best.step != run.step:
            best = Run.load(other.best) if other is not None and other.best.exists() else None
            if best is None or best.history != run.history_to_best:
                best, run.since = None, run.step
        self.make()
        try:
            if other is not None and other.metrics.is_file():
                shutil.copyfile(other.metrics, self.metrics)
            if best is not None:
                best.save(self.best)
        except OSError as error:
            raise RunError(f"{self.path}: cannot take over the old run ({error.strerror or error}); see that there is "
                           f"space, or give another --name") from None


def checkpoint_at(path: str | Path, prefer: str = "best") -> Path:
    """The checkpoint that RUN_OR_CHECKPOINT names: a file as it is, of a folder ``prefer`` ("best" or "last") or else
    the other one. Raises RunError where there is none."""
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise RunError(f"{path}: no such run or checkpoint; name a run folder or an .h5 file")
        return path
    folder = RunFolder(path)
    order = (folder.best, folder.last) if prefer == "best" else (folder.last, folder.best)
    for file in order:
        if file.exists():
            return file
    raise RunError(f"{path}: holds neither best.h5 nor last.h5; name a run folder, such as checkpoints/NAME")


class StopSignals:
    """Within it, SIGINT and SIGTERM are noted in ``received`` instead of ending the program; a second one ends it."""

    def __init__(self, ranks: Ranks | None = None) -> None:
        self.received: int | None = None
        self._ranks = ranks or Ranks()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(self) -> bool:
        """Whether one has come to any of the ranks; for all of them."""
        received = [number for number in self._ranks.all(self.received) if number is not None]
        self.received = received[0] if received else None
        return bool(received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.received = number


def follow(run: Run, corpus: Corpus, ranks: Ranks) -> None:
    """What the other ranks do while rank 0 takes a run through its steps and keeps it: their share of the steps."""
    trainer = Trainer(run, corpus, ranks)
    with StopSignals(ranks) as stop:
        while not run.finished and not stop.agreed():
            trainer.step()


class Keeper:
    """Takes a run through its steps and keeps it in its folder.

    ``on_step`` is called with each step, ``on_warning`` with a line for each step that was not applied and each time
    that the run could not be saved; training then goes on, and ``unsaved`` tells that the latest attempt failed.
    """

    def __init__(self, run: Run, trainer: Trainer, folder: RunFolder, on_step: Callable[[Step], None],
                 on_warning: Callable[[str], None]) -> None:
        self.run, self.trainer, self.folder = run, trainer, folder
        self.on_step, self.on_warning = on_step, on_warning
        self.unsaved = False
        for path in (folder.best, folder.last):
            remove_leftovers(path)
        self.metrics = Metrics(folder.metrics, run.step)
        self._is_first = True
        self._tried_step: int | None = None
        self._saved_step = run.step if run.step and folder.last.exists() else None
        self._saved_at = time.monotonic()
        self._save_best: Callable[[Path], None] | None = None

    def train(self, stop: StopSignals) -> None:
        """Go on until the run is finished or a signal has come; the run is saved at its end in any case."""
        run = self.run
        self.save(best=run.best is not None and run.best.step == run.step and not self.folder.best.exists())
        while not run.finished and not stop.agreed():
            started = time.perf_counter()
            step = self.trainer.step()
            self.metrics.note(step, run, time.perf_counter() - started)
            if step.fault is not None:
                self.on_warning(step.fault)
            if step.validation_loss is not None or self._is_due():
                self.save(best=step.is_best)
            self.on_step(step)
        if self._tried_step != run.step:
            self.save()

    def _is_due(self) -> bool:
        """Whether it is time for a save between two evaluations."""
        config = self.run.config
        return ((config.checkpoint_every is not None and self.run.step % config.checkpoint_every == 0)
                or time.monotonic() - self._saved_at >= 60 * config.checkpoint_minutes)

    def save(self, best: bool = False) -> None:
        """Write metrics, then ``best.h5`` where this state is the best, then ``last.h5``; in this order, so that a
        resumed run finds the rows of all its steps, and the best state if it is not to come again.

        A best state that could not be written is kept, and written before a later ``last.h5`` is. The first save may
        replace another run, which stays whole until ``last.h5`` is there.
        """
        self.unsaved = False
        self._tried_step = self.run.step
        self._saved_at = time.monotonic()
        save_best = self.run.save if best else self._save_best
        try:
            if self._is_first:
                self.run.save(self.folder.last)
                if self.run.best is None:
                    self.folder.best.unlink(missing_ok=True)
            self.metrics.flush()
            if save_best is not None:
                save_best(self.folder.best)
                best, self._save_best = False, None
            if not self._is_first:
                self.run.save(self.folder.last)
            self._is_first = False
            self._saved_step = self.run.step
        except OSError as error:
            if best:
                self._save_best = self.run.snapshot()
            self.unsaved = True
            kept = "nothing is saved yet" if self._saved_step is None else f"the last save is of step {self._saved_step:,}"
            self.on_warning(f"{self.folder.path}: step {self.run.step:,} cannot be saved ({error.strerror or error}); "
                            f"{'' if self.run.finished else 'training goes on, '}{kept}")
