"""Find the file of a model by its path or by the name of a run."""

from __future__ import annotations

import os
from pathlib import Path

from charrnn.errors import RunError

BEST, LAST = "best.h5", "last.h5"
"""The checkpoints in a run folder: the state with the lowest validation loss, and the latest state."""

CHECKPOINTS = "checkpoints"
"""The default folder of runs, in the current folder."""


def checkpoint_at(path: str | Path, prefer: str = BEST) -> Path:
    """Return the path of the model file that ``path`` refers to.

    For a run folder, this is the file ``prefer`` (``BEST`` or ``LAST``) if it exists, otherwise the other one. A path that
    does not exist is read as the name of a run in ``CHECKPOINTS``. Raises RunError if there is no such file.
    """
    path = find(path)
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise RunError(f"{path}: no such run or checkpoint",
                           f"use a run folder, the name of a run in {CHECKPOINTS}, or an .h5 file")
        return path
    for name in (prefer, LAST if prefer == BEST else BEST):
        if (path / name).exists():
            return path / name
    raise RunError(f"{path}: contains neither {BEST} nor {LAST}", f"use a run folder, such as {CHECKPOINTS}/NAME")


def find(path: str | Path) -> Path:
    """Return ``path`` if it exists, otherwise the folder or file of that name in ``CHECKPOINTS`` if that exists."""
    path = Path(path)
    in_checkpoints = Path(CHECKPOINTS, path)
    if not os.path.exists(path) and ".." not in path.parts and os.path.exists(in_checkpoints):
        return in_checkpoints
    return path


def runs_in(folder: str | Path = CHECKPOINTS) -> list[Path]:
    """Return the run folders in ``folder`` and in the sweep folders inside it, newest checkpoint first."""
    times: dict[Path, float] = {}
    for pattern in ("*", "*/*"):
        for name in (BEST, LAST):
            for file in Path(folder).glob(f"{pattern}/{name}"):
                if file.is_file():
                    times[file.parent] = max(times.get(file.parent, 0.0), file.stat().st_mtime)
    return sorted(times, key=lambda run: (-times[run], run))


def newest_run() -> Path:
    """Return the run folder in ``CHECKPOINTS`` with the newest checkpoint. Raises RunError if there are no runs."""
    runs = runs_in()
    if not runs:
        raise RunError(f"{CHECKPOINTS}: contains no run", "train a model, or use the path of a run folder or an .h5 file")
    return runs[0]
