"""metrics.csv: the history of a run as a table, written row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from charrnn.training.metrics_rows import rows
from charrnn.training.row_file import RowFile
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


class MetricsTable(RowFile):
    """The table at ``path``, with the rows of ``old`` up to ``step``, because later steps are taken again.

    ``old`` is ``path`` if a table is continued, another table to copy rows from, or None for an empty table. If ``old`` has
    other columns, its rows are converted, and missing cells stay empty. ``seconds`` is the time of all steps and
    evaluations so far.
    """

    def __init__(self, path: Path, step: int, old: Path | None) -> None:
        super().__init__(path, _line(COLUMNS))
        self.seconds = 0.0
        for row, size in rows(old) if old is not None else ():
            if int(row["step"]) > step:
                break
            self.seconds = float(row["seconds"])
            if list(row) == list(COLUMNS) and old == path:
                self.keep(size)
            else:  # the rows are written again, with the current columns
                self.write(_line(row.get(name, "") for name in COLUMNS))
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
        self.write(_line(text(row) for text in COLUMNS.values()))
        self._characters, self._training_seconds = 0, 0.0


def _line(cells: Iterable[str]) -> str:
    return ",".join(cells) + "\n"
