"""The facts of a checkpoint, judged: what a file says of its run, before a value of it is used.

A file may come from anywhere and say anything. What cannot be is refused with a ValueError that says what it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import ModelConfig, Reading, TrainConfig, from_facts
from charrnn.errors import ConfigError
from charrnn.nn.cells import CELLS
from charrnn.nn.model import parameter_shapes
from charrnn.storage.container import Manifest
from charrnn.text.corpus import bounds
from charrnn.text.vocabulary import CODE_POINTS
from charrnn.training.optimizers import OPTIMIZERS

_DTYPES = {"float32": "<f4", "float64": "<f8"}
_KINDS = {
    "model": dict, "train": dict, "dtype": str, "vocabulary": int, "step": int, "epoch": int, "window": int,
    "since": int, "smoothed_loss": float, "rate_factor": float, "failures": int, "good_step": int, "history": list,
    "source": dict, "environment": dict,
}
_SOURCE_KINDS = {"names": list, "reading": dict, "fingerprint": str, "characters": int, "windows": int}


class Record(NamedTuple):
    """One evaluation: after which step, the smoothed training loss and the validation loss in nats per character."""

    step: int
    train_loss: float
    validation_loss: float


class Source(NamedTuple):
    """The corpus a run trains on: names as given, how bytes became ids, its fingerprint, characters in all, windows an
    epoch."""

    names: tuple[str, ...]
    reading: Reading
    fingerprint: str
    characters: int
    windows: int


def describe(facts: dict[str, Any]) -> Manifest:
    """The arrays that belong to the facts of a checkpoint. Raises ValueError for facts that cannot be."""
    _need(facts, _KINDS, "its facts")
    model_config, config = _configs(facts)
    source = source_from(facts["source"])
    step, good_step, since = facts["step"], facts["good_step"], facts["since"]
    training, _ = bounds(source.characters, config.validation or 0.0, config.test)
    _refuse(facts["dtype"] not in _DTYPES, "its dtype is unknown")
    _refuse(not 1 <= facts["vocabulary"] <= CODE_POINTS + 1, "its vocabulary has an impossible size")
    _refuse(None in (config.eval_every, config.learning_rate, config.validation), "its plan is not fixed")
    _refuse(model_config.embedding_size is None, "its model is not fixed")
    _refuse(not 1 <= (config.threads or 0) <= config.batch_size, "its threads are not fixed, or more than its streams")
    _refuse(not (0 <= good_step <= step and 0 <= since <= step <= (config.steps or 0)), "its step lies outside its plan")
    _refuse((facts["epoch"], facts["window"]) != divmod(step, source.windows), "its position is not that of its step")
    _refuse(source.windows != (training - 1) // config.seq_len // config.batch_size,
            "its windows are not those of its corpus")
    _refuse(not math.isfinite(facts["smoothed_loss"]), "its loss is not finite")
    _refuse(not 0 < facts["rate_factor"] <= 1 or not 0 <= facts["failures"] <= step, "its failures cannot be")
    _check_history(facts["history"], step)
    _refuse(any(type(value) is not str for value in facts["environment"].values()), "its environment is no text")
    return _manifest(model_config, config, facts["vocabulary"], _DTYPES[facts["dtype"]], good_step != step)


def _manifest(model_config: ModelConfig, config: TrainConfig, vocabulary_size: int, dtype: str, with_good: bool
              ) -> Manifest:
    shapes, slots = parameter_shapes(model_config, vocabulary_size), OPTIMIZERS[config.optimizer].SLOTS
    manifest: Manifest = {f"parameters/{name}": (dtype, shape) for name, shape in shapes.items()}
    for slot in slots:
        manifest.update({f"optimizer/{slot}/{name}": (dtype, shape) for name, shape in shapes.items()})
    state_shape = (config.batch_size, model_config.hidden_size)
    manifest.update({f"state/layer{k}/{name}": (dtype, state_shape)
                     for k in range(model_config.layers) for name in CELLS[model_config.cell].State._fields})
    if with_good:
        size = sum(math.prod(shape) for shape in shapes.values())
        manifest.update(dict.fromkeys(good_names(slots), (dtype, (size,))))
    return {**manifest, "vocabulary/codepoints": ("<u4", (vocabulary_size,))}


def good_names(slots: tuple[str, ...]) -> list[str]:
    """The names of the blocks of the last good weights: parameters first, then each optimizer slot."""
    return ["good/parameters", *(f"good/{slot}" for slot in slots)]


def check_values(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError for numbers that no training can have left."""
    for name, array in arrays.items():
        _refuse(array.dtype.kind == "f" and not np.isfinite(array).all(), f"/{name} holds what is not finite")
        squares = "square" in name and name.startswith(("optimizer/", "good/"))
        _refuse(squares and bool(np.any(array < 0)), f"/{name} holds negative squares")


def source_from(facts: Mapping[str, Any]) -> Source:
    """The Source in plain facts. Raises ValueError for facts that cannot be."""
    _need(facts, _SOURCE_KINDS, "the facts of its corpus")
    _refuse(any(type(name) is not str or "\0" in name for name in facts["names"]), "the names of its corpus are no text")
    _refuse(facts["characters"] < 1 or facts["windows"] < 1, "its corpus has an impossible size")
    try:
        reading = from_facts(Reading, facts["reading"])
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return Source(**{**facts, "names": tuple(facts["names"]), "reading": reading})


def _configs(facts: Mapping[str, Any]) -> tuple[ModelConfig, TrainConfig]:
    try:
        return from_facts(ModelConfig, facts["model"]), from_facts(TrainConfig, facts["train"])
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _check_history(history: list[Any], step: int) -> None:
    before = 0
    for record in history:
        _refuse(type(record) is not list or [type(item) for item in record] != [int, float, float]
                or not before < record[0] <= step or not all(map(math.isfinite, record)), "its history is not one")
        before = record[0]


def _need(facts: Mapping[str, Any], kinds: Mapping[str, type], what: str) -> None:
    _refuse(set(facts) != set(kinds), f"{what} are incomplete, or more than there are")
    for name, kind in kinds.items():
        _refuse(type(facts[name]) is not kind, f"{what} have a {name} of the wrong type")
        _refuse(kind is int and not 0 <= facts[name] < 2**63, f"{what} have a {name} out of range")


def _refuse(wrong: bool, what: str) -> None:
    if wrong:
        raise ValueError(what)
