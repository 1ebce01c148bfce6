"""Curves: the losses and learning rates of a run, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.errors import RunError, check_type
from charrnn.inference.ngram import baseline
from charrnn.text.corpus import Corpus
from charrnn.text.split import Split
from charrnn.training.metrics_rows import number, rows
from charrnn.training.schema import check_text

_MOST = 1e6
"""Losses and learning rates above this are drawn as this, so that no file makes the axis overflow."""

_START = 0.05
"""The fraction of the steps in which the losses may be above the axis, because they start at the loss of a random guess."""


class Points(NamedTuple):
    """A curve: ``values`` (N,) after ``steps`` (N,), both float64 and finite."""

    steps: np.ndarray
    values: np.ndarray


class Curves(NamedTuple):
    """The curves of a run.

    ``name`` is the name of the run. ``train`` is the running mean of the training loss, ``validation`` the loss of the
    evaluations, ``baseline`` that of the n-gram baseline on the validation part, all in nats per ``unit`` ("char" or
    "byte"); it is None if it was not counted. Without ``metrics.csv``, ``train`` has only the steps of the evaluations,
    and ``learning_rate`` is empty.
    """

    name: str
    unit: str
    train: Points
    validation: Points
    learning_rate: Points
    baseline: float | None = None

    @property
    def losses(self) -> list[Points]:
        """The losses, of which there is at least one: validation, then training."""
        return [points for points in (self.validation, self.train) if len(points.steps)]

    @property
    def main(self) -> Points:
        """The validation loss, or the training loss of a run without evaluations."""
        return self.losses[0]

    @property
    def best(self) -> tuple[float, float]:
        """The step and the value of the lowest ``main`` loss."""
        index = int(np.argmin(self.main.values))
        return float(self.main.steps[index]), float(self.main.values[index])


def curves_of(run: Any, text: Corpus | Split | None = None) -> Curves:
    """Return the curves of a ``Run`` up to its current step, from its history and the metrics.csv in its folder.

    If ``text`` is the text of the run, count the n-gram baseline, which takes about a second for a megabyte. Raises
    RunError if the run has no losses yet, CorpusError if ``text`` is not its text, ConfigError if it was split otherwise.
    """
    name = "run" if run.folder is None else run.folder.resolve().name
    table = [] if run.folder is None else _table(run.folder / "metrics.csv", run.step)
    train = _points((row["step"], row.get("train_loss", "")) for row in table)
    if not len(train.steps):
        train = _points((record.step, record.train_loss) for record in run.history)
    validation = _points((record.step, record.validation_loss) for record in run.history)
    rate = _points((row["step"], row.get("learning_rate", "")) for row in table)
    if not len(train.steps) and not len(validation.steps):
        raise RunError(f"{name}: has no losses to draw yet", "train it first")
    counted = None if text is None else baseline_of(run, text)
    return Curves(name, run.model.text_config.level, train, validation, rate, counted)


def baseline_of(run: Any, text: Corpus | Split) -> float | None:
    """Return the loss of the n-gram baseline (nats) on the validation part of a ``Run``, None if it has none.

    Raises CorpusError if ``text`` is not the text of the run, ConfigError if it was split otherwise.
    """
    check_type("text", text, Corpus, Split)
    split = text if isinstance(text, Split) else run.split(text)
    check_text(run.source, split.corpus)
    split.require(run.config.validation, run.config.test)
    if len(split.validation) < 2:
        return None
    return baseline(split.train.ids, split.validation.ids, len(split.corpus.vocabulary)).nats


def check_units(runs: Iterable[Curves]) -> None:
    """Raise RunError if the losses of some runs are per character, and those of others per byte."""
    if len({curves.unit for curves in runs}) > 1:
        raise RunError("the losses of models of characters and of bytes cannot be compared", "draw them separately")


def limits(drawn: Sequence[Points], baselines: Iterable[float]) -> tuple[float, float]:
    """Return the limits of an axis for these losses, with a margin; steep curves may start above it.

    The lowest loss of each curve is inside, even if it is at the start or if the curve is much shorter than others.
    """
    last = max(points.steps[-1] for points in drawn)
    values = np.concatenate([*(points.values[points.steps >= _START * last] for points in drawn),
                             *(points.values.min(keepdims=True) for points in drawn), list(baselines)])
    low, high = float(values.min()), float(values.max())
    margin = max(0.04 * (high - low), 0.01)
    return low - margin, high + margin


def _table(path: Path, last: int) -> list[dict[str, str]]:
    return [row for row, _ in rows(path) if int(row["step"]) <= last]


def _points(pairs: Iterable[tuple[Any, Any]]) -> Points:
    """Return the pairs of a step and a finite number, which may be text, in the order of the steps."""
    found = np.array(sorted((float(step), number(value)) for step, value in pairs)).reshape(-1, 2)
    steps, values = found[np.isfinite(found[:, 1])].T
    return Points(steps, np.clip(values, 0, _MOST))
