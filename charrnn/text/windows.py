"""Ids -> stateful windows (T, B).

The training part is laid out as B parallel streams of a whole number of windows each; stream b ends where stream
b + 1 begins::

    ids       |--- stream 0 ---|--- stream 1 ---|--- stream 2 ---|tail
    window 0   ^^^^             ^^^^             ^^^^
    window 1       ^^^^             ^^^^             ^^^^

So the state of each stream is carried from window to window, and at the end of an epoch the state of stream b continues in
stream b + 1. The tail does not fill another window and is left out.
"""

from __future__ import annotations

import numpy as np

from charrnn.errors import ConfigError
from charrnn.text.split import Part


class Windows:
    """The windows of a training part, by number.

    ``batch_size`` is reduced until each stream has a window. Raises ConfigError if the part is shorter than one window.
    """

    def __init__(self, part: Part, batch_size: int, seq_len: int) -> None:
        fitting = (len(part) - 1) // seq_len
        if fitting < 1:
            raise ConfigError("seq_len", f"a window of {seq_len:,} needs a training part of at least {seq_len + 1:,} "
                                         f"characters, but this one has {len(part):,}", "lower it, or use a longer text")
        self.batch_size = min(batch_size, fitting)
        self.seq_len = seq_len
        self.per_epoch = fitting // self.batch_size
        length = self.batch_size * self.per_epoch * seq_len
        self._starts = part.starts
        self._inputs = part.ids[:length].reshape(self.batch_size, -1)
        self._targets = part.ids[1:length + 1].reshape(self.batch_size, -1)

    def position(self, step: int) -> tuple[int, int]:
        """Return the epoch and the window, both counted from 0, that follow ``step`` steps."""
        return divmod(step, self.per_epoch)

    def __getitem__(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets, views of (T, B) each; every target is the next input.

        Raises IndexError if there is no such window.
        """
        columns = self._columns(window)
        return self._inputs[:, columns].T, self._targets[:, columns].T

    def resets(self, window: int) -> np.ndarray | None:
        """Return which inputs start a document, (T, B) of bool, or None if none does.

        Raises IndexError if there is no such window.
        """
        first = np.arange(self.batch_size) * self._inputs.shape[1] + self._columns(window).start
        return resets_in(self._starts, first, self.seq_len)

    def _columns(self, window: int) -> slice:
        if not 0 <= window < self.per_epoch:
            raise IndexError(f"window {window} is out of range ({self.per_epoch} windows per epoch)")
        return slice(window * self.seq_len, (window + 1) * self.seq_len)


def resets_in(starts: np.ndarray | None, first: np.ndarray, length: int) -> np.ndarray | None:
    """Return which of the indices ``first[b] + t``, t < ``length``, are in ``starts``: (T, B) of bool, or None if none.

    ``starts`` are sorted. There may be millions of them, so the search is binary.
    """
    if starts is None or not len(starts):
        return None
    begins, ends = np.searchsorted(starts, first), np.searchsorted(starts, first + length)
    if (begins == ends).all():
        return None
    resets = np.zeros((length, len(first)), bool)
    for b, (begin, end) in enumerate(zip(begins, ends)):
        resets[starts[begin:end] - first[b], b] = True
    return resets
