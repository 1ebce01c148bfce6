"""Recipe: chooses the size, the dropout and the number of passes for a text, a length of training and a machine.

For a pretrained model, it chooses the learning rate, the dropout and the number of passes. docs/recipes.md shows the texts
and the figures on which each rule was measured. The speed of the machine is an argument, which is rounded to a power of
two, so machines of similar speed with the same number of cores make the same choice.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from charrnn.config import LEARNING_RATES, MANY_CHARACTERS, ModelConfig, TrainConfig
from charrnn.nn.cells import CELLS

_SIZES = range(32, 1025, 32)

TYPICAL_SPEED = 58e9
"""FLOP/s of one core in a training step of an LSTM with 256 units, with compiled kernels in float32."""

_ASSUMED_SPEED = 55e9
"""The assumed speed of such a core in training. Larger networks are faster, but cores that are all in use are slower."""

_CHARACTERS_PER_WEIGHT = 8.0
"""A size is chosen only if there is time to train on this number of characters for each of its weights."""

_WEIGHTS_PER_CHARACTER = 5.5
"""Models with more weights than this for each character of the text, without the output layer, are not better."""

_PASSES_WITHOUT_DROPOUT = 2.5
_DROPPED_PER_DOUBLING = 0.1
"""Each doubling of the passes adds this to the dropped fraction of outputs and of recurrent weights."""

_MOST_DROPPED = 0.6
"""The largest fraction to drop."""

_MOST_PASSES = 50.0
"""The number of passes over a text after which training helps little."""

_OCCURRENCES = 200.0
_MOST_RARITY = 8.0
"""If a text has more than ``MANY_CHARACTERS`` distinct characters, and they occur fewer than ``_OCCURRENCES`` times on
average, it is memorized sooner: one pass counts as ``_OCCURRENCES`` / average passes, but as at most ``_MOST_RARITY``."""

_TUNING_RATE = 0.1
"""The peak learning rate for a pretrained model, as a fraction of the default."""

MOST_TUNING_PASSES = 8.0
"""The number of passes over a text after which training does not help a pretrained model any more."""

_TUNING_PASSES_WITHOUT_DROPOUT = 4
_TUNING_DROPPED = 0.2
"""The fraction of the outputs and of the recurrent weights to drop if a pretrained model reads a text more than
``_TUNING_PASSES_WITHOUT_DROPOUT`` times."""


def characters_read(model: ModelConfig, train: TrainConfig, characters: int, vocabulary_size: int, cores: int,
                    speed: float) -> float:
    """Return the approximate number of characters that training reads.

    ``speed`` is the measured speed of one core; see ``assumed_speed``.
    """
    if train.epochs is not None:
        return train.epochs * characters
    if train.steps is not None:
        return float(train.steps * train.batch_size * train.seq_len)
    assert train.budget is not None
    return 60 * train.budget * cores * assumed_speed(speed) / (6 * weight_count(model, vocabulary_size))


def assumed_speed(measured: float) -> float:
    """Return ``_ASSUMED_SPEED``, scaled by the measured speed, rounded to a power of two so that noise rarely matters."""
    return _ASSUMED_SPEED * 2.0 ** round(math.log2(measured / TYPICAL_SPEED))


def weight_count(model: ModelConfig, vocabulary_size: int) -> int:
    """Return the number of weights in the products for one character; weights that an id selects do not count."""
    gates, size = len(CELLS[model.cell].GATES), model.hidden_size
    return gates * (size * size * (2 * model.layers - 1) + size * (model.embedding_size or 0)) + size * vocabulary_size


class ModelChoice(NamedTuple):
    """A model for a text, and the number of passes over the training part that are planned with it."""

    model: ModelConfig
    passes: float


def choose_model(model: ModelConfig, given: Collection[str], train: TrainConfig, characters: int, vocabulary_size: int,
                 cores: int, speed: float) -> ModelChoice:
    """Return ``model`` with the hidden size and the dropout that suit the training part and the length of training.

    Settings in ``given`` are not changed. A length in minutes is an upper limit: at most ``most_passes`` are planned.
    """
    model = model.for_vocabulary(vocabulary_size)
    chosen = replace(model, hidden_size=_SIZES[0])
    for size in _SIZES:
        larger = replace(model, hidden_size=size)
        count = weight_count(larger, vocabulary_size)
        read = characters_read(larger, train, characters, vocabulary_size, cores, speed)
        without_output = weight_count(larger, 0)
        if read >= _CHARACTERS_PER_WEIGHT * count and without_output <= _WEIGHTS_PER_CHARACTER * characters:
            chosen = larger
    rarity = _rarity(characters, vocabulary_size)
    passes = _passes(chosen, train, characters, vocabulary_size, cores, speed, most_passes(characters, vocabulary_size))
    doublings = math.log2(max(rarity * passes / _PASSES_WITHOUT_DROPOUT, 1))
    fraction = min(_DROPPED_PER_DOUBLING * doublings, _MOST_DROPPED)
    fraction = round(20 * fraction) / 20
    chosen = replace(chosen, dropout=model.dropout if "dropout" in given else fraction,
                     weight_drop=model.weight_drop if "weight_drop" in given else fraction)
    return ModelChoice(chosen, passes)


def tune(model: ModelConfig, given: Mapping[str, Any], train: TrainConfig, characters: int, vocabulary_size: int,
         cores: int, speed: float) -> tuple[ModelChoice, TrainConfig]:
    """Return the settings with which a pretrained ``model`` is trained on a training part of ``characters``.

    A length in minutes is an upper limit: at most ``MOST_TUNING_PASSES`` are planned. The dropout is chosen unless it is in
    ``given``, and the learning rate unless it is set.
    """
    passes = _passes(model, train, characters, vocabulary_size, cores, speed, MOST_TUNING_PASSES)
    fraction = _TUNING_DROPPED if passes > _TUNING_PASSES_WITHOUT_DROPOUT else 0.0
    model = replace(model, dropout=given.get("dropout", fraction), weight_drop=given.get("weight_drop", fraction))
    rate = _TUNING_RATE * LEARNING_RATES[train.optimizer] * CELLS[model.cell].LEARNING_RATE_FACTOR
    return ModelChoice(model, passes), replace(train, learning_rate=train.learning_rate or rate)


def most_passes(characters: int, vocabulary_size: int) -> float:
    """Return the number of passes after which training on a text with this many characters helps little."""
    return _MOST_PASSES / _rarity(characters, vocabulary_size)


def _rarity(characters: int, vocabulary_size: int) -> float:
    """Return how many passes one pass over the training part counts as; see ``_OCCURRENCES``."""
    if vocabulary_size <= MANY_CHARACTERS:
        return 1.0
    return min(max(_OCCURRENCES * vocabulary_size / max(1, characters), 1.0), _MOST_RARITY)


def _passes(model: ModelConfig, train: TrainConfig, characters: int, vocabulary_size: int, cores: int, speed: float,
            most: float) -> float:
    """Return the number of passes over a training part of ``characters``: in a length in minutes, at most ``most``."""
    passes = characters_read(model, train, characters, vocabulary_size, cores, speed) / max(1, characters)
    return passes if train.budget is None else min(passes, most)
