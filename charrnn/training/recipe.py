"""Recipe: the size of a model, and what it drops, for a text, a length of training and a machine.

The rules were found by trying on Tiny Shakespeare and stand with their figures in docs/recipes.md. They use no clock, so
that the same command chooses the same on machines with as many cores.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from charrnn.config import ModelConfig, TrainConfig
from charrnn.nn.cells import CELLS

_SIZES = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)

_SPEED = {"compiled": 75e9, "reference": 45e9}
"""Operations a second that a core is taken to do in a step, by the kernels."""

_PASSES = 2.5
_CHARACTERS_A_WEIGHT = 8.0
"""A size is taken that is trained for so many passes over a text, or on so many characters for each of its weights."""

_WEIGHTS_A_CHARACTER = 1.5
"""More weights than so many for each character of the text are learned by heart."""

_UNDROPPED_PASSES, _DROPPED_A_PASS, _MOST_DROPPED = 4, 0.03, 0.5
"""From how many passes on, and for each further one, which share of outputs and of recurrent weights is dropped."""


def seen(model: ModelConfig, train: TrainConfig, characters: int, vocabulary_size: int, cores: int, kernels: str) -> float:
    """How many characters a training reads, about: a plan in minutes is turned into characters by ``_SPEED``."""
    if train.epochs is not None:
        return train.epochs * characters
    if train.steps is not None:
        return float(train.steps * train.batch_size * train.seq_len)
    assert train.budget is not None
    return 60 * train.budget * cores * _SPEED[kernels] / (6 * weights(model, vocabulary_size))


def weights(model: ModelConfig, vocabulary_size: int) -> int:
    """The weights that take part in a product for each character: one-hot rows of the first layer do not."""
    gates, size = len(CELLS[model.cell].GATES), model.hidden_size
    return gates * (size * size * (2 * model.layers - 1) + size * (model.embedding_size or 0)) + size * vocabulary_size


def choose(model: ModelConfig, named: Collection[str], train: TrainConfig, characters: int, vocabulary_size: int,
           cores: int, kernels: str) -> ModelConfig:
    """``model`` with the hidden size, and with the shares that are dropped, that suit a training part of so many
    characters and the length of the training. What is ``named`` stays; a hidden size that is keeps all."""
    if "hidden_size" in named:
        return model
    model = model.for_vocabulary(vocabulary_size)
    chosen = replace(model, hidden_size=_SIZES[0])
    for size in _SIZES:
        larger = replace(model, hidden_size=size)
        count = weights(larger, vocabulary_size)
        enough = min(_PASSES * characters, _CHARACTERS_A_WEIGHT * count)
        if (seen(larger, train, characters, vocabulary_size, cores, kernels) >= enough
                and count <= _WEIGHTS_A_CHARACTER * characters):
            chosen = larger
    passes = seen(chosen, train, characters, vocabulary_size, cores, kernels) / max(1, characters)
    share = min(_MOST_DROPPED, max(0.0, _DROPPED_A_PASS * (passes - _UNDROPPED_PASSES)))
    share = round(20 * share) / 20
    return replace(chosen, dropout=model.dropout if "dropout" in named else share,
                   weight_drop=model.weight_drop if "weight_drop" in named else share)
