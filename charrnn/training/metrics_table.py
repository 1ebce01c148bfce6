"""metrics.csv: the history of a run as a table, written row by row."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from charrnn.training.metrics_rows import lines, rows
from charrnn.training.run import Run
from charrnn.training.trainer import Step

_ROWS = 50


class Row(NamedTuple):
    """The content of a row: a step of ``run``, the seconds of all steps so far, and the speed since the last row."""

    run: Run
    step: Step
    seconds: float
    characters_per_second: float


COLUMNS: dict[str, Callable[[Row], str]] = {
    "step": lambda row: f"{row.step.number}",
    "epoch": lambda row: f"{row.step.epoch:.4f}",
    "seconds": lambda row: f"{row.seconds:.3f}",
    "train_loss": lambda row: f"{row.run.smoothed_loss:.6f}",
    "validation_loss": lambda row: "" if row.step.validation_loss is None else f"{row.step.validation_loss:.6f}",
    "learning_rate": lambda row: f"{row.step.learning_rate:.6g}",
    "gradient_norm": lambda row: f"{row.step.gradient_norm:.4g}",
    "characters_per_second": lambda row: f"{row.characters_per_second:.0f}",
}
"""The names of the columns, with functions that return the text of a cell."""


def rows_every(eval_every: int) -> int:
    """Return the number of steps from one row to the next, so that there are at most fifty rows for each evaluation."""
    return math.ceil(eval_every / _ROWS)


class MetricsTable:
    """The table at ``path``, with the rows of ``old`` up to ``step``, because later steps are taken again.

    ``old`` is ``path`` if a table is continued, another table to copy rows from, or None for an empty table. If ``old`` has
    other columns, its rows are converted, and missing cells stay empty. ``seconds`` is the time of all steps and
    evaluations so far. New rows are kept in memory until ``flush``.
    """

    def __init__(self, path: Path, step: int, old: Path | None) -> None:
        self.path = path
        self.seconds = 0.0
        self._size = 0
        self._pending = _line(COLUMNS)
        for row, size in rows(old) if old is not None else ():
            if int(row["step"]) > step:
                break
            self.seconds = float(row["seconds"])
            if list(row) == list(COLUMNS) and old == path:
                self._size, self._pending = size, ""
            else:  # the rows are written again, with the current columns
                self._pending += _line(row.get(name, "") for name in COLUMNS)
        self._characters = 0
        self._training_seconds = 0.0

    def add(self, step: Step, run: Run, seconds: float) -> None:
        """Add a step of ``run`` that took ``seconds``, including its evaluation."""
        self.seconds += seconds
        self._training_seconds += step.seconds
        self._characters += run.config.batch_size * run.config.seq_len
        if step.validation_loss is None and step.number % rows_every(run.eval_every):
            return
        row = Row(run, step, self.seconds, self._characters / self._training_seconds)
        self._pending += _line(text(row) for text in COLUMNS.values())
        self._characters, self._training_seconds = 0, 0.0

    def flush(self) -> None:
        """Write the pending rows to disk. Raises OSError if that fails; the rows stay pending."""
        with open(self.path, "ab") as file:
            if file.tell() < self._size:  # the table was removed
                self._size, self._pending = 0, _line(COLUMNS) + self._pending
            data = self._pending.encode()
            file.truncate(self._size)  # removes rows of steps that will be repeated, and an incomplete row
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(data)
        self._pending = ""

    def save_copy(self, path: Path) -> None:
        """Write all rows that can be read, and the pending rows, to ``path``. Raises OSError."""
        written = b"".join(lines(self.path))[:self._size] or _line(COLUMNS).encode()
        pending = self._pending.removeprefix(_line(COLUMNS)).encode()
        path.write_bytes(written + pending)


def _line(cells: Iterable[str]) -> str:
    return ",".join(cells) + "\n"
