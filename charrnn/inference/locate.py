"""PATH -> the file that contains the model."""

from __future__ import annotations

import os
from pathlib import Path

from charrnn.errors import RunError

BEST, LAST = "best.h5", "last.h5"
"""The checkpoints in the folder of a run: the one with the lowest validation loss, and the latest one."""


def checkpoint_at(path: str | Path, prefer: str = BEST) -> Path:
    """Return the file that ``path`` names: a file itself; for a run folder ``prefer`` (``BEST`` or
    ``LAST``) if it exists, otherwise the other.

    Raises RunError if no such file exists.
    """
    path = Path(path)
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise RunError(f"{path}: no such run or checkpoint; name a run folder or an .h5 file")
        return path
    for name in (prefer, LAST if prefer == BEST else BEST):
        if (path / name).exists():
            return path / name
    raise RunError(f"{path}: holds neither best.h5 nor last.h5; name a run folder, such as checkpoints/NAME")
