"""Samples: what the model of a run writes at some steps, in samples.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from charrnn.inference.language_model import LanguageModel
from charrnn.training.row_file import RowFile, lines_of
from charrnn.training.run import Run

LENGTH = 200
"""Characters of a sample. A model of documents writes documents until their total length is at least this."""

_PRIME = ""
_MOST_POWERS = 18
"""With the start and the end, a run has at most 20 samples by default."""

_TYPES = {"step": (int,), "text": (str,), "loss": (float, type(None)), "prime": (str,), "seed": (int,)}


class Sample(NamedTuple):
    """What the model writes after ``step`` steps, from ``prime`` and ``seed``.

    ``loss`` is the smoothed training loss (nats) at that step, None before the first step. The samples of a run all have
    the same prime and seed, so they differ only in the weights.
    """

    step: int
    text: str
    loss: float | None
    prime: str
    seed: int


def is_sampled(step: int, planned: int, every: int | None) -> bool:
    """Return whether a run of ``planned`` steps writes a sample after ``step``, apart from its end.

    By default, it does so at the start and after 1, 2, 4, 8, ... steps. If these are more than ``_MOST_POWERS``, the first
    of them are left out.
    """
    if step == 0 or every is not None:
        return step == 0 or step % (every or 1) == 0
    return step & (step - 1) == 0 and planned.bit_length() - step.bit_length() < _MOST_POWERS


def sample_of(run: Run) -> Sample:
    """Return a sample of a run's model. Its text is empty if the weights are not finite."""
    seed = run.config.seed
    loss = float(f"{run.smoothed_loss:.6f}") if run.step else None
    try:
        text = write(run.model, LENGTH, seed)
    except ValueError:  # the next step will detect this, and restore earlier weights
        text = ""
    return Sample(run.step, text, loss, _PRIME, seed)


def write(model: LanguageModel, length: int, seed: int, temperature: float = 1.0) -> str:
    """Return ``length`` characters written by a model. A model of documents writes as many documents as that takes."""
    if model.text_config.end is None:
        return model.sample(_PRIME, length, seed=seed, temperature=temperature)
    between = "\n" if model.is_single_line else "\n\n"
    text, number = "", 0
    while len(text) < length:
        text += model.sample(_PRIME, length, seed=seed + number, temperature=temperature).removesuffix("\n") + between
        number += 1
    return text


class SampleFile(RowFile):
    """The file samples.jsonl at ``path``, with the samples of ``old`` up to ``step``; see ``MetricsTable``."""

    def __init__(self, path: Path, step: int, old: Path | None) -> None:
        super().__init__(path)
        self.last_step = -1
        for sample, size in _rows(old) if old is not None else ():
            if sample.step > step:
                break
            self.last_step = sample.step
            if old == path:
                self.keep(size)
            else:
                self._write(sample)

    def add(self, run: Run) -> Sample | None:
        """Add a sample of a run if one belongs to its current step, and return it."""
        is_due = run.finished or is_sampled(run.step, run.planned, run.config.sample_every)
        if not (run.config.samples and is_due) or self.last_step == run.step:
            return None
        sample = sample_of(run)
        self._write(sample)
        self.last_step = run.step
        return sample

    def _write(self, sample: Sample) -> None:
        self.write(json.dumps(sample._asdict(), ensure_ascii=False) + "\n")


def read_samples(path: Path) -> list[Sample]:
    """Return the samples in a file, up to the first invalid line; none if the file cannot be read."""
    return [sample for sample, _ in _rows(path)]


def _rows(path: Path) -> Iterator[tuple[Sample, int]]:
    """Yield the valid samples of a file up to the first invalid line, each with its end position in the file."""
    size, last = 0, -1
    for line in lines_of(path):
        size += len(line)
        try:
            values = json.loads(line)
            json.dumps(values, ensure_ascii=False, allow_nan=False).encode()  # a surrogate or NaN is invalid
        except (ValueError, RecursionError):
            return
        if not (line.endswith(b"\n") and isinstance(values, dict) and values.keys() == _TYPES.keys()
                and all(type(values[name]) in types for name, types in _TYPES.items()) and values["step"] > last):
            return
        last = values["step"]
        yield Sample(**values), size
