"""Curves drawn with characters, for a terminal or a file of any width."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np

_PATTERNS = "1", "10", "111000"
"""The dots of a curve that are drawn, for up to three curves: solid, dotted, dashed."""

_MARKS = "o.-", "abcdefghijklmnopqrstuvwxyz"
"""The characters of up to three curves if they cannot be drawn with dots, and those of more curves."""

_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""The bits of the dots (4, 2) of a Braille character, which start at U+2800."""

_SAMPLE, _TICK_COLUMNS, _TICK_ROWS = 4, 16, 4


class Curve(NamedTuple):
    """A curve through ``values`` (N,) at ``steps`` (N,), ascending, with its name in the legend."""

    name: str
    steps: np.ndarray
    values: np.ndarray


def chart(curves: Sequence[Curve], limits: tuple[float, float], width: int, dots: bool) -> list[str]:
    """Return the lines of a chart of ``curves`` that is ``width`` characters wide, with a legend below.

    ``limits`` are those of the values; the steps start at 0. Up to three curves are drawn with Braille dots if ``dots``
    is true. Otherwise, each curve has a character of its own; the first curves cover later ones.
    """
    dots = dots and len(curves) <= len(_PATTERNS)
    low, high = limits
    last = max(1.0, *(float(curve.steps[-1]) for curve in curves))
    rows = max(6, min(16, width // 5))
    ticks = {round((high - tick) / (high - low) * (rows - 1)): f"{tick:g}"
             for tick in _ticks(low, high, rows // _TICK_ROWS)}
    margin = max(map(len, ticks.values()), default=0)
    columns = max(8, width - margin - 2)
    cells = np.full((rows, columns), " ")
    tall, wide = _DOTS.shape if dots else (1, 1)
    for index, curve in reversed(list(enumerate(curves))):
        pattern = cycle(_PATTERNS[index] if dots else "1")
        for (row, column), is_on in zip(_path(curve, last, limits, rows * tall, columns * wide), pattern):
            if is_on == "1":
                place = row // tall, column // wide
                cells[place] = _dotted(cells[place], row % tall, column % wide) if dots else _mark(index, len(curves))
    lines = [f"{ticks.get(row, ''):>{margin}} {'+' if row in ticks else '|'}{''.join(cells[row])}" for row in range(rows)]
    lines += _step_axis(last, margin + 1, columns)
    legend = [f"{_sample(index, len(curves), dots)} {curve.name}" for index, curve in enumerate(curves)]
    return [line[:width].rstrip() for line in [*lines, *(" " * (margin + 2) + line for line in legend)]]


def _path(curve: Curve, last: float, limits: tuple[float, float], rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield the row and the column of each dot of a curve from left to right; dots above or below are left out."""
    low, high = limits
    first, end = (round(float(curve.steps[k]) / last * (columns - 1)) for k in (0, -1))
    places = np.arange(first, end + 1)
    values = np.interp(places / (columns - 1) * last, curve.steps, curve.values)
    heights = np.clip(np.rint((high - values) / (high - low) * (rows - 1)), -1, rows).astype(int)
    before = heights[0]
    for column, height in zip(places, heights):
        between = range(before + 1, height) if height > before else range(before - 1, height, -1)
        for row in (*between, height):  # a steep curve needs several dots in a column
            if 0 <= row < rows:
                yield row, int(column)
        before = height


def _mark(index: int, count: int) -> str:
    marks = _MARKS[count > len(_PATTERNS)]
    return marks[index % len(marks)]


def _dotted(cell: str, row: int, column: int) -> str:
    """Return a cell with one more dot."""
    return chr(0x2800 | (0 if cell == " " else ord(cell)) | int(_DOTS[row, column]))


def _sample(index: int, count: int, dots: bool) -> str:
    """Return a short piece of a curve for the legend."""
    if not dots:
        return _mark(index, count) * _SAMPLE
    cells = [" "] * _SAMPLE
    for k, is_on in zip(range(2 * _SAMPLE), cycle(_PATTERNS[index])):
        if is_on == "1":
            cells[k // 2] = _dotted(cells[k // 2], 1, k % 2)
    return "".join(cells)


def _step_axis(last: float, margin: int, columns: int) -> list[str]:
    """Return the axis of steps: a line with ticks, and their labels."""
    line, labels = ["-"] * columns, [" "] * (margin + 1 + columns)
    for tick in _ticks(0, last, max(1, columns // _TICK_COLUMNS), least=1):
        place = round(tick / last * (columns - 1))
        line[place] = "+"
        label = f"{tick:,.0f}"
        start = min(margin + 1 + place - len(label) // 2, margin + 1 + columns - len(label))
        labels[start:start + len(label)] = label
    return [" " * margin + "+" + "".join(line), "".join(labels)]


def _ticks(low: float, high: float, count: int, least: float = 0.0) -> list[float]:
    """Return about ``count`` round numbers from ``low`` to ``high``, at intervals of at least ``least``."""
    rough = max((high - low) / count, least)
    power = 10.0 ** math.floor(math.log10(rough))
    unit = next(unit * power for unit in (1, 2, 5, 10) if unit * power >= rough * (1 - 1e-9))
    return [round(k * unit, 12) for k in range(math.ceil(low / unit), math.floor(high / unit) + 1)]
