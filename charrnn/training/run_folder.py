"""RunFolder: best.h5, last.h5 and metrics.csv of a run."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from charrnn.errors import ConfigError, RunError
from charrnn.inference.locate import BEST, LAST
from charrnn.training.run import Run


class RunFolder:
    """The folder of one run: ``best`` and ``last`` are checkpoints, ``metrics`` a table."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.best = self.path / BEST
        self.last = self.path / LAST
        self.metrics = self.path / "metrics.csv"

    @classmethod
    def at(cls, parent: str | Path, name: str, overwrite: bool = False) -> RunFolder:
        """Return the folder ``name`` in ``parent`` for a new run; nothing is made yet.

        Raises ConfigError if ``name`` is not a single folder name, RunError if a run exists there, unless ``overwrite``.
        """
        if not name or name in (".", "..") or "/" in name or os.sep in name or "\0" in name:
            raise ConfigError("name", f"must be the name of one folder, not {name!r}")
        folder = cls(Path(parent) / name)
        try:
            folder.path.exists()
        except OSError as error:
            raise ConfigError("name", f"cannot be the name of a folder ({error.strerror})") from error
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
        """Return the run folder that ``path`` names, or that contains it as ``best.h5`` or ``last.h5``; else None."""
        path = Path(path)
        if path.is_dir():
            return cls(path)
        return cls(path.parent) if path.name in (BEST, LAST) else None

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """The files of a run."""
        return self.best, self.last, self.metrics

    def exists(self) -> bool:
        """Return whether it contains a run."""
        return any(file.exists() for file in self.files)

    def make(self) -> None:
        """Make the folder; a run in it stays until the first save of another. Raises RunError if that fails."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be made ({error.strerror}); give another --checkpoints") from error

    def begin_with(self, run: Run, other: RunFolder | None) -> None:
        """Make the folder for a new run that continues ``run``, a state of the run in ``other``.

        Its metrics and best state are taken over. If there is no best state that fits, the best counts from here on.
        Raises RunError if that fails.
        """
        best = None
        record = run.best_record
        if record is not None and record.step != run.step:
            best = Run.load(other.best) if other is not None and other.best.exists() else None
            if best is None or best.history != [other for other in run.history if other.step <= record.step]:
                best, run.since = None, run.step
        self.make()
        try:
            if other is not None and other.metrics.is_file():
                shutil.copyfile(other.metrics, self.metrics)
            if best is not None:
                best.save(self.best)
        except OSError as error:
            raise RunError(f"{self.path}: cannot take over the old run ({error.strerror or error}); see that there is "
                           f"space, or give another --name") from error
