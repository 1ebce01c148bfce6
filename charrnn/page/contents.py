"""Contents: what the page of a run or of a model shows, apart from the model itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import END, TextConfig
from charrnn.errors import RunError
from charrnn.inference.evaluation import Evaluation, how_read
from charrnn.inference.language_model import LanguageModel
from charrnn.inference.novelty import Comparison, compare
from charrnn.page.units import NamedUnit, find_units
from charrnn.text.files import join_names
from charrnn.text.split import Part, Split
from charrnn.text.vocabulary import REPLACEMENT
from charrnn.training.curves import Curves, curves_of
from charrnn.training.run import Run
from charrnn.training.run_folder import RunFolder
from charrnn.training.samples import Sample, read_samples, write

TEMPERATURES = 0.5, 0.75, 1.0

READING = 700
"""Characters of the text that the section "Read" starts with."""

_SAMPLE = 400
_NOVELTY, _NOVELTY_TRAINING = 20_000, 10_000_000
"""Characters to generate, and to read of the training part, for the novelty."""

Rows = list[tuple[str, list[str]]]
"""A table: the name of each row, and its cells."""

OnStage = Callable[[str], None]
"""A function that is called with the name of each part before it is computed."""


def _no_stage(stage: str) -> None:
    """Do nothing."""


class Contents(NamedTuple):
    """What a page shows. A part that does not exist, such as the curves of a file that contains only a model, is empty.

    ``reading`` is the text that the section "Read" starts with. ``temperatures`` are pairs of a temperature and a sample.
    ``novelty_table`` contains the names of the columns of a table, and its rows.
    """

    name: str
    summary: str
    model: LanguageModel
    figures: Rows
    settings: Rows
    reading: str
    temperatures: list[tuple[float, str]]
    units: list[NamedUnit]
    curves: Curves | None = None
    samples: Sequence[Sample] = ()
    novelty: Comparison | None = None
    novelty_table: tuple[list[str], Rows] = ([], [])


def contents_of_model(model: LanguageModel, name: str, on_stage: OnStage = _no_stage) -> Contents:
    """Return the contents of the page of a model without a run."""
    on_stage("samples")
    temperatures = _temperatures(model)
    summary = f"A recurrent network that generates text. {_memory(model)}"
    return Contents(name, summary, model, _model_figures(model, name), [], temperatures[1][1], temperatures, [])


def contents_of_run(run: Run, split: Split | None, name: str | None = None, model: LanguageModel | None = None,
                    on_stage: OnStage = _no_stage, with_units: bool = True) -> Contents:
    """Return the contents of the page of a run, called ``name``, with ``model``, by default its best one.

    Without ``split``, the text of the run, there are no named units, no novelty and no n-gram baseline; nor are there named
    units if ``with_units`` is false. Raises CorpusError or ConfigError if ``split`` is not that of the run.
    """
    model = model or run.best
    name = name or ("model" if run.folder is None else run.folder.resolve().name)
    on_stage("samples")
    temperatures = _temperatures(model)
    samples = [] if run.folder is None else [sample for sample in read_samples(RunFolder(run.folder).samples)
                                             if sample.step <= run.step]
    curves = novelty = None
    table: tuple[list[str], Rows] = ([], [])
    units: list[NamedUnit] = []
    reading = temperatures[1][1]
    if split is not None:
        if with_units:
            on_stage("units")
            units = find_units(model, split.validation)
        reading = _excerpt(model, split.validation) or reading
        on_stage("novelty")
        novelty = compare(model, split, _NOVELTY, most=_NOVELTY_TRAINING)
        table = novelty.table(split, model)
    on_stage("curves")
    with suppress(RunError):  # it has no losses yet
        curves = curves_of(run, split)._replace(name=name)
    text = f"{run.source.characters:,} {_units(model)} of {_text(run)}"
    summary = (f"A recurrent network that has read {text}, one after the other, and has learned to predict the next one. "
               f"{_memory(model)}")
    return Contents(name, summary, model, [*_model_figures(model, name), *_run_figures(run, split, curves)], _settings(run),
                    reading, temperatures, units, curves, samples, novelty, table)


def _shape(model: LanguageModel) -> str:
    config = model.network.config
    layers = "" if config.layers == 1 else f"{config.layers} layers of "
    return (f"{config.cell.upper()}, {layers}{config.hidden_size:,} units, "
            f"{model.network.parameters.flat.size:,} parameters")


def _memory(model: LanguageModel) -> str:
    config = model.network.config
    return f"What it remembers of a text are the values of its {config.layers * config.hidden_size:,} units."


def _text(run: Run) -> str:
    """Return the names of the files of a run, without their folders, which may be private."""
    return join_names([Path(name).name or name for name in run.source.names]) or "a text"


def _units(model: LanguageModel) -> str:
    return "bytes" if model.text_config.level == "byte" else "characters"


def _temperatures(model: LanguageModel) -> list[tuple[float, str]]:
    return [(temperature, write(model, _SAMPLE, 1, temperature)) for temperature in TEMPERATURES]


def _excerpt(model: LanguageModel, part: Part) -> str:
    """Return the beginning of the second half of a part, from the start of a line if there is one near."""
    ids = part.ids[len(part) // 2:][:(8 if model.text_config.level == "byte" else 2) * READING]
    text = _unmarked(decode(model, ids), model.text_config)
    start = text.find("\n", 0, READING) + 1
    return text[start:start + READING].strip("\n\ufffd")


def _unmarked(text: str, text_config: TextConfig) -> str:
    """Return a text with separators instead of end marks, or its first complete document if there is no separator."""
    if text_config.end != END or END not in text:
        return text
    if text_config.documents == "paragraphs" or text_config.separator is not None:
        return text[text.index(END) + 1:].replace(END, text_config.separator or "\n\n")
    return f"\n{text.split(END)[1]}"


def decode(model: LanguageModel, ids: np.ndarray) -> str:
    """Return the text of ids; unknown and invalid bytes of a model of bytes become U+FFFD."""
    text = model.vocabulary.decode(ids)
    if model.text_config.level == "byte":
        parts = text.replace(REPLACEMENT, "\xff").split(END)
        return END.join(part.encode("latin-1").decode("utf-8", "replace") for part in parts)
    return text


def _model_figures(model: LanguageModel, name: str) -> Rows:
    rows = [("network", [_shape(model)]),
            ("vocabulary", [f"{len(model.vocabulary):,} {_units(model)}"])]
    if model.origin is not None and model.origin.short_name != name:  # a bundled model is its own origin
        rows.append(("weights", [f"started from {model.origin.short_name}"]))
    return rows


def _run_figures(run: Run, split: Split | None, curves: Curves | None) -> Rows:
    level = run.model.text_config.level
    rows = [("text", [f"{_text(run)}: {run.source.characters:,} {_units(run.model)}"]),
            ("training", [f"{run.step:,} of {run.planned:,} steps, {run.epoch:.1f} passes over the text"])]
    if run.step:
        rows.append(("training loss", [f"{run.smoothed_loss:.4f} nats/{level} (running mean)"]))
    if run.best_record is not None:
        characters = 0 if split is None else len(split.validation) - 1
        how = how_read(characters) if characters > 0 else ""
        found = Evaluation(run.best_record.validation_loss, characters, how).line("", level).strip()
        rows.append(("validation loss", [f"{found}, after step {run.best_record.step:,}"]))
    if curves is not None and curves.baseline is not None:
        rows.append(("n-gram baseline", [f"{curves.baseline:.4f} nats/{level}"]))
    return rows


def _settings(run: Run) -> Rows:
    """Return the settings of a run: all of the model and of the training, and those of the text that are not defaults."""
    text, default = run.model.text_config, TextConfig()
    rows = [(name, value) for name, value in _fields(text) if value != getattr(default, name)]
    rows += [*_fields(run.model.network.config), *_fields(run.config)]
    return [*((name.replace("_", " "), [str(value)]) for name, value in rows if value is not None),
            *((name, [value]) for name, value in run.environment.items())]


def _fields(config: Any) -> list[tuple[str, Any]]:
    return [(item.name, getattr(config, item.name)) for item in dataclasses.fields(config)]
