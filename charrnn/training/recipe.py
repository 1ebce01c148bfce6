"""Recipe: chooses the size and the dropout of a model for a text, a length of training and a machine.

For a pretrained model, it chooses the learning rate, the dropout and the number of passes over the text. The rules come
from experiments, mostly on Tiny Shakespeare; docs/recipes.md shows the figures. Nothing is timed, so a command makes the
same choice on every machine with the same number of cores and the same kernels.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from charrnn.config import LEARNING_RATES, ModelConfig, TrainConfig
from charrnn.nn.cells import CELLS

_SIZES = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)

TYPICAL_SPEED = 58e9
"""FLOP/s of one core in a training step with 256 units, with compiled kernels in float32."""

_ASSUMED_SPEED = 75e9
"""The assumed speed of such a core; larger networks are faster."""

_PASSES = 2.5
"""A size is chosen only if there is time for this number of passes over the text, or if the next rule allows it."""

_CHARACTERS_PER_WEIGHT = 8.0
"""A size is also chosen if there is time to train on this number of characters for each of its weights."""

_WEIGHTS_PER_CHARACTER = 1.5
"""With more weights than this for each character of the text, a model memorizes it."""

_PASSES_WITHOUT_DROPOUT = 4
_DROPPED_PER_PASS = 0.03
"""Each further pass adds this to the dropped fraction of outputs and of recurrent weights."""

_MOST_DROPPED = 0.5
"""The largest fraction to drop."""

_TUNING_RATE = 0.2
"""The peak learning rate for a pretrained model, as a fraction of the default."""

TUNING_EPOCHS = 8.0
"""The number of passes over a text after which training does not help a pretrained model any more."""

_TUNING_WEIGHT_DROP = 0.1
"""The fraction of the recurrent weights to drop if a pretrained model reads a text several times. More slows it down."""


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


def choose_model(model: ModelConfig, given: Collection[str], train: TrainConfig, characters: int, vocabulary_size: int,
                 cores: int, speed: float) -> ModelConfig:
    """Return ``model`` with the hidden size and the dropout that suit the training part and the length of training.

    Settings in ``given`` are not changed; if the hidden size is among them, no setting is.
    """
    if "hidden_size" in given:
        return model
    model = model.for_vocabulary(vocabulary_size)
    chosen = replace(model, hidden_size=_SIZES[0])
    for size in _SIZES:
        larger = replace(model, hidden_size=size)
        count = weight_count(larger, vocabulary_size)
        enough = min(_PASSES * characters, _CHARACTERS_PER_WEIGHT * count)
        if (characters_read(larger, train, characters, vocabulary_size, cores, speed) >= enough
                and count <= _WEIGHTS_PER_CHARACTER * characters):
            chosen = larger
    passes = characters_read(chosen, train, characters, vocabulary_size, cores, speed) / max(1, characters)
    fraction = min(_MOST_DROPPED, max(0.0, _DROPPED_PER_PASS * (passes - _PASSES_WITHOUT_DROPOUT)))
    fraction = round(20 * fraction) / 20
    return replace(chosen, dropout=model.dropout if "dropout" in given else fraction,
                   weight_drop=model.weight_drop if "weight_drop" in given else fraction)


def tune(model: ModelConfig, given: Mapping[str, Any], train: TrainConfig, characters: int, vocabulary_size: int,
         cores: int, speed: float) -> tuple[ModelConfig, TrainConfig]:
    """Return the settings with which a pretrained ``model`` is trained on a training part of ``characters``.

    The dropout is chosen unless it is in ``given``, and the learning rate unless it is set.
    """
    passes = characters_read(model, train, characters, vocabulary_size, cores, speed) / max(1, characters)
    fraction = _TUNING_WEIGHT_DROP if passes > _PASSES_WITHOUT_DROPOUT else 0.0
    model = replace(model, dropout=given.get("dropout", 0.0), weight_drop=given.get("weight_drop", fraction))
    rate = _TUNING_RATE * LEARNING_RATES[train.optimizer] * CELLS[model.cell].LEARNING_RATE_FACTOR
    return model, replace(train, learning_rate=train.learning_rate or rate)
