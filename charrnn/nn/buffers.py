"""Buffers: the arrays that the windows of a model need, allocated once for all windows of the same shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.config import ModelConfig
from charrnn.nn.cells.cell import Cell


class Buffers:
    """The arrays for windows of T = ``seq_len`` steps and B = ``batch_size`` streams.

    ``works`` has one entry for each layer, the arrays of its cell. ``d_hidden`` (T, B, H) holds the gradient of the hidden
    states, and ``embedded`` (T, B, E) the embedded inputs, for H hidden units and an embedding of size E (0 without one).
    """

    def __init__(self, cells: Sequence[Cell], config: ModelConfig, seq_len: int, batch_size: int, dtype: np.dtype) -> None:
        self.shape = (seq_len, batch_size)
        self.works = [cell.new_work(seq_len, batch_size) for cell in cells]
        self.d_hidden = np.empty((seq_len, batch_size, config.hidden_size), dtype)
        self.embedded = np.empty((seq_len, batch_size, config.embedding_size or 0), dtype)
        self._dropped: dict[int, np.ndarray] = {}

    def dropped(self, k: int) -> np.ndarray:
        """Return the array for the outputs of layer ``k`` after dropout, (T, B, H)."""
        if k not in self._dropped:
            self._dropped[k] = np.empty_like(self.d_hidden)
        return self._dropped[k]
