"""Find the file of a model by its path, by the name of a run, or by the name of a bundled model."""

from __future__ import annotations

import os
import re
from pathlib import Path

from charrnn.errors import RunError
from charrnn.inference.bundled import BUNDLED_MODELS, REINSTALL, bundled_file, is_bundled

BEST, LAST = "best.h5", "last.h5"
"""The checkpoints in a run folder: the state with the lowest validation loss, and the latest state."""

STEP = re.compile(r"step-([1-9][0-9]*)\.h5")
"""The names of other checkpoints in a run folder; the number is their step."""

CHECKPOINTS = "checkpoints"
"""The default folder of runs, in the current folder."""


def is_checkpoint_of_run(path: Path) -> bool:
    """Return whether the name of a file is that of a checkpoint in a run folder."""
    return path.name in (BEST, LAST) or STEP.fullmatch(path.name) is not None


def checkpoint_at(path: str | Path, prefer: str = BEST) -> Path:
    """Return the path of the model file that ``path`` refers to.

    For a run folder, this is the file ``prefer`` (``BEST`` or ``LAST``) if it exists, otherwise the other one. A path that
    does not exist is read as the name of a run in ``CHECKPOINTS``, then as the name of a bundled model. Raises RunError if
    there is no such file.
    """
    path = find(path)
    if not os.path.isdir(path):
        if not os.path.exists(path):
            if is_bundled(path):
                raise RunError(f"{path}: the bundled model is missing", REINSTALL)
            raise RunError(f"{path}: no such run or checkpoint",
                           f"use a run folder, the name of a run in {CHECKPOINTS}, an .h5 file, or "
                           f"{' or '.join(BUNDLED_MODELS)}")
        return path
    for name in (prefer, LAST if prefer == BEST else BEST):
        if (path / name).exists():
            return path / name
    raise RunError(f"{path}: contains neither {BEST} nor {LAST}", f"use a run folder, such as {CHECKPOINTS}/NAME")


def find(path: str | Path) -> Path:
    """Return ``path`` if it exists, else the folder or file of that name in ``CHECKPOINTS``, else the bundled model.

    If none of these exists, return ``path``.
    """
    path = Path(path)
    in_checkpoints = Path(CHECKPOINTS, path)
    if os.path.exists(path):
        return path
    if ".." not in path.parts and os.path.exists(in_checkpoints):
        return in_checkpoints
    return bundled_file(str(path)) if str(path) in BUNDLED_MODELS else path


def runs_in(folder: str | Path = CHECKPOINTS) -> list[Path]:
    """Return the run folders in ``folder`` and in the sweep folders inside it, newest checkpoint first."""
    times: dict[Path, float] = {}
    for pattern in ("*", "*/*"):
        for name in (BEST, LAST):
            for file in Path(folder).glob(f"{pattern}/{name}"):
                if file.is_file():
                    times[file.parent] = max(times.get(file.parent, 0.0), file.stat().st_mtime)
    return sorted(times, key=lambda run: (-times[run], run))


def newest_run() -> Path | None:
    """Return the run folder in ``CHECKPOINTS`` with the newest checkpoint, None if there are no runs."""
    return next(iter(runs_in()), None)
