"""Small models for the tests, and their scores computed in the simplest way: one step at a time, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from charrnn.config import ModelConfig, TextConfig
from charrnn.inference.language_model import LanguageModel
from charrnn.nn.model import CharRNN
from charrnn.text.vocabulary import UNKNOWN, Vocabulary, code_points

LETTERS = "\n abcdefé"


def make_model(characters: str = LETTERS, cell: str = "lstm", hidden_size: int = 6, layers: int = 1,
               dtype: Any = np.float64, embedding_size: int | None = None, seed: int = 3, **text: Any) -> LanguageModel:
    """Return a model with random weights, large enough that each character depends on those before it.

    The vocabulary of a model of documents contains the end mark too.
    """
    text_config = TextConfig(**text)
    points = code_points("".join(sorted({*characters, *(text_config.end or "")})))
    if text_config.min_count > 1:
        points = np.append(points, UNKNOWN)
    config = ModelConfig(cell, hidden_size, layers, embedding_size=embedding_size)
    network = CharRNN(config, len(points), np.random.default_rng(seed), dtype)
    network.parameters.flat *= 2
    if cell == "lnlstm":  # equal gains would hide errors in their order, large ones would amplify rounding errors
        rng = np.random.default_rng(seed + 1)
        for k in range(layers):
            for name, mean in (("gain", 1), ("b", 0)):
                array = network.parameters[f"layer{k}/{name}"]
                array[...] = mean + 0.3 * rng.standard_normal(array.shape)
    return LanguageModel(network, Vocabulary(points), text_config)


def nats_by_steps(model: LanguageModel, ids: Any, before: int | None = None, lines: bool | None = None) -> list[float]:
    """Return the nats of each of ``ids`` from a zero state.

    ``before`` is the id that is read first, by default the one from which sampling starts.
    """
    network = model.network
    separator = model.separator if lines is None else model.vocabulary.start if lines else None
    state, last, nats = network.initial_state(1), model.vocabulary.start if before is None else before, []
    for number in np.asarray(ids).tolist():
        if last == separator:
            state = network.initial_state(1)
        logits, state = network.forward(np.array([[last]]), state)
        row = logits[0, 0].astype(np.float64)
        nats.append(math.log(np.exp(row - row.max()).sum()) + row.max() - row[number])
        last = number
    return nats
