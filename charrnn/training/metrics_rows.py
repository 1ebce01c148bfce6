"""The rows of metrics.csv, read up to the first invalid one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

_DIGITS = 18
"""Maximum number of digits of a step."""


def rows(path: Path) -> Iterator[tuple[dict[str, str], int]]:
    """Yield the valid rows of a table up to the first invalid one, each with its end position in the file."""
    size = 0
    names: list[str] = []
    for line in lines(path):
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


def lines(path: Path) -> list[bytes]:
    """Return the lines of a file with their line ends, or no lines if it cannot be read."""
    try:
        return path.read_bytes().splitlines(keepends=True)
    except OSError:
        return []


def number(cell: str) -> float:
    """Return the number in a cell, NaN if there is none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan
