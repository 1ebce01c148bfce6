"""Ids -> stateful windows (T, B).

The training part is laid out as B parallel streams, each a whole number of windows long; stream b ends where stream
b + 1 begins::

    ids       |--- stream 0 ---|--- stream 1 ---|--- stream 2 ---|tail
    window 0   ^^^^             ^^^^             ^^^^
    window 1       ^^^^             ^^^^             ^^^^

So the state of each stream goes on from window to window, and at the end of an epoch the state of stream b goes on
in stream b + 1 (``next_epoch``). The tail fills no window and is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.errors import ConfigError


class Windows:
    """The windows of a training part, by number.

    ``starts`` are the places in ``ids`` at which documents start, sorted, of int64; they may lie in a mapped file.
    ``batch_size`` shrinks until each stream has a window. Raises ConfigError where ``ids`` fills no window at all.
    """

    def __init__(self, ids: np.ndarray, batch_size: int, seq_len: int, starts: np.ndarray | None = None) -> None:
        fitting = (len(ids) - 1) // seq_len
        if fitting < 1:
            raise ConfigError("seq_len", f"a window of {seq_len:,} needs a training part of at least {seq_len + 1:,} "
                                         f"characters, and this one has {len(ids):,}; give more text or a shorter window")
        self.batch_size = min(batch_size, fitting)
        self.seq_len = seq_len
        self.per_epoch = fitting // self.batch_size
        length = self.batch_size * self.per_epoch * seq_len
        self._starts = starts
        self._inputs = ids[:length].reshape(self.batch_size, -1)
        self._targets = ids[1:length + 1].reshape(self.batch_size, -1)

    def position(self, step: int) -> tuple[int, int]:
        """Epoch and window (both from 0) that follow after ``step`` steps."""
        return divmod(step, self.per_epoch)

    def __getitem__(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets, views of (T, B) each; every target is the next input. Raises IndexError past the last."""
        columns = self._columns(window)
        return self._inputs[:, columns].T, self._targets[:, columns].T

    def fresh(self, window: int) -> np.ndarray | None:
        """Where in the inputs documents start, (T, B) of bool; None where none does. Raises IndexError past the last."""
        first = np.arange(self.batch_size) * self._inputs.shape[1] + self._columns(window).start
        return fresh_in(self._starts, first, self.seq_len)

    def _columns(self, window: int) -> slice:
        if not 0 <= window < self.per_epoch:
            raise IndexError(f"window {window} of {self.per_epoch}")
        return slice(window * self.seq_len, (window + 1) * self.seq_len)


def fresh_in(starts: np.ndarray | None, first: np.ndarray, length: int) -> np.ndarray | None:
    """Which of the places ``first[b] + t`` are among ``starts``, for all t below ``length``: (T, B) of bool, or None
    where none is. ``starts`` are sorted, and only those that are found are looked at, for they may be millions."""
    if starts is None:
        return None
    begins, ends = np.searchsorted(starts, first), np.searchsorted(starts, first + length)
    if (begins == ends).all():
        return None
    fresh = np.zeros((length, len(first)), bool)
    for b, (begin, end) in enumerate(zip(begins, ends)):
        fresh[starts[begin:end] - first[b], b] = True
    return fresh


def next_epoch(state: Any) -> Any:
    """The state (a tuple of layers, each a NamedTuple of (B, H)) with which the next epoch begins.

    Each stream hands its state to the stream that goes on with its text; the first starts from zero.
    """
    def roll(array: np.ndarray) -> np.ndarray:
        rolled = np.roll(array, 1, axis=0)
        rolled[0] = 0
        return rolled

    return tuple(type(layer)(*map(roll, layer)) for layer in state)
