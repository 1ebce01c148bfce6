"""RunFolder: the files of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from charrnn.errors import CheckpointError, ConfigError, RunError
from charrnn.inference.locate import BEST, LAST, STEP, is_checkpoint_of_run
from charrnn.system import fault_of_name, quoted
from charrnn.training.run import Run
from charrnn.training.schema import Source, read_source


class RunFolder:
    """The folder of one run: ``best`` and ``last`` are checkpoints, ``metrics`` a table, ``samples`` a list of samples.

    It may also contain checkpoints of earlier steps, ``step-N.h5``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.best = self.path / BEST
        self.last = self.path / LAST
        self.metrics = self.path / "metrics.csv"
        self.samples = self.path / "samples.jsonl"

    @classmethod
    def at(cls, parent: str | Path, name: str) -> RunFolder:
        """Return the folder ``name`` in ``parent``, which need not exist.

        Raises ConfigError if ``name`` cannot be the name of one folder on this system, RunError if ``parent`` or the folder
        is a file.
        """
        if not name or name in (".", "..") or "/" in name or os.sep in name or "\0" in name:
            raise ConfigError("name", f"must be the name of one folder, not {name!r}")
        if fault := fault_of_name(name):
            raise ConfigError("name", f"{name!r} {fault}", "choose another `name`")
        folder = cls(Path(parent) / name)
        try:
            folder.path.exists()
        except OSError as error:
            raise ConfigError("name", f"cannot be the name of a folder ({error.strerror})") from error
        if folder.path.exists() and not folder.path.is_dir():
            raise RunError(f"{folder.path}: is a file", "choose another `name` or `checkpoints`")
        if folder.path.parent.exists() and not folder.path.parent.is_dir():
            raise RunError(f"{folder.path.parent}: is not a folder", "choose another `checkpoints`")
        return folder

    @classmethod
    def of(cls, path: str | Path) -> RunFolder | None:
        """Return the folder ``path``, or the folder of a run's checkpoint at ``path``; None otherwise."""
        path = Path(path)
        if path.is_dir():
            return cls(path)
        return cls(path.parent) if is_checkpoint_of_run(path) else None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of a run, without checkpoints of earlier steps."""
        return self.best, self.last, self.metrics, self.samples

    def at_step(self, step: int) -> Path:
        """Return the path of the checkpoint that is kept of ``step``."""
        return self.path / f"step-{step}.h5"

    def kept(self) -> list[Path]:
        """Return the checkpoints of earlier steps, in the order of their steps."""
        found = {path: STEP.fullmatch(path.name) for path in self.path.glob("step-*.h5")}
        return sorted((path for path, match in found.items() if match), key=lambda path: int(path.stem[5:]))

    def exists(self) -> bool:
        """Return whether the folder contains a run."""
        return any(file.exists() for file in self.files)

    def refuse_run(self, is_same_text: Callable[[Source], bool] | None) -> None:
        """Raise RunError if the folder contains a run; suggest resuming it if ``is_same_text`` accepts its text.

        Without ``is_same_text``, the message says nothing about the text.
        """
        if not self.exists():
            return
        resume, of_text = "", ""
        try:
            source, _, _ = read_source(self.last)
        except (CheckpointError, OSError):
            pass  # it cannot be resumed
        else:
            if is_same_text is None:
                pass
            elif is_same_text(source):
                resume = f"resume it (charrnn resume {quoted(str(self.path))}), "
            else:
                of_text = " with another text or other text settings"
        raise RunError(f"{self.path}: already contains a run{of_text}",
                       f"{resume}choose another `name`, or replace it with `overwrite=True`")


class Inherited(NamedTuple):
    """The data that a new run takes from an older run: the checkpoint of its best state, and its folder."""

    best: bytes | None = None
    folder: RunFolder | None = None


def inherit(run: Run, old: RunFolder | None) -> Inherited:
    """Return the data that a new run inherits if it continues ``run``, which is a state of the run in the folder ``old``.

    If the best state of ``run`` is neither ``run`` itself nor in ``old``, only later evaluations can be the best.
    """
    record = run.best_record
    if record is None or record.step == run.step:
        return Inherited(None, old)
    best = Run.load(old.best) if old is not None and old.best.exists() else None
    if best is None or best.history != [other for other in run.history if other.step <= record.step]:
        run.since = run.step
        return Inherited(None, old)
    return Inherited(best.to_bytes(), old)
