"""Draw the curves of runs with matplotlib (optional dependency ``plot``)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.errors import CharRNNError, printable
from charrnn.training.curves import Curves, check_units, limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#555555"
_COLOURS = (_BLUE, _ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours that colour-blind readers can tell apart (Okabe and Ito 2008, "Color universal design")."""

_STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": _GREY, "axes.grid": True,
    "grid.color": "#e8e8e8", "grid.linewidth": 0.6, "xtick.color": _GREY, "ytick.color": _GREY, "xtick.labelcolor": "black",
    "ytick.labelcolor": "black", "axes.axisbelow": True, "lines.solid_capstyle": "round", "svg.hashsalt": "charrnn",
    "savefig.dpi": 200, "legend.frameon": False, "legend.labelcolor": _GREY,
}
_WIDTH, _HEIGHT = 6.4, 4.2
_LINE = 12.0
"""Height of a label in points."""

_TICKS = (1, 2, 5, 10)
_LONGEST = 32
"""Characters of a run's name in a label."""


def draw(runs: Sequence[Curves]) -> Figure:
    """Return a figure of the curves of one or several runs: the losses and, below them, the learning rates.

    Raises CharRNNError if matplotlib is not installed, or as ``check_units`` does.
    """
    check_units(runs)
    with _style():
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator, StrMethodFormatter

        figure: Any = Figure((_WIDTH, max(_HEIGHT, _HEIGHT / 2 + len(runs) * _LINE / 72)), layout="constrained")
        baselines = [curves.baseline for curves in runs if curves.baseline is not None]
        has_rates = any(len(curves.learning_rate.steps) for curves in runs)
        ratios = [2.8, 1] if has_rates else [1]
        losses, *rates = figure.subplots(len(ratios), sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
        losses.set_ylabel(f"loss (nats per {'byte' if runs[0].unit == 'byte' else 'character'})")
        losses.set_ylim(*limits([points for curves in runs for points in curves.losses], baselines))
        losses.yaxis.set_major_locator(MaxNLocator(6, steps=_TICKS))
        labels = _draw_run(losses, runs[0]) if len(runs) == 1 else _draw_runs(losses, runs)
        for axes in rates:
            for curves, colour in zip(runs, _colours(len(runs))):
                axes.plot(*curves.learning_rate, color=_GREY if len(runs) == 1 else colour, linewidth=1.2)
            axes.set_ylabel("learning rate")
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_locator(MaxNLocator(4, steps=_TICKS))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        bottom = figure.axes[-1]
        bottom.set_xlabel("step")
        bottom.set_xlim(0, max(points.steps[-1] for curves in runs for points in curves.losses))
        bottom.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        bottom.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        figure.align_ylabels()
        _write_labels(losses, labels)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # another layout in each drawing would move everything by rounding errors
        figure._repr_svg_ = partial(to_svg, figure)  # for notebooks, which know only the figures of pyplot
        return figure


def to_svg(figure: Figure) -> str:
    """Return a figure as SVG."""
    return to_bytes(figure, "svg").decode()


def to_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as the content of a file of a kind in ``FORMATS``; the same figure gives the same bytes."""
    file = io.BytesIO()
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    with _style():
        figure.savefig(file, format=kind, metadata=metadata)
    return file.getvalue()


@contextmanager
def _style() -> Iterator[None]:
    """Use matplotlib with the style of charrnn, whatever the user's matplotlibrc contains."""
    try:
        from matplotlib import style
    except ImportError as error:
        raise CharRNNError("drawing a figure needs matplotlib, which is not installed", "pip install matplotlib") from error
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+")  # the font lacks a character of a name, and draws a box
        yield


_Label = tuple[str, float, str]
"""The text of a label, its value on the axis, and its colour."""


def _draw_run(axes: Axes, curves: Curves) -> list[_Label]:
    """Draw the losses of one run; return the labels of its curves."""
    axes.set_title(_shortened(curves.name), loc="left", fontsize=10, parse_math=False)
    labels = []
    if len(curves.train.steps):
        axes.plot(*curves.train, color=_ORANGE, linewidth=1.2)
        labels.append((f"training {curves.train.values[-1]:.3f}", float(curves.train.values[-1]), _ORANGE))
    if len(curves.validation.steps):
        axes.plot(*curves.validation, color=_BLUE, linewidth=1.8)
        axes.plot(*curves.best, "o", color=_BLUE, markersize=4.5, clip_on=False, zorder=4)
        labels.append((f"validation {curves.best[1]:.3f}", float(curves.validation.values[-1]), _BLUE))
    return labels + _draw_baselines(axes, [curves], [_GREY])


def _draw_runs(axes: Axes, runs: Sequence[Curves]) -> list[_Label]:
    """Draw the losses of several runs, each in its colour; return the labels of the runs."""
    colours = _colours(len(runs))
    labels = []
    for curves, colour in zip(runs, colours):
        if curves.main is curves.validation:
            axes.plot(*curves.train, color=colour, linewidth=0.8, alpha=0.5)
        axes.plot(*curves.main, color=colour, linewidth=1.8)
        axes.plot(*curves.best, "o", color=colour, markersize=4.5, clip_on=False, zorder=4)
        labels.append((f"{_shortened(curves.name)} {curves.best[1]:.3f}", float(curves.main.values[-1]), colour))
    for name, width, alpha in (("validation", 1.8, 1.0), ("training", 0.8, 0.5)):
        axes.plot([], [], color=_GREY, linewidth=width, alpha=alpha, label=name)
    axes.legend(loc="upper right")
    return labels + _draw_baselines(axes, runs, colours)


def _draw_baselines(axes: Axes, runs: Sequence[Curves], colours: Sequence[str]) -> list[_Label]:
    """Draw the n-gram baselines, one for runs with the same one; return their labels."""
    found: dict[float, list[str]] = {}
    for curves, colour in zip(runs, colours):
        if curves.baseline is not None:
            found.setdefault(curves.baseline, []).append(colour)
    labels = []
    for nats, of_runs in found.items():
        colour = _GREY if len(found) == 1 else of_runs[0]
        axes.axhline(nats, color=colour, linewidth=1.2, linestyle=(0, (5, 3)))
        labels.append((f"n-gram {nats:.3f}", nats, colour))
    return labels


def _colours(count: int) -> Sequence[str]:
    """Return ``count`` colours that colour-blind readers can tell apart as far as possible."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if count <= len(_COLOURS):
        return _COLOURS
    return [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0, 0.8, count))]


def _write_labels(axes: Axes, labels: Sequence[_Label]) -> None:
    """Write labels at the right edge of the axes, each beside its value, as near as their height permits."""
    figure: Any = axes.figure
    figure.draw_without_rendering()  # computes the height of the axes
    low, high = axes.get_ylim()
    gap = (high - low) * _LINE / (axes.get_window_extent().height / figure.dpi * 72)
    ordered = sorted(labels, key=lambda label: label[1])
    for (text, _, colour), value in zip(ordered, _spread([min(max(label[1], low), high) for label in ordered], gap)):
        axes.annotate(text, (1, value), (6, 0), axes.get_yaxis_transform(), "offset points", color=colour, va="center",
                      annotation_clip=False, parse_math=False)


def _spread(values: Sequence[float], gap: float) -> list[float]:
    """Return ascending values that differ by at least ``gap``, with the smallest sum of squared changes.

    The values less k * gap are replaced by their isotonic regression: neighbours in the wrong order get their mean.
    """
    blocks: list[list[float]] = []
    for k, value in enumerate(values):
        blocks.append([value - k * gap])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    means = [float(np.mean(block)) for block in blocks for _ in block]
    return [mean + k * gap for k, mean in enumerate(means)]


def _shortened(name: str) -> str:
    """Return a name as one short line."""
    name = printable(name)
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST - 1]}…"
