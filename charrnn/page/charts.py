"""Charts: the coordinates of small SVG pictures of curves and of character vectors. The templates draw them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from charrnn.config import END
from charrnn.inference.language_model import LanguageModel
from charrnn.text.vocabulary import UNKNOWN
from charrnn.training.curves import Curves, Points, limits

WIDTH = 720
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 8, 36
"""Pixels around the area of the curves."""

COLOURS = 6
"""Number of colours of curves in the style sheet. More runs use the same colours again."""

MOST_CHARACTERS = 200
"""A larger vocabulary has no map, because its characters would cover each other."""

_MOST_POINTS = 400


class Line(NamedTuple):
    """A curve: the attribute ``points`` of its polyline, its classes, and its text in the legend."""

    points: str
    classes: str
    label: str


class Chart(NamedTuple):
    """A picture of ``WIDTH`` by ``height`` pixels: curves by step, from 0 to ``last``.

    A tick is a pair of a position and a text.
    """

    height: int
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    y_name: str
    last: float

    def x(self, step: float) -> float:
        """Return the horizontal position of a step."""
        return _x(step, self.last)


class Character(NamedTuple):
    """A character of a map, at (x, y)."""

    text: str
    x: float
    y: float


def loss_chart(runs: Sequence[Curves]) -> Chart:
    """Return the losses of one run, or the main losses of several; and the n-gram baseline if it is the same for all."""
    if len(runs) == 1:
        (run,) = runs
        names = {id(run.validation): ("validation", "c0"), id(run.train): ("training", "c1 faint")}
        drawn = [(points, *names[id(points)]) for points in run.losses]
    else:
        drawn = [(run.main, run.name, f"c{k % COLOURS}") for k, run in enumerate(runs)]
    baselines = {run.baseline for run in runs if run.baseline is not None}
    curves = [(points, classes, f"{name}, lowest {_lowest(points)}") for points, name, classes in drawn]
    if len(baselines) == 1:
        (nats,) = baselines
        last = max(points.steps[-1] for points, _, _ in drawn)
        curves.append((Points(np.array([0.0, last]), np.array([nats, nats])), "dashed", f"n-gram baseline {nats:.3f}"))
    low, high = limits([points for points, _, _ in drawn], baselines)
    return _chart(curves, low, high, 300, f"nats per {'byte' if runs[0].unit == 'byte' else 'character'}")


def rate_chart(run: Curves) -> Chart:
    """Return the learning rate of a run."""
    high = float(run.learning_rate.values.max()) or 1.0
    return _chart([(run.learning_rate, "c2", "learning rate")], 0.0, 1.05 * high, 130, "learning rate")


def _lowest(points: Points) -> str:
    index = int(np.argmin(points.values))
    return f"{points.values[index]:.3f} at step {points.steps[index]:,.0f}"


def _chart(curves: Sequence[tuple[Points, str, str]], low: float, high: float, height: int, y_name: str) -> Chart:
    last = max(float(points.steps[-1]) for points, _, _ in curves) or 1.0

    def y(value: float) -> float:
        return round(TOP + (height - TOP - BOTTOM) * (high - value) / (high - low), 1)

    lines = []
    for points, classes, label in curves:
        thin = _thinned(points)
        inside = [f"{_x(step, last)},{y(min(value, high))}" for step, value in zip(thin.steps, thin.values)]
        lines.append(Line(" ".join(inside), classes, label))
    return Chart(height, lines, [(_x(step, last), f"{step:,.0f}") for step in _ticks(0, last) if step == int(step)],
                 [(y(value), f"{value:.10g}") for value in _ticks(low, high)], y_name, last)


def _x(step: float, last: float) -> float:
    """Return the horizontal position of a step on an axis from 0 to ``last``."""
    return round(LEFT + (WIDTH - LEFT - RIGHT) * step / last, 1)


def _thinned(points: Points) -> Points:
    """Return at most ``_MOST_POINTS`` points of a curve, its last one included."""
    count = len(points.steps)
    if count <= _MOST_POINTS:
        return points
    chosen = np.unique(np.linspace(0, count - 1, _MOST_POINTS).round().astype(int))
    return Points(points.steps[chosen], points.values[chosen])


def _ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Return about ``count`` round numbers from ``low`` to ``high``: multiples of 1, 2 or 5 times a power of ten."""
    step = 10.0 ** math.floor(math.log10((high - low) / count))
    step *= next((factor for factor in (1, 2, 5) if (high - low) / (factor * step) <= count), 10)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(k * step, 10) for k in range(first, last + 1)]


def character_map(model: LanguageModel, size: int = WIDTH) -> list[Character]:
    """Return the characters of a small vocabulary in two dimensions.

    The list is empty if the vocabulary has more than ``MOST_CHARACTERS``, or if the vectors have only one element.

    A character is represented by its row of the embedding or, without one, of the input weights. The rows are projected on
    their first two principal components, and drawn in the order of the vocabulary in a square of ``size`` pixels.
    """
    vocabulary, parameters = model.vocabulary, model.network.parameters
    if not 3 <= len(vocabulary) <= MOST_CHARACTERS:
        return []
    vectors = np.asarray(parameters.get("embedding/w", parameters["layer0/w_x"]), np.float64)
    if vectors.shape[1] < 2:
        return []
    centred = vectors - vectors.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    places = u[:, :2] * s[:2]
    places *= np.where(places[np.argmax(np.abs(places), axis=0), [0, 1]] < 0, -1, 1)  # the sign of a component is arbitrary
    span = np.maximum(np.ptp(places, axis=0), 1e-12)
    places = 20 + (size - 40) * (places - places.min(axis=0)) / span
    return [Character(_name(point, model.text_config.level), round(float(x), 1), round(float(y), 1))
            for point, (x, y) in zip(vocabulary.codepoints.tolist(), places)]


def _name(point: int, level: str) -> str:
    """Return a character so that it is visible in a picture."""
    if point == UNKNOWN:
        return "unknown"
    names = {" ": "space", "\n": "⏎", "\t": "tab", END: "end"}
    character = chr(point)
    if level == "byte" and 127 < point < 256:
        return f"0x{point:02x}"
    return names.get(character, character if character.isprintable() else f"U+{point:04X}")
