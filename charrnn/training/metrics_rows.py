"""The rows of metrics.csv, read up to the first invalid one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from charrnn.training.row_file import lines_of

_DIGITS = 18
"""Maximum number of digits of a step."""


def rows(path: Path) -> Iterator[tuple[dict[str, str], int]]:
    """Yield the valid rows of a table up to the first invalid one, each with its end position in the file."""
    size = 0
    names: list[str] = []
    for line in lines_of(path):
        size += len(line)
        cells = line.decode("ascii", "replace").rstrip("\r\n").split(",")
        if not names:
            names = cells
            continue
        row = dict(zip(names, cells))
        step = row.get("step", "")
        if not (line.endswith(b"\n") and len(cells) == len(names) and step.isdecimal() and len(step) <= _DIGITS
                and math.isfinite(number(row.get("seconds", "")))):
            return
        yield row, size


def number(cell: str) -> float:
    """Return the number in a cell, or NaN if the cell contains no number."""
    try:
        return float(cell)
    except ValueError:
        return math.nan
