"""metrics.csv: the course of a training as a table, a row at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from charrnn.training.run import Run
from charrnn.training.trainer import Step

COLUMNS = ("step", "epoch", "seconds", "train_loss", "validation_loss", "learning_rate", "gradient_norm",
           "characters_per_second")
_ROWS = 50


def rows_every(eval_every: int) -> int:
    """Steps from one row to the next: about fifty rows from evaluation to evaluation."""
    return math.ceil(eval_every / _ROWS)


class Metrics:
    """The table at ``path``, gone on with after ``step``: later rows, of steps that will be taken again, are removed.

    ``seconds`` is the time of all steps and evaluations so far. Rows are held back until ``flush``.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.seconds = 0.0
        self._size = 0
        for row, size in _rows(path):
            if int(row[0]) > step:
                break
            self.seconds, self._size = float(row[2]), size
        self._pending = "" if self._size else _line(COLUMNS)
        self._characters = 0
        self._training_seconds = 0.0

    def note(self, step: Step, run: Run, seconds: float) -> None:
        """Note a step of ``run`` that took ``seconds``, evaluation and all."""
        self.seconds += seconds
        self._training_seconds += step.seconds
        self._characters += run.config.batch_size * run.config.seq_len
        if step.validation_loss is None and step.number % rows_every(run.config.eval_every or 1):
            return
        validation = "" if step.validation_loss is None else f"{step.validation_loss:.6f}"
        self._pending += _line((
            str(step.number), f"{step.epoch:.4f}", f"{self.seconds:.3f}", f"{run.smoothed_loss:.6f}", validation,
            f"{step.learning_rate:.6g}", f"{step.gradient_norm:.4g}", f"{self._characters / self._training_seconds:.0f}"))
        self._characters, self._training_seconds = 0, 0.0

    def flush(self) -> None:
        """Write the rows that are not written yet, so that they last. Raises OSError; then they are kept for later."""
        with open(self.path, "ab") as file:
            if file.tell() < self._size:  # the table was taken away
                self._size, self._pending = 0, _line(COLUMNS) + self._pending
            data = self._pending.encode()
            file.truncate(self._size)  # rows of steps that are taken again, or a row that was cut short
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(data)
        self._pending = ""


def _line(values: tuple[str, ...]) -> str:
    return ",".join(values) + "\n"


def _rows(path: Path) -> Iterator[tuple[list[str], int]]:
    """The whole rows of a table, each with the size of the file up to its end; they end where one is not whole."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError:
        return
    if not lines or lines[0].rstrip(b"\r\n") != _line(COLUMNS).rstrip().encode():
        return
    size = len(lines[0])
    for line in lines[1:]:
        row = line.decode("ascii", "replace").rstrip("\r\n").split(",")
        if not (line.endswith(b"\n") and len(row) == len(COLUMNS) and row[0].isdecimal() and _is_number(row[2])):
            return
        size += len(line)
        yield row, size


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False

